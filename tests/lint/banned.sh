#!/usr/bin/env bash
# Functions that nobody calls, in any C file, tests included: comments and strings don't count. There is no list of exceptions.
# `banned.sh [ROOT]`
. "$(dirname "$0")/lint.sh"

# name          why, and what instead
banned='
strcpy          no bound: memcpy with a checked length, or buffer.h
strcat          no bound: buffer.h
sprintf         no bound: snprintf, or buffer_printf
vsprintf        no bound: vsnprintf
gets            no bound: fgets, getline
strtok          hidden state, and eats empty fields: spans and memchr
atoi            no errors: strtol, or envelope_header_int
atol            no errors: strtol
atoll           no errors: strtoll
atof            no errors: strtod
system          a shell: posix_spawn with arguments
popen           a shell: posix_spawn with arguments
alloca          no bound on the stack: the arena (variable-length arrays: -Wvla)
rand            poor: random, getrandom
srand           poor: srandom
tmpnam          a race: mkstemp, mkdtemp
tempnam         a race: mkstemp, mkdtemp
mktemp          a race: mkstemp, mkdtemp
asctime         hidden state, the locale: clock_format_rfc3339
ctime           hidden state, the locale: clock_format_rfc3339
gmtime          hidden state: gmtime_r
localtime       hidden state: localtime_r
'

calls=$(files '*.c' '*.h' | xargs -r awk -f "$here/code.awk" -f <(printf '%s' "$banned" | awk '
        NF { names = names (names ? "|" : "") $1 }
        END {
                print "{ rest = code"
                print "  while (match(rest, /(^|[^A-Za-z0-9_])(" names ")[ \\t]*\\(/)) {"
                print "    name = substr(rest, RSTART, RLENGTH); gsub(/[^A-Za-z0-9_]/, \"\", name)"
                print "    print FILENAME \":\" FNR \": \" name; rest = substr(rest, RSTART + RLENGTH) } }"
        }'))

while read -r name why; do
        [ -n "$name" ] || continue
        rule "$name" "$(awk -v name="$name" -v why="$why" '$2 == name { print $1 " " name "() is banned: " why }' <<<"$calls")"
done <<<"$banned"

finish
