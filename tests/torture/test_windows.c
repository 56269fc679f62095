/* SPDX-License-Identifier: MIT */
/*
 * The daemon is killed under clients that know nothing of reconnecting: 32 raw connections with 1,
 * 16 or 256 operations in flight, in single requests and in batches, some of which drain their
 * answers slowly, on a pool that is full, so that places are used again and again.
 *
 * Each client demands: its connection stays; answers come for every operation, in order; one that
 * comes once more is the same; what it is granted is nobody else's (it writes its own name there);
 * and what the daemon says it holds is what it was answered, neither more nor less.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "storm.h"
#include "wire.h"

#define HELD           512u
#define SIZE_MAX_BYTES 8192u

/* How a client behaves: by its index. */
static const struct manner {
    unsigned window; /* operations in flight */
    unsigned batch;  /* in one request */
    bool slow;       /* in draining its answers */
} manners[] = {
    {1, 1, false},   {16, 1, false},   {256, 1, false}, {256, 256, false},
    {256, 64, true}, {256, 16, false}, {16, 4, false},  {256, 1, true},
};

enum state { FREE, GRANTING, GRANTED, FREEING };

struct thing {
    enum state state;
    uint64_t position;
};

/* An operation: in flight, and after that for as long as its answer may be repeated. */
struct operation {
    struct thing *thing;
    Allot__Error error;
    uint64_t value;
};

struct client {
    const struct manner *manner;
    struct storm *storm;
    struct test_random random;
    struct wire w;
    uint32_t pool;
    char *region;
    uint64_t name;     /* what it writes */
    uint64_t answered; /* number of the last one */
    struct thing held[HELD];
    struct operation operations[CODEC_INFLIGHT_MAX];
};

/* ---- answers ---- */

static uint64_t *at(const struct client *c, const struct thing *t)
{
    return (uint64_t *)(void *)(c->region + t->position);
}

static void take_first(struct client *c, struct operation *o)
{
    struct thing *t = o->thing;

    if (t->state == FREEING) {
        check_equal(o->error, ALLOT__ERROR__E_OK);
        t->state = FREE;
    } else if (o->error) {
        check_equal(o->error, ALLOT__ERROR__E_NO_MEMORY);
        atomic_fetch_add(&c->storm->refused, 1);
        t->state = FREE;
    } else {
        t->position = o->value;
        t->state = GRANTED;
        *at(c, t) = c->name;
    }
}

static void take_answers(struct client *c)
{
    const Allot__Reply *r = wire_receive(&c->w);

    check(r != NULL); /* the connection stays */
    check_equal(r->refused, ALLOT__ERROR__E_OK);
    for (unsigned i = 0; i < r->count; i++) {
        uint64_t number = r->number + i;
        struct operation *o = &c->operations[number % CODEC_INFLIGHT_MAX];
        Allot__Error error = r->n_errors ? r->errors[i] : ALLOT__ERROR__E_OK;
        uint64_t value = r->n_values ? r->values[i] : 0;
        if (number <= c->answered) {
            check_equal(o->error, error);
            check_equal(o->value, value);
            atomic_fetch_add(&c->storm->repeated, 1);
            continue;
        }
        check_equal(number, ++c->answered);
        o->error = error;
        o->value = value;
        take_first(c, o);
    }
}

static unsigned in_flight(const struct client *c)
{
    return (unsigned)(c->w.next - 1 - c->answered);
}

/* ---- requests ---- */

/* A request for up to `batch` things that are in the state `from`. False where the socket is full,
 * or there are none. */
static bool ask(struct client *c, enum state from)
{
    Allot__Request r =
        wire_request(from == FREE ? ALLOT__OP__OP_ALLOC : ALLOT__OP__OP_FREE, c->pool);
    struct thing *things[CODEC_BATCH_MAX];
    uint64_t numbers[CODEC_BATCH_MAX];
    unsigned n = 0;
    unsigned start = (unsigned)test_random_below(&c->random, HELD);

    for (unsigned i = 0; i < HELD && n < c->manner->batch; i++) {
        struct thing *t = &c->held[(start + i) % HELD];
        if (t->state != from)
            continue;
        if (from == GRANTED)
            check_equal(*at(c, t), c->name);
        numbers[n] = from == FREE ? sizeof(c->name) + test_random_below(&c->random, SIZE_MAX_BYTES)
                                  : t->position;
        things[n++] = t;
    }
    if (n == 0)
        return false;
    r.number = c->w.next;
    if (from == FREE) {
        r.sizes = numbers;
        r.n_sizes = n;
    } else {
        r.positions = numbers;
        r.n_positions = n;
    }
    if (!wire_try_send(&c->w, &r))
        return false;
    for (unsigned i = 0; i < n; i++) {
        things[i]->state = from == FREE ? GRANTING : FREEING;
        c->operations[c->w.next++ % CODEC_INFLIGHT_MAX].thing = things[i];
    }
    atomic_fetch_add(&c->storm->operations, n);
    return true;
}

static void drain(struct client *c, unsigned rest)
{
    static const struct timespec nap = {.tv_nsec = 2000000};

    if (c->manner->slow)
        nanosleep(&nap, NULL);
    while (in_flight(c) > rest)
        take_answers(c);
}

static void expect_held(struct client *c)
{
    Allot__SessionInfo info;
    unsigned held = 0;

    for (unsigned i = 0; i < HELD; i++)
        held += c->held[i].state == GRANTED;
    wire_sessions(&c->w, c->w.session, &info);
    check_equal(info.allocations, held);
    c->answered = c->w.next - 1; /* that one's is here */
}

static void work(void *ctx)
{
    const struct storm_client *self = ctx;
    static struct client c;

    c = (struct client){.manner = &manners[self->index % (sizeof(manners) / sizeof(manners[0]))],
                        .storm = self->storm,
                        .name = self->seed};
    test_random_init(&c.random, self->seed);
    wire_open(&c.w, self->storm->socket);
    c.pool = wire_attach(&c.w, "default", ALLOT__ACCESS__ACCESS_WRITE, NULL);
    c.region = mmap(NULL, c.w.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, c.w.reply_fd, 0);
    check(c.region != MAP_FAILED);
    c.answered = c.w.next - 1;
    atomic_store(&self->storm->sessions[self->index], c.w.session);
    while (!atomic_load(&self->storm->stop)) {
        while (in_flight(&c) + c.manner->batch <= c.manner->window &&
               ask(&c, test_random_below(&c.random, 5) < 3 ? FREE : GRANTED))
            ;
        /* Half the window, so that it never runs dry. */
        drain(&c, c.manner->slow ? 0 : in_flight(&c) / 2);
    }
    drain(&c, 0);
    expect_held(&c);
    while (ask(&c, GRANTED))
        drain(&c, 0);
    expect_held(&c);
    wire_close(&c.w);
}

/* ---- kills ---- */

/* Until the manager has the connections of all clients: from then on they must stay. */
static void wait_kept(struct fixture *f, const struct storm *s, unsigned before)
{
    for (unsigned i = 0; i < STORM_CLIENTS; i++) {
        char name[64];
        bool kept = false;
        while (!kept) {
            storm_wait(s, 1);
            snprintf(name, sizeof(name), "client-%llu",
                     (unsigned long long)atomic_load(&s->sessions[i]));
            kept = f->setup.arguments ? fixture_count_fds(f) >= before + STORM_CLIENTS
                                      : fixture_find_stored(f, name) >= 0;
        }
    }
}

static void run(struct fixture *f, const struct fixture_setup *setup, uint64_t kills,
                uint64_t operations)
{
    struct storm_client clients[STORM_CLIENTS];
    pid_t pids[STORM_CLIENTS];
    struct test_random random;

    test_random_init(&random, storm_seed());
    fixture_open(f, setup);
    fixture_start(f);
    struct storm *s = storm_new(f);
    uint64_t free_pages = storm_free_pages(f);
    unsigned before = fixture_count_fds(f);
    for (unsigned i = 0; i < STORM_CLIENTS; i++) {
        clients[i] =
            (struct storm_client){.storm = s, .index = i, .seed = test_random_next(&random)};
        pids[i] = child_start(work, &clients[i]);
    }
    wait_kept(f, s, before);
    for (uint64_t i = 0; i < kills; i++) {
        storm_wait(s, test_random_below(&random, 2 * operations / kills));
        if (setup->arguments) {
            fixture_kill_supervised(f);
        } else {
            fixture_kill(f);
            fixture_start(f);
        }
    }
    while (atomic_load(&s->operations) < operations)
        storm_wait(s, 1);
    atomic_store(&s->stop, true);
    for (unsigned i = 0; i < STORM_CLIENTS; i++)
        child_join(pids[i]);
    storm_expect_nothing(f, free_pages);
    printf("the daemon killed %llu times; %llu operations, %llu refused, %llu answered twice\n",
           (unsigned long long)kills, (unsigned long long)s->operations,
           (unsigned long long)s->refused, (unsigned long long)s->repeated);
    check(s->refused * 10 >= s->operations); /* the pool was full */
    storm_free(s);
}

#define CONFIG "[daemon]\nworkers = 2\n[pool default]\nsize_max = 4M\n"

static void test_windows__the_daemon_killed(void **state)
{
    static const struct fixture_setup kept = {.config = CONFIG, .keep_clients = true};

    run(*state, &kept, storm_length(50, 1000), storm_length(100000, 10000000));
}

static void test_windows__the_supervised_daemon_killed(void **state)
{
    static const char *const arguments[] = {"--supervise", NULL};
    static const struct fixture_setup supervised = {.config = CONFIG, .arguments = arguments};

    run(*state, &supervised, storm_length(50, 1000), storm_length(100000, 10000000));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_windows__the_daemon_killed),
        fixture_test_bare(test_windows__the_supervised_daemon_killed),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
