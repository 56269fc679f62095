/* SPDX-License-Identifier: MIT */
/* Kill anywhere in one operation of a pool. */
#include "scenario.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "step.h"
#include "watch.h"

static bool is_grant(Allot__Op op)
{
    switch (op) {
    case ALLOT__OP__OP_ALLOC:
    case ALLOT__OP__OP_ALLOC_PAGES:
    case ALLOT__OP__OP_ALLOC_PAGES_AT:
    case ALLOT__OP__OP_ALLOC_IDS:
    case ALLOT__OP__OP_ALLOC_IDS_AT:
        return true;
    default:
        return false;
    }
}

/* Another session is served before the request comes again, and gets what the killed operation was
 * to use, or had just freed. By how much that changes world_digest(). */
static uint64_t serve_another(struct world *w)
{
    static const struct scenario grants[] = {
        {.op = ALLOT__OP__OP_ALLOC, .size = 700, .align = 64},
        {.op = ALLOT__OP__OP_ALLOC_PAGES, .size = 2},
        {.op = ALLOT__OP__OP_ALLOC_IDS, .size = 4},
    };
    uint64_t before = world_digest(w);

    for (unsigned i = 0; i < sizeof(grants) / sizeof(grants[0]); i++)
        world_do(w, OTHER, &grants[i], NUMBER + i);
    return world_digest(w) - before;
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

/* ---- a watcher ---- */

/* What it was told of each name. */
struct watcher {
    struct watch watch;
    struct pool_name names[IMAGE_NAMES];
    const char *wrong;
};

/* Where it keeps the name, or an empty place where it has none. */
static struct pool_name *place_of(struct watcher *v, const char *name)
{
    struct pool_name *free = NULL;

    for (unsigned i = 0; i < IMAGE_NAMES; i++) {
        if (strcmp(v->names[i].name.name, name) == 0)
            return &v->names[i];
        if (!v->names[i].name.name[0])
            free = &v->names[i];
    }
    return free;
}

static void take_event(struct watcher *v, const struct watch_event *event)
{
    struct pool_name *known = place_of(v, event->name.name.name);
    bool was_known = known->name.name[0] != 0;

    switch (event->kind) {
    case ALLOT__EVENT_KIND__EVENT_APPEARED:
    case ALLOT__EVENT_KIND__EVENT_CHANGED:
        if (was_known != (event->kind == ALLOT__EVENT_KIND__EVENT_CHANGED))
            v->wrong = "a name appears that was there, or changes that was not";
        *known = event->name;
        break;
    case ALLOT__EVENT_KIND__EVENT_GONE:
        if (!was_known)
            v->wrong = "a name goes that was not there";
        *known = (struct pool_name){0};
        break;
    default: /* the state's begin and end */
        break;
    }
}

/* Tells it all that there is to tell, and compares what it knows with what there is. */
static const char *tell(struct watcher *v, struct world *w)
{
    struct watch_event events[4];
    struct pool_name names[IMAGE_NAMES];
    size_t n;

    while ((n = watch_next(&v->watch, &w->pool, "", events, 4)) > 0)
        for (size_t i = 0; i < n; i++)
            take_event(v, &events[i]);
    n = pool_list_names(&w->pool, "", "", names, IMAGE_NAMES);
    for (unsigned i = 0; i < IMAGE_NAMES; i++)
        n -= v->names[i].name.name[0] != 0;
    for (size_t i = 0; !v->wrong && n == 0 && i < w->pool.names.live; i++)
        if (memcmp(place_of(v, names[i].name.name), &names[i], sizeof(names[i])) != 0)
            n = 1;
    return n && !v->wrong ? "a watcher knows other names than there are" : v->wrong;
}

/* Recovers the state in `image` and sends the request again. The failure's name, or NULL. */
static const char *judge(struct world *copy, const struct scenario *s, const unsigned char *image,
                         uint64_t before, uint64_t after, bool turn)
{
    struct ledger_entry *entry = ledger_entry(&copy->ledger, SLOT, NUMBER);
    struct watcher watcher = {0};
    const char *wrong = NULL;

    image_load(&copy->ledger, image);
    if (!world_recover(copy))
        return "the pool does not open";
    uint64_t found = world_digest(copy);
    bool answered = entry->number == NUMBER && entry->result;
    if (found != before && found != after)
        wrong = "the operation has happened in part";
    else if (before != after && answered != (found == after))
        wrong = "the journal does not know whether it happened";
    else if (!is_settled(copy))
        wrong = "the journal has an entry that is neither answered nor waiting nor empty";
    else if (!are_generations_over(copy))
        wrong = "a generation will be given out again";
    else
        wrong = tell(&watcher, copy);
    if (!wrong && turn)
        after += serve_another(copy);
    if (!wrong && !answered) {
        struct pool_operation o = world_operation(copy, SLOT, s, NUMBER);
        world_carry_out(copy, &o, NUMBER);
        if (o.error != s->error || world_digest(copy) != after)
            wrong = "the request, sent again, does something else";
    }
    if (!wrong)
        wrong = tell(&watcher, copy);
    if (!wrong && entry->result != (LEDGER_ANSWERED | (uint64_t)s->error))
        wrong = "the stored answer is another";
    if (!wrong && !s->error) {
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

/* ---- stepping ---- */

struct look {
    struct world *copy;
    struct world *second; /* for kills while recovering */
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

    if (look->wrong)
        return;
    look->points++;
    memcpy(saved, image, IMAGE_SIZE);
    for (unsigned turn = 0; turn < 2 && !look->wrong; turn++)
        look->wrong =
            judge(look->copy, look->scenario, saved, look->before, look->after, turn == 1);
    if (look->wrong)
        return;
    image_load(&look->copy->ledger, saved);
    world_step(look->copy, act_settle, NULL, look_again, look, step_recovery_every());
}

static void act_operation(void *world, void *arg)
{
    world_carry_out(world, arg, NUMBER);
}

/* What is never to be read: an answered operation in the journal's place of the one under test, and
 * above the tops words that would be live. */
static void leave_traces(struct world *w)
{
    static const struct scenario old = {.op = ALLOT__OP__OP_ALLOC, .size = 48};
    const struct ledger_pool *info = &w->ledger.pools[0];
    ledger_reference *references = ledger_references(&w->ledger, 0);

    world_do(w, SLOT, &old, NUMBER - CODEC_INFLIGHT_MAX);
    for (uint32_t i = info->references_top; i < IMAGE_RECORDS; i++)
        references[i] = references[0];
    memset(&ledger_records(&w->ledger, 0)[info->records_top], 0xa5,
           (IMAGE_RECORDS - info->records_top) * sizeof(struct ledger_record));
}

void scenario_run(struct scenario s)
{
    static unsigned char start[IMAGE_SIZE];
    struct world w;
    struct world copy;
    struct world second;

    world_make(&w);
    world_copy(&copy, &w);
    world_copy(&second, &w);
    world_aim(&w, &s);
    if (s.sent)
        world_send(&w, s.target);
    leave_traces(&w);
    image_take(&w.ledger, start);
    struct look look = {
        .copy = &copy, .second = &second, .scenario = &s, .before = world_digest(&w)};

    /* What it comes to when nothing goes wrong. */
    image_load(&copy.ledger, start);
    assert_true(world_recover(&copy));
    struct pool_operation o = world_operation(&copy, SLOT, &s, NUMBER);
    world_carry_out(&copy, &o, NUMBER);
    assert_int_equal(o.error, s.error);
    look.after = world_digest(&copy);
    assert_true(s.error ? look.after == look.before
                        : look.after != look.before || s.op == ALLOT__OP__OP_LOOKUP);
    pool_close(&copy.pool);

    o = world_operation(&w, SLOT, &s, NUMBER);
    unsigned long steps = world_step(&w, act_operation, &o, look_once, &look, 0);
    printf("%s: %lu instructions, %u states, %u more while recovering\n", s.title, steps,
           look.points, look.double_points);
    if (look.wrong)
        fail_msg("%s: state %u: %s", s.title, look.points, look.wrong);
    assert_true(look.points > 5);
    ledger_close(&copy.ledger);
    ledger_close(&second.ledger);
    world_close(&w);
}
