/* SPDX-License-Identifier: MIT */
/*
 * The table of what a process holds: against a plain array at random, and what happens while an
 * answer of the daemon is awaited.
 */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "held.h"
#include "support.h"

#define PLACES 3000u
#define STEPS  400000u

static struct held held;

static int setup(void **state)
{
    (void)state;
    held_init(&held);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(held.promised, 0);
    held_deinit(&held);
    return 0;
}

static void put(uint64_t place, uint64_t generation, uint64_t size)
{
    struct allot_ticket t = {place, generation};

    assert_true(held_promise(&held, 1));
    held_put(&held, &t, size);
}

struct model {
    uint64_t generation; /* 0: not held */
    uint64_t size;
    unsigned taken;
    bool frozen;
};

/* Places in a row and such as share a home. */
static uint64_t place_of(unsigned i)
{
    return i % 2 ? 16 * (uint64_t)i : ((uint64_t)i + 1) << 40;
}

static void test_held__random_run(void **state)
{
    static struct model model[PLACES];
    uint64_t seed = test_seed(0x4e1d);
    struct test_random random;
    uint64_t generation = 1;
    size_t count = 0;
    size_t frozen = 0;

    (void)state;
    test_random_init(&random, seed);
    fprintf(stderr, "seed 0x%" PRIx64 "\n", seed);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)test_random_below(&random, PLACES);
        struct model *m = &model[i];
        struct allot_ticket t = {place_of(i), m->generation};
        uint64_t size = 0;
        bool fill = step / 50000 % 2 == 0;
        assert_true(held_generation(&held, t.place) == m->generation);
        assert_true(held_is_frozen(&held, t.place) == m->frozen);
        assert_int_equal(held.frozen, frozen);
        assert_false(held_has_other_size(&held, t.place, m->size));
        assert_true(held_has_other_size(&held, t.place, m->size + 1) == (m->generation != 0));
        if (!m->generation) {
            if (!fill && test_random_below(&random, 4))
                continue;
            *m = (struct model){.generation = generation++, .size = step, .taken = 1};
            t.generation = m->generation;
            if (test_random_below(&random, 2)) {
                put(t.place, t.generation, m->size);
            } else {
                assert_int_equal(held_take(&held, &t, -1, &size), HELD_ASK);
                held_resize(&held, t.place, m->size);
                held_settle(&held, &t, true);
            }
            count++;
        } else if (fill && test_random_below(&random, 2)) {
            assert_int_equal(held_take(&held, &t, -1, &size), HELD_DONE);
            assert_true(size == m->size);
            m->taken++;
            if (test_random_below(&random, 4) == 0) {
                held_freeze(&held, &t);
                frozen += !m->frozen;
                m->frozen = true;
            }
            t.generation++;
            held_freeze(&held, &t); /* of something else */
            assert_int_equal(held_take(&held, &t, -1, &size), HELD_WRONG);
        } else {
            assert_int_equal(held_give(&held, &t, m->size + 1), HELD_WRONG);
            m->taken--;
            assert_int_equal(held_give(&held, &t, test_random_below(&random, 2) ? m->size : 0),
                             m->taken ? HELD_DONE : HELD_ASK);
            if (m->taken)
                continue;
            held_settle(&held, &t, false);
            frozen -= m->frozen;
            m->frozen = false;
            m->generation = 0;
            count--;
        }
        assert_int_equal(held.count, count);
    }
}

static void test_held__the_unknown_is_the_daemons_to_judge(void **state)
{
    struct allot_ticket t = {160, 7};
    uint64_t size;

    (void)state;
    assert_int_equal(held_give(&held, &t, 0), HELD_OTHER);
    put(160, 7, 100);
    assert_int_equal(held_give(&held, &t, 0), HELD_ASK);
    assert_int_equal(held_give(&held, &t, 0), HELD_OTHER); /* freed twice at once */
    held_settle(&held, &t, true);                          /* the daemon did not take it */
    assert_int_equal(held_take(&held, &t, -1, &size), HELD_DONE);
    assert_int_equal(held_give(&held, &t, 0), HELD_DONE);
    assert_int_equal(held_give(&held, &t, 0), HELD_ASK);
    held_settle(&held, &t, false);
    assert_int_equal(held_give(&held, &t, 0), HELD_OTHER);
}

/* The place is granted anew before the old giving back is settled here: the new one stays. */
static void test_held__granted_anew_while_under_way(void **state)
{
    struct allot_ticket old = {160, 7};

    (void)state;
    put(160, 7, 100);
    held_freeze(&held, &old);
    assert_int_equal(held_give(&held, &old, 0), HELD_ASK);
    put(160, 8, 200);
    assert_false(held_is_frozen(&held, 160));
    assert_int_equal(held.frozen, 0);
    held_settle(&held, &old, false);
    assert_true(held_generation(&held, 160) == 8);
    struct allot_ticket fresh = {160, 8};
    assert_int_equal(held_give(&held, &fresh, 200), HELD_ASK);
    held_settle(&held, &fresh, false);
}

static bool found(const struct allot_ticket *t, uint64_t size, uint64_t mark)
{
    assert_true(held_promise(&held, 1));
    return held_found(&held, t, size, mark, -1);
}

static void test_held__found_by_the_daemon(void **state)
{
    struct allot_ticket t = {160, 7};
    struct allot_ticket newer = {160, 9};
    uint64_t size;

    (void)state;
    uint64_t mark = held_mark(&held);
    assert_true(found(&t, 100, mark));
    assert_true(found(&t, 100, mark));
    assert_int_equal(held.count, 1);
    assert_int_equal(held_take(&held, &t, -1, &size), HELD_DONE);
    assert_true(size == 100);
    assert_int_equal(held_give(&held, &t, 0), HELD_DONE);
    assert_int_equal(held_give(&held, &t, 0), HELD_DONE);
    assert_true(found(&t, 100, mark)); /* all that was given back was counted only */
    assert_int_equal(held_give(&held, &t, 0), HELD_DONE);

    /* The last one goes between the question and its answer, or is on its way before: this process
     * may not hold it any more. */
    mark = held_mark(&held);
    assert_int_equal(held_give(&held, &t, 0), HELD_ASK);
    uint64_t later = held_mark(&held);
    held_settle(&held, &t, false);
    assert_false(found(&t, 100, mark));
    assert_false(found(&t, 100, later));
    assert_int_equal(held.count, 0);

    /* What was granted at its place since is newer, and what was there before is over. */
    put(160, 9, 50);
    assert_false(found(&t, 100, held_mark(&held)));
    assert_true(held_generation(&held, 160) == 9);
    assert_true(found(&(struct allot_ticket){160, 11}, 100, held_mark(&held)));
    assert_true(held_generation(&held, 160) == 11);
    assert_int_equal(held_give(&held, &newer, 0), HELD_WRONG);
    assert_int_equal(held.count, 1);
}

static void *take(void *ctx)
{
    uint64_t size;

    return (void *)(uintptr_t)held_take(&held, ctx, -1, &size);
}

/* Who takes again what another thread is giving back asks after that is settled, not before. */
static void test_held__taking_waits_for_a_giving_back(void **state)
{
    struct allot_ticket t = {160, 7};
    pthread_t thread;
    void *step;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        put(160, 7, 100);
        assert_int_equal(held_give(&held, &t, 0), HELD_ASK);
        assert_int_equal(pthread_create(&thread, NULL, take, &t), 0);
        held_settle(&held, &t, false);
        assert_int_equal(pthread_join(thread, &step), 0);
        assert_int_equal((uintptr_t)step, HELD_ASK);
        held_settle(&held, &t, false);
        assert_int_equal(held.count, 0);
    }
}

#define held_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        held_test(test_held__random_run),
        held_test(test_held__the_unknown_is_the_daemons_to_judge),
        held_test(test_held__granted_anew_while_under_way),
        held_test(test_held__found_by_the_daemon),
        held_test(test_held__taking_waits_for_a_giving_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
