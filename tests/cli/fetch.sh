#!/bin/bash
# fetch.sh BIN -- ttt-fetch against a scripted server: names, faults, refusals, listings, pipes.
# shellcheck source=tests/faults/harness.bash
source "$(dirname "$0")/../faults/harness.bash"

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
case_is 'a bucket with -r' 0 '7 objects' 11 0 "out/bkt/dir/one.bin=$d/one.bin out/bkt/big=bkt/big" -r gs://bkt out
case_is "gs://bkt/* with -r" 0 '7 objects' 12 0 \
    "!out/dir/one.bin=$d/one.bin out/dir/two.bin=$d/two.bin out/dir/deep/three.txt=$d/deep/three.txt out/dir/zero=$d/zero out/a.txt=bkt/a.txt out/b.txt=bkt/b.txt out/big=bkt/big" \
    -r 'gs://bkt/*' out
case_is 'a pattern without -r leaves folders out' 0 'gs://bkt/dir/: a folder, left out; -r' 8 0 \
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
printf 'gs://bkt/a.txt\nftp://x/y\ngs://bkt/b\0.txt\ngs://bkt/b*.txt' >names
INPUT=names case_is '-I with bad names: the good ones are copied' 1 'line 2 of standard input: .*expected gs://' 4 0 '!out/a.txt=bkt/a.txt out/b.txt=bkt/b.txt' -I out
if grep -q 'line 3 of standard input: has a byte of zero' stderr; then ok 'and each is told of'; else bad 'and each is told of' "$(<stderr)"; fi
case_is '-I without names' 2 'no names on standard input' 0 0 '!' -I out
case_is '--include' 0 '1 objects' 2 0 '!out/dir/one.bin=bkt/dir/one.bin' -r --include 'one*' gs://bkt/dir/ out
case_is '--exclude by path' 0 '3 objects' 3 0 '!out/dir/one.bin=bkt/dir/one.bin out/dir/two.bin=bkt/dir/two.bin out/dir/zero=bkt/dir/zero' -r --exclude 'dir/deep/*' gs://bkt/dir/ out
case_is 'a large object in ranges' 0 '1 objects' 6 0 '!out=bkt/big' -j 4 gs://bkt/big out
script '{"path":"alt=media","do":"slow","rate":20000000,"times":-1}'
MOST=3 case_is 'connections by default are as the size has it' 0 '1 objects' 6 0 '!out=bkt/big' gs://bkt/big out
script '{"path":"alt=media","do":"slow","rate":20000000,"times":-1}'
MOST=5 case_is '-j' 0 '1 objects' 6 0 '!out=bkt/big' -j 5 gs://bkt/big out
case_is 'an empty object' 0 '1 objects' 1 0 '!out=bkt/dir/zero' gs://bkt/dir/zero out
case_is 'a bad bucket name' 1 "is not the name of a bucket" 0 0 '!' gs://No/x out
truncate -s 30000000 zeros
control put "{\"bucket\":\"bkt0\",\"name\":\"zeros\",\"file\":\"$work/zeros\",\"no_crc\":true}"
case_is 'nothing but zeros' 0 '1 objects' 9 0 '!out=bkt0/zeros' -j 4 gs://bkt0/zeros out
case_is 'no such scheme' 2 'expected gs://' 0 0 '!' ftp://x/y out
case_is 'http:// elsewhere' 2 'http:// is for this machine only' 0 0 '!' http://example.com/y out
case_is 'a misspelt flag' 2 'did you mean --recursive' 0 0 '!' --recursiv gs://bkt/dir out
for wrong in connections=129 retries=1001 timeout=0 retry-delay=3601 range=5 range=0:0 limit-rate=1X; do
    case_is "--$wrong" 2 "--${wrong%%=*}=${wrong#*=}: expected" 0 0 '!' "--$wrong" gs://bkt/a.txt out
done
case_is '--no-clobber and --force' 2 'contradict each other' 0 0 '!' --no-clobber --force gs://bkt/a.txt out
case_is '--range of a folder' 2 'range is for one object' 0 0 '!' --range 0:1 -r gs://bkt/dir out
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
KEEP=1 case_is 'odd names: the good ones are copied' 1 '6 objects' 7 0 '' -r 'gs://odd/' out
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
case_is 'two objects of one name' 1 'b/one.bin|one.bin: not copied: another object' 3 0 '!out/one.bin=bkt/dir/one.bin' \
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
case_is '--manifest' 1 'nowhere: not there' 5 0 '!out/a.txt=bkt/a.txt out/b.txt=bkt/b.txt' --manifest m.jsonl gs://bkt/a.txt gs://bkt/nowhere gs://bkt/b.txt out
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

case_is 'to a pipe' 0 '20.0 MB in' 6 0 'stdout=bkt/big' -j 3 gs://bkt/big -
case_is 'an empty object to a pipe' 0 '0B in' 1 0 'stdout=bkt/dir/zero' gs://bkt/dir/zero -
case_is 'a pattern to a pipe' 0 '5B in' 2 0 'stdout=bkt/a.txt' --include 'a*' 'gs://bkt/*.txt' -
case_is '--dry-run of a pipe' 0 '' 1 0 '' --dry-run gs://bkt/a.txt -
if grep -qxF "gs://bkt/a.txt	5	standard output" stdout; then ok 'tells, and sends nothing'; else bad 'tells, and sends nothing' "$(<stdout)"; fi
case_is '--manifest of a pipe' 2 'manifest is for files' 0 0 '' --manifest m gs://bkt/a.txt -
case_is '--manifest of a list' 2 'list copies nothing' 0 0 '' --manifest m --list gs://bkt
case_is 'two objects to a pipe' 1 'more than one object for a pipe' 2 0 '' gs://bkt/a.txt gs://bkt/b.txt -
case_is '--range to a pipe' 0 '300 kB in' 2 0 '' --range 7000000:300001 gs://bkt/big -
curl -sfG "http://$host/control/bytes?bucket=bkt&name=big" | tail -c +7000001 | head -c 300001 >part
if cmp -s part stdout; then ok '--range has the bytes'; else bad '--range has the bytes'; fi
KEEP=1 case_is '--range to a file' 0 '1 objects' 2 0 '' --range 7000000:300001 gs://bkt/big out
if cmp -s part out; then ok '--range to a file has the bytes'; else bad '--range to a file has the bytes'; fi
KEEP=1 case_is 'and is there then' 0 '1 there already' 1 0 '' --range 7000000:300001 gs://bkt/big out
KEEP=1 case_is 'another range is not' 0 '1 objects' 2 0 '' --range 7000001:300001 gs://bkt/big out
KEEP=1 case_is 'nor is the whole' 0 '1 objects' 6 0 '!out=bkt/big' -j 4 gs://bkt/big out
rm -f out
case_is '--range behind the end' 1 'ends behind its 20000001 bytes' 1 0 '!' --range 20000000:2 gs://bkt/big out
script '{"path":"alt=media","do":"reset","after":200000,"times":3}'
case_is 'a pipe goes on after resets' 0 '20.0 MB in .*3 retries' 9 0-600000 'stdout=bkt/big' -j 2 gs://bkt/big -
script '{"path":"alt=media","do":"corrupt"}'
case_is 'a pipe tells of a wrong checksum' 1 'do not use what was written' 2 0 '' gs://bkt/dir/one.bin -
mkfifo fifo
good fifo bkt/dir/one.bin &
reader=$!
case_is 'a named pipe stays one' 0 '100 kB in' 2 0 '' gs://bkt/dir/one.bin fifo
if wait $reader && [[ -p fifo ]]; then ok 'a named pipe gets the bytes'; else bad 'a named pipe gets the bytes'; fi
fetch -q gs://bkt/big - 2>err | head -c 10 >/dev/null
if grep -q 'standard output: Broken pipe' err; then ok 'a closed pipe'; else bad 'a closed pipe' "$(<err)"; fi

names=
for i in {100..340}; do names+="{\"bucket\":\"many\",\"name\":\"m/$i\",\"text\":\"$i\"},"; done
control put "[${names%,}]"

# ---- passing faults ----------------------------------------------------------------------------

for status in 408 429 500 502 503 504; do
    script '{"path":"alt=media","do":"status","status":'$status',"times":2}'
    case_is "status $status passes" 0 '2 retries' 4 0 '!out=bkt/a.txt' gs://bkt/a.txt out
done
script '{"path":"alt=media","do":"status","status":403,"reason":"rateLimitExceeded"}'
case_is "a rate limit's 403 passes" 0 '1 retries' 3 0 '!out=bkt/a.txt' gs://bkt/a.txt out
script '{"path":"alt=media","do":"status","status":503,"times":10}'
control forget ''
fetch -q -j 10 --retry-delay 1 'gs://many/m/10*' out
# The second requests, as seconds behind the first of them.
spread=$(curl -sf "http://$host/control/log" | $python -c '
import json, sys
at = sorted(note["time"] for note in json.load(sys.stdin) if note["status"] == 200 and "alt=media" in note["path"])
print(len(at), at[-1] - at[0] > 0.1 and at[-1] - at[0] < 1.5)')
if [[ $spread == '10 True' ]]; then ok 'what failed together does not come back together'; else bad 'what failed together does not come back together' "$spread"; fi
control reset ''
rm -rf out
for after in 1 '"date"'; do
    script '{"path":"alt=media","do":"status","status":429,"retry_after":'"$after"'}'
    began=${EPOCHREALTIME/./}
    case_is "Retry-After: $after" 0 '1 retries' 3 0 '!out=bkt/a.txt' gs://bkt/a.txt out
    if [[ $((${EPOCHREALTIME/./} - began)) -ge 900000 ]]; then ok 'and it was waited for'; else bad 'and it was waited for'; fi
done
script '{"path":"alt=media","do":"reset","after":0}'
case_is 'a reset before the first byte' 0 '1 retries' 3 0 '!out=bkt/a.txt' gs://bkt/a.txt out
script '{"path":"alt=media","do":"reset","at":14000000,"times":-1}'
KEEP=1 case_is 'resets at the same byte for ever' 1 'gs://bkt/big: .*\(4 times in a row\)' 8-100 any '' -j 1 --retries 3 gs://bkt/big out
if [[ ! -e out && -e out.ttt-part ]]; then ok 'and what came is kept'; else bad 'and what came is kept' "$(ls out*)"; fi
case_is 'and gone on with' 0 'going on with 12.6 MB of 20.0 MB' 3 0 '!out=bkt/big' -j 1 gs://bkt/big out
script '{"path":"alt=media","do":"garbage"}'
case_is 'garbage instead of HTTP' 0 '1 retries' 3 0 '!out=bkt/a.txt' gs://bkt/a.txt out
script '{"path":"alt=media","do":"reset","after":3000000}'
case_is 'a reset within a range' 0 '1 retries' 7 0-3000000 '!out=bkt/big' -j 4 gs://bkt/big out
script '{"path":"alt=media","do":"short","by":1}'
case_is 'a short body: only the last byte again' 0 '1 retries' 3 0 '!out=bkt/dir/one.bin' gs://bkt/dir/one.bin out
script '{"path":"alt=media","do":"short","by":500,"times":3}'
case_is 'short bodies of ranges' 0 '3 retries' 9 0 '!out=bkt/big' -j 4 gs://bkt/big out
# stalled NAME ARG...: 100000 bytes, of which 50000 do not come; noticed long before the server moves.
stalled()
{
    local name=$1 began=${EPOCHREALTIME/./}
    shift
    script '{"path":"alt=media","do":"stall","after":50000,"hold":20}'
    case_is "$name" 0 '1 retries' 3 0-50000 '!out=bkt/dir/one.bin' "$@" gs://bkt/dir/one.bin out
    if [[ $((${EPOCHREALTIME/./} - began)) -lt 5000000 ]]; then ok 'and it was noticed in time'; else bad 'and it was noticed in time'; fi
}
stalled 'a stall' --timeout 0.5
stalled 'a stall beside a small --limit-rate' --timeout 0.5 --limit-rate 64k -j 4
script '{"path":"alt=media","range":"8388608-12582911","do":"wrong_range"}'
case_is 'a wrong Content-Range' 0 '1 retries' 7 0-4194304 '!out=bkt/big' -j 4 gs://bkt/big out
script '{"path":"alt=media","range":"8388608-12582911","do":"whole"}'
case_is '200 for a range' 0 '1 retries' 7 any '!out=bkt/big' -j 4 gs://bkt/big out
script '{"path":"alt=media","do":"corrupt"}'
case_is 'a corrupted byte' 0 'reading it again until it is right' 3 100000 '!out=bkt/dir/one.bin' gs://bkt/dir/one.bin out
script '{"path":"alt=media","range":"8388608-12582911","do":"corrupt"}'
case_is 'a corrupted range: no more again than needed' 0 'reading it again' 9 12582912 '!out=bkt/big' -j 1 gs://bkt/big out
script '{"path":"alt=media","do":"corrupt","times":9}'
case_is 'corrupted for good' 1 'what was read is thrown away' 4 200000 '!' gs://bkt/dir/one.bin out
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
case_is '412 is a replacement' 1 'is replaced again and again' 8 0 '!' gs://bkt/a.txt out
script '{"path":"/o/a","do":"status","status":400,"message":"odd request"}'
case_is 'another 400' 1 'gs://bkt/a.txt: .*status 400: odd request' 1 0 '!' gs://bkt/a.txt out
control put '{"bucket":"huge","name":"y","text":"x"}'
script '{"path":"/o/y","do":"status","status":200,"body":"{\"name\":\"y\",\"size\":\"900000000000000\",\"generation\":\"1\"}"}'
case_is 'no room' 1 'out: 900 TB are needed, .* are free .*make room' 1 0 '!' gs://huge/y out
limited() { (ulimit -f 300 && fetch "$@"); }
FETCH=limited case_is 'a full disk' 1 'out.ttt-part: File too large' 1 0 '' gs://bkt/big out
script '{"path":"/o/y","do":"status","status":200,"body":"{\"name\":\"y\",\"size\":\"-5\"}"}'
case_is 'metadata that lie' 1 "gs://huge/y: the server tells of an object with a size of '-5'" 1 0 '!' gs://huge/y out

# ---- listings ----------------------------------------------------------------------------------

control bucket '{"bucket":"many","page":50}'
KEEP=1 case_is 'pages of a listing' 0 '241 objects' 246 0 'out/m/100=many/m/100 out/m/340=many/m/340' -r gs://many/m/ out
control bucket '{"bucket":"many","page":50,"empty_pages":true}'
case_is 'pages without items' 0 '241 there already' 10 0 '' -r gs://many/m/ out
control bucket '{"bucket":"many","page":50,"circle":true}'
case_is 'a listing that goes in a circle' 1 'goes in a circle' 7 0 '' -r gs://many/m/ --dry-run out
control bucket '{"bucket":"many"}'
script '{"path":"/o[?]","do":"status","status":503}'
case_is 'a listing after a 503' 0 '' 2 0 '' -r gs://many/m/ --dry-run out
script '{"path":"/o[?]","do":"status","status":200,"body":"{\"items\":[{"}'
case_is 'a listing that is cut' 1 'gs://many/m/: the server.s answer is not JSON' 1 0 '' -r gs://many/m/ out
script '{"path":"/o[?]","do":"status","status":200,"body":"{\"items\":[{\"name\":\"other\",\"size\":\"1\"}]}"}'
case_is 'a listing of other names' 1 'which is not below m/' 1 0 '!' -r gs://many/m/ out
script '{"path":"/o[?]","do":"status","status":403,"message":"robot@test.iam.gserviceaccount.com does not have storage.objects.list access"}'
case_is 'a listing that is forbidden' 1 'role Storage Object Viewer is missing.*add-iam-policy-binding gs://many --member=serviceAccount:robot@test' 1 0 '!' -r gs://many/m/ out

# ---- gzip --------------------------------------------------------------------------------------

control put '[{"bucket":"zip","name":"z","text":"plain text\n","gzip":true},{"bucket":"zip","name":"plain","text":"plain text\n"}]'
KEEP=1 case_is 'gzip is kept as it is stored' 0 '1 objects' 2 0 '!out=zip/z' gs://zip/z out
case_is 'and is there then' 0 '1 there' 1 0 '!out=zip/z' gs://zip/z out
KEEP=1 case_is '--decompress' 0 '1 objects' 2 0 '!out=zip/plain' --decompress gs://zip/z out
case_is 'what is unpacked is not what is stored' 0 '1 objects' 2 0 '!out=zip/z' gs://zip/z out
KEEP=1 case_is 'stored' 0 '1 objects' 2 0 '!out=zip/z' gs://zip/z out
KEEP=1 case_is 'nor is what is stored unpacked' 0 '1 objects' 2 0 '!out=zip/plain' --decompress gs://zip/z out
case_is 'and is there then, unpacked' 0 '1 there' 1 0 '!out=zip/plain' --decompress gs://zip/z out
case_is '--decompress to a pipe' 0 'B in' 2 0 'stdout=zip/plain' --decompress gs://zip/z -

# ---- web servers -------------------------------------------------------------------------------

web=http://$host/web
control put '[{"bucket":"web","name":"file.bin","size":12000000,"seed":8},{"bucket":"web","name":"none","text":""}]'
case_is 'a web server with ranges' 0 '1 objects' 4 1 '!out/file.bin=web/file.bin' -j 3 "$web/file.bin?x=1" out/
case_is 'an empty file of a web server' 0 '1 objects' 1 0 '!out=web/none' "$web/none" out
control auth '{"web":{"no_ranges":1}}'
case_is 'a web server without ranges' 0 '1 objects' 2 any '!out=web/file.bin' "$web/file.bin" out
control auth '{"web":{"no_ranges":1}}'
script '{"path":"web","do":"reset","after":1000000,"skip":1}'
case_is 'and a reset' 0 '1 retries' 3 any '!out=web/file.bin' "$web/file.bin" out
control auth '{"web":{"no_ranges":1}}'
script '{"path":"web","do":"short","by":11000000,"skip":1,"times":-1}'
case_is 'and a body cut at the same place for ever' 1 '4 times in a row' 5 any '!' --retries 3 "$web/file.bin" out
control auth '{"web":{"no_ranges":1,"chunked":1}}'
case_is 'a web server that tells no size' 0 '1 objects' 2 any '!out=web/file.bin' "$web/file.bin" out
control auth '{"web":{"no_ranges":1,"chunked":1}}'
case_is 'and to a pipe' 0 '' 2 any 'stdout=web/file.bin' "$web/file.bin" -
script '{"path":"web","do":"status","status":412,"skip":1}'
case_is 'a web file that is replaced meanwhile' 0 'was replaced meanwhile' 6-7 any '!out=web/file.bin' -j 2 "$web/file.bin" out
case_is 'no such page' 1 'web/nothing: not there \(status 404\)' 1 0 '!' "$web/nothing" out
control put '{"bucket":"web","name":"lies","text":"abc"}'
script '{"path":"web/lies","do":"corrupt","at":1,"times":9,"skip":1}'
case_is 'a web file of a wrong checksum' 1 'was read, 3 times' 4 7 '!' "$web/lies" out

# ---- the rest ----------------------------------------------------------------------------------

began=${EPOCHREALTIME/./}
case_is '--limit-rate' 0 '1 objects' 6 0 '!out=bkt/big' -j 4 --limit-rate 10M gs://bkt/big out
took=$((${EPOCHREALTIME/./} - began))
if [[ $took -gt 1700000 && $took -lt 3300000 ]]; then ok 'and the rate is held'; else bad 'and the rate is held' "$took us"; fi
if grep -q left stderr; then bad 'a log hears of progress once a minute' "$(<stderr)"; else ok 'a log hears of progress once a minute'; fi
control put '[{"bucket":"slow","name":"1","size":300000,"seed":41},{"bucket":"slow","name":"2","size":300000,"seed":42}]'
# A connection waits for its turn much longer than --timeout: that is no stall.
case_is 'a small --limit-rate is not taken for a stall' 0 '2 objects.* 0 failed$' 3 0 '!out/1=slow/1 out/2=slow/2' --limit-rate 300k --timeout 0.2 'gs://slow/*' out
script '{"path":"alt=media","do":"slow","rate":3000000,"times":-1}'
case_is '-v --progress-every' 0 'gs://bkt/big: 20.0 MB to out' 6 0 '!out=bkt/big' -v --progress-every 0.2 -j 5 gs://bkt/big out
lines=$(grep -cxE 'ttt-fetch: fetched [0-9.]+ [kM] of 20\.0 MB \([0-9]+%\), [0-9.]+ [kM]B/s, [0-9]+ s left' stderr)
if [[ $lines -ge 3 ]]; then ok 'a line of progress each time'; else bad 'a line of progress each time' "$(<stderr)"; fi
if grep -oxE 'ttt-fetch: gs://bkt/big: [0-9.]+ MB of 20\.0 MB' stderr | awk '{ if ($3 <= most) bad = 1; most = $3 } END { exit NR < 2 || bad }'; then
    ok 'and how far the object has come'
else bad 'and how far the object has come' "$(<stderr)"; fi
# On a terminal the line is live.
script '{"path":"alt=media","do":"slow","rate":10000000,"times":-1}'
$python -c 'import pty, sys; pty.spawn(sys.argv[1:])' "$bin/ttt-fetch" -j 2 gs://bkt/big out </dev/null >terminal
if tr '\r' '\n' <terminal | grep -qE 'ttt-fetch: fetched [0-9.]+ M of 20\.0 MB \([0-9]+%\), [0-9.]+ MB/s, [0-9]+ s left' && good out bkt/big; then
    ok 'a live line on a terminal'
else bad 'a live line on a terminal' "$(cat -v terminal)"; fi
control reset ''
rm -f out
case_is '--progress-every 0' 2 'progress-every=0: expected 0.1 to 86400 seconds' 0 0 '!' --progress-every 0 gs://bkt/big out
if grep -q __asan "$bin/ttt-fetch"; then
    skipped=$((skipped + 1))
    echo 'skip memory  the sanitizer keeps what is freed'
else
    control put '{"bucket":"large","name":"two","size":200000000,"seed":21}'
    # peak ARG...: ttt-fetch's exit status, and the KiB of memory it took at most.
    peak()
    {
        $python -c "
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)" "$bin/ttt-fetch" "$@"
    }
    for to in out /dev/null; do
        rm -f out*
        read -r status most < <(peak -q -j 128 gs://large/two $to)
        if [[ $status -eq 0 && $most -lt 65536 ]]; then ok "128 connections to $to: $most KiB of memory"; else bad "memory to $to" "status $status, $most KiB"; fi
    done
    rm -f out*
    # None is the name of a bucket, so that no server is asked so often. Held at once they would take 26 MB.
    seq -f 'gs://No/a/folder/of/some/depth/and/an/object/in/it/%.0f' 300000 | peak -I out 2>&1 >peak | tail -n 1 >last
    read -r status most <peak
    if [[ $status -eq 1 && $most -lt 16384 ]] && grep -q ' 300000 failed' last; then ok "300000 names on standard input: $most KiB of memory"
    else bad '300000 names on standard input' "status $status, $most KiB: $(<last)"; fi
    rm -rf out*
fi
printf '{"text":"in the beginning"}\n{"text":"was the word"}\n' >two.jsonl
model=$here/tests/golden/tokenizer/small-1024.model
"$bin/ttt-tokenize" -q --tokenizer "$model" -o two.tok two.jsonl
control put "[{\"bucket\":\"pipe\",\"name\":\"t\",\"file\":\"$work/two.tok\",\"no_crc\":true},{\"bucket\":\"pipe\",\"name\":\"j\",\"file\":\"$work/two.jsonl\",\"no_crc\":true}]"
if fetch -q gs://pipe/t - | "$bin/ttt-verify" - | grep -q ok; then ok 'ttt-fetch ... - | ttt-verify -'; else bad 'ttt-fetch ... - | ttt-verify -'; fi
if fetch -q gs://pipe/j - | "$bin/ttt-tokenize" -q --tokenizer "$model" - | cmp -s - two.tok; then
    ok 'ttt-fetch ... - | ttt-tokenize -'
else bad 'ttt-fetch ... - | ttt-tokenize -'; fi

closing_line
