#!/bin/bash
# tensorboard.sh BIN -- the event files of ttt-train, read by TensorBoard's own package.
#
# tensorboard comes from PyPI into build/venv-tensorboard, once.
# shellcheck source=tests/cli/parts.bash disable=SC2154
. "$(dirname "$0")/parts.bash" "$@"

dataset data 2000 400
train() {
    "$bin/ttt-train" --device=cpu --threads=1 --dataset_path=data --vocab_size=64 --seq_length=32 \
        --global_batch_size=2 --save_milestone_freq=4 --eval_every=4 --eval_tokens=100 \
        --update_model_config="dict(num_hidden_layers=2, hidden_size=32, num_attention_heads=2,
            intermediate_size=48)" --exp_dir=runs --exp_name=run --metrics_textfile=run.prom "$@" 2>err
}
check 'a run' train --total_steps=6
# Six lines of a run that was killed: a resumed one must not show them twice.
check 'resumed from its milestone' train --total_steps=8 --resume_exp_name=run --resume_step=4
check 'two event files' test "$(find runs/run -name 'events.out.tfevents.*' | wc -l)" = 2
check 'tokens of a validation are cut' test "$(jq -s 'map(select(.val_tokens)) | .[0].val_tokens' runs/run/metrics.jsonl)" = 128
check 'the last numbers for collectors' grep -qx 'ttt_step{run="run"} 8' run.prom
check 'each with its kind' test "$(grep -c '^# TYPE ttt_' run.prom)" = "$(grep -c '^ttt_' run.prom)"
check 'a summary' grep -q 'MFU .* GFLOP/s of the .* that one large fp32 product reached here' err
check 'with the best validation' grep -q "best validation  $(jq -s 'map(.val_loss // empty) | min | .*10000 | round / 10000' runs/run/metrics.jsonl)" err
check 'and how to get text' grep -q "ttt-generate --checkpoint='runs/run'" err
check 'and what memory it took' grep -qE 'peak memory +[0-9]+ MiB of the host$' err
if command -v gnuplot >/dev/null && command -v jq >/dev/null; then
    check 'its pictures' "$here/scripts/ttt-plot" runs/run >said 2>err
    check 'of both layers and all' test "$(find runs/run/plots -name 'stats_*.png' -size +5k -printf '%f\n' | sort | xargs)" = \
        'stats_grid.png stats_layer_000.png stats_layer_001.png'
else
    echo 'skip its pictures  no gnuplot or no jq'
fi
rm -rf runs/bare
check 'a run without' train --total_steps=2 --exp_name=bare --no-tensorboard
check 'has none' test -z "$(find runs/bare -name 'events*')"

venv=$here/build/venv-tensorboard
python=/usr/bin/python3
[[ -x $python ]] || python=python3
if [[ ! -e $venv/good ]]; then
    mkdir -p "$here/build"
    rm -rf "$venv"
    "$python" -m venv "$venv" >pip.log 2>&1 &&
        timeout 200 "$venv/bin/pip" install -q tensorboard 'setuptools<81' >>pip.log 2>&1 && touch "$venv/good"
fi
if [[ ! -e $venv/good ]]; then
    echo "skip read by tensorboard  pip cannot install it: $(tail -n 1 pip.log)"
    echo "$passed passed, $failed failed, 1 skipped"
    exit $((failed > 0))
fi
"$venv/bin/python" - runs/run 2>err >said <<'PY'
import json
import struct
import sys
import zlib

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = sys.argv[1]
events = EventAccumulator(run, size_guidance={"scalars": 0, "images": 0, "tensors": 0})
events.Reload()
lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]


def series(tag):
    if tag in events.Tags()["scalars"]:
        return [(e.step, e.value) for e in events.Scalars(tag)]
    return [(e.step, e.tensor_proto.float_val[0]) for e in events.Tensors(tag)]


def close(a, b):
    return len(a) == len(b) and all(x[0] == y[0] and abs(x[1] - y[1]) <= 1e-6 * abs(y[1]) for x, y in zip(a, b))


for tag, key in (("train/loss", "loss"), ("train/grad_norm", "grad_norm"),
                 ("train/learning_rate", "learning_rate"), ("validation/loss", "val_loss")):
    want = [(l["step"], l[key]) for l in lines if key in l]
    print("ok" if close(series(tag), want) else f"FAIL {series(tag)} {want}", tag)

tags = events.Tags()["images"]
images = [e for tag in tags for e in events.Images(tag)]
print("ok" if [e.step for e in images] == [4, 8, 4, 8] else f"FAIL {tags} {[e.step for e in images]}", "images of two layers")


def rows(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length:at + 12 + length])[0] == zlib.crc32(kind + body)
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    return zlib.decompress(data)


good = all(e.width == 480 and e.height == 320 and len(rows(e.encoded_image_string)) == 320 * (1 + 3 * 480) and
           len(set(rows(e.encoded_image_string))) > 8 for e in images)
print("ok" if good else "FAIL", "whole pictures that are not blank")
PY
check 'TensorBoard reads them' test "$(wc -l <said)" = 6
while read -r word rest; do check "$rest" test "$word" = ok; done <said
finish
