/* SPDX-License-Identifier: MIT */
/*
 * The service manager's protocol, by itself (sd_notify(3), sd_listen_fds(3)): descriptors that come
 * in through the environment, states and descriptors that go out through NOTIFY_SOCKET. Without a
 * manager the outgoing calls do nothing and succeed.
 */
#ifndef ALLOTD_NOTIFY_H
#define ALLOTD_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>

/* More than CLIENTS_KEPT_MAX, POOLS_MAX, the ledger, a few listeners, and what was set aside. */
#define NOTIFY_FDS_MAX 320

/* The number of the first that comes in (sd_listen_fds(3)). */
#define LISTEN_FDS_START 3

struct notify_fd {
    int fd;
    char name[256]; /* "unknown" where the manager gave none */
};

/* Takes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES out of the environment: how many descriptors came
 * (0 where they are not for this process), close-on-exec set on each; or -errno (-E2BIG). */
int notify_listen_fds(struct notify_fd *fds, size_t max);

/* Whether there is a manager that hears what is sent. */
bool notify_is_heard(void);
/* Sends one state, such as "READY=1". 0 or -errno. */
int notify_send(const char *state);
/* RELOADING=1 with the time, as Type=notify-reload wants it. */
int notify_reloading(void);
/* Stores a descriptor under `name` (FDSTORE=1), to come back at the next start. A manager that does
 * not read is waited for `patience_ms`, then -EAGAIN. */
int notify_store(int fd, const char *name, int patience_ms);
/* Drops what is stored under `name`. */
int notify_unstore(const char *name, int patience_ms);
/* How long the main thread may wait: longer than any manager needs that is alive. */
#define NOTIFY_PATIENCE_MS 10000

#endif
