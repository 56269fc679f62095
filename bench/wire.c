/* SPDX-License-Identifier: MIT */
/*
 * The client at the level of frames.
 *
 * What it is: the shortest honest way to keep a window of requests in flight, encoding each request
 * and decoding each reply by the codec, as any client must. What it is not: safe against a daemon
 * that misbehaves; it stops where anything is odd.
 *
 * Locks: none. A struct wire belongs to one thread at a time; buffers are each thread's own.
 */
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REPLIES_MAX      8u  /* frames taken from the socket at once */
#define REQUEST_SIZE_MAX 64u /* op, number, pool, one size or position, and their tags */

_Static_assert(CODEC_INFLIGHT_MAX *REQUEST_SIZE_MAX <= CODEC_FRAME_MAX,
               "a full window of requests fits a frame");

static _Thread_local struct codec_arena arena;
static _Thread_local unsigned char replies[REPLIES_MAX][CODEC_FRAME_MAX];
static _Thread_local unsigned char requests[CODEC_INFLIGHT_MAX][REQUEST_SIZE_MAX];

static int fail(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    return -1;
}

/* One request and its one reply, before anything is in flight. */
static int ask(struct wire *w, const Allot__Request *request, Allot__Reply **ret)
{
    size_t size = 0;

    if (codec_add_request(request, replies[0], &size) ||
        send(w->fd, replies[0], size, MSG_NOSIGNAL) < 0)
        return fail("send");
    /* No room for control data: the kernel drops the descriptor that an attach brings. */
    ssize_t n = recv(w->fd, replies[0], CODEC_FRAME_MAX, 0);
    if (n <= 0)
        return fail("no reply");
    if (codec_decode_reply(&arena, replies[0], (size_t)n, ret) || (*ret)->refused ||
        (*ret)->n_errors) {
        errno = EPROTO;
        return fail("refused");
    }
    return 0;
}

int wire_open_fd(struct wire *w, int fd, const char *pool)
{
    Allot__Request hello = ALLOT__REQUEST__INIT;
    Allot__Request attach = ALLOT__REQUEST__INIT;
    Allot__Reply *reply;

    *w = (struct wire){.fd = fd, .packets = true, .next = 1, .answered = 1};
    hello.op = ALLOT__OP__OP_HELLO;
    hello.version_min = hello.version_max = CODEC_VERSION;
    attach.op = ALLOT__OP__OP_ATTACH;
    attach.number = w->next;
    attach.name = (char *)pool;
    attach.access = ALLOT__ACCESS__ACCESS_WRITE;
    if (ask(w, &hello, &reply) || ask(w, &attach, &reply) || reply->n_pools != 1) {
        wire_close(w);
        return -1;
    }
    w->pool = reply->pools[0]->pool;
    w->next = w->answered = 2;
    return 0;
}

int wire_open(struct wire *w, const char *socket_path, const char *pool)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    w->fd = -1;
    if (fd < 0)
        return fail("socket");
    strncpy(address.sun_path, socket_path, sizeof(address.sun_path) - 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return fail(socket_path);
    }
    return wire_open_fd(w, fd, pool);
}

void wire_close(struct wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

/* Sends a request for each of `n` values of its one column. */
static int send_each(struct wire *w, Allot__Request *request, uint64_t *column,
                     const uint64_t *values, unsigned n)
{
    struct mmsghdr out[CODEC_INFLIGHT_MAX];
    struct iovec parts[CODEC_INFLIGHT_MAX];
    unsigned frames = 0;

    request->pool = w->pool;
    for (unsigned i = 0; i < n; i++) {
        request->number = w->next + i;
        if (values)
            *column = values[i];
        if (w->packets || frames == 0) {
            parts[frames] = (struct iovec){.iov_base = requests[frames]};
            out[frames].msg_hdr = (struct msghdr){.msg_iov = &parts[frames], .msg_iovlen = 1};
            frames++;
        }
        struct iovec *frame = &parts[frames - 1];
        if (codec_add_request(request, frame->iov_base, &frame->iov_len))
            return fail("a frame");
    }
    for (unsigned sent = 0; sent < frames;) {
        int rc = sendmmsg(w->fd, out + sent, frames - sent, MSG_NOSIGNAL);
        if (rc < 0)
            return fail("sendmmsg");
        sent += (unsigned)rc;
    }
    w->next += n;
    return 0;
}

int wire_send_allocs(struct wire *w, uint64_t size, unsigned n)
{
    Allot__Request request = ALLOT__REQUEST__INIT;

    request.op = ALLOT__OP__OP_ALLOC;
    request.n_sizes = 1;
    request.sizes = &size;
    return send_each(w, &request, &size, NULL, n);
}

int wire_send_frees(struct wire *w, const uint64_t *positions, unsigned n)
{
    Allot__Request request = ALLOT__REQUEST__INIT;
    uint64_t position;

    request.op = ALLOT__OP__OP_FREE;
    request.n_positions = 1;
    request.positions = &position;
    return send_each(w, &request, &position, positions, n);
}

static int take_reply(struct wire *w, const void *frame, size_t size, uint64_t *values)
{
    Allot__Reply *reply;

    if (size == 0 || codec_decode_reply(&arena, frame, size, &reply) ||
        reply->number != w->answered || reply->refused || reply->n_errors) {
        errno = EPROTO;
        return fail("a request failed");
    }
    if (values)
        for (size_t i = 0; i < reply->count; i++)
            values[i] = i < reply->n_values ? reply->values[i] : 0;
    w->answered += reply->count;
    return (int)reply->count;
}

int wire_receive(struct wire *w, uint64_t *values)
{
    struct mmsghdr in[REPLIES_MAX];
    struct iovec parts[REPLIES_MAX];
    int total = 0;

    for (unsigned i = 0; i < REPLIES_MAX; i++) {
        parts[i] = (struct iovec){.iov_base = replies[i], .iov_len = CODEC_FRAME_MAX};
        in[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int n = recvmmsg(w->fd, in, REPLIES_MAX, MSG_WAITFORONE, NULL);
    if (n < 0)
        return fail("recvmmsg");
    for (int i = 0; i < n; i++) {
        int count = take_reply(w, replies[i], in[i].msg_len, values ? values + total : NULL);
        if (count < 0)
            return -1;
        total += count;
    }
    return total;
}

int wire_run_allocs(struct wire *w, uint64_t size, uint64_t *positions, unsigned n, unsigned window)
{
    unsigned sent = 0;

    for (unsigned done = 0; done < n;) {
        unsigned room = window - (sent - done);
        unsigned more = room < n - sent ? room : n - sent;
        if (more && wire_send_allocs(w, size, more))
            return -1;
        sent += more;
        int answered = wire_receive(w, positions + done);
        if (answered < 0)
            return -1;
        done += (unsigned)answered;
    }
    return 0;
}

int wire_run_frees(struct wire *w, uint64_t *positions, unsigned n, unsigned window)
{
    unsigned sent = 0;

    for (unsigned done = 0; done < n;) {
        unsigned room = window - (sent - done);
        unsigned more = room < n - sent ? room : n - sent;
        if (more && wire_send_frees(w, positions + sent, more))
            return -1;
        sent += more;
        int answered = wire_receive(w, NULL);
        if (answered < 0)
            return -1;
        done += (unsigned)answered;
    }
    return 0;
}
