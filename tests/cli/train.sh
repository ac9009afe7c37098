#!/bin/bash
# train.sh BIN -- ttt-train as people and machines use it: killed, stopped, short of disk, misspelt.
# shellcheck source=tests/cli/parts.bash disable=SC2154
. "$(dirname "$0")/parts.bash" "$@"
cd "$here" || exit 1

dataset "$work/data" 2000 400

model="dict(num_hidden_layers=2, hidden_size=32,
    num_attention_heads=2, intermediate_size=48)"
common=(--dataset_path="$work/data" --vocab_size=64 --seq_length=32 --global_batch_size=4
    --update_model_config="$model" --optimizer.adamw_optimizer.lr=1e-2
    --optimizer.adamw_optimizer.end_lr=1e-5 --optimizer.adamw_optimizer.lr_warmup_steps=3
    --exp_dir="$work/runs" --threads=1 --device=cpu)
train() { "$bin/ttt-train" "${common[@]}" --optimizer.adamw_optimizer.lr_decay_steps=40 "$@" 2>"$work/err"; }
says() { grep -q -- "$1" "$work/err"; }
lines() { # lines RUN: steps in its metrics
    local n
    n=$(grep -c '"loss"' "$work/runs/$1/metrics.jsonl" 2>/dev/null)
    echo "${n:-0}"
}

# refuses NAME STATUS WORDS FLAGS...: that exit status, one sentence with these words.
refuses() {
    local name=$1 status=$2 words=$3 got
    shift 3
    train --exp_name=refused "$@"
    got=$?
    if [[ $got -eq $status ]] && says "$words" && [[ ! -e $work/runs/refused/latest ]]; then
        ok "$name"
    else
        echo "     | exit $got, expected $status and: $words"
        bad "$name"
    fi
    rm -rf "$work/runs/refused"
}

# ---- refusals ----------------------------------------------------------------------------------

refuses misspelt-flag 2 'did you mean --total_steps' --total_step=3
refuses misspelt-key 1 'hidden_size' --update_model_config='dict(hiden_size=32)'
refuses not-a-number 2 'expected a whole number' --total_steps=many
refuses mesh-of-two 2 'this process is alone' --mesh_dim=2,1,1
refuses mesh-of-words 2 'three numbers' --mesh_dim=all
refuses palm-without-warm-up 2 'lr_warmup_steps is 0' --optimizer.type=palm --optimizer.palm_optimizer.lr_warmup_steps=0
refuses decay-that-grows 2 'must not be negative' --optimizer.adamw_optimizer.weight_decay=-1
refuses hours-beyond-counting 2 'expected 1 to 1000000 seconds' --comm_timeout=1e12
refuses accumulation-that-does-not-divide 2 'does not divide' --accum_steps=3
refuses resume-step-alone 2 'needs --resume_exp_name' --resume_step=4
refuses uneven-seq-length 1 '32 and 48' --seq_length=40
refuses absent-data 1 'No such file' --dataset_path="$work/nowhere"
mkdir "$work/empty"
refuses empty-data 1 'ttt-pack makes them' --dataset_path="$work/empty"
refuses unknown-vocabulary 1 'give --vocab_size=N' --vocab_size=0
refuses id-out-of-range 1 'not below the vocabulary of 40' --vocab_size=40
refuses text-shorter-than-a-window 1 'too few for one window' --seq_length=2048
refuses batch-larger-than-the-data 1 'fewer than one batch' --global_batch_size=64
refuses nothing-to-resume 1 'neither a checkpoint' --resume_exp_name=absent
refuses missing-flagfile 2 'No such file' --flagfile="$work/nothing"
refuses skipping-within-a-mean 2 'accumulate by --accum_steps' --skip_nonfinite=1 --optimizer.accumulate_gradient_steps=2
refuses dropout 1 'no dropout' --update_model_config='dict(attn_pdrop=0.1)'
refuses masked-keys 1 'does not mask keys' --update_model_config='dict(fcm_max_ratio=0.1)'
refuses memory 1 'free: a smaller --micro_batch' --update_model_config='dict(hidden_size=65536, num_attention_heads=1024, num_hidden_layers=64)'
if [[ $bin != *cuda* && $bin != *emulated* ]]; then
    refuses bf16-on-the-cpu 1 'the CPU build computes in fp32' --dtype=bf16
    refuses bfloat16-is-bf16 1 'dtype=bf16: the CPU build computes in fp32' --dtype=bfloat16
    if [[ ! -e /dev/nvidia0 && ! -e /dev/nvidiactl ]]; then
        refuses no-gpu 1 'no NVIDIA GPU is visible' --device=cuda
    fi
fi

# ---- a run -------------------------------------------------------------------------------------

run=(--total_steps=40 --save_checkpoint_freq=5 --save_milestone_freq=20)
train --exp_name=whole "${run[@]}" --eval_every=10 --eval_batches=2
check whole-run test $? -eq 0
check a-line-a-step test "$(lines whole)" -eq 40
check loss-falls awk -F'[:,]' '/"loss"/ { l[++n] = $4 } END { exit !(l[1] > 4 && l[40] < l[1] - 0.5) }' \
    "$work/runs/whole/metrics.jsonl"
check logged-rate-is-the-next-update-s awk -F'[:,]' '/"loss"/ { if (++n == 1) exit !($8 > 0.0033 && $8 < 0.0034) }' \
    "$work/runs/whole/metrics.jsonl"
check statistics-at-milestones test "$(grep -c ttt_stats "$work/runs/whole/metrics.jsonl")" -eq 4
check validation-lines test "$(grep -c val_loss "$work/runs/whole/metrics.jsonl")" -eq 4
check latest test "$(cat "$work/runs/whole/latest")" = step_40
check milestones-stay-others-go test "$(cd "$work/runs/whole" && echo step_*)" = 'step_20 step_40'
check directory-tells test -s "$work/runs/whole/flags.txt" -a -s "$work/runs/whole/config.json" -a \
    -s "$work/runs/whole/model.txt" -a -s "$work/runs/whole/version.txt"

# metrics_of RUN: without what a clock measured.
metrics_of() { sed -E 's/, "tokens_per_s".*//' "$work/runs/$1/metrics.jsonl"; }
# same RUN RUN: parameters, moments and metrics, byte for byte.
same() {
    cmp -s "$work/runs/$1/step_40/params.safetensors" "$work/runs/$2/step_40/params.safetensors" &&
        cmp -s "$work/runs/$1/step_40/moments.safetensors" "$work/runs/$2/step_40/moments.safetensors" &&
        [[ $(metrics_of "$1") == "$(metrics_of "$2")" ]]
}

"$bin/ttt-train" --flagfile="$work/runs/whole/flags.txt" --exp_name=again -q 2>"$work/err"
check flags.txt-repeats-the-run same whole again

train --exp_name=whole "${run[@]}"
if [[ $? -eq 1 ]] && says 'resume_exp_name=whole' && says 'another --exp_name'; then
    ok existing-run-is-not-overwritten
else
    bad existing-run-is-not-overwritten
fi
train --exp_name=whole "${run[@]}" --resume=auto
check nothing-left-to-do test $? -eq 0

train --resume_exp_name=whole --eval_mode=True >"$work/out"
check eval-mode grep -qxE 'Eval Loss: [0-9]\.[0-9]{4}' "$work/out"
train --resume_exp_name=whole --eval_mode=True --micro_batch=1 >"$work/out1"
check eval-mode-in-smaller-parts cmp -s "$work/out" "$work/out1"

# A CUDA build hands over to the CPU's where that is meant.
cuda=$bin/../../cuda/bin/ttt-train
if [[ -x $cuda && ! -e /dev/nvidia0 ]]; then
    "$cuda" "${common[@]}" --optimizer.adamw_optimizer.lr_decay_steps=40 --resume_exp_name=whole --eval_mode \
        >"$work/out1" 2>"$work/err"
    check cuda-build-hands-over cmp -s "$work/out" "$work/out1"
    "$cuda" "${common[@]}" --dtype=bf16 --exp_name=none 2>"$work/err"
    check cuda-build-without-gpu says 'the CPU build computes in fp32'
else
    skipped=$((skipped + 1))
    echo "skip cuda-build-hands-over  no CUDA build here, or a GPU"
fi

# What only trades memory is taken, and each key's fate told in a line.
told=()
for key in remat_block remat_attention remat_mlp remat_conv; do
    told+=("$key='nothing_saveable'")
done
told+=(scan_attention=True scan_mlp=True scan_query_chunk_size=512 scan_key_chunk_size=256 scan_mlp_chunk_size=128
    remat_mini_batch_group_size=2)
train --exp_name=notes --total_steps=1 --update_model_config="${model%)}, $(IFS=, && echo "${told[*]}"))"
status=$? untold=
for key in "${told[@]}"; do
    [[ $(grep -c "^ttt-train: ${key//\'/.}: " "$work/err") -eq 1 ]] || untold+=" $key"
done
if [[ $status -eq 0 && -z $untold ]]; then
    ok what-trades-memory-is-told
else
    bad "what-trades-memory-is-told (exit $status, not told:$untold)"
fi

# Rows half as many again as fit in memory fit where their blocks are recomputed. Nothing is allocated.
short=$work/short/${data##*/} tokens=100000000
mkdir -p "$short"
printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' \
    "{'descr': '<u2', 'fortran_order': False, 'shape': ($tokens,), }" >"$short/train.npy"
truncate -s $((128 + 2 * tokens)) "$short/train.npy"
cp "$data/validation.npy" "$short/"
# plan ROWS FLAGS...: MiB that so many rows take, and MiB that are free.
plan() {
    train --dataset_path="$work/short" --seq_length=512 --global_batch_size="$1" --print_config \
        --update_model_config="${model/num_hidden_layers=2/num_hidden_layers=24}" "${@:2}" |
        awk '/memory in all/ { print int($4), $7 }'
}
read -r needs free < <(plan 100 --recompute_blocks=off)
rows=$((100 * free / needs * 3 / 2))
read -r needs free < <(plan $rows)
if says 'memory is short: of each block the input alone is kept' && [[ $needs -lt $free ]]; then
    ok short-of-memory-blocks-are-recomputed
else
    bad "short-of-memory-blocks-are-recomputed ($rows rows: $needs MiB of $free)"
fi
read -r needs free < <(plan $rows --recompute_blocks=off)
check unless-that-is-off test "$needs" -gt "$free"

train --exp_name=printed --print_config >"$work/out"
if grep -q '^--seq_length=32$' "$work/out" && grep -q '"hidden_size": 32' "$work/out" &&
    grep -q 'memory in all' "$work/out" && [[ ! -e $work/runs/printed ]]; then
    ok print-config
else
    bad print-config
fi

train --exp_name=printed --print_config --load_model_config="json::$work/runs/whole/config.json" --update_model_config= |
    sed -n '/^{/,/^}/p' >"$work/out"
check a-model-from-the-file-of-another-run cmp -s "$work/out" "$work/runs/whole/config.json"

train --exp_name=printed --print_config --mesh_dim='!-1,1,1' --dtype=float32 --checkpointer.save_optimizer_state=False \
    --jax_distributed.initialize_jax_distributed=False --loader_workers=8 >"$work/out"
check flags-of-the-reference-are-taken test $? -eq 0 -a -s "$work/out"

# Values with line ends come back from a flag file as they were.
update=$'dict(initializer_range=0.03,\n  rms_norm_eps=1e-5,\n\n)'
train --exp_name=printed --print_config --update_model_config="$update" | grep -Ev '^--flagfile=|MiB free$' >"$work/out"
sed -n '/^{/q; p' "$work/out" >"$work/lines.txt"
"$bin/ttt-train" --flagfile="$work/lines.txt" 2>"$work/err" | grep -Ev '^--flagfile=|MiB free$' >"$work/out1"
check flag-file-keeps-line-ends cmp -s "$work/out" "$work/out1"

# ---- killed, stopped, resumed ------------------------------------------------------------------

# start NAME FLAGS...: in the background; its process is $!.
start() {
    "$bin/ttt-train" "${common[@]}" --optimizer.adamw_optimizer.lr_decay_steps=40 "${run[@]}" \
        --eval_every=10 --eval_batches=2 --exp_name "$@" 2>"$work/err" &
}
# after NAME STEPS: wait until so many steps are told, or the run has ended.
after() {
    while [[ $(lines "$1") -lt $2 ]] && kill -0 $! 2>/dev/null; do sleep 0.002; done
}

kills=0
for at in 1 4 9 13 22 30 37; do
    start killed --resume=auto
    after killed "$at"
    kill -KILL $! 2>/dev/null && kills=$((kills + 1))
    wait $! 2>/dev/null
done
train --exp_name=killed "${run[@]}" --eval_every=10 --eval_batches=2 --resume=auto
check "killed-$kills-times-and-resumed" same whole killed
check killed-runs-leave-no-parts test -z "$(find "$work/runs/killed" -name '*.part.*' -o -name '*.old.*')"

# The same checkpoints, written while the run waits.
train --exp_name=waiting "${run[@]}" --eval_every=10 --eval_batches=2 --no-save_in_background
check in-the-background-or-not same whole waiting

start stopped
after stopped 7
kill -TERM $!
wait $!
status=$?
if [[ $status -eq 143 && -s $work/runs/stopped/latest ]] && says 'stopped by a signal'; then
    ok sigterm-leaves-a-checkpoint
else
    bad "sigterm-leaves-a-checkpoint (exit $status)"
fi
# A slow step, given up between two micro-batches; the second signal does not wait for anything.
slow=(--global_batch_size=32 --update_model_config="dict(num_hidden_layers=4, hidden_size=512,
    num_attention_heads=8, intermediate_size=2048)" --exp_name=slow)
"$bin/ttt-train" "${common[@]}" "${slow[@]}" --micro_batch=1 2>"$work/err" &
until [[ -e $work/runs/slow/version.txt ]] || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
kill -TERM $!
wait $!
check step-given-up test $? -eq 143 -a ! -s "$work/runs/slow/metrics.jsonl"
"$bin/ttt-train" "${common[@]}" "${slow[@]}" --resume=auto 2>"$work/err" &
sleep 0.5
until [[ -e $work/runs/slow/version.txt ]] || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
kill -INT $!
sleep 0.1
kill -INT $!
wait $!
check second-signal-leaves-at-once test $? -eq 130 -a ! -e "$work/runs/slow/latest"

train --exp_name=stopped "${run[@]}" --eval_every=10 --eval_batches=2 --resume_exp_name=stopped
check stopped-and-resumed same whole stopped

train --exp_name=stopped "${run[@]}" --eval_every=10 --eval_batches=2 --resume_exp_name=stopped --resume_step=20
check back-to-a-milestone same whole stopped

# A rollback gives what follows another order, in the killed and resumed run as well.
for name in rolled again; do cp -r "$work/runs/whole" "$work/runs/$name-back"; done
back=("${run[@]}" --eval_every=10 --eval_batches=2)
train --exp_name=rolled-back "${back[@]}" --resume_exp_name=rolled-back --resume_step=20 --is_rollback_reshuffle=True
check rollback says 'reshuffles the data of epoch 2 after its first 20 rows'
check rollback-changes-what-follows test "$(metrics_of whole | head -n 22)" = "$(metrics_of rolled-back | head -n 22)" -a \
    "$(metrics_of whole)" != "$(metrics_of rolled-back)"
start again-back --resume_exp_name=again-back --resume_step=20 --is_rollback_reshuffle
until [[ $(lines again-back) -lt 40 ]] || ! kill -0 $! 2>/dev/null; do sleep 0.002; done
after again-back 23
kill -KILL $! 2>/dev/null
wait $! 2>/dev/null
train --exp_name=again-back "${back[@]}" --resume=auto
check rollback-survives-a-kill same rolled-back again-back

train --exp_name=other --resume_exp_name=whole --total_steps=40 --global_batch_size=2
if [[ $? -eq 1 ]] && says 'trained with --global_batch_size=4' && says trainstate_params; then
    ok other-batch-size-is-refused
else
    bad other-batch-size-is-refused
fi
train --exp_name=tuned --resume_exp_name=whole --load_part=trainstate_params --total_steps=2 --global_batch_size=2
check parameters-alone-begin-a-run test "$(lines tuned)" -eq 2
train --exp_name=wider --resume_exp_name=whole --load_part=trainstate_params --total_steps=2 \
    --update_model_config="dict(num_hidden_layers=3, hidden_size=32, num_attention_heads=2, intermediate_size=40)"
if [[ $? -eq 1 ]] && says 'tensors missing (model/h/2/'; then ok another-model; else bad another-model; fi

# ---- trouble -----------------------------------------------------------------------------------

(ulimit -f 16; train --exp_name=tuned --resume=auto --resume_exp_name=whole --total_steps=12 \
    --global_batch_size=2 --save_checkpoint_freq=5)
status=$?
if [[ $status -eq 1 && $(cat "$work/runs/tuned/latest") == step_2 && $(lines tuned) -eq 12 ]] &&
    says 'no checkpoint at step 12' && says 'step_2 is whole' &&
    [[ $(cd "$work/runs/tuned" && echo step_*) == step_2 ]]; then
    ok full-disk-keeps-the-last-good-one
else
    bad "full-disk-keeps-the-last-good-one (exit $status)"
fi

train --exp_name=hot --total_steps=30 --save_checkpoint_freq=1 --optimizer.adamw_optimizer.lr=1e30 \
    --optimizer.adamw_optimizer.weight_decay=1e9
if [[ $? -eq 1 ]] && says 'is not a number, first in the [a-z]* [a-z]' && [[ -s $work/runs/hot/latest ]]; then
    ok not-a-number-stops
else
    bad not-a-number-stops
fi
train --exp_name=skips --total_steps=30 --save_checkpoint_freq=1 --optimizer.adamw_optimizer.lr=1e30 \
    --optimizer.adamw_optimizer.weight_decay=1e9 --skip_nonfinite=2
if [[ $? -eq 1 && $(grep -c '"skipped": true' "$work/runs/skips/metrics.jsonl") -eq 2 ]] &&
    says 'left out, 1 of at most 2' && says 'left out, 2 of at most 2' && says 'is not a number, first in'; then
    ok updates-are-left-out
else
    bad updates-are-left-out
fi

cp -r "$work/runs/whole" "$work/runs/harmed"
printf x | dd of="$work/runs/harmed/step_40/params.safetensors" bs=1 seek=20000 conv=notrunc 2>/dev/null
train --resume_exp_name=harmed --eval_mode
if [[ $? -eq 1 ]] && says 'not those that were written'; then ok harmed-checkpoint; else bad harmed-checkpoint; fi
truncate -s 1000 "$work/runs/harmed/step_40/moments.safetensors"
train --exp_name=harmed --resume=auto "${run[@]}"
if [[ $? -eq 1 ]] && says 'the checkpoint is not whole'; then ok cut-checkpoint; else bad cut-checkpoint; fi

if command -v flock >/dev/null; then
    flock "$work/runs/tuned" "$bin/ttt-train" "${common[@]}" --exp_name=tuned --resume=auto 2>"$work/err"
    if [[ $? -eq 1 ]] && says 'another ttt-train or ttt-convert is writing here'; then ok two-at-once; else bad two-at-once; fi
else
    skipped=$((skipped + 1))
    echo "skip two-at-once  no flock program"
fi

# ---- after the pipeline ------------------------------------------------------------------------

# The manifest that ttt-pack leaves tells the vocabulary.
for i in {1..300}; do echo "{\"text\": \"In the beginning was the word, and the word was number $i.\"}"; done >"$work/text.jsonl"
"$bin/ttt-tokenize" -q --tokenizer tests/golden/tokenizer/small-1024.model -o "$work/text.tok" "$work/text.jsonl" 2>"$work/err" &&
    "$bin/ttt-pack" -q -o "$work/packed" --tokenizer-name tiny-spm "$work/text.tok" >/dev/null 2>>"$work/err"
check pipeline test $? -eq 0
train --exp_name=packed --dataset_path="$work/packed" --vocab_size=0 --total_steps=3
if [[ $? -eq 0 ]] && says 'taking the only one there, of tiny-spm' &&
    grep -q '"vocab_size": 1024' "$work/runs/packed/config.json"; then
    ok vocabulary-from-the-manifest
else
    bad vocabulary-from-the-manifest
fi
leaf=$(dirname "$(find "$work/packed" -name train.npy)")
truncate -s -2 "$leaf/train.npy"
refuses cut-dataset 1 'the manifest beside it says' --dataset_path="$work/packed" --vocab_size=0

finish
