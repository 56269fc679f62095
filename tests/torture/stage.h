/* SPDX-License-Identifier: MIT */
/*
 * Where a storm takes place: a daemon that dies again and again, and who starts the next one. That
 * is the fixture; or --supervise, in the fixture; or, with ALLOT_STAGE=systemd in the environment,
 * systemd with the installed units, on a machine that is there for nothing else (systemd-storm.sh
 * boots one), as root.
 */
#ifndef ALLOT_TEST_STAGE_H
#define ALLOT_TEST_STAGE_H

#include <stdint.h>

#include "fixture.h"

struct stage {
    const struct stage_ops *ops;
    struct fixture *f;
    const char *socket;
    int gate;       /* systemd's: while it is locked, no daemon starts */
    uint64_t kills; /* systemd's: since it was told to start the service */
};

struct stage_ops {
    /* The daemon dies. There is none until go_on(), which waits for the next one; the supervisor's
     * is there at once. */
    void (*kill)(struct stage *st);
    void (*go_on)(struct stage *st);
    /* It ends as it is told to, and the next one is there; not the supervisor's. */
    void (*restart)(struct stage *st);
    /* How many descriptors are kept, and some more, always as many. */
    uint64_t (*count_kept)(struct stage *st);
    /* The daemon has died of nothing else, and has complained of nothing. */
    void (*expect_calm)(struct stage *st);
};

/* Starts a daemon that has nothing from before. */
void stage_open(struct stage *st, struct fixture *f, const struct fixture_setup *setup);

#endif
