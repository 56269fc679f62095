/* SPDX-License-Identifier: MIT */
/* Sums per key, against an array of all keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support.h"
#include "tally.h"

#define KEYS  97u
#define STEPS 300000u

static int setup(void **state)
{
    struct tally *t = malloc(sizeof(*t));

    assert_int_equal(tally_init(t), 0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    tally_deinit(*state);
    free(*state);
    return 0;
}

static void test_tally__a_key_goes_with_its_last_allocation(void **state)
{
    struct tally *t = *state;

    assert_true(tally_reserve(t));
    tally_add(t, UINT32_MAX, 10, 0);
    tally_add(t, UINT32_MAX, 0, 3);
    tally_resize(t, UINT32_MAX, 10, 25);
    struct tally_entry e = tally_get(t, UINT32_MAX);
    assert_int_equal(e.allocations, 2);
    assert_int_equal(e.bytes, 25);
    assert_int_equal(e.ids, 3);
    tally_remove(t, UINT32_MAX, 25, 0);
    assert_int_equal(t->count, 1);
    tally_remove(t, UINT32_MAX, 0, 3);
    assert_int_equal(t->count, 0);
    assert_int_equal(tally_get(t, UINT32_MAX).allocations, 0);
}

/* A place reserved stays one however many others are added to keys that are there. */
static void test_tally__never_fills_up(void **state)
{
    struct tally *t = *state;

    for (uint32_t key = 0; key < 10000; key++) {
        assert_true(tally_reserve(t));
        tally_add(t, key, 1, 0);
        assert_true(t->count < t->capacity);
    }
    assert_true(t->capacity < 4 * t->count);
    for (uint32_t key = 0; key < 10000; key++)
        tally_remove(t, key, 1, 0);
    assert_int_equal(t->count, 0);
}

/* Where the key's entry is in a table that has no other. */
static size_t home_of(struct tally *t, uint32_t key)
{
    size_t at = 0;

    tally_add(t, key, 0, 0);
    while (!t->entries[at].allocations)
        at++;
    tally_remove(t, key, 0, 0);
    return at;
}

/* Keys are users' to choose, and must not be chosen so that they all lie in a row. */
static void test_tally__keys_that_collide_elsewhere(void **state)
{
    struct tally *t = *state;
    struct tally other;
    unsigned count = 0;
    unsigned run = 0;
    unsigned longest = 0;

    assert_int_equal(tally_init(&other), 0);
    while (t->capacity < 256)
        assert_true(tally_grow(t) && tally_grow(&other));
    for (uint32_t key = 0; count < 150; key++) {
        if (home_of(t, key) >= 4)
            continue;
        tally_add(&other, key, 0, 0);
        count++;
    }
    for (size_t i = 0; i < other.capacity; i++) {
        run = other.entries[i].allocations ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    assert_true(longest < count * 3 / 4);
    tally_deinit(&other);
}

static void test_tally__lists_in_parts(void **state)
{
    struct tally *t = *state;
    struct tally_entry found[8];
    uint64_t from = 0;
    uint32_t expected = 0;

    /* A step that is coprime to the number of keys: added out of order. */
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(tally_reserve(t));
        tally_add(t, i * 387 % 1000 * 3, i + 1, 0);
    }
    for (size_t n; (n = tally_list(t, from, found, 8)) > 0; from = (uint64_t)found[n - 1].key + 1)
        for (size_t i = 0; i < n; i++, expected++)
            assert_int_equal(found[i].key, expected * 3);
    assert_int_equal(expected, 1000);
    assert_true(tally_reserve(t));
    tally_add(t, UINT32_MAX, 1, 0);
    assert_int_equal(tally_list(t, UINT32_MAX, found, 8), 1);
    assert_int_equal(tally_list(t, (uint64_t)UINT32_MAX + 1, found, 8), 0);
}

/* Keys that share a home, so that removal has chains to mend, also across the table's end. */
static void test_tally__random_run(void **state)
{
    struct tally *t = *state;
    struct tally_entry model[KEYS] = {0};
    struct tally_entry found[KEYS];
    uint64_t seed = test_seed(0x7a11);
    struct test_random random;

    test_random_init(&random, seed);
    for (uint32_t i = 0; i < KEYS; i++)
        model[i].key = i < KEYS / 2 ? i : (uint32_t)test_random_next(&random);
    for (unsigned step = 0; step < STEPS; step++) {
        /* Waves: now few keys, now all of them. */
        uint64_t keys = step / 4096 % 2 ? KEYS : 11;
        struct tally_entry *m = &model[test_random_below(&random, keys)];
        if (m->allocations && test_random_below(&random, 2)) {
            bool last = m->allocations == 1;
            uint64_t bytes = last ? m->bytes : test_random_below(&random, m->bytes + 1);
            uint64_t ids = last ? m->ids : test_random_below(&random, m->ids + 1);
            tally_remove(t, m->key, bytes, ids);
            m->allocations--;
            m->bytes -= bytes;
            m->ids -= ids;
        } else if (m->allocations && test_random_below(&random, 4) == 0) {
            uint64_t old = test_random_below(&random, m->bytes + 1);
            uint64_t new = test_random_below(&random, 1000);
            tally_resize(t, m->key, old, new);
            m->bytes = m->bytes - old + new;
        } else {
            uint64_t bytes = test_random_below(&random, 1000);
            uint64_t ids = test_random_below(&random, 10);
            assert_true(tally_reserve(t));
            tally_add(t, m->key, bytes, ids);
            m->allocations++;
            m->bytes += bytes;
            m->ids += ids;
        }
        size_t live = 0;
        bool same = true;
        for (uint32_t i = 0; i < KEYS; i++) {
            struct tally_entry e = tally_get(t, model[i].key);
            live += model[i].allocations > 0;
            same = same && e.allocations == model[i].allocations &&
                   (!e.allocations || (e.bytes == model[i].bytes && e.ids == model[i].ids));
        }
        if (!same || t->count != live || tally_list(t, 0, found, KEYS) != live) {
            test_seed_print(seed);
            fail_msg("step %u: the sums are not those of the model", step);
        }
    }
}

#define tally_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        tally_test(test_tally__a_key_goes_with_its_last_allocation),
        tally_test(test_tally__never_fills_up),
        tally_test(test_tally__keys_that_collide_elsewhere),
        tally_test(test_tally__lists_in_parts),
        tally_test(test_tally__random_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
