#!/usr/bin/env bash
# Installs zsh and fish, whose completion is tried. There is nothing to start or stop.
#   shells.sh          installs them, unless they are there
#   shells.sh ready    tells whether they are
set -euo pipefail

ready() { command -v zsh >/dev/null && command -v fish >/dev/null; }

case "${1:-start}" in
  ready) ready || { echo "zsh or fish is not there; tests/services/shells.sh installs them" >&2; exit 1; } ;;
  start)
    ready && exit 0
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends zsh fish >&2 </dev/null ||
      { apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends zsh fish >&2 </dev/null; }
    ;;
  stop) ;;
  *) echo "usage: shells.sh [start|stop|ready]" >&2; exit 2 ;;
esac
