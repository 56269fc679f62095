/* SPDX-License-Identifier: MIT */
/*
 * The growers: each line of grower.h's contract, for all three.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <allot/align.h>
#include <allot/grower.h>

#define G ALLOT_GROWER_GRANULE

static unsigned char *bytes_at(uint64_t start)
{
    return (unsigned char *)(uintptr_t)start;
}

static bool is_zero(uint64_t start, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++) {
        if (bytes_at(start)[i])
            return false;
    }
    return true;
}

static bool is_mapped(uint64_t start)
{
    unsigned char resident;

    return !mincore(bytes_at(start), 1, &resident);
}

static void test_grower__maps_zero_memory_at_any_alignment(void **state)
{
    struct allot_grower *g = *state;

    for (uint64_t align = 1; align <= UINT64_C(1) << 30; align *= 2) {
        uint64_t start;

        assert_int_equal(g->ops->grow(g, 2 * G, align, &start), 0);
        assert_true(ALLOT_IS_ALIGNED(start, align));
        assert_true(is_zero(start, 2 * G));
        memset(bytes_at(start), 0xa5, 2 * G);
        assert_int_equal(g->ops->shrink(g, start, 2 * G), 0);
        assert_false(is_mapped(start));
        assert_false(is_mapped(start + 2 * G - 4096));
    }
}

static unsigned long mapped_pages(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    return pages;
}

/* An alignment is made by mapping more: what is not asked for must not stay. */
static void test_grower__keeps_nothing_beside_an_aligned_range(void **state)
{
    struct allot_grower *g = *state;
    unsigned long before = (mapped_pages(), mapped_pages());
    uint64_t start;

    assert_int_equal(g->ops->grow(g, G, UINT64_C(1) << 30, &start), 0);
    assert_int_equal(mapped_pages(), before + G / (uint64_t)sysconf(_SC_PAGESIZE));
    assert_int_equal(g->ops->shrink(g, start, G), 0);
    assert_int_equal(mapped_pages(), before);
}

static void test_grower__refuses_bad_requests(void **state)
{
    struct allot_grower *g = *state;
    uint64_t start = 7;

    assert_int_equal(g->ops->grow(g, 0, 1, &start), ALLOT_E_INVALID);
    assert_int_equal(g->ops->grow(g, g->ops->granule + 1, 1, &start), ALLOT_E_INVALID);
    assert_int_equal(g->ops->grow(g, g->ops->granule, 0, &start), ALLOT_E_INVALID);
    assert_int_equal(g->ops->grow(g, g->ops->granule, 48, &start), ALLOT_E_INVALID);
    assert_int_equal(g->ops->grow(g, UINT64_C(1) << 62, 1, &start), ALLOT_E_INVALID);
    assert_int_equal(g->ops->grow(g, g->ops->granule, UINT64_C(1) << 62, &start), ALLOT_E_INVALID);
    assert_int_equal(g->ops->grow(g, UINT64_C(1) << 60, 1, &start), ALLOT_E_NO_MEMORY);
    assert_int_equal(start, 7);
}

static void test_grower__gives_back_a_part(void **state)
{
    struct allot_grower *g = *state;
    uint64_t start;

    assert_int_equal(g->ops->grow(g, 4 * G, G, &start), 0);
    memset(bytes_at(start), 1, 4 * G);
    assert_int_equal(g->ops->shrink(g, start + G, 2 * G), 0);
    assert_int_equal(*bytes_at(start + G - 1), 1);
    assert_int_equal(*bytes_at(start + 3 * G), 1);
    assert_false(is_mapped(start + G));
    assert_int_equal(g->ops->shrink(g, start, G), 0);
    assert_int_equal(g->ops->shrink(g, start + 3 * G, G), 0);
}

static void test_grower__resizes_with_contents(void **state)
{
    struct allot_grower *g = *state;
    uint64_t start;

    assert_int_equal(g->ops->grow(g, G, 1, &start), 0);
    memset(bytes_at(start), 9, G);
    assert_int_equal(g->ops->resize(g, start, G, 64 * G, &start), 0);
    assert_int_equal(*bytes_at(start + G - 1), 9);
    assert_true(is_zero(start + G, 63 * G));
    assert_int_equal(g->ops->resize(g, start, 64 * G, UINT64_C(1) << 60, &start),
                     ALLOT_E_NO_MEMORY);
    assert_int_equal(*bytes_at(start), 9);
    assert_int_equal(g->ops->shrink(g, start, 64 * G), 0);
}

static void test_grower__discards_to_zero(void **state)
{
    struct allot_grower *g = *state;
    uint64_t start;

    assert_int_equal(g->ops->grow(g, 3 * G, G, &start), 0);
    memset(bytes_at(start), 9, 3 * G);
    assert_int_equal(g->ops->discard(g, start + G, G), 0);
    assert_int_equal(*bytes_at(start + G - 1), 9);
    assert_true(is_zero(start + G, G));
    assert_int_equal(*bytes_at(start + 2 * G), 9);
    assert_int_equal(g->ops->shrink(g, start, 3 * G), 0);
}

static void test_grower__tells_what_the_system_refuses(void **state)
{
    struct allot_grower *g = *state;
    uint64_t start;

    assert_int_equal(g->ops->grow(g, G, 1, &start), 0);
    *bytes_at(start) = 9;
    assert_int_equal(g->ops->shrink(g, start + 1, G), ALLOT_E_NO_MEMORY);
    assert_int_equal(g->ops->discard(g, start + 1, G), ALLOT_E_NO_MEMORY);
    assert_int_equal(*bytes_at(start), 9);
    assert_int_equal(g->ops->shrink(g, start, G), 0);
}

static void test_grower__fixed_stays_in_its_buffer(void **state)
{
    static unsigned char buffer[1001];
    struct allot_grower_fixed fixed;
    struct allot_grower *g = &fixed.base;
    uint64_t start, end = (uintptr_t)buffer + sizeof(buffer), left;

    (void)state;
    allot_grower_fixed_init(&fixed, buffer + 1, sizeof(buffer) - 1);
    assert_int_equal(g->ops->grow(g, 16, 256, &start), 0);
    assert_true(ALLOT_IS_ALIGNED(start, 256) && start > (uintptr_t)buffer);
    left = fixed.end - fixed.next;
    assert_int_equal(g->ops->grow(g, left + 16, 1, &start), ALLOT_E_NO_MEMORY);
    assert_int_equal(g->ops->grow(g, left, 1, &start), 0);
    assert_true(start + left <= end && start + left > end - 16);
    assert_int_equal(g->ops->grow(g, 16, 1, &start), ALLOT_E_NO_MEMORY);
    assert_int_equal(g->ops->grow(g, 17, 1, &start), ALLOT_E_INVALID);
    assert_null(g->ops->shrink);
}

static void test_grower__fixed_may_be_too_small_for_anything(void **state)
{
    static _Alignas(16) unsigned char buffer[32];
    struct allot_grower_fixed fixed;
    uint64_t start;

    (void)state;
    for (size_t size = 0; size <= 16; size++) {
        allot_grower_fixed_init(&fixed, buffer + 1, size);
        assert_int_equal(fixed.base.ops->grow(&fixed.base, 16, 1, &start), ALLOT_E_NO_MEMORY);
    }
}

#define FOR_BOTH(name)                                                                             \
    {"raw: " #name, name, NULL, NULL, &allot_grower_raw},                                          \
    {                                                                                              \
        "libc: " #name, name, NULL, NULL, &allot_grower_libc                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        FOR_BOTH(test_grower__maps_zero_memory_at_any_alignment),
        FOR_BOTH(test_grower__keeps_nothing_beside_an_aligned_range),
        FOR_BOTH(test_grower__refuses_bad_requests),
        FOR_BOTH(test_grower__gives_back_a_part),
        FOR_BOTH(test_grower__resizes_with_contents),
        FOR_BOTH(test_grower__discards_to_zero),
        FOR_BOTH(test_grower__tells_what_the_system_refuses),
        cmocka_unit_test(test_grower__fixed_stays_in_its_buffer),
        cmocka_unit_test(test_grower__fixed_may_be_too_small_for_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
