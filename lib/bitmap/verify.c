/* SPDX-License-Identifier: MIT */
/*
 * Proof and picture of the run map: check() recounts what the tree says of itself against its bits,
 * dump() tells its runs in order. Both walk the nodes that exist, never single units of a uniform
 * stretch, and only read.
 */
#include "runmap.h"

typedef void piece_fn(void *ctx, uint64_t start, uint64_t end, bool free);

static void walk_leaf(const struct leaf *l, uint64_t base, piece_fn *fn, void *ctx)
{
    for (unsigned at = 0, end; at < LEAF_UNITS; at = end) {
        end = leaf_run_end(l, at);
        fn(ctx, base + at, base + end, l->word[at / 64] >> (at % 64) & 1);
    }
}

/* Tells the pieces of uniform units below a node that touch [from, to), in order. */
static void walk(const struct runmap *m, uint32_t index, unsigned level, uint64_t base,
                 uint64_t from, uint64_t to, piece_fn *fn, void *ctx)
{
    const struct run_node *node = run_node(m, index);
    uint64_t span = 1ULL << run_shift(level - 1);

    for (unsigned i = 0; i < RUNMAP_FAN; i++, base += span) {
        if (base + span <= from || base >= to)
            continue;
        if (!node->child[i])
            fn(ctx, base, base + span, node->longest[i] != 0);
        else if (level == 1)
            walk_leaf(run_leaf(m, node->child[i]), base, fn, ctx);
        else
            walk(m, node->child[i], level - 1, base, from, to, fn, ctx);
    }
}

struct dump {
    allot_visit_fn *visit;
    void *ctx;
    unsigned shift;
    uint64_t from, to;   /* the present range */
    uint64_t start, end; /* the run that is being collected */
    bool free;
};

static void dump_flush(struct dump *d)
{
    if (d->end > d->start)
        d->visit(d->ctx, d->start << d->shift, (d->end - d->start) << d->shift,
                 d->free ? ALLOT_RUN_FREE : ALLOT_RUN_USED);
}

static void dump_piece(void *ctx, uint64_t start, uint64_t end, bool free)
{
    struct dump *d = ctx;

    start = start > d->from ? start : d->from;
    end = end < d->to ? end : d->to;
    if (start >= end)
        return;
    if (free != d->free || start != d->end) {
        dump_flush(d);
        d->start = start;
        d->free = free;
    }
    d->end = end;
}

int runmap_dump(const struct runmap *m, unsigned shift, allot_visit_fn *visit, void *ctx)
{
    struct dump d = {.visit = visit, .ctx = ctx, .shift = shift};

    for (uint32_t i = 0; i < m->range_count; i++) {
        d.from = m->ranges[i].start;
        d.to = m->ranges[i].end;
        d.start = d.end = d.from;
        walk(m, m->root, m->level, m->base, d.from, d.to, dump_piece, &d);
        dump_flush(&d);
    }
    return 0;
}

struct recount {
    const struct runmap *m;
    uint32_t nodes, leaves;
    bool hot_seen;
    uint64_t free, free_below_hot;
    uint64_t run_start, run_end; /* the free run that is being collected */
    int line;                    /* of the first check that failed */
};

#define CHECK(r, condition)                                                                        \
    do {                                                                                           \
        if (!(condition) && !(r)->line)                                                            \
            (r)->line = __LINE__;                                                                  \
    } while (0)

/* `sum` is what the parent says, `real` what was counted. */
static void check_told(struct recount *r, struct run_sum told, struct run_sum real)
{
    CHECK(r, told.prefix == real.prefix);
    CHECK(r, told.longest == real.longest);
    CHECK(r, told.suffix == real.suffix);
}

static struct run_sum check_node(struct recount *r, uint32_t index, unsigned level, uint64_t base);

/* Counts one child and returns its real sum. */
static struct run_sum check_child(struct recount *r, const struct run_node *node, unsigned i,
                                  unsigned level, uint64_t base)
{
    const struct runmap *m = r->m;
    struct run_sum told = {node->prefix[i], node->longest[i], node->suffix[i]}, real;
    uint64_t span = 1ULL << run_shift(level);
    uint32_t child = node->child[i];
    bool above_hot = m->hot_dirty && m->hot_base - base < span;

    if (!child) {
        uint64_t runs = told.longest ? span : 0;

        CHECK(r, !above_hot);
        real = (struct run_sum){runs, runs, runs};
    } else if (level == 0) {
        CHECK(r, child <= m->leaves.fresh);
        if (r->line)
            return told;
        r->leaves++;
        r->hot_seen |= child == m->hot && base == m->hot_base;
        real = leaf_sum(run_leaf(m, child));
    } else {
        real = check_node(r, child, level, base);
    }
    if (!above_hot) {
        check_told(r, told, real);
        CHECK(r, !child || real.longest < span);
    }
    return real;
}

static struct run_sum check_node(struct recount *r, uint32_t index, unsigned level, uint64_t base)
{
    const struct runmap *m = r->m;
    uint64_t span = 1ULL << run_shift(level - 1);
    struct run_node real = {.child = {0}};

    CHECK(r, index >= 1 && index <= m->nodes.fresh && r->nodes < m->nodes.live);
    if (r->line)
        return (struct run_sum){0, 0, 0};
    r->nodes++;
    for (unsigned i = 0; i < RUNMAP_FAN; i++) {
        struct run_sum sum = check_child(r, run_node(m, index), i, level - 1, base + i * span);

        real.prefix[i] = sum.prefix;
        real.longest[i] = sum.longest;
        real.suffix[i] = sum.suffix;
    }
    return run_node_sum(&real, span);
}

static void check_piece(void *ctx, uint64_t start, uint64_t end, bool free)
{
    struct recount *r = ctx;
    const struct runmap *m = r->m;

    if (!free)
        return;
    r->free += end - start;
    if (m->hot && start < m->hot_base)
        r->free_below_hot += end - start;
    if (start != r->run_end)
        r->run_start = start;
    r->run_end = end;
    CHECK(r, runmap_manages(m, r->run_start, r->run_end - r->run_start));
}

static uint32_t count_spare(const struct run_items *items)
{
    uint32_t count = 0;

    for (uint32_t i = items->spare; i && i <= items->fresh && count < items->fresh; count++)
        __builtin_memcpy(&i, (const char *)items->mem + (size_t)(i - 1) * items->item_bytes,
                         sizeof(i));
    return count;
}

static void check_items(struct recount *r, const struct run_items *items, uint32_t reached)
{
    CHECK(r, items->live == reached);
    CHECK(r, items->fresh <= items->capacity);
    CHECK(r, items->fresh - items->live == count_spare(items));
}

static void check_ranges(struct recount *r)
{
    const struct runmap *m = r->m;
    uint64_t total = 0;

    CHECK(r, m->range_count <= m->range_capacity);
    if (r->line)
        return;
    for (uint32_t i = 0; i < m->range_count; i++) {
        CHECK(r, m->ranges[i].start < m->ranges[i].end);
        CHECK(r, m->ranges[i].end <= RUNMAP_UNITS_MAX);
        CHECK(r, i == 0 || m->ranges[i - 1].end < m->ranges[i].start);
        CHECK(r, (m->ranges[i].start ^ m->base) >> run_shift(m->level) == 0);
        CHECK(r, ((m->ranges[i].end - 1) ^ m->base) >> run_shift(m->level) == 0);
        total += m->ranges[i].end - m->ranges[i].start;
    }
    CHECK(r, total == m->total);
    CHECK(r, m->used <= m->total);
    CHECK(r, (m->range_count == 0) == (m->root == 0));
}

int runmap_check(const struct runmap *m)
{
    struct recount r = {.m = m, .run_end = UINT64_MAX};
    struct run_sum real = {0, 0, 0};

    check_ranges(&r);
    if (r.line)
        return r.line;
    if (m->root) {
        CHECK(&r, m->level >= 1 && m->level <= RUNMAP_LEVEL_MAX);
        CHECK(&r, !(m->base & ((1ULL << run_shift(m->level)) - 1)));
        if (r.line)
            return r.line;
        real = check_node(&r, m->root, m->level, m->base);
    }
    if (!m->hot_dirty)
        check_told(&r, m->sum, real);
    check_items(&r, &m->nodes, r.nodes);
    check_items(&r, &m->leaves, r.leaves);
    CHECK(&r, m->hot || !m->hot_dirty);
    CHECK(&r, !m->hot || r.hot_seen);
    CHECK(&r, runmap_longest(m) == real.longest);
    CHECK(&r, m->meta_bytes == (size_t)m->nodes.capacity * sizeof(struct run_node) +
                                   (size_t)m->leaves.capacity * sizeof(struct leaf) +
                                   m->range_capacity * sizeof(struct run_range));
    if (!r.line && m->root)
        walk(m, m->root, m->level, m->base, 0, RUNMAP_UNITS_MAX, check_piece, &r);
    CHECK(&r, r.free == m->total - m->used);
    CHECK(&r, r.free_below_hot == 0);
    return r.line;
}
