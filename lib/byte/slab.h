/* SPDX-License-Identifier: MIT */
/*
 * The state of a slab allocator, for slab.c and slab_check.c alone.
 */
#ifndef ALLOT_BYTE_SLAB_H
#define ALLOT_BYTE_SLAB_H

#include <allot/byte.h>

#include "slabtable.h"

#define SLAB_SMALL_MAX (SLAB_SIZE / 64) /* the largest class of 64 slots a slab or more */
#define SLAB_BLOCK_MAX (SLAB_SIZE / 4)  /* the largest class */
#define SLAB_CLASSES   64u              /* room for them */

struct slabs {
    struct allot_byte base;
    struct allot_byte *inner;
    struct slab *last; /* where a dealloc found its block lately */
    uint64_t filled;   /* bytes of the used slots */
    uint32_t class_count;
    struct slab *partial[SLAB_CLASSES]; /* lists of the slabs with a free slot */
    struct slab *spare[SLAB_CLASSES];   /* NULL, or the one that is empty if any of a class is */
    uint32_t class_size[SLAB_CLASSES];
    uint8_t class_of[SLAB_BLOCK_MAX / SLAB_GRANULE + 1]; /* by size in granules, rounded up */
    struct slab_table table;
};

/* True if one word of map is enough for the slots. */
static inline bool slab_is_large(const struct slab *slab)
{
    return slab->size > SLAB_SMALL_MAX;
}

int slabs_check(const struct allot_byte *b);
int slabs_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx);

#endif
