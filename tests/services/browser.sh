#!/usr/bin/env bash
# Installs Chromium, in which the report's page is tested. There is nothing to start or stop.
#   browser.sh          installs it, unless there is one
#   browser.sh ready    tells whether there is one
set -euo pipefail

ready() { chromium --version >/dev/null 2>&1; }

case "${1:-start}" in
  ready) ready || { echo "there is no chromium; tests/services/browser.sh installs it" >&2; exit 1; } ;;
  start)
    ready && exit 0
    export DEBIAN_FRONTEND=noninteractive
    packages="chromium fonts-liberation"
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $packages >&2 </dev/null ||
      { apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends $packages >&2 </dev/null; }
    ready || { echo "chromium is installed and does not start." >&2; exit 1; }
    ;;
  stop) ;;
  *) echo "usage: browser.sh [start|stop|ready]" >&2; exit 2 ;;
esac
