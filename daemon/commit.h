/* SPDX-License-Identifier: MIT */
/*
 * Memory that an operation wants, committed by libuv's thread pool in pieces, so that its loop
 * serves others meanwhile. All functions are called on that loop's thread.
 */
#ifndef ALLOTD_COMMIT_H
#define ALLOTD_COMMIT_H

#include <uv.h>

#include "pool.h"

struct commit {
    bool running;
    bool stop; /* after the piece under way */
    struct pool *pool;
    struct pool_operation operation;
    int rc; /* once it is over */
    uint64_t done;
    uv_work_t work;
    void (*finished)(struct commit *commit);
    void *ctx;
};

/* Commits what pool_execute() said that `operation` wants; `finished` is called once. */
void commit_start(struct commit *c, uv_loop_t *loop, struct pool *pool,
                  const struct pool_operation *operation);

#endif
