/* SPDX-License-Identifier: MIT */
/*
 * A pool without a daemon around it. The caller's part between pool_execute() and pool_finish() is
 * played here, so a test decides when memory comes, and whether.
 */
#ifndef ALLOT_TEST_POOL_WORLD_H
#define ALLOT_TEST_POOL_WORLD_H

#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool.h"
#include "region.h"

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

static inline int setup(void **state)
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

static inline int teardown(void **state)
{
    struct world *w = *state;

    pool_close(&w->pool);
    ledger_close(&w->ledger);
    free(w);
    return 0;
}

/* As if the daemon had been killed and another had come. */
static inline int reopen(struct world *w)
{
    int fd = dup(w->pool.fd);

    pool_close(&w->pool);
    int rc = pool_open(&w->pool, &w->ledger, 0, &w->config, fd);
    if (rc)
        close(fd);
    else
        assert_true(pool_check(&w->pool));
    return rc;
}

static inline struct pool_operation operation(struct world *w, unsigned slot, Allot__Op op,
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
static inline Allot__Error run(struct world *w, struct pool_operation *o, int commit_rc)
{
    if (pool_execute(&w->pool, o) == POOL_COMMIT)
        pool_finish(&w->pool, o,
                    commit_rc ? commit_rc
                              : region_commit(w->pool.fd, o->commit_offset, o->commit_size));
    assert_true(o->entry->result == (LEDGER_ANSWERED | (uint64_t)o->error));
    return o->error;
}

static inline Allot__Error ask(struct world *w, unsigned slot, Allot__Op op, uint64_t position,
                               uint64_t size, uint64_t *ret_value)
{
    struct pool_operation o = operation(w, slot, op, position, size);
    Allot__Error error = run(w, &o, 0);

    if (ret_value)
        *ret_value = o.value;
    return error;
}

static inline uint64_t alloc(struct world *w, unsigned slot, uint64_t size)
{
    uint64_t position = 0;

    assert_int_equal(ask(w, slot, ALLOT__OP__OP_ALLOC, 0, size, &position), ALLOT__ERROR__E_OK);
    return position;
}

/* Nothing is held, reserved or charged. */
static inline void check_empty(struct world *w)
{
    assert_true(pool_check(&w->pool));
    assert_int_equal(pool_live(&w->pool), 0);
    assert_int_equal(w->pool.users.count, 0);
    assert_int_equal(w->pool.parcels.count, 0);
    assert_int_equal(w->pool.parcels.users.count, 0);
    assert_int_equal(w->pool.tags.count, 0);
    assert_int_equal(w->pool.used_bytes, 0);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct records_holding holding = pool_holding(&w->pool, i);
        assert_int_equal(holding.allocations | holding.bytes | holding.ids, 0);
    }
}

struct ticket {
    uint64_t place;
    uint64_t generation;
};

static inline struct ticket alloc_ticket(struct world *w, unsigned slot, Allot__Op op,
                                         uint64_t kind, uint64_t size)
{
    struct pool_operation o = operation(w, slot, op, 0, size);

    assert_int_equal(run(w, &o, 0), ALLOT__ERROR__E_OK);
    assert_true(o.generation != 0 && o.entry->generation == o.generation);
    return (struct ticket){kind << CODEC_KIND_SHIFT | o.value, o.generation};
}

static inline Allot__Error ask_for(struct world *w, unsigned slot, Allot__Op op, struct ticket t,
                                   uint64_t *ret_value)
{
    struct pool_operation o = operation(w, slot, op, t.place, 0);

    o.generation = t.generation;
    Allot__Error error = run(w, &o, 0);
    if (ret_value)
        *ret_value = o.value;
    return error;
}

static inline Allot__Error acquire(struct world *w, unsigned slot, struct ticket t,
                                   uint64_t *ret_size)
{
    return ask_for(w, slot, ALLOT__OP__OP_ACQUIRE, t, ret_size);
}

static inline Allot__Error release(struct world *w, unsigned slot, struct ticket t)
{
    return ask_for(w, slot, ALLOT__OP__OP_RELEASE, t, NULL);
}

static inline Allot__Error freeze(struct world *w, unsigned slot, struct ticket t)
{
    return ask_for(w, slot, ALLOT__OP__OP_FREEZE, t, NULL);
}

static inline uint64_t position_of(struct ticket t)
{
    return t.place & ((UINT64_C(1) << CODEC_KIND_SHIFT) - 1);
}

#define pool_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
