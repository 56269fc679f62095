/* SPDX-License-Identifier: MIT */
/*
 * The slab table: what a slab allocator keeps about each slab, and which slab is at a position.
 *
 * Descriptions are asked for in batches and never moved, nor is the table, so they name each other
 * by address.
 *
 * By position they are found with linear hashing (W. Litwin, VLDB 1980), two buckets a description,
 * so that nothing ever stalls to rehash. Slabs of the same 128 MiB have buckets side by side: no
 * two of a small pool share one. The buckets are not given back before a reset, nor are batches.
 */
#ifndef ALLOT_BYTE_SLABTABLE_H
#define ALLOT_BYTE_SLABTABLE_H

#include <stdbool.h>
#include <stdint.h>

#include <allot/align.h>
#include <allot/meta.h>

#define SLAB_GRANULE 16u /* of positions and sizes */
#define SLAB_SIZE    (UINT64_C(1) << 15)
#define SLAB_WORDS   (SLAB_SIZE / SLAB_GRANULE / 64)
#define SLAB_GROUP   4096u /* slabs whose buckets lie side by side */
#define SLAB_BATCH   10u   /* descriptions that are asked for together: nearly a page */

/* A slab's description. What a slab with one word of map needs is in one cache line. */
struct slab {
    uint64_t pos;
    struct slab *next; /* the list of slabs with a free slot, or of descriptions not in use */
    struct slab *prev; /* that of the list's head says nothing */
    struct slab *chain;
    uint64_t span;    /* requests of the class are above size - span */
    uint32_t size;    /* the class's, as are span, inverse and count */
    uint32_t inverse; /* 2^32 / size, rounded up: the reciprocal */
    uint16_t count;   /* of slots */
    uint16_t class;
    uint32_t users;           /* used slots, and 1 if it is its class's spare */
    uint64_t map[SLAB_WORDS]; /* a set bit is a free slot */
    /* Of a small class alone: which words are not 0, and the slot that was found last, which alloc
     * tries first and dealloc need not find again. */
    uint64_t summary;
    uint64_t recent_pos;
    uint64_t *recent_word;
    uint64_t recent_bit;
    uint64_t pad[5]; /* to the end of a cache line */
};

struct slab_batch {
    struct slab slab[SLAB_BATCH];
    struct slab_batch *next;
};

struct slab_table {
    struct allot_meta meta;
    uint64_t count; /* of slabs */
    struct slab *unused;
    struct slab_batch *batches;
    struct slab **bucket;
    uint32_t buckets;
    uint32_t capacity; /* for buckets */
    uint32_t mask;     /* 2^k - 1 >= buckets - 1, the smallest */
    struct slab none;  /* ends all lists: no request fits it, and it has no free slot */
};

bool slab_table_init(struct slab_table *t, const struct allot_meta *meta);
void slab_table_deinit(struct slab_table *t);
/* Forgets all slabs and gives back memory down to what slab_table_init() took. */
void slab_table_reset(struct slab_table *t);
uint64_t slab_table_bytes(const struct slab_table *t);

/* Room for one more. */
bool slab_table_reserve(struct slab_table *t);
/* Which is reserved; all but its position is 0. */
struct slab *slab_table_add(struct slab_table *t, uint64_t pos);
void slab_table_remove(struct slab_table *t, struct slab *slab);

static inline struct slab **slab_table_bucket(const struct slab_table *t, uint64_t pos)
{
    uint64_t x = pos / SLAB_SIZE,
             hash = (x / SLAB_GROUP * 0x9E3779B97F4A7C15u >> 32) + x % SLAB_GROUP;
    uint32_t b = (uint32_t)hash & t->mask, top = t->mask - t->mask / 2;

    /* What is not yet split off is in the bucket without the top bit. No branch: it is as good as
     * random. */
    return &t->bucket[b & ~(top & (0u - (b >= t->buckets)))];
}

/* The slab that contains `pos`, or none. */
static inline struct slab *slab_table_at(struct slab_table *t, uint64_t pos)
{
    uint64_t base = ALLOT_ALIGN_DOWN(pos, SLAB_SIZE);
    struct slab *slab = *slab_table_bucket(t, base);

    while (slab->pos != base && slab != &t->none)
        slab = slab->chain;
    return slab;
}

#endif
