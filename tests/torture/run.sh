#!/usr/bin/env bash
# Runs build/tests/torture/torture and turns the addresses in its findings into functions and lines. `run.sh PROGRAM [OPTION…]`
set -uo pipefail
program=$1
shift
"$program" "$@" | while IFS= read -r line; do
        address=${line##*@}
        if [[ $line =~ ^\ +@0x[0-9a-f]+$ ]]; then
                # A return address: the call is before it.
                where=$(addr2line -s -f -p -e "$program" "$(printf '0x%x' $((address - 1)))")
                [[ $where == *failing_memory.c* ]] || echo "        $where"
        else
                echo "$line"
        fi
done
