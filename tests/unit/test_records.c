/* SPDX-License-Identifier: MIT */
/*
 * The records of one pool: a seeded run against a plain array, and what a second opening derives.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "records.h"
#include "support.h"

#define SLOTS 5u
#define HELD  12000u /* more than two steps of room */
#define STEPS 200000u

struct world {
    struct ledger ledger;
    struct records records;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    uint64_t id;

    assert_int_equal(ledger_create(&w->ledger), 0);
    for (unsigned i = 0; i < SLOTS; i++)
        assert_int_equal(ledger_session_open(&w->ledger, i, 1, 1, 1, 1, &id), 0);
    assert_int_equal(records_open(&w->records, &w->ledger, 0), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    records_close(&w->records);
    ledger_close(&w->ledger);
    free(w);
    return 0;
}

static void make_room(struct records *r)
{
    uint32_t committed;

    if (!records_low(r))
        return;
    assert_int_equal(records_grow_file(r, &committed), 0);
    assert_int_equal(records_grow(r, committed), 0);
    assert_false(records_low(r));
}

static uint32_t add(struct records *r, unsigned slot, enum record_kind kind, uint64_t position)
{
    uint32_t record;
    uint32_t reference;

    make_room(r);
    assert_true(records_reserve(r, &record));
    assert_true(records_reserve_reference(r, &reference));
    r->record[record].position = position;
    r->record[record].size = position + 1;
    r->record[record].kind = (uint8_t)kind;
    records_commit(r, record, reference,
                   ledger_reference_word(slot, r->record[record].generation, record));
    return record;
}

static void test_records__ids_have_positions_of_their_own(void **state)
{
    struct records *r = &((struct world *)*state)->records;
    uint32_t ids = add(r, 0, RECORD_IDS, 4096);
    uint32_t bytes = add(r, 1, RECORD_BYTES, 4096);

    assert_int_equal(records_find(r, RECORD_IDS, 4096), ids);
    assert_int_equal(records_find(r, RECORD_BYTES, 4096), bytes);
    assert_int_equal(records_find(r, RECORD_PAGES, 4096), RECORDS_NONE);
    assert_int_equal(records_reference_of(r, bytes, 0), RECORDS_NONE);
    assert_true(records_drop(r, records_reference_of(r, bytes, 1)));
    assert_int_equal(records_find(r, RECORD_BYTES, 4096), RECORDS_NONE);
    assert_int_equal(records_find(r, RECORD_IDS, 4096), ids);
}

/* A reservation that is not committed costs a generation and nothing else. */
static void test_records__a_reservation_not_used_is_free(void **state)
{
    struct records *r = &((struct world *)*state)->records;
    uint32_t first;
    uint32_t again;
    uint32_t reference;
    uint32_t other;

    assert_true(records_reserve(r, &first));
    assert_true(records_reserve_reference(r, &reference));
    uint64_t generation = r->record[first].generation;
    assert_true(records_reserve(r, &again));
    assert_true(records_reserve_reference(r, &other));
    assert_int_equal(again, first);
    assert_int_equal(other, reference);
    assert_int_equal(r->record[again].generation, generation + 1);
    assert_int_equal(r->live, 0);
    assert_int_equal(r->info->records_top, 1);
}

static void add_reference(struct records *r, unsigned slot, uint32_t record)
{
    uint32_t reference;

    make_room(r);
    assert_true(records_reserve_reference(r, &reference));
    records_commit_reference(r, reference,
                             ledger_reference_word(slot, r->record[record].generation, record));
}

/* Whatever slots were used in between: at one place two grants never have the same. */
static void test_records__no_generation_comes_twice(void **state)
{
    struct records *r = &((struct world *)*state)->records;
    uint64_t last = r->info->generation;

    for (unsigned i = 0; i < 100; i++) {
        uint32_t other = i % 3 ? RECORDS_NONE : add(r, 1, RECORD_IDS, 16 + i);
        uint32_t record = add(r, 0, RECORD_BYTES, 16);
        assert_true(r->record[record].generation > last);
        last = r->record[record].generation;
        assert_true(records_drop(r, records_first_held(r, 0)));
        if (other != RECORDS_NONE && i % 2)
            assert_true(records_drop(r, records_reference_of(r, other, 1)));
    }
}

static void test_records__live_until_the_last_reference_goes(void **state)
{
    struct records *r = &((struct world *)*state)->records;
    uint32_t record = add(r, 0, RECORD_BYTES, 4096);

    assert_true(records_is_sole(r, record, records_reference_of(r, record, 0)));
    for (unsigned slot = 1; slot < SLOTS; slot++)
        add_reference(r, slot, record);
    assert_false(records_is_sole(r, record, records_reference_of(r, record, 0)));
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        assert_true(records_is_live(r, record));
        assert_int_equal(records_find(r, RECORD_BYTES, 4096), record);
        uint32_t reference = records_reference_of(r, record, slot);
        assert_int_equal(records_is_sole(r, record, reference), slot == SLOTS - 1);
        assert_int_equal(records_drop(r, reference), slot == SLOTS - 1);
        assert_int_equal(records_reference_of(r, record, slot), RECORDS_NONE);
    }
    assert_false(records_is_live(r, record));
    assert_int_equal(records_find(r, RECORD_BYTES, 4096), RECORDS_NONE);
}

/* ---- in order ---- */

struct visited {
    uint32_t count;
    uint32_t stop_at; /* 0: never */
    uint64_t last;
};

static int visit(void *ctx, const struct ledger_record *record)
{
    struct visited *v = ctx;

    assert_true(record->position >= v->last);
    v->last = record->position;
    return ++v->count == v->stop_at ? -EINTR : 0;
}

static void check_order(struct world *w)
{
    struct records *r = &w->records;
    struct visited all = {0};
    struct visited half = {.stop_at = r->live / 2};

    records_close(r);
    assert_int_equal(records_open(r, &w->ledger, 0), 0);
    assert_int_equal(records_visit(r, visit, &all), 0);
    assert_int_equal(all.count, r->live);
    assert_int_equal(records_visit(r, visit, &half), -EINTR);
    assert_int_equal(half.count, r->live / 2);
}

static void test_records__visited_by_position(void **state)
{
    struct world *w = *state;
    struct records *r = &w->records;
    const uint64_t step = UINT64_C(0x300000001);
    const unsigned count = 1000;
    struct visited none = {0};

    assert_int_equal(records_visit(r, visit, &none), 0);
    assert_int_equal(none.count, 0);
    for (unsigned i = 0; i < count; i++)
        add(r, i % 3, RECORD_BYTES, i * step);
    check_order(w);
    while (records_first_held(r, 1) != RECORDS_NONE)
        records_drop(r, records_first_held(r, 1));
    check_order(w);
    /* Into the gaps: far from where their records lie. */
    for (unsigned i = 0; i < count / 3; i++)
        add(r, 2, i % 2 ? RECORD_IDS : RECORD_PAGES, i * 7 % count * step);
    check_order(w);
}

/* ---- at random ---- */

struct held {
    unsigned slots; /* a bit each; 0: not live */
    enum record_kind kind;
    uint32_t record;
};

/* Positions in a row and far apart, whose low bits say nothing. */
static uint64_t position_of(uint32_t i)
{
    return i % 2 ? i * UINT64_C(16) : i * UINT64_C(0x100000001000);
}

static void check_model(const struct records *r, const struct held *held)
{
    uint64_t by_slot[SLOTS] = {0};
    uint32_t live = 0;

    for (uint32_t i = 0; i < HELD; i++) {
        uint32_t record = records_find(r, held[i].kind, position_of(i));
        if (!held[i].slots) {
            assert_int_equal(record, RECORDS_NONE);
            continue;
        }
        assert_int_equal(record, held[i].record);
        assert_int_equal(r->record[record].size, position_of(i) + 1);
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            uint32_t reference = records_reference_of(r, record, slot);
            assert_true((reference != RECORDS_NONE) == (held[i].slots >> slot & 1));
            if (reference == RECORDS_NONE)
                continue;
            assert_int_equal(ledger_reference_record(r->reference[reference]), record);
            by_slot[slot]++;
        }
        live++;
    }
    assert_int_equal(r->live, live);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        assert_true((records_first_held(r, slot) != RECORDS_NONE) == (by_slot[slot] > 0));
}

static void test_records__random_run(void **state)
{
    struct world *w = *state;
    static struct held held[HELD];
    uint64_t seed = test_seed(0x4ec04d5);
    struct test_random random;

    test_random_init(&random, seed);
    fprintf(stderr, "seed 0x%" PRIx64 "\n", seed);
    for (uint32_t i = 0; i < HELD; i++)
        held[i] = (struct held){.kind = RECORD_BYTES};
    for (unsigned step = 0; step < STEPS; step++) {
        uint32_t i = (uint32_t)test_random_below(&random, HELD);
        struct held *h = &held[i];
        /* Waves of filling and emptying. */
        bool fill = step / 30000 % 2 == 0;
        unsigned slot = (unsigned)test_random_below(&random, SLOTS);
        bool holds = h->slots >> slot & 1;
        if (!holds && (fill || test_random_below(&random, 4) == 0)) {
            if (h->slots) {
                add_reference(&w->records, slot, h->record);
            } else {
                h->kind = (enum record_kind)(RECORD_BYTES + test_random_below(&random, 3));
                h->record = add(&w->records, slot, h->kind, position_of(i));
            }
            h->slots |= 1u << slot;
        } else if (holds && (!fill || test_random_below(&random, 4) == 0)) {
            h->slots &= ~(1u << slot);
            bool last =
                records_drop(&w->records, records_reference_of(&w->records, h->record, slot));
            assert_true(last == !h->slots);
        }
        if (step % 20000 != 19999)
            continue;
        check_model(&w->records, held);
        records_close(&w->records);
        assert_int_equal(records_open(&w->records, &w->ledger, 0), 0);
        check_model(&w->records, held);
    }
    for (unsigned slot = 0; slot < SLOTS; slot++)
        for (uint32_t at; (at = records_first_held(&w->records, slot)) != RECORDS_NONE;)
            records_drop(&w->records, at);
    assert_int_equal(w->records.live, 0);
    assert_int_equal(w->records.free_records, w->records.info->records_top);
}

#define records_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        records_test(test_records__ids_have_positions_of_their_own),
        records_test(test_records__a_reservation_not_used_is_free),
        records_test(test_records__no_generation_comes_twice),
        records_test(test_records__live_until_the_last_reference_goes),
        records_test(test_records__visited_by_position),
        records_test(test_records__random_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
