/* SPDX-License-Identifier: MIT */
/*
 * What a pool does for a request, one item at a time.
 *
 * The order of a grant: reserve in the allocator, commit memory, fill the record, intent in the
 * journal, the reference's store, answer in the journal. Of an acquire: intent, the reference's
 * store, answer. Of a release: intent, the reference's store, allocator if it was the last one,
 * answer. Of a send: reserve and fill the parcel, intent, the reference's store, answer; who takes
 * the parcel stores another word in the place of that one. A name is filled in before its reference
 * is stored; replacing one is a single store of another word over the old. A crash between any two
 * loses nothing and leaks nothing: the store of the reference decides, the journal tells which way,
 * allocators and sums are derived.
 *
 * A grant that may wait is queued where it finds no room; from then on its journal entry says what
 * it asked for, until it has it or is refused. Whatever frees something rings whose turn it is; the
 * session's own loop then tries (pending.c).
 *
 * What it is not: it does not judge rights (service.c) nor wait for memory (the caller does,
 * between pool_execute() and pool_finish(), without any lock).
 *
 * Locks: each public function takes the pool's `lock`; making room in the ledger may block and
 * happens under `growing`, before it. A `_locked` function wants the lock held.
 */
#include "pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <allot/align.h>

#include "log.h"

_Static_assert(ALLOT_E_INVALID == -ALLOT__ERROR__E_INVALID, "one set of numbers");
_Static_assert(ALLOT_E_OVERLAP == -ALLOT__ERROR__E_OVERLAP, "one set of numbers");
_Static_assert(ALLOT_E_NO_MEMORY == -ALLOT__ERROR__E_NO_MEMORY, "one set of numbers");
_Static_assert(ALLOT_E_NOT_ALLOCATED == -ALLOT__ERROR__E_NOT_ALLOCATED, "one set of numbers");

#define BYTES_ALIGN 16u /* where a request names none */

/* The allocators and the ledger contradict each other: stop before anything is lost. */
_Noreturn static void pool_panic(const struct pool *pool, const char *what)
{
    log_error("pool %s: %s: stopping", pool->info->name, what);
    abort();
}

/* ---- what an operation means ---- */

static enum record_kind op_kind(Allot__Op op)
{
    switch (op) {
    case ALLOT__OP__OP_ALLOC_PAGES:
    case ALLOT__OP__OP_ALLOC_PAGES_AT:
    case ALLOT__OP__OP_FREE_PAGES:
        return RECORD_PAGES;
    case ALLOT__OP__OP_ALLOC_IDS:
    case ALLOT__OP__OP_ALLOC_IDS_AT:
    case ALLOT__OP__OP_FREE_IDS:
        return RECORD_IDS;
    default:
        return RECORD_BYTES;
    }
}

/* Whether it names what it is about by a ticket. */
static bool has_ticket(Allot__Op op)
{
    return op == ALLOT__OP__OP_ACQUIRE || op == ALLOT__OP__OP_RELEASE ||
           op == ALLOT__OP__OP_FREEZE || op == ALLOT__OP__OP_SEND || op == ALLOT__OP__OP_PUBLISH;
}

/* The unit of the operation's sizes, in what the record counts. */
static uint64_t op_unit(const struct pool *pool, Allot__Op op)
{
    return op_kind(op) == RECORD_PAGES ? pool->info->page_size : 1;
}

static void answer(struct pool_operation *o, int rc, uint64_t value)
{
    o->error = (Allot__Error)-rc;
    o->value = value;
    if (rc && ledger_entry_waits(o->entry))
        ledger_entry_refuse(o->entry, o->error, value);
    else
        ledger_entry_finish(o->entry, o->error, value, o->generation);
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

static void give_back(struct pool *pool, enum record_kind kind, uint64_t position, uint64_t size,
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
            give_back(pool, kind, position, middle * unit, align);
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

/* Makes room in the ledger where it gets short, before the lock is taken: it may block. What fails
 * here is met again, and answered, where a slot is needed. */
static void make_room(struct pool *pool)
{
    uint32_t committed = 0;
    uint32_t names_committed = 0;

    if (!atomic_load_explicit(&pool->low, memory_order_relaxed))
        return;
    pthread_mutex_lock(&pool->growing);
    if (pool->low) {
        pool_lock(pool);
        bool records = records_low(&pool->records);
        bool names = names_low(&pool->names);
        pool_unlock(pool);
        int rc = names ? names_grow_file(&pool->names, &names_committed) : 0;
        if (!rc && records)
            rc = records_grow_file(&pool->records, &committed);
        pool_lock(pool);
        if (names_committed)
            pool->names.committed = names_committed;
        if (committed)
            rc = records_grow(&pool->records, committed);
        pool->low = pool_is_low(pool);
        pool_unlock(pool);
        /* Each request tries again; one line in a row is enough. */
        if (rc && !pool->cramped)
            log_warning("pool %s: no room for more records: %s", pool->info->name, strerror(-rc));
        pool->cramped = rc != 0;
    }
    pthread_mutex_unlock(&pool->growing);
}

/* Bytes that the user may still ask for. */
static uint64_t quota_left(const struct pool *pool, uint32_t uid)
{
    uint64_t used = tally_get(&pool->users, uid).bytes;

    return used < pool->config.quota ? pool->config.quota - used : 0;
}

/* ---- grants ---- */

/* Checks a grant's numbers and turns them into what the record counts. */
static int check_grant(const struct pool *pool, struct pool_operation *o, uint64_t *ret_size)
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

static void grant(struct pool *pool, struct pool_operation *o, uint64_t size)
{
    uint32_t record;
    uint32_t reference;
    struct timespec now;

    /* While this grant waited for memory, others may have taken the place for its tag. */
    if (!tally_reserve(&pool->tags) || !records_reserve_reference(&pool->records, &reference) ||
        !records_reserve(&pool->records, &record)) {
        pool->freed = true;
        give_back(pool, op_kind(o->op), o->position, size, o->align);
        tally_remove(&pool->users, o->uid, kind_bytes(op_kind(o->op), size),
                     kind_ids(op_kind(o->op), size));
        answer(o, -ALLOT__ERROR__E_LIMIT, 0);
        return;
    }
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    struct ledger_record *r = &pool->records.record[record];
    r->position = o->position;
    r->size = size;
    r->time_s = (uint32_t)now.tv_sec;
    r->tag = o->tag;
    r->uid = o->uid;
    r->flags = 0;
    r->kind = (uint8_t)op_kind(o->op);
    r->align_log2 = (uint8_t)__builtin_ctzll(o->align);
    uint64_t word = ledger_reference_word(o->slot, r->generation, record);
    /* One that has waited keeps what it asked for until it has it. */
    ledger_entry_intend(o->entry, record, reference, o->entry->old_word, word);
    records_commit(&pool->records, record, reference, word);
    pool_count_in(pool, r);
    pool_hold(pool, r, o->slot);
    pool->low = pool_is_low(pool);
    o->generation = r->generation;
    answer(o, 0, o->position);
}

/* The largest size that would be granted to the user now, in the request's unit. */
static uint64_t would_fit(struct pool *pool, const struct pool_operation *o)
{
    uint64_t most = largest(pool, o->op, o->align);
    uint64_t left = op_kind(o->op) == RECORD_IDS ? UINT64_MAX : quota_left(pool, o->uid);

    return (left < most ? left : most) / op_unit(pool, o->op);
}

/* Takes `size` from the allocator and the user's quota. */
static int reserve(struct pool *pool, struct pool_operation *o, uint64_t size)
{
    enum record_kind kind = op_kind(o->op);

    if (pool->records.live >= pool->config.allocations_max || !tally_reserve(&pool->users) ||
        !tally_reserve(&pool->tags))
        return -ALLOT__ERROR__E_LIMIT;
    if (kind_bytes(kind, size) > quota_left(pool, o->uid))
        return -ALLOT__ERROR__E_QUOTA;
    int rc = take(pool, o->op, size, o->align, &o->position);
    if (!rc)
        tally_add(&pool->users, o->uid, kind_bytes(kind, size), kind_ids(kind, size));
    return rc;
}

static bool is_for_want_of_room(int rc)
{
    return rc == ALLOT_E_NO_MEMORY || rc == -ALLOT__ERROR__E_QUOTA;
}

/* What follows a reservation, or its failure for good. */
static enum pool_step reserved(struct pool *pool, struct pool_operation *o, uint64_t size, int rc)
{
    if (rc)
        answer(o, rc, is_for_want_of_room(rc) ? would_fit(pool, o) : 0);
    else if (op_kind(o->op) != RECORD_IDS && needs_commit(pool, o, o->position, size))
        return POOL_COMMIT;
    else
        grant(pool, o, size);
    return POOL_DONE;
}

/* ---- waiting ---- */

/* Whether it might be granted when nobody holds anything. */
static bool is_worth_waiting(const struct pool *pool, const struct pool_operation *o, uint64_t size)
{
    if (op_kind(o->op) == RECORD_IDS)
        return size <= pool->info->ids;
    return size < pool->info->size_max && size <= pool->config.quota;
}

static struct wait *turn(const struct pool *pool, bool for_ids)
{
    return waits_turn(&pool->waits, for_ids, quota_left);
}

static void leave_queue(struct pool *pool, struct wait *w)
{
    waits_remove(&pool->waits, w);
    w->pool = NULL;
    pool->freed = true; /* the turn has come to another */
}

/* Queues the request, and, where it is its turn at once, tries it. */
static int reserve_or_wait(struct pool *pool, struct pool_operation *o, uint64_t size)
{
    struct wait *w = o->wait;
    int rc = ALLOT_E_NO_MEMORY;

    if (!w || !is_worth_waiting(pool, o, size)) {
        o->wait = NULL;
        return reserve(pool, o, size);
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
        rc = reserve(pool, o, size);
    if (!is_for_want_of_room(rc))
        leave_queue(pool, w);
    return rc;
}

static enum pool_step alloc_locked(struct pool *pool, struct pool_operation *o)
{
    uint64_t size;
    int rc = check_grant(pool, o, &size);

    assert(pool->locked);
    if (rc) {
        answer(o, rc, 0);
        return POOL_DONE;
    }
    rc = reserve_or_wait(pool, o, size);
    if (!o->wait || !o->wait->pool)
        return reserved(pool, o, size, rc);
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

    make_room(pool);
    pool_lock(pool);
    for (int for_ids = 0; for_ids < 2 && step == POOL_WAIT; for_ids++) {
        struct wait *w = turn(pool, for_ids);
        if (!w || w->slot != slot)
            continue;
        *ret = operation_of(pool, w);
        uint64_t size = w->size * op_unit(pool, w->op);
        int rc = reserve(pool, ret, size);
        if (is_for_want_of_room(rc))
            continue;
        leave_queue(pool, w);
        *ret_wait = w;
        step = reserved(pool, ret, size, rc);
    }
    pool_ring_and_unlock(pool);
    return step;
}

void pool_refuse_wait(struct pool *pool, struct wait *wait, Allot__Error why)
{
    struct pool_operation o = operation_of(pool, wait);

    pool_lock(pool);
    leave_queue(pool, wait);
    ledger_entry_refuse(o.entry, why, why == ALLOT__ERROR__E_DEADLINE ? would_fit(pool, &o) : 0);
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
    for (int for_ids = 0; for_ids < 2 && pool->freed && pool->waits.count; for_ids++) {
        const struct wait *w = turn(pool, for_ids);
        if (w)
            w->ring(w->ctx);
    }
    pool->freed = false;
    pool_unlock(pool);
}

static void undo_alloc(struct pool *pool, struct pool_operation *o)
{
    uint64_t size = o->size * op_unit(pool, o->op);

    pool->freed = true;
    give_back(pool, op_kind(o->op), o->position, size, o->align);
    tally_remove(&pool->users, o->uid, kind_bytes(op_kind(o->op), size),
                 kind_ids(op_kind(o->op), size));
}

/* ---- references ---- */

/* The live record that the operation names: by its position, or by a ticket, whose generation must
 * be the record's own. */
static uint32_t find(const struct pool *pool, const struct pool_operation *o)
{
    uint64_t kind = op_kind(o->op);
    uint64_t position = o->position;

    if (has_ticket(o->op)) {
        kind = position >> CODEC_KIND_SHIFT;
        position &= (1ull << CODEC_KIND_SHIFT) - 1;
        if (kind < RECORD_BYTES || kind > RECORD_IDS)
            return RECORDS_NONE;
    }
    uint32_t record = records_find(&pool->records, (enum record_kind)kind, position);
    if (record != RECORDS_NONE && has_ticket(o->op) &&
        pool->records.record[record].generation != o->generation)
        return RECORDS_NONE;
    return record;
}

/* The live record that the operation names and the session's reference to it. */
static int find_held(const struct pool *pool, const struct pool_operation *o, uint32_t *ret_record,
                     uint32_t *ret_reference)
{
    uint32_t record = find(pool, o);

    if (record == RECORDS_NONE)
        return ALLOT_E_NOT_ALLOCATED;
    *ret_reference = records_reference_of(&pool->records, record, o->slot);
    if (*ret_reference == RECORDS_NONE)
        return -ALLOT__ERROR__E_NOT_OWNER;
    *ret_record = record;
    return 0;
}

/* The record's last reference has gone. */
static void free_record(struct pool *pool, uint32_t record)
{
    const struct ledger_record *r = &pool->records.record[record];

    pool->freed = true;
    pool_count_out(pool, r);
    give_back(pool, r->kind, r->position, r->size, 1ull << r->align_log2);
}

static void release(struct pool *pool, uint32_t record, uint32_t reference)
{
    uint64_t word = pool->records.reference[reference];

    if (ledger_reference_slot(word) < SESSIONS_MAX)
        pool_unhold(pool, &pool->records.record[record], ledger_reference_slot(word));
    else if (ledger_reference_slot(word) == HOLDER_PARCEL)
        parcels_remove(&pool->parcels, ledger_reference_index(word));
    if (records_drop(&pool->records, reference))
        free_record(pool, record);
}

/* The reference of a parcel that is the session's to take, rather by name than as anyone, or
 * RECORDS_NONE. */
static uint32_t find_parcel(const struct pool *pool, uint32_t record, unsigned slot)
{
    uint32_t at = RECORDS_NONE;
    uint32_t found = RECORDS_NONE;

    if (!pool->parcels.count)
        return RECORDS_NONE;
    while ((at = records_next_parcel(&pool->records, record, at)) != RECORDS_NONE) {
        const struct ledger_parcel *parcel =
            &pool->parcels.parcel[ledger_reference_index(pool->records.reference[at])];
        if (parcel->receiver == pool->ledger->sessions[slot].id)
            return at;
        if (!parcel->receiver)
            found = at;
    }
    return found;
}

/* The parcel's reference becomes the session's, or goes where the session has one. */
static void take_parcel(struct pool *pool, struct pool_operation *o, uint32_t record,
                        uint32_t reference)
{
    const struct ledger_record *r = &pool->records.record[record];
    uint64_t old = pool->records.reference[reference];

    if (records_reference_of(&pool->records, record, o->slot) != RECORDS_NONE) {
        ledger_entry_intend(o->entry, record, reference, old, 0);
        release(pool, record, reference);
        return;
    }
    uint64_t word = ledger_reference_word(o->slot, r->generation, record);
    ledger_entry_intend(o->entry, record, reference, old, word);
    records_move(&pool->records, reference, word);
    parcels_remove(&pool->parcels, ledger_reference_index(old));
    pool_hold(pool, r, o->slot);
}

/* A reference for the session to a live record. One a session: how often a process took it is
 * counted there. */
static int take_reference(struct pool *pool, struct pool_operation *o, uint32_t record)
{
    const struct ledger_record *r = &pool->records.record[record];
    uint64_t word = ledger_reference_word(o->slot, r->generation, record);
    uint32_t reference = records_reference_of(&pool->records, record, o->slot);

    if (reference != RECORDS_NONE) {
        /* As if it were stored once more: so much is known of it after a crash. */
        ledger_entry_intend(o->entry, record, reference, 0, word);
        return 0;
    }
    if (!records_reserve_reference(&pool->records, &reference))
        return -ALLOT__ERROR__E_LIMIT;
    ledger_entry_intend(o->entry, record, reference, 0, word);
    records_commit_reference(&pool->records, reference, word);
    pool_hold(pool, r, o->slot);
    pool->low = pool_is_low(pool);
    return 0;
}

static void acquire_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t record = find(pool, o);

    assert(pool->locked);
    o->generation = 0; /* the asker knows it */
    if (record == RECORDS_NONE) {
        answer(o, ALLOT_E_NOT_ALLOCATED, 0);
        return;
    }
    const struct ledger_record *r = &pool->records.record[record];
    uint32_t reference = find_parcel(pool, record, o->slot);
    if (reference != RECORDS_NONE) {
        take_parcel(pool, o, record, reference);
        answer(o, 0, ledger_record_told(r) | CODEC_VALUE_PARCEL);
        return;
    }
    int rc = take_reference(pool, o, record);
    answer(o, rc, rc ? 0 : ledger_record_told(r));
}

/* Whether the session that a parcel is for is there. One that ends from here on finds the parcel
 * when what it holds is reclaimed. */
static bool has_receiver(const struct pool *pool, const struct pool_operation *o)
{
    const struct ledger_session *s = &pool->ledger->sessions[o->receiver_slot];

    return o->receiver_slot < SESSIONS_MAX && s->id == o->receiver && !s->ended;
}

static void send_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t record;
    uint32_t held;
    uint32_t reference;
    uint16_t parcel;
    int rc = find_held(pool, o, &record, &held);

    assert(pool->locked);
    o->generation = 0;
    if (!rc && !o->deadline)
        rc = ALLOT_E_INVALID;
    if (!rc && o->receiver && !has_receiver(pool, o))
        rc = -ALLOT__ERROR__E_SESSION;
    if (!rc && (!parcels_reserve(&pool->parcels, o->uid, &parcel) ||
                !records_reserve_reference(&pool->records, &reference)))
        rc = -ALLOT__ERROR__E_LIMIT;
    if (!rc) {
        pool->parcels.parcel[parcel] = (struct ledger_parcel){.deadline = o->deadline,
                                                              .receiver = o->receiver,
                                                              .slot = o->receiver_slot,
                                                              .uid = o->uid};
        uint64_t word = ledger_reference_word_of(HOLDER_PARCEL, parcel, record);
        ledger_entry_intend(o->entry, record, reference, 0, word);
        records_commit_reference(&pool->records, reference, word);
        parcels_add(&pool->parcels, parcel, reference);
        pool->low = pool_is_low(pool);
    }
    answer(o, rc, 0);
}

static void freeze_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t record;
    uint32_t reference;
    int rc = find_held(pool, o, &record, &reference);

    assert(pool->locked);
    if (!rc) {
        struct ledger_record *r = &pool->records.record[record];
        uint16_t flags = (uint16_t)(r->flags | RECORD_FROZEN);
        ledger_entry_intend(o->entry, record, reference, r->flags, flags);
        atomic_store_explicit(&r->flags, flags, memory_order_release);
    }
    o->generation = 0;
    answer(o, rc, 0);
}

/* A free or a release: whether what goes is the last reference makes no difference to the asker. */
static void release_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t record;
    uint32_t reference;
    int rc = find_held(pool, o, &record, &reference);
    uint64_t size;

    assert(pool->locked);
    if (!rc && o->size &&
        (__builtin_mul_overflow(o->size, op_unit(pool, o->op), &size) ||
         size != pool->records.record[record].size))
        rc = ALLOT_E_NOT_ALLOCATED;
    if (!rc) {
        ledger_entry_intend(o->entry, record, reference, pool->records.reference[reference], 0);
        release(pool, record, reference);
    }
    o->generation = 0;
    answer(o, rc, 0);
}

/* ---- names ---- */

/* Whether the user may put `record` in place of the name `old`, or of none. */
static int check_publish(const struct pool *pool, const struct pool_operation *o, uint32_t old)
{
    const struct names *names = &pool->names;

    if (old != NAMES_NONE && !o->replace)
        return -ALLOT__ERROR__E_EXISTS;
    if (old != NAMES_NONE)
        return names->name[old].uid == o->uid ? 0 : -ALLOT__ERROR__E_DENIED;
    if (names_of_user(names, o->uid) >= pool->config.names_quota)
        return -ALLOT__ERROR__E_QUOTA;
    return names->live < NAMES_MAX ? 0 : -ALLOT__ERROR__E_LIMIT;
}

static int publish(struct pool *pool, struct pool_operation *o)
{
    uint32_t old = names_find(&pool->names, o->name);
    uint32_t record;
    uint32_t reference;
    uint32_t index;
    int rc = names_is_name(o->name) ? find_held(pool, o, &record, &reference) : ALLOT_E_INVALID;

    if (!rc)
        rc = check_publish(pool, o, old);
    if (rc)
        return rc;
    if ((old == NAMES_NONE && !records_reserve_reference(&pool->records, &reference)) ||
        !names_reserve(&pool->names, o->name, o->uid, o->gid, &index))
        return -ALLOT__ERROR__E_LIMIT;
    uint64_t word = ledger_reference_word_of(HOLDER_NAME, (uint16_t)index, record);
    if (old == NAMES_NONE) {
        ledger_entry_intend(o->entry, record, reference, 0, word);
        records_commit_reference(&pool->records, reference, word);
        names_add(&pool->names, index, reference);
    } else {
        reference = pool->names.references[old];
        uint64_t old_word = pool->records.reference[reference];
        ledger_entry_intend(o->entry, record, reference, old_word, word);
        if (records_move(&pool->records, reference, word))
            free_record(pool, ledger_reference_record(old_word));
        names_replace(&pool->names, old, index);
    }
    pool->low = pool_is_low(pool);
    return 0;
}

static void publish_locked(struct pool *pool, struct pool_operation *o)
{
    int rc = publish(pool, o);

    assert(pool->locked);
    o->generation = 0; /* the asker knows it */
    answer(o, rc, 0);
}

static void unpublish_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t index = names_find(&pool->names, o->name);
    int rc = 0;

    assert(pool->locked);
    if (index == NAMES_NONE)
        rc = -ALLOT__ERROR__E_NO_NAME;
    else if (pool->names.name[index].uid != o->uid)
        rc = -ALLOT__ERROR__E_DENIED;
    if (!rc) {
        uint32_t reference = pool->names.references[index];
        uint64_t word = pool->records.reference[reference];
        uint32_t record = ledger_reference_record(word);
        ledger_entry_intend(o->entry, record, reference, word, 0);
        release(pool, record, reference);
        names_remove(&pool->names, index);
    }
    answer(o, rc, 0);
}

static void lookup_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t index = names_find(&pool->names, o->name);
    uint32_t record = RECORDS_NONE;
    int rc = -ALLOT__ERROR__E_NO_NAME;

    assert(pool->locked);
    if (index != NAMES_NONE) {
        record = ledger_reference_record(pool->records.reference[pool->names.references[index]]);
        rc = take_reference(pool, o, record);
    }
    if (rc) {
        answer(o, rc, 0);
        return;
    }
    const struct ledger_record *r = &pool->records.record[record];
    o->generation = r->generation;
    o->entry->size = ledger_record_told(r);
    answer(o, 0, ledger_record_place(r));
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
    pool->holdings[o->slot].bytes += o->size - old; /* nobody else holds it */
    pool->used_bytes += o->size - old;
    pool->freed = o->size < old;
    answer(o, 0, o->position);
}

static enum pool_step resize_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t record;
    uint32_t reference;
    int rc = find_held(pool, o, &record, &reference);

    assert(pool->locked);
    if (!rc && (o->size == 0 || o->size > INT64_MAX))
        rc = ALLOT_E_INVALID;
    if (!rc)
        rc = check_resizable(pool, record, reference);
    if (rc) {
        answer(o, rc, 0);
        return POOL_DONE;
    }
    struct ledger_record *r = &pool->records.record[record];
    uint64_t left = quota_left(pool, r->uid);
    if (o->size > r->size && o->size - r->size > left) {
        answer(o, -ALLOT__ERROR__E_QUOTA, r->size + left);
        return POOL_DONE;
    }
    rc = allot_heap_realloc(&pool->heap, o->position, r->size, 1ull << r->align_log2, o->size);
    if (rc) {
        answer(o, rc, rc == ALLOT_E_NO_MEMORY ? allot_heap_largest_free(&pool->heap) : 0);
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
    pool->freed = true;
}

/* The memory is there, but while it came another may have acquired the block, or frozen it. */
static void finish_resize(struct pool *pool, struct pool_operation *o)
{
    uint32_t record = records_find(&pool->records, RECORD_BYTES, o->position);
    uint32_t reference = records_reference_of(&pool->records, record, o->slot);
    int rc = check_resizable(pool, record, reference);

    if (rc) {
        undo_resize(pool, o);
        answer(o, rc, 0);
    } else {
        resize(pool, o, record, reference);
    }
}

/* ---- the rest ---- */

static void usable_size_locked(struct pool *pool, struct pool_operation *o)
{
    uint64_t usable = 0;
    int rc = ALLOT_E_NOT_ALLOCATED;

    assert(pool->locked);
    if (records_find(&pool->records, RECORD_BYTES, o->position) != RECORDS_NONE)
        rc = pool->bytes->ops->usable_size(pool->bytes, o->position, &usable);
    answer(o, rc, usable);
}

static void add_memory_locked(struct pool *pool, struct pool_operation *o)
{
    uint64_t old = pool->info->size;
    uint64_t bytes;

    assert(pool->locked);
    if (o->size == 0 || !allot_align_up(o->size, pool->info->page_size, &bytes) ||
        bytes > pool->info->size_max - old) {
        answer(o, ALLOT_E_INVALID, old);
        return;
    }
    int rc = pool->pages->ops->add_memory(pool->pages, old, bytes);
    if (!rc) {
        ledger_entry_intend(o->entry, 0, 0, old, old + bytes);
        atomic_store_explicit(&pool->info->size, old + bytes, memory_order_release);
        pool->freed = true;
    }
    answer(o, rc, pool->info->size);
}

enum pool_step pool_execute(struct pool *pool, struct pool_operation *o)
{
    enum pool_step step = POOL_DONE;

    make_room(pool);
    pool_lock(pool);
    switch (o->op) {
    case ALLOT__OP__OP_ALLOC:
    case ALLOT__OP__OP_ALLOC_PAGES:
    case ALLOT__OP__OP_ALLOC_PAGES_AT:
    case ALLOT__OP__OP_ALLOC_IDS:
    case ALLOT__OP__OP_ALLOC_IDS_AT:
        step = alloc_locked(pool, o);
        break;
    case ALLOT__OP__OP_FREE:
    case ALLOT__OP__OP_FREE_PAGES:
    case ALLOT__OP__OP_FREE_IDS:
    case ALLOT__OP__OP_RELEASE:
        release_locked(pool, o);
        break;
    case ALLOT__OP__OP_ACQUIRE:
        acquire_locked(pool, o);
        break;
    case ALLOT__OP__OP_FREEZE:
        freeze_locked(pool, o);
        break;
    case ALLOT__OP__OP_SEND:
        send_locked(pool, o);
        break;
    case ALLOT__OP__OP_PUBLISH:
        publish_locked(pool, o);
        break;
    case ALLOT__OP__OP_UNPUBLISH:
        unpublish_locked(pool, o);
        break;
    case ALLOT__OP__OP_LOOKUP:
        lookup_locked(pool, o);
        break;
    case ALLOT__OP__OP_RESIZE:
        step = resize_locked(pool, o);
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

static void undo(struct pool *pool, struct pool_operation *o)
{
    if (o->op == ALLOT__OP__OP_RESIZE)
        undo_resize(pool, o);
    else
        undo_alloc(pool, o);
}

void pool_finish(struct pool *pool, struct pool_operation *o, int rc)
{
    make_room(pool);
    pool_lock(pool);
    if (rc) {
        undo(pool, o);
        answer(o, -ALLOT__ERROR__E_COMMIT, 0);
    } else {
        pool_mark_committed(pool, o->commit_offset, o->commit_size);
        if (o->op == ALLOT__OP__OP_RESIZE)
            finish_resize(pool, o);
        else
            grant(pool, o, o->size * op_unit(pool, o->op));
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

static void drop(struct pool *pool, uint32_t reference)
{
    release(pool, ledger_reference_record(pool->records.reference[reference]), reference);
}

bool pool_reclaim(struct pool *pool, unsigned slot, unsigned max)
{
    uint32_t reference;
    uint16_t parcel;

    pool_lock(pool);
    while ((reference = records_first_held(&pool->records, slot)) != RECORDS_NONE && max > 0) {
        drop(pool, reference);
        max--;
    }
    while ((parcel = parcels_first_to(&pool->parcels, slot)) != PARCELS_NONE && max > 0) {
        drop(pool, parcels_reference(&pool->parcels, parcel));
        max--;
    }
    pool_ring_and_unlock(pool);
    return reference != RECORDS_NONE || parcel != PARCELS_NONE;
}

uint64_t pool_expire(struct pool *pool, uint64_t now, unsigned max)
{
    uint64_t next = UINT64_MAX;
    uint16_t parcel;

    pool_lock(pool);
    while ((parcel = parcels_first_due(&pool->parcels)) != PARCELS_NONE) {
        next = pool->parcels.parcel[parcel].deadline;
        if (next > now || max-- == 0)
            break;
        drop(pool, parcels_reference(&pool->parcels, parcel));
        next = UINT64_MAX;
    }
    pool_ring_and_unlock(pool);
    return next;
}
