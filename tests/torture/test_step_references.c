/* SPDX-License-Identifier: MIT */
/* Kill anywhere in sharing, sending, and letting go; see scenario.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "scenario.h"
#include "step.h"

static void test_step_references__acquire(void **state)
{
    (void)state;
    scenario_run(
        (struct scenario){.title = "acquire", .op = ALLOT__OP__OP_ACQUIRE, .target = FOREIGN});
}

static void test_step_references__release_of_what_others_hold(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "release, shared", .op = ALLOT__OP__OP_RELEASE, .target = SHARED});
}

static void test_step_references__release_of_the_last(void **state)
{
    (void)state;
    scenario_run(
        (struct scenario){.title = "release, last", .op = ALLOT__OP__OP_RELEASE, .target = 1});
}

static void test_step_references__freeze(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "freeze", .op = ALLOT__OP__OP_FREEZE, .target = 1});
}

static void test_step_references__send(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "send", .op = ALLOT__OP__OP_SEND, .target = 1, .receiver = OTHER});
}

static void test_step_references__take_of_a_parcel(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "take", .op = ALLOT__OP__OP_ACQUIRE, .target = FOREIGN, .sent = true});
}

static void test_step_references__take_of_what_it_holds(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "take, held", .op = ALLOT__OP__OP_ACQUIRE, .target = SHARED, .sent = true});
}

/* ---- expiry: not an operation of a session's, so there is nothing to be sent again ---- */

struct expiry {
    struct world copy;
    uint64_t before;
    uint64_t after;
    unsigned points;
    const char *wrong;
};

static void act_expire(void *world, void *arg)
{
    struct world *w = world;

    (void)arg;
    pool_expire(&w->pool, UINT64_MAX, 1);
}

static void look_at_expiry(void *ctx, const unsigned char *image)
{
    struct expiry *e = ctx;

    if (e->wrong)
        return;
    e->points++;
    image_load(&e->copy.ledger, image);
    if (!world_recover(&e->copy)) {
        e->wrong = "the pool does not open";
        return;
    }
    uint64_t found = world_digest(&e->copy);
    if (found != e->before && found != e->after)
        e->wrong = "a parcel is over in part";
    act_expire(&e->copy, NULL);
    if (world_digest(&e->copy) != e->after || !pool_check(&e->copy.pool))
        e->wrong = "what is left of it does not go";
    pool_close(&e->copy.pool);
}

static void test_step_references__expiry(void **state)
{
    struct expiry e = {0};
    struct world w;

    (void)state;
    world_make(&w);
    world_copy(&e.copy, &w);
    e.after = world_digest(&w);
    world_send(&w, FOREIGN);
    e.before = world_digest(&w);
    assert_int_not_equal(e.before, e.after);
    world_step(&w, act_expire, NULL, look_at_expiry, &e, 0);
    if (e.wrong)
        fail_msg("state %u: %s", e.points, e.wrong);
    assert_true(e.points > 0);
    ledger_close(&e.copy.ledger);
    world_close(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_references__acquire),
        cmocka_unit_test(test_step_references__release_of_what_others_hold),
        cmocka_unit_test(test_step_references__release_of_the_last),
        cmocka_unit_test(test_step_references__freeze),
        cmocka_unit_test(test_step_references__send),
        cmocka_unit_test(test_step_references__take_of_a_parcel),
        cmocka_unit_test(test_step_references__take_of_what_it_holds),
        cmocka_unit_test(test_step_references__expiry),
    };

    step_on_one_processor();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
