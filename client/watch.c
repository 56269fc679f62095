/* SPDX-License-Identifier: MIT */
/*
 * Watching names.
 *
 * What it is: the queue between whoever receives (a thread in some call, or allot_process()) and
 * the callbacks, which allot_process() calls. What it is not: it keeps no names.
 *
 * A queue that is full takes no more of a watch until its state begins again: the watch is lost,
 * and allot_process() asks for its state once the queue is empty. A watch's ID is known only when
 * the daemon has answered, and its first events may be queued by then: while that is so
 * (`starting`), nothing is taken from the queue.
 *
 * Invariants: calls.lock guards all of it; callbacks run without it.
 *
 * Limits: QUEUE_MAX events of 104 bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

#define QUEUE_MAX 1024u

struct queued {
    uint64_t watch;
    uint64_t sequence;
    uint64_t place; /* the wire's */
    uint64_t generation;
    enum allot_event_kind kind;
    char name[ALLOT_NAME_MAX + 1];
};

struct watch {
    uint64_t id; /* 0: none */
    void (*told)(void *ctx, const struct allot_event *event);
    void *ctx;
    struct allot_pool *pool;
    bool lost; /* its events are left out until its state begins */
};

struct watches {
    struct watch all[ALLOT_WATCHES_MAX];
    unsigned starting;
    bool lost_start; /* an event of one that starts was left out */
    unsigned first;
    unsigned count;
    struct queued queue[QUEUE_MAX];
};

/* ---- the queue ---- */

static struct watch *find_locked(struct watches *w, uint64_t id)
{
    for (unsigned i = 0; i < ALLOT_WATCHES_MAX; i++)
        if (w->all[i].id == id)
            return &w->all[i];
    return NULL;
}

/* False where the event is not to be queued. A watch that is not entered yet is one that starts. */
static bool keeps_up(struct watches *w, const Allot__Event *in)
{
    struct watch *watch = find_locked(w, in->watch);
    bool *lost = watch ? &watch->lost : &w->lost_start;

    if (in->watch == 0) /* no watch's; here, a free place's */
        return false;
    if (w->count == QUEUE_MAX)
        *lost = true;
    else if (in->kind == ALLOT__EVENT_KIND__EVENT_STATE && watch)
        *lost = false;
    return !*lost;
}

static void queue_event(struct watches *w, const Allot__Event *in)
{
    if (!keeps_up(w, in))
        return;
    struct queued *q = &w->queue[(w->first + w->count++) % QUEUE_MAX];
    *q = (struct queued){.watch = in->watch,
                         .sequence = in->sequence,
                         .place = in->place,
                         .generation = in->generation,
                         .kind = (enum allot_event_kind)in->kind};
    snprintf(q->name, sizeof(q->name), "%s", in->name);
}

static void on_events(void *ctx, const Allot__Reply *reply)
{
    struct allot *a = ctx;

    for (size_t i = 0; i < reply->n_events; i++)
        queue_event(a->watches, reply->events[i]);
    calls_ring_locked(&a->calls, 1);
}

/* The next event of a watch that there still is. */
static bool take_locked(struct watches *w, struct queued *ret, struct watch *ret_watch)
{
    while (w->count && !w->starting) {
        *ret = w->queue[w->first];
        w->first = (w->first + 1) % QUEUE_MAX;
        w->count--;
        const struct watch *watch = find_locked(w, ret->watch);
        if (watch) {
            *ret_watch = *watch;
            return true;
        }
    }
    return false;
}

/* ---- calls ---- */

static int ask(struct allot *a, Allot__Op op, const struct allot_pool *p, const char *prefix,
               uint64_t id, uint64_t *ret_id)
{
    Allot__Request request = ALLOT__REQUEST__INIT;

    request.op = op;
    request.pool = p ? p->number : 0;
    request.name = (char *)(uintptr_t)(prefix ? prefix : "");
    request.positions = &id;
    request.n_positions = id != 0;
    return session_call_one(a, &request, ret_id);
}

static int make_watches(struct allot *a)
{
    pthread_mutex_lock(&a->calls.lock);
    if (!a->watches && (a->watches = calloc(1, sizeof(*a->watches)))) {
        a->calls.on_events = on_events;
        a->calls.ctx = a;
    }
    if (a->watches)
        a->watches->starting++;
    pthread_mutex_unlock(&a->calls.lock);
    return a->watches ? 0 : ALLOT_E_SYSTEM;
}

int allot_watch(struct allot_pool *p, const char *prefix,
                void (*told)(void *ctx, const struct allot_event *event), void *ctx,
                uint64_t *ret_watch)
{
    struct allot *a = p->session;
    struct watch *free_one = NULL;
    uint64_t id;

    if (!fork_here(p->generation))
        return ALLOT_E_FORKED;
    if (prefix && strnlen(prefix, ALLOT_NAME_MAX + 1) > ALLOT_NAME_MAX)
        return ALLOT_E_INVALID;
    int r = make_watches(a);
    if (r < 0)
        return r;
    r = ask(a, ALLOT__OP__OP_WATCH, p, prefix, 0, &id);
    pthread_mutex_lock(&a->calls.lock);
    a->watches->starting--;
    if (r == 0 && (free_one = find_locked(a->watches, 0)))
        *free_one = (struct watch){
            .id = id, .told = told, .ctx = ctx, .pool = p, .lost = a->watches->lost_start};
    if (!a->watches->starting)
        a->watches->lost_start = false;
    calls_ring_locked(&a->calls, 1);
    pthread_mutex_unlock(&a->calls.lock);
    if (r < 0)
        return r;
    if (!free_one) { /* the daemon has forgotten one that we have not */
        (void)ask(a, ALLOT__OP__OP_UNWATCH, NULL, NULL, id, NULL);
        return ALLOT_E_LIMIT;
    }
    *ret_watch = id;
    return 0;
}

int allot_unwatch(struct allot *a, uint64_t id)
{
    struct watch *watch = NULL;

    if (!fork_here(a->generation))
        return ALLOT_E_FORKED;
    pthread_mutex_lock(&a->calls.lock);
    if (a->watches && id && (watch = find_locked(a->watches, id)))
        watch->id = 0;
    pthread_mutex_unlock(&a->calls.lock);
    return watch ? ask(a, ALLOT__OP__OP_UNWATCH, NULL, NULL, id, NULL) : ALLOT_E_INVALID;
}

static uint64_t find_of_pool(struct allot *a, const struct allot_pool *p)
{
    uint64_t id = 0;

    pthread_mutex_lock(&a->calls.lock);
    for (unsigned i = 0; a->watches && i < ALLOT_WATCHES_MAX && !id; i++)
        if (a->watches->all[i].pool == p)
            id = a->watches->all[i].id;
    pthread_mutex_unlock(&a->calls.lock);
    return id;
}

void watch_detach(struct allot_pool *p)
{
    uint64_t id;

    while (fork_here(p->generation) && (id = find_of_pool(p->session, p)))
        (void)allot_unwatch(p->session, id);
}

void watch_deinit(struct allot *a)
{
    a->calls.on_events = NULL;
    free(a->watches);
    a->watches = NULL;
}

int allot_fd(struct allot *a, int *ret_fd)
{
    int r = session_error(a);

    return r < 0 ? r : calls_poll(&a->calls, ret_fd);
}

/* A watch of which something was left out, once all before that is told. */
static uint64_t find_lost(struct allot *a)
{
    uint64_t id = 0;

    pthread_mutex_lock(&a->calls.lock);
    const struct watches *w = a->watches;
    for (unsigned i = 0; w && !w->count && i < ALLOT_WATCHES_MAX && !id; i++)
        if (w->all[i].lost)
            id = w->all[i].id;
    pthread_mutex_unlock(&a->calls.lock);
    return id;
}

static bool tell_one(struct allot *a)
{
    struct queued q;
    struct watch watch;

    pthread_mutex_lock(&a->calls.lock);
    bool there = a->watches && take_locked(a->watches, &q, &watch);
    pthread_mutex_unlock(&a->calls.lock);
    if (!there)
        return false;
    struct allot_event event = {
        .watch = q.watch, .sequence = q.sequence, .kind = q.kind, .name = q.name};
    if (q.place)
        event.ticket = (struct allot_ticket){.place = pool_place_global(watch.pool, q.place),
                                             .generation = q.generation};
    watch.told(watch.ctx, &event);
    return true;
}

int allot_process(struct allot *a)
{
    if (!fork_here(a->generation))
        return ALLOT_E_FORKED;
    int r = calls_receive(&a->calls);
    while (tell_one(a))
        ;
    uint64_t lost = r == 0 ? find_lost(a) : 0;
    return lost ? ask(a, ALLOT__OP__OP_WATCH, NULL, NULL, lost, NULL) : r;
}
