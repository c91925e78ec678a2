/* For clang-tidy only (tidy.sh includes it first): tells the analyzer, which sees one file at a time, that error_set() returns -1. */
#ifndef TESTS_LINT_TIDY_PRELUDE_H
#define TESTS_LINT_TIDY_PRELUDE_H

#include "config/base/error.h"

#define error_set(...) (error_set(__VA_ARGS__), -1)

#endif
