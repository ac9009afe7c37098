#!/bin/bash
# formats_py -- docs/formats.md is enough to read our files: a reader in Python, written from it.
#
# Usage: tests/cli/formats_py.sh BIN
set -uo pipefail
bin=$(cd "$1" && pwd) here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

if ! command -v python3 >/dev/null; then
    echo 'skip formats_py  no python3 on this machine'
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi

# Forty texts: some empty, one longer than a block holds, characters outside the vocabulary.
python3 - <<'END' >corpus.jsonl
import json
words = "in the beginning was a \u03bb and 2024 others\n".split(" ")
for i in range(40):
    n = 600000 if i == 17 else 0 if i % 9 == 4 else 7 * i
    print(json.dumps({"text": " ".join(words[(i * j + j) % len(words)] for j in range(n))}))
END
model=$here/tests/golden/tokenizer/small-1024.model
if ! {
    "$bin/ttt-tokenize" --tokenizer "$model" -o plain.tok corpus.jsonl &&
        "$bin/ttt-tokenize" --tokenizer "$model" --compress -o deflated.tok corpus.jsonl &&
        "$bin/ttt-shuffle" --seed 5 -o shuffled.tok plain.tok &&
        "$bin/ttt-pack" -o data --tokenizer-name small-1024 --val-ratio 0.1 plain.tok
}; then
    echo 'FAIL the tools made no files to read'
    echo '0 passed, 1 failed'
    exit 1
fi

cat >reader.py <<'END'
"""The files of docs/formats.md, read as that page says."""
import ctypes, ctypes.util, json, struct, subprocess, sys, zlib

xxh = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]
xxh.XXH3_64bits.restype = ctypes.c_uint64
xxh.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
xxh.XXH3_128bits.restype = Hash128
xxh.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

def hash64(data):
    return xxh.XXH3_64bits(data, len(data))

def hash128(data):
    h = xxh.XXH3_128bits(data, len(data))
    return "%016x%016x" % (h.high, h.low)

def crc32c(data):
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return "%08x" % (crc ^ 0xFFFFFFFF)

def padded(n):
    return (n + 7) // 8 * 8

def tok_read(path):
    data = open(path, "rb").read()
    magic, vocab, id_bytes, flags, zero, tokenizer, bos, eos, block_ids, n, zero2, check = \
        struct.unpack("<8sIBBH16sIIIIQQ", data[:64])
    at = 64 + padded(n)
    assert magic == b"TTT.TOK\1" and not zero and not zero2
    assert id_bytes == (2 if vocab <= 65536 else 4)
    assert hash64(data[:56] + bytes(8) + data[64:at]) == check
    assert not any(data[64 + n:at])
    options = json.loads(data[64:64 + n])
    documents, entries, tokens, open_ = [], [], 0, False
    while True:
        magic, flags_, sequence, begun, before, pieces, ids, stored, payload_sum, check = \
            struct.unpack("<4sIQQQIIQQQ", data[at:at + 64])
        payload = data[at + 64:at + 64 + padded(stored)]
        assert hash64(data[at:at + 56]) == check and hash64(payload) == payload_sum
        assert (sequence, begun, before) == (len(entries), len(documents), tokens)
        if magic == b"TIDX":
            break
        assert magic == b"TBLK" and 0 < pieces <= block_ids and ids <= block_ids
        assert not any(payload[stored:])
        entry = (at, begun, before)
        at += 64 + len(payload)
        payload = payload[:stored]
        if flags_ & 1:
            payload = zlib.decompress(payload)
            assert len(payload) > stored
        assert len(payload) == 4 * pieces + id_bytes * ids
        counts = struct.unpack("<%dI" % pieces, payload[:4 * pieces])
        assert sum(counts) == ids and bool(flags_ & 2) == open_
        start = 4 * pieces
        for i, count in enumerate(counts):
            piece = payload[start:start + id_bytes * count]
            start += id_bytes * count
            if i == 0 and open_:
                documents[-1] += piece
            else:
                documents.append(piece)
        open_ = bool(flags_ & 4)
        entries.append(entry)
        tokens += ids
    assert not open_ and not flags_ and not pieces and not ids
    assert payload == b"".join(struct.pack("<3Q", *e) for e in entries)
    index, at = at, at + 64 + len(payload)
    magic, blocks, count, tokens_, offset, sum_, chain, check = \
        struct.unpack("<8s6QQ", data[at:at + 64])
    assert at + 64 == len(data) and magic == b"TTT.END\1" and hash64(data[at:at + 56]) == check
    assert (blocks, count, tokens_, offset) == (len(entries), len(documents), tokens, index)
    hashes, want = [hash64(d) for d in documents], 0
    for h in hashes:
        want = (want + h) * 6364136223846793005 % 2**64
    assert sum(hashes) % 2**64 == sum_ and want == chain
    form = "<%d" + ("H" if id_bytes == 2 else "I")
    ids = [struct.unpack(form % (len(d) // id_bytes), d) for d in documents]
    assert all(i < vocab for d in ids for i in d)
    return {"vocab": vocab, "tokenizer": tokenizer.hex(), "bos": bos, "eos": eos, "flags": flags,
            "options": options, "ids": ids, "blocks": blocks, "chain": chain, "sum": sum_}

def npy_read(path):
    data = open(path, "rb").read()
    assert data[:10] == b"\x93NUMPY\1\0\x76\0" and data[127:128] == b"\n"
    header = eval(data[10:127])
    bytes_, form = {"<u2": (2, "H"), "<u8": (8, "Q")}[header["descr"]]
    (n,) = header["shape"]
    assert len(data) == 128 + bytes_ * n and not header["fortran_order"]
    return struct.unpack("<%d%s" % (n, form), data[128:])

def manifest_read(path):
    lines = open(path, "rb").read().split(b"\n")
    assert lines.pop() == b""
    files = []
    for number, line in enumerate(lines, 1):
        entry = json.loads(line)
        assert line.endswith(b',"check":"%s"}' % crc32c(line[:-len(',"check":"01234567"}')]).encode())
        assert (entry["number"], entry["of"]) == (number, len(lines))
        files.append(entry)
    return files

passed = failed = 0
def case(name, ok):
    global passed, failed
    print("ok  " if ok else "FAIL", name)
    passed, failed = passed + bool(ok), failed + (not ok)

model = open(sys.argv[1], "rb").read()
texts = [json.loads(line)["text"] for line in open("corpus.jsonl")]
plain = tok_read("plain.tok")
case("plain .tok", len(plain["ids"]) == len(texts) and plain["blocks"] > 1)
case("the tokenizer's hash", plain["tokenizer"] == hash128(model))
case("BOS and EOS", plain["flags"] == 3 and
     all(d[0] == plain["bos"] and (len(d) == 1 if not t else d[-1] == plain["eos"])
         for d, t in zip(plain["ids"], texts)))
deflated = tok_read("deflated.tok")
case("deflated .tok", deflated["ids"] == plain["ids"] and deflated["chain"] == plain["chain"])
shuffled = tok_read("shuffled.tok")
case("shuffled .tok", sorted(shuffled["ids"]) == sorted(plain["ids"]) and
     shuffled["ids"] != plain["ids"] and shuffled["sum"] == plain["sum"])

folder = "data/tokenizer_name-small-1024-val_ratio-0.1-val_split_seed-2357-add_eos-True-detokenize-False/"
train, test = npy_read(folder + "train.npy"), npy_read(folder + "test.npy")
case("arrays hold every document", sorted(train + test) == sorted(i for d in plain["ids"] for i in d))
case("validation is test", npy_read(folder + "validation.npy") == test)
starts = npy_read(folder + "train.offsets")
case("offsets cut train.npy into documents", starts[0] == 0 and starts[-1] == len(train) and
     all(train[a:b] in plain["ids"] for a, b in zip(starts, starts[1:])))
files = manifest_read(folder + "manifest.jsonl")
for entry in files:
    data = open(folder + entry["path"], "rb").read()
    case("manifest: " + entry["path"], entry["bytes"] == len(data) and entry["xxh3"] == hash128(data) and
         entry["crc32c"] == crc32c(data) and entry["tokenizer"] == plain["tokenizer"] and
         entry["source"]["chain"] == "%016x" % plain["chain"])
blocks = [data[at:at + 2**20] for at in range(0, len(data), 2**20)]
case("manifest: blocks", all(e["blocks"]["bytes"] == 2**20 for e in files) and len(blocks) > 0 and
     "".join(crc32c(b) for b in blocks) == files[-1]["blocks"]["crc32c"])

# An older manifest, without them.
with open(folder + "manifest.jsonl", "w") as out:
    for entry in files:
        old = json.dumps({k: v for k, v in entry.items() if k not in ("blocks", "check")}, separators=(",", ":"))
        out.write('%s,"check":"%s"}\n' % (old[:-1], crc32c(old[:-1].encode())))
case("an older manifest is read", subprocess.run([sys.argv[2] + "/ttt-verify", "-q", "data"]).returncode == 0)
print("%d passed, %d failed" % (passed, failed))
sys.exit(failed != 0)
END
python3 reader.py "$model" "$bin"
