#!/usr/bin/env bash
# Runs suites one after the other and sums up what they say: what `make test` ends with.
#
#   run.sh COMMAND...     each COMMAND is one word for the shell: "build/tests/unit-config --jobs 2" "tests/system/run.sh"
#
# A suite says how it went by Criterion's closing lines (Tested: 9 | Passing: 9 | Failing: 0 | Crashing: 0), which are added up, or
# by a line `N passed, N failed`, which is the sum of all before it. One that says nothing, or ends with a failure that it didn't
# count, is a failure itself. The last line of all is `N passed, N failed`; exit 1 when one failed.
set -uo pipefail
[ $# -gt 0 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
output=$(mktemp)
trap 'rm -f "$output"' EXIT
passed=0 failed=0 troubled=()

# The counts in the output of a suite: "passed failed", nothing when it names none. Colours are taken off first.
counts() {
        sed -E 's/\x1b\[[0-9;]*[A-Za-z]//g' "$output" | awk '
                /Tested: *[0-9]+ *\| *Passing: *[0-9]+/ {
                        line = substr($0, index($0, "Tested:"))
                        gsub(/[^0-9]+/, " ", line)
                        split(line, number, " ")
                        found = 1
                        good += number[2]
                        bad += number[1] - number[2]
                }
                /^[0-9]+ passed, [0-9]+ failed$/ { found = 1; good = $1; bad = $3 + 0 }
                END { if (found) print good + 0, bad + 0 }'
}

for command; do
        echo "==== $command"
        bash -c "$command" 2>&1 | tee "$output"
        status=${PIPESTATUS[0]}
        if ! read -r good bad < <(counts); then
                echo "==== $command: no count of tests (exit $status)"
                good=0 bad=1
        elif [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
                echo "==== $command: exit $status, though every test counted passed"
                bad=1
        fi
        passed=$((passed + good)) failed=$((failed + bad))
        [ "$bad" -eq 0 ] || troubled+=("$command: $bad failed")
done
for line in "${troubled[@]+"${troubled[@]}"}"; do echo "==== $line"; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
