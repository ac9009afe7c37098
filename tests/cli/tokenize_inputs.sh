#!/bin/bash
# tokenize_inputs.sh BIN -- what ttt-tokenize reads: archives, folders, lists, parted texts, paths to texts.
set -uo pipefail
bin=$(cd "${1:?usage: tokenize_inputs.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
model=$here/tests/golden/tokenizer/small-1024.model
work=$(mktemp -d --tmpdir ttt-inputs-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1${2:+  $2}"; }
tokenize() { "$bin/ttt-tokenize" --tokenizer "$model" "$@"; }
# The texts, one a line as JSON.
texts() { tokenize -q "$@" 2>err | "$bin/ttt-peek" -q --format=jsonl --tokenizer "$model" - 2>/dev/null | sed 's/.*"text"://; s/}$//'; }

# reads NAME WANT ARG...: these texts, WANT with blanks between.
reads()
{
    local name=$1 want=$2 found
    shift 2
    found=$(texts "$@" | tr '\n' ' ')
    if [[ $found == "$want " ]]; then ok "$name"; else bad "$name" "$found $(cat err)"; fi
}
refused()
{
    local name=$1 want=$2 pattern=$3 status
    shift 3
    tokenize "$@" 2>err >/dev/null
    status=$?
    if [[ $status -eq $want ]] && grep -qE -- "$pattern" err; then ok "$name"; else bad "$name" "$status $(cat err)"; fi
}

# ---- archives ----------------------------------------------------------------------------------

mkdir -p in/deep/er
printf '{"text":"one"}\n{"text":"two"}\n' >in/a.jsonl
printf 'three' >in/b.txt
printf '[{"text":"four"},{"text":"five"}]' >in/deep/c.json
printf '{"text":"six"}\n' | gzip >in/deep/d.jsonl.gz
printf 'seven' | xz >in/deep/er/e.txt.xz
: >in/deep/er/f.jsonl
all='"one" "two" "three" "four" "five" "six" "seven"'
files=(in/a.jsonl in/b.txt in/deep/c.json in/deep/d.jsonl.gz in/deep/er/e.txt.xz in/deep/er/f.jsonl)
ln -s a.jsonl in/link.jsonl
for format in ustar pax gnu v7; do
    tar --format=$format -cf x.tar "${files[@]}" in/link.jsonl
    reads "tar, $format" "$all" x.tar
done
tar --hard-dereference -czf unnamed in/deep/er "${files[@]}"
reads 'tar.gz by its content, a folder in it' "\"seven\" $all" unnamed
for packer in zstd xz bzip2 lz4; do
    command -v $packer >/dev/null || { skipped=$((skipped + 1)); echo "skip tar in $packer  no $packer here"; continue; }
    $packer -c <x.tar >x.packed 2>/dev/null
    reads "tar in $packer, from standard input" "$all" - <x.packed
done
python3 - "${files[@]}" <<'END'
import sys, zipfile
with zipfile.ZipFile("x.zip", "w", zipfile.ZIP_DEFLATED) as z:
    for name in sys.argv[1:]:
        z.write(name)
END
reads 'zip' "$all" x.zip
head -c $(($(stat -c %s x.zip) / 2)) x.zip >cut.zip
refused 'zip, cut short' 1 'cut.zip.*(cut short|damaged)' cut.zip
head -c 2000 x.tar >cut.tar
refused 'tar, cut short' 1 'cut.tar.*(cut short|damaged)' cut.tar
gzip -c x.tar | head -c 200 >cut.tgz
refused 'tar.gz, cut short' 1 'cut.tgz.*cut short' cut.tgz
printf '{"text":"good"}\n{"text":null}\n' >in/g.jsonl
tar -cf faulty.tar in/a.jsonl in/g.jsonl
refused 'a fault in an archive has its place' 1 'faulty.tar:in/g.jsonl:2: .*null' faulty.tar
tokenize -q --on-error=skip --rejects bad.jsonl -o x.tok faulty.tar
if grep -q '"file":"faulty.tar:in/g.jsonl","line":2,"offset":24,' bad.jsonl; then ok 'and in the rejects'; else bad 'and in the rejects' "$(cat bad.jsonl)"; fi
rm in/g.jsonl
echo hello >in/README
tar -cf readme.tar in/README
refused 'a file of no known format in an archive' 1 'readme.tar:in/README: neither' readme.tar
reads 'but with --format' '"hello\n"' --format=text readme.tar

# ---- folders and lists -------------------------------------------------------------------------

mkdir in/.git
echo '{"text":"hidden"}' >in/.git/h.jsonl
reads '-r' '"one" "two" "three" "four" "five" "six" "seven" "one" "two"' -r in
tokenize -r in 2>err >/dev/null
if grep -q '1 files in the folders are passed over' err; then ok 'tells what it passes over'; else bad 'tells what it passes over' "$(cat err)"; fi
refused 'a folder without -r' 1 'in: is a directory; add -r' in
mkdir none
refused 'a folder of nothing' 1 'no input' -r none
printf 'in/deep/c.json\0in/a.jsonl\0' >list
reads '-0' '"four" "five" "one" "two"' -0 list
reads '-0 from standard input' '"one" "two" "three"' -0 - < <(printf 'in/a.jsonl\0in/b.txt\0')
refused '-0 with a missing file' 1 'nowhere: No such' -0 - < <(printf 'nowhere\0')
printf 'odd\nname "\303\244.jsonl' >odd
cp in/a.jsonl "$(cat odd)"
reads '-0 with any name' '"one" "two"' -0 odd

# ---- parted texts ------------------------------------------------------------------------------

printf '\357\273\277first\nstill\n\n \t\n\nsecond\r\n\r\nthird' >parted.txt
reads '--split-blank' '"first\nstill" "second" "third"' --split-blank parted.txt
printf 'a\n<|endoftext|>\n<|endoftext|>\nb\n\nc\n<|endoftext|>\r\nd <|endoftext|>\n' >parted.txt
reads '--separator' '"a" "b\n\nc" "d <|endoftext|>"' --separator '<|endoftext|>' parted.txt
reads 'of standard input, whatever its name' '"x" "y"' --separator -- - < <(printf 'x\n--\ny\n')
reads 'not of JSON' '"one" "two"' --split-blank in/a.jsonl
printf '\n\n' >blank.txt
refused 'nothing but blank lines' 1 'no document' --split-blank blank.txt
awk 'BEGIN { for (i = 0; i < 40000; i++) printf "%s%s", "a line of a long document ", i % 9000 == 8999 ? "\n\n" : "\n" }' >long.txt
if [[ $(texts --split-blank long.txt | awk '{ print length($0) }' | sort -u | wc -l) -eq 2 && $(texts --split-blank long.txt | wc -l) -eq 5 ]]; then
    ok 'documents longer than a buffer'
else bad 'documents longer than a buffer'; fi

# ---- paths to texts ----------------------------------------------------------------------------

printf '{"meta":{"x":{"body":"no"},"body":"yes"},"body":"top","a.b":"dots"}\n{"body":"top","meta":{"l":[{"body":"no"}],"body":"yes2","text":1},"a.b":"d"}\n' >nested.jsonl
reads '--text-key=meta.body' '"yes" "yes2"' --text-key=meta.body nested.jsonl
reads '--text-key=body' '"top" "top"' --text-key=body nested.jsonl
reads 'a dot in a name' '"dots" "d"' '--text-key=a\.b' nested.jsonl
refused 'a path that leads nowhere' 1 'no member "meta.x.body"' --text-key=meta.x.body nested.jsonl
refused 'a path through a string' 1 'no member "body.x"' --text-key=body.x nested.jsonl
refused 'twice by a path' 1 'given twice' --text-key=m.t - < <(echo '{"m":{"t":"a"},"m":{"t":"b"}}')
refused 'an empty name' 2 'at least one byte' --text-key=a..b nested.jsonl

# ---- memory ------------------------------------------------------------------------------------

# run TEXT BYTES: that text again and again on one line.
run() { yes "$1" | head -c "$2" | tr -d '\n'; }
{ printf '{"text":"'; run 'words and words ' 55000000; echo '"}'; } >big.jsonl
refused 'a record beyond --memory' 1 'big.jsonl: the record at byte 0 has more than .* memory' --memory=64M big.jsonl
rm big.jsonl
# With 64 MB of memory a document of more than 2 MB is encoded in parts, with all there is only one of more than 4.
{
    printf '{"text":"one"}\n{"text":"'
    run 'words <s>and</s> \"words\" \u00e9é\n火火▁ ▁\ud83d\ude00  ' 3500000
    printf ' end"}\n{"m":[1],"text":"'
    run 'words and ' 2300000
    printf '\377'
    run 'words and ' 200000
    printf '\\ud83d"}\n{"text":"'
    run 'and \\u0020words' 2300000
    printf '\\ud83d \377"}\n{"text":"two"}\n'
} >long.jsonl
{ printf '\357\273\277one\n'; run 'words and ' 2500000; printf '\377 \n'; run 'two' 900000; } >long.txt
for j in 1 3; do
    tokenize -q -j$j --on-error=replace --rejects whole.rejects -o whole.tok long.jsonl long.txt
    [[ $? -eq 3 ]] || bad 'a long document, whole'
    tokenize -q -j$j --memory=64M --on-error=replace --rejects parts.rejects -o parts.tok long.jsonl long.txt
    if [[ $? -eq 3 && $(wc -l <parts.rejects) -eq 3 ]] && cmp whole.tok parts.tok && cmp whole.rejects parts.rejects; then
        ok "a long document in parts, -j$j"
    else bad "a long document in parts, -j$j" "$(cat parts.rejects)"; fi
    tokenize -q -j$j --on-error=skip --rejects whole.rejects -o whole.tok --force long.jsonl
    tokenize -q -j$j --memory=64M --on-error=skip --rejects parts.rejects -o parts.tok --force long.jsonl
    if cmp whole.tok parts.tok && cmp whole.rejects parts.rejects; then ok 'and left out'; else bad 'and left out'; fi
    rm -f whole.tok* parts.tok*
done
{ echo one; run 'words and ' 2500000; printf '\n\ntwo\n\n'; } >long.txt
tokenize -q --split-blank -o whole.tok long.txt
tokenize -q --split-blank --memory=64M -o parts.tok long.txt
if cmp whole.tok parts.tok; then ok 'and of a text with several'; else bad 'and of a text with several'; fi
tokenize -q --memory=64M --count --on-error=skip long.jsonl long.txt >counts 2>/dev/null
if [[ $(tail -n 1 counts) == 4$'\t'*$'\t'4911213$'\t'2$'\t'*total ]]; then ok 'its parts are one'; else bad 'its parts are one' "$(cat counts)"; fi
run llllllllll 5000000 >letter.txt
refused 'no place to cut' 1 'letter.txt: .* hold no place to cut' --memory=64M letter.txt

printf '%d passed, %d failed' $passed $failed
[[ $skipped -gt 0 ]] && printf ', %d skipped' $skipped
echo
[[ $failed -eq 0 ]]
