/* SPDX-License-Identifier: MIT */
/*
 * Parcels of one pool.
 *
 * What it is: which of the ledger's parcels are on their way, and in what order they are over. What
 * it is not: it moves no reference; operation_parcels.c does, by one store each, and tells this
 * file.
 *
 * Invariants: a parcel is live exactly while one reference's word has its index; it is then in the
 * heap and, where it is for one session, in that session's chain; else it is in the free chain,
 * with the same link. Its receiver, if it has one, is a session of the ledger: what is sent to a
 * session is dropped before the session's slot is free. A parent in the heap is due no later than
 * its children.
 *
 * Locks: the pool's.
 *
 * Cost: 24 bytes in the ledger, 14 here; a logarithm of the parcels for each that comes or goes.
 */
#include "parcels.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

_Static_assert(PARCELS_MAX < PARCELS_NONE, "an index is 16 bits, in a reference's word too");
_Static_assert(SESSIONS_MAX <= UINT32_MAX, "a slot fits a parcel");

struct parcel_link {
    uint32_t reference;
    uint16_t at;   /* in the heap; PARCELS_NONE: it is free */
    uint16_t prev; /* to the same session */
    uint16_t next; /* likewise, or in the chain of free ones */
};

/* ---- the heap ---- */

static uint64_t due(const struct parcels *p, unsigned at)
{
    return p->parcel[p->heap[at]].deadline;
}

static void put(struct parcels *p, unsigned at, uint16_t parcel)
{
    p->heap[at] = parcel;
    p->links[parcel].at = (uint16_t)at;
}

static void rise(struct parcels *p, unsigned at)
{
    uint16_t parcel = p->heap[at];

    for (; at > 0 && p->parcel[parcel].deadline < due(p, (at - 1) / 2); at = (at - 1) / 2)
        put(p, at, p->heap[(at - 1) / 2]);
    put(p, at, parcel);
}

static void sink(struct parcels *p, unsigned at)
{
    uint16_t parcel = p->heap[at];

    for (unsigned child; (child = 2 * at + 1) < p->count; at = child) {
        if (child + 1 < p->count && due(p, child + 1) < due(p, child))
            child++;
        if (p->parcel[parcel].deadline <= due(p, child))
            break;
        put(p, at, p->heap[child]);
    }
    put(p, at, parcel);
}

/* ---- what is live ---- */

static void free_parcel(struct parcels *p, uint16_t parcel)
{
    p->links[parcel].at = PARCELS_NONE;
    p->links[parcel].next = p->free;
    p->free = parcel;
}

/* Enters a parcel that is in no chain. */
static void enter(struct parcels *p, uint16_t parcel, uint32_t reference)
{
    const struct ledger_parcel *content = &p->parcel[parcel];
    struct parcel_link *link = &p->links[parcel];

    link->reference = reference;
    put(p, p->count, parcel);
    p->count++;
    rise(p, p->count - 1u);
    tally_add(&p->users, content->uid, 0, 0);
    if (!content->receiver)
        return;
    uint16_t *first = &p->sent_to[content->slot];
    link->prev = PARCELS_NONE;
    link->next = *first;
    if (*first != PARCELS_NONE)
        p->links[*first].prev = parcel;
    *first = parcel;
}

bool parcels_reserve(struct parcels *p, uint32_t uid, uint16_t *ret_parcel)
{
    if (p->free == PARCELS_NONE || tally_get(&p->users, uid).allocations >= PARCELS_USER_MAX ||
        !tally_reserve(&p->users))
        return false;
    *ret_parcel = p->free;
    return true;
}

void parcels_add(struct parcels *p, uint16_t parcel, uint32_t reference)
{
    assert(parcel == p->free);
    p->free = p->links[parcel].next;
    enter(p, parcel, reference);
}

void parcels_remove(struct parcels *p, uint16_t parcel)
{
    const struct ledger_parcel *content = &p->parcel[parcel];
    const struct parcel_link *link = &p->links[parcel];
    unsigned at = link->at;

    p->count--;
    if (at < p->count) {
        put(p, at, p->heap[p->count]);
        rise(p, at);
        sink(p, at);
    }
    tally_remove(&p->users, content->uid, 0, 0);
    if (content->receiver) {
        if (link->prev != PARCELS_NONE)
            p->links[link->prev].next = link->next;
        else
            p->sent_to[content->slot] = link->next;
        if (link->next != PARCELS_NONE)
            p->links[link->next].prev = link->prev;
    }
    free_parcel(p, parcel);
}

uint32_t parcels_reference(const struct parcels *p, uint16_t parcel)
{
    return p->links[parcel].reference;
}

uint16_t parcels_first_to(const struct parcels *p, unsigned slot)
{
    return p->sent_to[slot];
}

uint16_t parcels_first_due(const struct parcels *p)
{
    return p->count ? p->heap[0] : PARCELS_NONE;
}

uint64_t parcels_bytes(const struct parcels *p)
{
    return PARCELS_MAX * (uint64_t)(sizeof(*p->parcel) + sizeof(*p->links) + sizeof(*p->heap)) +
           SESSIONS_MAX * (uint64_t)sizeof(*p->sent_to) +
           p->users.capacity * (uint64_t)sizeof(struct tally_entry);
}

/* ---- opening ---- */

static bool is_plausible(const struct parcels *p, uint16_t parcel)
{
    const struct ledger_parcel *content = &p->parcel[parcel];

    return p->links[parcel].at == PARCELS_NONE &&
           (!content->receiver || (content->slot < SESSIONS_MAX &&
                                   p->ledger->sessions[content->slot].id == content->receiver));
}

static int derive(struct parcels *p, const struct records *records)
{
    for (uint16_t i = 0; i < PARCELS_MAX; i++)
        p->links[i].at = PARCELS_NONE;
    for (uint32_t i = 0; i < records->info->references_top; i++) {
        uint64_t word = records->reference[i];
        uint16_t parcel = ledger_reference_index(word);

        if (ledger_reference_slot(word) != HOLDER_PARCEL)
            continue;
        if (parcel >= PARCELS_MAX || !is_plausible(p, parcel)) {
            log_error("ledger: pool %s: parcel %u is damaged", records->info->name, parcel);
            return -EBADMSG;
        }
        if (!tally_reserve(&p->users))
            return -ENOMEM;
        enter(p, parcel, i);
    }
    for (uint16_t i = PARCELS_MAX; i-- > 0;)
        if (p->links[i].at == PARCELS_NONE)
            free_parcel(p, i);
    return 0;
}

int parcels_open(struct parcels *p, const struct records *records)
{
    *p = (struct parcels){
        .ledger = records->ledger,
        .parcel = ledger_parcels(records->ledger, records->pool),
        .links = malloc(PARCELS_MAX * sizeof(struct parcel_link)),
        .sent_to = malloc(SESSIONS_MAX * sizeof(uint16_t)),
        .heap = malloc(PARCELS_MAX * sizeof(uint16_t)),
        .free = PARCELS_NONE,
    };
    int rc = p->links && p->sent_to && p->heap ? tally_init(&p->users) : -ENOMEM;
    if (!rc)
        rc = ledger_commit_parcels(records->ledger, records->pool);
    if (!rc) {
        memset(p->sent_to, 0xff, SESSIONS_MAX * sizeof(uint16_t));
        rc = derive(p, records);
    }
    if (rc)
        parcels_close(p);
    return rc;
}

void parcels_close(struct parcels *p)
{
    free(p->links);
    free(p->sent_to);
    free(p->heap);
    tally_deinit(&p->users);
    *p = (struct parcels){0};
}
