/* SPDX-License-Identifier: MIT */
/*
 * Kill -9 in the middle of everything: clients under a living daemon, and the daemon under clients
 * at work. Random but seeded moments, many rounds; after each, nothing is lost and nothing is left.
 * tests/torture steps through every instruction; this is the whole system with its real timing.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/support.h"
#include "fixture.h"
#include "wire.h"

#define MIB     (1ull << 20)
#define CLIENTS 6u
#define HELD    512u

static struct wire w;

/* What the processes of a round share. */
struct shared {
    char socket[108];
    uint64_t seed;
    atomic_uint_least64_t operations;
    atomic_uint ready; /* clients with a session and a pool */
    atomic_bool leave; /* the daemon's end is the client's too */
    /* What client 0 had, as it was answered: survives both. */
    atomic_uint_least64_t held[HELD];
};

struct worker {
    struct shared *shared;
    unsigned number;
};

/* Sends without a check on what happens: the daemon may go at any time. False when it is gone. */
static bool try_run(Allot__Request *r, unsigned n, Allot__Error *errors, uint64_t *values)
{
    unsigned char frame[CODEC_FRAME_MAX];
    size_t size = 0;
    unsigned done = 0;

    r->number = w.next;
    check(codec_add_request(r, frame, &size) == 0);
    if (send(w.fd, frame, size, MSG_NOSIGNAL) != (ssize_t)size)
        return false;
    while (done < n) {
        const Allot__Reply *reply = wire_receive(&w);
        if (!reply)
            return false;
        check_equal(reply->refused, ALLOT__ERROR__E_OK);
        for (unsigned i = 0; i < reply->count; i++) {
            if (reply->number + i != w.next + done)
                continue;
            errors[done] = reply->n_errors ? reply->errors[i] : ALLOT__ERROR__E_OK;
            values[done++] = reply->n_values ? reply->values[i] : 0;
        }
    }
    w.next += n;
    return true;
}

static bool traffic_step(struct shared *s, unsigned number, struct test_random *random,
                         uint32_t pool, uint64_t *held)
{
    static const Allot__Op allocs[] = {ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_ALLOC_PAGES,
                                       ALLOT__OP__OP_ALLOC_IDS};
    static const Allot__Op frees[] = {ALLOT__OP__OP_FREE, ALLOT__OP__OP_FREE_PAGES,
                                      ALLOT__OP__OP_FREE_IDS};
    uint64_t sizes[16];
    uint64_t values[16];
    Allot__Error errors[16];
    unsigned at = (unsigned)test_random_below(random, HELD / 16) * 16;
    unsigned kind = at * 3 / HELD; /* a third of the places for each kind */
    unsigned n = 1 + (unsigned)test_random_below(random, 16);
    Allot__Request r = wire_request(ALLOT__OP__OP_PING, pool);

    if (held[at] == 0) {
        r.op = allocs[kind];
        for (unsigned i = 0; i < n; i++)
            sizes[i] =
                kind ? 1 + test_random_below(random, 4) : 1 + test_random_below(random, 3000);
        if (kind == 0 && test_random_below(random, 64) == 0)
            sizes[0] = MIB; /* has to wait */
        r.sizes = sizes;
        r.n_sizes = n;
        r.tag = number;
        if (!try_run(&r, n, errors, values))
            return false;
        for (unsigned i = 0; i < n; i++)
            if (!errors[i])
                held[at + i] = values[i];
            else
                check(errors[i] == ALLOT__ERROR__E_NO_MEMORY);
        if (errors[0])
            memset(held + at, 0, 16 * sizeof(*held)); /* until its session ends */
    } else {
        for (n = 0; n < 16 && held[at + n]; n++)
            ;
        r.op = frees[kind];
        if (number == 0) /* from here on it is uncertain whether they are held */
            for (unsigned i = 0; i < 16; i++)
                atomic_store(&s->held[at + i], 0);
        r.positions = held + at;
        r.n_positions = n;
        if (!try_run(&r, n, errors, values))
            return false;
        for (unsigned i = 0; i < n; i++)
            check_equal(errors[i], ALLOT__ERROR__E_OK);
        memset(held + at, 0, 16 * sizeof(*held));
    }
    if (number == 0)
        for (unsigned i = 0; i < 16; i++)
            atomic_store(&s->held[at + i], kind == 2 ? 0 : held[at + i]);
    atomic_fetch_add(&s->operations, n);
    return true;
}

static void work(void *ctx)
{
    const struct worker *worker = ctx;
    struct shared *s = worker->shared;
    struct test_random random;
    uint64_t held[HELD] = {0};

    test_random_init(&random, s->seed + worker->number * 7919u);
    wire_open(&w, s->socket);
    uint32_t pool = wire_pool(&w, worker->number % 2 ? "second" : "default");
    atomic_fetch_add(&s->ready, 1);
    while (traffic_step(s, worker->number, &random, pool, held))
        ;
    /* The daemon is gone; what is held stays held while this process is there. */
    while (!atomic_load(&s->leave))
        pause();
}

static struct shared *share(const struct fixture *f, uint64_t seed)
{
    struct shared *s =
        mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    check(s != MAP_FAILED);
    strcpy(s->socket, f->socket);
    s->seed = seed;
    return s;
}

/* Until the clients are there and have come some way, by their own count: no clock. */
static void wait_operations(const struct shared *s, unsigned ready, uint64_t more)
{
    uint64_t goal = atomic_load(&s->operations) + more;

    for (unsigned i = 0; atomic_load(&s->operations) < goal || atomic_load(&s->ready) < ready;
         i++) {
        const struct timespec moment = {.tv_nsec = 20000};
        nanosleep(&moment, NULL);
        check(i < 50u * FIXTURE_DEADLINE_MS / 2);
    }
}

static const struct fixture_setup two_pools = {
    .config = "[daemon]\nworkers = 2\n"
              "[pool default]\nsize_max = 64M\n[pool second]\nsize_max = 32M\npage_size = 16K\n"};

static void test_kills__clients_in_the_middle_of_everything(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = test_seed(0xc11e4715);
    struct test_random random;
    struct worker workers[CLIENTS];
    pid_t pids[CLIENTS];
    static struct wire watcher;

    test_random_init(&random, seed);
    fprintf(stderr, "seed 0x%llx\n", (unsigned long long)seed);
    fixture_open(f, &two_pools);
    fixture_start(f);
    struct shared *s = share(f, seed);
    wire_open(&watcher, f->socket);
    uint64_t free_pages[2] = {wire_pool_info(&watcher, "default")->free_pages,
                              wire_pool_info(&watcher, "second")->free_pages};
    unsigned fds = fixture_count_fds(f);
    for (unsigned i = 0; i < CLIENTS; i++) {
        workers[i] = (struct worker){s, i};
        pids[i] = child_start(work, &workers[i]);
    }
    for (unsigned round = 0; round < 60; round++) {
        unsigned i = (unsigned)test_random_below(&random, CLIENTS);
        wait_operations(s, 0, test_random_below(&random, 3000));
        child_kill(pids[i]);
        s->seed++;
        pids[i] = child_start(work, &workers[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        child_kill(pids[i]);
    wire_wait_sessions(&watcher, 1);
    for (unsigned i = 0; i < 2; i++) {
        const Allot__PoolInfo *info = wire_pool_info(&watcher, i ? "second" : "default");
        check_equal(info->blocks + info->page_runs + info->id_ranges, 0);
        check_equal(info->used_bytes, 0);
        check_equal(info->ids_used, 0);
        check_equal(info->heap_bytes, info->heap_free_bytes);
        check_equal(info->free_pages + info->heap_bytes / info->page_size, free_pages[i]);
    }
    fixture_wait_fds(f, fds);
    wire_close(&watcher);
    munmap(s, sizeof(*s));
}

/* Everything that was answered to client 0 is still its own, and nobody else can get it. */
static void expect_still_held(const struct shared *s, uint32_t pool)
{
    static const struct {
        Allot__Op op;
        unsigned from;
        unsigned to;
    } kinds[] = {{ALLOT__OP__OP_FREE, 0, HELD / 3 / 16 * 16},
                 {ALLOT__OP__OP_FREE_PAGES, (HELD / 3 + 16) / 16 * 16, HELD * 2 / 3 / 16 * 16}};

    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = kinds[k].from; i < kinds[k].to; i++) {
            uint64_t position = atomic_load(&s->held[i]);
            if (position)
                check_equal(wire_item(&w, kinds[k].op, pool, position, 0, 0, NULL),
                            ALLOT__ERROR__E_NOT_OWNER);
        }
    }
}

static void test_kills__daemon_under_traffic(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = test_seed(0xdae40111);
    struct test_random random;
    struct worker workers[CLIENTS];
    pid_t pids[CLIENTS];

    test_random_init(&random, seed);
    fprintf(stderr, "seed 0x%llx\n", (unsigned long long)seed);
    fixture_open(f, &two_pools);
    fixture_start(f);
    for (unsigned round = 0; round < 40; round++) {
        struct shared *s = share(f, seed + round);
        for (unsigned i = 0; i < CLIENTS; i++) {
            workers[i] = (struct worker){s, i};
            pids[i] = child_start(work, &workers[i]);
        }
        wait_operations(s, CLIENTS, 1 + test_random_below(&random, 6000));
        fixture_kill(f);
        /* One is gone before the next daemon comes, the others after. */
        child_kill(pids[CLIENTS - 1]);
        fixture_start(f); /* it checks itself against the ledger */
        check(!strstr(fixture_log(f), "error:"));
        check_equal(fixture_find_stored(f, "aside-ledger"), -1);
        wire_open(&w, f->socket);
        check_equal(wire_sessions(&w, 0, NULL), CLIENTS); /* five of them, and this */
        expect_still_held(s, wire_pool(&w, "default"));
        for (unsigned i = 0; i < CLIENTS - 1; i++)
            child_kill(pids[i]);
        wire_wait_sessions(&w, 1);
        check_equal(wire_pool_info(&w, "default")->used_bytes, 0);
        check_equal(wire_pool_info(&w, "second")->used_bytes, 0);
        wire_wait_live(&w, "default", 0, 0, 0);
        wire_wait_live(&w, "second", 0, 0, 0);
        check_equal(wire_goodbye(&w), ALLOT__ERROR__E_OK);
        wire_close(&w);
        munmap(s, sizeof(*s));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_kills__clients_in_the_middle_of_everything),
        fixture_test_bare(test_kills__daemon_under_traffic),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
