/* SPDX-License-Identifier: MIT */
/* A session of liballot that no time-out of its own ends on a slow machine. */
#ifndef ALLOT_TEST_OPEN_H
#define ALLOT_TEST_OPEN_H

#include "allot.h"
#include "fixture.h"

static inline struct allot *open_session(const char *socket)
{
    struct allot *a;
    int rc;

    do
        rc = allot_open(&a, socket);
    while (rc == ALLOT_E_TIMEOUT); /* the next daemon takes longer there */
    check_equal(rc, 0);
    check_equal(allot_set_timeout(a, FIXTURE_DEADLINE_MS), 0);
    return a;
}

#endif
