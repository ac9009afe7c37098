#!/bin/bash
# nccl.sh BIN -- many ranks of the CUDA text, run by the CPU: the collectives, and training on meshes, over
# the stand-in for NCCL, which does what is queued on a stream when it is waited for and no sooner.
# shellcheck source=tests/cli/mesh_parts.bash disable=SC2154
. "$(dirname "$0")/mesh_parts.bash" "$@"
export TTT_MASTER_ADDR=127.0.0.1
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
finish
