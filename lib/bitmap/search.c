/* SPDX-License-Identifier: MIT */
/*
 * The search of the run map.
 *
 * Without alignment it is one way down the tree: at each node the children are looked at from the
 * left; the wanted run either ends in a child's prefix, having begun in the suffix of the ones
 * before it, or lies within a child whose longest run is long enough. No step back is ever needed,
 * since a child's longest run says for certain that the run is there: at most 8 children at each
 * of the levels, whatever the occupancy.
 *
 * With an alignment a long enough run may still hold no aligned fit. A walk from the left looks
 * into every subtree that could hold one (not into those that span no more than the alignment:
 * there the runs at the edges say all). Where misaligned runs make that long, it is given up after
 * WALK_MAX subtrees in favour of the lowest run of n + align - 1 units, which holds a fit for
 * certain and takes one way down. Only where no such run exists the walk goes to its end: the cost
 * is then in proportion to the number of subtrees with misaligned runs of n units. Summaries for
 * each alignment would avoid that at many times the memory.
 */
#include "runmap.h"

#include <allot/align.h>

/* About the cost of two ways down a tree of 2^48 units. */
#define WALK_MAX 32

struct walk {
    const struct runmap *m;
    uint64_t n, align;
    uint64_t run;    /* where the free run that touches the present unit starts */
    uint64_t budget; /* subtrees that may still be entered */
    uint64_t found;
};

enum walk_result { WALK_ON, WALK_FOUND, WALK_SPENT };

static uint64_t lowest_run(const struct runmap *m, uint64_t n)
{
    const struct run_node *node = run_node(m, m->root);
    uint64_t base = m->base;

    for (unsigned level = m->level;; level--) {
        unsigned shift = run_shift(level - 1), i;
        uint64_t run = 0;

        for (i = 0;; i++) {
            uint64_t joined = run + node->prefix[i];

            if (joined >= n)
                return base + ((uint64_t)i << shift) - run;
            if (node->longest[i] >= n)
                break;
            run = node->prefix[i] >> shift ? joined : node->suffix[i];
        }
        base += (uint64_t)i << shift;
        if (level == 1)
            return base + leaf_find(run_leaf(m, node->child[i]), n);
        node = run_node(m, node->child[i]);
    }
}

/* The present run ends before `end`: does it hold a fit? */
static bool walk_close(struct walk *w, uint64_t end)
{
    uint64_t start = ALLOT_ALIGN_UP(w->run, w->align);

    if (start > end || end - start < w->n)
        return false;
    w->found = start;
    return true;
}

static enum walk_result walk_leaf(struct walk *w, const struct leaf *l, uint64_t base)
{
    unsigned at = 0;

    while (at < LEAF_UNITS) {
        unsigned end = leaf_run_end(l, at);

        if (!(l->word[at / 64] >> (at % 64) & 1))
            w->run = base + end;
        else if (walk_close(w, base + end))
            return WALK_FOUND;
        at = end;
    }
    return WALK_ON;
}

static enum walk_result walk_node(struct walk *w, const struct run_node *node, unsigned level,
                                  uint64_t base)
{
    uint64_t span = 1ULL << run_shift(level - 1);

    for (unsigned i = 0; i < RUNMAP_FAN; i++, base += span) {
        if (node->prefix[i] == span)
            continue;
        if (walk_close(w, base + node->prefix[i]))
            return WALK_FOUND;
        if (node->longest[i] >= w->n && w->align < span) {
            enum walk_result result;

            if (w->budget-- == 0)
                return WALK_SPENT;
            result = level == 1 ? walk_leaf(w, run_leaf(w->m, node->child[i]), base)
                                : walk_node(w, run_node(w->m, node->child[i]), level - 1, base);
            if (result != WALK_ON)
                return result;
        }
        w->run = base + span - node->suffix[i];
    }
    return WALK_ON;
}

static enum walk_result walk_tree(struct walk *w, uint64_t budget)
{
    const struct runmap *m = w->m;
    enum walk_result result;

    w->run = m->base;
    w->budget = budget;
    result = walk_node(w, run_node(m, m->root), m->level, m->base);
    if (result == WALK_ON && walk_close(w, m->base + (1ULL << run_shift(m->level))))
        result = WALK_FOUND;
    return result;
}

bool runmap_search(const struct runmap *m, uint64_t n, uint64_t align, uint64_t *ret_start)
{
    struct walk w = {.m = m, .n = n, .align = align};
    enum walk_result result;

    if (align == 1) {
        *ret_start = lowest_run(m, n);
        return true;
    }
    result = walk_tree(&w, WALK_MAX);
    if (result == WALK_SPENT && m->sum.longest >= n + (align - 1)) {
        *ret_start = ALLOT_ALIGN_UP(lowest_run(m, n + (align - 1)), align);
        return true;
    }
    if (result == WALK_SPENT)
        result = walk_tree(&w, UINT64_MAX);
    if (result == WALK_FOUND)
        *ret_start = w.found;
    return result == WALK_FOUND;
}
