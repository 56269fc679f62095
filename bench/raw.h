/* SPDX-License-Identifier: MIT */
/* The yardstick of all round trips: 32 bytes there and back between two processes over a pair of
 * SOCK_SEQPACKET sockets, each side one blocking send and one blocking receive. */
#ifndef ALLOT_BENCH_RAW_H
#define ALLOT_BENCH_RAW_H

#include <sys/types.h>

struct bench;
struct bench_probe;

struct raw {
    pid_t pid;
    pid_t timed; /* for machine_turns_ns() */
    int fd;
};

/* The other process runs on `core`; 0 is the caller's own. */
int raw_start(struct raw *r, int core);
void raw_stop(struct raw *r);

/* Struct raw as a probe: ns a round trip, and ns that the other process computes in it. */
double raw_measure(void *raw);
double raw_measure_cpu(void *raw);

/* The row of `ours` beside `raw`, a probe of raw_measure(). */
void raw_report(struct bench *b, const char *name, const struct bench_probe *ours,
                const struct bench_probe *raw, double goal);

/*
 * What packets alone cost: a window of them sent with one call, looked at, answered by one packet,
 * and taken off the socket, as the daemon does it, on one core. As a probe: ns a packet.
 */
struct raw_window {
    struct raw peer;
    unsigned packets; /* 1 to RAW_WINDOW_MAX */
};

#define RAW_WINDOW_MAX 64u

int raw_window_start(struct raw_window *w, unsigned packets);
double raw_window_measure(void *window);

#endif
