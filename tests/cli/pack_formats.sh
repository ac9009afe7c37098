#!/bin/bash
# pack_formats.sh BIN -- other trainers' files from ttt-pack, read by numpy as those trainers read
# them, and back into a dataset; rows of best-fit.
#
# numpy comes from pip into build/venv-readers, once; without pip the readers are skipped. So do
# megatron-core and mosaicml-streaming, without the PyTorch that they ask for: their readers name
# it and use none of it, so that a stand-in is enough. nanoGPT, llm.c and datatrove (whose reader is
# a PyTorch dataset) are read here as their specifications say.
set -uo pipefail
bin=$(cd "${1:?usage: pack_formats.sh BIN}" && pwd) || exit 1
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
model=$root/tests/golden/tokenizer/small-1024.model
work=$(mktemp -d --tmpdir ttt-formats-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
PATH=$bin:$PATH
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1"; }
expect() { local name=$1; shift; if "$@"; then ok "$name"; else bad "$name"; fi; }
refuse() { # refuse NAME STATUS WORDS COMMAND...
    local name=$1 want=$2 words=$3 got
    shift 3
    "$@" >out.txt 2>err.txt
    got=$?
    if [[ $got -eq $want ]] && grep -qF -- "$words" err.txt; then ok "$name"; else
        bad "$name"
        echo "     status $got, wanted $want and '$words':"
        sed 's/^/     /' err.txt
    fi
}
folder() { compgen -G "$1/*$2"; }

for i in $(seq 1 3000); do
    printf '{"text":"Document %d: in the beginning was word %d of %d, and it was said."}\n' $i $((i * 7)) $((i % 13))
done >corpus.jsonl
printf '{"text":""}\n{"text":"%s"}\n' "$(head -c 20000 /dev/zero | tr '\0' 'x')" >>corpus.jsonl
ttt-tokenize -q --tokenizer "$model" -o a.tok corpus.jsonl
pack() { ttt-pack -q --tokenizer-name s --val-ratio 0.01 "$@"; }
pack -o d a.tok >npy.txt
npy=$(<npy.txt)

for f in megatron nanogpt llmc datatrove mds; do
    expect "$f: written" bash -c 'ttt-pack -q --tokenizer-name s --val-ratio 0.01 -o d --format '$f' a.tok >'$f'.txt'
    expect "$f: verify" ttt-verify -q "$(<$f.txt)"
    expect "$f: its ids are looked at" bash -c 'ttt-verify "$0" | grep -qE "tokens	'$f'"' "$(<$f.txt)"
done
expect "offsets alone" bash -c 'ttt-verify "$0/train.offsets" | grep -q "ok	.* documents of .* tokens"' "$npy"
expect "offsets beside another array" bash -c 'cp "$0/train.offsets" x.offsets && cp "$0/test.npy" x.npy && ! ttt-verify -q x.offsets 2>err.txt && grep -q "x.offsets: document" err.txt && rm x.*' "$npy"
refuse "nanogpt has no wide ids" 1 "no such ids" pack -o x --format nanogpt --dtype u32 a.tok
refuse "megatron has no u32" 1 "no such ids" pack -o x --format megatron --dtype u32 a.tok

# ---- back again, whatever the format ---------------------------------------------------------------
pack -o again --split-seed 5 --from npy --vocab-size 1024 "$npy/train.npy" >/dev/null
for f in megatron:train.bin datatrove:train.ds llmc:train_000000.bin nanogpt:train.bin mds:train/shard.00000.mds; do
    name=${f%:*} file=${f#*:} eod=2
    [[ $name == llmc ]] && eod=1
    # The empty text has no EOS: where only EOS marks ends it joins the next document.
    pack -o "back-$name" --split-seed 5 --from "$name" --vocab-size 1024 --eod $eod "$(<$name.txt)/$file" >/dev/null
    if [[ $name == nanogpt ]]; then
        expect "$name: read, as many ids" bash -c '[[ $(cat back-nanogpt/*/t*.npy | wc -c) -eq $(cat again/*/t*.npy | wc -c) ]]'
    else
        expect "$name: read, the same dataset" bash -c "cmp back-$name/*/train.npy again/*/train.npy && cmp back-$name/*/train.offsets again/*/train.offsets"
    fi
done
expect "tokens in and out are told" bash -c 'ttt-pack --tokenizer-name s -o told a.tok 2>&1 >/dev/null | grep -qE "^ttt-pack: ([0-9]+) tokens in = \1 out, none of padding"'
refuse "ids above the vocabulary" 1 "not below the vocabulary of 100" pack -o x --from nanogpt --vocab-size 100 "$(<nanogpt.txt)/train.bin"
refuse "a foreign vocabulary must be told" 2 "--vocab-size" pack -o x --from nanogpt "$(<nanogpt.txt)/train.bin"
for f in megatron:train.idx datatrove:train.ds.index llmc:train_000000.bin mds:train/shard.00000.mds; do
    name=${f%:*} file=${f#*:}
    rm -rf h && cp -r "$(<$name.txt)" h
    truncate -s -3 h/$file
    refuse "$name: cut" 1 "h/train" pack -o x --from "$name" --vocab-size 1024 "h/${file%.i*}"
done
printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of=h.idx conv=notrunc status=none
cp "$(<megatron.txt)"/train.bin m.bin
for at in 18 26 34 12050; do
    cp "$(<megatron.txt)"/train.idx m.idx
    printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of=m.idx bs=1 seek=$at conv=notrunc status=none
    refuse "megatron: a number that lies at $at" 1 "m.bin" pack -o x --from megatron --vocab-size 1024 m.bin
done
# ids of 32 bits
pack -o wide --dtype i32 a.tok >wide.txt
expect "wide ids narrowed again" bash -c 'ttt-pack -q --tokenizer-name s --val-ratio 0.01 --split-seed 5 -o narrow --from npy --vocab-size 1024 "$(<wide.txt)/train.npy" >/dev/null && cmp narrow/*/train.npy again/*/train.npy'
pack -o large --split-seed 5 --from npy --vocab-size 70000 --dtype u16 "$(<wide.txt)/train.npy" >/dev/null
expect "u16 of a large vocabulary where every id fits" bash -c 'cmp large/*/train.npy again/*/train.npy'
python3 -c 'import struct, sys
sys.stdout.buffer.write(struct.pack("<256i", 20240801, 7, 4, *[0] * 253) + struct.pack("<4I", 1, 65536, 1, 5))' >big.bin
refuse "u16 of a large vocabulary where one does not" 1 "id 65536 of document" pack -o x --val-ratio 0.5 --from llmc --eod 1 --vocab-size 70000 --dtype u16 big.bin

# ---- rows ------------------------------------------------------------------------------------------
for trunc in "" --truncate; do
    ttt-pack --tokenizer-name s --val-ratio 0.01 -o fit$trunc --pack best-fit --seq-length 128 --pad-id 0 $trunc a.tok >fit.txt 2>sums.txt
    expect "best-fit $trunc: tokens in and out are told" grep -qE 'train: [0-9]+ tokens in = [0-9]+ out' sums.txt
    expect "best-fit $trunc: verify" ttt-verify -q "$(<fit.txt)"
done
expect "best-fit: nothing is cut off" bash -c '! grep -E "[1-9][0-9]* cut off" <(ttt-pack --force --tokenizer-name s -o fit2 --pack best-fit --seq-length 128 a.tok 2>&1)'

# ---- several streams, any memory -------------------------------------------------------------------
head -1000 corpus.jsonl | ttt-tokenize -q --tokenizer "$model" -o p1.tok -
sed -n 1001,1700p corpus.jsonl | ttt-tokenize -q --tokenizer "$model" -o p2.tok -
tail -n +1701 corpus.jsonl | ttt-tokenize -q --tokenizer "$model" -o p3.tok -
expect "streams of one corpus, one after another" bash -c 'ttt-pack -q -o parts --tokenizer-name s --val-ratio 0.01 --source-name a.tok p1.tok p2.tok p3.tok >/dev/null && diff -r parts "$(dirname "$(<npy.txt)")" -x "*-*-*False-*"'
expect "given splits of several streams" bash -c 'ttt-pack -q -o given --tokenizer-name s --train=p1.tok --train=p2.tok --validation=p3.tok --test=p3.tok >/dev/null && ttt-verify -q given'
refuse "a pipe among streams" 1 "a pipe and other streams" pack -o x - p1.tok

# ---- as their own readers would ---------------------------------------------------------------------
venv=$root/build/venv-readers
if [[ ! -x $venv/bin/python ]] || ! "$venv/bin/python" -c 'import numpy' 2>/dev/null; then
    python3 -m venv "$venv" >/dev/null 2>&1 && "$venv/bin/pip" install -q numpy >/dev/null 2>&1
fi
if ! "$venv/bin/python" -c 'import numpy' 2>/dev/null; then
    skipped=$((skipped + 1))
    echo "skip readers in numpy  pip cannot install numpy here"
else
    "$venv/bin/python" - "$npy" "$(<megatron.txt)" "$(<nanogpt.txt)" "$(<llmc.txt)" "$(<datatrove.txt)" \
        "$(<mds.txt)" "$(folder fit best_fit-128)" a.tok >readers.txt 2>&1 <<'END'
import json, sys
import numpy as np

npy, megatron, nanogpt, llmc, datatrove, mds, fit, _ = sys.argv[1:]

def say(name, good):
    print("ok  " if good else "FAIL", name)

ids = np.load(npy + "/train.npy", mmap_mode="r")
ends = np.load(npy + "/train.offsets")
docs = [np.asarray(ids[a:b]) for a, b in zip(ends[:-1], ends[1:])]
say("numpy: memory-mapped, uint16, offsets around each document",
    ids.dtype == np.uint16 and ends.dtype == np.uint64 and ends[0] == 0 and ends[-1] == len(ids)
    and all(d[0] == 1 for d in docs))

# Megatron core's IndexedDataset, as its _IndexReader takes the file apart.
raw = open(megatron + "/train.idx", "rb").read()
code, = np.frombuffer(raw, "<u1", 1, 17)
count, marks = np.frombuffer(raw, "<u8", 2, 18)
lengths = np.frombuffer(raw, "<i4", count, 34)
pointers = np.frombuffer(raw, "<i8", count, 34 + lengths.nbytes)
table = np.frombuffer(raw, "<i8", marks, 34 + lengths.nbytes + pointers.nbytes)
data = np.memmap(megatron + "/train.bin", mode="r", order="C")
good = raw[:9] == b"MMIDIDX\0\0" and np.frombuffer(raw, "<u8", 1, 9)[0] == 1 and code == 8
good &= len(raw) == 34 + lengths.nbytes + pointers.nbytes + table.nbytes and count == len(docs)
good &= bool((table == np.arange(count + 1)).all())
for i in range(count):
    got = np.frombuffer(data, np.uint16, lengths[i], pointers[i])
    good &= np.array_equal(got, docs[i])
say("Megatron: every document through its index", good)

say("nanoGPT: np.memmap uint16",
    np.array_equal(np.memmap(nanogpt + "/train.bin", dtype=np.uint16, mode="r"), ids))

raw = open(llmc + "/train_000000.bin", "rb").read()
head = np.frombuffer(raw, np.int32, 256)
body = np.frombuffer(raw, np.uint16, -1, 1024)
say("llm.c: magic, version, count, ids",
    head[0] == 20240520 and head[1] == 1 and head[2] == len(body) and not head[3:].any()
    and np.array_equal(body, ids))

ends64 = np.fromfile(datatrove + "/train.ds.index", "<u8")
meta = open(datatrove + "/train.ds.metadata").read().split("\n")
say("datatrove: ids, ends, metadata",
    np.array_equal(np.fromfile(datatrove + "/train.ds", "<u2"), ids)
    and np.array_equal(ends64, ends[1:]) and meta[0].endswith("|2") and int(meta[1]) == len(ids))

# MosaicML streaming's MDSReader: offsets, then the columns' sizes, then their bytes.
index = json.load(open(mds + "/train/index.json"))
good, got = index["version"] == 2, []
for shard in index["shards"]:
    raw = open(mds + "/train/" + shard["raw_data"]["basename"], "rb").read()
    n = int.from_bytes(raw[:4], "little")
    at = np.frombuffer(raw, "<u4", n + 1, 4)
    good &= n == shard["samples"] and len(raw) == shard["raw_data"]["bytes"] == at[-1]
    good &= json.loads(raw[4 + 4 * (n + 1):at[0]])["column_encodings"] == ["bytes"]
    for a, b in zip(at[:-1], at[1:]):
        sample = raw[a:b]
        good &= int.from_bytes(sample[:4], "little") == len(sample) - 4
        got.append(np.frombuffer(sample, "<u2", -1, 4))
good &= len(got) == len(docs) and all(np.array_equal(a, b) for a, b in zip(got, docs))
say("MDS: every sample of every shard", good)

rows = np.load(fit + "/train.npy")
pieces = np.load(fit + "/train.offsets")
whole = sorted(tuple(d[i:i + 128]) for d in docs for i in range(0, len(d), 128))
parts = [tuple(rows[a:b]) for a, b in zip(pieces[:-1], pieces[1:])]
say("best-fit: rows of 128, no piece over a row's end, the same ids as went in",
    len(rows) % 128 == 1 and all(a // 128 == (b - 1) // 128 for a, b in zip(pieces[:-1], pieces[1:]))
    and sorted(p for p in parts if any(p)) == whole)
END
    cat readers.txt
    passed=$((passed + $(grep -c '^ok' readers.txt))) failed=$((failed + $(grep -c '^FAIL' readers.txt)))
    expect "the readers went through" test "$(grep -c '^ok' readers.txt)" -eq 7
fi

# ---- their own readers ------------------------------------------------------------------------------
peers='megatron-core==0.16.1 mosaicml-streaming==0.13.0'
if [[ -x $venv/bin/pip && ! -e $venv/peers ]]; then
    # shellcheck disable=SC2086
    timeout 200 "$venv/bin/pip" install -q --no-deps --only-binary :all: $peers >/dev/null 2>&1 && touch "$venv/peers"
fi
if [[ ! -e $venv/peers ]]; then
    skipped=$((skipped + 1))
    echo "skip Megatron's and MosaicML's own readers  pip cannot install $peers here"
else
    "$venv/bin/python" - "$npy" "$(<megatron.txt)" "$(<mds.txt)" >peers.txt 2>&1 <<'END'
import importlib.machinery, json, os, sys, types
import numpy as np

npy, megatron, mds = sys.argv[1:]


def empty(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Empty(name, (), {"__init__": lambda self, *args, **more: None})


class Empty(type):
    def __getattr__(cls, name):
        return empty(name)


class StandIn(types.ModuleType):
    """What the readers' modules name and never use here: any name in it is an empty class."""

    def __getattr__(self, name):
        return empty(name)


class Finder:
    names = ("torch", "PIL", "brotli", "snappy", "zstd", "xxhash", "typing_extensions", "megatron.core.utils")

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if any(name == n or name.startswith(n + ".") for n in cls.names):
            return importlib.machinery.ModuleSpec(name, cls, is_package=True)

    @staticmethod
    def create_module(spec):
        return StandIn(spec.name)

    @staticmethod
    def exec_module(module):
        pass


sys.meta_path.insert(0, Finder)


def bare(name):
    """A package without its __init__, which would import all of PyTorch."""
    module = types.ModuleType(name)
    module.__path__ = [os.path.join(p, *name.split(".")) for p in sys.path]
    sys.modules[name] = module
    return module


def say(name, good):
    print("ok  " if good else "FAIL", name)


ids = np.load(npy + "/train.npy", mmap_mode="r")
ends = np.load(npy + "/train.offsets")
docs = [np.asarray(ids[a:b]) for a, b in zip(ends[:-1], ends[1:])]

for name in "megatron", "megatron.core", "megatron.core.datasets":
    bare(name)
from megatron.core.datasets.indexed_dataset import IndexedDataset

for mmap in True, False:
    data = IndexedDataset(megatron + "/train", mmap=mmap)
    good = len(data) == len(docs) and np.array_equal(data.document_indices, np.arange(len(docs) + 1))
    good = good and all(np.array_equal(data[i], d) for i, d in enumerate(docs))
    say("Megatron's own IndexedDataset, %s" % ("mapped" if mmap else "read"), good)

for name in "", ".base", ".base.format", ".base.format.base", ".base.format.mds":
    bare("streaming" + name)
bare("streaming.base.util").bytes_to_int = lambda text: text and int(text)
from streaming.base.format.mds.reader import MDSReader

got = []
for shard in json.load(open(mds + "/train/index.json"))["shards"]:
    reader = MDSReader.from_json(mds, "train", shard)
    good = reader.validate(False) is None
    got += [np.frombuffer(reader[i]["tokens"], "<u2") for i in range(len(reader))]
say("MosaicML streaming's own MDSReader",
    len(got) == len(docs) and all(np.array_equal(a, b) for a, b in zip(got, docs)))
END
    cat peers.txt
    passed=$((passed + $(grep -c '^ok' peers.txt))) failed=$((failed + $(grep -c '^FAIL' peers.txt)))
    expect "they went through" test "$(grep -c '^ok' peers.txt)" -eq 3
fi

printf '%d passed, %d failed' $passed $failed
[[ $skipped -gt 0 ]] && printf ', %d skipped' $skipped
echo
[[ $failed -eq 0 ]]
