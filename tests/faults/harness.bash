#!/bin/bash
# harness.bash BIN -- what the scripts about ttt-fetch share: a scripted server, and case_is.
#
# Every scenario asserts the exit status, the sentence, the bytes, the requests and the bytes that
# were sent twice. The server is server.py, on the loopback interface only.
set -uo pipefail
# shellcheck disable=SC2034,SC2120 # what follows is for those who source it
bin=$(cd "${1:?usage: fetch.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
[[ -x $bin/ttt-fetch ]] || { echo 'skip fetch  ttt-fetch was not built here'; echo '0 passed, 0 failed, 1 skipped'; exit 0; }
work=$(mktemp -d --tmpdir ttt-fetch-XXXXXX) || exit 1
server=
more=() # further processes of the script
trap 'kill $server "${more[@]}" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy no_proxy NO_PROXY
unset CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR GOOGLE_CLOUD_QUOTA_PROJECT
unset GOOGLE_APPLICATION_CREDENTIALS GCS_OAUTH_TOKEN CLOUDSDK_AUTH_ACCESS_TOKEN CLOUDSDK_CONFIG
unset TTT_BILLING_PROJECT GCS_REQUESTER_PAYS_PROJECT GCE_METADATA_HOST STORAGE_EMULATOR_HOST
export HOME=$work/home
mkdir home state

python=/usr/bin/python3
[[ -x $python ]] || python=python3
$python "$here/tests/faults/server.py" state >server.log 2>&1 &
server=$!
for _ in {1..100}; do [[ -e state/port ]] && break; sleep 0.1; done
[[ -e state/port ]] || { cat server.log; exit 1; }
host=127.0.0.1:$(<state/port)

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1${2:+  $2}"; }
# base is the server that is asked about what it saw; trust lets curl believe its certificate.
base=http://$host trust=()
control() { curl -sf "${trust[@]}" --data-binary "$2" "$base/control/$1" >/dev/null || echo "control $1 failed: $2"; }
count() { curl -sfG "${trust[@]}" --data-urlencode "path=${1-}" "$base/control/count"; }
script() { control script "[$1]"; }

# good FILE BUCKET/NAME: the file is the object.
good()
{
    local bucket=${2%%/*} name=${2#*/}
    curl -sfG "${trust[@]}" --data-urlencode "bucket=$bucket" --data-urlencode "name=$name" \
        "$base/control/bytes" | cmp -s - "$1"
}

# within NUMBER WANTED: WANTED is a number, LOW-HIGH, or `any`.
within()
{
    [[ $2 == any ]] && return 0
    [[ $1 -ge ${2%-*} && $1 -le ${2#*-} ]]
}

# case_is NAME STATUS SENTENCE REQUESTS TWICE FILES ARG...: run `fetch ARG...`; FILES is a list of
# PATH=BUCKET/NAME that must be right, and with a leading ! nothing else may lie in out. The log of
# requests starts anew; what a script set stays. FETCH names another command; MOST is how many
# connections bring bytes at a time.
case_is()
{
    local name=$1 want=$2 pattern=$3 requests=$4 twice=$5 files=$6 status file trouble='' n found
    shift 6
    control forget ''
    ${FETCH-fetch} "$@" >stdout 2>stderr <"${INPUT-/dev/null}"
    status=$?
    read -r -a n <<<"$(count)"
    [[ $status -eq $want ]] || trouble+=" status $status, not $want;"
    [[ -z $pattern ]] || grep -qE -- "$pattern" stderr || trouble+=" no sentence '$pattern';"
    within "${n[0]}" "$requests" || trouble+=" ${n[0]} requests, not $requests;"
    within "${n[3]}" "$twice" || trouble+=" ${n[3]} bytes twice, not $twice;"
    within "${n[4]}" "${MOST-any}" || trouble+=" ${n[4]} connections, not $MOST;"
    grep -qE 'token-[0-9]|BEGIN PRIVATE' stderr stdout && trouble+=" a secret was printed;"
    for file in ${files#!}; do
        good "${file%%=*}" "${file#*=}" || trouble+=" ${file%%=*} is not ${file#*=};"
    done
    if [[ $files == !* ]]; then
        found=$(find out* -type f 2>/dev/null | wc -l)
        set -- ${files#!}
        [[ $found -eq $# ]] || trouble+=" $found files in out, not $#: $(find out* -type f | head -5);"
    fi
    if [[ $trouble ]]; then bad "$name" "$trouble $(head -c 600 stderr)"; else ok "$name"; fi
    [[ ${KEEP-} ]] || rm -rf out*
    control reset ''
}

objects='[
 {"bucket":"bkt","name":"a.txt","text":"first"},
 {"bucket":"bkt","name":"b.txt","text":"second"},
 {"bucket":"bkt","name":"dir/one.bin","size":100000,"seed":1},
 {"bucket":"bkt","name":"dir/two.bin","size":70001,"seed":2},
 {"bucket":"bkt","name":"dir/deep/three.txt","text":"third"},
 {"bucket":"bkt","name":"dir/zero","text":""},
 {"bucket":"bkt","name":"big","size":20000001,"seed":5}]'
control put "$objects"
export STORAGE_EMULATOR_HOST=$host # no credentials, unless a scenario says so
endpoint=()
fetch() { "$bin/ttt-fetch" "${endpoint[@]}" --retry-delay 0.02 "$@"; }
d=bkt/dir

# start_fetch ARG...: in the background, its process in $job.
start_fetch() { "$bin/ttt-fetch" --retry-delay 0.02 "$@" 2>stderr & job=$!; }

# Until the program under test has asked for something, and so is past its beginning.
wait_asked()
{
    local n
    for _ in {1..300}; do
        read -r -a n <<<"$(count)"
        [[ ${n[0]} -gt 0 ]] && return
        sleep 0.05
    done
}

closing_line()
{
    printf '%d passed, %d failed' $passed $failed
    [[ $skipped -gt 0 ]] && printf ', %d skipped' $skipped
    echo
    [[ $failed -eq 0 ]]
}
