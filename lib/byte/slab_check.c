/* SPDX-License-Identifier: MIT */
/*
 * Slabs: the recount of every invariant, and the list of all runs. Both walk the whole of the
 * allocator and change nothing.
 */
#include "check.h"
#include "slab.h"

static int check_slab(struct slabs *h, const struct slab *slab)
{
    uint64_t size = 0, recent = slab->recent_pos - slab->pos, slot;
    uint32_t free = 0, c = slab->class;

    CHECK(c < h->class_count && ALLOT_IS_ALIGNED(slab->pos, SLAB_SIZE));
    CHECK(slab->size == h->class_size[c] && slab->count == (uint32_t)SLAB_SIZE / slab->size);
    CHECK(slab->span == slab->size - (c ? h->class_size[c - 1] : 0));
    CHECK(slab->inverse == UINT32_MAX / slab->size + 1);
    slot = recent / slab->size;
    CHECK(slot < slab->count && recent % slab->size == 0);
    CHECK(slab->recent_word == &slab->map[slot / 64]);
    CHECK(slab->recent_bit == UINT64_C(1) << slot % 64);
    CHECK(h->inner->ops->usable_size(h->inner, slab->pos, &size) == 0 && size == SLAB_SIZE);
    for (uint32_t word = 0; word < SLAB_WORDS; word++) {
        CHECK(slab_is_large(slab) || !slab->map[word] == !(slab->summary >> word & 1));
        for (uint64_t bits = slab->map[word]; bits; bits &= bits - 1)
            free++;
        if (slab->count < (word + 1) * 64)
            CHECK(!(slab->map[word] >> (slab->count > word * 64 ? slab->count % 64 : 0)));
    }
    CHECK(slab_is_large(slab) || SLAB_WORDS == 64 || !(slab->summary >> SLAB_WORDS % 64));
    CHECK(slab->users && slab->users + free == slab->count + (uint32_t)(h->spare[c] == slab));
    return 0;
}

static bool has_free(const struct slab *slab)
{
    for (uint32_t word = 0; word < SLAB_WORDS; word++)
        if (slab->map[word])
            return true;
    return false;
}

/* Each size has the smallest class that holds it. */
static int check_classes(const struct slabs *h)
{
    CHECK(h->class_count < SLAB_CLASSES && h->class_of[0] == h->class_count);
    for (uint32_t i = 1; i <= SLAB_BLOCK_MAX / SLAB_GRANULE; i++) {
        uint32_t c = h->class_of[i];

        CHECK(c < h->class_count && ALLOT_IS_ALIGNED(h->class_size[c], SLAB_GRANULE));
        CHECK(i * SLAB_GRANULE <= h->class_size[c]);
        CHECK(!c || i * SLAB_GRANULE > h->class_size[c - 1]);
    }
    CHECK(h->class_size[h->class_of[SLAB_SMALL_MAX / SLAB_GRANULE]] == SLAB_SMALL_MAX);
    return 0;
}

/* No request fits it, no block is there, and none can be had. */
static int check_none(const struct slab *none)
{
    CHECK(!has_free(none) && !none->summary && !none->recent_bit);
    CHECK(!none->span && !none->size && !none->users && none->recent_pos % SLAB_GRANULE);
    return 0;
}

/* The lists have the slabs of their class with a free slot, `partial` in all, and nothing else. */
static int check_lists(struct slabs *h, uint64_t partial)
{
    for (uint32_t c = 0; c < SLAB_CLASSES; c++) {
        const struct slab *prev = NULL;

        CHECK(c < h->class_count || (h->partial[c] == &h->table.none && !h->spare[c]));
        CHECK(!h->spare[c] || (slab_table_at(&h->table, h->spare[c]->pos) == h->spare[c] &&
                               h->spare[c]->class == c));
        for (const struct slab *slab = h->partial[c]; slab != &h->table.none; slab = slab->next) {
            CHECK((!prev || slab->prev == prev) && slab->class == c && has_free(slab) && partial--);
            CHECK(slab_table_at(&h->table, slab->pos) == slab);
            prev = slab;
        }
    }
    CHECK(!partial);
    return 0;
}

int slabs_check(const struct allot_byte *b)
{
    struct slabs *h = (struct slabs *)(uintptr_t)b;
    uint64_t filled = 0, count = 0, partial = 0, described = 0;
    int line = h->inner->ops->check(h->inner);

    if (!line)
        line = check_classes(h);
    if (!line)
        line = check_none(&h->table.none);
    if (line)
        return line;
    for (const struct slab_batch *batch = h->table.batches; batch; batch = batch->next)
        described += SLAB_BATCH;
    CHECK(h->table.buckets == 2 * described + 2 && h->table.buckets <= h->table.capacity);
    CHECK(h->table.buckets - 1 <= h->table.mask && h->table.mask / 2 < h->table.buckets - 1);
    for (uint32_t i = 0; i < h->table.buckets; i++) {
        for (const struct slab *slab = h->table.bucket[i]; slab != &h->table.none;
             slab = slab->chain) {
            CHECK(++count <= h->table.count &&
                  slab_table_bucket(&h->table, slab->pos) == &h->table.bucket[i]);
            line = check_slab(h, slab);
            if (line)
                return line;
            filled += (uint64_t)(slab->users - (h->spare[slab->class] == slab)) * slab->size;
            partial += has_free(slab);
        }
    }
    CHECK(count == h->table.count && filled == h->filled);
    CHECK(h->last == &h->table.none || slab_table_at(&h->table, h->last->pos) == h->last);
    for (const struct slab *slab = h->table.unused; slab; slab = slab->next)
        CHECK(++count <= described);
    CHECK(count == described);
    return check_lists(h, partial);
}

struct dump {
    struct slabs *h;
    allot_visit_fn *visit;
    void *ctx;
};

static void dump_slab(const struct dump *d, const struct slab *slab)
{
    uint64_t from = slab->pos;

    for (uint32_t slot = 0; slot < slab->count; slot++) {
        uint64_t pos = slab->pos + (uint64_t)slot * slab->size;

        if (slab->map[slot / 64] >> (slot % 64) & 1)
            continue;
        if (from < pos)
            d->visit(d->ctx, from, pos - from, ALLOT_RUN_FREE);
        d->visit(d->ctx, pos, slab->size, ALLOT_RUN_USED);
        from = pos + slab->size;
    }
    if (from < slab->pos + SLAB_SIZE)
        d->visit(d->ctx, from, slab->pos + SLAB_SIZE - from, ALLOT_RUN_FREE);
}

static void dump_inner(void *ctx, unsigned long long start, unsigned long long size,
                       enum allot_run_state state)
{
    const struct dump *d = ctx;
    const struct slab *slab = slab_table_at(&d->h->table, start);

    if (slab != &d->h->table.none)
        dump_slab(d, slab);
    else
        d->visit(d->ctx, start, size, state);
}

int slabs_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx)
{
    struct slabs *h = (struct slabs *)(uintptr_t)b;
    struct dump d = {h, visit, ctx};

    return h->inner->ops->dump(h->inner, dump_inner, &d);
}
