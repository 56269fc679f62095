/* SPDX-License-Identifier: MIT */
/*
 * Frames that several requests share: each is answered as if it were alone, in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "wire.h"

static struct wire w;

/* One frame's bytes, as requests are added. */
struct shared {
    unsigned char bytes[CODEC_FRAME_MAX];
    size_t size;
};

static void shared_add(struct shared *s, Allot__Request *r, uint64_t number)
{
    r->number = number;
    check(codec_add_request(r, s->bytes, &s->size) == 0);
}

static void test_shared__from_hello_to_free_in_one_frame(void **state)
{
    const struct fixture *f = *state;
    struct shared s = {.size = 0};
    uint64_t size = 100;
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);
    Allot__Request attach = wire_request(ALLOT__OP__OP_ATTACH, 0);
    Allot__Request alloc = wire_request(ALLOT__OP__OP_ALLOC, 1);
    Allot__Error error;
    uint64_t value;

    hello.version_min = hello.version_max = CODEC_VERSION;
    attach.name = (char *)(uintptr_t) "default";
    attach.access = ALLOT__ACCESS__ACCESS_WRITE;
    alloc.sizes = &size;
    alloc.n_sizes = 1;
    shared_add(&s, &hello, 0);
    shared_add(&s, &attach, 1);
    shared_add(&s, &alloc, 2);
    wire_connect(&w, f->socket);
    wire_send_bytes(&w, s.bytes, s.size);
    check(wire_receive(&w) != NULL);
    check_equal(w.reply->version, CODEC_VERSION);
    check(wire_receive(&w) != NULL);
    check_equal(w.reply->n_pools, 1);
    check(w.reply_fd >= 0);
    wire_collect(&w, 2, 1, &error, &value);
    check_equal(error, ALLOT__ERROR__E_OK);
    check(value != 0);
    w.next = 3;
    wire_free(&w, 1, value);
    wire_expect_good(&w, 1);
    wire_close(&w);
}

/* What is wrong with one request is not its neighbours' trouble. */
static void test_shared__a_bad_request_among_good_ones(void **state)
{
    const struct fixture *f = *state;
    struct shared s = {.size = 0};
    Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);
    Allot__Request unknown = wire_request((Allot__Op)99, 0);

    wire_open(&w, f->socket);
    shared_add(&s, &ping, w.next);
    shared_add(&s, &unknown, w.next + 1);
    shared_add(&s, &ping, w.next + 1);
    memcpy(s.bytes + s.size, "\x0a\x02\x08", 3); /* the next one is cut */
    wire_send_bytes(&w, s.bytes, s.size + 3);
    wire_collect(&w, w.next, 1, NULL, NULL);
    wire_expect_refusal(&w, ALLOT__ERROR__E_UNKNOWN, w.next + 1);
    wire_collect(&w, w.next + 1, 1, NULL, NULL);
    wire_expect_refusal(&w, ALLOT__ERROR__E_MALFORMED, 0);
    w.next += 2;
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_shared__no_more_operations_than_a_journal_holds(void **state)
{
    const struct fixture *f = *state;
    struct shared s = {.size = 0};
    uint64_t sizes[100];
    uint64_t values[CODEC_INFLIGHT_MAX];

    for (size_t i = 0; i < 100; i++)
        sizes[i] = 16 + i;
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    r.sizes = sizes;
    r.n_sizes = 100;
    shared_add(&s, &r, w.next);
    shared_add(&s, &r, w.next + 100);
    shared_add(&s, &r, w.next + 200); /* one too many of a hundred */
    r.n_sizes = 56;
    shared_add(&s, &r, w.next + 200);
    wire_send_bytes(&w, s.bytes, s.size);
    wire_collect(&w, w.next, 200, NULL, values);
    wire_expect_refusal(&w, ALLOT__ERROR__E_BATCH, w.next + 200);
    wire_collect(&w, w.next + 200, 56, NULL, values + 200);
    w.next += 256;
    check_equal(wire_pool_info(&w, "default")->blocks, 256);
    r = wire_request(ALLOT__OP__OP_FREE, pool);
    r.positions = values;
    r.n_positions = CODEC_INFLIGHT_MAX;
    wire_run(&w, &r, CODEC_INFLIGHT_MAX, NULL, NULL);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

/* A frame that waits in its middle goes on there: nothing is answered twice. */
static void test_shared__goes_on_where_it_waited(void **state)
{
    const struct fixture *f = *state;
    struct shared s = {.size = 0};
    uint64_t small = 100;
    uint64_t large = 40 << 20;
    uint64_t values[4];

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    r.n_sizes = 1;
    for (unsigned i = 0; i < 4; i++) {
        r.sizes = i % 2 ? &large : &small;
        shared_add(&s, &r, w.next + i);
    }
    wire_send_bytes(&w, s.bytes, s.size);
    for (unsigned answered = 0; answered < 4; answered += w.reply->count) {
        check(wire_receive(&w) != NULL);
        check_equal(w.reply->number, w.next + answered);
        check_equal(w.reply->n_errors, 0);
        for (unsigned i = 0; i < w.reply->count; i++)
            values[answered + i] = w.reply->values[i];
    }
    w.next += 4;
    for (unsigned i = 0; i < 4; i++)
        wire_free(&w, pool, values[i]);
    check_equal(wire_pool_info(&w, "default")->used_bytes, 0);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_shared__goodbye_ends_it(void **state)
{
    const struct fixture *f = *state;
    struct shared s = {.size = 0};
    Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);
    Allot__Request goodbye = wire_request(ALLOT__OP__OP_GOODBYE, 0);

    wire_open(&w, f->socket);
    shared_add(&s, &ping, w.next);
    shared_add(&s, &goodbye, w.next + 1);
    shared_add(&s, &ping, w.next + 2);
    wire_send_bytes(&w, s.bytes, s.size);
    wire_collect(&w, w.next, 2, NULL, NULL);
    wire_expect_end(&w);
    wire_close(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_shared__from_hello_to_free_in_one_frame),
        fixture_test(test_shared__a_bad_request_among_good_ones),
        fixture_test(test_shared__no_more_operations_than_a_journal_holds),
        fixture_test(test_shared__goes_on_where_it_waited),
        fixture_test(test_shared__goodbye_ends_it),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
