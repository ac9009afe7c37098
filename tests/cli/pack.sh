#!/bin/bash
# pack.sh BIN -- ttt-shuffle, ttt-pack, ttt-verify and ttt-peek as people and scripts meet them:
# pipes, repeated and interrupted runs, damage, full disks, and what they say.
set -uo pipefail
bin=$(cd "${1:?usage: pack.sh BIN}" && pwd) || exit 1
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
model=$root/tests/golden/tokenizer/small-1024.model
work=$(mktemp -d --tmpdir ttt-pack-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
PATH=$bin:$PATH
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1"; }
skip() { skipped=$((skipped + 1)); echo "skip $1  $2"; }
# expect NAME COMMAND...: it succeeds.
expect() { local name=$1; shift; if "$@"; then ok "$name"; else bad "$name"; fi; }
# refuse NAME STATUS WORDS COMMAND...: it ends with STATUS and one line on stderr that holds WORDS.
refuse() {
    local name=$1 want=$2 words=$3 got
    shift 3
    "$@" >out.txt 2>err.txt
    got=$?
    if [[ $got -eq $want ]] && grep -qF -- "$words" err.txt && [[ $(wc -l <err.txt) -eq 1 || $want -eq 2 ]]; then
        ok "$name"
    else
        bad "$name"
        echo "     status $got, wanted $want and '$words':"
        sed 's/^/     /' err.txt
    fi
}
same() { cmp -s "$1" "$2"; }
there() { compgen -G "$1" >/dev/null; }
absent() { ! there "$1"; }
flip() { # flip FILE OFFSET: one bit
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\x$(printf %02x $((byte ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

for i in $(seq 1 300); do
    printf '{"text":"Document %d: in the beginning was word %d of %d, and it was said.","n":%d}\n' $i $((i * 7)) $((i % 13)) $i
done >corpus.jsonl
if ! ttt-tokenize -q --tokenizer "$model" -o a.tok corpus.jsonl; then
    bad "ttt-tokenize made a.tok"
    echo "$passed passed, $failed failed"
    exit 1
fi
head -1 corpus.jsonl | ttt-tokenize -q --tokenizer "$model" -o one.tok -
head -2 corpus.jsonl | ttt-tokenize -q --tokenizer "$model" -o two.tok -
head -2 corpus.jsonl | ttt-tokenize -q --tokenizer "$model" --no-eos -o noeos.tok -
echo 'not a stream at all, only text that is long enough to be read as a header of one' >text.txt
: >empty.txt
: >empty.jsonl

# 300 documents over and over make several blocks.
for _ in $(seq 60); do cat corpus.jsonl; done | ttt-tokenize -q --tokenizer "$model" -o blocks.tok -

# ---- misuse and bad input ------------------------------------------------------------------------
for tool in shuffle pack verify peek; do
    refuse "ttt-$tool without operands" 2 "ttt-$tool" ttt-$tool
    refuse "ttt-$tool with an unknown flag" 2 "--no-such" ttt-$tool --no-such x
    expect "ttt-$tool --help has an example" bash -c "ttt-$tool --help | grep -q '^ *ttt-$tool .*'"
done
refuse "shuffle demands a seed" 2 "--seed" ttt-shuffle -o s.tok a.tok
refuse "pack demands a name" 2 "--tokenizer-name" ttt-pack -o d a.tok
refuse "pack wants all three splits" 2 "--validation" ttt-pack -o d --tokenizer-name x --train=a.tok
refuse "pack: a ratio of one" 2 "--val-ratio" ttt-pack -o d --tokenizer-name x --val-ratio 1 a.tok
refuse "pack: a name that leaves the folder" 1 "--tokenizer-name" ttt-pack -o d --tokenizer-name ../x a.tok
for tool in "shuffle --seed 1 -o x.tok" "pack -o d --tokenizer-name x" verify "peek --format=ids"; do
    refuse "ttt-$tool: missing file" 1 "gone.tok: No such file" ttt-$tool gone.tok
    refuse "ttt-$tool: wrong magic" 1 "text.txt: not a" ttt-$tool text.txt
    refuse "ttt-$tool: empty file" 1 "empty.txt" ttt-$tool empty.txt
done
for n in 40 200 1000; do
    head -c $n a.tok >cut.tok
    refuse "shuffle: cut at $n" 1 "cut.tok: cut short" ttt-shuffle --seed 1 -o x.tok cut.tok
    refuse "verify: cut at $n" 1 "cut.tok: cut short" ttt-verify cut.tok
    refuse "pack: a pipe cut at $n" 1 "standard input: cut short" bash -c 'ttt-pack -o d --tokenizer-name x - <cut.tok'
done
cp a.tok flip.tok
flip flip.tok 2000
refuse "verify: a flipped bit" 1 "flip.tok: block 0 at byte" ttt-verify a.tok flip.tok
expect "and the good file before it is named" grep -q '^a.tok	ok	300 documents' out.txt
refuse "shuffle: a flipped bit" 1 "checksum" ttt-shuffle --seed 1 -o x.tok flip.tok
refuse "peek: a flipped bit" 1 "checksum" ttt-peek --format=ids flip.tok
refuse "pack: one document" 1 "none would be left" ttt-pack -o d --tokenizer-name x one.tok
refuse "pack: splits that differ in EOS" 1 "without EOS" \
    ttt-pack -o d --tokenizer-name x --train=a.tok --validation=two.tok --test=noeos.tok
# A whole stream without documents, which ttt-tokenize does not write.
base64 -d >none.tok <<'END'
VFRULlRPSwEABAAAAgMAAL54dgoOgyMmYyxDf7Gv1G0BAAAAAgAAAAAACAACAAAAAAAAAAAAAAC7Uhs3Jquaxnt9AA
AAAAAAVElEWAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwpTTOAWABi2Mze+F32KP
/VRUVC5FTkQBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAASAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA8gW0SsbgtqI=
END
expect "verify: a stream without documents is whole" ttt-verify -q none.tok
refuse "shuffle: no documents" 1 "no documents" ttt-shuffle --seed 1 -o x.tok none.tok
refuse "pack: no documents" 1 "no documents" ttt-pack -o d --tokenizer-name x none.tok
refuse "pack: a split without documents" 1 "no documents" \
    ttt-pack -o d --tokenizer-name x --train=a.tok --validation=none.tok --test=two.tok
expect "an empty corpus" bash -c '! ttt-tokenize -q --tokenizer "$0" -o x.tok empty.jsonl 2>/dev/null' "$model"
expect "nothing is left of what was refused" absent 'x.tok*'
expect "no dataset either" absent 'd/*'

# ---- shuffle -------------------------------------------------------------------------------------
ttt-shuffle -q --seed 5 -o s5.tok a.tok
ttt-shuffle -q --seed 5 - <a.tok >piped.tok
ttt-shuffle -q --seed 6 -o s6.tok a.tok
ttt-shuffle -q --seed 5 --compress -o z5.tok a.tok
expect "shuffle: a pipe gives the same bytes" same s5.tok piped.tok
for f in a s5 s6 z5; do ttt-peek --format=ids $f.tok >$f.ids; done
expect "shuffle: another order" bash -c '! cmp -s a.ids s5.ids && ! cmp -s s5.ids s6.ids'
expect "shuffle: the same documents" bash -c 'cmp <(sort a.ids) <(sort s5.ids) && cmp <(sort a.ids) <(sort s6.ids)'
expect "shuffle --compress: the same documents, fewer bytes" \
    bash -c 'cmp -s s5.ids z5.ids && [[ $(stat -c%s z5.tok) -lt $(stat -c%s s5.tok) ]]'
expect "shuffle of compressed documents: the same bytes" bash -c 'ttt-shuffle -q --seed 6 -o zz.tok z5.tok && ttt-shuffle -q --seed 6 -o ss.tok s5.tok && cmp zz.tok ss.tok'
expect "pack of compressed documents: the same ids" bash -c 'ttt-pack -q -o zp --tokenizer-name small z5.tok >/dev/null && ttt-pack -q -o sp --tokenizer-name small s5.tok >/dev/null && cmp zp/*/train.npy sp/*/train.npy && ttt-pack -q -j 2 -o zj --tokenizer-name small z5.tok >/dev/null && cmp zp/*/train.npy zj/*/train.npy'
ttt-shuffle -q --seed 5 --order=numpy -o n5.tok a.tok
ttt-shuffle -q --seed 5 --order=numpy --memory 24M - <a.tok >n5piped.tok
expect "shuffle --order=numpy: another order, the same from a pipe" \
    bash -c 'cmp -s n5.tok n5piped.tok && ! cmp -s n5.tok s5.tok && ttt-peek n5.tok | grep -q "\"order\":\"numpy\""'
refuse "shuffle: too little memory" 2 "24M" ttt-shuffle --seed 5 --memory 1M a.tok
expect "shuffle: its seed is noted" bash -c 'ttt-peek s5.tok | grep -q "\"seed\":5"'
flock_part() { : >"$1.part"; flock "$1.part" "${@:2}"; }
refuse "shuffle: two with one output: the second is refused" 1 "twice.tok: another process is writing it" \
    flock_part twice.tok "$bin/ttt-shuffle" --seed 5 -o twice.tok a.tok
expect "shuffle: what a killed run left is no obstacle" bash -c 'echo junk >twice.tok.part && ttt-shuffle -q --seed 5 -o twice.tok a.tok && cmp twice.tok s5.tok && [[ ! -e twice.tok.part ]]'
expect "shuffle in place" bash -c 'cp a.tok i.tok && ttt-shuffle -q --seed 5 -o i.tok i.tok && cmp i.tok s5.tok'
expect "verify all of them" ttt-verify -q a.tok s5.tok s6.tok z5.tok
expect "verify a pipe" bash -c 'ttt-verify -q - <z5.tok'
expect "verify -q says nothing" bash -c '[[ -z $(ttt-verify -q a.tok 2>&1) ]]'

# ---- pack ----------------------------------------------------------------------------------------
pack() { ttt-pack -o d --tokenizer-name small "$@" 2>err.txt; }
path=$(pack a.tok)
expect "pack prints the folder" test \
    "$path" = d/tokenizer_name-small-val_ratio-0.0005-val_split_seed-2357-add_eos-True-detokenize-False
expect "its files, and nothing else" bash -c "[[ \$(ls -A '$path' | tr '\n' ' ') == \
    'manifest.jsonl test.npy test.offsets train.npy train.offsets validation.npy validation.offsets ' ]]"
expect "one line says what was packed" grep -q 'train 299 documents' err.txt
expect "validation is test" same "$path/validation.npy" "$path/test.npy"
expect "verify: folder, the folder above, manifest" ttt-verify -q "$path" d "$path/manifest.jsonl"
cp -a d before
expect "again: the same folder is printed" test "$(pack a.tok)" = "$path"
expect "again: says so" grep -q 'left alone' err.txt
expect "again: nothing touched" bash -c "[[ ! '$path/manifest.jsonl' -nt before/\${0##*/}/manifest.jsonl ]] && diff -r d before" "$path"
expect "again from a pipe" bash -c "ttt-pack -o d/ --tokenizer-name small - <a.tok >out.txt 2>err.txt && grep -q 'left alone' err.txt && diff -r d before"
refuse "another source: refused" 1 "--force" ttt-pack -o d --tokenizer-name small s5.tok
refuse "another source from a pipe: refused" 1 "--force" bash -c 'ttt-pack -o d --tokenizer-name small - <s5.tok'
expect "and nothing changed" diff -r d before
expect "--force replaces it" bash -c 'ttt-pack -q --force -o d --tokenizer-name small s5.tok >/dev/null && ! cmp -s d/*/train.npy before/*/train.npy && ttt-verify -q d'
flip d/*/train.npy 200
refuse "a damaged one is refused by verify" 1 "train.npy: damaged" ttt-verify -q d
expect "--force makes it good again" bash -c 'ttt-pack -q --force -o d --tokenizer-name small s5.tok >/dev/null && ttt-verify -q d'
expect "pack of a shuffle in one pipe" bash -c 'ttt-shuffle -q --seed 5 a.tok | ttt-pack -q -o p --tokenizer-name small - >/dev/null && cmp p/*/train.npy d/*/train.npy'
expect "ratios as Python spells them" bash -c 'ttt-pack -q -o r --tokenizer-name a/b --val-ratio 0.00005 --split-seed 1 a.tok | grep -qx "r/tokenizer_name-a/b-val_ratio-5e-05-val_split_seed-1-add_eos-True-detokenize-False"'
expect "given splits" bash -c 'ttt-pack -q -o g --tokenizer-name small --train=a.tok --validation=one.tok --test=- <two.tok >/dev/null && ttt-verify -q g'
expect "given splits keep their order" bash -c 'ttt-peek -q --format=ids g/* | cmp - a.ids'
expect "given again" bash -c 'ttt-pack -o g --tokenizer-name small --train=a.tok --validation=one.tok --test=two.tok 2>&1 >/dev/null | grep -q "left alone"'
expect "a pickle is copied in" bash -c 'cp text.txt t.pkl; ttt-pack -q -o k --tokenizer-name small --tokenizer-pkl t.pkl a.tok >/dev/null && cmp t.pkl k/*/tokenizer.pkl && ttt-verify -q k'
expect "no EOS shows in the name" bash -c 'ttt-pack -q -o n --tokenizer-name small noeos.tok | grep -q add_eos-False'

# ---- interrupted, and two at once ----------------------------------------------------------------
rm -rf w && mkdir -p "w/${path#d/}" && echo junk >"w/${path#d/}/train.npy"
refuse "files without a manifest are not ours" 1 "--force" ttt-pack -o w --tokenizer-name small a.tok
: >"w/${path#d/}/.packing"
expect "but those of a killed run are" bash -c 'ttt-pack -q -o w --tokenizer-name small a.tok >/dev/null && diff -r w before'
mkdir -p "l/${path#d/}"
flock "l/${path#d/}/.packing" bash -c 'ttt-pack -o l --tokenizer-name small a.tok' >out.txt 2>err.txt
expect "two at once: the second is refused" grep -q 'another ttt-pack' err.txt
for sig in INT TERM KILL; do
    rm -rf c
    mkfifo pipe
    ttt-pack -q -o c --tokenizer-name small --train=- --validation=one.tok --test=two.tok <pipe >/dev/null 2>err.txt &
    job=$!
    exec 9>pipe
    head -c 3000 a.tok >&9
    for _ in $(seq 100); do there 'c/*/train.npy.part.*' && break; sleep 0.05; done
    expect "SIG$sig: it was at work" there 'c/*/train.npy.part.*'
    kill -$sig $job
    wait $job 2>/dev/null
    expect "SIG$sig: ends by it" test $? -gt 128
    exec 9>&-
    left=$(find c -type f ! -name .packing)
    if [[ $sig == KILL ]]; then # which lets nobody clean up
        expect "SIG$sig: nothing under a final name" bash -c '[[ $0 && -z $(grep -v "\.part\.[0-9]*$" <<<"$0") ]]' "$left"
    else
        expect "SIG$sig: nothing half-written" test -z "$left"
    fi
    rm pipe
done
expect "and the next run goes through and cleans up" bash -c 'ttt-pack -q -o c --tokenizer-name small --train=a.tok --validation=one.tok --test=two.tok >/dev/null && diff -r -x manifest.jsonl c g && ttt-verify -q c'

# ---- parts of one dataset, by several programs ------------------------------------------------------
part() { ttt-pack -q -o "$1" --tokenizer-name small --val-ratio 0.1 --shard "$2" a.tok >/dev/null; }
ttt-pack -q -o u --tokenizer-name small --val-ratio 0.1 a.tok >/dev/null
for n in 1 3 7 301; do
    rm -rf v
    for ((i = n; i-- > 0;)); do part v $i/$n & [[ $((i % 8)) -eq 0 ]] && wait; done
    wait
    expect "shards: $n at once give the same bytes" diff -r u v
done
expect "shards: again says that it is whole" part v 3/301
refuse "shards: of another number" 1 "other streams or with other options" bash -c 'ttt-pack -q -o v2 --tokenizer-name small --shard 0/2 a.tok >/dev/null && ttt-pack -q -o v2 --tokenizer-name small --shard 0/2 --dtype i32 a.tok'
refuse "shards: no such part" 2 "--shard" ttt-pack -o v --tokenizer-name small --shard 3/3 a.tok
refuse "shards: not from a pipe" 1 "--shard needs files" bash -c 'ttt-pack -o v3 --tokenizer-name small --shard 0/2 <(cat a.tok)'
rm -rf v
for i in 0 1 2; do ttt-pack -q -o v --tokenizer-name small --train=a.tok --validation=one.tok --test=two.tok --shard $i/3 >/dev/null; done
expect "shards: given splits" diff -r -x manifest.jsonl v g

for n in 2 3 0; do
    expect "--jobs $n: the same bytes" bash -c 'rm -rf j; ttt-pack -q -j $0 -o j --tokenizer-name small --val-ratio 0.1 a.tok >/dev/null && diff -r u j' $n
done
expect "--jobs: again says so" bash -c 'ttt-pack -j 2 -o j --tokenizer-name small --val-ratio 0.1 a.tok 2>&1 >/dev/null | grep -q "left alone"'
refuse "--jobs: another source" 1 "--force" ttt-pack -j 2 -o j --tokenizer-name small --val-ratio 0.1 s5.tok
expect "--jobs --force replaces it" bash -c 'ttt-pack -q -j 2 --force -o j --tokenizer-name small --val-ratio 0.1 s5.tok >/dev/null && ttt-verify -q j && ! diff -rq u j >/dev/null'
expect "--jobs: given splits, in little memory" bash -c 'ttt-pack -q -j 2 --memory 64M -o gj --tokenizer-name small --train=a.tok --validation=one.tok --test=two.tok >/dev/null && diff -r -x manifest.jsonl gj g'
cp blocks.tok hurt.tok
flip hurt.tok $(($(stat -c%s hurt.tok) - 100000))
expect "--jobs: a damaged block is named" bash -c '! ttt-pack -j 2 -o jh --tokenizer-name small hurt.tok >out.txt 2>err.txt && grep -q "hurt.tok: block .*checksum" err.txt && grep -q "processes failed" err.txt && [[ ! -s out.txt ]]'
expect "--jobs: then with another number" bash -c 'ttt-pack -q -j 3 -o jh --tokenizer-name small blocks.tok >/dev/null && ttt-verify -q jh && [[ $(find jh -type f | wc -l) -eq 7 ]]'
refuse "a flipped bit, in the memory and through files" 1 "checksum" ttt-pack -o x --tokenizer-name small hurt.tok
mkdir -p "ls/${path#d/}"
refuse "a part while another ttt-pack writes the whole" 1 'another ttt-pack' flock "ls/${path#d/}/.packing" "$bin/ttt-pack" -o ls --tokenizer-name small --shard 0/2 a.tok
refuse "the whole while another writes a part" 1 'another ttt-pack' flock -s "ls/${path#d/}/.packing" "$bin/ttt-pack" -o ls --tokenizer-name small a.tok
refuse "--jobs while another writes" 1 'another ttt-pack' flock "ls/${path#d/}/.packing" "$bin/ttt-pack" -j 2 -o ls --tokenizer-name small a.tok

# Killed at random points and begun again: the same bytes as those of one quiet run.
for round in 1 2 3 4 5 6; do
    rm -rf v
    for i in 0 1 2; do
        (exec ttt-pack -q -o v --tokenizer-name small --val-ratio 0.1 --shard $i/3 blocks.tok >/dev/null 2>&1) &
        job=$!
        sleep 0.0$((RANDOM % 4))
        kill -9 $job 2>/dev/null
        wait $job 2>/dev/null
    done
    for i in 0 1 2; do ttt-pack -q -o v --tokenizer-name small --val-ratio 0.1 --shard $i/3 blocks.tok >/dev/null; done
    [[ $round -eq 1 ]] && ttt-pack -q -o quiet --tokenizer-name small --val-ratio 0.1 blocks.tok >/dev/null
    diff -r v quiet >/dev/null || break
    rm -rf c2
    (exec ttt-pack -q -o c2 --tokenizer-name small --val-ratio 0.1 blocks.tok >/dev/null 2>&1) &
    job=$!
    sleep 0.0$((RANDOM % 4))
    kill -9 $job 2>/dev/null
    wait $job 2>/dev/null
    ttt-pack -q -o c2 --tokenizer-name small --val-ratio 0.1 blocks.tok >/dev/null
    diff -r c2 quiet >/dev/null || break
    rm -rf c3
    (exec ttt-pack -q -j 3 -o c3 --tokenizer-name small --val-ratio 0.1 blocks.tok >/dev/null 2>&1) &
    job=$!
    sleep 0.0$((RANDOM % 4))
    kill -9 $job 2>/dev/null
    wait $job 2>/dev/null
    # Its processes end with it, but not in the same moment.
    for _ in $(seq 200); do ttt-pack -q -j 2 -o c3 --tokenizer-name small --val-ratio 0.1 blocks.tok >/dev/null 2>err.txt && break; sleep 0.05; done
    diff -r c3 quiet >/dev/null || break
done
expect "killed and begun again, six times: the same bytes" test "$round" -eq 6

# ---- damage --------------------------------------------------------------------------------------
for f in train.npy train.offsets test.npy manifest.jsonl; do
    rm -rf h && cp -r before h
    flip h/*/$f 140
    refuse "verify: a flipped bit in $f" 1 "$f" ttt-verify -q h
    rm -rf h && cp -r before h
    truncate -s -1 h/*/$f
    refuse "verify: $f cut" 1 "$f" ttt-verify -q h
    rm -rf h && cp -r before h
    rm h/*/$f
    [[ $f == manifest.jsonl ]] || refuse "verify: $f gone" 1 "$f: No such file" ttt-verify -q h
done
# A file of several blocks: the first bad one, and the documents that end after it begins.
cp -r quiet qh
ids=$(echo qh/*/train.npy) size=$(stat -c%s qh/*/train.npy)
flip "$ids" $((1 << 20))
after() { od -An -v -tu8 -w8 -j 136 qh/*/train.offsets | awk -v first="$1" '128 + 2 * $1 > first { n++ } END { print n }'; }
documents=$(($(stat -c%s qh/*/train.offsets) / 8 - 17))
refuse "verify: a bad block of an array, and what it costs" 1 \
    "first bad: block 1, bytes 1048576 to $size; 1 of 2 blocks are bad; $(after 1048576) of $documents documents are lost" ttt-verify -q qh
truncate -s 1000000 "$ids"
refuse "verify: an array cut short, and what it costs" 1 "it ends at byte 1000000; $(after 1000000) of $documents documents are lost" ttt-verify -q qh
expect "verify without a manifest: ids alone" bash -c 'ttt-verify --vocab-size 1024 h 2>/dev/null | grep -c "	ok	" | grep -qx 4'
refuse "verify: ids above the vocabulary" 1 "not below the vocabulary of 100" ttt-verify --vocab-size 100 h/*/train.npy
refuse "verify: nothing there" 1 "no dataset" bash -c 'mkdir -p nothing && ttt-verify nothing'
refuse "verify: another tokenizer" 1 "another tokenizer" ttt-verify --tokenizer corpus.jsonl a.tok
expect "verify: this tokenizer" ttt-verify -q --tokenizer "$model" a.tok d

expect "verify: the source's chain, from the dataset alone" bash -c 'ttt-verify d g | grep -c "every document of the source" | grep -qx 2'
expect "verify: against the source, in its order" bash -c 'ttt-pack -q -o o --tokenizer-name small --val-ratio 0.02 a.tok >/dev/null && ttt-verify --source a.tok o | grep -q "300 compared"'
cp -r o oh
printf '\x55\x55' | dd of="$(echo oh/*/train.npy)" bs=1 seek=1128 conv=notrunc status=none
expect "verify: damage against the source: where, and what is lost" bash -c '! ttt-verify -q --source a.tok oh 2>err.txt && grep -q "train.npy: damaged" err.txt && grep -qE "train.npy: document [0-9]+ of the source should stand in place [0-9]+ there, bytes [0-9]+ to [0-9]+, but something else does; 1 of 300 documents are lost" err.txt'
refuse "verify: against another source" 1 "not made from s5.tok" ttt-verify -q --source s5.tok o
expect "verify: tokenized again" bash -c 'ttt-verify --deep --tokenizer "$0" a.tok o | grep -c "documents the same, 0 cannot" | grep -qx 4' "$model"
# The published sets are told by their sizes; these are holes with a header.
hole() { # hole FILE IDS [DTYPE BYTES]
    printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "{'descr': '${3-<u2}', 'fortran_order': False, 'shape': ($2,), }" >"$1"
    truncate -s $((128 + ${4-2} * $2)) "$1"
}
published() { # published SET TRAIN VALIDATION TEST
    mkdir "$1" && hole "$1/train.npy" "$2" && hole "$1/validation.npy" "$3" && hole "$1/test.npy" "$4"
}
published pile_set 383509963636 393983786 383707892
published books3_set 32585931901 14007763 14007763
expect "the holes have the published sizes" test "$(stat -c %s pile_set/*.npy books3_set/*.npy | tr '\n' ' ')" = \
    '767415912 767019927400 787967700 28015654 65171863930 28015654 '
expect "verify --quick: the published Pile set" bash -c 'ttt-verify --quick pile_set 2>/dev/null >pile.txt && grep -q "^pile_set	ok	by its sizes this is the published Pile set$" pile.txt && grep -q "train.npy	ok	383509963636 tokens	uint16	ids not read	of the size of the published Pile set.s train.npy$" pile.txt'
expect "verify --quick: the published Books3 set" bash -c 'ttt-verify --quick books3_set 2>/dev/null | grep -q "^books3_set	ok	by its sizes this is the published Books3 set$"'
hole pile_set/test.npy 383707891
expect "verify --quick: one id less is not the Pile" bash -c 'ttt-verify --quick pile_set 2>/dev/null | grep -q "not a published set: train.npy is Pile set.s train.npy, validation.npy Pile set.s validation.npy, test.npy of another size"'
hole books3_set/test.npy 14007763 '<i4' 4
expect "verify --quick: nor are wider ids Books3" bash -c 'ttt-verify --quick books3_set 2>/dev/null | grep -q "not a published set: .*, test.npy of another size"'
truncate -s -2 pile_set/train.npy
refuse "verify --quick: cut short" 1 "pile_set/train.npy" ttt-verify -q --quick pile_set
refuse "verify --quick --deep" 2 "choose one" ttt-verify --quick --deep --tokenizer "$model" pile_set
rm -r pile_set books3_set
mkdir public
for split in validation test; do hole public/$split.npy 14007763; done
cp "$path/train.npy" public
expect "verify: which published set it is not" bash -c 'ttt-verify public 2>/dev/null | grep -q "not a published set: train.npy is of another size, validation.npy Books3"'
expect "verify: implausible ids are told" bash -c "ttt-verify public 2>/dev/null | grep -q \"odd: it does not begin with BOS\""

cp blocks.tok harmed.tok
flip harmed.tok 500
refuse "verify: the first bad block, and what it costs" 1 "first bad: block 0, bytes" ttt-verify harmed.tok
expect "verify --repair: writes what is good" bash -c 'ttt-verify --repair saved.tok harmed.tok >report.txt && ttt-verify -q saved.tok'
expect "verify --repair: nothing else is lost" bash -c 'lost=$(sed -n "s/.*saved.*	\([0-9]*\) documents lost/\1/p" report.txt); good=$(ttt-peek saved.tok | sed -n "s/^documents	//p"); [[ $lost -gt 0 && $((lost + good)) -eq 18000 ]]'
expect "verify --repair: the good documents are the same" bash -c 'cmp <(ttt-peek -q --format=ids saved.tok | tail -n 300) <(ttt-peek -q --format=ids blocks.tok | tail -n 300)'
refuse "verify --repair: two with one output: the second is refused" 1 "saved.tok: another process is writing it" \
    flock_part saved.tok "$bin/ttt-verify" --repair saved.tok harmed.tok
rm saved.tok.part
head -c 1100000 blocks.tok >cut.tok
expect "verify --repair: a cut file" bash -c 'ttt-verify --repair saved.tok cut.tok | grep -q "the file was cut" && ttt-verify -q saved.tok'
refuse "verify --repair: a damaged header" 1 "without its header" bash -c 'flip() { printf x | dd of=cut.tok bs=1 seek=9 conv=notrunc status=none; }; flip; ttt-verify --repair x.tok cut.tok'

mkdir checkpoint
cp "$root/tests/golden/ops/swiglu.safetensors" checkpoint/params.safetensors
state() { printf '{"step":7,"files":{"params.safetensors":{"bytes":%d,"xxh3":"%s"}}}\n' "$1" "$2" >checkpoint/state.json; }
bytes=$(stat -c%s checkpoint/params.safetensors)
state $((bytes + 1)) 00112233445566778899aabbccddeeff
refuse "verify: a checkpoint's file of another length" 1 "state.json says $((bytes + 1))" ttt-verify checkpoint
state "$bytes" 00112233445566778899aabbccddeeff
refuse "verify: a checkpoint's file of another hash" 1 "damaged: its XXH3-128 is" ttt-verify checkpoint
state "$bytes" "$(sed -E 's/.*XXH3-128 is ([0-9a-f]{32}).*/\1/' err.txt)"
expect "verify: a checkpoint" bash -c 'ttt-verify checkpoint | grep -q "state.json	ok	checkpoint	step 7"'
expect "peek: a checkpoint" bash -c 'cmp <(ttt-peek checkpoint | grep "	F32	") <(ttt-peek checkpoint/params.safetensors | grep "	F32	") && ttt-peek checkpoint | grep -q "	norm "'
header='{"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}'
{ printf "\\x$(printf %x ${#header})\\0\\0\\0\\0\\0\\0\\0%s" "$header"; printf '\0\0\100\100\0\0\200\100'; } >three_four.safetensors
expect "peek: shape, mean, largest and norm of a tensor" bash -c 'ttt-peek three_four.safetensors | grep -qx "x	F32	\[1, 2\]	rms 3.536	most 4	norm 5"'
truncate -s -4 checkpoint/params.safetensors
refuse "verify: a checkpoint's file cut" 1 "params.safetensors" ttt-verify checkpoint
expect "verify: safetensors below a folder" ttt-verify -q "$root/tests/golden/ops"
expect "peek: safetensors" bash -c 'ttt-peek "$0" | grep -q "	F32	\["' "$root/tests/golden/ops/swiglu.safetensors"

# ---- read-only -----------------------------------------------------------------------------------
chmod 755 "$work" # for a user who may not write everywhere
mkdir -p locked && chmod 500 locked
if touch locked/x 2>/dev/null; then
    rm -f locked/x
    if command -v setpriv >/dev/null && setpriv --reuid=65534 --regid=65534 --clear-groups test -r a.tok 2>/dev/null; then
        nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
    else
        nobody() { return 77; }
    fi
else
    nobody() { "$@"; }
fi
if nobody test -r a.tok; then
    refuse "read-only: shuffle" 1 "locked/x.tok" nobody "$bin/ttt-shuffle" --seed 1 -o locked/x.tok a.tok
    refuse "read-only: pack" 1 "locked" nobody "$bin/ttt-pack" -o locked --tokenizer-name small a.tok
else
    skip "read-only" "root may write everywhere, and there is no setpriv"
fi

# ---- full disk -----------------------------------------------------------------------------------
limited() { bash -c 'ulimit -f 4; "$@"' - "$@"; }
refuse "file size limit: shuffle" 1 "File too large" limited ttt-shuffle --seed 1 -o big.tok a.tok
refuse "file size limit: pack" 1 "File too large" limited ttt-pack -o full --tokenizer-name small --train=a.tok --validation=one.tok --test=two.tok
refuse "file size limit: shuffle, in the midst of many blocks" 1 "File too large" bash -c 'ulimit -f 1100; ttt-shuffle -q --seed 1 -o big.tok blocks.tok'
expect "nothing under a final name" bash -c '[[ ! -e big.tok && -z $(find . -name "*.part.*") && -z $(find full -name "*.npy" 2>/dev/null) ]]'
refuse "standard output full: shuffle" 1 "No space left" bash -c 'ttt-shuffle -q --seed 1 a.tok >/dev/full'
refuse "standard output full: peek" 1 "standard output" bash -c 'ttt-peek --format=ids a.tok >/dev/full'
refuse "standard output full: verify" 1 "standard output" bash -c 'ttt-verify a.tok >/dev/full'
mkdir -p small_disk
if [[ $(id -u) -eq 0 ]] && mount -t tmpfs -o size=16k tmpfs small_disk 2>/dev/null; then
    trap 'umount "$work/small_disk" 2>/dev/null; rm -rf "$work"' EXIT
    refuse "full disk: shuffle" 1 "No space left" ttt-shuffle --seed 1 -o small_disk/x.tok a.tok
    refuse "full disk: pack" 1 "No space left" ttt-pack -o small_disk --tokenizer-name small --train=a.tok --validation=one.tok --test=two.tok
    expect "full disk: nothing stays" bash -c '[[ -z $(find small_disk -type f) ]]'
    umount small_disk
else
    skip "full disk" "a tmpfs cannot be mounted here"
fi

# ---- peek ----------------------------------------------------------------------------------------
expect "peek: a summary" bash -c 'ttt-peek a.tok | grep -qx "documents	300"'
expect "peek: of a dataset" bash -c 'ttt-peek "$0" | grep -q "^train.npy	uint16"' "$path"
expect "peek: text" bash -c 'ttt-peek --format=text --tokenizer "$0" --doc 1 -n 1 a.tok | grep -qx "Document 2: in the beginning was word 14 of 2, and it was said."' "$model"
expect "peek: jsonl" bash -c 'ttt-peek --format=jsonl --tokenizer "$0" --doc 299 a.tok | grep -qE "^\{\"doc\":299,\"ids\":\[1,[0-9,]+,2\],\"text\":\"Document 300: .*\"\}$"' "$model"
expect "peek: jsonl is JSON, a line a document" bash -c 'ttt-peek --format=jsonl --tokenizer "$0" a.tok | wc -l | grep -qx 300' "$model"
expect "peek: a pipe" bash -c 'ttt-peek --format=ids --doc 7 -n 3 - <a.tok | cmp - <(sed -n 8,10p a.ids)'
expect "peek: by number" bash -c 'ttt-peek --format=ids --doc 7 -n 3 a.tok | cmp - <(sed -n 8,10p a.ids)'
expect "peek: a packed array" bash -c 'ttt-peek --format=ids --doc 7 -n 3 c/*/train.npy | cmp - <(sed -n 8,10p a.ids)'
expect "peek: one without offsets" bash -c 'cp c/*/train.npy bare.npy && ttt-peek -q --format=ids bare.npy | cmp - a.ids'
expect "peek: a range" bash -c 'ttt-peek --format=ids --doc 7..9 a.tok | cmp - <(sed -n 8,10p a.ids)'
refuse "peek: no range" 2 "--doc" ttt-peek --format=ids --doc 9..7 a.tok
for columns in 20 33 200; do
    wide=$(COLUMNS=$columns ttt-peek --plot a.tok | sed -n '/^documents by/,$p' | LC_ALL=C.UTF-8 wc -L)
    expect "peek --plot: $columns columns wide" test "$wide" -gt $((columns / 2)) -a "$wide" -le "$columns"
done
# On a terminal of any width no line is wider.
if command -v script >/dev/null; then
    for columns in 20 31 80 300; do
        for what in "--plot a.tok" "$path" "$root/tests/golden/ops/swiglu.safetensors"; do
            script -qec "stty cols $columns; ttt-peek $what" /dev/null </dev/null 2>/dev/null >seen.txt
            plain=$(sed 's/\x1b\[[0-9;]*[mK]//g; s/.*\r\(.\)/\1/; s/\r//g' seen.txt)
            wide=$(LC_ALL=C.UTF-8 wc -L <<<"$plain")
            expect "peek $what: $columns columns wide, in colour" test "$wide" -gt 10 -a "$wide" -le "$columns" -a -n "$(grep -F $'\e[34m' seen.txt)"
        done
    done
else
    skip "peek on terminals" "there is no script(1) here"
fi
expect "peek: no colours into a pipe" bash -c '! ttt-peek --plot a.tok | grep -q "$(printf "\\033")"'
expect "peek: a window, BOS masked" bash -c 'ttt-peek --window 1 --seq-length 40 "$0" | awk "NR > 1 && (\$3 == 1) == \$4 { bad = 1 } END { exit bad || NR != 41 }"' "$path"
refuse "peek: no such window" 1 "no window 9999" ttt-peek --window 9999 --seq-length 40 "$path"
refuse "peek: no such document" 1 "there is no document 300" ttt-peek --format=ids --doc 300 a.tok
refuse "peek: another tokenizer's file" 1 "" ttt-peek --format=text --tokenizer text.txt a.tok
cp "$model" here.model
ttt-tokenize -q --tokenizer here.model -o here.tok corpus.jsonl && rm here.model
refuse "peek: text without a tokenizer" 1 "--tokenizer" ttt-peek --format=text here.tok

printf '%d passed, %d failed' $passed $failed
[[ $skipped -gt 0 ]] && printf ', %d skipped' $skipped
echo
[[ $failed -eq 0 ]]
