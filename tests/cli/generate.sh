#!/bin/bash
# generate.sh BIN -- ttt-generate as people use it: a small model learns a rhyme and says it.
# shellcheck source=tests/cli/parts.bash disable=SC2154
. "$(dirname "$0")/parts.bash" "$@"
tokenizer=$here/tests/golden/tokenizer/small-1024.model
program=("$bin/ttt-generate" --device=cpu)

generate() {
    "$bin/ttt-generate" --checkpoint=run --tokenizer="$tokenizer" --device=cpu --threads=1 "$@" 2>err
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

# ---- several texts -----------------------------------------------------------------------------

printf '%s\n' 'One fish' 'One fish swam in the sea, café' '' 'and two' >prompts
printf '%s' 'One fish swam' >>prompts
while IFS= read -r line || [[ -n $line ]]; do
    generate --temperature=0 -n 30 --prompt="$line"
done <prompts >singly
generate --temperature=0 -n 30 --prompts=prompts >by_lines
check 'prompts of a file, one after another' cmp -s singly <(grep -vx -- --- by_lines)
check 'kept apart' test "$(grep -cx -- --- by_lines)" = 4
for n in 2 3 5 9; do
    generate --temperature=0 -n 30 --prompts=- --batch=$n <prompts >side_by_side
    check "$n side by side, of different lengths, are the same" cmp -s by_lines side_by_side
done
generate --temperature=0 -n 30 'One fish' 'and two' >operands
check 'prompts as operands' test "$(sed -n 3p operands)" = "$(generate --temperature=0 -n 30 -p 'and two')"
generate --temperature=1 -n 20 --ignore_eos --samples=5 --seed=7 -p 'One' >samples
for k in 7 8 9 10 11; do generate --temperature=1 -n 20 --ignore_eos --seed=$k -p 'One'; done >seeds
check 'samples are of the seeds that follow' cmp -s seeds <(grep -vx -- --- samples)
generate --temperature=1 -n 20 --ignore_eos --samples=5 --seed=7 --batch=4 -p 'One' >batched
check 'whatever is beside them' cmp -s samples batched

printf '%s\n' '{"id": 7, "prompt": "One fish"}' '' '{"text": "and \u0074wo", "keep": [1, {"a": null}]}' >in.jsonl
generate --temperature=0 -n 30 --json --prompts=in.jsonl --batch=2 >out.jsonl
check 'JSON lines in and out' test "$(jq -rs 'map(.finish) | join(" ")' out.jsonl)" = 'eos eos'
check 'with what came in' test "$(jq -cs 'map(.id, .keep)' out.jsonl)" = '[7,null,null,[1,{"a":null}]]'
check 'and the rest of the rhyme' test "One fish$(jq -rs '.[0].completion' out.jsonl)" = "$rhyme"
printf '%s\n' '{"prompt": "One fish"}' '{"prompt": 5}' >bad.jsonl
generate --temperature=0 --json --prompts=bad.jsonl --batch=8 >out.jsonl
check 'a bad record ends it, with its line' grep -q 'bad.jsonl, line 2: expected an object' err
check 'and loses nothing before it' test "$(jq -r .finish out.jsonl)" = eos

# ---- where it ends, what it prefers ------------------------------------------------------------

generate --temperature=0 -p 'One fish' --stop=', and' --stop=' swam in the sky' >stopped
check 'nothing yet of a stop that does not come' test "$(cat stopped)" = "${rhyme%%, café*}, café 火 🙂 and two fishes swam with me."
generate --temperature=0 -p 'One fish' --stop='two fish' --stop=' 🙂 and' >stopped
check 'up to a stop, of several the first' test "$(cat stopped)" = "${rhyme%% 🙂*}"
generate --temperature=0 -p 'One fish' --stop=' 🙂 and' --batch=2 >stopped_batch
check 'within a batch too' cmp -s stopped stopped_batch
generate --temperature=0 -p 'One fish' --stop='fish' --no-echo -n 30 >stopped
check 'the prompt does not stop it' test "$(cat stopped)" = ' swam in the sea, café 火 🙂 and two '
generate --json --temperature=0 --stop=sea --prompts=in.jsonl >out.jsonl
check 'JSON tells how it ended' test "$(jq -rs '.[0].finish' out.jsonl)" = stop
generate --temperature=0 --ignore_eos -n 300 -p 'One fish' >"again"
generate --temperature=0 --ignore_eos -n 300 --repetition_penalty=4 -p 'One fish' >penalised
kinds() { tr -cs '[:alnum:]' '\n' <"$1" | sort -u | wc -l; }
check 'a repetition penalty brings other words' test "$(kinds penalised)" -gt "$(kinds "again")"
generate --temperature=3 --min_p=1 -p 'One fish' >likeliest
check 'min_p of 1 is the likeliest' cmp -s greedy likeliest

# ---- memory ------------------------------------------------------------------------------------

generate -n 0 --save-state=kept --prompt='One fish swam in the' >/dev/null
check 'a memory is kept' grep -q 'the memory of' err
generate --temperature=0 --load_state=kept -p ' sea, caf' --no-echo >rest
check 'and gone on from' test "One fish swam in the sea, caf$(cat rest)" = "$rhyme" -o "$(wc -c <rest)" -gt 3
generate --temperature=0 --load_state=kept -p '' >rest
check 'without a word more' test "One fish swam in the$(cat rest)" = "$rhyme"
generate --temperature=0 --load_state=kept -p '' --samples=3 --batch=3 >three
check 'by several at once' test "$(grep -vx -- --- three | sort -u)" = "$(cat rest)"
generate -n 0 --load_state=kept --save_state=longer -p ' sea' >/dev/null
generate --temperature=0 --load_state=longer -p '' -n 5 >"more"
check 'a memory of a memory' test -s "more"
cp -r run other
"$bin/ttt-train" -q --device=cpu --dataset_path=data --tokenizer_name=rhyme --vocab_size=1024 --seq_length=64 \
    --global_batch_size=4 --total_steps=61 --resume=auto --update_model_config="dict(num_hidden_layers=1,
        hidden_size=64, num_attention_heads=2, intermediate_size=96)" --exp_dir=. --exp_name=other 2>err
refuses 'of another model' 1 'the memory of another model' -c other -t "$tokenizer" --load_state=kept -p x
refuses 'no memory at all' 1 'rhyme.tok' -c run -t "$tokenizer" --load_state=rhyme.tok -p x
cp kept cut_kept && truncate -s -8 cut_kept
refuses 'a memory cut short' 1 'cut_kept' -c run -t "$tokenizer" --load_state=cut_kept -p x

# A sanitizer keeps what is freed for a while; here it must not.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=1
generate --temperature=1 --ignore_eos -n 1000 >/dev/null
few=$(grep -o 'peak memory [0-9]*' err | grep -o '[0-9]*')
generate --temperature=1 --ignore_eos -n 10000 >/dev/null
many=$(grep -o 'peak memory [0-9]*' err | grep -o '[0-9]*')
check "ten times the text in the same memory ($few MiB, then $many)" test "$many" -le $((few + few / 50 + 2))

# ---- a person ----------------------------------------------------------------------------------

talk() { # lines on a terminal of its own
    { sleep 0.7; while IFS= read -r line; do printf '%s\n' "$line"; sleep 0.7; done; printf '\004'; sleep 0.5; } |
        XDG_STATE_HOME=$work/state TERM=dumb script -qec "$bin/ttt-generate -c run -t $tokenizer --device=cpu \
            --threads=1 --temperature=0 --stop=. 2>person.err" /dev/null 2>&1 | tr -d '\r'
}
if command -v script >/dev/null; then
    talk >talked <<<$'One fish\n/save said\n/nonsense\n/new\nOne fish swam'
    check 'a person is answered' grep -q ' with me$' talked
    check 'twice' test "$(grep -c 'with me$' talked)" = 2
    check 'a word of what is no command' grep -q '/nonsense: no such command' person.err
    check 'a talk is kept' grep -q 'said: the memory of' person.err
    generate --temperature=0 --load_state=said -p '' -n 8 >after
    check 'and gone on from later' test -s after
    if ldd "$bin/ttt-generate" 2>/dev/null | grep -q libedit || [[ -e state/ttt/history ]]; then
        check 'what was typed is remembered' grep -q 'One.*fish.*swam' state/ttt/history
    fi
else
    skip 'a person' 'no script(1) to make a terminal'
fi

: >err
# A line of more than 100,000 tokens. In the background the signal is ignored but where it is heeded.
{
    yes 'and two fishes swam with me.' | head -n 12000 | tr '\n' ' '
    printf '\n/quit\n'
} >lines
"$bin/ttt-generate" -c run -t "$tokenizer" --device=cpu --threads=1 -i <lines >hurried 2>err &
until [[ -s err ]]; do sleep 0.02; done
while kill -INT $! 2>/dev/null; do sleep 0.1; done
wait $!
check 'Ctrl-C ends what is being read, and the talk goes on' test $? = 0
part=$(grep -oE '[0-9]+ tokens read' err | grep -oE '[0-9]+')
check "after a part of it ($part tokens)" test "$part" -lt 100000

# ---- refusals ----------------------------------------------------------------------------------

refuses 'no checkpoint' 2 'checkpoint=DIR is needed' -t "$tokenizer"
refuses 'no tokenizer' 2 'tokenizer=MODEL is needed' -c run
refuses 'a negative temperature' 2 'must not be negative' -c run -t "$tokenizer" --temperature=-1
refuses 'top_p of nothing' 2 'above 0' -c run -t "$tokenizer" --top_p=0
refuses 'an empty stop' 2 'not empty' -c run -t "$tokenizer" --stop=
refuses 'min_p of two' 2 'min_p' -c run -t "$tokenizer" --min_p=2
refuses 'no samples' 2 'samples' -c run -t "$tokenizer" --samples=0
refuses 'a memory of several' 2 'one text' -c run -t "$tokenizer" --save_state=x -p a -p b
refuses 'prompts and a person' 2 'typed' -c run -t "$tokenizer" -i -p a
refuses 'no such file of prompts' 1 'absent: No such file' -c run -t "$tokenizer" --prompts=absent
refuses 'no such directory' 1 'nowhere' -c nowhere -t "$tokenizer"
refuses 'a tokenizer that is none' 1 'rhyme.jsonl' -c run -t rhyme.jsonl
refuses 'nothing to begin with' 1 'nothing to begin with' -c run -t "$tokenizer" --no-bos -p ''
refuses 'a prompt that is no text' 1 'not UTF-8: byte 2' -c run -t "$tokenizer" -p $'ab\xff'
generate -n 5 >/dev/full
check 'a full disk' test $? -eq 1
cp -r run flipped
printf '\x55' | dd of="flipped/${step#run/}/params.safetensors" bs=1 seek=20000 conv=notrunc 2>/dev/null
refuses 'a flipped byte' 1 'params.safetensors' -c flipped -t "$tokenizer"
cp -r run cut_short
truncate -s -1 "cut_short/${step#run/}/params.safetensors"
refuses 'a file cut short' 1 'params.safetensors' -c cut_short -t "$tokenizer"

finish
