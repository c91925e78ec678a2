#!/usr/bin/env bash
# What clang-format would change, by file; a look, not a judgement (tables that are laid out by hand stand between
# `clang-format off` and `on`). `format.sh [--write] [FILE…]`; CLANG_FORMAT names the program.
write=
if [ "${1:-}" = --write ]; then
        write=1
        shift
fi
asked=("$@")
set --
. "$(dirname "$0")/lint.sh"

format=${CLANG_FORMAT:-$(command -v clang-format-14 || command -v clang-format || true)}
[ -n "$format" ] || { echo "format.sh: clang-format is missing: apt-get install clang-format-14" >&2; exit 2; }
[ "${#asked[@]}" -gt 0 ] || mapfile -t asked < <(files '*.c' '*.h')

if [ -n "$write" ]; then
        "$format" -i "${asked[@]}"
        echo "format.sh: ${#asked[@]} files laid out"
        exit 0
fi
lines=0
for file in "${asked[@]}"; do
        n=$("$format" "$file" | diff "$file" - | grep -c '^<' || true)
        [ "$n" -eq 0 ] || echo "$file: $n lines"
        lines=$((lines + n))
done
echo "format.sh: $lines lines differ (make format changes them)"
