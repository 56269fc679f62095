/* SPDX-License-Identifier: MIT */
/* The listening socket, and accepting from it on the main loop. */
#ifndef ALLOTD_LISTENER_H
#define ALLOTD_LISTENER_H

#include <stdbool.h>
#include <uv.h>

#include "notify.h"

/* What the service manager keeps it under. */
#define LISTENER_NAME "listener"

struct listener {
    uv_poll_t poll;
    int fd;
    bool kept;      /* by the service manager */
    char path[108]; /* made by us and to be removed; empty: the manager sees to it */
    uv_timer_t retry;
    bool paused; /* accept() has last said that descriptors or memory have run out */
    void (*accepted)(void *ctx, int fd);
    void (*short_of_descriptors)(void *ctx);
    void *ctx;
};

/* Removes a socket at `path`, of 107 bytes at most, that nobody listens at any more. 0 or -errno:
 * -ENOTSOCK where it is something else, -EADDRINUSE where somebody does. */
int listener_clear(const char *path);

/* Makes a socket at `path`, mode 0660. A file that a dead daemon left there is replaced. 0 or
 * -errno: -ENAMETOOLONG above 107 bytes, -EADDRINUSE where a daemon answers there. */
int listener_open(struct listener *l, const char *path);

/*
 * Takes over a listening SOCK_SEQPACKET socket that the service manager handed over (cleared then,
 * -1): the first of its own, and the log names others; else the one that it keeps for us, unless
 * that is bound to another path than `path` (NULL: any is right) or its file is gone. False: none.
 */
bool listener_inherit(struct listener *l, struct notify_fd *fds, int n_fds, const char *path);

/* Has the service manager keep it for the next daemon, which then removes no file. */
void listener_keep(struct listener *l);

/* Accepts on `loop`, non-blocking and close-on-exec; pauses when descriptors run out, and calls
 * short_of_descriptors() each time that they have. */
int listener_start(struct listener *l, uv_loop_t *loop, void (*accepted)(void *ctx, int fd),
                   void (*short_of_descriptors)(void *ctx), void *ctx);
/* A descriptor has become free: goes on where it paused. Loop's thread. */
void listener_resume(struct listener *l);

/* Stops accepting, closes, and removes the file, unless it is somebody else's by now. */
void listener_close(struct listener *l);

#endif
