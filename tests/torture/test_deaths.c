/* SPDX-License-Identifier: MIT */
/*
 * Clients with the library, at work on each other's data: they are killed at random, the daemon is,
 * and both.
 *
 * What is read is checked against what its block says of its writer, and against nothing that the
 * reader has been told. No call of a client that lives may fail but for what a full pool, stale
 * tickets and names that come and go bring. In the end the names are taken away, whoever has left
 * them, and nothing is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allot.h"
#include "open.h"
#include "storm.h"

#define HELD           48u
#define SIZE_MAX_BYTES 4000u
#define NAMES          48u

enum kind { NOTHING, BLOCK, PAGES, IDS, TAKEN };

struct thing {
    enum kind kind;
    uint64_t position;
    uint64_t size;              /* bytes, pages or IDs */
    struct allot_ticket ticket; /* TAKEN */
    bool shared;                /* others may read it: it is written no more */
};

/* How each block begins: enough to check the rest of it. */
struct stamp {
    uint64_t size;
    uint64_t writer; /* a session */
    uint64_t seed;
    uint64_t check; /* of all three */
};

struct client {
    const struct storm_client *self;
    struct storm *storm;
    struct test_random random;
    struct allot *allot;
    struct allot_pool *pool;
    struct thing held[HELD];
};

/* ---- data ---- */

static uint64_t stamp_check(const struct stamp *s)
{
    return (s->size ^ s->writer << 32 ^ s->seed * 0x9e3779b97f4a7c15ull) + 0x5eed;
}

static void write_block(struct client *c, const struct thing *t)
{
    unsigned char *at = allot_ptr(c->pool, t->position);
    struct stamp s = {.size = t->size,
                      .writer = allot_session_id(c->allot),
                      .seed = test_random_next(&c->random)};

    s.check = stamp_check(&s);
    memset(at + sizeof(s), (int)(s.seed & 0xff), t->size - sizeof(s));
    memcpy(at, &s, sizeof(s));
}

static void read_block(const struct client *c, uint64_t position, uint64_t size)
{
    const unsigned char *at = allot_ptr(c->pool, position);
    struct stamp s;

    memcpy(&s, at, sizeof(s));
    check_equal(s.check, stamp_check(&s));
    check_equal(s.size, size);
    for (uint64_t i = sizeof(s); i < size; i++)
        check(at[i] == (s.seed & 0xff));
}

/* ---- operations ---- */

static struct thing *pick(struct client *c)
{
    return &c->held[test_random_below(&c->random, HELD)];
}

static uint64_t some_size(struct client *c)
{
    return sizeof(struct stamp) + test_random_below(&c->random, SIZE_MAX_BYTES);
}

static void done(struct client *c, int code)
{
    if (code == ALLOT_E_NO_MEMORY)
        atomic_fetch_add(&c->storm->refused, 1);
    else
        check_equal(code, 0);
}

static void do_alloc(struct client *c)
{
    struct thing *t = pick(c);
    int code;

    if (t->kind)
        return;
    t->size = some_size(c);
    code = allot_alloc(c->pool, t->size, NULL, &t->position);
    done(c, code);
    if (code)
        return;
    *t = (struct thing){.kind = BLOCK, .position = t->position, .size = t->size};
    write_block(c, t);
}

static void do_alloc_pages(struct client *c)
{
    struct thing *t = pick(c);
    int code;

    if (t->kind)
        return;
    t->size = 1 + test_random_below(&c->random, 3);
    code = allot_alloc_pages(c->pool, t->size, NULL, &t->position);
    done(c, code);
    if (!code)
        *t = (struct thing){.kind = PAGES, .position = t->position, .size = t->size};
}

static void do_alloc_ids(struct client *c)
{
    struct thing *t = pick(c);
    int code;

    if (t->kind)
        return;
    t->size = 1 + test_random_below(&c->random, 9);
    code = allot_alloc_ids(c->pool, t->size, NULL, &t->position);
    done(c, code);
    if (!code)
        *t = (struct thing){.kind = IDS, .position = t->position, .size = t->size};
}

static void give_back(struct client *c, struct thing *t)
{
    switch (t->kind) {
    case BLOCK:
        read_block(c, t->position, t->size);
        done(c, allot_free_sized(c->pool, t->position, t->size));
        break;
    case PAGES:
        done(c, allot_free_pages(c->pool, t->position, t->size));
        break;
    case IDS:
        done(c, allot_free_ids(c->pool, t->position, t->size));
        break;
    case TAKEN:
        read_block(c, t->position, t->size);
        done(c, allot_release(c->pool, &t->ticket));
        break;
    default:
        break;
    }
    t->kind = NOTHING;
}

static void do_give_back(struct client *c)
{
    give_back(c, pick(c));
}

static void do_realloc(struct client *c)
{
    struct thing *t = pick(c);
    uint64_t size = some_size(c);
    int code;

    if (t->kind != BLOCK || t->shared)
        return;
    read_block(c, t->position, t->size);
    code = allot_realloc(c->pool, t->position, t->size, size, NULL, &t->position);
    done(c, code);
    if (code)
        return;
    t->size = size;
    write_block(c, t);
}

static void do_batch(struct client *c)
{
    uint64_t sizes[16];
    uint64_t offsets[16];
    int codes[16];
    size_t n = 0;

    for (unsigned i = 0; i < 16; i++)
        sizes[i] = some_size(c);
    (void)allot_alloc_batch(c->pool, 16, sizes, NULL, offsets, codes);
    for (unsigned i = 0; i < 16; i++) {
        done(c, codes[i]);
        if (!codes[i])
            offsets[n++] = offsets[i];
    }
    if (n > 0)
        done(c, allot_free_batch(c->pool, n, offsets, NULL));
}

/* Tells the block's ticket to whoever wants it. */
static struct allot_ticket tell(struct client *c, struct thing *t)
{
    struct storm_ticket *on_board = &c->storm->board[test_random_below(&c->random, STORM_BOARD)];
    struct allot_ticket ticket;

    t->shared = true;
    check_equal(allot_ticket(c->pool, t->position, &ticket), 0);
    atomic_store(&on_board->place, ticket.place);
    atomic_store(&on_board->generation, ticket.generation);
    return ticket;
}

static void do_share(struct client *c)
{
    struct thing *t = pick(c);

    if (t->kind == BLOCK)
        tell(c, t);
}

/* To whoever takes it in time, or to somebody who may be gone by now. */
static void do_send(struct client *c)
{
    struct thing *t = pick(c);
    uint64_t receiver = 0;
    struct allot_ticket ticket;
    int code;

    if (t->kind != BLOCK)
        return;
    if (test_random_below(&c->random, 2))
        receiver = atomic_load(&c->storm->sessions[test_random_below(&c->random, STORM_CLIENTS)]);
    ticket = tell(c, t);
    code = allot_send(c->pool, &ticket, receiver, 1 + test_random_below(&c->random, 200));
    if (code == 0)
        give_back(c, t);
    else
        check(code == ALLOT_E_LIMIT || (receiver && code == ALLOT_E_SESSION));
}

static void do_take(struct client *c)
{
    struct thing *t = pick(c);
    const struct storm_ticket *on_board =
        &c->storm->board[test_random_below(&c->random, STORM_BOARD)];
    int code;

    if (t->kind)
        return;
    t->ticket.place = atomic_load(&on_board->place);
    t->ticket.generation = atomic_load(&on_board->generation);
    if (!t->ticket.place)
        return;
    code = allot_acquire(c->pool, &t->ticket, &t->position, &t->size);
    if (code) {
        check_equal(code, ALLOT_E_NOT_ALLOCATED);
        atomic_fetch_add(&c->storm->stale, 1);
        return;
    }
    t->kind = TAKEN;
    atomic_fetch_add(&c->storm->taken, 1);
    read_block(c, t->position, t->size);
}

static const char *name_of(unsigned i)
{
    static char name[32];

    snprintf(name, sizeof(name), "storm/%u", i);
    return name;
}

static const char *some_name(struct client *c)
{
    return name_of((unsigned)test_random_below(&c->random, NAMES));
}

/* The block lives by its name alone from then on, or has this process as well. */
static void do_publish(struct client *c)
{
    struct thing *t = pick(c);
    unsigned flags = test_random_below(&c->random, 2) ? ALLOT_REPLACE : 0;
    struct allot_ticket ticket;
    int code;

    if (t->kind != BLOCK)
        return;
    t->shared = true;
    check_equal(allot_ticket(c->pool, t->position, &ticket), 0);
    code = allot_publish(c->pool, some_name(c), &ticket, flags);
    if (code == ALLOT_E_EXISTS && !flags)
        return;
    check_equal(code, 0);
    atomic_fetch_add(&c->storm->published, 1);
    if (test_random_below(&c->random, 2))
        give_back(c, t);
}

static void do_unpublish(struct client *c)
{
    int code = allot_unpublish(c->pool, some_name(c));

    check(code == 0 || code == ALLOT_E_NO_NAME);
}

static void do_lookup(struct client *c)
{
    struct thing *t = pick(c);
    int code;

    if (t->kind)
        return;
    code = allot_lookup(c->pool, some_name(c), &t->ticket, &t->position, &t->size);
    if (code) {
        check_equal(code, ALLOT_E_NO_NAME);
        return;
    }
    t->kind = TAKEN;
    atomic_fetch_add(&c->storm->found, 1);
    read_block(c, t->position, t->size);
}

/* For more than there mostly is. */
static void do_wait(struct client *c)
{
    const struct allot_options options = {.wait_ms = 1 + test_random_below(&c->random, 50)};
    struct thing *t = pick(c);
    int code;

    if (t->kind)
        return;
    t->size = 2 + test_random_below(&c->random, 8);
    code = allot_alloc_pages(c->pool, t->size, &options, &t->position);
    if (code) {
        check_equal(code, ALLOT_E_DEADLINE);
        atomic_fetch_add(&c->storm->in_vain, 1);
        return;
    }
    *t = (struct thing){.kind = PAGES, .position = t->position, .size = t->size};
    atomic_fetch_add(&c->storm->waited, 1);
}

static void (*const operations[])(struct client *c) = {
    do_alloc,   do_alloc,  do_alloc,  do_alloc_pages, do_alloc_ids, do_give_back, do_give_back,
    do_realloc, do_batch,  do_share,  do_send,        do_take,      do_take,      do_publish,
    do_publish, do_lookup, do_lookup, do_unpublish,   do_wait,
};

static void work(void *ctx)
{
    const struct storm_client *self = ctx;
    static struct client c;

    c = (struct client){.self = self, .storm = self->storm};
    test_random_init(&c.random, self->seed);
    c.allot = open_session(self->storm->socket);
    check_equal(allot_attach(c.allot, NULL, ALLOT_WRITE, &c.pool), 0);
    atomic_store(&self->storm->sessions[self->index], allot_session_id(c.allot));
    while (!atomic_load(&self->storm->stop)) {
        operations[test_random_below(&c.random, sizeof(operations) / sizeof(operations[0]))](&c);
        atomic_fetch_add(&self->storm->operations, 1);
    }
    for (unsigned i = 0; i < HELD; i++)
        give_back(&c, &c.held[i]);
    allot_close(c.allot);
}

/* ---- kills ---- */

/* What is killed, and how often. */
struct plan {
    struct fixture_setup setup;
    uint64_t client_kills;
    uint64_t daemon_kills;
    uint64_t operations; /* between two kills, at most */
};

struct crowd {
    struct stage stage;
    struct storm *storm;
    struct test_random random;
    struct storm_client clients[STORM_CLIENTS];
    pid_t pids[STORM_CLIENTS];
};

static void start_client(struct crowd *c, unsigned i)
{
    c->clients[i] =
        (struct storm_client){.storm = c->storm, .index = i, .seed = test_random_next(&c->random)};
    c->pids[i] = child_start(work, &c->clients[i]);
}

/* Some client dies, and another comes; where no daemon is there, it waits for the next. */
static void replace_client(struct crowd *c)
{
    unsigned i = (unsigned)test_random_below(&c->random, STORM_CLIENTS);

    child_kill(c->pids[i]);
    start_client(c, i);
}

/* With so many clients dying while no daemon is there. */
static void kill_daemon(struct crowd *c, uint64_t clients)
{
    c->stage.ops->kill(&c->stage);
    while (clients-- > 0)
        replace_client(c);
    c->stage.ops->go_on(&c->stage);
}

/* What the names hold is as whole as what processes do. */
static void unpublish_all(const char *socket)
{
    static struct client c;

    c.allot = open_session(socket);
    check_equal(allot_attach(c.allot, NULL, ALLOT_WRITE, &c.pool), 0);
    for (unsigned i = 0; i < NAMES; i++) {
        struct thing t = {.kind = TAKEN};
        if (allot_lookup(c.pool, name_of(i), &t.ticket, &t.position, &t.size) == 0) {
            check_equal(allot_unpublish(c.pool, name_of(i)), 0);
            give_back(&c, &t);
        }
    }
    allot_close(c.allot);
}

static void run(struct fixture *f, const struct plan *plan)
{
    uint64_t clients = plan->client_kills;
    uint64_t daemons = plan->daemon_kills;
    struct crowd c;

    test_random_init(&c.random, storm_seed());
    stage_open(&c.stage, f, &plan->setup);
    c.storm = storm_new(&c.stage);
    uint64_t free_pages = storm_free_pages(c.storm);
    for (unsigned i = 0; i < STORM_CLIENTS; i++)
        start_client(&c, i);
    while (clients + daemons > 0) {
        storm_wait(c.storm, test_random_below(&c.random, plan->operations));
        if (test_random_below(&c.random, clients + daemons) < clients) {
            replace_client(&c);
            clients--;
        } else {
            uint64_t more = test_random_below(&c.random, 4);
            more = more < clients ? more : 0;
            kill_daemon(&c, more);
            clients -= more;
            daemons--;
        }
    }
    storm_wait(c.storm, 10 * plan->operations);
    atomic_store(&c.storm->stop, true);
    for (unsigned i = 0; i < STORM_CLIENTS; i++)
        child_join(c.pids[i]);
    unpublish_all(c.stage.socket);
    storm_expect_nothing(c.storm, free_pages);
    c.stage.ops->expect_calm(&c.stage);
    printf("%llu clients and %llu daemons killed; %llu operations, %llu refused, %llu acquired, "
           "%llu stale tickets, %llu published, %llu looked up, %llu waited for, %llu in vain\n",
           (unsigned long long)plan->client_kills, (unsigned long long)plan->daemon_kills,
           (unsigned long long)c.storm->operations, (unsigned long long)c.storm->refused,
           (unsigned long long)c.storm->taken, (unsigned long long)c.storm->stale,
           (unsigned long long)c.storm->published, (unsigned long long)c.storm->found,
           (unsigned long long)c.storm->waited, (unsigned long long)c.storm->in_vain);
    check(c.storm->taken > 0 && c.storm->stale > 0 && c.storm->published > 0 &&
          c.storm->found > 0 && c.storm->waited > 0 && c.storm->in_vain > 0);
    storm_free(c.storm);
}

#define CONFIG "[daemon]\nworkers = 2\n[pool default]\nsize_max = 3M\nids = 100000\n"

static const char *const supervised[] = {"--supervise", NULL};

static void test_deaths__of_clients(void **state)
{
    run(*state, &(struct plan){.setup = {.config = CONFIG},
                               .client_kills = storm_length(500, 10000),
                               .operations = 1000});
}

static void test_deaths__of_the_daemon_nothing_kept(void **state)
{
    run(*state, &(struct plan){.setup = {.config = CONFIG},
                               .daemon_kills = storm_length(50, 500),
                               .operations = 4000});
}

static void test_deaths__of_the_supervised_daemon(void **state)
{
    run(*state, &(struct plan){.setup = {.config = CONFIG, .arguments = supervised},
                               .daemon_kills = storm_length(30, 500),
                               .operations = 4000});
}

static void test_deaths__of_both(void **state)
{
    run(*state, &(struct plan){.setup = {.config = CONFIG, .keep_clients = true},
                               .client_kills = storm_length(100, 2000),
                               .daemon_kills = storm_length(30, 500),
                               .operations = 2000});
}

static void test_deaths__of_both_supervised(void **state)
{
    run(*state, &(struct plan){.setup = {.config = CONFIG, .arguments = supervised},
                               .client_kills = storm_length(100, 2000),
                               .daemon_kills = storm_length(30, 500),
                               .operations = 2000});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_deaths__of_clients),
        fixture_test_bare(test_deaths__of_the_daemon_nothing_kept),
        fixture_test_bare(test_deaths__of_the_supervised_daemon),
        fixture_test_bare(test_deaths__of_both),
        fixture_test_bare(test_deaths__of_both_supervised),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
