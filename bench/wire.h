/* SPDX-License-Identifier: MIT */
/*
 * A client at the level of frames, for what liballot's blocking calls do not do: many requests in
 * flight from one thread, and many sessions in one process. Each request has one item; requests
 * that are sent together share a frame, or have a packet each. Requests that are refused or fail
 * are failures of the benchmark: -1, and a word on stderr.
 */
#ifndef ALLOT_BENCH_WIRE_H
#define ALLOT_BENCH_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "codec.h"

struct wire {
    int fd;
    bool packets; /* each request in a packet of its own: so at first */
    uint32_t pool;
    uint64_t next;     /* the next request's number */
    uint64_t answered; /* all below are answered */
};

/* Connects, says hello and attaches the pool. */
int wire_open(struct wire *w, const char *socket_path, const char *pool);
/* As wire_open(), over a socket that is connected already; takes it over. */
int wire_open_fd(struct wire *w, int fd, const char *pool);
void wire_close(struct wire *w);

/* Sends `n` requests (1 to CODEC_INFLIGHT_MAX, answers included) with one call: allocations of
 * `size` bytes each, or frees of positions[0…n-1]. */
int wire_send_allocs(struct wire *w, uint64_t size, unsigned n);
int wire_send_frees(struct wire *w, const uint64_t *positions, unsigned n);

/* Waits for one reply at least; how many requests were answered. Their values, in the order of the
 * requests, go to `values` (CODEC_INFLIGHT_MAX of them) unless it is NULL. */
int wire_receive(struct wire *w, uint64_t *values);

/* `n` requests with never more than `window` in flight: positions are what comes, or goes. */
int wire_run_allocs(struct wire *w, uint64_t size, uint64_t *positions, unsigned n,
                    unsigned window);
int wire_run_frees(struct wire *w, uint64_t *positions, unsigned n, unsigned window);

#endif
