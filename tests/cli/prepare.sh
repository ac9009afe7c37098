#!/bin/bash
# prepare.sh BIN -- scripts/prepare: the same bytes in any number of parts, killed or not, each way.
set -uo pipefail
bin=$(cd "${1:?usage: prepare.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
model=$here/tests/golden/tokenizer/small-1024.model
work=$(mktemp -d --tmpdir ttt-prepare-XXXXXX) || exit 1
server=
trap 'kill $server $(cat slurm/*.pid 2>/dev/null) 2>/dev/null; rm -rf "$work" 2>/dev/null || { sleep 2; rm -rf "$work"; }' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0
unset SLURM_ARRAY_TASK_ID SLURM_ARRAY_TASK_COUNT SLURM_ARRAY_TASK_MIN SLURM_ARRAY_TASK_STEP SLURM_CPUS_PER_TASK
unset TTT_BILLING_PROJECT GCS_REQUESTER_PAYS_PROJECT http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
export PATH=$bin:$PATH HOME=$work

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1${2:+  $2}"; }
skip() { skipped=$((skipped + 1)); echo "skip $1  $2"; }
prepare() { "$here/scripts/prepare" "$@"; }

# Documents of every length, none among them; $1 is a seed, $2 their number.
texts()
{
    awk -v seed="$1" -v n="$2" 'BEGIN {
        srand(seed); words = split("in the beginning god created heaven and earth \\n \\u00e9 7", w, " ")
        for (d = 0; d < n; d++) {
            printf "{\"text\":\""
            for (i = d % 9 == 4 ? 0 : int(rand() * 50); i > 0; i--) printf "%s ", w[1 + int(rand() * words)]
            print "\"}"
        } }'
}
mkdir -p pile/train
texts 1 300 | gzip >pile/train/00.jsonl.gz
texts 2 200 >pile/train/01.jsonl
texts 3 20 >pile/val.jsonl
texts 4 30 | gzip >pile/test.jsonl.gz
texts 5 400 >books.jsonl
mkdir more && for i in {1..30}; do texts "$i" 1 >more/$i.txt; done && tar -cf more.tar more && rm -r more

# What the programs make by themselves is what the script has to make.
name=meta-llama/Llama-2-7b-hf
for s in train/ val.jsonl test.jsonl.gz; do
    ttt-tokenize -q -t "$model" -r -o "${s%%[./]*}.tok" "pile/$s" || exit 1
done
ttt-tokenize -q -t "$model" -o books.tok books.jsonl more.tar || exit 1
ttt-pack -q -o pile.want --tokenizer-name $name --source-name pile --train=train.tok --validation=val.tok --test=test.tok >/dev/null || exit 1
ttt-pack -q -o books3.want --tokenizer-name $name --source-name books3 books.tok >/dev/null || exit 1

# right NAME CORPUS DIR: the dataset in DIR is that of the programs, and nothing of the work is left.
right()
{
    if diff -r -x work "$2.want" "$3" >diff.txt 2>&1 && ! compgen -G "$3/work/*.tok*" >/dev/null; then ok "$1"
    else bad "$1" "$(head -c 400 diff.txt; tail -n 3 err)"; fi
}
declare -A raw=([pile]=pile [books3]='books.jsonl more.tar')

# ---- two at one output -------------------------------------------------------------------------

# The first waits in its ttt-tokenize until the second has been refused, which takes ten seconds; the
# cases in between go on meanwhile.
mkdir slow
cat >slow/ttt-tokenize <<END
#!/bin/bash
touch first-is-there
for _ in {1..1000}; do [[ -e second-has-ended ]] && break; sleep 0.1; done
exec "$bin/ttt-tokenize" "\$@"
END
chmod +x slow/ttt-tokenize
PATH=$work/slow:$PATH prepare books3 -o both -t "$model" -n 3 -j 1 --calibrate 60 books.jsonl more.tar >first.where 2>first.err &
first=$!
until [[ -e first-is-there ]]; do sleep 0.05; done
{
    prepare books3 -o both -t "$model" books.jsonl more.tar >second.where 2>second.err
    echo $? >second.status
    find both -name '*.npy' >second.made
    touch second-has-ended
} &

# ---- parts -------------------------------------------------------------------------------------

for corpus in pile books3; do
    for n in 1 3 7; do
        # shellcheck disable=SC2086 # several files
        prepare $corpus -o out -t "$model" -n $n -j 2 --calibrate 1 ${raw[$corpus]} >where 2>err
        right "$corpus in $n parts" $corpus out
        if [[ $n == 3 ]]; then
            if grep -q '^tokenize .* s$' err && grep -q 'disk: .* more at the most' err; then ok "$corpus: the plan"; else bad "$corpus: the plan" "$(<err)"; fi
            # shellcheck disable=SC2086
            prepare $corpus -o out -t "$model" ${raw[$corpus]} >again 2>err
            if cmp -s where again && [[ $(wc -l <err) -eq 1 ]] && grep -q 'there and proved' err; then ok "$corpus: a second run does nothing"
            else bad "$corpus: a second run does nothing" "$(<err)"; fi
        fi
        [[ $n == 7 ]] || rm -rf out
    done
    if prepare $corpus -o out -t "$model" more.tar >/dev/null 2>err || ! grep -q 'was begun with another' err; then
        bad "$corpus: other raw files" "$(<err)"
    else ok "$corpus: other raw files"; fi
    rm -rf out
done
prepare books3 -o out -t "$model" --plan --calibrate 1 books.jsonl more.tar >/dev/null 2>err
if grep -q '^pack' err && [[ ! $(find out -name '*.npy') ]]; then ok '--plan stops there'; else bad '--plan stops there' "$(<err)"; fi
prepare books3 -o out -t "$model" -n 2 books.jsonl more.tar >/dev/null 2>err
right 'and the next run goes on in other parts' books3 out
rm -rf out
echo '{"text":1}' >faulty.jsonl
if prepare books3 -o out -t "$model" --calibrate 1 books.jsonl faulty.jsonl >/dev/null 2>err; then bad 'a faulty document'
elif grep -q 'faulty.jsonl' err; then ok 'a faulty document ends it'; else bad 'a faulty document ends it' "$(<err)"; fi
rm -rf out
prepare books3 -o out -t "$model" -n 2 --calibrate 1 --on-error skip books.jsonl more.tar faulty.jsonl >/dev/null 2>err
if [[ $? -eq 0 && $(cat out/work/*.rejects-* | grep -c faulty) -eq 1 ]]; then ok 'or is left out and listed'; else bad 'or is left out and listed' "$(<err)"; fi
rm -rf out

# What the first was about is whole; the second has said one sentence and made nothing.
wait $first
status=$?
if [[ $(<second.status) -eq 1 && ! -s second.where && ! -s second.made && $(wc -l <second.err) -eq 1 ]] &&
    grep -q 'both: another prepare is at it' second.err; then ok 'two at one output: the second is refused'
else bad 'two at one output: the second is refused' "$(<second.err)"; fi
if [[ $status -eq 0 && -s first.where ]]; then right 'two at one output: the first is unharmed' books3 both
else bad 'two at one output: the first is unharmed' "$(<first.err)"; fi
rm -rf both

# ---- killed ------------------------------------------------------------------------------------

RANDOM=11
kills=0 runs=0 trouble=
while [[ $kills -lt 20 ]]; do
    for _ in {1..12}; do
        [[ $((runs % 2)) == 0 ]] && corpus=pile || corpus=books3
        # shellcheck disable=SC2086
        setsid "$here/scripts/prepare" $corpus -o out -t "$model" -n 3 -j 2 --calibrate 0.2 ${raw[$corpus]} >/dev/null 2>err &
        job=$!
        sleep "$(awk "BEGIN { print $RANDOM / 32768 * 0.8 }")"
        if kill -9 -$job 2>/dev/null; then kills=$((kills + 1)); fi
        if wait $job 2>/dev/null; then break; fi
    done
    # shellcheck disable=SC2086
    prepare $corpus -o out -t "$model" -n 3 -j 2 --calibrate 0.2 ${raw[$corpus]} >/dev/null 2>err || trouble+=" status $?: $(tail -n 2 err)"
    diff -r -x work $corpus.want out >diff.txt 2>&1 || trouble+=" $(head -c 300 diff.txt)"
    runs=$((runs + 1))
    rm -rf out
done
if [[ ! $trouble ]]; then ok "killed $kills times in $runs preparations: the same bytes"; else bad 'killed' "$trouble"; fi

# ---- other ways --------------------------------------------------------------------------------

if command -v parallel >/dev/null; then
    prepare pile -o out -t "$model" -n 3 -j 2 --calibrate 1 --with parallel pile >/dev/null 2>err
    right 'GNU parallel' pile out
    rm -rf out
else
    skip 'GNU parallel' 'it is not installed (scripts/setup check)'
fi

# A Slurm of two scripts: sbatch runs what it is given at once, task by task, and notes it.
mkdir stub
cat >stub/sbatch <<'END'
#!/bin/bash
array=0-0 wrap=''
for a; do
    case $a in
    --array=*) array=${a#*=} ;;
    --dependency=*) dependency=${a#*=} ;;
    esac
    [[ $last == --wrap ]] && wrap=$a
    last=$a
done
number=$(($(wc -l <"$SLURM_LOG" 2>/dev/null || echo 0) + 1))
echo "$number $array ${dependency-} $wrap" >>"$SLURM_LOG"
for ((i = ${array%-*}; i <= ${array#*-}; i++)); do
    SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=$((${array#*-} + 1)) bash -c "$wrap" >>"$SLURM_LOG.out" 2>&1
done
echo "$number;cluster"
END
printf '#!/bin/bash\nexit 0\n' >stub/squeue
chmod +x stub/*
export SLURM_LOG=$work/slurm.log
PATH=$work/stub:$PATH prepare books3 -o out -t "$model" -n 3 --calibrate 1 --with slurm --args '--partition=cpu' books.jsonl more.tar >/dev/null 2>err
right 'the commands for Slurm' books3 out
if [[ $(cut -d' ' -f1-3 slurm.log | tr '\n' ' ') == '1 0-2  2 0-2 afterok:1 3 0-0 afterok:2 ' ]]; then ok 'each array after the one before'; else bad 'each array after the one before' "$(<slurm.log)"; fi
rm -rf out

# The real one.
# shellcheck source=tests/cli/slurm_parts.bash
. "$here/tests/cli/slurm_parts.bash"
export SLURM_CONF=$work/slurm/slurm.conf
if trouble=$(begin_slurm "$work/slurm"); then
    prepare pile -o out -t "$model" -n 3 --calibrate 1 --with slurm --args '--partition=cpu' pile >/dev/null 2>err
    through || bad 'Slurm' "$(squeue)"
    right 'Slurm: arrays of three tasks' pile out
    prepare pile -o out -t "$model" -n 3 --with slurm pile >/dev/null 2>err
    if grep -q 'there and proved' err; then ok 'Slurm: and the same command says so'; else bad 'Slurm: and the same command says so' "$(<err)"; fi
    rm -rf out
else
    skip 'Slurm' "$trouble"
fi

# ---- buckets -----------------------------------------------------------------------------------

if [[ -x $bin/ttt-fetch ]]; then
    mkdir state
    python=/usr/bin/python3
    [[ -x $python ]] || python=python3
    $python "$here/tests/faults/server.py" state >server.log 2>&1 &
    server=$!
    for _ in {1..100}; do [[ -e state/port ]] && break; sleep 0.1; done
    STORAGE_EMULATOR_HOST=127.0.0.1:$(<state/port)
    export STORAGE_EMULATOR_HOST
    {
        sep='['
        (cd books3.want && find . -name '*.npy' -printf '%P\n') | while read -r path; do
            printf '%s{"bucket":"llama-2-books3","name":"%s","file":"%s","no_crc":true}' "$sep" "$path" "$work/books3.want/$path"
            sep=,
        done
        for file in books.jsonl more.tar; do
            printf ',{"bucket":"raw-books","name":"in/%s","file":"%s","no_crc":true}' $file "$work/$file"
        done
        echo ']'
    } | curl -sf --data-binary @- "http://$STORAGE_EMULATOR_HOST/control/put" >/dev/null || bad 'the server takes objects'
    prepare books3 -o out -u payer >/dev/null 2>err
    status=$?
    if [[ $status -eq 0 ]] && diff -r -x work -x manifest.jsonl -x '*.offsets' books3.want out >diff.txt && grep -q 'as the authors published it' err; then
        ok 'the published set'
    else bad 'the published set' "status $status: $(head -c 300 diff.txt; tail -n 3 err)"; fi
    rm -rf out
    prepare books3 -o out -t "$model" -n 2 --calibrate 1 gs://raw-books/in/books.jsonl gs://raw-books/in/more.tar >/dev/null 2>err
    right 'raw files of a bucket' books3 out
else
    skip 'buckets' 'ttt-fetch was not built here'
fi

printf '%d passed, %d failed' $passed $failed
[[ $skipped -gt 0 ]] && printf ', %d skipped' $skipped
echo
[[ $failed -eq 0 ]]
