#!/usr/bin/env bash
# A real Docker Engine for the tests: docker_engine.sh [start | stop | ready].
# An engine that answers already is used as it is and never stopped from here. Otherwise Debian's
# dockerd is installed where it is absent, and started in a session of its own, all its state below
# DOCKER_ENGINE_DIR. With DOCKER_ENGINE_SOCKET too it is an engine of one's own, to stop and restart.
set -euo pipefail

PLACE="${DOCKER_ENGINE_DIR:-/var/tmp/parallel-orchestrator-engine}"
SOCKET="${DOCKER_ENGINE_SOCKET:-/var/run/docker.sock}"
PATIENCE_S="${DOCKER_ENGINE_PATIENCE_S:-60}"
PIDFILE="$PLACE/dockerd.pid"
LOG="$PLACE/dockerd.log"
if [ -n "${DOCKER_ENGINE_SOCKET:-}" ]; then
  export DOCKER_HOST="unix://$SOCKET"
  unset DOCKER_CONTEXT
fi

fail() { echo "$1" >&2; exit 1; }
fail_with() { # $1: message, $2: log
  echo "$1 The end of $2:" >&2
  tail -n 15 "$2" >&2
  exit 1
}

answers() { command -v docker >/dev/null && timeout 20 docker version >/dev/null 2>&1; }

# The pid in a file, if its process lives and has that name: no zombie, and no pid's next owner.
living() { # $1: pid file, $2: name
  local pid
  pid="$(cat "$1" 2>/dev/null)" || return 1
  [ -n "$pid" ] && grep -q "^Name:[[:space:]]$2\$" "/proc/$pid/status" 2>/dev/null \
    && ! grep -q '^State:[[:space:]]Z' "/proc/$pid/status" && echo "$pid"
}
running_pid() { living "$PIDFILE" dockerd; }

# An engine that was killed leaves mounts behind, which would keep PLACE from being removed.
unmount_remains() {
  awk -v below="$PLACE/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r \
    | while read -r mounted; do umount -l "$mounted"; done
}

install_engine() {
  local command missing=""
  for command in dockerd docker iptables; do
    command -v "$command" >/dev/null || missing="$missing $command"
  done
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null \
    || fail "No Docker Engine answers, and there is no$missing here. Install Docker Engine, then try again."
  {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      docker.io iptables ca-certificates </dev/null
  } >"$PLACE/install.log" 2>&1 \
    || fail_with "apt-get could not install docker.io and iptables." "$PLACE/install.log"
}

# Engines in one network namespace delete each other's bridge; one that is not the machine's only
# engine gets a namespace of its own, so its containers reach nothing.
launch() {
  local apart=() containerd_pidfile="$PLACE/exec/containerd/containerd.pid"
  [ -z "${DOCKER_ENGINE_SOCKET:-}" ] || apart=(unshare --net)
  # dockerd would wait for the containerd of a killed dockerd, which ends a moment after it.
  while living "$containerd_pidfile" containerd >/dev/null; do sleep 0.1; done
  rm -f "$PIDFILE" "$containerd_pidfile"
  setsid ${apart[@]+"${apart[@]}"} dockerd --data-root "$PLACE/data" --exec-root "$PLACE/exec" \
    --pidfile "$PIDFILE" -H "unix://$SOCKET" </dev/null >"$LOG" 2>&1 &
}

start() {
  if answers; then
    echo "A Docker Engine answers already; it is used as it is."
    return
  fi
  [ -z "${DOCKER_HOST:-}${DOCKER_CONTEXT:-}" ] || [ -n "${DOCKER_ENGINE_SOCKET:-}" ] \
    || fail "DOCKER_HOST or DOCKER_CONTEXT names an engine that does not answer. Start it, or unset them."
  [ "$(id -u)" = 0 ] \
    || fail "No Docker Engine answers, and only root can start one. Start Docker, then try again."
  mkdir -p "$PLACE"
  install_engine
  local launched="" waited_s=0
  running_pid >/dev/null || { launch; launched=$!; }
  until answers; do
    sleep 1
    waited_s=$((waited_s + 1))
    [ -z "$launched" ] || kill -0 "$launched" 2>/dev/null \
      || fail_with "dockerd ended before it answered on $SOCKET." "$LOG"
    [ "$waited_s" -lt "$PATIENCE_S" ] \
      || fail_with "dockerd did not answer on $SOCKET within $PATIENCE_S s." "$LOG"
  done
  echo "Docker Engine $(docker version --format '{{.Server.Version}}') answers on $SOCKET."
}

stop() {
  local pid waited_s=0
  pid="$(running_pid)" || {
    unmount_remains
    echo "No Docker Engine that was started from here runs."
    return
  }
  kill "$pid"
  while running_pid >/dev/null; do
    sleep 1
    waited_s=$((waited_s + 1))
    [ "$waited_s" -lt "$PATIENCE_S" ] \
      || fail_with "dockerd ($pid) did not end within $PATIENCE_S s." "$LOG"
  done
  unmount_remains
  echo "The Docker Engine has stopped."
}

case "${1:-start}" in
  start) start ;;
  stop) stop ;;
  ready) answers || fail "No Docker Engine answers (docker version fails)." ;;
  *) echo "usage: ${0##*/} [start | stop | ready]" >&2; exit 2 ;;
esac
