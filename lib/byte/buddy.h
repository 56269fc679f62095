/* SPDX-License-Identifier: MIT */
/*
 * The state of a buddy allocator, for buddy.c and buddy_check.c alone.
 *
 * A pair is a block that is cut in two: a node of nodes.h whose `pos` is the block's middle, which
 * no other pair has, and whose lowest set bit is the order of its halves. link[0] chains it in the
 * hash, link[1] names the pair that it is a half of, and prev and next are the list of its free
 * half, since it never has two. The state of both halves is in an array of its own, by the index of
 * the node.
 */
#ifndef ALLOT_BYTE_BUDDY_H
#define ALLOT_BYTE_BUDDY_H

#include <allot/byte.h>

#include "nodes.h"

#define BUDDY_ORDER_MIN 4u  /* one granule */
#define BUDDY_ORDER_MAX 63u /* all positions */

/* The state of a half: one of these, or the index of the pair that it is cut into. */
#define BUDDY_ABSENT 0u
#define BUDDY_FREE   UINT32_MAX
#define BUDDY_USED   (UINT32_MAX - 1)
#define BUDDY_WALL   (UINT32_MAX - 2) /* the upper half of the root, never anything else */

#define BUDDY_ROOT 1u

struct buddy {
    struct allot_byte base;
    struct nodes nodes;
    uint32_t (*half)[2];
    uint32_t half_capacity; /* for so many nodes */
    uint64_t total;
    uint64_t used;
    uint64_t orders; /* bit k is set where head[k] is not 0 */
    uint32_t head[BUDDY_ORDER_MAX + 1];
};

static inline unsigned buddy_order(const struct node *pair)
{
    return (unsigned)__builtin_ctzll(pair->pos);
}

/* Which half of a pair with halves of `order` contains `pos`. */
static inline unsigned buddy_side(uint64_t pos, unsigned order)
{
    return (unsigned)(pos >> order) & 1;
}

/* The middle of the pair with halves of `order` that contains `pos`. */
static inline uint64_t buddy_middle(uint64_t pos, unsigned order)
{
    return (pos >> order | 1) << order;
}

int buddy_check(const struct allot_byte *b);
int buddy_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx);

#endif
