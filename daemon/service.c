/* SPDX-License-Identifier: MIT */
/*
 * The service.
 *
 * What it is: decoding, the rules of numbering, rights, and the switch over operations. What it is
 * not: it reads no sockets, takes no locks, and knows no allocator; each item of a request goes to
 * its pool as one struct pool_operation.
 *
 * Exactly once: an operation whose journal entry has a result is answered from there, whatever the
 * reason that its request is seen again (a restart, a pause for memory in the middle of a batch).
 * What changes nothing (attaching, lists, ping) is carried out anew. A request can therefore be
 * served again from its start at any time.
 *
 * Locks: none here; the pools' are taken inside pool_execute() and its like.
 */
#include "service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "pending.h"
#include "region.h"

/* Commits up to this many bytes are done at once (25 µs); more is handed to another thread. */
#define COMMIT_INLINE_MAX (256u << 10)

/* Entries of one list reply: with the longest numbers they fill half a frame or more. */
#define LIST_TAGS_MAX     256u
#define LIST_SESSIONS_MAX 100u
#define LIST_NAMES_MAX    100u

void service_refuse(struct service *service, uint64_t number, uint64_t attempt, Allot__Error why)
{
    Allot__Reply reply = ALLOT__REPLY__INIT;

    reply.number = number;
    reply.attempt = attempt;
    reply.refused = why;
    replies_message(&service->replies, &reply, -1);
}

/* ---- hello ---- */

static Allot__Error identify(int socket_fd, struct peer *ret)
{
    int rc = peer_read(socket_fd, ret);

    if (rc == -EMFILE || rc == -ENFILE)
        return ALLOT__ERROR__E_LIMIT;
    if (rc) {
        log_warning("a client cannot be identified: %s", strerror(-rc));
        return ALLOT__ERROR__E_INTERNAL;
    }
    return ALLOT__ERROR__E_OK;
}

/* Takes the pidfd over on success. */
static Allot__Error open_session(struct service *service, const struct peer *peer,
                                 struct session **session)
{
    int rc = session_open(service->sessions, service->loop, peer, session);

    if (rc == -EUSERS)
        return ALLOT__ERROR__E_LIMIT;
    if (rc) {
        log_warning("no session for process %d: %s", (int)peer->pid, strerror(-rc));
        return ALLOT__ERROR__E_INTERNAL;
    }
    return ALLOT__ERROR__E_OK;
}

static enum service_step serve_hello(struct service *service, struct session **session,
                                     int socket_fd, const Allot__Request *request)
{
    Allot__Reply reply = ALLOT__REPLY__INIT;
    struct peer peer;

    reply.version = CODEC_VERSION;
    if (*session)
        reply.refused = ALLOT__ERROR__E_HELLO;
    else if (request->version_min > CODEC_VERSION || request->version_max < CODEC_VERSION)
        reply.refused = ALLOT__ERROR__E_VERSION;
    else
        reply.refused = identify(socket_fd, &peer);
    if (!reply.refused && !request->session) {
        reply.refused = open_session(service, &peer, session);
        if (reply.refused)
            close(peer.pidfd);
    } else if (!reply.refused) {
        enum session_resume found =
            session_resume(service->sessions, service->loop, request->session, request->secret.data,
                           request->secret.len, &peer, session, &service->home);
        close(peer.pidfd); /* the session has one */
        if (found == SESSION_MOVE)
            return SERVICE_MOVE;
        if (found != SESSION_RESUMED)
            reply.refused =
                found == SESSION_FOREIGN ? ALLOT__ERROR__E_DENIED : ALLOT__ERROR__E_SESSION;
    }
    if (!reply.refused) {
        reply.session = (*session)->id;
        reply.secret.data = service->sessions->store->ledger.sessions[(*session)->slot].secret;
        reply.secret.len = CODEC_SECRET_SIZE;
        reply.frame_max = CODEC_FRAME_MAX;
        reply.batch_max = CODEC_BATCH_MAX;
        reply.inflight_max = CODEC_INFLIGHT_MAX;
    }
    replies_message(&service->replies, &reply, -1);
    /* A session that is taken up may be in the middle of something. */
    return *session && (*session)->commit.running ? SERVICE_PAUSE : SERVICE_DONE;
}

/* The number is not the next one's any more. */
static void use_up(struct session *s, uint64_t number)
{
    if (number >= s->next)
        s->next = number + 1;
}

/* The pool that the request may work on, or why not. */
static Allot__Error find_pool(const struct service *service, const struct session *s,
                              const Allot__Request *request, struct pool **ret)
{
    struct pool *pool = store_pool(service->sessions->store, request->pool);

    if (!pool || !s->attached[pool->index])
        return ALLOT__ERROR__E_NO_POOL;
    if (s->access[pool->index] < codec_access(request->op))
        return ALLOT__ERROR__E_DENIED;
    *ret = pool;
    return ALLOT__ERROR__E_OK;
}

/* ---- lists and attaching: answered by a message of their own ---- */

/* Takes `fd` (or -1) over. */
static Allot__Error answer(struct service *service, const Allot__Request *request,
                           Allot__Reply *reply, int fd)
{
    reply->number = request->number;
    reply->count = 1;
    if (replies_message(&service->replies, reply, fd))
        return ALLOT__ERROR__E_OK;
    if (fd >= 0)
        close(fd);
    return ALLOT__ERROR__E_INTERNAL;
}

static Allot__Error serve_attach(struct service *service, struct session *s,
                                 const Allot__Request *request)
{
    struct pool *pool = store_pool_named(service->sessions->store, request->name);
    Allot__Reply reply = ALLOT__REPLY__INIT;
    Allot__PoolInfo info = ALLOT__POOL_INFO__INIT;
    Allot__PoolInfo *list = &info;
    int fd;

    if (request->access != ALLOT__ACCESS__ACCESS_READ &&
        request->access != ALLOT__ACCESS__ACCESS_WRITE)
        return ALLOT__ERROR__E_INVALID;
    if (!pool)
        return ALLOT__ERROR__E_NO_POOL;
    Allot__Access allowed = pool_access(pool, &s->peer);
    if (allowed < request->access)
        return ALLOT__ERROR__E_DENIED;
    int rc = region_reopen(pool->fd, request->access == ALLOT__ACCESS__ACCESS_WRITE, &fd);
    if (rc) {
        log_warning("pool %s: cannot be handed over: %s", request->name, strerror(-rc));
        return ALLOT__ERROR__E_INTERNAL;
    }
    session_attach(s, pool->index, request->access, allowed);
    pool_info(pool, &info);
    info.access = request->access;
    reply.n_pools = 1;
    reply.pools = &list;
    return answer(service, request, &reply, fd);
}

static Allot__Error serve_pools(struct service *service, struct session *s,
                                const Allot__Request *request)
{
    Allot__Reply reply = ALLOT__REPLY__INIT;
    Allot__PoolInfo infos[POOLS_MAX];
    Allot__PoolInfo *list[POOLS_MAX];

    reply.pools = list;
    for (unsigned i = 0; i < POOLS_MAX; i++) {
        struct pool *pool = service->sessions->store->pools[i];
        if (!pool || i + 1 <= request->after)
            continue;
        Allot__PoolInfo *info = &infos[reply.n_pools];
        allot__pool_info__init(info);
        pool_info(pool, info);
        info->access = pool_access(pool, &s->peer);
        list[reply.n_pools++] = info;
    }
    return answer(service, request, &reply, -1);
}

static Allot__Error serve_tags(struct service *service, const Allot__Request *request)
{
    struct pool *pool = store_pool(service->sessions->store, request->pool);
    Allot__Reply reply = ALLOT__REPLY__INIT;
    struct tally_entry found[LIST_TAGS_MAX + 1];
    Allot__TagInfo infos[LIST_TAGS_MAX];
    Allot__TagInfo *list[LIST_TAGS_MAX];

    if (!pool)
        return ALLOT__ERROR__E_NO_POOL;
    size_t count = pool_tags(pool, request->after, found, LIST_TAGS_MAX + 1);
    reply.more = count > LIST_TAGS_MAX;
    reply.n_tags = reply.more ? LIST_TAGS_MAX : count;
    reply.tags = list;
    for (size_t i = 0; i < reply.n_tags; i++) {
        allot__tag_info__init(&infos[i]);
        infos[i].tag = found[i].key;
        infos[i].allocations = found[i].allocations;
        infos[i].bytes = found[i].bytes;
        infos[i].ids = found[i].ids;
        list[i] = &infos[i];
    }
    return answer(service, request, &reply, -1);
}

static Allot__Error serve_sessions(struct service *service, const Allot__Request *request)
{
    Allot__Reply reply = ALLOT__REPLY__INIT;
    Allot__SessionInfo infos[LIST_SESSIONS_MAX + 1];
    Allot__SessionInfo *list[LIST_SESSIONS_MAX];

    for (size_t i = 0; i < LIST_SESSIONS_MAX + 1; i++)
        allot__session_info__init(&infos[i]);
    size_t count = sessions_list(service->sessions, request->after, infos, LIST_SESSIONS_MAX + 1);
    reply.more = count > LIST_SESSIONS_MAX;
    reply.n_sessions = reply.more ? LIST_SESSIONS_MAX : count;
    reply.sessions = list;
    for (size_t i = 0; i < reply.n_sessions; i++)
        list[i] = &infos[i];
    return answer(service, request, &reply, -1);
}

static void describe_name(const struct pool_name *found, Allot__NameInfo *ret)
{
    allot__name_info__init(ret);
    ret->name = (char *)(uintptr_t)found->name.name;
    ret->place = found->place;
    ret->generation = found->generation;
    ret->size = found->size;
    ret->uid = found->name.uid;
    ret->gid = found->name.gid;
    ret->sequence = found->name.sequence;
}

static Allot__Error serve_names(struct service *service, struct session *s,
                                const Allot__Request *request)
{
    Allot__Reply reply = ALLOT__REPLY__INIT;
    struct pool_name found[LIST_NAMES_MAX + 1];
    Allot__NameInfo infos[LIST_NAMES_MAX];
    Allot__NameInfo *list[LIST_NAMES_MAX];
    struct pool *pool;
    Allot__Error refused = find_pool(service, s, request, &pool);

    if (refused)
        return refused;
    size_t count =
        pool_list_names(pool, request->name, request->after_name, found, LIST_NAMES_MAX + 1);
    reply.more = count > LIST_NAMES_MAX;
    reply.n_names = reply.more ? LIST_NAMES_MAX : count;
    reply.names = list;
    for (size_t i = 0; i < reply.n_names; i++) {
        describe_name(&found[i], &infos[i]);
        list[i] = &infos[i];
    }
    return answer(service, request, &reply, -1);
}

/* ---- items ---- */

/* What the journal has as the answer. */
static void add_answer(struct service *service, uint64_t number, const struct ledger_entry *entry)
{
    Allot__Error error = (Allot__Error)(uint32_t)entry->result;
    uint64_t size = entry->op == ALLOT__OP__OP_LOOKUP && !error ? entry->size : 0;

    replies_add(&service->replies, number, error, entry->value, entry->generation, size);
}

/* What the items of a request have in common. */
static struct pool_operation operation_of(const struct session *s, const Allot__Request *request)
{
    struct pool_operation o = {
        .op = request->op,
        .slot = s->slot,
        .uid = s->peer.uid,
        .gid = s->peer.gid,
        .align = request->align,
        .tag = request->tag,
        .deadline = request->deadline_ms ? clock_in(request->deadline_ms) : 0,
        .name = request->name,
        .replace = request->replace,
    };

    if (o.op == ALLOT__OP__OP_SEND) {
        o.receiver = request->receiver;
        o.receiver_slot = ledger_session_find(&s->all->store->ledger, o.receiver);
    }
    return o;
}

/* One item of a request that goes to a pool. False: it waits for memory. */
static bool serve_item(struct service *service, struct session *s, struct pool *pool,
                       const Allot__Request *request, struct pool_operation o, unsigned item,
                       struct ledger_entry *entry)
{
    o.entry = entry;
    o.position = item < request->n_positions ? request->positions[item] : 0;
    o.size = item < request->n_sizes ? request->sizes[item] : 0;
    o.generation = item < request->n_generations ? request->generations[item] : 0;
    if (o.deadline && codec_may_wait(o.op))
        o.wait = pending_wait(s, request->number);
    enum pool_step step = pool_execute(pool, &o);
    if (step == POOL_WAIT) {
        pending_begin(s, o.wait);
        return true;
    }
    if (step == POOL_COMMIT) {
        if (o.commit_size > COMMIT_INLINE_MAX) {
            session_commit(s, pool, &o);
            return false;
        }
        pool_finish(pool, &o, region_commit(pool->fd, o.commit_offset, o.commit_size));
    }
    add_answer(service, request->number + item, entry);
    s->granted |= !o.error;
    if (!o.error && (o.op == ALLOT__OP__OP_PUBLISH || o.op == ALLOT__OP__OP_UNPUBLISH))
        s->all->on_names(s->all->names_ctx);
    return true;
}

static bool serve_items(struct service *service, struct session *s, const Allot__Request *request,
                        unsigned count)
{
    struct pool *pool = NULL;
    Allot__Error refused =
        service->poisoned ? ALLOT__ERROR__E_INTERNAL : find_pool(service, s, request, &pool);
    struct pool_operation operation = operation_of(s, request);

    if (operation.op == ALLOT__OP__OP_SEND && operation.deadline)
        expiry_by(&service->expiry, operation.deadline);
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = request->number + i;
        struct ledger_entry *entry = ledger_entry(&s->all->store->ledger, s->slot, number);
        if (entry->number == number && entry->result) {
            add_answer(service, number, entry);
        } else if (entry->number != number || !ledger_entry_waits(entry)) {
            ledger_entry_begin(entry, number, request->op, pool ? pool->index : 0);
            atomic_fetch_add_explicit(&s->operations, 1, memory_order_relaxed);
            if (refused) {
                ledger_entry_finish(entry, refused, 0, 0);
                add_answer(service, number, entry);
            } else if (!serve_item(service, s, pool, request, operation, i, entry)) {
                return false;
            }
        }
        use_up(s, number);
    }
    return true;
}

static void serve_watch(struct service *service, struct session *s, const Allot__Request *request)
{
    struct ledger_entry *entry = ledger_entry(&s->all->store->ledger, s->slot, request->number);
    uint64_t id = request->n_positions ? request->positions[0] : request->number;
    struct pool *pool = NULL;

    if (entry->number != request->number || !entry->result) {
        Allot__Error error = ALLOT__ERROR__E_OK;
        ledger_entry_begin(entry, request->number, request->op, 0);
        if (request->op == ALLOT__OP__OP_UNWATCH)
            error = session_unwatch(s, entry, id);
        else if (request->n_positions)
            error = session_watch_again(s, id);
        else if (!(error = find_pool(service, s, request, &pool)))
            error = session_watch(s, entry, pool->index, request->name, id);
        ledger_entry_finish(entry, error, request->op == ALLOT__OP__OP_WATCH && !error ? id : 0, 0);
        s->granted |= !error;
        atomic_fetch_add_explicit(&s->operations, 1, memory_order_relaxed);
    }
    add_answer(service, request->number, entry);
    use_up(s, request->number);
}

/* Operations that take one number and are answered by a message, or by an error. */
static void serve_query(struct service *service, struct session *s, const Allot__Request *request)
{
    struct ledger_entry *entry = ledger_entry(&s->all->store->ledger, s->slot, request->number);
    Allot__Error error = ALLOT__ERROR__E_OK;
    bool answered = true;

    ledger_entry_begin(entry, request->number, request->op, 0);
    switch (request->op) {
    case ALLOT__OP__OP_ATTACH:
        error = serve_attach(service, s, request);
        break;
    case ALLOT__OP__OP_POOLS:
        error = serve_pools(service, s, request);
        break;
    case ALLOT__OP__OP_TAGS:
        error = serve_tags(service, request);
        break;
    case ALLOT__OP__OP_SESSIONS:
        error = serve_sessions(service, request);
        break;
    case ALLOT__OP__OP_NAMES:
        error = serve_names(service, s, request);
        break;
    default:
        answered = false; /* ping and goodbye: no message */
    }
    ledger_entry_finish(entry, error, 0, 0);
    if (error || !answered)
        replies_add(&service->replies, request->number, error, 0, 0, 0);
    atomic_fetch_add_explicit(&s->operations, 1, memory_order_relaxed);
    use_up(s, request->number);
}

static enum service_step serve_goodbye(struct service *service, struct session *s,
                                       const Allot__Request *request)
{
    if (!s->reclaimed) {
        session_end(s);
        return SERVICE_WAIT;
    }
    /* The slot, and the journal with it, may be another session's by now. */
    replies_add(&service->replies, request->number, ALLOT__ERROR__E_OK, 0, 0, 0);
    return SERVICE_CLOSE;
}

static bool in_sequence(const struct session *s, const Allot__Request *request)
{
    uint64_t number = request->number;

    if (number == s->next)
        return true;
    return number != 0 && number < s->next && s->next - number <= CODEC_INFLIGHT_MAX;
}

/* Whether the request would take the place in the journal of one that waits, which comes again as
 * it came: alone. A ping may, with the same number: so a client that does not wait any more uses it
 * up. Of a session that has ended, nothing waits, and the journal may be another's by now. */
static bool displaces(struct session *s, const Allot__Request *request, unsigned count)
{
    for (unsigned i = 0; s->pending && !s->ended && i < count; i++) {
        uint64_t number = request->number + i;
        const struct ledger_entry *entry = ledger_entry(&s->all->store->ledger, s->slot, number);
        if (!ledger_entry_waits(entry) ||
            (count == 1 && entry->number == number && entry->op == (uint32_t)request->op))
            continue;
        if (entry->number != number || request->op != ALLOT__OP__OP_PING)
            return true;
        pending_give_up(s, number);
    }
    return false;
}

/* Whether the request must not be carried out, or has been found at an earlier start to be so. */
static bool is_poisoned(const struct service *service, const struct session *s,
                        const Allot__Request *request)
{
    const struct ledger_entry *entry =
        ledger_entry(&s->all->store->ledger, s->slot, request->number);

    return service->poisoned || (s->suspect && entry->number == request->number &&
                                 entry->result == (LEDGER_ANSWERED | ALLOT__ERROR__E_INTERNAL));
}

static enum service_step serve(struct service *service, struct session *s,
                               const Allot__Request *request, unsigned count)
{
    if (is_poisoned(service, s, request)) {
        serve_items(service, s, request, count);
        return SERVICE_DONE;
    }
#ifdef ALLOTD_CRASH_TAG /* for tests: a request that ends the daemon, … */
    if (request->tag == ALLOTD_CRASH_TAG)
        abort();
#endif
    switch (request->op) {
    case ALLOT__OP__OP_GOODBYE:
        return serve_goodbye(service, s, request);
    case ALLOT__OP__OP_PING:
    case ALLOT__OP__OP_ATTACH:
    case ALLOT__OP__OP_POOLS:
    case ALLOT__OP__OP_TAGS:
    case ALLOT__OP__OP_SESSIONS:
    case ALLOT__OP__OP_NAMES:
        serve_query(service, s, request);
        return SERVICE_DONE;
    case ALLOT__OP__OP_WATCH:
    case ALLOT__OP__OP_UNWATCH:
        serve_watch(service, s, request);
        return SERVICE_DONE;
    default:
        return serve_items(service, s, request, count) ? SERVICE_DONE : SERVICE_WAIT;
    }
}

enum service_step service_request(struct service *service, struct session **session, int socket_fd,
                                  const void *bytes, size_t size, unsigned taken, unsigned room,
                                  unsigned *ret_operations)
{
    Allot__Request *request;
    int rc = codec_decode_request(&service->arena, bytes, size, &request);

    *ret_operations = 0;
    if (rc) {
        service_refuse(service, 0, 0, (Allot__Error)-rc);
        return SERVICE_DONE;
    }
#ifdef ALLOTD_CRASH_TAG /* … and one that does before anybody knows what it is */
    if (request->tag == ALLOTD_CRASH_TAG + 1)
        abort();
#endif
    int count = codec_request_count(request);
    if (request->op == ALLOT__OP__OP_HELLO)
        return serve_hello(service, session, socket_fd, request);
    if (!*session) {
        service_refuse(service, request->number, request->attempt, ALLOT__ERROR__E_HELLO);
        return SERVICE_DONE;
    }
    if (count >= 0 && taken + (unsigned)count > CODEC_INFLIGHT_MAX)
        count = -ALLOT__ERROR__E_BATCH;
    if (count < 0) {
        service_refuse(service, request->number, request->attempt, (Allot__Error)-count);
        return SERVICE_DONE;
    }
    if (!in_sequence(*session, request) || displaces(*session, request, (unsigned)count)) {
        service_refuse(service, request->number, request->attempt, ALLOT__ERROR__E_SEQUENCE);
        return SERVICE_DONE;
    }
    *ret_operations = (unsigned)count;
    if (*ret_operations > room)
        return SERVICE_DONE;
    session_refresh_access(*session);
    return serve(service, *session, request, (unsigned)count);
}
