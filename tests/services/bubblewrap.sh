#!/usr/bin/env bash
# Installs bubblewrap, in which checks run. There is nothing to start or stop.
#   bubblewrap.sh          installs it, unless it works here
#   bubblewrap.sh ready    tells whether it works
set -euo pipefail

ready() { bwrap --ro-bind / / --unshare-all --unshare-user true 2>/dev/null; }

case "${1:-start}" in
  ready) ready || { echo "bubblewrap does not work here; tests/services/bubblewrap.sh installs it" >&2; exit 1; } ;;
  start)
    ready && exit 0
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends bubblewrap >&2 </dev/null ||
      { apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends bubblewrap >&2 </dev/null; }
    ready || { echo "bubblewrap is installed and does not work here." >&2; exit 1; }
    ;;
  stop) ;;
  *) echo "usage: bubblewrap.sh [start|stop|ready]" >&2; exit 2 ;;
esac
