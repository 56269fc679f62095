/* SPDX-License-Identifier: MIT */
/*
 * The alignment helpers: their values, their ends, and that the macros are constant expressions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <allot/align.h>

#include "support.h"

_Static_assert(ALLOT_IS_POW2(4096ULL), "a constant expression");
_Static_assert(ALLOT_ALIGN_UP(4097ULL, 4096ULL) == 8192, "a constant expression");
_Static_assert(ALLOT_ALIGN_DOWN(4097ULL, 4096ULL) == 4096, "a constant expression");
_Static_assert(ALLOT_IS_ALIGNED(8192ULL, 4096ULL), "a constant expression");

static void test_align__powers_of_two(void **state)
{
    (void)state;
    assert_false(ALLOT_IS_POW2(0ULL));
    assert_true(ALLOT_IS_POW2(1ULL));
    assert_true(ALLOT_IS_POW2(2ULL));
    for (unsigned i = 2; i < 64; i++) {
        assert_true(ALLOT_IS_POW2(1ULL << i));
        assert_false(ALLOT_IS_POW2((1ULL << i) + 1));
        assert_false(ALLOT_IS_POW2((1ULL << i) - 1));
    }
    assert_false(ALLOT_IS_POW2(UINT64_MAX));
}

static void test_align__ends(void **state)
{
    uint64_t got = 3;

    (void)state;
    assert_true(allot_align_up(0, 1ULL << 63, &got));
    assert_int_equal(got, 0);
    assert_true(allot_align_up(1, 1ULL << 63, &got));
    assert_int_equal(got, 1ULL << 63);
    assert_true(allot_align_up(1ULL << 63, 1ULL << 63, &got));
    assert_int_equal(got, 1ULL << 63);
    assert_true(allot_align_up(UINT64_MAX, 1, &got));
    assert_int_equal(got, UINT64_MAX);
    assert_true(allot_align_up(UINT64_MAX - 7, 8, &got));
    assert_int_equal(got, UINT64_MAX - 7);
    assert_int_equal(ALLOT_ALIGN_DOWN(UINT64_MAX, 1ULL << 63), 1ULL << 63);
}

static void test_align__overflow_is_told(void **state)
{
    uint64_t got = 3;

    (void)state;
    assert_false(allot_align_up(UINT64_MAX, 2, &got));
    assert_false(allot_align_up(UINT64_MAX - 6, 8, &got));
    assert_false(allot_align_up((1ULL << 63) + 1, 1ULL << 63, &got));
    assert_int_equal(got, 3);
}

static void test_align__against_division(void **state)
{
    uint64_t seed = test_seed(0xa1161);
    struct test_random random;

    (void)state;
    test_random_init(&random, seed);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t align = 1ULL << test_random_below(&random, 32);
        uint64_t x = test_random_next(&random) >> 1, up = 0;
        uint64_t down = x / align * align;

        assert_int_equal(ALLOT_ALIGN_DOWN(x, align), down);
        assert_true(allot_align_up(x, align, &up));
        assert_int_equal(up, down == x ? x : down + align);
        assert_int_equal(ALLOT_ALIGN_UP(x, align), up);
        assert_int_equal(ALLOT_IS_ALIGNED(x, align), down == x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_align__powers_of_two),
        cmocka_unit_test(test_align__ends),
        cmocka_unit_test(test_align__overflow_is_told),
        cmocka_unit_test(test_align__against_division),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
