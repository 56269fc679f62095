/* SPDX-License-Identifier: MIT */
/*
 * Sessions: one client process each, and what it holds. A session outlives its connection until its
 * process is gone or it said goodbye.
 *
 * A session belongs to the loop that it was opened on; only that loop's thread calls these
 * functions for it, except sessions_list() and sessions_init/deinit.
 */
#ifndef ALLOTD_SESSION_H
#define ALLOTD_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "commit.h"
#include "peer.h"
#include "store.h"
#include "watch.h"

struct pending;
struct session;

/* All sessions, live and ending, by slot. */
struct sessions {
    pthread_mutex_t lock; /* for `slots` and `count`; before any pool's lock */
    struct store *store;
    struct session *slots[SESSIONS_MAX];
    unsigned count;
    atomic_uint max;
    void (*on_closed)(void *ctx); /* a descriptor has become free; the loops set it */
    void *ctx;
    void (*on_names)(void *ctx); /* names have changed, or who may read them; the loops set it */
    void *names_ctx;
};

struct session {
    struct sessions *all;
    uv_loop_t *loop; /* that it belongs to */
    unsigned slot;
    uint64_t id;
    struct peer peer;
    uint64_t next;                     /* number of the next operation */
    unsigned epoch;                    /* of the rights below */
    Allot__Access attached[POOLS_MAX]; /* what it attached for */
    Allot__Access access[POOLS_MAX];   /* of that, what it may do now */
    bool granted;                      /* it has held something */
    bool suspect; /* an earlier daemon may have died of what it asks for next, … */
    bool counted; /* … and this start counts against the request that is being served */
    struct watch watches[LEDGER_WATCHES];
    bool watch_due; /* there may be something to tell, and nobody looks for it yet */
    atomic_uint_least64_t operations;
    atomic_uint_least64_t bytes_received;
    atomic_uint_least64_t bytes_sent;
    atomic_bool connected;

    struct commit commit;    /* memory that an operation waits for */
    struct pending *pending; /* requests that wait for room; NULL before the first */

    bool ended;     /* what it holds is void; being reclaimed */
    bool reclaimed; /* nothing is left of it */
    bool abandoned; /* the daemon stops */
    bool resuming;  /* its connection closes because it has another one */

    /* To the connection: the committing or the reclaiming is over; what waited for room has been
     * answered; the process is gone. */
    void (*resume)(void *ctx);
    void (*answered)(void *ctx);
    void (*died)(void *ctx);
    void *ctx;

    uv_poll_t death;
    uv_idle_t reclaim;
    unsigned handles; /* not closed yet */
};

int sessions_init(struct sessions *all, struct store *store, unsigned max);
void sessions_deinit(struct sessions *all);

/* Opens a session for the process behind `peer`, whose pidfd it takes over on success.
 * 0, -EUSERS when full, -errno. */
int session_open(struct sessions *all, uv_loop_t *loop, const struct peer *peer,
                 struct session **ret);

/* Takes over a session that an earlier daemon left in `slot`: it lives until its process is gone.
 * `socket_fd` is its connection where that was kept, else -1. 0, with *ret NULL where the process
 * is gone already; -errno. */
int session_adopt(struct sessions *all, uv_loop_t *loop, unsigned slot, int socket_fd,
                  struct session **ret);

/* What a hello with an ID and a secret finds. */
enum session_resume {
    SESSION_RESUMED, /* *ret, connected; its former connection, if any, is closed */
    SESSION_MOVE,    /* it belongs to another loop, *ret_loop: ask there */
    SESSION_UNKNOWN,
    SESSION_FOREIGN, /* it is another process's */
};
enum session_resume session_resume(struct sessions *all, uv_loop_t *loop, uint64_t id,
                                   const void *secret, size_t secret_size, const struct peer *peer,
                                   struct session **ret, uv_loop_t **ret_loop);

/* It has attached the pool, and may do this in it now. */
void session_attach(struct session *s, unsigned pool, Allot__Access access, Allot__Access allowed);

/* Makes a watch whose ID is `number`, by the operation of `entry`; or ends one. */
Allot__Error session_watch(struct session *s, struct ledger_entry *entry, unsigned pool,
                           const char *prefix, uint64_t number);
Allot__Error session_unwatch(struct session *s, struct ledger_entry *entry, uint64_t id);
/* It will be told the state again. INVALID where it is none. */
Allot__Error session_watch_again(struct session *s, uint64_t id);
bool session_watches(const struct session *s);

/* The connection is gone. The session lives on while its process does, unless it has ended, or
 * never attached a pool and so has nothing to lose; or, where the daemon is `leaving`, for the next
 * one. */
void session_disconnected(struct session *s, bool leaving);

/* Goodbye: everything it holds is reclaimed, in slices; then `resume` is called once. */
void session_end(struct session *s);

/* Commits what the operation wants without holding up the loop; it is then finished and `resume`
 * called. */
void session_commit(struct session *s, struct pool *pool, const struct pool_operation *operation);

/* Committing for a session that has ended, or been abandoned, is over. */
void session_idle(struct session *s);

/* Looks the rights up again where the rules may have changed. */
void session_refresh_access(struct session *s);

/* At shutdown, on the loop's thread: closes the handles of its sessions and leaves everything to
 * the ledger. The memory goes when the loop has run the close callbacks. */
void sessions_abandon(struct sessions *all, const uv_loop_t *loop);

/* Sessions with an ID above `after`, in rising order, `max` at most: how many. Any thread. */
size_t sessions_list(struct sessions *all, uint64_t after, Allot__SessionInfo *ret, size_t max);

#endif
