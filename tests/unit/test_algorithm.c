/* SPDX-License-Identifier: MIT */
/*
 * The implementations by name. The build tells by ALLOT_TLSF and its like which of them it has.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <allot/algorithm.h>

static void assert_byte(const char *name, int built)
{
    const struct allot_byte_ops *ops = NULL;

    assert_int_equal(allot_byte_find(name, &ops), built ? 0 : ALLOT_E_NOT_BUILT);
    if (built)
        assert_string_equal(ops->name, name);
    else
        assert_null(ops);
}

static void test_algorithm__bytes(void **state)
{
    const struct allot_byte_ops *ops = NULL;

    (void)state;
    assert_byte("tlsf", ALLOT_TLSF);
    assert_byte("first-fit", ALLOT_FIRST_FIT);
    assert_byte("buddy", ALLOT_BUDDY);
    assert_byte("slab", ALLOT_SLAB);
    assert_int_equal(allot_byte_find("bitmap", &ops), ALLOT_E_INVALID);
    assert_int_equal(allot_byte_find("tls", &ops), ALLOT_E_INVALID);
    assert_int_equal(allot_byte_find("tlsf2", &ops), ALLOT_E_INVALID);
    assert_int_equal(allot_byte_find("", &ops), ALLOT_E_INVALID);
    assert_null(ops);
}

static void test_algorithm__default_is_the_first(void **state)
{
    const struct allot_byte_ops *ops = NULL;
    const char *expected = ALLOT_TLSF        ? "tlsf"
                           : ALLOT_FIRST_FIT ? "first-fit"
                           : ALLOT_BUDDY     ? "buddy"
                           : ALLOT_SLAB      ? "slab"
                                             : NULL;

    (void)state;
    assert_int_equal(allot_byte_find(NULL, &ops), expected ? 0 : ALLOT_E_NOT_BUILT);
    if (expected)
        assert_string_equal(ops->name, expected);
}

static void test_algorithm__pages_and_ids(void **state)
{
    const struct allot_page_ops *pages = NULL;
    const struct allot_id_ops *ids = NULL;

    (void)state;
    assert_int_equal(allot_page_find("bitmap", &pages), ALLOT_BITMAP_PAGES ? 0 : ALLOT_E_NOT_BUILT);
    assert_int_equal(!pages, !ALLOT_BITMAP_PAGES);
    assert_int_equal(allot_page_find(NULL, &pages), ALLOT_BITMAP_PAGES ? 0 : ALLOT_E_NOT_BUILT);
    assert_int_equal(allot_page_find("tlsf", &pages), ALLOT_E_INVALID);
    assert_int_equal(allot_id_find("bitmap", &ids), ALLOT_BITMAP_IDS ? 0 : ALLOT_E_NOT_BUILT);
    assert_int_equal(!ids, !ALLOT_BITMAP_IDS);
    assert_int_equal(allot_id_find(NULL, &ids), ALLOT_BITMAP_IDS ? 0 : ALLOT_E_NOT_BUILT);
    assert_int_equal(allot_id_find("bitmaps", &ids), ALLOT_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_algorithm__bytes),
        cmocka_unit_test(test_algorithm__default_is_the_first),
        cmocka_unit_test(test_algorithm__pages_and_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
