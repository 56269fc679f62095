/* SPDX-License-Identifier: MIT */
/*
 * Slabs: what is asked of any byte allocator, and how slabs come and go.
 */
#include <allot/algorithm.h>
#include <allot/heap.h>

#include "byte_suite.h"

#define OPS  (&allot_slab)
#define SLAB UINT64_C(32768)

const struct byte_traits subject = {
    .ops = &allot_slab,
    .places = BYTE_DIVIDED,
    .block_metadata_max = 2,
};

/* Made of slabs or not, a block is counted once, and free slots are available; the original counts
 * its slabs twice. */
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

/* What small blocks have used is there for a large one, and can be taken back; the original keeps
 * it for ever. */
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

/* Its memory is a block of the inner allocator, but nobody's to free. */
static void test_slab__a_slab_is_no_block(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos, usable;

    assert_int_equal(OPS->init(b, SLAB, SLAB), 0);
    pos = alloc(b, 100, 1);
    assert_int_equal(OPS->dealloc(b, SLAB, SLAB, SLAB), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->realloc(b, SLAB, SLAB, SLAB, 16), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, pos, 100, 1), 0);
    assert_int_equal(OPS->dealloc(b, SLAB, SLAB, SLAB), ALLOT_E_NOT_ALLOCATED); /* the spare */
    assert_int_equal(OPS->usable_size(b, SLAB, &usable), ALLOT_E_NOT_ALLOCATED);
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
    assert_int_equal(OPS->dealloc(b, pos, 100, 1), 0);
    pos = alloc(b, 10000, 1);
    assert_int_equal(OPS->realloc(b, pos, 10000, 1, 4 * SLAB - pos), 0);
    assert_int_equal(OPS->realloc(b, pos, 4 * SLAB - pos, 1, 100), 0);
    check(b);
    assert_int_equal(OPS->used_bytes(b), 112);
    assert_int_equal(OPS->dealloc(b, pos, 100, 1), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_byte__an_aligned_request_tries_a_bounded_number),
        CASE(test_slab__totals_count_everything_once),
        CASE(test_slab__gives_empty_slabs_back),
        CASE(test_slab__spares_stand_in_nobodys_way),
        CASE(test_slab__a_slab_is_no_block),
        CASE(test_slab__dealloc_is_exact_after_a_new_division),
        CASE(test_slab__realloc_stays_within_its_class),
        CASE(test_slab__claims_in_any_order_through_a_heap),
    };

    return byte_suite_run() + cmocka_run_group_tests(tests, NULL, NULL);
}
