/* SPDX-License-Identifier: MIT */
/*
 * Metadata memory over a grower: pieces of all sizes keep their contents, over a grower that can
 * resize, one that cannot, and a fixed buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "meta.h"
#include "support.h"

/* The raw grower, with few ranges and one that does not resize. */

static unsigned grows_left;

static int few_grow(struct allot_grower *g, uint64_t size, uint64_t align, uint64_t *ret)
{
    (void)g;
    if (!grows_left)
        return ALLOT_E_NO_MEMORY;
    grows_left--;
    return allot_grower_raw.ops->grow(&allot_grower_raw, size, align, ret);
}

static int raw_shrink(struct allot_grower *g, uint64_t start, uint64_t size)
{
    (void)g;
    return allot_grower_raw.ops->shrink(&allot_grower_raw, start, size);
}

static int refuse_resize(struct allot_grower *g, uint64_t start, uint64_t size, uint64_t new_size,
                         uint64_t *ret)
{
    (void)g;
    (void)start;
    (void)size;
    (void)new_size;
    (void)ret;
    return ALLOT_E_NO_MEMORY;
}

static const struct allot_grower_ops plain_ops = {
    .granule = ALLOT_GROWER_GRANULE, .grow = few_grow, .shrink = raw_shrink};
static const struct allot_grower_ops stiff_ops = {.granule = ALLOT_GROWER_GRANULE,
                                                  .grow = few_grow,
                                                  .shrink = raw_shrink,
                                                  .resize = refuse_resize};

static unsigned char *resized(struct allot_local_meta *m, unsigned char *p, size_t old_size,
                              size_t new_size)
{
    p = meta_resize(m, p, old_size, new_size);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 16, 0);
    if (old_size) {
        assert_int_equal(p[0], 0x5a);
        assert_int_equal(p[(old_size < new_size ? old_size : new_size) - 1], 0x5a);
    }
    memset(p, 0x5a, new_size);
    return p;
}

/* Small and large, up and down, across the size from which a piece has a range of its own. */
static void resize_often(struct allot_grower *grower)
{
    struct allot_local_meta m;
    unsigned char *p = NULL, *beside;
    size_t size = 0;

    grows_left = UINT32_MAX;
    meta_init(&m, grower);
    beside = resized(&m, NULL, 0, 100);
    for (unsigned i = 0; i < 200; i++) {
        size_t want = 1 + i * i * 7919u % 500000;

        p = resized(&m, p, size, want);
        size = want;
    }
    p = resized(&m, p, size, 100000);
    assert_ptr_equal(resized(&m, p, 100000, 100001), p);
    p = resized(&m, p, 100001, 50);
    assert_ptr_equal(resized(&m, p, 50, 60), p);
    assert_int_equal(beside[99], 0x5a);
    assert_null(meta_resize(&m, p, 60, 0));
    assert_null(meta_resize(&m, beside, 100, 0));
    assert_ptr_equal(meta_resize(&m, NULL, 0, 64), p); /* used again */
    meta_deinit(&m);
}

static void test_meta__resizes_with_contents(void **state)
{
    struct allot_grower plain = {&plain_ops}, stiff = {&stiff_ops};

    (void)state;
    resize_often(&allot_grower_raw);
    resize_often(&plain);
    resize_often(&stiff);
}

static void test_meta__what_is_refused_stays_as_it_was(void **state)
{
    const struct allot_grower_ops *const ops[] = {&plain_ops, &stiff_ops};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct allot_grower grower = {ops[i]};
        struct allot_local_meta m;
        unsigned char *p, *large;

        meta_init(&m, &grower);
        grows_left = 0;
        assert_null(meta_resize(&m, NULL, 0, 16));
        grows_left = 2;
        p = resized(&m, NULL, 0, 16);
        large = resized(&m, NULL, 0, 100000);
        assert_null(meta_resize(&m, p, 16, 200000));
        assert_null(meta_resize(&m, large, 100000, 300000));
        assert_int_equal(p[15], 0x5a);
        assert_int_equal(large[99999], 0x5a);
        assert_null(meta_resize(&m, NULL, 0, 0));
        assert_null(meta_resize(&m, NULL, 0, (size_t)1 << 62));
        assert_null(meta_resize(&m, NULL, 0, (size_t)1 << 50));
        assert_null(meta_resize(&m, large, 100000, 0));
        meta_deinit(&m);
    }
}

static void test_meta__lives_in_a_buffer(void **state)
{
    static _Alignas(16) unsigned char buffer[4096];
    struct allot_grower_fixed fixed;
    struct allot_local_meta m;
    unsigned char *p;

    (void)state;
    allot_grower_fixed_init(&fixed, buffer, sizeof(buffer));
    meta_init(&m, &fixed.base);
    p = resized(&m, NULL, 0, 100);
    p = resized(&m, p, 100, 2000);
    assert_null(meta_resize(&m, p, 2000, 4000));
    assert_int_equal(p[1999], 0x5a);
    meta_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meta__resizes_with_contents),
        cmocka_unit_test(test_meta__what_is_refused_stays_as_it_was),
        cmocka_unit_test(test_meta__lives_in_a_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
