/* SPDX-License-Identifier: MIT */
/*
 * What the operation*.c share. All of it wants the pool's lock held.
 */
#ifndef ALLOTD_OPERATION_H
#define ALLOTD_OPERATION_H

#include "pool.h"

static inline enum record_kind op_kind(Allot__Op op)
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

/* The unit of the operation's sizes, in what the record counts. */
static inline uint64_t op_unit(const struct pool *pool, Allot__Op op)
{
    return op_kind(op) == RECORD_PAGES ? pool->info->page_size : 1;
}

/* The end of each operation: 0 or a negative error, and the value that goes with it. */
void operation_answer(struct pool_operation *o, int rc, uint64_t value);

/* ---- operation_grants.c ---- */

static inline bool is_for_want_of_room(int rc)
{
    return rc == ALLOT_E_NO_MEMORY || rc == -ALLOT__ERROR__E_QUOTA;
}

/* Bytes that the user may still ask for. */
uint64_t pool_quota_left(const struct pool *pool, uint32_t uid);
/* Checks a grant's numbers and turns them into what the record counts. */
int pool_check_grant(const struct pool *pool, struct pool_operation *o, uint64_t *ret_size);
/* Takes `size` from the allocator and the user's quota. */
int pool_reserve(struct pool *pool, struct pool_operation *o, uint64_t size);
/* What follows a reservation, or its failure for good. */
enum pool_step pool_reserved(struct pool *pool, struct pool_operation *o, uint64_t size, int rc);
/* The largest size that would be granted to the user now, in the request's unit. */
uint64_t pool_would_fit(struct pool *pool, const struct pool_operation *o);
/* To the allocator: what a record counts. */
void pool_give_back(struct pool *pool, enum record_kind kind, uint64_t position, uint64_t size,
                    uint64_t align);
enum pool_step pool_resize_locked(struct pool *pool, struct pool_operation *o);

/* ---- operation_waits.c ---- */

enum pool_step pool_alloc_locked(struct pool *pool, struct pool_operation *o);

/* ---- operation_references.c ---- */

/* The live record that the operation names and the session's reference to it. */
int pool_find_held(const struct pool *pool, const struct pool_operation *o, uint32_t *ret_record,
                   uint32_t *ret_reference);
/* A reference for the session to a live record. One a session: how often a process took it is
 * counted there. */
int pool_take_reference(struct pool *pool, struct pool_operation *o, uint32_t record);
/* The record's last reference has gone. */
void pool_free_record(struct pool *pool, uint32_t record);
/* Drops the reference, whosoever it is, and the record with the last one. */
void pool_drop_reference(struct pool *pool, uint32_t reference);
void pool_acquire_locked(struct pool *pool, struct pool_operation *o);
void pool_freeze_locked(struct pool *pool, struct pool_operation *o);
void pool_release_locked(struct pool *pool, struct pool_operation *o);

/* ---- operation_parcels.c ---- */

/* Takes a parcel of the record that is for the session; false where there is none. */
bool pool_take_parcel(struct pool *pool, struct pool_operation *o, uint32_t record);
void pool_send_locked(struct pool *pool, struct pool_operation *o);

/* ---- operation_names.c ---- */

void pool_publish_locked(struct pool *pool, struct pool_operation *o);
void pool_unpublish_locked(struct pool *pool, struct pool_operation *o);
void pool_lookup_locked(struct pool *pool, struct pool_operation *o);

#endif
