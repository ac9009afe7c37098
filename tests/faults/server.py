#!/usr/bin/env python3
# server.py -- Google Cloud Storage as ttt-fetch meets it, on its worst days: a scripted server.
#
# Usage: server.py STATE [--tls CERT KEY]     loopback only; prints its port to STATE/port
#
# Buckets are folders of STATE/buckets; a bucket's objects are set by POST /control/put with a JSON
# body, so that names need not be names of files:
#   {"bucket": "b", "name": "n", "size": 123, "seed": 7}      bytes made from the seed
#   and "text": "..." or "file": "/path" instead of size and seed; "gzip": true; "generation": 5;
#   "no_crc": true
# POST /control/script with a list of rules decides what goes wrong; POST /control/bucket sets what
# a bucket asks for ("requester_pays", "private", "forbidden", "page", "empty_pages", "circle").
# GET /control/log gives every request as a JSON list, /control/count?path=regex five numbers (count),
# /control/bytes?bucket=&name= an object; POST /control/reset forgets log, script and tokens, /control/forget the log. A rule is {"path": regex, "range": "0-99" or absent, "times": 1, "do": what, ...}:
#   status N [retry_after, body, reason, message]   answer so
#   reset [after, at]  break the connection after so many bytes of the body, or before byte `at` of the object
#   short [by]         a right head, then a body that ends early
#   stall [after]      send nothing more, hold the connection
#   wrong_range        a Content-Range of other bytes
#   whole              200 and the whole object for a range
#   corrupt [at]       one byte of the body flipped
#   replace            the object gets a new generation (and "seed" new bytes) before the answer
#   slow rate          bytes a second
#   garbage            something that is not HTTP
#   redirect to        302 to another address
# The server is a proxy as well: for whole addresses, which it answers itself, and for CONNECT.
import base64, email.utils, gzip, json, os, re, socket, ssl, subprocess, sys, tempfile
import select, threading, time, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.dont_write_bytecode = True
from objects import Object

STATE = sys.argv[1]
LOCK = threading.Lock()
OBJECTS = {}      # (bucket, name) -> Object
BUCKETS = {}      # bucket -> options
RULES, LOG, TOKENS = [], [], {}
AUTH = {"lifetime": 3600, "public_key": None, "refused": 0, "serial": 0, "web": {}}

# ---- tokens --------------------------------------------------------------------------------------


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def check_jwt(assertion, address):
    """The claims of a JWT signed with RS256 by the key of the test; openssl does the arithmetic."""
    head, claims, signature = assertion.split(".")
    if json.loads(unpadded(head)) != {"alg": "RS256", "typ": "JWT", "kid": "test-key"}:
        return "the head is not that of an RS256 JWT"
    with tempfile.NamedTemporaryFile(dir=STATE) as sig:
        sig.write(unpadded(signature))
        sig.flush()
        run = subprocess.run(["openssl", "dgst", "-sha256", "-verify", AUTH["public_key"],
                              "-signature", sig.name], input=(head + "." + claims).encode(),
                             capture_output=True)
    if run.returncode:
        return "the signature is wrong"
    c, now = json.loads(unpadded(claims)), time.time()
    if c["iss"] != "robot@test.iam.gserviceaccount.com" or c["aud"] != address:
        return "iss or aud is wrong"
    if c["scope"] != "https://www.googleapis.com/auth/devstorage.read_only":
        return "the scope is wrong"
    if not now - 60 <= c["iat"] <= now + 60 or c["exp"] != c["iat"] + 3600:
        return "the times are wrong"
    return None


def new_token():
    AUTH["serial"] += 1
    token = f"token-{AUTH['serial']}"
    TOKENS[token] = time.time() + AUTH["lifetime"]
    return {"access_token": token, "expires_in": AUTH["lifetime"], "token_type": "Bearer"}


# ---- answers -------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 0

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        self.note["status"] = status
        self.note["sent"] = len(body)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, reason, message, headers=()):
        self.answer(status, {"error": {"code": status, "message": message, "errors": [
            {"reason": reason, "message": message, "domain": "global"}]}}, headers)

    def begin(self):
        self.spoil = {}
        self.url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(self.url.query, keep_blank_values=True))
        self.note = {"method": self.command, "path": self.path, "sent": 0, "status": 0,
                     "range": self.headers.get("Range", ""), "time": time.time(),
                     "authorization": self.headers.get("Authorization", ""),
                     "accept_encoding": self.headers.get("Accept-Encoding", ""),
                     "host": self.headers.get("Host", "")}

    def do_POST(self):
        self.begin()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.url.path.startswith("/control/"):
            self.control(json.loads(body or b"null"))
            return
        with LOCK:
            LOG.append(self.note)
        if self.scripted(None):
            return
        if self.url.path == "/token":
            self.token(dict(urllib.parse.parse_qsl(body.decode())))
        else:
            self.error(404, "notFound", "no such address")

    def control(self, what):
        with LOCK:
            if self.url.path == "/control/put":
                for spec in what if isinstance(what, list) else [what]:
                    key = (spec["bucket"], spec["name"])
                    generation = OBJECTS[key].generation + 1 if key in OBJECTS else 1
                    OBJECTS[key] = Object(spec, generation)
                    BUCKETS.setdefault(spec["bucket"], {})
            elif self.url.path == "/control/bucket":
                BUCKETS[what.pop("bucket")] = what
            elif self.url.path == "/control/script":
                RULES[:] = what
            elif self.url.path == "/control/auth":
                AUTH.update(what)
            elif self.url.path == "/control/forget":
                LOG.clear()
            elif self.url.path == "/control/reset":
                RULES.clear(), LOG.clear(), TOKENS.clear()
                AUTH.update(lifetime=3600, refused=0, web={})
            elif self.url.path == "/control/clear":
                OBJECTS.clear(), BUCKETS.clear()
        self.answer(200, {})

    def token(self, form):
        if form.get("grant_type") == "refresh_token":
            good = (form.get("client_id"), form.get("client_secret"), form.get("refresh_token")) == (
                "id&x", "secret=1", "refresh/2")
            problem = None if good else "the refresh token is unknown"
        elif form.get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            problem = check_jwt(form["assertion"], f"http://{self.headers['Host']}/token")
        else:
            problem = "unknown grant_type"
        if problem:
            self.answer(400, {"error": "invalid_grant", "error_description": problem})
            return
        with LOCK:
            token = new_token()
        self.answer(200, token)

    def do_GET(self):
        self.begin()
        path = self.url.path
        if path == "/control/bytes":
            with LOCK:
                obj = OBJECTS[self.query["bucket"], self.query["name"]]
            self.bytes(obj, [])
            return
        if path == "/control/count":
            with LOCK:
                text = count(re.compile(self.query.get("path", "")))
            self.answer(200, text.encode())
            return
        if path == "/control/log":
            with LOCK:
                log = list(LOG)
            self.answer(200, log)
            return
        with LOCK:
            LOG.append(self.note)
        if path.startswith("/computeMetadata/"):
            if self.headers.get("Metadata-Flavor") != "Google":
                self.error(403, "forbidden", "no Metadata-Flavor")
            elif not self.scripted(None):
                with LOCK:
                    token = new_token()
                self.answer(200, token)
            return
        match = re.fullmatch(r"(?:/download)?/storage/v1/b/([^/]+)/o(?:/([^/]*))?", path)
        if match:
            bucket, name = (urllib.parse.unquote(t or "") for t in match.groups())
            self.storage(bucket, name)
        elif path.startswith("/web/"):
            self.web(urllib.parse.unquote(path[5:]))
        elif not self.scripted(None):
            self.error(404, "notFound", "no such address")

    # ---- a proxy: requests with a whole address are answered like others; CONNECT is a tunnel

    def do_CONNECT(self):
        self.begin()
        with LOCK:
            LOG.append(self.note)
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as far:
            self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ways = {far: self.connection, self.connection: far}
            while ways:
                for end in select.select(list(ways), [], [])[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        ways = {}
                        break
                    ways[end].sendall(data)
        self.close_connection = True

    # ---- rules

    def scripted(self, obj):
        """Whether a rule has answered. Rules that only spoil a good answer are kept in self.spoil."""
        self.spoil = {}
        with LOCK:
            for rule in RULES:
                if not re.search(rule["path"], self.path) or rule.get("times", 1) == 0:
                    continue
                if "range" in rule and rule["range"] != self.note["range"].replace("bytes=", ""):
                    continue
                if rule.get("skip", 0) > 0:
                    rule["skip"] -= 1
                    continue
                rule["times"] = rule.get("times", 1) - 1
                self.spoil = dict(rule)
                break
        do = self.spoil.get("do")
        if do == "status":
            headers = [("Retry-After", str(self.spoil["retry_after"]))] if "retry_after" in self.spoil else []
            if self.spoil.get("retry_after") == "date":
                headers = [("Retry-After", email.utils.formatdate(time.time() + 2, usegmt=True))]
            if "body" in self.spoil:
                self.answer(self.spoil["status"], self.spoil["body"].encode(), headers)
            else:
                self.error(self.spoil["status"], self.spoil.get("reason", "backendError"),
                           self.spoil.get("message", "Backend Error"), headers)
            return True
        if do == "garbage":
            self.wfile.write(b"\x00\x01 this is not HTTP \r\n\r\n")
            self.close_connection = True
            return True
        if do == "redirect":
            self.answer(302, b"", [("Location", self.spoil["to"])])
            return True
        if do == "replace":
            with LOCK:
                match = re.search(r"/b/([^/]+)/o/([^/?]*)", self.path)
                key = tuple(urllib.parse.unquote(t) for t in match.groups())
                old = OBJECTS[key]
                OBJECTS[key] = Object({"size": self.spoil.get("size", old.size),
                                       "seed": self.spoil.get("seed", 99)}, old.generation + 1)
        return False

    # ---- storage

    def storage(self, bucket, name):
        with LOCK:
            options = dict(BUCKETS.get(bucket) or {})
            known = bucket in BUCKETS
        if self.scripted(None):
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with LOCK:
            good = token in TOKENS and TOKENS[token] > time.time() or token == "fixed-token"
            if good and AUTH["refused"] > 0:
                AUTH["refused"] -= 1
                TOKENS.pop(token, None)
                good = False
        if token and not good:
            self.error(401, "authError", "Invalid Credentials")
        elif not known:
            self.error(404, "notFound", "The specified bucket does not exist.")
        elif options.get("requester_pays") and "userProject" not in self.query:
            self.error(400, "required", "Bucket is a requester pays bucket but no user project provided.")
        elif options.get("requester_pays") and not token:
            self.error(401, "required", "Anonymous caller cannot bill a project.")
        elif options.get("private") and not token:
            self.error(401, "required", "Anonymous caller does not have storage.objects.get access to "
                       "the Google Cloud Storage object.")
        elif self.query.get("userProject") == "forbidden-project":
            self.error(403, "forbidden", "robot@test.iam.gserviceaccount.com does not have "
                       "serviceusage.services.use access to the Google Cloud project.")
        elif options.get("forbidden"):
            self.error(403, "forbidden", "robot@test.iam.gserviceaccount.com does not have "
                       "storage.objects.list access to the Google Cloud Storage bucket.")
        elif self.url.path.endswith("/o"):
            self.listing(bucket, options)
        else:
            self.object(bucket, name)

    def folder(self, bucket):
        scheme = "https" if "--tls" in sys.argv else "http"
        return f"{scheme}://{self.headers['Host']}/download/storage/v1/b/{bucket}/o"

    def listing(self, bucket, options):
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        page = int(options.get("page", 1000))
        with LOCK:
            names = sorted(n for b, n in OBJECTS if b == bucket and n.startswith(prefix))
        entries = []
        for n in names:
            at = n.find(delimiter, len(prefix)) if delimiter else -1
            entry = ("folder", n[:at + len(delimiter)]) if at >= 0 else ("item", n)
            if not entries or entries[-1] != entry:
                entries.append(entry)
        start = int(self.query.get("pageToken", "0").lstrip("e") or 0)
        empty = options.get("empty_pages") and not self.query.get("pageToken", "").startswith("e")
        out = {"kind": "storage#objects"}
        if empty:
            out["nextPageToken"] = f"e{start}"
        else:
            shown = entries[start:start + page]
            with LOCK:
                items = [OBJECTS[bucket, n].item(n, self.folder(bucket)) for kind, n in shown if kind == "item"]
            folders = [n for kind, n in shown if kind == "folder"]
            if items:
                out["items"] = items
            if folders:
                out["prefixes"] = folders
            if options.get("circle"):
                out["nextPageToken"] = str((start + page) % (3 * page))
            elif start + page < len(entries):
                out["nextPageToken"] = str(start + page)
        self.answer(200, out)

    def object(self, bucket, name):
        with LOCK:
            obj = OBJECTS.get((bucket, name))
        if obj is None:
            self.error(404, "notFound", f"No such object: {bucket}/{name}")
        elif self.query.get("generation", str(obj.generation)) != str(obj.generation):
            self.error(404, "notFound", f"No such object: {bucket}/{name}")
        elif self.query.get("alt") != "media":
            self.answer(200, obj.item(name, self.folder(bucket)))
        elif obj.gzip and "gzip" not in self.headers.get("Accept-Encoding", ""):
            self.answer(200, gzip.decompress(obj.read(0, obj.size)))
        else:
            self.bytes(obj, [("X-Goog-Hash", f"crc32c={obj.crc64()}"),
                             ("X-Goog-Generation", str(obj.generation))])

    def web(self, name):
        if self.scripted(None):
            return
        with LOCK:
            obj, options = OBJECTS.get(("web", name)), AUTH["web"]
        if obj is None:
            self.error(404, "notFound", "no such page")
            return
        etag = f'"g{obj.generation}"'
        if self.headers.get("If-Match", etag) != etag:
            self.error(412, "conditionNotMet", "changed")
            return
        headers = [] if options.get("no_etag") else [("ETag", etag)]
        if not obj.no_crc:
            headers.append(("X-Goog-Hash", f"crc32c={obj.crc64()}"))
        self.bytes(obj, headers, options)

    def bytes(self, obj, headers, options=()):
        try:
            self.send_bytes(obj, headers, options)
        finally:
            self.note["ended"] = time.time()

    def send_bytes(self, obj, headers, options):
        spoil = self.spoil
        start, end, status = 0, obj.size, 200
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.note["range"])
        if match and spoil.get("do") != "whole" and "no_ranges" not in options:
            start, end, status = int(match[1]), min(int(match[2]) + 1, obj.size), 206
            if start >= obj.size:
                self.answer(416, b"", [("Content-Range", f"bytes */{obj.size}")])
                return
        if spoil.get("do") == "corrupt" and spoil.get("if_start") not in (None, start):
            spoil = {}
        length, broken = end - start, end - start
        self.note.update(status=status, start=start)
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        if obj.gzip:
            self.send_header("Content-Encoding", "gzip")
        if status == 206:
            a = start + 1 if spoil.get("do") == "wrong_range" else start
            self.send_header("Content-Range", f"bytes {a}-{end - 1}/{obj.size}")
        chunked = "chunked" in options
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        do = spoil.get("do")
        if do == "reset" and "at" in spoil:
            spoil["after"] = spoil["at"] - start
            do = do if 0 <= spoil["after"] < length else None
        if do in ("reset", "stall"):
            broken = min(length, spoil.get("after", 0))
        elif do == "short":
            broken = max(0, length - spoil.get("by", 1))
        rate, began = spoil.get("rate", 0) if do == "slow" else float(options_rate()), time.time()
        if obj.file and not do and not rate and not chunked and "--tls" not in sys.argv:
            with open(obj.file, "rb") as f:
                self.note["sent"] = self.connection.sendfile(f, start, length) or 0
            return
        sent, flip = 0, spoil.get("at", length // 2) if do == "corrupt" else -1
        step = 1 << 16 if rate else 1 << 20
        while sent < broken:
            data = obj.read(start + sent, start + min(broken, sent + step))
            if sent <= flip < sent + len(data):
                data = bytearray(data)
                data[flip - sent] ^= 0x10
            try:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            except OSError:
                self.close_connection = True
                return
            sent += len(data)
            self.note["sent"] = sent
            if rate:
                wait = began + sent / rate - time.time()
                if wait > 0:
                    time.sleep(wait)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        if do == "stall":
            time.sleep(spoil.get("hold", 30))
        if broken < length or do == "reset":
            self.close_connection = True
            if do == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.connection.close()


def count(wanted):
    """Requests, requests for bytes, bytes sent, bytes sent more than once, most answers with bytes
    at a time, of what matches."""
    log = [note for note in LOG if wanted.search(note["path"])]
    spans = {}
    for note in log:
        if "start" in note:
            spans.setdefault(note["path"], []).append((note["start"], note["start"] + note["sent"]))
    sent = sum(b - a for span in spans.values() for a, b in span)
    once = 0
    for span in spans.values():
        reach = 0
        for a, b in sorted(span):
            once += max(0, b - max(a, reach))
            reach = max(reach, b)
    ends = [(note["time"], 1) for note in log if "start" in note]
    ends += [(note.get("ended", time.time()), -1) for note in log if "start" in note]
    most = now = 0
    for _, change in sorted(ends):
        now += change
        most = max(most, now)
    return f"{len(log)} {sum(map(len, spans.values()))} {sent} {sent - once} {most}"


def options_rate():
    return AUTH.get("rate", 0)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


def main():
    server = Server(("127.0.0.1", 0), Handler)
    if "--tls" in sys.argv:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[3:5])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with open(os.path.join(STATE, "port.new"), "w") as f:
        f.write(f"{server.server_address[1]}\n")
    os.rename(os.path.join(STATE, "port.new"), os.path.join(STATE, "port"))
    server.serve_forever()


main()
