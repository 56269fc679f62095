/* SPDX-License-Identifier: MIT */
/*
 * Sessions.
 *
 * What it is: the life of a client process as the daemon sees it. Death comes from the kernel: the
 * pidfd becomes readable when the process is gone. A closed socket alone ends nothing, because a
 * process that closed it may still write through its mapping. What it is not: it reads no requests
 * and answers none; the connection does, and is called back.
 *
 * Invariants: a slot is free exactly while its ledger record has no ID; a session's holdings are
 * given back before its slot is; a slot is reused only after that. `ended` is in the ledger before
 * the first holding goes, so that a restart goes on with it.
 *
 * A session is freed when it is reclaimed, has no connection, and its handles are closed.
 *
 * Locks: `sessions.lock` for the table of slots; order: sessions.lock, then a pool's. Everything
 * else of a session is touched by its own loop's thread; counters are atomic for the lists.
 */
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "pending.h"

/* References dropped in a row, before the loop serves others: about 0.2 ms. */
#define RECLAIM_SLICE 1024u

int sessions_init(struct sessions *all, struct store *store, unsigned max)
{
    *all = (struct sessions){.store = store, .max = max};
    return -pthread_mutex_init(&all->lock, NULL);
}

void sessions_deinit(struct sessions *all)
{
    pthread_mutex_destroy(&all->lock);
}

static void session_free_when_done(struct session *s)
{
    if (s->handles > 0 || s->connected)
        return;
    pending_free(s);
    free(s);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct session *s = handle->data;

    s->handles--;
    if (s->handles == 0) {
        struct sessions *all = s->all;
        close(s->peer.pidfd);
        session_free_when_done(s);
        all->on_closed(all->ctx);
    }
}

static void close_handles(struct session *s)
{
    if (uv_is_closing((uv_handle_t *)&s->death))
        return;
    uv_close((uv_handle_t *)&s->death, on_handle_closed);
    uv_close((uv_handle_t *)&s->reclaim, on_handle_closed);
    s->handles += pending_close(s, on_handle_closed);
}

static bool is_busy(const struct session *s)
{
    return s->commit.running || pending_is_busy(s);
}

/* From the table, whose lock is held. */
static void leave(struct session *s)
{
    s->all->slots[s->slot] = NULL;
    s->all->count--;
}

static void give_slot_back(struct session *s)
{
    struct sessions *all = s->all;

    pthread_mutex_lock(&all->lock);
    ledger_session_close(&all->store->ledger, s->slot);
    leave(s);
    pthread_mutex_unlock(&all->lock);
}

/* Nothing is held any more: the slot goes back, and then, when the connection is gone, the rest. */
static void session_close(struct session *s)
{
    give_slot_back(s);
    s->reclaimed = true;
    log_debug("session %llu: closed", (unsigned long long)s->id);
    close_handles(s);
}

static void on_reclaim(uv_idle_t *handle)
{
    struct session *s = handle->data;

    for (unsigned i = 0; i < POOLS_MAX; i++)
        if (s->all->store->pools[i] &&
            pool_reclaim(s->all->store->pools[i], s->slot, RECLAIM_SLICE))
            return;
    uv_idle_stop(handle);
    session_close(s);
    if (s->connected)
        s->resume(s->ctx);
}

void session_end(struct session *s)
{
    if (s->ended)
        return;
    s->ended = true;
    s->all->store->ledger.sessions[s->slot].ended = 1;
    uv_poll_stop(&s->death);
    s->suspect = false; /* another daemon does not go on with it */
    pending_leave(s);
    s->commit.stop = true;
    session_idle(s);
}

void session_idle(struct session *s)
{
    if (is_busy(s))
        return;
    if (s->abandoned)
        close_handles(s);
    else
        uv_idle_start(&s->reclaim, on_reclaim);
}

static void on_death(uv_poll_t *handle, int status, int events)
{
    struct session *s = handle->data;

    (void)status;
    (void)events;
    log_debug("session %llu: process %d is gone", (unsigned long long)s->id, (int)s->peer.pid);
    session_end(s);
    if (s->connected)
        s->died(s->ctx);
}

static int watch(struct session *s)
{
    uv_idle_init(s->loop, &s->reclaim);
    s->reclaim.data = s;
    int rc = uv_poll_init(s->loop, &s->death, s->peer.pidfd);
    s->death.data = s;
    s->handles = 2;
    if (rc) {
        s->handles = 1;
        uv_close((uv_handle_t *)&s->reclaim, on_handle_closed);
        return rc;
    }
    uv_poll_start(&s->death, UV_READABLE, on_death);
    return 0;
}

/* ---- watches ---- */

/* Nobody knows any more what was told: everything, from its start. */
static void begin_watches(struct session *s)
{
    const struct ledger_watch *records = ledger_watches(&s->all->store->ledger, s->slot);

    for (unsigned i = 0; i < LEDGER_WATCHES; i++)
        s->watches[i] = (struct watch){.id = records[i].id};
    s->watch_due = true;
}

bool session_watches(const struct session *s)
{
    for (unsigned i = 0; i < LEDGER_WATCHES; i++)
        if (s->watches[i].id)
            return true;
    return false;
}

/* Its index; LEDGER_WATCHES where there is none. 0 finds a free one. */
static unsigned find_watch(const struct session *s, uint64_t id)
{
    unsigned i = 0;

    while (i < LEDGER_WATCHES && s->watches[i].id != id)
        i++;
    return i;
}

Allot__Error session_watch(struct session *s, struct ledger_entry *entry, unsigned pool,
                           const char *prefix, uint64_t number)
{
    unsigned i = find_watch(s, 0);

    if (strlen(prefix) > CODEC_NAME_MAX)
        return ALLOT__ERROR__E_INVALID;
    if (i == LEDGER_WATCHES)
        return ALLOT__ERROR__E_LIMIT;
    struct ledger_watch *record = &ledger_watches(&s->all->store->ledger, s->slot)[i];
    record->pool = pool;
    strcpy(record->prefix, prefix);
    ledger_entry_intend(entry, 0, i, 0, number);
    atomic_store_explicit(&record->id, number, memory_order_release);
    s->watches[i] = (struct watch){.id = number};
    s->watch_due = true;
    return ALLOT__ERROR__E_OK;
}

Allot__Error session_unwatch(struct session *s, struct ledger_entry *entry, uint64_t id)
{
    unsigned i = find_watch(s, id);

    if (!id || i == LEDGER_WATCHES)
        return ALLOT__ERROR__E_INVALID;
    ledger_entry_intend(entry, 0, i, id, 0);
    atomic_store_explicit(&ledger_watches(&s->all->store->ledger, s->slot)[i].id, 0,
                          memory_order_release);
    s->watches[i].id = 0;
    return ALLOT__ERROR__E_OK;
}

Allot__Error session_watch_again(struct session *s, uint64_t id)
{
    unsigned i = find_watch(s, id);

    if (!id || i == LEDGER_WATCHES)
        return ALLOT__ERROR__E_INVALID;
    s->watches[i].phase = WATCH_BEGINS;
    s->watch_due = true;
    return ALLOT__ERROR__E_OK;
}

/* ---- beginning ---- */

/* A free slot for the session, or -EUSERS. The table's lock is held. */
static int enter(struct sessions *all, struct session *s)
{
    static unsigned hint;

    if (all->count >= all->max)
        return -EUSERS;
    unsigned start = hint++;
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        unsigned slot = (start + i) % SESSIONS_MAX;
        if (!all->slots[slot]) {
            s->slot = slot;
            all->slots[slot] = s;
            all->count++;
            return 0;
        }
    }
    return -EUSERS;
}

int session_open(struct sessions *all, uv_loop_t *loop, const struct peer *peer,
                 struct session **ret)
{
    struct session *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->all = all;
    s->loop = loop;
    s->peer = *peer;
    s->next = 1;
    s->epoch = atomic_load(&all->store->epoch);
    s->connected = true;
    pthread_mutex_lock(&all->lock);
    int rc = enter(all, s);
    if (!rc) {
        rc = ledger_session_open(&all->store->ledger, s->slot, (uint32_t)peer->pid, peer->uid,
                                 peer->gid, peer->incarnation, &s->id);
        if (rc)
            leave(s);
    }
    pthread_mutex_unlock(&all->lock);
    if (rc) {
        free(s);
        return rc;
    }
    rc = watch(s);
    if (rc) {
        log_warning("session %llu: cannot be watched: %s", (unsigned long long)s->id,
                    uv_strerror(rc));
        s->peer.pidfd = -1; /* the caller's still */
        s->connected = false;
        give_slot_back(s);
        return rc;
    }
    *ret = s;
    return 0;
}

/* Before the loops run, nobody waits: all of it at once. */
static void reclaim_now(struct sessions *all, unsigned slot)
{
    for (unsigned i = 0; i < POOLS_MAX; i++)
        while (all->store->pools[i] && pool_reclaim(all->store->pools[i], slot, RECLAIM_SLICE))
            ;
    ledger_session_close(&all->store->ledger, slot);
}

/* The process of a session that is in the ledger. Its socket tells more than its pid: the groups,
 * and also a process that has no pid for us. */
static int find_process(const struct ledger_session *record, int socket_fd, struct peer *ret)
{
    if (record->ended)
        return -ESRCH;
    if (socket_fd >= 0) {
        int rc = peer_read(socket_fd, ret);
        if (rc || !ret->by_pid || peer_may_be(ret->incarnation, record->incarnation))
            return rc;
        /* While no daemon was there it died, a child has its socket, and another its pid. */
        close(ret->pidfd);
        return -ESRCH;
    }
    *ret = (struct peer){.pid = (pid_t)record->pid,
                         .uid = record->uid,
                         .gid = record->gid,
                         .incarnation = record->incarnation,
                         .pidfd = peer_reopen((pid_t)record->pid, record->incarnation)};
    return ret->pidfd < 0 ? ret->pidfd : 0;
}

int session_adopt(struct sessions *all, uv_loop_t *loop, unsigned slot, int socket_fd,
                  struct session **ret)
{
    const struct ledger_session *record = &all->store->ledger.sessions[slot];
    struct peer peer;
    int rc = find_process(record, socket_fd, &peer);

    *ret = NULL;
    if (rc == -ESRCH) {
        reclaim_now(all, slot);
        return 0;
    }
    if (rc)
        return rc;
    struct session *s = calloc(1, sizeof(*s));
    if (!s) {
        close(peer.pidfd);
        return -ENOMEM;
    }
    s->all = all;
    s->loop = loop;
    s->slot = slot;
    s->id = record->id;
    s->next = ledger_journal_last(&all->store->ledger, slot) + 1;
    s->peer = peer;
    s->suspect = true;
    begin_watches(s);
    s->granted = socket_fd >= 0 || session_watches(s);
    for (unsigned i = 0; i < POOLS_MAX; i++) {
        Allot__Access access = (Allot__Access)(record->attached >> 2 * i & 3);
        struct pool *pool = all->store->pools[i];
        if (!access || !pool)
            continue;
        session_attach(s, i, access, pool_access(pool, &peer));
        s->granted |= pool_holding(pool, slot).allocations > 0;
    }
    all->slots[slot] = s;
    all->count++;
    *ret = s;
    return watch(s);
}

/* It may have attached for more, before the rule changed. */
static void limit_access(struct session *s, unsigned pool, Allot__Access allowed)
{
    s->access[pool] = allowed < s->attached[pool] ? allowed : s->attached[pool];
}

void session_attach(struct session *s, unsigned pool, Allot__Access access, Allot__Access allowed)
{
    struct ledger_session *record = &s->all->store->ledger.sessions[s->slot];

    if (s->attached[pool] < access) {
        s->attached[pool] = access;
        record->attached =
            (record->attached & ~LEDGER_ATTACHED(pool, 3)) | LEDGER_ATTACHED(pool, access);
    }
    limit_access(s, pool, allowed);
}

/* In a time that tells nothing of where they differ. */
static bool same_secret(const unsigned char *a, const unsigned char *b)
{
    unsigned char difference = 0;

    for (size_t i = 0; i < CODEC_SECRET_SIZE; i++)
        difference |= a[i] ^ b[i];
    return !difference;
}

enum session_resume session_resume(struct sessions *all, uv_loop_t *loop, uint64_t id,
                                   const void *secret, size_t secret_size, const struct peer *peer,
                                   struct session **ret, uv_loop_t **ret_loop)
{
    struct session *s = NULL;

    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0; i < SESSIONS_MAX && !s; i++)
        if (all->slots[i] && all->slots[i]->id == id)
            s = all->slots[i];
    *ret_loop = s ? s->loop : NULL;
    pthread_mutex_unlock(&all->lock);
    if (!s || secret_size != CODEC_SECRET_SIZE)
        return SESSION_UNKNOWN;
    if (*ret_loop != loop)
        return SESSION_MOVE;
    /* It is this thread's now, so it cannot go. */
    if (s->ended || !same_secret(all->store->ledger.sessions[s->slot].secret, secret))
        return SESSION_UNKNOWN;
    if (!peer_is_same(&s->peer, peer))
        return SESSION_FOREIGN;
    if (s->connected) {
        s->resuming = true;
        s->died(s->ctx); /* closes the connection */
        s->resuming = false;
    }
    s->connected = true;
    begin_watches(s);
    *ret = s;
    return SESSION_RESUMED;
}

/* Whether the process may have mapped a pool, or hold anything in one. */
static bool has_attached(const struct session *s)
{
    for (unsigned i = 0; i < POOLS_MAX; i++)
        if (s->attached[i])
            return true;
    return false;
}

void session_disconnected(struct session *s, bool leaving)
{
    s->connected = false;
    pending_disconnected(s);
    if (s->reclaimed)
        session_free_when_done(s);
    else if (!has_attached(s) && !s->resuming && !leaving)
        session_end(s);
}

void sessions_abandon(struct sessions *all, const uv_loop_t *loop)
{
    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = all->slots[i];
        if (!s || s->loop != loop)
            continue;
        leave(s);
        s->abandoned = true;
        uv_idle_stop(&s->reclaim);
        pending_leave(s);
        s->commit.stop = true;
        session_idle(s);
    }
    pthread_mutex_unlock(&all->lock);
}

/* ---- memory ---- */

static void on_committed(struct commit *c)
{
    struct session *s = c->ctx;

    if (c->stop) {
        pool_abandon(c->pool, &c->operation);
        session_idle(s);
        return;
    }
    pool_finish(c->pool, &c->operation, c->rc);
    s->granted |= !c->operation.error;
    if (s->connected)
        s->resume(s->ctx);
}

void session_commit(struct session *s, struct pool *pool, const struct pool_operation *operation)
{
    if (s->counted) /* whatever happens meanwhile is not the request's doing */
        s->all->store->ledger.sessions[s->slot].starts--;
    s->commit.finished = on_committed;
    s->commit.ctx = s;
    commit_start(&s->commit, s->loop, pool, operation);
}

void session_refresh_access(struct session *s)
{
    unsigned epoch = atomic_load_explicit(&s->all->store->epoch, memory_order_acquire);

    if (s->epoch == epoch)
        return;
    s->epoch = epoch;
    for (unsigned i = 0; i < POOLS_MAX; i++)
        if (s->attached[i])
            limit_access(s, i, pool_access(s->all->store->pools[i], &s->peer));
}

/* ---- lists ---- */

static void describe(const struct session *s, Allot__SessionInfo *ret)
{
    ret->session = s->id;
    ret->pid = (uint32_t)s->peer.pid;
    ret->uid = s->peer.uid;
    ret->gid = s->peer.gid;
    ret->connected = s->connected;
    ret->operations = s->operations;
    ret->bytes_received = s->bytes_received;
    ret->bytes_sent = s->bytes_sent;
    for (unsigned i = 0; i < POOLS_MAX; i++) {
        if (!s->all->store->pools[i])
            continue;
        struct records_holding holding = pool_holding(s->all->store->pools[i], s->slot);
        ret->allocations += holding.allocations;
        ret->bytes += holding.bytes;
        ret->ids += holding.ids;
    }
}

size_t sessions_list(struct sessions *all, uint64_t after, Allot__SessionInfo *ret, size_t max)
{
    static _Thread_local struct session *found[SESSIONS_MAX];
    size_t count = 0;

    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = all->slots[i];
        if (!s || s->id <= after || (count == max && s->id > found[max - 1]->id))
            continue;
        /* By insertion, which asks for no memory; most come in order. */
        size_t at = count < max ? count++ : max - 1;
        for (; at > 0 && found[at - 1]->id > s->id; at--)
            found[at] = found[at - 1];
        found[at] = s;
    }
    for (size_t i = 0; i < count; i++)
        describe(found[i], &ret[i]);
    pthread_mutex_unlock(&all->lock);
    return count;
}
