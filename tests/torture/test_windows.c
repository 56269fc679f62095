/* SPDX-License-Identifier: MIT */
/*
 * The daemon is killed, or restarted, under clients that know nothing of reconnecting: 32 raw
 * connections with 1, 16 or 256 operations in flight, in single requests and in batches, some of
 * which drain their answers slowly, on a pool that is full, so that places are used again and
 * again.
 *
 * Each client demands: its connection stays; answers come for every operation, in order but for
 * those that wait; one that comes once more is the same; what it is granted is nobody else's (it
 * writes its own name there); what it publishes is found, until it is unpublished or replaced; and
 * what the daemon says it holds is what it was answered, neither more nor less.
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
#define WAITED_BYTES   12288u
#define NAMES          8u
#define OPERATIONS     (2u * CODEC_INFLIGHT_MAX) /* in flight, and before these in the journal */
#define WAITING_MAX    4u /* all clients together no more than one user may have */

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
    uint64_t generation;
    unsigned names; /* that it has when all that is in flight is done */
};

/* An operation: in flight, and after that for as long as its answer may be repeated. */
struct operation {
    struct thing *thing; /* of a grant or a free */
    bool waits;
    bool answered;
    Allot__Error error; /* of names it is known before */
    uint64_t value;
};

struct client {
    const struct manner *manner;
    struct storm *storm;
    unsigned index;
    struct test_random random;
    struct wire w;
    uint32_t pool;
    char *region;
    uint64_t name;     /* what it writes */
    uint64_t answered; /* all up to this number */
    unsigned waiting;
    struct thing held[HELD];
    struct thing *names[NAMES]; /* what they name when all that is in flight is done */
    struct operation operations[OPERATIONS];
};

/* ---- answers ---- */

static uint64_t *at(const struct client *c, const struct thing *t)
{
    return (uint64_t *)(void *)(c->region + t->position);
}

static void take_first(struct client *c, struct operation *o, Allot__Error error, uint64_t value,
                       uint64_t generation)
{
    struct thing *t = o->thing;

    if (!t) {
        check_equal(error, o->error);
        check_equal(value, o->value);
    } else if (t->state == FREEING) {
        check_equal(error, ALLOT__ERROR__E_OK);
        t->state = FREE;
    } else if (error) {
        check_equal(error, o->waits ? ALLOT__ERROR__E_DEADLINE : ALLOT__ERROR__E_NO_MEMORY);
        atomic_fetch_add(o->waits ? &c->storm->in_vain : &c->storm->refused, 1);
        t->state = FREE;
    } else {
        atomic_fetch_add(&c->storm->waited, o->waits);
        t->position = value;
        t->generation = generation;
        t->state = GRANTED;
        *at(c, t) = c->name;
    }
    c->waiting -= o->waits;
    o->error = error;
    o->value = value;
    o->answered = true;
}

static struct operation *operation(struct client *c, uint64_t number)
{
    return &c->operations[number % OPERATIONS];
}

/* Whether all before it are answered, but for those that wait. */
static bool is_in_order(struct client *c, uint64_t number)
{
    for (uint64_t before = c->answered + 1; before < number; before++)
        if (!operation(c, before)->answered && !operation(c, before)->waits)
            return false;
    return number < c->w.next;
}

/* The last request's answer is here already. */
static void answered_already(struct client *c)
{
    c->answered = c->w.next - 1;
    *operation(c, c->answered) = (struct operation){.answered = true};
}

static void take_answers(struct client *c)
{
    const Allot__Reply *r = wire_receive(&c->w);

    if (!r)
        fprintf(stderr, "session %llu, %llu of %llu operations answered: its connection is lost\n",
                (unsigned long long)c->w.session, (unsigned long long)c->answered,
                (unsigned long long)c->w.next - 1);
    check(r != NULL); /* the connection stays */
    check_equal(r->refused, ALLOT__ERROR__E_OK);
    for (unsigned i = 0; i < r->count; i++) {
        uint64_t number = r->number + i;
        struct operation *o = operation(c, number);
        Allot__Error error = r->n_errors ? r->errors[i] : ALLOT__ERROR__E_OK;
        uint64_t value = r->n_values ? r->values[i] : 0;
        if (o->answered) {
            check_equal(o->error, error);
            check_equal(o->value, value);
            atomic_fetch_add(&c->storm->repeated, 1);
            continue;
        }
        check(o->waits || is_in_order(c, number));
        take_first(c, o, error, value, r->n_generations ? r->generations[i] : 0);
    }
    while (c->answered + 1 < c->w.next && operation(c, c->answered + 1)->answered)
        c->answered++;
}

static unsigned in_flight(const struct client *c)
{
    return (unsigned)(c->w.next - 1 - c->answered);
}

/* ---- requests ---- */

/* False where the socket is full. */
static bool begin(struct client *c, Allot__Request *r, const struct operation *operations,
                  unsigned n)
{
    r->number = c->w.next;
    if (!wire_try_send(&c->w, r))
        return false;
    for (unsigned i = 0; i < n; i++)
        *operation(c, c->w.next++) = operations[i];
    atomic_fetch_add(&c->storm->operations, n);
    return true;
}

/* A request for up to `batch` things that are in the state `from` and have no names. False where
 * the socket is full, or there are none. */
static bool ask(struct client *c, enum state from)
{
    Allot__Request r =
        wire_request(from == FREE ? ALLOT__OP__OP_ALLOC : ALLOT__OP__OP_FREE, c->pool);
    struct operation operations[CODEC_BATCH_MAX];
    uint64_t numbers[CODEC_BATCH_MAX];
    unsigned n = 0;
    unsigned start = (unsigned)test_random_below(&c->random, HELD);

    for (unsigned i = 0; i < HELD && n < c->manner->batch; i++) {
        struct thing *t = &c->held[(start + i) % HELD];
        if (t->state != from || t->names)
            continue;
        if (from == GRANTED)
            check_equal(*at(c, t), c->name);
        numbers[n] = from == FREE ? sizeof(c->name) + test_random_below(&c->random, SIZE_MAX_BYTES)
                                  : t->position;
        operations[n++] = (struct operation){.thing = t};
    }
    if (n == 0)
        return false;
    if (from == FREE) {
        r.sizes = numbers;
        r.n_sizes = n;
    } else {
        r.positions = numbers;
        r.n_positions = n;
    }
    if (!begin(c, &r, operations, n))
        return false;
    for (unsigned i = 0; i < n; i++)
        operations[i].thing->state = from == FREE ? GRANTING : FREEING;
    return true;
}

static struct thing *pick(struct client *c, enum state state)
{
    struct thing *t = &c->held[test_random_below(&c->random, HELD)];

    return t->state == state ? t : NULL;
}

/* For a block that the pool mostly has no room for. */
static void ask_to_wait(struct client *c)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, c->pool);
    struct operation o = {.thing = pick(c, FREE), .waits = true};
    uint64_t size = WAITED_BYTES;

    r.sizes = &size;
    r.n_sizes = 1;
    r.deadline_ms = 1 + test_random_below(&c->random, 20);
    if (!o.thing || c->waiting == WAITING_MAX || !begin(c, &r, &o, 1))
        return;
    o.thing->state = GRANTING;
    c->waiting++;
}

static void publish(struct client *c, Allot__Request *r, struct thing **named)
{
    struct operation o = {.error = ALLOT__ERROR__E_OK};
    struct thing *t = pick(c, GRANTED);
    uint64_t place;

    if (!t)
        return;
    place = (uint64_t)CODEC_KIND_BYTES << CODEC_KIND_SHIFT | t->position;
    r->op = ALLOT__OP__OP_PUBLISH;
    r->positions = &place;
    r->generations = &t->generation;
    r->n_positions = r->n_generations = 1;
    r->replace = test_random_below(&c->random, 2) == 0;
    if (*named && !r->replace)
        o.error = ALLOT__ERROR__E_EXISTS;
    if (!begin(c, r, &o, 1) || o.error)
        return;
    atomic_fetch_add(&c->storm->published, 1);
    if (*named)
        (*named)->names--;
    t->names++;
    *named = t;
}

static void unpublish(struct client *c, Allot__Request *r, struct thing **named)
{
    struct operation o = {.error = *named ? ALLOT__ERROR__E_OK : ALLOT__ERROR__E_NO_NAME};

    r->op = ALLOT__OP__OP_UNPUBLISH;
    if (!begin(c, r, &o, 1) || !*named)
        return;
    (*named)->names--;
    *named = NULL;
}

static void look_up(struct client *c, Allot__Request *r, struct thing **named)
{
    struct operation o = {.error = ALLOT__ERROR__E_NO_NAME};

    r->op = ALLOT__OP__OP_LOOKUP;
    if (*named)
        o = (struct operation){.value = (uint64_t)CODEC_KIND_BYTES << CODEC_KIND_SHIFT |
                                        (*named)->position};
    if (begin(c, r, &o, 1))
        atomic_fetch_add(&c->storm->found, *named != NULL);
}

/* About the client's n-th name. */
static void ask_about(struct client *c, unsigned n,
                      void (*what)(struct client *c, Allot__Request *r, struct thing **named))
{
    Allot__Request r = wire_request(ALLOT__OP__OP_NONE, c->pool);
    char name[32];

    snprintf(name, sizeof(name), "%u/%u", c->index, n);
    r.name = name;
    what(c, &r, &c->names[n]);
}

/* One request of another kind than the window's. */
static void ask_something(struct client *c)
{
    unsigned name = (unsigned)test_random_below(&c->random, NAMES);

    switch (test_random_below(&c->random, 6)) {
    case 0:
    case 1:
        ask_about(c, name, publish);
        break;
    case 2:
        ask_about(c, name, unpublish);
        break;
    case 3:
    case 4:
        ask_about(c, name, look_up);
        break;
    default:
        ask_to_wait(c);
    }
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
    answered_already(c);
}

static void work(void *ctx)
{
    const struct storm_client *self = ctx;
    static struct client c;

    c = (struct client){.manner = &manners[self->index % (sizeof(manners) / sizeof(manners[0]))],
                        .storm = self->storm,
                        .index = self->index,
                        .name = self->seed};
    test_random_init(&c.random, self->seed);
    wire_open(&c.w, self->storm->socket);
    c.pool = wire_attach(&c.w, "default", ALLOT__ACCESS__ACCESS_WRITE, NULL);
    c.region = mmap(NULL, c.w.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, c.w.reply_fd, 0);
    check(c.region != MAP_FAILED);
    answered_already(&c);
    atomic_store(&self->storm->sessions[self->index], c.w.session);
    while (!atomic_load(&self->storm->stop)) {
        while (in_flight(&c) < c.manner->window && test_random_below(&c.random, 8))
            ask_something(&c);
        while (in_flight(&c) + c.manner->batch <= c.manner->window &&
               ask(&c, test_random_below(&c.random, 5) < 3 ? FREE : GRANTED))
            ;
        /* Half the window, so that it never runs dry. */
        drain(&c, c.manner->slow ? 0 : in_flight(&c) / 2);
    }
    drain(&c, 0);
    expect_held(&c);
    for (unsigned i = 0; i < NAMES; i++)
        ask_about(&c, i, unpublish);
    while (ask(&c, GRANTED))
        drain(&c, 0);
    expect_held(&c);
    wire_close(&c.w);
}

/* ---- kills ---- */

/* How often the daemon ends, and how. */
struct plan {
    struct fixture_setup setup;
    uint64_t kills;
    uint64_t restarts;
    uint64_t operations;
};

static void run(struct fixture *f, const struct plan *plan)
{
    uint64_t ends = plan->kills + plan->restarts;
    struct storm_client clients[STORM_CLIENTS];
    pid_t pids[STORM_CLIENTS];
    struct test_random random;
    struct stage stage;

    test_random_init(&random, storm_seed());
    stage_open(&stage, f, &plan->setup);
    struct storm *s = storm_new(&stage);
    uint64_t free_pages = storm_free_pages(s);
    uint64_t before = stage.ops->count_kept(&stage);
    for (unsigned i = 0; i < STORM_CLIENTS; i++) {
        clients[i] =
            (struct storm_client){.storm = s, .index = i, .seed = test_random_next(&random)};
        pids[i] = child_start(work, &clients[i]);
    }
    /* From then on all connections must stay. */
    while (stage.ops->count_kept(&stage) < before + STORM_CLIENTS)
        storm_wait(s, 1);
    for (uint64_t i = 0; i < ends; i++) {
        storm_wait(s, test_random_below(&random, 2 * plan->operations / ends));
        if (i < plan->restarts) {
            stage.ops->restart(&stage);
        } else {
            stage.ops->kill(&stage);
            stage.ops->go_on(&stage);
        }
    }
    while (atomic_load(&s->operations) < plan->operations)
        storm_wait(s, 1);
    atomic_store(&s->stop, true);
    for (unsigned i = 0; i < STORM_CLIENTS; i++)
        child_join(pids[i]);
    storm_expect_nothing(s, free_pages);
    stage.ops->expect_calm(&stage);
    printf("the daemon killed %llu times, restarted %llu; %llu operations, %llu refused, %llu "
           "answered twice, "
           "%llu published, %llu looked up, %llu waited for, %llu in vain\n",
           (unsigned long long)plan->kills, (unsigned long long)plan->restarts,
           (unsigned long long)s->operations, (unsigned long long)s->refused,
           (unsigned long long)s->repeated, (unsigned long long)s->published,
           (unsigned long long)s->found, (unsigned long long)s->waited,
           (unsigned long long)s->in_vain);
    check(s->refused * 10 >= s->operations); /* the pool was full */
    check(s->published > 0 && s->found > 0 && s->waited > 0 && s->in_vain > 0);
    storm_free(s);
}

#define CONFIG "[daemon]\nworkers = 2\n[pool default]\nsize_max = 4M\n"

static void test_windows__the_daemon_killed(void **state)
{
    run(*state, &(struct plan){.setup = {.config = CONFIG, .keep_clients = true},
                               .kills = storm_length(50, 1000),
                               .operations = storm_length(100000, 10000000)});
}

static void test_windows__the_daemon_restarted(void **state)
{
    run(*state, &(struct plan){.setup = {.config = CONFIG, .keep_clients = true},
                               .restarts = storm_length(10, 100),
                               .operations = storm_length(20000, 1000000)});
}

static void test_windows__the_supervised_daemon_killed(void **state)
{
    static const char *const arguments[] = {"--supervise", NULL};

    run(*state, &(struct plan){.setup = {.config = CONFIG, .arguments = arguments},
                               .kills = storm_length(50, 1000),
                               .operations = storm_length(100000, 10000000)});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_windows__the_daemon_killed),
        fixture_test_bare(test_windows__the_daemon_restarted),
        fixture_test_bare(test_windows__the_supervised_daemon_killed),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
