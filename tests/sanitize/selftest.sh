#!/usr/bin/env bash
# Plants faults of each kind in a test program of its own, in a temporary folder, and demands that the runner and the sanitizer tell them.
#
#   selftest.sh SANITIZERS      as for gcc's -fsanitize: address; undefined,float-cast-overflow; thread; none of them: ""
#
# The last line is `N passed, N failed`; exit 1 when one failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -eq 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
sanitizers=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
passed=0 failed=0

cat > "$folder/planted.c" << 'END'
#include <criterion/criterion.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile int number = INT_MAX, index_past = 8;
static int shared;
static void *volatile kept;
static int begun;

static void begin(void)
{
        begun = 1;
}

static void finish(void)
{
        cr_assert_eq(begun, 1);
}

TestSuite(good, .init = begin, .fini = finish);

Test(good, passes)
{
        cr_assert_eq(begun, 1);
        cr_assert_str_eq("a", "a", "%d", 1);
        puts("a passing test's output stays unseen");
}

Test(assertion, fails)
{
        cr_assert_eq(number, 1, "the number is %d", number);
}

Test(expectation, fails_and_goes_on)
{
        cr_expect_eq(number, 1);
        puts("went on");
}

static void fail(void)
{
        cr_assert_fail("in fini");
}

TestSuite(fini, .fini = fail);

Test(fini, fails)
{
}

Test(ending, exits_in_mid_test)
{
        exit(0);
}

Test(ending, signal)
{
        raise(SIGKILL);
}

Test(ending, hangs, .timeout = 0.2)
{
        for (;;)
                pause();
}

Test(leak, of_a_block)
{
        kept = malloc(100);
        kept = NULL;
}

static void *allocate(void *unused)
{
        (void)unused;
        kept = malloc(100);
        kept = NULL;
        return NULL;
}

Test(leak, on_another_thread)
{
        pthread_t thread;

        pthread_create(&thread, NULL, allocate, NULL);
        pthread_join(thread, NULL);
}

static void write_past(char *block)
{
        block[index_past] = 1;
}

Test(memory, past_the_end)
{
        kept = malloc(8);
        write_past(kept);
        free(kept);
}

Test(memory, after_free)
{
        char *block = calloc(1, 8);

        kept = block;
        free(block);
        putchar(*(char *volatile)kept);
}

Test(memory, with_stderr_closed)
{
        kept = malloc(8);
        close(STDERR_FILENO);
        write_past(kept);
        free(kept);
}

Test(undefined, overflow)
{
        number = number + 1;
}

Test(undefined, float_to_int)
{
        volatile double big = 1e30;

        number = (int)big;
}

static void *count(void *unused)
{
        (void)unused;
        for (int i = 0; i < 1000; i++)
                shared++;
        return NULL;
}

Test(race, of_two_threads)
{
        pthread_t a, b;

        pthread_create(&a, NULL, count, NULL);
        pthread_create(&b, NULL, count, NULL);
        pthread_join(a, NULL);
        pthread_join(b, NULL);
}
END

# check FILTER WORD: the tests of the filter, one or more, are all told as WORD (Passing, Failing, Crashing), and the exit code agrees.
check() {
        local output status wanted=$2
        output=$("$folder/planted" --jobs 2 --filter "$1" 2>&1)
        status=$?
        if ! grep -qE "\[====\] Synthesis: Tested: ([1-9][0-9]*) .*\| $wanted: \1( |$)" <<< "$output" ||
                { [ "$wanted" = Passing ] && [ $status -ne 0 ]; } || { [ "$wanted" != Passing ] && [ $status -ne 1 ]; }; then
                echo "$1: not $wanted (exit $status):"
                sed 's/^/        /' <<< "$output"
                failed=$((failed + 1))
                return
        fi
        passed=$((passed + 1))
        if [ $# -gt 2 ] && ! grep -q "$3" <<< "$output"; then
                echo "$1: nothing is said of $3"
                failed=$((failed + 1))
        fi
}

flags=(-std=gnu17 -D_GNU_SOURCE -Itests/sanitize -I. -g -O1 -Wall -Wno-use-after-free)
[ -z "$sanitizers" ] || flags+=("-fsanitize=$sanitizers" -fno-sanitize-recover=all -fno-omit-frame-pointer)
if ! "${CC:-gcc}" "${flags[@]}" -o "$folder/planted" "$folder/planted.c" tests/sanitize/inprocess.c -lpthread; then
        echo '0 passed, 1 failed'
        exit 1
fi
check 'good/*' Passing
check 'assertion/*' Failing 'the number is 2147483647'
check 'expectation/*' Failing 'went on'
check 'fini/*' Failing 'in fini'
check 'ending/*' Crashing 'timed out'
case ,$sanitizers, in
*,address,*)
        check 'leak/*' Crashing LeakSanitizer
        check 'memory/past*' Crashing heap-buffer-overflow
        check 'memory/after*' Crashing heap-use-after-free
        check 'memory/with*' Crashing heap-buffer-overflow
        ;;&
*,undefined,*) check 'undefined/overflow' Crashing 'signed integer overflow' ;;&
*,float-cast-overflow,*) check 'undefined/float*' Crashing 'outside the range' ;;&
*,thread,*) check 'race/*' Crashing 'data race' ;;
esac
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
