#!/bin/bash
# fetch_resume.sh BIN -- ttt-fetch stopped, killed, raced, and taken up again.
# shellcheck source=tests/faults/harness.bash
source "$(dirname "$0")/../faults/harness.bash"

# ---- stopped and taken up again ----------------------------------------------------------------

control put '{"bucket":"large","name":"two","size":200000000,"seed":21}'

script '{"path":"alt=media","do":"slow","rate":3000000,"times":-1}'
start_fetch -j 4 gs://bkt/big out
wait_asked
sleep 0.5
children=$(cat /proc/$job/task/*/children)
kill -INT $job
wait $job
status=$?
if [[ ! $children ]]; then ok 'one process'; else bad 'one process' "$children"; fi
if [[ $status -eq 130 && -e out.ttt-part && ! -e out ]] && grep -q 'interrupted; run the same command again' stderr; then
    ok 'Ctrl-C tells how to go on'
else bad 'Ctrl-C tells how to go on' "status $status: $(<stderr)"; fi
control reset ''
KEEP=1 case_is 'and so it does' 0 '1 objects' 2-6 0 '!out=bkt/big' -j 4 gs://bkt/big out
: >out.ttt-journal
case_is 'a journal that a kill left beside the finished file goes' 0 '1 there already' 1 0 '!out=bkt/big' gs://bkt/big out
rm -f out*

# stopped SIGNAL STATUS NAME ARG...: a run whose requests are all in vain ends at the signal.
stopped()
{
    local signal=$1 want=$2 name=$3 began=$EPOCHSECONDS
    shift 3
    script '{"path":"/b/","do":"status","status":503,"retry_after":30,"times":-1}'
    start_fetch "$@"
    wait_asked
    sleep 0.2
    kill -"$signal" $job
    wait $job
    status=$?
    if [[ $status -eq $want && $((EPOCHSECONDS - began)) -lt 15 ]] && grep -q interrupted stderr; then ok "$name"
    else bad "$name" "status $status after $((EPOCHSECONDS - began)) s: $(<stderr)"; fi
    control reset ''
}
stopped TERM 143 'SIGTERM ends a listing' -r gs://bkt out
stopped INT 130 'Ctrl-C ends --list' --list gs://bkt
stopped INT 130 'Ctrl-C ends the question for an object' gs://bkt/big out
stopped INT 130 'Ctrl-C ends a pipe' gs://bkt/big -
rm -rf out*

# A pipe whose reader reads nothing, and Ctrl-C while a thread waits on it; then while all does.
mkfifo stuck
exec 7<>stuck
control put '{"bucket":"web","name":"unsized","size":20000001,"seed":5}'
for source in gs://bkt/big "http://$host/web/unsized"; do
    control auth '{"web":{"no_ranges":1,"chunked":1}}'
    start_fetch "$source" stuck
    wait_asked
    sleep 0.5
    kill -INT $job
    for _ in {1..60}; do kill -0 $job 2>/dev/null || break; sleep 0.05; done
    kill -9 $job 2>/dev/null
    wait $job 2>/dev/null
    status=$?
    if [[ $status -eq 130 ]] && grep -q interrupted stderr; then ok "one Ctrl-C ends a stuck pipe of $source"
    else bad "one Ctrl-C ends a stuck pipe of $source" "status $status: $(<stderr)"; fi
    control reset ''
done
exec 7<&-

script '{"path":"alt=media","do":"slow","rate":10000000,"times":-1}'
trap '' HUP
start_fetch -j 2 gs://bkt/big out
trap - HUP
sleep 0.5
kill -HUP $job
if wait $job && good out bkt/big; then ok 'nohup: a hangup does not end it'; else bad 'nohup: a hangup does not end it' "$(<stderr)"; fi
control reset ''
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
KEEP=1 case_is 'what an earlier run fetched is not part of the rate' 0 'going on with' 2-3 0 '!out=bkt/big' -j 1 --limit-rate 2500k --progress-every 0.3 gs://bkt/big out
if awk '/fetched .* of / { told = !($10 ~ /MB/ && $9 >= 4) } END { exit !told }' stderr; then ok 'told so'; else bad 'told so' "$(<stderr)"; fi
rm -f out*
half
: >out.ttt-journal
case_is 'an empty journal: from the start' 0 'it has no whole line; starting' 6 0 '!out=bkt/big' gs://bkt/big out
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

# A web server that tells neither version nor checksum: a part of it may be of another file.
control put '{"bucket":"web","name":"vague","size":20000001,"seed":31,"no_crc":true}'
control auth '{"web":{"no_etag":1}}'
script '{"path":"web","range":"16777216-20000000","do":"stall","hold":1,"times":-1}'
start_fetch -j 2 "http://$host/web/vague" out
for _ in {1..100}; do [[ $(grep -c range out.ttt-journal 2>/dev/null) -ge 3 ]] && break; sleep 0.05; done
kill -9 $job
wait $job 2>/dev/null
control reset ''
control put '{"bucket":"web","name":"vague","size":20000001,"seed":32,"no_crc":true}'
control auth '{"web":{"no_etag":1}}'
case_is 'nothing goes on from a part of an unknown version' 0 '1 objects' 6 any '!out=web/vague' -j 2 "http://$host/web/vague" out

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
        sleep "$(awk "BEGIN { print 0.03 + $RANDOM / 32768 * 0.3 }")"
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

closing_line
