/* SPDX-License-Identifier: MIT */
/*
 * The service manager's protocol, by itself (sd_notify(3), sd_listen_fds(3)): descriptors that come
 * in through the environment, states and descriptors that go out through NOTIFY_SOCKET. Without a
 * manager the outgoing calls do nothing and succeed.
 */
#ifndef ALLOTD_NOTIFY_H
#define ALLOTD_NOTIFY_H

#include <stddef.h>

#define NOTIFY_FDS_MAX 256 /* more than POOLS_MAX, the ledger and a few listeners */

struct notify_fd {
    int fd;
    char name[256]; /* "unknown" where the manager gave none */
};

/* Takes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES out of the environment: how many descriptors came
 * (0 where they are not for this process), close-on-exec set on each; or -errno (-E2BIG). */
int notify_listen_fds(struct notify_fd *fds, size_t max);

/* Sends one state, such as "READY=1" or "RELOADING=1\nMONOTONIC_USEC=…". 0 or -errno. */
int notify_send(const char *state);
/* Stores a descriptor under `name` (FDSTORE=1), to come back at the next start. */
int notify_store(int fd, const char *name);
/* Drops what is stored under `name`. */
int notify_unstore(const char *name);
/* RELOADING=1 with the time, as Type=notify-reload wants it. */
int notify_reloading(void);

#endif
