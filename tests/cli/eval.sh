#!/bin/bash
# eval.sh BIN -- ttt-eval as people use it: tables, JSON, pictures, stopped and gone on.
# shellcheck source=tests/cli/parts.bash disable=SC2154
. "$(dirname "$0")/parts.bash" "$@"
tokenizer=$here/tests/golden/tokenizer/small-1024.model
program=("$bin/ttt-eval" --device=cpu)

evaluate() { "$bin/ttt-eval" --device=cpu --threads=1 --dataset_path=data "$@" 2>err; }

# ---- two models and a text of known length -----------------------------------------------------

text='One fish swam in the sea, café 火 🙂 and two fishes swam with me.'
for _ in {1..23}; do printf '{"text": "%s"}\n' "$text"; done >text.jsonl
"$bin/ttt-tokenize" -q --tokenizer "$tokenizer" -o text.tok text.jsonl 2>err &&
    "$bin/ttt-pack" -q -o data --tokenizer-name text --train=text.tok --validation=text.tok \
        --test=text.tok >/dev/null 2>err
train() { # train NAME BLOCK
    "$bin/ttt-train" -q --device=cpu --dataset_path=data --tokenizer_name=text --vocab_size=1024 \
        --seq_length=32 --global_batch_size=4 --total_steps=20 --save_milestone_freq=10 \
        --update_model_config="dict(num_hidden_layers=1, hidden_size=32, num_attention_heads=2,
            intermediate_size=48, seq_modeling_block='$2', pre_conv=$3)" --threads=1 \
        --optimizer.adamw_optimizer.lr=1e-2 --optimizer.adamw_optimizer.end_lr=1e-3 \
        --optimizer.adamw_optimizer.lr_warmup_steps=5 --eval_every=20 \
        --optimizer.adamw_optimizer.lr_decay_steps=20 --exp_dir=. --exp_name="$1" 2>err
}
check 'a TTT model' train linear ttt_linear True
check 'a Transformer' train attention self_attention False
ids=$("$bin/ttt-peek" --json data/*/validation.npy 2>/dev/null | jq -r '.tokens // empty' 2>/dev/null)
shape=$(head -c 128 data/*/validation.npy | grep -ao '([0-9]*,)' | tr -dc 0-9)
ids=${ids:-$shape}

# ---- figures -----------------------------------------------------------------------------------

evaluate linear --json=one.json >table
check 'a table' grep -qE '^ +32 +20 +'$((ids - 1))' +[0-9.]+ +[0-9.]+ +- +0\.[0-9]+  linear/step_20, data/validation$' table
check 'every target but the first is counted' test "$(jq '.results[0].tokens' one.json)" = $((ids - 1))
loss=$(jq '.results[0].loss' one.json)
check 'perplexity is its power' near "$(jq '.results[0] | (.loss | exp) - .perplexity' one.json)" 0 1e-9
val=$(jq -s 'map(select(.val_loss)) | last | .val_loss' linear/metrics.jsonl)
evaluate linear --reference --global_batch_size=4 --json=rows.json >/dev/null
check "the reference's way is what ttt-train told" near "$(jq '.results[0].loss' rows.json)" "$val" 1e-6
printed=$("$bin/ttt-train" -q --flagfile=linear/flags.txt --eval_mode --resume_exp_name=linear --resume=off 2>err)
check 'and what --eval_mode prints' test "$printed" = "$(printf 'Eval Loss: %.4f' "$(jq '.results[0].loss' rows.json)")"
check 'which drops the last batch' test "$(jq '.results[0].tokens' rows.json)" = $(((ids - 1) / 32 / 4 * 4 * 32))
for rows in 1 3 64; do
    evaluate linear --batch=$rows --json=batch.json >/dev/null
    check "$rows windows at once" near "$(jq '.results[0].loss' batch.json)" "$loss" 1e-6
done
evaluate linear --tokens=100 --json=some.json >/dev/null
check 'some of the tokens' test "$(jq '.results[0].tokens' some.json)" = 128

evaluate linear --tokenizer="$tokenizer" --json=bytes.json >table
text_bytes=$(($(printf %s "$text" | wc -c) * 23))
check 'bytes of text, all of it' test "$(jq '.results[0].bytes' bytes.json)" = $text_bytes
check 'bits per byte' near "$(jq '.results[0] | .loss * .tokens / 0.6931471805599453 / .bytes - .bits_per_byte' bytes.json)" 0 1e-9
evaluate linear --mask_bos=on --json=masked.json >/dev/null
check 'beginnings of documents masked' test "$(jq '.results[0].tokens' masked.json)" = $((ids - 23))

# ---- several, by position ----------------------------------------------------------------------

evaluate linear/step_10 linear attention -s 16,32,64,256 --by_position --bins=8 --json=all.json --png=by.png >table
check 'checkpoints by contexts' test "$(jq '.results | length' all.json)" = 12
check 'in order' test "$(jq -c '[.results[] | .seq_length] | unique' all.json)" = '[16,32,64,256]'
check 'a later checkpoint is better' holds '.results[1].loss > .results[5].loss + 0.1' all.json
check 'tokens by position add up' holds '[.results[] | (.by_position.tokens | add) == .tokens] | all' all.json
check 'losses by position too' holds '[.results[] | ([.by_position | [.tokens, .loss] | transpose[] | .[0] * (.[1] // 0)] | add / 1) - .loss * .tokens | fabs < 1e-6] | all' all.json
check 'the bins on the table' test "$(grep -cE '^ +[0-9]+-[0-9]+ ' table)" = 96
check 'bins cover a window' test "$(jq -c '.results[3].by_position.from' all.json)" = '[1,33,65,97,129,161,193,225]'
check 'the first place is the hardest' holds '.results[6].by_position.loss | .[0] > .[7]' all.json
evaluate linear -s 16 --bins=0 --json=places.json >/dev/null
check 'every place its own' test "$(jq '.results[0].by_position.from | length' places.json)" = 16
if command -v gnuplot >/dev/null; then
    check 'a picture' test "$(head -c 8 by.png | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a
else
    skip 'a picture' 'no gnuplot'
fi
cp -r data other
"$bin/ttt-eval" --device=cpu -q linear -d data -d other --json=- 2>err | sed -n '/^{/,$p' >two.json
check 'two datasets' test "$(jq -c '[.results[].dataset]' two.json)" = '["data","other"]'
evaluate linear -s 100000 --json=short.json >/dev/null
check 'a text that is no window whole' test $? = 1 -o "$(jq '.results[0].tokens' short.json)" = $((ids - 1))
evaluate linear -s 4096 --json=short.json >/dev/null
check 'less than a window is one, in part' test "$(jq '.results[0].tokens' short.json)" = $((ids - 1))

# ---- stopped and gone on -----------------------------------------------------------------------

seq 1 15 | while read -r _; do cat text.jsonl; done >long.jsonl
"$bin/ttt-tokenize" -q --tokenizer "$tokenizer" -o long.tok long.jsonl 2>err
"$bin/ttt-pack" -q -o long --tokenizer-name text --train=text.tok --validation=long.tok --test=text.tok >/dev/null 2>err
long() { "$bin/ttt-eval" -q --device=cpu --threads=1 --batch=1 -d long linear attention -s 32,64 "$@" 2>err; }
long --json=whole.json >/dev/null
stopped=0
for wait in 0 0.1 0.2 0.4; do
    : >err
    "$bin/ttt-eval" --device=cpu --threads=1 --batch=1 -d long linear attention -s 32,64 --state=state \
        --json=parts.json >/dev/null 2>>err &
    until grep -q 'parameters, step' err || ! kill -0 $! 2>/dev/null; do sleep 0.02; done # it has begun
    sleep $wait
    kill -INT $! 2>/dev/null
    wait $!
    [[ $? -eq 130 ]] && grep -q 'stopped by a signal at window' err && stopped=1
done
check 'Ctrl-C stops it with a word' test $stopped = 1
long --state=state --json=parts.json >/dev/null
check 'gone on, to the same bytes' cmp -s whole.json parts.json
"$bin/ttt-eval" --device=cpu -d long linear attention -s 32,64 --batch=1 --state=state 2>err >/dev/null
check 'what is done is not done again' test "$(grep -c 'goes on at window' err)" = 4
echo '[1]' >state
refuses 'a state that is none' 1 'not a state' -d long linear --state=state

# ---- refusals ----------------------------------------------------------------------------------

refuses 'no checkpoint' 2 'CHECKPOINT is needed' -d data
refuses 'no dataset' 2 'dataset_path=DIR is needed' linear
refuses 'no such checkpoint' 1 'nowhere' nowhere -d data
refuses 'no such dataset' 1 'nowhere' linear -d nowhere
refuses 'lengths that are none' 2 'with commas' linear -d data -s 1024,x
refuses 'a length that does not fit' 1 'mini_batch_size 16' linear -d data -s 40
refuses 'a batch that the text does not fill' 1 'too few' linear -d data --reference --global_batch_size=5000
evaluate linear >/dev/full
check 'a full disk' test $? -eq 1

finish
