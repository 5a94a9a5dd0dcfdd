#!/usr/bin/env bash
# A real Slurm of one node for the tests: slurm.sh [start | stop | ready], and for tests of faults
# [stop-controller | start-controller | stop-node | crash-node | start-node].
# `start` prints the path of its slurm.conf, to be exported as SLURM_CONF; all else goes to stderr.
# All state is below SLURM_SERVICE_DIR; another directory with another SLURM_SERVICE_PORT is another
# cluster beside it. Settings count when a cluster starts, not for one that answers already.
set -euo pipefail
exec 3>&1 1>&2

PLACE="${SLURM_SERVICE_DIR:-/var/tmp/parallel-orchestrator-slurm}"
PORT="${SLURM_SERVICE_PORT:-26817}" # slurmctld's; slurmd has the next one
PATIENCE_S="${SLURM_SERVICE_PATIENCE_S:-60}"
NODE="node$PORT" # a name of its own for each cluster of the machine
export SLURM_CONF="$PLACE/slurm.conf"

fail() { echo "$1"; exit 1; }
fail_with() { # $1: message, $2: log
  echo "$1 The end of $2:"
  tail -n 15 "$2" || true
  exit 1
}

# Waits until a command succeeds. $1: message when it does not in time, $2: log, the rest: command
await() {
  local message="$1" log="$2" ends=$((SECONDS + PATIENCE_S))
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$ends" ] || fail_with "$message within $PATIENCE_S s." "$log"
    sleep 0.1
  done
}

# The pid in a file, if its process lives and has that name: no zombie, and no pid's next owner.
living() { # $1: daemon, which names the pid file too
  local pid
  pid="$(cat "$PLACE/$1.pid" 2>/dev/null)" || return 1
  [ -n "$pid" ] && grep -q "^Name:[[:space:]]$1\$" "/proc/$pid/status" 2>/dev/null \
    && ! grep -q '^State:[[:space:]]Z' "/proc/$pid/status" && echo "$pid"
}
gone() { ! living "$1" >/dev/null; }

munge_answers() { munge -n 2>/dev/null | unmunge >/dev/null 2>&1; }
controller_answers() { [ -f "$SLURM_CONF" ] && timeout 20 scontrol ping 2>/dev/null | grep 'is UP' >/dev/null; }
# Whatever else it is said to be: a node that waits for a large job is "planned".
node_answers() { timeout 20 sinfo -h -N -o %T 2>/dev/null | grep -Ev 'down|drain|unk|fail|[*]' >/dev/null; }
answers() { command -v scontrol >/dev/null && controller_answers && node_answers; }

install_slurm() {
  local command missing=""
  for command in slurmctld slurmd sbatch munged; do
    command -v "$command" >/dev/null || missing="$missing $command"
  done
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null \
    || fail "No Slurm answers, and there is no$missing here. Install Slurm and munge, then try again."
  {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      slurmctld slurmd slurm-client munge </dev/null
  } >"$PLACE/install.log" 2>&1 \
    || fail_with "apt-get could not install slurmctld, slurmd and munge." "$PLACE/install.log"
}

# One munged serves the whole machine, other clusters too, so nothing here ever stops it.
start_munge() {
  munge_answers && return
  install -d -o munge -g munge -m 0755 /run/munge
  install -d -o munge -g munge -m 0700 /etc/munge /var/lib/munge /var/log/munge
  [ -s /etc/munge/munge.key ] || setpriv --reuid munge --regid munge --init-groups mungekey --create
  # Of two that start at once one ends, for the other holds the socket's lock.
  setsid setpriv --reuid munge --regid munge --init-groups munged --foreground \
    </dev/null >"$PLACE/munged.log" 2>&1 3>&- &
  await "munged did not answer" "$PLACE/munged.log" munge_answers
}

# Limits: slurmctld looks for jobs past their time every 30 s, which nothing shortens; with
# OverTimeLimit=0 a limit of one minute (the least) ends a job after 60 to 90 s.
# cred_expire: also how long a requeued job waits before it may start again; 120 s by default.
# MinJobAge: with 2 s, jobs were gone 5 to 8 s after their end, for slurmctld purged every 10 s;
# 0 would keep them for ever.
write_conf() {
  mkdir -p "$PLACE/state" "$PLACE/spool"
  # Two GPUs that nobody opens: slurmd wants a device file for each, and takes any.
  printf "NodeName=$NODE Name=gpu File=/dev/%s\n" null zero >"$PLACE/gres.conf"
  cat >"$SLURM_CONF.new" <<CONF
ClusterName=pto$PORT
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=${SLURM_SERVICE_REQUEUE_WAIT:-15}
SlurmctldPidFile=$PLACE/slurmctld.pid
SlurmdPidFile=$PLACE/slurmd.pid
StateSaveLocation=$PLACE/state
SlurmdSpoolDir=$PLACE/spool
MpiDefault=none
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE

JobRequeue=1
OverTimeLimit=0
KillWait=${SLURM_SERVICE_KILL_WAIT:-5}
MinJobAge=${SLURM_SERVICE_MIN_JOB_AGE:-300}
MaxArraySize=${SLURM_SERVICE_MAX_ARRAY:-1001}
MessageTimeout=5
SlurmdTimeout=${SLURM_SERVICE_NODE_TIMEOUT:-60}

GresTypes=gpu
DefMemPerCPU=100
NodeName=$NODE NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 CPUs=${SLURM_SERVICE_CPUS:-32} RealMemory=64000 Gres=gpu:2
PartitionName=debug Nodes=$NODE Default=YES State=UP DefaultTime=60 MaxTime=1440 PriorityTier=10 PreemptMode=OFF
PartitionName=closed Nodes=$NODE State=DOWN MaxTime=1440 PriorityTier=10 PreemptMode=OFF
PartitionName=scavenge Nodes=$NODE State=UP DefaultTime=60 MaxTime=1440 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=$NODE State=UP DefaultTime=60 MaxTime=1440 PriorityTier=100 PreemptMode=OFF
CONF
  mv "$SLURM_CONF.new" "$SLURM_CONF"
}

# In a session of its own, so that it outlives the shell that called this.
launch() { # $1: daemon, the rest: its options
  local daemon="$1"
  shift
  setsid "$daemon" -D "$@" </dev/null >"$PLACE/$daemon.log" 2>&1 3>&- &
  launched=$!
  echo "$launched" >"$PLACE/$daemon.pid"
}
end() { # $1: daemon, $2: signal
  local pid
  pid="$(living "$1")" || return 0
  kill "-$2" "$pid"
  await "$1 ($pid) did not end" "$PLACE/$1.log" gone "$1"
}

launched_ended() { [ -n "$launched" ] && ! kill -0 "$launched" 2>/dev/null; }
controller_is_ready() {
  launched_ended && fail_with "slurmctld ended before it answered." "$PLACE/slurmctld.log"
  controller_answers
}
node_is_ready() {
  launched_ended && fail_with "slurmd ended before its node was up." "$PLACE/slurmd.log"
  node_answers
}
node() { sed -n 's/^NodeName=\([^ ]*\) .*/\1/p' "$SLURM_CONF"; }

start_controller() {
  [ -f "$SLURM_CONF" ] || fail "There is no cluster in $PLACE. Call ${0##*/} start, then try again."
  local launched=""
  gone slurmctld && launch slurmctld
  await "slurmctld did not answer" "$PLACE/slurmctld.log" controller_is_ready
}
start_node() {
  [ -f "$SLURM_CONF" ] || fail "There is no cluster in $PLACE. Call ${0##*/} start, then try again."
  local launched=""
  gone slurmd && launch slurmd -N "$(node)"
  await "slurmd did not bring its node up" "$PLACE/slurmd.log" node_is_ready
}

start() {
  if answers; then
    echo "Slurm answers already; it is used as it is."
    echo "$SLURM_CONF" >&3
    return
  fi
  [ "$(id -u)" = 0 ] || fail "No Slurm answers on port $PORT, and only root can start one."
  mkdir -p "$PLACE"
  install_slurm
  start_munge
  gone slurmctld && write_conf
  start_controller
  start_node
  echo "$(scontrol --version) answers on port $PORT."
  echo "$SLURM_CONF" >&3
}

# Jobs outlive slurmd. A job's slurmstepd listens on a socket in the spool folder; what it started
# has both variables in its environment, whatever it executes.
end_jobs() {
  local inode environ pid
  for inode in $(awk -v below="$PLACE/spool/" 'index($8, below) == 1 { print $7 }' /proc/net/unix); do
    for pid in $(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | cut -d / -f 3); do
      kill -KILL "$pid" 2>/dev/null || true
    done
  done
  for environ in /proc/[0-9]*/environ; do
    grep -zqx "SLURM_CONF=$SLURM_CONF" "$environ" 2>/dev/null \
      && grep -zq '^SLURM_JOB_ID=' "$environ" 2>/dev/null || continue
    kill -KILL "$(cut -d / -f 3 <<<"$environ")" 2>/dev/null || true
  done
}

# Without its state, or the next start would run unfinished jobs once more.
stop() {
  if gone slurmctld && gone slurmd; then
    echo "No Slurm that was started from here runs."
  else
    end slurmctld TERM
    end slurmd TERM
    echo "Slurm has stopped."
  fi
  end_jobs
  rm -rf "$PLACE/state" "$PLACE/spool"
}

case "${1:-start}" in
  start) start ;;
  stop) stop ;;
  ready) answers || { sleep 3 && answers; } || fail "No Slurm answers below $PLACE. Call ${0##*/} start." ;;
  stop-controller) end slurmctld TERM ;;
  start-controller) start_controller ;;
  stop-node) end slurmd KILL ;;               # jobs go on, and nobody watches them
  crash-node) end slurmd KILL && end_jobs ;;  # as when the machine loses its power
  start-node) start_node ;;
  *)
    echo "usage: ${0##*/} [start | stop | ready"
    echo "  | stop-controller | start-controller | stop-node | crash-node | start-node]"
    exit 2
    ;;
esac
