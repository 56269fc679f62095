/* SPDX-License-Identifier: MIT */
/*
 * The worker loops.
 *
 * What it is: threads, and the one way into them: a queue of accepted sockets under a lock, with
 * uv_async_send() as the bell, the only libuv call that may cross threads. What it is not: work is
 * not moved between loops; a connection and its session stay where they were dealt.
 *
 * Locks: worker.lock for the queue and the flags, held for a few instructions; no other lock is
 * taken under it.
 */
#include "loops.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "pending.h"

struct worker {
    uv_loop_t loop;
    uv_async_t bell;
    pthread_t thread;
    struct connections connections;
    struct sessions *sessions;
    pthread_barrier_t *leaving;
    pthread_mutex_t lock;
    int *queue; /* accepted sockets */
    size_t queued;
    size_t capacity;
    bool shed;
    bool stop;
};

/* All connections are closed before the first session is abandoned: no hello, on whatever loop,
 * must find a table from which sessions are gone that the ledger has. */
static void worker_close(struct worker *w)
{
    connections_close(&w->connections);
    pthread_barrier_wait(w->leaving);
    sessions_abandon(w->sessions, &w->loop);
    uv_close((uv_handle_t *)&w->bell, NULL);
}

static void on_bell(uv_async_t *bell)
{
    struct worker *w = bell->data;

    pthread_mutex_lock(&w->lock);
    while (w->queued > 0) {
        int fd = w->queue[--w->queued];
        pthread_mutex_unlock(&w->lock);
        connections_add(&w->connections, fd);
        pthread_mutex_lock(&w->lock);
    }
    bool shed = w->shed;
    bool stop = w->stop;
    w->shed = false;
    pthread_mutex_unlock(&w->lock);
    connections_tell(&w->connections);
    if (shed)
        connections_shed(&w->connections);
    if (stop)
        worker_close(w);
}

static void *worker_run(void *arg)
{
    struct worker *w = arg;

    uv_run(&w->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void worker_push(struct worker *w, int fd);

static void on_move(void *ctx, const uv_loop_t *home, int fd)
{
    struct loops *loops = ctx;

    for (unsigned i = 0; i < loops->count; i++)
        if (&loops->workers[i].loop == home)
            worker_push(&loops->workers[i], fd);
}

/* Names have changed, or who may read them: rings those loops that have somebody to tell. */
static void on_names(void *ctx)
{
    struct loops *loops = ctx;

    for (unsigned i = 0; i < loops->count; i++)
        if (atomic_load(&loops->workers[i].connections.n_watching))
            uv_async_send(&loops->workers[i].bell);
}

int loops_init(struct loops *loops, unsigned count, struct sessions *sessions,
               void (*on_closed)(void *ctx), void *ctx)
{
    *loops = (struct loops){.workers = calloc(count, sizeof(struct worker)), .count = count};
    if (!loops->workers)
        return -ENOMEM;
    sessions->on_closed = on_closed;
    sessions->ctx = ctx;
    sessions->on_names = on_names;
    sessions->names_ctx = loops;
    for (unsigned i = 0; i < count; i++) {
        struct worker *w = &loops->workers[i];
        pthread_mutex_init(&w->lock, NULL);
        w->sessions = sessions;
        int rc = uv_loop_init(&w->loop);
        if (!rc)
            rc = uv_async_init(&w->loop, &w->bell, on_bell);
        if (rc)
            return rc;
        w->bell.data = w;
        connections_init(&w->connections, &w->loop, sessions);
        w->connections.move = on_move;
        w->connections.move_ctx = loops;
    }
    return 0;
}

/* A kept socket that is nobody's. */
static void drop_client(struct store *store, int fd, uint64_t id)
{
    store_adopt_client(store);
    store_forget_client(store, id);
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

/* The session's kept socket, now the caller's, or -1. */
static int take_client(struct notify_fd *fds, int n_fds, uint64_t id)
{
    for (int i = 0; i < n_fds; i++) {
        int fd = fds[i].fd;
        if (fd < 0 || store_client_id(fds[i].name) != id)
            continue;
        fds[i].fd = -1;
        /* The flag is the open socket's, and was set before it was kept; but nobody knows who keeps
         * it. */
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0)
            (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
        return fd;
    }
    return -1;
}

int loops_adopt_sessions(struct loops *loops, struct sessions *sessions, struct notify_fd *fds,
                         int n_fds)
{
    unsigned next = 0;

    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        uint64_t id = sessions->store->ledger.sessions[i].id;
        struct worker *w = &loops->workers[next % loops->count];
        struct session *s;
        if (!id)
            continue;
        int fd = take_client(fds, n_fds, id);
        int rc = session_adopt(sessions, &w->loop, i, fd, &s);
        if (rc)
            return rc;
        next += s != NULL;
        if (s && fd >= 0) {
            store_adopt_client(sessions->store);
            connections_adopt(&w->connections, fd, s);
        } else if (fd >= 0) {
            drop_client(sessions->store, fd, id);
        }
        rc = s ? pending_adopt(s, s->connected) : 0;
        if (rc)
            return rc;
    }
    /* Parcels that are late, or to come. */
    expiry_by(&loops->workers[0].connections.service.expiry, 0);
    for (int i = 0; i < n_fds; i++) {
        uint64_t id = fds[i].fd >= 0 ? store_client_id(fds[i].name) : 0;
        if (!id)
            continue;
        drop_client(sessions->store, fds[i].fd, id);
        fds[i].fd = -1;
    }
    return 0;
}

int loops_start(struct loops *loops)
{
    sigset_t all;
    sigset_t old;
    int rc = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (unsigned i = 0; i < loops->count && !rc; i++) {
        struct worker *w = &loops->workers[i];
        rc = -pthread_create(&w->thread, NULL, worker_run, w);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

void loops_deal(struct loops *loops, int fd)
{
    worker_push(&loops->workers[loops->next++ % loops->count], fd);
}

static void worker_push(struct worker *w, int fd)
{
    pthread_mutex_lock(&w->lock);
    if (w->queued == w->capacity) {
        size_t capacity = w->capacity ? w->capacity * 2 : 64;
        int *queue = realloc(w->queue, capacity * sizeof(*queue));
        if (!queue) {
            pthread_mutex_unlock(&w->lock);
            log_warning("a connection cannot be taken: %s", strerror(ENOMEM));
            close(fd);
            return;
        }
        w->queue = queue;
        w->capacity = capacity;
    }
    w->queue[w->queued++] = fd;
    pthread_mutex_unlock(&w->lock);
    uv_async_send(&w->bell);
}

static void worker_tell(struct worker *w, bool *flag)
{
    pthread_mutex_lock(&w->lock);
    *flag = true;
    pthread_mutex_unlock(&w->lock);
    uv_async_send(&w->bell);
}

void loops_shed(struct loops *loops)
{
    for (unsigned i = 0; i < loops->count; i++)
        worker_tell(&loops->workers[i], &loops->workers[i].shed);
}

void loops_stop(struct loops *loops)
{
    pthread_barrier_t leaving;

    pthread_barrier_init(&leaving, NULL, loops->count);
    for (unsigned i = 0; i < loops->count; i++) {
        loops->workers[i].leaving = &leaving;
        worker_tell(&loops->workers[i], &loops->workers[i].stop);
    }
    for (unsigned i = 0; i < loops->count; i++)
        pthread_join(loops->workers[i].thread, NULL);
    pthread_barrier_destroy(&leaving);
    for (unsigned i = 0; i < loops->count; i++) {
        struct worker *w = &loops->workers[i];
        for (size_t j = 0; j < w->queued; j++)
            close(w->queue[j]);
        free(w->queue);
        uv_loop_close(&w->loop);
        pthread_mutex_destroy(&w->lock);
    }
    free(loops->workers);
    *loops = (struct loops){0};
}
