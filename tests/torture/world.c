/* SPDX-License-Identifier: MIT */
/* The world of the operations that are stepped through. */
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "region.h"
#include "step.h"

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

/* ---- operations ---- */

static bool has_ticket(Allot__Op op)
{
    return op == ALLOT__OP__OP_ACQUIRE || op == ALLOT__OP__OP_RELEASE ||
           op == ALLOT__OP__OP_FREEZE || op == ALLOT__OP__OP_SEND || op == ALLOT__OP__OP_PUBLISH;
}

void world_aim(const struct world *w, struct scenario *s)
{
    if (s->target == NO_TARGET)
        return;
    s->position = w->grants[s->target].position;
    s->generation = w->grants[s->target].generation;
    if (has_ticket(s->op))
        s->position |= (uint64_t)RECORD_BYTES << CODEC_KIND_SHIFT;
}

struct pool_operation world_operation(const struct world *w, unsigned slot,
                                      const struct scenario *s, uint64_t number)
{
    return (struct pool_operation){
        .op = s->op,
        .slot = slot,
        .uid = 1000,
        .entry = ledger_entry(&w->ledger, slot, number),
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
}

void world_carry_out(struct world *w, struct pool_operation *o, uint64_t number)
{
    ledger_entry_begin(o->entry, number, o->op, 0);
    if (pool_execute(&w->pool, o) == POOL_COMMIT)
        pool_finish(&w->pool, o, region_commit(w->pool.fd, o->commit_offset, o->commit_size));
}

struct pool_operation world_do(struct world *w, unsigned slot, const struct scenario *s,
                               uint64_t number)
{
    struct pool_operation o = world_operation(w, slot, s, number);

    world_carry_out(w, &o, number);
    assert_int_equal(o.error, 0);
    return o;
}

void world_send(struct world *w, unsigned target)
{
    struct scenario send = {.op = ALLOT__OP__OP_SEND, .target = target, .receiver = SLOT};

    world_aim(w, &send);
    world_do(w, OTHER, &send, LIVE + 3);
}

/* ---- worlds ---- */

static void hold(struct world *w)
{
    static const struct {
        unsigned slot;
        struct scenario scenario;
    } steps[] = {
        {OTHER, {.op = ALLOT__OP__OP_ACQUIRE, .target = SHARED}},
        {SLOT, {.op = ALLOT__OP__OP_PUBLISH, .target = PUBLISHED, .name = "left alone"}},
        {SLOT, {.op = ALLOT__OP__OP_FREEZE, .target = PUBLISHED}},
        {SLOT, {.op = ALLOT__OP__OP_FREE, .target = PUBLISHED}},
        {OTHER, {.op = ALLOT__OP__OP_PUBLISH, .target = FOREIGN, .name = "held"}},
        {SLOT, {.op = ALLOT__OP__OP_PUBLISH, .target = SHARED, .name = "mine"}},
    };

    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct scenario s = steps[i].scenario;
        world_aim(w, &s);
        world_do(w, steps[i].slot, &s, LIVE + 1 + i);
    }
}

void world_make(struct world *w)
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

    image_ledger(&w->ledger);
    assert_int_equal(pool_open(&w->pool, &w->ledger, 0, &config, -1), 0);
    w->region = w->pool.fd;
    for (unsigned i = 0; i < LIVE; i++) {
        struct pool_operation o = world_do(w, i == FOREIGN ? OTHER : SLOT, &before[i], i + 1);
        w->grants[i].position = o.value;
        w->grants[i].generation = o.generation;
    }
    hold(w);
}

void world_close(struct world *w)
{
    pool_close(&w->pool);
    ledger_close(&w->ledger);
}

void world_copy(struct world *copy, const struct world *w)
{
    image_ledger(&copy->ledger);
    copy->region = w->region;
}

uint64_t world_digest(const struct world *w)
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

bool world_recover(struct world *w)
{
    static unsigned char settled[IMAGE_SIZE];
    static unsigned char opened[IMAGE_SIZE];
    int fd = dup(w->region);

    ledger_journal_settle(&w->ledger, SLOT);
    image_take(&w->ledger, settled);
    if (pool_open(&w->pool, &w->ledger, 0, &config, fd)) {
        close(fd);
        return false;
    }
    image_take(&w->ledger, opened);
    return memcmp(settled, opened, IMAGE_SIZE) == 0;
}

/* ---- stepping ---- */

static void take(void *world, unsigned char *image)
{
    const struct world *w = world;

    image_take(&w->ledger, image);
}

unsigned long world_step(struct world *w, void (*act)(void *world, void *arg), void *arg,
                         void (*look)(void *ctx, const unsigned char *image), void *ctx,
                         unsigned every)
{
    return step_through_all(&(struct stepping){.world = w,
                                               .act = act,
                                               .arg = arg,
                                               .size = IMAGE_SIZE,
                                               .copy = take,
                                               .look = look,
                                               .ctx = ctx,
                                               .every = every});
}
