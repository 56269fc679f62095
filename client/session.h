/* SPDX-License-Identifier: MIT */
/* What the library's files know of a session and of a pool. */
#ifndef ALLOT_SESSION_H
#define ALLOT_SESSION_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "allot.h"
#include "call.h"
#include "fork.h"
#include "held.h"

struct watches;

struct allot {
    struct calls calls;
    struct watches *watches; /* NULL until there is one; set under calls.lock */
    uint64_t generation;     /* the process that opened it */
    struct held held;
    pthread_mutex_t pools_lock; /* taken alone */
    struct allot_pool *pools;
};

struct allot_pool {
    unsigned char *base;
    const unsigned char *read_only; /* the same, for reading */
    uint64_t size;                  /* bytes mapped */
    uint64_t generation;
    uint64_t page_size;
    _Atomic uint32_t number; /* in requests */
    dev_t device;            /* whose region it is: the file's */
    ino_t inode;
    bool writable;
    struct allot *session;
    struct allot_pool *next;
};

/* FORKED in a child, what has ended the session, else 0. */
static inline int session_error(const struct allot *a)
{
    int r = fork_here(a->generation) ? atomic_load(&a->calls.broken) : ALLOT_E_FORKED;

    if (r == ALLOT_E_SYSTEM)
        errno = a->calls.broken_errno;
    return r;
}

/* FORKED in a child, else the call. */
static inline int session_call(struct allot *a, Allot__Request *request, struct call *call)
{
    return fork_here(a->generation) ? call_run(&a->calls, request, call) : ALLOT_E_FORKED;
}

/* What stands against an operation on a pool: the session's error, or DENIED: the daemon knows the
 * session's right, not the handle's. */
static inline int pool_error(const struct allot_pool *p, Allot__Op op)
{
    int r = session_error(p->session);

    if (r == 0 && !p->writable && codec_access(op) == ALLOT__ACCESS__ACCESS_WRITE)
        return ALLOT_E_DENIED;
    return r;
}

/* That, else the call. */
static inline int pool_call(const struct allot_pool *p, Allot__Request *request, struct call *call)
{
    int r = pool_error(p, request->op);

    return r < 0 ? r : call_run(&p->session->calls, request, call);
}

/* A request of one operation whose answer is its code. */
int session_call_one(struct allot *a, Allot__Request *request, uint64_t *ret_value);
int pool_call_one(const struct allot_pool *p, Allot__Request *request, uint64_t *ret_value);

/* A pool's, a published one, or a prefix (which may be NULL): it might be too long for a frame. */
static inline bool name_is_too_long(const char *name)
{
    return name && strnlen(name, CODEC_NAME_MAX + 1) > CODEC_NAME_MAX;
}

/* A ticket's place: the wire's with the pool's number above it. 0 for what is no position. */
#define PLACE_POOL_SHIFT 56
#define PLACE_POOL_MAX   255u

static inline uint64_t pool_place_global(const struct allot_pool *p, uint64_t wire_place)
{
    return (uint64_t)p->number << PLACE_POOL_SHIFT | wire_place;
}

static inline uint64_t pool_place(const struct allot_pool *p, enum codec_kind kind,
                                  uint64_t position)
{
    if (position >> CODEC_KIND_SHIFT)
        return 0;
    return pool_place_global(p, (uint64_t)kind << CODEC_KIND_SHIFT | position);
}

/* As it is on the wire. */
static inline uint64_t pool_place_local(uint64_t place)
{
    return place & ((UINT64_C(1) << PLACE_POOL_SHIFT) - 1);
}

/* The bytes' or pages' offset, or the ID. */
static inline uint64_t pool_position(uint64_t place)
{
    return place & ((UINT64_C(1) << CODEC_KIND_SHIFT) - 1);
}

/* Whether the ticket is of this pool. */
static inline bool pool_has(const struct allot_pool *p, const struct allot_ticket *ticket)
{
    return ticket->place >> PLACE_POOL_SHIFT == p->number;
}

/* Ends those of the pool: it is about to go. */
void watch_detach(struct allot_pool *p);
/* Ends all, without a word to the daemon: goodbye will tell. */
void watch_deinit(struct allot *a);

/* Unmaps and frees all of the session's pools. */
void pool_detach_all(struct allot *a);

#endif
