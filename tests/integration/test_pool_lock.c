/* SPDX-License-Identifier: MIT */
/*
 * Pools do not wait for each other: while somebody holds one pool's lock, another pool's requests
 * are answered. The daemon's parts run in this process, so that the test can be that somebody.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "loops.h"
#include "wire.h"

static struct store store;
static struct sessions sessions;
static struct loops loops;
static struct wire stuck;
static struct wire served;

static void on_closed(void *ctx)
{
    (void)ctx;
}

/* The first goes to the first loop, the second to the second. */
static void deal(struct wire *w)
{
    int fds[2];

    check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    loops_deal(&loops, fds[0]);
    wire_adopt(w, fds[1]);
    wire_hello(w);
}

static void start(void)
{
    struct config config;

    config_default(&config);
    config.pools[1] = config.pools[0];
    config.n_pools = 2;
    strcpy(config.pools[0].name, "one");
    strcpy(config.pools[1].name, "two");
    check_equal(store_open(&store, &config, NULL, 0), 0);
    check_equal(sessions_init(&sessions, &store, 16), 0);
    check_equal(loops_init(&loops, 2, &sessions, on_closed, NULL), 0);
    check_equal(loops_start(&loops), 0);
}

static void stop(void)
{
    loops_stop(&loops);
    sessions_deinit(&sessions);
    store_close(&store);
}

static void test_pool_lock__holds_up_its_own_pool_only(void **state)
{
    uint64_t position;
    uint64_t size = 100;

    (void)state;
    checks_begin();
    start();
    deal(&stuck);
    deal(&served);
    uint32_t one = wire_pool(&stuck, "one");
    uint32_t two = wire_pool(&served, "two");
    check_equal(pthread_mutex_lock(&store.pools[one - 1]->lock), 0);
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, one);
    r.sizes = &size;
    r.n_sizes = 1;
    r.number = stuck.next;
    wire_send(&stuck, &r);
    for (unsigned i = 0; i < 1000; i++)
        wire_expect_good(&served, two);
    check(!wire_readable(&stuck)); /* it was really held */
    check_equal(pthread_mutex_unlock(&store.pools[one - 1]->lock), 0);
    wire_collect(&stuck, stuck.next++, 1, NULL, &position);
    wire_free(&stuck, one, position);
    check(pool_check(store.pools[0]) && pool_check(store.pools[1]));
    wire_close(&stuck);
    wire_close(&served);
    stop();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_lock__holds_up_its_own_pool_only),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
