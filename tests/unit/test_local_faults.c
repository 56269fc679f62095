/* SPDX-License-Identifier: MIT */
/*
 * The local heap where its grower refuses: whatever is refused, and when, blocks keep their
 * contents, and in the end everything goes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <allot/local.h>

#include "picky.h"
#include "support.h"

#define MIB (1u << 20)

static const struct allot_byte_ops *const algorithms[] = {&allot_tlsf, &allot_buddy, &allot_slab,
                                                          &allot_first_fit};
#define ALGORITHMS (sizeof(algorithms) / sizeof(*algorithms))

struct fixture {
    struct picky grower;
    struct allot_local heap;
};

static void fixture_init(struct fixture *f, const struct allot_byte_ops *ops)
{
    *f = (struct fixture){.grower.base.ops = &picky_ops};
    assert_int_equal(allot_local_init(&f->heap, ops, &f->grower.base), 0);
}

static void fixture_deinit(struct fixture *f)
{
    assert_int_equal(f->heap.bytes->ops->check(f->heap.bytes), 0);
    allot_local_deinit(&f->heap);
    assert_int_equal(f->grower.out, 0);
}

#define SLOTS 3000

struct slot {
    unsigned char *p;
    size_t size;
};

static void slot_fill(struct slot *s)
{
    s->p[0] = s->p[s->size - 1] = (unsigned char)s->size;
}

static void slot_check(const struct slot *s)
{
    assert_int_equal(s->p[0], (unsigned char)s->size);
}

/* Fills all slots, resizes all, frees all. What is refused leaves its slot as it was. */
static void work(struct allot_local *h)
{
    static struct slot slots[SLOTS];

    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *s = &slots[i];
        int err;

        s->size = 1 + i % 100 * (i % 97);
        err = allot_local_alloc(h, s->size, 16, (void **)&s->p);
        if (err) {
            assert_int_equal(err, ALLOT_E_NO_MEMORY);
            s->p = NULL;
        } else {
            slot_fill(s);
        }
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *s = &slots[i];
        size_t size = 1 + i % 89 * (i % 103);
        int err;

        if (!s->p)
            continue;
        slot_check(s);
        err = allot_local_realloc(h, s->p, size, (void **)&s->p);
        slot_check(s);
        if (err) {
            assert_int_equal(err, ALLOT_E_NO_MEMORY);
        } else {
            s->size = size;
            slot_fill(s);
        }
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (slots[i].p) {
            slot_check(&slots[i]);
            assert_int_equal(allot_local_free(h, slots[i].p), 0);
        }
    }
}

static void test_local_faults__survives_each_refusal_of_growth(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ALGORITHMS; i++) {
        bool refused = true;

        for (unsigned nth = 1; refused; nth++) {
            struct fixture f = {.grower = {.base.ops = &picky_ops, .refuse_nth = nth}};
            int err = allot_local_init(&f.heap, algorithms[i], &f.grower.base);

            refused = f.grower.refused;
            if (err) {
                assert_int_equal(err, ALLOT_E_NO_MEMORY);
                assert_true(refused);
                assert_int_equal(f.grower.out, 0);
                continue;
            }
            work(&f.heap);
            refused = f.grower.refused;
            assert_true(refused || nth > 3);
            fixture_deinit(&f);
        }
    }
}

static void test_local_faults__works_within_a_limit(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ALGORITHMS; i++) {
        struct fixture f;

        fixture_init(&f, algorithms[i]);
        f.grower.limit = 3 * MIB;
        work(&f.heap);
        assert_true(f.grower.refused);
        fixture_deinit(&f);
    }
}

static void test_local_faults__keeps_what_the_grower_does_not_take(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ALGORITHMS; i++) {
        struct fixture f;
        uint64_t out;
        void *p;

        fixture_init(&f, algorithms[i]);
        f.grower.refuse_shrink = true;
        assert_int_equal(allot_local_alloc(&f.heap, 16 * MIB, 16, &p), 0);
        out = f.grower.out;
        assert_int_equal(allot_local_free(&f.heap, p), 0);
        assert_int_equal(f.grower.out, out);
        f.grower.limit = out;
        assert_int_equal(allot_local_alloc(&f.heap, 16 * MIB, 16, &p), 0);
        f.grower.refuse_shrink = false;
        fixture_deinit(&f);
    }
}

static void test_local_faults__clears_what_is_not_discarded(void **state)
{
    struct fixture f;
    unsigned char *p, *again;
    size_t used = 0;

    (void)state;
    fixture_init(&f, &allot_tlsf);
    f.grower.refuse_discard = true;
    f.grower.refuse_shrink = true;
    assert_int_equal(allot_local_alloc(&f.heap, 4 * MIB, 16, (void **)&p), 0);
    memset(p, 0xff, 4 * MIB);
    assert_int_equal(allot_local_free(&f.heap, p), 0);
    assert_int_equal(allot_local_zalloc(&f.heap, 4 * MIB, 16, (void **)&again), 0);
    assert_ptr_equal(again, p); /* or this would prove nothing */
    assert_int_equal(f.grower.discards, 1);
    for (size_t i = 0; i < 4 * MIB; i++)
        used += p[i];
    assert_int_equal(used, 0);
    f.grower.refuse_shrink = false;
    fixture_deinit(&f);
}

static void test_local_faults__grows_before_it_must(void **state)
{
    struct fixture f;
    void *p;

    (void)state;
    fixture_init(&f, &allot_tlsf);
    assert_int_equal(allot_local_grow(&f.heap, 0), ALLOT_E_INVALID);
    assert_int_equal(allot_local_grow(&f.heap, SIZE_MAX), ALLOT_E_NO_MEMORY);
    assert_int_equal(allot_local_grow(&f.heap, SIZE_MAX / 2), ALLOT_E_NO_MEMORY);
    assert_int_equal(allot_local_grow(&f.heap, 5 * MIB), 0);
    f.grower.limit = f.grower.out;
    assert_int_equal(allot_local_alloc(&f.heap, 5 * MIB, 16, &p), 0);
    assert_int_equal(allot_local_realloc(&f.heap, p, SIZE_MAX, &p), ALLOT_E_INVALID);
    fixture_deinit(&f);
}

/* A slab cannot make a slot smaller, and there is no other: the old one is kept. */
static void test_local_faults__shrinks_without_memory(void **state)
{
    struct fixture f;
    void *p, *slot;

    (void)state;
    fixture_init(&f, &allot_slab);
    f.grower.limit = 3 * MIB;
    assert_int_equal(allot_local_alloc(&f.heap, 8192, 16, &slot), 0);
    for (size_t size = 8192; size; size /= 2) {
        while (!allot_local_alloc(&f.heap, size, 16, &p))
            ;
    }
    assert_int_equal(allot_local_realloc(&f.heap, slot, 100, &p), 0);
    assert_ptr_equal(p, slot);
    assert_int_equal(allot_local_realloc(&f.heap, slot, 9000, &p), ALLOT_E_NO_MEMORY);
    fixture_deinit(&f);
}

static void test_local_faults__handle_takes_all_or_nothing(void **state)
{
    static _Alignas(4096) unsigned char buffer[1 << 17];
    struct allot_local_handle *handle = NULL;
    struct allot_grower_fixed fixed;
    void *p;

    (void)state;
    for (unsigned i = 0; i < ALGORITHMS; i++) {
        struct picky grower = {.base.ops = &picky_ops};

        for (unsigned nth = 1; nth <= 2; nth++) {
            grower.refuse_nth = nth;
            assert_int_equal(allot_local_handle_new(algorithms[i], &grower.base, &handle),
                             ALLOT_E_NO_MEMORY);
            assert_null(handle);
            assert_int_equal(grower.out, 0);
        }
    }
    /* A buffer takes nothing back. */
    allot_grower_fixed_init(&fixed, buffer, 1024);
    assert_int_equal(allot_local_handle_new(&allot_tlsf, &fixed.base, &handle), ALLOT_E_NO_MEMORY);
    allot_grower_fixed_init(&fixed, buffer, sizeof(buffer));
    assert_int_equal(allot_local_handle_new(&allot_tlsf, &fixed.base, &handle), 0);
    assert_int_equal(
        allot_local_locked_zalloc(allot_local_handle_heap(handle), sizeof(buffer), 1, &p),
        ALLOT_E_NO_MEMORY);
    assert_null(allot_local_handle_unref(handle));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_local_faults__survives_each_refusal_of_growth),
        cmocka_unit_test(test_local_faults__works_within_a_limit),
        cmocka_unit_test(test_local_faults__keeps_what_the_grower_does_not_take),
        cmocka_unit_test(test_local_faults__clears_what_is_not_discarded),
        cmocka_unit_test(test_local_faults__grows_before_it_must),
        cmocka_unit_test(test_local_faults__shrinks_without_memory),
        cmocka_unit_test(test_local_faults__handle_takes_all_or_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
