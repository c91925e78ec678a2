#!/usr/bin/env bash
# clang-tidy over the program's sources: those named, or all; tidy.txt has the findings that are none. LINT_CFLAGS are the compiler's flags (make lint sets them; without them
# pkg-config is asked). One process a core. `tidy.sh [FILE…]`; CLANG_TIDY names the program.
asked=("$@")
set --
. "$(dirname "$0")/lint.sh"

export CLANG_TIDY=${CLANG_TIDY:-$(command -v clang-tidy-14 || command -v clang-tidy || true)}
[ -n "$CLANG_TIDY" ] || { echo "tidy.sh: clang-tidy is missing: apt-get install clang-tidy-14" >&2; exit 2; }
[ "${#asked[@]}" -gt 0 ] || mapfile -t asked < <(files '*.c' | grep -E '^(config|queues|providers|retrieval|workers)/')
export LINT_CFLAGS=${LINT_CFLAGS:-$(pkg-config --cflags libcurl jansson libmicrohttpd yaml-0.1 libxml-2.0 icu-uc)}

# clang-14 comes without omp.h and does not read that of gcc: what we call of it.
extra=$(mktemp -d)
trap 'rm -rf "$extra"' EXIT
printf "void omp_set_num_threads(int n);\nint omp_get_max_threads(void);\n" >"$extra/omp.h"
LINT_CFLAGS="$LINT_CFLAGS -isystem $extra"

# "file [check]" of what is accepted
export ACCEPTED="$extra/accepted"
sed -E 's/[[:space:]]*#.*//; /^$/d' "$here/tidy.txt" >"$ACCEPTED"

one() {
        local out found first="-include tests/lint/tidy_prelude.h"

        [ "$1" != config/base/error.c ] || first=
        # -Werror is the build's business, and some of gcc's flags are unknown here.
        # shellcheck disable=SC2086
        out=$("$CLANG_TIDY" --quiet "$1" -- $LINT_CFLAGS -std=gnu17 -D_GNU_SOURCE -I. $first '-DMILLRACE_VERSION="lint"' -Wno-error -Wno-unknown-warning-option \
                -Wno-unused-value 2>/dev/null) || true
        found=$(grep -E ': (warning|error): ' <<<"$out" | sed "s|^$PWD/||" |
                awk 'FILENAME == ARGV[1] { accepted[$0] = 1; next }
                     { file = $0; sub(/:.*/, "", file); check = $0; sub(/.* \[/, "[", check) }
                     !((file " " check) in accepted)' "$ACCEPTED" -)
        if [ -z "$found" ]; then
                echo "@passed"
        else
                printf '@failed\n%s\n' "$found"
        fi
}
export -f one

out=$(printf '%s\n' "${asked[@]}" | xargs -P "$(nproc)" -I{} bash -c 'one {}')
grep -v '^@' <<<"$out" | sort -u || true
passed=$(grep -c '^@passed' <<<"$out" || true)
failed=$(grep -c '^@failed' <<<"$out" || true)
finish
