#!/usr/bin/env bash
# The base image of the tests, made without a registry: base_image.sh [DIRECTORY FOR THE TARBALL].
# Debian 12 by debootstrap with Python, git and this machine's certificate authorities, so that pip,
# npm and apt inside reach what this machine reaches. Does nothing when the image is there. Prints its name.
set -euo pipefail

NAME=parallel-orchestrator-base:test
RECIPE=1 # another number makes image and tarball anew
SUITE=bookworm
MIRROR="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
PACKAGES=python3,python3-venv,ca-certificates,git
AUTHORITIES=/etc/ssl/certs/ca-certificates.crt
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
PLACE="${1:-$ROOT/.cache/base-image}"
LABEL=parallel-orchestrator.base-recipe

fail() { echo "$1" >&2; exit 1; }

# Of the authorities too: a tarball from another machine would not trust what this one trusts.
recipe() {
  local sum=none
  [ ! -r "$AUTHORITIES" ] || sum="$(sha256sum "$AUTHORITIES" | cut -c1-12)"
  echo "$RECIPE-$SUITE-$(dpkg --print-architecture 2>/dev/null || uname -m)-$sum"
}

make_tarball() { # $1: where to
  [ "$(id -u)" = 0 ] || fail "Only root can make $NAME (debootstrap needs chroot)."
  command -v debootstrap >/dev/null || {
    command -v apt-get >/dev/null || fail "debootstrap is needed to make $NAME."
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap \
      >&2 </dev/null
  }
  local tree
  tree="$(mktemp -d "$PLACE/tree.XXXXXX")"
  # shellcheck disable=SC2064  # the directory of now
  trap "rm -rf '$tree'" EXIT
  debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$tree" "$MIRROR" \
    >"$PLACE/debootstrap.log" 2>&1 </dev/null \
    || { tail -n 15 "$PLACE/debootstrap.log" >&2; fail "debootstrap failed."; }
  rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/var/log/*
  [ ! -r "$AUTHORITIES" ] || cp "$AUTHORITIES" "$tree$AUTHORITIES"
  printf '[global]\ncert = %s\n' "$AUTHORITIES" >"$tree/etc/pip.conf"
  tar -C "$tree" -cf "$1.part" .
  mv "$1.part" "$1"
}

"$ROOT/tests/services/docker_engine.sh" ready
wanted="$(recipe)"
made="$(docker image inspect --format "{{index .Config.Labels \"$LABEL\"}}" "$NAME" 2>/dev/null || true)"
if [ "$made" != "$wanted" ]; then
  mkdir -p "$PLACE"
  tarball="$PLACE/$wanted.tar"
  [ -s "$tarball" ] || make_tarball "$tarball"
  docker import --change "LABEL $LABEL=$wanted" --change 'CMD ["/bin/sh"]' "$tarball" "$NAME" >/dev/null
fi
echo "$NAME"
