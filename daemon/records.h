/* SPDX-License-Identifier: MIT */
/*
 * The records and references of one pool: the pool's part of the ledger, with the indexes derived
 * from it (by position, by session, free slots). Everything here is under the pool's lock, except
 * records_grow_file().
 */
#ifndef ALLOTD_RECORDS_H
#define ALLOTD_RECORDS_H

#include "ledger.h"

#define RECORDS_NONE UINT32_MAX

/* What a session holds in the pool. */
struct records_holding {
    uint64_t allocations;
    uint64_t bytes;
    uint64_t ids;
    uint32_t chain; /* 1 + the first of its references; 0: none */
};

struct record_link;
struct reference_link;

struct records {
    const struct ledger *ledger;
    unsigned pool;
    struct ledger_pool *info;
    struct ledger_record *record;
    ledger_reference *reference;
    uint32_t committed; /* records, and references, that have memory */
    struct record_link *record_links;
    struct reference_link *reference_links;
    uint32_t *buckets; /* linear hashing: `bucket_count` chains, by position and kind */
    uint32_t bucket_count;
    uint32_t bucket_capacity;
    uint32_t free_record; /* chains of slots that were used once */
    uint32_t free_reference;
    uint32_t free_records; /* in the chains */
    uint32_t free_references;
    bool in_order; /* so lay the positions of live records when it was opened */
    uint32_t live;
    uint32_t live_of[RECORD_IDS + 1]; /* of each kind */
    struct records_holding *held;     /* per session slot */
};

static inline uint64_t kind_bytes(enum record_kind kind, uint64_t size)
{
    return kind == RECORD_IDS ? 0 : size;
}

static inline uint64_t kind_ids(enum record_kind kind, uint64_t size)
{
    return kind == RECORD_IDS ? size : 0;
}

/* Opens a pool's part and derives the indexes from what is live in it. 0; -ENOMEM; -EBADMSG where
 * the part contradicts itself (the log says how). */
int records_open(struct records *r, const struct ledger *ledger, unsigned pool);
void records_close(struct records *r);

/* True where fewer than a batch of slots is left and records_grow() can make room for more. */
bool records_low(const struct records *r);

/* Makes room in two steps, since the first may block: the file's part, outside the pool's lock (one
 * thread at a time); then the derived tables, under it. 0, -ENOSPC at ALLOCATIONS_MAX, -errno. */
int records_grow_file(const struct records *r, uint32_t *ret_committed);
int records_grow(struct records *r, uint32_t committed);

/* A free slot for a record, with a generation that no record of the pool ever had; and one for a
 * reference. They stay free until they are committed. False where none is left. */
bool records_reserve(struct records *r, uint32_t *ret_record);
bool records_reserve_reference(struct records *r, uint32_t *ret_reference);

/* The committing store of a grant: the reserved record, filled in, becomes live by the reserved
 * reference. */
void records_commit(struct records *r, uint32_t record, uint32_t reference, uint64_t word);

/* The committing store of one more reference, a reserved one, to a live record. */
void records_commit_reference(struct records *r, uint32_t reference, uint64_t word);

/* The live record of that kind that starts at `position`, or RECORDS_NONE. Byte blocks and page
 * runs share their positions; IDs have their own. */
uint32_t records_find(const struct records *r, enum record_kind kind, uint64_t position);

/* Visits the live records, which are as records_open() found them, in rising order of their
 * positions, until `visit` returns something else than 0, which is then returned. Or -ENOMEM. */
int records_visit(const struct records *r, int (*visit)(void *, const struct ledger_record *),
                  void *ctx);

/* Whether a record below info->records_top is live. */
bool records_is_live(const struct records *r, uint32_t record);

/* Whether nothing but this reference keeps the record. */
bool records_is_sole(const struct records *r, uint32_t record, uint32_t reference);

/* The session's reference to a live record, or RECORDS_NONE. */
uint32_t records_reference_of(const struct records *r, uint32_t record, unsigned slot);

/* The record's next reference after `reference` (RECORDS_NONE: the first) that a parcel holds, or
 * RECORDS_NONE. */
uint32_t records_next_parcel(const struct records *r, uint32_t record, uint32_t reference);

/* Any reference that the session holds in this pool, or RECORDS_NONE. */
uint32_t records_first_held(const struct records *r, unsigned slot);

/* The committing store that moves a reference, which stays one, to another holder or record. True
 * where the record it leaves is free then, as after records_drop(). */
bool records_move(struct records *r, uint32_t reference, uint64_t word);

/* The committing store of a release. True where it was the record's last reference: the record's
 * content can be read until the next records_reserve(), and the slot is free. */
bool records_drop(struct records *r, uint32_t reference);

/* The daemon's memory behind it, the ledger's part included. */
uint64_t records_bytes(const struct records *r);

#endif
