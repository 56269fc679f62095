/* SPDX-License-Identifier: MIT */
/*
 * The client at the level of the wire.
 *
 * What it is: requests out, replies in, each with a deadline; whatever a test did not ask for fails
 * it. What it is not: liballot. It repeats nothing, hides nothing and believes nothing.
 *
 * Locks: none.
 */
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

void wire_connect(struct wire *w, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    check(fd >= 0);
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    check(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    wire_adopt(w, fd);
}

void wire_adopt(struct wire *w, int fd)
{
    int size = 1 << 20;

    /* Room for a full window of small packets, whatever the system's default. */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    w->fd = fd;
    w->next = 1;
    w->session = 0;
    w->reply = NULL;
    w->reply_fd = -1;
}

void wire_hello(struct wire *w)
{
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);

    hello.version_min = hello.version_max = CODEC_VERSION;
    wire_send(w, &hello);
    check(wire_receive(w) != NULL);
    check_equal(w->reply->refused, ALLOT__ERROR__E_OK);
    check(w->reply->session != 0);
    w->session = w->reply->session;
}

void wire_open(struct wire *w, const char *path)
{
    wire_connect(w, path);
    wire_hello(w);
}

Allot__Error wire_resume(struct wire *w, const char *path, uint64_t session,
                         const unsigned char *secret, size_t size)
{
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);

    wire_connect(w, path);
    hello.version_min = hello.version_max = CODEC_VERSION;
    hello.session = session;
    hello.secret.data = (unsigned char *)(uintptr_t)secret;
    hello.secret.len = size;
    wire_send(w, &hello);
    check(wire_receive(w) != NULL);
    return w->reply->refused;
}

void wire_close(struct wire *w)
{
    if (w->reply_fd >= 0)
        close(w->reply_fd);
    close(w->fd);
    w->fd = w->reply_fd = -1;
}

void wire_send_with_fds(struct wire *w, const void *bytes, size_t size, const int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

    check(n <= 16);
    if (n > 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    check(sendmsg(w->fd, &m, MSG_NOSIGNAL) == (ssize_t)size);
}

void wire_send_bytes(struct wire *w, const void *bytes, size_t size)
{
    wire_send_with_fds(w, bytes, size, NULL, 0);
}

void wire_send_encoded(struct wire *w, const void *request, size_t size)
{
    unsigned char frame[4 + CODEC_FRAME_MAX] = {0x0a, (unsigned char)(size | 0x80),
                                                (unsigned char)((size >> 7) & 0x7f)};

    check(size < 1u << 14);
    memcpy(frame + 3, request, size);
    wire_send_bytes(w, frame, size + 3);
}

bool wire_try_send(struct wire *w, const Allot__Request *request)
{
    unsigned char frame[CODEC_FRAME_MAX];
    size_t size = 0;

    check(codec_add_request(request, frame, &size) == 0);
    if (send(w->fd, frame, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size)
        return true;
    check(errno == EAGAIN);
    return false;
}

void wire_send(struct wire *w, const Allot__Request *request)
{
    unsigned char frame[CODEC_FRAME_MAX];
    size_t size = 0;

    check(codec_add_request(request, frame, &size) == 0);
    wire_send_bytes(w, frame, size);
}

bool wire_readable(const struct wire *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

Allot__Reply *wire_receive(struct wire *w)
{
    static unsigned char frame[CODEC_FRAME_MAX];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = frame, .iov_len = sizeof(frame)};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    struct pollfd p = {.fd = w->fd, .events = POLLIN};

    w->reply = NULL;
    check(poll(&p, 1, FIXTURE_DEADLINE_MS) == 1);
    ssize_t size = recvmsg(w->fd, &m, MSG_CMSG_CLOEXEC);
    if (size == 0 || (size < 0 && errno == ECONNRESET))
        return NULL;
    check(size > 0);
    check(!(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c) {
        check(c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)));
        if (w->reply_fd >= 0)
            close(w->reply_fd);
        memcpy(&w->reply_fd, CMSG_DATA(c), sizeof(int));
    }
    check(codec_decode_reply(&w->arena, frame, (size_t)size, &w->reply) == 0);
    return w->reply;
}

void wire_expect_refusal(struct wire *w, Allot__Error why, uint64_t number)
{
    check(wire_receive(w) != NULL);
    check_equal(w->reply->refused, why);
    check_equal(w->reply->number, number);
    check_equal(w->reply->count, 0);
}

void wire_expect_end(struct wire *w)
{
    check(wire_receive(w) == NULL);
}

Allot__Request wire_request(Allot__Op op, uint32_t pool)
{
    Allot__Request r = ALLOT__REQUEST__INIT;

    r.op = op;
    r.pool = pool;
    return r;
}

void wire_collect(struct wire *w, uint64_t number, unsigned n, Allot__Error *errors,
                  uint64_t *values)
{
    for (unsigned done = 0; done < n;) {
        const Allot__Reply *r = wire_receive(w);
        check(r != NULL);
        check_equal(r->refused, ALLOT__ERROR__E_OK);
        check(r->count > 0);
        check(r->n_errors == 0 || r->n_errors == r->count);
        check(r->n_values == 0 || r->n_values == r->count);
        /* No answer is left out: what comes continues what came, or repeats it. */
        check(r->number <= number + done && r->number + r->count <= number + n);
        for (unsigned i = 0; i < r->count; i++) {
            if (r->number + i != number + done)
                continue;
            if (errors)
                errors[done] = r->n_errors ? r->errors[i] : ALLOT__ERROR__E_OK;
            if (values)
                values[done] = r->n_values ? r->values[i] : 0;
            done++;
        }
    }
}

void wire_run(struct wire *w, Allot__Request *request, unsigned n, Allot__Error *errors,
              uint64_t *values)
{
    request->number = w->next;
    w->next += n;
    wire_send(w, request);
    wire_collect(w, request->number, n, errors, values);
}

Allot__Error wire_item(struct wire *w, Allot__Op op, uint32_t pool, uint64_t position,
                       uint64_t size, uint64_t align, uint64_t *ret_value)
{
    Allot__Request r = wire_request(op, pool);
    Allot__Error error;
    uint64_t value;

    r.positions = &position;
    r.n_positions = position ? 1 : 0;
    r.sizes = &size;
    r.n_sizes = size ? 1 : 0;
    r.align = align;
    wire_run(w, &r, 1, &error, &value);
    if (ret_value)
        *ret_value = value;
    return error;
}

Allot__Error wire_ping(struct wire *w)
{
    return wire_item(w, ALLOT__OP__OP_PING, 0, 0, 0, 0, NULL);
}

Allot__Error wire_goodbye(struct wire *w)
{
    return wire_item(w, ALLOT__OP__OP_GOODBYE, 0, 0, 0, 0, NULL);
}

uint32_t wire_attach(struct wire *w, const char *name, Allot__Access access,
                     Allot__Error *ret_error)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_ATTACH, 0);
    Allot__Error error;

    r.name = (char *)(uintptr_t)name;
    r.access = access;
    wire_run(w, &r, 1, &error, NULL);
    if (ret_error)
        *ret_error = error;
    if (error)
        return 0;
    check_equal(w->reply->n_pools, 1);
    check(strcmp(w->reply->pools[0]->name, name) == 0);
    check(w->reply_fd >= 0);
    w->region_size = w->reply->pools[0]->size_max;
    return w->reply->pools[0]->pool;
}

uint32_t wire_pool(struct wire *w, const char *name)
{
    Allot__Error error;
    uint32_t pool = wire_attach(w, name, ALLOT__ACCESS__ACCESS_WRITE, &error);

    check_equal(error, ALLOT__ERROR__E_OK);
    close(w->reply_fd);
    w->reply_fd = -1;
    return pool;
}

uint64_t wire_alloc(struct wire *w, uint32_t pool, uint64_t size)
{
    uint64_t position;

    check_equal(wire_item(w, ALLOT__OP__OP_ALLOC, pool, 0, size, 0, &position), ALLOT__ERROR__E_OK);
    check(position != 0);
    return position;
}

void wire_free(struct wire *w, uint32_t pool, uint64_t position)
{
    check_equal(wire_item(w, ALLOT__OP__OP_FREE, pool, position, 0, 0, NULL), ALLOT__ERROR__E_OK);
}

struct wire_ticket wire_grant(struct wire *w, uint32_t pool, Allot__Op op, uint64_t size)
{
    uint64_t kind = op == ALLOT__OP__OP_ALLOC ? 1 : op == ALLOT__OP__OP_ALLOC_PAGES ? 2 : 3;
    uint64_t position = 0;

    check_equal(wire_item(w, op, pool, 0, size, 0, &position), ALLOT__ERROR__E_OK);
    /* The frame may repeat answers before this one. */
    check_equal(w->reply->n_generations, w->reply->count);
    return (struct wire_ticket){kind << 48 | position, w->reply->generations[w->reply->count - 1]};
}

Allot__Error wire_reference(struct wire *w, Allot__Op op, uint32_t pool, struct wire_ticket t,
                            uint64_t *ret_size)
{
    Allot__Request request = wire_request(op, pool);
    Allot__Error error = ALLOT__ERROR__E_OK;
    uint64_t size = 0;

    request.positions = &t.place;
    request.generations = &t.generation;
    request.n_positions = request.n_generations = 1;
    wire_run(w, &request, 1, &error, &size);
    if (ret_size)
        *ret_size = size;
    return error;
}

void wire_expect_good(struct wire *w, uint32_t pool)
{
    wire_free(w, pool, wire_alloc(w, pool, 100));
}

const Allot__PoolInfo *wire_pool_info(struct wire *w, const char *name)
{
    check_equal(wire_item(w, ALLOT__OP__OP_POOLS, 0, 0, 0, 0, NULL), ALLOT__ERROR__E_OK);
    for (size_t i = 0; i < w->reply->n_pools; i++)
        if (strcmp(w->reply->pools[i]->name, name) == 0)
            return w->reply->pools[i];
    return NULL;
}

size_t wire_sessions(struct wire *w, uint64_t session, Allot__SessionInfo *ret)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_SESSIONS, 0);
    Allot__Error error;
    size_t count = 0;
    bool found = session == 0;

    do {
        wire_run(w, &r, 1, &error, NULL);
        check_equal(error, ALLOT__ERROR__E_OK);
        for (size_t i = 0; i < w->reply->n_sessions; i++) {
            const Allot__SessionInfo *s = w->reply->sessions[i];
            check(s->session > r.after);
            r.after = s->session;
            count++;
            if (s->session == session) {
                *ret = *s;
                found = true;
            }
        }
    } while (w->reply->more);
    check(found);
    return count;
}

static bool in_time(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec - start->tv_sec < FIXTURE_DEADLINE_MS / 1000;
}

void wire_wait_live(struct wire *w, const char *name, uint64_t blocks, uint64_t runs,
                    uint64_t ranges)
{
    struct timespec start;
    const Allot__PoolInfo *info;

    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        info = wire_pool_info(w, name);
        check(info != NULL);
    } while ((info->blocks != blocks || info->page_runs != runs || info->id_ranges != ranges) &&
             in_time(&start));
    check_equal(info->blocks, blocks);
    check_equal(info->page_runs, runs);
    check_equal(info->id_ranges, ranges);
}

void wire_wait_sessions(struct wire *w, size_t count)
{
    struct timespec start;
    size_t n;

    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        n = wire_sessions(w, 0, NULL);
    while (n != count && in_time(&start));
    check_equal(n, count);
}
