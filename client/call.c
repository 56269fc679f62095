/* SPDX-License-Identifier: MIT */
/*
 * Calls.
 *
 * What it is: the way of a request from a thread to the daemon and of its answers back, for any
 * number of threads on one connection. What it is not: it knows nothing of what operations mean.
 *
 * Leader and followers. Of the threads that wait for answers, one (the leader) receives, without
 * the lock, and hands out what came by its numbers; the others sleep, each on a condition of its
 * own. A leader that has its own answers wakes another thread to lead. So a single thread pays one
 * send and one receive a call and nothing else, and no thread of the library's own is needed.
 *
 * Numbers are given out and sent under one hold of the lock, so they reach the socket in order. A
 * number is used up only by a send that worked. At most `window` of them are unanswered, counted
 * from the oldest, as the daemon's journal counts. A thread that finds the window or the socket
 * full queues; only the queue's head sends, so that a batch is not starved by single calls; it
 * leads while nobody else does, since answers are what makes room.
 *
 * A thread that gives up at its deadline leaves its numbers pending with nobody waiting: late
 * answers are dropped, and what is answered twice was answered by the first.
 *
 * Descriptors. Room for one costs each receive about 0.3 us, and only an attach is answered with
 * one. So replies are received without room (the kernel drops a descriptor that comes all the same)
 * except while a call that wants one is in progress. A thread that began to receive without room
 * before that call must not get its answer: the call sends a ping first, whose answer ends that
 * receive, if no other answer did, and all that begin from then on have room.
 *
 * Loss. When the connection ends, whoever leads makes another and takes the session up again by its
 * ID and secret; then all that waits for answers is sent again, in order. The daemon's journal
 * knows what was carried out already. That goes on until the leader's deadline, then another thread
 * leads. Where the daemon does not know the session (what it kept is lost), the session is over.
 *
 * Refusals. A request refused as a whole has taken no number. If it is the last one sent, its
 * number is given out again. If others are behind it, each of them is refused too, as out of order,
 * and what was asked can no longer be told: the session is broken, and all calls end with SEQUENCE.
 * This library sends nothing that the daemon refuses as a whole, except to a daemon that lacks an
 * operation.
 *
 * Events come between the answers, to whoever receives, and are handed on as they come.
 *
 * Invariants: oldest <= next <= oldest + window; pending[n] only for numbers in [oldest, next), and
 * for one of the call's at oldest, unless that is next; waiter[n] is a call in call_run(), on its
 * thread's stack, and leaves the table under the lock before that returns.
 *
 * Locks: `lock` alone; held while sending (which never waits), not while receiving or sleeping.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "allot.h"
#include "call.h"

#define PENDING 1

/* How long the queue's head waits for a full socket while another thread leads, before it looks
 * whether that has ended: nobody could wake it there. */
#define RECHECK_MS 50

/* How long calls_receive() waits for a daemon. */
#define RECONNECT_MS 50

_Static_assert((CODEC_INFLIGHT_MAX & (CODEC_INFLIGHT_MAX - 1)) == 0, "slots are found by a mask");
_Static_assert(CODEC_BATCH_MAX == ALLOT_BATCH_MAX, "allot.h and codec.h disagree");

static unsigned slot(uint64_t number)
{
    return (unsigned)(number % CODEC_INFLIGHT_MAX);
}

int calls_open(struct calls *s, const char *path, int timeout_ms)
{
    uint64_t deadline = deadline_in(timeout_ms);

    if (strlen(path) >= sizeof(s->path))
        return ALLOT_E_PATH;
    strcpy(s->path, path);
    pthread_mutex_init(&s->lock, NULL);
    s->connection.fd = -1;
    s->timeout_ms = timeout_ms;
    s->next = s->oldest = 1;
    s->window = CODEC_INFLIGHT_MAX;
    s->batch_max = CODEC_BATCH_MAX;
    s->queue_end = &s->queue;
    s->poll_fd = s->timer_fd = -1;
    int r = calls_connect(s, deadline);
    if (r < 0)
        pthread_mutex_destroy(&s->lock);
    return r;
}

void calls_deinit(struct calls *s)
{
    if (!s->lost)
        connection_close(&s->connection);
    calls_close_poll(s);
    pthread_mutex_destroy(&s->lock);
}

void calls_deinit_inherited(struct calls *s)
{
    connection_close_inherited(&s->connection);
    /* The epoll and its timer cannot be told from what the child may have at their numbers. */
}

void calls_closing(struct calls *s)
{
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_mutex_unlock(&s->lock);
}

void calls_set_timeout(struct calls *s, int timeout_ms)
{
    pthread_mutex_lock(&s->lock);
    s->timeout_ms = timeout_ms;
    pthread_mutex_unlock(&s->lock);
}

struct call_totals calls_totals(struct calls *s)
{
    pthread_mutex_lock(&s->lock);
    struct call_totals totals = s->totals;
    pthread_mutex_unlock(&s->lock);
    return totals;
}

/* A reply whose columns do not fit its count, or with codes that no Error can be. */
static bool reply_is_sound(const Allot__Reply *reply)
{
    if (reply->count > CODEC_INFLIGHT_MAX || (int)reply->refused < 0)
        return false;
    if ((reply->n_errors && reply->n_errors != reply->count) ||
        (reply->n_values && reply->n_values != reply->count) ||
        (reply->n_generations && reply->n_generations != reply->count) ||
        (reply->n_sizes && reply->n_sizes != reply->count))
        return false;
    for (size_t i = 0; i < reply->n_errors; i++) {
        if ((int)reply->errors[i] < 0)
            return false;
    }
    return true;
}

int calls_receive_reply(struct calls *s, uint64_t deadline, Allot__Reply **ret, size_t *ret_size,
                        int *ret_fd)
{
    int r = connection_receive(&s->connection, deadline, s->in, ret_size, ret_fd);

    if (r == 0)
        r = codec_decode_reply(&s->arena, s->in, *ret_size, ret);
    return r == 0 && !reply_is_sound(*ret) ? ALLOT_E_MALFORMED : r;
}

static void wake(struct call *call)
{
    if (call->sleeping)
        pthread_cond_signal(&call->wake);
}

/* Sleeps until woken for any reason, or TIMEOUT. */
static int sleep_locked(struct calls *s, struct call *call, uint64_t deadline)
{
    deadline_cond_init(&call->wake);
    call->sleeping = true;
    int r = deadline_wait(&call->wake, &s->lock, deadline);
    call->sleeping = false;
    pthread_cond_destroy(&call->wake);
    return r;
}

static void complete_locked(struct call *call, int result)
{
    call->result = result;
    wake(call);
}

static void break_locked(struct calls *s, int code)
{
    if (!s->broken) {
        s->broken_errno = errno;
        s->broken = code;
    }
    for (uint64_t n = s->oldest; n < s->next; n++) {
        struct call *call = s->waiter[slot(n)];
        if (s->pending[slot(n)] && call && call->result == PENDING)
            complete_locked(call, s->broken);
        s->pending[slot(n)] = false;
    }
    s->oldest = s->next;
    calls_ring_locked(s, 1);
}

static bool is_pending_locked(const struct calls *s, uint64_t number)
{
    return number >= s->oldest && number < s->next && s->pending[slot(number)];
}

static void refused_locked(struct calls *s, const Allot__Reply *reply)
{
    int code = -(int)reply->refused;
    uint64_t number = reply->number;

    if (number == 0)
        number = s->oldest; /* unreadable there, so it can only be the first of those unanswered */
    if (!is_pending_locked(s, number))
        return;
    struct call *call = s->waiter[slot(number)];
    if (call && reply->attempt && reply->attempt != call->attempt)
        return; /* of a request before it, which a daemon refused twice */
    if (!call || call->number != number || call->answered || number + call->count != s->next) {
        if (call && call->number == number)
            complete_locked(call, code);
        break_locked(s, ALLOT_E_SEQUENCE);
        return;
    }
    for (uint64_t n = number; n < s->next; n++)
        s->pending[slot(n)] = false;
    s->next = number;
    complete_locked(call, code);
}

static void answered_locked(struct calls *s, const Allot__Reply *reply, size_t frame_size, int *fd)
{
    for (unsigned i = 0; i < reply->count; i++) {
        uint64_t number = reply->number + i;
        if (!is_pending_locked(s, number))
            continue;
        s->pending[slot(number)] = false;
        struct call *call = s->waiter[slot(number)];
        if (!call)
            continue;
        size_t item = (size_t)(number - call->number);
        call->codes[item] = reply->n_errors ? -(int)reply->errors[i] : 0;
        call->values[item] = reply->n_values ? reply->values[i] : 0;
        if (call->generations)
            call->generations[item] = reply->n_generations ? reply->generations[i] : 0;
        if (call->sizes)
            call->sizes[item] = reply->n_sizes ? reply->sizes[i] : 0;
        if (call->frame) {
            memcpy(call->frame, s->in, frame_size);
            call->frame_size = frame_size;
        }
        if (call->wants_fd && *fd != -1) {
            call->fd = *fd;
            *fd = -1;
        }
        if (++call->answered == call->count)
            complete_locked(call, 0);
    }
    while (s->oldest < s->next && !s->pending[slot(s->oldest)])
        s->oldest++;
    if (s->oldest < s->next && s->waiter[slot(s->oldest)])
        s->oldest = s->waiter[slot(s->oldest)]->number; /* it is sent again from there */
}

/* Sends the requests of all calls that wait, in the order of their numbers. A number that nobody
 * waits for any more is used up by a ping, unless the daemon has carried out what it stood for. */
static int send_again_locked(struct calls *s)
{
    Allot__Request ping = ALLOT__REQUEST__INIT;
    size_t size = 0;
    uint64_t n = s->oldest;

    ping.op = ALLOT__OP__OP_PING;
    while (n < s->next) {
        struct call *call = s->waiter[slot(n)];
        bool waits = s->pending[slot(n)] && call && call->result == PENDING;
        Allot__Request *request = waits ? call->request : &ping;
        if (!s->pending[slot(n)]) {
            n++;
            continue;
        }
        request->number = waits ? call->number : n;
        request->attempt = ++s->attempts;
        if (waits)
            call->attempt = request->attempt;
        int r = codec_add_request(request, s->out, &size);
        if (r == ALLOT_E_FRAME_SIZE && size > 0) {
            r = connection_send(&s->connection, s->out, size);
            s->totals.bytes_sent += size;
            size = 0;
            if (r == 0)
                continue;
        }
        if (r != 0)
            return r < 0 ? r : ALLOT_E_DISCONNECTED;
        s->totals.calls++;
        n = request->number + (waits ? call->count : 1);
    }
    if (size == 0)
        return 0;
    s->totals.bytes_sent += size;
    int r = connection_send(&s->connection, s->out, size);
    return r > 0 ? ALLOT_E_DISCONNECTED : r;
}

/* Closes what is no use any more; whoever leads next makes another. */
static void lose_locked(struct calls *s)
{
    calls_unpoll_connection_locked(s);
    connection_close(&s->connection);
    s->lost = true;
    calls_ring_locked(s, RETRY_MIN_NS);
    if (s->closing)
        break_locked(s, ALLOT_E_DISCONNECTED);
}

/* The leader's step while the connection is lost: another one, or DISCONNECTED when the deadline
 * has passed. Where the daemon does not know the session, nobody ever will again. */
static int reconnect_locked(struct calls *s, uint64_t deadline)
{
    struct call_totals totals = {0};

    s->led = true;
    pthread_mutex_unlock(&s->lock);
    int r = calls_reconnect(s, deadline, &totals);
    pthread_mutex_lock(&s->lock);
    s->led = false;
    s->totals.bytes_sent += totals.bytes_sent;
    s->totals.bytes_received += totals.bytes_received;
    s->totals.calls += totals.calls;
    if (r == ALLOT_E_DISCONNECTED) {
        calls_ring_locked(s, RETRY_MAX_NS); /* nobody may be left to lead */
        return r;
    }
    s->lost = false;
    if (r == 0)
        r = calls_poll_connection_locked(s);
    if (r == 0)
        r = send_again_locked(s);
    if (r == ALLOT_E_DISCONNECTED)
        lose_locked(s);
    else if (r < 0)
        break_locked(s, r == ALLOT_E_SESSION ? ALLOT_E_POOL_GONE : r);
    if (s->queue)
        wake(s->queue);
    return 0;
}

/* The leader's step: one frame, another connection, TIMEOUT or DISCONNECTED. Whatever else fails
 * has broken the session. */
static int lead_locked(struct calls *s, uint64_t deadline)
{
    bool takes_fd = s->fds_wanted > 0;
    Allot__Reply *reply;
    size_t size = 0;
    int fd = -1;

    if (s->lost)
        return reconnect_locked(s, deadline);
    s->led = true;
    s->takes_fd = takes_fd;
    connection_fit_slice(&s->connection, s->timeout_ms);
    pthread_mutex_unlock(&s->lock);
    int r = calls_receive_reply(s, deadline, &reply, &size, takes_fd ? &fd : NULL);
    pthread_mutex_lock(&s->lock);
    s->led = false;
    s->totals.bytes_received += size;
    if (r == ALLOT_E_TIMEOUT)
        return r;
    if (r == ALLOT_E_DISCONNECTED)
        lose_locked(s);
    else if (r < 0)
        break_locked(s, r);
    else if (reply->n_events && s->on_events)
        s->on_events(s->ctx, reply);
    else if (reply->refused)
        refused_locked(s, reply);
    else
        answered_locked(s, reply, size, &fd);
    if (fd >= 0)
        close(fd);
    if (s->queue)
        wake(s->queue); /* who wakes the next when it leaves */
    return 0;
}

/* For a thread that is done: somebody who still waits must receive. */
static void hand_over_locked(struct calls *s)
{
    if (s->led)
        return;
    for (uint64_t n = s->oldest; n < s->next; n++) {
        struct call *call = s->waiter[slot(n)];
        if (s->pending[slot(n)] && call && call->result == PENDING) {
            wake(call);
            return;
        }
    }
    if (s->queue)
        wake(s->queue);
}

int calls_receive(struct calls *s)
{
    uint64_t expirations;

    pthread_mutex_lock(&s->lock);
    if (s->timer_fd >= 0)
        (void)!read(s->timer_fd, &expirations, sizeof(expirations));
    while (!s->led && !s->broken) {
        if (s->lost) {
            if (reconnect_locked(s, deadline_in(RECONNECT_MS)) < 0)
                break;
            continue;
        }
        struct pollfd p = {.fd = s->connection.fd, .events = POLLIN};
        if (poll(&p, 1, 0) <= 0)
            break;
        (void)lead_locked(s, DEADLINE_NEVER); /* which does not wait */
    }
    hand_over_locked(s);
    int r = s->broken;
    errno = r ? s->broken_errno : errno;
    pthread_mutex_unlock(&s->lock);
    return r;
}

/* 0: sent and entered in the table. CONNECTION_FULL: *ret_events is what to poll for, 0 where
 * answers must come first. */
static int send_locked(struct calls *s, Allot__Request *request, struct call *call,
                       short *ret_events)
{
    size_t size = 0;

    if (s->broken)
        return s->broken;
    *ret_events = 0;
    if (s->lost || s->next - s->oldest + call->count > s->window)
        return CONNECTION_FULL;
    request->number = s->next;
    request->attempt = s->attempts + 1;
    int r = codec_add_request(request, s->out, &size);
    if (r < 0)
        return r;
    r = connection_send(&s->connection, s->out, size);
    if (r == ALLOT_E_DISCONNECTED && !s->led) {
        lose_locked(s);
        return s->broken ? s->broken : CONNECTION_FULL;
    }
    if (r == ALLOT_E_DISCONNECTED)
        return CONNECTION_FULL; /* the leader will see it, too */
    if (r != 0) {
        *ret_events = POLLOUT;
        return r;
    }
    call->request = request;
    call->attempt = ++s->attempts;
    s->totals.bytes_sent += size;
    s->totals.calls++;
    call->number = s->next;
    call->answered = 0;
    call->result = PENDING;
    for (unsigned i = 0; i < call->count; i++) {
        s->pending[slot(s->next)] = true;
        s->waiter[slot(s->next)] = call;
        s->next++;
    }
    return 0;
}

/* The queue's head makes room, or waits until there is some. */
static int make_room_locked(struct calls *s, struct call *call, short events, uint64_t deadline)
{
    if (events == 0)
        return s->led ? sleep_locked(s, call, deadline) : lead_locked(s, deadline);

    bool leads = !s->led;
    uint64_t until = leads ? deadline : deadline_in(RECHECK_MS);
    struct connection connection = s->connection; /* the leader may make another meanwhile */
    s->led = true;
    pthread_mutex_unlock(&s->lock);
    int ready = connection_wait(&connection, leads ? (short)(events | POLLIN) : events,
                                until < deadline ? until : deadline);
    pthread_mutex_lock(&s->lock);
    if (leads)
        s->led = false;
    if (ready == ALLOT_E_TIMEOUT && until < deadline)
        return 0;
    if (ready < 0)
        return ready;
    return leads && (ready & ~POLLOUT) ? lead_locked(s, deadline) : 0;
}

static void unqueue_locked(struct calls *s, struct call *call)
{
    struct call **at = &s->queue;

    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    if (!call->next)
        s->queue_end = at;
    if (s->queue)
        wake(s->queue);
}

static int submit_locked(struct calls *s, Allot__Request *request, struct call *call,
                         uint64_t deadline)
{
    short events = 0;
    int r = CONNECTION_FULL;

    if (!s->queue) {
        r = send_locked(s, request, call, &events);
        if (r != CONNECTION_FULL)
            return r;
    }
    call->next = NULL;
    *s->queue_end = call;
    s->queue_end = &call->next;
    for (;;) {
        if (s->broken) {
            r = s->broken;
        } else if (s->queue == call) {
            r = send_locked(s, request, call, &events);
        }
        if (r != CONNECTION_FULL)
            break;
        int waited = s->queue == call ? make_room_locked(s, call, events, deadline)
                                      : sleep_locked(s, call, deadline);
        if (waited < 0) {
            r = waited;
            break;
        }
    }
    unqueue_locked(s, call);
    if (r < 0)
        request->number = 0; /* it was not sent */
    return r;
}

/* Until all answers are there, or TIMEOUT. */
static int await_locked(struct calls *s, struct call *call, uint64_t deadline)
{
    while (call->result == PENDING) {
        int r = s->led ? sleep_locked(s, call, deadline) : lead_locked(s, deadline);
        if (r < 0 && call->result == PENDING) {
            call->result = r;
            for (unsigned i = 0; i < call->count; i++) {
                uint64_t number = call->number + i;
                if (is_pending_locked(s, number))
                    s->waiter[slot(number)] = NULL;
            }
        }
    }
    return call->result;
}

static int run_locked(struct calls *s, Allot__Request *request, struct call *call,
                      uint64_t deadline)
{
    int r = submit_locked(s, request, call, deadline);

    return r == 0 ? await_locked(s, call, deadline) : r;
}

/* With fds_wanted raised: returns once nobody receives without room for a descriptor. */
static int outlast_plain_receive_locked(struct calls *s, uint64_t deadline)
{
    Allot__Request request = ALLOT__REQUEST__INIT;
    uint64_t value;
    int code;
    struct call ping = {.values = &value, .codes = &code, .count = 1};

    if (!s->led || s->takes_fd)
        return 0;
    request.op = ALLOT__OP__OP_PING;
    int r = run_locked(s, &request, &ping, deadline);
    hand_over_locked(s);
    return r;
}

int call_run(struct calls *s, Allot__Request *request, struct call *call)
{
    int count = codec_request_count(request);

    if (count < 0)
        return count;
    call->count = (unsigned)count;
    call->fd = -1;
    pthread_mutex_lock(&s->lock);
    uint64_t deadline = deadline_after(deadline_in(s->timeout_ms), call->wait_ms);
    int r = call->count > s->batch_max ? ALLOT_E_BATCH : 0;
    if (call->wants_fd)
        s->fds_wanted++;
    if (r == 0 && call->wants_fd)
        r = outlast_plain_receive_locked(s, deadline);
    if (r == 0)
        r = run_locked(s, request, call, deadline);
    if (call->wants_fd)
        s->fds_wanted--;
    hand_over_locked(s);
    int saved = s->broken ? s->broken_errno : errno;
    pthread_mutex_unlock(&s->lock);
    if (r < 0 && call->fd >= 0) {
        close(call->fd);
        call->fd = -1;
    }
    errno = saved;
    return r;
}
