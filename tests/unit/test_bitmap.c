/* SPDX-License-Identifier: MIT */
/*
 * The bitmap page allocator: its contract line by line, with 4 KiB and 2 MiB pages, at both ends of
 * what positions there are; random runs against a plain array; failing metadata memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <allot/page.h>

#include "run_model.h"
#include "support.h"

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

static void test_bitmap__manages_nothing_at_first(void **state)
{
    struct allot_page *p = ((struct fixture *)*state)->p;
    uint64_t pos = 7;

    assert_int_equal(ops->alloc_pages(p, 1, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(pos, 7);
    assert_int_equal(ops->alloc_pages_at(p, 0, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->dealloc_pages(p, 0, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->total_pages(p), 0);
    assert_int_equal(ops->largest_free(p), 0);
    assert_int_equal(ops->page_size(p), PAGE);
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

static void test_bitmap__adds_merges_and_refuses_overlap(void **state)
{
    struct allot_page *p = with_pages(state, 10 * MIB, 256);
    uint64_t pos;

    assert_int_equal(ops->add_memory(p, 11 * MIB - PAGE, PAGE), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(p, 9 * MIB, MIB + PAGE), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(p, 0, 100 * MIB), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(p, 12 * MIB, MIB), 0);
    assert_int_equal(ops->alloc_pages(p, 257, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->alloc_pages_at(p, 11 * MIB - PAGE, 2), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(p, 11 * MIB, MIB), 0);
    assert_int_equal(ops->largest_free(p), 3 * 256);
    assert_int_equal(take(p, 3 * 256, 1), 10 * MIB);
    /* Far below and far above what is there. */
    assert_int_equal(ops->add_memory(p, POSITION_MAX - MIB, MIB), 0);
    assert_int_equal(ops->add_memory(p, 0, MIB), 0);
    assert_int_equal(take(p, 256, 1), 0);
    assert_int_equal(take(p, 256, 1), POSITION_MAX - MIB);
    assert_int_equal(ops->total_pages(p), 5 * 256);
    assert_int_equal(ops->available_pages(p), 0);
    assert_int_equal(ops->check(p), 0);
}

static void test_bitmap__coalesces_both_sides(void **state)
{
    struct allot_page *p = with_pages(state, 0, 2000);

    assert_int_equal(take(p, 2000, 1), 0);
    assert_int_equal(ops->dealloc_pages(p, 100 * PAGE, 500), 0);
    assert_int_equal(ops->dealloc_pages(p, 900 * PAGE, 600), 0);
    assert_int_equal(ops->largest_free(p), 600);
    assert_int_equal(ops->dealloc_pages(p, 600 * PAGE, 300), 0);
    assert_int_equal(ops->largest_free(p), 1400);
    assert_int_equal(take(p, 1400, 1), 100 * PAGE);
}

static void test_bitmap__the_largest_free_run_is_granted(void **state)
{
    struct allot_page *p = with_pages(state, PAGE, 100000);
    uint64_t pos;

    assert_int_equal(ops->alloc_pages_at(p, 40000 * PAGE, 1), 0);
    assert_int_equal(ops->largest_free(p), 60000);
    assert_int_equal(ops->alloc_pages(p, 60001, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(take(p, 60000, 1), 40001 * PAGE);
    assert_int_equal(ops->largest_free(p), 39999);
    assert_int_equal(take(p, 39999, 1), PAGE);
    assert_int_equal(ops->largest_free(p), 0);
    assert_int_equal(ops->used_pages(p), 100000);
}

static void test_bitmap__largest_free_after_single_pages(void **state)
{
    struct allot_page *p = with_pages(state, 0, 100000);

    /* The sums above the leaf that serves single pages are late, but nobody can tell. */
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(take(p, 1, 1), i * PAGE);
        assert_int_equal(ops->largest_free(p), 99999 - i);
        assert_int_equal(ops->check(p), 0);
    }
    assert_int_equal(take(p, 99000, 1), 1000 * PAGE);
    assert_int_equal(ops->dealloc_pages(p, 999 * PAGE, 2), 0);
    assert_int_equal(ops->largest_free(p), 2);
}

static void test_bitmap__one_page_is_aligned_too(void **state)
{
    struct allot_page *p = with_pages(state, PAGE, 4096);

    assert_int_equal(take(p, 1, 1), PAGE);
    assert_int_equal(take(p, 1, 8 * PAGE), 8 * PAGE);
    assert_int_equal(take(p, 1, 512), 2 * PAGE);
    assert_int_equal(take(p, 1, 2 * MIB), 2 * MIB);
    assert_int_equal(take(p, 3, 2 * MIB), 4 * MIB);
    assert_int_equal(take(p, 512, 2 * MIB), 6 * MIB);
    assert_int_equal(take(p, 2, 2 * PAGE), 4 * PAGE);
}

static void test_bitmap__refuses_bad_requests(void **state)
{
    struct allot_page *p = with_pages(state, MIB, 256);
    uint64_t pos = 5;

    assert_int_equal(ops->alloc_pages(p, 0, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages(p, 1, 0, &pos), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages(p, 1, 12288, &pos), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages(p, 1, 3, &pos), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages(p, 257, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->alloc_pages(p, UINT64_MAX, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->alloc_pages(p, 1ULL << 52, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->alloc_pages(p, 1, 1ULL << 63, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(pos, 5);
    assert_int_equal(ops->alloc_pages_at(p, MIB, 0), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages_at(p, MIB + 1, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages_at(p, MIB - PAGE, 2), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages_at(p, MIB, 257), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages_at(p, MIB, 1ULL << 52), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages_at(p, MIB, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages_at(p, UINT64_MAX - 4095, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->dealloc_pages(p, MIB, 0), ALLOT_E_INVALID);
    assert_int_equal(ops->dealloc_pages(p, MIB + 2048, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->used_pages(p), 0);
    assert_int_equal(take(p, 256, 1), MIB);
}

static void test_bitmap__at_a_place(void **state)
{
    struct allot_page *p = with_pages(state, 0, 4096);

    assert_int_equal(ops->alloc_pages_at(p, 1000 * PAGE, 1000), 0);
    assert_int_equal(ops->alloc_pages_at(p, 999 * PAGE, 2), ALLOT_E_OVERLAP);
    assert_int_equal(ops->alloc_pages_at(p, 1999 * PAGE, 2), ALLOT_E_OVERLAP);
    assert_int_equal(ops->alloc_pages_at(p, 0, 4096), ALLOT_E_OVERLAP);
    assert_int_equal(ops->used_pages(p), 1000);
    assert_int_equal(ops->alloc_pages_at(p, 0, 1000), 0);
    assert_int_equal(ops->alloc_pages_at(p, 2000 * PAGE, 2096), 0);
    assert_int_equal(ops->largest_free(p), 0);
}

static void test_bitmap__frees_exactly(void **state)
{
    struct allot_page *p = with_pages(state, 0, 4096);

    assert_int_equal(take(p, 1024, 1), 0);
    assert_int_equal(ops->dealloc_pages(p, 1023 * PAGE, 2), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_pages(p, 0, 4097), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_pages(p, 0, 1ULL << 52), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_pages(p, PAGE, UINT64_MAX), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_pages(p, POSITION_MAX, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->used_pages(p), 1024);
    assert_int_equal(ops->dealloc_pages(p, 512 * PAGE, 512), 0);
    assert_int_equal(ops->dealloc_pages(p, 512 * PAGE, 512), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_pages(p, 0, 1024), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->used_pages(p), 512);
    assert_int_equal(ops->dealloc_pages(p, 0, 512), 0);
    assert_int_equal(ops->dealloc_pages(p, 0, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->largest_free(p), 4096);
}

static void test_bitmap__single_page_freed_twice(void **state)
{
    struct allot_page *p = with_pages(state, 0, 4096);
    uint64_t pos = take(p, 1, 1);

    assert_int_equal(ops->dealloc_pages(p, pos, 1), 0);
    assert_int_equal(ops->dealloc_pages(p, pos, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->alloc_pages_at(p, pos, 1), 0);
    assert_int_equal(ops->alloc_pages_at(p, pos, 1), ALLOT_E_OVERLAP);
}

static void test_bitmap__init_forgets(void **state)
{
    struct fixture *f = *state;
    struct allot_page *p = with_pages(state, 0, 1000);

    assert_int_equal(take(p, 10, 1), 0);
    assert_int_equal(ops->init(p, 0, 10), ALLOT_E_INVALID);
    f->meta.fail_always = 1;
    assert_int_equal(ops->init(p, MIB, MIB), ALLOT_E_NO_MEMORY);
    f->meta.fail_always = 0;
    assert_int_equal(ops->used_pages(p), 10);
    assert_int_equal(ops->init(p, MIB, MIB), 0);
    assert_int_equal(ops->used_pages(p), 0);
    assert_int_equal(ops->total_pages(p), 256);
    assert_int_equal(take(p, 1, 1), MIB);
}

static void test_bitmap__huge_pages_at_the_end(void **state)
{
    struct allot_page *p = with_pages(state, POSITION_MAX - 1024 * MIB, 512);

    assert_int_equal(take(p, 1, 1), POSITION_MAX - 1024 * MIB);
    assert_int_equal(take(p, 1, 512 * MIB), POSITION_MAX - 512 * MIB);
    assert_int_equal(ops->alloc_pages_at(p, POSITION_MAX - MIB, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_pages_at(p, POSITION_MAX - 2 * MIB, 1), 0);
    assert_int_equal(ops->alloc_pages_at(p, POSITION_MAX - 2 * MIB, 1), ALLOT_E_OVERLAP);
    assert_int_equal(ops->alloc_pages_at(p, POSITION_MAX - 2 * MIB, 2), ALLOT_E_INVALID);
    assert_int_equal(ops->used_pages(p), 3);
    assert_int_equal(ops->largest_free(p), 255);
}

static void test_bitmap__all_positions_cost_little(void **state)
{
    struct fixture *f = *state;
    struct allot_page *p = with_pages(state, 0, POSITION_MAX / PAGE);

    assert_int_equal(ops->largest_free(p), POSITION_MAX / PAGE);
    assert_int_equal(take(p, 1, POSITION_MAX / 2), 0);
    assert_int_equal(take(p, 512, POSITION_MAX / 2), POSITION_MAX / 2);
    assert_in_range(ops->metadata_bytes(p), 1, 8192);
    assert_int_equal(ops->metadata_bytes(p), f->meta.bytes);
}

static void test_bitmap__fragmented_space(void **state)
{
    struct allot_page *p = with_pages(state, 0, 1 << 18);
    uint64_t pos;

    /* 256 free pages in each 512; one fitting hole at the very end. */
    for (uint64_t group = 0; group < (1 << 18) / 512 - 1; group++)
        assert_int_equal(ops->alloc_pages_at(p, group * 512 * PAGE, 256), 0);
    assert_int_equal(take(p, 512, 1), ((1 << 18) - 768) * PAGE);
    assert_int_equal(ops->largest_free(p), 256);
    assert_int_equal(ops->alloc_pages(p, 257, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(take(p, 256, 1), 256 * PAGE);
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

/* The face of the allocator for random runs, in pages. */

static uint64_t face_page_size = 4096;

static void *face_create(struct test_meta *meta)
{
    struct allot_page *p = NULL;

    return ops->create(&meta->meta, face_page_size, &p) ? NULL : p;
}

static void face_destroy(void *a)
{
    ops->destroy(a);
}

static int face_add(void *a, uint64_t start, uint64_t n)
{
    return ops->add_memory(a, start * face_page_size, n * face_page_size);
}

static int face_alloc(void *a, uint64_t n, uint64_t align, uint64_t *ret)
{
    uint64_t pos;
    int r;

    if (align > UINT64_MAX / face_page_size)
        align = 1ULL << 63;
    else
        align *= face_page_size;
    r = ops->alloc_pages(a, n, align, &pos);
    if (r == 0)
        *ret = pos / face_page_size;
    return r;
}

static int face_alloc_at(void *a, uint64_t start, uint64_t n)
{
    return ops->alloc_pages_at(a, start * face_page_size, n);
}

static int face_free(void *a, uint64_t start, uint64_t n)
{
    return ops->dealloc_pages(a, start * face_page_size, n);
}

static uint64_t face_longest(void *a)
{
    return ops->largest_free(a);
}

static uint64_t face_total(void *a)
{
    return ops->total_pages(a);
}

static uint64_t face_used(void *a)
{
    return ops->used_pages(a);
}

static int face_check(void *a)
{
    return ops->check(a);
}

static int face_dump(void *a, allot_visit_fn *visit, void *ctx)
{
    return ops->dump(a, visit, ctx);
}

static const struct model_face face_4k = {
    .create = face_create,
    .destroy = face_destroy,
    .add = face_add,
    .alloc = face_alloc,
    .alloc_at = face_alloc_at,
    .free = face_free,
    .longest = face_longest,
    .total = face_total,
    .used = face_used,
    .check = face_check,
    .dump = face_dump,
    .unit = 4096,
};

static const struct model_face face_2m = {
    .create = face_create,
    .destroy = face_destroy,
    .add = face_add,
    .alloc = face_alloc,
    .alloc_at = face_alloc_at,
    .free = face_free,
    .longest = face_longest,
    .total = face_total,
    .used = face_used,
    .check = face_check,
    .dump = face_dump,
    .unit = 2 * MIB,
};

static void test_bitmap__random_runs(void **state)
{
    (void)state;
    face_page_size = 4096;
    model_play_all(&face_4k, POSITION_MAX / 4096, 600000, 400000, test_seed(0xb10001));
}

static void test_bitmap__random_runs_of_huge_pages(void **state)
{
    (void)state;
    face_page_size = 2 * MIB;
    model_play_all(&face_2m, POSITION_MAX / (2 * MIB), 100000, 50000, test_seed(0xb10002));
}

static void test_bitmap__failing_metadata(void **state)
{
    uint64_t refusals = 0, seed = test_seed(0xb10003);

    (void)state;
    face_page_size = 4096;
    refusals += model_play_faults(&face_4k, (struct model_place){.units = 60, .scale = 1}, seed);
    refusals += model_play_faults(&face_4k, (struct model_place){3, 200, 1 << 16, 12345}, seed);
    face_page_size = 2 * MIB;
    refusals +=
        model_play_faults(&face_2m, (struct model_place){(1 << 14) - 100, 200, 4096, 1}, seed);
    assert_true(refusals > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bitmap__create_refuses_bad_page_sizes),
        cmocka_unit_test(test_bitmap__page_size_beyond_all_positions),
        cmocka_unit_test_setup_teardown(test_bitmap__manages_nothing_at_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__cuts_ends_inwards, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__refuses_ranges_past_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__adds_merges_and_refuses_overlap, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__coalesces_both_sides, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__the_largest_free_run_is_granted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__largest_free_after_single_pages, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__one_page_is_aligned_too, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__refuses_bad_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__at_a_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__frees_exactly, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__single_page_freed_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__init_forgets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__huge_pages_at_the_end, setup_huge, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__all_positions_cost_little, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__fragmented_space, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap__dumps_bytes, setup, teardown),
        cmocka_unit_test(test_bitmap__random_runs),
        cmocka_unit_test(test_bitmap__random_runs_of_huge_pages),
        cmocka_unit_test(test_bitmap__failing_metadata),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
