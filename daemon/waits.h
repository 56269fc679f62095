/* SPDX-License-Identifier: MIT */
/*
 * The requests that wait for room in one pool, in order of arrival. What is not here: when they are
 * tried, and what becomes of them. All of it is under the pool's lock.
 */
#ifndef ALLOTD_WAITS_H
#define ALLOTD_WAITS_H

#include <stdbool.h>
#include <stdint.h>

#include "codec.h"

struct pool;

/* One request. Its memory is its session's; what is first is set by that. */
struct wait {
    uint64_t number;
    unsigned slot;
    uint32_t uid;
    void (*ring)(void *ctx); /* any thread, under the pool's lock: its turn may have come */
    void *ctx;

    struct pool *pool; /* NULL: it is in no queue */
    Allot__Op op;
    uint64_t size; /* as in the request */
    uint64_t align;
    uint32_t tag;
    uint64_t deadline;
    uint64_t charge;  /* bytes of the user's quota */
    uint32_t arrival; /* rises, and wraps */
    struct wait *prev;
    struct wait *next;
    struct wait *older; /* the one before of the same user, for the same */
    bool held_back;     /* by the user's quota, as waits_turn() found last */
};

struct waits {
    struct wait *first;
    struct wait *last;
    unsigned count;
    uint32_t arrivals; /* the last one given out */
};

/* Enters it at the place of its arrival. False where as many wait as may, in all or of its user. */
bool waits_add(struct waits *q, struct wait *w);
void waits_remove(struct waits *q, struct wait *w);

/*
 * Whose turn it is to get bytes or pages, or IDs; NULL where nobody waits for these. That is the
 * first in order of arrival; but who is kept waiting by his own quota (`quota_left` tells it) keeps
 * nobody waiting but himself.
 */
struct wait *waits_turn(const struct waits *q, bool ids,
                        uint64_t (*quota_left)(const struct pool *pool, uint32_t uid));

#endif
