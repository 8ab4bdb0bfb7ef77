#!/usr/bin/env bash
# A private SLURM cluster of two nodes on this machine, for tests; Debian or Ubuntu, as root.
#
#   cluster.sh start|stop|status FOLDER [--accounting]    SLURM_CONF=FOLDER/slurm.conf speaks to it
#   cluster.sh fail|revive FOLDER NODE                    a node loses its power; it is switched on again
#   cluster.sh orphan FOLDER NODE                         its slurmd alone dies, what it runs goes on
#
# Nodes n1 and n2 have 2 CPUs each, whatever the machine has; partition `high` preempts `low` by requeueing. Times that
# are minutes on a real cluster are seconds here. Several clusters can run at once, each in a folder of its own.
set -euo pipefail

NODES=(n1 n2)
PORTS=6 # slurmctld, one a node, slurmdbd, MariaDB, one to spare

refuse() {
    echo "error: $*" >&2
    exit 2
}

main() {
    local action=${1:-} folder=${2:-}
    [ -n "$folder" ] || refuse "expected: cluster.sh start|stop|status|fail|revive|orphan FOLDER [--accounting | NODE]"
    [ "$(id -u)" = 0 ] || refuse "a SLURM cluster of several users is started by root; this is $(id -un)"
    mkdir -p "$folder"
    FOLDER=$(realpath "$folder")
    export SLURM_CONF="$FOLDER/slurm.conf"
    case "$action" in
    start) start "${3:-}" ;;
    stop) stop ;;
    status) running slurmctld && scontrol ping && sinfo --Node ;;
    fail) known "${3:-}" && kill_node "$3" ;;
    orphan) known "${3:-}" && end "slurmd.$3" KILL ;;
    revive) known "${3:-}" && start_node "$3" && wait_for_nodes ;;
    *) refuse "unknown action '$action'; known: start, stop, status, fail, revive, orphan" ;;
    esac
}

known() {
    case " ${NODES[*]} " in *" ${1:-none} "*) ;; *) refuse "unknown node '${1:-}'; known: ${NODES[*]}" ;; esac
}

# -- packages --------------------------------------------------------------------------------------------------------

install_packages() {
    local missing=()
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null || missing+=(slurm-wlm)
    command -v munged >/dev/null || missing+=(munge)
    if [ -n "$1" ]; then
        command -v slurmdbd >/dev/null || missing+=(slurmdbd)
        command -v mariadbd >/dev/null || missing+=(mariadb-server)
    fi
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || refuse "no ${missing[*]} here and no apt-get; the tests install them on Debian"
    echo "installing ${missing[*]}" >&2
    # the packages would start a cluster of their own
    local policy=/usr/sbin/policy-rc.d ours=
    [ -e "$policy" ] || { ours=yes && printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    [ -z "$ours" ] || rm "$policy"
}

# -- processes: each writes FOLDER/NAME.pid --------------------------------------------------------------------------

running() {
    local pid
    pid=$(cat "$FOLDER/$1.pid" 2>/dev/null) && [ -n "$pid" ] && [ -r "/proc/$pid/cmdline" ] &&
        tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "${1%%.*}"
}

end() { # NAME SIGNAL: and wait until it is gone
    running "$1" || return 0
    local pid
    pid=$(cat "$FOLDER/$1.pid")
    kill "-$2" "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
        running "$1" || { rm -f "$FOLDER/$1.pid" && return 0; }
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$FOLDER/$1.pid"
}

launch() { # NAME COMMAND...: a daemon that leaves the terminal by itself
    local name=$1
    shift
    "$@" </dev/null >>"$FOLDER/log/start.log" 2>&1 && return
    tail -n 5 "$FOLDER/log/start.log" >&2
    refuse "$name did not start; the end of $FOLDER/log/start.log stands above"
}

until_true() { # SECONDS WHAT COMMAND...
    local end=$((SECONDS + $1)) what=$2
    shift 2
    while [ "$SECONDS" -le "$end" ]; do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    tail --lines=15 "$FOLDER"/log/*.log >&2 || true
    refuse "$what did not come up in time; the ends of the logs in $FOLDER/log stand above"
}

# Everything that a node runs descends from its stewards, which hold its log open.
stewards() { # NODE
    local entry
    for entry in /proc/[0-9]*; do
        [ "$(cat "$entry/comm" 2>/dev/null)" = slurmstepd ] || continue
        readlink "$entry"/fd/* 2>/dev/null | grep -qxF "$FOLDER/log/slurmd.$1.log" && echo "${entry#/proc/}"
    done
    return 0
}

descendants() { # PID...
    local pid
    for pid in "$@"; do
        echo "$pid"
        # shellcheck disable=SC2046
        descendants $(cat "/proc/$pid"/task/*/children 2>/dev/null)
    done
}

kill_node() { # at once: nothing is told, nothing is written
    local all
    # shellcheck disable=SC2046
    all=$(descendants $(stewards "$1"))
    end "slurmd.$1" KILL
    # shellcheck disable=SC2086
    [ -z "$all" ] || kill -KILL $all 2>/dev/null || true
}

# -- start and stop --------------------------------------------------------------------------------------------------

start() {
    [ -z "$1" ] || [ "$1" = --accounting ] || refuse "unknown option '$1'; known: --accounting"
    install_packages "$1"
    [ ${#FOLDER} -le 80 ] || refuse "the path $FOLDER is too long for a socket; take one of 80 characters or fewer"
    mkdir -p "$FOLDER"/{log,state,spool,munge}
    chmod 755 "$FOLDER" "$FOLDER"/{log,state,spool,munge}
    [ -s "$FOLDER/ports" ] || free_ports >"$FOLDER/ports"
    read -r -a PORT <"$FOLDER/ports"
    start_munge
    if [ -n "$1" ]; then start_accounting; fi
    [ -s "$SLURM_CONF" ] || configuration "$1" >"$SLURM_CONF"
    if ! running slurmctld; then
        launch slurmctld slurmctld
        until_true 30 slurmctld timeout 5 scontrol ping
    fi
    local node
    for node in "${NODES[@]}"; do start_node "$node"; done
    wait_for_nodes
}

start_munge() {
    running munged && return
    [ -s "$FOLDER/munge/key" ] || head -c 1024 /dev/urandom >"$FOLDER/munge/key"
    chmod 600 "$FOLDER/munge/key"
    # --force: a folder below one that everybody may write to, as /tmp, is refused otherwise
    launch munged munged --force --socket="$FOLDER/munge/socket" --key-file="$FOLDER/munge/key" --pid-file="$FOLDER/munged.pid" \
        --log-file="$FOLDER/log/munged.log" --seed-file="$FOLDER/munge/seed" --num-threads=2
    until_true 10 munged timeout 5 munge --socket="$FOLDER/munge/socket" --no-input
}

start_node() {
    running "slurmd.$1" && return
    mkdir -p "$FOLDER/spool/$1"
    launch "slurmd of $1" slurmd -N "$1"
}

wait_for_nodes() {
    until_true 40 "the nodes" nodes_answer
}

nodes_answer() {
    local node
    for node in "${NODES[@]}"; do
        running "slurmd.$node" || continue # a node that a test has switched off
        case "$(timeout 5 sinfo --noheader --nodes="$node" --format=%T | head -n 1)" in
        idle | mixed | allocated | completing) ;;
        *) return 1 ;;
        esac
    done
}

start_accounting() {
    if ! running mariadbd; then
        local data="$FOLDER/mariadb" first=
        if [ ! -d "$data/mysql" ]; then
            first=yes
            mariadb-install-db --no-defaults --user=root --datadir="$data" --auth-root-authentication-method=normal \
                --skip-test-db >"$FOLDER/log/mariadb.log" 2>&1
        fi
        mariadbd --no-defaults --user=root --datadir="$data" --socket="$FOLDER/mariadb.socket" --port="${PORT[4]}" \
            --bind-address=127.0.0.1 --pid-file="$FOLDER/mariadbd.pid" --innodb-buffer-pool-size=64M \
            --innodb-lock-wait-timeout=900 </dev/null >>"$FOLDER/log/mariadb.log" 2>&1 &
        until_true 60 MariaDB timeout 5 mariadb-admin --no-defaults --socket="$FOLDER/mariadb.socket" ping
        [ -z "$first" ] || mariadb --no-defaults --socket="$FOLDER/mariadb.socket" <<'SQL'
CREATE DATABASE accounts;
CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'private';
CREATE USER slurm@localhost IDENTIFIED BY 'private';
GRANT ALL ON accounts.* TO slurm@'127.0.0.1';
GRANT ALL ON accounts.* TO slurm@localhost;
SQL
    fi
    running slurmdbd && return
    accounting_configuration >"$FOLDER/slurmdbd.conf"
    chmod 600 "$FOLDER/slurmdbd.conf"
    [ -s "$SLURM_CONF" ] || configuration --accounting >"$SLURM_CONF"
    launch slurmdbd slurmdbd
    until_true 60 slurmdbd timeout 5 sacctmgr --noheader show cluster
    sacctmgr --immediate add cluster private >/dev/null 2>&1 || true # exists from a former start
}

stop() {
    if running slurmctld; then
        scancel --full --partition=low 2>/dev/null || true
        scancel --full --partition=high 2>/dev/null || true
        for _ in $(seq 80); do
            [ -n "$(squeue --noheader 2>/dev/null)" ] || break
            sleep 0.1
        done
    fi
    local node
    for node in "${NODES[@]}"; do kill_node "$node"; done
    end slurmctld TERM
    end slurmdbd TERM
    end mariadbd TERM
    end munged TERM
}

# -- configuration ---------------------------------------------------------------------------------------------------

free_ports() { # a stretch below the ports that the kernel hands out, begun where the folder's name says
    local base try port taken
    base=$(($(cksum <<<"$FOLDER" | cut -d ' ' -f 1) % 2000))
    for try in $(seq 0 99); do
        local first=$((12000 + (base + try * 7) % 2000 * PORTS)) taken=
        for port in $(seq "$first" $((first + PORTS - 1))); do
            (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && taken=yes
        done
        [ -n "$taken" ] || { seq -s ' ' "$first" $((first + PORTS - 1)) && return; }
    done
    refuse "no $PORTS free ports in a row between 12000 and 24000"
}

configuration() {
    local host accounting=accounting_storage/none
    host=$(hostname -s 2>/dev/null || hostname)
    [ -z "$1" ] || accounting=accounting_storage/slurmdbd
    cat <<EOF_CONF
ClusterName=private
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${PORT[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job is held until its credential has expired: two minutes, unless told; 5 s is the least.
AuthInfo=socket=$FOLDER/munge/socket,cred_expire=5
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool/%n
SlurmctldPidFile=$FOLDER/slurmctld.pid
SlurmdPidFile=$FOLDER/slurmd.%n.pid
SlurmctldLogFile=$FOLDER/log/slurmctld.log
SlurmdLogFile=$FOLDER/log/slurmd.%n.log
# The plainest plugins: containers have no cgroups, no systemd, no mail.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=$accounting
AccountingStorageHost=127.0.0.1
AccountingStoragePort=${PORT[3]}
# With munge, this is where its socket is.
AccountingStoragePass=$FOLDER/munge/socket
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
# A node that answers again is used again.
ReturnToService=2
# Seconds where a real cluster has minutes.
KillWait=10
SlurmdTimeout=8
SlurmctldTimeout=30
MessageTimeout=8
InactiveLimit=0
MinJobAge=600
BatchStartTimeout=20
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=1
NodeName=DEFAULT CPUs=2 RealMemory=8000 TmpDisk=1000
NodeName=${NODES[0]} NodeHostname=$host NodeAddr=127.0.0.1 Port=${PORT[1]}
NodeName=${NODES[1]} NodeHostname=$host NodeAddr=127.0.0.1 Port=${PORT[2]}
PartitionName=DEFAULT Nodes=$(IFS=, && echo "${NODES[*]}") MaxTime=60 DefaultTime=10 State=UP OverTimeLimit=0
PartitionName=low Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high PriorityTier=10 PreemptMode=OFF
EOF_CONF
}

accounting_configuration() {
    cat <<EOF_CONF
AuthType=auth/munge
AuthInfo=socket=$FOLDER/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=${PORT[3]}
SlurmUser=root
PidFile=$FOLDER/slurmdbd.pid
LogFile=$FOLDER/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=${PORT[4]}
StorageLoc=accounts
StorageUser=slurm
StoragePass=private
EOF_CONF
}

main "$@"
