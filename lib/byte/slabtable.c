/* SPDX-License-Identifier: MIT */
/*
 * The slab table: its memory and its changes. See slabtable.h.
 *
 * Limit: 2^31 buckets, so 2^30 slabs.
 */
#include "slabtable.h"

#define BUCKETS_FIRST 32u
#define NO_POS        UINT64_C(1) /* where no slab is */

static bool resize_buckets(struct slab_table *t, uint32_t want)
{
    size_t each = sizeof(struct slab *), bytes;
    void *fresh;

    if (__builtin_mul_overflow((size_t)want, each, &bytes))
        return false;
    fresh = t->meta.resize(t->meta.ctx, t->bucket, t->capacity * each, bytes);
    if (!fresh)
        return false;
    t->bucket = fresh;
    t->capacity = want;
    return true;
}

static void hash_add(struct slab_table *t, struct slab *slab)
{
    struct slab **bucket = slab_table_bucket(t, slab->pos);

    slab->chain = *bucket;
    *bucket = slab;
}

static void hash_split(struct slab_table *t)
{
    uint32_t fresh = t->buckets++;
    struct slab **from, *slab, *next;

    if (fresh > t->mask)
        t->mask = 2 * t->mask + 1;
    from = &t->bucket[fresh & t->mask / 2];
    slab = *from;
    *from = &t->none;
    t->bucket[fresh] = &t->none;
    for (; slab != &t->none; slab = next) {
        next = slab->chain;
        hash_add(t, slab);
    }
}

bool slab_table_reserve(struct slab_table *t)
{
    struct slab_batch *batch;

    if (t->unused)
        return true;
    if (t->capacity - t->buckets < 2 * SLAB_BATCH &&
        (t->capacity > UINT32_MAX / 2 || !resize_buckets(t, 2 * t->capacity)))
        return false;
    batch = t->meta.resize(t->meta.ctx, NULL, 0, sizeof(*batch));
    if (!batch)
        return false;
    batch->next = t->batches;
    t->batches = batch;
    for (unsigned i = 0; i < SLAB_BATCH; i++) {
        batch->slab[i].next = t->unused;
        t->unused = &batch->slab[i];
        hash_split(t);
        hash_split(t);
    }
    return true;
}

struct slab *slab_table_add(struct slab_table *t, uint64_t pos)
{
    struct slab *slab = t->unused;

    t->unused = slab->next;
    t->count++;
    *slab = (struct slab){.pos = pos};
    hash_add(t, slab);
    return slab;
}

void slab_table_remove(struct slab_table *t, struct slab *slab)
{
    struct slab **link = slab_table_bucket(t, slab->pos);

    while (*link != slab)
        link = &(*link)->chain;
    *link = slab->chain;
    slab->next = t->unused;
    t->unused = slab;
    t->count--;
}

static void free_batches(struct slab_table *t)
{
    while (t->batches) {
        struct slab_batch *next = t->batches->next;

        t->meta.resize(t->meta.ctx, t->batches, sizeof(*t->batches), 0);
        t->batches = next;
    }
}

static void forget(struct slab_table *t)
{
    t->count = 0;
    t->unused = NULL;
    t->bucket[0] = &t->none;
    t->bucket[1] = &t->none;
    t->buckets = 2;
    t->mask = 1;
}

bool slab_table_init(struct slab_table *t, const struct allot_meta *meta)
{
    *t = (struct slab_table){.meta = *meta};
    if (!resize_buckets(t, BUCKETS_FIRST))
        return false;
    t->none = (struct slab){.pos = NO_POS, .recent_pos = NO_POS, .recent_word = t->none.map};
    forget(t);
    return true;
}

void slab_table_deinit(struct slab_table *t)
{
    free_batches(t);
    resize_buckets(t, 0);
}

void slab_table_reset(struct slab_table *t)
{
    free_batches(t);
    /* A provider that refuses to shrink leaves the array as it was, which is as good. */
    if (t->capacity > BUCKETS_FIRST)
        (void)resize_buckets(t, BUCKETS_FIRST);
    forget(t);
}

uint64_t slab_table_bytes(const struct slab_table *t)
{
    uint64_t batches = (t->buckets - 2) / (2 * SLAB_BATCH);

    return (uint64_t)t->capacity * sizeof(struct slab *) + batches * sizeof(struct slab_batch);
}
