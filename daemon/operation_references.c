/* SPDX-License-Identifier: MIT */
/*
 * References: a session's are acquired and released, and dropped when it ends; what it holds is
 * frozen.
 *
 * The order of an acquire: intent in the journal, the reference's store, answer. Of a release:
 * intent, the reference's store, allocator if it was the last one, answer. Of a freeze: intent,
 * the store of the flags, answer. An acquire takes a parcel rather than a reference of its own
 * (operation_parcels.c).
 *
 * Locks: pool_reclaim() takes the pool's `lock`; all else wants it held.
 */
#include "operation.h"

#include <assert.h>

/* Whether it names what it is about by a ticket. */
static bool has_ticket(Allot__Op op)
{
    return op == ALLOT__OP__OP_ACQUIRE || op == ALLOT__OP__OP_RELEASE ||
           op == ALLOT__OP__OP_FREEZE || op == ALLOT__OP__OP_SEND || op == ALLOT__OP__OP_PUBLISH;
}

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

int pool_find_held(const struct pool *pool, const struct pool_operation *o, uint32_t *ret_record,
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

void pool_free_record(struct pool *pool, uint32_t record)
{
    const struct ledger_record *r = &pool->records.record[record];

    pool->turned = true;
    pool_count_out(pool, r);
    pool_give_back(pool, r->kind, r->position, r->size, 1ull << r->align_log2);
}

void pool_drop_reference(struct pool *pool, uint32_t reference)
{
    uint64_t word = pool->records.reference[reference];
    uint32_t record = ledger_reference_record(word);

    if (ledger_reference_slot(word) == HOLDER_PARCEL)
        parcels_remove(&pool->parcels, ledger_reference_index(word));
    if (records_drop(&pool->records, reference))
        pool_free_record(pool, record);
}

int pool_take_reference(struct pool *pool, struct pool_operation *o, uint32_t record)
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
    pool->low = pool_is_low(pool);
    return 0;
}

void pool_acquire_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t record = find(pool, o);

    assert(pool->locked);
    o->generation = 0; /* the asker knows it */
    if (record == RECORDS_NONE) {
        operation_answer(o, ALLOT_E_NOT_ALLOCATED, 0);
        return;
    }
    const struct ledger_record *r = &pool->records.record[record];
    if (pool_take_parcel(pool, o, record)) {
        operation_answer(o, 0, ledger_record_told(r) | CODEC_VALUE_PARCEL);
        return;
    }
    int rc = pool_take_reference(pool, o, record);
    operation_answer(o, rc, rc ? 0 : ledger_record_told(r));
}

void pool_freeze_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t record;
    uint32_t reference;
    int rc = pool_find_held(pool, o, &record, &reference);

    assert(pool->locked);
    if (!rc) {
        struct ledger_record *r = &pool->records.record[record];
        uint16_t flags = (uint16_t)(r->flags | RECORD_FROZEN);
        ledger_entry_intend(o->entry, record, reference, r->flags, flags);
        atomic_store_explicit(&r->flags, flags, memory_order_release);
    }
    o->generation = 0;
    operation_answer(o, rc, 0);
}

/* A free or a release: whether what goes is the last reference makes no difference to the asker. */
void pool_release_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t record;
    uint32_t reference;
    int rc = pool_find_held(pool, o, &record, &reference);
    uint64_t size;

    assert(pool->locked);
    if (!rc && o->size &&
        (__builtin_mul_overflow(o->size, op_unit(pool, o->op), &size) ||
         size != pool->records.record[record].size))
        rc = ALLOT_E_NOT_ALLOCATED;
    if (!rc) {
        ledger_entry_intend(o->entry, record, reference, pool->records.reference[reference], 0);
        pool_drop_reference(pool, reference);
    }
    o->generation = 0;
    operation_answer(o, rc, 0);
}

bool pool_reclaim(struct pool *pool, unsigned slot, unsigned max)
{
    uint32_t reference;
    uint16_t parcel;

    pool_lock(pool);
    while ((reference = records_first_held(&pool->records, slot)) != RECORDS_NONE && max > 0) {
        pool_drop_reference(pool, reference);
        max--;
    }
    while ((parcel = parcels_first_to(&pool->parcels, slot)) != PARCELS_NONE && max > 0) {
        pool_drop_reference(pool, parcels_reference(&pool->parcels, parcel));
        max--;
    }
    pool_ring_and_unlock(pool);
    return reference != RECORDS_NONE || parcel != PARCELS_NONE;
}
