/* SPDX-License-Identifier: MIT */
/*
 * A request that ends the daemon: the one here is built so that a ping with a certain tag does. It
 * must not do that for ever, and nobody's connection is lost over it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "fixture.h"
#include "wire.h"

/* Starts at which a request may be the first on its socket, and the last that does not end it. */
#define STARTS 8u

static struct wire guilty;
static struct wire other;
static struct wire garbled;

static void no_core(void)
{
    static const struct rlimit none;

    setrlimit(RLIMIT_CORE, &none);
}

/* A session whose connection the manager keeps. */
static uint64_t open_holding(struct wire *w, const struct fixture *f)
{
    wire_open(w, f->socket);
    return wire_alloc(w, wire_pool(w, "default"), 1000);
}

static void send_poison(struct wire *w)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_PING, 0);

    r.number = w->next;
    r.tag = ALLOTD_CRASH_TAG;
    wire_send(w, &r);
}

static void expect_all_goes_on(struct fixture *f, uint64_t block, uint64_t others)
{
    wire_expect_refusal(&guilty, ALLOT__ERROR__E_INTERNAL, guilty.next);
    check(strstr(fixture_log(f), "at 8 starts: refused") != NULL);
    check_equal(wire_ping(&guilty), ALLOT__ERROR__E_OK);
    wire_free(&guilty, 1, block);
    wire_free(&other, 1, others);
    wire_wait_live(&other, "default", 0, 0, 0);
    wire_close(&other);
    wire_close(&guilty);
    f->errors_expected = true; /* what it refused, it logged */
}

static void test_poison__is_refused_at_the_last_start(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup setup = {
        .config = "[daemon]\nworkers = 1\n[pool default]\nsize_max = 256M\n",
        .keep_clients = true,
        .before_exec = no_core};
    Allot__Error error;

    fixture_open(f, &setup);
    fixture_start(f);
    uint64_t block = open_holding(&guilty, f);
    uint64_t others = open_holding(&other, f);
    uint64_t third = open_holding(&garbled, f);
    send_poison(&guilty);
    check_equal(fixture_end(f), -1);
    /* Behind the guilty one in the loop, so that no daemon comes to it: it bears no guilt. */
    Allot__Request waits = wire_request(ALLOT__OP__OP_PING, 0);
    waits.number = other.next;
    wire_send(&other, &waits);
    for (unsigned i = 1; i < STARTS; i++)
        check_equal(fixture_run(f), -1);
    wire_send_bytes(&garbled, "\1\2\3", 3);
    fixture_start(f);
    wire_expect_refusal(&garbled, ALLOT__ERROR__E_MALFORMED, 0);
    wire_free(&garbled, 1, third);
    wire_collect(&other, other.next++, 1, &error, NULL);
    check_equal(error, ALLOT__ERROR__E_OK);
    wire_close(&garbled);
    expect_all_goes_on(f, block, others);
}

static void test_poison__under_the_supervisor(void **state)
{
    struct fixture *f = *state;
    static const char *const arguments[] = {"--supervise", NULL};
    static const struct fixture_setup setup = {.arguments = arguments, .before_exec = no_core};

    fixture_open(f, &setup);
    fixture_start(f);
    uint64_t block = open_holding(&guilty, f);
    uint64_t others = open_holding(&other, f);
    send_poison(&guilty);
    expect_all_goes_on(f, block, others);
}

/* A client whose connection nobody keeps comes back, and asks again: as the library does. */
static void test_poison__of_one_that_connects_again(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup setup = {.before_exec = no_core};
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);
    unsigned char secret[CODEC_SECRET_SIZE];

    fixture_open(f, &setup);
    fixture_start(f);
    wire_open(&guilty, f->socket);
    memcpy(secret, guilty.reply->secret.data, sizeof(secret));
    hello.version_min = hello.version_max = CODEC_VERSION;
    hello.session = guilty.session;
    hello.secret.data = secret;
    hello.secret.len = sizeof(secret);
    uint64_t block = wire_alloc(&guilty, wire_pool(&guilty, "default"), 1000);
    uint64_t next = guilty.next;
    send_poison(&guilty);
    for (unsigned i = 0; i < STARTS; i++) {
        check_equal(fixture_end(f), -1);
        fixture_start(f);
        wire_close(&guilty);
        wire_connect(&guilty, f->socket);
        wire_send(&guilty, &hello);
        check(wire_receive(&guilty) != NULL);
        check_equal(guilty.reply->session, hello.session);
        guilty.next = next;
        send_poison(&guilty);
    }
    uint64_t others = open_holding(&other, f);
    expect_all_goes_on(f, block, others);
}

/* The count is of starts in a row with the same request. */
static void test_poison__what_was_answered_counts_no_more(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup setup = {.keep_clients = true, .before_exec = no_core};

    fixture_open(f, &setup);
    fixture_start(f);
    uint64_t block = open_holding(&other, f);
    for (unsigned i = 0; i < 2 * STARTS; i++) {
        fixture_kill(f);
        Allot__Request r = wire_request(ALLOT__OP__OP_PING, 0);
        Allot__Error error;
        r.number = other.next;
        wire_send(&other, &r);
        fixture_start(f);
        wire_collect(&other, other.next++, 1, &error, NULL);
        check_equal(error, ALLOT__ERROR__E_OK);
    }
    wire_free(&other, 1, block);
    wire_close(&other);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_poison__is_refused_at_the_last_start),
        fixture_test_bare(test_poison__under_the_supervisor),
        fixture_test_bare(test_poison__of_one_that_connects_again),
        fixture_test_bare(test_poison__what_was_answered_counts_no_more),
    };

    setenv("ALLOTD", ALLOTD_CRASHING_PATH, 1);
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
