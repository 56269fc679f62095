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
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

struct worker {
    uv_loop_t loop;
    uv_async_t bell;
    pthread_t thread;
    bool running;
    struct connections connections;
    struct sessions *sessions;
    pthread_mutex_t lock;
    int *queue; /* accepted sockets */
    size_t queued;
    size_t capacity;
    bool shed;
    bool stop;
};

static void worker_close(struct worker *w)
{
    connections_close(&w->connections);
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

int loops_init(struct loops *loops, unsigned count, struct sessions *sessions,
               void (*on_closed)(void *ctx), void *ctx)
{
    *loops = (struct loops){.workers = calloc(count, sizeof(struct worker)), .count = count};
    if (!loops->workers)
        return -ENOMEM;
    sessions->on_closed = on_closed;
    sessions->ctx = ctx;
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
        connections_init(&w->connections, &w->loop, sessions, on_closed, ctx);
    }
    return 0;
}

int loops_adopt_sessions(struct loops *loops, struct sessions *sessions)
{
    unsigned next = 0;

    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        if (!sessions->store->ledger.sessions[i].id)
            continue;
        int rc = session_adopt(sessions, &loops->workers[next++ % loops->count].loop, i);
        if (rc)
            return rc;
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
        w->running = rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

void loops_deal(struct loops *loops, int fd)
{
    struct worker *w = &loops->workers[loops->next++ % loops->count];

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
    for (unsigned i = 0; i < loops->count; i++) {
        struct worker *w = &loops->workers[i];
        if (!w->running)
            continue;
        worker_tell(w, &w->stop);
        pthread_join(w->thread, NULL);
    }
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
