/* SPDX-License-Identifier: MIT */
/*
 * The contract of a run allocator, pages or IDs, line by line. See run_test.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "run_test.h"

/* Under test. */
static const struct allot_id_ops *ops;
static uint64_t end;

struct fixture {
    struct test_meta meta;
    struct allot_id *d;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    test_meta_init(&f->meta);
    *state = f;
    return ops->create(&f->meta.meta, &f->d);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int r = ops->check(f->d);

    ops->destroy(f->d);
    r = r || f->meta.bytes != 0;
    free(f);
    return r;
}

static struct allot_id *with_units(void **state, uint64_t first, uint64_t count)
{
    struct fixture *f = *state;

    assert_int_equal(ops->init(f->d, first, count), 0);
    return f->d;
}

static uint64_t take(struct allot_id *d, uint64_t count, uint64_t align)
{
    uint64_t first = UINT64_MAX;

    assert_int_equal(ops->alloc_id(d, count, align, &first), 0);
    return first;
}

static void test_run__create_without_memory(void **state)
{
    struct test_meta meta;
    struct allot_id *d = NULL;

    (void)state;
    test_meta_init(&meta);
    meta.fail_always = 1;
    assert_int_equal(ops->create(&meta.meta, &d), ALLOT_E_NO_MEMORY);
    assert_null(d);
    ops->destroy(NULL);
    assert_int_equal(meta.bytes, 0);
}

static void test_run__manages_nothing_at_first(void **state)
{
    struct allot_id *d = ((struct fixture *)*state)->d;
    uint64_t first = 7;

    assert_int_equal(ops->alloc_id(d, 1, 1, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(first, 7);
    assert_int_equal(ops->alloc_fixed_id(d, 0, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->dealloc_id(d, 0, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->size(d), 0);
    assert_int_equal(ops->largest_free(d), 0);
}

static void test_run__takes_the_lowest(void **state)
{
    struct allot_id *d = with_units(state, 10, 1000);

    assert_int_equal(take(d, 1, 1), 10);
    assert_int_equal(take(d, 3, 1), 11);
    assert_int_equal(take(d, 1, 1), 14);
    assert_int_equal(ops->dealloc_id(d, 12, 1), 0);
    assert_int_equal(take(d, 2, 1), 15);
    assert_int_equal(take(d, 1, 1), 12);
    assert_int_equal(ops->used(d), 7);
    assert_int_equal(ops->available(d), 993);
    assert_int_equal(ops->size(d), 1000);
    assert_int_equal(ops->largest_free(d), 993);
}

static void test_run__lowest_below_the_one_just_freed(void **state)
{
    struct allot_id *d = with_units(state, 0, 5000);

    assert_int_equal(take(d, 3000, 1), 0);
    assert_int_equal(take(d, 1, 1), 3000);
    assert_int_equal(ops->dealloc_id(d, 3000, 1), 0);
    assert_int_equal(ops->dealloc_id(d, 100, 1), 0);
    assert_int_equal(take(d, 1, 1), 100);
    assert_int_equal(take(d, 1, 1), 3000);
}

/* The original looks at the alignment of more than one page only. */
static void test_run__aligns_one_as_it_does_many(void **state)
{
    struct allot_id *d = with_units(state, 3, 5000);

    assert_int_equal(take(d, 1, 8), 8);
    assert_int_equal(take(d, 100, 64), 64);
    assert_int_equal(take(d, 1, 1024), 1024);
    assert_int_equal(take(d, 2, 2), 4);
    assert_int_equal(take(d, 1, 4096), 4096);
    assert_int_equal(take(d, 512, 512), 512);
    assert_int_equal(take(d, 1, 1), 3);
    assert_int_equal(take(d, 1, 2), 6);
}

static void test_run__finds_the_only_aligned_fit(void **state)
{
    struct allot_id *d = with_units(state, 0, 40000);
    uint64_t first = 1;

    /* Long but misaligned runs everywhere, more than the short walk looks at, and one that fits:
     * no run of count + align - 1 is there. */
    assert_int_equal(take(d, 40000, 1), 0);
    for (uint64_t at = 0; at < 39000; at += 300)
        assert_int_equal(ops->dealloc_id(d, (at & ~63ULL) + 1, 100), 0);
    assert_int_equal(ops->alloc_id(d, 64, 64, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(first, 1);
    assert_int_equal(ops->dealloc_id(d, 39040, 64), 0);
    assert_int_equal(take(d, 64, 64), 39040);
    assert_int_equal(ops->alloc_id(d, 64, 64, &first), ALLOT_E_NO_MEMORY);
    /* With a run that holds one for certain behind them, that one is found. */
    assert_int_equal(ops->dealloc_id(d, 39200, 200), 0);
    assert_int_equal(take(d, 64, 64), 39232);
}

static void test_run__aligns_to_half_of_everything(void **state)
{
    struct allot_id *d = with_units(state, 1, end - 1);
    uint64_t first;

    assert_int_equal(take(d, 1, end / 2), end / 2);
    assert_int_equal(ops->alloc_id(d, 1, end / 2, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->alloc_id(d, 1, 1ULL << 63, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(take(d, 1, end / 4), end / 4);
    assert_int_equal(take(d, end / 4, end / 4), end / 4 * 3);
}

static void test_run__zero_is_a_multiple_of_everything(void **state)
{
    struct allot_id *d = with_units(state, 0, 1);

    assert_int_equal(take(d, 1, 1ULL << 63), 0);
}

static void test_run__at_a_place(void **state)
{
    struct allot_id *d = with_units(state, 100, 10000);

    assert_int_equal(ops->alloc_fixed_id(d, 700, 1000), 0);
    assert_int_equal(ops->alloc_fixed_id(d, 699, 2), ALLOT_E_OVERLAP);
    assert_int_equal(ops->alloc_fixed_id(d, 1699, 2), ALLOT_E_OVERLAP);
    assert_int_equal(ops->alloc_fixed_id(d, 100, 10000), ALLOT_E_OVERLAP);
    assert_int_equal(ops->used(d), 1000);
    assert_int_equal(ops->alloc_fixed_id(d, 100, 600), 0);
    assert_int_equal(ops->alloc_fixed_id(d, 1700, 8400), 0);
    assert_int_equal(ops->available(d), 0);
    assert_int_equal(ops->largest_free(d), 0);
}

static void test_run__at_a_place_that_is_not_managed(void **state)
{
    struct allot_id *d = with_units(state, 100, 100);

    assert_int_equal(ops->alloc_fixed_id(d, 99, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, 99, 2), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, 199, 2), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, 200, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, 150, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, UINT64_MAX, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, 150, 0), ALLOT_E_INVALID);
    assert_int_equal(ops->used(d), 0);
}

static void test_run__refuses_bad_counts_and_alignments(void **state)
{
    struct allot_id *d = with_units(state, 0, 1000);
    uint64_t first = 5;

    assert_int_equal(ops->alloc_id(d, 0, 1, &first), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_id(d, 1, 0, &first), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_id(d, 1, 3, &first), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_id(d, 1001, 1, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->alloc_id(d, UINT64_MAX, 1, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->alloc_id(d, UINT64_MAX, 1ULL << 63, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->dealloc_id(d, 0, 0), ALLOT_E_INVALID);
    assert_int_equal(first, 5);
    assert_int_equal(ops->used(d), 0);
    assert_int_equal(take(d, 1000, 1), 0);
}

static void test_run__frees_exactly(void **state)
{
    struct allot_id *d = with_units(state, 0, 100000);

    assert_int_equal(take(d, 50000, 1), 0);
    assert_int_equal(ops->dealloc_id(d, 49999, 2), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_id(d, 50000, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_id(d, 0, 100001), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_id(d, 1, UINT64_MAX), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_id(d, 1ULL << 60, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->used(d), 50000);
    assert_int_equal(ops->dealloc_id(d, 600, 20000), 0);
    assert_int_equal(ops->dealloc_id(d, 600, 20000), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->used(d), 30000);
}

/* In the original, freeing what is free in part loses the rest. */
static void test_run__a_run_free_in_part_loses_nothing(void **state)
{
    struct allot_id *d = with_units(state, 0, 100000);

    assert_int_equal(take(d, 50000, 1), 0);
    assert_int_equal(ops->dealloc_id(d, 600, 20000), 0);
    assert_int_equal(ops->dealloc_id(d, 0, 50000), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->alloc_fixed_id(d, 20000, 1000), ALLOT_E_OVERLAP);
    assert_int_equal(ops->used(d), 30000);
    assert_int_equal(ops->largest_free(d), 50000);
    assert_int_equal(take(d, 20000, 1), 600);
    assert_int_equal(ops->dealloc_id(d, 0, 50000), 0);
    assert_int_equal(ops->largest_free(d), 100000);
}

/* Which the original ignores. */
static void test_run__freed_twice(void **state)
{
    struct allot_id *d = with_units(state, 0, 4096);
    uint64_t first = take(d, 1, 1);

    assert_int_equal(ops->dealloc_id(d, first, 1), 0);
    assert_int_equal(ops->dealloc_id(d, first, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->alloc_fixed_id(d, first, 1), 0);
    assert_int_equal(ops->alloc_fixed_id(d, first, 1), ALLOT_E_OVERLAP);
}

static void test_run__coalesces_both_sides(void **state)
{
    struct allot_id *d = with_units(state, 0, 2000);

    assert_int_equal(take(d, 2000, 1), 0);
    assert_int_equal(ops->dealloc_id(d, 100, 500), 0);
    assert_int_equal(ops->dealloc_id(d, 900, 600), 0);
    assert_int_equal(ops->largest_free(d), 600);
    assert_int_equal(ops->dealloc_id(d, 600, 300), 0);
    assert_int_equal(ops->largest_free(d), 1400);
    assert_int_equal(take(d, 1400, 1), 100);
}

static void test_run__the_largest_free_run_is_granted(void **state)
{
    struct allot_id *d = with_units(state, 1, 100000);
    uint64_t first;

    assert_int_equal(ops->alloc_fixed_id(d, 40000, 1), 0);
    assert_int_equal(ops->largest_free(d), 60000);
    assert_int_equal(ops->alloc_id(d, 60001, 1, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(take(d, 60000, 1), 40001);
    assert_int_equal(ops->largest_free(d), 39999);
    assert_int_equal(take(d, 39999, 1), 1);
    assert_int_equal(ops->largest_free(d), 0);
    assert_int_equal(ops->used(d), 100000);
}

static void test_run__the_largest_after_single_units(void **state)
{
    struct allot_id *d = with_units(state, 0, 100000);

    /* The sums above the leaf that serves single units are late, but nobody can tell. */
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(take(d, 1, 1), i);
        assert_int_equal(ops->largest_free(d), 99999 - i);
        assert_int_equal(ops->check(d), 0);
    }
    assert_int_equal(take(d, 99000, 1), 1000);
    assert_int_equal(ops->dealloc_id(d, 999, 2), 0);
    assert_int_equal(ops->largest_free(d), 2);
}

/* The original's add_memory always fails, and its largest space has 2^28 units. */
static void test_run__adds_and_merges(void **state)
{
    struct allot_id *d = with_units(state, 1000, 1000);
    uint64_t first;

    assert_int_equal(ops->add_memory(d, 1999, 1), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(d, 0, 1001), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(d, 1200, 10), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(d, 0, 10000), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(d, 5000, 0), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(d, end, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(d, end - 1, 2), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(d, 5, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(d, UINT64_MAX, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(ops->size(d), 1000);

    assert_int_equal(ops->add_memory(d, 3000, 1000), 0);
    assert_int_equal(ops->alloc_id(d, 1001, 1, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->alloc_fixed_id(d, 1999, 1002), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(d, 2000, 1000), 0);
    assert_int_equal(ops->largest_free(d), 3000);
    assert_int_equal(ops->add_memory(d, end - 10, 10), 0);
    assert_int_equal(ops->add_memory(d, 0, 1), 0);
    assert_int_equal(take(d, 3000, 1), 1000);
    assert_int_equal(take(d, 10, 1), end - 10);
    assert_int_equal(take(d, 1, 1), 0);
    assert_int_equal(ops->available(d), 0);
}

static void test_run__grows_over_a_free_subtree(void **state)
{
    struct allot_id *d = with_units(state, 0, 4096);

    assert_int_equal(ops->add_memory(d, 4096, 4096), 0);
    assert_int_equal(ops->check(d), 0);
    assert_int_equal(ops->add_memory(d, 1 << 20, 1), 0);
    assert_int_equal(ops->check(d), 0);
    assert_int_equal(take(d, 8192, 1), 0);
    assert_int_equal(take(d, 1, 1), 1 << 20);
}

static void test_run__init_forgets(void **state)
{
    struct fixture *f = *state;
    struct allot_id *d = with_units(state, 0, 1000);

    assert_int_equal(take(d, 10, 1), 0);
    assert_int_equal(ops->init(d, 0, 0), ALLOT_E_INVALID);
    assert_int_equal(ops->init(d, 1, end), ALLOT_E_INVALID);
    f->meta.fail_always = 1;
    assert_int_equal(ops->init(d, 500, 100), ALLOT_E_NO_MEMORY);
    f->meta.fail_always = 0;
    assert_int_equal(ops->used(d), 10);
    assert_int_equal(ops->size(d), 1000);
    assert_int_equal(ops->init(d, 500, 100), 0);
    assert_int_equal(ops->used(d), 0);
    assert_int_equal(ops->size(d), 100);
    assert_int_equal(take(d, 1, 1), 500);
}

static void test_run__all_positions_cost_little(void **state)
{
    struct fixture *f = *state;
    struct allot_id *d = with_units(state, 0, end);

    assert_in_range(ops->metadata_bytes(d), 1, 4096);
    assert_int_equal(ops->largest_free(d), end);
    assert_int_equal(take(d, 1, 1), 0);
    assert_int_equal(ops->alloc_fixed_id(d, end - 1, 1), 0);
    assert_in_range(ops->metadata_bytes(d), 1, 8192);
    assert_int_equal(ops->metadata_bytes(d), f->meta.bytes);
    /* Units in a row cost little more than their bits. */
    for (uint64_t i = 1; i < 100000; i++)
        assert_int_equal(take(d, 1, 1), i);
    assert_in_range(ops->metadata_bytes(d), 1, 100000 / 2);
    assert_int_equal(take(d, end / 2, 1), 100000);
    assert_in_range(ops->metadata_bytes(d), 1, 100000 / 2);
}

/* Units as far apart as can be cost a path of nodes each, once, and what is given back is used
 * again. */
static void test_run__memory_follows_use(void **state)
{
    enum { UNITS = 10000, EACH = 4096 };
    struct allot_id *d = with_units(state, 0, end);
    uint64_t seed = test_seed(0x5ca77e4), cost = 0;
    static uint64_t at[UNITS];

    for (unsigned round = 0; round < 3; round++) {
        struct test_random random;

        test_random_init(&random, seed + round);
        for (unsigned i = 0; i < UNITS; i++) {
            do
                at[i] = test_random_below(&random, end);
            while (ops->alloc_fixed_id(d, at[i], 1));
        }
        assert_in_range(ops->metadata_bytes(d), 1, UNITS * EACH);
        assert_true(!cost || ops->metadata_bytes(d) <= cost * 3 / 2);
        cost = ops->metadata_bytes(d);
        for (unsigned i = 0; i < UNITS; i++)
            assert_int_equal(ops->dealloc_id(d, at[i], 1), 0);
        assert_int_equal(ops->largest_free(d), end);
    }
}

/* Takes and gives back 512 units, which fit at the very end only. The original looks at every bit
 * before: at any such cost this would take hours. */
static void take_at_the_end(struct allot_id *d, uint64_t space)
{
    assert_int_equal(ops->dealloc_id(d, space - 512, 512), 0);
    assert_int_equal(ops->check(d), 0);
    alarm(120); /* ends the program, which is a failure */
    for (unsigned i = 0; i < 1000000; i++) {
        assert_int_equal(take(d, 512, 1), space - 512);
        assert_int_equal(ops->dealloc_id(d, space - 512, 512), 0);
    }
    alarm(0);
    assert_int_equal(take(d, 512, 1), space - 512);
}

static void test_run__finds_a_run_behind_short_ones_at_once(void **state)
{
    const uint64_t space = 1 << 20, group = 512;
    struct allot_id *d = with_units(state, 0, space);
    uint64_t first;

    /* Half of each group is free, then every other unit. */
    assert_int_equal(take(d, space, 1), 0);
    for (uint64_t at = 0; at < space - group; at += group)
        assert_int_equal(ops->dealloc_id(d, at, group / 2), 0);
    take_at_the_end(d, space);
    assert_int_equal(ops->largest_free(d), group / 2);
    assert_int_equal(ops->alloc_id(d, group / 2 + 1, 1, &first), ALLOT_E_NO_MEMORY);
    for (uint64_t at = 0; at < space - group; at += 2)
        assert_int_equal(at % group < group / 2 ? ops->alloc_fixed_id(d, at + 1, 1)
                                                : ops->dealloc_id(d, at, 1),
                         0);
    take_at_the_end(d, space);
    assert_int_equal(ops->largest_free(d), 1);
    assert_int_equal(take(d, 1, 1), 0);
}

static void test_run__giving_back_needs_no_memory(void **state)
{
    enum { RUNS = 3000 };
    struct fixture *f = *state;
    struct allot_id *d = with_units(state, 0, end);
    struct test_random random;
    static uint64_t first[RUNS], count[RUNS];

    test_random_init(&random, test_seed(0x1d5eed));
    for (unsigned i = 0; i < RUNS; i++) {
        count[i] = 1 + test_random_below(&random, 1ULL << test_random_below(&random, 18));
        first[i] = take(d, count[i], 1);
        if (i % 3 == 0) { /* leaves a hole for later ones */
            assert_int_equal(ops->dealloc_id(d, first[i], count[i]), 0);
            count[i] = 1 + count[i] / 2;
            first[i] = take(d, count[i], 1);
        }
    }
    f->meta.fail_always = 1;
    for (unsigned left = RUNS; left > 0; left--) {
        unsigned i = (unsigned)test_random_below(&random, left);

        assert_int_equal(ops->dealloc_id(d, first[i], count[i]), 0);
        first[i] = first[left - 1];
        count[i] = count[left - 1];
    }
    assert_int_equal(ops->used(d), 0);
    assert_int_equal(ops->largest_free(d), end);
}

static void test_run__splitting_may_need_memory(void **state)
{
    struct fixture *f = *state;
    struct allot_id *d = with_units(state, 0, end);

    assert_int_equal(take(d, end, 1), 0);
    f->meta.fail_always = 1;
    assert_int_equal(ops->dealloc_id(d, 12345, 1), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->used(d), end);
    assert_int_equal(ops->check(d), 0);
    f->meta.fail_always = 0;
    assert_int_equal(ops->dealloc_id(d, 12345, 1), 0);
    assert_int_equal(take(d, 1, 1), 12345);
}

struct seen {
    unsigned count;
    unsigned long long start[8], size[8];
    enum allot_run_state state[8];
};

static void see(void *ctx, unsigned long long start, unsigned long long size,
                enum allot_run_state state)
{
    struct seen *s = ctx;

    assert_in_range(s->count, 0, 7);
    s->start[s->count] = start;
    s->size[s->count] = size;
    s->state[s->count++] = state;
}

static void test_run__dumps_runs_in_order(void **state)
{
    struct allot_id *d = with_units(state, 5, 100000);
    struct seen s = {0};

    assert_int_equal(ops->add_memory(d, end - 5, 5), 0);
    assert_int_equal(ops->alloc_fixed_id(d, 600, 70000), 0);
    assert_int_equal(ops->alloc_fixed_id(d, 70600, 1), 0);
    assert_int_equal(ops->dump(d, see, &s), 0);
    assert_int_equal(s.count, 4);
    assert_int_equal(s.start[0], 5);
    assert_int_equal(s.size[0], 595);
    assert_int_equal(s.state[0], ALLOT_RUN_FREE);
    assert_int_equal(s.start[1], 600);
    assert_int_equal(s.size[1], 70001);
    assert_int_equal(s.state[1], ALLOT_RUN_USED);
    assert_int_equal(s.start[2], 70601);
    assert_int_equal(s.size[2], 100005 - 70601);
    assert_int_equal(s.start[3], end - 5);
    assert_int_equal(s.size[3], 5);
}

static void test_run__random_runs(void **state)
{
    (void)state;
    run_model_play(ops, end, test_seed(0x1d0001));
}

static void test_run__survives_each_refusal_of_metadata(void **state)
{
    (void)state;
    run_model_faults(ops, end, test_seed(0x1d0002));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int run_contract(const struct allot_id_ops *under_test, uint64_t units_max)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run__create_without_memory),
        CASE(test_run__manages_nothing_at_first),
        CASE(test_run__takes_the_lowest),
        CASE(test_run__lowest_below_the_one_just_freed),
        CASE(test_run__aligns_one_as_it_does_many),
        CASE(test_run__finds_the_only_aligned_fit),
        CASE(test_run__aligns_to_half_of_everything),
        CASE(test_run__zero_is_a_multiple_of_everything),
        CASE(test_run__at_a_place),
        CASE(test_run__at_a_place_that_is_not_managed),
        CASE(test_run__refuses_bad_counts_and_alignments),
        CASE(test_run__frees_exactly),
        CASE(test_run__a_run_free_in_part_loses_nothing),
        CASE(test_run__freed_twice),
        CASE(test_run__coalesces_both_sides),
        CASE(test_run__the_largest_free_run_is_granted),
        CASE(test_run__the_largest_after_single_units),
        CASE(test_run__adds_and_merges),
        CASE(test_run__grows_over_a_free_subtree),
        CASE(test_run__init_forgets),
        CASE(test_run__all_positions_cost_little),
        CASE(test_run__memory_follows_use),
        CASE(test_run__finds_a_run_behind_short_ones_at_once),
        CASE(test_run__giving_back_needs_no_memory),
        CASE(test_run__splitting_may_need_memory),
        CASE(test_run__dumps_runs_in_order),
        cmocka_unit_test(test_run__random_runs),
        cmocka_unit_test(test_run__survives_each_refusal_of_metadata),
    };

    ops = under_test;
    end = units_max;
    return cmocka_run_group_tests_name(ops->name, tests, NULL, NULL);
}
