/* SPDX-License-Identifier: MIT */
/*
 * Watching what is published under "frame/", and taking each one when it comes.
 *
 * Between the event and the lookup the name may be gone again, or name something newer: both are
 * told by events to come.
 */
#include "watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void take(const struct watcher *w, const char *name)
{
    struct allot_ticket ticket;
    uint64_t offset;
    uint64_t size;

    if (allot_lookup(w->pool, name, &ticket, &offset, &size) < 0)
        return;
    printf("%s: %" PRIu64 " bytes\n", name, size);
    allot_release(w->pool, &ticket);
}

static void told(void *ctx, const struct allot_event *event)
{
    struct watcher *w = ctx;

    switch (event->kind) {
    case ALLOT_APPEARED:
    case ALLOT_CHANGED:
        take(w, event->name);
        w->over |= strcmp(event->name, "frame/last") == 0;
        break;
    case ALLOT_GONE:
        printf("%s: gone\n", event->name);
        break;
    case ALLOT_COMPLETE:
        printf("waiting\n");
        break;
    default:
        break;
    }
    fflush(stdout);
}

int watcher_open(struct watcher *w)
{
    *w = (struct watcher){0};
    int error = allot_open(&w->session, NULL);

    if (!error)
        error = allot_attach(w->session, NULL, ALLOT_READ, &w->pool);
    if (!error)
        error = allot_watch(w->pool, "frame/", told, w, &w->watch);
    if (error)
        fprintf(stderr, "watch: %s\n", allot_strerror(error));
    return error;
}

void watcher_close(struct watcher *w)
{
    allot_close(w->session);
}
