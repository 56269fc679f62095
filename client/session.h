/* SPDX-License-Identifier: MIT */
/* What the library's files know of a session and of a pool. */
#ifndef ALLOT_SESSION_H
#define ALLOT_SESSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "allot.h"
#include "call.h"
#include "fork.h"

struct allot {
    struct calls calls;
    uint64_t generation; /* the process that opened it */
    uint64_t id;
    pthread_mutex_t pools_lock; /* taken alone */
    struct allot_pool *pools;
};

struct allot_pool {
    unsigned char *base;
    uint64_t size; /* bytes mapped */
    uint64_t generation;
    uint64_t page_size;
    uint32_t number; /* in requests */
    bool writable;
    struct allot *session;
    struct allot_pool *next;
};

/* FORKED in a child, else the call. */
static inline int session_call(struct allot *a, Allot__Request *request, struct call *call)
{
    return fork_here(a->generation) ? call_run(&a->calls, request, call) : ALLOT_E_FORKED;
}

/* The same for what only a pool attached for writing allows: the daemon knows the session's right,
 * not the handle's. */
static inline int pool_call(const struct allot_pool *p, Allot__Request *request, struct call *call)
{
    return p->writable ? session_call(p->session, request, call) : ALLOT_E_DENIED;
}

/* A request of one operation whose answer is its code. */
int session_call_one(struct allot *a, Allot__Request *request, uint64_t *ret_value);

/* Unmaps and frees all of the session's pools. */
void pool_detach_all(struct allot *a);

#endif
