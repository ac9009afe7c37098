#!/bin/bash
# optimisers.sh BIN -- every optimiser and block: a run that was stopped and resumed, or that recomputed
# more, is byte for byte the run that was not.
# shellcheck source=tests/cli/parts.bash disable=SC2154
. "$(dirname "$0")/parts.bash" "$@"

dataset "$work/data" 2000 400

train() {
    "$bin/ttt-train" --dataset_path="$work/data" --vocab_size=64 --seq_length=32 --global_batch_size=2 \
        --optimizer.adamw_optimizer.lr=1e-2 --optimizer.adamw_optimizer.lr_warmup_steps=2 \
        --optimizer.adamw_optimizer.lr_decay_steps=9 --optimizer.palm_optimizer.lr_warmup_steps=4 \
        --exp_dir="$work/runs" --threads=1 --device=cpu -q "$@" 2>"$work/err"
}
model() { # model BLOCK [MORE]
    echo "dict(seq_modeling_block='$1', num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=48${2-})"
}
same() {
    local file
    for file in params moments; do
        cmp -s "$work/runs/whole-$1/step_9/$file.safetensors" "$work/runs/halves-$1/step_9/$file.safetensors" || return 1
    done
    [[ $(sed -E 's/, "tokens_per_s".*//' "$work/runs/whole-$1/metrics.jsonl") == \
        $(sed -E 's/, "tokens_per_s".*//' "$work/runs/halves-$1/metrics.jsonl") ]]
}

# resumes NAME BLOCK FLAGS...: nine steps at once, and four, then five.
resumes() {
    local name=$1 block
    block=$(model "$2")
    shift 2
    if train --exp_name="whole-$name" --total_steps=9 --update_model_config="$block" "$@" &&
        train --exp_name="halves-$name" --total_steps=4 --update_model_config="$block" "$@" &&
        train --exp_name="halves-$name" --total_steps=9 --update_model_config="$block" "$@" --resume=auto && same "$name"; then
        ok "$name"
    else
        bad "$name"
    fi
}
adamw=--optimizer.adamw_optimizer
resumes adamw self_attention
resumes bf16-momentum ttt_mlp $adamw.bf16_momentum
resumes parameter-scale ttt_mlp_base $adamw.multiply_by_parameter_scale
resumes palm ttt_linear_base --optimizer.type=palm
resumes palm-bf16-momentum ttt_linear --optimizer.type=palm --optimizer.palm_optimizer.bf16_momentum
resumes mean-of-three ttt_linear --optimizer.accumulate_gradient_steps=3
resumes palm-mean-of-two ttt_mlp --optimizer.type=palm --optimizer.accumulate_gradient_steps=2

# How often the inner state is kept is a matter of memory alone.
for block in ttt_linear ttt_mlp; do
    for every in 1 3 100; do
        train --exp_name="$block-$every" --total_steps=3 --recompute_every=$every \
            --update_model_config="$(model $block ', mini_batch_size=4')" &&
            cmp -s "$work/runs/$block-1/step_3/params.safetensors" "$work/runs/$block-$every/step_3/params.safetensors" &&
            grep -q "\"remat_mini_batch_group_size\": $every\b" "$work/runs/$block-$every/config.json"
        if [[ $? -eq 0 ]]; then ok "$block-recomputed-every-$every"; else bad "$block-recomputed-every-$every"; fi
    done
done

# So is whether blocks are recomputed.
for block in self_attention ttt_linear ttt_mlp ttt_linear_base ttt_mlp_base; do
    layers=$(model $block | sed 's/num_hidden_layers=1/num_hidden_layers=3/')
    for blocks in off on; do
        train --exp_name="$block-blocks-$blocks" --total_steps=3 --micro_batch=1 --save_milestone_freq=3 \
            --recompute_blocks=$blocks --update_model_config="$layers" || bad "$block-blocks-$blocks"
    done
    sed -i -E 's/, "tokens_per_s".*//' "$work/runs/$block-blocks"-*/metrics.jsonl
    if cmp -s "$work/runs/$block-blocks"-{off,on}/step_3/params.safetensors &&
        cmp -s "$work/runs/$block-blocks"-{off,on}/metrics.jsonl &&
        grep -q '"remat_block": "nothing_saveable"' "$work/runs/$block-blocks-on/config.json" &&
        grep -q '"remat_block": ""' "$work/runs/$block-blocks-off/config.json"; then
        ok "$block-blocks-recomputed"
    else
        bad "$block-blocks-recomputed"
    fi
done

# The moments of one optimiser are not another's.
refuses() {
    local name=$1 flag=$2
    train --exp_name=halves-adamw --resume=auto --total_steps=10 --update_model_config="$(model self_attention)" "$flag"
    if [[ $? -eq 1 ]] && grep -q 'trainstate_params' "$work/err"; then ok "$name"; else bad "$name"; fi
}
refuses other-optimiser --optimizer.type=palm
refuses other-accumulation --optimizer.accumulate_gradient_steps=2
refuses other-scale $adamw.multiply_by_parameter_scale

finish
