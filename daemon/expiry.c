/* SPDX-License-Identifier: MIT */
/*
 * Expiry.
 *
 * What it is: a timer, set by the loop that served a send, for the earliest deadline that it knows
 * of. Whose parcels it then finds due makes no difference: the pools have them in order. What it is
 * not: exact. A parcel is over at its deadline at the earliest.
 *
 * Locks: none; the pools' are taken inside pool_expire().
 */
#include "expiry.h"

#include "clock.h"

/* Parcels dropped in a row, before the loop serves others: about 50 µs. */
#define EXPIRY_SLICE 256u

static void on_timer(uv_timer_t *timer)
{
    struct expiry *e = timer->data;

    e->deadline = UINT64_MAX;
    for (unsigned i = 0; i < POOLS_MAX; i++)
        if (e->store->pools[i])
            expiry_by(e, pool_expire(e->store->pools[i], clock_now(), EXPIRY_SLICE));
}

void expiry_init(struct expiry *e, uv_loop_t *loop, struct store *store)
{
    uv_timer_init(loop, &e->timer);
    e->timer.data = e;
    e->store = store;
    e->deadline = UINT64_MAX;
}

void expiry_by(struct expiry *e, uint64_t deadline)
{
    if (deadline >= e->deadline)
        return;
    e->deadline = deadline;
    uv_update_time(e->timer.loop); /* what the timer counts from */
    uv_timer_start(&e->timer, on_timer, clock_until(deadline), 0);
}

void expiry_close(struct expiry *e)
{
    uv_close((uv_handle_t *)&e->timer, NULL);
}
