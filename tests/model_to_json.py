"""model_to_json.py MODEL -- a SentencePiece BPE model as Hugging Face's tokenizer.json, on standard output.

What transformers 4.41 writes for Llama: every way to cut a piece into two pieces is a merge, the best
score first, then by the ids of the two. Plain Python, so that tests need nothing from PyPI.
"""

import json
import struct
import sys


def fields(data):
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            yield number, varint()
        elif wire == 2:
            size = varint()
            yield number, data[at : at + size]
            at += size
        elif wire == 5:
            yield number, data[at : at + 4]
            at += 4
        else:
            yield number, data[at : at + 8]
            at += 8


def main():
    pieces, prefix = [], True
    for number, value in fields(open(sys.argv[1], "rb").read()):
        if number == 1:
            piece = dict(fields(value))
            pieces.append((piece[1].decode(), struct.unpack("<f", piece.get(2, bytes(4)))[0], piece.get(3, 1)))
        elif number == 3:
            prefix = dict(fields(value)).get(3, 1) == 1
    ids = {text: i for i, (text, _, _) in enumerate(pieces)}
    normal = {text for text, _, kind in pieces if kind == 1}
    merges = []
    for text, score, kind in pieces:
        if kind != 1:
            continue
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in normal and right in normal:
                merges.append((-score, ids[left], ids[right], left, right))
    merges.sort(key=lambda m: m[:3])
    special = [(i, text) for i, (text, _, kind) in enumerate(pieces) if kind in (2, 3)]
    normalizers = [{"type": "Prepend", "prepend": "\u2581"}] if prefix else []
    normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"})
    json.dump(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": True}
                for i, text in special
            ],
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": None,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                         {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [ids["<s>"]], "tokens": ["<s>"]}},
            },
            "decoder": {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
                ],
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": "<unk>",
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "vocab": {text: i for i, (text, _, _) in enumerate(pieces)},
                "merges": [left + " " + right for _, _, _, left, right in merges],
            },
        },
        sys.stdout,
        ensure_ascii=False,
    )


main()
