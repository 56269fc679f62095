/* SPDX-License-Identifier: MIT */
/*
 * The state of a slab allocator, for slab.c and slab_check.c alone.
 */
#ifndef ALLOT_BYTE_SLAB_H
#define ALLOT_BYTE_SLAB_H

#include <allot/byte.h>

/* The slabs of 128 MiB have buckets side by side: no two of a small pool share one. */
#define NODES_HASH_UNIT  32768u
#define NODES_HASH_GROUP 4096u
#include "nodes.h"

#define SLAB_SIZE      (UINT64_C(1) << 15)
#define SLAB_BLOCK_MAX (SLAB_SIZE / 4) /* the largest class */
#define SLAB_CLASSES   64u             /* room for them */
#define SLAB_WORDS     (SLAB_SIZE / NODE_GRANULE / 64)

/* The slots of one slab. A set bit is a free slot. */
struct slots {
    uint64_t pos;
    uint64_t summary; /* which words of the map are not 0, if it has more than one */
    uint32_t size;    /* the class's, as are inverse and count */
    uint32_t inverse; /* 2^32 / size, rounded up: the reciprocal */
    uint16_t count;
    uint16_t free; /* how many */
    uint16_t class;
    uint16_t hint; /* a slot that was free lately; alloc looks there first */
    uint32_t next; /* the list of slabs with a free slot; prev of its head says nothing */
    uint32_t prev;
    uint64_t map[SLAB_WORDS];
};

struct slab_class {
    uint32_t size;
    uint32_t slots;
    uint32_t partial; /* list of the slabs with a free slot */
};

#define LAST_NONE UINT64_C(1)

struct slabs {
    struct allot_byte base;
    struct allot_byte *inner;
    /* A node a slab, in the hash by position; its slots have the same index. */
    struct nodes nodes;
    struct slots *slots;
    uint32_t slots_capacity;
    /* The slab of the last dealloc of a small block is found without the hash. */
    uint64_t last_pos; /* LAST_NONE if there is none */
    uint32_t last;
    uint32_t last_class;
    uint32_t spare;  /* if any slab is empty, this one is */
    uint64_t filled; /* bytes of the used slots */
    uint32_t class_count;
    struct slab_class class[SLAB_CLASSES];
    uint8_t class_of[SLAB_BLOCK_MAX / NODE_GRANULE + 1]; /* by size in granules, rounded up */
};

int slabs_check(const struct allot_byte *b);
int slabs_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx);

#endif
