/* SPDX-License-Identifier: MIT */
/*
 * Connections.
 *
 * What it is: for each readable socket one round: peek at all frames that wait, have their requests
 * served, send all answers with one call, and only then consume the frames. A frame that was not
 * consumed is there again after the daemon's death; the journal knows whether it was carried out.
 * What it is not: it does not know what a frame asks for.
 *
 * Invariants: frames leave the socket in the order in which they came, each after its answers were
 * handed to the kernel. At most CODEC_INFLIGHT_MAX operations are carried out between two
 * consumptions, so that their journal entries are not reused. A connection whose peer does not
 * drain its answers keeps them (one round's, at most REPLIES_BYTES) and is not read; one whose
 * session waits for memory is not read either.
 *
 * Descriptors that a client sends never become ours: no room for control data is offered.
 *
 * Locks: none; a connection belongs to its loop.
 */
#include "connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frames.h"
#include "log.h"
#include "pending.h"

/* What a peer that does not drain has still to get. */
struct backlog {
    unsigned n_frames;
    unsigned sent;
    unsigned consume; /* frames to take off the socket once all is sent */
    bool close;       /* and whether that was the last round */
    struct replies_frame frames[REPLIES_FRAMES_MAX];
    unsigned char bytes[];
};

struct connection {
    uv_poll_t poll;
    int fd;
    struct connections *all;
    struct connection *prev;
    struct connection *next;
    struct session *session; /* NULL before hello */
    uint64_t since;          /* the loop's time when it was taken */
    struct backlog *backlog; /* NULL: everything is sent */
    unsigned turns;          /* of its loop in which it was read */
    bool single;             /* its frames come one at a time, … */
    bool again;              /* … the next one right after an answer */
    bool greets;             /* the hello that made its session is still on the socket */
    bool kept;               /* by the service manager; */
    unsigned ask;            /* the turn from which it may be asked for it, */
    unsigned ask_gap;        /* after the last time that it did not */
    bool watches;            /* it is in the list of those who do */
    bool behind;             /* its socket had no room for events */
    struct connection *next_watching;
    size_t served;     /* bytes of the first frame whose requests were served already, */
    unsigned requests; /* how many these were, */
    unsigned taken;    /* and how many operations they took */
    unsigned tried;    /* and, of a suspect, how many were counted against it */
};

/*
 * How a connection is looked at. Looking for one frame is cheaper than looking for many (0.3 µs,
 * where a round of one takes 3), but cannot tell that there are more. And an answer often wakes a
 * client on the same core, which asks again before the daemon goes on; then a second round at once
 * saves a turn of the loop (0.4 µs). One turn in so many tries both, and what it finds holds for
 * those that follow; what a connection begins with tells little of it.
 */
#define PROBE_TURNS 16u
/* Rounds in a turn; then the other connections have theirs. */
#define ROUNDS_MAX 8u

/* A client says hello at once. One that did not in this time loses its connection when descriptors
 * are short, so that those who say nothing lock nobody out for long. */
#define HELLO_MS 1000u

/* Starts of the daemon in a row that may get to a request and no further on its socket, before it
 * is taken for what ends the daemon: a request must not do that for ever. */
#define STARTS_MAX 8u

static void on_event(uv_poll_t *handle, int status, int events);

void connections_init(struct connections *all, uv_loop_t *loop, struct sessions *sessions)
{
    all->service.sessions = sessions;
    all->service.loop = loop;
    expiry_init(&all->service.expiry, loop, sessions->store);
    all->first = NULL;
    replies_reset(&all->service.replies);
    for (unsigned i = 0; i < CONNECTION_FRAMES_MAX; i++) {
        all->in_parts[i] = (struct iovec){.iov_base = all->frames[i], .iov_len = CODEC_FRAME_MAX};
        all->in[i].msg_hdr = (struct msghdr){.msg_iov = &all->in_parts[i], .msg_iovlen = 1};
        all->discard[i].msg_hdr = (struct msghdr){0};
    }
}

/* ---- life ---- */

static void on_poll_moved(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    const struct sessions *sessions = c->all->service.sessions;

    close(c->fd);
    sessions->on_closed(sessions->ctx);
    free(c);
}

static void backlog_free(struct backlog *b)
{
    frames_close(&b->frames[b->sent], b->n_frames - b->sent);
    free(b);
}

static void unlink_connection(struct connection *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->all->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
}

static void unlist(struct connection *c)
{
    struct connection **at = &c->all->watching;

    if (!c->watches)
        return;
    while (*at != c)
        at = &(*at)->next_watching;
    *at = c->next_watching;
    atomic_fetch_sub(&c->all->n_watching, 1);
}

static void connection_close(struct connection *c)
{
    bool leaving = c->all->leaving;

    if (uv_is_closing((uv_handle_t *)&c->poll))
        return;
    unlink_connection(c);
    unlist(c);
    if (c->kept && !leaving)
        store_forget_client(c->all->service.sessions->store, c->session->id);
    if (c->session)
        session_disconnected(c->session, leaving);
    c->session = NULL;
    if (c->backlog)
        backlog_free(c->backlog);
    c->backlog = NULL;
    /* The peer sees the end now, not when the loop comes round; but where another daemon goes on
     * with this connection, there is none to be seen. */
    if (!c->kept || !leaving)
        shutdown(c->fd, SHUT_RDWR);
    uv_close((uv_handle_t *)&c->poll, on_poll_closed);
}

/* To the loop of its session, which reads what this one has looked at. */
static void connection_move(struct connection *c)
{
    struct connections *all = c->all;
    int fd = c->fd;

    unlink_connection(c);
    uv_poll_stop(&c->poll);
    uv_close((uv_handle_t *)&c->poll, on_poll_moved);
    all->move(all->move_ctx, all->service.home, fd);
}

/* NULL where it could not be taken: it is closed then. */
static struct connection *connection_new(struct connections *all, int fd)
{
    const struct sessions *sessions = all->service.sessions;
    struct connection *c = calloc(1, sizeof(*c));
    int zero = 0;

    if (!c || setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0 ||
        uv_poll_init(all->service.loop, &c->poll, fd) < 0) {
        log_warning("a connection cannot be taken: %s", strerror(errno));
        close(fd);
        free(c);
        sessions->on_closed(sessions->ctx);
        return NULL;
    }
    c->poll.data = c;
    c->fd = fd;
    c->all = all;
    c->since = uv_now(all->service.loop);
    c->next = all->first;
    if (c->next)
        c->next->prev = c;
    all->first = c;
    uv_poll_start(&c->poll, UV_READABLE, on_event);
    return c;
}

void connections_add(struct connections *all, int fd)
{
    connection_new(all, fd);
}

static void on_resume(void *ctx);
static void on_answered(void *ctx);
static void on_died(void *ctx);

/* The next peek starts at the first frame again. */
static void rewind_peek(struct connection *c)
{
    int zero = 0;

    (void)setsockopt(c->fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero));
}

static void connect_session(struct connection *c, struct session *s)
{
    c->session = s;
    s->resume = on_resume;
    s->answered = on_answered;
    s->died = on_died;
    s->ctx = c;
}

/* What the connection is looked at for, now. */
static void poll_connection(struct connection *c)
{
    const struct session *s = c->session;

    if (c->backlog)
        uv_poll_start(&c->poll, UV_WRITABLE, on_event);
    else if (s && (s->commit.running || (s->ended && !s->reclaimed)))
        uv_poll_stop(&c->poll); /* on_resume() is to come */
    else
        uv_poll_start(&c->poll, c->behind ? UV_READABLE | UV_WRITABLE : UV_READABLE, on_event);
}

/* Where its session has something to tell, it is told as soon as the socket takes it. */
static void take_up_watches(struct connection *c)
{
    if (!c->session || !c->session->watch_due)
        return;
    c->session->watch_due = false;
    if (!session_watches(c->session))
        return;
    if (!c->watches) {
        c->watches = true;
        c->next_watching = c->all->watching;
        c->all->watching = c;
        atomic_fetch_add(&c->all->n_watching, 1);
    }
    c->behind = true;
    poll_connection(c);
}

void connections_adopt(struct connections *all, int fd, struct session *session)
{
    struct connection *c = connection_new(all, fd);

    if (!c) {
        store_forget_client(session->all->store, session->id);
        return;
    }
    connect_session(c, session);
    session->connected = true;
    c->kept = true;
    take_up_watches(c);
}

void connections_shed(struct connections *all)
{
    uint64_t now = uv_now(all->service.loop);
    struct connection *next;

    for (struct connection *c = all->first; c; c = next) {
        next = c->next;
        if (!c->session && now - c->since >= HELLO_MS)
            connection_close(c);
    }
}

void connections_close(struct connections *all)
{
    all->leaving = true;
    while (all->first)
        connection_close(all->first);
    expiry_close(&all->service.expiry);
}

/* ---- sending ---- */

/* Keeps what a round could not send. False without memory. */
static bool keep_backlog(struct connection *c, unsigned sent, unsigned consume, bool close_after)
{
    const struct replies *r = &c->all->service.replies;
    struct backlog *b = malloc(sizeof(*b) + r->used);

    if (!b)
        return false;
    *b = (struct backlog){
        .n_frames = r->n_frames, .sent = sent, .consume = consume, .close = close_after};
    memcpy(b->frames, r->frames, sizeof(b->frames));
    memcpy(b->bytes, r->bytes, r->used);
    c->backlog = b;
    return true;
}

/* ---- events ---- */

/* Of one frame: with the longest names and numbers they fill most of it. */
#define EVENTS_MAX 120u
/* Frames in a row for one connection; then others have their turn. */
#define EVENT_FRAMES_MAX 32u

_Static_assert(EVENTS_MAX * 130u <= CODEC_FRAME_MAX,
               "an event (three numbers, a kind, a name, a generation) fits 130 bytes");

/* The next events of one watch. 1: sent; 0: there are none; -EAGAIN: no room, the watch is as it
 * was; another -errno: the peer is gone. */
static int tell_next(struct connection *c, struct watch *w)
{
    static _Thread_local struct watch_event found[EVENTS_MAX];
    static _Thread_local Allot__Event events[EVENTS_MAX];
    Allot__Event *list[EVENTS_MAX];
    Allot__Reply reply = ALLOT__REPLY__INIT;
    unsigned char frame[CODEC_FRAME_MAX];
    struct session *s = c->session;
    const struct ledger_watch *record =
        &ledger_watches(&s->all->store->ledger, s->slot)[w - s->watches];
    struct pool *pool = record->pool < POOLS_MAX ? s->all->store->pools[record->pool] : NULL;
    struct watch before = *w;
    size_t size;

    if (!w->id || !pool || s->access[record->pool] < ALLOT__ACCESS__ACCESS_READ)
        return 0;
    reply.n_events = watch_next(w, pool, record->prefix, found, EVENTS_MAX);
    if (!reply.n_events)
        return 0;
    reply.events = list;
    for (size_t i = 0; i < reply.n_events; i++) {
        list[i] = &events[i];
        allot__event__init(&events[i]);
        events[i].watch = w->id;
        events[i].kind = found[i].kind;
        events[i].sequence = found[i].name.name.sequence;
        events[i].name = found[i].name.name.name;
        events[i].place = found[i].name.place;
        events[i].generation = found[i].name.generation;
    }
    if (codec_encode_reply(&reply, frame, &size))
        return -EMSGSIZE;
    if (send(c->fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        *w = before;
        return frames_error();
    }
    atomic_fetch_add_explicit(&s->bytes_sent, size, memory_order_relaxed);
    return 1;
}

/* Tells what there is to tell, as far as the socket takes it. */
static void tell(struct connection *c)
{
    struct session *s = c->session;
    unsigned frames = 0;
    int rc = 0;

    c->behind = false;
    if (c->backlog || s->ended)
        return; /* its own answers come first */
    session_refresh_access(s);
    for (unsigned i = 0; i < LEDGER_WATCHES && rc >= 0; i++)
        while (frames < EVENT_FRAMES_MAX && (rc = tell_next(c, &s->watches[i])) > 0)
            frames++;
    if (rc < 0 && rc != -EAGAIN) {
        connection_close(c);
        return;
    }
    c->behind = rc == -EAGAIN || frames == EVENT_FRAMES_MAX;
    poll_connection(c);
}

void connections_tell(struct connections *all)
{
    struct connection *next;

    for (struct connection *c = all->watching; c; c = next) {
        next = c->next_watching;
        if (!c->behind)
            tell(c);
    }
}

/* ---- receiving ---- */

static struct ledger_session *record_of(const struct session *s)
{
    return &s->all->store->ledger.sessions[s->slot];
}

/* Takes the first `n` frames off the socket. */
static void consume(struct connection *c, unsigned n)
{
    if (n > 0 && c->served == 0) {
        c->greets = false;
        if (c->tried && !c->session->ended)
            record_of(c->session)->starts = 0;
        c->tried = 0;
    }
    if (n == 1) {
        while (recv(c->fd, NULL, 0, MSG_DONTWAIT) < 0 && errno == EINTR)
            ;
        return;
    }
    while (n > 0) {
        int rc = recvmmsg(c->fd, c->all->discard, n, MSG_DONTWAIT, NULL);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            return;
        n -= (unsigned)rc;
    }
}

/* What a round came to. */
struct round {
    unsigned consume; /* frames served */
    unsigned room;    /* operations that may still be carried out in it */
    bool wait;
    bool move;
    bool close;
    bool rewind; /* not all that was peeked at was served */
};

/* Whether too many starts in a row have come to the next request of the first frame, and no
 * further. One that no daemon came to, since another ended it, bears no guilt. */
static bool is_poisoned(struct connection *c)
{
    struct ledger_session *record = record_of(c->session);

    if (c->requests < c->tried)
        return false; /* it was too much for the round */
    c->tried = c->requests + 1;
    if (c->requests < record->reached && record->starts)
        return false; /* others got further */
    if (c->requests != record->reached)
        record->starts = 0;
    record->reached = c->requests;
    c->session->counted = true;
    if (++record->starts < STARTS_MAX)
        return false;
    log_error("session %llu: the daemon has met its request %llu at %u starts: refused",
              (unsigned long long)c->session->id, (unsigned long long)c->session->next,
              record->starts);
    return true;
}

/* Serves the next request of the first frame; *ret_operations is how many numbers it takes. */
static enum service_step serve_request(struct connection *c, const void *request, size_t length,
                                       unsigned room, unsigned *ret_operations)
{
    struct service *service = &c->all->service;
    struct session *before = c->session;
    bool suspect = before && before->suspect;
    enum service_step step = service_request(service, &c->session, c->fd, request, length, c->taken,
                                             room, ret_operations);

    if (service->poisoned)
        record_of(before)->starts--; /* so much can be done at the next start, too */
    if (suspect)
        before->counted = false;
    if (step == SERVICE_WAIT && c->tried > c->requests)
        c->tried = c->requests; /* it will be served, and counted, again */
    if (c->session && c->session != before) {
        connect_session(c, c->session);
        c->greets = true;
    }
    return step;
}

/* Serves the frame's requests from where the last round left it. True where it is done; else the
 * rest has to come in a later round, or c->session waits. */
static bool serve_frame(struct connection *c, const void *frame, size_t size, struct round *round)
{
    struct service *service = &c->all->service;
    const void *request;
    size_t length;
    size_t at = c->served;
    int error;

    while (!round->close && codec_next_request(frame, size, &at, &request, &length, &error)) {
        struct session *s = c->session;
        unsigned operations;
        if (replies_full(&service->replies))
            return false;
        service->poisoned = s && s->suspect && is_poisoned(c);
        if (service->poisoned && record_of(s)->starts > STARTS_MAX) {
            service_refuse(service, s->next, 0, ALLOT__ERROR__E_INTERNAL);
            error = 0;
            break; /* it ends the daemon before it can be told what it asks for */
        }
        enum service_step step = serve_request(c, request, length, round->room, &operations);
        round->wait = step == SERVICE_WAIT || step == SERVICE_PAUSE;
        round->move = step == SERVICE_MOVE;
        if (operations > round->room || step == SERVICE_WAIT || round->move)
            return false;
        round->close = step == SERVICE_CLOSE;
        round->room -= operations;
        c->taken += operations;
        c->requests++;
        c->served = at;
        if (round->wait)
            return false;
    }
    if (!round->close && error)
        service_refuse(service, 0, 0, (Allot__Error)-error);
    c->served = 0;
    c->requests = 0;
    c->taken = 0;
    return true;
}

static struct round serve_frames(struct connection *c, unsigned n)
{
    struct connections *all = c->all;
    struct round round = {.room = CODEC_INFLIGHT_MAX - c->taken};
    uint64_t received = 0;

    for (; round.consume < n && !round.close; round.consume++) {
        const struct mmsghdr *m = &all->in[round.consume];
        /* A suspect's frame is consumed before the next is looked at. */
        if (round.consume > 0 && c->session && c->session->suspect)
            break;
        if (m->msg_len == 0) { /* end of file, or an empty packet, which counts as one */
            round.close = true;
            break;
        }
        if (replies_full(&all->service.replies))
            break;
        if (m->msg_hdr.msg_flags & MSG_TRUNC) {
            service_refuse(&all->service, 0, 0, ALLOT__ERROR__E_FRAME_SIZE);
            round.rewind = true; /* what was peeked at after it is its own rest */
            round.consume++;
            break;
        }
        if (!serve_frame(c, all->frames[round.consume], m->msg_len, &round))
            break;
        received += m->msg_len;
    }
    if (c->tried && n == 1)
        c->session->suspect = false; /* what comes later, no earlier daemon has met */
    if (c->session)
        atomic_fetch_add_explicit(&c->session->bytes_received, received, memory_order_relaxed);
    round.rewind |= round.consume < n;
    return round;
}

/* Has the service manager keep the connection of who holds something; who holds nothing has nothing
 * to lose: it connects again. Where the manager does not, it is asked again after a while, and
 * after twice that. Not before hello is consumed: another daemon would take it for a second one. */
static void keep(struct connection *c)
{
    if (!c->session || !c->session->granted || c->kept || c->greets || c->turns < c->ask)
        return;
    c->kept = store_keep_client(c->all->service.sessions->store, c->fd, c->session->id);
    c->ask_gap = 2 * c->ask_gap + PROBE_TURNS;
    c->ask = c->turns + c->ask_gap;
}

/* Sends what the round has to say, and consumes what it served. True where the connection may be
 * read on. */
static bool finish_round(struct connection *c, struct round round)
{
    struct replies *r = &c->all->service.replies;
    unsigned sent = 0;

    replies_flush(r);
    if (round.move) {
        connection_move(c);
        return false;
    }
    /* Before the peer hears of what it holds: from then on its connection outlives the daemon. */
    keep(c);
    if (c->session)
        atomic_fetch_add_explicit(&c->session->bytes_sent, r->used, memory_order_relaxed);
    int rc = frames_send(c->fd, r->frames, r->n_frames, r->bytes, &sent);
    if (rc == -EAGAIN && keep_backlog(c, sent, round.consume, round.close)) {
        uv_poll_start(&c->poll, UV_WRITABLE, on_event);
        rewind_peek(c);
        return false;
    }
    frames_close(&r->frames[sent], r->n_frames - sent);
    /* Consumed before the socket closes: what is left unread would cut the peer's last answers. */
    consume(c, round.consume);
    if (rc || round.close) {
        connection_close(c);
        return false;
    }
    if (round.rewind)
        rewind_peek(c);
    if (round.wait)
        uv_poll_stop(&c->poll);
    keep(c);
    take_up_watches(c);
    return !round.wait;
}

/* How many frames wait, now in all->in; -1 with errno. */
static int peek(struct connection *c, bool probe)
{
    struct connections *all = c->all;
    int n;

    if (c->single && !probe) {
        ssize_t size = recv(c->fd, all->frames[0], CODEC_FRAME_MAX,
                            MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC); /* MSG_TRUNC: the whole length */
        all->in[0].msg_len = size > 0 ? (unsigned)size : 0;
        all->in[0].msg_hdr.msg_flags = size > (ssize_t)CODEC_FRAME_MAX ? MSG_TRUNC : 0;
        n = size < 0 ? -1 : 1;
    } else {
        n = recvmmsg(c->fd, all->in, CONNECTION_FRAMES_MAX, MSG_PEEK | MSG_DONTWAIT, NULL);
    }
    if (n > 1 || (n == 1 && probe))
        c->single = n == 1;
    return n;
}

/* True where another round may follow. */
static bool read_round(struct connection *c, bool probe)
{
    struct connections *all = c->all;
    int n = peek(c, probe);

    if (n < 0) {
        if (errno == EAGAIN)
            c->again = false;
        else if (errno != EINTR)
            connection_close(c);
        return false;
    }
    replies_reset(&all->service.replies);
    return finish_round(c, serve_frames(c, (unsigned)n));
}

static void read_rounds(struct connection *c)
{
    bool probe = ++c->turns % PROBE_TURNS == 0;

    if (probe)
        c->again = true;
    for (unsigned i = 0; i < ROUNDS_MAX && read_round(c, probe && i == 0) && c->again; i++)
        ;
}

static void write_backlog(struct connection *c)
{
    struct backlog *b = c->backlog;
    int rc = frames_send(c->fd, b->frames, b->n_frames, b->bytes, &b->sent);

    if (rc == -EAGAIN)
        return;
    consume(c, b->consume);
    if (rc || b->close) {
        connection_close(c);
        return;
    }
    rewind_peek(c);
    backlog_free(b);
    c->backlog = NULL;
    c->behind = c->watches; /* nothing was told meanwhile */
    /* Where on_resume() came already, what it announced is waiting to be served. */
    poll_connection(c);
    if (c->session)
        on_answered(c);
}

static void on_event(uv_poll_t *handle, int status, int events)
{
    struct connection *c = handle->data;

    /* The peer closed without reading its answers; the handle is stopped by now. */
    if (status < 0) {
        connection_close(c);
        return;
    }
    if (c->backlog) {
        write_backlog(c);
        return;
    }
    if (events & UV_READABLE)
        read_rounds(c);
    if (events & UV_WRITABLE && c->behind && !c->backlog && !uv_is_closing((uv_handle_t *)&c->poll))
        tell(c);
}

/* What the session waited for has come: the frame is served again. */
static void on_resume(void *ctx)
{
    struct connection *c = ctx;

    if (c->backlog)
        return; /* write_backlog() goes on, and reads then */
    poll_connection(c);
    read_rounds(c);
}

/* What waited for room has an answer, out of turn. */
static void on_answered(void *ctx)
{
    struct connection *c = ctx;
    struct replies *r = &c->all->service.replies;
    const struct ledger_entry *entry;
    uint64_t number;
    bool more = true;

    /* With a backlog, write_backlog() comes here. */
    while (more && !c->backlog) {
        replies_reset(r);
        while (!replies_full(r) && (more = pending_answer(c->session, &number, &entry)))
            replies_add(r, number, (Allot__Error)(uint32_t)entry->result, entry->value,
                        entry->generation, 0);
        if (!finish_round(c, (struct round){0}))
            return;
    }
}

static void on_died(void *ctx)
{
    connection_close(ctx);
}
