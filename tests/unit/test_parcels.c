/* SPDX-License-Identifier: MIT */
/* The index of parcels: a seeded run against a plain array, and what a second opening derives. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "parcels.h"
#include "support.h"

#define SLOTS 5u
#define USERS 3u
#define STEPS 200000u

struct world {
    struct ledger ledger;
    struct records records;
    struct parcels parcels;
    uint32_t record; /* that all of them hold */
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct records *r = &w->records;
    uint32_t reference;
    uint32_t committed;
    uint64_t id;

    assert_int_equal(ledger_create(&w->ledger), 0);
    for (unsigned i = 0; i < SLOTS; i++)
        assert_int_equal(ledger_session_open(&w->ledger, i, 1, 1, 1, 1, &id), 0);
    assert_int_equal(records_open(r, &w->ledger, 0), 0);
    assert_int_equal(records_grow_file(r, &committed), 0); /* for PARCELS_MAX and one more */
    assert_int_equal(records_grow(r, committed), 0);
    assert_true(records_reserve(r, &w->record));
    assert_true(records_reserve_reference(r, &reference));
    r->record[w->record].kind = RECORD_BYTES;
    records_commit(r, w->record, reference,
                   ledger_reference_word(0, r->record[w->record].generation, w->record));
    assert_int_equal(parcels_open(&w->parcels, r), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    parcels_close(&w->parcels);
    records_close(&w->records);
    ledger_close(&w->ledger);
    free(w);
    return 0;
}

/* What is on its way, by the parcel's index. */
struct model {
    bool live;
    struct ledger_parcel content;
};

static bool add(struct world *w, struct model *model, const struct ledger_parcel *content)
{
    uint16_t parcel;
    uint32_t reference;

    if (!parcels_reserve(&w->parcels, content->uid, &parcel))
        return false;
    assert_false(model[parcel].live);
    assert_true(records_reserve_reference(&w->records, &reference));
    w->parcels.parcel[parcel] = *content;
    records_commit_reference(&w->records, reference,
                             ledger_reference_word_of(HOLDER_PARCEL, parcel, w->record));
    parcels_add(&w->parcels, parcel, reference);
    model[parcel] = (struct model){true, *content};
    return true;
}

static void end(struct world *w, struct model *model, uint16_t parcel)
{
    uint32_t reference = parcels_reference(&w->parcels, parcel);

    assert_true(model[parcel].live);
    model[parcel].live = false;
    assert_int_equal(ledger_reference_index(w->records.reference[reference]), parcel);
    parcels_remove(&w->parcels, parcel);
    assert_false(records_drop(&w->records, reference));
}

static void check_model(const struct world *w, const struct model *model)
{
    uint64_t earliest = UINT64_MAX;
    unsigned to[SLOTS] = {0};
    unsigned from[USERS] = {0};
    unsigned count = 0;

    for (unsigned i = 0; i < PARCELS_MAX; i++) {
        if (!model[i].live)
            continue;
        count++;
        from[model[i].content.uid]++;
        if (model[i].content.receiver)
            to[model[i].content.slot]++;
        if (model[i].content.deadline < earliest)
            earliest = model[i].content.deadline;
    }
    assert_int_equal(w->parcels.count, count);
    uint16_t due = parcels_first_due(&w->parcels);
    assert_true(due == PARCELS_NONE ? count == 0 : model[due].content.deadline == earliest);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        uint16_t first = parcels_first_to(&w->parcels, slot);
        assert_true((first != PARCELS_NONE) == (to[slot] > 0));
        if (first != PARCELS_NONE)
            assert_true(model[first].live && model[first].content.slot == slot);
    }
    for (uint32_t uid = 0; uid < USERS; uid++)
        assert_int_equal(tally_get(&w->parcels.users, uid).allocations, from[uid]);
}

static void test_parcels__random_run(void **state)
{
    static struct model model[PARCELS_MAX];
    struct world *w = *state;
    uint64_t seed = test_seed(0x9a4ce1);
    struct test_random random;
    bool was_full = false;

    test_random_init(&random, seed);
    fprintf(stderr, "seed 0x%" PRIx64 "\n", seed);
    for (unsigned step = 0; step < STEPS; step++) {
        bool fill = step / 20000 % 2 == 0;
        unsigned slot = (unsigned)test_random_below(&random, SLOTS);
        if (test_random_below(&random, 4) < (fill ? 3 : 1)) {
            struct ledger_parcel content = {.deadline = test_random_below(&random, 1000),
                                            .slot = slot,
                                            .uid = (uint32_t)test_random_below(&random, USERS)};
            if (test_random_below(&random, 2))
                content.receiver = w->ledger.sessions[slot].id;
            unsigned of_user = tally_get(&w->parcels.users, content.uid).allocations;
            bool room = w->parcels.count < PARCELS_MAX && of_user < PARCELS_USER_MAX;
            assert_true(add(w, model, &content) == room);
            was_full |= w->parcels.count == PARCELS_MAX;
        } else {
            uint16_t parcel = test_random_below(&random, 2) ? parcels_first_due(&w->parcels)
                                                            : parcels_first_to(&w->parcels, slot);
            if (parcel != PARCELS_NONE)
                end(w, model, parcel);
        }
        if (step % 100 == 0)
            check_model(w, model);
        if (step % 10000 != 0)
            continue;
        parcels_close(&w->parcels);
        assert_int_equal(parcels_open(&w->parcels, &w->records), 0);
        check_model(w, model);
    }
    assert_true(was_full);
}

/* A word that no daemon has written. */
static void test_parcels__damage_is_refused(void **state)
{
    static struct model model[PARCELS_MAX];
    struct world *w = *state;
    struct ledger_parcel content = {.deadline = 1, .slot = 1, .receiver = w->ledger.sessions[1].id};

    memset(model, 0, sizeof(model));
    assert_true(add(w, model, &content) && add(w, model, &content));
    ledger_reference *word = &w->records.reference[parcels_reference(&w->parcels, 1)];
    uint64_t sound = *word;
    static const uint16_t bad[] = {0, PARCELS_MAX, UINT16_MAX}; /* the first: twice the same */
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        *word = ledger_reference_word_of(HOLDER_PARCEL, bad[i], w->record);
        parcels_close(&w->parcels);
        assert_int_equal(parcels_open(&w->parcels, &w->records), -EBADMSG);
    }
    *word = sound;
    ledger_parcels(&w->ledger, 0)[1].receiver++;
    assert_int_equal(parcels_open(&w->parcels, &w->records), -EBADMSG);
    ledger_parcels(&w->ledger, 0)[1].receiver--;
    assert_int_equal(parcels_open(&w->parcels, &w->records), 0);
    check_model(w, model);
}

#define parcels_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        parcels_test(test_parcels__random_run),
        parcels_test(test_parcels__damage_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
