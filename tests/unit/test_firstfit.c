/* SPDX-License-Identifier: MIT */
/*
 * First fit: what is asked of any byte allocator; that every position is the lowest that fits; and
 * the edges between the leaves of its tree, what a leaf spans and how full it is.
 */
#include "byte_suite.h"

#define OPS (&allot_first_fit)

const struct byte_traits subject = {
    .ops = &allot_first_fit,
    .places = BYTE_ANYWHERE,
    .tries_all = true,
    .block_metadata_max = 5,
};

struct search {
    uint64_t size;
    uint64_t align;
    uint64_t pos; /* 1: none */
};

static void visit(void *ctx, unsigned long long start, unsigned long long size,
                  enum allot_run_state state)
{
    struct search *s = ctx;
    uint64_t pos = ALLOT_ALIGN_UP(start, s->align);

    if (state == ALLOT_RUN_FREE && s->pos == 1 && pos - start <= size &&
        start + size - pos >= s->size)
        s->pos = pos;
}

/* What the originals' walk along the list finds; 1: nothing. */
static uint64_t lowest(struct allot_byte *b, uint64_t size, uint64_t align)
{
    struct search s = {ALLOT_ALIGN_UP(size, 16), align, 1};

    assert_int_equal(OPS->dump(b, visit, &s), 0);
    return s.pos;
}

static void run_lowest(struct allot_byte *b, uint64_t size_max, uint64_t align_max, unsigned live)
{
    struct held {
        uint64_t pos, size, align;
    } *held = calloc(live, sizeof(*held));
    uint64_t seed = test_seed(0xf17), granted = 0, refused = 0;
    struct test_random r;

    assert_non_null(held);
    test_random_init(&r, seed);
    for (unsigned i = 0; i < 30000; i++) {
        struct held *h = &held[test_random_below(&r, live)];
        uint64_t pos = 1, expected;
        int err;

        if (h->size) {
            assert_int_equal(OPS->dealloc(b, h->pos, h->size, h->align), 0);
            h->size = 0;
            continue;
        }
        h->size = 1 + test_random_below(&r, size_max);
        h->align = 1;
        while (h->align < align_max && test_random_below(&r, 3))
            h->align *= 2;
        expected = lowest(b, h->size, h->align);
        err = OPS->alloc(b, h->size, h->align, &pos);
        if (err != (expected == 1 ? ALLOT_E_NO_MEMORY : 0) || pos != expected) {
            test_seed_print(seed);
            fail_msg("step %u: position %" PRIu64 ", not %" PRIu64, i, pos, expected);
        }
        h->pos = pos;
        h->size = err ? 0 : h->size;
        granted += !err;
        refused += err != 0;
        if (i % 100 == 0)
            check(b);
    }
    assert_true(granted > 1000 && refused > 10);
    free(held);
}

static void test_firstfit__every_position_is_the_lowest(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 16, 1 << 20), 0);
    run_lowest(b, 3000, 1, 1500);
    assert_int_equal(OPS->init(b, 16, 1 << 20), 0);
    run_lowest(b, 3000, 1 << 16, 1500);
    /* Ranges that do not touch, some too short for anything. */
    assert_int_equal(OPS->init(b, 48, 16), 0);
    for (uint64_t i = 1; i < 200; i++)
        assert_int_equal(OPS->add_memory(b, i << 20, 16 + i * 32), 0);
    run_lowest(b, 4000, 1 << 20, 1500);
}

/* The originals align to 16 whatever is asked. */
static void test_firstfit__aligned_requests_take_the_lowest_hole(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 16, 1 << 20), 0);
    for (uint64_t align = 32; align <= 4096; align *= 2) {
        assert_int_equal(alloc(b, 16, align), align);
        assert_int_equal(alloc(b, 16, align), 2 * align);
        assert_int_equal(OPS->dealloc(b, align, 16, align), 0);
        assert_int_equal(OPS->dealloc(b, 2 * align, 16, align), 0);
    }
    /* Long enough, but never aligned: each is passed over, whatever leaf it is in. */
    assert_int_equal(OPS->init(b, 16, 1 << 20), 0);
    for (uint64_t i = 0; i < 2000; i++)
        assert_int_equal(OPS->claim(b, 128 * i + 16 + 64, 64, 1), 0);
    check(b);
    assert_int_equal(alloc(b, 64, 128), 128 * 2001);
    assert_int_equal(OPS->dealloc(b, 128 * 1999 + 80, 64, 1), 0);
    assert_int_equal(alloc(b, 64, 128), 128 * 2000);
    assert_int_equal(alloc(b, 64, 1), 16);
}

/* Runs on both sides of every edge between leaves become one. */
static void test_firstfit__merges_across_leaves(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    const unsigned count = 3000;

    for (unsigned way = 0; way < 4; way++) {
        assert_int_equal(OPS->init(b, 0, count * 16), 0);
        for (unsigned i = 0; i < count; i++)
            assert_int_equal(OPS->alloc(b, 16, 1, &(uint64_t){0}), 0);
        check(b);
        assert_int_equal(OPS->largest_free(b), 0);
        for (unsigned k = 0; k < count; k++) {
            unsigned i = k;

            if (way == 1)
                i = count - 1 - k;
            else if (way == 2)
                i = k < count / 2 ? 2 * k : 2 * (k - count / 2) + 1;
            else if (way == 3)
                i = k * 1009 % count;
            assert_int_equal(OPS->dealloc(b, i * 16, 16, 1), 0);
            if (k % 7 == 0)
                check(b);
        }
        check(b);
        assert_int_equal(OPS->largest_free(b), count * 16);
    }
}

/* Growing where the neighbour is the first run of the next leaf, and shrinking into it. */
static void test_firstfit__realloc_across_leaves(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    const uint64_t count = 2000;

    assert_int_equal(OPS->init(b, 0, count * 64), 0);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(OPS->claim(b, i * 64, 32, 1), 0);
    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(OPS->realloc(b, i * 64, 32, 1, 48), 0);
        check(b);
        assert_int_equal(OPS->realloc(b, i * 64, 48, 1, 65), ALLOT_E_NO_MEMORY);
        assert_int_equal(OPS->realloc(b, i * 64, 48, 1, 64), 0);
        check(b);
    }
    assert_int_equal(OPS->available_bytes(b), 0);
    for (uint64_t i = count; i--;) {
        assert_int_equal(OPS->realloc(b, i * 64, 64, 1, 32), 0);
        assert_int_equal(OPS->realloc(b, i * 64, 32, 1, 16), 0);
        check(b);
    }
    assert_int_equal(OPS->largest_free(b), 48);
}

static void count_runs(void *ctx, unsigned long long start, unsigned long long size,
                       enum allot_run_state state)
{
    (void)start;
    (void)size;
    (void)state;
    ++*(uint64_t *)ctx;
}

/* Nodes stay full where runs come and go anywhere, too. */
static void test_firstfit__memory_for_replaced_blocks(void **state)
{
    enum { LIVE = 20000 };
    static struct {
        uint64_t pos, size;
    } block[LIVE];
    struct allot_byte *b = ((struct fixture *)*state)->b;
    struct test_random r;

    test_random_init(&r, 0xf1753);
    assert_int_equal(OPS->init(b, 0, UINT64_C(1) << 40), 0);
    for (unsigned i = 0; i < 10 * LIVE; i++) {
        unsigned k = i < LIVE ? i : (unsigned)test_random_below(&r, LIVE);

        if (i >= LIVE)
            assert_int_equal(OPS->dealloc(b, block[k].pos, block[k].size, 8), 0);
        block[k].size = 16 + test_random_below(&r, 4081);
        assert_int_equal(OPS->alloc(b, block[k].size, 8, &block[k].pos), 0);
        if (i % LIVE == LIVE - 1) {
            uint64_t runs = 0;

            check(b);
            assert_int_equal(OPS->dump(b, count_runs, &runs), 0);
            assert_true(OPS->metadata_bytes(b) * 10 <= runs * 54);
        }
    }
}

/* Runs so far apart that they cannot share leaves: each has to be told from the others, found,
 * merged, and freed without memory. */
static void test_firstfit__runs_far_apart(void **state)
{
    struct fixture *f = *state;
    const uint64_t whole = UINT64_C(1) << 48, count = 1000, far = whole / count / 16 * 16;
    uint64_t size;

    for (unsigned way = 0; way < 3; way++) {
        assert_int_equal(OPS->init(f->b, 0, whole), 0);
        for (uint64_t k = 0; k < count; k++) {
            uint64_t i = way == 0 ? k : way == 1 ? count - 1 - k : k * 389 % count;

            assert_int_equal(OPS->claim(f->b, i * far, far - 16 * (i % 2 + 1), 1), 0);
            check(f->b);
        }
        for (uint64_t i = 0; i < count; i++) {
            assert_int_equal(OPS->usable_size(f->b, i * far, &size), 0);
            assert_int_equal(size, far - 16 * (i % 2 + 1));
            assert_int_equal(OPS->usable_size(f->b, i * far + 16, &size), ALLOT_E_NOT_ALLOCATED);
        }
        assert_int_equal(alloc(f->b, 32, 1), 2 * far - 32);
        assert_int_equal(OPS->dealloc(f->b, 2 * far - 32, 32, 1), 0);
        f->meta.fail_always = 1;
        for (uint64_t k = 0; k < count; k++) {
            uint64_t i = k * 617 % count;

            assert_int_equal(OPS->dealloc(f->b, i * far, far - 16 * (i % 2 + 1), 1), 0);
            check(f->b);
        }
        f->meta.fail_always = 0;
        assert_int_equal(OPS->largest_free(f->b), whole);
    }
}

/* Just below, at and above what a leaf spans, and many short runs beyond that. */
static void test_firstfit__runs_at_the_span_of_a_leaf(void **state)
{
    struct fixture *f = *state;
    const uint64_t span = UINT64_C(1) << 34;
    uint64_t pos;

    for (uint64_t first = span - 32; first <= span + 32; first += 16) {
        assert_int_equal(OPS->init(f->b, 0, 3 * span), 0);
        assert_int_equal(alloc(f->b, first, 1), 0);
        for (uint64_t i = 0; i < 300; i++)
            assert_int_equal(alloc(f->b, 16, 1), first + 16 * i);
        assert_int_equal(alloc(f->b, span, span), 2 * span);
        assert_int_equal(OPS->realloc(f->b, 0, first, 1, 16), 0);
        check(f->b);
        assert_int_equal(OPS->realloc(f->b, 0, 16, 1, first), 0);
        check(f->b);
        f->meta.fail_always = 1;
        for (uint64_t i = 0; i < 300; i++)
            assert_int_equal(OPS->dealloc(f->b, first + 16 * (i * 7 % 300), 16, 1), 0);
        check(f->b);
        f->meta.fail_always = 0;
        assert_int_equal(OPS->alloc(f->b, 2 * span - first + 16, 1, &pos), ALLOT_E_NO_MEMORY);
        assert_int_equal(alloc(f->b, 2 * span - first, 1), first);
    }
}

/* Downwards, each run is cut off one that starts far below; they share leaves all the same. */
static void test_firstfit__runs_beyond_the_span_share_leaves(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    const uint64_t count = 10000;

    assert_int_equal(OPS->init(b, 0, UINT64_C(1) << 48), 0);
    for (uint64_t i = count; i--;)
        assert_int_equal(OPS->claim(b, (UINT64_C(1) << 40) + 32 * i, 16, 1), 0);
    check(b);
    assert_true(OPS->metadata_bytes(b) <= 2 * count * 8);
}

/* Where few runs are left they share few nodes, and the others are there for runs elsewhere. */
static void test_firstfit__few_runs_need_few_nodes(void **state)
{
    struct fixture *f = *state;
    const uint64_t count = 20000, kept = 60;

    assert_int_equal(OPS->init(f->b, 0, 4 * count * 32), 0);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(OPS->claim(f->b, i * 32, 16, 1), 0);
    f->meta.fail_always = 1;
    for (uint64_t i = 0; i < count; i++)
        if (i % kept)
            assert_int_equal(OPS->dealloc(f->b, i * 32, 16, 1), 0);
    check(f->b);
    for (uint64_t i = 0; i < count * 9 / 10; i++)
        assert_int_equal(OPS->claim(f->b, (2 * count + i) * 32, 16, 1), 0);
    check(f->b);
    f->meta.fail_always = 0;
}

/* Leaves are cut by what they span, some of them while nearly full. */
static void test_firstfit__wide_spaces_against_the_model(void **state)
{
    static const struct byte_model_plan plans[] = {
        {.space = UINT64_C(1) << 42,
         .size_max = UINT64_C(1) << 28,
         .align_max = UINT64_C(1) << 30,
         .live_max = 3000},
        {.space = UINT64_C(1) << 48,
         .size_max = UINT64_C(1) << 37,
         .align_max = UINT64_C(1) << 30,
         .live_max = 3000},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(plans) / sizeof(plans[0]); i++)
        assert_true(byte_model_run(&subject, &plans[i], test_seed(0xf1754 + i), 150000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_firstfit__every_position_is_the_lowest),
        CASE(test_firstfit__aligned_requests_take_the_lowest_hole),
        CASE(test_firstfit__merges_across_leaves),
        CASE(test_firstfit__realloc_across_leaves),
        CASE(test_firstfit__memory_for_replaced_blocks),
        CASE(test_firstfit__runs_far_apart),
        CASE(test_firstfit__runs_at_the_span_of_a_leaf),
        CASE(test_firstfit__runs_beyond_the_span_share_leaves),
        CASE(test_firstfit__few_runs_need_few_nodes),
        cmocka_unit_test(test_firstfit__wide_spaces_against_the_model),
    };

    return byte_suite_run() + cmocka_run_group_tests(tests, NULL, NULL);
}
