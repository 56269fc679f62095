/* SPDX-License-Identifier: MIT */
/* What both event loops have in common: the frames that are published, and when to stop. */
#ifndef WATCH_H
#define WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include <allot.h>

struct watcher {
    struct allot *session;
    struct allot_pool *pool;
    uint64_t watch;
    bool over; /* the name "frame/last" has come */
};

/* Opens a session and watches "frame/". 0, or says why not. */
int watcher_open(struct watcher *w);
void watcher_close(struct watcher *w);

#endif
