/* SPDX-License-Identifier: MIT */
/*
 * The run tree: its searches, which change nothing. One goes down by where runs start, the other by
 * the largest free run below each child.
 */
#include <allot/align.h>

#include "runtree.h"

/* How many of the rising words are at most `word`: whole eights first. All comparisons of a loop
 * are independent, which is faster here than halving, where each waits for the one before. */
static inline uint32_t words_upto(const uint32_t *at, uint32_t count, uint32_t word)
{
    uint32_t below = 0, end;

    for (uint32_t i = 7; i < count; i += 8)
        below += at[i] <= word;
    below *= 8;
    end = below + 8 < count ? below + 8 : count;
    for (uint32_t i = below; i < end; i++)
        below += at[i] <= word;
    return below;
}

static inline uint32_t starts_upto(const uint64_t *start, uint32_t count, uint64_t pos)
{
    uint32_t below = 0;

    for (uint32_t i = 0; i < count; i++)
        below += start[i] <= pos;
    return below;
}

void runtree_locate(const struct runtree *t, uint64_t pos, struct runtree_path *path)
{
    uint32_t i = t->root;
    const struct runtree_leaf *leaf;

    for (uint32_t level = t->height; level; level--) {
        const struct runtree_inner *inner = &t->at[i].inner;
        uint32_t slot = starts_upto(inner->start, inner->count, pos) - 1;

        path->node[level] = i;
        path->slot[level] = slot;
        i = inner->child[slot];
    }
    leaf = &t->at[i].leaf;
    path->node[0] = i;
    path->slot[0] = words_upto(leaf->at, leaf->count, in_words(pos - leaf->start) | RUN_STATE) - 1;
}

/* The first slot that holds the size; the node has one. Only its last run may be longer than can be
 * told in words. */
static inline uint32_t leaf_fit(const struct runtree_leaf *leaf, uint64_t size)
{
    uint32_t words = in_words(size), slot = 0;

    while (slot + 1 < leaf->count && free_words(leaf->at[slot], leaf->at[slot + 1]) < words)
        slot++;
    return slot;
}

static inline bool leaf_fit_aligned(const struct runtree_leaf *leaf, uint64_t size, uint64_t align,
                                    uint32_t *slot)
{
    for (; *slot < leaf->count; ++*slot) {
        uint64_t start = leaf_start(leaf, *slot), end = leaf_start(leaf, *slot + 1), aligned;

        if (run_state(leaf->at[*slot]) != RUN_FREE || end - start < size)
            continue;
        aligned = ALLOT_ALIGN_UP(start, align);
        if (aligned >= start && aligned < end && end - aligned >= size)
            return true;
    }
    return false;
}

/* Depth first in address order, past whatever has no run of `size`. */
static bool first_fit_aligned(const struct runtree *t, uint64_t size, uint64_t align,
                              struct runtree_path *path)
{
    uint32_t level = t->height;

    path->node[level] = t->root;
    path->slot[level] = 0;
    for (;;) {
        const union runtree_node *node = &t->at[path->node[level]];

        if (!level) {
            if (leaf_fit_aligned(&node->leaf, size, align, &path->slot[0]))
                return true;
        } else {
            const struct runtree_inner *inner = &node->inner;
            uint32_t slot = path->slot[level];

            while (slot < inner->count && inner->largest[slot] < size)
                slot++;
            path->slot[level] = slot;
            if (slot < inner->count) {
                path->node[--level] = inner->child[slot];
                path->slot[level] = 0;
                continue;
            }
        }
        if (level == t->height)
            return false;
        path->slot[++level]++;
    }
}

bool runtree_first_fit(const struct runtree *t, uint64_t size, uint64_t align,
                       struct runtree_path *path)
{
    uint32_t i = t->root;

    if (t->largest < size)
        return false;
    if (align > RUN_GRANULE)
        return first_fit_aligned(t, size, align, path);
    for (uint32_t level = t->height; level; level--) {
        const struct runtree_inner *inner = &t->at[i].inner;
        uint32_t slot = 0;

        while (inner->largest[slot] < size)
            slot++;
        path->node[level] = i;
        path->slot[level] = slot;
        i = inner->child[slot];
    }
    path->node[0] = i;
    path->slot[0] = leaf_fit(&t->at[i].leaf, size);
    return true;
}
