#!/usr/bin/env bash
# cppcheck over the program's sources; cppcheck.txt has what is not held against us. `cppcheck.sh`
. "$(dirname "$0")/lint.sh"

command -v cppcheck >/dev/null || { echo "cppcheck.sh: cppcheck is missing: apt-get install cppcheck" >&2; exit 2; }
suppressions=$(mktemp)
trap 'rm -f "$suppressions"' EXIT
sed -E 's/[[:space:]]*#.*//; /^$/d' "$here/cppcheck.txt" >"$suppressions" # cppcheck 2.10 knows no comments behind an entry

rule "cppcheck" "$(cppcheck -j "$(nproc)" --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --max-configs=2 \
        --suppressions-list="$suppressions" -D__GNUC__=12 '-Djson_object_foreach(o,k,v)=while((k=json_key(o))&&(v=json_next(o)))' '-Djson_array_foreach(a,i,v)=while((i=json_at(a))&&(v=json_next(a)))' \
        -DMILLRACE_VERSION='""' -I. --template='{file}:{line}: {severity}: {message} [{id}]' \
        config queues providers retrieval workers 2>&1 || true)"
finish
