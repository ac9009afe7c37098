#!/bin/bash
# wandb.sh BIN -- scripts/to-wandb: a run becomes an offline run of the wandb package, with all its numbers.
#
# The package comes from PyPI into build/venv-wandb, once; asked for with TTT_TEST_WANDB=1.
# shellcheck source=tests/cli/parts.bash disable=SC2154
. "$(dirname "$0")/parts.bash" "$@"

leave() {
    skip 'an offline run' "$1"
    finish
}

mkdir run
awk 'BEGIN { for (s = 1; s <= 20; s++) {
    printf "{\"step\": %d, \"loss\": %.4f, \"grad_norm\": %.3f, \"learning_rate\": %.6f, \"tokens_per_s\": %d, \"elapsed_s\": %.1f}\n", s, 3 + 4 / s, 1 + 1 / s, 1e-3 * s / 20, 900 + s, s * 2
    if (s % 10 == 0) printf "{\"step\": %d, \"val_loss\": %.4f, \"val_tokens\": 99}\n", s, 3.1 + 4 / s
    if (s % 20 == 0) printf "{\"step\": %d, \"layer\": 0, \"x\": [16, 32], \"ttt_stats\": [[1, 1.5], [2, 2.5], [3, 3.5], [4, 4.5]]}\n", s } }' >run/metrics.jsonl
printf '{"step": 21, "lo' >>run/metrics.jsonl
printf -- '--seq_length=48\n--seed=7\n' >run/flags.txt
check 'tells how it is used' grep -q 'Usage: scripts/to-wandb' <<<"$("$here/scripts/to-wandb" --help)"

[[ ${TTT_TEST_WANDB-} == 1 ]] || leave 'TTT_TEST_WANDB=1 fetches the wandb package and tries it'
venv=$here/build/venv-wandb
if [[ ! -e $venv/good ]]; then
    mkdir -p "$here/build"
    rm -rf "$venv"
    python3 -m venv "$venv" >pip.log 2>&1 && timeout 200 "$venv/bin/pip" install -q wandb >>pip.log 2>&1 && touch "$venv/good"
fi
[[ -e $venv/good ]] || leave "pip cannot install wandb: $(tail -n 1 pip.log)"

export WANDB_MODE=offline WANDB_DIR=$work WANDB_SILENT=true HOME=$work
check 'a run becomes an offline run' "$venv/bin/python" "$here/scripts/to-wandb" --project=fish run 2>err
check 'which is a file' test "$(find wandb -name 'run-*.wandb' -size +0 | wc -l)" = 1
"$venv/bin/python" - "$(find wandb -name 'run-*.wandb')" run/metrics.jsonl >said 2>err <<'PY'
import json
import struct
import sys

from wandb.proto import wandb_internal_pb2


def records(path):
    """A header of 7 bytes, then LevelDB's log: blocks of 32 KiB, of pieces with checksum, length and kind."""
    data = open(path, "rb").read()
    assert data[:4] == b":W&B"
    at, held = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at:at + 7])
        held += data[at + 7:at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield held
            held = b""


history, config, project = {}, {}, ""
for data in records(sys.argv[1]):
    record = wandb_internal_pb2.Record()
    record.ParseFromString(data)
    kind = record.WhichOneof("record_type")
    if kind == "history":
        row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        history.setdefault(row.get("_step", record.history.step.num), {}).update(row)
    if kind == "run":
        project = record.run.project
        config.update({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.run.config.update})

lines = [json.loads(line) for line in list(open(sys.argv[2]))[:-1]]
for tag, key in (("train/loss", "loss"), ("train/grad_norm", "grad_norm"), ("train/learning_rate", "learning_rate"),
                 ("train/tokens_per_s", "tokens_per_s"), ("validation/loss", "val_loss")):
    want = {line["step"]: line[key] for line in lines if key in line}
    got = {step: row[tag] for step, row in history.items() if tag in row}
    print("ok" if got == want else f"FAIL {got} {want}", tag)
got = {tag.rpartition("/")[2]: value for tag, value in history[20].items() if tag.startswith("ttt_stats/layer_000/")}
want = {"target_variance": 1.5, "loss_W0": 2.5, "loss_before": 3.5, "loss_after": 4.5}
print("ok" if got == want else f"FAIL {got}", "statistics")
print("ok" if config.get("seq_length") == "48" and project == "fish" else f"FAIL {config} {project}", "flags and project")
PY
check 'wandb reads it' test "$(wc -l <said)" = 7
while read -r word rest; do check "$rest" test "$word" = ok; done <said
finish
