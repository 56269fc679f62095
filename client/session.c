/* SPDX-License-Identifier: MIT */
/*
 * Sessions: opening, closing, and what concerns the whole of one.
 *
 * Limits: DEFAULT_TIMEOUT_MS is long enough for a daemon that commits memory or swaps, and short
 * enough that a person notices a stopped one.
 *
 * Invariants: in a forked child nothing here touches a lock, the socket's traffic or a mapping.
 * Goodbye is said after the last pool was unmapped: the daemon takes it as leave to give the
 * session's memory to others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "session.h"

#define DEFAULT_TIMEOUT_MS 5000
#define DEFAULT_SOCKET     "/run/allot/allot.sock"

static const char *default_path(void)
{
    const char *path = secure_getenv("ALLOT_SOCKET");

    return path && *path ? path : DEFAULT_SOCKET;
}

int allot_open(struct allot **ret, const char *socket_path)
{
    uint64_t generation;

    int r = fork_generation(&generation);
    if (r < 0)
        return r;
    struct allot *a = calloc(1, sizeof(*a));
    if (!a)
        return ALLOT_E_SYSTEM;
    r = calls_open(&a->calls, socket_path ? socket_path : default_path(), DEFAULT_TIMEOUT_MS);
    if (r < 0) {
        int saved = errno;
        free(a);
        errno = saved;
        return r;
    }
    a->generation = generation;
    pthread_mutex_init(&a->pools_lock, NULL);
    held_init(&a->held);
    *ret = a;
    return 0;
}

void allot_close(struct allot *a)
{
    if (!a)
        return;
    watch_deinit(a);
    pool_detach_all(a);
    if (fork_here(a->generation)) {
        Allot__Request request = ALLOT__REQUEST__INIT;

        request.op = ALLOT__OP__OP_GOODBYE;
        calls_closing(&a->calls);
        (void)session_call_one(a, &request, NULL);
        calls_deinit(&a->calls);
        pthread_mutex_destroy(&a->pools_lock);
        held_deinit(&a->held);
    } else {
        calls_deinit_inherited(&a->calls);
        held_deinit_inherited(&a->held);
    }
    free(a);
}

int session_call_one(struct allot *a, Allot__Request *request, uint64_t *ret_value)
{
    uint64_t value;
    int code;
    struct call call = {.values = &value, .codes = &code};

    int r = session_call(a, request, &call);
    if (r == 0)
        r = code;
    if (r == 0 && ret_value)
        *ret_value = value;
    return r;
}

int pool_call_one(const struct allot_pool *p, Allot__Request *request, uint64_t *ret_value)
{
    int r = pool_error(p, request->op);

    return r < 0 ? r : session_call_one(p->session, request, ret_value);
}

int allot_set_timeout(struct allot *a, int timeout_ms)
{
    if (timeout_ms == 0 || timeout_ms < -1)
        return ALLOT_E_INVALID;
    int r = session_error(a);
    if (r == 0)
        calls_set_timeout(&a->calls, timeout_ms);
    return r;
}

int allot_ping(struct allot *a)
{
    Allot__Request request = ALLOT__REQUEST__INIT;

    request.op = ALLOT__OP__OP_PING;
    return session_call_one(a, &request, NULL);
}

void allot_traffic(struct allot *a, struct allot_traffic *ret)
{
    struct call_totals totals = {0};

    if (fork_here(a->generation))
        totals = calls_totals(&a->calls);
    *ret = (struct allot_traffic){.bytes_sent = totals.bytes_sent,
                                  .bytes_received = totals.bytes_received,
                                  .calls = totals.calls};
}

uint64_t allot_session_id(const struct allot *a)
{
    return a->calls.session;
}
