#!/usr/bin/env bash
# A real sshd on 127.0.0.1 for the tests: sshd.sh [start | stop | ready].
# `start` prints a folder to be put first on PATH: the ssh in it is the system's, with a config file
# in which every host is this one, so that nothing of the user's own is read or changed. All else goes
# to stderr. All state is below SSHD_SERVICE_DIR; another directory with another SSHD_SERVICE_PORT is
# another host beside it. A session gets a home of its own whose .bashrc greets, SLURM_CONF as it is
# here, and SSHD_SERVICE_PATH before its PATH; settings count when an sshd starts, not for one that answers already.
set -euo pipefail
exec 3>&1 1>&2

PLACE="${SSHD_SERVICE_DIR:-/var/tmp/parallel-orchestrator-sshd}"
PORT="${SSHD_SERVICE_PORT:-26822}"
PATIENCE_S="${SSHD_SERVICE_PATIENCE_S:-30}"
PIDFILE="$PLACE/sshd.pid"
LOG="$PLACE/sshd.log"
SLURM_CONF="${SLURM_CONF:-/var/tmp/parallel-orchestrator-slurm/slurm.conf}"
USUAL_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

fail() { echo "$1"; exit 1; }
fail_with() { # $1: message, $2: log
  echo "$1 The end of $2:"
  tail -n 15 "$2" || true
  exit 1
}

# The pid in a file, if its process lives and has that name: no zombie, and no pid's next owner.
running_pid() {
  local pid
  pid="$(cat "$PIDFILE" 2>/dev/null)" || return 1
  [ -n "$pid" ] && grep -q '^Name:[[:space:]]sshd$' "/proc/$pid/status" 2>/dev/null \
    && ! grep -q '^State:[[:space:]]Z' "/proc/$pid/status" && echo "$pid"
}

answers() { [ -x "$PLACE/bin/ssh" ] && timeout 20 "$PLACE/bin/ssh" -o BatchMode=yes head true >/dev/null 2>&1; }

# The ssh that is on PATH; not the script that this one puts there.
system_ssh() {
  local path
  for path in $(type -ap ssh); do
    [ "$(head -c 2 "$path")" = '#!' ] || { echo "$path"; return; }
  done
  return 1
}

install_sshd() {
  [ -x /usr/sbin/sshd ] && system_ssh >/dev/null && return
  command -v apt-get >/dev/null || fail "There is no sshd here. Install OpenSSH's server, then try again."
  {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      openssh-server openssh-client </dev/null
  } >"$PLACE/install.log" 2>&1 \
    || fail_with "apt-get could not install openssh-server." "$PLACE/install.log"
}

make_keys() {
  local name
  for name in host_key user_key; do
    [ -s "$PLACE/$name" ] || ssh-keygen -q -t ed25519 -N "" -C "$name" -f "$PLACE/$name" </dev/null
  done
  cp "$PLACE/user_key.pub" "$PLACE/authorized_keys"
  printf 'cluster %s\n' "$(cut -d ' ' -f 1,2 "$PLACE/host_key.pub")" >"$PLACE/known_hosts"
}

# MaxSessions (10) and MaxStartups are sshd's own defaults. StrictModes: what lies above PLACE may be
# open to others, as /var/tmp is. AcceptEnv: whatever a client sends by mistake is seen by the tests.
write_configs() {
  mkdir -p "$PLACE/bin" "$PLACE/home"
  echo 'echo "Welcome to the cluster."; echo "Quota: 1 of 2 GB"' >"$PLACE/home/.bashrc"
  cat >"$PLACE/sshd_config" <<CONF
Port $PORT
ListenAddress 127.0.0.1
HostKey $PLACE/host_key
AuthorizedKeysFile $PLACE/authorized_keys
PidFile $PIDFILE
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin prohibit-password
LogLevel VERBOSE
AcceptEnv *
SetEnv HOME=$PLACE/home PATH=${SSHD_SERVICE_PATH:+$SSHD_SERVICE_PATH:}$USUAL_PATH SLURM_CONF=$SLURM_CONF
CONF
  cat >"$PLACE/ssh_config" <<CONF
Host *
  HostName 127.0.0.1
  Port $PORT
  HostKeyAlias cluster
  User $(id -un)
  IdentityFile $PLACE/user_key
  IdentitiesOnly yes
  UserKnownHostsFile $PLACE/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking ask
CONF
  printf '#!/bin/sh\nexec %s -F "%s" "$@"\n' "$(system_ssh)" "$PLACE/ssh_config" >"$PLACE/bin/ssh"
  chmod 755 "$PLACE/bin/ssh"
}

launched_ended() { [ -n "$launched" ] && ! kill -0 "$launched" 2>/dev/null; }

start() {
  local launched="" ends=$((SECONDS + PATIENCE_S))
  if answers; then
    echo "An sshd answers already on port $PORT; it is used as it is."
    echo "$PLACE/bin" >&3
    return
  fi
  mkdir -p "$PLACE"
  chmod 700 "$PLACE"
  install_sshd
  if ! running_pid >/dev/null; then
    make_keys
    write_configs
    mkdir -p /run/sshd 2>/dev/null || true # where sshd wants to lock itself in; made by its service
    rm -f "$PIDFILE"
    setsid /usr/sbin/sshd -D -e -f "$PLACE/sshd_config" </dev/null >>"$LOG" 2>&1 3>&- &
    launched=$!
  fi
  until answers; do
    launched_ended && fail_with "sshd ended before it answered." "$LOG"
    [ "$SECONDS" -lt "$ends" ] || fail_with "sshd did not answer on port $PORT within $PATIENCE_S s." "$LOG"
    sleep 0.1
  done
  echo "sshd answers on 127.0.0.1:$PORT."
  echo "$PLACE/bin" >&3
}

# Sessions are sshd processes of their own: those below the one that listens end with it here, as
# when the host goes down.
stop() {
  local pid sessions ends=$((SECONDS + PATIENCE_S))
  pid="$(running_pid)" || {
    echo "No sshd that was started from here runs."
    return
  }
  sessions="$(pgrep -P "$pid" || true)"
  kill "$pid"
  [ -z "$sessions" ] || kill $sessions 2>/dev/null || true
  while running_pid >/dev/null; do
    [ "$SECONDS" -lt "$ends" ] || fail_with "sshd ($pid) did not end within $PATIENCE_S s." "$LOG"
    sleep 0.1
  done
  echo "sshd has stopped."
}

case "${1:-start}" in
  start) start ;;
  stop) stop ;;
  ready) answers || fail "No sshd answers on port $PORT. Call ${0##*/} start." ;;
  *) echo "usage: ${0##*/} [start | stop | ready]"; exit 2 ;;
esac
