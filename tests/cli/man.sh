#!/bin/bash
# man.sh BIN -- manual pages and completions of every program, as readers and shells take them.
# shellcheck source=tests/cli/parts.bash disable=SC2154
. "$(dirname "$0")/parts.bash" "$@"

check 'all are made' "$here/scripts/make-man" "$bin" made
export PATH=$bin:$PATH
for program in "$bin"/ttt-* "$here/scripts/ttt-plot"; do
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
    command -v zsh >/dev/null && check "$name: zsh takes its completion" zsh -n "made/zsh/_$name"
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

# What people see who press Tab: typed into a shell on a terminal of its own.
cat >press.py <<'PY'
import os, pty, re, select, sys, time

words, wanted, shell = sys.argv[1], sys.argv[2], sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", PS1="", HISTFILE="/dev/null")
    os.execvp(shell[0], shell)


def read(until, most_s):
    seen, end = "", time.time() + most_s
    while until not in seen and time.time() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            seen += re.sub(r"\x1b[^a-zA-Z]*[a-zA-Z]|\r", "", os.read(terminal, 4096).decode(errors="replace"))
    return seen


setup = {
    "bash": "source made/bash/ttt-generate",
    "zsh": "fpath=($PWD/made/zsh $fpath); autoload -U compinit; compinit -u -D; unsetopt beep",
}[shell[0]]
os.write(terminal, f"{setup}; echo re''ady\n".encode())
if "ready" not in read("ready", 20):
    sys.exit(f"{shell[0]} does not start")
os.write(terminal, f"ttt-generate {words}\t".encode())
seen = read(wanted, 5)
os.kill(pid, 9)
if wanted not in seen:
    sys.exit(f"{shell[0]} shows {seen!r}, not {wanted!r}")
PY
for shell in bash zsh; do
    if ! command -v $shell >/dev/null || ! command -v python3 >/dev/null; then
        skip "Tab in $shell" "no $shell or no python3 here"
        continue
    fi
    how=(bash --norc --noprofile -i)
    [[ $shell == zsh ]] && how=(zsh -f -i)
    check "Tab in $shell: a flag" python3 press.py --temper --temperature= "${how[@]}"
    check "Tab in $shell: a choice" python3 press.py --device=cud --device=cuda "${how[@]}"
done

version=$(cat "$bin/../obj/version")
build=$(basename "$(dirname "$bin")")
for program in "$bin"/ttt-* "$here/scripts/ttt-plot"; do
    name=${program##*/} said=$("$program" --version)
    check "$name: version and build" test "${said%%$'\n'*}" = "${name%-mpi} $version ($build build)"
    case $name in
    ttt-train | ttt-eval | ttt-generate)
        check "$name: backend, other builds" grep -qE '^backend cpu; builds beside this one: ' <<<"$said" ;;
    ttt-train-mpi) check "$name: backend, other builds" grep -qE '^backend cpu with MPI; ' <<<"$said" ;;
    esac
done

finish
