/* SPDX-License-Identifier: MIT */
/* Kill anywhere in publishing, and looking up; see scenario.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "scenario.h"
#include "step.h"

static void test_step_names__publish(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "publish", .op = ALLOT__OP__OP_PUBLISH, .target = 1, .name = "new"});
}

/* The old one had no other holder: it is freed. */
static void test_step_names__publish_that_replaces(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "replace, last",
                                   .op = ALLOT__OP__OP_PUBLISH,
                                   .target = 1,
                                   .name = "left alone",
                                   .replace = true});
}

static void test_step_names__publish_in_place_of_what_others_hold(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "replace, held",
                                   .op = ALLOT__OP__OP_PUBLISH,
                                   .target = 1,
                                   .name = "held",
                                   .replace = true});
}

static void test_step_names__unpublish(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "unpublish, last",
                                   .op = ALLOT__OP__OP_UNPUBLISH,
                                   .target = NO_TARGET,
                                   .name = "left alone"});
    scenario_run((struct scenario){.title = "unpublish, held",
                                   .op = ALLOT__OP__OP_UNPUBLISH,
                                   .target = NO_TARGET,
                                   .name = "held"});
}

static void test_step_names__lookup(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "lookup", .op = ALLOT__OP__OP_LOOKUP, .target = NO_TARGET, .name = "left alone"});
    scenario_run((struct scenario){.title = "lookup of what is held",
                                   .op = ALLOT__OP__OP_LOOKUP,
                                   .target = NO_TARGET,
                                   .name = "mine"});
}

static void test_step_names__what_is_refused(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "publish, refused",
                                   .op = ALLOT__OP__OP_PUBLISH,
                                   .target = 1,
                                   .name = "held",
                                   .error = ALLOT__ERROR__E_EXISTS});
    scenario_run((struct scenario){.title = "unpublish, refused",
                                   .op = ALLOT__OP__OP_UNPUBLISH,
                                   .target = NO_TARGET,
                                   .name = "none",
                                   .error = ALLOT__ERROR__E_NO_NAME});
    scenario_run((struct scenario){.title = "lookup, refused",
                                   .op = ALLOT__OP__OP_LOOKUP,
                                   .target = NO_TARGET,
                                   .name = "none",
                                   .error = ALLOT__ERROR__E_NO_NAME});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_names__publish),
        cmocka_unit_test(test_step_names__publish_that_replaces),
        cmocka_unit_test(test_step_names__publish_in_place_of_what_others_hold),
        cmocka_unit_test(test_step_names__unpublish),
        cmocka_unit_test(test_step_names__lookup),
        cmocka_unit_test(test_step_names__what_is_refused),
    };

    step_on_one_processor();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
