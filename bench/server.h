/* SPDX-License-Identifier: MIT */
/* An allotd of our own, on a private socket. */
#ifndef ALLOT_BENCH_SERVER_H
#define ALLOT_BENCH_SERVER_H

#include <sys/types.h>

#include "bench.h"

struct server {
    pid_t pid;
    int notify;
    char dir[64];
    char socket[96];
};

/* Starts the daemon on `core` (or MACHINE_ANY_CORE) with `workers` loops and two pools of 1 GiB,
 * "default" and "other", and returns when it is ready. 0, or -1 and a word on stderr. */
int server_start(struct server *s, const struct bench *b, int core, unsigned workers);
/* The same under its own supervisor, which starts it again. */
int server_start_supervised(struct server *s, const struct bench *b, unsigned workers);
/* The daemon that the supervisor has now; negative where there is none. */
pid_t server_child(const struct server *s);
/* The daemon ends with status 0, or that is told on stderr. */
void server_stop(struct server *s);

#endif
