#!/bin/bash
# nccl.sh BIN -- many ranks of the CUDA text, run by the CPU: the collectives, and training on meshes, over
# the stand-in for NCCL, which does what is queued on a stream when it is waited for and no sooner.
# shellcheck source=tests/cli/mesh_parts.bash disable=SC2154
. "$(dirname "$0")/mesh_parts.bash" "$@"
export TTT_MASTER_ADDR=127.0.0.1
cpu=$bin/../../cpu/bin
[[ $bin == *bf16* ]] && loose=2e-2 || loose=2e-6

# together RANKS COMMAND...: as a launcher by hand would.
together() {
    local ranks=$1 r pids=() status=0
    shift
    for ((r = 0; r < ranks; r++)); do
        TTT_RANK=$r TTT_RANKS=$ranks TTT_LOCAL_RANK=0 TTT_JOB_TOKEN="$work" \
            timeout 200 "$@" >"$work/out.$r" 2>"$work/err.$r" &
        pids+=($!)
    done
    for r in "${pids[@]}"; do
        wait "$r" || status=1
    done
    cat "$work"/out.* >"$work/out"
    cat "$work"/err.* >"$work/err"
    rm "$work"/out.* "$work"/err.*
    return $status
}
step() { grep '"loss"' "$work/runs/$1/metrics.jsonl" | sed -E 's/.*"loss": ([^,]*), "grad_norm": ([^,]*),.*/\1 \2/'; }
# close_to RUN RUN: losses and gradient norms of every step.
close_to() {
    [[ -n $(step "$1") ]] && paste -d' ' <(step "$1") <(step "$2") | awk -v most="$loose" '
        function off(a, b) { d = a - b; return (d < 0 ? -d : d) / (a > 1 ? a : 1) }
        NF != 4 || !(off($1, $3) <= most) || !(off($2, $4) <= 5 * most) { bad = 1 } END { exit bad }'
}

for mesh in 2,1,1 1,2,2; do
    together $((${mesh//,/*})) "$bin/../tests/ranks_comm" "$mesh"
    check "collectives on $mesh" test "$(grep -c '^1 passed, 0 failed' "$work/out")" -eq $((${mesh//,/*}))
done

# Processes that find themselves by what each launcher says of them. LAUNCHER: VARIABLE=value..., R the rank.
export -n TTT_MASTER_ADDR
launchers=(
    "srun SLURM_PROCID=R SLURM_STEP_NUM_TASKS=2 SLURM_LOCALID=R SLURM_JOB_ID=$$ SLURM_STEP_ID=0
        SLURM_STEP_NODELIST=localhost"
    "torchrun RANK=R WORLD_SIZE=2 LOCAL_RANK=R LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1
        MASTER_PORT=$((30000 + RANDOM % 20000)) TORCHELASTIC_RUN_ID=$$"
    "MPICH PMI_RANK=R PMI_SIZE=2 MPI_LOCALRANKID=R MPI_LOCALNRANKS=2 PMI_PORT=localhost:$$"
    "Open_MPI OMPI_COMM_WORLD_RANK=R OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=R
        OMPI_COMM_WORLD_LOCAL_SIZE=2 PMIX_NAMESPACE=$$"
)
for launcher in "${launchers[@]}"; do
    read -r -d '' -a says_it <<<"$launcher"
    for r in 0 1; do
        (
            export "${says_it[@]:1}"
            for name in "${says_it[@]:1}"; do [[ $name == *=R ]] && export "${name%R}$r"; done
            exec timeout 60 "$bin/../tests/ranks_comm" 2,1,1 >"$work/out.$r" 2>&1
        ) &
    done
    wait
    check "started as by ${says_it[0]}" \
        test "$(cat "$work"/out.[01] | grep -c '^1 passed, 0 failed')" -eq 2
done
rm "$work"/out.[01]
export TTT_MASTER_ADDR=127.0.0.1

# Every block, trained, scored and decoded.
"$bin/../tests/ranks_model" 1,1,1 tests/golden/model "$work/one" 2 >"$work/out" 2>"$work/err"
check 'five blocks on one rank' grep -q '^5 passed, 0 failed' "$work/out"
for mesh in 2,2,1 1,2,2; do
    together 4 "$bin/../tests/ranks_model" "$mesh" tests/golden/model "$work/one" 2
    check "five blocks on $mesh: losses, parameters and texts of one rank" \
        test "$(grep -c '^5 passed, 0 failed' "$work/out")" -eq 4
done

small=(--global_batch_size=4 --total_steps=3 --eval_every=0
    --update_model_config="dict(${shape/layers=2/layers=3}, seq_modeling_block='self_attention')")
"$bin/ttt-train" "${common[@]}" "${small[@]}" --exp_name=one 2>"$work/err" || bad 'a run of one rank'
together 4 "$bin/ttt-train" "${common[@]}" "${small[@]}" --mesh_dim=1,2,2 --exp_name=many
check 'ttt-train on 1,2,2' close_to one many
"$bin/ttt-train" "${common[@]}" "${small[@]}" --exp_name=many --resume=auto \
    --total_steps=4 2>"$work/err"
check 'one rank goes on where four were' says 'step 4/4'

# Of two devices one has less memory: both take as many rows at once as fit there.
many_rows=("${small[@]}" --global_batch_size=64 --total_steps=2)
"$bin/ttt-train" "${common[@]}" "${many_rows[@]}" --exp_name=rows 2>"$work/err" || bad 'a run of many rows'
for r in 0 1; do
    TTT_RANK=$r TTT_RANKS=2 TTT_LOCAL_RANK=0 TTT_JOB_TOKEN="$work" EMULATED_MIB=$((40 + 4056 * (1 - r))) \
        timeout 200 "$bin/ttt-train" "${common[@]}" "${many_rows[@]}" --mesh_dim=2,1,1 --micro_batch=auto \
        --exp_name=rows-auto 2>"$work/err.$r" &
done
wait
cat "$work"/err.[01] >"$work/err"
check 'micro_batch=auto is what fits on every rank' grep -qE 'micro_batch=auto: (2|4|8|16) of 32' "$work/err"
check 'with the losses of one rank' close_to rows rows-auto
rm "$work"/err.[01]

# ---- ranks of another build ----------------------------------------------------------------------

# A step of no size: what a run saves is what it took over.
still=("${small[@]}" --optimizer.adamw_optimizer.lr=0 --optimizer.adamw_optimizer.end_lr=0 --resume=auto)
if [[ ! -x $cpu/ttt-train-mpi ]] || ! command -v mpirun >/dev/null; then
    skipped=$((skipped + 1))
    echo 'skip a checkpoint from build to build: no ttt-train-mpi of the cpu build, or no mpirun'
else
    bin=$cpu train 2 1,2,1 moved "${small[@]}" || bad 'two ranks of the cpu build'
    cp -r "$work/runs/moved" "$work/runs/taken"
    "$bin/ttt-train" "${common[@]}" "${still[@]}" --exp_name=taken --total_steps=4 2>"$work/err"
    check 'two ranks over MPI, then one of the CUDA text: every bit of the parameters' \
        python3 "$work/same.py" "$work/runs/moved" "$work/runs/taken" bits
    check 'and it made a step' says 'step 4/4'
    cp -r "$work/runs/many" "$work/runs/back"
    bin=$cpu train 2 1,1,2 back "${still[@]}" --total_steps=5
    check 'and one of the CUDA text, then two over MPI' \
        python3 "$work/same.py" "$work/runs/many" "$work/runs/back" bits
    check 'and they made a step' says 'step 5/5'
fi

# ---- strangers -----------------------------------------------------------------------------------

# alone NAME RANK COMMAND...: one of two ranks, in the background.
alone() {
    local file=$work/$1.$2 r=$2
    shift 2
    TTT_RANK=$r TTT_RANKS=2 TTT_LOCAL_RANK=0 timeout -k 5 100 bash -c '
        "${@:2}" >/dev/null 2>"$1.err" & echo $! >"$1.pid"; wait $!; echo $? >"$1.status"' - "$file" "$@" &
}
ends() { # ends NAME RANK STATUS WORDS
    cp "$work/$1.$2.err" "$work/err"
    [[ $(cat "$work/$1.$2.status") -eq $3 ]] && says "$4"
}
two=("$bin/ttt-train" "${common[@]}" "${small[@]}" "--mesh_dim=2,1,1")
rooms=("$work" "$work/runs")
port=$((30000 + RANDOM % 20000))
export TTT_MASTER_PORT=$port
TTT_JOB_TOKEN=ours alone met 0 "${two[@]}" --exp_name=met
for ((i = 0; i < 100; i++)); do
    exec 3<>"/dev/tcp/127.0.0.1/$port" && break
    sleep 0.1
done 2>/dev/null
head -c 1000 /dev/zero >&3
exec 3>&-
TTT_JOB_TOKEN=theirs alone wrong 1 "${two[@]}" --exp_name=met --comm_timeout=2
strangers=$!
alone none 1 "${two[@]}" --exp_name=met --comm_timeout=2
wait $! $strangers
check 'a rank of another token is turned away and told' ends wrong 1 1 'turned this rank away: .* TTT_JOB_TOKEN'
check 'so is one of none' ends none 1 1 'turned this rank away: .* TTT_JOB_TOKEN'
TTT_JOB_TOKEN=ours alone met 1 "${two[@]}" --exp_name=met
wait
check 'the job that they came to goes on' ends met 0 0 'step 3/3'
check 'with its own rank' test "$(cat "$work/met.1.status")" -eq 0
TTT_JOB_TOKEN=ours alone unmet 0 "${two[@]}" --exp_name=unmet --comm_timeout=4
TTT_JOB_TOKEN=theirs alone unmet 1 "${two[@]}" --exp_name=unmet --comm_timeout=1
wait
check 'and one that no rank comes to says who came' \
    ends unmet 0 1 'rank 1 of 2 did not come .* turned away: its job token was another'
unset TTT_MASTER_PORT
for r in 0 1; do
    TTT_JOB_TOKEN=ours alone fell $r env -C "${rooms[r]}" "${two[@]}" --exp_name=fell --dataset_path=data
done
wait
check 'a rank without its data: the other names it' ends fell 0 1 'rank 1 (.*) is gone, .* before the first step'

# ---- ranks that die or stop, and a library that fails --------------------------------------------

export TTT_JOB_TOKEN=$work
# begin NAME FLAGS...: a long run of two ranks, under way when this returns.
begin() {
    local name=$1 r
    shift
    for r in 0 1; do
        alone "$name" $r "${two[@]}" --exp_name="$name" --total_steps=100000 --save_checkpoint_freq=2 "$@"
    done
    for ((i = 0; i < 300; i++)); do
        [[ -e $work/runs/$name/latest ]] && return
        sleep 0.1
    done
}
goes_on() { # goes_on NAME: its checkpoint is whole
    local step
    step=$(sed 's/step_//' "$work/runs/$1/latest")
    "$bin/ttt-train" "${common[@]}" "${small[@]}" --exp_name="$1" --resume=auto \
        --total_steps=$((step + 1)) 2>"$work/err" && says "step $((step + 1))/$((step + 1))"
}
begin killed
kill -KILL "$(cat "$work/killed.1.pid")"
wait
check 'a rank killed: the other ends with one sentence that names it' all_say killed 1 ' is gone'
check 'and the last checkpoint is whole' goes_on killed
begin stopped --comm_timeout=5
victim=$(cat "$work/stopped.0.pid") began=$SECONDS
kill -STOP "$victim"
check 'a rank stopped: the other ends with one sentence that names it' \
    all_say stopped 0 ' has said nothing for'
check 'within the time limit' test $((SECONDS - began)) -le 10
kill -KILL "$victim"
wait
check 'and the last checkpoint is whole as well' goes_on stopped

# A collective that never ends, of which NCCL tells only who asks.
for r in 0 1; do
    if [[ $r == 1 ]]; then export EMULATED_NCCL_FAILS=40; fi
    alone failed $r "${two[@]}" --exp_name=failed --total_steps=1000
done
unset EMULATED_NCCL_FAILS
wait
check 'NCCL fails on a rank: the other ends with one sentence that names it' \
    all_say failed 1 ': NCCL: a collective: a remote process does not answer'
check 'and so does the rank itself' ends failed 1 1 'rank 1: NCCL: a collective: a remote process does not answer'
finish
