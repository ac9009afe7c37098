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
small=(--global_batch_size=4 --total_steps=3 --eval_every=0)
for block in ttt_mlp self_attention; do
    model=(--update_model_config="dict(${shape/layers=2/layers=3}, seq_modeling_block='$block')")
    "$bin/ttt-train" "${common[@]}" "${small[@]}" "${model[@]}" --exp_name="$block" 2>"$work/err" ||
        bad "$block on one rank"
    for mesh in 2,2,1 1,2,2; do
        together 4 "$bin/ttt-train" "${common[@]}" "${small[@]}" "${model[@]}" --mesh_dim="$mesh" \
            --exp_name="$block-$mesh"
        check "$block on $mesh" close_to "$block" "$block-$mesh"
    done
done
"$bin/ttt-train" "${common[@]}" "${small[@]}" "${model[@]}" --exp_name=self_attention-1,2,2 --resume=auto \
    --total_steps=4 2>"$work/err"
check 'one rank goes on where four were' says 'step 4/4'
finish
