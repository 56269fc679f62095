/* SPDX-License-Identifier: MIT */
/*
 * A pool without a daemon around it: operations, memory that cannot be had, quotas, and what a
 * second opening of the same ledger and region makes of both.
 *
 * The caller's part between pool_execute() and pool_finish() is played here, so a test decides when
 * memory comes, and whether.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool.h"
#include "region.h"
#include "support.h"

#define PAGE  UINT64_C(65536)
#define PAGES UINT64_C(256)
#define UID   1000u
#define TAG   7u
#define SLOTS 4u

struct world {
    struct ledger ledger;
    struct pool pool;
    struct config_pool config;
    uint64_t numbers[SLOTS];
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    uint64_t id;

    w->config = (struct config_pool){
        .name = "unit",
        .size = PAGES / 2 * PAGE,
        .size_max = PAGES * PAGE,
        .page_size = PAGE,
        .ids = 1000,
        .quota = UINT64_MAX,
        .allocations_max = ALLOCATIONS_MAX,
    };
    assert_int_equal(allot_byte_find(NULL, &w->config.allocator), 0);
    assert_int_equal(ledger_create(&w->ledger), 0);
    for (unsigned i = 0; i < SLOTS; i++)
        assert_int_equal(ledger_session_open(&w->ledger, i, 1, UID, UID, 1, &id), 0);
    assert_int_equal(pool_open(&w->pool, &w->ledger, 0, &w->config, -1), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    pool_close(&w->pool);
    ledger_close(&w->ledger);
    free(w);
    return 0;
}

/* As if the daemon had been killed and another had come. */
static int reopen(struct world *w)
{
    int fd = dup(w->pool.fd);

    pool_close(&w->pool);
    int rc = pool_open(&w->pool, &w->ledger, 0, &w->config, fd);
    if (rc)
        close(fd);
    return rc;
}

static struct pool_operation operation(struct world *w, unsigned slot, Allot__Op op,
                                       uint64_t position, uint64_t size)
{
    uint64_t number = ++w->numbers[slot];
    struct pool_operation o = {
        .op = op,
        .slot = slot,
        .uid = UID,
        .entry = ledger_entry(&w->ledger, slot, number),
        .position = position,
        .size = size,
        .tag = TAG,
    };

    ledger_entry_begin(o.entry, number, op, 0);
    return o;
}

/* Carries it out; where memory is wanted, `commit_rc` is what the system says. */
static Allot__Error run(struct world *w, struct pool_operation *o, int commit_rc)
{
    if (pool_execute(&w->pool, o) == POOL_COMMIT)
        pool_finish(&w->pool, o,
                    commit_rc ? commit_rc
                              : region_commit(w->pool.fd, o->commit_offset, o->commit_size));
    assert_true(o->entry->result == (LEDGER_ANSWERED | (uint64_t)o->error));
    return o->error;
}

static Allot__Error ask(struct world *w, unsigned slot, Allot__Op op, uint64_t position,
                        uint64_t size, uint64_t *ret_value)
{
    struct pool_operation o = operation(w, slot, op, position, size);
    Allot__Error error = run(w, &o, 0);

    if (ret_value)
        *ret_value = o.value;
    return error;
}

static uint64_t alloc(struct world *w, unsigned slot, uint64_t size)
{
    uint64_t position = 0;

    assert_int_equal(ask(w, slot, ALLOT__OP__OP_ALLOC, 0, size, &position), ALLOT__ERROR__E_OK);
    return position;
}

/* Nothing is held, reserved or charged. */
static void check_empty(struct world *w)
{
    assert_true(pool_check(&w->pool));
    assert_int_equal(pool_live(&w->pool), 0);
    assert_int_equal(w->pool.users.count, 0);
    assert_int_equal(w->pool.parcels.count, 0);
    assert_int_equal(w->pool.parcels.users.count, 0);
    assert_int_equal(w->pool.tags.count, 0);
    assert_int_equal(w->pool.used_bytes, 0);
    for (unsigned i = 0; i < SLOTS; i++)
        assert_int_equal(pool_holding(&w->pool, i).allocations, 0);
}

/* ---- references ---- */

struct ticket {
    uint64_t place;
    uint64_t generation;
};

static struct ticket alloc_ticket(struct world *w, unsigned slot, Allot__Op op, uint64_t kind,
                                  uint64_t size)
{
    struct pool_operation o = operation(w, slot, op, 0, size);

    assert_int_equal(run(w, &o, 0), ALLOT__ERROR__E_OK);
    assert_true(o.generation != 0 && o.entry->generation == o.generation);
    return (struct ticket){kind << CODEC_KIND_SHIFT | o.value, o.generation};
}

static Allot__Error acquire(struct world *w, unsigned slot, struct ticket t, uint64_t *ret_size)
{
    struct pool_operation o = operation(w, slot, ALLOT__OP__OP_ACQUIRE, t.place, 0);

    o.generation = t.generation;
    Allot__Error error = run(w, &o, 0);
    if (ret_size)
        *ret_size = o.value;
    return error;
}

static Allot__Error release(struct world *w, unsigned slot, struct ticket t)
{
    struct pool_operation o = operation(w, slot, ALLOT__OP__OP_RELEASE, t.place, 0);

    o.generation = t.generation;
    return run(w, &o, 0);
}

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

static Allot__Error freeze(struct world *w, unsigned slot, struct ticket t)
{
    struct pool_operation o = operation(w, slot, ALLOT__OP__OP_FREEZE, t.place, 0);

    o.generation = t.generation;
    return run(w, &o, 0);
}

static uint64_t position_of(struct ticket t)
{
    return t.place & ((UINT64_C(1) << CODEC_KIND_SHIFT) - 1);
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

/* ---- memory that cannot be had ---- */

static void test_pool__refused_memory_leaves_nothing(void **state)
{
    struct world *w = *state;
    static const Allot__Op ops[] = {ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_ALLOC_PAGES,
                                    ALLOT__OP__OP_ALLOC_PAGES_AT};

    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        struct pool_operation o = operation(w, 0, ops[i], 3 * PAGE, 2);
        assert_int_equal(run(w, &o, -ENOSPC), ALLOT__ERROR__E_COMMIT);
        check_empty(w);
        o = operation(w, 0, ops[i], 3 * PAGE, 2);
        assert_int_equal(run(w, &o, 0), ALLOT__ERROR__E_OK);
        pool_reclaim(&w->pool, 0, 1);
    }
    check_empty(w);
}

static void test_pool__refused_resize_leaves_the_block(void **state)
{
    struct world *w = *state;
    uint64_t position = alloc(w, 1, 1000);
    struct pool_operation o = operation(w, 1, ALLOT__OP__OP_RESIZE, position, 3 * PAGE);

    /* Make the heap larger than what is committed: a block behind, given back again. */
    uint64_t behind = alloc(w, 1, 1);
    assert_int_equal(ask(w, 1, ALLOT__OP__OP_FREE, behind, 1, NULL), 0);
    Allot__Error error = run(w, &o, -ENOMEM);
    if (error == ALLOT__ERROR__E_NO_MEMORY)
        skip(); /* the heap had no room behind the block */
    assert_int_equal(error, ALLOT__ERROR__E_COMMIT);
    assert_int_equal(tally_get(&w->pool.users, UID).bytes, 1000);
    assert_int_equal(pool_holding(&w->pool, 1).bytes, 1000);
    assert_true(pool_check(&w->pool));
    assert_int_equal(ask(w, 1, ALLOT__OP__OP_FREE, position, 1000, NULL), 0);
    check_empty(w);
}

/* While a block's new size waits for memory, others may come to hold it or freeze it. */
static void test_pool__resize_overtaken(void **state)
{
    struct world *w = *state;

    for (unsigned round = 0; round < 2; round++) {
        struct ticket t = alloc_ticket(w, 0, ALLOT__OP__OP_ALLOC, RECORD_BYTES, 1000);
        struct pool_operation o =
            operation(w, 0, ALLOT__OP__OP_RESIZE, position_of(t), (4 + 8 * round) * PAGE);
        /* Make the heap larger than what is committed: a block behind, given back again. */
        uint64_t behind = alloc(w, 1, 1);
        assert_int_equal(ask(w, 1, ALLOT__OP__OP_FREE, behind, 1, NULL), 0);
        if (pool_execute(&w->pool, &o) != POOL_COMMIT)
            skip(); /* the heap had no room behind the block */
        assert_int_equal(round ? freeze(w, 0, t) : acquire(w, 1, t, NULL), ALLOT__ERROR__E_OK);
        pool_finish(&w->pool, &o, region_commit(w->pool.fd, o.commit_offset, o.commit_size));
        assert_int_equal(o.error, round ? ALLOT__ERROR__E_FROZEN : ALLOT__ERROR__E_SHARED);
        assert_int_equal(pool_holding(&w->pool, 0).bytes, 1000);
        assert_int_equal(tally_get(&w->pool.users, UID).bytes, 1000);
        assert_true(pool_check(&w->pool));
        if (!round)
            assert_int_equal(release(w, 1, t), ALLOT__ERROR__E_OK);
        assert_int_equal(release(w, 0, t), ALLOT__ERROR__E_OK);
        check_empty(w);
    }
}

static void test_pool__abandoned_reservation_is_given_back(void **state)
{
    struct world *w = *state;
    struct pool_operation o = operation(w, 2, ALLOT__OP__OP_ALLOC_PAGES, 0, 10);

    assert_int_equal(pool_execute(&w->pool, &o), POOL_COMMIT);
    assert_int_equal(tally_get(&w->pool.users, UID).bytes, 10 * PAGE);
    pool_abandon(&w->pool, &o);
    assert_int_equal(o.entry->result, 0);
    check_empty(w);
}

/* ---- quotas and limits ---- */

static void test_pool__quota_counts_reservations(void **state)
{
    struct world *w = *state;
    uint64_t value;

    w->pool.config.quota = 10 * PAGE;
    struct pool_operation o = operation(w, 0, ALLOT__OP__OP_ALLOC_PAGES, 0, 8);
    assert_int_equal(pool_execute(&w->pool, &o), POOL_COMMIT);
    assert_int_equal(ask(w, 1, ALLOT__OP__OP_ALLOC_PAGES, 0, 3, &value), ALLOT__ERROR__E_QUOTA);
    assert_int_equal(value, 2);
    assert_int_equal(ask(w, 1, ALLOT__OP__OP_ALLOC_PAGES, 0, value, NULL), 0);
    pool_finish(&w->pool, &o, -ENOSPC);
    assert_int_equal(ask(w, 1, ALLOT__OP__OP_ALLOC_PAGES, 0, 9, &value), ALLOT__ERROR__E_QUOTA);
    assert_int_equal(value, 8);
    /* IDs are no bytes. */
    assert_int_equal(ask(w, 1, ALLOT__OP__OP_ALLOC_IDS, 0, 900, NULL), 0);
    pool_reclaim(&w->pool, 1, 10);
    check_empty(w);
}

static void test_pool__quota_lowered_below_what_is_held(void **state)
{
    struct world *w = *state;
    uint64_t position = alloc(w, 0, 50000);
    uint64_t value;

    w->pool.config.quota = 100;
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ALLOC, 0, 1, &value), ALLOT__ERROR__E_QUOTA);
    assert_int_equal(value, 0);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_RESIZE, position, 50001, &value),
                     ALLOT__ERROR__E_QUOTA);
    assert_int_equal(value, 50000);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_RESIZE, position, 40000, NULL), 0);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_FREE, position, 40000, NULL), 0);
    check_empty(w);
}

static void test_pool__a_full_ledger_refuses(void **state)
{
    struct world *w = *state;

    w->pool.config.allocations_max = 2;
    uint64_t first = alloc(w, 0, 16);
    alloc(w, 0, 16);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ALLOC_IDS, 0, 1, NULL), ALLOT__ERROR__E_LIMIT);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_FREE, first, 0, NULL), 0);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ALLOC_IDS, 0, 1, NULL), 0);
    pool_reclaim(&w->pool, 0, 10);
    check_empty(w);
}

/* A place names no alignment; what stands in the field does not count. */
static void test_pool__alignment_at_a_place_is_ignored(void **state)
{
    struct world *w = *state;
    struct pool_operation o = operation(w, 0, ALLOT__OP__OP_ALLOC_PAGES_AT, 5 * PAGE, 1);

    o.align = 3;
    assert_int_equal(run(w, &o, 0), ALLOT__ERROR__E_OK);
    o = operation(w, 0, ALLOT__OP__OP_ALLOC_IDS_AT, 5, 1);
    o.align = UINT64_MAX;
    assert_int_equal(run(w, &o, 0), ALLOT__ERROR__E_OK);
    o = operation(w, 0, ALLOT__OP__OP_ALLOC_PAGES, 0, 1);
    o.align = 3;
    assert_int_equal(run(w, &o, 0), ALLOT__ERROR__E_INVALID);
    pool_reclaim(&w->pool, 0, 10);
    check_empty(w);
}

/* ---- opened again ---- */

static bool page_is_committed(const struct world *w, uint64_t page)
{
    return w->pool.committed[page / 64] >> page % 64 & 1;
}

/* A page that a client touched a part of is not one that memory was found for. */
/* The heap keeps pages of its own when nothing is used: whoever wants pages gets them. */
static void test_pool__pages_kept_by_the_heap_are_had(void **state)
{
    struct world *w = *state;
    uint64_t num = w->pool.pages->ops->available_pages(w->pool.pages), kept, all;

    kept = alloc(w, 0, 100);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_FREE, kept, 100, NULL), ALLOT__ERROR__E_OK);
    assert_true(w->pool.pages->ops->available_pages(w->pool.pages) < num);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ALLOC_PAGES, 0, num, &all), ALLOT__ERROR__E_OK);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_FREE_PAGES, all, num, NULL), ALLOT__ERROR__E_OK);

    kept = alloc(w, 0, 100);
    assert_int_equal(kept % PAGE, 0);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ALLOC_PAGES_AT, kept, 1, NULL),
                     ALLOT__ERROR__E_OVERLAP);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_FREE, kept, 100, NULL), ALLOT__ERROR__E_OK);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ALLOC_PAGES_AT, kept, 1, NULL), ALLOT__ERROR__E_OK);

    /* A refusal counts what the heap gave up. */
    alloc(w, 0, 100);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ALLOC_PAGES, 0, num, &all), ALLOT__ERROR__E_NO_MEMORY);
    assert_int_equal(all, num - 2);
    assert_true(pool_check(&w->pool));
}

static void test_pool__a_touched_part_is_not_a_committed_page(void **state)
{
    struct world *w = *state;
    static const char byte = 1;

    assert_int_equal(pwrite(w->pool.fd, &byte, 1, 20 * PAGE + 5000), 1);
    for (uint64_t at = 0; at < PAGE; at += 4096)
        assert_int_equal(pwrite(w->pool.fd, &byte, 1, (off_t)(30 * PAGE + at)), 1);
    assert_int_equal(reopen(w), 0);
    assert_false(page_is_committed(w, 20));
    assert_true(page_is_committed(w, 30));
}

static void test_pool__rebuilt_sums_are_the_same(void **state)
{
    struct world *w = *state;
    uint64_t position = alloc(w, 0, 100000);

    alloc(w, 1, 3);
    assert_int_equal(ask(w, 2, ALLOT__OP__OP_ALLOC_IDS, 0, 17, NULL), 0);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ADD_MEMORY, 0, 1, NULL), 0);
    struct tally_entry before = tally_get(&w->pool.tags, TAG);
    assert_int_equal(reopen(w), 0);
    struct tally_entry after = tally_get(&w->pool.tags, TAG);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(w->pool.info->size, (PAGES / 2 + 1) * PAGE);
    assert_int_equal(pool_holding(&w->pool, 2).ids, 17);
    assert_int_equal(ask(w, 1, ALLOT__OP__OP_FREE, position, 0, NULL), ALLOT__ERROR__E_NOT_OWNER);
    for (unsigned i = 0; i < SLOTS; i++)
        pool_reclaim(&w->pool, i, 10);
    check_empty(w);
}

/* What no daemon writes: refused, and nothing is read or written outside of what is there. */
static void test_pool__damaged_description_is_refused(void **state)
{
    struct world *w = *state;
    struct ledger_pool good = *w->pool.info;
    struct ledger_pool bad[9];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        memcpy(&bad[i], &good, sizeof(good));
    bad[0].page_size = 0;
    bad[1].page_size = 4097;
    bad[2].size = 0;
    bad[3].size = (PAGES + 1) * PAGE;
    bad[4].size = PAGE + 1;
    bad[5].ids = UINT64_MAX;
    memset(bad[6].allocator, 'x', sizeof(bad[6].allocator));
    bad[7].records_top = UINT32_MAX;
    bad[8].references_top = UINT32_MAX;
    int fd = dup(w->pool.fd);
    pool_close(&w->pool);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memcpy(&w->ledger.pools[0], &bad[i], sizeof(good));
        if (pool_open(&w->pool, &w->ledger, 0, &w->config, fd) != -EBADMSG)
            fail_msg("damage %zu is not refused", i);
    }
    memcpy(&w->ledger.pools[0], &good, sizeof(good));
    assert_int_equal(pool_open(&w->pool, &w->ledger, 0, &w->config, fd), 0);
}

static void test_pool__damaged_records_are_refused(void **state)
{
    struct world *w = *state;
    struct ledger_record good;

    alloc(w, 0, 100);
    alloc(w, 0, 200);
    int fd = dup(w->pool.fd);
    struct ledger_record *r = ledger_records(&w->ledger, 0);
    ledger_reference *reference = ledger_references(&w->ledger, 0);
    uint64_t word = reference[0];
    memcpy(&good, &r[0], sizeof(good));
    pool_close(&w->pool);
    for (unsigned i = 0; i < 10; i++) {
        memcpy(&r[0], &good, sizeof(good));
        reference[0] = word;
        switch (i) {
        case 0:
            r[0].position = r[1].position;
            break;
        case 1:
            r[0].position = 0;
            break;
        case 2:
            r[0].position = UINT64_MAX - 15;
            break;
        case 3:
            r[0].size = UINT64_MAX;
            break;
        case 4:
            r[0].size = 0;
            break;
        case 5:
            r[0].kind = 0;
            break;
        case 6:
            r[0].kind = 255;
            break;
        case 7:
            r[0].align_log2 = 64;
            break;
        case 8:
            r[0].generation++;
            break;
        default:
            reference[0] = ledger_reference_word(SESSIONS_MAX, good.generation, 0);
        }
        if (pool_open(&w->pool, &w->ledger, 0, &w->config, fd) != -EBADMSG)
            fail_msg("damage %u is not refused", i);
    }
    memcpy(&r[0], &good, sizeof(good));
    reference[0] = word;
    assert_int_equal(pool_open(&w->pool, &w->ledger, 0, &w->config, fd), 0);
}

/* ---- at random ---- */

#define STEPS 20000u
#define HELD  200u

/* All operations from all sessions, memory that fails to come, reservations that overlap, and now
 * and then another daemon. The user's sum is what the live ones and the reservations say. */
static void test_pool__random_operations(void **state)
{
    struct world *w = *state;
    struct test_random random;
    uint64_t seed = test_seed(20261120);
    struct {
        Allot__Op op; /* 0: nothing here */
        unsigned slot;
        uint64_t position;
        uint64_t size; /* bytes, pages or IDs */
        bool pending;
        struct pool_operation operation;
    } held[HELD] = {0};
    uint64_t expected = 0;

    test_random_init(&random, seed);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)test_random_below(&random, HELD);
        uint64_t unit = held[i].op == ALLOT__OP__OP_ALLOC_PAGES ? PAGE
                        : held[i].op == ALLOT__OP__OP_ALLOC_IDS ? 0
                                                                : 1;
        if (!held[i].op) {
            static const Allot__Op ops[] = {ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_ALLOC_PAGES,
                                            ALLOT__OP__OP_ALLOC_IDS};
            static const uint64_t most[] = {2 * PAGE, 4, 9};
            unsigned kind = (unsigned)test_random_below(&random, 3);
            unsigned slot = (unsigned)test_random_below(&random, SLOTS);
            uint64_t size = 1 + test_random_below(&random, most[kind]);
            unit = kind == 0 ? 1 : kind == 1 ? PAGE : 0;
            struct pool_operation o = operation(w, slot, ops[kind], 0, size);
            enum pool_step pool_step = pool_execute(&w->pool, &o);
            if (pool_step == POOL_COMMIT || !o.error) {
                held[i].op = ops[kind];
                held[i].slot = slot;
                held[i].size = size;
                held[i].pending = pool_step == POOL_COMMIT;
                held[i].position = o.value;
                held[i].operation = o;
                expected += size * unit;
            }
        } else if (held[i].pending) {
            unsigned how = (unsigned)test_random_below(&random, 4);
            struct pool_operation *o = &held[i].operation;
            if (how == 0)
                pool_abandon(&w->pool, o);
            else
                pool_finish(&w->pool, o, how == 1 ? -ENOSPC : 0);
            if (how < 2) {
                held[i].op = 0;
                expected -= held[i].size * unit;
            } else {
                assert_int_equal(o->error, ALLOT__ERROR__E_OK);
                held[i].position = o->value;
            }
            held[i].pending = false;
        } else if (held[i].op == ALLOT__OP__OP_ALLOC && test_random_below(&random, 3) == 0) {
            uint64_t size = 1 + test_random_below(&random, 2 * PAGE);
            struct pool_operation o =
                operation(w, held[i].slot, ALLOT__OP__OP_RESIZE, held[i].position, size);
            int rc = test_random_below(&random, 2) ? -ENOSPC : 0;
            if (run(w, &o, rc) == ALLOT__ERROR__E_OK) {
                expected += size - held[i].size;
                held[i].size = size;
            }
        } else {
            Allot__Op op = held[i].op == ALLOT__OP__OP_ALLOC         ? ALLOT__OP__OP_FREE
                           : held[i].op == ALLOT__OP__OP_ALLOC_PAGES ? ALLOT__OP__OP_FREE_PAGES
                                                                     : ALLOT__OP__OP_FREE_IDS;
            unsigned other = (held[i].slot + 1) % SLOTS;
            assert_int_equal(ask(w, other, op, held[i].position, held[i].size, NULL),
                             ALLOT__ERROR__E_NOT_OWNER);
            assert_int_equal(ask(w, held[i].slot, op, held[i].position, held[i].size + 1, NULL),
                             ALLOT__ERROR__E_NOT_ALLOCATED);
            assert_int_equal(ask(w, held[i].slot, op, held[i].position, held[i].size, NULL),
                             ALLOT__ERROR__E_OK);
            held[i].op = 0;
            expected -= held[i].size * unit;
        }
        if (tally_get(&w->pool.users, UID).bytes != expected) {
            test_seed_print(seed);
            fail_msg("step %u: charged %llu, not %llu", step,
                     (unsigned long long)tally_get(&w->pool.users, UID).bytes,
                     (unsigned long long)expected);
        }
        if (step % 1000 != 999)
            continue;
        for (unsigned j = 0; j < HELD; j++) {
            if (!held[j].op || !held[j].pending)
                continue;
            pool_abandon(&w->pool, &held[j].operation);
            expected -= held[j].size * (held[j].op == ALLOT__OP__OP_ALLOC_PAGES ? PAGE
                                        : held[j].op == ALLOT__OP__OP_ALLOC     ? 1
                                                                                : 0);
            held[j].op = 0;
        }
        if (!pool_check(&w->pool) || reopen(w)) {
            test_seed_print(seed);
            fail_msg("step %u: the pool is not in order", step);
        }
    }
    for (unsigned i = 0; i < SLOTS; i++)
        while (pool_reclaim(&w->pool, i, 5))
            ;
    check_empty(w);
}

#define pool_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(test_references__the_last_one_frees),
        pool_test(test_references__stale_forged_and_foreign_tickets),
        pool_test(test_references__of_a_dead_session_only),
        pool_test(test_references__frozen_for_good),
        pool_test(test_parcels__outlive_the_sender),
        pool_test(test_parcels__of_anyone_go_to_the_first),
        pool_test(test_parcels__end_with_deadline_or_receiver),
        pool_test(test_parcels__refused),
        pool_test(test_references__generations_of_two_pools_differ),
        pool_test(test_pool__refused_memory_leaves_nothing),
        pool_test(test_pool__refused_resize_leaves_the_block),
        pool_test(test_pool__resize_overtaken),
        pool_test(test_pool__abandoned_reservation_is_given_back),
        pool_test(test_pool__quota_counts_reservations),
        pool_test(test_pool__quota_lowered_below_what_is_held),
        pool_test(test_pool__a_full_ledger_refuses),
        pool_test(test_pool__alignment_at_a_place_is_ignored),
        pool_test(test_pool__pages_kept_by_the_heap_are_had),
        pool_test(test_pool__a_touched_part_is_not_a_committed_page),
        pool_test(test_pool__rebuilt_sums_are_the_same),
        pool_test(test_pool__damaged_description_is_refused),
        pool_test(test_pool__damaged_records_are_refused),
        pool_test(test_pool__random_operations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
