#!/usr/bin/env bash
# Proves that each rule can fail: a small clean tree passes every check; then one fault after another is planted in it, and the check
# must name that file and line, and nothing else. `selftest.sh`
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
passed=0
failed=0

plant() { # PATH, the text on stdin
        mkdir -p "$tree/$(dirname "$1")"
        cat >"$tree/$1"
}

clean() {
        rm -rf "${tree:?}"/*
        plant config/base/tool.h <<<$'#ifndef CONFIG_BASE_TOOL_H\n#define CONFIG_BASE_TOOL_H\n\nint tool_use(const char *s);\n\n#endif'
        # What must not be taken for a fault: names in comments, strings and longer names.
        plant config/base/tool.c <<'END'
/* strcpy(a, b) in a comment,
 * popen("x") on its second line */
#include "config/base/tool.h"

#include <stdio.h>

int tool_use(const char *s) // system("no")
{
        char quote = '"', text[] = "atoi(\"1\") \\";

        return fgets(text, sizeof text, stdin) && quote == s[0] ? my_rand(1) : 0; /* gets( */
}
END
        plant queues/post.c <<<'#include "config/base/tool.h"'
        plant providers/call.c <<<'#include "config/base/tool.h"'
        plant retrieval/vectors/faiss_index.c <<<'#include <faiss/c_api/Index_c.h>'
        plant workers/main.c <<<'#include "config/base/tool.h"'
        plant README.md <<<'A house.'
        plant queues/README.md <<<'A room.'
}

# expect CHECK RULE WHERE: the check fails, with exactly one line, which begins with WHERE.
expect() {
        local out status=0

        out=$(LINT_STRICT=1 "$here/$1.sh" "$tree" 2>&1) || status=$?
        if [ "$status" -eq 1 ] && [ "$(wc -l <<<"$out")" -eq 3 ] && [[ $out == "== $1.sh"$'\n'"$3: "*" 1 failed" ]]; then
                passed=$((passed + 1))
        else
                failed=$((failed + 1))
                printf 'selftest.sh: %s, %s: status %d, want 1 and one line for %s; got:\n%s\n' "$1" "$2" "$status" "$3" "$out"
        fi
}

clean
for check in includes banned sizes style; do
        if LINT_STRICT=1 "$here/$check.sh" "$tree" >"$tree.out" 2>&1; then
                passed=$((passed + 1))
        else
                failed=$((failed + 1))
                echo "selftest.sh: $check fails on a clean tree:"
                cat "$tree.out"
        fi
        rm -f "$tree.out"
done

clean; plant queues/post.c <<<'#include "tool.h"';                                   expect includes "whole paths" queues/post.c:1
for pair in config:queues config:workers queues:providers queues:retrieval queues:workers providers:queues providers:retrieval \
        providers:workers retrieval:queues retrieval:providers retrieval:workers workers:tests; do
        from=${pair%:*} to=${pair#*:}
        guard=$(tr a-z A-Z <<<"$to")
        clean
        plant "$to/deep/other.h" <<<"#ifndef ${guard}_DEEP_OTHER_H"$'\n'"#define ${guard}_DEEP_OTHER_H"$'\n#endif'
        plant "$from/deep/wrong.c" <<<$'\n#  include "'"$to/deep/other.h\""
        expect includes "$from includes $to" "$from/deep/wrong.c:2"
done
clean; plant retrieval/bm25.c <<<$'\n#include <faiss/c_api/error_c.h>';              expect includes "FAISS" retrieval/bm25.c:2
clean; plant workers/post.c <<<'int x;';                                             expect includes "unique names" workers/post.c:1
clean; plant config/other.h <<<$'#ifndef OTHER_H\n#define OTHER_H\n#endif';          expect includes "guard" config/other.h:1
clean; plant config/other.h <<<$'#include <stdio.h>';                                expect includes "no guard" config/other.h:1

# All banned names at once: each must be found, each on its line.
names=(strcpy strcat sprintf vsprintf gets strtok atoi atol atoll atof system popen alloca rand srand tmpnam tempnam mktemp asctime ctime gmtime
        localtime)
clean
printf '/* a comment */ int x = 1 + %s ("a string");\n' "${names[@]}" | plant config/wrong.c
out=$("$here/banned.sh" "$tree" || true)
for i in "${!names[@]}"; do
        if grep -q "^config/wrong.c:$((i + 1)): ${names[$i]}() is banned" <<<"$out"; then
                passed=$((passed + 1))
        else
                failed=$((failed + 1))
                echo "selftest.sh: banned, ${names[$i]}: not found"
        fi
done
clean; plant config/wrong.c <<<$'const char *s = "quote \\" /*"; int y = atoi(s);'; expect banned "behind a string" config/wrong.c:1

lines() { yes "$1" | head -n "$2" || true; }
clean; lines 'int x;' 601 | plant config/long.c;                                     expect sizes "sources" config/long.c:601
clean; { printf '#ifndef CONFIG_LONG_H\n'; lines '/**/' 150; } | plant config/long.h; expect sizes "headers" config/long.h:151
clean; { printf 'int f(void)\n{\n'; lines '        x++;' 71; printf '}\n'; } | plant config/long.c; expect sizes "functions" config/long.c:2
clean; { printf '/* '; lines 'wide' 40 | tr '\n' ' '; printf '*/\n'; } | plant config/long.c; expect sizes "columns" config/long.c:1

clean; plant config/wrong.c <<<$'\ntypedef struct thing thing_t;';                   expect style "typedef" config/wrong.c:2
clean; plant config/wrong.c <<<$'int x;\n\tint y;';                                  expect style "tabs" config/wrong.c:2
clean; plant config/wrong.c <<<$'int x; ';                                           expect style "trailing blanks" config/wrong.c:1
clean; plant config/wrong.h <<<$'struct x;\nint json_mine(struct x *x);';            expect style "prefixes" config/wrong.h:2
clean; plant config/wrong.h <<<$'struct x *redisMine(void);';                        expect style "prefixes" config/wrong.h:1
clean; plant deploy/wrong.sh <<<"cp /""work/main/x .";                              expect style "machine paths" deploy/wrong.sh:1
clean; plant README.md <<<"see \`anchors"".md\`";                                   expect style "machine paths" README.md:1
clean; plant deploy/wrong.sh <<<"curl https://pypi"".org/simple";                   expect style "registry hosts" deploy/wrong.sh:1

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
