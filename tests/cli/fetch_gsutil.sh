#!/bin/bash
# fetch_gsutil.sh BIN -- ttt-fetch lays out, lists and names as gsutil does: both, against one server.
#
# gsutil comes from PyPI into build/venv-gsutil, once. It speaks https:// only.
# shellcheck source=tests/faults/harness.bash
source "$(dirname "$0")/../faults/harness.bash"

venv=$here/build/venv-gsutil
if [[ ! -e $venv/good ]]; then
    mkdir -p "$here/build"
    rm -rf "$venv"
    "$python" -m venv "$venv" >pip.log 2>&1 &&
        timeout 200 "$venv/bin/pip" install -q gsutil >>pip.log 2>&1 && touch "$venv/good"
fi
if [[ ! -e $venv/good ]]; then
    echo "skip fetch_gsutil  pip cannot install gsutil: $(tail -n 1 pip.log)"
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi

mkdir tls
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj '/CN=test authority' 2>openssl.log
openssl req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj /CN=server 2>>openssl.log
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out tls.crt \
    -extfile <(echo 'subjectAltName=IP:127.0.0.1') 2>>openssl.log
$python "$here/tests/faults/server.py" tls --tls tls.crt tls.key >tls.log 2>&1 &
more+=($!)
for _ in {1..100}; do [[ -e tls/port ]] && break; sleep 0.1; done
base=https://127.0.0.1:$(<tls/port) trust=(--cacert ca.crt)
control put "$objects"
control put '[{"bucket":"bkt","name":"dir/with blank é","text":"x"},{"bucket":"bkt","name":"dir2/four","text":"four"}]'
cat >boto <<END
[Credentials]
gs_json_host = 127.0.0.1
gs_json_port = $(<tls/port)
gs_host = 127.0.0.1
gs_port = $(<tls/port)
[Boto]
ca_certificates_file = $work/ca.crt
num_retries = 1
[GSUtil]
software_update_check_period = 0
parallel_process_count = 1
check_hashes = always
state_dir = $work/gsutil
END
export BOTO_CONFIG=$work/boto CURL_CA_BUNDLE=$work/ca.crt STORAGE_EMULATOR_HOST=$base

# same DEST SOURCE...: both copy into a folder that is there, and the trees are the same. FLAGS go to
# both.
same()
{
    local dest=$1
    shift
    rm -rf theirs ours
    mkdir theirs ours
    (cd theirs && timeout 60 "$venv/bin/gsutil" -q -m cp ${FLAGS-} "$@" "$dest") 2>their.err >&2
    (cd ours && "$bin/ttt-fetch" -q ${FLAGS-} "$@" "$dest") 2>our.err
    if [[ $(find theirs -type f | wc -l) -gt 0 ]] && diff -r theirs ours >tree.diff; then ok "cp ${FLAGS-} $* $dest"
    else bad "cp ${FLAGS-} $* $dest" "$(head -c 400 tree.diff their.err our.err)"; fi
}
same file gs://bkt/a.txt
same . 'gs://bkt/*.txt'
same . 'gs://bkt/**.bin'
FLAGS=-r same . 'gs://bkt/*'
FLAGS=-r same . gs://bkt
FLAGS=-r same . gs://bkt/dir
FLAGS=-r same . gs://bkt/dir/
FLAGS=-r same . 'gs://bkt/d*'
FLAGS=-r same . 'gs://bkt/*/deep'

# listed SOURCE...: what `gsutil ls -l` prints.
listed()
{
    timeout 60 "$venv/bin/gsutil" ls -l "$@" >theirs.list 2>their.err
    "$bin/ttt-fetch" --list "$@" >ours.list 2>our.err
    if [[ -s theirs.list ]] && diff theirs.list ours.list >list.diff; then ok "ls -l $*"
    else bad "ls -l $*" "$(head -c 600 list.diff our.err)"; fi
}
listed gs://bkt/
listed 'gs://bkt/*.txt'

closing_line
