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
refuses no-direction 2 'expected --from and --to' convert $state "$work/never"
refuses same-kind 2 'two different ones' convert --from=ttt --to=ttt $state "$work/never"
refuses unknown-kind 2 'reference' convert --from=pytorch --to=ttt $state "$work/never"

# Two at one output: the second is refused, and what the first has is left alone.
if command -v flock >/dev/null; then
    held() { flock "$1" "$bin/ttt-convert" "${@:2}" 2>"$work/err"; } # held PATH FLAGS...
    refuses two-at-one-run 1 'another ttt-train or ttt-convert is writing here' held "$work/part" --from=reference --to=ttt "$work/streaming_params" "$work/part" --step=9
    : >"$work/twice.part"
    refuses two-at-one-stream 1 'twice: another process is writing it' held "$work/twice.part" --from=ttt --to=reference "$work/one" "$work/twice"
    mkdir "$work/twice-hf"
    refuses two-at-one-model 1 'another ttt-train or ttt-convert is writing here' held "$work/twice-hf" --from=ttt --to=hf "$work/one" "$work/twice-hf"
    check nothing-of-the-second test -z "$(find "$work/twice-hf" "$work/part/step_9" "$work/twice" -mindepth 1 2>/dev/null)" -a -e "$work/twice.part"
    rm -r "$work/twice.part" "$work/twice-hf"
else
    echo 'skip two-at-once  no flock program'
fi

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

# ---- Hugging Face's directories ----------------------------------------------------------------

hf=tests/golden/hf
from_hf() { convert --from=hf --to=ttt "$@"; }
to_hf() { convert --from=ttt --to=hf "$@"; }
digest() { grep -o 'XXH3-128 of the parameters [0-9a-f]*' "$work/err" | sort -u | wc -l; }
for model in linear_noconv llama_untied_hd64; do
    check "hf-in $model" from_hf $hf/$model "$work/of-$model"
    check "hf-out $model" to_hf "$work/of-$model" "$work/hf-$model"
    check "hf-same-bytes $model" cmp $hf/$model/model.safetensors "$work/hf-$model/model.safetensors"
    check "hf-to-reference $model" convert --from=hf --to=reference $hf/$model "$work/streamed"
    heads=$(jq .num_attention_heads $hf/$model/config.json)
    check "reference-to-hf $model" convert --from=reference --to=hf "$work/streamed" "$work/back-$model" \
        --update_model_config="dict(num_attention_heads=$heads, ttt_base_lr=1.0)"
    check "hf-by-reference $model" cmp $hf/$model/model.safetensors "$work/back-$model/model.safetensors"
done
check counts-told says '25 tensors, .* bytes of fp32 in 1 file\|12 tensors, .* bytes of fp32 in 1 file'
check one-checksum test "$(digest)" = 1
check hf-step from_hf $hf/linear_noconv "$work/stepped-hf" --step=77
check hf-step-taken test "$(cat "$work/stepped-hf/latest")" = step_77
check hf-bf16 to_hf "$work/of-linear_noconv" "$work/bf16" --dtype=bf16
check hf-bf16-told test "$(jq -r .torch_dtype "$work/bf16/config.json")" = bfloat16
check hf-bf16-is-half test $((2 * $(stat -c %s "$work/bf16/model.safetensors"))) -lt \
    $(($(stat -c %s $hf/linear_noconv/model.safetensors) + 8000))
check hf-bf16-in from_hf "$work/bf16" "$work/of-bf16"
check hf-bf16-there-and-back to_hf "$work/of-bf16" "$work/bf16-again" --dtype=bf16
check hf-bf16-same-bytes cmp "$work/bf16/model.safetensors" "$work/bf16-again/model.safetensors"
check hf-f16 to_hf "$work/of-bf16" "$work/f16" --dtype=f16
check hf-cut to_hf "$work/of-linear_noconv" "$work/cut-up" --max_shard_bytes=30K
check hf-cut-index test "$(jq -r '.weight_map | map(.) | unique | length' "$work/cut-up/model.safetensors.index.json")" = \
    "$(find "$work/cut-up" -name 'model-*.safetensors' | wc -l)"
check hf-cut-in from_hf "$work/cut-up" "$work/of-cut"
check hf-cut-same cmp "$work/of-cut/step_1/params.safetensors" "$work/of-linear_noconv/step_1/params.safetensors"

# config FILTER: a copy of a model whose config.json is changed by jq.
config() {
    rm -rf "$work/changed"
    cp -r "$hf/$1" "$work/changed"
    jq "$2" "$hf/$1/config.json" >"$work/changed/config.json"
}
refused_config() { # NAME MODEL FILTER WORDS
    config "$2" "$3"
    refuses "$1" 1 "$4" from_hf "$work/changed" "$work/never-hf"
}
refused_config hf-grouped-heads llama_untied_hd64 '.num_key_value_heads = 1' 'grouped heads'
refused_config hf-bias llama_untied_hd64 '.attention_bias = true' 'attention_bias'
refused_config hf-rope-scaling llama_untied_hd64 '.rope_scaling = {"type": "linear", "factor": 2}' 'rope_scaling'
refused_config hf-gelu llama_untied_hd64 '.hidden_act = "gelu"' 'hidden_act'
refused_config hf-gate-alone linear_noconv '.share_qk = false' 'share_qk'
refused_config hf-other-family llama_untied_hd64 '.model_type = "gpt2"' 'expected ttt or llama'
refused_config hf-quantised llama_untied_hd64 '.quantization_config = {}' 'quantization_config'
refused_config hf-tied-by-default linear_noconv 'del(.tie_word_embeddings) | .pre_conv = true' '3 tensors missing\|4 tensors missing'
refused_config hf-untied-missing linear_noconv '.tie_word_embeddings = false' '1 tensors missing (lm_head.weight)'
refused_config hf-other-shape linear_noconv '.intermediate_size = 97' 'has the shape'
config llama_untied_hd64 '.rope_parameters = {"rope_theta": .rope_theta, "rope_type": "default"} | del(.rope_theta)'
check hf-newer-rope from_hf "$work/changed" "$work/newer"
mkdir "$work/empty" && cp $hf/linear_noconv/config.json "$work/empty/"
refuses hf-no-weights 1 'neither model.safetensors' from_hf "$work/empty" "$work/never-hf"
refuses hf-no-config 1 'config.json' from_hf tests/golden "$work/never-hf"
refuses hf-there-already 1 'is there already' to_hf "$work/of-linear_noconv" "$work/bf16"
refuses hf-moments 1 'parameters alone' from_hf $hf/linear_noconv "$work/never-hf" --part=trainstate
refuses f16-for-the-reference 2 'only for --to=hf' out "$work/one" "$work/never-hf" --dtype=f16
refuses hf-disk-full 1 'File too large' limited to_hf "$work/of-linear_noconv" "$work/never-hf"
rm "$work"/cut-up/model-00001-of-*
refuses hf-file-of-several-lost 1 'No such file' from_hf "$work/cut-up" "$work/never-hf"
jq '.weight_map["model.norm.weight"] = "../x"' "$work/cut-up/model.safetensors.index.json" >"$work/cut-up/i"
mv "$work/cut-up/i" "$work/cut-up/model.safetensors.index.json"
refuses hf-index-outside 1 'the name of a file beside it\|No such file' from_hf "$work/cut-up" "$work/never-hf"
check hf-nothing-left test ! -e "$work/never-hf" -o -z "$(find "$work/never-hf" -type f 2>/dev/null)"

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
