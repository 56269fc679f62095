/* SPDX-License-Identifier: MIT */
/*
 * That check() finds damage, for each allocator: every word of its metadata is changed in several
 * ways, one at a time, and check() must come to an end and tell most. Where an index leads out of
 * its array, a signal tells it; so this is nothing for a sanitizer.
 *
 * Some words say nothing: what was given back and is not used again yet, and where to search first.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include <allot/byte.h>
#include <allot/id.h>

#include "support.h"

#define BLOCKS 64
#define FRESH  0xa5a5a5a5u /* what test_meta_resize() leaves where nothing was written */

/* The provider of support.h, which remembers what is out. */
struct memory {
    struct test_meta meta;
    struct {
        void *start;
        size_t size;
    } block[BLOCKS];
};

static void *memory_resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    struct memory *m = ctx;
    void *fresh = test_meta_resize(&m->meta, ptr, old_size, new_size);
    unsigned i = 0;

    while (m->block[i].start != ptr)
        assert_true(++i < BLOCKS);
    m->block[i].start = fresh;
    m->block[i].size = new_size;
    return fresh;
}

/* Another value is a wild pointer, which nothing can survive. User space ends at 2^47. */
static bool is_pointer(const void *at)
{
    uint64_t value;

    memcpy(&value, (const void *)((uintptr_t)at & ~(uintptr_t)7), sizeof(value));
    return value >> 44 >= 5 && value >> 44 < 8;
}

struct subject {
    struct memory memory;
    struct allot_meta provider;
    int (*check)(const void *allocator);
    const void *allocator;
};

static void subject_init(struct subject *s)
{
    test_meta_init(&s->memory.meta);
    s->provider = (struct allot_meta){memory_resize, &s->memory};
}

/* Where an index leads out of its array: told by a signal. */
static sigjmp_buf out_of_check;

static void leave_check(int number)
{
    siglongjmp(out_of_check, number);
}

static bool is_told(const struct subject *s)
{
    return sigsetjmp(out_of_check, 1) || s->check(s->allocator);
}

static void damage(struct subject *s, uint32_t *word, unsigned *told, unsigned *untold)
{
    const uint32_t was = *word;
    const uint32_t damaged[] = {was + 1, was - 1, was ^ 1u << 31, was ^ 64, 0, UINT32_MAX};

    for (unsigned i = 0; i < sizeof(damaged) / sizeof(*damaged); i++) {
        if (damaged[i] == was)
            continue;
        *word = damaged[i];
        if (is_told(s))
            ++*told;
        else
            ++*untold;
    }
    *word = was;
}

static void find_damage(struct subject *s)
{
    void (*handler)(int) = signal(SIGSEGV, leave_check);
    unsigned told = 0, untold = 0;

    assert_int_equal(s->check(s->allocator), 0);
    alarm(120); /* a check without end is a failure */
    for (unsigned i = 0; i < BLOCKS; i++) {
        uint32_t *word = s->memory.block[i].start, *end = word + s->memory.block[i].size / 4;

        for (; word < end; word++) {
            if (!is_pointer(word) && *word != FRESH)
                damage(s, word, &told, &untold);
        }
    }
    alarm(0);
    signal(SIGSEGV, handler);
    assert_int_equal(s->check(s->allocator), 0);
    print_message("damage told %u times, not told %u times\n", told, untold);
    assert_true(untold < told / 4);
}

static int byte_check(const void *allocator)
{
    const struct allot_byte *b = allocator;

    return b->ops->check(b);
}

/* Blocks of all sizes, some of them freed, in two ranges. */
static void find_byte_damage(struct subject *s, struct allot_byte *b)
{
    const struct allot_byte_ops *ops = b->ops;
    uint64_t pos[300];

    s->check = byte_check;
    s->allocator = b;
    assert_int_equal(ops->add_memory(b, 1 << 20, 1 << 20), 0);
    assert_int_equal(ops->add_memory(b, 1 << 22, 1 << 20), 0);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(ops->alloc(b, 1u << i % 14, 1u << i % 5, &pos[i]), 0);
    for (unsigned i = 0; i < 300; i += 3)
        assert_int_equal(ops->dealloc(b, pos[i], 1u << i % 14, 1u << i % 5), 0);
    find_damage(s);
    ops->destroy(b);
    assert_int_equal(s->memory.meta.bytes, 0);
}

static void test_check__finds_damage_in_byte_allocators(void **state)
{
    const struct allot_byte_ops *const all[] = {&allot_tlsf, &allot_buddy, &allot_first_fit};

    (void)state;
    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        struct subject s = {0};
        struct allot_byte *b;

        subject_init(&s);
        assert_int_equal(all[i]->create(&s.provider, &b), 0);
        find_byte_damage(&s, b);
    }
}

static void test_check__finds_damage_in_slabs(void **state)
{
    struct subject s = {0};
    struct allot_byte *b;

    (void)state;
    subject_init(&s);
    assert_int_equal(allot_slab_create(&s.provider, &allot_first_fit, &b), 0);
    find_byte_damage(&s, b);
}

static int id_check(const void *allocator)
{
    const struct allot_id *d = allocator;

    return d->ops->check(d);
}

/* Long runs, short ones and a hot leaf. */
static void test_check__finds_damage_in_bitmaps(void **state)
{
    const struct allot_id_ops *ops = &allot_bitmap_ids;
    struct subject s = {.check = id_check};
    struct allot_id *d;
    uint64_t first;

    (void)state;
    subject_init(&s);
    assert_int_equal(ops->create(&s.provider, &d), 0);
    s.allocator = d;
    assert_int_equal(ops->add_memory(d, 100, 1 << 20), 0);
    assert_int_equal(ops->add_memory(d, 1 << 30, 12345), 0);
    for (uint64_t at = 1000; at < 200000; at += 10000)
        assert_int_equal(ops->alloc_fixed_id(d, at, at / 20), 0);
    assert_int_equal(ops->dealloc_id(d, 21000, 700), 0);
    find_damage(&s);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(ops->alloc_id(d, 1, 1, &first), 0);
    find_damage(&s);
    ops->destroy(d);
    assert_int_equal(s.memory.meta.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check__finds_damage_in_byte_allocators),
        cmocka_unit_test(test_check__finds_damage_in_slabs),
        cmocka_unit_test(test_check__finds_damage_in_bitmaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
