#!/bin/bash
# run_golden.sh BIN -- whole runs of the reference's own training program, repeated: its initial
# checkpoint converted, its flags, its data; every loss, norm, rate and statistic compared.
set -uo pipefail
bin=$(cd "${1:?usage: run_golden.sh BIN}" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
passed=0 failed=0 skipped=0
golden=${TTT_SHARED:-}/golden/run

finish() {
    if [[ $skipped -gt 0 ]]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    [[ $failed -eq 0 ]]
}
skip() {
    echo "skip $1  $2"
    skipped=$((skipped + 1))
}
if [[ -z ${TTT_SHARED:-} || ! -d $golden ]]; then
    skip run-golden "no ../shared/golden/run, and TTT_SHARED names no other place"
    finish
    exit
fi
if [[ ! -x $bin/ttt-convert ]]; then
    skip run-golden 'ttt-convert was left out of this build'
    finish
    exit
fi
work=$(mktemp -d --tmpdir ttt-run-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1

ok() { passed=$((passed + 1)) && echo "ok   $1"; }
bad() {
    failed=$((failed + 1))
    echo "FAIL $1"
    sed 's/^/     | /' "$work/err" 2>/dev/null | tail -n 5
}
check() { # check NAME COMMAND...: the command succeeds; what it prints follows the name
    local name=$1 note
    shift
    if note=$("$@"); then ok "$name${note:+  $note}"; else bad "$name${note:+  $note}"; fi
}

# ---- the comparison -----------------------------------------------------------------------------

steps_agree() {
    awk -f tests/steps_agree.awk "$1" "$2"
}

# stats_agree OURS THEIRS: four curves of every layer at the milestones of THEIRS.
stats_agree() {
    awk -v tolerance=1e-4 '
        function curves(key, into, text) {
            text = substr($0, index($0, key) + length(key))
            gsub(/[^-+.0-9eE,]/, "", text)
            return split(text, into, ",")
        }
        function place(at) { at = $0; sub(/, "x".*/, "", at); return at }
        FNR == NR { if (/"ttt_stats"/) ours[place()] = $0; next }
        /"stats"/ {
            n = curves("\"stats\": ", b); at = place(); $0 = ours[at]; layers++
            if (!n || curves("\"ttt_stats\": ", a) != n) { print "no such curves: " at; wrong = 1; exit }
            for (i = 1; i <= n; i++) {
                d = a[i] - b[i]; if (d < 0) d = -d
                if (!(d <= tolerance * b[i])) { print at ": " a[i] ", not " b[i]; wrong = 1; exit }
                if (d / b[i] > worst) worst = d / b[i]
            }
        }
        END { if (wrong || !layers) exit 1
              printf "%d layers: %.1e\n", layers, worst }' "$1" "$2"
}

# ---- the cases ----------------------------------------------------------------------------------

small=(num_hidden_layers=2 hidden_size=64 num_attention_heads=4 intermediate_size=176)

# train CASE FLAGS...
train() {
    local case=$1
    shift
    local steps=60 milestone=30 tokenizer=(--tokenizer_name=small) model=125m-TTT
    local sizes=("${small[@]}") block
    case $case in
    linear) block="seq_modeling_block='ttt_linear',ttt_base_lr=1.0" ;;
    mlp) block="seq_modeling_block='ttt_mlp',ttt_base_lr=0.1,ttt_base_lr_init=0.01,ttt_base_lr_warmup=10" ;;
    attention) block="seq_modeling_block='self_attention'" model=125m ;;
    llama2)
        block="seq_modeling_block='ttt_linear',ttt_base_lr=1.0" steps=40 milestone=20 tokenizer=()
        sizes=(num_hidden_layers=1 hidden_size=32 num_attention_heads=2 intermediate_size=80)
        ;;
    esac
    "$bin/ttt-train" --mesh_dim=1,1,1 --dtype=fp32 --dataset_path="$golden/data" --dataset_name=kjv \
        "${tokenizer[@]}" --seq_length=64 --global_batch_size=4 --loader_workers=1 \
        --optimizer.type=adamw --optimizer.adamw_optimizer.weight_decay=0.1 \
        --optimizer.adamw_optimizer.lr=3e-3 --optimizer.adamw_optimizer.end_lr=1e-5 \
        --optimizer.adamw_optimizer.lr_warmup_steps=10 \
        --optimizer.adamw_optimizer.lr_decay_steps=$steps --total_steps=$steps \
        --save_milestone_freq=$milestone --checkpointer.float_dtype=fp32 --device=cpu \
        --load_model_config=$model \
        --update_model_config="dict($(IFS=, && echo "${sizes[*]}"),$block)" \
        --exp_dir="$work/$case" "$@" 2>"$work/err"
}

# to_ttt CASE FILE NAME: the reference's file becomes the run NAME.
to_ttt() {
    local hints=()
    [[ $1 == attention ]] && hints=(--update_model_config='dict(num_attention_heads=4)')
    "$bin/ttt-convert" --from=reference "$2" --to=ttt "$work/$1/$3" "${hints[@]}" 2>"$work/err"
}
# to_reference CASE NAME FLAGS...: and back, to $work/back.
to_reference() {
    "$bin/ttt-convert" --from=ttt "$work/$1/$2" --to=reference "$work/back" "${@:3}" 2>"$work/err"
}
# rounded FILE: $work/back is FILE but for a few bytes. FILE is the end of the reference's resumed
# run, whose moments differ from the first run's in their last bit here and there.
rounded() {
    local bytes
    bytes=$(cmp -l "$work/back" "$1" | wc -l)
    echo "$bytes bytes differ"
    [[ $(wc -c <"$work/back") -eq $(wc -c <"$1") && $bytes -le 40 ]]
}
# there_and_back CASE FILE DTYPE: the same bytes.
there_and_back() {
    rm -rf "$work/$1/round" "$work/back"
    to_ttt "$1" "$2" round && to_reference "$1" round --dtype="$3" && cmp "$2" "$work/back"
}

cases=(linear mlp attention llama2)
if [[ $bin == */asan/* ]]; then
    unset 'cases[3]'
    skip llama2 'the sanitizer has seen this block, and 32000 ids take it half of the time'
fi
for case in "${cases[@]}"; do
    theirs=$golden/$case tokenizer_name=small
    [[ $case == llama2 ]] && tokenizer_name=meta-llama/Llama-2-7b-hf
    mkdir "$work/$case"
    for file in "$theirs"/*.streaming_train_state; do
        dtype=fp32
        [[ $file == *bf16* ]] && dtype=bf16
        name=$(basename "$file" .streaming_train_state)
        check "$case-$name-there-and-back" there_and_back "$case" "$file" $dtype
    done

    check "$case-init-converted" to_ttt "$case" "$theirs/init.streaming_train_state" init
    check "$case-run" train "$case" --resume_exp_name=init --load_part=trainstate_params --exp_name=run
    ours=$work/$case/run
    check "$case-steps" steps_agree "$ours/metrics.jsonl" "$theirs/run.jsonl"
    if [[ $case != attention ]]; then
        check "$case-statistics" stats_agree "$ours/metrics.jsonl" "$theirs/run.jsonl"
    fi

    # Where the reference's own checkpoint of that step is not kept, ours takes the way of one.
    milestone=$(basename "$theirs"/step_*.dataset.pkl .dataset.pkl)
    if [[ -e $theirs/$milestone.streaming_train_state ]]; then
        check "$case-$milestone-converted" to_ttt "$case" "$theirs/$milestone.streaming_train_state" half
        check "$case-final-converted" to_ttt "$case" "$theirs/final.streaming_train_state" end
        check "$case-final-rounded-to-bf16" to_reference "$case" end --dtype=bf16
        check "$case-as-the-reference-rounds" rounded "$theirs/final_bf16.streaming_train_state"
    else
        check "$case-$milestone-to-reference" to_reference "$case" "run/$milestone"
        check "$case-$milestone-converted" to_ttt "$case" "$work/back" half
        cp -r "$ours" "$work/$case/end"
    fi
    check "$case-resumed-run" train "$case" --resume_exp_name=half --exp_name=resumed
    check "$case-resumed-steps" steps_agree "$work/$case/resumed/metrics.jsonl" "$theirs/resume.jsonl"
    printed=$(train "$case" --resume_exp_name=end --load_part=trainstate_params --eval_mode=True)
    check "$case-evaluation" test "$printed" = "$(cat "$theirs/eval.txt")"
    "$bin/ttt-eval" -q --device=cpu --threads=1 "$work/$case/end" -d "$golden/data" --tokenizer_name="$tokenizer_name" \
        -s 64 --reference --global_batch_size=4 --json="$work/eval.json" >/dev/null 2>"$work/err"
    check "$case-evaluation-by-ttt-eval" test \
        "$(printf 'Eval Loss: %.4f' "$(jq '.results[0].loss' "$work/eval.json")")" = "$(cat "$theirs/eval.txt")"
done
finish
