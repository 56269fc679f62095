/* SPDX-License-Identifier: MIT */
/*
 * The bitmap ID allocator: the contract of runs, and what only IDs have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run_test.h"

#define ID_MAX (1ULL << 48)

static void test_idmap__tells_what_is_allocated(void **state)
{
    const struct allot_id_ops *ops = &allot_bitmap_ids;
    struct test_meta meta;
    struct allot_id *d;

    (void)state;
    test_meta_init(&meta);
    assert_int_equal(ops->create(&meta.meta, &d), 0);
    assert_false(ops->is_allocated(d, 0));
    assert_int_equal(ops->init(d, 10, ID_MAX / 2), 0);
    assert_int_equal(ops->alloc_fixed_id(d, 10, 50000), 0);
    assert_int_equal(ops->dealloc_id(d, 600, 20000), 0);
    assert_false(ops->is_allocated(d, 9));
    assert_true(ops->is_allocated(d, 10));
    assert_true(ops->is_allocated(d, 599));
    assert_false(ops->is_allocated(d, 600));
    assert_false(ops->is_allocated(d, 20599));
    assert_true(ops->is_allocated(d, 20600));
    assert_false(ops->is_allocated(d, 50010));
    assert_false(ops->is_allocated(d, ID_MAX / 2 + 10));
    assert_false(ops->is_allocated(d, UINT64_MAX));
    assert_int_equal(ops->init(d, 0, 100), 0);
    assert_false(ops->is_allocated(d, 10));
    ops->destroy(d);
    assert_int_equal(meta.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idmap__tells_what_is_allocated),
    };

    return run_contract(&allot_bitmap_ids, ID_MAX) + cmocka_run_group_tests(tests, NULL, NULL);
}
