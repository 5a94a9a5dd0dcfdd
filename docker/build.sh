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
usage: ${0##*/} [--slim] [--with NAMES] [--base-image NAME] [--tag NAME] [-- DOCKER BUILD OPTIONS]
  --slim             leave Node and the Claude Code CLI out; the tag is then $NAME:slim
  --with NAMES       add toolchains of Debian, with commas between them: c, elixir, go, java, make,
                     php, ruby, rust
  --base-image NAME  a Debian with Python >= 3.11 and venv, in place of python:3.12-slim-bookworm
  --tag NAME         the name of the image, in place of $NAME:latest
EOT
}
fail() { echo "$1" >&2; exit "${2:-1}"; }
wrong() { fail "$1 Say ${0##*/} --help for the options." 2; }

packages_of() { # $1: toolchain
  case "$1" in
    c) echo g++ gcc libc6-dev make ;;
    elixir) echo elixir ;;
    go) echo golang-go ;;
    java) echo default-jdk-headless maven ;;
    make) echo make ;;
    php) echo composer php-cli php-mbstring php-sqlite3 php-xml ;;
    ruby) echo ruby ruby-bundler ;;
    rust) echo cargo rustc ;;
    *) return 1 ;;
  esac
}
add_toolchains() { # $1: names
  local name names more
  IFS=, read -ra names <<<"$1"
  for name in "${names[@]}"; do
    more="$(packages_of "$name")" || wrong "--with knows no toolchain $name."
    packages+="${packages:+ }$more" toolchains+=",$name"
  done
}

stage=full tag="" base="" packages="" toolchains=""
while [ $# -gt 0 ]; do
  case "$1" in
    --slim) stage=slim ;;
    --base-image=*) base="${1#*=}"; [ -n "$base" ] || wrong "--base-image needs a name." ;;
    --tag=*) tag="${1#*=}"; [ -n "$tag" ] || wrong "--tag needs a name." ;;
    --with=*) [ -n "${1#*=}" ] || wrong "--with needs a name."; add_toolchains "${1#*=}" ;;
    --base-image | --tag | --with)
      case "${2:-}" in "" | -*) wrong "$1 needs a name." ;; esac
      case "$1" in
        --tag) tag="$2" ;;
        --base-image) base="$2" ;;
        --with) add_toolchains "$2" ;;
      esac
      shift
      ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    *) wrong "Unknown argument: $1." ;;
  esac
  shift
done
if [ "$stage" = slim ]; then
  tag="${tag:-$NAME:slim}" toolchains="python$toolchains"
else
  tag="${tag:-$NAME:latest}" toolchains="python,node$toolchains"
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
  --build-arg "WIRE_VERSION=$wire" --build-arg "TOOLCHAINS=$toolchains" \
  ${packages:+--build-arg "PACKAGES=$packages"} "$@" "$context" \
  || fail "The image was not built; what Docker says is above.${base:+ The base image was $base.}"
echo "Built $tag (version $version, source $digest)."
