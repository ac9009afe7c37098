# mesh_parts.bash -- what the tests of many ranks have in common: a dataset, mpirun, two runs compared.
# shellcheck shell=bash
# Sourced with the folder of the programs as its argument.
# shellcheck source=tests/cli/parts.bash disable=SC2154
. "$(dirname "${BASH_SOURCE[0]}")/parts.bash" "$@"
cd "$here" || exit 1
remove_work() { # a rank that mpirun is ending may write there yet
    rm -rf "$work" 2>/dev/null || { sleep 2; rm -rf "$work"; }
}
trap remove_work EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Of a sanitizer's build: MPI itself leaks a little.
export ASAN_OPTIONS=detect_leaks=0 OMPI_MCA_rmaps_base_oversubscribe=1

nothing() { # nothing REASON: can be tried here
    skipped=1
    echo "skip everything: $1"
    finish
}
need_mpi() {
    if [[ ! -x $bin/ttt-train-mpi ]] || ! command -v mpirun >/dev/null; then
        nothing 'no mpirun, or no mpicc when this was built'
    fi
}

dataset "$work/data" 3000 600

common=(--dataset_path="$work/data" --vocab_size=64 --seq_length=32 --global_batch_size=8
    --optimizer.adamw_optimizer.lr=1e-2 --optimizer.adamw_optimizer.end_lr=1e-5
    --optimizer.adamw_optimizer.lr_warmup_steps=3 --optimizer.adamw_optimizer.lr_decay_steps=40
    --exp_dir="$work/runs" --threads=1 --device=cpu --save_checkpoint_freq=10 --eval_every=10)
shape="num_hidden_layers=2, hidden_size=64, num_attention_heads=4, intermediate_size=96"
# train RANKS MESH NAME FLAGS...
train() {
    local ranks=$1 mesh=$2 name=$3
    shift 3
    timeout -k 5 120 mpirun -n "$ranks" --oversubscribe "$bin/ttt-train" "${common[@]}" \
        --mesh_dim="$mesh" --exp_name="$name" "$@" >"$work/out" 2>"$work/err"
}
says() { grep -q -- "$1" "$work/err"; }
# all_say NAME RANK WORDS: each rank but that one, in one sentence, and ends with 1. NAME.RANK.pid, .err and
# .status tell of a rank.
all_say() {
    local pid r i
    for pid in "$work/$1".*.pid; do
        r=${pid%.pid} r=${r##*.}
        [[ $r == "$2" ]] && continue
        for ((i = 0; i < 100; i++)); do
            [[ -s $work/$1.$r.status ]] && break
            sleep 0.1
        done
        cp "$work/$1.$r.err" "$work/err"
        [[ $(cat "$work/$1.$r.status") -eq 1 && $(grep -c ' rank [0-9]* (' "$work/err") -eq 1 ]] &&
            says "^ttt-train rank $r: rank $2 ([^)]*)$3" || return 1
    done
}

# same.py RUN RUN: losses within 2e-6 of their size, parameters within 2e-5 in relative L2; or with one
# word more, parameters equal to the bit.
cat >"$work/same.py" <<'PY'
import array, glob, json, os, struct, sys

# Those of which mp divides the last axis; of the others it divides the first.
COLUMNS = ("wq/kernel", "wk/kernel", "wv/kernel", "wg/kernel", "w1/kernel", "w3/kernel",
           "conv_q/kernel", "conv_k/kernel", "lm_head/kernel")

def tensors(run):
    """The whole parameters of a run's newest checkpoint, from its files of one rank or many."""
    step = os.path.join(run, open(os.path.join(run, "latest")).read().strip())
    state = json.load(open(os.path.join(step, "state.json")))
    parts = {}
    for path in sorted(glob.glob(os.path.join(step, "params*.safetensors"))):
        raw = open(path, "rb").read()
        n = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8 : 8 + n])
        part = header.pop("__metadata__").get("part", "0/1")
        for name, t in header.items():
            a = array.array("f")
            begin, end = t["data_offsets"]
            a.frombytes(raw[8 + n + begin : 8 + n + end])
            name, _, first = name.partition("@")
            parts.setdefault(name, {}).setdefault(part, []).append((int(first or 0), a))
    whole = {}
    for name, by_part in parts.items():
        joined = []
        for part in sorted(by_part):
            a = array.array("f")
            for first, piece in sorted(by_part[part], key=lambda x: x[0]):
                assert first == len(a), (name, part, first, len(a))
                a += piece
            joined.append(a)
        if name.endswith(COLUMNS) and len(joined) > 1:
            rows = 4 if "conv_" in name else state["config"]["hidden_size"]
            row = len(joined[0]) // rows
            a = array.array("f")
            for r in range(rows):
                for j in joined:
                    a += j[r * row : (r + 1) * row]
            joined = [a]
        whole[name] = sum(joined, array.array("f"))
    return whole

def losses(run):
    lines = [json.loads(l) for l in open(os.path.join(run, "metrics.jsonl"))]
    return [l.get("loss", l.get("val_loss")) for l in lines if "loss" in l or "val_loss" in l]

a, b = sys.argv[1:3]
if sys.argv[3:]:
    sys.exit(not tensors(a) or tensors(a) != tensors(b))
la, lb = losses(a), losses(b)
worst = max(abs(x - y) / max(1, abs(x)) for x, y in zip(la, lb))
pa, pb = tensors(a), tensors(b)
assert all(len(pa[n]) == len(pb[n]) for n in pa)
square = sum((x - y) ** 2 for n in pa for x, y in zip(pa[n], pb[n]))
size = sum(x * x for n in pa for x in pa[n])
l2 = (square / size) ** 0.5
print("losses %.1e of 2e-6, parameters %.1e of 2e-5" % (worst, l2))
sys.exit(not (len(la) == len(lb) > 0 and pa.keys() == pb.keys() and worst <= 2e-6 and l2 <= 2e-5))
PY
same() { # same NAME RUN RUN
    local figures
    if figures=$(python3 "$work/same.py" "$work/runs/$2" "$work/runs/$3" 2>&1); then
        ok "$1 ($figures)"
    else
        bad "$1 ($figures)"
    fi
}

