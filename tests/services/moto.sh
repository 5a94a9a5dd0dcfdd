#!/usr/bin/env bash
# AWS for the tests, on loopback: moto.sh [start | stop | ready]. Its Batch runs jobs in containers of
# the Docker Engine here, on the host's network. Runs in a session of its own, all its state below
# MOTO_DIR; one that answers already is used as it is. Prints its address.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
PLACE="${MOTO_DIR:-/var/tmp/parallel-orchestrator-moto}"
PATIENCE_S="${MOTO_PATIENCE_S:-60}"
PIDFILE="$PLACE/moto.pid"
ADDRESS="$PLACE/url"
LOG="$PLACE/moto.log"
BIN="$ROOT/.venv/bin"

fail() { echo "$1" >&2; exit 1; }
fail_with_log() {
  echo "$1 The end of $LOG:" >&2
  tail -n 15 "$LOG" >&2
  exit 1
}

# The pid in the file, if its process lives and is ours: no zombie, and no pid's next owner.
running_pid() {
  local pid
  pid="$(cat "$PIDFILE" 2>/dev/null)" || return 1
  [ -n "$pid" ] && grep -q "^Name:[[:space:]]moto_server\$" "/proc/$pid/status" 2>/dev/null \
    && ! grep -q '^State:[[:space:]]Z' "/proc/$pid/status" && echo "$pid"
}

answers() {
  running_pid >/dev/null && [ -s "$ADDRESS" ] && "$BIN/python" -c '
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
opener.open(sys.argv[1] + "/moto-api/config", timeout=20).read()' "$(cat "$ADDRESS")" 2>/dev/null
}

launch() {
  local port
  port="$("$BIN/python" -c 'import socket
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    print(free.getsockname()[1])')"
  echo "http://127.0.0.1:$port" >"$ADDRESS"
  MOTO_DOCKER_NETWORK_MODE=host PYTHONDONTWRITEBYTECODE=1 \
    setsid "$BIN/moto_server" -H 127.0.0.1 -p "$port" </dev/null >"$LOG" 2>&1 &
  echo $! >"$PIDFILE"
}

start() {
  if ! answers; then
    [ -x "$BIN/moto_server" ] || fail "There is no $BIN/moto_server. Run make setup."
    mkdir -p "$PLACE"
    running_pid >/dev/null || launch
    local waited_s=0
    until answers; do
      sleep 1
      waited_s=$((waited_s + 1))
      running_pid >/dev/null || fail_with_log "moto_server ended before it answered."
      [ "$waited_s" -lt "$PATIENCE_S" ] \
        || fail_with_log "moto_server did not answer within $PATIENCE_S s."
    done
  fi
  cat "$ADDRESS"
}

stop() {
  local pid waited_s=0
  pid="$(running_pid)" || { echo "No moto_server that was started from here runs."; return; }
  kill "$pid"
  while running_pid >/dev/null; do
    sleep 1
    waited_s=$((waited_s + 1))
    [ "$waited_s" -lt "$PATIENCE_S" ] || fail "moto_server ($pid) did not end within $PATIENCE_S s."
  done
  rm -f "$PIDFILE" "$ADDRESS"
  echo "moto_server has stopped."
}

case "${1:-start}" in
  start) start ;;
  stop) stop ;;
  ready) answers || fail "No moto_server answers."; cat "$ADDRESS" ;;
  *) echo "usage: ${0##*/} [start | stop | ready]" >&2; exit 2 ;;
esac
