/* SPDX-License-Identifier: MIT */
/*
 * Grants that wait for room.
 *
 * A grant that may wait is queued where it finds no room; from then on its journal entry says what
 * it asked for, until it has it or is refused. Whatever frees something rings whose turn it is; the
 * session's own loop then tries (pending.c). What it is not: the queue itself, and whose turn it
 * is, are waits.c's.
 *
 * Invariants: a wait has its `pool` while it is in that pool's queue, and leaves it under the lock,
 * before it is answered.
 *
 * Locks: each public function takes the pool's `lock`, but for pool_alloc_locked(), which wants it
 * held, and pool_ring_and_unlock(), which gives it back.
 */
#include "operation.h"

#include <assert.h>

/* Whether it might be granted when nobody holds anything. */
static bool is_worth_waiting(const struct pool *pool, const struct pool_operation *o, uint64_t size)
{
    if (op_kind(o->op) == RECORD_IDS)
        return size <= pool->info->ids;
    return size < pool->info->size_max && size <= pool->config.quota;
}

static struct wait *turn(const struct pool *pool, bool for_ids)
{
    return waits_turn(&pool->waits, for_ids, pool_quota_left);
}

static void leave_queue(struct pool *pool, struct wait *w)
{
    waits_remove(&pool->waits, w);
    w->pool = NULL;
    pool->turned = true; /* the turn has come to another */
}

/* Queues the request, and, where it is its turn at once, tries it. */
static int reserve_or_wait(struct pool *pool, struct pool_operation *o, uint64_t size)
{
    struct wait *w = o->wait;
    int rc = ALLOT_E_NO_MEMORY;

    if (!w || !is_worth_waiting(pool, o, size)) {
        o->wait = NULL;
        return pool_reserve(pool, o, size);
    }
    w->pool = pool;
    w->op = o->op;
    w->size = o->size;
    w->align = o->align;
    w->tag = o->tag;
    w->deadline = o->deadline;
    w->charge = kind_bytes(op_kind(o->op), size);
    w->arrival = ++pool->waits.arrivals;
    if (!waits_add(&pool->waits, w)) {
        w->pool = NULL;
        return -ALLOT__ERROR__E_LIMIT;
    }
    if (turn(pool, op_kind(o->op) == RECORD_IDS) == w)
        rc = pool_reserve(pool, o, size);
    if (!is_for_want_of_room(rc))
        leave_queue(pool, w);
    return rc;
}

enum pool_step pool_alloc_locked(struct pool *pool, struct pool_operation *o)
{
    uint64_t size;
    int rc = pool_check_grant(pool, o, &size);

    assert(pool->locked);
    if (rc) {
        operation_answer(o, rc, 0);
        return POOL_DONE;
    }
    rc = reserve_or_wait(pool, o, size);
    if (!o->wait || !o->wait->pool)
        return pool_reserved(pool, o, size, rc);
    struct ledger_wait wait = {.size = o->size,
                               .align = o->align,
                               .deadline = o->deadline,
                               .arrival = o->wait->arrival,
                               .tag = o->tag};
    ledger_entry_wait(o->entry, &wait);
    return POOL_WAIT;
}

static struct pool_operation operation_of(const struct pool *pool, const struct wait *w)
{
    return (struct pool_operation){.op = w->op,
                                   .slot = w->slot,
                                   .uid = w->uid,
                                   .entry = ledger_entry(pool->ledger, w->slot, w->number),
                                   .size = w->size,
                                   .align = w->align,
                                   .tag = w->tag};
}

enum pool_step pool_try_wait(struct pool *pool, unsigned slot, struct pool_operation *ret,
                             struct wait **ret_wait)
{
    enum pool_step step = POOL_WAIT;

    pool_make_room(pool);
    pool_lock(pool);
    for (int for_ids = 0; for_ids < 2 && step == POOL_WAIT; for_ids++) {
        struct wait *w = turn(pool, for_ids);
        if (!w || w->slot != slot)
            continue;
        *ret = operation_of(pool, w);
        uint64_t size = w->size * op_unit(pool, w->op);
        int rc = pool_reserve(pool, ret, size);
        if (is_for_want_of_room(rc))
            continue;
        leave_queue(pool, w);
        *ret_wait = w;
        step = pool_reserved(pool, ret, size, rc);
    }
    pool_ring_and_unlock(pool);
    return step;
}

void pool_refuse_wait(struct pool *pool, struct wait *wait, Allot__Error why)
{
    struct pool_operation o = operation_of(pool, wait);

    pool_lock(pool);
    leave_queue(pool, wait);
    ledger_entry_refuse(o.entry, why,
                        why == ALLOT__ERROR__E_DEADLINE ? pool_would_fit(pool, &o) : 0);
    pool_ring_and_unlock(pool);
}

void pool_forget_wait(struct pool *pool, struct wait *wait)
{
    pool_lock(pool);
    leave_queue(pool, wait);
    pool_ring_and_unlock(pool);
}

void pool_adopt_wait(struct pool *pool, struct wait *wait, struct ledger_entry *entry)
{
    struct ledger_wait left = ledger_entry_waiting(entry);

    pool_lock(pool);
    wait->op = (Allot__Op)entry->op;
    wait->size = left.size;
    wait->align = left.align;
    wait->tag = left.tag;
    wait->deadline = left.deadline;
    wait->charge = kind_bytes(op_kind(wait->op), left.size * op_unit(pool, wait->op));
    wait->arrival = left.arrival;
    wait->pool = pool;
    if (!waits_add(&pool->waits, wait)) {
        wait->pool = NULL;
        ledger_entry_refuse(entry, ALLOT__ERROR__E_LIMIT, 0);
    }
    if (!pool->waits.arrivals || (int32_t)(left.arrival - pool->waits.arrivals) > 0)
        pool->waits.arrivals = left.arrival;
    pool_unlock(pool);
}

void pool_ring_and_unlock(struct pool *pool)
{
    for (int for_ids = 0; for_ids < 2 && pool->turned && pool->waits.count; for_ids++) {
        const struct wait *w = turn(pool, for_ids);
        if (w)
            w->ring(w->ctx);
    }
    pool->turned = false;
    pool_unlock(pool);
}
