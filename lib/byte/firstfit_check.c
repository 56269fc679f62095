/* SPDX-License-Identifier: MIT */
/*
 * First fit: the recount of every invariant, and the list of all runs. Both walk the whole tree and
 * change nothing.
 */
#include "check.h"
#include "firstfit.h"

struct tally {
    uint64_t total;
    uint64_t used;
    uint64_t end; /* of the runs counted so far */
    enum run_state last;
    uint32_t nodes;
};

static int check_leaf(const struct runtree_leaf *leaf, struct tally *tally, uint64_t *ret_largest)
{
    uint64_t largest = 0;

    CHECK(leaf->count && leaf->count <= RUNTREE_LEAF_MAX && !(leaf->at[0] & ~RUN_STATE));
    for (uint32_t i = 0; i < leaf->count; i++) {
        uint64_t start = leaf_start(leaf, i), end = leaf_start(leaf, i + 1);
        enum run_state state = run_state(leaf->at[i]);

        CHECK(start == tally->end && start < end && end <= RUN_END);
        CHECK(state == RUN_FREE || state == RUN_USED || state == RUN_GAP);
        CHECK(!start || state == RUN_USED || state != tally->last);
        if (state != RUN_GAP)
            tally->total += end - start;
        if (state == RUN_USED)
            tally->used += end - start;
        if (state == RUN_FREE && end - start > largest)
            largest = end - start;
        tally->end = end;
        tally->last = state;
    }
    *ret_largest = largest;
    return 0;
}

/* Recursion is as deep as the tree is high. */
static int check_node(const struct runtree *t, uint32_t i, uint32_t level, struct tally *tally,
                      uint64_t *ret_largest)
{
    const struct runtree_inner *inner;
    uint64_t largest = 0;

    CHECK(i < t->top && ++tally->nodes <= t->taken);
    if (!level)
        return check_leaf(&t->at[i].leaf, tally, ret_largest);
    inner = &t->at[i].inner;
    CHECK(inner->count >= (i == t->root ? 2 : RUNTREE_INNER_MAX / 8));
    CHECK(inner->count <= RUNTREE_INNER_MAX);
    for (uint32_t slot = 0; slot < inner->count; slot++) {
        uint64_t below;
        int line;

        CHECK(inner->start[slot] == tally->end);
        line = check_node(t, inner->child[slot], level - 1, tally, &below);
        if (line)
            return line;
        CHECK(inner->largest[slot] == below);
        largest = below > largest ? below : largest;
    }
    *ret_largest = largest;
    return 0;
}

int firstfit_check(const struct allot_byte *b)
{
    const struct firstfit *f = (const struct firstfit *)(const void *)b;
    const struct runtree *t = &f->runs;
    struct tally tally = {.last = RUN_USED};
    uint32_t spare = 0;
    uint64_t largest;
    int line;

    CHECK(t->height < RUNTREE_LEVELS && t->top <= t->capacity && t->taken <= t->top);
    line = check_node(t, t->root, t->height, &tally, &largest);
    if (line)
        return line;
    CHECK(tally.end == RUN_END && t->largest == largest && tally.nodes == t->taken);
    CHECK(f->total == tally.total && f->used == tally.used);
    for (uint32_t i = t->spare; i != RUNTREE_NONE; i = t->at[i].spare)
        CHECK(i < t->top && ++spare <= t->top);
    CHECK(spare == t->top - t->taken);
    return 0;
}

static void dump_node(const struct runtree *t, uint32_t i, uint32_t level, allot_visit_fn *visit,
                      void *ctx)
{
    const struct runtree_leaf *leaf = &t->at[i].leaf;

    if (level) {
        for (uint32_t slot = 0; slot < t->at[i].inner.count; slot++)
            dump_node(t, t->at[i].inner.child[slot], level - 1, visit, ctx);
        return;
    }
    for (uint32_t slot = 0; slot < leaf->count; slot++) {
        uint64_t start = leaf_start(leaf, slot), size = leaf_start(leaf, slot + 1) - start;
        enum run_state state = run_state(leaf->at[slot]);

        if (state != RUN_GAP)
            visit(ctx, start, size, state == RUN_FREE ? ALLOT_RUN_FREE : ALLOT_RUN_USED);
    }
}

int firstfit_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx)
{
    const struct firstfit *f = (const struct firstfit *)(const void *)b;

    dump_node(&f->runs, f->runs.root, f->runs.height, visit, ctx);
    return 0;
}
