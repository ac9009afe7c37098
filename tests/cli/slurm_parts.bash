# slurm_parts.bash -- a Slurm of this machine alone, for tests: its daemons, its keys, its configuration.
# shellcheck shell=bash

# begin_slurm FOLDER: daemons of its own with all they write in FOLDER, and SLURM_CONF set; or why not, on
# standard output. Jobs may take more processors than there are.
begin_slurm() {
    local at=$1 name port daemon
    for daemon in slurmctld slurmd munged sbatch; do
        command -v "$daemon" >/dev/null || { echo "$daemon is not installed (Debian: slurm-wlm munge)"; return 1; }
    done
    [[ $(id -u) -eq 0 ]] || { echo 'its daemons want root'; return 1; }
    name=$(hostname -s) port=$((20000 + RANDOM % 20000))
    mkdir -p "$at/state" "$at/spool" && chmod 700 "$at" || return 1
    head -c 1024 /dev/urandom >"$at/munge.key" && chmod 400 "$at/munge.key"
    munged --force --socket="$at/munge.socket" --key-file="$at/munge.key" --pid-file="$at/munged.pid" \
        --log-file="$at/munged.log" --seed-file="$at/munge.seed" >"$at/out" 2>&1 ||
        { tail -n 1 "$at/out"; return 1; }
    # A job that is queued again waits until the keys of its first run are past: cred_expire.
    cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$at/munge.socket,cred_expire=5
StateSaveLocation=$at/state
SlurmdSpoolDir=$at/spool
SlurmctldPidFile=$at/slurmctld.pid
SlurmdPidFile=$at/slurmd.pid
SlurmctldLogFile=$at/slurmctld.log
SlurmdLogFile=$at/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
NodeName=$name NodeAddr=127.0.0.1 CPUs=16 State=UNKNOWN
PartitionName=cpu Nodes=$name Default=YES MaxTime=INFINITE State=UP
END
    srun --mpi=list 2>&1 | grep -qw pmix && sed -i s/MpiDefault=none/MpiDefault=pmix/ "$SLURM_CONF"
    { slurmctld -c -f "$SLURM_CONF" && slurmd -f "$SLURM_CONF" -N "$name"; } >>"$at/out" 2>&1 ||
        { tail -n 1 "$at/out"; return 1; }
    for _ in {1..100}; do
        [[ $(sinfo -h -o %t 2>/dev/null) == idle ]] && return 0
        sleep 0.2
    done
    echo "its node does not come up: $(tail -n 1 "$at/slurmd.log")"
    return 1
}

# end_slurm FOLDER: its daemons, by what they noted of themselves.
end_slurm() {
    local pids
    pids=$(cat "$1"/*.pid 2>/dev/null) || return 0
    # shellcheck disable=SC2086 # several
    kill $pids 2>/dev/null
}

# through: whether all jobs come to their end.
through() {
    for _ in {1..300}; do
        [[ $(squeue -h 2>/dev/null) ]] || return 0
        sleep 0.2
    done
    return 1
}
