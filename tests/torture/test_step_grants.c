/* SPDX-License-Identifier: MIT */
/* Kill anywhere in granting, resizing and giving back; see scenario.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "scenario.h"
#include "step.h"

static void test_step_grants__alloc(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "alloc",
                                   .op = ALLOT__OP__OP_ALLOC,
                                   .size = 777,
                                   .align = 64,
                                   .target = NO_TARGET});
}

static void test_step_grants__alloc_that_commits(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "alloc with commit",
                                   .op = ALLOT__OP__OP_ALLOC,
                                   .size = 20 * PAGE,
                                   .target = NO_TARGET});
}

static void test_step_grants__free(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "free", .op = ALLOT__OP__OP_FREE, .target = 1});
}

static void test_step_grants__resize(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "resize", .op = ALLOT__OP__OP_RESIZE, .size = 2000, .target = 1});
}

static void test_step_grants__alloc_pages(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "alloc pages", .op = ALLOT__OP__OP_ALLOC_PAGES, .size = 2, .target = NO_TARGET});
}

static void test_step_grants__alloc_pages_at(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "alloc pages at",
                                   .op = ALLOT__OP__OP_ALLOC_PAGES_AT,
                                   .size = 2,
                                   .target = NO_TARGET,
                                   .position = 100 * PAGE});
}

static void test_step_grants__free_pages(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "free pages", .op = ALLOT__OP__OP_FREE_PAGES, .size = 3, .target = 2});
}

static void test_step_grants__alloc_ids(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "alloc ids", .op = ALLOT__OP__OP_ALLOC_IDS, .size = 4, .target = NO_TARGET});
}

static void test_step_grants__free_ids(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "free ids", .op = ALLOT__OP__OP_FREE_IDS, .size = 5, .target = 3});
}

static void test_step_grants__add_memory(void **state)
{
    (void)state;
    scenario_run((struct scenario){
        .title = "add memory", .op = ALLOT__OP__OP_ADD_MEMORY, .size = PAGE, .target = NO_TARGET});
}

static void test_step_grants__alloc_ids_at(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "alloc ids at",
                                   .op = ALLOT__OP__OP_ALLOC_IDS_AT,
                                   .size = 4,
                                   .target = NO_TARGET,
                                   .position = 500});
}

static void test_step_grants__what_is_refused(void **state)
{
    (void)state;
    scenario_run((struct scenario){.title = "alloc, refused",
                                   .op = ALLOT__OP__OP_ALLOC,
                                   .size = REGION,
                                   .target = NO_TARGET,
                                   .error = ALLOT__ERROR__E_NO_MEMORY});
    scenario_run((struct scenario){.title = "free, refused",
                                   .op = ALLOT__OP__OP_FREE,
                                   .target = FOREIGN,
                                   .error = ALLOT__ERROR__E_NOT_OWNER});
    scenario_run((struct scenario){.title = "resize, refused",
                                   .op = ALLOT__OP__OP_RESIZE,
                                   .size = 2000,
                                   .target = SHARED,
                                   .error = ALLOT__ERROR__E_SHARED});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_grants__alloc),
        cmocka_unit_test(test_step_grants__alloc_that_commits),
        cmocka_unit_test(test_step_grants__free),
        cmocka_unit_test(test_step_grants__resize),
        cmocka_unit_test(test_step_grants__alloc_pages),
        cmocka_unit_test(test_step_grants__alloc_pages_at),
        cmocka_unit_test(test_step_grants__free_pages),
        cmocka_unit_test(test_step_grants__alloc_ids),
        cmocka_unit_test(test_step_grants__free_ids),
        cmocka_unit_test(test_step_grants__add_memory),
        cmocka_unit_test(test_step_grants__alloc_ids_at),
        cmocka_unit_test(test_step_grants__what_is_refused),
    };

    step_on_one_processor();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
