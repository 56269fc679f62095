/* SPDX-License-Identifier: MIT */
/*
 * Who waits in one pool.
 *
 * Invariants: the list is in rising order of arrival, as numbers that wrap have it; no more than
 * WAITS_MAX are in it, so that half the numbers never pass between the first and the last.
 *
 * Locks: the pool's.
 *
 * Cost: looking for a turn passes those whom their quota holds back, at most WAITS_MAX.
 */
#include "waits.h"

#include "bounds.h"

static bool is_for_ids(const struct wait *w)
{
    return w->op == ALLOT__OP__OP_ALLOC_IDS;
}

static bool is_later(const struct wait *a, const struct wait *b)
{
    return (int32_t)(a->arrival - b->arrival) > 0;
}

bool waits_add(struct waits *q, struct wait *w)
{
    struct wait *before = q->last;
    unsigned of_user = 0;

    for (const struct wait *other = q->first; other; other = other->next)
        of_user += other->uid == w->uid;
    if (q->count >= WAITS_MAX || of_user >= WAITS_USER_MAX)
        return false;
    while (before && is_later(before, w))
        before = before->prev;
    w->prev = before;
    w->next = before ? before->next : q->first;
    *(before ? &before->next : &q->first) = w;
    *(w->next ? &w->next->prev : &q->last) = w;
    q->count++;
    return true;
}

void waits_remove(struct waits *q, struct wait *w)
{
    *(w->prev ? &w->prev->next : &q->first) = w->next;
    *(w->next ? &w->next->prev : &q->last) = w->prev;
    q->count--;
}

/* Whether its user's quota does not allow it, or one before it that wants the same. */
static bool is_held_back(const struct waits *q, const struct wait *w, uint64_t left)
{
    for (const struct wait *at = q->first;; at = at->next) {
        if (at->uid == w->uid && is_for_ids(at) == is_for_ids(w) && at->charge > left)
            return true;
        if (at == w)
            return false;
    }
}

struct wait *waits_turn(const struct waits *q, bool ids,
                        uint64_t (*quota_left)(const struct pool *pool, uint32_t uid))
{
    struct wait *w = q->first;

    while (w && (is_for_ids(w) != ids || is_held_back(q, w, quota_left(w->pool, w->uid))))
        w = w->next;
    return w;
}
