/* SPDX-License-Identifier: MIT */
/*
 * The short way for flat messages against protobuf-c's: the same bytes out, the same fields in, on
 * random messages and on frames with random damage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "flat.h"
#include "support.h"

#define MESSAGES 50000
#define COLUMN   40u

static struct codec_arena arena;
static unsigned char quick[CODEC_FRAME_MAX];
static unsigned char plain[CODEC_FRAME_MAX];

/* Of every length on the wire, 0 often. */
static uint64_t any_number(struct test_random *random)
{
    unsigned bits = (unsigned)test_random_below(random, 66);

    return bits == 65 ? UINT64_MAX : bits == 0 ? 0 : test_random_next(random) >> (64 - bits % 65);
}

static size_t any_column(struct test_random *random, uint64_t *column)
{
    size_t n = test_random_below(random, 3) ? test_random_below(random, COLUMN) : 0;

    for (size_t i = 0; i < n; i++)
        column[i] = any_number(random);
    return n;
}

static char names[4][CODEC_NAME_MAX + 1] = {
    "", "n", "camera/left", "as long as a name may be, and then no character more .........."};

static void any_request(struct test_random *random, Allot__Request *m, uint64_t *sizes,
                        uint64_t *positions, uint64_t *generations)
{
    allot__request__init(m);
    m->op = (Allot__Op)any_number(random);
    m->number = any_number(random);
    m->pool = (uint32_t)any_number(random);
    m->n_sizes = any_column(random, sizes);
    m->sizes = sizes;
    m->n_positions = any_column(random, positions);
    m->positions = positions;
    m->n_generations = any_column(random, generations);
    m->generations = generations;
    m->align = any_number(random);
    m->tag = (uint32_t)any_number(random);
    m->access = (Allot__Access)any_number(random);
    m->attempt = any_number(random);
    m->replace = (protobuf_c_boolean)test_random_below(random, 2);
    if (test_random_below(random, 2))
        m->name = names[test_random_below(random, 4)];
    if (test_random_below(random, 4) == 0) {
        m->version_min = (uint32_t)any_number(random);
        m->version_max = (uint32_t)any_number(random);
        m->after = any_number(random);
    }
}

static void any_reply(struct test_random *random, Allot__Reply *m, Allot__Error *errors,
                      uint64_t *values, uint64_t *generations, uint64_t *sizes)
{
    allot__reply__init(m);
    m->n_sizes = any_column(random, sizes);
    m->sizes = sizes;
    m->number = any_number(random);
    m->count = (uint32_t)any_number(random);
    m->refused = (Allot__Error)any_number(random);
    m->n_errors = any_column(random, values);
    for (size_t i = 0; i < m->n_errors; i++)
        errors[i] = (Allot__Error)values[i];
    m->errors = errors;
    m->n_values = any_column(random, values);
    m->values = values;
    m->n_generations = any_column(random, generations);
    m->generations = generations;
    if (test_random_below(random, 4) == 0) {
        m->version = (uint32_t)any_number(random);
        m->session = any_number(random);
        m->frame_max = (uint32_t)any_number(random);
        m->batch_max = (uint32_t)any_number(random);
        m->inflight_max = (uint32_t)any_number(random);
        m->more = (protobuf_c_boolean)test_random_below(random, 2);
    }
}

static void assert_same_request(const Allot__Request *a, const Allot__Request *b)
{
    assert_int_equal(a->op, b->op);
    assert_true(a->number == b->number && a->align == b->align && a->after == b->after);
    assert_int_equal(a->pool, b->pool);
    assert_int_equal(a->tag, b->tag);
    assert_int_equal(a->access, b->access);
    assert_true(a->attempt == b->attempt);
    assert_int_equal(a->replace, b->replace);
    assert_int_equal(a->version_min, b->version_min);
    assert_int_equal(a->version_max, b->version_max);
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->n_sizes, b->n_sizes);
    assert_int_equal(a->n_positions, b->n_positions);
    assert_int_equal(a->n_generations, b->n_generations);
    for (size_t i = 0; i < a->n_sizes; i++)
        assert_true(a->sizes[i] == b->sizes[i]);
    for (size_t i = 0; i < a->n_positions; i++)
        assert_true(a->positions[i] == b->positions[i]);
    for (size_t i = 0; i < a->n_generations; i++)
        assert_true(a->generations[i] == b->generations[i]);
}

static void assert_same_reply(const Allot__Reply *a, const Allot__Reply *b)
{
    assert_true(a->number == b->number && a->session == b->session);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->refused, b->refused);
    assert_int_equal(a->n_errors, b->n_errors);
    assert_int_equal(a->n_values, b->n_values);
    assert_int_equal(a->n_generations, b->n_generations);
    assert_int_equal(a->n_sizes, b->n_sizes);
    for (size_t i = 0; i < a->n_sizes; i++)
        assert_true(a->sizes[i] == b->sizes[i]);
    for (size_t i = 0; i < a->n_errors; i++)
        assert_int_equal(a->errors[i], b->errors[i]);
    for (size_t i = 0; i < a->n_values; i++)
        assert_true(a->values[i] == b->values[i]);
    for (size_t i = 0; i < a->n_generations; i++)
        assert_true(a->generations[i] == b->generations[i]);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->n_pools + a->n_tags + a->n_sessions + a->n_names,
                     b->n_pools + b->n_tags + b->n_sessions + b->n_names);
    assert_int_equal(a->more, b->more);
}

/* Whether the short way took the frame; if so, protobuf-c makes the same of it. */
static bool check_request(const unsigned char *frame, size_t size)
{
    Allot__Request *ours;

    if (!flat_decode_request(&arena, frame, size, &ours))
        return false;
    Allot__Request *theirs = allot__request__unpack(NULL, size, frame);
    assert_non_null(theirs);
    assert_same_request(ours, theirs);
    allot__request__free_unpacked(theirs, NULL);
    return true;
}

static bool check_reply(const unsigned char *frame, size_t size)
{
    Allot__Reply *ours;

    if (!flat_decode_reply(&arena, frame, size, &ours))
        return false;
    Allot__Reply *theirs = allot__reply__unpack(NULL, size, frame);
    assert_non_null(theirs);
    assert_same_reply(ours, theirs);
    allot__reply__free_unpacked(theirs, NULL);
    return true;
}

static void damage(struct test_random *random, size_t *size)
{
    for (uint64_t n = test_random_below(random, 4); n > 0 && *size > 0; n--) {
        size_t at = test_random_below(random, *size);
        if (test_random_below(random, 2))
            plain[at] = (unsigned char)test_random_next(random);
        else
            plain[at] ^= (unsigned char)(1u << test_random_below(random, 8));
    }
    if (test_random_below(random, 4) == 0)
        *size = test_random_below(random, *size + 1);
}

static void test_flat__requests_as_protobuf_c(void **state)
{
    uint64_t seed = test_seed(0x5eed1);
    struct test_random random;
    uint64_t sizes[COLUMN];
    uint64_t positions[COLUMN];
    uint64_t generations[COLUMN];
    unsigned taken = 0;

    (void)state;
    test_random_init(&random, seed);
    for (unsigned i = 0; i < MESSAGES; i++) {
        Allot__Request m;
        size_t size;
        any_request(&random, &m, sizes, positions, generations);
        assert_true(flat_encode_request(&m, quick, &size));
        if (size != allot__request__pack(&m, plain) || memcmp(quick, plain, size) != 0) {
            test_seed_print(seed);
            fail_msg("message %u is encoded otherwise", i);
        }
        if (!m.version_min && !m.version_max && !m.after)
            assert_true(check_request(plain, size));
        damage(&random, &size);
        taken += check_request(plain, size);
    }
    assert_in_range(taken, MESSAGES / 10, MESSAGES - MESSAGES / 10);
}

static void test_flat__replies_as_protobuf_c(void **state)
{
    uint64_t seed = test_seed(0x5eed2);
    struct test_random random;
    Allot__Error errors[COLUMN];
    uint64_t values[COLUMN];
    uint64_t generations[COLUMN];
    uint64_t sizes[COLUMN];
    unsigned taken = 0;

    (void)state;
    test_random_init(&random, seed);
    for (unsigned i = 0; i < MESSAGES; i++) {
        Allot__Reply m;
        size_t size;
        any_reply(&random, &m, errors, values, generations, sizes);
        assert_true(flat_encode_reply(&m, quick, &size));
        if (size != allot__reply__pack(&m, plain) || memcmp(quick, plain, size) != 0) {
            test_seed_print(seed);
            fail_msg("message %u is encoded otherwise", i);
        }
        damage(&random, &size);
        taken += check_reply(plain, size);
    }
    assert_in_range(taken, MESSAGES / 10, MESSAGES - MESSAGES / 10);
}

static void test_flat__leaves_other_strings_and_lists_alone(void **state)
{
    Allot__Request request = ALLOT__REQUEST__INIT;
    Allot__Reply reply = ALLOT__REPLY__INIT;
    Allot__TagInfo tag = ALLOT__TAG_INFO__INIT;
    Allot__TagInfo *tags[] = {&tag};
    char longest[CODEC_NAME_MAX + 2] = {0};
    size_t size;

    (void)state;
    memset(longest, 'n', CODEC_NAME_MAX);
    request.after_name = (char[]){"name"};
    assert_false(flat_encode_request(&request, quick, &size));
    assert_false(check_request(plain, allot__request__pack(&request, plain)));
    request.after_name = NULL;
    request.name = longest;
    assert_true(flat_encode_request(&request, quick, &size));
    longest[CODEC_NAME_MAX] = 'n';
    assert_false(flat_encode_request(&request, quick, &size));
    reply.tags = tags;
    reply.n_tags = 1;
    assert_false(flat_encode_reply(&reply, quick, &size));
    assert_false(check_reply(plain, allot__reply__pack(&reply, plain)));
}

static void test_flat__never_writes_past_a_frame(void **state)
{
    static uint64_t longest[CODEC_FRAME_MAX];
    Allot__Request request = ALLOT__REQUEST__INIT;
    size_t size;

    (void)state;
    for (size_t i = 0; i < CODEC_FRAME_MAX; i++)
        longest[i] = UINT64_MAX;
    request.sizes = request.positions = request.generations = longest;
    for (size_t n = 0; n < CODEC_FRAME_MAX; n++) {
        request.n_sizes = n;
        request.n_positions = n / 2;
        request.n_generations = n / 3;
        if (!flat_encode_request(&request, quick, &size))
            return;
        assert_true(size <= CODEC_FRAME_MAX);
        assert_int_equal(size, allot__request__get_packed_size(&request));
    }
    fail_msg("no request is too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flat__requests_as_protobuf_c),
        cmocka_unit_test(test_flat__replies_as_protobuf_c),
        cmocka_unit_test(test_flat__leaves_other_strings_and_lists_alone),
        cmocka_unit_test(test_flat__never_writes_past_a_frame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
