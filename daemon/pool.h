/* SPDX-License-Identifier: MIT */
/*
 * A pool: one region, the allocators that manage it, and its part of the ledger, kept in step under
 * one lock. Every public function takes the lock itself; none holds it across I/O.
 */
#ifndef ALLOTD_POOL_H
#define ALLOTD_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <allot/heap.h>
#include <allot/id.h>

#include "config.h"
#include "names.h"
#include "parcels.h"
#include "records.h"
#include "tally.h"
#include "waits.h"

struct pool {
    pthread_mutex_t lock;
    bool locked;             /* for assertions: by pool_lock() */
    pthread_mutex_t growing; /* one thread at a time makes room in the ledger; taken before lock */
    atomic_bool low;         /* the ledger's part wants room */
    bool cramped;            /* making room failed last time; under `growing` */
    bool retired;            /* not in the configuration any more: kept for what is live in it */
    unsigned index;          /* in the ledger; its number on the wire is one more */
    int fd;                  /* the region */
    struct ledger *ledger;
    struct ledger_pool *info;
    struct config_pool config; /* quotas, allocations_max and rules may change */
    struct allot_page *pages;
    struct allot_byte *bytes;
    struct allot_id *ids;
    struct allot_heap heap;
    struct records records;
    struct names names;
    struct parcels parcels;
    struct waits waits;
    bool filling; /* what the allocators ask for now will be filled */
    bool turned;  /* there is more room, or another's turn, since those that wait were last rung */
    struct tally tags;
    struct tally users;
    uint64_t *committed; /* a bit a page: backed with memory */
    uint64_t used_bytes; /* asked for by live blocks and page runs */
};

/* One item of a request, and its answer. */
struct pool_operation {
    Allot__Op op; /* OP_ALLOC to OP_ADD_MEMORY, OP_ACQUIRE to OP_LOOKUP */
    unsigned slot;
    uint32_t uid;
    uint32_t gid;
    struct ledger_entry *entry; /* begun by the caller, finished by the pool */
    uint64_t position;          /* of a ticket: with its kind */
    uint64_t size;       /* as in the request: bytes, pages or IDs; 0 for frees: do not compare */
    uint64_t generation; /* of a ticket; of a grant or what was looked up, in the answer */
    uint64_t align;
    uint32_t tag;
    const char *name;
    bool replace;
    uint64_t receiver;      /* of a parcel: the session's ID, or 0 for anyone */
    unsigned receiver_slot; /* and its slot, if it still is */
    uint64_t deadline;      /* clock.h; 0: none */
    struct wait *wait;      /* where the request may wait; else NULL */
    Allot__Error error;     /* the answer */
    uint64_t value;
    uint64_t commit_offset; /* with POOL_COMMIT: what needs memory first */
    uint64_t commit_size;
};

enum pool_step {
    POOL_DONE,   /* answered: error and value are set, the entry is finished */
    POOL_COMMIT, /* reserved: commit the range, without any lock, and call pool_finish() */
    POOL_WAIT,   /* its `wait` is in the queue, and the entry says so */
};

/*
 * Opens pool `index` of the ledger. `fd` -1: a new pool as `config` says, with a new region; else
 * what an earlier daemon left, rebuilt from the ledger's records; then the ledger's sizes hold and
 * of `config` only quota, limits and rules. NULL config: kept for what is live in it, with rights
 * for nobody. 0; -errno; -EBADMSG where ledger and region do not fit (the log says how). Takes fd
 * over on success. The environment ALLOTD_CHECK has the result checked by pool_check().
 */
int pool_open(struct pool *pool, struct ledger *ledger, unsigned index,
              const struct config_pool *config, int fd);
void pool_close(struct pool *pool);

/* Carries one item out, or as far as it goes without waiting. */
enum pool_step pool_execute(struct pool *pool, struct pool_operation *operation);
/* The second half after POOL_COMMIT; `rc` is what region_commit() said. */
void pool_finish(struct pool *pool, struct pool_operation *operation, int rc);
/* Undoes the reservation of a POOL_COMMIT whose session has ended; nothing is answered. */
void pool_abandon(struct pool *pool, struct pool_operation *operation);

/* Drops up to `max` references of the session and parcels to it; true where there are more. */
bool pool_reclaim(struct pool *pool, unsigned slot, unsigned max);

/* Drops up to `max` parcels whose deadline is `now` or earlier: when the next is due, UINT64_MAX
 * where there is none. */
uint64_t pool_expire(struct pool *pool, uint64_t now, unsigned max);

/* Where it is the turn of a request of this session that waits, carries it out: DONE or COMMIT as
 * above, with *ret_wait out of the queue; else WAIT. */
enum pool_step pool_try_wait(struct pool *pool, unsigned slot, struct pool_operation *ret,
                             struct wait **ret_wait);
/* Ends one that waits with an error; its entry is answered. */
void pool_refuse_wait(struct pool *pool, struct wait *wait, Allot__Error why);
/* Ends it without an answer. */
void pool_forget_wait(struct pool *pool, struct wait *wait);
/* Enters what an earlier daemon left waiting, where it was. */
void pool_adopt_wait(struct pool *pool, struct wait *wait, struct ledger_entry *entry);

/* What the process may do now. Rules change only by pool_configure(). */
Allot__Access pool_access(struct pool *pool, const struct peer *peer);
/* New quotas, limits and rules; NULL: the pool is retired. */
void pool_configure(struct pool *pool, const struct config_pool *config);
uint32_t pool_live(struct pool *pool); /* allocations */

/* Statistics. The strings in *ret belong to the pool. `access` is left alone. */
void pool_info(struct pool *pool, Allot__PoolInfo *ret);
size_t pool_tags(struct pool *pool, uint64_t from, struct tally_entry *ret, size_t max);
struct records_holding pool_holding(struct pool *pool, unsigned slot);

/* A published name. */
struct pool_name {
    struct ledger_name name;
    uint64_t place;
    uint64_t generation;
    uint64_t size;
};

/* The first `max` names after `after` that begin with `prefix`, in order; how many there are. */
size_t pool_list_names(struct pool *pool, const char *prefix, const char *after,
                       struct pool_name *ret, size_t max);

/* ---- between pool.c and the operation*.c, under the lock ---- */

static inline void pool_lock(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->locked = true;
}

static inline void pool_unlock(struct pool *pool)
{
    pool->locked = false;
    pthread_mutex_unlock(&pool->lock);
}

/* The ledger's part is short of slots for the next batch, or for the next name. */
static inline bool pool_is_low(const struct pool *pool)
{
    return records_low(&pool->records) || names_low(&pool->names);
}

/* Makes room in the ledger where it gets short. Without the lock, before it is taken: it may block.
 * What fails here is met again, and answered, where a slot is needed. */
void pool_make_room(struct pool *pool);

void pool_name(const struct pool *pool, uint32_t index, struct pool_name *ret);

/* A record became live, or ceases to be (users are charged earlier, when space is reserved). */
void pool_count_in(struct pool *pool, const struct ledger_record *record);
void pool_count_out(struct pool *pool, const struct ledger_record *record);
/* [position, position+size), whole pages, is backed with memory. */
void pool_mark_committed(struct pool *pool, uint64_t position, uint64_t size);

/* Rings those that wait and have their turn, where that is new or there is more room. Then
 * unlocks. */
void pool_ring_and_unlock(struct pool *pool);

/* Recounts allocators, ledger and sums against each other; with no reservation outstanding. True
 * where all agree; else the log says what does not. */
bool pool_check(struct pool *pool);

#endif
