/* SPDX-License-Identifier: MIT */
/*
 * Who waits in one pool.
 *
 * Invariants: the list is in rising order of arrival, as numbers that wrap have it; no more than
 * WAITS_MAX are in it, so that half the numbers never pass between the first and the last.
 *
 * Locks: the pool's.
 *
 * Cost: each function is linear in those who wait, at most WAITS_MAX.
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

/* Of one user's, for the same: while one waits, the other is not before it. */
static bool are_alike(const struct wait *a, const struct wait *b)
{
    return a->uid == b->uid && is_for_ids(a) == is_for_ids(b);
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
    while (before && !are_alike(before, w))
        before = before->prev;
    w->older = before;
    for (struct wait *at = w->next; at; at = at->next)
        if (are_alike(at, w)) {
            at->older = w;
            break;
        }
    q->count++;
    return true;
}

void waits_remove(struct waits *q, struct wait *w)
{
    *(w->prev ? &w->prev->next : &q->first) = w->next;
    *(w->next ? &w->next->prev : &q->last) = w->prev;
    for (struct wait *at = w->next; at; at = at->next)
        if (at->older == w)
            at->older = w->older;
    q->count--;
}

struct wait *waits_turn(const struct waits *q, bool ids,
                        uint64_t (*quota_left)(const struct pool *pool, uint32_t uid))
{
    for (struct wait *w = q->first; w; w = w->next) {
        if (is_for_ids(w) != ids)
            continue;
        w->held_back = (w->older && w->older->held_back) || w->charge > quota_left(w->pool, w->uid);
        if (!w->held_back)
            return w;
    }
    return NULL;
}
