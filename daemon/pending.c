/* SPDX-License-Identifier: MIT */
/*
 * Requests of one session that wait.
 *
 * What it is: the session's half of waiting. A pool rings it (uv_async, from any loop) when the
 * turn of one of its requests may have come; what is granted then is granted here, on the session's
 * own loop, which alone writes its journal. What it is not: it decides no order; the pool does.
 *
 * Invariants: waits[n % CODEC_INFLIGHT_MAX] is request n's, as in the journal, whose entry says
 * that it waits until it has a result. A request is in its pool's queue, or memory is committed for
 * it (one at a time), or its answer is due, or it is over. The handles are open while any of it is
 * in a queue.
 *
 * Locks: none but the pools', inside pool_try_wait() and its like.
 */
#include "pending.h"

#include <errno.h>
#include <stdlib.h>

#include "clock.h"

struct pending {
    struct session *session;
    struct wait waits[CODEC_INFLIGHT_MAX];
    bool due[CODEC_INFLIGHT_MAX]; /* answered in the journal, not sent */
    unsigned n_due;
    uint64_t committing; /* the request's number; 0: it was given up */
    struct commit commit;
    uv_async_t bell;
    uv_timer_t timer;
};

static void ring(void *ctx)
{
    struct pending *p = ctx;

    uv_async_send(&p->bell);
}

static void set_due(struct pending *p, uint64_t number)
{
    bool *due = &p->due[number % CODEC_INFLIGHT_MAX];

    p->n_due += !*due;
    *due = true;
}

static void tell(struct pending *p)
{
    struct session *s = p->session;

    if (p->n_due && s->connected)
        s->answered(s->ctx);
    else
        pending_disconnected(s);
}

/* Whether the rules still let the session be granted anything there. */
static bool is_allowed(const struct session *s, const struct wait *w)
{
    return s->access[w->pool->index] == ALLOT__ACCESS__ACCESS_WRITE;
}

static void refuse(struct pending *p, struct wait *w, Allot__Error why)
{
    pool_refuse_wait(w->pool, w, why);
    set_due(p, w->number);
}

/* Tries what has its turn in one pool: true where something came of it. */
static bool try_pool(struct pending *p, struct pool *pool)
{
    struct session *s = p->session;
    struct pool_operation o;
    struct wait *w = NULL;
    enum pool_step step = pool_try_wait(pool, s->slot, &o, &w);

    if (step == POOL_WAIT)
        return false;
    if (step == POOL_COMMIT) {
        p->committing = w->number;
        commit_start(&p->commit, s->loop, pool, &o);
        return true;
    }
    s->granted |= !o.error;
    set_due(p, w->number);
    return true;
}

static void try_all(struct pending *p)
{
    struct session *s = p->session;

    session_refresh_access(s);
    for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i++)
        if (p->waits[i].pool && !is_allowed(s, &p->waits[i]))
            refuse(p, &p->waits[i], ALLOT__ERROR__E_DENIED);
    for (unsigned i = 0; i < POOLS_MAX && !p->commit.running; i++)
        while (s->attached[i] && !p->commit.running && try_pool(p, s->all->store->pools[i]))
            ;
    tell(p);
}

static void on_bell(uv_async_t *bell)
{
    struct pending *p = bell->data;

    if (!p->commit.running && !p->session->ended)
        try_all(p);
}

static void on_committed(struct commit *c)
{
    struct pending *p = c->ctx;
    struct session *s = p->session;

    if (c->stop) {
        pool_abandon(c->pool, &c->operation);
        session_idle(s);
        return;
    }
    if (p->committing) {
        pool_finish(c->pool, &c->operation, c->rc);
        s->granted |= !c->operation.error;
        set_due(p, p->committing);
    } else {
        pool_abandon(c->pool, &c->operation);
    }
    try_all(p);
}

static void set_timer(struct pending *p);

static void on_timer(uv_timer_t *timer)
{
    struct pending *p = timer->data;
    uint64_t now = clock_now();

    for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i++)
        if (p->waits[i].pool && p->waits[i].deadline <= now)
            refuse(p, &p->waits[i], ALLOT__ERROR__E_DEADLINE);
    set_timer(p);
    tell(p);
}

static void set_timer(struct pending *p)
{
    uint64_t earliest = UINT64_MAX;

    for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i++)
        if (p->waits[i].pool && p->waits[i].deadline < earliest)
            earliest = p->waits[i].deadline;
    if (earliest == UINT64_MAX) {
        uv_timer_stop(&p->timer);
        return;
    }
    uv_update_time(p->session->loop); /* what the timer counts from */
    uv_timer_start(&p->timer, on_timer, clock_until(earliest), 0);
}

/* NULL without memory. */
static struct pending *pending_of(struct session *s)
{
    struct pending *p = s->pending;

    if (p)
        return p;
    p = calloc(1, sizeof(*p));
    if (!p || uv_async_init(s->loop, &p->bell, on_bell)) {
        free(p);
        return NULL;
    }
    uv_timer_init(s->loop, &p->timer);
    p->session = s;
    p->bell.data = p->timer.data = p->commit.ctx = p;
    p->commit.finished = on_committed;
    s->pending = p;
    return p;
}

struct wait *pending_wait(struct session *s, uint64_t number)
{
    struct pending *p = pending_of(s);
    struct wait *w = p ? &p->waits[number % CODEC_INFLIGHT_MAX] : NULL;

    if (w)
        *w = (struct wait){
            .number = number, .slot = s->slot, .uid = s->peer.uid, .ring = ring, .ctx = p};
    return w;
}

void pending_begin(struct session *s, const struct wait *w)
{
    if (!uv_is_active((uv_handle_t *)&s->pending->timer) ||
        clock_until(w->deadline) < uv_timer_get_due_in(&s->pending->timer))
        set_timer(s->pending);
}

void pending_give_up(struct session *s, uint64_t number)
{
    struct pending *p = s->pending;
    struct wait *w = &p->waits[number % CODEC_INFLIGHT_MAX];

    if (w->pool)
        pool_forget_wait(w->pool, w);
    else if (p->committing == number)
        p->committing = 0;
}

int pending_adopt(struct session *s, bool connected)
{
    const struct store *store = s->all->store;

    for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i++) {
        struct ledger_entry *entry = ledger_entry(&store->ledger, s->slot, i);
        if (!ledger_entry_has_waited(entry))
            continue;
        struct wait *w = pending_wait(s, entry->number);
        if (!w)
            return -ENOMEM;
        struct pool *pool = entry->pool < POOLS_MAX && s->attached[entry->pool]
                                ? store->pools[entry->pool]
                                : NULL; /* it waited in one that is gone */
        if (!entry->result && pool)
            pool_adopt_wait(pool, w, entry);
        else if (!entry->result)
            ledger_entry_refuse(entry, ALLOT__ERROR__E_NO_POOL, 0);
        if (!w->pool && connected)
            set_due(s->pending, entry->number);
    }
    if (s->pending) {
        set_timer(s->pending);
        ring(s->pending);
    }
    return 0;
}

bool pending_answer(struct session *s, uint64_t *ret_number, const struct ledger_entry **ret_entry)
{
    struct pending *p = s->pending;
    const struct ledger_entry *found = NULL;

    for (unsigned i = 0; p && p->n_due && i < CODEC_INFLIGHT_MAX; i++) {
        const struct ledger_entry *entry = ledger_entry(&s->all->store->ledger, s->slot, i);
        if (p->due[i] && (!found || entry->number < found->number))
            found = entry;
    }
    if (!found)
        return false;
    p->due[found->number % CODEC_INFLIGHT_MAX] = false;
    p->n_due--;
    *ret_number = found->number;
    *ret_entry = found;
    return true;
}

void pending_disconnected(struct session *s)
{
    struct pending *p = s->pending;

    for (unsigned i = 0; p && p->n_due && i < CODEC_INFLIGHT_MAX; i++) {
        p->n_due -= p->due[i];
        p->due[i] = false;
    }
}

void pending_leave(struct session *s)
{
    struct pending *p = s->pending;

    if (!p)
        return;
    p->commit.stop = true;
    uv_timer_stop(&p->timer);
    for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i++)
        if (p->waits[i].pool)
            pool_forget_wait(p->waits[i].pool, &p->waits[i]);
}

bool pending_is_busy(const struct session *s)
{
    return s->pending && s->pending->commit.running;
}

unsigned pending_close(struct session *s, uv_close_cb closed)
{
    if (!s->pending)
        return 0;
    s->pending->bell.data = s->pending->timer.data = s;
    uv_close((uv_handle_t *)&s->pending->bell, closed);
    uv_close((uv_handle_t *)&s->pending->timer, closed);
    return 2;
}

void pending_free(struct session *s)
{
    free(s->pending);
}
