/* SPDX-License-Identifier: MIT */
/*
 * Who holds what in a pool: references, parcels on their way, and names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pool_world.h"

/* ---- references ---- */

static void test_references__the_last_one_frees(void **state)
{
    struct world *w = *state;
    static const struct {
        Allot__Op op;
        enum record_kind kind;
        uint64_t size;
        uint64_t recorded;
    } kinds[] = {{ALLOT__OP__OP_ALLOC, RECORD_BYTES, 100, 100},
                 {ALLOT__OP__OP_ALLOC_PAGES, RECORD_PAGES, 3, 3 * PAGE},
                 {ALLOT__OP__OP_ALLOC_IDS, RECORD_IDS, 7, 7}};

    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct ticket t = alloc_ticket(w, 0, kinds[i].op, kinds[i].kind, kinds[i].size);
        uint64_t size = 0;
        for (unsigned slot = 1; slot < SLOTS; slot++) {
            assert_int_equal(acquire(w, slot, t, &size), ALLOT__ERROR__E_OK);
            assert_int_equal(size, kinds[i].recorded);
            /* One a session, however often it asks. */
            assert_int_equal(acquire(w, slot, t, &size), ALLOT__ERROR__E_OK);
            assert_int_equal(pool_holding(&w->pool, slot).allocations, 1);
        }
        assert_int_equal(reopen(w), 0);
        /* Charged once, to its creator, as long as anybody holds it. */
        assert_int_equal(tally_get(&w->pool.users, UID).allocations, 1);
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            assert_int_equal(pool_live(&w->pool), 1);
            assert_int_equal(release(w, slot, t), ALLOT__ERROR__E_OK);
            assert_int_equal(pool_holding(&w->pool, slot).allocations, 0);
        }
        check_empty(w);
        assert_int_equal(release(w, 0, t), ALLOT__ERROR__E_NOT_ALLOCATED);
        assert_int_equal(acquire(w, 0, t, NULL), ALLOT__ERROR__E_NOT_ALLOCATED);
    }
}

static void test_references__stale_forged_and_foreign_tickets(void **state)
{
    struct world *w = *state;
    struct ticket stale = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 100);

    assert_int_equal(release(w, 1, stale), ALLOT__ERROR__E_NOT_OWNER);
    assert_int_equal(release(w, 0, stale), ALLOT__ERROR__E_OK);
    struct ticket good = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 100);
    assert_true(good.place == stale.place && good.generation != stale.generation);
    const struct ticket bad[] = {
        stale,
        {good.place, good.generation + 1},
        {good.place, good.generation - 1},
        {good.place, good.generation - (1u << 16)}, /* what a reference's word holds of it */
        {good.place, good.generation + (UINT64_C(1) << 32)},
        {good.place, 0},
        {good.place + 16, good.generation},
        {good.place & ~(UINT64_C(3) << CODEC_KIND_SHIFT), good.generation},
        {good.place ^ (UINT64_C(3) << CODEC_KIND_SHIFT), good.generation}, /* pages */
        {good.place | (UINT64_C(1) << 62), good.generation},
        {UINT64_MAX, UINT64_MAX},
        {0, 0},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(acquire(w, 1, bad[i], NULL), ALLOT__ERROR__E_NOT_ALLOCATED);
        assert_int_equal(release(w, 0, bad[i]), ALLOT__ERROR__E_NOT_ALLOCATED);
    }
    assert_int_equal(acquire(w, 1, good, NULL), ALLOT__ERROR__E_OK);
    /* Resizing would change what the other holds. */
    assert_int_equal(
        ask(w, 0, ALLOT__OP__OP_RESIZE, good.place & ((UINT64_C(1) << 48) - 1), 50, NULL),
        ALLOT__ERROR__E_SHARED);
    /* A free by position gives back what the session holds, and no more. */
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_FREE, good.place & ((UINT64_C(1) << 48) - 1), 0, NULL),
                     ALLOT__ERROR__E_OK);
    assert_int_equal(pool_live(&w->pool), 1);
    assert_int_equal(release(w, 1, good), ALLOT__ERROR__E_OK);
    check_empty(w);
}

static void test_references__of_a_dead_session_only(void **state)
{
    struct world *w = *state;
    struct ticket both = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 100);

    alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 200);
    assert_int_equal(acquire(w, 1, both, NULL), ALLOT__ERROR__E_OK);
    assert_false(pool_reclaim(&w->pool, 0, 10));
    assert_int_equal(pool_live(&w->pool), 1);
    assert_int_equal(pool_holding(&w->pool, 0).allocations, 0);
    assert_int_equal(tally_get(&w->pool.users, UID).bytes, 100);
    assert_int_equal(reopen(w), 0);
    assert_int_equal(acquire(w, 2, both, NULL), ALLOT__ERROR__E_OK);
    assert_false(pool_reclaim(&w->pool, 1, 10));
    assert_int_equal(release(w, 2, both), ALLOT__ERROR__E_OK);
    check_empty(w);
}

static Allot__Error publish(struct world *w, unsigned i, uint32_t uid, struct ticket t)
{
    struct pool_operation o = operation(w, 0, ALLOT__OP__OP_PUBLISH, t.place, 0);
    char name[16];

    snprintf(name, sizeof(name), "%u", i);
    o.generation = t.generation;
    o.name = name;
    o.replace = true;
    o.uid = uid;
    return run(w, &o, 0);
}

static void test_names__of_a_full_pool_are_replaced(void **state)
{
    struct world *w = *state;
    struct ticket t = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 100);

    w->config.names_quota = NAMES_MAX - 1;
    pool_configure(&w->pool, &w->config);
    for (unsigned i = 0; i < NAMES_MAX - 1; i++)
        assert_int_equal(publish(w, i, UID, t), ALLOT__ERROR__E_OK);
    assert_int_equal(publish(w, NAMES_MAX, UID, t), ALLOT__ERROR__E_QUOTA);
    assert_int_equal(publish(w, NAMES_MAX, UID + 1, t), ALLOT__ERROR__E_OK);
    assert_int_equal(publish(w, NAMES_MAX + 1, UID + 1, t), ALLOT__ERROR__E_LIMIT);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(publish(w, i, UID, t), ALLOT__ERROR__E_OK);
    assert_int_equal(reopen(w), 0);
    assert_int_equal(publish(w, NAMES_MAX, UID + 1, t), ALLOT__ERROR__E_OK);
    assert_int_equal(publish(w, NAMES_MAX + 1, UID + 1, t), ALLOT__ERROR__E_LIMIT);
    assert_int_equal(w->pool.names.live, NAMES_MAX);
}

static void test_references__frozen_for_good(void **state)
{
    struct world *w = *state;
    struct ticket t = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 1000);
    struct ticket stale = {t.place, t.generation - 1};
    uint64_t told = 0;

    assert_int_equal(freeze(w, 1, t), ALLOT__ERROR__E_NOT_OWNER);
    assert_int_equal(freeze(w, 0, stale), ALLOT__ERROR__E_NOT_ALLOCATED);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_RESIZE, position_of(t), 900, NULL), 0);
    assert_int_equal(acquire(w, 1, t, &told), ALLOT__ERROR__E_OK);
    assert_true(told == 900);
    assert_int_equal(freeze(w, 0, t), ALLOT__ERROR__E_OK);
    assert_int_equal(freeze(w, 1, t), ALLOT__ERROR__E_OK);
    assert_int_equal(reopen(w), 0);
    assert_int_equal(acquire(w, 2, t, &told), ALLOT__ERROR__E_OK);
    assert_true(told == (900 | CODEC_VALUE_FROZEN));
    assert_int_equal(release(w, 1, t), ALLOT__ERROR__E_OK);
    assert_int_equal(release(w, 2, t), ALLOT__ERROR__E_OK);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_RESIZE, position_of(t), 800, NULL),
                     ALLOT__ERROR__E_FROZEN);
    /* What comes to its record after it is not. */
    assert_int_equal(release(w, 0, t), ALLOT__ERROR__E_OK);
    t = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 1000);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_RESIZE, position_of(t), 999, NULL), 0);
    assert_int_equal(release(w, 0, t), ALLOT__ERROR__E_OK);
    check_empty(w);
}

/* What a pool grants is not what another, or the same in another life, has granted. */
static void test_references__generations_of_two_pools_differ(void **state)
{
    struct world *w = *state;
    struct pool second;
    struct config_pool config = w->config;

    strcpy(config.name, "second");
    assert_int_equal(pool_open(&second, &w->ledger, 1, &config, -1), 0);
    uint64_t a = w->pool.info->generation;
    uint64_t b = second.info->generation;
    assert_true((a > b ? a - b : b - a) > UINT64_C(1) << 32);
    pool_close(&second);
}

/* ---- parcels ---- */

#define ANYONE 0u

static Allot__Error send_at(struct world *w, unsigned slot, struct ticket t, uint64_t receiver,
                            uint64_t deadline)
{
    struct pool_operation o = operation(w, slot, ALLOT__OP__OP_SEND, t.place, 0);

    o.generation = t.generation;
    o.receiver = receiver;
    o.receiver_slot = ledger_session_find(&w->ledger, receiver);
    o.deadline = deadline;
    return run(w, &o, 0);
}

static uint64_t id_of(struct world *w, unsigned slot)
{
    return w->ledger.sessions[slot].id;
}

/* Whether slot's acquire took a parcel. */
static bool takes(struct world *w, unsigned slot, struct ticket t)
{
    uint64_t told = 0;

    assert_int_equal(acquire(w, slot, t, &told), ALLOT__ERROR__E_OK);
    assert_true((told & ~CODEC_VALUE_PARCEL) == 100);
    return told & CODEC_VALUE_PARCEL;
}

static void test_parcels__outlive_the_sender(void **state)
{
    struct world *w = *state;
    struct ticket t = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 100);

    assert_int_equal(send_at(w, 0, t, id_of(w, 1), 50), ALLOT__ERROR__E_OK);
    assert_false(pool_reclaim(&w->pool, 0, 10));
    assert_int_equal(pool_live(&w->pool), 1);
    assert_int_equal(reopen(w), 0);
    /* Another holds it as always, and takes nothing from the receiver. */
    assert_false(takes(w, 2, t));
    assert_int_equal(w->pool.parcels.count, 1);
    assert_true(takes(w, 1, t));
    assert_false(takes(w, 1, t));
    assert_int_equal(w->pool.parcels.count, 0);
    assert_int_equal(reopen(w), 0);
    assert_int_equal(pool_holding(&w->pool, 1).bytes, 100);
    assert_int_equal(release(w, 2, t), ALLOT__ERROR__E_OK);
    assert_int_equal(release(w, 1, t), ALLOT__ERROR__E_OK);
    check_empty(w);
}

static void test_parcels__of_anyone_go_to_the_first(void **state)
{
    struct world *w = *state;
    struct ticket t = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 100);

    assert_int_equal(send_at(w, 0, t, ANYONE, 50), ALLOT__ERROR__E_OK);
    assert_int_equal(send_at(w, 0, t, id_of(w, 2), 50), ALLOT__ERROR__E_OK);
    assert_int_equal(release(w, 0, t), ALLOT__ERROR__E_OK);
    assert_true(takes(w, 2, t)); /* its own first */
    assert_true(takes(w, 1, t));
    assert_false(takes(w, 3, t));
    /* Where the taker holds it already, the parcel's reference only goes. */
    assert_int_equal(send_at(w, 1, t, ANYONE, 50), ALLOT__ERROR__E_OK);
    assert_true(takes(w, 3, t));
    assert_int_equal(pool_holding(&w->pool, 3).allocations, 1);
    for (unsigned slot = 1; slot < SLOTS; slot++)
        assert_int_equal(release(w, slot, t), ALLOT__ERROR__E_OK);
    check_empty(w);
}

static void test_parcels__end_with_deadline_or_receiver(void **state)
{
    struct world *w = *state;
    struct ticket t[4];

    for (unsigned i = 0; i < 4; i++) {
        t[i] = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 100);
        assert_int_equal(send_at(w, 0, t[i], i == 3 ? id_of(w, 1) : ANYONE, 10 + i),
                         ALLOT__ERROR__E_OK);
        assert_int_equal(release(w, 0, t[i]), ALLOT__ERROR__E_OK);
    }
    assert_int_equal(pool_expire(&w->pool, 9, 10), 10);
    assert_int_equal(pool_live(&w->pool), 4);
    assert_int_equal(pool_expire(&w->pool, 12, 1), 11); /* one at a time */
    assert_int_equal(pool_live(&w->pool), 3);
    assert_int_equal(acquire(w, 2, t[0], NULL), ALLOT__ERROR__E_NOT_ALLOCATED);
    assert_int_equal(reopen(w), 0);
    assert_int_equal(pool_expire(&w->pool, 12, 10), 13);
    assert_int_equal(pool_live(&w->pool), 1);
    assert_false(pool_reclaim(&w->pool, 1, 10));
    check_empty(w);
    assert_true(pool_expire(&w->pool, UINT64_MAX, 10) == UINT64_MAX);
}

static void test_parcels__refused(void **state)
{
    struct world *w = *state;
    struct ticket t = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 100);

    assert_int_equal(send_at(w, 1, t, ANYONE, 50), ALLOT__ERROR__E_NOT_OWNER);
    assert_int_equal(send_at(w, 0, t, ANYONE, 0), ALLOT__ERROR__E_INVALID);
    assert_int_equal(send_at(w, 0, t, id_of(w, SLOTS - 1) + 1, 50), ALLOT__ERROR__E_SESSION);
    w->ledger.sessions[2].ended = 1;
    assert_int_equal(send_at(w, 0, t, id_of(w, 2), 50), ALLOT__ERROR__E_SESSION);
    for (unsigned i = 0; i < PARCELS_USER_MAX; i++)
        assert_int_equal(send_at(w, 0, t, id_of(w, 1), 50), ALLOT__ERROR__E_OK);
    assert_int_equal(send_at(w, 0, t, ANYONE, 50), ALLOT__ERROR__E_LIMIT);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_RESIZE, position_of(t), 50, NULL),
                     ALLOT__ERROR__E_SHARED);
    assert_true(takes(w, 1, t));
    assert_int_equal(send_at(w, 0, t, ANYONE, 50), ALLOT__ERROR__E_OK);
    assert_true(pool_reclaim(&w->pool, 1, 100));
    while (pool_reclaim(&w->pool, 1, 100))
        ;
    assert_int_equal(w->pool.parcels.count, 1);
    pool_expire(&w->pool, 50, 1);
    assert_int_equal(release(w, 0, t), ALLOT__ERROR__E_OK);
    check_empty(w);
}

/* ---- names ---- */

static Allot__Error name_as(struct world *w, uint32_t uid, Allot__Op op, struct ticket t)
{
    struct pool_operation o = operation(w, 0, op, t.place, 0);

    o.generation = t.generation;
    o.uid = uid;
    o.name = "name";
    o.replace = true;
    return run(w, &o, 0);
}

/* A name is its publisher's; root and the daemon's own user may take it away, no more. */
static void test_names__taken_away_by_whom(void **state)
{
    struct world *w = *state;
    struct ticket t = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 100);
    bool is_root = geteuid() == 0;

    w->pool.config.names_quota = 1;
    assert_true(!is_root || seteuid(UID + 1) == 0);
    const uint32_t users[] = {UID, 0, geteuid()};
    for (unsigned i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
        assert_int_equal(name_as(w, UID, ALLOT__OP__OP_PUBLISH, t), ALLOT__ERROR__E_OK);
        assert_int_equal(name_as(w, UID + 2, ALLOT__OP__OP_PUBLISH, t), ALLOT__ERROR__E_DENIED);
        assert_int_equal(name_as(w, UID + 2, ALLOT__OP__OP_UNPUBLISH, t), ALLOT__ERROR__E_DENIED);
        if (users[i] != UID)
            assert_int_equal(name_as(w, users[i], ALLOT__OP__OP_PUBLISH, t),
                             ALLOT__ERROR__E_DENIED);
        assert_int_equal(name_as(w, users[i], ALLOT__OP__OP_UNPUBLISH, t), ALLOT__ERROR__E_OK);
    }
    assert_true(!is_root || seteuid(0) == 0);
    assert_int_equal(release(w, 0, t), ALLOT__ERROR__E_OK);
    check_empty(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(test_references__the_last_one_frees),
        pool_test(test_references__stale_forged_and_foreign_tickets),
        pool_test(test_references__of_a_dead_session_only),
        pool_test(test_references__frozen_for_good),
        pool_test(test_names__of_a_full_pool_are_replaced),
        pool_test(test_references__generations_of_two_pools_differ),
        pool_test(test_parcels__outlive_the_sender),
        pool_test(test_parcels__of_anyone_go_to_the_first),
        pool_test(test_parcels__end_with_deadline_or_receiver),
        pool_test(test_parcels__refused),
        pool_test(test_names__taken_away_by_whom),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
