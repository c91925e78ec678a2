/* Criterion's macros, as far as our tests use them, over the runner in tests/sanitize/inprocess.c: what sanitizer builds include in place of
 * the real header (-Itests/sanitize comes first). Tests are written for Criterion; what is missing here fails to compile.
 * Differences: a suite's init and fini serve the tests that have none of their own; messages must be string literals; a failed cr_assert ends
 * the test's process at once, without fini. */
#ifndef TESTS_SANITIZE_CRITERION_CRITERION_H
#define TESTS_SANITIZE_CRITERION_CRITERION_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Static storage, registered before main() and never freed. */
struct inprocess_suite {
        struct inprocess_suite *next;
        const char *suite;
        void (*init)(void), (*fini)(void);
        double timeout; /* seconds without a sanitizer; 0: the runner's default */
        bool disabled;
        const char *description;
};

struct inprocess_test {
        struct inprocess_test *next;
        const char *suite, *name;
        void (*run)(void);
        void (*init)(void), (*fini)(void);
        double timeout;
        bool disabled;
        const char *description;
};

/* Before main() only; keep the pointer. */
void inprocess_add_suite(struct inprocess_suite *suite);
void inprocess_add_test(struct inprocess_test *test);
/* Say what failed and where; one fails the test and goes on, the other ends its process. format begins with a blank. */
void inprocess_expect(const char *file, int line, const char *what, const char *format, ...) __attribute__((format(printf, 4, 5)));
_Noreturn void inprocess_assert(const char *file, int line, const char *what, const char *format, ...) __attribute__((format(printf, 4, 5)));

#define TestSuite(Suite, ...) \
        static struct inprocess_suite inprocess_suite_##Suite = {.suite = #Suite, __VA_ARGS__}; \
        __attribute__((constructor)) static void inprocess_suite_##Suite##_add(void) \
        { \
                inprocess_add_suite(&inprocess_suite_##Suite); \
        } \
        struct inprocess_suite

#define Test(Suite, Name, ...) \
        static void inprocess_##Suite##_##Name(void); \
        static struct inprocess_test inprocess_test_##Suite##_##Name = { \
                .suite = #Suite, .name = #Name, .run = inprocess_##Suite##_##Name, __VA_ARGS__}; \
        __attribute__((constructor)) static void inprocess_test_##Suite##_##Name##_add(void) \
        { \
                inprocess_add_test(&inprocess_test_##Suite##_##Name); \
        } \
        static void inprocess_##Suite##_##Name(void)

#define INPROCESS_CHECK(How, Holds, What, ...) ((Holds) ? (void)0 : inprocess_##How(__FILE__, __LINE__, What, " " __VA_ARGS__))

#define cr_assert(Condition, ...) INPROCESS_CHECK(assert, Condition, #Condition, __VA_ARGS__)
#define cr_assert_not(Condition, ...) INPROCESS_CHECK(assert, !(Condition), "not " #Condition, __VA_ARGS__)
#define cr_assert_fail(...) INPROCESS_CHECK(assert, false, "reached", __VA_ARGS__)
#define cr_assert_eq(A, B, ...) INPROCESS_CHECK(assert, (A) == (B), #A " == " #B, __VA_ARGS__)
#define cr_assert_neq(A, B, ...) INPROCESS_CHECK(assert, (A) != (B), #A " != " #B, __VA_ARGS__)
#define cr_assert_lt(A, B, ...) INPROCESS_CHECK(assert, (A) < (B), #A " < " #B, __VA_ARGS__)
#define cr_assert_leq(A, B, ...) INPROCESS_CHECK(assert, (A) <= (B), #A " <= " #B, __VA_ARGS__)
#define cr_assert_gt(A, B, ...) INPROCESS_CHECK(assert, (A) > (B), #A " > " #B, __VA_ARGS__)
#define cr_assert_geq(A, B, ...) INPROCESS_CHECK(assert, (A) >= (B), #A " >= " #B, __VA_ARGS__)
#define cr_assert_null(A, ...) INPROCESS_CHECK(assert, (A) == NULL, #A " == NULL", __VA_ARGS__)
#define cr_assert_not_null(A, ...) INPROCESS_CHECK(assert, (A) != NULL, #A " != NULL", __VA_ARGS__)
#define cr_assert_str_eq(A, B, ...) INPROCESS_CHECK(assert, strcmp(A, B) == 0, #A " is the text " #B, __VA_ARGS__)
#define cr_assert_str_neq(A, B, ...) INPROCESS_CHECK(assert, strcmp(A, B) != 0, #A " is not the text " #B, __VA_ARGS__)
#define cr_assert_str_empty(A, ...) INPROCESS_CHECK(assert, (A)[0] == '\0', #A " is empty", __VA_ARGS__)
#define cr_assert_arr_eq(A, B, Bytes, ...) INPROCESS_CHECK(assert, memcmp(A, B, Bytes) == 0, #A " has the bytes of " #B, __VA_ARGS__)
#define cr_assert_arr_neq(A, B, Bytes, ...) INPROCESS_CHECK(assert, memcmp(A, B, Bytes) != 0, #A " hasn't the bytes of " #B, __VA_ARGS__)
#define cr_assert_float_eq(A, B, Within, ...) \
        INPROCESS_CHECK(assert, (A) - (B) <= (Within) && (B) - (A) <= (Within), #A " is within " #Within " of " #B, __VA_ARGS__)
#define cr_assert_float_neq(A, B, Within, ...) \
        INPROCESS_CHECK(assert, (A) - (B) > (Within) || (B) - (A) > (Within), #A " isn't within " #Within " of " #B, __VA_ARGS__)

#define cr_expect(Condition, ...) INPROCESS_CHECK(expect, Condition, #Condition, __VA_ARGS__)
#define cr_expect_not(Condition, ...) INPROCESS_CHECK(expect, !(Condition), "not " #Condition, __VA_ARGS__)
#define cr_expect_fail(...) INPROCESS_CHECK(expect, false, "reached", __VA_ARGS__)
#define cr_expect_eq(A, B, ...) INPROCESS_CHECK(expect, (A) == (B), #A " == " #B, __VA_ARGS__)
#define cr_expect_neq(A, B, ...) INPROCESS_CHECK(expect, (A) != (B), #A " != " #B, __VA_ARGS__)
#define cr_expect_null(A, ...) INPROCESS_CHECK(expect, (A) == NULL, #A " == NULL", __VA_ARGS__)
#define cr_expect_not_null(A, ...) INPROCESS_CHECK(expect, (A) != NULL, #A " != NULL", __VA_ARGS__)
#define cr_expect_str_eq(A, B, ...) INPROCESS_CHECK(expect, strcmp(A, B) == 0, #A " is the text " #B, __VA_ARGS__)

#endif
