/* SPDX-License-Identifier: MIT */
/*
 * The state of a slab allocator, for slab.c and slab_check.c alone.
 */
#ifndef ALLOT_BYTE_SLAB_H
#define ALLOT_BYTE_SLAB_H

#include <stdbool.h>
#include <stdint.h>

#include <allot/align.h>
#include <allot/byte.h>

#define SLAB_GRANULE   16u /* of positions and sizes */
#define SLAB_SIZE      (UINT64_C(1) << 15)
#define SLAB_BLOCK_MAX (SLAB_SIZE / 4) /* the largest class */
#define SLAB_CLASSES   64u             /* room for them */
#define SLAB_WORDS     (SLAB_SIZE / SLAB_GRANULE / 64)
#define SLAB_GROUP     4096u /* slabs whose buckets lie side by side */
#define SLAB_BATCH     10u   /* descriptions that are asked for together: a page */

/* A slab's description. What a slab with one word of map needs is in one cache line. */
struct slab {
    uint64_t pos;
    struct slab *next; /* the list of slabs with a free slot, or of descriptions not in use */
    struct slab *prev; /* that of the list's head says nothing */
    struct slab *chain;
    uint32_t size;    /* the class's, as are inverse, span and count */
    uint32_t inverse; /* 2^32 / size, rounded up: the reciprocal */
    uint16_t span;    /* requests of the class are above size - span */
    uint16_t count;   /* of slots */
    uint16_t class;
    uint32_t users;           /* used slots, and 1 if it is its class's spare */
    uint64_t map[SLAB_WORDS]; /* a set bit is a free slot */
    /* Where there are more words than one: which of them are not 0, and the slot that was found
     * last, which alloc tries first and dealloc need not find again. */
    uint64_t summary;
    uint64_t recent_pos;
    uint64_t *recent_word;
    uint64_t recent_bit;
    uint64_t unused[5]; /* to the end of a cache line */
};

struct slab_batch {
    struct slab slab[SLAB_BATCH];
    struct slab_batch *next;
};

struct slabs {
    struct allot_byte base;
    struct allot_meta meta;
    struct allot_byte *inner;
    struct slab *last; /* where a dealloc found its block lately */
    uint64_t filled;   /* bytes of the used slots */
    uint64_t count;    /* of slabs */
    struct slab *unused;
    struct slab_batch *batches;
    struct slab **bucket; /* slabs by position */
    uint32_t buckets;
    uint32_t bucket_capacity;
    uint32_t mask; /* 2^k - 1 >= buckets - 1, the smallest */
    uint32_t class_count;
    struct slab *partial[SLAB_CLASSES]; /* lists of the slabs with a free slot */
    struct slab *spare[SLAB_CLASSES];   /* NULL, or the one that is empty if any of a class is */
    uint32_t class_size[SLAB_CLASSES];
    uint8_t class_of[SLAB_BLOCK_MAX / SLAB_GRANULE + 1]; /* by size in granules, rounded up */
    struct slab none; /* ends all lists: no request fits it, and it has no free slot */
};

/* Slabs by position: linear hashing (W. Litwin, VLDB 1980) with two buckets a description, so that
 * nothing ever stalls to rehash. Slabs of the same 128 MiB have buckets side by side: no two of a
 * small pool share one. */

static inline uint32_t slab_hash(uint64_t pos)
{
    uint64_t x = pos / SLAB_SIZE, group = x / SLAB_GROUP;

    group ^= group >> 32;
    return (uint32_t)((group * 0x9E3779B97F4A7C15u) >> 32) + (uint32_t)(x % SLAB_GROUP);
}

static inline struct slab **slab_bucket(const struct slabs *h, uint64_t pos)
{
    uint32_t b = slab_hash(pos) & h->mask;

    return &h->bucket[b < h->buckets ? b : b & h->mask / 2]; /* what is not split off yet */
}

/* The slab that contains `pos`, or none. */
static inline struct slab *slab_at(struct slabs *h, uint64_t pos)
{
    uint64_t base = ALLOT_ALIGN_DOWN(pos, SLAB_SIZE);
    struct slab *slab = *slab_bucket(h, base);

    while (slab->pos != base && slab != &h->none)
        slab = slab->chain;
    return slab;
}

int slabs_check(const struct allot_byte *b);
int slabs_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx);

#endif
