/* SPDX-License-Identifier: MIT */
/* Drops the parcels whose deadline has passed, of all pools. One a loop, on its thread. */
#ifndef ALLOTD_EXPIRY_H
#define ALLOTD_EXPIRY_H

#include <uv.h>

#include "store.h"

struct expiry {
    uv_timer_t timer;
    struct store *store;
    uint64_t deadline; /* that it is set for; UINT64_MAX: none */
};

void expiry_init(struct expiry *e, uv_loop_t *loop, struct store *store);
/* Looks at the pools at `deadline` (clock.h), if not before. */
void expiry_by(struct expiry *e, uint64_t deadline);
void expiry_close(struct expiry *e);

#endif
