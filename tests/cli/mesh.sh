#!/bin/bash
# mesh.sh BIN -- many ranks: the same losses and parameters on every mesh, for every block. Real mpirun.
# shellcheck source=tests/cli/mesh_parts.bash disable=SC2154
. "$(dirname "$0")/mesh_parts.bash" "$@"
need_mpi

# ---- collectives -------------------------------------------------------------------------------

for mesh in 1,1,1 2,1,1 1,2,2 2,2,2; do
    ranks=$((${mesh//,/*}))
    timeout 60 mpirun -n "$ranks" --oversubscribe "$bin/../tests/ranks_comm" "$mesh" \
        >"$work/out" 2>"$work/err"
    check "collectives on $mesh" test "$(grep -c '^1 passed, 0 failed' "$work/out")" -eq "$ranks"
done

# ---- meshes ------------------------------------------------------------------------------------

# Every block, trained, scored and decoded: the models of the reference where they are there.
models=${TTT_SHARED:+$TTT_SHARED/golden/model}
if [[ ! -e ${models:-none}/mlp_base.json ]]; then
    models=tests/golden/model
    skipped=$((skipped + 1))
    echo 'skip goldens of four blocks: no ../shared/golden/model; start values of our own'
fi
meshes=('2,1,1' '1,2,1' '1,1,2' '2,2,1' '1,2,2' '2,2,2')
[[ $bin == */asan/* ]] && meshes=('1,2,2') # what differs for the sanitizer
"$bin/../tests/ranks_model" 1,1,1 "$models" "$work/one" 10 >"$work/out" 2>"$work/err"
check 'five blocks on one rank' grep -q '^5 passed, 0 failed' "$work/out"
for mesh in "${meshes[@]}"; do
    ranks=$((${mesh//,/*}))
    timeout 60 mpirun -n "$ranks" --oversubscribe "$bin/../tests/ranks_model" "$mesh" "$models" \
        "$work/one" 10 >"$work/out" 2>"$work/err"
    check "five blocks on $mesh: losses, parameters and texts of one rank" \
        test "$(grep -c '^5 passed, 0 failed' "$work/out")" -eq "$ranks"
done

# Untied head, several micro-batches, Adafactor, a mean of gradients, a convolution before the mixer.
model=(--total_steps=10 --accum_steps=2 --optimizer.accumulate_gradient_steps=2
    --optimizer.adamw_optimizer.multiply_by_parameter_scale --save_milestone_freq=10
    --update_model_config="dict($shape, tie_word_embeddings=False, pre_conv=True)")
train 1 1,1,1 other "${model[@]}" || bad 'other settings on one rank'
train 4 1,2,2 other-4 "${model[@]}"
same 'other settings on 1,2,2' other other-4
# curves RUN: the TTT statistics of its milestone, to four digits.
curves() { grep ttt_stats "$work/runs/$1/metrics.jsonl" | grep -oE '[0-9]\.[0-9]{4}|e-[0-9]+' | head -n 40; }
train 4 1,2,2 other-again "${model[@]}" --recompute_blocks=on
check 'blocks recomputed on 1,2,2, to the same bits' test "$(cat "$work"/runs/other-4/step_10/params* | md5sum)" = \
    "$(cat "$work"/runs/other-again/step_10/params* | md5sum)"
check 'statistics are of all heads and rows' test "$(curves other)" = "$(curves other-4)" -a \
    -n "$(curves other)"

# ---- the plan ----------------------------------------------------------------------------------

# What is planned to be sent is what is sent, to the byte, on every axis.
for plan in 'ttt_mlp 2,2,2' 'self_attention 1,2,2' 'ttt_linear_base 2,1,1'; do
    read -r block mesh <<<"$plan"
    model=(--update_model_config="dict(${shape/layers=2/layers=4}, seq_modeling_block='$block')")
    ranks=$((${mesh//,/*}))
    "$bin/ttt-train" "${common[@]}" "${model[@]}" --plan --gpus="$ranks" --mesh_dim="$mesh" \
        >"$work/plan" 2>"$work/err"
    train "$ranks" "$mesh" "planned-$block" "${model[@]}" --total_steps=3 --eval_every=0
    check "bytes of $block on $mesh are as planned" test -n "$(grep 'sent a step' "$work/err")" -a \
        "$(sed -n 's/.*sent a step by a rank: //p' "$work/err")" = "$(sed -n 's/^as fp32.*: //p' "$work/plan")"
done
"$bin/ttt-train" --plan --gpus=64 --gpu=h200 --load_model_config=1b-TTT --global_batch_size=512 \
    --seq_length=2048 >"$work/plan" 2>"$work/err"
check 'a plan for 64 devices names a mesh' grep -q '^best: --mesh_dim=' "$work/plan"
check 'a plan that cannot be is refused' test "$("$bin/ttt-train" --plan --gpus=64 \
    --global_batch_size=1 2>&1 | grep -c 'no mesh of 64')" -eq 1
check "docs/scale.md's table is what the plan says" env TTT_TRAIN="$bin/ttt-train" scripts/scale-table --check

# ---- resuming ----------------------------------------------------------------------------------

model=(--total_steps=20 --update_model_config="dict($shape)")
train 1 1,1,1 curve "${model[@]}" --total_steps=20 --save_checkpoint_freq=5 || bad 'one rank, 20 steps'
for part in 4:1,2,2:5 2:2,1,1:10 1:1,1,1:15 8:2,2,2:20; do
    IFS=: read -r ranks mesh steps <<<"$part"
    train "$ranks" "$mesh" hops "${model[@]}" --total_steps="$steps" --resume=auto ||
        bad "up to step $steps on $mesh"
done
sed -i '/val_loss/d' "$work"/runs/{curve,hops}/metrics.jsonl
same 'resumed 4 -> 2 -> 1 -> 8' curve hops
check 'no files of other ranks are left' test "$(find "$work/runs/hops" -name '*-of-*' | wc -l)" -eq 16

train 2 1,1,2 curve --eval_mode --resume_exp_name=hops "${model[@]}"
grep Loss "$work/out" >"$work/two"
"$bin/ttt-train" "${common[@]}" "${model[@]}" --eval_mode --resume_exp_name=hops 2>"$work/err" \
    >"$work/one"
check 'evaluation on two ranks prints once, the same' cmp -s "$work/one" "$work/two"

# ---- evaluating and generating -------------------------------------------------------------------

# on MESH PROGRAM FLAGS...
on() {
    local mesh=$1 name=$2
    shift 2
    timeout -k 5 60 mpirun -n "$((${mesh//,/*}))" --oversubscribe "$bin/$name" --device=cpu \
        --threads=1 --mesh_dim="$mesh" "$@" >"$work/out" 2>"$work/err"
}
model=(--vocab_size=1024 --total_steps=10
    --update_model_config="dict($shape, seq_modeling_block='ttt_mlp', pre_conv=True)")
train 1 1,1,1 speaks "${model[@]}" || bad 'a model to evaluate'

table=("$work/runs/speaks" --dataset_path="$work/data" --tokenizer_name=tiny --by_position --bins=4)
"$bin/ttt-eval" --device=cpu --threads=1 "${table[@]}" --json="$work/one.json" >"$work/one" 2>"$work/err"
cat >"$work/near.py" <<'PY'
import json, sys
one, many = ([r["loss"] for r in json.load(open(f))["results"]] for f in sys.argv[1:])
sys.exit(not (len(one) == len(many) > 0 and all(abs(a - b) <= 2e-6 for a, b in zip(one, many))))
PY
for mesh in 2,1,1 1,2,1 1,1,2 1,2,2; do
    on "$mesh" ttt-eval "${table[@]}" --json="$work/many.json"
    check "ttt-eval on $mesh: the same table" cmp -s "$work/one" "$work/out"
    check 'and losses within 2e-6' python3 "$work/near.py" "$work/one.json" "$work/many.json"
done
on 2,1,1 ttt-eval "${table[@]}" --tokens=64 --state="$work/state"
on 1,1,2 ttt-eval "${table[@]}" --tokens=64 --state="$work/state"
check 'ttt-eval goes on from the state of another mesh' says 'goes on at window 2'

texts=(--checkpoint="$work/runs/speaks" --tokenizer=tests/golden/tokenizer/small-1024.model
    --temperature=0 --tokens=24 --batch=3 'In the beginning' 'And' 'God created the heaven and the earth')
"$bin/ttt-generate" --device=cpu --threads=1 "${texts[@]}" >"$work/one" 2>"$work/err"
check 'ttt-generate on one rank' test "$(wc -c <"$work/one")" -gt 100
for mesh in 2,1,1 1,1,2 1,2,2; do
    on "$mesh" ttt-generate "${texts[@]}"
    check "ttt-generate on $mesh: the same texts, once" cmp -s "$work/one" "$work/out"
done
on 2,1,1 ttt-generate "${texts[@]}" --prompts=-
check 'standard input of many ranks is refused' says 'cannot share standard input'
on 2,1,1 ttt-generate "${texts[@]}" --load_state="$work/memory"
check 'and so is a memory' says 'are for a single rank'

finish
