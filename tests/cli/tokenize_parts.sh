#!/bin/bash
# tokenize_parts.sh BIN -- ttt-tokenize in shards, stopped and continued, counting.
set -uo pipefail
bin=$(cd "${1:?usage: tokenize_parts.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
model=$here/tests/golden/tokenizer/small-1024.model
work=$(mktemp -d --tmpdir ttt-parts-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0
unset SLURM_ARRAY_TASK_ID SLURM_ARRAY_TASK_COUNT SLURM_ARRAY_TASK_MIN SLURM_ARRAY_TASK_STEP

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1${2:+  $2}"; }
tokenize() { "$bin/ttt-tokenize" --tokenizer "$model" "$@"; }
texts() { "$bin/ttt-peek" -q --format=jsonl --tokenizer "$model" "$1" 2>/dev/null | sed 's/^{"doc":[0-9]*/{"doc":N/'; }
same() { if [[ -s $2 ]] && cmp -s "$2" "$3"; then ok "$1"; else bad "$1" "$2 and $3 differ"; fi; }

# ---- shards ------------------------------------------------------------------------------------

# whole NAME ARG...: shards give the documents of the whole, however many they are.
whole()
{
    local name=$1 n i part
    shift
    tokenize -q --shard=none -o all.tok "$@" 2>err || bad "$name" "$(cat err)"
    texts all.tok >want
    for n in 1 2 5 23; do
        : >found
        for ((i = 0; i < n; i++)); do
            tokenize -q --shard "$i/$n" -o part.tok "$@" 2>err || bad "$name" "$i/$n: $(cat err)"
            part=$(printf 'part-%05d-of-%05d.tok' "$i" "$n")
            "$bin/ttt-verify" -q "$part" >/dev/null 2>&1 || bad "$name" "$part is not whole"
            texts "$part" >>found
        done
        cmp -s want found || { bad "$name" "in $n shards: $(diff want found | head -n 3)"; return; }
        rm -f part-*
    done
    if [[ -s want ]]; then ok "$name"; else bad "$name" 'nothing at all'; fi
}

awk 'BEGIN {
    srand(2)
    n = split("in the beginning god created heaven and earth form void darkness deep 7 19 \\n \\u00e9 \\\"", w, " ")
    for (d = 0; d < 300; d++) {
        words = d == 123 ? 3000 : d % 7 == 3 ? 0 : int(rand() * 40)
        printf "{\"id\":%d,\"text\":\"", d
        for (i = 0; i < words; i++) printf "%s%s", i ? " " : "", w[1 + int(rand() * n)]
        printf "\"}%s", d % 11 == 5 ? " " : "\n"
    }
}' >lines.jsonl
head -n 40 lines.jsonl >a.jsonl
tail -n 40 lines.jsonl | head -c -1 >c.jsonl
gzip -c lines.jsonl >b.jsonl.gz
{ echo '['; head -n 3 a.jsonl | tr '\n' ','; echo '{"text":"last"}]'; } >array.json
printf '{\n "text":\n  "over lines"\n}\n{\n "text":"two"\n}\n' >pretty.jsonl
echo 'a text' >t.txt
: >empty.jsonl
whole 'shards of one file' lines.jsonl
whole 'shards of several files' a.jsonl empty.jsonl b.jsonl.gz array.json t.txt pretty.jsonl c.jsonl
printf '{"body":"first","n":1}\n{"n":2,"body":"second"}\n{"n":3,"body":"third, which is longer than the others"}\n' >body.jsonl
whole 'the first object of all names the member' body.jsonl body.jsonl
printf '{"text":"one"}\n{"text":"t\377wo"}\n{"text":"three"}\n{"text":"cut\n{"text":null}\n{"text":"four"}\n' >faulty.jsonl
for n in 1 3; do
    for ((i = 0; i < n; i++)); do
        tokenize -q --on-error=skip --rejects bad.jsonl --shard "$i/$n" -o f.tok faulty.jsonl
        [[ $? -eq 0 || $? -eq 3 ]] || bad 'faults in shards' "$i/$n"
    done
    cat bad.jsonl-*-of-0000$n | sed 's/"line":[^,]*,//' >bad.$n
done
same 'faults in shards are the same' bad.1 bad.3
if grep -q '"line":null,"offset":60,' bad.jsonl-0000?-of-00003; then ok 'lines that nobody counted are null'; else bad 'lines that nobody counted are null' "$(cat bad.jsonl-*)"; fi
{ cat lines.jsonl; printf '{"text":\n"over two"}\n'; } >late.jsonl
tokenize -q --shard 1/2 -o late.tok late.jsonl 2>err
if [[ $? -eq 1 ]] && grep -q 'goes over several lines' err; then ok 'a record over lines in a shared file'; else bad 'a record over lines in a shared file' "$(cat err)"; fi

SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=5 SLURM_ARRAY_TASK_COUNT=3 tokenize -o slurm.tok lines.jsonl 2>err
tokenize -q --shard 2/3 -o part.tok lines.jsonl
same 'Slurm says which' slurm-00002-of-00003.tok part-00002-of-00003.tok
if grep -q 'shard 2/3, as SLURM' err; then ok 'and it is told'; else bad 'and it is told' "$(cat err)"; fi
SLURM_ARRAY_TASK_ID=1 SLURM_ARRAY_TASK_COUNT=3 tokenize -q --shard none -o none.tok lines.jsonl
tokenize -q -o all.tok lines.jsonl
same '--shard=none' none.tok all.tok
for text in 3/3 1 a/b 1/0 -1/3 0/3x; do
    tokenize -o x.tok --shard "$text" lines.jsonl 2>err
    if [[ $? -eq 2 ]] && grep -q 'expected i/n' err; then ok "--shard $text is refused"; else bad "--shard $text is refused" "$(cat err)"; fi
done

# ---- stopped and continued ---------------------------------------------------------------------

for _ in {1..25}; do cat lines.jsonl; done >long.jsonl
sed -n 1,200p faulty.jsonl >>long.jsonl
gzip -c long.jsonl >long.jsonl.gz
{ head -n 1 long.jsonl; seq -f '{"text":"document %.0f"}' 1 20000; } >many.jsonl
tar -cf long.tar many.jsonl t.txt long.jsonl c.jsonl
{ seq -f 'Document %.0f.' 1 20000 | sed 's/$/\nand its second line\n/'; } >prose.txt
# Documents that travel in parts, as those of more than a 32nd of --memory do.
for _ in 1 2 3; do
    head -n 5 lines.jsonl
    printf '{"text":"%s"}\n' "$(yes 'words and words' | head -c 2500000 | tr '\n' ' ')"
done >parts.jsonl
# stopped NAME SIGNAL ARG...: killed again and again, the same command makes the same bytes.
stopped()
{
    local name=$1 signal=$2 status kills=0
    shift 2
    rm -f whole.tok* cut.tok* whole.bad* cut.bad*
    tokenize -q -j2 --on-error=skip --rejects whole.bad -o whole.tok "$@"
    while :; do
        "$bin/ttt-tokenize" --tokenizer "$model" -q -j2 --save-every=0 --on-error=skip \
            --rejects cut.bad -o cut.tok "$@" 2>err &
        sleep "0.$(printf %03d $((RANDOM % (30 + 25 * kills) % 900 + 5)))"
        { kill -"$signal" $! && wait $!; } 2>/dev/null || wait $! 2>/dev/null
        status=$?
        [[ $status -eq 3 || $status -eq 0 ]] && break
        kills=$((kills + 1))
        if [[ $status -ne 137 && $status -ne 143 ]]; then
            bad "$name" "status $status: $(cat err)"
            return
        fi
        if [[ $kills -gt 200 ]]; then bad "$name" 'does not come to an end'; return; fi
    done
    same "$name: same bytes" whole.tok cut.tok
    cmp -s whole.bad cut.bad || bad "$name: same rejects"
    if compgen -G 'cut.*part*' >/dev/null || compgen -G 'cut.*state*' >/dev/null; then bad "$name" "left $(echo cut.*)"; fi
    [[ $kills -gt 0 ]] || bad "$name" 'nothing was killed'
}
stopped 'killed' KILL long.jsonl
stopped 'terminated' TERM long.jsonl
stopped 'killed, long documents' KILL --memory=64M parts.jsonl
stopped 'terminated, long documents' TERM --memory=64M parts.jsonl
stopped 'killed, gzip' KILL long.jsonl.gz
stopped 'killed, an archive' KILL long.tar
stopped 'killed, prose' KILL --split-blank prose.txt long.jsonl

rm -f cut.tok*
tokenize -q --on-error=skip --rejects cut.bad -o cut.tok long.jsonl 2>/dev/null
touch -d '2001-01-01' cut.tok
tokenize --on-error=skip --rejects cut.bad -o cut.tok long.jsonl 2>err
status=$?
if [[ $status -eq 3 && $(stat -c %Y cut.tok) -lt 1000000000 ]] && grep -q 'there already' err; then
    ok 'a second run does nothing'
else bad 'a second run does nothing' "$status $(cat err)"; fi
tokenize -q --force --on-error=skip --rejects cut.bad -o cut.tok long.jsonl 2>/dev/null
if [[ $(stat -c %Y cut.tok) -gt 1000000000 ]]; then ok '--force'; else bad '--force'; fi
touch -d '2001-01-01' cut.tok
tokenize -q --on-error=skip --rejects cut.bad --no-eos -o cut.tok long.jsonl 2>/dev/null
if [[ $(stat -c %Y cut.tok) -gt 1000000000 ]]; then ok 'other flags make it anew'; else bad 'other flags make it anew'; fi
touch -d '2001-01-01' cut.tok
touch long.jsonl
tokenize -q --on-error=skip --rejects cut.bad --no-eos -o cut.tok long.jsonl 2>/dev/null
if [[ $(stat -c %Y cut.tok) -gt 1000000000 ]]; then ok 'and a changed input'; else bad 'and a changed input'; fi

mkfifo slow
tokenize -q -o two.tok slow &
exec 3>slow
for _ in {1..50}; do [[ -e two.tok.part ]] && break; sleep 0.1; done
tokenize -q -o two.tok lines.jsonl 2>err
if [[ $? -eq 1 ]] && grep -q 'two.tok: another process is writing it' err; then ok 'two writers of one output'; else bad 'two writers of one output' "$(cat err)"; fi
echo '{"text":"done"}' >&3
exec 3>&-
wait
if [[ $(texts two.tok) == *done* ]]; then ok 'and the first one ends well'; else bad 'and the first one ends well'; fi

# ---- counts ------------------------------------------------------------------------------------

tokenize -q --count --stats stats.json a.jsonl b.jsonl.gz >table 2>err
tokenize -q -o all.tok a.jsonl b.jsonl.gz
documents=$(texts all.tok | wc -l)
if [[ ! -s err && $(cut -f 1,6 table | tail -n 1) == "$documents"$'\t'total && $(wc -l <table) -eq 4 ]]; then
    ok '--count'
else bad '--count' "$(cat table err)"; fi
if python3 - "$documents" <<'END'
import json, sys
s = json.load(open("stats.json"))
assert s["documents"] == int(sys.argv[1]) and s["left_out"] == 0
assert [f["file"] for f in s["files"]] == ["a.jsonl", "b.jsonl.gz"]
for key in "documents", "tokens", "text_bytes":
    assert s[key] == sum(f[key] for f in s["files"]) > 0
r = json.load(open("all.tok.json"))
assert all(r[key] == s[key] for key in ("documents", "tokens", "text_bytes"))
END
then ok '--stats'; else bad '--stats' "$(cat stats.json)"; fi

printf '%d passed, %d failed\n' $passed $failed
[[ $failed -eq 0 ]]
