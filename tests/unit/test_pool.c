/* SPDX-License-Identifier: MIT */
/*
 * A pool's space: memory that cannot be had, quotas, and what a second opening of the same ledger
 * and region makes of both. Who holds what is test_pool_references's.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "pool_world.h"
#include "support.h"

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

/* Makes the heap larger than what is committed: a block behind, given back again. */
static void make_room_behind(struct world *w)
{
    uint64_t behind = alloc(w, 1, 1);

    assert_int_equal(ask(w, 1, ALLOT__OP__OP_FREE, behind, 1, NULL), 0);
}

static void test_pool__refused_resize_leaves_the_block(void **state)
{
    struct world *w = *state;
    uint64_t position = alloc(w, 1, 1000);
    struct pool_operation o = operation(w, 1, ALLOT__OP__OP_RESIZE, position, 3 * PAGE);

    make_room_behind(w);
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
        make_room_behind(w);
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

/* A page that a client touched a part of is not one that memory was found for. */
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

/* However those who are charged alike lie in a row or apart, and among them 0. */
static void test_pool__rebuilt_sums_of_each(void **state)
{
    struct world *w = *state;
    struct tally_entry users[3];
    struct tally_entry tags[3];

    for (unsigned i = 0; i < 60; i++) {
        struct pool_operation o =
            operation(w, i % 2, i % 7 ? ALLOT__OP__OP_ALLOC : ALLOT__OP__OP_ALLOC_IDS, 0, 1 + i);
        o.uid = i / 5 % 3;
        o.tag = i / 8 % 3;
        assert_int_equal(run(w, &o, 0), ALLOT__ERROR__E_OK);
    }
    for (uint32_t i = 0; i < 3; i++) {
        users[i] = tally_get(&w->pool.users, i);
        tags[i] = tally_get(&w->pool.tags, i);
    }
    struct records_holding holding = pool_holding(&w->pool, 1);
    assert_int_equal(reopen(w), 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct tally_entry user = tally_get(&w->pool.users, i);
        struct tally_entry tag = tally_get(&w->pool.tags, i);
        assert_memory_equal(&user, &users[i], sizeof(user));
        assert_memory_equal(&tag, &tags[i], sizeof(tag));
    }
    assert_int_equal(pool_holding(&w->pool, 1).allocations, 30);
    assert_int_equal(pool_holding(&w->pool, 1).bytes, holding.bytes);
    assert_int_equal(pool_holding(&w->pool, 1).ids, holding.ids);
    for (unsigned i = 0; i < 2; i++)
        pool_reclaim(&w->pool, i, 100);
    check_empty(w);
}

/* Tags are users' to choose, and a list looks at all of them under the lock. */
static void test_pool__tags_that_are_not_told_apart(void **state)
{
    struct world *w = *state;

    for (uint32_t i = 0; i < TAGS_MAX + 100; i++) {
        struct pool_operation o = operation(w, 0, ALLOT__OP__OP_ALLOC, 0, 16);
        o.tag = 1 + i;
        assert_int_equal(run(w, &o, 0), ALLOT__ERROR__E_OK);
    }
    struct pool_operation again = operation(w, 0, ALLOT__OP__OP_ALLOC, 0, 16);
    again.tag = TAGS_MAX;
    assert_int_equal(run(w, &again, 0), ALLOT__ERROR__E_OK);
    for (int rebuilt = 0; rebuilt <= 1; rebuilt++) {
        assert_int_equal(w->pool.tags.count, TAGS_MAX + 1);
        assert_int_equal(tally_get(&w->pool.tags, 0).allocations, 100);
        assert_int_equal(tally_get(&w->pool.tags, TAGS_MAX).allocations, 2);
        if (!rebuilt)
            assert_int_equal(reopen(w), 0);
    }
    pool_reclaim(&w->pool, 0, 2 * TAGS_MAX);
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

/* What overlaps, of whatever kinds, and in whatever order the ledger has it. */
static void test_pool__overlapping_records_are_refused(void **state)
{
    struct world *w = *state;
    uint64_t pages, ids;

    uint64_t block = alloc(w, 0, 1000);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ALLOC_PAGES, 0, 2, &pages), ALLOT__ERROR__E_OK);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ALLOC_IDS, 0, 4, &ids), ALLOT__ERROR__E_OK);
    assert_int_equal(ask(w, 0, ALLOT__OP__OP_ALLOC_IDS, 0, 4, NULL), ALLOT__ERROR__E_OK);
    struct ledger_record *r = ledger_records(&w->ledger, 0);
    struct {
        uint32_t record;
        uint64_t position;
        uint64_t size;
    } bad[] = {
        {0, pages, 1000},                     /* in a page run */
        {0, pages - PAGE, PAGE + 1},          /* into its first page */
        {0, pages + PAGE, 1000},              /* in its last page */
        {1, block / PAGE * PAGE, 2 * PAGE},   /* over the block */
        {1, pages, 2 * PAGE + 1},             /* no whole pages */
        {1, pages, 0},                        /* no pages */
        {1, pages, UINT64_MAX / PAGE * PAGE}, /* all there ever were */
        {1, pages + 4096, PAGE},              /* between two */
        {3, ids, 4},                          /* twice */
        {3, ids + 3, 1},                      /* the last one twice */
        {3, 0, 4},                            /* none has that number */
        {3, 999, UINT64_MAX},
    };
    int fd = dup(w->pool.fd);
    pool_close(&w->pool);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct ledger_record *spoilt = &r[bad[i].record];
        uint64_t position = spoilt->position;
        uint64_t size = spoilt->size;
        spoilt->position = bad[i].position;
        spoilt->size = bad[i].size;
        if (pool_open(&w->pool, &w->ledger, 0, &w->config, fd) != -EBADMSG)
            fail_msg("damage %zu is not refused", i);
        spoilt->position = position;
        spoilt->size = size;
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        pool_test(test_pool__rebuilt_sums_of_each),
        pool_test(test_pool__tags_that_are_not_told_apart),
        pool_test(test_pool__damaged_description_is_refused),
        pool_test(test_pool__damaged_records_are_refused),
        pool_test(test_pool__overlapping_records_are_refused),
        pool_test(test_pool__random_operations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
