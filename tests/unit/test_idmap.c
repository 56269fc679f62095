/* SPDX-License-Identifier: MIT */
/*
 * The bitmap ID allocator: its contract line by line, random runs against a plain array, failing
 * metadata memory, and what a large space costs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <allot/id.h>

#include "run_model.h"
#include "support.h"

#define ID_MAX (1ULL << 48)

static const struct allot_id_ops *const ops = &allot_bitmap_ids;

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
    int r = f->d ? ops->check(f->d) : 0;

    ops->destroy(f->d);
    r = r || f->meta.bytes != 0;
    free(f);
    return r;
}

static struct allot_id *with_ids(void **state, uint64_t first, uint64_t count)
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

static void test_idmap__create_without_memory(void **state)
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

static void test_idmap__manages_nothing_at_first(void **state)
{
    struct allot_id *d = ((struct fixture *)*state)->d;
    uint64_t first = 7;

    assert_int_equal(ops->alloc_id(d, 1, 1, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(first, 7);
    assert_int_equal(ops->alloc_fixed_id(d, 0, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->dealloc_id(d, 0, 1), ALLOT_E_NOT_ALLOCATED);
    assert_false(ops->is_allocated(d, 0));
    assert_int_equal(ops->size(d), 0);
    assert_int_equal(ops->largest_free(d), 0);
    assert_int_equal(ops->check(d), 0);
}

static void test_idmap__takes_the_lowest(void **state)
{
    struct allot_id *d = with_ids(state, 10, 1000);

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

static void test_idmap__lowest_below_the_one_just_freed(void **state)
{
    struct allot_id *d = with_ids(state, 0, 5000);

    assert_int_equal(take(d, 3000, 1), 0);
    assert_int_equal(take(d, 1, 1), 3000);
    assert_int_equal(ops->dealloc_id(d, 3000, 1), 0);
    assert_int_equal(ops->dealloc_id(d, 100, 1), 0);
    assert_int_equal(take(d, 1, 1), 100);
    assert_int_equal(take(d, 1, 1), 3000);
}

static void test_idmap__aligns(void **state)
{
    struct allot_id *d = with_ids(state, 3, 5000);

    assert_int_equal(take(d, 1, 8), 8);
    assert_int_equal(take(d, 100, 64), 64);
    assert_int_equal(take(d, 1, 1024), 1024);
    assert_int_equal(take(d, 2, 2), 4);
    assert_int_equal(take(d, 1, 4096), 4096);
    assert_int_equal(ops->check(d), 0);
}

static void test_idmap__finds_the_only_aligned_fit(void **state)
{
    struct allot_id *d = with_ids(state, 0, 40000);
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

static void test_idmap__huge_alignment(void **state)
{
    struct allot_id *d = with_ids(state, 1, ID_MAX - 1);
    uint64_t first;

    assert_int_equal(take(d, 1, 1ULL << 47), 1ULL << 47);
    assert_int_equal(ops->alloc_id(d, 1, 1ULL << 47, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->alloc_id(d, 1, 1ULL << 63, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(take(d, 1, 1ULL << 46), 1ULL << 46);
    assert_int_equal(take(d, 1ULL << 46, 1ULL << 46), 3ULL << 46);
}

static void test_idmap__zero_is_managed_when_added(void **state)
{
    struct allot_id *d = with_ids(state, 0, 1);

    assert_int_equal(take(d, 1, 1ULL << 63), 0);
}

static void test_idmap__fixed(void **state)
{
    struct allot_id *d = with_ids(state, 100, 10000);

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

static void test_idmap__fixed_refuses_the_unmanaged(void **state)
{
    struct allot_id *d = with_ids(state, 100, 100);

    assert_int_equal(ops->alloc_fixed_id(d, 99, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, 99, 2), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, 199, 2), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, 200, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, 150, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, UINT64_MAX, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->alloc_fixed_id(d, 150, 0), ALLOT_E_INVALID);
    assert_int_equal(ops->used(d), 0);
}

static void test_idmap__refuses_bad_counts_and_alignments(void **state)
{
    struct allot_id *d = with_ids(state, 0, 1000);
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

static void test_idmap__frees_exactly(void **state)
{
    struct allot_id *d = with_ids(state, 0, 100000);

    assert_int_equal(take(d, 50000, 1), 0);
    assert_int_equal(ops->dealloc_id(d, 49999, 2), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_id(d, 50000, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_id(d, 0, 100001), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_id(d, 1, UINT64_MAX), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_id(d, 1ULL << 60, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->used(d), 50000);
    assert_int_equal(ops->dealloc_id(d, 600, 20000), 0);
    assert_int_equal(ops->dealloc_id(d, 600, 20000), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->dealloc_id(d, 0, 50000), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(ops->used(d), 30000);
    assert_true(ops->is_allocated(d, 599));
    assert_false(ops->is_allocated(d, 600));
    assert_false(ops->is_allocated(d, 20599));
    assert_true(ops->is_allocated(d, 20600));
    assert_false(ops->is_allocated(d, 50000));
    assert_false(ops->is_allocated(d, UINT64_MAX));
}

static void test_idmap__adds_and_merges(void **state)
{
    struct allot_id *d = with_ids(state, 1000, 1000);
    uint64_t first;

    assert_int_equal(ops->add_memory(d, 1999, 1), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(d, 0, 1001), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(d, 1200, 10), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(d, 0, 10000), ALLOT_E_OVERLAP);
    assert_int_equal(ops->add_memory(d, 5000, 0), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(d, ID_MAX, 1), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(d, ID_MAX - 1, 2), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(d, 5, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(d, UINT64_MAX, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(ops->size(d), 1000);

    assert_int_equal(ops->add_memory(d, 3000, 1000), 0);
    assert_int_equal(ops->alloc_id(d, 1001, 1, &first), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->alloc_fixed_id(d, 1999, 1002), ALLOT_E_INVALID);
    assert_int_equal(ops->add_memory(d, 2000, 1000), 0);
    assert_int_equal(ops->largest_free(d), 3000);
    assert_int_equal(ops->add_memory(d, ID_MAX - 10, 10), 0);
    assert_int_equal(ops->add_memory(d, 0, 1), 0);
    assert_int_equal(take(d, 3000, 1), 1000);
    assert_int_equal(take(d, 10, 1), ID_MAX - 10);
    assert_int_equal(take(d, 1, 1), 0);
    assert_int_equal(ops->available(d), 0);
    assert_int_equal(ops->check(d), 0);
}

static void test_idmap__grows_over_a_free_subtree(void **state)
{
    struct allot_id *d = with_ids(state, 0, 4096);

    assert_int_equal(ops->add_memory(d, 4096, 4096), 0);
    assert_int_equal(ops->check(d), 0);
    assert_int_equal(ops->add_memory(d, 1 << 20, 1), 0);
    assert_int_equal(ops->check(d), 0);
    assert_int_equal(take(d, 8192, 1), 0);
    assert_int_equal(take(d, 1, 1), 1 << 20);
}

static void test_idmap__init_forgets(void **state)
{
    struct fixture *f = *state;
    struct allot_id *d = with_ids(state, 0, 1000);

    assert_int_equal(take(d, 10, 1), 0);
    assert_int_equal(ops->init(d, 0, 0), ALLOT_E_INVALID);
    assert_int_equal(ops->init(d, 1, ID_MAX), ALLOT_E_INVALID);
    f->meta.fail_always = 1;
    assert_int_equal(ops->init(d, 500, 100), ALLOT_E_NO_MEMORY);
    f->meta.fail_always = 0;
    assert_int_equal(ops->used(d), 10);
    assert_int_equal(ops->size(d), 1000);
    assert_int_equal(ops->init(d, 500, 100), 0);
    assert_int_equal(ops->used(d), 0);
    assert_int_equal(take(d, 1, 1), 500);
    assert_false(ops->is_allocated(d, 5));
}

static void test_idmap__large_spaces_are_cheap(void **state)
{
    struct fixture *f = *state;
    struct allot_id *d = with_ids(state, 0, ID_MAX);

    assert_in_range(ops->metadata_bytes(d), 1, 4096);
    assert_int_equal(ops->largest_free(d), ID_MAX);
    assert_int_equal(take(d, 1, 1), 0);
    assert_int_equal(ops->alloc_fixed_id(d, ID_MAX - 1, 1), 0);
    assert_in_range(ops->metadata_bytes(d), 1, 8192);
    assert_int_equal(ops->metadata_bytes(d), f->meta.bytes);
    /* IDs in a row cost little more than their bits. */
    for (uint64_t i = 1; i < 100000; i++)
        assert_int_equal(take(d, 1, 1), i);
    assert_in_range(ops->metadata_bytes(d), 1, 100000 / 2);
    assert_int_equal(take(d, ID_MAX / 2, 1), 100000);
    assert_in_range(ops->metadata_bytes(d), 1, 100000 / 2);
}

static void test_idmap__giving_back_needs_no_memory(void **state)
{
    enum { RUNS = 3000 };
    struct fixture *f = *state;
    struct allot_id *d = with_ids(state, 0, 1ULL << 32);
    struct test_random random;
    static uint64_t first[RUNS], count[RUNS];

    test_random_init(&random, test_seed(0x1d5eed));
    for (unsigned i = 0; i < RUNS; i++) {
        count[i] = 1 + test_random_below(&random, 1ULL << test_random_below(&random, 20));
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
    assert_int_equal(ops->largest_free(d), 1ULL << 32);
}

static void test_idmap__splitting_may_need_memory(void **state)
{
    struct fixture *f = *state;
    struct allot_id *d = with_ids(state, 0, ID_MAX);

    assert_int_equal(take(d, ID_MAX, 1), 0);
    f->meta.fail_always = 1;
    assert_int_equal(ops->dealloc_id(d, 12345, 1), ALLOT_E_NO_MEMORY);
    assert_int_equal(ops->used(d), ID_MAX);
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

static void test_idmap__dumps_runs_in_order(void **state)
{
    struct allot_id *d = with_ids(state, 5, 100000);
    struct seen s = {0};

    assert_int_equal(ops->add_memory(d, ID_MAX - 5, 5), 0);
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
    assert_int_equal(s.start[3], ID_MAX - 5);
    assert_int_equal(s.size[3], 5);
}

/* The face of the allocator for random runs. */

static void *face_create(struct test_meta *meta)
{
    struct allot_id *d = NULL;

    return ops->create(&meta->meta, &d) ? NULL : d;
}

static void face_destroy(void *a)
{
    ops->destroy(a);
}

static int face_add(void *a, uint64_t start, uint64_t n)
{
    return ops->add_memory(a, start, n);
}

static int face_alloc(void *a, uint64_t n, uint64_t align, uint64_t *ret)
{
    return ops->alloc_id(a, n, align, ret);
}

static int face_alloc_at(void *a, uint64_t start, uint64_t n)
{
    return ops->alloc_fixed_id(a, start, n);
}

static int face_free(void *a, uint64_t start, uint64_t n)
{
    return ops->dealloc_id(a, start, n);
}

static bool face_is_used(void *a, uint64_t unit)
{
    return ops->is_allocated(a, unit);
}

static uint64_t face_longest(void *a)
{
    return ops->largest_free(a);
}

static uint64_t face_total(void *a)
{
    return ops->size(a);
}

static uint64_t face_used(void *a)
{
    return ops->used(a);
}

static int face_check(void *a)
{
    return ops->check(a);
}

static int face_dump(void *a, allot_visit_fn *visit, void *ctx)
{
    return ops->dump(a, visit, ctx);
}

static const struct model_face face = {
    .create = face_create,
    .destroy = face_destroy,
    .add = face_add,
    .alloc = face_alloc,
    .alloc_at = face_alloc_at,
    .free = face_free,
    .is_used = face_is_used,
    .longest = face_longest,
    .total = face_total,
    .used = face_used,
    .check = face_check,
    .dump = face_dump,
    .unit = 1,
};

static void test_idmap__random_runs(void **state)
{
    (void)state;
    model_play_all(&face, ID_MAX, 600000, 400000, test_seed(0x1d0001));
}

static void test_idmap__failing_metadata(void **state)
{
    uint64_t refusals = 0, seed = test_seed(0x1d0002);

    (void)state;
    refusals += model_play_faults(&face, (struct model_place){.units = 60, .scale = 1}, seed);
    refusals += model_play_faults(&face, (struct model_place){3, 200, 1ULL << 24, 12345}, seed);
    refusals +=
        model_play_faults(&face, (struct model_place){(1ULL << 20) - 100, 200, 4096, 1}, seed);
    assert_true(refusals > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idmap__create_without_memory),
        cmocka_unit_test_setup_teardown(test_idmap__manages_nothing_at_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__takes_the_lowest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__lowest_below_the_one_just_freed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_idmap__aligns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__finds_the_only_aligned_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__huge_alignment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__zero_is_managed_when_added, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__fixed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__fixed_refuses_the_unmanaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__refuses_bad_counts_and_alignments, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_idmap__frees_exactly, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__adds_and_merges, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__grows_over_a_free_subtree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__init_forgets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__large_spaces_are_cheap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__giving_back_needs_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__splitting_may_need_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idmap__dumps_runs_in_order, setup, teardown),
        cmocka_unit_test(test_idmap__random_runs),
        cmocka_unit_test(test_idmap__failing_metadata),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
