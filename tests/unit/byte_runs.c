/* SPDX-License-Identifier: MIT */
/*
 * Long runs: random ones against the model, and the workloads of the originals' own tests.
 */
#include "byte_suite.h"

#define OPS subject.ops

#define STEPS 150000 /* of each run; each allocator has eight */

static void run_all(const struct byte_model_plan *plans, unsigned count, uint64_t seed)
{
    for (unsigned i = 0; i < count; i++)
        assert_true(byte_model_run(&subject, &plans[i], test_seed(seed + i), steps_scaled(STEPS)));
}

static void test_byte__small_spaces_against_the_model(void **state)
{
    static const struct byte_model_plan plans[] = {
        {.space = 256 * 16, .size_max = 256 * 16, .align_max = 4096, .live_max = 256},
        {.base = (UINT64_C(1) << 62) + 5,
         .space = 256 * 16,
         .size_max = 256 * 16,
         .align_max = UINT64_C(1) << 30,
         .live_max = 256},
        {.space = 3 * 32768, .size_max = 3 * 32768, .align_max = 65536, .live_max = 256},
        {.base = 4099, .space = 4 * 32768, .size_max = 500, .align_max = 256, .live_max = 256},
    };

    (void)state;
    run_all(plans, sizeof(plans) / sizeof(plans[0]), 0xb17e);
}

static void test_byte__large_spaces_against_the_model(void **state)
{
    static const struct byte_model_plan plans[] = {
        {.base = 4099,
         .space = UINT64_C(1) << 32,
         .size_max = 1 << 24,
         .align_max = UINT64_C(1) << 30,
         .live_max = 3000},
        /* Often full. */
        {.space = 1 << 21, .size_max = 1 << 21, .align_max = 1 << 20, .live_max = 3000},
        {.space = 1 << 21, .size_max = 8192, .align_max = 256, .live_max = 3000},
        {.space = UINT64_C(1) << 63,
         .size_max = UINT64_C(1) << 63,
         .align_max = UINT64_C(1) << 30,
         .live_max = 3000},
    };

    (void)state;
    run_all(plans, sizeof(plans) / sizeof(plans[0]), 0xb16);
}

/* The crate's test of alignments: 2^0 … 2^15 times [1, 2) bytes at 2^0 … 2^7, freed at random, in
 * 50 rounds. */
static void test_byte__workload_of_random_sizes_and_alignments(void **state)
{
    static const struct byte_model_plan plan = {.space = 128 << 20};
    uint64_t seed = test_seed(0x9E3779B97F4A7C15);
    struct byte_model *m = byte_model_open(&subject, &plan, seed);
    struct test_random r;
    bool fine = byte_model_add_memory(m, 0, plan.space);

    (void)state;
    test_random_init(&r, seed);
    for (unsigned round = 0; fine && round < 50; round++) {
        for (unsigned i = 0; fine && i < 64; i++) {
            uint64_t size = UINT64_C(1) << test_random_below(&r, 16);

            size += test_random_below(&r, size);
            fine = byte_model_alloc(m, size, UINT64_C(1) << test_random_below(&r, 8));
        }
        for (unsigned left = byte_model_live(m) / 2; fine && left; left--)
            fine = byte_model_dealloc(m, (unsigned)test_random_below(&r, byte_model_live(m)));
        fine = fine && byte_model_compare(m);
    }
    assert_true(byte_model_close(m, fine));
}

/* The small allocator's: 128 slots, each filled or emptied, and everything valid after each step.
 */
static void test_byte__workload_of_128_slots(void **state)
{
    static const struct byte_model_plan plan = {.space = 65536};
    uint64_t seed = test_seed(0x9E3779B97F4A7C15);
    struct byte_model *m = byte_model_open(&subject, &plan, seed);
    struct test_random r;
    bool fine = byte_model_add_memory(m, 0, plan.space);

    (void)state;
    test_random_init(&r, seed);
    for (unsigned step = 0; fine && step < 10240; step++) {
        unsigned slot = (unsigned)test_random_below(&r, 128);
        uint64_t size = (1 + test_random_below(&r, 32)) * (1 + test_random_below(&r, 32));

        if (slot < byte_model_live(m))
            fine = byte_model_dealloc(m, slot);
        else
            fine = byte_model_alloc(m, size, UINT64_C(1) << test_random_below(&r, 5));
        fine = fine && byte_model_compare(m);
    }
    assert_true(byte_model_close(m, fine));
}

static void free_in_random_order(struct allot_byte *b, uint64_t size, uint64_t count)
{
    uint64_t *pos = calloc(count, sizeof(*pos)), seed = test_seed(0x9E3779B97F4A7C15);
    struct test_random r;

    assert_non_null(pos);
    test_random_init(&r, seed);
    assert_int_equal(OPS->init(b, 0, 128 << 20), 0);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(OPS->alloc(b, size, 8, &pos[i]), 0);
    check(b);
    for (uint64_t left = count; left; left--) {
        uint64_t k = test_random_below(&r, left);

        assert_int_equal(OPS->dealloc(b, pos[k], size, 8), 0);
        pos[k] = pos[left - 1];
        if (left % 1000 == 0)
            check(b);
    }
    assert_int_equal(OPS->used_bytes(b), 0);
    assert_int_equal(OPS->largest_free(b), 128 << 20);
    free(pos);
}

/* The crate's collections. */
static void test_byte__workload_of_vectors_freed_in_random_order(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    free_in_random_order(b, 512, 30000);
    free_in_random_order(b, 4160, 7500);
}

/* A vector of 3,000,000 numbers that doubles when it is full, in place or by moving. */
static void test_byte__workload_of_one_growing_vector(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t size = 32, pos = 0, next;

    assert_int_equal(OPS->init(b, 0, 128 << 20), 0);
    assert_int_equal(OPS->alloc(b, size, 8, &pos), 0);
    for (; size < 3000000 * 8; size *= 2) {
        if (OPS->realloc(b, pos, size, 8, 2 * size) == 0)
            continue;
        assert_int_equal(OPS->alloc(b, 2 * size, 8, &next), 0);
        assert_int_equal(OPS->dealloc(b, pos, size, 8), 0);
        pos = next;
        check(b);
    }
    assert_int_equal(OPS->used_bytes(b), size);
    assert_int_equal(OPS->dealloc(b, pos, size, 8), 0);
    assert_int_equal(OPS->largest_free(b), 128 << 20);
}

int byte_runs_run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte__small_spaces_against_the_model),
        cmocka_unit_test(test_byte__large_spaces_against_the_model),
        cmocka_unit_test(test_byte__workload_of_random_sizes_and_alignments),
        cmocka_unit_test(test_byte__workload_of_128_slots),
        CASE(test_byte__workload_of_vectors_freed_in_random_order),
        CASE(test_byte__workload_of_one_growing_vector),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
