/* SPDX-License-Identifier: MIT */
/*
 * References on their way from one session to another, or to anyone: sent, taken, over.
 *
 * The order of a send: reserve and fill the parcel, intent in the journal, the reference's store,
 * answer; who takes the parcel stores another word in the place of that one. What it is not: the
 * indexes over parcels are parcels.c's.
 *
 * Locks: pool_expire() takes the pool's `lock`; all else wants it held.
 */
#include "operation.h"

#include <assert.h>

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
bool pool_take_parcel(struct pool *pool, struct pool_operation *o, uint32_t record)
{
    const struct ledger_record *r = &pool->records.record[record];
    uint32_t reference = find_parcel(pool, record, o->slot);

    if (reference == RECORDS_NONE)
        return false;
    uint64_t old = pool->records.reference[reference];
    if (records_reference_of(&pool->records, record, o->slot) != RECORDS_NONE) {
        ledger_entry_intend(o->entry, record, reference, old, 0);
        pool_drop_reference(pool, reference);
        return true;
    }
    uint64_t word = ledger_reference_word(o->slot, r->generation, record);
    ledger_entry_intend(o->entry, record, reference, old, word);
    records_move(&pool->records, reference, word);
    parcels_remove(&pool->parcels, ledger_reference_index(old));
    return true;
}

/* Whether the session that a parcel is for is there. One that ends from here on finds the parcel
 * when what it holds is reclaimed. */
static bool has_receiver(const struct pool *pool, const struct pool_operation *o)
{
    const struct ledger_session *s = &pool->ledger->sessions[o->receiver_slot];

    return o->receiver_slot < SESSIONS_MAX && s->id == o->receiver && !s->ended;
}

void pool_send_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t record;
    uint32_t held;
    uint32_t reference;
    uint16_t parcel;
    int rc = pool_find_held(pool, o, &record, &held);

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
    operation_answer(o, rc, 0);
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
        pool_drop_reference(pool, parcels_reference(&pool->parcels, parcel));
        next = UINT64_MAX;
    }
    pool_ring_and_unlock(pool);
    return next;
}
