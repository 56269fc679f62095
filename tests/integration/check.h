/* SPDX-License-Identifier: MIT */
/*
 * Checks that are seen wherever they fail: in the test itself, in a thread beside it, in a forked
 * child. cmocka's own asserts end the whole program without a word in a thread, and are nobody's in
 * a child.
 *
 * A failed check prints where and what, and counts in memory that all processes of the test share.
 * Then it ends the test, the thread, or the child (with status CHECK_STATUS). checks_failed() tells
 * the fixture, which fails the test in its teardown where nobody else did.
 */
#ifndef ALLOT_TEST_CHECK_H
#define ALLOT_TEST_CHECK_H

#include <stdbool.h>
#include <stdint.h>

/* What a child exits with after a failed check. */
#define CHECK_STATUS 99

#define check(condition) check_that((condition), __FILE__, __LINE__, #condition)
/* For whole numbers of any type; prints both. */
#define check_equal(a, b) check_same((uint64_t)(a), (uint64_t)(b), __FILE__, __LINE__, #a " == " #b)

void check_that(bool good, const char *file, int line, const char *text);
void check_same(uint64_t a, uint64_t b, const char *file, int line, const char *text);

/* In the main thread, before each test: nothing has failed yet. */
void checks_begin(void);
/* How many failed since, in all processes. */
unsigned checks_failed(void);
/* In a forked child, first of all: a failed check ends it from here on. */
void checks_in_child(void);

#endif
