#!/bin/bash
# fetch_peers.sh BIN -- ttt-fetch beside others: an independent server, and Google's own client.
#
# gcp-storage-emulator and google-cloud-storage come from PyPI into build/venv-fetch, once.
set -uo pipefail
bin=$(cd "${1:?usage: fetch_peers.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d --tmpdir ttt-peers-XXXXXX) || exit 1
servers=()
trap 'kill "${servers[@]}" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy
unset GOOGLE_APPLICATION_CREDENTIALS TTT_BILLING_PROJECT GCS_REQUESTER_PAYS_PROJECT

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1${2:+  $2}"; }
skip_all() { echo "skip fetch_peers  $1"; echo '0 passed, 0 failed, 1 skipped'; exit 0; }

[[ -x $bin/ttt-fetch ]] || skip_all 'ttt-fetch was not built here'
python=/usr/bin/python3
[[ -x $python ]] || python=python3
venv=$here/build/venv-fetch
if [[ ! -e $venv/good ]]; then
    mkdir -p "$here/build"
    rm -rf "$venv"
    "$python" -m venv "$venv" >pip.log 2>&1 &&
        timeout 240 "$venv/bin/pip" install -q google-cloud-storage gcp-storage-emulator >>pip.log 2>&1 &&
        touch "$venv/good"
fi
[[ -e $venv/good ]] || skip_all "pip cannot install google-cloud-storage and gcp-storage-emulator: $(tail -n 1 pip.log)"

# The same objects for both servers: folders, blanks, an empty one, one of several ranges.
mkdir -p tree/folder/deep 'tree/with blank'
head -c 100 /dev/zero >tree/zeros
: >tree/folder/empty
echo 'text é' >'tree/with blank/é.txt'
"$python" -c "import random; random.seed(1); open('tree/folder/deep/big', 'wb').write(random.randbytes(21000003))"
echo inner >tree/folder/inner.txt

# all_of DIR: Google's client fetches all of the bucket from where STORAGE_EMULATOR_HOST says.
cat >client.py <<'END'
import os, sys
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
client = storage.Client(project="test", credentials=AnonymousCredentials())
for blob in client.list_blobs("peer"):
    path = os.path.join(sys.argv[1], blob.name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    blob.download_to_filename(path)
END
all_of() { STORAGE_EMULATOR_HOST=http://${STORAGE_EMULATOR_HOST#http://} "$venv/bin/python" client.py "$1"; }

# ---- a server by others ------------------------------------------------------------------------

port=$("$python" -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
"$venv/bin/gcp-storage-emulator" start --host=127.0.0.1 --port="$port" --in-memory --default-bucket=peer >emulator.log 2>&1 &
servers+=($!)
for _ in {1..100}; do curl -sf "http://127.0.0.1:$port/storage/v1/b/peer" >/dev/null && break; sleep 0.1; done
# It takes no empty upload.
find tree -type f -size +0 -printf '%P\n' | while read -r name; do
    curl -sf -X POST --data-binary "@tree/$name" -H 'Content-Type: application/octet-stream' \
        "http://127.0.0.1:$port/upload/storage/v1/b/peer/o?uploadType=media&name=$(
            "$python" -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$name")" >/dev/null ||
        echo "upload of $name failed"
done
export STORAGE_EMULATOR_HOST=127.0.0.1:$port
if "$bin/ttt-fetch" -j 3 -r 'gs://peer/*' emulated 2>err && diff -r --exclude=empty tree emulated; then
    ok 'all of a bucket of gcp-storage-emulator'
else bad 'all of a bucket of gcp-storage-emulator' "$(<err)"; fi
if "$bin/ttt-fetch" -r 'gs://peer/*' emulated 2>err && grep -q '4 there already' err; then
    ok 'a second run fetches nothing from it'
else bad 'a second run fetches nothing from it' "$(<err)"; fi
if all_of emulated.theirs 2>err && diff -r emulated emulated.theirs; then
    ok "the same tree as google-cloud-storage's, from it"
else bad "the same tree as google-cloud-storage's, from it" "$(tail -n 2 err)"; fi
if "$bin/ttt-fetch" -q gs://peer/folder/deep/big - | cmp - tree/folder/deep/big; then ok 'a pipe from it'; else bad 'a pipe from it'; fi
if "$bin/ttt-fetch" gs://peer/nothing out 2>err; then bad 'no object there'; elif grep -q 'not there' err; then ok 'no object there'; else bad 'no object there' "$(<err)"; fi
if "$bin/ttt-fetch" --list -r gs://peer 2>err | grep -q 'TOTAL: 4 objects, 21000117 bytes'; then ok 'its list'; else bad 'its list' "$(<err)"; fi

# ---- a client by others ------------------------------------------------------------------------

mkdir state
"$python" "$here/tests/faults/server.py" state >server.log 2>&1 &
servers+=($!)
for _ in {1..100}; do [[ -e state/port ]] && break; sleep 0.1; done
host=127.0.0.1:$(<state/port)
"$venv/bin/python" - "$work" >put.json <<'END'
import base64, json, os, sys
import google_crc32c
objects = []
for folder, _, names in os.walk("tree"):
    for name in names:
        path = os.path.join(sys.argv[1], folder, name)
        crc = google_crc32c.value(open(path, "rb").read())
        objects.append({"bucket": "peer", "name": os.path.relpath(os.path.join(folder, name), "tree"),
                        "file": path, "crc32c": crc})
print(json.dumps(objects))
END
curl -sf --data-binary @put.json "http://$host/control/put" >/dev/null
curl -sf --data '{"bucket":"peer","page":2}' "http://$host/control/bucket" >/dev/null
export STORAGE_EMULATOR_HOST=http://$host
if all_of theirs 2>err; then ok "google-cloud-storage reads our server"; else bad "google-cloud-storage reads our server" "$(tail -n 2 err)"; fi
"$bin/ttt-fetch" -q -r 'gs://peer/*' ours
if diff -r theirs ours && diff -r tree ours; then ok 'both have the same tree'; else bad 'both have the same tree'; fi

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
