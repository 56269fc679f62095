/* SPDX-License-Identifier: MIT */
/*
 * A session of liballot with the test file's own fake daemon, and what several of these tests do
 * with one.
 */
#ifndef ALLOT_FAKE_SESSION_H
#define ALLOT_FAKE_SESSION_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "allot.h"
#include "fake_daemon.h"

static struct fake fake;

static inline struct allot *open_session(void)
{
    struct allot *a = NULL;

    assert_int_equal(allot_open(&a, fake.path), 0);
    return a;
}

static inline struct allot_pool *attach_default(struct allot *a)
{
    struct allot_pool *p = NULL;

    assert_int_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    return p;
}

/* Waits for the script's end. */
static inline void expect_no_failure(void)
{
    const char *failure = fake_stop(&fake);

    if (failure)
        fail_msg("the fake daemon saw: %s", failure);
}

/* What a script grants for a size, so that an answer tells which request it belongs to. */
static inline uint64_t grant_for(uint64_t size)
{
    return size * 16;
}

/* The block that the process holds, twice: what is only counted here is told as well. */
#define HELD 16u

static inline void grant_one(struct fake *f)
{
    uint64_t position = HELD;
    uint64_t generation = 1;
    Allot__Reply reply = ALLOT__REPLY__INIT;

    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ALLOC);
    reply.number = f->request->number;
    reply.count = 1;
    reply.n_values = reply.n_generations = 1;
    reply.values = &position;
    reply.generations = &generation;
    fake_send(f, &reply, -1);
}

static inline struct allot_ticket hold_one(struct allot_pool *p)
{
    struct allot_ticket t;
    uint64_t offset;

    assert_int_equal(allot_alloc(p, 100, NULL, &offset), 0);
    assert_int_equal(offset, HELD);
    assert_int_equal(allot_ticket(p, HELD, &t), 0);
    assert_int_equal(allot_acquire(p, &t, &offset, NULL), 0);
    return t;
}

static inline unsigned count_descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

struct pinger {
    pthread_t thread;
    struct allot *a;
    int code;
};

static inline void *ping_thread(void *ctx)
{
    struct pinger *t = ctx;

    t->code = allot_ping(t->a);
    return NULL;
}

#endif
