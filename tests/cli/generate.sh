#!/bin/bash
# generate.sh BIN -- ttt-generate as people use it: a small model learns a rhyme and says it.
set -uo pipefail
bin=$(cd "${1:?usage: generate.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
tokenizer=$here/tests/golden/tokenizer/small-1024.model
work=$(mktemp -d --tmpdir ttt-generate-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0
export OMP_NUM_THREADS=1

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() {
    failed=$((failed + 1))
    echo "FAIL $1"
    sed 's/^/     | /' err 2>/dev/null | tail -n 5
}
check() { # check NAME COMMAND...: the command succeeds
    local name=$1
    shift
    if "$@"; then ok "$name"; else bad "$name"; fi
}
generate() {
    "$bin/ttt-generate" --checkpoint=run --tokenizer="$tokenizer" --device=cpu --threads=1 "$@" 2>err
}
# refuses NAME STATUS WORDS FLAGS...: that exit status, one sentence with these words.
refuses() {
    local name=$1 status=$2 words=$3 got
    shift 3
    "$bin/ttt-generate" --device=cpu "$@" >/dev/null 2>err
    got=$?
    if [[ $got -eq $status ]] && grep -q -- "$words" err; then
        ok "$name"
    else
        echo "     | exit $got, expected $status and: $words"
        bad "$name"
    fi
}

# ---- a model that knows a rhyme ----------------------------------------------------------------

# Letters of one to four bytes; the last two are spelt by byte pieces.
rhyme='One fish swam in the sea, café 火 🙂 and two fishes swam with me.'
for _ in {1..60}; do printf '{"text": "%s"}\n' "$rhyme"; done >rhyme.jsonl
"$bin/ttt-tokenize" -q --tokenizer "$tokenizer" -o rhyme.tok rhyme.jsonl 2>err &&
    "$bin/ttt-pack" -q -o data --tokenizer-name rhyme --train=rhyme.tok --validation=rhyme.tok \
        --test=rhyme.tok >/dev/null 2>err &&
    "$bin/ttt-train" -q --device=cpu --dataset_path=data --tokenizer_name=rhyme \
        --vocab_size=1024 --seq_length=64 --global_batch_size=4 --total_steps=60 \
        --update_model_config="dict(num_hidden_layers=1, hidden_size=64, num_attention_heads=2,
            intermediate_size=96)" --optimizer.adamw_optimizer.lr=1e-2 \
        --optimizer.adamw_optimizer.end_lr=1e-3 --optimizer.adamw_optimizer.lr_warmup_steps=5 \
        --optimizer.adamw_optimizer.lr_decay_steps=60 --exp_dir=. --exp_name=run 2>err
check 'a model is trained' test -s run/latest
step=run/$(cat run/latest 2>/dev/null)

# ---- text --------------------------------------------------------------------------------------

generate --temperature=0 --prompt='One fish' >greedy
check 'the likeliest text is the rhyme, to its end' test "$(cat greedy)" = "$rhyme"
check 'and the speed is told' grep -q 'tokens/s' err
generate --temperature=0 --prompt='One fish' --no-echo >rest
check 'without the prompt' test "One fish$(cat rest)" = "$rhyme"
printf 'One fish' | generate --temperature=0 --prompt=- >"read"
check 'a prompt from standard input' cmp -s greedy read
"$bin/ttt-generate" -q -c "$step" -t "$tokenizer" --device=cpu --temperature=0 -p 'One fish' >by_step 2>err
check 'by the name of the step' cmp -s greedy by_step
check '-q says nothing' test ! -s err
generate --temperature=0 --prompt='One fish' --ignore_eos -n 100 >on
check 'on and on with --ignore_eos' test "$(wc -c <on)" -gt "$(wc -c <greedy)"
generate --temperature=0 --prompt='One fish' -n 0 >none
check 'no token at all' test "$(cat none)" = 'One fish'

generate --temperature=2 --top_p=1 --ignore_eos -n 80 --seed=1 >one
generate --temperature=2 --top_p=1 --ignore_eos -n 80 --seed=1 >same
generate --temperature=2 --top_p=1 --ignore_eos -n 80 --seed=2 >two
check 'the same seed, the same text' cmp -s one same
if cmp -s one two; then bad 'another seed, another text'; else ok 'another seed, another text'; fi
generate --temperature=2 --top_k=1 --prompt='One fish' >likeliest
check 'one to choose from is the likeliest' cmp -s greedy likeliest

whole=1
for n in {1..40}; do
    generate --temperature=0 --prompt='One fish swam in the sea,' -n "$n" >"cut"
    iconv -f UTF-8 -t UTF-8 cut >/dev/null 2>&1 || whole=0
done
check 'wherever it is cut, no half character' test $whole = 1
generate --temperature=50 --top_p=1 --ignore_eos -n 400 --seed=3 >noise
check 'whatever bytes come, UTF-8' iconv -f UTF-8 -t UTF-8 noise -o /dev/null
check 'with marks for what is none' grep -q $'\xEF\xBF\xBD' noise

# ---- refusals ----------------------------------------------------------------------------------

refuses 'no checkpoint' 2 'checkpoint=DIR is needed' -t "$tokenizer"
refuses 'no tokenizer' 2 'tokenizer=MODEL is needed' -c run
refuses 'a negative temperature' 2 'must not be negative' -c run -t "$tokenizer" --temperature=-1
refuses 'top_p of nothing' 2 'above 0' -c run -t "$tokenizer" --top_p=0
refuses 'no such directory' 1 'nowhere' -c nowhere -t "$tokenizer"
refuses 'a tokenizer that is none' 1 'rhyme.jsonl' -c run -t rhyme.jsonl
refuses 'nothing to begin with' 1 'nothing to begin with' -c run -t "$tokenizer" --no-bos
refuses 'a prompt that is no text' 1 'not UTF-8: byte 2' -c run -t "$tokenizer" -p $'ab\xff'
generate -n 5 >/dev/full
check 'a full disk' test $? -eq 1
cp -r run flipped
printf '\x55' | dd of="flipped/${step#run/}/params.safetensors" bs=1 seek=20000 conv=notrunc 2>/dev/null
refuses 'a flipped byte' 1 'params.safetensors' -c flipped -t "$tokenizer"
cp -r run cut_short
truncate -s -1 "cut_short/${step#run/}/params.safetensors"
refuses 'a file cut short' 1 'params.safetensors' -c cut_short -t "$tokenizer"

echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 ]]
