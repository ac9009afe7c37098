#!/bin/bash
# paper.sh BIN -- scripts/paper against the table of the published models, all twelve and contexts.
set -uo pipefail
bin=$(cd "${1:?usage: paper.sh BIN}" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d --tmpdir ttt-paper-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
PATH=$bin:$PATH
ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1  ${2-}"; }

# mixer, size | model, block, inner rate, its start and warm-up | steps, peak rate, warm-up
table='
transformer 125m | 125m self_attention - - - | 4800 3e-3 480
ttt-linear 125m | 125m-TTT ttt_linear 1.0 - - | 4800 3e-3 480
ttt-mlp 125m | 125m-TTT ttt_mlp 0.1 0.01 480 | 4800 3e-3 480
transformer 350m | 350m self_attention - - - | 13500 1.5e-3 1350
ttt-linear 350m | 350m-TTT ttt_linear 1.0 - - | 13500 1.5e-3 1350
ttt-mlp 350m | 350m-TTT ttt_mlp 0.1 0.01 1350 | 13500 1.5e-3 1350
transformer 760m | 760m self_attention - - - | 29000 1.25e-3 2900
ttt-linear 760m | 760m-TTT ttt_linear 1.0 - - | 29000 1.25e-3 2900
ttt-mlp 760m | 760m-TTT ttt_mlp 0.1 0.01 2900 | 29000 1.25e-3 2900
transformer 1b | 1b self_attention - - - | 50000 1e-3 5000
ttt-linear 1b | 1b-TTT ttt_linear 1.0 - - | 50000 1e-3 5000
ttt-mlp 1b | 1b-TTT ttt_mlp 0.1 0.01 5000 | 50000 1e-3 5000
'
# has NAME VALUE: the words of the command hold --NAME=VALUE.
words=()
has() {
    local word
    for word in "${words[@]}"; do [[ $word == "--$1=$2" ]] && return; done
    return 1
}
contexts='2048 2048 256
8k 8192 64
32k 32768 16
1024 1024 512'
while read -r mixer size _ model block rate init warm _ steps lr warmup; do
    [[ -n $mixer ]] || continue
    while read -r context tokens rows; do
        for corpus in the_pile books3; do
            flag=--pile
            [[ $corpus == books3 ]] && flag=--books
            line=$(scripts/paper --dry-run "$mixer" "$size" "$context" $flag --accum_steps=4) ||
                { bad "$mixer $size $context $corpus" 'fails'; continue; }
            eval "words=($line)"
            update="dict(seq_modeling_block='$block'"
            [[ $rate != - ]] && update+=", ttt_base_lr=$rate"
            [[ $init != - ]] && update+=", ttt_base_lr_init=$init, ttt_base_lr_warmup=$warm"
            if has load_model_config "$model" && has update_model_config "$update)" &&
                has total_steps "$steps" && has optimizer.adamw_optimizer.lr "$lr" &&
                has optimizer.adamw_optimizer.lr_warmup_steps "$warmup" &&
                has optimizer.adamw_optimizer.lr_decay_steps "$steps" &&
                has optimizer.adamw_optimizer.end_lr 1e-5 && has optimizer.type adamw &&
                has optimizer.adamw_optimizer.weight_decay 0.1 && has dtype fp32 &&
                has seq_length "$tokens" && has global_batch_size "$rows" && has accum_steps 4 &&
                has dataset_name $corpus && has dataset_path data/$corpus && has mesh_dim '!-1,1,1'; then
                ok "$mixer $size $context $corpus"
            else
                bad "$mixer $size $context $corpus" "$line"
            fi
        done
    done <<<"$contexts"
done <<<"$table"

# ttt-train takes every one of these flags: only the data are missing.
mkdir "$work/none"
for mixer in transformer ttt-linear ttt-mlp; do
    if scripts/paper --data "$work/none" $mixer 125m 2k --exp_dir="$work/runs" --device=cpu 2>"$work/err"; then
        bad "$mixer is taken by ttt-train" 'without data?'
    elif grep -q "$work/none" "$work/err" && ! grep -q 'no such flag' "$work/err"; then
        ok "$mixer is taken by ttt-train"
    else
        bad "$mixer is taken by ttt-train" "$(<"$work/err")"
    fi
done
for wrong in 'rnn 125m 2k' 'ttt-mlp 7b 2k' 'ttt-mlp 125m 3000' 'ttt-mlp 125m'; do
    # shellcheck disable=SC2086
    scripts/paper --dry-run $wrong >/dev/null 2>"$work/err"
    if [[ $? -eq 2 && $(wc -l <"$work/err") -eq 1 ]]; then ok "refused: $wrong"; else bad "refused: $wrong"; fi
done
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
