/* SPDX-License-Identifier: MIT */
/*
 * Slabs: what differs from other byte allocators, then seeded runs against the reference model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <allot/algorithm.h>
#include <allot/heap.h>

#include "byte_model.h"
#include "support.h"

#define OPS  (&allot_slab)
#define SLAB UINT64_C(32768)

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
    assert_int_equal(OPS->total_bytes(b), OPS->used_bytes(b) + OPS->available_bytes(b));
}

static uint64_t alloc(struct allot_byte *b, uint64_t size, uint64_t align)
{
    uint64_t pos = 1;

    assert_int_equal(OPS->alloc(b, size, align, &pos), 0);
    assert_int_equal(pos % align, 0);
    check(b);
    return pos;
}

static void test_slab__refuses_bad_requests(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos = 7, size = 7;

    assert_int_equal(OPS->alloc(b, 16, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->init(b, 0, 15), ALLOT_E_INVALID);
    assert_int_equal(OPS->init(b, 0, 4 * SLAB), 0);
    assert_int_equal(OPS->add_memory(b, SLAB, SLAB), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->alloc(b, 0, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, 16, 0, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, 16, 24, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, UINT64_MAX, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, 4 * SLAB + 1, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->claim(b, 8, 16, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 16, 32), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 4 * SLAB, 16, 1), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->take_back(b, 0, 3, &pos, &size), ALLOT_E_INVALID);
    assert_int_equal(pos, 7);
    assert_int_equal(size, 7);
    check(b);
}

/* Made of slabs or not, a block is counted once, and free slots are available. */
static void test_slab__totals_count_everything_once(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t small, large;

    assert_int_equal(OPS->init(b, 0, 1 << 20), 0);
    small = alloc(b, 64, 8);
    assert_int_equal(OPS->total_bytes(b), 1 << 20);
    assert_int_equal(OPS->used_bytes(b), 64);
    assert_int_equal(OPS->available_bytes(b), (1 << 20) - 64);
    large = alloc(b, 100000, 8);
    assert_int_equal(OPS->used_bytes(b), 64 + 100000);
    assert_int_equal(OPS->dealloc(b, small, 64, 8), 0);
    assert_int_equal(OPS->used_bytes(b), 100000);
    assert_int_equal(OPS->dealloc(b, large, 100000, 8), 0);
    assert_int_equal(OPS->used_bytes(b), 0);
    assert_int_equal(OPS->largest_free(b), 1 << 20);
}

/* What small blocks have used is there for a large one, and can be taken back. */
static void test_slab__gives_empty_slabs_back(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    static uint64_t pos[(1 << 20) / 64];
    const unsigned count = sizeof(pos) / sizeof(pos[0]);
    uint64_t start, size;

    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(OPS->init(b, 1 << 20, 1 << 20), 0);
        for (unsigned i = 0; i < count; i++)
            assert_int_equal(OPS->alloc(b, 64, 8, &pos[i]), 0);
        assert_int_equal(OPS->available_bytes(b), 0);
        assert_int_equal(OPS->largest_free(b), 0);
        check(b);
        for (unsigned i = 0; i < count; i++)
            assert_int_equal(OPS->dealloc(b, pos[i * 7919 % count], 64, 8), 0);
        check(b);
        if (round == 0) {
            assert_int_equal(OPS->largest_free(b), 1 << 20);
            alloc(b, 1 << 20, 1);
        } else if (round == 1) {
            alloc(b, 1 << 20, 1);
        } else {
            for (uint64_t near = 1 << 20; near < 2 << 20; near += SLAB)
                (void)OPS->take_back(b, near, 4096, &start, &size); /* or it went before */
            assert_int_equal(OPS->total_bytes(b), 0);
        }
    }
}

/* Each class keeps an empty slab; each of these asks for memory that all of them are part of. */
static void test_slab__spares_stand_in_nobodys_way(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos, start, size;

    for (unsigned what = 0; what < 6; what++) {
        assert_int_equal(OPS->init(b, SLAB, 4 * SLAB), 0);
        assert_int_equal(alloc(b, SLAB, 1), SLAB);
        for (uint64_t small = 64; small <= 4096; small *= 8) {
            pos = alloc(b, small, 1);
            assert_int_equal(OPS->dealloc(b, pos, small, 1), 0);
            check(b);
        }
        assert_int_equal(OPS->available_bytes(b), 3 * SLAB);
        if (what == 0)
            alloc(b, 3 * SLAB, 1);
        else if (what == 1)
            assert_int_equal(OPS->claim(b, 2 * SLAB, 3 * SLAB, 1), 0);
        else if (what == 2)
            assert_int_equal(OPS->realloc(b, SLAB, SLAB, 1, 4 * SLAB), 0);
        else if (what == 3)
            assert_int_equal(OPS->largest_free(b), 3 * SLAB);
        else if (what == 4)
            alloc(b, 128, 1); /* a slab of a fourth class */
        else
            for (unsigned i = 4; i >= 2; i--)
                (void)OPS->take_back(b, i * SLAB, SLAB, &start, &size); /* or it went before */
        check(b);
        assert_int_equal(OPS->total_bytes(b), what == 5 ? SLAB : 4 * SLAB);
    }
}

static void test_slab__honours_every_alignment(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 16, UINT64_C(1) << 50), 0);
    for (uint64_t size = 1; size < 40000; size = size * 5 / 4 + 1) {
        for (unsigned log = 0; log <= 40; log++) {
            uint64_t first = alloc(b, size, UINT64_C(1) << log);
            uint64_t second = alloc(b, size, UINT64_C(1) << log);

            assert_true(first + size <= second || second + size <= first);
            /* No alignment costs more than twice the size. */
            assert_true(OPS->used_bytes(b) <= 4 * (size > 64 ? size : 64));
            assert_int_equal(OPS->dealloc(b, first, size, UINT64_C(1) << log), 0);
            assert_int_equal(OPS->dealloc(b, second, size, UINT64_C(1) << log), 0);
        }
    }
    assert_int_equal(OPS->used_bytes(b), 0);
}

static void test_slab__grants_exactly_the_largest(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos, largest;

    for (uint64_t size = 16; size < UINT64_C(1) << 30; size = size * 3 / 2 + 15) {
        assert_int_equal(OPS->init(b, 1 << 20, size), 0);
        while ((largest = OPS->largest_free(b))) {
            assert_int_equal(OPS->alloc(b, largest + 1, 1, &pos), ALLOT_E_NO_MEMORY);
            alloc(b, largest, 1);
        }
        assert_true(OPS->available_bytes(b) < 16); /* all memory is of use */
    }
}

static void test_slab__dealloc_is_exact(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos, other, usable = 0;

    assert_int_equal(OPS->init(b, SLAB, 4 * SLAB), 0);
    assert_int_equal(OPS->dealloc(b, SLAB, 16, 1), ALLOT_E_NOT_ALLOCATED);
    other = alloc(b, 100, 1);
    for (unsigned round = 0; round < 2; round++) { /* the second time where one was just freed */
        pos = alloc(b, 100, 1);
        assert_int_equal(OPS->dealloc(b, pos, 0, 1), ALLOT_E_INVALID);
        assert_int_equal(OPS->dealloc(b, pos, 100, 0), ALLOT_E_INVALID);
        assert_int_equal(OPS->dealloc(b, pos, 100, 12), ALLOT_E_INVALID);
        assert_int_equal(OPS->dealloc(b, pos, UINT64_MAX, 1), ALLOT_E_INVALID);
        assert_int_equal(OPS->dealloc(b, pos, 96, 1), ALLOT_E_NOT_ALLOCATED);
        assert_int_equal(OPS->dealloc(b, pos, 113, 1), ALLOT_E_NOT_ALLOCATED);
        assert_int_equal(OPS->dealloc(b, pos, 100, SLAB), ALLOT_E_NOT_ALLOCATED);
        assert_int_equal(OPS->dealloc(b, pos + 16, 100, 1), ALLOT_E_NOT_ALLOCATED);
        assert_int_equal(OPS->dealloc(b, pos + 112, 100, 1), ALLOT_E_NOT_ALLOCATED);
        assert_int_equal(OPS->dealloc(b, other / SLAB * SLAB, SLAB, SLAB), ALLOT_E_NOT_ALLOCATED);
        if (!round)
            assert_int_equal(OPS->dealloc(b, pos, 100, 1), 0);
    }
    assert_int_equal(OPS->usable_size(b, pos + 16, &usable), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->usable_size(b, pos, &usable), 0);
    assert_int_equal(usable, 112);
    assert_int_equal(OPS->dealloc(b, pos, 100, 1), 0);
    assert_int_equal(OPS->dealloc(b, pos, 100, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->usable_size(b, pos, &usable), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->used_bytes(b), 112);
    check(b);
}

/* The spare of one class goes for another: what it was is not remembered anywhere. */
static void test_slab__dealloc_is_exact_after_a_new_division(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t first, second;

    assert_int_equal(OPS->init(b, SLAB, SLAB), 0);
    for (uint64_t old = 16; old <= 1024; old *= 2) {
        for (uint64_t new = 16; new <= 1024; new *= 2) {
            if (new == old)
                continue;
            first = alloc(b, old, 1);
            assert_int_equal(OPS->dealloc(b, first, old, 1), 0);
            second = alloc(b, new, 1);
            assert_int_equal(first, second);
            assert_int_equal(OPS->dealloc(b, first, old, 1), ALLOT_E_NOT_ALLOCATED);
            assert_int_equal(OPS->dealloc(b, second, new, 1), 0);
            assert_int_equal(OPS->used_bytes(b), 0);
        }
    }
}

static void test_slab__realloc_stays_within_its_class(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos;

    assert_int_equal(OPS->init(b, 0, 4 * SLAB), 0);
    pos = alloc(b, 97, 1);
    assert_int_equal(OPS->realloc(b, pos, 97, 1, 112), 0);
    assert_int_equal(OPS->realloc(b, pos, 112, 1, 113), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->realloc(b, pos, 112, 1, 96), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->realloc(b, pos, 112, 1, 0), ALLOT_E_INVALID);
    assert_int_equal(OPS->realloc(b, pos, 112, 1, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(OPS->realloc(b, pos, 113, 1, 112), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, pos, 100, 1), 0);
    pos = alloc(b, 10000, 1);
    assert_int_equal(OPS->realloc(b, pos, 10000, 1, 4 * SLAB - pos), 0);
    assert_int_equal(OPS->realloc(b, pos, 4 * SLAB - pos, 1, 100), 0);
    check(b);
    assert_int_equal(OPS->used_bytes(b), 112);
    assert_int_equal(OPS->dealloc(b, pos, 100, 1), 0);
}

/* An alignment that no class has makes it a block of the inner allocator. */
static void test_slab__usable_size_frees_whatever_the_alignment(void **state)
{
    struct fixture *f = *state;
    struct allot_byte *b = f->b;
    uint64_t pos, size;

    assert_int_equal(OPS->init(b, 0, UINT64_C(1) << 20), 0);
    for (uint64_t align = 1; align <= 65536; align *= 2) {
        for (uint64_t wish = 1; wish < 20000; wish += 41) {
            assert_int_equal(OPS->alloc(b, wish, align, &pos), 0);
            assert_int_equal(OPS->usable_size(b, pos, &size), 0);
            assert_true(size >= wish);
            assert_int_equal(OPS->dealloc(b, pos, size, 1), 0);
        }
    }
    assert_int_equal(OPS->used_bytes(b), 0);
    check(b);
}

/* The provider of a heap whose pages are smaller than a slab: claims need only their block. */
static void test_slab__claims_in_any_order_through_a_heap(void **state)
{
    struct fixture *f = *state;
    struct {
        uint64_t pos, size;
    } block[2000];
    const unsigned count = sizeof(block) / sizeof(block[0]);
    const struct allot_page_ops *page_ops;
    struct test_random random;

    if (allot_page_find(NULL, &page_ops))
        skip();
    test_random_init(&random, test_seed(0x51ab0));
    for (unsigned life = 0; life < 2; life++) {
        struct allot_byte *bytes = f->b;
        struct allot_page *pages;
        struct allot_heap heap;

        if (life)
            assert_int_equal(OPS->create(&f->meta.meta, &bytes), 0);
        assert_int_equal(page_ops->create(&f->meta.meta, 4096, &pages), 0);
        assert_int_equal(pages->ops->init(pages, 4096, 64 << 20), 0);
        allot_heap_init(&heap, bytes, pages);
        for (unsigned i = 0; i < count; i++) {
            unsigned k = i * 1009 % count;

            if (life) {
                assert_int_equal(allot_heap_claim(&heap, block[k].pos, block[k].size, 8), 0);
                continue;
            }
            block[i].size = 1 + test_random_below(&random, 12000);
            assert_int_equal(allot_heap_alloc(&heap, block[i].size, 8, &block[i].pos), 0);
        }
        assert_int_equal(OPS->check(bytes), 0);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(allot_heap_dealloc(&heap, block[i].pos, block[i].size, 8), 0);
            assert_int_equal(allot_heap_dealloc(&heap, block[i].pos, block[i].size, 8),
                             ALLOT_E_NOT_ALLOCATED);
        }
        assert_int_equal(OPS->check(bytes), 0);
        assert_int_equal(OPS->total_bytes(bytes), 32768);
        assert_int_equal(pages->ops->used_pages(pages), 8);
        pages->ops->destroy(pages);
        if (life)
            OPS->destroy(bytes);
    }
}

static void test_slab__memory_for_a_million_blocks(void **state)
{
    struct fixture *f = *state;
    uint64_t pos;

    assert_int_equal(OPS->init(f->b, 0, UINT64_C(1) << 40), 0);
    for (unsigned i = 1; i <= 1000000; i++)
        assert_int_equal(OPS->alloc(f->b, 64, 8, &pos), 0);
    assert_true(OPS->metadata_bytes(f->b) <= 2000000);
    assert_int_equal(OPS->metadata_bytes(f->b), f->meta.bytes);
    check(f->b);
}

static int fill(struct test_meta *meta, struct allot_byte **ret)
{
    struct allot_byte *b = NULL;
    uint64_t pos, start, size;
    int err = OPS->create(&meta->meta, &b);

    *ret = b;
    if (!err)
        err = OPS->add_memory(b, 0, 8 << 20);
    for (unsigned i = 0; !err && i < 200; i++)
        err = OPS->add_memory(b, (i + 9) << 20, 8192);
    for (unsigned i = 0; !err && i < 500; i++)
        err = OPS->alloc(b, 16 + i * 16, 64, &pos);
    for (unsigned i = 0; !err && i < 200; i++) {
        err = OPS->take_back(b, ((i + 9) << 20) + 4096, 4096, &start, &size);
        if (err == ALLOT_E_NOT_ALLOCATED)
            err = 0; /* a single lies there, since a slab could not be had */
    }
    return err;
}

/* Each request for metadata is refused in turn; what was there before stays right. */
static void test_slab__survives_each_refusal_of_metadata(void **state)
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
            assert_true(nth > 10);
            OPS->destroy(b);
            return;
        }
        /* Where a slab could not be had, a single was. */
        assert_true(err == 0 || err == ALLOT_E_NO_MEMORY);
        if (b)
            check(b);
        OPS->destroy(b);
        assert_int_equal(meta.bytes, 0);
    }
}

static void test_slab__small_space_against_the_model(void **state)
{
    struct byte_model_plan plan = {
        .ops = OPS,
        .granule = 16,
        .divides = true,
        .space = 3 * SLAB,
        .size_max = SLAB,
        .align_max = 65536,
        .live_max = 256,
        .operations = 250000,
        .check_every = 1,
        .rebuild_every = 9973,
        .metadata_failure_every = 50,
        .seed = test_seed(0x51ab),
    };

    (void)state;
    assert_true(byte_model_run(&plan));
    plan.base = (UINT64_C(1) << 62) + 5;
    plan.size_max = 500;
    assert_true(byte_model_run(&plan));
}

static void test_slab__large_space_against_the_model(void **state)
{
    struct byte_model_plan plan = {
        .ops = OPS,
        .granule = 16,
        .divides = true,
        .base = 4099,
        .space = UINT64_C(1) << 32,
        .size_max = 1 << 24,
        .align_max = UINT64_C(1) << 30,
        .live_max = 3000,
        .operations = 400000,
        .check_every = 1000,
        .rebuild_every = 49999,
        .metadata_failure_every = 500,
        .seed = test_seed(0x51ac),
    };

    (void)state;
    assert_true(byte_model_run(&plan));
    plan.size_max = 8192;
    plan.align_max = 256;
    assert_true(byte_model_run(&plan));
    plan.space = UINT64_C(1) << 21; /* often full */
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
        CASE(test_slab__refuses_bad_requests),
        CASE(test_slab__totals_count_everything_once),
        CASE(test_slab__gives_empty_slabs_back),
        CASE(test_slab__spares_stand_in_nobodys_way),
        CASE(test_slab__honours_every_alignment),
        CASE(test_slab__grants_exactly_the_largest),
        CASE(test_slab__dealloc_is_exact),
        CASE(test_slab__dealloc_is_exact_after_a_new_division),
        CASE(test_slab__realloc_stays_within_its_class),
        CASE(test_slab__usable_size_frees_whatever_the_alignment),
        CASE(test_slab__claims_in_any_order_through_a_heap),
        CASE(test_slab__memory_for_a_million_blocks),
        cmocka_unit_test(test_slab__survives_each_refusal_of_metadata),
        cmocka_unit_test(test_slab__small_space_against_the_model),
        cmocka_unit_test(test_slab__large_space_against_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
