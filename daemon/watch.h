/* SPDX-License-Identifier: MIT */
/*
 * A watch on a pool's names: how far its session was told of them. The loop of the session alone
 * touches it.
 */
#ifndef ALLOTD_WATCH_H
#define ALLOTD_WATCH_H

#include "pool.h"

enum watch_phase {
    WATCH_BEGINS,  /* the state is to be told from its start */
    WATCH_LISTS,   /* it was, up to the name `after` */
    WATCH_FOLLOWS, /* it was, and what changed up to `sequence` */
};

struct watch {
    uint64_t id; /* 0: none */
    enum watch_phase phase;
    uint64_t sequence;
    char after[CODEC_NAME_MAX + 1];
};

struct watch_event {
    Allot__EventKind kind;
    struct pool_name name; /* where it is gone, its name and sequence only */
};

/* What is to be told next, `max` events (2 or more) at most; *w goes on behind them. 0: nothing. */
size_t watch_next(struct watch *w, struct pool *pool, const char *prefix, struct watch_event *ret,
                  size_t max);

#endif
