/* SPDX-License-Identifier: MIT */
/* Kill anywhere in a request that waits for room: where it begins to, is granted and is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "region.h"
#include "step.h"
#include "world.h"

/* What waits, and what makes room for it; what becomes of it. */
struct waiting {
    const char *name;
    struct scenario asks;
    struct scenario frees; /* the session's own number LIVE + 5 */
    enum { BEGINS, IS_GRANTED, IS_REFUSED } step;
    struct wait wait;
    uint64_t before;
    uint64_t after;
    uint64_t value;
    struct world *copy;
    unsigned points;
    unsigned waits; /* of them, at which it waits */
    const char *wrong;
};

static void no_ring(void *ctx)
{
    (void)ctx;
}

static void ask_and_wait(struct world *w, struct waiting *t)
{
    t->wait = (struct wait){.number = NUMBER, .slot = SLOT, .uid = 1000, .ring = no_ring};
    struct pool_operation o = world_operation(w, SLOT, &t->asks, NUMBER);
    o.wait = &t->wait;
    o.deadline = 12345;
    ledger_entry_begin(o.entry, NUMBER, o.op, 0);
    if (pool_execute(&w->pool, &o) != POOL_WAIT)
        t->wrong = "it does not wait";
}

static void act_waiting(void *world, void *arg)
{
    struct world *w = world;
    struct waiting *t = arg;
    struct pool_operation o;
    struct wait *got;

    if (t->step == BEGINS)
        ask_and_wait(w, t);
    else if (t->step == IS_REFUSED)
        pool_refuse_wait(&w->pool, &t->wait, ALLOT__ERROR__E_DEADLINE);
    else if (pool_try_wait(&w->pool, SLOT, &o, &got) == POOL_COMMIT)
        pool_finish(&w->pool, &o, region_commit(w->pool.fd, o.commit_offset, o.commit_size));
}

static bool is_over(const struct waiting *t, const struct ledger_entry *entry)
{
    Allot__Error error = t->step == IS_REFUSED ? ALLOT__ERROR__E_DEADLINE : ALLOT__ERROR__E_OK;

    return entry->number == NUMBER && entry->result == (LEDGER_ANSWERED | (uint64_t)error) &&
           (t->step != IS_REFUSED || entry->value == t->value);
}

/* Recovers, and has the same happen again where it has not. */
static void look_at_waiting(void *ctx, const unsigned char *image)
{
    struct waiting *t = ctx;
    struct waiting again = *t;
    struct world *copy = t->copy;
    struct ledger_entry *entry = ledger_entry(&copy->ledger, SLOT, NUMBER);

    if (t->wrong)
        return;
    t->points++;
    image_load(&copy->ledger, image);
    if (!world_recover(copy)) {
        t->wrong = "the pool does not open";
        return;
    }
    uint64_t found = world_digest(copy);
    if (entry->number != NUMBER && t->step == BEGINS) {
        ask_and_wait(copy, &again);
    } else if (ledger_entry_waits(entry)) {
        struct ledger_wait left = ledger_entry_waiting(entry);
        t->waits++;
        if (found != t->before || left.size != t->asks.size || left.deadline != 12345 ||
            left.tag != 7 || left.arrival != 1)
            t->wrong = "it waits for something else";
        again.wait = (struct wait){.number = NUMBER, .slot = SLOT, .uid = 1000, .ring = no_ring};
        pool_adopt_wait(&copy->pool, &again.wait, entry);
        if (t->step != BEGINS)
            act_waiting(copy, &again);
    } else if (found != t->after || !is_over(t, entry)) {
        t->wrong = "it neither waits nor has an answer";
    }
    if (again.wrong)
        t->wrong = again.wrong;
    else if (t->step == BEGINS ? !ledger_entry_waits(entry) : !is_over(t, entry))
        t->wrong = "sent again, it does something else";
    else if (world_digest(copy) != t->after || !pool_check(&copy->pool))
        t->wrong = "something else is live";
    pool_close(&copy->pool);
}

static void run_waiting(struct waiting t)
{
    static unsigned char start[IMAGE_SIZE];
    struct world w;
    struct world copy;

    world_make(&w);
    world_copy(&copy, &w);
    t.copy = &copy;
    world_aim(&w, &t.frees);
    if (t.step != BEGINS)
        ask_and_wait(&w, &t);
    if (t.step == IS_GRANTED)
        world_do(&w, SLOT, &t.frees, LIVE + 5);
    t.before = world_digest(&w);
    /* What it comes to when nothing goes wrong: told by a recovery at once. */
    image_take(&w.ledger, start);
    image_load(&copy.ledger, start);
    assert_true(world_recover(&copy));
    struct waiting once = t;
    if (t.step != BEGINS) {
        once.wait = (struct wait){.number = NUMBER, .slot = SLOT, .uid = 1000, .ring = no_ring};
        pool_adopt_wait(&copy.pool, &once.wait, ledger_entry(&copy.ledger, SLOT, NUMBER));
    }
    act_waiting(&copy, &once);
    t.after = world_digest(&copy);
    t.value = ledger_entry(&copy.ledger, SLOT, NUMBER)->value;
    pool_close(&copy.pool);
    assert_true((t.after != t.before) == (t.step == IS_GRANTED));

    unsigned long steps = world_step(&w, act_waiting, &t, look_at_waiting, &t, 0);
    printf("%s: %lu instructions, %u states, waiting in %u\n", t.name, steps, t.points, t.waits);
    if (t.wrong)
        fail_msg("%s: state %u: %s", t.name, t.points, t.wrong);
    /* The first store of a refusal ends the wait. */
    assert_true(t.points > 3 && (t.waits > 0) == (t.step != IS_REFUSED));
    ledger_close(&copy.ledger);
    world_close(&w);
}

#define ASKS_IDS                                                                                   \
    {                                                                                              \
        .op = ALLOT__OP__OP_ALLOC_IDS, .size = 1000, .target = NO_TARGET                           \
    }
#define ASKS_PAGES                                                                                 \
    {                                                                                              \
        .op = ALLOT__OP__OP_ALLOC_PAGES, .size = 150, .align = 2 * PAGE, .target = NO_TARGET       \
    }

static void test_step_waits__wait_begins(void **state)
{
    (void)state;
    run_waiting((struct waiting){.name = "wait", .asks = ASKS_PAGES, .step = BEGINS});
}

static void test_step_waits__wait_is_granted(void **state)
{
    (void)state;
    run_waiting((struct waiting){.name = "wait, granted",
                                 .asks = ASKS_IDS,
                                 .frees = {.op = ALLOT__OP__OP_FREE_IDS, .target = 3},
                                 .step = IS_GRANTED});
}

static void test_step_waits__wait_is_granted_and_commits(void **state)
{
    (void)state;
    run_waiting((struct waiting){
        .name = "wait, granted with commit",
        .asks = ASKS_PAGES,
        .frees = {.op = ALLOT__OP__OP_ADD_MEMORY, .size = REGION / 2, .target = NO_TARGET},
        .step = IS_GRANTED});
}

static void test_step_waits__wait_is_refused(void **state)
{
    (void)state;
    run_waiting((struct waiting){.name = "wait, refused", .asks = ASKS_PAGES, .step = IS_REFUSED});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_waits__wait_begins),
        cmocka_unit_test(test_step_waits__wait_is_granted),
        cmocka_unit_test(test_step_waits__wait_is_granted_and_commits),
        cmocka_unit_test(test_step_waits__wait_is_refused),
    };

    step_on_one_processor();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
