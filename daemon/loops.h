/* SPDX-License-Identifier: MIT */
/*
 * The worker loops: a thread and a libuv loop each. Accepted sockets are dealt to them in turn.
 */
#ifndef ALLOTD_LOOPS_H
#define ALLOTD_LOOPS_H

#include "connection.h"

struct worker;

struct loops {
    struct worker *workers;
    unsigned count;
    unsigned next;
};

/* Makes `count` loops, not running yet. `on_closed` is called, on a worker's thread, whenever a
 * connection's or a session's descriptor has become free. 0 or a negative error. */
int loops_init(struct loops *loops, unsigned count, struct sessions *sessions,
               void (*on_closed)(void *ctx), void *ctx);

/* Hands the sessions that the ledger has to the loops, in turn, with the sockets among `fds` that
 * are theirs (cleared then, -1). Before loops_start(). */
int loops_adopt_sessions(struct loops *loops, struct sessions *sessions, struct notify_fd *fds,
                         int n_fds);

/* Starts the threads. Signals are the main thread's. */
int loops_start(struct loops *loops);

/* Deals an accepted socket to the next loop. Main thread. */
void loops_deal(struct loops *loops, int fd);

/* Descriptors are short: connections that never said hello are closed. Main thread. */
void loops_shed(struct loops *loops);

/* After loops_start(): stops and joins the threads, closes all connections; sessions are left to
 * the ledger. */
void loops_stop(struct loops *loops);

#endif
