#!/bin/bash
# plot.sh BIN -- scripts/ttt-plot: pictures, the terminal, and a page seen by a real browser.
set -uo pipefail
bin=$(cd "${1:?usage: plot.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
plot=$here/scripts/ttt-plot
work=$(mktemp -d --tmpdir ttt-plot-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1"; sed 's/^/     | /' err 2>/dev/null | tail -n 5; }
check() {
    local name=$1
    shift
    if "$@" 2>err; then ok "$name"; else bad "$name"; fi
}
skip() { skipped=$((skipped + 1)); echo "skip $1  $2"; }
if [[ ! -x $bin/ttt-train || ! -x $bin/ttt-pack ]] || ! command -v gnuplot >/dev/null || ! command -v jq >/dev/null; then
    skip plot 'no gnuplot or no jq'
    echo '0 passed, 0 failed, 1 skipped'
    exit
fi

# Two runs as ttt-train writes them; the second's last line is half one, its name is awkward.
mkdir -p first 'se"cond <b>_'
awk 'BEGIN { for (s = 1; s <= 40; s++) {
    printf "{\"step\": %d, \"loss\": %.4f, \"grad_norm\": %.3f, \"learning_rate\": %.6f, \"tokens_per_s\": %d, \"elapsed_s\": %.1f}\n", s, 3 + 4 / s, 1 + 1 / s, 1e-3 * s / 40, 900 + s, s * 2
    if (s % 10 == 0) printf "{\"step\": %d, \"val_loss\": %.4f, \"val_tokens\": 99}\n", s, 3.1 + 4 / s
    if (s % 20 == 0) for (l = 0; l < 3; l++) {
        printf "{\"step\": %d, \"layer\": %d, \"x\": [16, 32, 48], \"ttt_stats\": [[1, 1.1, 1.2], [2, 2, 2], [1.9, 1.5, 1.2], [1.8, 1.2, %.1f]]}\n", s, l, 1 + l } } }' >first/metrics.jsonl
grep -v layer first/metrics.jsonl | sed 's/"loss": 3/"loss": 4/' >'se"cond <b>_/metrics.jsonl'
printf '{"step": 41, "lo' >>'se"cond <b>_/metrics.jsonl'
echo '--seq_length=<48> & more' >first/flags.txt
cat >first/eval.json <<'JSON'
{"results": [{"checkpoint": "first/step_40", "dataset": "data", "seq_length": 64, "by_position": {"from": [1, 17, 33, 49], "loss": [4.5, 3.5, null, 3.1]}}]}
JSON

is_png() { [[ $(head -c 8 "$1" | od -An -tx1 | tr -d ' ') == 89504e470d0a1a0a && $(wc -c <"$1") -gt 5000 ]]; }
check 'two runs' "$plot" --out pictures first 'se"cond <b>_' >said
for figure in loss grad_norm learning_rate throughput by_position stats_grid stats_layer_000 stats_layer_002; do
    check "a picture: $figure" is_png "pictures/$figure.png"
done
check 'and no more' test "$(find pictures -type f | wc -l)" = 9
check 'a run alone, in its own folder' "$plot" first >said
check 'which is plots/' is_png first/plots/loss.png
check 'by the name of the file' "$plot" --out pictures first/metrics.jsonl >said
check 'on the terminal' grep -q 'se"cond' <("$plot" --ascii first 'se"cond <b>_')
check 'which draws nothing' test "$(find . -name '*.png' | wc -l)" = 18
"$plot" --line 3.3 --html page.html first 'se"cond <b>_' >said 2>err
check 'a page' test "$(cat said)" = page.html
check 'asks for nothing else' test -z "$(grep -oE '(src|href|url)[=(] *["'\'']?(https?:|//|/|\.)[^ ]*' page.html | grep -v w3.org)"
check 'names are text' grep -q 'cond &lt;b&gt;' page.html
check 'nobody writes tags' test -z "$(grep -o 'cond <b>' page.html)"
check 'flags too' grep -q -- '--seq_length=&lt;48&gt; &amp; more' page.html

refuses() {
    local name=$1 status=$2 words=$3 got
    shift 3
    "$plot" "$@" >/dev/null 2>err
    got=$?
    if [[ $got -eq $status && $(wc -l <err) -eq 1 ]] && grep -q -- "$words" err; then ok "$name"; else bad "$name: $got"; fi
}
mkdir empty && : >empty/metrics.jsonl
refuses 'no run' 2 'expected a RUN'
refuses 'no such run' 1 'nowhere: no run' nowhere
refuses 'a run without steps' 1 'no line has a loss' empty
refuses 'an unknown flag' 2 'no such flag' --png first
refuses 'an evaluation that is none' 1 'not what ttt-eval' --eval first/flags.txt first

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
if [[ -n $browser ]]; then
    # Without a network: every host is unknown. stderr has the console.
    see() {
        timeout 100 "$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
            --user-data-dir="$work/browser" --host-resolver-rules='MAP * ~NOTFOUND' --enable-logging=stderr \
            --hide-scrollbars --window-size=700,900 "$@" "file://$work/page.html"
    }
    see --screenshot="$work/seen.png" >/dev/null 2>console
    check 'seen by a browser' is_png seen.png
    check 'without a word on its console' test -z "$(grep -E 'CONSOLE|ERR_' console)"
    python3 - seen.png >colours 2>err <<'PY'
import struct, sys, zlib
png = open(sys.argv[1], "rb").read()
at, data = 8, b""
while at < len(png):
    length, kind = struct.unpack(">I4s", png[at:at + 8])
    if kind == b"IHDR":
        width, height, depth, colour = struct.unpack(">IIBB", png[at + 8:at + 18])
    data += png[at + 8:at + 8 + length] if kind == b"IDAT" else b""
    at += 12 + length
n = {2: 3, 6: 4}[colour]
raw, before, seen = zlib.decompress(data), bytearray(width * n), set()
for y in range(height):
    f, row = raw[y * (width * n + 1)], bytearray(raw[y * (width * n + 1) + 1:(y + 1) * (width * n + 1)])
    for x in range(width * n):
        a, b, c = row[x - n] if x >= n else 0, before[x], before[x - n] if x >= n else 0
        p = [0, a, b, (a + b) // 2, min((a, b, c), key=lambda v: abs(a + b - c - v))][f]
        row[x] = (row[x] + p) & 255
    seen |= {bytes(row[x:x + 3]) for x in range(0, width * n, n)}
    before = row
for want in ("3b6ea5", "c04f15"):
    print("ok" if bytes.fromhex(want) in seen else "missing", want)
print("ok" if len(seen) > 50 else "blank", len(seen))
PY
    check 'and both curves are there to see' test "$(grep -c ok colours)" = 3
else
    skip 'a browser' 'no chromium here'
fi

echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 ]]
