/* SPDX-License-Identifier: MIT */
/*
 * Opening and re-configuring the ledger and the pools.
 *
 * What it is: the place where three descriptions meet: the configuration (what is wished), the
 * ledger (what is), and the descriptors that came in (what is still there). The ledger wins while
 * anything is live in a pool. What it is not: it serves no request.
 *
 * Locks: `lock` for the account of kept clients and for telling the manager of them, so that what
 * one loop has dropped does not go with what another has kept under its name. All else only the
 * main thread changes, and only before the loops run.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "region.h"

/* Whether it is the ledger's name or a pool's. */
static bool is_ours(const char *name)
{
    return strcmp(name, "ledger") == 0 || strncmp(name, "pool-", 5) == 0;
}

static int take_fd(struct notify_fd *fds, int n_fds, const char *prefix, const char *name)
{
    size_t length = strlen(prefix);

    for (int i = 0; i < n_fds; i++) {
        if (fds[i].fd >= 0 && strncmp(fds[i].name, prefix, length) == 0 &&
            strcmp(fds[i].name + length, name) == 0) {
            int fd = fds[i].fd;
            fds[i].fd = -1;
            return fd;
        }
    }
    return -1;
}

/* For what is new. What a restart brought back is stored already: to drop and store it again would
 * leave a moment in which a kill loses it. */
static void keep(int fd, const char *prefix, const char *name)
{
    char full[sizeof(((struct notify_fd *)0)->name)];

    snprintf(full, sizeof(full), "%s%s", prefix, name);
    notify_unstore(full, NOTIFY_PATIENCE_MS); /* an older one of that name, which is nobody's */
    int rc = notify_store(fd, full, NOTIFY_PATIENCE_MS);
    if (rc)
        log_warning("store: the service manager does not keep %s: %s", full, strerror(-rc));
}

/* Keeps what cannot be used for somebody who can look into it, and forgets it here. */
static void set_aside(struct notify_fd *fds, int n_fds)
{
    for (int i = 0; i < n_fds; i++) {
        int again;

        if (fds[i].fd < 0 || !is_ours(fds[i].name))
            continue;
        /* The manager stores an open file once, under its first name; so this is another one. */
        if (region_reopen(fds[i].fd, true, &again) == 0) {
            keep(again, "aside-", fds[i].name);
            close(again);
        }
        notify_unstore(fds[i].name, NOTIFY_PATIENCE_MS);
        log_error("store: %s is set aside", fds[i].name);
        close(fds[i].fd);
        fds[i].fd = -1;
    }
}

#define CLIENT_NAME "client-"
/* Others wait meanwhile, other loops, too, that have something to tell. What is not kept now is
 * asked for again later. */
#define CLIENT_PATIENCE_MS 20

static const char *client_name(uint64_t id, char name[static sizeof(CLIENT_NAME) + 20])
{
    snprintf(name, sizeof(CLIENT_NAME) + 20, CLIENT_NAME "%llu", (unsigned long long)id);
    return name;
}

/* False where the manager does not listen. */
static bool drop_forgotten_locked(struct store *store)
{
    char name[sizeof(CLIENT_NAME) + 20];

    while (store->n_forgotten > 0) {
        uint64_t id = store->forgotten[store->n_forgotten - 1];
        if (notify_unstore(client_name(id, name), CLIENT_PATIENCE_MS))
            return false;
        store->n_forgotten--;
        store->clients--;
    }
    return true;
}

static bool keep_client_locked(struct store *store, int fd, uint64_t id)
{
    char name[sizeof(CLIENT_NAME) + 20];

    if (!drop_forgotten_locked(store) || store->clients >= CLIENTS_KEPT_MAX)
        return false;
    int rc = notify_store(fd, client_name(id, name), CLIENT_PATIENCE_MS);
    if (rc) {
        log_debug("store: the service manager does not keep %s: %s", name, strerror(-rc));
        return false;
    }
    store->clients++;
    return true;
}

bool store_keep_client(struct store *store, int fd, uint64_t id)
{
    if (!notify_is_heard())
        return false;
    pthread_mutex_lock(&store->lock);
    bool kept = keep_client_locked(store, fd, id);
    pthread_mutex_unlock(&store->lock);
    return kept;
}

void store_forget_client(struct store *store, uint64_t id)
{
    pthread_mutex_lock(&store->lock);
    store->forgotten[store->n_forgotten++] = id;
    drop_forgotten_locked(store);
    pthread_mutex_unlock(&store->lock);
}

void store_adopt_client(struct store *store)
{
    store->clients++;
}

uint64_t store_client_id(const char *name)
{
    if (strncmp(name, CLIENT_NAME, strlen(CLIENT_NAME)) != 0)
        return 0;
    return strtoull(name + strlen(CLIENT_NAME), NULL, 10);
}

static const struct config_pool *config_find(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->n_pools; i++)
        if (strcmp(config->pools[i].name, name) == 0)
            return &config->pools[i];
    return NULL;
}

static int open_pool(struct store *store, unsigned index, const struct config_pool *config, int fd)
{
    struct pool *pool = malloc(sizeof(*pool));

    if (!pool)
        return -ENOMEM;
    int rc = pool_open(pool, &store->ledger, index, config, fd);
    if (rc) {
        free(pool);
        return rc;
    }
    store->pools[index] = pool;
    return 0;
}

static bool same_shape(const struct ledger_pool *info, const struct config_pool *config)
{
    return info->size_max == config->size_max && info->page_size == config->page_size &&
           info->ids == config->ids && info->size >= config->size &&
           strcmp(info->allocator, config->allocator->name) == 0;
}

/* Whether anything is live in a pool of the ledger that is not open. */
static bool ledger_pool_live(const struct ledger *ledger, unsigned index)
{
    const ledger_reference *references = ledger_references(ledger, index);

    for (uint32_t i = 0; i < ledger->pools[index].references_top; i++)
        if (references[i])
            return true;
    return false;
}

/* `fd` is its region, or -1. */
static void drop_pool(struct store *store, unsigned index, int fd)
{
    char name[sizeof("pool-") + CODEC_NAME_MAX] = "pool-";

    if (fd >= 0) {
        notify_unstore(strcat(name, store->ledger.pools[index].name), NOTIFY_PATIENCE_MS);
        close(fd);
    }
    ledger_clear_pool(&store->ledger, index);
}

/* Opens what an earlier daemon left. Pools that nothing lives in are dropped where the
 * configuration has them no more, or in another shape. */
static int open_old_pools(struct store *store, const struct config *config, struct notify_fd *fds,
                          int n_fds)
{
    for (unsigned i = 0; i < POOLS_MAX; i++) {
        struct ledger_pool *info = &store->ledger.pools[i];
        if (strnlen(info->name, sizeof(info->name)) == sizeof(info->name) ||
            info->references_top > ALLOCATIONS_MAX) {
            log_error("store: the ledger's description of pool %u is damaged", i + 1);
            return -EBADMSG;
        }
        bool live = ledger_pool_live(&store->ledger, i);
        if (!info->name[0] && live) {
            log_error("store: pool %u of the ledger is in use, but has no name", i + 1);
            return -EBADMSG;
        }
        if (!info->name[0])
            continue;
        const struct config_pool *wished = config_find(config, info->name);
        int fd = take_fd(fds, n_fds, "pool-", info->name);
        if (!live && (fd < 0 || !wished || !same_shape(info, wished))) {
            drop_pool(store, i, fd);
            continue;
        }
        if (fd < 0) {
            log_error("store: pool %s is in the ledger, but its region is gone", info->name);
            return -EBADMSG;
        }
        if (!wished)
            log_warning("store: pool %s is in use and stays, though the configuration has it no "
                        "more; nobody has rights in it",
                        info->name);
        int rc = open_pool(store, i, wished, fd);
        if (rc) {
            close(fd);
            return rc;
        }
    }
    return 0;
}

static int open_new_pools(struct store *store, const struct config *config)
{
    for (unsigned i = 0; i < config->n_pools; i++) {
        unsigned index = 0;
        if (store_pool_named(store, config->pools[i].name))
            continue;
        while (index < POOLS_MAX && store->pools[index])
            index++;
        if (index == POOLS_MAX) {
            log_error("store: no room for pool %s beside those that are still in use",
                      config->pools[i].name);
            return -ENOSPC;
        }
        ledger_clear_pool(&store->ledger, index);
        int rc = open_pool(store, index, &config->pools[i], -1);
        if (rc) {
            log_error("store: pool %s: %s", config->pools[i].name, strerror(-rc));
            return rc;
        }
        keep(store->pools[index]->fd, "pool-", config->pools[i].name);
    }
    return 0;
}

static void close_pools(struct store *store)
{
    for (unsigned i = 0; i < POOLS_MAX; i++) {
        if (!store->pools[i])
            continue;
        pool_close(store->pools[i]);
        free(store->pools[i]);
        store->pools[i] = NULL;
    }
}

/* Opens the ledger that came in together with its pools. -ENOENT: none came; -EBADMSG: it is not
 * usable; another -errno: not now. */
static int open_old(struct store *store, const struct config *config, struct notify_fd *fds,
                    int n_fds)
{
    static struct notify_fd copies[NOTIFY_FDS_MAX];
    int rc = -ENOENT;

    for (int i = 0; i < n_fds; i++) {
        copies[i] = fds[i];
        copies[i].fd = -1;
        if (!is_ours(fds[i].name))
            continue;
        copies[i].fd = fcntl(fds[i].fd, F_DUPFD_CLOEXEC, 0);
        if (copies[i].fd < 0)
            rc = -errno;
    }
    int fd = rc == -ENOENT ? take_fd(copies, n_fds, "", "ledger") : -1;
    if (fd >= 0) {
        rc = ledger_adopt(&store->ledger, fd);
        if (rc)
            close(fd);
        else
            rc = open_old_pools(store, config, copies, n_fds);
        if (rc) {
            close_pools(store);
            ledger_close(&store->ledger);
        }
    }
    for (int i = 0; i < n_fds; i++) {
        if (copies[i].fd >= 0)
            close(copies[i].fd);
        if (rc == 0 && fds[i].fd >= 0 && is_ours(fds[i].name)) {
            close(fds[i].fd); /* the copy is in use */
            fds[i].fd = -1;
        }
    }
    return rc;
}

int store_open(struct store *store, const struct config *config, struct notify_fd *fds, int n_fds)
{
    *store = (struct store){.lock = PTHREAD_MUTEX_INITIALIZER};
    int rc = open_old(store, config, fds, n_fds);
    if (rc && rc != -ENOENT && rc != -EBADMSG) {
        /* Short of memory or descriptors, or another build: what is stored is sound. */
        log_error("store: cannot open the ledger now: %s", strerror(-rc));
        return rc;
    }
    if (rc) {
        set_aside(fds, n_fds);
        rc = ledger_create(&store->ledger);
        if (rc) {
            log_error("store: cannot make a ledger: %s", strerror(-rc));
            return rc;
        }
        keep(store->ledger.fd, "", "ledger");
    }
    for (unsigned i = 0; i < SESSIONS_MAX; i++)
        if (store->ledger.sessions[i].id)
            ledger_journal_settle(&store->ledger, i);
    rc = open_new_pools(store, config);
    if (rc) {
        store_close(store);
        return rc;
    }
    return 0;
}

void store_close(struct store *store)
{
    close_pools(store);
    ledger_close(&store->ledger);
}

bool store_configure(struct store *store, const struct config *config)
{
    bool fits = true;

    for (unsigned i = 0; i < POOLS_MAX; i++) {
        struct pool *pool = store->pools[i];
        if (!pool)
            continue;
        const struct config_pool *wished = config_find(config, pool->info->name);
        if (!wished && !pool->retired && pool_live(pool) > 0) {
            log_error("reload: pool %s is in use and cannot be removed", pool->info->name);
            fits = false;
        } else if (wished && !same_shape(pool->info, wished)) {
            log_error("reload: pool %s: size, size_max, page_size, ids and allocator cannot change "
                      "without a restart",
                      pool->info->name);
            fits = false;
        }
    }
    for (unsigned i = 0; i < config->n_pools; i++) {
        if (!store_pool_named(store, config->pools[i].name)) {
            log_error("reload: pool %s cannot be added without a restart", config->pools[i].name);
            fits = false;
        }
    }
    if (!fits)
        return false;
    for (unsigned i = 0; i < POOLS_MAX; i++)
        if (store->pools[i])
            pool_configure(store->pools[i], config_find(config, store->pools[i]->info->name));
    atomic_fetch_add(&store->epoch, 1);
    return true;
}

struct pool *store_pool_named(const struct store *store, const char *name)
{
    for (unsigned i = 0; i < POOLS_MAX; i++)
        if (store->pools[i] && strcmp(store->pools[i]->info->name, name) == 0)
            return store->pools[i];
    return NULL;
}

struct pool *store_pool(const struct store *store, uint32_t number)
{
    return number >= 1 && number <= POOLS_MAX ? store->pools[number - 1] : NULL;
}
