# What the checks share; sourced by them. Each check walks the tree under $root (its first argument, or this repository), prints a
# line "file:line: what is wrong" for each fault, counts rules rather than faults, and ends with "N passed, N failed" on a line of its own
# (tests/run.sh adds such lines up).
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${1:-$here/../..}
cd "$root"
passed=0
failed=0
echo "== $(basename "$0")"

# files PATTERN…: the tree's files of these names, without what is built, fetched or not ours.
files() {
        local -a names=()
        local pattern

        for pattern in "$@"; do
                names+=(-o -name "$pattern")
        done
        find . \( -name .git -o -path './build*' -o -path ./var -o -name __pycache__ \) -prune -o \
                -type f \( "${names[@]:1}" \) -print | sed 's|^\./||' | sort
}

# rule NAME FAULTS: one rule has been looked at; FAULTS is its output, empty when all is well.
rule() {
        if [ -z "$2" ]; then
                passed=$((passed + 1))
        else
                failed=$((failed + 1))
                printf '%s\n' "$2"
        fi
}

# The last line, and the exit status.
finish() {
        echo "$passed passed, $failed failed"
        [ "$failed" -eq 0 ]
}
