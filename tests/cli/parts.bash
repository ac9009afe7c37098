# parts.bash -- what tests of programs have in common: a folder of their own, counts, a line a case.
# shellcheck shell=bash
# Sourced with the folder of the programs as its argument; stands in the test's folder from then on.
set -uo pipefail
# shellcheck disable=SC2034
bin=$(cd "${1:?usage: SCRIPT BIN}" && pwd) || exit 1
# shellcheck disable=SC2034
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d --tmpdir "ttt-$(basename "$0" .sh)-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0
export OMP_NUM_THREADS=1

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() {
    failed=$((failed + 1))
    echo "FAIL $1"
    sed 's/^/     | /' "$work/err" 2>/dev/null | tail -n 5
}
skip() { skipped=$((skipped + 1)); echo "skip $1  $2"; } # skip NAME REASON
check() { # check NAME COMMAND...: the command succeeds
    local name=$1
    shift
    if "$@"; then ok "$name"; else bad "$name"; fi
}
# refuses NAME STATUS WORDS FLAGS...: "${program[@]}" FLAGS has that exit status and says these words.
refuses() {
    local name=$1 status=$2 words=$3 got
    shift 3
    "${program[@]:?}" "$@" >/dev/null 2>"$work/err"
    got=$?
    if [[ $got -eq $status ]] && grep -q -- "$words" "$work/err"; then
        ok "$name"
    else
        echo "     | exit $got, expected $status and: $words"
        bad "$name"
    fi
}
holds() { jq -e "$@" >/dev/null; } # holds [FLAGS] FILTER FILE...: it is true
near() { jq -en --argjson a "$1" --argjson b "$2" --argjson d "$3" '($a - $b | fabs) <= $d' >/dev/null; }
# array FILE COUNT [NOISE]: ids 3 to 52 in a pattern that can be learnt, as numpy writes uint16; the
# first NOISE of them by chance.
array() {
    printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "{'descr': '<u2', 'fortran_order': False, 'shape': ($2,), }" >"$1"
    printf '%b' "$(awk -v n="$2" -v noise="${3-0}" 'BEGIN { srand(3); for (i = 0; i < n; i++)
        printf "\\0%03o\\0000", i < noise ? int(rand() * 50) + 3 : (i * 7 + int(i / 13) * 3) % 50 + 3 }')" >>"$1"
}
# dataset DIR TRAIN VALIDATION [NOISE]: a dataset of so many ids below DIR, and `data` is its folder.
dataset() {
    data=$1/tokenizer_name-tiny-val_ratio-0.0005-val_split_seed-2357-add_eos-True-detokenize-False
    mkdir -p "$data"
    array "$data/train.npy" "$2" "${4-0}"
    array "$data/validation.npy" "$3"
}
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [[ $failed -eq 0 ]]
    exit
}
