#!/usr/bin/env bash
# Who may know whom:
#
#      config ◄── queues ──────┐
#        ▲  ◄──── providers ───┼── workers
#        └─ ◄──── retrieval ───┘          queues, providers and retrieval never include one another; nobody includes workers or tests
#
# An include of ours gives the whole path from the root; only one file includes FAISS; no two source files share a name, and a header's
# guard is its path. `includes.sh [ROOT]`
. "$(dirname "$0")/lint.sh"

# Two trees are no part of the program: the checks of what `make deps` builds, and planted faults.
mapfile -t sources < <(files '*.c' '*.h' | grep -v '^deploy/deps/' || true)
[ "${#sources[@]}" -gt 0 ] || { echo "includes.sh: no sources under $root" >&2; exit 2; }

# path:line:"name" of every include with quotes
ours=$(grep -nHoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]*"' "${sources[@]}" | sed -E 's/:[[:space:]]*#[[:space:]]*include[[:space:]]*"/:"/' || true)

rule "whole paths" "$(while IFS=: read -r file line name; do
        name=${name//\"/}
        [ -z "$name" ] || [ -f "$name" ] || echo "$file:$line: \"$name\" is no path from the root"
done <<<"$ours")"

rule "directions" "$(awk -F: '
        function room(path) { return path ~ /\// ? substr(path, 1, index(path, "/") - 1) : "" }
        BEGIN {
                allowed["config"] = " config "
                allowed["queues"] = " config queues "
                allowed["providers"] = " config providers "
                allowed["retrieval"] = " config retrieval "
                allowed["workers"] = " config queues providers retrieval workers "
                allowed["tests"] = " config queues providers retrieval workers tests "
        }
        NF >= 3 {
                from = room($1)
                to = $3
                gsub(/"/, "", to)
                if (from in allowed && room(to) != "" && index(allowed[from], " " room(to) " ") == 0)
                        print $1 ":" $2 ": " from " must not include \"" to "\""
        }' <<<"$ours")"

rule "FAISS in one file" "$(grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]faiss/' "${sources[@]}" |
        grep -v '^retrieval/vectors/faiss_index\.c:' | sed -E 's/^([^:]*:[0-9]*):.*/\1: only retrieval\/vectors\/faiss_index.c includes FAISS/' || true)"

# Where the folder says enough (README.md, run.sh) a name may come again; a name that C sees may not.
rule "unique names" "$(files '*.c' '*.h' '*.py' '*.lua' | grep -v '^deploy/deps/' | awk '
        { name = $0; sub(/.*\//, "", name) }
        name == "__init__.py" { next }
        name in first { print $0 ":1: " first[name] " has the same name"; next }
        { first[name] = $0 }')"

rule "guards" "$(files '*.h' | grep -v '^deploy/deps/' | xargs -r awk '
        FNR == 1 { want = toupper(FILENAME); gsub(/[^A-Z0-9]/, "_", want); seen = 0 }
        /^#ifndef / && !seen { seen = 1; if ($2 != want) print FILENAME ":" FNR ": the guard must be " want }
        /^#(include|define)/ && !seen { seen = 1; print FILENAME ":" FNR ": no guard before this line" }')"

finish
