/* SPDX-License-Identifier: MIT */
/*
 * Buddy: what is asked of any byte allocator, and what follows from blocks being powers of two.
 */
#include "byte_suite.h"

#define OPS (&allot_buddy)

const struct byte_traits subject = {
    .ops = &allot_buddy,
    .places = BYTE_POWERS,
    .block_metadata_max = 44,
};

static void test_buddy__rounds_to_powers_of_two(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t used = 0, usable, pos;

    assert_int_equal(OPS->init(b, 0, 1 << 20), 0);
    for (uint64_t size = 1; size <= 5000; size = size * 3 / 2 + 1) {
        uint64_t block = 16;

        while (block < size)
            block *= 2;
        pos = alloc(b, size, 1);
        assert_int_equal(pos % block, 0);
        assert_int_equal(OPS->usable_size(b, pos, &usable), 0);
        assert_int_equal(usable, block);
        used += block;
        assert_int_equal(OPS->used_bytes(b), used);
    }
    assert_int_equal(OPS->usable_size(b, pos + 16, &usable), ALLOT_E_NOT_ALLOCATED);
}

/* Blocks that only belong together by their absolute positions, in ranges that came apart; the
 * original never merges across ranges. */
static void test_buddy__touching_ranges_merge_into_larger_blocks(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos;

    assert_int_equal(OPS->add_memory(b, 3 * 4096, 4096), 0);
    assert_int_equal(OPS->add_memory(b, 0, 4096), 0);
    assert_int_equal(OPS->add_memory(b, 2 * 4096, 4096), 0);
    assert_int_equal(OPS->largest_free(b), 2 * 4096);
    pos = alloc(b, 4097, 1);
    assert_int_equal(pos, 2 * 4096);
    assert_int_equal(OPS->add_memory(b, 4096, 4096), 0);
    check(b);
    assert_int_equal(OPS->dealloc(b, pos, 4097, 1), 0);
    assert_int_equal(OPS->largest_free(b), 4 * 4096);
    assert_int_equal(OPS->init(b, 16, 992), 0);
    assert_int_equal(OPS->add_memory(b, 1008, 16), 0);
    assert_int_equal(OPS->largest_free(b), 512);
    assert_int_equal(OPS->add_memory(b, 0, 16), 0);
    assert_int_equal(OPS->largest_free(b), 1024);
    check(b);
}

/* A block never moves, so it must be the lower half at each step up. */
static void test_buddy__realloc_uses_the_upper_buddies(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 0, 1024), 0);
    assert_int_equal(OPS->claim(b, 32, 16, 1), 0);
    assert_int_equal(OPS->realloc(b, 32, 16, 1, 32), 0);
    assert_int_equal(OPS->realloc(b, 32, 32, 1, 33), ALLOT_E_NO_MEMORY);
    assert_int_equal(alloc(b, 16, 1), 0);
    assert_int_equal(OPS->realloc(b, 0, 16, 1, 32), 0);
    assert_int_equal(OPS->realloc(b, 0, 32, 1, 33), ALLOT_E_NO_MEMORY);
    check(b);
    assert_int_equal(OPS->dealloc(b, 32, 32, 1), 0);
    assert_int_equal(OPS->realloc(b, 0, 32, 1, 513), 0);
    check(b);
    assert_int_equal(OPS->used_bytes(b), 1024);
    assert_int_equal(OPS->realloc(b, 0, 1024, 1, 17), 0);
    check(b);
    assert_int_equal(OPS->used_bytes(b), 32);
    assert_int_equal(OPS->largest_free(b), 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_byte__an_aligned_request_tries_a_bounded_number),
        CASE(test_buddy__rounds_to_powers_of_two),
        CASE(test_buddy__touching_ranges_merge_into_larger_blocks),
        CASE(test_buddy__realloc_uses_the_upper_buddies),
    };

    return byte_suite_run() + cmocka_run_group_tests(tests, NULL, NULL);
}
