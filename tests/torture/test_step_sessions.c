/* SPDX-License-Identifier: MIT */
/* Kill anywhere in the life of a session: its slot is opened, attached, ended, reclaimed in slices
 * and closed; see victim.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "step.h"
#include "victim.h"

static void act_end(void *victim, void *arg)
{
    (void)arg;
    victim_end_session(victim);
}

static void test_step_sessions__end(void **state)
{
    struct victim v;

    (void)state;
    victim_make(&v);
    assert_true(victim_start(&v));
    victim_run(&v, &(struct life){"end", act_end, HELD, .states = HELD + 2});
}

static void act_reclaim(void *victim, void *arg)
{
    struct victim *v = victim;

    (void)arg;
    while (pool_reclaim(v->store.pools[0], SLOT, 2))
        ;
}

/* Others are served between its slices. */
static void test_step_sessions__reclaim_in_slices(void **state)
{
    struct victim v;

    (void)state;
    victim_make(&v);
    assert_true(victim_start(&v));
    v.ledger.sessions[SLOT].ended = 1;
    victim_run(&v, &(struct life){"reclaim", act_reclaim, .is_gone = true, .states = HELD});
}

static void act_close(void *victim, void *arg)
{
    struct victim *v = victim;

    (void)arg;
    ledger_session_close(&v->ledger, SLOT);
}

static void test_step_sessions__close(void **state)
{
    struct victim v;

    (void)state;
    victim_make(&v);
    assert_true(victim_start(&v));
    v.ledger.sessions[SLOT].ended = 1;
    act_reclaim(&v, NULL);
    victim_run(&v, &(struct life){"close", act_close, .is_gone = true, .states = 2});
}

static void act_open(void *victim, void *arg)
{
    (void)arg;
    victim_open_slot(victim, SLOT);
}

/* In a slot that another had, which went as far as its ID. */
static void test_step_sessions__open(void **state)
{
    struct ledger_session *record;
    struct victim v;

    (void)state;
    victim_make(&v);
    assert_true(victim_start(&v));
    act_reclaim(&v, NULL);
    record = &v.ledger.sessions[SLOT];
    record->id = 0;
    record->uid = getuid() + 1;
    record->starts = 3;
    record->reached = 7;
    ledger_watches(&v.ledger, SLOT)[0].id = 5;
    victim_run(&v, &(struct life){"open", act_open, .is_new = true, .states = 5});
}

static void act_attach(void *victim, void *arg)
{
    struct victim *v = victim;

    (void)arg;
    session_attach(v->session, 0, ALLOT__ACCESS__ACCESS_WRITE, ALLOT__ACCESS__ACCESS_WRITE);
}

static void test_step_sessions__attach(void **state)
{
    struct victim v;

    (void)state;
    victim_make(&v);
    assert_true(victim_start(&v));
    victim_run(&v, &(struct life){"attach", act_attach, HELD, .states = 1});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_sessions__open),
        cmocka_unit_test(test_step_sessions__attach),
        cmocka_unit_test(test_step_sessions__end),
        cmocka_unit_test(test_step_sessions__reclaim_in_slices),
        cmocka_unit_test(test_step_sessions__close),
    };

    step_on_one_processor();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
