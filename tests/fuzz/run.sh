#!/usr/bin/env bash
# Builds the fuzz targets with clang's libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer and runs each for some seconds from its
# seeds. `run.sh [SECONDS [TARGET…]]` (60, all). What it finds new is kept under $FUZZ_DIR (build/fuzz) for the next run; a crashing input
# is kept there too, is named, and makes the exit status 1.
#
# CLANG       the compiler (clang-14; clang); apt-get install clang-14 libclang-rt-14-dev
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-60}
shift || true
dir=${FUZZ_DIR:-build/fuzz}
clang=${CLANG:-$(command -v clang-14 || command -v clang || true)}
[ -n "$clang" ] || { echo "run.sh: clang is missing: apt-get install clang-14 libclang-rt-14-dev" >&2; exit 2; }
[ $# -gt 0 ] || set -- fuzz_envelope fuzz_config

# What each target stands on.
declare -A sources=(
        [fuzz_envelope]="queues/envelope*.c config/base/*.c config/settings.c"
        [fuzz_config]="config/*.c config/base/*.c"
)

flags=(-std=gnu17 -D_GNU_SOURCE -I. -g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
        -DMILLRACE_VERSION='"fuzz"' -w)
# shellcheck disable=SC2207
flags+=($(pkg-config --cflags jansson yaml-0.1 libcrypto icu-uc))
# shellcheck disable=SC2207
libs=($(pkg-config --libs jansson yaml-0.1 libcrypto icu-uc) -lstemmer -lpthread -lm)

passed=0
failed=0
for target in "$@"; do
        corpus=$dir/corpus/$target
        log=$dir/$target.log
        mkdir -p "$corpus" "$dir/crashes"
        # shellcheck disable=SC2086
        "$clang" "${flags[@]}" -o "$dir/$target" "tests/fuzz/$target.c" ${sources[$target]} "${libs[@]}"
        status=0
        dictionary=()
        [ ! -f "tests/fuzz/$target.dict" ] || dictionary=("-dict=tests/fuzz/$target.dict")
        "$dir/$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=1 \
                -artifact_prefix="$dir/crashes/$target-" "${dictionary[@]}" "$corpus" "tests/fuzz/corpus/$target" >"$log" 2>&1 || status=$?
        cover=$(grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" | tail -1)
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
        echo "$target: ${runs:-?} executions in $seconds s, ${rate:-?} a second; ${cover:-no coverage told}"
        if [ "$status" -eq 0 ]; then
                passed=$((passed + 1))
        else
                failed=$((failed + 1))
                grep -E 'ERROR|SUMMARY|runtime error|    #[0-6] |Test unit written' "$log" | head -20 || true
                echo "$target: failed; once more with: $dir/$target <the input>; all it said: $log"
        fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
