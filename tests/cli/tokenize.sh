#!/bin/bash
# tokenize.sh BIN -- ttt-tokenize as people use it: pipes, compression, threads, faults, trouble.
set -uo pipefail
bin=$(cd "${1:?usage: tokenize.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
model=$here/tests/golden/tokenizer/small-1024.model
work=$(mktemp -d --tmpdir ttt-tokenize-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1${2:+  $2}"; }
skip() { skipped=$((skipped + 1)); echo "skip $1  $2"; }
tokenize() { "$bin/ttt-tokenize" --tokenizer "$model" "$@"; }
texts() { "$bin/ttt-peek" -q --format=jsonl --tokenizer "$model" "$1" 2>/dev/null; }

# same NAME A B: two files are equal and not empty.
same() { if [[ -s $2 ]] && cmp -s "$2" "$3"; then ok "$1"; else bad "$1" "$2 and $3 differ"; fi; }

# refused NAME STATUS PATTERN ARG...: ends so, says one sentence like PATTERN, leaves no out.tok.
refused()
{
    local name=$1 want=$2 pattern=$3 status
    shift 3
    tokenize -o out.tok "$@" 2>err </dev/null
    status=$?
    if [[ $status -ne $want ]]; then
        bad "$name" "status $status: $(cat err)"
    elif ! grep -qE -- "$pattern" err; then
        bad "$name" "$(cat err)"
    elif compgen -G 'out.tok*' >/dev/null; then
        bad "$name" "left $(echo out.tok*)"
    else
        ok "$name"
    fi
    rm -f out.tok*
}

# ---- inputs ----------------------------------------------------------------------------------

# 3000 documents of 0 to 900 words, and one of 3 MB.
awk 'BEGIN {
    srand(1)
    n = split("in the beginning god created heaven and earth form void darkness deep 7 19 \\n \\u00e9 \\\"", w, " ")
    for (d = 0; d < 3000; d++) {
        words = d == 1234 ? 500000 : d % 7 == 3 ? 0 : int(rand() * (d % 30 == 0 ? 900 : 60))
        printf "{\"id\":%d,\"text\":\"", d
        for (i = 0; i < words; i++) printf "%s%s", i ? " " : "", w[1 + int(rand() * n)]
        print "\"}"
    }
}' >docs.jsonl
tokenize -q -j1 -o one.tok docs.jsonl || bad "one thread"
for j in 2 4 7; do
    tokenize -q -j$j -o many.tok docs.jsonl
    same "$j threads give the bytes of one" one.tok many.tok
done
tokenize -q --compress -j1 -o one.z docs.jsonl
tokenize -q --compress -j4 -o many.z docs.jsonl
same "and compressed" one.z many.z
if [[ $(stat -c %s one.z) -lt $(stat -c %s one.tok) ]]; then ok "compressed is smaller"; else bad "compressed is smaller"; fi

tokenize -q - <docs.jsonl >pipe.tok
same "standard input and output" one.tok pipe.tok
while read -r -N 50000 part || [[ $part ]]; do printf %s "$part"; done <docs.jsonl | tokenize -q - | cat >pipe.tok
same "a pipe in pieces" one.tok pipe.tok
for packer in gzip zstd xz bzip2 lz4; do
    if ! command -v $packer >/dev/null; then
        skip "$packer" "no $packer on this machine"
        continue
    fi
    $packer -c <docs.jsonl >packed 2>/dev/null
    tokenize -q - <packed >unpacked.tok
    same "$packer, known by its content" one.tok unpacked.tok
    head -c $(($(stat -c %s packed) * 2 / 3)) packed >cut.jsonl
    refused "$packer, cut short" 1 'cut.jsonl: .*(cut short|damaged).* byte' cut.jsonl
done
split -l 700 docs.jsonl part-
for part in part-*; do mv "$part" "$part.jsonl"; done
head -n 1 part-aa.jsonl | gzip >first.gz
tail -n +2 part-aa.jsonl | gzip >>first.gz
tokenize -q -j3 -o parts.tok first.gz part-a[b-z].jsonl
same "several files are one stream" one.tok parts.tok

printf 'one\n\ntwo' >a.txt
printf '\357\273\277one\n\ntwo' >b.md
tokenize -q -o text.tok a.txt
tokenize -q --format=text -o text2.tok b.md
printf '{"text":"one\\n\\ntwo"}' | tokenize -q -o text3.tok -
same "a text file is a document" text.tok text3.tok
same "a byte order mark is no text" text2.tok text3.tok
printf '{"title":"no","body":"one\\n\\ntwo"}' >body.jsonl
tokenize -q --text-key=body -o body.tok body.jsonl
same "--text-key" text.tok body.tok
printf '{"text":""}' | tokenize -q --no-bos --no-eos - >bare.tok
if [[ $(texts bare.tok) == '{"doc":0,"ids":[],"text":""}' ]]; then ok "no ids at all"; else bad "no ids at all" "$(texts bare.tok)"; fi
printf '{"text":"a</s>"}' >special.jsonl
tokenize -q - <special.jsonl >literal.tok
tokenize -q --special=text - <special.jsonl >plain.tok
if [[ $(texts literal.tok) == *,2,2],* && $(texts plain.tok) != *,2,2],* ]]; then ok "--special"; else bad "--special" "$(texts literal.tok) $(texts plain.tok)"; fi

# ---- faults ----------------------------------------------------------------------------------

printf '{"text":"one"}\n{"text":"two"}\n{"text":"x\377y"}\n{"text":"a\\ud83db"}\n{"text":"cut\n{"text":null}\n{"text":"three"}\n' >faulty.jsonl
refused "invalid UTF-8 stops" 1 'faulty.jsonl:3: invalid UTF-8: byte 0xff \(byte 40\)' faulty.jsonl
for j in 1 4; do
    { cat docs.jsonl; echo '{"text":"cut'; cat docs.jsonl; printf '{"text":"\377"}'; } >two.jsonl
    refused "the first fault is named, -j$j" 1 'two.jsonl:3001: a raw byte 0x0a' -j$j two.jsonl
done
tokenize -q --on-error=skip --rejects bad.jsonl -o skip.tok faulty.jsonl 2>err
status=$?
printf '{"text":"one"}\n{"text":"two"}\n{"text":"three"}\n' | tokenize -q --on-error=skip -o good.tok -
if [[ $status -eq 3 && ! -s err ]]; then ok "skip ends with 3"; else bad "skip ends with 3" "$status $(cat err)"; fi
same "skip leaves them out" skip.tok good.tok
cat >want <<'END'
{"file":"faulty.jsonl","line":3,"offset":40,"record":30,"action":"skipped","reason":"invalid UTF-8: byte 0xff"}
{"file":"faulty.jsonl","line":4,"offset":55,"record":45,"action":"skipped","reason":"\u005cud83d is half of a surrogate pair"}
{"file":"faulty.jsonl","line":5,"offset":77,"record":65,"action":"skipped","reason":"a raw byte 0x0a in a string; JSON spells it \u005cu000a"}
{"file":"faulty.jsonl","line":6,"offset":86,"record":78,"action":"skipped","reason":"the member \u0022text\u0022 is null, not a string"}
END
same "the rejects are listed" bad.jsonl want
tokenize -q --on-error=replace -o mended.tok faulty.jsonl 2>err
status=$?
texts mended.tok >found
if [[ $status -eq 3 && $(wc -l <found) -eq 5 ]] && grep -q '"x�y"' found && grep -q '"a�b"' found &&
    [[ $(wc -l <err) -eq 4 ]]; then ok "replace mends"; else bad "replace mends" "$status $(cat err found)"; fi
printf '\377{}' | tokenize -q --format=jsonl --on-error=skip --rejects all.jsonl -o none.tok - 2>err
status=$?
if [[ $status -eq 1 && ! -e none.tok && -s all.jsonl ]] && grep -q 'no document is left' err; then
    ok "nothing left is a failure"
else bad "nothing left is a failure" "$status $(cat err)"; fi

# ---- trouble ---------------------------------------------------------------------------------

printf '' >empty.jsonl
echo 'some prose' >prose
refused "a missing file" 1 'nowhere.jsonl: No such file' docs.jsonl nowhere.jsonl
refused "a folder" 1 'is a directory' .
refused "an empty input" 1 'no document in any input' empty.jsonl
refused "neither JSON nor named" 1 'prose: .*--format' prose
refused "a model that is none" 1 'prose' --tokenizer prose docs.jsonl
refused "no input" 2 'no INPUT'
refused "standard input twice" 2 'named 2 times' - -
refused "rejects without skip" 2 'needs --on-error' --rejects r docs.jsonl
refused "a misspelt flag" 2 'did you mean --on-error' --on-eror=skip docs.jsonl
refused "too many threads" 2 'expected 0 to' -j 5000 docs.jsonl
"$bin/ttt-tokenize" docs.jsonl >/dev/null 2>err
if [[ $? -eq 2 ]] && grep -q -- '--tokenizer MODEL is needed' err; then ok "no model"; else bad "no model" "$(cat err)"; fi
tokenize -o no/such/out.tok docs.jsonl 2>err
if [[ $? -eq 1 ]] && grep -q 'no/such/out.tok: ' err; then ok "a folder that is not there"; else bad "a folder that is not there" "$(cat err)"; fi
limited() { (ulimit -f 64 && "$bin/ttt-tokenize" "$@"); }
limited --tokenizer "$model" -o out.tok docs.jsonl 2>err
if [[ $? -eq 1 ]] && grep -q 'out.tok: File too large' err && ! compgen -G 'out.tok*' >/dev/null; then
    ok "a full disk"
else bad "a full disk" "$(cat err)"; fi
tokenize docs.jsonl 2>err >/dev/full
if [[ $? -eq 1 ]] && grep -q 'standard output: No space left' err; then ok "a full standard output"; else bad "a full standard output" "$(cat err)"; fi
if command -v script >/dev/null; then
    script -qec "'$bin/ttt-tokenize' --tokenizer '$model' docs.jsonl" /dev/null >err </dev/null
    if [[ $? -eq 2 ]] && grep -q 'no text for a terminal' err; then ok "no ids on a terminal"; else bad "no ids on a terminal" "$(head -c 300 err)"; fi
else
    skip "no ids on a terminal" "no script on this machine"
fi
mkfifo named
cat named >through.tok &
tokenize -q -o named docs.jsonl
wait $!
if [[ -p named ]]; then same "a named pipe stays one" one.tok through.tok; else bad "a named pipe stays one"; fi
for signal in INT TERM HUP; do
    mkfifo slow
    "$bin/ttt-tokenize" -q --tokenizer "$model" --on-error=skip --rejects out.rejects -o out.tok slow &
    job=$!
    exec 3>slow
    cat docs.jsonl >&3
    for _ in $(seq 100); do
        compgen -G 'out.tok.part*' >/dev/null && break
        sleep 0.05
    done
    began=$(compgen -G 'out.tok.part*')
    kill -$signal $job
    wait $job 2>/dev/null
    status=$?
    exec 3>&-
    if [[ $began && $status -gt 128 ]] && ! compgen -G 'out.*' >/dev/null; then
        ok "SIG$signal leaves nothing"
    else bad "SIG$signal leaves nothing" "status $status, left $(echo out.*), began $began"; fi
    rm -f slow out.*
done

# ---- the tokenizer, found again by ttt-peek ----------------------------------------------------

"$bin/ttt-tokenize" -q --tokenizer "$model" -o peek.tok - <<<'{"text":"In the beginning"}'
peeked=$("$bin/ttt-peek" --format=jsonl peek.tok)
if [[ $peeked == '{"doc":0,"ids":[1,'*',2],"text":"In the beginning"}' ]]; then
    ok 'ttt-peek finds the tokenizer by itself'
else bad 'ttt-peek finds the tokenizer by itself' "$peeked"; fi
cp "$model" moved.model
"$bin/ttt-tokenize" -q --tokenizer ./moved.model -o peek.tok - <<<'{"text":"In the beginning"}'
cp "$here/tests/golden/tokenizer/cases-small.jsonl" moved.model
if "$bin/ttt-peek" --format=text peek.tok >/dev/null 2>err ||
    ! grep -q 'needs --tokenizer MODEL.*moved.model' err; then
    bad 'and takes no other in its place' "$(cat err)"
else ok 'and takes no other in its place'; fi

printf '%d passed, %d failed' $passed $failed
[[ $skipped -gt 0 ]] && printf ', %d skipped' $skipped
echo
[[ $failed -eq 0 ]]
