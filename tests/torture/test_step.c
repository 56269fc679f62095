/* SPDX-License-Identifier: MIT */
/*
 * Kill anywhere: every operation of a pool is single-stepped, and after each instruction that has
 * changed the ledger a copy of it is recovered as a restarted daemon would.
 *
 * After each recovery: the pool opens, allocators and ledger agree (pool_check), the operation has
 * happened wholly or not at all, the journal says which, and the same request, sent again, makes it
 * happen exactly once, also where another session has had its turn in between. Recovery is itself
 * stepped and recovered again, for kills while recovering.
 *
 * Instructions that change nothing in the ledger need no recovery of their own: the state is one
 * that was recovered already.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"
#include "pool.h"
#include "region.h"
#include "step.h"

#define PAGE      4096u
#define SLOT      3u
#define OTHER     4u   /* another session, which holds what SHARED and FOREIGN name */
#define NUMBER    297u /* of the operation under test */
#define REGION    (256ull * PAGE)
#define LIVE      7u /* allocations before the operation */
#define PUBLISHED 0u
#define SHARED    4u
#define FOREIGN   6u

/* What the operation under test is, and what it finds. */
struct scenario {
    const char *title;
    Allot__Op op;
    uint64_t size;
    uint64_t align;
    unsigned target; /* index of a live allocation, for frees and resizes */
    uint64_t position;
    uint64_t generation;
    const char *name;
    bool replace;
    unsigned receiver; /* the slot, for a parcel */
    bool sent;         /* the other session has sent it to this one */
};

/* What the world has before the operation. */
struct grant {
    uint64_t position;
    uint64_t generation;
};

struct world {
    struct ledger ledger;
    struct pool pool;
    int region;
};

/* The parts of the ledger's file that these tests ever change, as one row of bytes. */
#define HEAD_SIZE    4096u
#define JOURNAL_SIZE (CODEC_INFLIGHT_MAX * sizeof(struct ledger_entry))
#define RECORDS      64u
#define PARCELS      8u
#define NAMES        8u
#define IMAGE_SIZE                                                                                 \
    (HEAD_SIZE + sizeof(struct ledger_pool) + sizeof(struct ledger_session) + JOURNAL_SIZE +       \
     RECORDS * (sizeof(struct ledger_record) + sizeof(ledger_reference)) +                         \
     PARCELS * sizeof(struct ledger_parcel) + NAMES * sizeof(struct ledger_name))

static void image_copy(const struct ledger *ledger, unsigned char *image, bool load)
{
    struct {
        void *at;
        size_t size;
    } parts[] = {
        {ledger->base, HEAD_SIZE},
        {&ledger->pools[0], sizeof(struct ledger_pool)},
        {&ledger->sessions[SLOT], sizeof(struct ledger_session)},
        {ledger_entry(ledger, SLOT, 0), JOURNAL_SIZE},
        {ledger_records(ledger, 0), RECORDS * sizeof(struct ledger_record)},
        {ledger_references(ledger, 0), RECORDS * sizeof(ledger_reference)},
        {ledger_parcels(ledger, 0), PARCELS * sizeof(struct ledger_parcel)},
        {ledger_names(ledger, 0), NAMES * sizeof(struct ledger_name)},
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (load)
            memcpy(parts[i].at, image, parts[i].size);
        else
            memcpy(image, parts[i].at, parts[i].size);
        image += parts[i].size;
    }
}

static const struct config_pool config = {
    .name = "step",
    .size = REGION / 2,
    .size_max = REGION,
    .page_size = PAGE,
    .ids = 1000,
    .quota = UINT64_MAX,
    .allocations_max = 1000,
    .names_quota = 1000,
    .allocator = &allot_tlsf,
};

static struct pool_operation make_operation(const struct world *w, const struct scenario *s,
                                            uint64_t number)
{
    struct pool_operation o = {
        .op = s->op,
        .slot = SLOT,
        .uid = 1000,
        .entry = ledger_entry(&w->ledger, SLOT, number),
        .position = s->position,
        .size = s->size,
        .generation = s->generation,
        .align = s->align,
        .tag = 7,
        .name = s->name,
        .replace = s->replace,
        .deadline = s->op == ALLOT__OP__OP_SEND ? UINT64_MAX : 0,
        .receiver = w->ledger.sessions[s->receiver].id,
        .receiver_slot = s->receiver,
    };
    return o;
}

/* As the service does it. */
static void carry_out(struct world *w, struct pool_operation *o, uint64_t number)
{
    ledger_entry_begin(o->entry, number, o->op, 0);
    if (pool_execute(&w->pool, o) == POOL_COMMIT)
        pool_finish(&w->pool, o, region_commit(w->pool.fd, o->commit_offset, o->commit_size));
}

static void of_the_other(const struct world *w, struct pool_operation *o, uint64_t number)
{
    o->slot = OTHER;
    o->entry = ledger_entry(&w->ledger, OTHER, number);
}

static uint64_t place(enum record_kind kind, uint64_t position)
{
    return (uint64_t)kind << CODEC_KIND_SHIFT | position;
}

/* SLOT publishes one, freezes it and lets go of it; the name of OTHER's is beside OTHER's own
 * reference. */
static void world_publish(struct world *w, const struct grant grants[LIVE])
{
    const struct {
        struct scenario scenario;
        unsigned slot;
        uint64_t number;
    } steps[] = {
        {{.op = ALLOT__OP__OP_PUBLISH,
          .position = place(RECORD_BYTES, grants[PUBLISHED].position),
          .generation = grants[PUBLISHED].generation,
          .name = "left alone"},
         SLOT,
         LIVE + 1},
        {{.op = ALLOT__OP__OP_PUBLISH,
          .position = place(RECORD_BYTES, grants[FOREIGN].position),
          .generation = grants[FOREIGN].generation,
          .name = "held"},
         OTHER,
         LIVE + 2},
        {{.op = ALLOT__OP__OP_PUBLISH,
          .position = place(RECORD_BYTES, grants[SHARED].position),
          .generation = grants[SHARED].generation,
          .name = "mine"},
         SLOT,
         LIVE + 3},
        {{.op = ALLOT__OP__OP_FREEZE,
          .position = place(RECORD_BYTES, grants[PUBLISHED].position),
          .generation = grants[PUBLISHED].generation},
         SLOT,
         LIVE + 2},
        {{.op = ALLOT__OP__OP_FREE, .position = grants[PUBLISHED].position}, SLOT, LIVE + 4},
    };

    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct pool_operation o = make_operation(w, &steps[i].scenario, steps[i].number);
        if (steps[i].slot == OTHER)
            of_the_other(w, &o, steps[i].number);
        carry_out(w, &o, steps[i].number);
        assert_int_equal(o.error, 0);
    }
}

/* A pool with something live of every kind, and a session that holds it. */
static void world_make(struct world *w, struct grant grants[LIVE])
{
    static const struct scenario before[LIVE] = {
        {.op = ALLOT__OP__OP_ALLOC, .size = 1000},
        {.op = ALLOT__OP__OP_ALLOC, .size = 5000, .align = 256},
        {.op = ALLOT__OP__OP_ALLOC_PAGES, .size = 3},
        {.op = ALLOT__OP__OP_ALLOC_IDS, .size = 5},
        {.op = ALLOT__OP__OP_ALLOC, .size = 64},
        {.op = ALLOT__OP__OP_ALLOC_PAGES, .size = 1},
        {.op = ALLOT__OP__OP_ALLOC, .size = 320},
    };
    uint64_t id;

    assert_int_equal(ledger_create(&w->ledger), 0);
    assert_int_equal(ledger_session_open(&w->ledger, SLOT, 1, 1000, 1000, 1, &id), 0);
    assert_int_equal(ledger_session_open(&w->ledger, OTHER, 1, 1000, 1000, 1, &id), 0);
    assert_int_equal(pool_open(&w->pool, &w->ledger, 0, &config, -1), 0);
    w->region = w->pool.fd;
    for (unsigned i = 0; i < LIVE; i++) {
        struct pool_operation o = make_operation(w, &before[i], i + 1);
        if (i == FOREIGN)
            of_the_other(w, &o, i + 1);
        carry_out(w, &o, i + 1);
        assert_int_equal(o.error, 0);
        grants[i] = (struct grant){o.value, o.generation};
    }
    struct scenario acquire = {.op = ALLOT__OP__OP_ACQUIRE,
                               .position = place(RECORD_BYTES, grants[SHARED].position),
                               .generation = grants[SHARED].generation};
    struct pool_operation o = make_operation(w, &acquire, LIVE + 1);
    of_the_other(w, &o, LIVE + 1);
    carry_out(w, &o, LIVE + 1);
    assert_int_equal(o.error, 0);
    world_publish(w, grants);
}

static void world_close(struct world *w)
{
    pool_close(&w->pool);
    ledger_close(&w->ledger);
}

/* One number that two states share only if as much is live, of the same kinds and sizes, held by
 * the same sessions and names, and frozen or not. Where it lies may differ: a rebuilt heap has
 * other pages than one that has grown. */
static uint64_t live_digest(const struct world *w)
{
    const struct ledger_pool *info = &w->ledger.pools[0];
    uint64_t digest = info->size;

    for (uint32_t i = 0; i < info->references_top; i++) {
        uint64_t word = ledger_references(&w->ledger, 0)[i];
        if (!word)
            continue;
        const struct ledger_record *r =
            &ledger_records(&w->ledger, 0)[ledger_reference_record(word)];
        if (ledger_reference_slot(word) == HOLDER_PARCEL) {
            const struct ledger_parcel *p =
                &ledger_parcels(&w->ledger, 0)[ledger_reference_index(word)];
            digest += (p->deadline + p->receiver + p->uid) * 0x94d049bb133111ebull;
        }
        if (ledger_reference_slot(word) == HOLDER_NAME)
            digest += r->size *
                      (uint64_t)ledger_names(&w->ledger, 0)[ledger_reference_index(word)].name[0];
        digest += r->flags * 0xbf58476d1ce4e5b9ull;
        digest += (r->size + 1000003) * 0x9e3779b97f4a7c15ull * r->kind +
                  (uint64_t)ledger_reference_slot(word) * 0x2545f4914f6cdd1dull;
    }
    return digest;
}

/* What a restart does with the ledger. Settling the journal is all that writes to it; that opening
 * the pool only reads is checked here, so that stepping through the first half is enough. */
static bool recover(struct world *w)
{
    static unsigned char settled[IMAGE_SIZE];
    static unsigned char opened[IMAGE_SIZE];
    int fd = dup(w->region);

    ledger_journal_settle(&w->ledger, SLOT);
    image_copy(&w->ledger, settled, false);
    if (pool_open(&w->pool, &w->ledger, 0, &config, fd)) {
        close(fd);
        return false;
    }
    image_copy(&w->ledger, opened, false);
    return memcmp(settled, opened, IMAGE_SIZE) == 0;
}

static bool is_grant(Allot__Op op)
{
    switch (op) {
    case ALLOT__OP__OP_ALLOC:
    case ALLOT__OP__OP_ALLOC_PAGES:
    case ALLOT__OP__OP_ALLOC_PAGES_AT:
    case ALLOT__OP__OP_ALLOC_IDS:
        return true;
    default:
        return false;
    }
}

/* Another session is served before the request comes again, and gets what the killed operation was
 * to use, or had just freed. By how much that changes live_digest(). */
static uint64_t serve_another(struct world *w)
{
    static const struct scenario grants[] = {
        {.op = ALLOT__OP__OP_ALLOC, .size = 700, .align = 64},
        {.op = ALLOT__OP__OP_ALLOC_PAGES, .size = 2},
        {.op = ALLOT__OP__OP_ALLOC_IDS, .size = 4},
    };
    uint64_t before = live_digest(w);

    for (unsigned i = 0; i < sizeof(grants) / sizeof(grants[0]); i++) {
        struct pool_operation o = make_operation(w, &grants[i], NUMBER + i);
        of_the_other(w, &o, NUMBER + i);
        carry_out(w, &o, NUMBER + i);
        assert_int_equal(o.error, 0);
    }
    return live_digest(w) - before;
}

/* Whether settling has left no entry that is neither answered nor waiting nor empty. */
static bool is_settled(const struct world *w)
{
    for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i++) {
        const struct ledger_entry *e = ledger_entry(&w->ledger, SLOT, i);
        if (e->number && !e->result && !ledger_entry_waits(e))
            return false;
    }
    return true;
}

/* Whether no generation will be given out again. */
static bool are_generations_over(const struct world *w)
{
    const struct ledger_pool *info = &w->ledger.pools[0];

    for (uint32_t i = 0; i < info->records_top; i++)
        if (ledger_records(&w->ledger, 0)[i].generation > info->generation)
            return false;
    return true;
}

static bool is_answer_to_lookup(const struct world *w, const char *name,
                                const struct ledger_entry *entry)
{
    const struct names *names = &w->pool.names;
    uint64_t word = ledger_references(&w->ledger, 0)[names->references[names_find(names, name)]];
    const struct ledger_record *r = &ledger_records(&w->ledger, 0)[ledger_reference_record(word)];

    return entry->value == ledger_record_place(r) && entry->generation == r->generation &&
           entry->size == ledger_record_told(r);
}

/* Recovers the state in `image` and sends the request again. The failure's name, or NULL. */
static const char *judge(struct world *copy, const struct scenario *s, const unsigned char *image,
                         uint64_t before, uint64_t after, bool turn)
{
    struct ledger_entry *entry = ledger_entry(&copy->ledger, SLOT, NUMBER);
    const char *wrong = NULL;

    image_copy(&copy->ledger, (unsigned char *)image, true);
    if (!recover(copy))
        return "the pool does not open";
    uint64_t found = live_digest(copy);
    bool answered = entry->number == NUMBER && entry->result;
    if (found != before && found != after)
        wrong = "the operation has happened in part";
    else if (before != after && answered != (found == after))
        wrong = "the journal does not know whether it happened";
    else if (!is_settled(copy))
        wrong = "the journal has an entry that is neither answered nor waiting nor empty";
    else if (!are_generations_over(copy))
        wrong = "a generation will be given out again";
    if (!wrong && turn)
        after += serve_another(copy);
    if (!wrong && !answered) {
        struct pool_operation o = make_operation(copy, s, NUMBER);
        carry_out(copy, &o, NUMBER);
        if (o.error || live_digest(copy) != after)
            wrong = "the request, sent again, does something else";
    }
    if (!wrong) {
        const struct ledger_record *r = &ledger_records(&copy->ledger, 0)[entry->record];
        if (is_grant(s->op) && (entry->value != r->position || entry->generation != r->generation))
            wrong = "the stored answer names another grant";
        if (s->op == ALLOT__OP__OP_ACQUIRE &&
            entry->value != (ledger_record_told(r) | (s->sent ? CODEC_VALUE_PARCEL : 0)))
            wrong = "the stored answer names another size";
        if (s->op == ALLOT__OP__OP_LOOKUP && !is_answer_to_lookup(copy, s->name, entry))
            wrong = "the stored answer names something else";
    }
    if (!wrong && !pool_check(&copy->pool))
        wrong = "allocators and ledger do not agree";
    pool_close(&copy->pool);
    return wrong;
}

static void copy_out(void *world, unsigned char *image)
{
    const struct world *w = world;

    image_copy(&w->ledger, image, false);
}

/* Steps through `act`; `look` sees the ledger after each instruction that changed it. */
static unsigned long step_through(struct world *w, void (*act)(void *world, void *arg), void *arg,
                                  void (*look)(void *ctx, const unsigned char *image), void *ctx)
{
    return step_through_all(&(struct stepping){.world = w,
                                               .act = act,
                                               .arg = arg,
                                               .size = IMAGE_SIZE,
                                               .copy = copy_out,
                                               .look = look,
                                               .ctx = ctx});
}

struct look {
    struct world *copy;
    struct world *second; /* for kills while recovering; NULL: once is enough */
    const struct scenario *scenario;
    uint64_t before;
    uint64_t after;
    unsigned points;
    unsigned double_points;
    const char *wrong;
};

static void act_settle(void *world, void *arg)
{
    const struct world *w = world;

    (void)arg;
    ledger_journal_settle(&w->ledger, SLOT);
}

static void look_again(void *ctx, const unsigned char *image)
{
    struct look *look = ctx;

    look->double_points++;
    if (!look->wrong)
        look->wrong = judge(look->second, look->scenario, image, look->before, look->after,
                            look->double_points % 2);
}

static void look_once(void *ctx, const unsigned char *image)
{
    static unsigned char saved[IMAGE_SIZE];
    struct look *look = ctx;

    look->points++;
    if (look->wrong)
        return;
    memcpy(saved, image, IMAGE_SIZE);
    for (unsigned turn = 0; turn < 2 && !look->wrong; turn++)
        look->wrong =
            judge(look->copy, look->scenario, saved, look->before, look->after, turn == 1);
    if (look->wrong || !look->second)
        return;
    image_copy(&look->copy->ledger, saved, true);
    step_through_all(&(struct stepping){.world = look->copy,
                                        .act = act_settle,
                                        .size = IMAGE_SIZE,
                                        .copy = copy_out,
                                        .look = look_again,
                                        .ctx = look,
                                        .every = step_recovery_every()});
}

static void act_operation(void *world, void *arg)
{
    carry_out(world, arg, NUMBER);
}

/* A world that shares nothing with `w` but the region. */
static void world_copy(struct world *copy, const struct world *w)
{
    uint64_t id;

    assert_int_equal(ledger_create(&copy->ledger), 0);
    assert_int_equal(ledger_session_open(&copy->ledger, SLOT, 1, 1000, 1000, 1, &id), 0);
    assert_int_equal(ledger_session_open(&copy->ledger, OTHER, 1, 1000, 1000, 1, &id), 0);
    assert_int_equal(ledger_commit_part(&copy->ledger, 0, 0, RECORDS), 0);
    assert_int_equal(ledger_commit_parcels(&copy->ledger, 0), 0);
    assert_int_equal(ledger_commit_names(&copy->ledger, 0, 0, NAMES), 0);
    copy->region = w->region;
}

static void send_to_the_session(struct world *w, const struct scenario *s)
{
    struct scenario send = *s;

    send.op = ALLOT__OP__OP_SEND;
    send.receiver = SLOT;
    struct pool_operation o = make_operation(w, &send, LIVE + 3);
    of_the_other(w, &o, LIVE + 3);
    carry_out(w, &o, LIVE + 3);
    assert_int_equal(o.error, 0);
}

/* What is never to be read: an answered operation in the journal's place of the one under test, and
 * above the tops words that would be live. */
static void leave_traces(struct world *w)
{
    static const struct scenario old = {.op = ALLOT__OP__OP_ALLOC, .size = 48};
    const struct ledger_pool *info = &w->ledger.pools[0];
    ledger_reference *references = ledger_references(&w->ledger, 0);
    struct pool_operation o = make_operation(w, &old, NUMBER - CODEC_INFLIGHT_MAX);

    carry_out(w, &o, NUMBER - CODEC_INFLIGHT_MAX);
    assert_int_equal(o.error, 0);
    for (uint32_t i = info->references_top; i < RECORDS; i++)
        references[i] = references[0];
    memset(&ledger_records(&w->ledger, 0)[info->records_top], 0xa5,
           (RECORDS - info->records_top) * sizeof(struct ledger_record));
}

static void run(struct scenario s)
{
    struct grant grants[LIVE];
    struct world w;
    struct world copy;
    struct world second;
    static unsigned char start[IMAGE_SIZE];

    world_make(&w, grants);
    world_copy(&copy, &w);
    world_copy(&second, &w);
    if (s.target < LIVE) {
        s.position = grants[s.target].position;
        s.generation = grants[s.target].generation;
    }
    if (s.op == ALLOT__OP__OP_ACQUIRE || s.op == ALLOT__OP__OP_RELEASE ||
        s.op == ALLOT__OP__OP_FREEZE || s.op == ALLOT__OP__OP_SEND || s.op == ALLOT__OP__OP_PUBLISH)
        s.position = place(RECORD_BYTES, s.position);
    if (s.sent)
        send_to_the_session(&w, &s);
    leave_traces(&w);
    image_copy(&w.ledger, start, false);
    struct look look = {
        .copy = &copy, .second = &second, .scenario = &s, .before = live_digest(&w)};

    /* What it comes to when nothing goes wrong. */
    image_copy(&copy.ledger, start, true);
    assert_true(recover(&copy));
    struct pool_operation o = make_operation(&copy, &s, NUMBER);
    carry_out(&copy, &o, NUMBER);
    assert_int_equal(o.error, 0);
    look.after = live_digest(&copy);
    assert_true(look.after != look.before || s.op == ALLOT__OP__OP_LOOKUP);
    pool_close(&copy.pool);

    o = make_operation(&w, &s, NUMBER);
    unsigned long steps = step_through(&w, act_operation, &o, look_once, &look);
    printf("%s: %lu instructions, %u states, %u more while recovering\n", s.title, steps,
           look.points, look.double_points);
    if (look.wrong)
        fail_msg("%s: state %u: %s", s.title, look.points, look.wrong);
    assert_true(look.points > 5);
    ledger_close(&copy.ledger);
    ledger_close(&second.ledger);
    world_close(&w);
}

#define NO_TARGET LIVE

static void test_step__alloc(void **state)
{
    (void)state;
    run((struct scenario){.title = "alloc",
                          .op = ALLOT__OP__OP_ALLOC,
                          .size = 777,
                          .align = 64,
                          .target = NO_TARGET});
}

static void test_step__alloc_that_commits(void **state)
{
    (void)state;
    run((struct scenario){.title = "alloc with commit",
                          .op = ALLOT__OP__OP_ALLOC,
                          .size = 20 * PAGE,
                          .target = NO_TARGET});
}

static void test_step__free(void **state)
{
    (void)state;
    run((struct scenario){.title = "free", .op = ALLOT__OP__OP_FREE, .target = 1});
}

static void test_step__acquire(void **state)
{
    (void)state;
    run((struct scenario){.title = "acquire", .op = ALLOT__OP__OP_ACQUIRE, .target = FOREIGN});
}

static void test_step__release_of_what_others_hold(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "release, shared", .op = ALLOT__OP__OP_RELEASE, .target = SHARED});
}

static void test_step__release_of_the_last(void **state)
{
    (void)state;
    run((struct scenario){.title = "release, last", .op = ALLOT__OP__OP_RELEASE, .target = 1});
}

static void test_step__publish(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "publish", .op = ALLOT__OP__OP_PUBLISH, .target = 1, .name = "new"});
}

/* The old one had no other holder: it is freed. */
static void test_step__publish_that_replaces(void **state)
{
    (void)state;
    run((struct scenario){.title = "replace, last",
                          .op = ALLOT__OP__OP_PUBLISH,
                          .target = 1,
                          .name = "left alone",
                          .replace = true});
}

static void test_step__publish_in_place_of_what_others_hold(void **state)
{
    (void)state;
    run((struct scenario){.title = "replace, held",
                          .op = ALLOT__OP__OP_PUBLISH,
                          .target = 1,
                          .name = "held",
                          .replace = true});
}

static void test_step__unpublish(void **state)
{
    (void)state;
    run((struct scenario){.title = "unpublish, last",
                          .op = ALLOT__OP__OP_UNPUBLISH,
                          .target = NO_TARGET,
                          .name = "left alone"});
    run((struct scenario){.title = "unpublish, held",
                          .op = ALLOT__OP__OP_UNPUBLISH,
                          .target = NO_TARGET,
                          .name = "held"});
}

static void test_step__lookup(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "lookup", .op = ALLOT__OP__OP_LOOKUP, .target = NO_TARGET, .name = "left alone"});
    run((struct scenario){.title = "lookup of what is held",
                          .op = ALLOT__OP__OP_LOOKUP,
                          .target = NO_TARGET,
                          .name = "mine"});
}

static void test_step__freeze(void **state)
{
    (void)state;
    run((struct scenario){.title = "freeze", .op = ALLOT__OP__OP_FREEZE, .target = 1});
}

static void test_step__send(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "send", .op = ALLOT__OP__OP_SEND, .target = 1, .receiver = OTHER});
}

static void test_step__take_of_a_parcel(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "take", .op = ALLOT__OP__OP_ACQUIRE, .target = FOREIGN, .sent = true});
}

static void test_step__take_of_what_it_holds(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "take, held", .op = ALLOT__OP__OP_ACQUIRE, .target = SHARED, .sent = true});
}

/* Not an operation of a session's: nothing to be sent again. */
static void act_expire(void *world, void *arg)
{
    struct world *w = world;
    (void)arg;
    pool_expire(&w->pool, UINT64_MAX, 1);
}

static void look_at_expiry(void *ctx, const unsigned char *image)
{
    struct look *look = ctx;
    uint64_t found;

    image_copy(&look->copy->ledger, (unsigned char *)image, true);
    look->points++;
    if (!recover(look->copy)) {
        look->wrong = "the pool does not open";
        return;
    }
    found = live_digest(look->copy);
    if (found != look->before && found != look->after)
        look->wrong = "a parcel is over in part";
    pool_expire(&look->copy->pool, UINT64_MAX, 1);
    if (live_digest(look->copy) != look->after || !pool_check(&look->copy->pool))
        look->wrong = "what is left of it does not go";
    pool_close(&look->copy->pool);
}

static void test_step__expiry(void **state)
{
    struct grant grants[LIVE];
    struct scenario s = {.sent = true};
    struct look look = {0};
    struct world w;
    struct world copy;

    (void)state;
    world_make(&w, grants);
    world_copy(&copy, &w);
    look.copy = &copy;
    look.after = live_digest(&w);
    s.position = place(RECORD_BYTES, grants[FOREIGN].position);
    s.generation = grants[FOREIGN].generation;
    send_to_the_session(&w, &s);
    look.before = live_digest(&w);
    assert_int_not_equal(look.before, look.after);
    step_through(&w, act_expire, NULL, look_at_expiry, &look);
    if (look.wrong)
        fail_msg("state %u: %s", look.points, look.wrong);
    assert_true(look.points > 0);
    ledger_close(&copy.ledger);
    world_close(&w);
}

static void test_step__resize(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "resize", .op = ALLOT__OP__OP_RESIZE, .size = 2000, .target = 1});
}

static void test_step__alloc_pages(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "alloc pages", .op = ALLOT__OP__OP_ALLOC_PAGES, .size = 2, .target = NO_TARGET});
}

static void test_step__alloc_pages_at(void **state)
{
    (void)state;
    run((struct scenario){.title = "alloc pages at",
                          .op = ALLOT__OP__OP_ALLOC_PAGES_AT,
                          .size = 2,
                          .target = NO_TARGET,
                          .position = 100 * PAGE});
}

static void test_step__free_pages(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "free pages", .op = ALLOT__OP__OP_FREE_PAGES, .size = 3, .target = 2});
}

static void test_step__alloc_ids(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "alloc ids", .op = ALLOT__OP__OP_ALLOC_IDS, .size = 4, .target = NO_TARGET});
}

static void test_step__free_ids(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "free ids", .op = ALLOT__OP__OP_FREE_IDS, .size = 5, .target = 3});
}

static void test_step__add_memory(void **state)
{
    (void)state;
    run((struct scenario){
        .title = "add memory", .op = ALLOT__OP__OP_ADD_MEMORY, .size = PAGE, .target = NO_TARGET});
}

/* ---- requests that wait ---- */

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
    struct pool_operation o = make_operation(w, &t->asks, NUMBER);
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

    t->points++;
    if (t->wrong)
        return;
    image_copy(&copy->ledger, (unsigned char *)image, true);
    if (!recover(copy)) {
        t->wrong = "the pool does not open";
        return;
    }
    uint64_t found = live_digest(copy);
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
    else if (live_digest(copy) != t->after || !pool_check(&copy->pool))
        t->wrong = "something else is live";
    pool_close(&copy->pool);
}

static void run_waiting(struct waiting t)
{
    static unsigned char start[IMAGE_SIZE];
    struct grant grants[LIVE];
    struct world w;
    struct world copy;

    world_make(&w, grants);
    world_copy(&copy, &w);
    t.copy = &copy;
    if (t.frees.target < LIVE)
        t.frees.position = grants[t.frees.target].position;
    if (t.step != BEGINS)
        ask_and_wait(&w, &t);
    if (t.step == IS_GRANTED) {
        struct pool_operation o = make_operation(&w, &t.frees, LIVE + 5);
        carry_out(&w, &o, LIVE + 5);
        assert_int_equal(o.error, 0);
    }
    t.before = live_digest(&w);
    /* What it comes to when nothing goes wrong: told by a recovery at once. */
    image_copy(&w.ledger, start, false);
    image_copy(&copy.ledger, start, true);
    assert_true(recover(&copy));
    struct waiting once = t;
    if (t.step != BEGINS) {
        once.wait = (struct wait){.number = NUMBER, .slot = SLOT, .uid = 1000, .ring = no_ring};
        pool_adopt_wait(&copy.pool, &once.wait, ledger_entry(&copy.ledger, SLOT, NUMBER));
    }
    act_waiting(&copy, &once);
    t.after = live_digest(&copy);
    t.value = ledger_entry(&copy.ledger, SLOT, NUMBER)->value;
    pool_close(&copy.pool);
    assert_true((t.after != t.before) == (t.step == IS_GRANTED));

    unsigned long steps = step_through(&w, act_waiting, &t, look_at_waiting, &t);
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

static void test_step__wait_begins(void **state)
{
    (void)state;
    run_waiting((struct waiting){.name = "wait", .asks = ASKS_PAGES, .step = BEGINS});
}

static void test_step__wait_is_granted(void **state)
{
    (void)state;
    run_waiting((struct waiting){.name = "wait, granted",
                                 .asks = ASKS_IDS,
                                 .frees = {.op = ALLOT__OP__OP_FREE_IDS, .target = 3},
                                 .step = IS_GRANTED});
}

static void test_step__wait_is_granted_and_commits(void **state)
{
    (void)state;
    run_waiting((struct waiting){
        .name = "wait, granted with commit",
        .asks = ASKS_PAGES,
        .frees = {.op = ALLOT__OP__OP_ADD_MEMORY, .size = REGION / 2, .target = NO_TARGET},
        .step = IS_GRANTED});
}

static void test_step__wait_is_refused(void **state)
{
    (void)state;
    run_waiting((struct waiting){.name = "wait, refused", .asks = ASKS_PAGES, .step = IS_REFUSED});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step__alloc),
        cmocka_unit_test(test_step__alloc_that_commits),
        cmocka_unit_test(test_step__free),
        cmocka_unit_test(test_step__resize),
        cmocka_unit_test(test_step__publish),
        cmocka_unit_test(test_step__publish_that_replaces),
        cmocka_unit_test(test_step__publish_in_place_of_what_others_hold),
        cmocka_unit_test(test_step__unpublish),
        cmocka_unit_test(test_step__lookup),
        cmocka_unit_test(test_step__freeze),
        cmocka_unit_test(test_step__send),
        cmocka_unit_test(test_step__take_of_a_parcel),
        cmocka_unit_test(test_step__take_of_what_it_holds),
        cmocka_unit_test(test_step__expiry),
        cmocka_unit_test(test_step__wait_begins),
        cmocka_unit_test(test_step__wait_is_granted),
        cmocka_unit_test(test_step__wait_is_granted_and_commits),
        cmocka_unit_test(test_step__wait_is_refused),
        cmocka_unit_test(test_step__acquire),
        cmocka_unit_test(test_step__release_of_what_others_hold),
        cmocka_unit_test(test_step__release_of_the_last),
        cmocka_unit_test(test_step__alloc_pages),
        cmocka_unit_test(test_step__alloc_pages_at),
        cmocka_unit_test(test_step__free_pages),
        cmocka_unit_test(test_step__alloc_ids),
        cmocka_unit_test(test_step__free_ids),
        cmocka_unit_test(test_step__add_memory),
    };

    step_on_one_processor();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
