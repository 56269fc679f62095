/* SPDX-License-Identifier: MIT */
/*
 * Steady state: a daemon that has warmed up asks its C library for no memory at all, whatever its
 * clients ask for. Counted in the real daemon, by count_malloc.c.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "wire.h"

#define BATCH 64u
#define CROWD 200u /* sessions and tags: too many for a list to be sorted on a stack */

static struct wire clients[2]; /* one on each loop */
static struct wire crowd[CROWD];
static struct wire watcher;
static char preload[300] = "LD_PRELOAD=" COUNT_MALLOC_PATH;
static char count_path[128];
static char count_variable[160];
static const char *const environment[] = {preload, count_variable, NULL};

static void batch(struct wire *w, uint32_t pool, Allot__Op alloc, Allot__Op release)
{
    uint64_t sizes[BATCH];
    uint64_t values[BATCH];
    Allot__Error errors[BATCH];
    Allot__Request r = wire_request(alloc, pool);

    for (unsigned i = 0; i < BATCH; i++)
        sizes[i] = alloc == ALLOT__OP__OP_ALLOC ? 1 + i * 50 : 1 + i % 5;
    r.sizes = sizes;
    r.n_sizes = BATCH;
    r.tag = 3;
    wire_run(w, &r, BATCH, errors, values);
    for (unsigned i = 0; i < BATCH; i++)
        check_equal(errors[i], ALLOT__ERROR__E_OK);
    r = wire_request(release, pool);
    r.positions = values;
    r.n_positions = BATCH;
    wire_run(w, &r, BATCH, errors, NULL);
    for (unsigned i = 0; i < BATCH; i++)
        check_equal(errors[i], ALLOT__ERROR__E_OK);
}

/* Every request there is, refused ones too; the same each time. */
static void round_of_everything(struct wire *w)
{
    uint32_t pool = wire_pool(w, "default");
    Allot__SessionInfo info;

    check_equal(wire_ping(w), ALLOT__ERROR__E_OK);
    batch(w, pool, ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_FREE);
    batch(w, pool, ALLOT__OP__OP_ALLOC_PAGES, ALLOT__OP__OP_FREE_PAGES);
    batch(w, pool, ALLOT__OP__OP_ALLOC_IDS, ALLOT__OP__OP_FREE_IDS);
    for (unsigned i = 0; i < 50; i++)
        wire_expect_good(w, pool);
    uint64_t block = wire_alloc(w, pool, 50000); /* no class of slab's: those do not shrink */
    check_equal(wire_item(w, ALLOT__OP__OP_RESIZE, pool, block, 30000, 0, NULL), 0);
    check_equal(wire_item(w, ALLOT__OP__OP_USABLE_SIZE, pool, block, 0, 0, NULL), 0);
    check_equal(wire_item(w, ALLOT__OP__OP_FREE, pool, block, 1, 0, NULL),
                ALLOT__ERROR__E_NOT_ALLOCATED);
    wire_free(w, pool, block);
    wire_free(w, pool, wire_alloc(w, pool, 8u << 20));
    check_equal(wire_item(w, ALLOT__OP__OP_ALLOC, pool, 0, 1ull << 40, 1 << 16, NULL),
                ALLOT__ERROR__E_NO_MEMORY);
    check_equal(wire_item(w, ALLOT__OP__OP_ALLOC_PAGES_AT, pool, 1, 1, 0, NULL),
                ALLOT__ERROR__E_INVALID);
    check(wire_pool_info(w, "default") != NULL);
    check_equal(wire_item(w, ALLOT__OP__OP_TAGS, pool, 0, 0, 0, NULL), ALLOT__ERROR__E_OK);
    wire_sessions(w, w->session, &info);
    wire_send_bytes(w, "garbage", 7);
    wire_expect_refusal(w, ALLOT__ERROR__E_MALFORMED, 0);
}

struct about {
    struct wire_ticket ticket;
    const char *name;
    uint64_t deadline_ms;
    bool replace;
};

static Allot__Error run(struct wire *w, Allot__Op op, uint32_t pool, struct about about)
{
    Allot__Request r = wire_request(op, pool);
    Allot__Error error;

    r.positions = &about.ticket.place;
    r.generations = &about.ticket.generation;
    r.n_positions = r.n_generations = about.ticket.place != 0;
    r.name = (char *)(uintptr_t)(about.name ? about.name : "");
    r.deadline_ms = about.deadline_ms;
    r.replace = about.replace;
    wire_run(w, &r, 1, &error, NULL);
    return error;
}

static void expect_event(Allot__EventKind kind)
{
    check(wire_receive(&watcher) != NULL);
    check_equal(watcher.reply->n_events, 1);
    check_equal(watcher.reply->events[0]->kind, kind);
}

/* What one has and another takes, by ticket, by parcel, by name. */
static void round_of_references(struct wire *w, struct wire *taker)
{
    uint32_t pool = wire_pool(w, "default");
    struct wire_ticket t = wire_grant(w, pool, ALLOT__OP__OP_ALLOC, 100);
    const struct about block = {.ticket = t};
    const struct about name = {.name = "name"};

    check_equal(run(taker, ALLOT__OP__OP_ACQUIRE, pool, block), 0);
    check_equal(run(taker, ALLOT__OP__OP_RELEASE, pool, block), 0);
    check_equal(run(taker, ALLOT__OP__OP_RELEASE, pool, block), ALLOT__ERROR__E_NOT_OWNER);
    check_equal(run(w, ALLOT__OP__OP_SEND, pool, (struct about){.ticket = t, .deadline_ms = 60000}),
                0);
    check_equal(run(taker, ALLOT__OP__OP_ACQUIRE, pool, block), 0);
    check_equal(run(w, ALLOT__OP__OP_FREEZE, pool, block), 0);
    check_equal(run(w, ALLOT__OP__OP_PUBLISH, pool, (struct about){.ticket = t, .name = "name"}),
                0);
    expect_event(ALLOT__EVENT_KIND__EVENT_APPEARED);
    check_equal(run(w, ALLOT__OP__OP_PUBLISH, pool, (struct about){.ticket = t, .name = "name"}),
                ALLOT__ERROR__E_EXISTS);
    check_equal(run(taker, ALLOT__OP__OP_PUBLISH, pool,
                    (struct about){.ticket = t, .name = "name", .replace = true}),
                0);
    expect_event(ALLOT__EVENT_KIND__EVENT_CHANGED);
    check_equal(run(w, ALLOT__OP__OP_RELEASE, pool, block), 0);
    check_equal(run(w, ALLOT__OP__OP_LOOKUP, pool, name), 0);
    check_equal(run(w, ALLOT__OP__OP_NAMES, pool, (struct about){0}), 0);
    check_equal(w->reply->n_names, 1);
    check_equal(run(w, ALLOT__OP__OP_UNPUBLISH, pool, name), 0);
    expect_event(ALLOT__EVENT_KIND__EVENT_GONE);
    check_equal(run(w, ALLOT__OP__OP_LOOKUP, pool, name), ALLOT__ERROR__E_NO_NAME);
    check_equal(run(w, ALLOT__OP__OP_RELEASE, pool, block), 0);
    check_equal(run(taker, ALLOT__OP__OP_RELEASE, pool, block), 0);
}

/* One waits for what the other has and gives back, and then for more than there is. */
static void round_of_waiting(struct wire *w, struct wire *waiter)
{
    uint32_t pool = wire_pool(w, "default");
    uint64_t most = wire_pool_info(w, "default")->ids / 2 + 1;
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC_IDS, pool);
    uint64_t first;
    Allot__Error error;

    check_equal(wire_item(w, ALLOT__OP__OP_ALLOC_IDS, pool, 0, most, 0, &first), 0);
    r.sizes = &most;
    r.n_sizes = 1;
    r.deadline_ms = 60000;
    r.number = waiter->next++;
    wire_send(waiter, &r);
    check_equal(wire_item(w, ALLOT__OP__OP_FREE_IDS, pool, first, 0, 0, NULL), 0);
    wire_collect(waiter, r.number, 1, &error, &first);
    check_equal(error, ALLOT__ERROR__E_OK);
    r.deadline_ms = 1;
    wire_run(waiter, &r, 1, &error, NULL);
    check_equal(error, ALLOT__ERROR__E_DEADLINE);
    check_equal(wire_item(waiter, ALLOT__OP__OP_FREE_IDS, pool, first, 0, 0, NULL), 0);
}

static void round_of_all(unsigned i)
{
    round_of_everything(&clients[i % 2]);
    round_of_references(&clients[i % 2], &clients[1 - i % 2]);
    round_of_waiting(&clients[i % 2], &clients[1 - i % 2]);
}

static void watch_names(const struct fixture *f)
{
    wire_open(&watcher, f->socket);
    check_equal(run(&watcher, ALLOT__OP__OP_WATCH, wire_pool(&watcher, "default"),
                    (struct about){.name = "na"}),
                0);
    check(wire_receive(&watcher) != NULL);
    check_equal(watcher.reply->n_events, 2); /* the state: nothing */
}

/* Makes the lists long. */
static void crowd_in(const struct fixture *f)
{
    uint64_t size = 16;

    for (unsigned i = 0; i < CROWD; i++) {
        wire_open(&crowd[i], f->socket);
        Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, wire_pool(&crowd[i], "default"));
        Allot__Error error;
        r.sizes = &size;
        r.n_sizes = 1;
        r.tag = 1000 + i;
        wire_run(&crowd[i], &r, 1, &error, NULL);
        check_equal(error, ALLOT__ERROR__E_OK);
    }
}

static void test_steady__no_memory_is_asked_for(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup counted = {.environment = environment};

    fixture_open(f, &counted);
    snprintf(count_path, sizeof(count_path), "%s/count", f->directory);
    snprintf(count_variable, sizeof(count_variable), "ALLOT_MALLOC_COUNT=%s", count_path);
    int fd = open(count_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    check(fd >= 0 && ftruncate(fd, 4096) == 0);
    const atomic_uint_least64_t *count = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    check(count != MAP_FAILED);
    fixture_start(f);
    unlink(count_path);
    check(atomic_load(count) > 0); /* it does count */
    crowd_in(f);
    for (unsigned i = 0; i < 2; i++) {
        wire_open(&clients[i], f->socket);
        wire_pool(&clients[i], "default");
    }
    watch_names(f);
    for (unsigned i = 0; i < 6; i++)
        round_of_all(i);
    uint64_t before = atomic_load(count);
    for (unsigned i = 0; i < 40; i++)
        round_of_all(i);
    check_equal(atomic_load(count), before);
    wire_close(&watcher);
    for (unsigned i = 0; i < 2; i++)
        wire_close(&clients[i]);
    for (unsigned i = 0; i < CROWD; i++)
        wire_close(&crowd[i]);
    close(fd);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_steady__no_memory_is_asked_for),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
