#!/bin/bash
# convert.sh BIN -- ttt-convert as people use it: there and back, mistaken, out of disk, onto a run.
set -uo pipefail
bin=$(cd "${1:?usage: convert.sh BIN}" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
if [[ ! -x $bin/ttt-convert ]]; then
    echo 'skip convert  ttt-convert was left out of this build'
    echo '0 passed, 0 failed, 1 skipped'
    exit
fi
work=$(mktemp -d --tmpdir ttt-convert-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
golden=tests/golden/reference

ok() { passed=$((passed + 1)) && echo "ok   $1"; }
bad() {
    failed=$((failed + 1))
    echo "FAIL $1"
    sed 's/^/     | /' "$work/err" 2>/dev/null | tail -n 5
}
check() {
    local name=$1
    shift
    if "$@"; then ok "$name"; else bad "$name"; fi
}
convert() { "$bin/ttt-convert" "$@" 2>"$work/err"; }
in_() { convert --from=reference --to=ttt "$@"; }
out() { convert --from=ttt --to=reference "$@"; }
says() { grep -q -- "$1" "$work/err"; }
# refuses NAME STATUS WORDS COMMAND...
refuses() {
    local name=$1 status=$2 words=$3 got
    shift 3
    "$@"
    got=$?
    if [[ $got -eq $status && $(wc -l <"$work/err") -ge 1 ]] && says "$words"; then
        ok "$name"
    else
        echo "     | exit $got, expected $status and: $words"
        bad "$name"
    fi
}
round() { # round FILE DTYPE FLAGS...
    rm -rf "$work/round"
    in_ "$1" "$work/round" "${@:3}" && out "$work/round" "$work/back" --dtype="$2" && cmp "$1" "$work/back"
}

state=$golden/linear_adamw.streaming_train_state
check train-state round $state fp32
check latest test "$(cat "$work/round/latest")" = step_5
check optax-multisteps round $golden/mlp_base_multisteps.streaming_train_state fp32
check adafactor-in-bf16 round $golden/linear_base_adafactor.streaming_train_state bf16
check parameters-alone round $golden/attention.streaming_params_7 bf16 --update_model_config='dict(num_attention_heads=1)'
check step-of-the-name test "$(cat "$work/round/latest")" = step_7
check no-moments test ! -e "$work/round/step_7/moments.safetensors"

check part-params in_ $state "$work/part/" --part=params
check part-params-has-no-moments test ! -e "$work/part/step_5/moments.safetensors"
check part-params-out out "$work/part/step_5" "$work/streaming_params"
check step-flag in_ "$work/streaming_params" "$work/stepped" --step=12
check step-flag-taken test -d "$work/stepped/step_12"
check no-step-is-one in_ "$work/streaming_params" "$work/one"
check same-parameters cmp "$work/one/step_1/params.safetensors" "$work/part/step_5/params.safetensors"
check another-step-beside in_ "$work/streaming_params" "$work/part" --step=6
check both-steps test -d "$work/part/step_5" -a -d "$work/part/step_6"

refuses onto-a-step 1 'is there already' in_ $state "$work/part"
refuses moments-of-none 1 'has parameters alone' in_ "$work/streaming_params" "$work/never" --part=trainstate
refuses moments-of-none-out 1 'has parameters alone' out "$work/one" "$work/never" --part=trainstate
refuses other-step 1 'of step 5, not of --step=6' in_ $state "$work/never" --step=6
refuses heads-unknown 1 'num_attention_heads=N' in_ $golden/attention.streaming_params_7 "$work/never"
refuses flag-against-file 1 'hidden_size is 16' in_ $state "$work/never" --update_model_config='dict(hidden_size=32)'
refuses not-msgpack 1 'not a checkpoint of the reference' in_ tests/golden/order/seeds.tsv "$work/never"
refuses absent 1 'No such file' in_ "$work/absent" "$work/never"
refuses not-ours 1 'neither a checkpoint' out tests/golden "$work/never"
refuses one-operand 2 'two operands' in_ $state
refuses no-direction 2 '--from=reference --to=ttt' convert $state "$work/never"
refuses same-kind 2 '--from=reference --to=ttt' convert --from=ttt --to=ttt $state "$work/never"
refuses unknown-kind 2 'reference' convert --from=pytorch --to=ttt $state "$work/never"

# Short of disk, by a limit on files: a sentence, and nothing under a final name.
limited() { (ulimit -f 4 && trap '' XFSZ && "$@"); }
refuses disk-full-in 1 'params.safetensors' limited in_ $state "$work/never"
refuses disk-full-out 1 'File too large' limited out "$work/one" "$work/never2"
printf 'old' >"$work/kept"
refuses disk-full-over-a-file 1 'File too large' limited out "$work/one" "$work/kept"
check old-file-kept test "$(cat "$work/kept")" = old
check nothing-half-written test -z "$(find "$work" -name '*.part*' -o -name 'never*' ! -type d -o -path '*never*/step_*' -o -path '*never*/latest')"
head -c 20000 $state >"$work/cut"
refuses cut-file 1 'byte' in_ "$work/cut" "$work/never"
check nothing-written-of-it test ! -e "$work/never/step_5"

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
