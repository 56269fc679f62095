/* SPDX-License-Identifier: MIT */
/*
 * A daemon that does what a test's script says: a thread at the other end of a real socket, with
 * the project's codec. It is for what the real daemon never or rarely does: odd groupings of
 * answers, answers given twice or late, refusals, garbage, sudden death.
 *
 * The script runs on the fake's thread, where a failed assert would not be seen; it calls
 * fake_check(), and fake_stop() tells the test of the first that failed.
 */
#ifndef ALLOT_FAKE_DAEMON_H
#define ALLOT_FAKE_DAEMON_H

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "codec.h"

#define FAKE_POOL_SIZE 65536u
#define FAKE_SESSION   7u
#define FAKE_SECRET    "sixteen bytes..."

struct fake {
    void (*script)(struct fake *);
    pthread_t thread;
    char directory[32];
    char path[64];
    int listener;
    int fd; /* the connection that helpers work on */
    int region;
    const char *failure;
    unsigned inflight_max;
    unsigned char frame[CODEC_FRAME_MAX]; /* the last received, */
    size_t size, at;                      /* read up to `at` */
    Allot__Request *request;              /* the last of it */
    struct codec_arena arena;
};

#define FAKE_STRING_(x) #x
#define FAKE_STRING(x)  FAKE_STRING_(x)
#define fake_check(f, condition)                                                                   \
    fake_note(f, condition, "line " FAKE_STRING(__LINE__) ": " #condition)

static inline void fake_note(struct fake *f, bool good, const char *text)
{
    if (!good && !f->failure)
        f->failure = text;
}

static inline void fake_send(struct fake *f, const Allot__Reply *reply, int region)
{
    unsigned char frame[CODEC_FRAME_MAX];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    size_t size = 0;

    fake_check(f, codec_encode_reply(reply, frame, &size) == 0);
    struct iovec iov = {.iov_base = frame, .iov_len = size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (region >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &region, sizeof(int));
    }
    fake_check(f, sendmsg(f->fd, &message, MSG_NOSIGNAL) == (ssize_t)size);
}

/* The next request, valid until the one after; NULL at the connection's end. */
static inline Allot__Request *fake_receive(struct fake *f)
{
    const void *request;
    size_t length;
    int error;

    f->request = NULL;
    if (f->at == f->size) {
        ssize_t size = recv(f->fd, f->frame, sizeof(f->frame), 0);
        f->size = size > 0 ? (size_t)size : 0;
        f->at = 0;
    }
    if (f->size > 0) {
        fake_check(f, codec_next_request(f->frame, f->size, &f->at, &request, &length, &error));
        fake_check(f, codec_decode_request(&f->arena, request, length, &f->request) == 0);
    }
    return f->request;
}

static inline bool fake_readable(const struct fake *f)
{
    struct pollfd p = {.fd = f->fd, .events = POLLIN};

    return f->at < f->size || poll(&p, 1, 0) == 1;
}

/* `errors` and `values` may be NULL. */
static inline void fake_answer(struct fake *f, uint64_t number, uint32_t count,
                               Allot__Error *errors, uint64_t *values)
{
    Allot__Reply reply = ALLOT__REPLY__INIT;

    reply.number = number;
    reply.count = count;
    reply.errors = errors;
    reply.n_errors = errors ? count : 0;
    reply.values = values;
    reply.n_values = values ? count : 0;
    fake_send(f, &reply, -1);
}

static inline void fake_refuse(struct fake *f, uint64_t number, Allot__Error why)
{
    Allot__Reply reply = ALLOT__REPLY__INIT;

    reply.number = number;
    reply.refused = why;
    fake_send(f, &reply, -1);
}

static inline void fake_accept(struct fake *f)
{
    f->fd = accept(f->listener, NULL, NULL);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_HELLO);
}

static inline void fake_welcome(struct fake *f)
{
    Allot__Reply reply = ALLOT__REPLY__INIT;

    reply.version = CODEC_VERSION;
    reply.session = FAKE_SESSION;
    reply.secret.data = (unsigned char *)(uintptr_t)FAKE_SECRET;
    reply.secret.len = CODEC_SECRET_SIZE;
    reply.frame_max = CODEC_FRAME_MAX;
    reply.batch_max = CODEC_BATCH_MAX;
    reply.inflight_max = f->inflight_max;
    fake_send(f, &reply, -1);
}

static inline void fake_hello(struct fake *f)
{
    fake_accept(f);
    fake_welcome(f);
}

/* The connection is lost. */
static inline void fake_hang_up(struct fake *f)
{
    close(f->fd);
    f->fd = -1;
}

/* A hello that takes the session up again, not answered yet. */
static inline void fake_accept_again(struct fake *f)
{
    fake_accept(f);
    fake_check(f, f->request && f->request->session == FAKE_SESSION &&
                      f->request->secret.len == CODEC_SECRET_SIZE &&
                      memcmp(f->request->secret.data, FAKE_SECRET, CODEC_SECRET_SIZE) == 0);
}

/* Answers the attach that has been received. */
static inline void fake_grant_attach(struct fake *f, uint64_t number)
{
    Allot__Reply reply = ALLOT__REPLY__INIT;
    Allot__PoolInfo pool = ALLOT__POOL_INFO__INIT, *pools[] = {&pool};

    pool.pool = 1;
    pool.name = "default";
    pool.allocator = "fake";
    pool.page_size = 4096;
    pool.size = pool.size_max = FAKE_POOL_SIZE;
    reply.number = number;
    reply.count = 1;
    reply.pools = pools;
    reply.n_pools = 1;
    fake_send(f, &reply, f->region);
}

/* Hello and the first attach, as nearly every script begins. */
static inline void fake_begin(struct fake *f)
{
    fake_hello(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ATTACH);
    if (f->request)
        fake_grant_attach(f, f->request->number);
}

/* Answers well all that comes until the client leaves. */
static inline void fake_end(struct fake *f)
{
    while (fake_receive(f)) {
        int count = codec_request_count(f->request);
        fake_check(f, count > 0);
        fake_answer(f, f->request->number, (uint32_t)count, NULL, NULL);
    }
    fake_hang_up(f);
}

static inline void *fake_run(void *ctx)
{
    struct fake *f = ctx;

    f->script(f);
    return NULL;
}

static inline void fake_start(struct fake *f, void (*script)(struct fake *))
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memset(f, 0, sizeof(*f));
    f->script = script;
    f->fd = -1;
    f->inflight_max = CODEC_INFLIGHT_MAX;
    strcpy(f->directory, "/tmp/allot-test-XXXXXX");
    if (!mkdtemp(f->directory))
        abort();
    snprintf(f->path, sizeof(f->path), "%s/sock", f->directory);
    memcpy(address.sun_path, f->path, strlen(f->path));
    f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    f->region = memfd_create("fake", MFD_CLOEXEC);
    if (f->listener < 0 || f->region < 0 || ftruncate(f->region, FAKE_POOL_SIZE) < 0 ||
        bind(f->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(f->listener, 8) < 0 || pthread_create(&f->thread, NULL, fake_run, f) != 0)
        abort();
}

/* NULL, or the check that failed in the script. */
static inline const char *fake_stop(struct fake *f)
{
    pthread_join(f->thread, NULL);
    if (f->fd >= 0)
        close(f->fd);
    close(f->listener);
    close(f->region);
    unlink(f->path);
    rmdir(f->directory);
    return f->failure;
}

#endif
