/* SPDX-License-Identifier: MIT */
/*
 * Grants of bytes, pages and IDs, and the new size of a block.
 *
 * The order of a grant: reserve in the allocator, commit memory, fill the record, intent in the
 * journal, the reference's store, answer in the journal. Of another size: the allocator, memory,
 * intent, the store of the size, answer. Memory is committed between pool_execute() and
 * pool_finish(), without any lock; what has changed meanwhile is looked at again.
 *
 * What it is not: it does not queue what finds no room (operation_waits.c).
 *
 * Locks: pool_finish() and pool_abandon() take the pool's `lock`; all else wants it held.
 */
#include "operation.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <allot/align.h>

#include "log.h"

#define BYTES_ALIGN 16u /* where a request names none */

/* The allocators and the ledger contradict each other: stop before anything is lost. */
_Noreturn static void pool_panic(const struct pool *pool, const char *what)
{
    log_error("pool %s: %s: stopping", pool->info->name, what);
    abort();
}

/* ---- allocators, by kind ---- */

static int take_pages(struct pool *pool, Allot__Op op, uint64_t num, uint64_t align,
                      uint64_t *position)
{
    const struct allot_page_ops *ops = pool->pages->ops;

    return op == ALLOT__OP__OP_ALLOC_PAGES ? ops->alloc_pages(pool->pages, num, align, position)
                                           : ops->alloc_pages_at(pool->pages, *position, num);
}

static int take(struct pool *pool, Allot__Op op, uint64_t size, uint64_t align, uint64_t *position)
{
    uint64_t num = size / pool->info->page_size;
    int rc;

    switch (op) {
    case ALLOT__OP__OP_ALLOC:
        return allot_heap_alloc(&pool->heap, size, align, position);
    case ALLOT__OP__OP_ALLOC_PAGES:
    case ALLOT__OP__OP_ALLOC_PAGES_AT:
        rc = take_pages(pool, op, num, align, position);
        /* Free pages that the heap keeps are the pages' before anybody is refused. */
        if ((rc == ALLOT_E_NO_MEMORY || rc == ALLOT_E_OVERLAP) && allot_heap_trim(&pool->heap))
            rc = take_pages(pool, op, num, align, position);
        return rc;
    case ALLOT__OP__OP_ALLOC_IDS:
        return pool->ids->ops->alloc_id(pool->ids, size, align, position);
    default:
        assert(op == ALLOT__OP__OP_ALLOC_IDS_AT);
        return pool->ids->ops->alloc_fixed_id(pool->ids, *position, size);
    }
}

void pool_give_back(struct pool *pool, enum record_kind kind, uint64_t position, uint64_t size,
                    uint64_t align)
{
    int rc;

    if (kind == RECORD_BYTES)
        rc = allot_heap_dealloc(&pool->heap, position, size, align);
    else if (kind == RECORD_PAGES)
        rc = pool->pages->ops->dealloc_pages(pool->pages, position, size / pool->info->page_size);
    else
        rc = pool->ids->ops->dealloc_id(pool->ids, position, size);
    if (rc)
        pool_panic(pool, "the allocator does not know what the ledger has");
}

/* The largest size, in what the record counts, that would be granted now at this alignment. */
static uint64_t largest(struct pool *pool, Allot__Op op, uint64_t align)
{
    enum record_kind kind = op_kind(op);
    uint64_t unit = op_unit(pool, op);
    uint64_t low = 0;
    uint64_t high;

    /* Free pages on both sides count together. */
    while (kind != RECORD_IDS && allot_heap_trim(&pool->heap))
        ;
    if (kind == RECORD_BYTES)
        high = allot_heap_largest_free(&pool->heap);
    else if (kind == RECORD_PAGES)
        high = pool->pages->ops->largest_free(pool->pages);
    else
        high = pool->ids->ops->largest_free(pool->ids);
    if (align <= (kind == RECORD_BYTES ? BYTES_ALIGN : unit))
        return high * unit;
    /* Alignment makes it less: find out by trying. */
    while (low < high) {
        uint64_t middle = high - (high - low) / 2;
        uint64_t position = 0;
        if (take(pool, op, middle * unit, align, &position) == 0) {
            pool_give_back(pool, kind, position, middle * unit, align);
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low * unit;
}

/* ---- memory ---- */

static bool is_committed(const struct pool *pool, uint64_t position, uint64_t size)
{
    uint64_t page = position / pool->info->page_size;
    uint64_t last = (position + size - 1) / pool->info->page_size;

    for (; page <= last; page++) {
        if (page % 64 == 0 && last - page >= 63) {
            if (pool->committed[page / 64] != UINT64_MAX)
                return false;
            page += 63;
        } else if (!(pool->committed[page / 64] >> page % 64 & 1)) {
            return false;
        }
    }
    return true;
}

/* Whether [position, position+size) needs memory first; then *o says what to commit. */
static bool needs_commit(const struct pool *pool, struct pool_operation *o, uint64_t position,
                         uint64_t size)
{
    uint64_t page_size = pool->info->page_size;

    if (is_committed(pool, position, size))
        return false;
    o->commit_offset = ALLOT_ALIGN_DOWN(position, page_size);
    o->commit_size = ALLOT_ALIGN_UP(position + size, page_size) - o->commit_offset;
    return true;
}

uint64_t pool_quota_left(const struct pool *pool, uint32_t uid)
{
    uint64_t used = tally_get(&pool->users, uid).bytes;

    return used < pool->config.quota ? pool->config.quota - used : 0;
}

/* ---- grants ---- */

int pool_check_grant(const struct pool *pool, struct pool_operation *o, uint64_t *ret_size)
{
    uint64_t size;

    /* A grant at a place names no alignment: what the field says is ignored. */
    if (o->align == 0 || o->op == ALLOT__OP__OP_ALLOC_PAGES_AT ||
        o->op == ALLOT__OP__OP_ALLOC_IDS_AT)
        o->align = op_kind(o->op) == RECORD_BYTES ? BYTES_ALIGN : op_unit(pool, o->op);
    if (!ALLOT_IS_POW2(o->align) || o->size == 0 ||
        __builtin_mul_overflow(o->size, op_unit(pool, o->op), &size) || size > INT64_MAX)
        return ALLOT_E_INVALID;
    if (op_kind(o->op) != RECORD_IDS && o->align > pool->info->size_max)
        return ALLOT_E_INVALID;
    *ret_size = size;
    return 0;
}

/* Gives back what was reserved. */
static void undo_alloc(struct pool *pool, struct pool_operation *o)
{
    uint64_t size = o->size * op_unit(pool, o->op);

    pool->turned = true;
    pool_give_back(pool, op_kind(o->op), o->position, size, o->align);
    tally_remove(&pool->users, o->uid, kind_bytes(op_kind(o->op), size),
                 kind_ids(op_kind(o->op), size));
}

/* What there is no place for under its own tag counts under 0. */
static uint32_t counted_tag(const struct pool *pool, uint32_t tag)
{
    return pool->tags.count < TAGS_MAX || tally_get(&pool->tags, tag).allocations ? tag : 0;
}

static void grant(struct pool *pool, struct pool_operation *o)
{
    uint32_t record;
    uint32_t reference;
    struct timespec now;

    /* While this grant waited for memory, others may have taken the place for its tag. */
    if (!tally_reserve(&pool->tags) || !records_reserve_reference(&pool->records, &reference) ||
        !records_reserve(&pool->records, &record)) {
        undo_alloc(pool, o);
        operation_answer(o, -ALLOT__ERROR__E_LIMIT, 0);
        return;
    }
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    struct ledger_record *r = &pool->records.record[record];
    r->position = o->position;
    r->size = o->size * op_unit(pool, o->op);
    r->time_s = (uint32_t)now.tv_sec;
    r->tag = counted_tag(pool, o->tag);
    r->uid = o->uid;
    r->flags = 0;
    r->kind = (uint8_t)op_kind(o->op);
    r->align_log2 = (uint8_t)__builtin_ctzll(o->align);
    uint64_t word = ledger_reference_word(o->slot, r->generation, record);
    /* One that has waited keeps what it asked for until it has it. */
    ledger_entry_intend(o->entry, record, reference, o->entry->old_word, word);
    records_commit(&pool->records, record, reference, word);
    pool_count_in(pool, r);
    pool->low = pool_is_low(pool);
    o->generation = r->generation;
    operation_answer(o, 0, o->position);
}

uint64_t pool_would_fit(struct pool *pool, const struct pool_operation *o)
{
    uint64_t most = largest(pool, o->op, o->align);
    uint64_t left = op_kind(o->op) == RECORD_IDS ? UINT64_MAX : pool_quota_left(pool, o->uid);

    return (left < most ? left : most) / op_unit(pool, o->op);
}

int pool_reserve(struct pool *pool, struct pool_operation *o, uint64_t size)
{
    enum record_kind kind = op_kind(o->op);

    if (pool->records.live >= pool->config.allocations_max || !tally_reserve(&pool->users) ||
        !tally_reserve(&pool->tags))
        return -ALLOT__ERROR__E_LIMIT;
    if (kind_bytes(kind, size) > pool_quota_left(pool, o->uid))
        return -ALLOT__ERROR__E_QUOTA;
    int rc = take(pool, o->op, size, o->align, &o->position);
    if (rc)
        return rc;
    tally_add(&pool->users, o->uid, kind_bytes(kind, size), kind_ids(kind, size));
    pool->turned = true; /* where that holds back the user's own waits, others come first */
    return 0;
}

enum pool_step pool_reserved(struct pool *pool, struct pool_operation *o, uint64_t size, int rc)
{
    if (rc)
        operation_answer(o, rc, is_for_want_of_room(rc) ? pool_would_fit(pool, o) : 0);
    else if (op_kind(o->op) != RECORD_IDS && needs_commit(pool, o, o->position, size))
        return POOL_COMMIT;
    else
        grant(pool, o);
    return POOL_DONE;
}

/* ---- resizing ---- */

/* Whether what the reference holds may change its size: nobody else relies on it. */
static int check_resizable(const struct pool *pool, uint32_t record, uint32_t reference)
{
    if (pool->records.record[record].flags & RECORD_FROZEN)
        return -ALLOT__ERROR__E_FROZEN;
    return records_is_sole(&pool->records, record, reference) ? 0 : -ALLOT__ERROR__E_SHARED;
}

static void resize(struct pool *pool, struct pool_operation *o, uint32_t record, uint32_t reference)
{
    struct ledger_record *r = &pool->records.record[record];
    uint64_t old = r->size;

    ledger_entry_intend(o->entry, record, reference, old, o->size);
    atomic_store_explicit(&r->size, o->size, memory_order_release);
    tally_resize(&pool->tags, r->tag, old, o->size);
    pool->records.held[o->slot].bytes += o->size - old; /* nobody else holds it */
    pool->used_bytes += o->size - old;
    pool->turned = true;
    operation_answer(o, 0, o->position);
}

enum pool_step pool_resize_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t record;
    uint32_t reference;
    int rc = pool_find_held(pool, o, &record, &reference);

    assert(pool->locked);
    if (!rc && (o->size == 0 || o->size > INT64_MAX))
        rc = ALLOT_E_INVALID;
    if (!rc)
        rc = check_resizable(pool, record, reference);
    if (rc) {
        operation_answer(o, rc, 0);
        return POOL_DONE;
    }
    struct ledger_record *r = &pool->records.record[record];
    uint64_t left = pool_quota_left(pool, r->uid);
    if (o->size > r->size && o->size - r->size > left) {
        operation_answer(o, -ALLOT__ERROR__E_QUOTA, r->size + left);
        return POOL_DONE;
    }
    rc = allot_heap_realloc(&pool->heap, o->position, r->size, 1ull << r->align_log2, o->size);
    if (rc) {
        operation_answer(o, rc, rc == ALLOT_E_NO_MEMORY ? allot_heap_largest_free(&pool->heap) : 0);
        return POOL_DONE;
    }
    tally_resize(&pool->users, r->uid, r->size, o->size);
    if (needs_commit(pool, o, o->position, o->size))
        return POOL_COMMIT;
    resize(pool, o, record, reference);
    return POOL_DONE;
}

static void undo_resize(struct pool *pool, const struct pool_operation *o)
{
    const struct ledger_record *r =
        &pool->records.record[records_find(&pool->records, RECORD_BYTES, o->position)];

    if (allot_heap_realloc(&pool->heap, o->position, o->size, 1ull << r->align_log2, r->size))
        pool_panic(pool, "a block cannot be made as small as it was");
    tally_resize(&pool->users, r->uid, o->size, r->size);
    pool->turned = true;
}

/* The memory is there, but while it came another may have acquired the block, or frozen it. */
static void finish_resize(struct pool *pool, struct pool_operation *o)
{
    uint32_t record = records_find(&pool->records, RECORD_BYTES, o->position);
    uint32_t reference = records_reference_of(&pool->records, record, o->slot);
    int rc = check_resizable(pool, record, reference);

    if (rc) {
        undo_resize(pool, o);
        operation_answer(o, rc, 0);
    } else {
        resize(pool, o, record, reference);
    }
}

static void undo(struct pool *pool, struct pool_operation *o)
{
    if (o->op == ALLOT__OP__OP_RESIZE)
        undo_resize(pool, o);
    else
        undo_alloc(pool, o);
}

void pool_finish(struct pool *pool, struct pool_operation *o, int rc)
{
    pool_make_room(pool);
    pool_lock(pool);
    if (rc) {
        undo(pool, o);
        operation_answer(o, -ALLOT__ERROR__E_COMMIT, 0);
    } else {
        pool_mark_committed(pool, o->commit_offset, o->commit_size);
        if (o->op == ALLOT__OP__OP_RESIZE)
            finish_resize(pool, o);
        else
            grant(pool, o);
    }
    pool_ring_and_unlock(pool);
    if (rc)
        log_warning("pool %s: cannot commit %llu bytes: %s", pool->info->name,
                    (unsigned long long)o->commit_size, strerror(-rc));
}

void pool_abandon(struct pool *pool, struct pool_operation *o)
{
    pool_lock(pool);
    undo(pool, o);
    pool_ring_and_unlock(pool);
}
