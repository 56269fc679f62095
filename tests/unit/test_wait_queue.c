/* SPDX-License-Identifier: MIT */
/* daemon/waits.c: the queue, at random against a plain array in order of arrival. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "bounds.h"
#include "support.h"
#include "waits.h"

#define USERS 7u
#define STEPS 56000u /* ends full */

static uint64_t left[USERS]; /* of each user's quota */

static uint64_t quota_left(const struct pool *pool, uint32_t uid)
{
    (void)pool;
    return left[uid];
}

/* The model: pointers in order of arrival. */
static struct wait *model[WAITS_MAX];
static unsigned count;

static const struct wait *model_turn(bool ids)
{
    bool held_back[USERS] = {false};

    for (unsigned i = 0; i < count; i++) {
        const struct wait *w = model[i];
        if ((w->op == ALLOT__OP__OP_ALLOC_IDS) != ids)
            continue;
        held_back[w->uid] |= w->charge > left[w->uid];
        if (!held_back[w->uid])
            return w;
    }
    return NULL;
}

static unsigned model_of_user(uint32_t uid)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++)
        n += model[i]->uid == uid;
    return n;
}

static void model_remove(unsigned i)
{
    for (count--; i < count; i++)
        model[i] = model[i + 1];
}

static void check_order(const struct waits *q)
{
    const struct wait *w = q->first;
    const struct wait *before = NULL;

    for (unsigned i = 0; i < count; i++, before = w, w = w->next) {
        assert_ptr_equal(w, model[i]);
        assert_ptr_equal(w->prev, before);
    }
    assert_null(w);
    assert_ptr_equal(q->last, before);
    assert_int_equal(q->count, count);
}

static void check_turns(const struct waits *q)
{
    assert_ptr_equal(waits_turn(q, false, quota_left), model_turn(false));
    assert_ptr_equal(waits_turn(q, true, quota_left), model_turn(true));
}

static struct wait *new_wait(struct test_random *random, uint32_t arrival)
{
    struct wait *w = calloc(1, sizeof(*w));

    w->op = test_random_below(random, 3) ? ALLOT__OP__OP_ALLOC : ALLOT__OP__OP_ALLOC_IDS;
    w->uid = (uint32_t)test_random_below(random, USERS);
    w->charge = w->op == ALLOT__OP__OP_ALLOC ? 1 + test_random_below(random, 100) : 0;
    w->arrival = arrival;
    return w;
}

static void test_waits__random_run(void **state)
{
    struct waits q = {.arrivals = UINT32_MAX - STEPS / 4}; /* so that it wraps */
    uint64_t seed = test_seed(0x3a175);
    struct test_random random;
    unsigned refused = 0;

    (void)state;
    test_random_init(&random, seed);
    fprintf(stderr, "seed 0x%" PRIx64 "\n", seed);
    for (unsigned step = 0; step < STEPS; step++) {
        bool fill = step / 8000 % 2 == 0;
        left[test_random_below(&random, USERS)] = test_random_below(&random, 110);
        if (test_random_below(&random, 4) < (fill ? 3 : 1)) {
            struct wait *w = new_wait(&random, ++q.arrivals);
            bool room = count < WAITS_MAX && model_of_user(w->uid) < WAITS_USER_MAX;
            assert_true(waits_add(&q, w) == room);
            if (room)
                model[count++] = w;
            else
                free(w);
            refused += !room;
        } else if (count) {
            unsigned i = (unsigned)test_random_below(&random, count);
            struct wait *w = model[i];
            waits_remove(&q, w);
            model_remove(i);
            free(w);
        }
        check_turns(&q);
        if (step % 500 == 0)
            check_order(&q);
    }
    assert_true(refused > 0 && count > 100);
    /* As after a restart: entered in any order they stand in that of their arrival. */
    struct waits again = {0};
    static struct wait *shuffled[WAITS_MAX];
    for (unsigned i = 0; i < count; i++)
        shuffled[i] = model[i];
    for (unsigned i = count; i > 1; i--) {
        unsigned k = (unsigned)test_random_below(&random, i);
        struct wait *w = shuffled[k];
        shuffled[k] = shuffled[i - 1];
        shuffled[i - 1] = w;
    }
    for (unsigned i = 0; i < count; i++)
        assert_true(waits_add(&again, shuffled[i]));
    check_order(&again);
    for (uint64_t most = 0; most < 10; most++) {
        for (unsigned i = 0; i < USERS; i++)
            left[i] = test_random_below(&random, most + 1);
        check_turns(&again);
    }
    for (unsigned i = 0; i < count; i++)
        free(model[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits__random_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
