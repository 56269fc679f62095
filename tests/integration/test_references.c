/* SPDX-License-Identifier: MIT */
/*
 * References across processes: what one was granted and another acquired lives until neither holds
 * it, whoever dies first, and whether the daemon has died in between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "wire.h"

static struct wire w;
static struct wire other;

#define ACQUIRE ALLOT__OP__OP_ACQUIRE
#define RELEASE ALLOT__OP__OP_RELEASE

/* A creator in a process of its own: grants, tells the tickets, and stays until it is killed. */
struct creator {
    const char *socket;
    int pipe[2];
    pid_t pid;
    struct wire_ticket tickets[3];
};

static void create(void *ctx)
{
    struct creator *c = ctx;
    struct wire_ticket tickets[3];

    wire_open(&w, c->socket);
    uint32_t pool = wire_pool(&w, "default");
    tickets[0] = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 1000);
    tickets[1] = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC_PAGES, 5);
    tickets[2] = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC_IDS, 7);
    check(write(c->pipe[1], tickets, sizeof(tickets)) == sizeof(tickets));
    pause();
}

static void creator_start(struct creator *c, const char *socket)
{
    *c = (struct creator){.socket = socket};
    check(pipe(c->pipe) == 0);
    c->pid = child_start(create, c);
    check(read(c->pipe[0], c->tickets, sizeof(c->tickets)) == sizeof(c->tickets));
    close(c->pipe[0]);
    close(c->pipe[1]);
}

static void test_references__outlive_the_creator(void **state)
{
    struct fixture *f = *state;
    static const uint64_t sizes[3] = {1000, 5 * 4096, 7};
    struct creator c;
    Allot__SessionInfo info;

    creator_start(&c, f->socket);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    for (unsigned i = 0; i < 3; i++) {
        uint64_t size;
        check_equal(wire_reference(&w, ACQUIRE, pool, c.tickets[i], &size), ALLOT__ERROR__E_OK);
        check_equal(size, sizes[i]);
        /* Taken twice is counted by who takes: here it is held, or not. */
        check_equal(wire_reference(&w, ACQUIRE, pool, c.tickets[i], NULL), ALLOT__ERROR__E_OK);
    }
    uint64_t position = c.tickets[0].place & ((1ull << CODEC_KIND_SHIFT) - 1);
    check_equal(wire_item(&w, ALLOT__OP__OP_RESIZE, pool, position, 500, 0, NULL),
                ALLOT__ERROR__E_SHARED);
    child_kill(c.pid);
    wire_wait_sessions(&w, 1);
    wire_wait_live(&w, "default", 1, 1, 1);
    wire_sessions(&w, w.session, &info);
    check_equal(info.allocations, 3);
    check_equal(info.bytes, sizes[0] + sizes[1]);
    for (unsigned i = 0; i < 3; i++)
        check_equal(wire_reference(&w, RELEASE, pool, c.tickets[i], NULL), ALLOT__ERROR__E_OK);
    wire_wait_live(&w, "default", 0, 0, 0);
    for (unsigned i = 0; i < 3; i++)
        check_equal(wire_reference(&w, ACQUIRE, pool, c.tickets[i], NULL),
                    ALLOT__ERROR__E_NOT_ALLOCATED);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_references__outlive_the_daemon(void **state)
{
    struct fixture *f = *state;
    struct creator c;

    creator_start(&c, f->socket);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    for (unsigned i = 0; i < 3; i++)
        check_equal(wire_reference(&w, ACQUIRE, pool, c.tickets[i], NULL), ALLOT__ERROR__E_OK);
    wire_close(&w); /* this session lives on with this process */
    fixture_kill(f);
    child_kill(c.pid); /* while no daemon is there */
    fixture_start(f);
    wire_open(&other, f->socket);
    pool = wire_pool(&other, "default");
    wire_wait_live(&other, "default", 1, 1, 1);
    for (unsigned i = 0; i < 3; i++) {
        check_equal(wire_reference(&other, RELEASE, pool, c.tickets[i], NULL),
                    ALLOT__ERROR__E_NOT_OWNER);
        check_equal(wire_reference(&other, ACQUIRE, pool, c.tickets[i], NULL), ALLOT__ERROR__E_OK);
    }
    wire_close(&other);
}

static const struct fixture_setup readers = {
    .config = "[daemon]\nworkers = 2\n[pool default]\nsize_max = 16M\n"
              "[pool second]\nsize_max = 16M\n"};

/* To hold is to read: the right to write is for granting. */
static void test_references__by_readers(void **state)
{
    struct fixture *f = *state;
    uint64_t size;

    fixture_open(f, &readers);
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_open(&other, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 100);
    uint64_t block = t.place & ((1ull << 48) - 1);
    check_equal(wire_reference(&other, ACQUIRE, pool, t, NULL), ALLOT__ERROR__E_NO_POOL);
    check_equal(wire_attach(&other, "default", ALLOT__ACCESS__ACCESS_READ, NULL), pool);
    close(other.reply_fd);
    other.reply_fd = -1;
    check_equal(wire_reference(&other, ACQUIRE, pool, t, &size), ALLOT__ERROR__E_OK);
    check_equal(size, 100);
    check_equal(wire_item(&other, ALLOT__OP__OP_USABLE_SIZE, pool, block, 0, 0, &size),
                ALLOT__ERROR__E_OK);
    check(size >= 100);
    check_equal(wire_item(&other, ALLOT__OP__OP_ALLOC, pool, 0, 10, 0, NULL),
                ALLOT__ERROR__E_DENIED);
    wire_free(&w, pool, block);
    wire_wait_live(&w, "default", 1, 0, 0);
    /* Another pool's ticket, though this one has the same place. */
    uint32_t second = wire_pool(&other, "second");
    struct wire_ticket twin = wire_grant(&other, second, ALLOT__OP__OP_ALLOC, 100);
    check_equal(twin.place, t.place);
    check_equal(wire_reference(&other, ACQUIRE, second, t, NULL), ALLOT__ERROR__E_NOT_ALLOCATED);
    check_equal(wire_reference(&other, RELEASE, pool, t, NULL), ALLOT__ERROR__E_OK);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_close(&w);
    wire_close(&other);
}

/* The last holder lets go while another asks: one of both comes first, and both say which. */
struct race {
    const char *socket;
    int pipe[2];
};

#define RACES 300u

static void take_what_goes(void *ctx)
{
    const struct race *r = ctx;
    struct wire_ticket t;

    close(r->pipe[1]); /* its end is to be seen */
    wire_open(&w, r->socket);
    uint32_t pool = wire_pool(&w, "default");
    while (read(r->pipe[0], &t, sizeof(t)) == sizeof(t)) {
        Allot__Error error = wire_reference(&w, ACQUIRE, pool, t, NULL);
        check(error == ALLOT__ERROR__E_OK || error == ALLOT__ERROR__E_NOT_ALLOCATED);
        check_equal(wire_reference(&w, RELEASE, pool, t, NULL), error);
    }
    check_equal(wire_goodbye(&w), ALLOT__ERROR__E_OK);
}

static void test_references__acquired_while_the_last_one_goes(void **state)
{
    struct fixture *f = *state;
    struct race r = {.socket = f->socket};

    check(pipe(r.pipe) == 0);
    pid_t pid = child_start(take_what_goes, &r);
    close(r.pipe[0]);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    for (unsigned i = 0; i < RACES; i++) {
        struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 64);
        check(write(r.pipe[1], &t, sizeof(t)) == sizeof(t));
        check_equal(wire_reference(&w, RELEASE, pool, t, NULL), ALLOT__ERROR__E_OK);
    }
    close(r.pipe[1]);
    child_join(pid);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_close(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_references__outlive_the_creator),
        fixture_test(test_references__outlive_the_daemon),
        fixture_test_bare(test_references__by_readers),
        fixture_test(test_references__acquired_while_the_last_one_goes),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
