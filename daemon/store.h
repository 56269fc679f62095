/* SPDX-License-Identifier: MIT */
/*
 * The store: what outlives every request and, kept by the service manager, the daemon itself: the
 * ledger and the pools. Opened before the loops run, closed after; between, pools are neither added
 * nor removed, so that `pools` is read without a lock.
 */
#ifndef ALLOTD_STORE_H
#define ALLOTD_STORE_H

#include <pthread.h>

#include "config.h"
#include "ledger.h"
#include "notify.h"
#include "pool.h"

struct store {
    struct ledger ledger;
    struct pool *pools[POOLS_MAX]; /* by index; NULL: none */
    atomic_uint epoch;             /* rises when rights may have changed */
    pthread_mutex_t lock;          /* for what follows */
    unsigned clients;              /* sockets that the service manager keeps; … */
    unsigned n_forgotten;          /* … of these, what it could not be told to drop yet */
    uint64_t forgotten[NOTIFY_FDS_MAX];
};

/*
 * Opens the ledger and the pools among `fds` (their names are "ledger" and "pool-NAME"), or makes
 * new ones; makes the pools that the configuration has besides; asks the service manager to keep
 * all of them. An unusable ledger is set aside, with its pools: the log says so, and the manager
 * keeps them under names that start with "aside-" until the next such accident. Takes over and
 * clears (-1) the descriptors it uses. 0 or -errno, as when memory or descriptors are short: then
 * nothing that came in is touched.
 */
int store_open(struct store *store, const struct config *config, struct notify_fd *fds, int n_fds);
void store_close(struct store *store);

/* Takes quota, limits and rules from a new configuration, or nothing at all where it changes
 * anything else; the log says what. Main thread. True where it was taken. */
bool store_configure(struct store *store, const struct config *config);

/* Has the service manager keep the socket of the session `id`, under a name of which
 * store_client_id() makes the ID again. False where it does not: there is none, or it keeps
 * CLIENTS_KEPT_MAX already. Any thread. */
bool store_keep_client(struct store *store, int fd, uint64_t id);
/* Where the manager does not listen, it is told with the next one. */
void store_forget_client(struct store *store, uint64_t id);
/* After a restart, before the loops run: counts one that was kept. */
void store_adopt_client(struct store *store);
/* 0 for any other name. */
uint64_t store_client_id(const char *name);

/* The pool of that name or number (as on the wire, from 1), or NULL. */
struct pool *store_pool_named(const struct store *store, const char *name);
struct pool *store_pool(const struct store *store, uint32_t number);

#endif
