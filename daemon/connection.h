/* SPDX-License-Identifier: MIT */
/*
 * Connections of one loop: reading frames, having them served, sending the answers. All functions
 * are called on the loop's thread.
 */
#ifndef ALLOTD_CONNECTION_H
#define ALLOTD_CONNECTION_H

#include <sys/socket.h>
#include <uv.h>

#include "service.h"

/* Frames looked at in one system call, and answered by one. No more than a round's replies. */
#define CONNECTION_FRAMES_MAX REPLIES_FRAMES_MAX

struct connection;

struct connections {
    struct service service;
    struct connection *first;
    struct connection *watching; /* those whose sessions watch names */
    atomic_uint n_watching;
    /* Takes an unread socket to the loop that its session belongs to. */
    void (*move)(void *ctx, const uv_loop_t *home, int fd);
    void *move_ctx;
    bool leaving; /* the daemon stops, and another may follow */
    struct mmsghdr in[CONNECTION_FRAMES_MAX];
    struct iovec in_parts[CONNECTION_FRAMES_MAX];
    struct mmsghdr discard[CONNECTION_FRAMES_MAX];
    unsigned char frames[CONNECTION_FRAMES_MAX][CODEC_FRAME_MAX];
};

void connections_init(struct connections *all, uv_loop_t *loop, struct sessions *sessions);

/* Takes over an accepted, non-blocking socket. */
void connections_add(struct connections *all, int fd);

/* Takes over the socket of a session that an earlier daemon left, with what waits on it. Where it
 * is refused, the session has none. */
void connections_adopt(struct connections *all, int fd, struct session *session);

/* Tells those who watch what is new. */
void connections_tell(struct connections *all);

/* Descriptors are short: closes the connections that have had a second to say hello and did not. */
void connections_shed(struct connections *all);

/* At shutdown: closes all, but what the service manager keeps; sessions are left to the ledger. */
void connections_close(struct connections *all);

#endif
