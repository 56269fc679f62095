/* SPDX-License-Identifier: MIT */
/*
 * First fit: each line of byte.h's contract, that every position is the lowest that fits, the cost
 * that the originals' list had, then seeded runs against the reference model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "byte_model.h"
#include "support.h"

#define OPS (&allot_first_fit)

struct fixture {
    struct test_meta meta;
    struct allot_byte *b;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    test_meta_init(&f->meta);
    *state = f;
    return OPS->create(&f->meta.meta, &f->b);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    size_t left;

    OPS->destroy(f->b);
    left = f->meta.bytes;
    free(f);
    return left ? -1 : 0;
}

static void check(struct allot_byte *b)
{
    assert_int_equal(OPS->check(b), 0);
}

static uint64_t alloc(struct allot_byte *b, uint64_t size, uint64_t align)
{
    uint64_t pos = 1;

    assert_int_equal(OPS->alloc(b, size, align, &pos), 0);
    assert_int_equal(pos % align, 0);
    check(b);
    return pos;
}

static void test_firstfit__refuses_bad_ranges(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->add_memory(b, 0, 0), ALLOT_E_INVALID);
    assert_int_equal(OPS->add_memory(b, 1, 30), ALLOT_E_INVALID);
    assert_int_equal(OPS->add_memory(b, UINT64_MAX - 15, 32), ALLOT_E_INVALID);
    assert_int_equal(OPS->add_memory(b, 16, UINT64_C(1) << 63), ALLOT_E_INVALID);
    assert_int_equal(OPS->init(b, 0, 15), ALLOT_E_INVALID);
    assert_int_equal(OPS->total_bytes(b), 0);
    assert_int_equal(OPS->largest_free(b), 0);
    check(b);
    assert_int_equal(OPS->add_memory(b, 4096, 4096), 0);
    assert_int_equal(OPS->init(b, 0, 15), ALLOT_E_INVALID);
    assert_int_equal(OPS->total_bytes(b), 4096);
    assert_int_equal(OPS->add_memory(b, 4096, 4096), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 0, 4112), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 8176, 64), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 5000, 100), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 0, 1 << 20), ALLOT_E_OVERLAP);
    check(b);
}

static void test_firstfit__refuses_bad_requests(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos = 7, size = 7;

    assert_int_equal(OPS->alloc(b, 16, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->init(b, 0, 4096), 0);
    assert_int_equal(OPS->alloc(b, 0, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, 16, 0, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, 16, 24, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, UINT64_MAX, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, UINT64_MAX - 15, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->alloc(b, 4097, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->claim(b, 8, 16, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 16, 32), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 0, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 16, 3), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, UINT64_C(1) << 63, 16, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 4096, 16, 1), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->claim(b, 4080, 17, 1), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->take_back(b, 0, 3, &pos, &size), ALLOT_E_INVALID);
    assert_int_equal(OPS->take_back(b, 4096, 16, &pos, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 0, 8192, &pos, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(pos, 7);
    assert_int_equal(size, 7);
    check(b);
}

static void test_firstfit__position_zero_is_legal(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 0, 64), 0);
    assert_int_equal(alloc(b, 64, UINT64_C(1) << 48), 0);
    assert_int_equal(OPS->dealloc(b, 0, 64, UINT64_C(1) << 48), 0);
}

static void test_firstfit__merges_both_sides_at_once(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos[3];

    assert_int_equal(OPS->init(b, 0, 48), 0);
    for (int i = 0; i < 3; i++)
        pos[i] = alloc(b, 16, 1);
    assert_int_equal(OPS->dealloc(b, pos[0], 16, 1), 0);
    assert_int_equal(OPS->dealloc(b, pos[2], 16, 1), 0);
    assert_int_equal(OPS->largest_free(b), 16);
    assert_int_equal(OPS->dealloc(b, pos[1], 16, 1), 0);
    assert_int_equal(OPS->largest_free(b), 48);
    check(b);
}

static void test_firstfit__grants_exactly_the_largest(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos;

    for (uint64_t size = 16; size < UINT64_C(1) << 40; size = size * 3 / 2 + 15) {
        uint64_t whole = ALLOT_ALIGN_UP(size, 16);

        assert_int_equal(OPS->init(b, 1 << 20, whole), 0);
        assert_int_equal(OPS->largest_free(b), whole);
        assert_int_equal(OPS->alloc(b, whole + 1, 1, &pos), ALLOT_E_NO_MEMORY);
        alloc(b, whole, 1);
        assert_int_equal(OPS->largest_free(b), 0);
    }
}

/* Each a range of its own, so all runs between are gaps. */
static void test_firstfit__grants_the_largest_of_many(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    const uint64_t bin = UINT64_C(1) << 30;
    uint64_t pos;

    for (uint64_t i = 0; i < 2000; i++) {
        uint64_t size = bin + (i * 7919 % 2000) * 16;

        assert_int_equal(OPS->add_memory(b, i * 2 * bin, size), 0);
    }
    check(b);
    for (uint64_t i = 2000; i--;) {
        assert_int_equal(OPS->largest_free(b), bin + i * 16);
        assert_int_equal(OPS->alloc(b, bin + i * 16 + 1, 1, &pos), ALLOT_E_NO_MEMORY);
        assert_int_equal(OPS->alloc(b, bin + i * 16, 1, &pos), 0);
        if (i % 100 == 0)
            check(b);
    }
    assert_int_equal(OPS->available_bytes(b), 0);
}

static void test_firstfit__honours_alignment_and_keeps_the_front(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t start = 16;

    assert_int_equal(OPS->init(b, start, UINT64_C(1) << 50), 0);
    for (unsigned log = 0; log <= 48; log++) {
        uint64_t pos = alloc(b, 100, UINT64_C(1) << log);

        assert_int_equal(OPS->used_bytes(b), 112);
        assert_int_equal(OPS->dealloc(b, pos, 100, UINT64_C(1) << log), 0);
        assert_int_equal(OPS->largest_free(b), UINT64_C(1) << 50);
    }
    /* What lies before the aligned place is free for others. */
    assert_int_equal(alloc(b, 100, 4096), 4096);
    assert_int_equal(alloc(b, 4080, 1), 16);
}

static void test_firstfit__fills_an_aligned_space_whole(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 16, (2 << 20) - 16), 0);
    assert_int_equal(alloc(b, 1 << 20, 1 << 20), 1 << 20);
    assert_int_equal(OPS->largest_free(b), (1 << 20) - 16);
}

static void test_firstfit__dealloc_is_exact(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos;

    assert_int_equal(OPS->init(b, 4096, 4096), 0);
    assert_int_equal(OPS->dealloc(b, 4096, 16, 1), ALLOT_E_NOT_ALLOCATED);
    pos = alloc(b, 100, 32);
    assert_int_equal(OPS->dealloc(b, pos, 0, 32), ALLOT_E_INVALID);
    assert_int_equal(OPS->dealloc(b, pos, 100, 12), ALLOT_E_INVALID);
    assert_int_equal(OPS->dealloc(b, pos, 96, 32), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, pos, 113, 32), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, pos, 100, UINT64_C(1) << 20), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, pos + 16, 84, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, 0, 100, 32), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->used_bytes(b), 112);
    assert_int_equal(OPS->dealloc(b, pos, 100, 32), 0);
    assert_int_equal(OPS->dealloc(b, pos, 100, 32), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->largest_free(b), 4096);
    check(b);
}

static void test_firstfit__realloc_uses_the_free_neighbour(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t first, second, usable = 0;

    assert_int_equal(OPS->init(b, 0, 1024), 0);
    first = alloc(b, 100, 1);
    assert_int_equal(OPS->realloc(b, first, 100, 1, 1024), 0);
    check(b);
    assert_int_equal(OPS->usable_size(b, first, &usable), 0);
    assert_int_equal(usable, 1024);
    assert_int_equal(OPS->available_bytes(b), 0);
    assert_int_equal(OPS->realloc(b, first, 1024, 1, 1025), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->realloc(b, first, 1024, 1, 17), 0);
    check(b);
    assert_int_equal(OPS->largest_free(b), 1024 - 32);
    second = alloc(b, 16, 1);
    assert_int_equal(second, 32);
    assert_int_equal(OPS->realloc(b, first, 17, 1, 33), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->realloc(b, first, 17, 1, 32), 0);
    assert_int_equal(OPS->realloc(b, first, 32, 1, 1), 0);
    check(b);
    assert_int_equal(OPS->realloc(b, first, 32, 1, 64), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->realloc(b, first, 1, 1, 0), ALLOT_E_INVALID);
    assert_int_equal(OPS->realloc(b, first, 1, 1, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(OPS->realloc(b, first + 16, 1, 1, 16), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->usable_size(b, first + 16, &usable), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(usable, 1024);
}

static void test_firstfit__touching_ranges_become_one(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos;

    assert_int_equal(OPS->add_memory(b, 0, 1000), 0); /* 992 after cutting */
    assert_int_equal(OPS->add_memory(b, 2000, 1008), 0);
    assert_int_equal(OPS->alloc(b, 1009, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->add_memory(b, 992, 1008), 0);
    check(b);
    assert_int_equal(OPS->total_bytes(b), 3008);
    assert_int_equal(OPS->largest_free(b), 3008);
    assert_int_equal(alloc(b, 3008, 1), 0);
    assert_int_equal(OPS->add_memory(b, 3008, 16), 0);
    check(b);
    assert_int_equal(alloc(b, 16, 1), 3008);
}

static void test_firstfit__take_back_cuts_a_range(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t low, high, start, size;

    assert_int_equal(OPS->init(b, 0, 4 * 4096), 0);
    low = alloc(b, 16, 1);
    assert_int_equal(OPS->claim(b, 4 * 4096 - 16, 16, 1), 0);
    high = 4 * 4096 - 16;
    assert_int_equal(OPS->take_back(b, low, 4096, &start, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 20, 1 << 20, &start, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 20, 4096, &start, &size), 0);
    check(b);
    assert_int_equal(start, 4096);
    assert_int_equal(size, 2 * 4096);
    assert_int_equal(OPS->total_bytes(b), 2 * 4096);
    assert_int_equal(OPS->largest_free(b), 4096 - 16);
    assert_int_equal(OPS->dealloc(b, low, 16, 1), 0);
    assert_int_equal(OPS->dealloc(b, high, 16, 1), 0);
    assert_int_equal(OPS->add_memory(b, 4096, 2 * 4096), 0);
    assert_int_equal(OPS->largest_free(b), 4 * 4096);
    assert_int_equal(OPS->take_back(b, 5000, 4096, &start, &size), 0);
    assert_int_equal(size, 4 * 4096);
    assert_int_equal(OPS->total_bytes(b), 0);
    check(b);
}

/* However full the node array is, undoing a cut needs no metadata memory. */
static void test_firstfit__what_was_taken_back_can_be_added_again(void **state)
{
    struct fixture *f = *state;
    uint64_t pos, start, size;

    for (unsigned blocks = 1; blocks < 200; blocks++) {
        assert_int_equal(OPS->init(f->b, 0, 1 << 20), 0);
        for (unsigned i = 0; i < blocks; i++)
            pos = alloc(f->b, 16, 16);
        assert_int_equal(OPS->claim(f->b, (1 << 20) - 16, 16, 16), 0);
        assert_int_equal(OPS->take_back(f->b, pos + 16, 4096, &start, &size), 0);
        f->meta.fail_always = 1;
        assert_int_equal(OPS->add_memory(f->b, start, size), 0);
        f->meta.fail_always = 0;
        check(f->b);
        assert_int_equal(OPS->total_bytes(f->b), 1 << 20);
    }
}

static void test_firstfit__has_no_size_cap(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    const uint64_t whole = UINT64_C(1) << 63;

    assert_int_equal(OPS->init(b, 0, whole), 0);
    assert_int_equal(OPS->largest_free(b), whole);
    assert_int_equal(alloc(b, whole, 1), 0);
    assert_int_equal(OPS->dealloc(b, 0, whole, 1), 0);
    assert_int_equal(alloc(b, whole - 16, 1), 0);
    assert_int_equal(alloc(b, 16, 1), whole - 16);
    assert_int_equal(OPS->available_bytes(b), 0);
}

static void test_firstfit__memory_for_a_million_blocks(void **state)
{
    struct fixture *f = *state;
    uint64_t pos;

    assert_int_equal(OPS->init(f->b, 0, UINT64_C(1) << 40), 0);
    for (unsigned i = 1; i <= 1000000; i++) {
        assert_int_equal(OPS->alloc(f->b, 64, 8, &pos), 0);
        if (i >= 500000 && i % 1000 == 0)
            assert_true(OPS->metadata_bytes(f->b) <= 11 * (uint64_t)i);
    }
    assert_int_equal(OPS->metadata_bytes(f->b), f->meta.bytes);
    check(f->b);
}

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

/* Freeing needs no metadata memory, and gives all nodes but one back for use by others. */
static void test_firstfit__dealloc_needs_no_memory(void **state)
{
    struct fixture *f = *state;
    const uint64_t count = 5000;
    uint64_t calls;

    assert_int_equal(OPS->init(f->b, 0, count * 64), 0);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(OPS->alloc(f->b, 64, 1, &(uint64_t){0}), 0);
    calls = f->meta.calls;
    f->meta.fail_always = 1;
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(OPS->dealloc(f->b, i * 2011 % count * 64, 64, 1), 0);
    check(f->b);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(OPS->alloc(f->b, 64, 1, &(uint64_t){0}), 0);
    assert_int_equal(f->meta.calls, calls);
    f->meta.fail_always = 0;
}

/* The originals walk the list: 100,000 short free runs below make each such pair 100,000 steps. At
 * any cost in proportion to them, this would take minutes. */
static void test_firstfit__does_not_walk_past_short_runs(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    const uint64_t count = 100000;
    uint64_t pos;

    assert_int_equal(OPS->init(b, 0, UINT64_C(1) << 40), 0);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(OPS->claim(b, i * 64 + 32, 32, 1), 0);
    check(b);
    alarm(120); /* ends the program, which is a failure */
    for (unsigned i = 0; i < 3000000; i++) {
        assert_int_equal(OPS->alloc(b, 48, 8, &pos), 0);
        assert_int_equal(pos, count * 64);
        assert_int_equal(OPS->dealloc(b, pos, 48, 8), 0);
    }
    alarm(0);
}

static int fill(struct test_meta *meta, struct allot_byte **ret)
{
    struct allot_byte *b = NULL;
    uint64_t pos, start, size;
    int err = OPS->create(&meta->meta, &b);

    *ret = b;
    if (!err)
        err = OPS->add_memory(b, 0, 1 << 20);
    for (unsigned i = 0; !err && i < 200; i++)
        err = OPS->add_memory(b, (i + 2) << 20, 8192);
    for (unsigned i = 0; !err && i < 1000; i++)
        err = OPS->alloc(b, 16 + i, 64, &pos);
    for (unsigned i = 0; !err && i < 200; i++)
        err = OPS->take_back(b, ((i + 2) << 20) + 4096, 4096, &start, &size);
    return err;
}

/* Each request for metadata is refused in turn; what was there before stays right. */
static void test_firstfit__survives_each_refusal_of_metadata(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct test_meta meta;
        struct allot_byte *b;
        int err;

        test_meta_init(&meta);
        meta.fail_in = nth;
        err = fill(&meta, &b);
        if (!meta.failed) {
            assert_true(nth > 5);
            OPS->destroy(b);
            return;
        }
        assert_int_equal(err, ALLOT_E_NO_MEMORY);
        if (b)
            check(b);
        OPS->destroy(b);
        assert_int_equal(meta.bytes, 0);
    }
}

static void test_firstfit__small_space_against_the_model(void **state)
{
    struct byte_model_plan plan = {
        .ops = OPS,
        .granule = 16,
        .exact = true,
        .space = 256 * 16,
        .size_max = 256 * 16,
        .align_max = 4096,
        .live_max = 256,
        .operations = 300000,
        .check_every = 1,
        .rebuild_every = 997,
        .metadata_failure_every = 50,
        .seed = test_seed(0xf1751),
    };

    (void)state;
    assert_true(byte_model_run(&plan));
    plan.base = (UINT64_C(1) << 62) + 5;
    assert_true(byte_model_run(&plan));
}

static void test_firstfit__large_space_against_the_model(void **state)
{
    struct byte_model_plan plan = {
        .ops = OPS,
        .granule = 16,
        .exact = true,
        .base = 4099,
        .space = UINT64_C(1) << 32,
        .size_max = 1 << 24,
        .align_max = UINT64_C(1) << 30,
        .live_max = 3000,
        .operations = 500000,
        .check_every = 1000,
        .rebuild_every = 49999,
        .metadata_failure_every = 500,
        .seed = test_seed(0xf1752),
    };

    (void)state;
    assert_true(byte_model_run(&plan));
    plan.space = UINT64_C(1) << 21; /* often full */
    plan.size_max = UINT64_C(1) << 21;
    assert_true(byte_model_run(&plan));
    plan.base = 0;
    plan.space = UINT64_C(1) << 63;
    plan.size_max = UINT64_C(1) << 63;
    assert_true(byte_model_run(&plan));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_firstfit__refuses_bad_ranges),
        CASE(test_firstfit__refuses_bad_requests),
        CASE(test_firstfit__position_zero_is_legal),
        CASE(test_firstfit__merges_both_sides_at_once),
        CASE(test_firstfit__grants_exactly_the_largest),
        CASE(test_firstfit__grants_the_largest_of_many),
        CASE(test_firstfit__honours_alignment_and_keeps_the_front),
        CASE(test_firstfit__fills_an_aligned_space_whole),
        CASE(test_firstfit__dealloc_is_exact),
        CASE(test_firstfit__realloc_uses_the_free_neighbour),
        CASE(test_firstfit__touching_ranges_become_one),
        CASE(test_firstfit__take_back_cuts_a_range),
        CASE(test_firstfit__what_was_taken_back_can_be_added_again),
        CASE(test_firstfit__has_no_size_cap),
        CASE(test_firstfit__memory_for_a_million_blocks),
        CASE(test_firstfit__every_position_is_the_lowest),
        CASE(test_firstfit__aligned_requests_take_the_lowest_hole),
        CASE(test_firstfit__merges_across_leaves),
        CASE(test_firstfit__realloc_across_leaves),
        CASE(test_firstfit__dealloc_needs_no_memory),
        CASE(test_firstfit__does_not_walk_past_short_runs),
        cmocka_unit_test(test_firstfit__survives_each_refusal_of_metadata),
        cmocka_unit_test(test_firstfit__small_space_against_the_model),
        cmocka_unit_test(test_firstfit__large_space_against_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
