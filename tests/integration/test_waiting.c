/* SPDX-License-Identifier: MIT */
/*
 * Requests that wait for room: in order of arrival, to their deadline, across the daemon's death
 * and their own.
 */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/support.h"
#include "allot.h"
#include "fixture.h"
#include "wire.h"

#define WAITERS 10u
#define PAGES   255u /* of 1 MiB, but for the first */
#define LONG_MS 600000u
#define NOBODY  65534u
#define SLOTS   4096u /* of sessions */
#define SOME    20u
#define STARTS  9u /* of the daemon: more than a request may be the first at that ends it */

static struct wire w;
static struct wire others[WAITERS];
static uint64_t taken[PAGES];

static const struct fixture_setup lost = {
    .config = "[daemon]\nworkers = 2\n[pool default]\nsize_max = 1M\n"
              "[pool quota]\nsize_max = 1M\nquota = 512K\n"};

static void start(struct fixture *f, bool keep)
{
    struct fixture_setup setup = lost;

    setup.keep_clients = keep;
    fixture_open(f, &setup);
    fixture_start(f);
}

static int setup(void **state)
{
    fixture_setup_bare(state);
    start(*state, false);
    return 0;
}

#define waiting_test(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)

/* Takes all pages of the pool, one by one. */
static void fill(struct wire *v, uint32_t pool)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC_PAGES, pool);
    Allot__Error errors[PAGES];
    uint64_t ones[PAGES];

    for (unsigned i = 0; i < PAGES; i++)
        ones[i] = 1;
    r.sizes = ones;
    r.n_sizes = PAGES;
    wire_run(v, &r, PAGES, errors, taken);
    for (unsigned i = 0; i < PAGES; i++)
        check_equal(errors[i], ALLOT__ERROR__E_OK);
}

static void free_page(struct wire *v, uint32_t pool, uint64_t position)
{
    check_equal(wire_item(v, ALLOT__OP__OP_FREE_PAGES, pool, position, 1, 0, NULL),
                ALLOT__ERROR__E_OK);
}

/* Asks for pages, or IDs, and waits: the number under which the answer will come. */
static uint64_t ask(struct wire *v, Allot__Op op, uint32_t pool, uint64_t size, uint64_t ms)
{
    Allot__Request r = wire_request(op, pool);

    r.number = v->next++;
    r.sizes = &size;
    r.n_sizes = 1;
    r.deadline_ms = ms;
    wire_send(v, &r);
    return r.number;
}

static uint64_t ask_pages(struct wire *v, uint32_t pool, uint64_t pages)
{
    return ask(v, ALLOT__OP__OP_ALLOC_PAGES, pool, pages, LONG_MS);
}

/* What was asked before it has been looked at. */
static void settle(struct wire *v)
{
    check_equal(wire_ping(v), ALLOT__ERROR__E_OK);
}

static Allot__Error answer(struct wire *v, uint64_t number, uint64_t *ret_value)
{
    Allot__Error error;

    wire_collect(v, number, 1, &error, ret_value);
    return error;
}

/* Fills the pool, and has all wait for it. */
static uint32_t queue_up(const struct fixture *f, uint64_t *numbers)
{
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    for (unsigned i = 0; i < WAITERS; i++) {
        wire_open(&others[i], f->socket);
        wire_pool(&others[i], "default");
        wire_alloc(&others[i], pool, 16); /* what holds something has its connection kept */
    }
    for (unsigned i = 0; i < WAITERS; i++) /* the heap's page is gone then */
        check_equal(wire_item(&others[i], ALLOT__OP__OP_ALLOC_IDS, pool, 0, 1, 0, NULL), 0);
    Allot__Error error;
    unsigned n = 0;
    while (!(error = wire_item(&w, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 1, 0, &taken[n])))
        n++;
    check_equal(error, ALLOT__ERROR__E_NO_MEMORY);
    check(n > 3 * WAITERS);
    for (unsigned i = 0; i < WAITERS; i++) {
        numbers[i] = ask_pages(&others[i], pool, 1);
        settle(&others[i]);
    }
    return pool;
}

/* One page at a time is freed, and the next in the queue has it. */
static void serve_in_order(uint32_t pool, const uint64_t *numbers)
{
    uint64_t value;

    for (unsigned i = 0; i < WAITERS; i++) {
        for (unsigned k = i; k < WAITERS; k++)
            check(!wire_readable(&others[k]));
        free_page(&w, pool, taken[i]);
        check_equal(answer(&others[i], numbers[i], &value), ALLOT__ERROR__E_OK);
        check_equal(value, taken[i]);
    }
    for (unsigned i = 0; i < WAITERS; i++) {
        free_page(&others[i], pool, taken[i]);
        wire_close(&others[i]);
    }
}

static void test_waiting__in_order_of_arrival(void **state)
{
    uint64_t numbers[WAITERS];
    uint32_t pool = queue_up(*state, numbers);

    serve_in_order(pool, numbers);
    wire_close(&w);
}

static void test_waiting__across_a_restart_on_kept_connections(void **state)
{
    struct fixture *f = *state;
    uint64_t numbers[WAITERS];

    start(f, true);
    uint32_t pool = queue_up(f, numbers);
    fixture_kill(f);
    fixture_start(f);
    for (unsigned i = 0; i < WAITERS; i++)
        settle(&others[i]); /* an answer that was not consumed has come again */
    serve_in_order(pool, numbers);
    wire_close(&w);
}

/* A request that waits is suspected of nothing, also where it comes again at each start. */
static void test_waiting__over_many_starts(void **state)
{
    struct fixture *f = *state;
    Allot__SessionInfo info;
    uint64_t one = 1;
    uint64_t value;

    start(f, true);
    wire_open(&w, f->socket);
    wire_open(&others[0], f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_pool(&others[0], "default");
    wire_grant(&others[0], pool, ALLOT__OP__OP_ALLOC_IDS, 1);
    fill(&w, pool);
    uint64_t number = ask_pages(&others[0], pool, 1);
    settle(&others[0]);
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC_PAGES, pool);
    r.number = number;
    r.sizes = &one;
    r.n_sizes = 1;
    r.deadline_ms = LONG_MS;
    for (unsigned i = 0; i < STARTS; i++) {
        fixture_kill(f);
        wire_send(&others[0], &r);
        fixture_start(f);
        do {
            if (wire_readable(&others[0])) /* an answer may come again, no refusal */
                check_equal(wire_receive(&others[0])->refused, ALLOT__ERROR__E_OK);
            wire_sessions(&w, others[0].session, &info);
        } while (!info.bytes_received);
    }
    free_page(&w, pool, taken[3]);
    check_equal(answer(&others[0], number, &value), ALLOT__ERROR__E_OK);
    check_equal(value, taken[3]);
    wire_close(&others[0]);
    wire_close(&w);
}

/* Granted while nobody can be told: the next daemon tells. */
static void test_waiting__granted_and_not_told(void **state)
{
    struct fixture *f = *state;
    uint64_t numbers[WAITERS];
    uint64_t value;

    start(f, true);
    uint32_t pool = queue_up(f, numbers);
    free_page(&w, pool, taken[0]);
    check_equal(answer(&others[0], numbers[0], &value), ALLOT__ERROR__E_OK);
    fixture_kill(f);
    fixture_start(f);
    /* As if it had not been: the same answer again. */
    uint64_t again;
    check_equal(answer(&others[0], numbers[0], &again), ALLOT__ERROR__E_OK);
    check_equal(again, value);
    for (unsigned i = 0; i < WAITERS; i++)
        wire_close(&others[i]);
    wire_close(&w);
}

static void test_waiting__to_the_deadline(void **state)
{
    struct fixture *f = *state;
    uint64_t value;

    wire_open(&w, f->socket);
    wire_open(&others[0], f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_pool(&others[0], "default");
    fill(&w, pool);
    /* Two apart: one page is what would fit. */
    uint64_t number = ask(&others[0], ALLOT__OP__OP_ALLOC_PAGES, pool, 2, 100);
    settle(&others[0]);
    free_page(&w, pool, taken[3]);
    check_equal(answer(&others[0], number, &value), ALLOT__ERROR__E_DEADLINE);
    check_equal(value, 1);
    /* IDs wait for IDs only. */
    uint64_t pages = ask_pages(&others[0], pool, 2);
    number = ask(&others[0], ALLOT__OP__OP_ALLOC_IDS, pool, 5, LONG_MS);
    check_equal(answer(&others[0], number, &value), ALLOT__ERROR__E_OK);
    free_page(&w, pool, taken[4]);
    check_equal(answer(&others[0], pages, &value), ALLOT__ERROR__E_OK);
    wire_close(&w);
    wire_close(&others[0]);
}

static void test_waiting__refused_at_once(void **state)
{
    struct fixture *f = *state;
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, 0);
    uint64_t sizes[2] = {1, 1};
    uint64_t value;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t number = ask_pages(&w, pool, PAGES + 1);
    check_equal(answer(&w, number, &value), ALLOT__ERROR__E_NO_MEMORY);
    check_equal(value, PAGES);
    number = ask(&w, ALLOT__OP__OP_ALLOC, pool, 0, LONG_MS);
    check_equal(answer(&w, number, &value), ALLOT__ERROR__E_INVALID);
    uint32_t quota = wire_pool(&w, "quota");
    number = ask_pages(&w, quota, 129);
    check_equal(answer(&w, number, &value), ALLOT__ERROR__E_QUOTA);
    check_equal(value, 128);
    r.pool = pool;
    r.number = w.next;
    r.sizes = sizes;
    r.n_sizes = 2;
    r.deadline_ms = 1;
    wire_send(&w, &r);
    wire_expect_refusal(&w, ALLOT__ERROR__E_BATCH, r.number);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_waiting__for_a_quota(void **state)
{
    struct fixture *f = *state;
    uint64_t value;
    uint64_t first;

    wire_open(&w, f->socket);
    wire_open(&others[0], f->socket);
    uint32_t pool = wire_pool(&w, "quota");
    wire_pool(&others[0], "quota");
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 100, 0, &first), 0);
    uint64_t large = ask_pages(&others[0], pool, 60);
    uint64_t small = ask_pages(&others[0], pool, 5); /* it would fit, but is not the first */
    settle(&others[0]);
    check(!wire_readable(&others[0]));
    check_equal(wire_item(&w, ALLOT__OP__OP_FREE_PAGES, pool, first, 100, 0, NULL), 0);
    Allot__Error errors[2];
    check_equal(small, large + 1);
    wire_collect(&others[0], large, 2, errors, NULL);
    check(errors[0] == ALLOT__ERROR__E_OK && errors[1] == ALLOT__ERROR__E_OK);
    /* A reload may give what is waited for. */
    uint64_t more = ask_pages(&others[0], pool, 70);
    settle(&others[0]);
    fixture_reload(f, "[daemon]\nworkers = 2\n[pool default]\nsize_max = 1M\n"
                      "[pool quota]\nsize_max = 1M\nquota = 1M\n");
    check_equal(answer(&others[0], more, &value), ALLOT__ERROR__E_OK);
    wire_close(&w);
    wire_close(&others[0]);
}

/* A session of another user, in this process. */
static void open_as_nobody(struct wire *v, const struct fixture *f)
{
    fixture_open_to_all(f);
    check(seteuid(NOBODY) == 0);
    wire_open(v, f->socket);
    check(seteuid(0) == 0);
}

/* Who is first, but held back by what his user spends meanwhile, lets others go first. */
static void test_waiting__a_quota_that_is_spent_meanwhile(void **state)
{
    static const struct fixture_setup setup = {
        .config = "[daemon]\nworkers = 2\n[pool default]\nsize_max = 1M\nquota = 800K\n"};
    struct fixture *f = *state;

    if (geteuid() != 0) {
        check(!getenv("CI"));
        fprintf(stderr, "skipped: only root can be somebody else\n");
        skip();
    }
    fixture_open(f, &setup);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    open_as_nobody(&others[0], f);
    wire_pool(&others[0], "default");
    wire_grant(&others[0], pool, ALLOT__OP__OP_ALLOC_PAGES, 150);
    uint64_t block = wire_alloc(&w, pool, 4096);
    ask_pages(&w, pool, 110); /* of the 200 pages of its quota */
    settle(&w);
    uint64_t first = ask_pages(&others[0], pool, 2);
    uint64_t second = ask_pages(&others[0], pool, 2);
    settle(&others[0]);
    check(!wire_readable(&others[0]));
    wire_grant(&w, pool, ALLOT__OP__OP_ALLOC_PAGES, 90);
    check_equal(answer(&others[0], first, NULL), ALLOT__ERROR__E_OK);
    check_equal(answer(&others[0], second, NULL), ALLOT__ERROR__E_OK);
    wire_free(&w, pool, block);
    wire_close(&others[0]);
    wire_close(&w);
}

static Allot__Error publish(uint32_t pool, struct wire_ticket t)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_PUBLISH, pool);
    Allot__Error error;

    r.name = "one";
    r.positions = &t.place;
    r.generations = &t.generation;
    r.n_positions = r.n_generations = 1;
    r.replace = true;
    wire_run(&w, &r, 1, &error, NULL);
    return error;
}

/* What asks for its place is answered at once, also while others wait. */
static void test_waiting__not_for_a_place(void **state)
{
    struct fixture *f = *state;
    uint64_t ones[] = {1, 1};
    Allot__Error errors[2];

    wire_open(&w, f->socket);
    wire_open(&others[0], f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_pool(&others[0], "default");
    fill(&w, pool);
    free_page(&w, pool, taken[9]);
    uint64_t number = ask_pages(&others[0], pool, 2);
    settle(&others[0]);
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC_PAGES_AT, pool);
    uint64_t places[] = {taken[0], taken[9]};
    r.positions = places;
    r.n_positions = 2;
    r.sizes = ones;
    r.n_sizes = 2;
    r.deadline_ms = LONG_MS;
    wire_run(&w, &r, 2, errors, NULL);
    check_equal(errors[0], ALLOT__ERROR__E_OVERLAP);
    check_equal(errors[1], ALLOT__ERROR__E_OK);
    free_page(&w, pool, taken[0]);
    free_page(&w, pool, taken[1]);
    check_equal(answer(&others[0], number, NULL), ALLOT__ERROR__E_OK);
    wire_close(&w);
    wire_close(&others[0]);
}

static void test_waiting__for_what_only_a_name_held(void **state)
{
    struct fixture *f = *state;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_open(&others[0], f->socket);
    wire_pool(&others[0], "default");
    struct wire_ticket large = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC_PAGES, 200);
    struct wire_ticket small = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC_PAGES, 1);
    check_equal(publish(pool, large), ALLOT__ERROR__E_OK);
    check_equal(wire_reference(&w, ALLOT__OP__OP_RELEASE, pool, large, NULL), ALLOT__ERROR__E_OK);
    uint64_t number = ask_pages(&others[0], pool, 100);
    settle(&others[0]);
    check(!wire_readable(&others[0]));
    check_equal(publish(pool, small), ALLOT__ERROR__E_OK);
    check_equal(answer(&others[0], number, NULL), ALLOT__ERROR__E_OK);
    wire_close(&others[0]);
    wire_close(&w);
}

/* A number that waits is not queued again, nor its place in the journal taken. */
static void test_waiting__numbers_that_wait(void **state)
{
    struct fixture *f = *state;
    Allot__Request r;
    uint64_t one = 1;
    uint64_t value;

    wire_open(&w, f->socket);
    wire_open(&others[0], f->socket);
    struct wire *v = &others[0];
    uint32_t pool = wire_pool(&w, "default");
    wire_pool(v, "default");
    fill(&w, pool);
    uint64_t number = ask_pages(v, pool, 1);
    r = wire_request(ALLOT__OP__OP_ALLOC_PAGES, pool);
    r.number = number;
    r.sizes = &one;
    r.n_sizes = 1;
    r.deadline_ms = LONG_MS;
    wire_send(v, &r);
    settle(v);
    r.op = ALLOT__OP__OP_ALLOC;
    wire_send(v, &r);
    wire_expect_refusal(v, ALLOT__ERROR__E_SEQUENCE, number);
    r = wire_request(ALLOT__OP__OP_PING, 0);
    while (v->next < number + CODEC_INFLIGHT_MAX)
        settle(v);
    r.number = v->next;
    wire_send(v, &r);
    wire_expect_refusal(v, ALLOT__ERROR__E_SEQUENCE, v->next);
    free_page(&w, pool, taken[0]);
    free_page(&w, pool, taken[9]);
    check_equal(answer(v, number, &value), ALLOT__ERROR__E_OK);
    settle(v);
    settle(&w);
    check_equal(wire_pool_info(&w, "default")->free_pages, 1);
    wire_close(&w);
    wire_close(v);
}

/* A ping that uses up the number of one that waits. */
/* Each came alone; those between them are answered. */
static void test_waiting__sent_again_as_one(void **state)
{
    const struct fixture *f = *state;
    uint64_t sizes[CODEC_BATCH_MAX];

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_alloc(&w, pool, 16);
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC_PAGES, pool);
    r.number = w.next;
    for (unsigned i = 0; i < CODEC_BATCH_MAX / 2; i++) {
        ask_pages(&w, pool, PAGES);
        check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 1, 0, NULL),
                    ALLOT__ERROR__E_OK);
    }
    for (unsigned i = 0; i < CODEC_BATCH_MAX; i++)
        sizes[i] = 1;
    r.sizes = sizes;
    r.n_sizes = CODEC_BATCH_MAX;
    wire_send(&w, &r);
    wire_expect_refusal(&w, ALLOT__ERROR__E_SEQUENCE, r.number);
    wire_close(&w);
}

static void test_waiting__given_up(void **state)
{
    struct fixture *f = *state;
    Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);

    wire_open(&w, f->socket);
    wire_open(&others[0], f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_pool(&others[0], "default");
    fill(&w, pool);
    ping.number = ask_pages(&others[0], pool, 3); /* it holds up the next */
    uint64_t number = ask_pages(&others[0], pool, 1);
    settle(&others[0]);
    free_page(&w, pool, taken[0]);
    wire_send(&others[0], &ping);
    check_equal(answer(&others[0], ping.number, NULL), ALLOT__ERROR__E_OK);
    check_equal(answer(&others[0], number, NULL), ALLOT__ERROR__E_OK);
    wire_close(&others[0]);
    wire_close(&w);
}

/* Sessions that come and go. Each loop has its turns meanwhile, and slots are given out in turn. */
static void pass_by(const struct fixture *f, unsigned sessions)
{
    static struct wire v;

    for (unsigned i = 0; i < sessions; i++) {
        wire_open(&v, f->socket);
        check_equal(wire_goodbye(&v), ALLOT__ERROR__E_OK);
        wire_close(&v);
    }
}

/* Sends so many requests and a goodbye, and reads nothing. True where the goodbye is done, and its
 * answer stuck behind theirs. */
static bool leave_unread(const struct fixture *f, struct wire *v, unsigned requests)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_POOLS, 0);

    kill(f->pid, SIGSTOP);
    for (unsigned i = 0; i < requests; i++) {
        r.number = v->next++;
        wire_send(v, &r);
    }
    r.op = ALLOT__OP__OP_GOODBYE;
    r.number = v->next;
    wire_send(v, &r);
    kill(f->pid, SIGCONT);
    pass_by(f, SOME);
    struct pollfd end = {.fd = v->fd};
    return wire_sessions(&w, 0, NULL) == 1 && poll(&end, 1, 0) == 0;
}

/* The answer to a goodbye is still to be read when the session's slot, and its journal, are
 * another's, where something waits under the goodbye's number. */
static void test_waiting__in_the_slot_of_one_that_said_goodbye(void **state)
{
    const struct fixture *f = *state;
    struct wire *gone = &others[0];
    struct wire *next = &others[1];
    unsigned requests = 200;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 16);
    for (;; requests += 20) {
        check(requests < 1000);
        wire_open(gone, f->socket);
        wire_pool(gone, "default");
        uint64_t number = ask(gone, ALLOT__OP__OP_ALLOC, pool, 16, LONG_MS);
        check_equal(answer(gone, number, NULL), ALLOT__ERROR__E_OK);
        if (leave_unread(f, gone, requests))
            break;
        wire_close(gone);
    }
    pass_by(f, SLOTS - SOME - 1);
    wire_open(next, f->socket);
    wire_pool(next, "default");
    while (next->next % CODEC_INFLIGHT_MAX != gone->next % CODEC_INFLIGHT_MAX)
        settle(next);
    uint64_t number = ask_pages(next, pool, PAGES);
    settle(next);
    wire_collect(gone, gone->next - requests, requests, NULL, NULL);
    check_equal(answer(gone, gone->next, NULL), ALLOT__ERROR__E_OK);
    wire_expect_end(gone);
    wire_free(&w, pool, block);
    check_equal(answer(next, number, NULL), ALLOT__ERROR__E_OK);
    wire_close(gone);
    wire_close(next);
    wire_close(&w);
}

/* ---- in processes of their own, by the library ---- */

struct waiter {
    const char *socket;
    uint64_t pages;
    struct gate granted;
};

static void wait_for_pages(void *ctx)
{
    const struct waiter *t = ctx;
    struct allot_options options = {.wait_ms = LONG_MS};
    struct allot_pool *p;
    struct allot *a;
    uint64_t position;

    check_equal(allot_open(&a, t->socket), 0);
    check_equal(allot_set_timeout(a, 2000), 0); /* the wait is not bound by it */
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    check_equal(allot_alloc_pages(p, t->pages, &options, &position), 0);
    memset(allot_ptr(p, position), 1, t->pages * 4096);
    gate_signal(&t->granted);
    pause();
}

static pid_t waiter_start(struct waiter *t, const char *socket, uint64_t pages)
{
    *t = (struct waiter){.socket = socket, .pages = pages};
    Allot__SessionInfo info;
    size_t n = wire_sessions(&w, 0, NULL);
    gate_open(&t->granted);
    pid_t pid = child_start(wait_for_pages, t);
    wire_wait_sessions(&w, n + 1);
    do /* until it has attached, and asked */
        wire_sessions(&w, w.reply->sessions[n]->session, &info);
    while (info.operations < 2);
    return pid;
}

static void test_waiting__one_that_waits_is_killed(void **state)
{
    struct fixture *f = *state;
    struct waiter first;
    struct waiter second;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    fill(&w, pool);
    pid_t doomed = waiter_start(&first, f->socket, 200); /* it holds up the other */
    pid_t pid = waiter_start(&second, f->socket, 1);
    free_page(&w, pool, taken[5]);
    child_kill(doomed);
    gate_wait(&second.granted);
    child_kill(pid);
    wire_wait_sessions(&w, 1);
    check_equal(wire_pool_info(&w, "default")->free_pages, 1);
    gate_close(&first.granted);
    gate_close(&second.granted);
    wire_close(&w);
}

/* The clients' calls go on, whether their connections are kept or made again. */
static void library_across_a_restart(struct fixture *f, bool keep)
{
    struct waiter first;
    struct waiter second;
    struct allot_pool *p;
    struct allot *a;
    unsigned n = 0;

    start(f, keep);
    check_equal(allot_open(&a, f->socket), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    while (n < PAGES && allot_alloc_pages(p, 1, NULL, &taken[n]) == 0)
        n++;
    check_equal(n, PAGES);
    wire_open(&w, f->socket);
    pid_t pids[2] = {waiter_start(&first, f->socket, 2), waiter_start(&second, f->socket, 1)};
    wire_close(&w);
    for (unsigned i = 0; i < STARTS; i++) {
        fixture_kill(f);
        fixture_start(f);
    }
    check_equal(allot_free_pages(p, taken[7], 1), 0);
    check_equal(allot_free_pages(p, taken[9], 1), 0); /* not beside it */
    check_equal(allot_free_pages(p, taken[8], 1), 0);
    gate_wait(&first.granted);
    gate_wait(&second.granted);
    struct allot_options soon = {.wait_ms = 20};
    uint64_t position;
    check_equal(allot_alloc_pages(p, 1, &soon, &position), ALLOT_E_DEADLINE);
    check_equal(allot_last_limit(), 0);
    for (unsigned i = 0; i < 2; i++)
        child_kill(pids[i]);
    gate_close(&first.granted);
    gate_close(&second.granted);
    soon.wait_ms = LONG_MS;
    check_equal(allot_alloc_pages(p, 3, &soon, &position), 0);
    check_equal(position, taken[7]);
    allot_close(a);
}

static void test_waiting__library_on_kept_connections(void **state)
{
    library_across_a_restart(*state, true);
}

static void test_waiting__library_with_nothing_kept(void **state)
{
    library_across_a_restart(*state, false);
}

/* A call that waits is not ended by the session's time-out before the daemon ends it. */
static void test_waiting__longer_than_the_timeout(void **state)
{
    const struct fixture *f = *state;
    struct allot_options options = {.wait_ms = 1500};
    struct allot_pool *p;
    struct allot *a;
    uint64_t position;

    check_equal(allot_open(&a, f->socket), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    check_equal(allot_alloc_pages(p, PAGES - 3, NULL, &position), 0);
    check_equal(allot_set_timeout(a, 1000), 0);
    check_equal(allot_alloc_pages(p, 10, &options, &position), ALLOT_E_DEADLINE);
    check_equal(allot_last_limit(), 3);
    uint64_t sizes[2] = {1, 1};
    uint64_t offsets[2];
    for (size_t n = 1; n <= 2; n++)
        check_equal(allot_alloc_batch(p, n, sizes, &options, offsets, NULL), ALLOT_E_BATCH);
    allot_close(a);
}

/* ---- at random ---- */

#define CLIENTS 6u
#define KILLS   15u
#define ROUNDS  60u

struct storm {
    const char *socket;
    uint64_t seed;
    const struct gate *ready;
};

/* Nobody waits while holding something, so that everybody gets what he wants. */
static void storm(void *ctx)
{
    const struct storm *s = ctx;
    struct allot_options options = {.wait_ms = LONG_MS};
    struct test_random random;
    struct allot_pool *p;
    struct allot *a;

    test_random_init(&random, s->seed);
    check_equal(allot_open(&a, s->socket), 0);
    check_equal(allot_set_timeout(a, FIXTURE_DEADLINE_MS), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    gate_signal(s->ready);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t pages = 1 + test_random_below(&random, PAGES - 1);
        uint64_t at;
        check_equal(allot_alloc_pages(p, pages, &options, &at), 0);
        memset(allot_ptr(p, at), (int)s->seed, pages * 4096);
        check_equal(allot_ping(a), 0);
        const unsigned char *bytes = allot_const_ptr(p, at);
        for (uint64_t k = 0; k < pages; k++)
            check_equal(bytes[k * 4096], (unsigned char)s->seed);
        check_equal(allot_free_pages(p, at, pages), 0);
    }
    allot_close(a);
}

static void storm_under_kills(struct fixture *f, bool keep)
{
    struct storm storms[CLIENTS];
    pid_t pids[CLIENTS];
    uint64_t seed = test_seed(0x5a17);
    struct test_random random;
    struct gate ready;

    fprintf(stderr, "seed %#llx\n", (unsigned long long)seed);
    test_random_init(&random, seed);
    start(f, keep);
    gate_open(&ready);
    for (unsigned i = 0; i < CLIENTS; i++) {
        storms[i] = (struct storm){.socket = f->socket, .seed = seed + i, .ready = &ready};
        pids[i] = child_start(storm, &storms[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        gate_wait(&ready);
    for (unsigned i = 0; i < KILLS; i++) {
        struct timespec nap = {.tv_nsec = (long)test_random_below(&random, 8) * 1000000};
        nanosleep(&nap, NULL); /* the moment is what is at random */
        fixture_kill(f);
        fixture_start(f);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        child_join(pids[i]);
    gate_close(&ready);
    wire_open(&w, f->socket);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_wait_sessions(&w, 1);
    wire_close(&w);
}

static void test_waiting__storm_on_kept_connections(void **state)
{
    storm_under_kills(*state, true);
}

static void test_waiting__storm_with_nothing_kept(void **state)
{
    storm_under_kills(*state, false);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        waiting_test(test_waiting__in_order_of_arrival),
        waiting_test(test_waiting__to_the_deadline),
        waiting_test(test_waiting__refused_at_once),
        waiting_test(test_waiting__for_a_quota),
        fixture_test_bare(test_waiting__a_quota_that_is_spent_meanwhile),
        waiting_test(test_waiting__not_for_a_place),
        waiting_test(test_waiting__for_what_only_a_name_held),
        waiting_test(test_waiting__numbers_that_wait),
        waiting_test(test_waiting__sent_again_as_one),
        waiting_test(test_waiting__given_up),
        waiting_test(test_waiting__in_the_slot_of_one_that_said_goodbye),
        waiting_test(test_waiting__one_that_waits_is_killed),
        waiting_test(test_waiting__longer_than_the_timeout),
        fixture_test_bare(test_waiting__across_a_restart_on_kept_connections),
        fixture_test_bare(test_waiting__over_many_starts),
        fixture_test_bare(test_waiting__granted_and_not_told),
        fixture_test_bare(test_waiting__library_on_kept_connections),
        fixture_test_bare(test_waiting__library_with_nothing_kept),
        fixture_test_bare(test_waiting__storm_on_kept_connections),
        fixture_test_bare(test_waiting__storm_with_nothing_kept),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
