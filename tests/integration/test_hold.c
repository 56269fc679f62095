/* SPDX-License-Identifier: MIT */
/*
 * What is held on to: frozen allocations, and parcels, which hold what is on its way while senders,
 * receivers and the daemon die.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "allot.h"
#include "fixture.h"
#include "wire.h"

static struct wire w;
static struct wire other;

#define ACQUIRE ALLOT__OP__OP_ACQUIRE
#define RELEASE ALLOT__OP__OP_RELEASE
#define FREEZE  ALLOT__OP__OP_FREEZE

static uint64_t position_of(struct wire_ticket t)
{
    return t.place & ((1ull << CODEC_KIND_SHIFT) - 1);
}

/* ---- frozen ---- */

static void test_hold__frozen_survives_the_daemon(void **state)
{
    struct fixture *f = *state;
    uint64_t told = 0;

    wire_open(&w, f->socket);
    wire_open(&other, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 1000);
    wire_pool(&other, "default");
    check_equal(wire_reference(&other, FREEZE, pool, t, NULL), ALLOT__ERROR__E_NOT_OWNER);
    check_equal(wire_attach(&other, "default", ALLOT__ACCESS__ACCESS_READ, NULL), pool);
    check_equal(wire_reference(&w, FREEZE, pool, t, NULL), ALLOT__ERROR__E_OK);
    check_equal(wire_item(&w, ALLOT__OP__OP_RESIZE, pool, position_of(t), 500, 0, NULL),
                ALLOT__ERROR__E_FROZEN);
    wire_close(&w); /* this session lives on with this process */
    wire_close(&other);
    fixture_kill(f);
    fixture_start(f);
    wire_open(&other, f->socket);
    check_equal(wire_attach(&other, "default", ALLOT__ACCESS__ACCESS_READ, NULL), pool);
    check_equal(wire_reference(&other, ACQUIRE, pool, t, &told), ALLOT__ERROR__E_OK);
    check_equal(told, 1000 | CODEC_VALUE_FROZEN);
    check_equal(wire_reference(&other, FREEZE, pool, t, NULL), ALLOT__ERROR__E_DENIED);
    wire_close(&other);
}

static void open_pool(const struct fixture *f, enum allot_access access, struct allot **a,
                      struct allot_pool **p)
{
    check_equal(allot_open(a, f->socket), 0);
    check_equal(allot_attach(*a, NULL, access, p), 0);
}

static void test_hold__no_pointer_to_write_to_what_is_frozen(void **state)
{
    const struct fixture *f = *state;
    struct allot_ticket tickets[2];
    struct allot_pool *p;
    struct allot_pool *q;
    struct allot_pool *reading;
    struct allot *a;
    struct allot *b;
    uint64_t block;
    uint64_t pages;
    uint64_t size;

    open_pool(f, ALLOT_WRITE, &a, &p);
    open_pool(f, ALLOT_WRITE, &b, &q);
    check_equal(allot_attach(b, NULL, ALLOT_READ, &reading), 0);
    check_equal(allot_alloc(p, 100, NULL, &block), 0);
    check_equal(allot_alloc_pages(p, 2, NULL, &pages), 0);
    check_equal(allot_ticket(p, block, &tickets[0]), 0);
    check_equal(allot_ticket(p, pages, &tickets[1]), 0);
    strcpy(allot_ptr(p, block), "as it was");
    check_equal(allot_freeze(q, &tickets[0]), ALLOT_E_NOT_OWNER);
    check_equal(allot_acquire(q, &tickets[0], &block, &size), 0);
    check(allot_ptr(q, block) != NULL);
    check_equal(allot_freeze(reading, &tickets[0]), ALLOT_E_DENIED);
    check_equal(allot_release(q, &tickets[0]), 0);
    for (unsigned i = 0; i < 2; i++)
        check_equal(allot_freeze(p, &tickets[i]), 0);
    check(allot_ptr(p, block) == NULL && allot_ptr(p, pages) == NULL);
    check(strcmp(allot_const_ptr(p, block), "as it was") == 0);
    check_equal(allot_offset(p, allot_const_ptr(p, block)), block);

    check_equal(allot_acquire(q, &tickets[0], &block, &size), 0);
    check_equal(size, 100);
    check(allot_ptr(q, block) == NULL && allot_ptr(reading, block) == NULL);
    check(strcmp(allot_const_ptr(q, block), "as it was") == 0);
    check(strcmp(allot_const_ptr(reading, block), "as it was") == 0);
    check_equal(allot_release(q, &tickets[0]), 0);
    check(allot_ptr(q, block) != NULL); /* nothing of this session's is there */

    /* Resized it is a copy, which is not frozen. */
    uint64_t copy = 0;
    check_equal(allot_realloc(p, block, 100, 50, NULL, &copy), 0);
    check(copy != block);
    check(strcmp(allot_ptr(p, copy), "as it was") == 0);
    check_equal(allot_free(p, copy), 0);
    check_equal(allot_free_pages(p, pages, 2), 0);
    check(allot_ptr(p, pages) != NULL);
    allot_close(a);
    allot_close(b);
}

/* Whether a byte can be stored there; the kernel tries, so that nobody gets a signal. */
static bool is_writable(const void *at)
{
    struct gate g;

    gate_open(&g);
    gate_signal(&g);
    bool written = read(g.fds[0], (void *)(uintptr_t)at, 1) == 1;
    check(written || errno == EFAULT);
    gate_close(&g);
    return written;
}

static void test_hold__a_pointer_for_reading_is_for_reading(void **state)
{
    struct allot_pool *p;
    struct allot *a;
    uint64_t block;

    open_pool(*state, ALLOT_WRITE, &a, &p);
    check_equal(allot_alloc(p, 100, NULL, &block), 0);
    check(is_writable(allot_ptr(p, block)));
    check(!is_writable(allot_const_ptr(p, block)));
    allot_close(a);
}

/* ---- parcels ---- */

#define TAKERS  8u
#define ANYONE  0u
#define LONG_MS 600000u

static Allot__Error send_parcel(struct wire *v, uint32_t pool, struct wire_ticket t,
                                uint64_t receiver, uint64_t deadline_ms)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_SEND, pool);
    Allot__Error error;

    r.positions = &t.place;
    r.generations = &t.generation;
    r.n_positions = r.n_generations = 1;
    r.receiver = receiver;
    r.deadline_ms = deadline_ms;
    wire_run(v, &r, 1, &error, NULL);
    return error;
}

/* A sender in a process of its own. */
struct sender {
    const char *socket;
    uint64_t receiver;
    uint64_t deadline_ms;
    int pipe[2];
};

static void send_and_exit(void *ctx)
{
    struct sender *s = ctx;

    wire_open(&w, s->socket);
    uint32_t pool = wire_pool(&w, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 1000);
    check_equal(send_parcel(&w, pool, t, s->receiver, s->deadline_ms), ALLOT__ERROR__E_OK);
    check(write(s->pipe[1], &t, sizeof(t)) == sizeof(t));
}

/* Runs it to its end: the ticket that it sent. */
static struct wire_ticket sent_by_another(const char *socket, uint64_t receiver,
                                          uint64_t deadline_ms)
{
    struct sender s = {.socket = socket, .receiver = receiver, .deadline_ms = deadline_ms};
    struct wire_ticket t;

    check(pipe(s.pipe) == 0);
    child_join(child_start(send_and_exit, &s));
    check(read(s.pipe[0], &t, sizeof(t)) == sizeof(t));
    close(s.pipe[0]);
    close(s.pipe[1]);
    return t;
}

static void test_hold__sent_by_who_is_gone(void **state)
{
    const struct fixture *f = *state;
    uint64_t told;

    wire_open(&w, f->socket);
    wire_open(&other, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_pool(&other, "default");
    struct wire_ticket t = sent_by_another(f->socket, w.session, LONG_MS);
    wire_wait_sessions(&w, 2);
    check_equal(wire_reference(&other, ACQUIRE, pool, t, &told), ALLOT__ERROR__E_OK);
    check_equal(told, 1000);
    check_equal(wire_reference(&w, ACQUIRE, pool, t, &told), ALLOT__ERROR__E_OK);
    check_equal(told, 1000 | CODEC_VALUE_PARCEL);
    check_equal(wire_reference(&w, RELEASE, pool, t, NULL), ALLOT__ERROR__E_OK);
    check_equal(wire_reference(&other, RELEASE, pool, t, NULL), ALLOT__ERROR__E_OK);
    wire_wait_live(&w, "default", 0, 0, 0);

    t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 1000);
    check_equal(send_parcel(&w, pool, t, 1u << 30, LONG_MS), ALLOT__ERROR__E_SESSION);
    check_equal(send_parcel(&w, pool, t, ANYONE, 0), ALLOT__ERROR__E_INVALID);
    check_equal(send_parcel(&other, pool, t, ANYONE, LONG_MS), ALLOT__ERROR__E_NOT_OWNER);
    wire_close(&w);
    wire_close(&other);
}

struct taker {
    const char *socket;
    struct wire_ticket ticket;
    struct gate start;
    struct gate end;
    int pipe[2];
};

static void take(void *ctx)
{
    struct taker *t = ctx;
    uint64_t told;

    wire_open(&w, t->socket);
    uint32_t pool = wire_pool(&w, "default");
    check(write(t->pipe[1], "r", 1) == 1);
    gate_wait(&t->start);
    check_equal(wire_reference(&w, ACQUIRE, pool, t->ticket, &told), ALLOT__ERROR__E_OK);
    check(write(t->pipe[1], told & CODEC_VALUE_PARCEL ? "p" : "a", 1) == 1);
    gate_wait(&t->end); /* nobody lets go before all have it */
}

static void test_hold__one_of_many_takes_what_anyone_may(void **state)
{
    const struct fixture *f = *state;
    struct taker t = {.socket = f->socket};
    pid_t pids[TAKERS];
    unsigned parcels = 0;
    char told;

    t.ticket = sent_by_another(f->socket, ANYONE, LONG_MS);
    gate_open(&t.start);
    gate_open(&t.end);
    check(pipe(t.pipe) == 0);
    for (unsigned i = 0; i < TAKERS; i++)
        pids[i] = child_start(take, &t);
    for (unsigned i = 0; i < TAKERS; i++)
        check(read(t.pipe[0], &told, 1) == 1 && told == 'r');
    for (unsigned i = 0; i < TAKERS; i++)
        gate_signal(&t.start);
    for (unsigned i = 0; i < TAKERS; i++) {
        check(read(t.pipe[0], &told, 1) == 1);
        parcels += told == 'p';
    }
    check_equal(parcels, 1);
    for (unsigned i = 0; i < TAKERS; i++)
        gate_signal(&t.end);
    for (unsigned i = 0; i < TAKERS; i++)
        child_join(pids[i]);
    gate_close(&t.start);
    gate_close(&t.end);
    close(t.pipe[0]);
    close(t.pipe[1]);
    wire_open(&w, f->socket);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_close(&w);
}

static void test_hold__the_deadline_passes(void **state)
{
    struct fixture *f = *state;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    sent_by_another(f->socket, ANYONE, LONG_MS);
    struct wire_ticket t = sent_by_another(f->socket, ANYONE, 30); /* earlier than the first */
    wire_wait_live(&w, "default", 1, 0, 0);
    check_equal(wire_reference(&w, ACQUIRE, pool, t, NULL), ALLOT__ERROR__E_NOT_ALLOCATED);
    /* While no daemon is there, time goes on. */
    sent_by_another(f->socket, ANYONE, 500);
    wire_wait_live(&w, "default", 2, 0, 0);
    wire_close(&w);
    fixture_kill(f);
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_wait_live(&w, "default", 1, 0, 0);
    wire_close(&w);
}

/* Says who it is, and stays until it is killed. */
static void be_there(void *ctx)
{
    const struct sender *s = ctx;

    wire_open(&w, s->socket);
    wire_pool(&w, "default");
    check(write(s->pipe[1], &w.session, sizeof(w.session)) == sizeof(w.session));
    pause();
}

static void receiver_dies(struct fixture *f, bool meanwhile)
{
    struct sender s = {.socket = f->socket};
    uint64_t receiver;

    check(pipe(s.pipe) == 0);
    pid_t pid = child_start(be_there, &s);
    check(read(s.pipe[0], &receiver, sizeof(receiver)) == sizeof(receiver));
    close(s.pipe[0]);
    close(s.pipe[1]);
    sent_by_another(f->socket, receiver, LONG_MS);
    wire_open(&w, f->socket);
    wire_wait_live(&w, "default", 1, 0, 0);
    if (meanwhile) {
        wire_close(&w);
        fixture_kill(f);
        child_kill(pid);
        fixture_start(f);
        wire_open(&w, f->socket);
    } else {
        child_kill(pid);
    }
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_close(&w);
}

static void test_hold__the_receiver_dies(void **state)
{
    receiver_dies(*state, false);
    receiver_dies(*state, true);
}

static void parcel_across_a_restart(struct fixture *f, bool keep)
{
    const struct fixture_setup setup = {.keep_clients = keep};
    struct allot_pool *p;
    struct allot *a;
    uint64_t position;
    uint64_t size;

    fixture_open(f, &setup);
    fixture_start(f);
    open_pool(f, ALLOT_WRITE, &a, &p);
    check_equal(allot_alloc(p, 64, NULL, &position), 0); /* so that its socket is kept */
    struct wire_ticket t = sent_by_another(f->socket, allot_session_id(a), LONG_MS);
    fixture_kill(f);
    fixture_start(f);
    struct allot_ticket ticket = {.place = t.place | UINT64_C(1) << 56, .generation = t.generation};
    check_equal(allot_acquire(p, &ticket, &position, &size), 0);
    check_equal(size, 1000);
    /* And on, by the library; what it sent outlives its reference. */
    check_equal(allot_send(p, &ticket, ANYONE, LONG_MS), 0);
    check_equal(allot_release(p, &ticket), 0);
    check_equal(allot_send(p, &ticket, ANYONE, LONG_MS), ALLOT_E_NOT_OWNER);
    check_equal(allot_acquire(p, &ticket, &position, &size), 0);
    check_equal(allot_send(p, &ticket, 1u << 30, LONG_MS), ALLOT_E_SESSION);
    check_equal(allot_release(p, &ticket), 0);
    check_equal(allot_acquire(p, &ticket, &position, &size), ALLOT_E_NOT_ALLOCATED);
    allot_close(a);
    wire_open(&w, f->socket);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_close(&w);
}

static void test_hold__restart_on_kept_connections(void **state)
{
    parcel_across_a_restart(*state, true);
}

static void test_hold__restart_with_nothing_kept(void **state)
{
    parcel_across_a_restart(*state, false);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_hold__frozen_survives_the_daemon),
        fixture_test(test_hold__no_pointer_to_write_to_what_is_frozen),
        fixture_test(test_hold__a_pointer_for_reading_is_for_reading),
        fixture_test(test_hold__sent_by_who_is_gone),
        fixture_test(test_hold__one_of_many_takes_what_anyone_may),
        fixture_test(test_hold__the_deadline_passes),
        fixture_test(test_hold__the_receiver_dies),
        fixture_test_bare(test_hold__restart_on_kept_connections),
        fixture_test_bare(test_hold__restart_with_nothing_kept),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
