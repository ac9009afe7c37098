# objects.py -- what the scripted server's buckets hold: bytes made from a seed, and their CRC32C.
import base64, gzip, hashlib, os, urllib.parse

# ---- CRC32C, of zlib's speed only through a table of combined steps ------------------------------

POLY = 0x82F63B78
TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (POLY if n & 1 else 0)
    TABLE.append(n)


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for b in data:
        crc = TABLE[(crc ^ b) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def times(a, b):
    p, bit = 0, 1 << 31
    while bit:
        if a & bit:
            p ^= b
        b = b >> 1 ^ (POLY if b & 1 else 0)
        bit >>= 1
    return p


def times_shift(length):
    p, square = 1 << 31, 1 << 23
    while length:
        if length & 1:
            p = times(p, square)
        length >>= 1
        square = times(square, square)
    return p


def combined(crc_a, crc_b, length_b):
    return times(times_shift(length_b), crc_a) ^ crc_b


# A block of 64 KiB is made from the seed, and repeated with its number in front: a large object
# costs the checksum of one block and of many short heads.
BLOCK = 1 << 16


class Object:
    def __init__(self, spec, generation):
        self.generation = spec.get("generation", generation)
        self.gzip = bool(spec.get("gzip"))
        self.no_crc = bool(spec.get("no_crc"))
        self.file = spec.get("file")
        self.body = None
        if self.file:
            self.size = os.path.getsize(self.file)
            self.crc = spec.get("crc32c", 0)
        elif "text" in spec:
            self.body = spec["text"].encode()
            if self.gzip:
                self.body = gzip.compress(self.body, mtime=0)
            self.size = len(self.body)
            self.crc = crc32c(self.body)
        else:
            self.size = spec["size"]
            seed = str(spec.get("seed", 0)).encode()
            self.block = hashlib.shake_256(seed).digest(BLOCK - 8)
            self.crc = self.count_crc()

    def count_crc(self):
        if self.size <= BLOCK:
            return crc32c(self.read(0, self.size))
        tail, crc, whole = crc32c(self.block), 0, self.size // BLOCK
        step = [times_shift(BLOCK), times_shift(BLOCK - 8)]
        for n in range(whole):
            one = times(step[1], crc32c(n.to_bytes(8, "little"))) ^ tail
            crc = times(step[0], crc) ^ one
        rest = self.read(whole * BLOCK, self.size)
        return combined(crc, crc32c(rest), len(rest))

    def read(self, start, end):
        if self.body is not None:
            return self.body[start:end]
        if self.file:
            with open(self.file, "rb") as f:
                f.seek(start)
                return f.read(end - start)
        first, parts = start // BLOCK, []
        for n in range(first, (end + BLOCK - 1) // BLOCK):
            parts.append(n.to_bytes(8, "little") + self.block)
        skip = start - first * BLOCK
        return b"".join(parts)[skip:skip + end - start]

    def crc64(self):
        return base64.b64encode(self.crc.to_bytes(4, "big")).decode()

    def item(self, name, folder):
        item = {"kind": "storage#object", "name": name, "size": str(self.size),
                "generation": str(self.generation), "metageneration": "1", "crc32c": self.crc64(),
                "etag": f"e{self.generation}=", "mediaLink": f"{folder}/{urllib.parse.quote(name, safe='')}"
                f"?generation={self.generation}&alt=media",
                "updated": "2024-05-01T12:34:56.789Z", "timeCreated": "2024-05-01T12:34:56.789Z"}
        if self.no_crc:
            del item["crc32c"]
        if self.gzip:
            item["contentEncoding"] = "gzip"
        return item
