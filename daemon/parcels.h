/* SPDX-License-Identifier: MIT */
/*
 * The parcels of one pool: references on their way to a session, or to whoever takes them first,
 * until a deadline. The content of each is in the ledger; here are the indexes derived from it: by
 * deadline, by receiver, free ones, how many each user sent. All of it is under the pool's lock.
 */
#ifndef ALLOTD_PARCELS_H
#define ALLOTD_PARCELS_H

#include "records.h"
#include "tally.h"

#define PARCELS_NONE UINT16_MAX

struct parcel_link;

struct parcels {
    const struct ledger *ledger;
    struct ledger_parcel *parcel; /* PARCELS_MAX */
    struct parcel_link *links;
    uint16_t *sent_to; /* per session slot: the chain of parcels to it */
    uint16_t *heap;    /* `count` parcels, the earliest deadline first */
    uint16_t count;
    uint16_t free; /* the chain of free ones */
    struct tally users;
};

/* Derives the indexes from what `records` has. 0; -ENOMEM; -EBADMSG where the ledger contradicts
 * itself (the log says how). */
int parcels_open(struct parcels *p, const struct records *records);
void parcels_close(struct parcels *p);

/* A free parcel to fill in, of which the user has no more than it may. It stays free until it is
 * added. False where there is none. */
bool parcels_reserve(struct parcels *p, uint32_t uid, uint16_t *ret_parcel);
/* The parcel, filled in, has become live by the store of this reference. */
void parcels_add(struct parcels *p, uint16_t parcel, uint32_t reference);
/* It is over: its reference was taken or dropped. */
void parcels_remove(struct parcels *p, uint16_t parcel);

uint32_t parcels_reference(const struct parcels *p, uint16_t parcel);
/* Any parcel to the session in this slot, or PARCELS_NONE. */
uint16_t parcels_first_to(const struct parcels *p, unsigned slot);
/* The one whose deadline comes first, or PARCELS_NONE. */
uint16_t parcels_first_due(const struct parcels *p);

/* The daemon's memory behind it, the ledger's part included. */
uint64_t parcels_bytes(const struct parcels *p);

#endif
