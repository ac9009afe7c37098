#!/bin/bash
# stability.sh BIN -- ttt-train's aids for stable runs: the running average, loss spikes, norms.
# shellcheck source=tests/cli/parts.bash disable=SC2154
. "$(dirname "$0")/parts.bash" "$@"

# ---- data: a pattern that can be learnt, and in it a few rows of noise -----------------------------

dataset data 4000 400 64

train() { # train RUN FLAGS...
    local run=$1
    shift
    "$bin/ttt-train" --device=cpu --threads=1 --dataset_path=data --vocab_size=64 --seq_length=32 \
        --global_batch_size=4 --optimizer.adamw_optimizer.lr=1e-2 --optimizer.adamw_optimizer.end_lr=1e-3 \
        --optimizer.adamw_optimizer.lr_warmup_steps=3 --optimizer.adamw_optimizer.lr_decay_steps=100 \
        --update_model_config="dict(num_hidden_layers=2, hidden_size=32, num_attention_heads=2,
            intermediate_size=48)" --exp_dir=runs --exp_name="$run" "$@" 2>err
}
metrics() { sed -E 's/, "tokens_per_s".*//' "runs/$1/metrics.jsonl"; }

# ---- the running average of the parameters -----------------------------------------------------------

check 'a run with an average' train whole --total_steps=9 --ema_decay=0.8 --save_milestone_freq=1
check 'is a checkpoint of its own' test -s runs/whole/step_9/average/params.safetensors -a \
    -s runs/whole/step_9/average/state.json
cat >average.py <<'PY'
import array, json, struct
def values(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    a = array.array("f")
    a.frombytes(raw[8 + n:])
    return a
at = "runs/whole/step_%d/%sparams.safetensors"
average = values(at % (1, "average/"))
for step in range(2, 10):  # update u makes step u + 1
    decay = min(0.8, step / (step + 9))
    average = [decay * a + (1 - decay) * p for a, p in zip(average, values(at % (step, "")))]
worst = max(abs(a - b) for a, b in zip(average, values(at % (9, "average/"))))
apart = max(abs(a - b) for a, b in zip(average, values(at % (9, ""))))
print("%.1e apart, from the parameters %.1e" % (worst, apart))
raise SystemExit(not (worst < 1e-6 < 1e-3 < apart))
PY
if command -v python3 >/dev/null; then
    check "it is the formula's" python3 average.py
else
    skip "it is the formula's" 'no python3'
fi
train halves --total_steps=4 --ema_decay=0.8
check 'stopped and resumed' train halves --total_steps=9 --ema_decay=0.8 --resume=auto --no-save_in_background
check 'to the same bytes' cmp -s runs/{whole,halves}/step_9/average/params.safetensors
check 'nothing else is computed' cmp -s runs/{whole,halves}/step_9/moments.safetensors
"$bin/ttt-eval" -q --device=cpu --threads=1 -d data runs/whole runs/whole/average runs/whole/step_3/average \
    --json=eval.json >/dev/null 2>err
check 'ttt-eval takes it by name' test "$(jq -c '[.results[].checkpoint]' eval.json)" = \
    '["runs/whole/step_9","runs/whole/step_9/average","runs/whole/step_3/average"]'
check 'it foretells, but otherwise' holds '.results | .[1].loss < .[2].loss and .[0].loss != .[1].loss' eval.json
check 'ttt-train begins with it' train of_average --total_steps=1 --resume_exp_name=whole/average \
    --load_part=trainstate_params
check 'but does not go on with it' grep -q 'takes the parameters of .*step_9/average' err
if [[ -x $bin/ttt-convert ]]; then
    check 'ttt-convert takes it' "$bin/ttt-convert" -q --from=ttt runs/whole/average --to=hf converted
fi
train halves --total_steps=11 --ema_decay=0 --resume=auto
check 'without it no average is kept' test -d runs/halves/step_11 -a ! -e runs/halves/step_11/average
check 'a run that had none begins one' train halves --total_steps=12 --ema_decay=0.8 --resume=auto
check 'and says so' grep -q 'no running average: it begins with the parameters' err
cp -r runs/whole runs/broken
printf '\x55' | dd of=runs/broken/step_9/average/params.safetensors bs=1 seek=9000 conv=notrunc 2>/dev/null
program=("$bin/ttt-eval" --device=cpu -d data)
refuses 'a flipped byte' 1 'average/params.safetensors' runs/broken/average
refuses 'no average' 1 'step_1: has no running average' runs/of_average/average
for half in 2 5; do
    train accumulated$half --total_steps=$half --ema_decay=0.8 --optimizer.accumulate_gradient_steps=2
done
check 'with gradients gathered over steps' train accumulated2 --total_steps=5 --ema_decay=0.8 --resume=auto \
    --optimizer.accumulate_gradient_steps=2
check 'to the same bytes as well' cmp -s runs/accumulated{2,5}/step_5/average/params.safetensors

# ---- spikes of the loss --------------------------------------------------------------------------------

spikes=(--skip_spikes=3 --spike_window=8)
check 'a run that leaves spikes out' train calm --total_steps=70 "${spikes[@]}"
found=$(grep -c '"spike"' runs/calm/metrics.jsonl)
check "it has left out $found" test "$found" -ge 1 -a "$found" -le 6
check 'which it says' grep -q 'standard deviations above the mean of the 8 before it; its update is left out' err
check 'by the rule' holds -s '
    reduce .[] as $s ({seen: [], wrong: 0};
        def mean: if . == [] then 0 else add / length end;
        ($s.loss // $s.spike) as $x | .seen[-8:] as $w | ($w | mean) as $mean |
        ($w | map((. - $mean) * (. - $mean)) | mean | sqrt) as $d |
        (($w | length) == 8 and $x > $mean + 3 * $d) as $spike |
        (if $spike != ($s.spike != null) then .wrong += 1 else . end) |
        if $spike then . else .seen += [$x] end) | .wrong == 0' runs/calm/metrics.jsonl
first=$(jq -s 'map(select(.spike)) | .[0].step // 50' runs/calm/metrics.jsonl)
train plain --total_steps="$first"
check 'before it nothing is otherwise' test "$(metrics plain | head -n $((first - 1)))" = "$(metrics calm | head -n $((first - 1)))"
check 'its loss is that of the rows' test "$(jq -s '.[-1].loss' runs/plain/metrics.jsonl)" = \
    "$(jq -s 'map(select(.spike)) | .[0].spike' runs/calm/metrics.jsonl)"
train stopped --total_steps=$((first - 3)) "${spikes[@]}"
train stopped --total_steps="$first" "${spikes[@]}" --resume=auto
train before --total_steps=$((first - 1)) "${spikes[@]}"
check 'parameters and moments stay as they were' cmp -s "runs/before/step_$((first - 1))/moments.safetensors" \
    "runs/stopped/step_$first/moments.safetensors"
check 'resumed' train stopped --total_steps=70 "${spikes[@]}" --resume=auto
check 'to the same bytes once more' cmp -s runs/{calm,stopped}/step_70/params.safetensors
check 'and lines' test "$(metrics calm)" = "$(metrics stopped)"
program=("$bin/ttt-train" --dataset_path=data --exp_dir=runs --exp_name=none)
refuses 'a window of one' 2 'spike_window' --skip_spikes=4 --spike_window=1
refuses 'fewer deviations than none' 2 'skip_spikes' --skip_spikes=-1
refuses 'an average of all there ever was' 2 'ema_decay' --ema_decay=1

# ---- norms ---------------------------------------------------------------------------------------------

check 'a run that tells norms' train norms --total_steps=4 --norms_every=2 --save_milestone_freq=2 --micro_batch=2
check 'of the embedding, both layers and the rest' test \
    "$(jq -c 'select(.weights) | [.step, (.weights | length), (.activations | length)]' runs/norms/metrics.jsonl | tr '\n' ' ')" = \
    '[2,4,3] [4,4,3] '
cat >norms.py <<'PY'
import array, json, struct
raw = open("runs/norms/step_4/params.safetensors", "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
header = json.loads(raw[8:8 + n])
header.pop("__metadata__", None)
squares = [0.0] * 4
for name, t in header.items():
    a = array.array("f")
    a.frombytes(raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
    unit = int(name.split("/")[2]) + 1 if "/h/" in name else 0 if "wte" in name else 3
    squares[unit] += sum(x * x for x in a)
told = [json.loads(l) for l in open("runs/norms/metrics.jsonl") if "weights" in l][-1]["weights"]
raise SystemExit(not all(abs(t - s ** 0.5) <= 1e-6 * t for t, s in zip(told, squares)))
PY
if command -v python3 >/dev/null; then
    check 'norms of the weights are those of the checkpoint' python3 norms.py
else
    skip 'norms of the weights are those of the checkpoint' 'no python3'
fi
check 'what leaves the embedding is as small as that' holds -s \
    'map(select(.activations))[-1].activations | .[0] > 0.01 and .[0] < 0.1 and .[2] > .[0]' runs/norms/metrics.jsonl
grep -aq 'activations/layer_001' runs/norms/events.out.tfevents.*
check 'TensorBoard has them' test $? = 0

# ---- many ranks ------------------------------------------------------------------------------------------

if [[ ! -x $bin/ttt-train-mpi ]] || ! command -v mpirun >/dev/null; then
    skip 'many ranks' 'no mpirun, or no mpicc when this was built'
    finish
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ASAN_OPTIONS=detect_leaks=0
all=(--ema_decay=0.8 --norms_every=3 "${spikes[@]}")
check 'one rank with all of it' train alone --total_steps=$((first - 3)) "${all[@]}"
for mesh in 1,2,1 1,1,2 2,1,1; do cp -r runs/alone "runs/mesh_$mesh"; done
train alone --total_steps=$((first + 7)) "${all[@]}" --resume=auto
left_out() { jq 'select(.skipped) | .step' "runs/$1/metrics.jsonl"; }
check 'leaves a step out' test "$(left_out alone | head -n 1)" = "$first"
mkdir by_ranks
printf '#!/bin/bash\nexec timeout -k 5 60 mpirun -n 2 --oversubscribe "%s/ttt-train" "$@"\n' "$bin" >by_ranks/ttt-train
chmod +x by_ranks/ttt-train
for mesh in 1,2,1 1,1,2 2,1,1; do
    run=mesh_$mesh
    bin=$PWD/by_ranks train "$run" --total_steps=$((first + 4)) "${all[@]}" --resume=auto --mesh_dim=$mesh
    check "mesh $mesh, gone on by one rank" train "$run" --total_steps=$((first + 7)) "${all[@]}" --resume=auto
    check "mesh $mesh: the same steps are left out" test "$(left_out "$run")" = "$(left_out alone)"
    check "mesh $mesh: the same norms" holds -n --slurpfile a runs/alone/metrics.jsonl --slurpfile b "runs/$run/metrics.jsonl" \
        '[$a, $b | map(select(.weights) | .weights + .activations) | add] | transpose | length > 8 and all(.[0] - .[1] | fabs <= 1e-5)'
    "$bin/ttt-eval" -q --device=cpu --threads=1 -d data runs/alone/average "runs/$run/average" --json=eval.json >/dev/null 2>err
    check "mesh $mesh: the same average" holds '.results | .[0].loss - .[1].loss | fabs <= 2e-6' eval.json
done
finish
