/* SPDX-License-Identifier: MIT */
/*
 * The bitmap page allocator: the contract of runs, with 4 KiB and 2 MiB pages, and what only pages
 * have, which is bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <allot/page.h>

#include "run_test.h"

#define POSITION_MAX (1ULL << 48)
#define MIB          (1ULL << 20)
#define PAGE         4096ULL

static const struct allot_page_ops *const ops = &allot_bitmap_pages;

struct fixture {
    struct test_meta meta;
    struct allot_page *p;
};

static int setup_size(void **state, uint64_t page_size)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    test_meta_init(&f->meta);
    *state = f;
    return ops->create(&f->meta.meta, page_size, &f->p);
}

static int setup(void **state)
{
    return setup_size(state, PAGE);
}

static int setup_huge(void **state)
{
    return setup_size(state, 2 * MIB);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int r = ops->check(f->p);

    ops->destroy(f->p);
    r = r || f->meta.bytes != 0;
    free(f);
    return r;
}

static struct allot_page *with_pages(void **state, uint64_t start, uint64_t pages)
{
    struct fixture *f = *state;

    assert_int_equal(ops->init(f->p, start, pages * ops->page_size(f->p)), 0);
    return f->p;
}

static uint64_t take(struct allot_page *p, uint64_t num, uint64_t align)
{
    uint64_t pos = UINT64_MAX;

    assert_int_equal(ops->alloc_pages(p, num, align, &pos), 0);
    return pos;
}

static void test_bitmap__create_refuses_bad_page_sizes(void **state)
{
    static const uint64_t bad[] = {0, 1, 2048, 4095, 4097, 12288, UINT64_MAX};
    struct test_meta meta;
    struct allot_page *p = NULL;

    (void)state;
    test_meta_init(&meta);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(ops->create(&meta.meta, bad[i], &p), ALLOT_E_INVALID);
    meta.fail_always = 1;
    assert_int_equal(ops->create(&meta.meta, PAGE, &p), ALLOT_E_NO_MEMORY);
    assert_null(p);
    ops->destroy(NULL);
    assert_int_equal(meta.bytes, 0);
}

static void test_bitmap__page_size_beyond_all_positions(void **state)
{
    struct test_meta meta;
    struct allot_page *p = NULL;

    (void)state;
    test_meta_init(&meta);
    assert_int_equal(ops->create(&meta.meta, 1ULL << 63, &p), 0);
    assert_int_equal(ops->add_memory(p, 0, POSITION_MAX), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages_at(p, 0, 1), ALLOT_E_INVALID);
    ops->destroy(p);
    assert_int_equal(ops->create(&meta.meta, POSITION_MAX, &p), 0);
    assert_int_equal(ops->init(p, 0, POSITION_MAX), 0);
    assert_int_equal(take(p, 1, 1), 0);
    assert_int_equal(ops->available_pages(p), 0);
    ops->destroy(p);
    assert_int_equal(meta.bytes, 0);
}

static void test_bitmap__cuts_ends_inwards(void **state)
{
    struct allot_page *p = ((struct fixture *)*state)->p;

    assert_int_equal(ops->add_memory(p, 1, 4095), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(p, 1, 8190), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(p, 0, 0), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(p, 4096, 4095), ALLOT_E_INVALID);
    assert_int_equal(ops->total_pages(p), 0);
    assert_int_equal(ops->add_memory(p, 1, 3 * 4096), 0);
    assert_int_equal(ops->total_pages(p), 2);
    assert_int_equal(take(p, 2, 1), 4096);
}

static void test_bitmap__refuses_ranges_past_the_end(void **state)
{
    struct allot_page *p = ((struct fixture *)*state)->p;

    assert_int_equal(ops->add_memory(p, POSITION_MAX, PAGE), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(p, POSITION_MAX - PAGE, PAGE + 1), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(p, UINT64_MAX - PAGE, PAGE), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(p, PAGE, UINT64_MAX - PAGE + 1), ALLOT_E_INVALID);
    assert_int_equal(ops->init(p, 0, POSITION_MAX + 1), ALLOT_E_INVALID);
    assert_int_equal(ops->total_pages(p), 0);
    assert_int_equal(ops->add_memory(p, POSITION_MAX - PAGE, PAGE), 0);
    assert_int_equal(take(p, 1, 1), POSITION_MAX - PAGE);
}

static void test_bitmap__aligns_by_bytes(void **state)
{
    struct allot_page *p = with_pages(state, PAGE, 4096);

    assert_int_equal(take(p, 1, 1), PAGE);
    assert_int_equal(take(p, 1, 8 * PAGE), 8 * PAGE);
    assert_int_equal(take(p, 1, 512), 2 * PAGE);
    assert_int_equal(take(p, 1, 2 * MIB), 2 * MIB);
    assert_int_equal(take(p, 3, 2 * MIB), 4 * MIB);
    assert_int_equal(take(p, 2, 2 * PAGE), 4 * PAGE);
}

static void test_bitmap__refuses_parts_of_pages(void **state)
{
    struct allot_page *p = with_pages(state, MIB, 256);
    uint64_t pos = 5;

    assert_int_equal(ops->alloc_pages(p, 1, 12288, &pos), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages(p, 1, 3, &pos), ALLOT_E_INVALID);
    assert_int_equal(pos, 5);
    assert_int_equal(ops->alloc_pages_at(p, MIB + 1, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages_at(p, MIB, 1ULL << 52), ALLOT_E_INVALID);
    assert_int_equal(ops->dealloc_pages(p, MIB + 2048, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->dealloc_pages(p, MIB, 1ULL << 52), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->used_pages(p), 0);
    assert_int_equal(take(p, 256, 1), MIB);
}

static void test_bitmap__huge_pages_at_the_end(void **state)
{
    struct allot_page *p = with_pages(state, POSITION_MAX - 1024 * MIB, 512);

    assert_int_equal(ops->page_size(p), 2 * MIB);
    assert_int_equal(take(p, 1, 1), POSITION_MAX - 1024 * MIB);
    assert_int_equal(take(p, 1, 512 * MIB), POSITION_MAX - 512 * MIB);
    assert_int_equal(ops->alloc_pages_at(p, POSITION_MAX - MIB, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages_at(p, POSITION_MAX - 2 * MIB, 1), 0);
    assert_int_equal(ops->alloc_pages_at(p, POSITION_MAX - 2 * MIB, 1), ALLOT_E_OVERLAP);
    assert_int_equal(ops->alloc_pages_at(p, POSITION_MAX - 2 * MIB, 2), ALLOT_E_INVALID);
    assert_int_equal(ops->used_pages(p), 3);
    assert_int_equal(ops->largest_free(p), 255);
}

struct seen {
    unsigned count;
    unsigned long long start[4], size[4];
    enum allot_run_state state[4];
};

static void see(void *ctx, unsigned long long start, unsigned long long size,
                enum allot_run_state state)
{
    struct seen *s = ctx;

    assert_in_range(s->count, 0, 3);
    s->start[s->count] = start;
    s->size[s->count] = size;
    s->state[s->count++] = state;
}

static void test_bitmap__dumps_bytes(void **state)
{
    struct allot_page *p = with_pages(state, PAGE, 1000);
    struct seen s = {0};

    assert_int_equal(ops->alloc_pages_at(p, 10 * PAGE, 991), 0);
    assert_int_equal(ops->dump(p, see, &s), 0);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.start[0], PAGE);
    assert_int_equal(s.size[0], 9 * PAGE);
    assert_int_equal(s.state[0], ALLOT_RUN_FREE);
    assert_int_equal(s.start[1], 10 * PAGE);
    assert_int_equal(s.size[1], 991 * PAGE);
    assert_int_equal(s.state[1], ALLOT_RUN_USED);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bitmap__create_refuses_bad_page_sizes),
        cmocka_unit_test(test_bitmap__page_size_beyond_all_positions),
        CASE(test_bitmap__cuts_ends_inwards),
        CASE(test_bitmap__refuses_ranges_past_the_end),
        CASE(test_bitmap__aligns_by_bytes),
        CASE(test_bitmap__refuses_parts_of_pages),
        cmocka_unit_test_setup_teardown(test_bitmap__huge_pages_at_the_end, setup_huge, teardown),
        CASE(test_bitmap__dumps_bytes),
    };

    return run_contract(&run_small_pages, RUN_SMALL_PAGES_MAX) +
           run_contract(&run_huge_pages, RUN_HUGE_PAGES_MAX) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
