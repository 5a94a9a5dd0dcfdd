#!/usr/bin/env bash
# The registries of Python and Node packages, as pip and npm are set up here. There is nothing to
# start or stop.
#   registries.sh          does nothing
#   registries.sh ready    tells whether both answer
set -euo pipefail

ready() {
  place="$(mktemp -d)"
  trap 'rm -rf "$place"' EXIT
  cd "$place"
  timeout 25 python3 -m pip download --quiet --no-deps --no-cache-dir iniconfig >/dev/null 2>&1 \
    || { echo "pip reaches no registry of packages" >&2; exit 1; }
  timeout 25 npm view --prefer-online zod version >/dev/null 2>&1 \
    || { echo "npm reaches no registry of packages" >&2; exit 1; }
}

case "${1:-start}" in
  ready) ready ;;
  start | stop) ;;
  *) echo "usage: registries.sh [start|stop|ready]" >&2; exit 2 ;;
esac
