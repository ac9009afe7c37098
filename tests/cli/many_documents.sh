#!/bin/bash
# many_documents.sh BIN -- a million and a half documents from text to a proved dataset, and one of
# 140 MB, every program in 256 MB of address space.
set -uo pipefail
bin=$(cd "${1:?usage: many_documents.sh BIN}" && pwd) || exit 1
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
model=$root/tests/golden/tokenizer/small-1024.model
documents=1500000
if [[ $bin == */asan/* ]]; then
    echo 'skip many_documents  AddressSanitizer needs more address space than that'
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
work=$(mktemp -d --tmpdir ttt-many-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0

# within NAME COMMAND...: it succeeds in 256 MB.
within()
{
    local name=$1
    shift
    if (ulimit -v 262144 && "$@") >out.txt 2>err.txt; then
        passed=$((passed + 1))
        echo "ok   $name"
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        sed 's/^/     /' err.txt
    fi
}
pack() { "$bin/ttt-pack" -q --tokenizer-name s --val-ratio 0.01 --memory 200M "$@"; }

seq -f '{"text":"Day %.0f"}' $documents >many.jsonl
within 'ttt-tokenize' "$bin/ttt-tokenize" -q -j 2 --memory 200M --tokenizer "$model" -o many.tok many.jsonl
rm many.jsonl
within 'ttt-shuffle, ours' "$bin/ttt-shuffle" -q --seed 1 --memory 200M -o shuffled.tok many.tok
within 'ttt-shuffle in little of it' "$bin/ttt-shuffle" -q --seed 1 --memory 24M -o less.tok many.tok
within 'the same bytes' cmp shuffled.tok less.tok
within "ttt-shuffle, numpy's order" "$bin/ttt-shuffle" -q --seed 1 --order=numpy --memory 200M -o numpy.tok many.tok
within 'ttt-pack' pack -o d many.tok
within 'ttt-pack from a pipe' pack -o p --source-name many.tok - <many.tok
within 'the same bytes' diff -r d p
within 'ttt-pack, two processes' pack -j 2 -o j many.tok
within 'the same bytes' diff -r d j
within 'ttt-pack, Megatron' pack -o m --format megatron many.tok
within 'ttt-pack, rows' pack -o r --pack best-fit --seq-length 512 many.tok
within 'ttt-verify' "$bin/ttt-verify" -q many.tok shuffled.tok numpy.tok d m r
within 'ttt-verify against the source' "$bin/ttt-verify" -q --source many.tok d
within 'ttt-peek' "$bin/ttt-peek" -q --plot many.tok
mv out.txt seen.txt
within 'every document is there' grep -qx "documents	$documents" seen.txt
rm -rf ./*.tok d p j m r
{ printf '{"text":"'; yes 'words and \"words\" and' | head -c 140000000 | tr '\n' ' '; printf ' end"}\n'; } >line.jsonl
within 'ttt-tokenize, a line of 140 MB' "$bin/ttt-tokenize" -j 2 --memory 190M --tokenizer "$model" -o line.tok line.jsonl
mv err.txt seen.txt
within 'it is one document of 128 MB of text' grep -qF '1 documents, 52.5 M tokens, 128 M bytes of text' seen.txt
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
