/* SPDX-License-Identifier: MIT */
/*
 * The codec against friends and enemies: what is encoded comes back, and no frame at all, of
 * whatever bytes, gets more than a fixed arena or anything but a named error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../fuzz/codec_oracle.h"
#include "support.h"

#define MUTATIONS 200000

#define TAG(field, type) ((unsigned char)((field) << 3 | (type)))
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, GROUP = 3, FIXED32 = 5 };
enum { OP = 1, SIZES = 4, POSITIONS = 5, NAME = 8, UNKNOWN = 15 };

static struct codec_arena arena;
static unsigned char frame[2 * CODEC_FRAME_MAX];

static Allot__Request decoded_request(size_t size)
{
    Allot__Request *request;

    assert_int_equal(codec_decode_request(&arena, frame, size, &request), 0);
    return *request;
}

static size_t encoded_request(const Allot__Request *request)
{
    size_t size;

    assert_int_equal(codec_encode_request(request, frame, &size), 0);
    return size;
}

/* A request that uses every field and the longest numbers. */
static size_t full_request(void)
{
    static uint64_t sizes[3] = {1, UINT64_MAX, 1u << 20};
    static uint64_t positions[3] = {4096, UINT64_MAX - 1, 0};
    Allot__Request request = ALLOT__REQUEST__INIT;

    request.op = ALLOT__OP__OP_ALLOC_PAGES_AT;
    request.number = UINT64_MAX;
    request.pool = UINT32_MAX;
    request.n_sizes = 3;
    request.sizes = sizes;
    request.n_positions = 3;
    request.positions = positions;
    request.align = UINT64_C(1) << 63;
    request.tag = UINT32_MAX;
    request.name = (char[]){"a pool"};
    request.access = ALLOT__ACCESS__ACCESS_WRITE;
    request.version_min = 1;
    request.version_max = 7;
    request.after = 300;
    request.deadline_ms = UINT64_MAX - 2;
    request.receiver = UINT64_MAX - 3;
    return encoded_request(&request);
}

static size_t full_reply(unsigned char *to)
{
    static uint64_t values[2] = {UINT64_MAX, 0};
    static Allot__Error errors[2] = {ALLOT__ERROR__E_OK, ALLOT__ERROR__E_NO_MEMORY};
    Allot__PoolInfo pool = ALLOT__POOL_INFO__INIT;
    Allot__TagInfo tag = ALLOT__TAG_INFO__INIT;
    Allot__SessionInfo session = ALLOT__SESSION_INFO__INIT;
    Allot__Reply reply = ALLOT__REPLY__INIT;
    size_t size;

    pool.pool = 3;
    pool.name = (char[]){"frames"};
    pool.allocator = (char[]){"tlsf"};
    pool.size_max = UINT64_C(1) << 47;
    tag.tag = UINT32_MAX;
    session.session = UINT64_MAX;
    session.connected = true;
    reply.number = 1;
    reply.count = 2;
    reply.n_values = 2;
    reply.values = values;
    reply.n_errors = 2;
    reply.errors = errors;
    reply.n_pools = 1;
    reply.pools = (Allot__PoolInfo *[]){&pool};
    reply.n_tags = 1;
    reply.tags = (Allot__TagInfo *[]){&tag};
    reply.n_sessions = 1;
    reply.sessions = (Allot__SessionInfo *[]){&session};
    reply.more = true;
    assert_int_equal(codec_encode_reply(&reply, to, &size), 0);
    return size;
}

static void test_codec__request_comes_back_whole(void **state)
{
    (void)state;
    Allot__Request got = decoded_request(full_request());

    assert_int_equal(got.op, ALLOT__OP__OP_ALLOC_PAGES_AT);
    assert_true(got.number == UINT64_MAX && got.pool == UINT32_MAX && got.tag == UINT32_MAX);
    assert_int_equal(got.n_sizes, 3);
    assert_true(got.sizes[0] == 1 && got.sizes[1] == UINT64_MAX && got.sizes[2] == 1u << 20);
    assert_int_equal(got.n_positions, 3);
    assert_true(got.positions[0] == 4096 && got.positions[1] == UINT64_MAX - 1 &&
                got.positions[2] == 0);
    assert_true(got.align == UINT64_C(1) << 63);
    assert_string_equal(got.name, "a pool");
    assert_int_equal(got.access, ALLOT__ACCESS__ACCESS_WRITE);
    assert_true(got.version_min == 1 && got.version_max == 7 && got.after == 300);
    assert_true(got.deadline_ms == UINT64_MAX - 2 && got.receiver == UINT64_MAX - 3);
}

static void test_codec__reply_comes_back_whole(void **state)
{
    (void)state;
    Allot__Reply *got;

    assert_int_equal(codec_decode_reply(&arena, frame, full_reply(frame), &got), 0);
    assert_true(got->number == 1 && got->count == 2 && got->more);
    assert_true(got->n_values == 2 && got->values[0] == UINT64_MAX && got->values[1] == 0);
    assert_true(got->n_errors == 2 && got->errors[1] == ALLOT__ERROR__E_NO_MEMORY);
    assert_int_equal(got->n_pools, 1);
    assert_string_equal(got->pools[0]->name, "frames");
    assert_string_equal(got->pools[0]->allocator, "tlsf");
    assert_true(got->pools[0]->size_max == UINT64_C(1) << 47);
    assert_true(got->n_tags == 1 && got->tags[0]->tag == UINT32_MAX);
    assert_true(got->n_sessions == 1 && got->sessions[0]->session == UINT64_MAX &&
                got->sessions[0]->connected);
}

static void test_codec__largest_batch_fits_a_frame(void **state)
{
    (void)state;
    uint64_t longest[CODEC_BATCH_MAX];
    Allot__Request request = ALLOT__REQUEST__INIT;

    memset(longest, 0xff, sizeof(longest));
    request.op = ALLOT__OP__OP_FREE;
    request.number = request.align = request.after = UINT64_MAX;
    request.n_sizes = request.n_positions = CODEC_BATCH_MAX;
    request.sizes = request.positions = longest;
    Allot__Request got = decoded_request(encoded_request(&request));
    assert_int_equal(codec_request_count(&got), CODEC_BATCH_MAX);
    assert_true(got.sizes[CODEC_BATCH_MAX - 1] == UINT64_MAX);
}

static void test_codec__encode_refuses_more_than_a_frame(void **state)
{
    (void)state;
    static uint64_t ones[CODEC_FRAME_MAX];
    Allot__Reply reply = ALLOT__REPLY__INIT;
    size_t size;

    for (size_t i = 0; i < CODEC_FRAME_MAX; i++)
        ones[i] = 1;
    reply.values = ones;
    reply.n_values = CODEC_FRAME_MAX - 3; /* a tag and a length of two bytes */
    assert_int_equal(codec_encode_reply(&reply, frame, &size), 0);
    assert_int_equal(size, CODEC_FRAME_MAX);
    memset(frame, 0xa5, sizeof(frame));
    size = 77;
    reply.n_values++;
    assert_int_equal(codec_encode_reply(&reply, frame, &size), -ALLOT__ERROR__E_FRAME_SIZE);
    assert_int_equal(size, 77);
    for (size_t i = 0; i < sizeof(frame); i++)
        assert_int_equal(frame[i], 0xa5);
}

static void test_codec__a_frame_too_long_is_named(void **state)
{
    (void)state;
    Allot__Request *request = NULL;

    memset(frame, 0, sizeof(frame));
    assert_int_equal(codec_decode_request(&arena, frame, CODEC_FRAME_MAX + 1, &request),
                     -ALLOT__ERROR__E_FRAME_SIZE);
    assert_null(request);
}

static void test_codec__an_empty_frame_is_an_unknown_operation(void **state)
{
    (void)state;
    Allot__Request got = decoded_request(0);

    assert_int_equal(codec_request_count(&got), -ALLOT__ERROR__E_UNKNOWN);
    assert_string_equal(got.name, "");
}

/* A prefix is a message of its own where it ends between two fields; it is never a fault. */
static void test_codec__truncation_at_every_byte(void **state)
{
    (void)state;
    unsigned char reply[CODEC_FRAME_MAX];
    size_t size = full_request();
    size_t reply_size = full_reply(reply);
    size_t refused = 0;

    for (size_t cut = 0; cut < size; cut++) {
        unsigned char *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees the end */
        Allot__Request *request;

        memcpy(exact, frame, cut);
        assert_int_equal(codec_oracle_request(exact, cut), 0);
        refused += codec_decode_request(&arena, exact, cut, &request) != 0;
        free(exact);
    }
    assert_in_range(refused, size / 2, size);
    for (size_t cut = 0; cut < reply_size; cut++) {
        unsigned char *exact = malloc(cut ? cut : 1);

        memcpy(exact, reply, cut);
        assert_int_equal(codec_oracle_reply(exact, cut), 0);
        free(exact);
    }
}

/* The costliest frame that is let in: 16 KiB of one-byte numbers. */
static void test_codec__a_frame_of_one_byte_numbers_is_decoded(void **state)
{
    (void)state;
    size_t n = CODEC_FRAME_MAX - 4;

    memset(frame, 1, sizeof(frame));
    frame[0] = TAG(SIZES, BYTES);
    frame[1] = (unsigned char)(n | 0x80);
    frame[2] = (unsigned char)(n >> 7 | 0x80);
    frame[3] = (unsigned char)(n >> 14);
    assert_int_equal(codec_oracle_request(frame, CODEC_FRAME_MAX), 0);
    Allot__Request got = decoded_request(CODEC_FRAME_MAX);
    assert_int_equal(got.n_sizes, n);
    got.op = ALLOT__OP__OP_ALLOC;
    assert_int_equal(codec_request_count(&got), -ALLOT__ERROR__E_BATCH);
}

/* Fills a frame with copies of one field and says whether it is decoded. */
static int fill(const unsigned char *field, size_t field_size)
{
    size_t size = 0;
    Allot__Request *request;

    for (; size + field_size <= CODEC_FRAME_MAX; size += field_size)
        memcpy(frame + size, field, field_size);
    assert_int_equal(codec_oracle_request(frame, size), 0);
    (void)codec_oracle_reply(frame, size);
    return codec_decode_request(&arena, frame, size, &request);
}

static void test_codec__repeated_fields_cost_an_arena_at_most(void **state)
{
    (void)state;
    /* Where the last one counts, or nothing is added, any number of them costs nothing. */
    assert_int_equal(fill((unsigned char[]){TAG(OP, VARINT), 3}, 2), 0);
    assert_int_equal(fill((unsigned char[]){TAG(SIZES, BYTES), 0}, 2), 0);
    /* Thousands of other fields cannot be told from an attack and do not fit the arena. */
    assert_int_equal(fill((unsigned char[]){TAG(NAME, BYTES), 0}, 2), -ALLOT__ERROR__E_MALFORMED);
    assert_int_equal(fill((unsigned char[]){TAG(SIZES, VARINT), 1}, 2), -ALLOT__ERROR__E_MALFORMED);
    assert_int_equal(fill((unsigned char[]){TAG(UNKNOWN, VARINT), 1}, 2),
                     -ALLOT__ERROR__E_MALFORMED);
    assert_int_equal(fill((unsigned char[]){TAG(UNKNOWN, BYTES), 0}, 2),
                     -ALLOT__ERROR__E_MALFORMED);
}

/* Sub-messages of a reply, empty ones: the best amplification that a daemon could send a client. */
static void test_codec__empty_sub_messages_cost_an_arena_at_most(void **state)
{
    (void)state;
    static const unsigned char fields[] = {11, 12, 13};

    for (size_t f = 0; f < sizeof(fields); f++) {
        Allot__Reply *reply = NULL;

        for (size_t i = 0; i < CODEC_FRAME_MAX; i += 2) {
            frame[i] = TAG(fields[f], BYTES);
            frame[i + 1] = 0;
        }
        assert_int_equal(codec_oracle_reply(frame, CODEC_FRAME_MAX), 0);
        assert_int_equal(codec_decode_reply(&arena, frame, CODEC_FRAME_MAX, &reply),
                         -ALLOT__ERROR__E_MALFORMED);
        assert_null(reply);
    }
}

static void test_codec__the_last_of_a_field_counts_and_parts_of_a_column_add_up(void **state)
{
    (void)state;
    static const unsigned char fields[] = {TAG(OP, VARINT),
                                           3,
                                           TAG(SIZES, BYTES),
                                           2,
                                           1,
                                           2,
                                           TAG(NAME, BYTES),
                                           1,
                                           'a',
                                           TAG(SIZES, VARINT),
                                           3,
                                           TAG(OP, VARINT),
                                           5,
                                           TAG(NAME, BYTES),
                                           1,
                                           'b'};

    memcpy(frame, fields, sizeof(fields));
    Allot__Request got = decoded_request(sizeof(fields));
    assert_int_equal(got.op, ALLOT__OP__OP_ALLOC);
    assert_string_equal(got.name, "b");
    assert_int_equal(codec_request_count(&got), 3);
    assert_true(got.sizes[0] == 1 && got.sizes[1] == 2 && got.sizes[2] == 3);
}

static void test_codec__a_few_unknown_fields_are_ignored(void **state)
{
    (void)state;
    static const unsigned char fields[] = {TAG(UNKNOWN, VARINT),
                                           9,
                                           TAG(UNKNOWN, FIXED64),
                                           1,
                                           2,
                                           3,
                                           4,
                                           5,
                                           6,
                                           7,
                                           8,
                                           TAG(OP, VARINT),
                                           3,
                                           TAG(UNKNOWN, FIXED32),
                                           1,
                                           2,
                                           3,
                                           4,
                                           TAG(UNKNOWN, BYTES),
                                           2,
                                           'x',
                                           'y'};

    memcpy(frame, fields, sizeof(fields));
    Allot__Request got = decoded_request(sizeof(fields));
    assert_int_equal(codec_request_count(&got), 1);
}

/* Each is wrong in itself, not only too much. */
static void test_codec__malformed_frames_are_named(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        unsigned char bytes[16];
    } bad[] = {
        {1, {TAG(OP, VARINT)}},       /* no value */
        {2, {TAG(OP, VARINT), 0x80}}, /* a number without end */
        {12, {TAG(OP, VARINT), 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}},
        {3, {TAG(SIZES, BYTES), 5, 1}},                     /* a length beyond the frame */
        {7, {TAG(SIZES, BYTES), 255, 255, 255, 255, 7, 1}}, /* nearly 2^31 */
        {7, {TAG(NAME, BYTES), 255, 255, 255, 255, 15, 1}}, /* 2^32 - 1 */
        {3, {TAG(SIZES, BYTES), 1, 0x80}},                  /* a packed number without end */
        {2, {TAG(UNKNOWN, GROUP), 1}},                      /* groups are of another age */
        {2, {TAG(OP, 7), 1}},                               /* no such wire type */
        {2, {0, 1}},                                        /* field 0 */
        {4, {TAG(UNKNOWN, FIXED32), 1, 2, 3}},              /* one byte short */
        {8, {TAG(UNKNOWN, FIXED64), 1, 2, 3, 4, 5, 6, 7}},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Allot__Request *request = NULL;

        if (codec_decode_request(&arena, bad[i].bytes, bad[i].size, &request) !=
                -ALLOT__ERROR__E_MALFORMED ||
            request)
            fail_msg("row %zu was not refused", i);
        assert_int_equal(codec_oracle_request(bad[i].bytes, bad[i].size), 0);
    }
}

/* Columns that an operation reads: lengths of sizes and positions, and what is to be said. */
/* Requests are taken out of a frame as they were put in, until it is full. */
static void test_codec__frames_hold_requests_in_order(void **state)
{
    (void)state;
    uint64_t sizes[CODEC_BATCH_MAX];
    size_t size = 0;
    uint64_t added = 0;

    for (size_t i = 0; i < CODEC_BATCH_MAX; i++)
        sizes[i] = UINT64_MAX - i;
    for (;; added++) {
        Allot__Request r = ALLOT__REQUEST__INIT;
        size_t before = size;
        r.op = ALLOT__OP__OP_ALLOC;
        r.number = added;
        r.sizes = sizes;
        r.n_sizes = (size_t)(added * 7 % 200); /* lengths of one byte and of two */
        int rc = codec_add_request(&r, frame, &size);
        if (rc) {
            assert_int_equal(rc, -ALLOT__ERROR__E_FRAME_SIZE);
            assert_int_equal(size, before);
            break;
        }
        assert_true(size <= CODEC_FRAME_MAX);
    }
    assert_true(added > 10);
    size_t at = 0;
    uint64_t found = 0;
    const void *part;
    size_t length;
    int error;
    for (; codec_next_request(frame, size, &at, &part, &length, &error); found++) {
        Allot__Request *r;
        assert_int_equal(codec_decode_request(&arena, part, length, &r), 0);
        assert_int_equal(r->number, found);
        assert_int_equal(r->n_sizes, found * 7 % 200);
    }
    assert_int_equal(error, 0);
    assert_int_equal(found, added);
    /* Cut anywhere, it is not sound, or ends between two of them. */
    for (size_t cut = 0; cut < size; cut++) {
        unsigned char *exact = malloc(cut ? cut : 1); /* so that a read past the end is seen */
        memcpy(exact, frame, cut);
        at = 0;
        while (codec_next_request(exact, cut, &at, &part, &length, &error))
            assert_true((const unsigned char *)part + length <= exact + cut);
        assert_int_equal(error, at == cut ? 0 : -ALLOT__ERROR__E_MALFORMED);
        free(exact);
    }
}

static void test_codec__frames_of_anything_else_are_malformed(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        unsigned char bytes[8];
    } bad[] = {
        {1, {0x0a}},                               /* no length */
        {2, {0x0a, 1}},                            /* nothing behind it */
        {2, {0x0a, 0x80}},                         /* a length without end */
        {7, {0x0a, 255, 255, 255, 255, 255, 127}}, /* longer than any number of bytes here */
        {6, {0x0a, 255, 255, 255, 255, 15}},       /* 2^32 - 1 */
        {2, {0x08, 1}},                            /* a bare request */
        {3, {0x12, 1, 0}},                         /* another field */
    };
    size_t length;
    const void *part;
    int error;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        size_t at = 0;
        assert_false(codec_next_request(bad[i].bytes, bad[i].size, &at, &part, &length, &error));
        assert_int_equal(error, -ALLOT__ERROR__E_MALFORMED);
    }
}

static void test_codec__counts_of_each_operation(void **state)
{
    (void)state;
    enum { B = -ALLOT__ERROR__E_BATCH, U = -ALLOT__ERROR__E_UNKNOWN, MAX = CODEC_BATCH_MAX };
    static const struct {
        Allot__Op op;
        size_t sizes, positions;
        int count;
    } rows[] = {
        {ALLOT__OP__OP_NONE, 1, 1, U},
        {(Allot__Op)99, 1, 1, U},
        {(Allot__Op)-1, 1, 1, U},
        {ALLOT__OP__OP_HELLO, 0, 0, 0},
        {ALLOT__OP__OP_HELLO, 999, 3, 0},
        {ALLOT__OP__OP_GOODBYE, 0, 0, 1},
        {ALLOT__OP__OP_PING, 0, 0, 1},
        {ALLOT__OP__OP_PING, 9, 0, 1},
        {ALLOT__OP__OP_ATTACH, 0, 0, 1},
        {ALLOT__OP__OP_ALLOC, 0, 0, B},
        {ALLOT__OP__OP_ALLOC, 1, 0, 1},
        {ALLOT__OP__OP_ALLOC, MAX, 0, MAX},
        {ALLOT__OP__OP_ALLOC, MAX + 1, 0, B},
        {ALLOT__OP__OP_FREE, 0, 0, B},
        {ALLOT__OP__OP_FREE, 3, 0, B},
        {ALLOT__OP__OP_FREE, 0, 3, 3},
        {ALLOT__OP__OP_FREE, 3, 3, 3},
        {ALLOT__OP__OP_FREE, 2, 3, B},
        {ALLOT__OP__OP_FREE, MAX + 1, MAX + 1, B},
        {ALLOT__OP__OP_RESIZE, 1, 1, 1},
        {ALLOT__OP__OP_RESIZE, 2, 2, B},
        {ALLOT__OP__OP_RESIZE, 1, 0, B},
        {ALLOT__OP__OP_RESIZE, 0, 1, B},
        {ALLOT__OP__OP_USABLE_SIZE, 0, 2, 2},
        {ALLOT__OP__OP_USABLE_SIZE, 2, 0, B},
        {ALLOT__OP__OP_USABLE_SIZE, 0, MAX + 1, B},
        {ALLOT__OP__OP_ALLOC_PAGES, 4, 0, 4},
        {ALLOT__OP__OP_ALLOC_PAGES, 0, 4, B},
        {ALLOT__OP__OP_ALLOC_PAGES_AT, 2, 2, 2},
        {ALLOT__OP__OP_ALLOC_PAGES_AT, 0, 2, B},
        {ALLOT__OP__OP_ALLOC_PAGES_AT, 2, 1, B},
        {ALLOT__OP__OP_FREE_PAGES, 0, 2, 2},
        {ALLOT__OP__OP_FREE_PAGES, 1, 2, B},
        {ALLOT__OP__OP_ALLOC_IDS, 5, 0, 5},
        {ALLOT__OP__OP_ALLOC_IDS, 0, 0, B},
        {ALLOT__OP__OP_ALLOC_IDS_AT, 5, 5, 5},
        {ALLOT__OP__OP_ALLOC_IDS_AT, 5, 4, B},
        {ALLOT__OP__OP_FREE_IDS, 0, 5, 5},
        {ALLOT__OP__OP_FREE_IDS, 4, 5, B},
        {ALLOT__OP__OP_ADD_MEMORY, 1, 0, 1},
        {ALLOT__OP__OP_ADD_MEMORY, 0, 0, B},
        {ALLOT__OP__OP_ADD_MEMORY, 2, 0, B},
        {ALLOT__OP__OP_POOLS, 0, 0, 1},
        {ALLOT__OP__OP_TAGS, 0, 0, 1},
        {ALLOT__OP__OP_SESSIONS, 0, 0, 1},
        /* For these, generations in place of sizes. */
        {ALLOT__OP__OP_ACQUIRE, 3, 3, 3},
        {ALLOT__OP__OP_ACQUIRE, 0, 3, B},
        {ALLOT__OP__OP_ACQUIRE, 3, 0, B},
        {ALLOT__OP__OP_RELEASE, MAX, MAX, MAX},
        {ALLOT__OP__OP_RELEASE, MAX + 1, MAX + 1, B},
        {ALLOT__OP__OP_RELEASE, 0, 0, B},
        {ALLOT__OP__OP_FREEZE, 3, 3, 3},
        {ALLOT__OP__OP_FREEZE, 3, 2, B},
        {ALLOT__OP__OP_SEND, 3, 3, 3},
        {ALLOT__OP__OP_SEND, 0, 1, B},
        {ALLOT__OP__OP_PUBLISH, 1, 1, 1},
        {ALLOT__OP__OP_PUBLISH, 1, 2, B},
        {ALLOT__OP__OP_PUBLISH, 2, 1, B},
        {ALLOT__OP__OP_PUBLISH, 0, 0, B},
        {ALLOT__OP__OP_UNPUBLISH, 0, 0, 1},
        {ALLOT__OP__OP_LOOKUP, 0, 0, 1},
        {ALLOT__OP__OP_NAMES, 0, 0, 1},
        {ALLOT__OP__OP_WATCH, 0, 0, 1},
        {ALLOT__OP__OP_WATCH, 0, 1, 1},
        {ALLOT__OP__OP_WATCH, 0, 2, B},
        {ALLOT__OP__OP_UNWATCH, 0, 1, 1},
        {ALLOT__OP__OP_UNWATCH, 0, 0, B},
    };
    bool seen[ALLOT__OP__OP_UNWATCH + 1] = {false};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Allot__Request request = ALLOT__REQUEST__INIT;

        request.op = rows[i].op;
        request.n_sizes = request.n_generations = rows[i].sizes;
        request.n_positions = rows[i].positions;
        if (codec_request_count(&request) != rows[i].count)
            fail_msg("row %zu: %d, not %d", i, codec_request_count(&request), rows[i].count);
        if (rows[i].count >= 0)
            seen[rows[i].op] = true;
    }
    /* What may wait waits by itself. */
    Allot__Request request = ALLOT__REQUEST__INIT;
    request.op = ALLOT__OP__OP_ALLOC;
    request.deadline_ms = 1;
    request.n_sizes = 1;
    assert_int_equal(codec_request_count(&request), 1);
    request.n_sizes = 2;
    assert_int_equal(codec_request_count(&request), B);
    /* A new operation is counted, and tested, or this fails. */
    for (unsigned i = 0; i < allot__op__descriptor.n_values; i++) {
        int op = allot__op__descriptor.values[i].value;
        if (op != ALLOT__OP__OP_NONE && (op > ALLOT__OP__OP_UNWATCH || !seen[op]))
            fail_msg("operation %d is not in the table", op);
    }
}

/* Cuts, doubles, overwrites and splices. */
static size_t mutate(struct test_random *random, unsigned char *bytes, size_t size)
{
    for (uint64_t n = 1 + test_random_below(random, 6); n > 0; n--) {
        size_t at = size ? test_random_below(random, size) : 0;
        size_t length = 1 + test_random_below(random, 16);

        switch (test_random_below(random, 5)) {
        case 0: /* one bit */
            if (size)
                bytes[at] ^= (unsigned char)(1u << test_random_below(random, 8));
            break;
        case 1: /* one byte, often an extreme one */
            if (size)
                bytes[at] = (unsigned char[]){
                    0, 0x7f, 0x80, 0xff,
                    (unsigned char)test_random_next(random)}[test_random_below(random, 5)];
            break;
        case 2: /* out */
            if (length > size - at)
                length = size - at;
            memmove(bytes + at, bytes + at + length, size - at - length);
            size -= length;
            break;
        case 3: /* in: a copy of what stands elsewhere */
            if (size + length > CODEC_FRAME_MAX || length > size)
                break;
            memmove(bytes + at + length, bytes + at, size - at);
            size += length;
            memmove(bytes + at, bytes + test_random_below(random, size - length), length);
            break;
        default: /* the end off */
            size = at;
        }
    }
    return size;
}

static void test_codec__random_mutations_are_harmless(void **state)
{
    (void)state;
    static unsigned char start[2][CODEC_FRAME_MAX];
    size_t start_size[2], decoded = 0;
    uint64_t seed = test_seed(0xc0dec);
    struct test_random random;

    test_random_init(&random, seed);
    start_size[0] = full_request();
    memcpy(start[0], frame, start_size[0]);
    start_size[1] = full_reply(start[1]);
    for (int i = 0; i < MUTATIONS; i++) {
        int which = i & 1;
        Allot__Request *request;
        int line;

        memcpy(frame, start[which], start_size[which]);
        size_t size = mutate(&random, frame, start_size[which]);
        line = codec_oracle_request(frame, size);
        if (!line)
            line = codec_oracle_reply(frame, size);
        if (line) {
            test_seed_print(seed);
            fail_msg("codec_oracle.h:%d does not hold in step %d", line, i);
        }
        decoded += codec_decode_request(&arena, frame, size, &request) == 0;
    }
    /* Both outcomes were really tried. */
    assert_in_range(decoded, MUTATIONS / 50, MUTATIONS - MUTATIONS / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec__request_comes_back_whole),
        cmocka_unit_test(test_codec__reply_comes_back_whole),
        cmocka_unit_test(test_codec__largest_batch_fits_a_frame),
        cmocka_unit_test(test_codec__encode_refuses_more_than_a_frame),
        cmocka_unit_test(test_codec__a_frame_too_long_is_named),
        cmocka_unit_test(test_codec__an_empty_frame_is_an_unknown_operation),
        cmocka_unit_test(test_codec__truncation_at_every_byte),
        cmocka_unit_test(test_codec__a_frame_of_one_byte_numbers_is_decoded),
        cmocka_unit_test(test_codec__repeated_fields_cost_an_arena_at_most),
        cmocka_unit_test(test_codec__empty_sub_messages_cost_an_arena_at_most),
        cmocka_unit_test(test_codec__the_last_of_a_field_counts_and_parts_of_a_column_add_up),
        cmocka_unit_test(test_codec__a_few_unknown_fields_are_ignored),
        cmocka_unit_test(test_codec__malformed_frames_are_named),
        cmocka_unit_test(test_codec__frames_hold_requests_in_order),
        cmocka_unit_test(test_codec__frames_of_anything_else_are_malformed),
        cmocka_unit_test(test_codec__counts_of_each_operation),
        cmocka_unit_test(test_codec__random_mutations_are_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
