/* SPDX-License-Identifier: MIT */
/* The yardstick of all round trips: 32 bytes there and back between two processes over a pair of
 * SOCK_SEQPACKET sockets, each side one blocking send and one blocking receive. */
#ifndef ALLOT_BENCH_RAW_H
#define ALLOT_BENCH_RAW_H

#include <sys/types.h>

struct raw {
    pid_t pid;
    int fd;
};

/* The other process runs on `core`. */
int raw_start(struct raw *r, int core);
void raw_stop(struct raw *r);

/* Struct raw as a probe: ns a round trip, and ns that the other process computes in it. */
double raw_measure(void *raw);
double raw_measure_cpu(void *raw);

#endif
