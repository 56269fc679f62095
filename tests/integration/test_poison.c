/* SPDX-License-Identifier: MIT */
/*
 * A request that ends the daemon: the one here is built so that a ping with a certain tag does, and
 * one with the next tag before the daemon knows what it asks for. It must not do that for ever, and
 * nobody's connection is lost over it.
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

/* Starts that come to the same request, and the last that it does not end. */
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

static void send_ping(struct wire *w, uint64_t number, uint32_t tag)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_PING, 0);

    r.number = number;
    r.tag = tag;
    wire_send(w, &r);
}

static void expect_answer(struct wire *w, Allot__Error expected)
{
    Allot__Error error;

    wire_collect(w, w->next++, 1, &error, NULL);
    check_equal(error, expected);
}

static void open_kept(struct fixture *f)
{
    static const struct fixture_setup setup = {
        .config = "[daemon]\nworkers = 1\n[pool default]\nsize_max = 256M\n",
        .keep_clients = true,
        .before_exec = no_core};

    fixture_open(f, &setup);
    fixture_start(f);
}

static void end_at_starts(struct fixture *f, unsigned starts)
{
    for (unsigned i = 0; i < starts; i++)
        check_equal(fixture_run(f), -1);
}

static void expect_all_goes_on(struct fixture *f, uint64_t block)
{
    check(strstr(fixture_log(f), "at 8 starts: refused") != NULL);
    check_equal(wire_ping(&guilty), ALLOT__ERROR__E_OK);
    wire_free(&guilty, 1, block);
    wire_wait_live(&guilty, "default", 0, 0, 0);
    wire_close(&guilty);
    f->errors_expected = true; /* what it refused, it logged */
}

static void test_poison__is_refused_at_the_last_start(void **state)
{
    struct fixture *f = *state;

    open_kept(f);
    uint64_t block = open_holding(&guilty, f);
    uint64_t others = open_holding(&other, f);
    uint64_t third = open_holding(&garbled, f);
    send_ping(&guilty, guilty.next, ALLOTD_CRASH_TAG);
    check_equal(fixture_end(f), -1);
    /* Behind the guilty one in the loop, so that no daemon comes to it: it bears no guilt. */
    send_ping(&other, other.next, 0);
    end_at_starts(f, STARTS - 1);
    wire_send_bytes(&garbled, "\1\2\3", 3);
    fixture_start(f);
    wire_expect_refusal(&garbled, ALLOT__ERROR__E_MALFORMED, 0);
    wire_free(&garbled, 1, third);
    expect_answer(&other, ALLOT__ERROR__E_OK);
    wire_free(&other, 1, others);
    wire_close(&garbled);
    wire_close(&other);
    expect_answer(&guilty, ALLOT__ERROR__E_INTERNAL);
    expect_all_goes_on(f, block);
}

static void test_poison__under_the_supervisor(void **state)
{
    struct fixture *f = *state;
    static const char *const arguments[] = {"--supervise", NULL};
    static const struct fixture_setup setup = {.arguments = arguments, .before_exec = no_core};

    fixture_open(f, &setup);
    fixture_start(f);
    uint64_t block = open_holding(&guilty, f);
    send_ping(&guilty, guilty.next, ALLOTD_CRASH_TAG);
    expect_answer(&guilty, ALLOT__ERROR__E_INTERNAL);
    expect_all_goes_on(f, block);
}

/* A daemon that is killed before it can tell of the refusal is followed by one that can. */
static void test_poison__refused_and_not_told(void **state)
{
    static const char *const killed_at_the_answer[] = {"TRACED=" ALLOTD_CRASHING_PATH,
                                                       "TRACED_CALLS=sendto",
                                                       "TRACED_FAULT=signal=KILL:when=1", NULL};
    struct fixture *f = *state;

    open_kept(f);
    uint64_t block = open_holding(&guilty, f);
    send_ping(&guilty, guilty.next, ALLOTD_CRASH_TAG);
    check_equal(fixture_end(f), -1);
    end_at_starts(f, STARTS - 1);
    setenv("ALLOTD", TRACED_PATH, 1);
    f->setup.environment = killed_at_the_answer;
    check_equal(fixture_run(f), -1);
    check(strstr(fixture_log(f), "at 8 starts: refused") != NULL);
    f->setup.environment = NULL;
    setenv("ALLOTD", ALLOTD_CRASHING_PATH, 1);
    fixture_start(f);
    expect_answer(&guilty, ALLOT__ERROR__E_INTERNAL);
    expect_all_goes_on(f, block);
}

/* What shares a frame with it is carried out, before it and after it. */
static void test_poison__in_the_middle_of_a_frame(void **state)
{
    struct fixture *f = *state;
    Allot__Request r = wire_request(ALLOT__OP__OP_PING, 0);
    unsigned char frame[CODEC_FRAME_MAX];
    Allot__Error errors[4];
    size_t size = 0;

    open_kept(f);
    uint64_t block = open_holding(&guilty, f);
    for (unsigned i = 0; i < 4; i++) {
        r.number = guilty.next + i;
        r.tag = i == 1 || i == 2 ? ALLOTD_CRASH_TAG : 0;
        check(codec_add_request(&r, frame, &size) == 0);
    }
    wire_send_bytes(&guilty, frame, size);
    check_equal(fixture_end(f), -1);
    end_at_starts(f, 2 * (STARTS - 1));
    fixture_start(f);
    wire_collect(&guilty, guilty.next, 4, errors, NULL);
    guilty.next += 4;
    check(!errors[0] && !errors[3]);
    check_equal(errors[1], ALLOT__ERROR__E_INTERNAL);
    check_equal(errors[2], ALLOT__ERROR__E_INTERNAL);
    expect_all_goes_on(f, block);
}

/* Nor does a frame before it, which has waited with it, take its place. */
static void test_poison__behind_other_frames(void **state)
{
    struct fixture *f = *state;

    open_kept(f);
    uint64_t block = open_holding(&guilty, f);
    fixture_kill(f);
    for (unsigned i = 0; i < 5; i++)
        send_ping(&guilty, guilty.next + i, i == 3 ? ALLOTD_CRASH_TAG : 0);
    end_at_starts(f, STARTS - 1);
    fixture_start(f);
    for (unsigned i = 0; i < 5; i++)
        expect_answer(&guilty, i == 3 ? ALLOT__ERROR__E_INTERNAL : ALLOT__ERROR__E_OK);
    expect_all_goes_on(f, block);
}

/* A client whose connection nobody keeps comes back, and asks again: as the library does. */
static void test_poison__of_one_that_connects_again(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup setup = {.before_exec = no_core};
    unsigned char secret[CODEC_SECRET_SIZE];

    fixture_open(f, &setup);
    fixture_start(f);
    wire_open(&guilty, f->socket);
    memcpy(secret, guilty.reply->secret.data, sizeof(secret));
    uint64_t next = guilty.next + 2;
    uint64_t session = guilty.session;
    uint64_t block = wire_alloc(&guilty, wire_pool(&guilty, "default"), 1000);
    for (unsigned i = 0; i < STARTS; i++) {
        send_ping(&guilty, next, ALLOTD_CRASH_TAG);
        check_equal(fixture_end(f), -1);
        wire_close(&guilty);
        fixture_start(f);
        check_equal(wire_resume(&guilty, f->socket, session, secret, sizeof(secret)), 0);
    }
    send_ping(&guilty, next, ALLOTD_CRASH_TAG);
    guilty.next = next;
    expect_answer(&guilty, ALLOT__ERROR__E_INTERNAL);
    expect_all_goes_on(f, block);
}

/* Where it cannot even be told how many numbers it takes, its frame is not looked at any more. */
static void test_poison__that_cannot_be_read(void **state)
{
    struct fixture *f = *state;

    open_kept(f);
    uint64_t block = open_holding(&guilty, f);
    send_ping(&guilty, guilty.next, ALLOTD_CRASH_TAG + 1);
    check_equal(fixture_end(f), -1);
    end_at_starts(f, STARTS);
    fixture_start(f);
    wire_expect_refusal(&guilty, ALLOT__ERROR__E_INTERNAL, guilty.next);
    check_equal(wire_ping(&guilty), ALLOT__ERROR__E_OK);
    wire_free(&guilty, 1, block);
    wire_close(&guilty);
    f->errors_expected = true;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_poison__is_refused_at_the_last_start),
        fixture_test_bare(test_poison__under_the_supervisor),
        fixture_test_bare(test_poison__refused_and_not_told),
        fixture_test_bare(test_poison__in_the_middle_of_a_frame),
        fixture_test_bare(test_poison__behind_other_frames),
        fixture_test_bare(test_poison__of_one_that_connects_again),
        fixture_test_bare(test_poison__that_cannot_be_read),
    };

    setenv("ALLOTD", ALLOTD_CRASHING_PATH, 1);
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
