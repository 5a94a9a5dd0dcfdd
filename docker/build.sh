#!/usr/bin/env bash
# Builds the image that planner and executors run in: ./build.sh [options] [-- docker build options].
# The context is laid out in a temporary directory, so only the worker's code and docker/ get there,
# and the digest in the label is of exactly the code that went in.
set -euo pipefail
umask 022

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
NAME=parallel-orchestrator
PYTHON="${PYTHON:-python3}"

usage() {
  cat <<EOT
usage: ${0##*/} [--slim] [--base-image NAME] [--tag NAME] [-- DOCKER BUILD OPTIONS]
  --slim             leave the Claude Code CLI out; the tag is then $NAME:slim
  --base-image NAME  a Debian with Python >= 3.11 and venv, in place of python:3.12-slim-bookworm
  --tag NAME         the name of the image, in place of $NAME:latest
EOT
}
fail() { echo "$1" >&2; exit "${2:-1}"; }
wrong() { fail "$1 Say ${0##*/} --help for the options." 2; }

stage=full tag="" base=""
while [ $# -gt 0 ]; do
  case "$1" in
    --slim) stage=slim ;;
    --base-image=*) base="${1#*=}"; [ -n "$base" ] || wrong "--base-image needs a name." ;;
    --tag=*) tag="${1#*=}"; [ -n "$tag" ] || wrong "--tag needs a name." ;;
    --base-image | --tag)
      case "${2:-}" in "" | -*) wrong "$1 needs a name." ;; esac
      if [ "$1" = --tag ]; then tag="$2"; else base="$2"; fi
      shift
      ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    *) wrong "Unknown argument: $1." ;;
  esac
  shift
done
if [ -z "$tag" ]; then
  if [ "$stage" = slim ]; then tag="$NAME:slim"; else tag="$NAME:latest"; fi
fi

command -v docker >/dev/null \
  || fail "The command docker was not found. Install Docker (docs.docker.com/engine/install) and try again."
command -v "$PYTHON" >/dev/null \
  || fail "The command $PYTHON was not found. Install Python, or say PYTHON=/path/to/python3."
answer="$(docker version --format '{{.Server.Version}}' 2>&1 >/dev/null)" \
  || fail "The Docker Engine does not answer. Start it, or allow this user to use it. Docker says: ${answer##*$'\n'}"

# The one line of a module that sets a constant to a plain value.
constant() { # $1: file, $2: name
  local value
  value="$(sed -n "s/^$2 = \"\{0,1\}\([0-9][0-9.]*\)\"\{0,1\}\$/\1/p" "$ROOT/$1")"
  [ -n "$value" ] || fail "$ROOT/$1 does not say $2. Is this directory whole?"
  echo "$value"
}
version="$(constant orchestrator.py VERSION)"
wire="$(constant core/bundle.py WIRE_VERSION)"

context="$(mktemp -d "${TMPDIR:-/tmp}/parallel-orchestrator-image.XXXXXX")"
trap 'rm -rf "$context"' EXIT
mkdir "$context/source" "$context/docker"
cp "$ROOT"/docker/{Dockerfile,requirements.txt,requirements-npm.txt,package.json,package-lock.json} \
  "$context/docker/"
"$PYTHON" -I "$ROOT/core/worker/source.py" --files >"$context/files" \
  || fail "$PYTHON could not list the worker's files. Say PYTHON=/path/to/python3 for another one."
tar -C "$ROOT" -chf - -T "$context/files" | tar -C "$context/source" -xf -
rm "$context/files"
digest="$("$PYTHON" -I "$context/source/core/worker/source.py")"

docker build --force-rm -f "$context/docker/Dockerfile" --target "$stage" -t "$tag" \
  ${base:+--build-arg "BASE_IMAGE=$base"} \
  --build-arg "VERSION=$version" --build-arg "SOURCE_DIGEST=$digest" \
  --build-arg "WIRE_VERSION=$wire" "$@" "$context" \
  || fail "The image was not built; what Docker says is above.${base:+ The base image was $base.}"
echo "Built $tag (version $version, source $digest)."
