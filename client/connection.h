/* SPDX-License-Identifier: MIT */
/* One connected socket: whole frames out and in, each by one system call, within a deadline. */
#ifndef ALLOT_CONNECTION_H
#define ALLOT_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "deadline.h"

struct connection {
    int fd;
    dev_t device; /* with the inode: whether fd is still this socket, after a fork */
    ino_t inode;
    uint64_t slice_ns; /* how long a plain receive waits (SO_RCVTIMEO); 0, as at first: for ever */
};

/* PATH, DISCONNECTED, DENIED, TIMEOUT, SYSTEM. */
int connection_open(struct connection *c, const char *path, uint64_t deadline);
void connection_close(struct connection *c);
/* For a child that may have closed the number and got it again for something else. */
void connection_close_inherited(struct connection *c);

/* Fits the slice to calls that may take this long. Nobody may be receiving. */
void connection_fit_slice(struct connection *c, int timeout_ms);

/* Never waits. 0, CONNECTION_FULL where the socket takes no more for now, DISCONNECTED, SYSTEM. */
#define CONNECTION_FULL 1
int connection_send(const struct connection *c, const void *frame, size_t size);

#define CONNECTION_FD_LOST (-2)
/*
 * One frame of at most CODEC_FRAME_MAX bytes; *ret_fd is the descriptor that came with it, or -1,
 * or CONNECTION_FD_LOST where the process may open no more. Without ret_fd, which is cheaper, a
 * descriptor is dropped.
 * TIMEOUT, DISCONNECTED, FRAME_SIZE (the frame was cut), SYSTEM.
 */
int connection_receive(const struct connection *c, uint64_t deadline, void *frame, size_t *ret_size,
                       int *ret_fd);

/* Waits for any of poll(2)'s events: these (0 after a signal), or TIMEOUT, SYSTEM. */
int connection_wait(const struct connection *c, short events, uint64_t deadline);

#endif
