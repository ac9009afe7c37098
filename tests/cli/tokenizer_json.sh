#!/bin/bash
# tokenizer_json.sh BIN -- a tokenizer.json gives the ids of the SentencePiece model it was made of.
set -uo pipefail
bin=$(cd "${1:?usage: tokenizer_json.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
golden=$here/tests/golden/tokenizer
work=$(mktemp -d --tmpdir ttt-json-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1${2:+  $2}"; }

# cases NAME JSON CASES: the golden ids, of Hugging Face and of sentencepiece, on every case.
cases()
{
    local sum
    sum=$("$bin/../tests/golden_tokenizer" "$2" "$3" 2>&1 | tail -n 1)
    if [[ $sum == [1-9]*' passed, 0 failed' ]]; then ok "$1: $sum"; else bad "$1" "$sum"; fi
}
python3 "$here/tests/model_to_json.py" "$golden/small-1024.model" >small.json
if cmp -s small.json "$golden/small-1024.json"; then ok 'the golden one is what the converter makes'; else bad 'the golden one is what the converter makes'; fi
cases 'a small model' small.json "$golden/cases-small.jsonl"
if [[ ${TTT_SHARED-} && -r $TTT_SHARED/data/llama2-tokenizer.model ]]; then
    python3 "$here/tests/model_to_json.py" "$TTT_SHARED/data/llama2-tokenizer.model" >llama.json
    cases "Llama's" llama.json "$TTT_SHARED/golden/data/tokenizer/cases.jsonl"
else
    skipped=1
    echo "skip Llama's  TTT_SHARED names no folder that holds it"
fi

# edit NAME PYTHON: a changed copy of the small one, edited.json.
edit()
{
    python3 -c "
import json
t = json.load(open('small.json'))
m = t['model']
$1
json.dump(t, open('edited.json', 'w'), ensure_ascii=False)"
}
ids() { "$bin/ttt-tokenize" -q --tokenizer "$1" - <<<'{"text":"In  the <s> beginning\nwas é"}' | "$bin/ttt-peek" -q --format=ids -; }
ids small.json >want
alike() { edit "$2"; ids edited.json >found; if [[ -s want ]] && cmp -s want found; then ok "$1"; else bad "$1" "$(<want) and $(<found)"; fi; }
metaspace="t['normalizer'] = None; t['pre_tokenizer'] = {'type': 'Metaspace', 'replacement': '\u2581', 'split': False, 'prepend_scheme':"
alike 'merges as pairs' "m['merges'] = [x.split(' ') for x in m['merges']]"
alike 'Metaspace in place of the normalizer' "$metaspace 'always'}"
alike 'no post-processor' "t['post_processor'] = None"
alike 'no type' "del m['type']"
edit "$metaspace 'first'}"
if [[ $(ids edited.json | wc -w) -gt 10 ]] && ! ids edited.json | cmp -s - want; then ok 'a blank only before the first part'; else bad 'a blank only before the first part'; fi

refused()
{
    edit "$3"
    "$bin/ttt-tokenize" -q --tokenizer edited.json - <<<'{"text":""}' >/dev/null 2>err
    if [[ $? -eq 1 ]] && grep -q "edited.json: .*$2" err; then ok "$1 is refused"; else bad "$1 is refused" "$(<err)"; fi
}
refused 'another added token' 'added token "\[PAD\]"' "t['added_tokens'].append({'id': 1024, 'content': '[PAD]'})"
refused 'a stripped token' 'stripped' "t['added_tokens'][0]['lstrip'] = True"
refused 'ignore_merges' 'ignore_merges' "m['ignore_merges'] = True"
refused 'dropout' 'dropout' "m['dropout'] = 0.1"
refused 'a word-level model' 'type BPE' "m['type'] = 'WordLevel'"
refused 'a lowercasing normalizer' 'normalizer' "t['normalizer']['normalizers'].append({'type': 'Lowercase'})"
refused 'a splitting Metaspace' 'splits' "t['pre_tokenizer'] = {'type': 'Metaspace', 'replacement': '\u2581', 'split': True}"
refused 'a truncating tokenizer' 'truncates' "t['truncation'] = {'max_length': 5}"
refused 'a missing piece' 'an id that is not' "del m['vocab'][list(m['vocab'])[300]]"
refused 'a merge of no piece' 'merge 3 ' "m['merges'][3] = 'zz qq'"
refused 'a merge into no piece' 'gives no piece' "m['merges'][3] = 'z q'"
refused 'a merge twice' 'merge twice' "m['merges'].append(m['merges'][0])"
refused 'no merges' 'model.merges' "del m['merges']"
refused 'no byte pieces' 'fuse_unk' "m['byte_fallback'] = m['fuse_unk'] = False"
head -c 9000 small.json >edited.json
"$bin/ttt-tokenize" -q --tokenizer edited.json - <<<'{"text":""}' >/dev/null 2>err
if [[ $? -eq 1 ]] && grep -q 'edited.json: line' err; then ok 'a cut one is refused'; else bad 'a cut one is refused' "$(<err)"; fi

printf '%d passed, %d failed' $passed $failed
[[ $skipped -gt 0 ]] && printf ', %d skipped' $skipped
echo
[[ $failed -eq 0 ]]
