/* SPDX-License-Identifier: MIT */
/*
 * Checks.
 *
 * What it is: a counter in shared memory, and the decision whom a failure ends. What it is not: a
 * test framework; cmocka runs the tests and is told by its own fail() in its own thread.
 *
 * Locks: none; the counter is atomic, a message is one write.
 */
#include "check.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static atomic_uint *failures;
static pthread_t test_thread;
static bool in_child;

void checks_begin(void)
{
    if (!failures) {
        failures = mmap(NULL, sizeof(*failures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                        -1, 0);
        if (failures == MAP_FAILED)
            abort();
    }
    test_thread = pthread_self();
    atomic_store(failures, 0);
}

unsigned checks_failed(void)
{
    return failures ? atomic_load(failures) : 0;
}

void checks_in_child(void)
{
    in_child = true;
}

static void check_failed(const char *file, int line, const char *text)
{
    char message[512];

    int size = snprintf(message, sizeof(message), "%s:%d: check failed%s: %s\n", file, line,
                        in_child ? " in a child" : "", text);
    if (size > (int)sizeof(message) - 1)
        size = (int)sizeof(message) - 1;
    if (write(STDERR_FILENO, message, (size_t)size) < 0)
        abort();
    if (failures)
        atomic_fetch_add(failures, 1);
    if (in_child)
        _exit(CHECK_STATUS);
    if (!pthread_equal(pthread_self(), test_thread))
        pthread_exit(NULL);
    _fail(file, line);
}

void check_that(bool good, const char *file, int line, const char *text)
{
    if (!good)
        check_failed(file, line, text);
}

void check_same(uint64_t a, uint64_t b, const char *file, int line, const char *text)
{
    char message[400];

    if (a == b)
        return;
    snprintf(message, sizeof(message), "%s (%" PRIu64 ", %" PRIu64 ")", text, a, b);
    check_failed(file, line, message);
}
