/* SPDX-License-Identifier: MIT */
/*
 * Watching names.
 *
 * What it is: the queue between whoever receives (a thread in some call, or allot_process()) and
 * the callbacks, which allot_process() calls. What it is not: it keeps no names.
 *
 * A queue that is full takes no more of a watch until its state begins again: the watch is lost,
 * and allot_process() asks for its state once there is room for it. A watch's ID is known only when
 * the daemon has answered, and its first events may be queued by then: while that is so
 * (`starting`), nothing is taken from the queue.
 *
 * A watch that is given up (unwatched, of a pool that is detached, or begun by a request whose
 * answer did not come) keeps its place until the daemon has said that it is ended; that is asked
 * for when the next one begins, where it cannot be done at once.
 *
 * Invariants: calls.lock guards all of it; callbacks run without it.
 *
 * Limits: QUEUE_MAX events: more than the state of a pool with as many names as may be, 16384. A
 * callback that calls the session takes in what is before its answer, so a queue that cannot hold
 * the state might be full again each time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

#define QUEUE_MAX 32768u
#define QUEUE_LOW (QUEUE_MAX / 4) /* there is room for a state */

struct queued {
    struct queued *next;
    struct allot_event event; /* the ticket's place is the wire's, the name the one below */
    char name[];
};

struct watch {
    uint64_t id;                                              /* 0: none */
    void (*told)(void *ctx, const struct allot_event *event); /* NULL: given up */
    void *ctx;
    struct allot_pool *pool;
    bool lost;  /* its events are left out until its state begins, */
    bool asked; /* which the daemon is asked for */
};

struct watches {
    struct watch all[ALLOT_WATCHES_MAX];
    unsigned starting;
    bool lost_start; /* an event of one that starts was left out */
    unsigned count;
    struct queued *first, **end;
};

/* ---- the queue ---- */

static struct watch *find_locked(struct watches *w, uint64_t id)
{
    for (unsigned i = 0; i < ALLOT_WATCHES_MAX; i++)
        if (w->all[i].id == id)
            return &w->all[i];
    return NULL;
}

static void queue_event(struct watches *w, const Allot__Event *in)
{
    struct watch *watch = find_locked(w, in->watch);
    bool *lost = watch ? &watch->lost : &w->lost_start; /* not entered yet: one that starts */
    size_t size = strnlen(in->name, ALLOT_NAME_MAX) + 1;

    if (in->watch == 0 || (watch && !watch->told)) /* no watch's; here, a free place's */
        return;
    if (in->kind == ALLOT__EVENT_KIND__EVENT_STATE && watch)
        *lost = false;
    if (*lost)
        return;
    struct queued *q = w->count < QUEUE_MAX ? malloc(sizeof(*q) + size) : NULL;
    if (!q) {
        *lost = true;
        if (watch)
            watch->asked = false;
        return;
    }
    q->next = NULL;
    q->event = (struct allot_event){
        .watch = in->watch,
        .sequence = in->sequence,
        .kind = (enum allot_event_kind)in->kind,
        .name = q->name,
        .ticket = {.place = in->place, .generation = in->generation},
    };
    snprintf(q->name, size, "%s", in->name);
    __atomic_store_n(w->end, q, __ATOMIC_RELEASE); /* in this order, for a child */
    w->end = &q->next;
    w->count++;
}

static void on_events(void *ctx, const Allot__Reply *reply)
{
    struct allot *a = ctx;

    for (size_t i = 0; i < reply->n_events; i++)
        queue_event(a->watches, reply->events[i]);
    calls_ring_locked(&a->calls, 1);
}

/* The next event of a watch that there still is, the caller's to free; NULL: none. */
static struct queued *take_locked(struct watches *w, struct watch *ret_watch)
{
    struct queued *q;

    while (!w->starting && (q = w->first)) {
        w->first = q->next;
        if (!w->first)
            w->end = &w->first;
        w->count--;
        const struct watch *watch = find_locked(w, q->event.watch);
        if (watch && watch->told) {
            *ret_watch = *watch;
            return q;
        }
        free(q);
    }
    return NULL;
}

/* ---- calls ---- */

/* *ret_id is a new watch's ID, also where nobody knows whether there is one; 0 where it is not. */
static int ask(struct allot *a, Allot__Op op, const struct allot_pool *p, const char *prefix,
               uint64_t id, uint64_t *ret_id)
{
    Allot__Request request = ALLOT__REQUEST__INIT;

    request.op = op;
    request.pool = p ? p->number : 0;
    request.name = (char *)(uintptr_t)(prefix ? prefix : "");
    request.positions = &id;
    request.n_positions = id != 0;
    int r = session_call_one(a, &request, NULL);
    if (ret_id)
        *ret_id = request.number;
    return r;
}

static void give_up_locked(struct watch *watch)
{
    *watch = (struct watch){.id = watch->id};
}

/* Ends in the daemon what was given up; 0 where nothing of that is left. */
static int end_given_up(struct allot *a)
{
    struct watch *watch;

    for (;;) {
        uint64_t id = 0;
        pthread_mutex_lock(&a->calls.lock);
        struct watches *w = a->watches;
        for (unsigned i = 0; w && i < ALLOT_WATCHES_MAX && !id; i++)
            if (!w->all[i].told)
                id = w->all[i].id;
        pthread_mutex_unlock(&a->calls.lock);
        if (!id)
            return 0;
        int r = ask(a, ALLOT__OP__OP_UNWATCH, NULL, NULL, id, NULL);
        if (r < 0 && r != ALLOT_E_INVALID) /* where there is none */
            return r;
        pthread_mutex_lock(&a->calls.lock);
        if ((watch = find_locked(w, id)))
            *watch = (struct watch){0};
        pthread_mutex_unlock(&a->calls.lock);
    }
}

static int make_watches(struct allot *a)
{
    pthread_mutex_lock(&a->calls.lock);
    if (!a->watches && (a->watches = calloc(1, sizeof(*a->watches)))) {
        a->watches->end = &a->watches->first;
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
    if (name_is_too_long(prefix))
        return ALLOT_E_INVALID;
    int r = end_given_up(a);
    if (r == 0)
        r = make_watches(a);
    if (r < 0)
        return r;
    r = ask(a, ALLOT__OP__OP_WATCH, p, prefix, 0, &id);
    pthread_mutex_lock(&a->calls.lock);
    a->watches->starting--;
    if ((r == 0 || call_is_unknown(r)) && (free_one = find_locked(a->watches, 0)))
        *free_one = (struct watch){
            .id = id, .told = told, .ctx = ctx, .pool = p, .lost = a->watches->lost_start};
    if (free_one && r < 0)
        give_up_locked(free_one);
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
    if (a->watches && id)
        watch = find_locked(a->watches, id);
    bool there = watch && watch->told;
    if (there)
        give_up_locked(watch);
    pthread_mutex_unlock(&a->calls.lock);
    return there ? end_given_up(a) : ALLOT_E_INVALID;
}

void watch_detach(struct allot_pool *p)
{
    struct allot *a = p->session;

    if (!fork_here(p->generation))
        return;
    pthread_mutex_lock(&a->calls.lock);
    for (unsigned i = 0; a->watches && i < ALLOT_WATCHES_MAX; i++)
        if (a->watches->all[i].pool == p)
            give_up_locked(&a->watches->all[i]);
    pthread_mutex_unlock(&a->calls.lock);
    (void)end_given_up(a);
}

void watch_deinit(struct allot *a)
{
    struct watches *w = a->watches;

    a->calls.on_events = NULL;
    a->watches = NULL;
    for (struct queued *q = w ? w->first : NULL, *next; q; q = next) {
        next = q->next;
        free(q);
    }
    free(w);
}

int allot_fd(struct allot *a, int *ret_fd)
{
    int r = session_error(a);

    return r < 0 ? r : calls_poll(&a->calls, ret_fd);
}

static unsigned count_events(struct allot *a)
{
    pthread_mutex_lock(&a->calls.lock);
    unsigned n = a->watches ? a->watches->count : 0;
    pthread_mutex_unlock(&a->calls.lock);
    return n;
}

static bool tell_one(struct allot *a)
{
    struct watch watch;

    pthread_mutex_lock(&a->calls.lock);
    struct queued *q = a->watches ? take_locked(a->watches, &watch) : NULL;
    pthread_mutex_unlock(&a->calls.lock);
    if (!q)
        return false;
    if (q->event.ticket.place)
        q->event.ticket.place = pool_place_global(watch.pool, q->event.ticket.place);
    watch.told(watch.ctx, &q->event);
    free(q);
    return true;
}

/* Asks for the state of a watch of which something was left out, where there is room for it. False
 * where there is none, or no answer. */
static bool catch_up(struct allot *a)
{
    struct watch *watch;
    uint64_t id = 0;

    pthread_mutex_lock(&a->calls.lock);
    struct watches *w = a->watches;
    for (unsigned i = 0; w && w->count < QUEUE_LOW && i < ALLOT_WATCHES_MAX && !id; i++) {
        if (w->all[i].lost && !w->all[i].asked) {
            w->all[i].asked = true;
            id = w->all[i].id;
        }
    }
    pthread_mutex_unlock(&a->calls.lock);
    if (!id)
        return false;
    int r = ask(a, ALLOT__OP__OP_WATCH, NULL, NULL, id, NULL);
    if (r == ALLOT_E_TIMEOUT) { /* it may not have been sent */
        pthread_mutex_lock(&a->calls.lock);
        if ((watch = find_locked(w, id)))
            watch->asked = false;
        pthread_mutex_unlock(&a->calls.lock);
    }
    return r == 0;
}

int allot_process(struct allot *a)
{
    if (!fork_here(a->generation))
        return ALLOT_E_FORKED;
    int r = calls_receive(&a->calls);
    for (unsigned n = count_events(a); n > 0 && tell_one(a); n--)
        ; /* for what comes meanwhile, on_events() rings again */
    while (r == 0 && catch_up(a))
        ;
    return session_error(a);
}
