/* SPDX-License-Identifier: MIT */
/*
 * Kill anywhere in a daemon's start, where that writes to the ledger: a session whose process is
 * gone is swept, a pool is made, another is dropped; see victim.h. The service manager is not in
 * it: a pool's region that a start has made is lost with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "step.h"
#include "victim.h"

static void act_start(void *victim, void *arg)
{
    (void)arg;
    victim_start(victim);
}

/* The process has died while no daemon was there; the one that sweeps it dies as well. */
static void test_step_starts__sweep(void **state)
{
    struct victim v;

    (void)state;
    victim_make(&v);
    v.ledger.sessions[SLOT].incarnation++; /* another process has its pid now */
    victim_run(&v, &(struct life){"sweep", act_start, .is_gone = true, .states = HELD + 1,
                                  .every = step_recovery_every()});
}

static const char *judge_made(struct victim *v)
{
    struct pool *pool = store_pool_named(&v->store, MORE);
    struct pool_operation o = {.op = ALLOT__OP__OP_ALLOC,
                               .slot = SLOT,
                               .entry = ledger_entry(&v->ledger, SLOT, 100),
                               .size = 1};

    if (!pool || pool->info->names_sequence || pool->info->records_top)
        return "the pool is not there, or not new";
    ledger_entry_begin(o.entry, 100, o.op, pool->index);
    if (pool_execute(pool, &o) == POOL_COMMIT)
        pool_finish(pool, &o, 0);
    return o.error || !pool_check(pool) ? "nothing can be had of the pool" : NULL;
}

static void test_step_starts__pool_is_made(void **state)
{
    struct victim v;

    (void)state;
    victim_make(&v);
    v.ledger.pools[1] = v.ledger.pools[0]; /* as one that was dropped in part */
    v.ledger.pools[1].name[0] = 0;
    v.config = &victim_config_more;
    victim_run(&v, &(struct life){"pool made", act_start, HELD, .states = 7, .judge = judge_made});
}

static const char *judge_dropped(struct victim *v)
{
    return v->store.pools[1] || v->ledger.pools[1].name[0] ? "the pool is still there" : NULL;
}

/* The configuration has it no more, and nothing lives in it. */
static void test_step_starts__pool_is_dropped(void **state)
{
    struct victim v;

    (void)state;
    victim_make(&v);
    v.config = &victim_config_more;
    assert_true(victim_start(&v));
    victim_stop(&v);
    v.config = &victim_config;
    victim_run(
        &v, &(struct life){"pool dropped", act_start, HELD, .states = 5, .judge = judge_dropped});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_starts__sweep),
        cmocka_unit_test(test_step_starts__pool_is_made),
        cmocka_unit_test(test_step_starts__pool_is_dropped),
    };

    step_on_one_processor();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
