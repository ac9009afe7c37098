#!/bin/bash
# fetch.sh BIN -- ttt-fetch against a scripted server: every fault, every refusal, kill -9, names.
#
# Every scenario asserts the exit status, the sentence, the bytes, the requests and the bytes that
# were sent twice. The server is tests/faults/server.py, on the loopback interface only.
set -uo pipefail
bin=$(cd "${1:?usage: fetch.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
[[ -x $bin/ttt-fetch ]] || { echo 'skip fetch  ttt-fetch was not built here'; echo '0 passed, 0 failed, 1 skipped'; exit 0; }
work=$(mktemp -d --tmpdir ttt-fetch-XXXXXX) || exit 1
server=
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy
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
control() { curl -sf --data-binary "$2" "http://$host/control/$1" >/dev/null || echo "control $1 failed: $2"; }
count() { curl -sfG --data-urlencode "path=${1-}" "http://$host/control/count"; }
script() { control script "[$1]"; }

# good FILE BUCKET/NAME: the file is the object.
good()
{
    local bucket=${2%%/*} name=${2#*/}
    curl -sfG --data-urlencode "bucket=$bucket" --data-urlencode "name=$name" \
        "http://$host/control/bytes" | cmp -s - "$1"
}

# within NUMBER WANTED: WANTED is a number, LOW-HIGH, or `any`.
within()
{
    [[ $2 == any ]] && return 0
    [[ $1 -ge ${2%-*} && $1 -le ${2#*-} ]]
}

# case_is NAME STATUS SENTENCE REQUESTS TWICE FILES ARG...: run `fetch ARG...`; FILES is a list of
# PATH=BUCKET/NAME that must be right, and with a leading ! nothing else may lie in out. The log of
# requests starts anew; what a script set stays. FETCH names another command.
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

# ---- names and places --------------------------------------------------------------------------

case_is 'an object to a file' 0 '1 objects' 2 0 '!out=bkt/a.txt' gs://bkt/a.txt out
mkdir out
case_is 'an object to a folder' 0 '1 objects' 2 0 '!out/a.txt=bkt/a.txt' gs://bkt/a.txt out
case_is 'a slash makes DEST a folder' 0 '1 objects' 2 0 '!out/a.txt=bkt/a.txt' gs://bkt/a.txt out/
case_is 'several objects' 0 '2 objects' 4 0 '!out/a.txt=bkt/a.txt out/one.bin=bkt/dir/one.bin' \
    gs://bkt/a.txt gs://bkt/dir/one.bin out
case_is 'a folder with -r' 0 '4 objects' 4 0 \
    "!out/dir/one.bin=$d/one.bin out/dir/two.bin=$d/two.bin out/dir/deep/three.txt=$d/deep/three.txt out/dir/zero=$d/zero" \
    -r gs://bkt/dir/ out
case_is 'a folder without its slash' 0 '4 objects' 5 0 "out/dir/deep/three.txt=$d/deep/three.txt" -r gs://bkt/dir out
case_is 'a bucket with -r' 0 '7 objects' any 0 "out/bkt/dir/one.bin=$d/one.bin out/bkt/big=bkt/big" -r gs://bkt out
case_is "gs://bkt/* with -r" 0 '7 objects' any 0 \
    "!out/dir/one.bin=$d/one.bin out/dir/two.bin=$d/two.bin out/dir/deep/three.txt=$d/deep/three.txt out/dir/zero=$d/zero out/a.txt=bkt/a.txt out/b.txt=bkt/b.txt out/big=bkt/big" \
    -r 'gs://bkt/*' out
case_is 'a pattern without -r leaves folders out' 0 'gs://bkt/dir/: a folder, left out; -r' any 0 \
    '!out/a.txt=bkt/a.txt out/b.txt=bkt/b.txt out/big=bkt/big' 'gs://bkt/*' out
case_is '? and [..]' 0 '1 objects' 2 0 '!out/b.txt=bkt/b.txt' 'gs://bkt/[b-z].tx?' out
case_is '[!..]' 0 '1 objects' 2 0 '!out/b.txt=bkt/b.txt' 'gs://bkt/[!a].txt' out
case_is 'a pattern in the middle' 0 '2 objects' 4 0 "!out/one.bin=$d/one.bin out/two.bin=$d/two.bin" 'gs://bkt/d*r/*o*.bin' out
case_is '** crosses slashes, and lays flat' 0 '2 objects' 3 0 "!out/a.txt=bkt/a.txt out/three.txt=$d/deep/three.txt" \
    'gs://bkt/**[ae].txt' --exclude b.txt out
case_is 'nothing matches' 1 "gs://bkt/x\*: matches nothing; .*ttt-fetch --list 'gs://bkt/'" 1 0 '!' 'gs://bkt/x*' out
case_is 'a folder without -r' 1 'gs://bkt/dir/: a folder; .* -r' 0 0 '!' gs://bkt/dir/ out
case_is 'a bucket without -r' 1 'gs://bkt: a bucket; .* -r' 0 0 '!' gs://bkt out
printf 'gs://bkt/a.txt\n\ngs://bkt/b.txt\r\n' >names
INPUT=names case_is '-I reads names' 0 '2 objects' 4 0 '!out/a.txt=bkt/a.txt out/b.txt=bkt/b.txt' -I out
case_is '--include' 0 '1 objects' 2 0 '!out/dir/one.bin=bkt/dir/one.bin' -r --include 'one*' gs://bkt/dir/ out
case_is '--exclude by path' 0 '3 objects' any 0 '' -r --exclude 'dir/deep/*' gs://bkt/dir/ out
case_is 'a large object in ranges' 0 '1 objects' 6 0 '!out=bkt/big' -j 4 gs://bkt/big out
case_is 'an empty object' 0 '1 objects' 1 0 '!out=bkt/dir/zero' gs://bkt/dir/zero out
case_is 'a bad bucket name' 1 "is not the name of a bucket" 0 0 '!' gs://No/x out
case_is 'no such scheme' 2 'expected gs://' 0 0 '!' ftp://x/y out
case_is 'http:// elsewhere' 2 'http:// is for this machine only' 0 0 '!' http://example.com/y out
case_is 'a misspelt flag' 2 'did you mean --recursive' 0 0 '!' --recursiv gs://bkt/dir out
printf x >out
case_is 'a file where a folder must be' 2 'out: is a file; expected a folder' 0 0 '' -r gs://bkt/dir out

# ---- names that must not leave DEST ------------------------------------------------------------

long=$(printf 'n%.0s' {1..300})
control put '[
 {"bucket":"odd","name":"ok/fine.txt","text":"1"},
 {"bucket":"odd","name":"ok/with blank é.txt","text":"2"},
 {"bucket":"odd","name":"ok/x%2Fy","text":"3"},
 {"bucket":"odd","name":"ok/../../escape","text":"4"},
 {"bucket":"odd","name":"/abs","text":"5"},
 {"bucket":"odd","name":"ok//empty","text":"6"},
 {"bucket":"odd","name":"ok/./dot","text":"7"},
 {"bucket":"odd","name":"ok/bell\u0007","text":"8"},
 {"bucket":"odd","name":"ok/'"$long"'","text":"9"},
 {"bucket":"odd","name":"ok/'"${long:0:250}"'","text":"10"},
 {"bucket":"odd","name":"ok/folder/","text":""},
 {"bucket":"odd","name":"ok/full/","text":"11"},
 {"bucket":"odd","name":"ok/a","text":"12"},
 {"bucket":"odd","name":"ok/a/b","text":"13"},
 {"bucket":"odd","name":"ok/a.ttt-part","text":"14"},
 {"bucket":"odd","name":"ok/back\\slash","text":"15"}]'
mkdir -p cage/out && cd cage || exit 1
ln -s ../state ../home ../names . 2>/dev/null
KEEP=1 case_is 'odd names: the good ones are copied' 1 '6 objects' any 0 '' -r 'gs://odd/' out
find . -type f ! -name std\* | LC_ALL=C sort >../found
cd .. || exit 1
wanted="./out/odd/ok/${long:0:250}
./out/odd/ok/a
./out/odd/ok/back\\slash
./out/odd/ok/fine.txt
./out/odd/ok/with blank é.txt
./out/odd/ok/x%2Fy"
if [[ $(<found) == "$(LC_ALL=C sort <<<"$wanted")" ]]; then ok 'odd names: none elsewhere'; else bad 'odd names: none elsewhere' "$(<found)"; fi
for sentence in 'escape: not copied: ".." in its name' '//abs: not copied: its name has an empty part' \
    'ok//empty: not copied' 'ok/./dot: not copied: "."' 'bell\?: not copied: .*control character' \
    'not copied: a part of its name has 300 bytes' 'ok/a/b: not copied: odd/ok/a is an object' \
    'a.ttt-part: not copied: names ending' 'ok/full/: not copied'; do
    if grep -qE -- "$sentence" cage/stderr; then ok "odd names: $sentence"; else bad "odd names: $sentence"; fi
done
rm -rf cage
case_is 'an odd name to a file of my choice' 0 '1 objects' 2 0 '!out=odd/ok/../../escape' 'gs://odd/ok/../../escape' out
case_is 'two objects of one name' 1 'b/one.bin|one.bin: not copied: another object' any 0 '!out/one.bin=bkt/dir/one.bin' \
    gs://bkt/dir/one.bin gs://bkt/dir/one.bin out
mkdir -p out/a.txt
case_is 'a folder in the way' 1 'out/a.txt: is a folder here' 3 0 '!out/b.txt=bkt/b.txt' gs://bkt/a.txt gs://bkt/b.txt out

# ---- what is there -----------------------------------------------------------------------------

KEEP=1 case_is 'a first copy' 0 '4 objects' 4 0 '' -r gs://bkt/dir/ out
KEEP=1 case_is 'a second fetches nothing' 0 '0 objects.*4 there already' 1 0 "out/dir/one.bin=$d/one.bin" -r gs://bkt/dir/ out
touch out/dir/one.bin
KEEP=1 case_is 'a touched file is read, not fetched' 0 '4 there already' 1 0 '' -r gs://bkt/dir/ out
printf X | dd of=out/dir/two.bin bs=1 seek=500 conv=notrunc status=none
KEEP=1 case_is 'a damaged file is fetched' 0 '1 objects.*3 there' 2 0 "out/dir/two.bin=$d/two.bin" -r gs://bkt/dir/ out
touch -r out/dir/two.bin stamp
printf X | dd of=out/dir/two.bin bs=1 seek=500 conv=notrunc status=none
touch -r stamp out/dir/two.bin
KEEP=1 case_is '--verify finds silent damage' 0 '1 objects.*3 there' 2 0 "out/dir/two.bin=$d/two.bin" -r --verify gs://bkt/dir/ out
echo other >out/dir/one.bin
KEEP=1 case_is '--no-clobber' 0 '0 objects.*4 there' 1 0 '' -r --no-clobber gs://bkt/dir/ out
case_is '--force' 0 '4 objects' 4 0 "out/dir/one.bin=$d/one.bin" -r --force gs://bkt/dir/ out
case_is '--dry-run' 0 '' 1 0 '!' -r --dry-run gs://bkt/dir/ out
if grep -qxF "gs://bkt/dir/one.bin	100000	out/dir/one.bin" stdout; then ok '--dry-run tells'; else bad '--dry-run tells' "$(<stdout)"; fi
case_is '--manifest' 1 'nowhere: not there' 5 0 '' --manifest m.jsonl gs://bkt/a.txt gs://bkt/nowhere gs://bkt/b.txt out
# A line stands where its object was finished: either may be first.
if [[ $(cut -c1-64 m.jsonl | grep -cxE '\{"source":"gs://bkt/([ab]).txt","path":"out/\1.txt","result":"fetched"') -eq 2 && $(wc -l <m.jsonl) -eq 2 ]]; then
    ok '--manifest has its lines'
else bad '--manifest has its lines' "$(<m.jsonl)"; fi
case_is '--list' 0 '' 1 0 '!' --list gs://bkt/
want='         5  2024-05-01T12:34:56Z  gs://bkt/a.txt
         6  2024-05-01T12:34:56Z  gs://bkt/b.txt
  20000001  2024-05-01T12:34:56Z  gs://bkt/big
                                 gs://bkt/dir/
TOTAL: 3 objects, 20000012 bytes (19.07 MiB)'
if [[ $(<stdout) == "$want" ]]; then ok '--list is that of gsutil ls -l'; else bad '--list is that of gsutil ls -l' "$(<stdout)"; fi
case_is '--list -r' 0 '' 1 0 '!' --list -r gs://bkt
if grep -q 'TOTAL: 7 objects' stdout; then ok '--list -r has all'; else bad '--list -r has all'; fi
case_is '--quiet' 0 '' 2 0 '!out=bkt/a.txt' -q gs://bkt/a.txt out
if [[ ! -s stderr ]]; then ok '--quiet is'; else bad '--quiet is' "$(<stderr)"; fi

# ---- pipes and ranges --------------------------------------------------------------------------

case_is 'to a pipe' 0 '' any 0 'stdout=bkt/big' -j 3 gs://bkt/big -
case_is 'an empty object to a pipe' 0 '' 1 0 'stdout=bkt/dir/zero' gs://bkt/dir/zero -
case_is 'two objects to a pipe' 1 'more than one object for a pipe' 2 0 '' gs://bkt/a.txt gs://bkt/b.txt -
case_is '--range to a pipe' 0 '' 2 0 '' --range 7000000:300001 gs://bkt/big -
curl -sfG "http://$host/control/bytes?bucket=bkt&name=big" | tail -c +7000001 | head -c 300001 >part
if cmp -s part stdout; then ok '--range has the bytes'; else bad '--range has the bytes'; fi
KEEP=1 case_is '--range to a file' 0 '1 objects' 2 0 '' --range 7000000:300001 gs://bkt/big out
if cmp -s part out; then ok '--range to a file has the bytes'; else bad '--range to a file has the bytes'; fi
rm -f out
case_is '--range behind the end' 1 'ends behind its 20000001 bytes' 1 0 '!' --range 20000000:2 gs://bkt/big out
script '{"path":"alt=media","do":"reset","after":200000,"times":3}'
case_is 'a pipe goes on after resets' 0 '' any 0-900000 'stdout=bkt/big' -j 2 gs://bkt/big -
script '{"path":"alt=media","do":"corrupt"}'
case_is 'a pipe tells of a wrong checksum' 1 'do not use what was written' any 0 '' gs://bkt/dir/one.bin -
mkfifo fifo
good fifo bkt/dir/one.bin &
reader=$!
case_is 'a named pipe stays one' 0 '' 2 0 '' gs://bkt/dir/one.bin fifo
if wait $reader && [[ -p fifo ]]; then ok 'a named pipe gets the bytes'; else bad 'a named pipe gets the bytes'; fi
fetch -q gs://bkt/big - 2>err | head -c 10 >/dev/null
if grep -q 'standard output: Broken pipe' err; then ok 'a closed pipe'; else bad 'a closed pipe' "$(<err)"; fi

# ---- passing faults ----------------------------------------------------------------------------

for status in 408 429 500 502 503 504; do
    script '{"path":"alt=media","do":"status","status":'$status',"times":2}'
    case_is "status $status passes" 0 '2 retries' 4 0 '!out=bkt/a.txt' gs://bkt/a.txt out
done
script '{"path":"alt=media","do":"status","status":403,"reason":"rateLimitExceeded"}'
case_is "a rate limit's 403 passes" 0 '1 retries' 3 0 '!out=bkt/a.txt' gs://bkt/a.txt out
for after in 1 '"date"'; do
    script '{"path":"alt=media","do":"status","status":429,"retry_after":'"$after"'}'
    began=${EPOCHREALTIME/./}
    case_is "Retry-After: $after" 0 '1 retries' 3 0 '!out=bkt/a.txt' gs://bkt/a.txt out
    if [[ $((${EPOCHREALTIME/./} - began)) -ge 900000 ]]; then ok 'and it was waited for'; else bad 'and it was waited for'; fi
done
script '{"path":"alt=media","do":"reset","after":0}'
case_is 'a reset before the first byte' 0 '1 retries' 3 0 '!out=bkt/a.txt' gs://bkt/a.txt out
script '{"path":"alt=media","do":"garbage"}'
case_is 'garbage instead of HTTP' 0 '1 retries' 3 0 '!out=bkt/a.txt' gs://bkt/a.txt out
script '{"path":"alt=media","do":"reset","after":3000000}'
case_is 'a reset within a range' 0 '1 retries' 7 0-3000000 '!out=bkt/big' -j 4 gs://bkt/big out
script '{"path":"alt=media","do":"short","by":1}'
case_is 'a short body: only the last byte again' 0 '1 retries' 3 0 '!out=bkt/dir/one.bin' gs://bkt/dir/one.bin out
script '{"path":"alt=media","do":"short","by":500,"times":3}'
case_is 'short bodies of ranges' 0 '3 retries' 9 0 '!out=bkt/big' -j 4 gs://bkt/big out
script '{"path":"alt=media","do":"stall","after":50000,"hold":6}'
case_is 'a stall' 0 '1 retries' 3 0-50000 '!out=bkt/dir/one.bin' --timeout 1 gs://bkt/dir/one.bin out
script '{"path":"alt=media","range":"8388608-12582911","do":"wrong_range"}'
case_is 'a wrong Content-Range' 0 '1 retries' any 0-4194304 '!out=bkt/big' -j 4 gs://bkt/big out
script '{"path":"alt=media","range":"8388608-12582911","do":"whole"}'
case_is '200 for a range' 0 '1 retries' any any '!out=bkt/big' -j 4 gs://bkt/big out
script '{"path":"alt=media","do":"corrupt"}'
case_is 'a corrupted byte' 0 'reading it again until it is right' 3 100000 '!out=bkt/dir/one.bin' gs://bkt/dir/one.bin out
script '{"path":"alt=media","range":"8388608-12582911","do":"corrupt"}'
case_is 'a corrupted range: no more again than needed' 0 'reading it again' 9 12582912 '!out=bkt/big' -j 1 gs://bkt/big out
script '{"path":"alt=media","do":"corrupt","times":9}'
case_is 'corrupted for good' 1 'what was read is thrown away' 4 any '!' gs://bkt/dir/one.bin out
script '{"path":"alt=media","do":"status","status":503,"times":-1}'
case_is 'a fault that does not pass' 1 'status 503 \(4 times in a row\)' 6 0 '!out/zero=bkt/dir/zero' --retries 3 gs://bkt/dir/zero gs://bkt/a.txt out

# ---- refusals ----------------------------------------------------------------------------------

control bucket '{"bucket":"pays","requester_pays":true}'
control put '{"bucket":"pays","name":"x","text":"paid"}'
case_is 'no object' 1 "gs://bkt/none: not there; .*ttt-fetch --list 'gs://bkt/'" 1 0 '!' gs://bkt/none out
case_is 'no bucket' 1 'gs://nothere: there is no such bucket' 1 0 '!' -r gs://nothere/x out
control bucket '{"bucket":"secret","private":true}'
control put '{"bucket":"secret","name":"s","text":"shh"}'
case_is 'a private bucket, without credentials' 1 'not open to everybody.*gcloud auth application-default login' 1 0 '!' gs://secret/x out
case_is 'requester pays, without credentials' 1 'cannot be read without credentials; run: gcloud auth' 1 0 '!' gs://pays/x out
script '{"path":"alt=media","do":"status","status":412,"times":9}'
case_is '412 is a replacement' 1 'is replaced again and again' any 0 '!' gs://bkt/a.txt out
script '{"path":"/o/a","do":"status","status":400,"message":"odd request"}'
case_is 'another 400' 1 'gs://bkt/a.txt: .*status 400: odd request' 1 0 '!' gs://bkt/a.txt out
control put '{"bucket":"huge","name":"y","text":"x"}'
script '{"path":"/o/y","do":"status","status":200,"body":"{\"name\":\"y\",\"size\":\"900000000000000\",\"generation\":\"1\"}"}'
case_is 'no room' 1 'out: 900 TB are needed, .* are free .*make room' 1 0 '!' gs://huge/y out
limited() { (ulimit -f 300 && fetch "$@"); }
FETCH=limited case_is 'a full disk' 1 'out.ttt-part: File too large' any any '' gs://bkt/big out
script '{"path":"/o/y","do":"status","status":200,"body":"{\"name\":\"y\",\"size\":\"-5\"}"}'
case_is 'metadata that lie' 1 "gs://huge/y: the server tells of an object with a size of '-5'" 1 0 '!' gs://huge/y out

# ---- listings ----------------------------------------------------------------------------------

names=
for i in {100..340}; do names+="{\"bucket\":\"many\",\"name\":\"m/$i\",\"text\":\"$i\"},"; done
control put "[${names%,}]"
control bucket '{"bucket":"many","page":50}'
KEEP=1 case_is 'pages of a listing' 0 '241 objects' 246 0 'out/m/100=many/m/100 out/m/340=many/m/340' -r gs://many/m/ out
control bucket '{"bucket":"many","page":50,"empty_pages":true}'
case_is 'pages without items' 0 '241 there already' 10 0 '' -r gs://many/m/ out
control bucket '{"bucket":"many","page":50,"circle":true}'
case_is 'a listing that goes in a circle' 1 'goes in a circle' 3-9 0 '' -r gs://many/m/ --dry-run out
control bucket '{"bucket":"many"}'
script '{"path":"/o[?]","do":"status","status":503}'
case_is 'a listing after a 503' 0 '' 2 0 '' -r gs://many/m/ --dry-run out
script '{"path":"/o[?]","do":"status","status":200,"body":"{\"items\":[{"}'
case_is 'a listing that is cut' 1 'gs://many/m/: the server.s answer is not JSON' 1 0 '' -r gs://many/m/ out
script '{"path":"/o[?]","do":"status","status":200,"body":"{\"items\":[{\"name\":\"other\",\"size\":\"1\"}]}"}'
case_is 'a listing of other names' 1 'which is not below m/' 1 0 '!' -r gs://many/m/ out
script '{"path":"/o[?]","do":"status","status":403,"message":"robot@test.iam.gserviceaccount.com does not have storage.objects.list access"}'
case_is 'a listing that is forbidden' 1 'role Storage Object Viewer is missing.*add-iam-policy-binding gs://many --member=serviceAccount:robot@test' 1 0 '!' -r gs://many/m/ out

# ---- credentials -------------------------------------------------------------------------------

openssl genrsa -out rsa.pem 2048 2>/dev/null
openssl rsa -in rsa.pem -pubout -out rsa.pub 2>/dev/null
openssl genrsa -out other.pem 2048 2>/dev/null
key() { printf '{"type":"service_account","client_email":"robot@test.iam.gserviceaccount.com","private_key_id":"test-key","private_key":"%s","token_uri":"http://%s/token"}' "$(awk '{ printf "%s\\n", $0 }' "$1")" "$host"; }
key rsa.pem >key.json
key other.pem >wrong.json
printf '{"type":"authorized_user","client_id":"id&x","client_secret":"secret=1","refresh_token":"refresh/2","quota_project_id":"quota-1","token_uri":"http://%s/token"}' "$host" >user.json
control auth "{\"public_key\":\"$work/rsa.pub\"}"

case_is 'a service account: RS256' 0 '1 objects' 3 0 '!out=pays/x' --key key.json -u payer gs://pays/x out
case_is 'a key that does not fit' 1 'the key wrong.json: no token: status 400: invalid_grant: the signature is wrong' 1 0 '!' --key wrong.json gs://bkt/a.txt out
case_is 'an authorised user' 0 '1 objects' 3 0 '!out=pays/x' --key user.json -u payer gs://pays/x out
case_is 'requester pays, no project: the command to run' 1 \
    "told a project to bill; run: ttt-fetch --project=quota-1 --retry-delay 0.02 --key user.json -r 'gs://pays/\*' out" 2 0 '!' --key user.json -r 'gs://pays/*' out
export TTT_BILLING_PROJECT=payer
case_is 'TTT_BILLING_PROJECT' 0 '1 objects' 3 0 '!out=pays/x' --key key.json gs://pays/x out
unset TTT_BILLING_PROJECT
export GCS_REQUESTER_PAYS_PROJECT=payer
case_is 'GCS_REQUESTER_PAYS_PROJECT' 0 '1 objects' 3 0 '!out=pays/x' --key key.json gs://pays/x out
unset GCS_REQUESTER_PAYS_PROJECT
GOOGLE_CLOUD_PROJECT=payer case_is 'GOOGLE_CLOUD_PROJECT is not taken' 1 'told a project to bill' 2 0 '!' --key key.json gs://pays/x out
case_is 'a project that may not be billed' 1 'role Service Usage Consumer is missing; run: gcloud projects add-iam-policy-binding forbidden-project --member=serviceAccount:robot@test.iam.gserviceaccount.com --role=roles/serviceusage' 2-3 0 '!' \
    --key key.json -u forbidden-project gs://bkt/a.txt gs://bkt/b.txt out
case_is 'a token command' 0 '1 objects' 2 0 '!out=secret/s' --token-command 'echo fixed-token' gs://secret/s out
case_is 'a token command that fails' 1 "the token command 'false' failed" 0 0 '!' --token-command false gs://bkt/a.txt out
case_is 'a token command that prints two words' 1 'did not print a token' 0 0 '!' --token-command 'echo a b' gs://bkt/a.txt out
case_is 'a token that is refused' 1 'credentials of the token command were refused: Invalid Credentials; run: gcloud auth' 2 0 '!' --token-command 'echo bad' gs://bkt/a.txt out
control auth '{"refused":1}'
case_is 'a 401 is answered with a new token' 0 '1 objects' 5 0 '!out=bkt/a.txt' --key key.json gs://bkt/a.txt out
control auth '{"lifetime":2}'
script '{"path":"alt=media","do":"slow","rate":8000000,"times":-1}'
case_is 'tokens are renewed before they expire' 0 '1 objects, 20.0 MB' 6-9 0 '!out=bkt/big' -j 1 --key key.json gs://bkt/big out
control auth '{"lifetime":3600}'
echo '{"type":"external_account"}' >external.json
echo 'not json' >broken.json
case_is 'a key of another type' 1 'external.json: credentials of type "external_account"' 0 0 '!' --key external.json gs://bkt/a.txt out
case_is 'a key that is no JSON' 1 'broken.json: not JSON: line 1' 0 0 '!' --key broken.json gs://bkt/a.txt out
case_is 'a key that is not there' 1 'none.json: No such file' 0 0 '!' --key none.json gs://bkt/a.txt out
sed 's/BEGIN/BEGINN/' key.json >pem.json
case_is 'a key without a key' 1 'pem.json: its "private_key" is not an RSA key' 0 0 '!' --key pem.json gs://bkt/a.txt out
case_is '--anonymous and --key' 2 'leave out --key' 0 0 '!' --anonymous --key key.json gs://bkt/a.txt out
script '{"path":"/b/bkt/o/a.txt.*alt=media","do":"redirect","to":"http://localhost:'"${host#*:}"'/web/r"}'
control put '{"bucket":"web","name":"r","text":"first"}'
case_is 'a redirect is followed' 0 '1 objects' 4 0 '!out=bkt/a.txt' --key key.json gs://bkt/a.txt out
script '{"path":"/b/bkt/o/a.txt.*alt=media","do":"redirect","to":"http://localhost:'"${host#*:}"'/web/r"}'
control forget ''
fetch -q --key key.json gs://bkt/a.txt out
if curl -sf "http://$host/control/log" | grep -q '"path": "/web/r".*"authorization": "", "acc.*localhost'; then
    ok 'but the token does not go to another host'
else bad 'but the token does not go to another host' "$(curl -sf "http://$host/control/log")"; fi
control reset ''
rm -f out
unset STORAGE_EMULATOR_HOST
endpoint=(--endpoint "http://$host/")
export GCE_METADATA_HOST=127.0.0.1:1
case_is 'no metadata server' 1 "this machine's service account: no token: .*onnect" 0 0 '!' gs://bkt/a.txt out
export GCE_METADATA_HOST=$host
case_is 'the metadata server' 0 '1 objects' 3 0 '!out=secret/s' gs://secret/s out
export GOOGLE_APPLICATION_CREDENTIALS=$work/user.json
case_is 'GOOGLE_APPLICATION_CREDENTIALS comes first' 0 '1 objects' 3 0 '!out=secret/s' gs://secret/s out
unset GOOGLE_APPLICATION_CREDENTIALS
mkdir -p home/.config/gcloud
cp user.json home/.config/gcloud/application_default_credentials.json
case_is "gcloud's default credentials" 0 '1 objects' 3 0 '!out=secret/s' gs://secret/s out
GCS_OAUTH_TOKEN=fixed-token case_is 'GCS_OAUTH_TOKEN comes before files' 0 '1 objects' 2 0 '!out=secret/s' gs://secret/s out
rm -r home/.config
case_is 'credentials never go over http elsewhere' 1 'credentials are sent over https:// only' 0 0 '!' --endpoint http://192.0.2.1 gs://bkt/a.txt out
unset GCE_METADATA_HOST
export STORAGE_EMULATOR_HOST=$host
endpoint=()

# ---- gzip --------------------------------------------------------------------------------------

control put '[{"bucket":"zip","name":"z","text":"plain text\n","gzip":true},{"bucket":"zip","name":"plain","text":"plain text\n"}]'
KEEP=1 case_is 'gzip is kept as it is stored' 0 '1 objects' 2 0 '!out=zip/z' gs://zip/z out
case_is 'and is there then' 0 '1 there' 1 0 '!out=zip/z' gs://zip/z out
KEEP=1 case_is '--decompress' 0 '1 objects' 2 0 '!out=zip/plain' --decompress gs://zip/z out
case_is 'and is there then, unpacked' 0 '1 there' 1 0 '!out=zip/plain' --decompress gs://zip/z out
case_is '--decompress to a pipe' 0 '' 2 0 'stdout=zip/plain' --decompress gs://zip/z -

# ---- web servers -------------------------------------------------------------------------------

web=http://$host/web
control put '[{"bucket":"web","name":"file.bin","size":12000000,"seed":8},{"bucket":"web","name":"none","text":""}]'
case_is 'a web server with ranges' 0 '1 objects' 4 any '!out/file.bin=web/file.bin' -j 3 "$web/file.bin?x=1" out/
case_is 'an empty file of a web server' 0 '1 objects' 1 0 '!out=web/none' "$web/none" out
control auth '{"web":{"no_ranges":1}}'
case_is 'a web server without ranges' 0 '1 objects' 2 any '!out=web/file.bin' "$web/file.bin" out
control auth '{"web":{"no_ranges":1}}'
script '{"path":"web","do":"reset","after":1000000,"skip":1}'
case_is 'and a reset' 0 '1 retries' 3 any '!out=web/file.bin' "$web/file.bin" out
control auth '{"web":{"no_ranges":1,"chunked":1}}'
case_is 'a web server that tells no size' 0 '1 objects' 2 any '!out=web/file.bin' "$web/file.bin" out
control auth '{"web":{"no_ranges":1,"chunked":1}}'
case_is 'and to a pipe' 0 '' 2 any 'stdout=web/file.bin' "$web/file.bin" -
script '{"path":"web","do":"status","status":412,"skip":1}'
case_is 'a web file that is replaced meanwhile' 0 'was replaced meanwhile' any any '!out=web/file.bin' -j 2 "$web/file.bin" out
case_is 'no such page' 1 'web/nothing: not there \(status 404\)' 1 0 '!' "$web/nothing" out
control put '{"bucket":"web","name":"lies","text":"abc"}'
script '{"path":"web/lies","do":"corrupt","at":1,"times":9,"skip":1}'
case_is 'a web file of a wrong checksum' 1 'was read, 3 times' 4 any '!' "$web/lies" out

# ---- stopped and taken up again ----------------------------------------------------------------

# start_fetch ARG...: in the background, its process in $job.
start_fetch() { "$bin/ttt-fetch" --retry-delay 0.02 "$@" 2>stderr & job=$!; }
control put '{"bucket":"large","name":"two","size":200000000,"seed":21}'

script '{"path":"alt=media","do":"slow","rate":3000000,"times":-1}'
start_fetch -j 4 gs://bkt/big out
sleep 0.8
kill -INT $job
wait $job
status=$?
if [[ $status -eq 130 && -e out.ttt-part && ! -e out ]] && grep -q 'interrupted; run the same command again' stderr; then
    ok 'Ctrl-C tells how to go on'
else bad 'Ctrl-C tells how to go on' "status $status: $(<stderr)"; fi
control reset ''
KEEP=1 case_is 'and so it does' 0 '1 objects' 2-6 0 '!out=bkt/big' -j 4 gs://bkt/big out
rm -f out*

# A journal of five ranges, of which some are finished; $1 spoils it.
half()
{
    rm -f out*
    script '{"path":"alt=media","range":"16777216-20000000","do":"stall","hold":1,"times":-1}'
    start_fetch -j 2 gs://bkt/big out
    for _ in {1..100}; do [[ $(grep -c range out.ttt-journal 2>/dev/null) -ge 3 ]] && break; sleep 0.05; done
    kill -9 $job
    wait $job 2>/dev/null
    control reset ''
}
half
KEEP=1 case_is 'a copy that was killed goes on' 0 'going on with' 2-3 0 '!out=bkt/big' -j 2 gs://bkt/big out
half
printf '7' | dd of=out.ttt-journal bs=1 seek=3 conv=notrunc status=none
case_is 'a damaged first line: from the start' 0 'first line is damaged; starting' 6 0 '!out=bkt/big' gs://bkt/big out
half
printf 'deadbe' >>out.ttt-journal
case_is 'half a line at the end of the journal' 0 'going on with' 2-3 0 '!out=bkt/big' gs://bkt/big out
half
truncate -s 100 out.ttt-part
case_is 'a part that was cut' 0 'is not the file that its journal tells of' 6 0 '!out=bkt/big' gs://bkt/big out
half
printf X | dd of=out.ttt-part bs=1 seek=1000000 conv=notrunc status=none
case_is 'a part that was damaged, with --verify' 0 '1 finished ranges are damaged on disk' 3-4 0 '!out=bkt/big' --verify gs://bkt/big out
half
control put '{"bucket":"bkt","name":"big","size":20000001,"seed":6}'
case_is 'a part of an object that was replaced' 0 'was replaced since this copy began' 6 0 '!out=bkt/big' gs://bkt/big out
half
script '{"path":"alt=media","do":"replace","seed":7}'
case_is 'an object that is replaced meanwhile' 0 'was replaced meanwhile .version 2, now 3.; starting it again' any any '!out=bkt/big' -j 2 gs://bkt/big out
script '{"path":"alt=media","do":"slow","rate":10000000,"times":-1}'
start_fetch -j 2 gs://bkt/big out
sleep 0.5
"$bin/ttt-fetch" gs://bkt/big out 2>second
if grep -q 'another ttt-fetch is writing it' second; then ok 'two at one file'; else bad 'two at one file' "$(<second)"; fi
kill -9 $job
wait $job 2>/dev/null
control reset ''
rm -f out*

# kill -9 at 30 random moments: four copies of 200 MB, each killed again and again until it is done.
# Two ranges of 8 MiB for each of four connections may be fetched twice by each kill.
RANDOM=7
kills=0 copies=0 worst=0 trouble=
bound=$((2 * 4 * 8 << 20))
while [[ $kills -lt 30 ]]; do
    rm -f out*
    control forget ''
    script '{"path":"alt=media","do":"slow","rate":60000000,"times":-1}'
    before=0
    for _ in {1..12}; do
        start_fetch -j 4 gs://large/two out
        sleep "$(awk "BEGIN { print 0.03 + $RANDOM / 32768 * 0.5 }")"
        kill -9 $job 2>/dev/null && kills=$((kills + 1))
        wait $job 2>/dev/null
        read -r -a n <<<"$(count alt=media)"
        again=$((n[3] - before)) before=${n[3]}
        [[ $again -gt $worst ]] && worst=$again
        [[ -e out ]] && break
    done
    fetch -q -j 4 gs://large/two out || trouble+=" status $?"
    good out large/two || trouble+=' wrong bytes'
    copies=$((copies + 1))
done
rm -f out*
control reset ''
[[ $worst -lt $bound ]] || trouble+=" $worst bytes twice, more than $bound"
if [[ ! $trouble ]]; then ok "kill -9 at $kills moments of $copies copies: at most $worst bytes twice by one of them"; else bad 'kill -9' "$trouble"; fi

# ---- TLS ---------------------------------------------------------------------------------------

mkdir tls
openssl req -x509 -newkey rsa:2048 -nodes -keyout tls.key -out tls.crt -days 2 -subj /CN=127.0.0.1 \
    -addext subjectAltName=IP:127.0.0.1 2>/dev/null
$python "$here/tests/faults/server.py" tls --tls tls.crt tls.key >tls.log 2>&1 &
tls=$!
for _ in {1..100}; do [[ -e tls/port ]] && break; sleep 0.1; done
secure=https://127.0.0.1:$(<tls/port)
curl -sf --cacert tls.crt --data-binary '{"bucket":"bkt","name":"big","size":20000001,"seed":7}' "$secure/control/put" >/dev/null
if fetch --anonymous --retries 1 --endpoint "$secure" gs://bkt/big out 2>stderr || ! grep -qi 'certificate' stderr; then
    bad 'a certificate that nobody vouches for' "$(<stderr)"
else ok 'a certificate that nobody vouches for'; fi
if CURL_CA_BUNDLE=tls.crt fetch -q -j 4 --endpoint "$secure" --token-command 'echo fixed-token' gs://bkt/big out && good out bkt/big; then
    ok 'ranges over TLS, the certificate by CURL_CA_BUNDLE'
else bad 'ranges over TLS, the certificate by CURL_CA_BUNDLE'; fi
kill $tls
rm -f out*

# ---- the rest ----------------------------------------------------------------------------------

began=${EPOCHREALTIME/./}
case_is '--limit-rate' 0 '1 objects' any 0 '!out=bkt/big' -j 4 --limit-rate 10M gs://bkt/big out
took=$((${EPOCHREALTIME/./} - began))
if [[ $took -gt 1700000 ]]; then ok 'and the rate is held'; else bad 'and the rate is held' "$took us"; fi
if grep -q __asan "$bin/ttt-fetch"; then
    skipped=$((skipped + 1))
    echo 'skip memory  the sanitizer keeps what is freed'
else
    for to in out /dev/null; do
        most=$($python -c "
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)" "$bin/ttt-fetch" -q -j 128 gs://large/two $to)
        if [[ $most -lt 65536 ]]; then ok "128 connections to $to: $most KiB of memory"; else bad "memory to $to" "$most KiB"; fi
    done
    rm -f out*
fi
printf '{"text":"in the beginning"}\n{"text":"was the word"}\n' >two.jsonl
model=$here/tests/golden/tokenizer/small-1024.model
"$bin/ttt-tokenize" -q --tokenizer "$model" -o two.tok two.jsonl
control put "[{\"bucket\":\"pipe\",\"name\":\"t\",\"file\":\"$work/two.tok\",\"no_crc\":true},{\"bucket\":\"pipe\",\"name\":\"j\",\"file\":\"$work/two.jsonl\",\"no_crc\":true}]"
if fetch -q gs://pipe/t - | "$bin/ttt-verify" - | grep -q ok; then ok 'ttt-fetch ... - | ttt-verify -'; else bad 'ttt-fetch ... - | ttt-verify -'; fi
if fetch -q gs://pipe/j - | "$bin/ttt-tokenize" -q --tokenizer "$model" - | cmp -s - two.tok; then
    ok 'ttt-fetch ... - | ttt-tokenize -'
else bad 'ttt-fetch ... - | ttt-tokenize -'; fi

printf '%d passed, %d failed' $passed $failed
[[ $skipped -gt 0 ]] && printf ', %d skipped' $skipped
echo
[[ $failed -eq 0 ]]
