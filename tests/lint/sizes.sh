#!/usr/bin/env bash
# Sizes worth a second look: .c files past 600 lines, headers past 150, functions past 70, lines past 132 columns (`make format` breaks
# those of code). They are told, not refused: a long table or a contract may be right as it is. With LINT_STRICT=1 each is a fault. `sizes.sh [ROOT]`
. "$(dirname "$0")/lint.sh"

files_of() { files "$@" | grep -v '^deploy/deps/' || true; }

look() { # NAME FAULTS
        if [ "${LINT_STRICT:-0}" = 1 ]; then
                rule "$1" "$2"
        else
                [ -z "$2" ] || sed 's/$/ (worth a second look)/' <<<"$2"
                rule "$1" ""
        fi
}

look "sources" "$(files_of '*.c' | xargs -r awk 'FNR == 601 { print FILENAME ":601: a source of more than 600 lines" }')"
look "headers" "$(files_of '*.h' | xargs -r awk 'FNR == 151 { print FILENAME ":151: a header of more than 150 lines" }')"
# A function begins with its brace alone in the first column, and ends so; its name is on the lines before.
look "functions" "$(files_of '*.c' '*.h' | xargs -r awk '
        FNR == 1 { from = 0; head = "" }
        /^[A-Za-z_].*\(/ { head = $0 }
        /^\{$/ { from = FNR; name = head; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
        /^\}$/ && from { if (FNR - from - 1 > 70) print FILENAME ":" from ": " name "() has " FNR - from - 1 " lines, more than 70"; from = 0 }')"

# A byte that goes on with a character of UTF-8 takes no column.
wide=$(files_of '*.c' '*.h' | xargs -r awk 'length($0) > 132 {
        wide = $0
        gsub(/[\200-\277]/, "", wide)
        if (length(wide) > 132) print FILENAME ":" FNR ": " length(wide) " columns, more than 132" }')
if [ "${LINT_STRICT:-0}" = 1 ] || [ -z "$wide" ]; then
        rule "columns" "$wide"
else
        echo "$(wc -l <<<"$wide") lines in $(cut -d: -f1 <<<"$wide" | sort -u | wc -l) files are wider than 132 columns (LINT_STRICT=1 names them)"
        rule "columns" ""
fi

finish
