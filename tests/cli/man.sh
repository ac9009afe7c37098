#!/bin/bash
# man.sh BIN -- manual pages and completions of every program, as readers and shells take them.
set -uo pipefail
bin=$(cd "${1:?usage: man.sh BIN}" && pwd) || exit 1
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d --tmpdir ttt-man-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1  ${2-}"; }
check() {
    local name=$1
    shift
    if "$@"; then ok "$name"; else bad "$name"; fi
}
skip() { skipped=$((skipped + 1)); echo "skip $1  $2"; }

check 'all are made' "$here/scripts/make-man" "$bin" made
for program in "$bin"/ttt-*; do
    name=${program##*/}
    [[ $name == ttt-*-* ]] && continue
    page=made/man1/$name.1
    # Every flag of the table is on the page, at its own line.
    missing=$(comm -23 <("$program" --help | grep -oE '^  (-., )?--[^ =]+' | grep -oE -- '--.*' | sort) \
        <(sed -n 's/^\.B //p' "$page" | tr -d '\\' | grep -oE -- '--[^ =]+' | sort))
    check "$name: every flag has its place" test -z "$missing"
    check "$name: a name and a sentence" grep -qE "^$name [\\]- [A-Z].{15,}" "$page"
    if command -v man >/dev/null; then
        said=$(man --warnings -l -Tutf8 "$page" 2>&1 >page.txt)
        check "$name: man has no complaint" test -z "$said" -a "$(wc -l <page.txt)" -gt 20
    else
        skip "$name: read by man" 'no man here'
    fi
    check "$name: bash takes its completion" bash -n "made/bash/$name"
    if command -v zsh >/dev/null; then
        check "$name: zsh takes its completion" zsh -n "made/zsh/_$name"
    fi
done

# complete WORD...: what bash offers for the last of these words.
complete_words()
{
    bash -c 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }
        _ttt_generate; printf "%s\n" "${COMPREPLY[@]}"' - made/bash/ttt-generate "$@"
}
touch file.model
check 'a flag' test "$(complete_words ttt-generate --temp)" = --temperature=
check 'several' test "$(complete_words ttt-generate --to | sort | xargs)" = '--tokenizer= --tokens= --top_k= --top_p='
check 'a choice' test "$(complete_words ttt-generate --device = c | xargs)" = 'cpu cuda'
check 'a file' test "$(complete_words ttt-generate --tokenizer = fil)" = file.model
check 'nothing for a number' test -z "$(complete_words ttt-generate --tokens = | xargs)"

check 'version, build, commit' grep -qE '^ttt-generate [^ ]+ \([a-z0-9-]+ build\)$' <("$bin/ttt-generate" --version)
check 'backend and other builds' grep -qE '^backend (cpu|cuda|emulated).*; builds beside this one: ' <("$bin/ttt-train" --version)

echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 ]]
