/* SPDX-License-Identifier: MIT */
/*
 * The names of one pool: what a name is, a seeded run against a plain array, and what a second
 * opening derives, or refuses.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "names.h"
#include "support.h"

#define WORDS  700u /* more than two steps of room; not all are taken at a time */
#define USERS  3u
#define STEPS  60000u
#define RECORD 5u /* what each of them names; these tables do not look at it */

struct world {
    struct ledger ledger;
    struct names names;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_int_equal(ledger_create(&w->ledger), 0);
    assert_int_equal(ledger_commit_part(&w->ledger, 0, 0, LEDGER_NAMES), 0);
    w->ledger.pools[0].references_top = LEDGER_NAMES;
    assert_int_equal(names_open(&w->names, &w->ledger, 0), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    names_close(&w->names);
    ledger_close(&w->ledger);
    free(w);
    return 0;
}

static void make_room(struct names *n)
{
    uint32_t committed = 0;

    if (!names_low(n))
        return;
    assert_int_equal(names_grow_file(n, &committed), 0);
    n->committed = committed;
    assert_false(names_low(n));
}

static void store(struct world *w, uint32_t reference, uint32_t index)
{
    ledger_references(&w->ledger, 0)[reference] =
        ledger_reference_word_of(HOLDER_NAME, (uint16_t)index, RECORD);
}

static uint32_t add(struct world *w, const char *name, uint32_t uid, uint32_t reference)
{
    uint32_t index;

    make_room(&w->names);
    assert_true(names_reserve(&w->names, name, uid, uid + 1, &index));
    store(w, reference, index);
    names_add(&w->names, index, reference);
    return index;
}

static void test_names__what_is_one(void **state)
{
    static const char *const good[] = {
        "a",
        "camera/0:left",
        " ",
        "gr\xc3\xbc\xc3\x9f",       /* two bytes each */
        "\xe2\x82\xac",             /* three */
        "\xf0\x9f\x90\xa7",         /* four */
        "\xc2\xa0",                 /* the first above the controls */
        "\xed\x9f\xbf\xee\x80\x80", /* around the surrogates */
        "\xf4\x8f\xbf\xbf",         /* the last there is */
        "123456789 123456789 123456789 123456789 123456789 123456789 123",
    };
    static const char *const bad[] = {
        "",
        "123456789 123456789 123456789 123456789 123456789 123456789 1234",
        "a\nb",
        "\x01",
        "a\x7f",
        "\xc2\x80", /* controls above ASCII */
        "\xc2\x9f",
        "\x80",  /* a part of nothing */
        "a\xc3", /* cut */
        "\xe2\x82",
        "\xf0\x9f\x90",
        "\xc0\xaf", /* overlong */
        "\xe0\x9f\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xed\xa0\x80",     /* a surrogate */
        "\xf4\x90\x80\x80", /* above all */
        "\xf8\x88\x80\x80\x80",
        "\xff",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!names_is_name(good[i]))
            fail_msg("good %zu is refused", i);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (names_is_name(bad[i]))
            fail_msg("bad %zu is taken", i);
}

static void test_names__listed_by_prefix(void **state)
{
    struct world *w = *state;
    struct names *n = &w->names;
    static const char *const all[] = {"b/2", "a", "b", "b/10", "b/1", "c", "b0", "b/"};
    static const char *const listed[] = {"b/", "b/1", "b/10", "b/2"};
    const char *after = "";

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        add(w, all[i], 1, i);
    for (unsigned i = 0; i < 4; i++) {
        uint32_t at = names_after(n, "b/", after);
        assert_true(names_has_prefix(n, at, "b/"));
        after = n->name[n->order[at]].name;
        assert_string_equal(after, listed[i]);
    }
    assert_int_equal(names_after(n, "b/", after), n->live);
    assert_int_equal(names_after(n, "b/", "b/3"), n->live);
    assert_int_equal(names_after(n, "d", ""), n->live);
    assert_int_equal(names_after(n, "", "c"), n->live);
    assert_int_equal(names_after(n, "", ""), 0);
    /* One that is not there any more is still a place to go on from. */
    assert_string_equal(n->name[n->order[names_after(n, "b/", "b/11")]].name, "b/2");
}

static void test_names__a_reservation_not_used_is_free(void **state)
{
    struct names *n = &((struct world *)*state)->names;
    uint32_t first;
    uint32_t again;

    assert_true(names_reserve(n, "one", 1, 1, &first));
    assert_true(names_reserve(n, "two", 1, 1, &again));
    assert_int_equal(first, again);
    assert_int_equal(n->live, 0);
    assert_int_equal(n->info->names_sequence, 2);
    assert_int_equal(names_find(n, "two"), NAMES_NONE);
    assert_null(names_check(n));
}

/* Where all are live one can still be replaced, and no more. */
static void test_names__full(void **state)
{
    struct world *w = *state;
    struct names *n = &w->names;
    char name[16];
    uint32_t index;

    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        snprintf(name, sizeof(name), "%u", i);
        add(w, name, 1, i);
    }
    make_room(n);
    assert_int_equal(names_of_user(n, 1), NAMES_MAX);
    for (unsigned round = 0; round < 3; round++) {
        uint32_t old = names_find(n, "77");
        assert_true(names_reserve(n, "77", 1, 1, &index));
        store(w, n->references[old], index);
        names_replace(n, old, index);
        assert_int_equal(names_find(n, "77"), index);
        assert_null(names_check(n));
    }
    add(w, "one more", 1, NAMES_MAX);
    assert_false(names_low(n));
    assert_false(names_reserve(n, "and one", 1, 1, &index));
}

/* ---- damage ---- */

static void check_refused(struct world *w)
{
    names_close(&w->names);
    assert_int_equal(names_open(&w->names, &w->ledger, 0), -EBADMSG);
}

static void test_names__two_of_one_name(void **state)
{
    struct world *w = *state;
    uint32_t one = add(w, "one", 1, 0);

    add(w, "two", 1, 1);
    strcpy(ledger_names(&w->ledger, 0)[one].name, "two");
    check_refused(w);
}

static void test_names__two_references_to_one(void **state)
{
    struct world *w = *state;

    store(w, 1, add(w, "one", 1, 0));
    check_refused(w);
}

static void test_names__never_used(void **state)
{
    struct world *w = *state;

    store(w, 0, w->names.info->names_top);
    check_refused(w);
}

static void test_names__no_name(void **state)
{
    struct world *w = *state;

    memset(ledger_names(&w->ledger, 0)[add(w, "one", 1, 0)].name, 'x', CODEC_NAME_MAX + 1);
    check_refused(w);
}

static void test_names__of_a_change_to_come(void **state)
{
    struct world *w = *state;

    ledger_names(&w->ledger, 0)[add(w, "one", 1, 0)].sequence++;
    check_refused(w);
}

static void test_names__more_than_there_are(void **state)
{
    struct world *w = *state;

    w->names.info->names_top = LEDGER_NAMES + 1;
    check_refused(w);
}

/* ---- at random ---- */

struct model {
    bool live;
    uint32_t uid;
    uint64_t sequence;
};

/* Names that share beginnings; their order is not that of the numbers. */
static const char *text(unsigned i, char name[static 32])
{
    snprintf(name, 32, "%c/%s%u", "qxa"[i % 3], i % 2 ? "" : "long name, ", i);
    return name;
}

static void check_model(const struct world *w, const struct model *model)
{
    const struct names *n = &w->names;
    uint32_t users[USERS] = {0};
    uint32_t live = 0;
    char name[32];

    for (unsigned i = 0; i < WORDS; i++) {
        uint32_t index = names_find(n, text(i, name));
        assert_true((index != NAMES_NONE) == model[i].live);
        if (!model[i].live)
            continue;
        live++;
        users[model[i].uid]++;
        assert_int_equal(n->references[index], i);
        assert_string_equal(n->name[index].name, name);
        assert_int_equal(n->name[index].uid, model[i].uid);
        assert_int_equal(n->name[index].gid, model[i].uid + 1);
        assert_true(n->name[index].sequence == model[i].sequence);
    }
    assert_int_equal(n->live, live);
    for (uint32_t uid = 0; uid < USERS; uid++)
        assert_int_equal(names_of_user(n, uid), users[uid]);
    assert_null(names_check(n));
}

static void test_names__random_run(void **state)
{
    struct world *w = *state;
    struct names *n = &w->names;
    static struct model model[WORDS];
    uint64_t seed = test_seed(0x4a3e5);
    struct test_random random;
    uint64_t sequence = 0;
    char name[32];

    test_random_init(&random, seed);
    fprintf(stderr, "seed 0x%" PRIx64 "\n", seed);
    memset(model, 0, sizeof(model));
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)test_random_below(&random, WORDS);
        uint32_t uid = (uint32_t)test_random_below(&random, USERS);
        bool fill = step / 10000 % 2 == 0;
        uint32_t index;
        if (model[i].live && test_random_below(&random, 3) == 0) {
            uint32_t old = names_find(n, text(i, name));
            make_room(n);
            assert_true(names_reserve(n, name, uid, uid + 1, &index));
            store(w, i, index);
            names_replace(n, old, index);
            model[i] = (struct model){true, uid, ++sequence};
        } else if (!model[i].live && (fill || test_random_below(&random, 4) == 0)) {
            add(w, text(i, name), uid, i);
            model[i] = (struct model){true, uid, ++sequence};
        } else if (model[i].live && (!fill || test_random_below(&random, 4) == 0)) {
            index = names_find(n, text(i, name));
            ledger_references(&w->ledger, 0)[i] = 0;
            names_remove(n, index);
            model[i].live = false;
            sequence++;
        }
        assert_true(n->info->names_sequence == sequence);
        if (step % 5000 != 4999)
            continue;
        check_model(w, model);
        names_close(n);
        assert_int_equal(names_open(n, &w->ledger, 0), 0);
        check_model(w, model);
    }
}

#define names_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names__what_is_one),
        names_test(test_names__listed_by_prefix),
        names_test(test_names__a_reservation_not_used_is_free),
        names_test(test_names__full),
        names_test(test_names__two_of_one_name),
        names_test(test_names__two_references_to_one),
        names_test(test_names__never_used),
        names_test(test_names__no_name),
        names_test(test_names__of_a_change_to_come),
        names_test(test_names__more_than_there_are),
        names_test(test_names__random_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
