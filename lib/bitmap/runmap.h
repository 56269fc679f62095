/* SPDX-License-Identifier: MIT */
/*
 * The run map: which of up to 2^48 units are free, and where the lowest run of n of them lies. It
 * is the engine below the page allocator and the ID allocator; private to lib/.
 *
 * Units are numbers below 2^48. Results are 0 or a code of error.h; on failure nothing has changed
 * and nothing is set. No locks: one thread at a time; functions on a const map may run side by
 * side. runmap.c tells how it works and what it costs.
 */
#ifndef ALLOT_BITMAP_RUNMAP_H
#define ALLOT_BITMAP_RUNMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <allot/error.h>
#include <allot/meta.h>

#include "leaf.h"

#define RUNMAP_UNITS_MAX (1ULL << 48)

/* Children of a node, and the level at which one node spans RUNMAP_UNITS_MAX. Leaves are level 0.
 */
#define RUNMAP_FAN_SHIFT 3
#define RUNMAP_FAN       (1U << RUNMAP_FAN_SHIFT)
#define RUNMAP_LEVEL_MAX 13

/* A child without a node of its own (child 0) is wholly free or wholly used: its runs tell. */
struct run_node {
    uint64_t longest[RUNMAP_FAN];
    uint64_t prefix[RUNMAP_FAN];
    uint64_t suffix[RUNMAP_FAN];
    uint32_t child[RUNMAP_FAN]; /* index of a node, or of a leaf below level 1 */
};

/* Equal items in one array that the provider may move: they are named by index, from 1. */
struct run_items {
    void *mem;
    uint32_t item_bytes;
    uint32_t capacity;
    uint32_t fresh; /* items ever used; the rest of the array is untouched */
    uint32_t spare; /* first of the given-back items, linked by their first word; 0: none */
    uint32_t live;
};

/* Managed units [start, end). */
struct run_range {
    uint64_t start, end;
};

struct runmap {
    struct allot_meta meta;
    struct run_items nodes, leaves;

    /* Sorted; neither overlapping nor touching. */
    struct run_range *ranges;
    uint32_t range_count, range_capacity;

    uint64_t base;      /* first unit below the root */
    uint32_t root;      /* a node; 0 while nothing is managed */
    unsigned level;     /* of the root, 1 … RUNMAP_LEVEL_MAX */
    struct run_sum sum; /* of the root */

    /* The leaf with the lowest free units, if known: nothing below hot_base is free. While
     * hot_dirty, the sums above it are those from before its latest changes. */
    uint32_t hot;
    bool hot_dirty;
    uint64_t hot_base;

    uint64_t total, used;
    size_t meta_bytes; /* held from the provider */
};

/* An empty map. Takes no memory. `meta` is copied. */
void runmap_init(struct runmap *m, const struct allot_meta *meta);

/* Gives all memory back and is empty again. */
void runmap_clear(struct runmap *m);

/* Forgets everything and manages [start, end). On failure nothing is forgotten. */
int runmap_restart(struct runmap *m, uint64_t start, uint64_t end);

/* Manages [start, end) too, all free; start < end <= RUNMAP_UNITS_MAX. OVERLAP, NO_MEMORY. */
int runmap_add(struct runmap *m, uint64_t start, uint64_t end);

/*
 * Takes `n` units in one run that starts at a multiple of `align`. INVALID: n 0, or align not a
 * power of two. NO_MEMORY: there is none. With align 1 it is the lowest such run; with a larger
 * one it is the lowest too unless many misaligned runs lie before it.
 */
int runmap_alloc(struct runmap *m, uint64_t n, uint64_t align, uint64_t *ret_start);

/* Takes exactly [start, start+n). INVALID: n 0 or not managed. OVERLAP: not all free. NO_MEMORY. */
int runmap_alloc_at(struct runmap *m, uint64_t start, uint64_t n);

/*
 * INVALID: n 0. NOT_ALLOCATED: not all of it is used. NO_MEMORY: both ends of the freed run must be
 * noted, and there is no memory for it; never when each end of it is an end of an earlier
 * allocation, so giving back what was taken cannot fail.
 */
int runmap_free(struct runmap *m, uint64_t start, uint64_t n);

bool runmap_is_used(const struct runmap *m, uint64_t unit);
uint64_t runmap_longest(const struct runmap *m);

/* Is [start, start+n) within one managed range? Any values. */
bool runmap_manages(const struct runmap *m, uint64_t start, uint64_t n);

/* As the tables' check() and dump(); dump tells units shifted left by `shift`. */
int runmap_check(const struct runmap *m);
int runmap_dump(const struct runmap *m, unsigned shift, allot_visit_fn *visit, void *ctx);

/* Among runmap.c, search.c and verify.c. */

static inline struct run_node *run_node(const struct runmap *m, uint32_t index)
{
    return (struct run_node *)m->nodes.mem + (index - 1);
}

static inline struct leaf *run_leaf(const struct runmap *m, uint32_t index)
{
    return (struct leaf *)m->leaves.mem + (index - 1);
}

/* Units below a node or leaf of `level`, as an exponent. */
static inline unsigned run_shift(unsigned level)
{
    return LEAF_SHIFT + RUNMAP_FAN_SHIFT * level;
}

/* The sum of a node whose children span `span` units each. */
static inline struct run_sum run_node_sum(const struct run_node *node, uint64_t span)
{
    uint64_t run = 0, best = 0, prefix = node->prefix[0];

#pragma GCC unroll 8
    for (unsigned i = 0; i < RUNMAP_FAN; i++) {
        uint64_t joined = run + node->prefix[i];

        best = joined > best ? joined : best;
        best = node->longest[i] > best ? node->longest[i] : best;
        run = node->prefix[i] == span ? joined : node->suffix[i];
    }
    best = run > best ? run : best;
    for (unsigned i = 1; i < RUNMAP_FAN && prefix == i * span; i++)
        prefix += node->prefix[i];
    return (struct run_sum){prefix, best, run};
}

/* Where the wanted run lies. No hot_dirty; n <= m->sum.longest. False: no aligned fit. */
bool runmap_search(const struct runmap *m, uint64_t n, uint64_t align, uint64_t *ret_start);

#endif
