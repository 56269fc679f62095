/* SPDX-License-Identifier: MIT */
/*
 * What a pool does for a request, one item at a time.
 *
 * What changes something does so in one order: intent in the journal, the one store that decides,
 * answer in the journal. A crash between any two loses nothing and leaks nothing: the journal tells
 * which way the store went, allocators and sums are derived. What is filled in before the store is
 * told where it is done: operation_grants.c, operation_waits.c (grants that find no room),
 * operation_references.c, operation_parcels.c, operation_names.c.
 *
 * What it is not: it does not judge rights (service.c) nor wait for memory (the caller does,
 * between pool_execute() and pool_finish(), without any lock).
 *
 * Locks: pool_execute() takes the pool's `lock`; making room in the ledger may block and happens
 * before it. A `_locked` function wants the lock held.
 */
#include "operation.h"

#include <assert.h>

#include <allot/align.h>

_Static_assert(ALLOT_E_INVALID == -ALLOT__ERROR__E_INVALID, "one set of numbers");
_Static_assert(ALLOT_E_OVERLAP == -ALLOT__ERROR__E_OVERLAP, "one set of numbers");
_Static_assert(ALLOT_E_NO_MEMORY == -ALLOT__ERROR__E_NO_MEMORY, "one set of numbers");
_Static_assert(ALLOT_E_NOT_ALLOCATED == -ALLOT__ERROR__E_NOT_ALLOCATED, "one set of numbers");

void operation_answer(struct pool_operation *o, int rc, uint64_t value)
{
    o->error = (Allot__Error)-rc;
    o->value = value;
    if (rc && ledger_entry_waits(o->entry))
        ledger_entry_refuse(o->entry, o->error, value);
    else
        ledger_entry_finish(o->entry, o->error, value, o->generation);
}

static void usable_size_locked(struct pool *pool, struct pool_operation *o)
{
    uint64_t usable = 0;
    int rc = ALLOT_E_NOT_ALLOCATED;

    assert(pool->locked);
    if (records_find(&pool->records, RECORD_BYTES, o->position) != RECORDS_NONE)
        rc = pool->bytes->ops->usable_size(pool->bytes, o->position, &usable);
    operation_answer(o, rc, usable);
}

static void add_memory_locked(struct pool *pool, struct pool_operation *o)
{
    uint64_t old = pool->info->size;
    uint64_t bytes;

    assert(pool->locked);
    if (o->size == 0 || !allot_align_up(o->size, pool->info->page_size, &bytes) ||
        bytes > pool->info->size_max - old) {
        operation_answer(o, ALLOT_E_INVALID, old);
        return;
    }
    int rc = pool->pages->ops->add_memory(pool->pages, old, bytes);
    if (!rc) {
        ledger_entry_intend(o->entry, 0, 0, old, old + bytes);
        atomic_store_explicit(&pool->info->size, old + bytes, memory_order_release);
        pool->turned = true;
    }
    operation_answer(o, rc, pool->info->size);
}

enum pool_step pool_execute(struct pool *pool, struct pool_operation *o)
{
    enum pool_step step = POOL_DONE;

    pool_make_room(pool);
    pool_lock(pool);
    switch (o->op) {
    case ALLOT__OP__OP_ALLOC:
    case ALLOT__OP__OP_ALLOC_PAGES:
    case ALLOT__OP__OP_ALLOC_PAGES_AT:
    case ALLOT__OP__OP_ALLOC_IDS:
    case ALLOT__OP__OP_ALLOC_IDS_AT:
        step = pool_alloc_locked(pool, o);
        break;
    case ALLOT__OP__OP_FREE:
    case ALLOT__OP__OP_FREE_PAGES:
    case ALLOT__OP__OP_FREE_IDS:
    case ALLOT__OP__OP_RELEASE:
        pool_release_locked(pool, o);
        break;
    case ALLOT__OP__OP_ACQUIRE:
        pool_acquire_locked(pool, o);
        break;
    case ALLOT__OP__OP_FREEZE:
        pool_freeze_locked(pool, o);
        break;
    case ALLOT__OP__OP_SEND:
        pool_send_locked(pool, o);
        break;
    case ALLOT__OP__OP_PUBLISH:
        pool_publish_locked(pool, o);
        break;
    case ALLOT__OP__OP_UNPUBLISH:
        pool_unpublish_locked(pool, o);
        break;
    case ALLOT__OP__OP_LOOKUP:
        pool_lookup_locked(pool, o);
        break;
    case ALLOT__OP__OP_RESIZE:
        step = pool_resize_locked(pool, o);
        break;
    case ALLOT__OP__OP_USABLE_SIZE:
        usable_size_locked(pool, o);
        break;
    default:
        assert(o->op == ALLOT__OP__OP_ADD_MEMORY);
        add_memory_locked(pool, o);
    }
    pool_ring_and_unlock(pool);
    return step;
}
