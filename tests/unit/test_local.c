/* SPDX-License-Identifier: MIT */
/*
 * The local heap: its contract, over every grower; random runs with the contents of every block
 * compared; and everything going back to the grower in the end.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <allot/algorithm.h>
#include <allot/align.h>
#include <allot/local.h>

#include "picky.h"
#include "support.h"

struct fixture {
    struct picky grower;
    struct allot_local heap;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    f->grower.base.ops = &picky_ops;
    *state = f;
    return allot_local_init(&f->heap, &allot_tlsf, &f->grower.base);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    uint64_t out;

    allot_local_deinit(&f->heap);
    out = f->grower.out;
    free(f);
    return out ? -1 : 0;
}

#define SLOTS 512

struct slot {
    unsigned char *p;
    size_t size;
    unsigned char mark;
};

static void slot_check(const struct slot *s)
{
    size_t wrong = 0;

    for (size_t i = 0; i < s->size; i++)
        wrong += s->p[i] != s->mark;
    assert_int_equal(wrong, 0);
}

static void test_local__gives_unique_blocks_for_nothing(void **state)
{
    struct allot_local *h = &((struct fixture *)*state)->heap;
    void *a, *b;

    assert_int_equal(allot_local_alloc(h, 0, 1, &a), 0);
    assert_int_equal(allot_local_alloc(h, 0, 1, &b), 0);
    assert_ptr_not_equal(a, b);
    assert_int_equal(allot_local_free(h, a), 0);
    assert_int_equal(allot_local_free(h, b), 0);
}

static void test_local__tells_what_is_not_allocated(void **state)
{
    struct allot_local *h = &((struct fixture *)*state)->heap;
    unsigned char *a;
    size_t size;
    void *b;

    assert_int_equal(allot_local_alloc(h, 100, 16, (void **)&a), 0);
    assert_int_equal(allot_local_free(h, a + 16), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(allot_local_realloc(h, a + 16, 5, &b), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(allot_local_usable_size(h, a + 1, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(allot_local_free(h, state), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(allot_local_free_sized(h, a, 90, 16), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(allot_local_free_sized(h, a, 100, 16), 0);
    assert_int_equal(allot_local_free_sized(h, a, 100, 16), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(allot_local_free(h, a), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(allot_local_alloc(h, 1, 3, &b), ALLOT_E_INVALID);
}

/* free() knows neither size nor alignment; what it takes for them must be the block's own. */
static void test_local__frees_whatever_its_size_and_alignment(void **state)
{
    static const char *const names[] = {"tlsf", "first-fit", "buddy", "slab"};

    (void)state;
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct allot_byte_ops *ops;
        struct allot_local h;
        void *p;

        if (allot_byte_find(names[i], &ops))
            continue; /* left out of this build */
        assert_int_equal(allot_local_init(&h, ops, &allot_grower_raw), 0);
        for (size_t align = 1; align <= 1 << 20; align *= 2) {
            for (size_t size = 1; size < 100000; size += size / 16 + 1) {
                assert_int_equal(allot_local_alloc(&h, size, align, &p), 0);
                assert_int_equal(allot_local_realloc(&h, p, size, &p), 0);
                assert_int_equal(allot_local_free(&h, p), 0);
            }
        }
        allot_local_deinit(&h);
    }
}

static void test_local__clears_what_was_used_before(void **state)
{
    struct allot_local *h = &((struct fixture *)*state)->heap;

    for (size_t size = 1; size < 8 << 20; size = size * 3 + 1) {
        unsigned char *p;
        void *before;

        assert_int_equal(allot_local_alloc(h, size, 16, (void **)&p), 0);
        memset(p, 0xff, size);
        before = p;
        assert_int_equal(allot_local_free(h, p), 0);
        assert_int_equal(allot_local_zalloc(h, size, 16, (void **)&p), 0);
        if (size < 1 << 20)
            assert_ptr_equal(p, before); /* or this would prove nothing */
        slot_check(&(struct slot){p, size, 0});
        assert_int_equal(allot_local_free(h, p), 0);
    }
}

static void test_local__gives_large_runs_back(void **state)
{
    struct fixture *f = *state;
    void *block[32], *small;

    assert_int_equal(allot_local_alloc(&f->heap, 100, 16, &small), 0);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(allot_local_alloc(&f->heap, 4 << 20, 16, &block[i]), 0);
    assert_true(f->grower.out >= UINT64_C(128) << 20);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(allot_local_free(&f->heap, block[i]), 0);
    assert_true(f->grower.out <= UINT64_C(4) << 20);
    assert_int_equal(allot_local_free(&f->heap, small), 0);
}

/* The runs that stayed while much was used go, too, when little is used any more. */
static void test_local__gives_scattered_runs_back(void **state)
{
    struct fixture *f = *state;
    void *block[16], *wall[16];

    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(allot_local_alloc(&f->heap, (16 << 20) + 65536, 16, &block[i]), 0);
        assert_int_equal(allot_local_realloc(&f->heap, block[i], 16 << 20, &block[i]), 0);
        assert_int_equal(allot_local_alloc(&f->heap, 65536, 16, &wall[i]), 0);
    }
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(allot_local_free(&f->heap, block[i]), 0);
    assert_true(f->grower.out <= UINT64_C(12) << 20);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(allot_local_free(&f->heap, wall[i]), 0);
}

static void come_and_go(struct fixture *f, size_t size)
{
    void *block;

    assert_int_equal(allot_local_alloc(&f->heap, size, 16, &block), 0);
    assert_int_equal(allot_local_free(&f->heap, block), 0);
}

/* A loop does not map and unmap for ever, and yet what stays is bounded. */
static void test_local__keeps_what_is_wanted_again(void **state)
{
    struct fixture *f = *state;
    uint64_t out;
    void *block;

    for (unsigned i = 0; i < 8; i++)
        come_and_go(f, 16 << 20);
    out = f->grower.out;
    assert_int_equal(allot_local_alloc(&f->heap, 16 << 20, 16, &block), 0);
    assert_int_equal(f->grower.out, out);
    assert_int_equal(allot_local_free(&f->heap, block), 0);
    assert_int_equal(f->grower.out, out);
    for (unsigned i = 0; i < 8; i++)
        come_and_go(f, 256 << 20);
    assert_true(f->grower.out <= UINT64_C(68) << 20);
}

/* Dropping the pages of a block that will be written to costs far more than clearing them. */
static void test_local__drops_the_pages_of_fresh_blocks_only(void **state)
{
    struct fixture *f = *state;
    void *again, *fresh;

    for (unsigned i = 0; i < 8; i++)
        come_and_go(f, 16 << 20);
    assert_int_equal(allot_local_zalloc(&f->heap, 16 << 20, 16, &again), 0);
    assert_int_equal(f->grower.discards, 0);
    assert_int_equal(allot_local_zalloc(&f->heap, 256 << 20, 16, &fresh), 0);
    assert_int_equal(f->grower.discards, 1);
    assert_int_equal(allot_local_free(&f->heap, again), 0);
    assert_int_equal(allot_local_free(&f->heap, fresh), 0);
}

/* Refused growth is halved, and what cannot be had leaves all as it was. */
static void test_local__takes_less_where_little_is_left(void **state)
{
    struct fixture *f = *state;
    struct allot_local_stats before, after;
    void *a, *b;

    f->grower.limit = f->grower.out + 4 * ALLOT_GROWER_GRANULE;
    assert_int_equal(allot_local_alloc(&f->heap, 3 * ALLOT_GROWER_GRANULE, 16, &a), 0);
    allot_local_measure(&f->heap, &before);
    assert_int_equal(allot_local_alloc(&f->heap, 4 * ALLOT_GROWER_GRANULE, 16, &b),
                     ALLOT_E_NO_MEMORY);
    assert_int_equal(allot_local_realloc(&f->heap, a, 8 * ALLOT_GROWER_GRANULE, &b),
                     ALLOT_E_NO_MEMORY);
    assert_int_equal(allot_local_alloc(&f->heap, SIZE_MAX, 16, &b), ALLOT_E_INVALID);
    assert_int_equal(allot_local_alloc(&f->heap, SIZE_MAX / 2, 16, &b), ALLOT_E_NO_MEMORY);
    allot_local_measure(&f->heap, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(f->heap.bytes->ops->check(f->heap.bytes), 0);
}

static void run(struct allot_local *h, uint64_t seed, unsigned steps, uint64_t size_max)
{
    static struct slot slots[SLOTS];
    struct test_random r;

    memset(slots, 0, sizeof(slots));
    test_random_init(&r, seed);
    for (unsigned i = 0; i < steps; i++) {
        struct slot *s = &slots[test_random_below(&r, SLOTS)];
        size_t size = test_random_below(&r, test_random_below(&r, size_max) + 1);
        size_t align = (size_t)1 << test_random_below(&r, 14);
        void *p;
        int err;

        slot_check(s);
        if (s->p && test_random_below(&r, 2)) {
            err = allot_local_realloc(h, s->p, size, &p);
            if (err) {
                assert_int_equal(err, ALLOT_E_NO_MEMORY);
                continue;
            }
            s->p = p;
            s->size = s->size < size ? s->size : size;
            slot_check(s);
        } else {
            if (s->p)
                assert_int_equal(allot_local_free(h, s->p), 0);
            s->p = NULL;
            s->size = 0;
            err = allot_local_alloc(h, size, align, &p);
            if (err) {
                assert_int_equal(err, ALLOT_E_NO_MEMORY);
                continue;
            }
            assert_true(ALLOT_IS_ALIGNED((uintptr_t)p, align));
            s->p = p;
        }
        s->size = size;
        s->mark = (unsigned char)test_random_next(&r);
        memset(s->p, s->mark, size);
        if (i % 64 == 0) {
            struct allot_local_validity v;

            assert_int_equal(h->bytes->ops->check(h->bytes), 0);
            allot_local_validate(h, &v);
            assert_int_equal(v.overlaps + v.adjacents + v.out_of_order, 0);
        }
    }
}

static void test_local__keeps_contents(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = test_seed(0x9E3779B97F4A7C15u);

    test_seed_print(seed);
    run(&f->heap, seed, 40000, 1 << 16);
    run(&f->heap, seed, 2000, 4 << 20);
}

static void test_local__lives_in_a_fixed_buffer(void **state)
{
    static _Alignas(4096) unsigned char buffer[1 << 20];
    struct allot_grower_fixed fixed;
    struct allot_local h;

    (void)state;
    memset(buffer, 0, sizeof(buffer));
    allot_grower_fixed_init(&fixed, buffer, sizeof(buffer));
    assert_int_equal(allot_local_init(&h, &allot_tlsf, &fixed.base), 0);
    run(&h, test_seed(5), 40000, 4096);
    allot_local_deinit(&h);
    allot_grower_fixed_init(&fixed, buffer, 64);
    assert_int_equal(allot_local_init(&h, &allot_tlsf, &fixed.base), ALLOT_E_NO_MEMORY);
}

static void test_local__tells_itself_as_text(void **state)
{
    struct allot_local *h = &((struct fixture *)*state)->heap;
    const struct allot_local_validity bad = {1, 20, UINT64_MAX};
    struct allot_local_stats stats;
    char text[128], short_text[10];
    void *a, *b, *c;

    assert_int_equal(allot_local_alloc(h, 160, 16, &a), 0);
    assert_int_equal(allot_local_alloc(h, 16, 16, &b), 0);
    assert_int_equal(allot_local_alloc(h, 16, 16, &c), 0);
    assert_int_equal(allot_local_free(h, a), 0);
    allot_local_measure(h, &stats);
    assert_int_equal(stats.length, 2);
    assert_int_equal(stats.used, 32);
    assert_int_equal(stats.size, stats.total - 32);
    stats.size = 1048544;
    allot_local_stats_text(&stats, text, sizeof(text));
    assert_string_equal(text, "length: 2, size: 1048544");
    allot_local_validity_text(&bad, text, sizeof(text));
    assert_string_equal(text, "overlaps: 1, adjacents: 20, out of order: 18446744073709551615");
    allot_local_validity_text(&bad, short_text, sizeof(short_text));
    assert_string_equal(short_text, "overlaps:");
}

struct heard {
    unsigned of[ALLOT_LOCAL_REFUSE + 1];
};

static void hear(void *ctx, enum allot_local_event event, uint64_t start, uint64_t size)
{
    (void)start;
    assert_true(size > 0);
    ((struct heard *)ctx)->of[event]++;
}

static void test_local__traces(void **state)
{
    struct allot_local *h = &((struct fixture *)*state)->heap;
    struct heard heard = {{0}};
    void *a;

#ifdef ALLOT_NO_TRACE
    skip();
#endif
    h->trace = hear;
    h->trace_ctx = &heard;
    assert_int_equal(allot_local_alloc(h, 8 << 20, 16, &a), 0);
    assert_int_equal(allot_local_realloc(h, a, 100, &a), 0);
    assert_int_equal(allot_local_free(h, a), 0);
    assert_int_equal(allot_local_alloc(h, SIZE_MAX / 2, 16, &a), ALLOT_E_NO_MEMORY);
    for (unsigned i = 0; i <= ALLOT_LOCAL_REFUSE; i++)
        assert_int_equal(heard.of[i], 1);
}

#define THREADS 4

static void *churn(void *arg)
{
    struct allot_local_handle *handle = arg;
    struct allot_local_locked *heap = allot_local_handle_heap(handle);
    struct test_random r;
    uint64_t *block[64] = {NULL};
    uintptr_t bad = 0;

    test_random_init(&r, (uintptr_t)&r);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t **p = &block[test_random_below(&r, 64)];
        size_t words = 1 + test_random_below(&r, 200);

        if (*p) {
            bad += **p != (uintptr_t)p;
            bad += !!allot_local_locked_free(heap, *p);
            *p = NULL;
        } else if (allot_local_locked_alloc(heap, 8 * words, 16, (void **)p)) {
            bad++;
        } else {
            **p = (uintptr_t)p;
            (*p)[words - 1] = (uintptr_t)p;
        }
    }
    for (unsigned i = 0; i < 64; i++)
        bad += block[i] && allot_local_locked_free(heap, block[i]);
    allot_local_handle_unref(handle);
    return (void *)bad;
}

static void test_local__handle_ends_with_its_last_thread(void **state)
{
    struct picky grower = {.base.ops = &picky_ops};
    struct allot_local_handle *handle;
    pthread_t thread[THREADS];
    uint64_t own;

    (void)state;
    assert_int_equal(allot_local_handle_new(&allot_tlsf, &grower.base, &handle), 0);
    own = grower.out;
    assert_true(own > 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, churn, allot_local_handle_ref(handle)),
                         0);
    assert_null(allot_local_handle_unref(handle));
    for (unsigned i = 0; i < THREADS; i++) {
        void *bad;

        assert_int_equal(pthread_join(thread[i], &bad), 0);
        assert_null(bad);
    }
    assert_int_equal(grower.out, 0);
    assert_null(allot_local_handle_unref(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_local__gives_unique_blocks_for_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_local__tells_what_is_not_allocated, setup, teardown),
        cmocka_unit_test(test_local__frees_whatever_its_size_and_alignment),
        cmocka_unit_test_setup_teardown(test_local__clears_what_was_used_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local__gives_large_runs_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local__gives_scattered_runs_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local__keeps_what_is_wanted_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local__drops_the_pages_of_fresh_blocks_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_local__takes_less_where_little_is_left, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_local__keeps_contents, setup, teardown),
        cmocka_unit_test(test_local__lives_in_a_fixed_buffer),
        cmocka_unit_test_setup_teardown(test_local__tells_itself_as_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local__traces, setup, teardown),
        cmocka_unit_test(test_local__handle_ends_with_its_last_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
