#!/bin/bash
# dataset.sh BIN -- the reference's own datasets, byte for byte, from its own inputs.
#
# Needs TTT_SHARED: golden/data/dataset (corpora, sha256.tsv) and the tokenizers it names.
set -uo pipefail
bin=$(cd "${1:?usage: dataset.sh BIN}" && pwd) || exit 1
golden=${TTT_SHARED:-}/golden/data
if [[ -z ${TTT_SHARED:-} || ! -r $golden/dataset/sha256.tsv ]]; then
    echo "skip dataset  TTT_SHARED does not name a folder with golden/data/dataset"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
work=$(mktemp -d --tmpdir ttt-dataset-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1"; }

# pack_all NAME MODEL EOS_FLAG LABEL: both corpora, all ways the goldens have.
tokenize() { "$bin/ttt-tokenize" -q --tokenizer "$model" $eos -o "$@"; }
made() { # made WHERE: every file of the table under WHERE is there with its checksum
    local file sha
    while IFS=$'\t' read -r file _ _ _ sha; do
        [[ $file == "$1"/*.npy ]] || continue
        if [[ $(sha256sum <"$work/$file" 2>/dev/null) == "$sha  -" ]]; then
            ok "$file"
        else
            bad "$file"
        fi
    done <"$golden/dataset/sha256.tsv"
}

pack() { "$bin/ttt-pack" -q "$@" >>"$work/paths" || bad "ttt-pack $*"; }

both() { # both NAME MODEL
    local name=$1 model=$2 eos='' b=$golden/dataset/corpus-b
    if [[ ! -r $model ]]; then
        echo "skip $name  no $(basename "$model")"
        skipped=$((skipped + 1))
        return
    fi
    tokenize "$work/a.tok" "$golden/dataset/corpus-a.jsonl" || bad "$name: corpus-a"
    pack -o "$work/a" --tokenizer-name "$name" "$work/a.tok"
    [[ $name == meta-llama/* ]] && pack -o "$work/a" --tokenizer-name "$name" --val-ratio 0.01 - <"$work/a.tok"
    for split in train validation test; do
        tokenize "$work/$split.tok" "$b/$split.jsonl" || bad "$name: corpus-b $split"
    done
    pack -o "$work/b" --tokenizer-name "$name" --train="$work/train.tok" \
        --validation="$work/validation.tok" --test="$work/test.tok"
    [[ $name == meta-llama/* ]] || return
    eos=--no-eos
    for split in train validation test; do
        tokenize "$work/$split.tok" "$b/$split.jsonl" || bad "$name: corpus-b $split --no-eos"
    done
    pack -o "$work/b" --tokenizer-name "$name" --train="$work/train.tok" \
        --validation=- --test="$work/test.tok" <"$work/validation.tok"
}

both meta-llama/Llama-2-7b-hf "$TTT_SHARED/data/llama2-tokenizer.model"
both small-1024 "$golden/tokenizer/small-1024.model"
made a
made b
if "$bin/ttt-verify" -q "$work/a" "$work/b"; then ok "ttt-verify of all"; else bad "ttt-verify of all"; fi
printf '%d passed, %d failed' $passed $failed
[[ $skipped -gt 0 ]] && printf ', %d skipped' $skipped
echo
[[ $failed -eq 0 && $passed -gt 0 ]]
