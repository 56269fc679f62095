/* SPDX-License-Identifier: MIT */
/*
 * The wire: frames, versions, numbers, order, and what a client can do to the daemon by sending.
 * Every refusal is followed by a good request on the same connection. What the operations answer is
 * in test_errors.c, frames of several requests are in test_shared.c.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/support.h"
#include "fixture.h"
#include "wire.h"

static struct wire w;

static void test_hello__tells_the_limits(void **state)
{
    const struct fixture *f = *state;

    wire_open(&w, f->socket);
    check_equal(w.reply->version, CODEC_VERSION);
    check_equal(w.reply->frame_max, CODEC_FRAME_MAX);
    check_equal(w.reply->batch_max, CODEC_BATCH_MAX);
    check_equal(w.reply->inflight_max, CODEC_INFLIGHT_MAX);
    check_equal(w.reply->count, 0);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_hello__refuses_versions_it_does_not_speak(void **state)
{
    const struct fixture *f = *state;
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);
    static const uint32_t ranges[][2] = {{0, 0}, {2, 2}, {2, UINT32_MAX}, {3, 1}};

    wire_connect(&w, f->socket);
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        hello.version_min = ranges[i][0];
        hello.version_max = ranges[i][1];
        wire_send(&w, &hello);
        wire_expect_refusal(&w, ALLOT__ERROR__E_VERSION, 0);
        check_equal(w.reply->version, CODEC_VERSION);
    }
    hello.version_min = 0;
    hello.version_max = UINT32_MAX;
    wire_send(&w, &hello);
    check(wire_receive(&w) != NULL);
    check_equal(w.reply->refused, ALLOT__ERROR__E_OK);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_hello__comes_first_and_once(void **state)
{
    const struct fixture *f = *state;
    Allot__Request r = wire_request(ALLOT__OP__OP_PING, 0);

    wire_connect(&w, f->socket);
    r.number = 1;
    wire_send(&w, &r);
    wire_expect_refusal(&w, ALLOT__ERROR__E_HELLO, 1);
    r.op = ALLOT__OP__OP_HELLO;
    r.number = 0;
    r.version_min = r.version_max = CODEC_VERSION;
    wire_send(&w, &r);
    check(wire_receive(&w) && w.reply->session);
    wire_send(&w, &r);
    wire_expect_refusal(&w, ALLOT__ERROR__E_HELLO, 0);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_frame__too_long_is_refused_alone(void **state)
{
    const struct fixture *f = *state;
    static unsigned char frame[200000];
    Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);

    wire_open(&w, f->socket);
    for (size_t size = CODEC_FRAME_MAX; size < sizeof(frame);
         size = size * 2 - CODEC_FRAME_MAX + 1) {
        /* Ones that wait together must not be mistaken for each other's rest. */
        kill(f->pid, SIGSTOP);
        ping.number = w.next;
        wire_send(&w, &ping);
        wire_send_bytes(&w, frame, size);
        ping.number = w.next + 1;
        wire_send(&w, &ping);
        kill(f->pid, SIGCONT);
        wire_collect(&w, w.next, 1, NULL, NULL);
        wire_expect_refusal(
            &w, size > CODEC_FRAME_MAX ? ALLOT__ERROR__E_FRAME_SIZE : ALLOT__ERROR__E_MALFORMED, 0);
        wire_collect(&w, w.next + 1, 1, NULL, NULL);
        w.next += 2;
    }
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_frame__truncated_anywhere(void **state)
{
    const struct fixture *f = *state;
    unsigned char frame[CODEC_FRAME_MAX];
    uint64_t sizes[] = {100, 200000, 1ull << 40, 7};
    size_t size = 0;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    r.sizes = sizes;
    r.n_sizes = 4;
    r.align = 1 << 20;
    r.tag = 70000;
    r.number = w.next;
    check(codec_add_request(&r, frame, &size) == 0);
    for (size_t cut = 1; cut < size; cut++) {
        wire_send_bytes(&w, frame, cut);
        wire_expect_refusal(&w, ALLOT__ERROR__E_MALFORMED, 0);
    }
    /* The same request in a sound frame. */
    unsigned malformed = 0;
    for (size_t cut = 1; cut < size - 2; cut++) {
        wire_send_encoded(&w, frame + 2, cut);
        check(wire_receive(&w) != NULL);
        if (w.reply->refused) {
            malformed += w.reply->refused == ALLOT__ERROR__E_MALFORMED;
            continue;
        }
        /* Cut between two fields it is a request of its own; a repeated one after that. */
        check_equal(w.reply->number, w.next);
        check_equal(w.reply->count, 4);
    }
    check(malformed >= 5);
    w.next += 4;
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static bool says_goodbye(const unsigned char *frame, size_t size)
{
    static struct codec_arena arena;
    Allot__Request *decoded;
    const void *part;
    size_t part_size;
    size_t at = 0;
    int error;

    while (codec_next_request(frame, size, &at, &part, &part_size, &error))
        if (codec_decode_request(&arena, part, part_size, &decoded) == 0 &&
            decoded->op == ALLOT__OP__OP_GOODBYE)
            return true;
    return false;
}

/* In a process of its own: garbage may by chance be a request. */
static void send_garbage(void *ctx)
{
    struct fixture *f = ctx;
    struct test_random random;
    uint64_t seed = test_seed(0x5eed0001);
    unsigned char frame[CODEC_FRAME_MAX];
    uint64_t sizes[] = {1, 4096, 1 << 20};
    uint64_t positions[] = {4096, 65536, 1 << 20};
    Allot__Request mark = wire_request((Allot__Op)99, 0);
    size_t size;

    test_random_init(&random, seed);
    fprintf(stderr, "garbage: seed 0x%llx\n", (unsigned long long)seed);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    Allot__Request r = wire_request(ALLOT__OP__OP_PING, pool);
    r.sizes = sizes;
    r.positions = positions;
    r.name = (char *)(uintptr_t) "default";
    for (unsigned round = 0; round < 20000; round++) {
        if (round % 4 == 0) {
            size = 1 + test_random_below(&random, round % 16 ? 64 : CODEC_FRAME_MAX);
            for (size_t i = 0; i < size; i++)
                frame[i] = (unsigned char)test_random_next(&random);
        } else { /* a good one with a few bits turned */
            r.op = (Allot__Op)(3 + test_random_below(&random, 16));
            r.number = w.next;
            r.n_sizes = (size_t)test_random_below(&random, 4);
            r.n_positions = (size_t)test_random_below(&random, 4);
            size = 0;
            check(codec_add_request(&r, frame, &size) == 0);
            for (uint64_t i = test_random_below(&random, 4); i > 0; i--)
                frame[test_random_below(&random, size)] ^=
                    (unsigned char)(1u << test_random_below(&random, 8));
        }
        if (says_goodbye(frame, size))
            continue;
        wire_send_bytes(&w, frame, size);
        /* Whatever it was answered, this refusal comes after it, and takes no number. */
        mark.number = (1ull << 63) + round;
        wire_send(&w, &mark);
        for (;;) {
            check(wire_receive(&w) != NULL);
            if (w.reply_fd >= 0)
                close(w.reply_fd);
            w.reply_fd = -1;
            if (w.reply->refused && w.reply->number == mark.number)
                break;
            if (w.reply->count && w.reply->number + w.reply->count > w.next)
                w.next = w.reply->number + w.reply->count;
        }
    }
    check_equal(wire_ping(&w), ALLOT__ERROR__E_OK);
}

static void test_frame__garbage_harms_nobody(void **state)
{
    struct fixture *f = *state;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t mine = wire_alloc(&w, pool, 1000);
    child_join(child_start(send_garbage, f));
    wire_wait_live(&w, "default", 1, 0, 0);
    wire_free(&w, pool, mine);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_frame__repeated_fields_are_bounded(void **state)
{
    const struct fixture *f = *state;
    unsigned char frame[CODEC_FRAME_MAX];

    wire_open(&w, f->socket);
    /* As many numbers of one byte as fit: refused for their count. */
    memset(frame, 1, sizeof(frame));
    const unsigned char head[] = {0x08, ALLOT__OP__OP_ALLOC, 0x10, 1, 0x22, 0xf0, 0x7f};
    memcpy(frame, head, sizeof(head));
    wire_send_encoded(&w, frame, sizeof(head) + 0x3ff0);
    wire_expect_refusal(&w, ALLOT__ERROR__E_BATCH, 1);
    /* Strings that replace each other: each takes memory again until there is none. */
    for (size_t i = 0; i + 2 <= sizeof(frame); i += 2) {
        frame[i] = 0x42;
        frame[i + 1] = 0;
    }
    wire_send_encoded(&w, frame, sizeof(frame) - 3);
    check(wire_receive(&w) != NULL);
    check(w.reply->refused == ALLOT__ERROR__E_MALFORMED ||
          w.reply->refused == ALLOT__ERROR__E_UNKNOWN);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_frame__unknown_operation(void **state)
{
    const struct fixture *f = *state;
    static const int32_t unknown[] = {0, 63, 99, INT32_MAX, -1};

    wire_open(&w, f->socket);
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        Allot__Request r = wire_request((Allot__Op)unknown[i], 1);
        r.number = w.next;
        wire_send(&w, &r);
        wire_expect_refusal(&w, ALLOT__ERROR__E_UNKNOWN, w.next);
    }
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_frame__unknown_fields_are_ignored(void **state)
{
    const struct fixture *f = *state;
    const unsigned char ping[] = {0x08, ALLOT__OP__OP_PING, 0x10, 1, 0xf8, 0x06, 5, 0xf2, 0x06, 1,
                                  9};

    wire_open(&w, f->socket);
    wire_send_encoded(&w, ping, sizeof(ping));
    wire_collect(&w, 1, 1, NULL, NULL);
    w.next = 2;
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_frame__empty_is_a_hang_up(void **state)
{
    const struct fixture *f = *state;
    static struct wire other;
    Allot__SessionInfo info;

    wire_open(&w, f->socket);
    wire_open(&other, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_alloc(&w, pool, 100);
    Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);
    kill(f->pid, SIGSTOP);
    ping.number = w.next;
    wire_send(&w, &ping);
    wire_send_bytes(&w, "", 0);
    kill(f->pid, SIGCONT);
    wire_collect(&w, w.next, 1, NULL, NULL); /* what came before it is answered */
    wire_expect_end(&w);
    check_equal(wire_sessions(&other, w.session, &info), 2);
    check(!info.connected);
    check_equal(info.allocations, 1); /* the process is still there */
    wire_expect_good(&other, wire_pool(&other, "default"));
    wire_close(&other);
    wire_close(&w);
}

static void test_batch__length_is_checked(void **state)
{
    const struct fixture *f = *state;
    static uint64_t column[1000];
    static const struct {
        Allot__Op op;
        size_t n_sizes;
        size_t n_positions;
    } bad[] = {
        {ALLOT__OP__OP_ALLOC, 0, 0},          {ALLOT__OP__OP_ALLOC, 257, 0},
        {ALLOT__OP__OP_ALLOC, 1000, 0},       {ALLOT__OP__OP_FREE, 0, 0},
        {ALLOT__OP__OP_FREE, 0, 257},         {ALLOT__OP__OP_FREE, 2, 3},
        {ALLOT__OP__OP_FREE, 3, 2},           {ALLOT__OP__OP_RESIZE, 1, 0},
        {ALLOT__OP__OP_RESIZE, 0, 1},         {ALLOT__OP__OP_RESIZE, 2, 2},
        {ALLOT__OP__OP_USABLE_SIZE, 0, 0},    {ALLOT__OP__OP_USABLE_SIZE, 0, 257},
        {ALLOT__OP__OP_ALLOC_PAGES, 0, 0},    {ALLOT__OP__OP_ALLOC_PAGES, 257, 0},
        {ALLOT__OP__OP_ALLOC_PAGES_AT, 1, 0}, {ALLOT__OP__OP_ALLOC_PAGES_AT, 1, 2},
        {ALLOT__OP__OP_FREE_PAGES, 0, 0},     {ALLOT__OP__OP_FREE_PAGES, 1, 2},
        {ALLOT__OP__OP_ALLOC_IDS, 257, 0},    {ALLOT__OP__OP_ALLOC_IDS_AT, 0, 1},
        {ALLOT__OP__OP_ALLOC_IDS_AT, 2, 1},   {ALLOT__OP__OP_FREE_IDS, 2, 1},
        {ALLOT__OP__OP_ADD_MEMORY, 0, 0},     {ALLOT__OP__OP_ADD_MEMORY, 2, 0},
    };

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Allot__Request r = wire_request(bad[i].op, pool);
        r.sizes = r.positions = column;
        r.n_sizes = bad[i].n_sizes;
        r.n_positions = bad[i].n_positions;
        r.number = w.next;
        wire_send(&w, &r);
        wire_expect_refusal(&w, ALLOT__ERROR__E_BATCH, w.next);
    }
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_batch__full_length_with_mixed_outcomes(void **state)
{
    const struct fixture *f = *state;
    uint64_t sizes[CODEC_BATCH_MAX];
    uint64_t values[CODEC_BATCH_MAX];
    Allot__Error errors[CODEC_BATCH_MAX];

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    for (unsigned i = 0; i < CODEC_BATCH_MAX; i++)
        sizes[i] = i % 16 == 5 ? 0 : i % 16 == 6 ? UINT64_MAX : 32 + i;
    r.sizes = sizes;
    r.n_sizes = CODEC_BATCH_MAX;
    wire_run(&w, &r, CODEC_BATCH_MAX, errors, values);
    unsigned good = 0;
    for (unsigned i = 0; i < CODEC_BATCH_MAX; i++) {
        bool bad = i % 16 == 5 || i % 16 == 6;
        check_equal(errors[i], bad ? ALLOT__ERROR__E_INVALID : ALLOT__ERROR__E_OK);
        check(bad || values[i] % 16 == 0);
        check(bad || values[i] != 0);
        for (unsigned j = 0; !bad && j < i; j++)
            check(j % 16 == 5 || j % 16 == 6 || values[j] + sizes[j] <= values[i] ||
                  values[i] + sizes[i] <= values[j]);
        good += !bad;
    }
    check_equal(wire_pool_info(&w, "default")->blocks, good);
    r = wire_request(ALLOT__OP__OP_FREE, pool);
    r.positions = values;
    r.n_positions = r.n_sizes = CODEC_BATCH_MAX;
    r.sizes = sizes;
    sizes[5] = sizes[6] = 1;
    values[5] = values[6] = 0;
    wire_run(&w, &r, CODEC_BATCH_MAX, errors, NULL);
    for (unsigned i = 0; i < CODEC_BATCH_MAX; i++)
        check_equal(errors[i], i % 16 == 5 || i % 16 == 6 ? ALLOT__ERROR__E_NOT_ALLOCATED
                                                          : ALLOT__ERROR__E_OK);
    check_equal(wire_pool_info(&w, "default")->blocks, 0);
    wire_close(&w);
}

static void test_number__gaps_are_refused(void **state)
{
    const struct fixture *f = *state;
    Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);

    wire_open(&w, f->socket);
    for (unsigned i = 0; i < 300; i++)
        check_equal(wire_ping(&w), ALLOT__ERROR__E_OK);
    const uint64_t bad[] = {0, w.next + 1, w.next + 256, UINT64_MAX, w.next - 257, 1};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ping.number = bad[i];
        wire_send(&w, &ping);
        wire_expect_refusal(&w, ALLOT__ERROR__E_SEQUENCE, bad[i]);
    }
    ping.number = w.next - 256; /* the oldest that is still known */
    wire_send(&w, &ping);
    wire_collect(&w, ping.number, 1, NULL, NULL);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

/* Sends a request twice: the second answer must be the first, and nothing must have happened. */
static void run_twice(Allot__Request *r, unsigned n, Allot__Error *errors, uint64_t *values)
{
    Allot__Error again[CODEC_BATCH_MAX];
    uint64_t values_again[CODEC_BATCH_MAX];

    wire_run(&w, r, n, errors, values);
    const Allot__PoolInfo *info = wire_pool_info(&w, "default");
    uint64_t live = info->blocks + info->page_runs + info->id_ranges;
    uint64_t used = info->used_bytes;
    wire_send(&w, r);
    wire_collect(&w, r->number, n, again, values_again);
    check(memcmp(errors, again, n * sizeof(*errors)) == 0);
    check(memcmp(values, values_again, n * sizeof(*values)) == 0);
    info = wire_pool_info(&w, "default");
    check_equal(info->blocks + info->page_runs + info->id_ranges, live);
    check_equal(info->used_bytes, used);
}

static void test_number__repeated_gets_the_stored_answer(void **state)
{
    const struct fixture *f = *state;
    uint64_t sizes[] = {100, 0, 1ull << 40, 8192};
    uint64_t values[4];
    uint64_t position;
    Allot__Error errors[4];

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    r.sizes = sizes;
    r.n_sizes = 4;
    run_twice(&r, 4, errors, values);
    check_equal(errors[0], ALLOT__ERROR__E_OK);
    check_equal(errors[1], ALLOT__ERROR__E_INVALID);
    check_equal(errors[2], ALLOT__ERROR__E_NO_MEMORY);
    check_equal(errors[3], ALLOT__ERROR__E_OK);
    position = values[0];
    r = wire_request(ALLOT__OP__OP_FREE, pool);
    r.positions = &position;
    r.n_positions = 1;
    run_twice(&r, 1, errors, values); /* not "freed before" */
    check_equal(errors[0], ALLOT__ERROR__E_OK);
    r = wire_request(ALLOT__OP__OP_ALLOC_IDS, pool);
    r.sizes = sizes;
    r.n_sizes = 1;
    run_twice(&r, 1, errors, values);
    r = wire_request(ALLOT__OP__OP_ADD_MEMORY, pool);
    r.sizes = sizes;
    r.n_sizes = 1;
    run_twice(&r, 1, errors, values);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

/* The request repeats the last of what was answered and goes on with what was not. */
static void test_number__half_repeated_runs_the_other_half(void **state)
{
    const struct fixture *f = *state;
    uint64_t sizes[] = {100, 200, 300, 400};
    uint64_t first[2];
    uint64_t all[4];

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    r.sizes = sizes;
    r.n_sizes = 2;
    wire_run(&w, &r, 2, NULL, first);
    r.n_sizes = 4;
    wire_send(&w, &r);
    wire_collect(&w, r.number, 4, NULL, all);
    w.next += 2;
    check(all[0] == first[0] && all[1] == first[1]);
    check(all[2] && all[3]);
    check_equal(wire_pool_info(&w, "default")->blocks, 4);
    wire_close(&w);
}

static void test_pipeline__one_reply_answers_many_requests(void **state)
{
    const struct fixture *f = *state;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t size = 64;
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    r.sizes = &size;
    r.n_sizes = 1;
    kill(f->pid, SIGSTOP); /* so that all of them wait together */
    check_equal(waitpid(f->pid, NULL, WUNTRACED), f->pid);
    for (unsigned i = 0; i < 50; i++) {
        r.number = w.next + i;
        wire_send(&w, &r);
    }
    kill(f->pid, SIGCONT);
    check(wire_receive(&w) != NULL);
    check_equal(w.reply->number, w.next);
    check_equal(w.reply->count, 50);
    check_equal(w.reply->n_values, 50);
    w.next += 50;
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_pipeline__full_window_in_order(void **state)
{
    const struct fixture *f = *state;
    uint64_t values[CODEC_INFLIGHT_MAX];

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    for (unsigned round = 0; round < 4; round++) {
        uint64_t sizes[8] = {16, 32, 48, 64, 80, 96, 112, 128};
        Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
        r.sizes = sizes;
        /* 256 frames of one, then fewer and longer ones. */
        r.n_sizes = 1u << round;
        kill(f->pid, SIGSTOP);
        for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i += (unsigned)r.n_sizes) {
            r.number = w.next + i;
            wire_send(&w, &r);
        }
        kill(f->pid, SIGCONT);
        wire_collect(&w, w.next, CODEC_INFLIGHT_MAX, NULL, values);
        w.next += CODEC_INFLIGHT_MAX;
        for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i++)
            for (unsigned j = 0; j < i; j++)
                check(values[i] && values[i] != values[j]);
        check_equal(wire_pool_info(&w, "default")->blocks, CODEC_INFLIGHT_MAX);
        r = wire_request(ALLOT__OP__OP_FREE, pool);
        r.positions = values;
        r.n_positions = CODEC_INFLIGHT_MAX;
        wire_run(&w, &r, CODEC_INFLIGHT_MAX, NULL, NULL);
        check_equal(wire_pool_info(&w, "default")->blocks, 0);
    }
    wire_close(&w);
}

/* Refusals and lists stand in order among the answers. */
static void test_pipeline__order_holds_across_kinds(void **state)
{
    const struct fixture *f = *state;
    Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);
    Allot__Request list = wire_request(ALLOT__OP__OP_POOLS, 0);

    wire_open(&w, f->socket);
    kill(f->pid, SIGSTOP);
    ping.number = 1;
    wire_send(&w, &ping);
    list.number = 2;
    wire_send(&w, &list);
    wire_send_bytes(&w, "garbage", 7);
    ping.number = 3;
    wire_send(&w, &ping);
    ping.number = 9;
    wire_send(&w, &ping);
    ping.number = 4;
    wire_send(&w, &ping);
    kill(f->pid, SIGCONT);
    wire_collect(&w, 1, 1, NULL, NULL);
    wire_collect(&w, 2, 1, NULL, NULL);
    check_equal(w.reply->n_pools, 1);
    wire_expect_refusal(&w, ALLOT__ERROR__E_MALFORMED, 0);
    wire_collect(&w, 3, 1, NULL, NULL);
    wire_expect_refusal(&w, ALLOT__ERROR__E_SEQUENCE, 9);
    wire_collect(&w, 4, 1, NULL, NULL);
    w.next = 5;
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_descriptors__of_clients_do_not_stay(void **state)
{
    struct fixture *f = *state;
    unsigned char frame[CODEC_FRAME_MAX];
    static unsigned char long_frame[CODEC_FRAME_MAX + 1];
    int fds[16];

    wire_open(&w, f->socket);
    check_equal(wire_ping(&w), ALLOT__ERROR__E_OK);
    unsigned before = fixture_count_fds(f);
    for (unsigned i = 0; i < 16; i++)
        fds[i] = STDERR_FILENO;
    for (unsigned i = 0; i < 50; i++) {
        Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);
        size_t size = 0;
        ping.number = w.next;
        check(codec_add_request(&ping, frame, &size) == 0);
        wire_send_with_fds(&w, frame, size, fds, 16);
        wire_collect(&w, w.next++, 1, NULL, NULL);
        wire_send_with_fds(&w, "garbage", 7, fds, 16);
        wire_expect_refusal(&w, ALLOT__ERROR__E_MALFORMED, 0);
        wire_send_with_fds(&w, long_frame, sizeof(long_frame), fds, 16);
        wire_expect_refusal(&w, ALLOT__ERROR__E_FRAME_SIZE, 0);
    }
    check_equal(wire_ping(&w), ALLOT__ERROR__E_OK);
    check_equal(fixture_count_fds(f), before);
    wire_expect_good(&w, wire_pool(&w, "default"));
    /* Handing a pool over costs the daemon nothing that stays either. */
    check_equal(fixture_count_fds(f), before);
    wire_close(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_hello__tells_the_limits),
        fixture_test(test_hello__refuses_versions_it_does_not_speak),
        fixture_test(test_hello__comes_first_and_once),
        fixture_test(test_frame__too_long_is_refused_alone),
        fixture_test(test_frame__truncated_anywhere),
        fixture_test(test_frame__garbage_harms_nobody),
        fixture_test(test_frame__repeated_fields_are_bounded),
        fixture_test(test_frame__unknown_operation),
        fixture_test(test_frame__unknown_fields_are_ignored),
        fixture_test(test_frame__empty_is_a_hang_up),
        fixture_test(test_batch__length_is_checked),
        fixture_test(test_batch__full_length_with_mixed_outcomes),
        fixture_test(test_number__gaps_are_refused),
        fixture_test(test_number__repeated_gets_the_stored_answer),
        fixture_test(test_number__half_repeated_runs_the_other_half),
        fixture_test(test_pipeline__one_reply_answers_many_requests),
        fixture_test(test_pipeline__full_window_in_order),
        fixture_test(test_pipeline__order_holds_across_kinds),
        fixture_test(test_descriptors__of_clients_do_not_stay),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
