/* SPDX-License-Identifier: MIT */
/*
 * The run map: a radix tree of bitmaps that knows its free runs.
 *
 * A leaf is 512 bits. A node has eight children and knows of each its free runs: the one at its
 * start, the longest inside, the one at its end (M. Knyszek and A. Clements, "Scaling the Go page
 * allocator", 2019, has the idea). So a run of any length is found in one way down, and a change
 * is told in one way up that ends where nothing changes any more. Unmanaged units look used; the
 * list of ranges tells them apart.
 *
 * The tree is sparse. A child that is wholly free, or became used by one operation that covered
 * it, has no node: 2^48 free units cost one node, and a long run is set by whole subtrees. The
 * root lies no higher than the managed ranges need.
 *
 * It is not thread-safe, does not remember which units were taken together, and never gives memory
 * back before it is cleared: what becomes free in its arrays is used again.
 *
 * Invariants, which runmap_check() recounts:
 * - A child without a node is uniform; one with a node is not wholly free (the hot leaf may be).
 * - A node that is wholly used stays as long as its parts were taken piece by piece. Therefore the
 *   ends of every live allocation are there as bits or as edges of children, and to free it needs
 *   no memory. Only a free that splits an allocation may need some.
 * - Below hot_base nothing is free. So what is found in the hot leaf is the lowest, and one unit
 *   taken or given there touches that leaf alone; the sums above it are settled before anything
 *   reads them.
 *
 * Failure: each operation reserves the nodes that it may need before it changes anything.
 *
 * Limits: 2^48 units and 2^32-2 nodes. An array grows by half and is copied by the provider, so a
 * single operation can cost time in proportion to the metadata, O(1) on the average. Giving back a
 * long run frees the nodes that were made below it, each once.
 */
#include "runmap.h"

#include <allot/align.h>

/* Runs up to this long are looked for in the hot leaf first. */
#define HOT_RUN_MAX 64

struct run_path {
    uint32_t node[RUNMAP_LEVEL_MAX + 1]; /* by level */
};

struct run_need {
    uint32_t nodes, leaves;
};

void runmap_init(struct runmap *m, const struct allot_meta *meta)
{
    *m = (struct runmap){
        .meta = *meta,
        .nodes = {.item_bytes = sizeof(struct run_node)},
        .leaves = {.item_bytes = sizeof(struct leaf)},
    };
}

static void *meta_resize(struct runmap *m, void *mem, size_t old_size, size_t new_size)
{
    void *fresh = m->meta.resize(m->meta.ctx, mem, old_size, new_size);

    if (fresh)
        m->meta_bytes += new_size - old_size;
    return fresh;
}

void runmap_clear(struct runmap *m)
{
    struct allot_meta meta = m->meta;

    if (m->nodes.mem)
        meta.resize(meta.ctx, m->nodes.mem, (size_t)m->nodes.capacity * sizeof(struct run_node), 0);
    if (m->leaves.mem)
        meta.resize(meta.ctx, m->leaves.mem, (size_t)m->leaves.capacity * sizeof(struct leaf), 0);
    if (m->ranges)
        meta.resize(meta.ctx, m->ranges, (size_t)m->range_capacity * sizeof(struct run_range), 0);
    runmap_init(m, &meta);
}

/* Items. */

static bool items_set_capacity(struct runmap *m, struct run_items *items, uint64_t capacity)
{
    void *mem;

    if (capacity >= UINT32_MAX || capacity > SIZE_MAX / items->item_bytes)
        return false;
    mem = meta_resize(m, items->mem, (size_t)items->capacity * items->item_bytes,
                      (size_t)capacity * items->item_bytes);
    if (!mem)
        return false;
    items->mem = mem;
    items->capacity = (uint32_t)capacity;
    return true;
}

/* Makes sure that `count` items can be taken. Half as much again, or just enough if that fails. */
static bool items_reserve(struct runmap *m, struct run_items *items, uint32_t count)
{
    uint64_t least = (uint64_t)items->live + count;
    uint64_t more = (uint64_t)items->capacity + items->capacity / 2;

    if (items->capacity - items->live >= count)
        return true;
    return (more > least && items_set_capacity(m, items, more)) ||
           items_set_capacity(m, items, least);
}

static void *item_at(const struct run_items *items, uint32_t index)
{
    return (char *)items->mem + (size_t)(index - 1) * items->item_bytes;
}

static uint32_t items_take(struct run_items *items)
{
    uint32_t index = items->spare;

    items->live++;
    if (!index)
        return ++items->fresh;
    __builtin_memcpy(&items->spare, item_at(items, index), sizeof(items->spare));
    return index;
}

static void items_put(struct run_items *items, uint32_t index)
{
    __builtin_memcpy(item_at(items, index), &items->spare, sizeof(items->spare));
    items->spare = index;
    items->live--;
}

/* Nodes. */

static struct run_sum uniform(uint64_t span, bool free)
{
    uint64_t runs = free ? span : 0;

    return (struct run_sum){runs, runs, runs};
}

static void node_set(struct run_node *node, unsigned i, struct run_sum sum)
{
    node->prefix[i] = sum.prefix;
    node->longest[i] = sum.longest;
    node->suffix[i] = sum.suffix;
}

static struct run_sum node_get(const struct run_node *node, unsigned i)
{
    return (struct run_sum){node->prefix[i], node->longest[i], node->suffix[i]};
}

/* A uniform node or leaf of `level`; it was reserved. */
static uint32_t child_new(struct runmap *m, unsigned level, bool free)
{
    uint32_t index;
    struct run_node *node;

    if (level == 0) {
        index = items_take(&m->leaves);
        __builtin_memset(run_leaf(m, index), free ? 0xff : 0, sizeof(struct leaf));
        return index;
    }
    index = items_take(&m->nodes);
    node = run_node(m, index);
    for (unsigned i = 0; i < RUNMAP_FAN; i++) {
        node_set(node, i, uniform(1ULL << run_shift(level - 1), free));
        node->child[i] = 0;
    }
    return index;
}

static void child_drop(struct runmap *m, uint32_t index, unsigned level)
{
    if (level == 0) {
        items_put(&m->leaves, index);
        return;
    }
    for (unsigned i = 0; i < RUNMAP_FAN; i++) {
        uint32_t child = run_node(m, index)->child[i];

        if (child)
            child_drop(m, child, level - 1);
    }
    items_put(&m->nodes, index);
}

/* What it may take to note an end of a run at `x` below a node of `level` (0: not there yet). */
static void need_edge(const struct runmap *m, uint32_t index, unsigned level, uint64_t x,
                      struct run_need *need)
{
    for (; level > 0 && x & ((1ULL << run_shift(level - 1)) - 1); level--) {
        if (index)
            index = run_node(m, index)->child[x >> run_shift(level - 1) & (RUNMAP_FAN - 1)];
        if (index)
            continue;
        if (level == 1)
            need->leaves++;
        else
            need->nodes++;
    }
}

static bool reserve_need(struct runmap *m, struct run_need need)
{
    return items_reserve(m, &m->nodes, need.nodes) && items_reserve(m, &m->leaves, need.leaves);
}

/* For apply() on [a, b). */
static bool reserve(struct runmap *m, uint64_t a, uint64_t b)
{
    struct run_need need = {0, 0};

    if (m->nodes.capacity - m->nodes.live >= 2 * m->level &&
        m->leaves.capacity - m->leaves.live >= 2)
        return true;
    need_edge(m, m->root, m->level, a, &need);
    need_edge(m, m->root, m->level, b, &need);
    return reserve_need(m, need);
}

/* The node or leaf of `level` at `pos` now has the runs `sum`: tells its ancestors. */
static void raise_sum(struct runmap *m, const struct run_path *path, uint64_t pos, unsigned level,
                      struct run_sum sum)
{
    for (; level < m->level; level++) {
        struct run_node *node = run_node(m, path->node[level + 1]);
        unsigned shift = run_shift(level);
        unsigned i = pos >> shift & (RUNMAP_FAN - 1);

        if (node->longest[i] == sum.longest && node->prefix[i] == sum.prefix &&
            node->suffix[i] == sum.suffix)
            return;
        if (sum.longest >> shift && node->child[i]) {
            child_drop(m, node->child[i], level);
            node->child[i] = 0;
        }
        node_set(node, i, sum);
        sum = run_node_sum(node, 1ULL << shift);
    }
    m->sum = sum;
}

/* Sets [a, b), which lies below the node and not within one child. Its children's sums are right
 * after it. */
static void node_fill(struct runmap *m, uint32_t index, unsigned level, uint64_t a, uint64_t b,
                      bool free)
{
    struct run_node *node = run_node(m, index);
    unsigned shift = run_shift(level - 1);
    uint64_t span = 1ULL << shift, next;

    for (uint64_t pos = a; pos < b; pos = next) {
        unsigned i = pos >> shift & (RUNMAP_FAN - 1);
        uint64_t base = ALLOT_ALIGN_DOWN(pos, span);
        struct run_sum sum = uniform(span, free);

        next = base + span < b ? base + span : b;
        if (next - pos < span) {
            if (!node->child[i])
                node->child[i] = child_new(m, level - 1, node->longest[i] != 0);
            if (level == 1) {
                sum = leaf_change(run_leaf(m, node->child[i]), node_get(node, i),
                                  (unsigned)(pos - base), (unsigned)(next - base), free);
            } else {
                node_fill(m, node->child[i], level - 1, pos, next, free);
                sum = run_node_sum(run_node(m, node->child[i]), span >> RUNMAP_FAN_SHIFT);
            }
        }
        if (node->child[i] && (next - pos == span || sum.longest == span)) {
            child_drop(m, node->child[i], level - 1);
            node->child[i] = 0;
        }
        node_set(node, i, sum);
    }
}

/* Makes [a, b) free or used; all was reserved. The leaf that holds it all, or 0. */
static uint32_t apply(struct runmap *m, uint64_t a, uint64_t b, bool free)
{
    struct run_path path;
    uint32_t index = m->root;
    unsigned level = m->level;

    if (m->hot && a < m->hot_base + LEAF_UNITS && (free || b > m->hot_base))
        m->hot = 0;
    for (;;) {
        unsigned shift = run_shift(level - 1);
        unsigned i = a >> shift & (RUNMAP_FAN - 1);
        struct run_node *node = run_node(m, index);

        path.node[level] = index;
        if ((a ^ (b - 1)) >> shift || (b - a) >> shift) {
            node_fill(m, index, level, a, b, free);
            raise_sum(m, &path, a, level, run_node_sum(node, 1ULL << shift));
            return 0;
        }
        if (!node->child[i])
            node->child[i] = child_new(m, level - 1, node->longest[i] != 0);
        index = node->child[i];
        if (--level == 0) {
            raise_sum(m, &path, a, 0,
                      leaf_change(run_leaf(m, index), node_get(node, i), a % LEAF_UNITS,
                                  (b - 1) % LEAF_UNITS + 1, free));
            return index;
        }
    }
}

/* Are all of [a, b), which lies below the node, free, or all of them used? Sums are settled. */
static bool node_is(const struct runmap *m, uint32_t index, unsigned level, uint64_t a, uint64_t b,
                    bool free)
{
    const struct run_node *node = run_node(m, index);
    unsigned shift = run_shift(level - 1);
    uint64_t span = 1ULL << shift, next;

    for (uint64_t pos = a; pos < b; pos = next) {
        unsigned i = pos >> shift & (RUNMAP_FAN - 1);
        uint64_t base = ALLOT_ALIGN_DOWN(pos, span);

        next = base + span < b ? base + span : b;
        if (free ? node->longest[i] == span : node->longest[i] == 0)
            continue;
        if (!node->child[i] || next - pos == span)
            return false;
        if (level == 1 ? !leaf_is(run_leaf(m, node->child[i]), (unsigned)(pos - base),
                                  (unsigned)(next - base), free)
                       : !node_is(m, node->child[i], level - 1, pos, next, free))
            return false;
    }
    return true;
}

/* Brings the sums above the hot leaf up to date. */
static void settle(struct runmap *m)
{
    struct run_path path;
    uint32_t index = m->root;
    struct run_sum sum;

    if (!m->hot_dirty)
        return;
    m->hot_dirty = false;
    for (unsigned level = m->level; level > 0; level--) {
        path.node[level] = index;
        index = run_node(m, index)->child[m->hot_base >> run_shift(level - 1) & (RUNMAP_FAN - 1)];
    }
    sum = leaf_sum(run_leaf(m, m->hot));
    if (sum.longest == LEAF_UNITS)
        m->hot = 0; /* raise_sum() drops it */
    raise_sum(m, &path, m->hot_base, 0, sum);
}

/* Ranges. */

/* The number of ranges that start at or before `x`. */
static uint32_t ranges_before(const struct runmap *m, uint64_t x)
{
    uint32_t lo = 0, hi = m->range_count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (m->ranges[mid].start <= x)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool runmap_manages(const struct runmap *m, uint64_t start, uint64_t n)
{
    uint32_t i = ranges_before(m, start);

    return i > 0 && start < m->ranges[i - 1].end && m->ranges[i - 1].end - start >= n;
}

static bool ranges_reserve(struct runmap *m)
{
    uint32_t capacity = m->range_capacity ? 2 * m->range_capacity : 4;
    struct run_range *ranges;

    if (m->range_count < m->range_capacity)
        return true;
    if (capacity <= m->range_capacity)
        return false;
    ranges =
        meta_resize(m, m->ranges, m->range_capacity * sizeof(*ranges), capacity * sizeof(*ranges));
    if (!ranges)
        return false;
    m->ranges = ranges;
    m->range_capacity = capacity;
    return true;
}

/* Adds [start, end) as the i-th range, joined with those that it touches. */
static void ranges_insert(struct runmap *m, uint32_t i, uint64_t start, uint64_t end)
{
    struct run_range *r = m->ranges;
    bool joins_last = i > 0 && r[i - 1].end == start;
    bool joins_next = i < m->range_count && r[i].start == end;

    if (joins_last && joins_next) {
        r[i - 1].end = r[i].end;
        m->range_count--;
        for (; i < m->range_count; i++)
            r[i] = r[i + 1];
    } else if (joins_last) {
        r[i - 1].end = end;
    } else if (joins_next) {
        r[i].start = start;
    } else {
        for (uint32_t j = m->range_count++; j > i; j--)
            r[j] = r[j - 1];
        r[i] = (struct run_range){start, end};
    }
}

/* Makes the root span [start, end) too. The nodes were reserved. */
static void grow_root(struct runmap *m, unsigned level, uint64_t start)
{
    if (!m->root) {
        m->level = level;
        m->base = ALLOT_ALIGN_DOWN(start, 1ULL << run_shift(level));
        m->root = child_new(m, level, false);
        m->sum = uniform(0, false);
    }
    while (m->level < level) {
        uint32_t index = child_new(m, m->level + 1, false);
        struct run_node *node = run_node(m, index);
        unsigned shift = run_shift(m->level);
        unsigned i = m->base >> shift & (RUNMAP_FAN - 1);

        node_set(node, i, m->sum);
        node->child[i] = m->root;
        if (m->sum.longest >> shift) {
            child_drop(m, m->root, m->level);
            node->child[i] = 0;
        }
        m->root = index;
        m->level++;
        m->base = ALLOT_ALIGN_DOWN(m->base, 1ULL << run_shift(m->level));
        m->sum = run_node_sum(node, 1ULL << shift);
    }
}

int runmap_add(struct runmap *m, uint64_t start, uint64_t end)
{
    uint64_t low = m->root && m->base < start ? m->base : start;
    uint64_t high = end;
    unsigned level = m->root ? m->level : 1;
    uint32_t i = ranges_before(m, start);
    struct run_need need = {0, 0};

    if (i > 0 && m->ranges[i - 1].end > start)
        return ALLOT_E_OVERLAP;
    if (i < m->range_count && m->ranges[i].start < end)
        return ALLOT_E_OVERLAP;

    if (m->root && m->base + (1ULL << run_shift(m->level)) > high)
        high = m->base + (1ULL << run_shift(m->level));
    while ((low ^ (high - 1)) >> run_shift(level))
        level++;
    need.nodes = m->root ? level - m->level : 1;
    need_edge(m, 0, level, start, &need);
    need_edge(m, 0, level, end, &need);
    if (!ranges_reserve(m) || !reserve_need(m, need))
        return ALLOT_E_NO_MEMORY;

    settle(m);
    grow_root(m, level, start);
    apply(m, start, end, true);
    ranges_insert(m, i, start, end);
    m->total += end - start;
    return 0;
}

int runmap_restart(struct runmap *m, uint64_t start, uint64_t end)
{
    struct runmap fresh;
    int r;

    runmap_init(&fresh, &m->meta);
    r = runmap_add(&fresh, start, end);
    if (r) {
        runmap_clear(&fresh);
        return r;
    }
    runmap_clear(m);
    *m = fresh;
    return 0;
}

int runmap_alloc(struct runmap *m, uint64_t n, uint64_t align, uint64_t *ret_start)
{
    uint64_t start;
    uint32_t leaf;

    if (n == 0 || !ALLOT_IS_POW2(align))
        return ALLOT_E_INVALID;
    if (m->hot && align == 1 && n <= HOT_RUN_MAX) {
        struct leaf *l = run_leaf(m, m->hot);
        unsigned at = n == 1 ? leaf_first(l) : leaf_find(l, n);

        if (at < LEAF_UNITS) {
            leaf_fill(l, at, at + (unsigned)n, false);
            m->hot_dirty = true;
            m->used += n;
            *ret_start = m->hot_base + at;
            return 0;
        }
    }
    settle(m);
    if (n > m->sum.longest || !runmap_search(m, n, align, &start) || !reserve(m, start, start + n))
        return ALLOT_E_NO_MEMORY;
    leaf = apply(m, start, start + n, false);
    if (leaf && n == 1 && align == 1) {
        m->hot = leaf;
        m->hot_base = ALLOT_ALIGN_DOWN(start, (uint64_t)LEAF_UNITS);
    }
    m->used += n;
    *ret_start = start;
    return 0;
}

/* Changes [start, start+n), which is managed, if all of it was the other way before. */
static int change(struct runmap *m, uint64_t start, uint64_t n, bool free, int refusal)
{
    uint64_t end = start + n;

    if (m->hot && start >= m->hot_base && end <= m->hot_base + LEAF_UNITS) {
        struct leaf *l = run_leaf(m, m->hot);
        unsigned from = (unsigned)(start - m->hot_base);

        if (!leaf_is(l, from, from + (unsigned)n, !free))
            return refusal;
        leaf_fill(l, from, from + (unsigned)n, free);
        m->hot_dirty = true;
    } else {
        settle(m);
        if (!node_is(m, m->root, m->level, start, end, !free))
            return refusal;
        if (!reserve(m, start, end))
            return ALLOT_E_NO_MEMORY;
        apply(m, start, end, free);
    }
    m->used += free ? 0 - n : n;
    return 0;
}

int runmap_alloc_at(struct runmap *m, uint64_t start, uint64_t n)
{
    if (n == 0 || !runmap_manages(m, start, n))
        return ALLOT_E_INVALID;
    return change(m, start, n, false, ALLOT_E_OVERLAP);
}

int runmap_free(struct runmap *m, uint64_t start, uint64_t n)
{
    if (n == 0)
        return ALLOT_E_INVALID;
    if (!runmap_manages(m, start, n))
        return ALLOT_E_NOT_ALLOCATED;
    return change(m, start, n, true, ALLOT_E_NOT_ALLOCATED);
}

bool runmap_is_used(const struct runmap *m, uint64_t unit)
{
    uint32_t index = m->root;

    if (!runmap_manages(m, unit, 1))
        return false;
    for (unsigned level = m->level; level > 0; level--) {
        const struct run_node *node = run_node(m, index);
        unsigned i = unit >> run_shift(level - 1) & (RUNMAP_FAN - 1);

        index = node->child[i];
        if (!index)
            return node->longest[i] == 0;
    }
    return !(run_leaf(m, index)->word[unit % LEAF_UNITS / 64] >> (unit % 64) & 1);
}

/* The sum of the node of `level` above the hot leaf as it would be after settle(). */
static struct run_sum settled_sum(const struct runmap *m, uint32_t index, unsigned level)
{
    struct run_node node;
    unsigned i;

    if (level == 0)
        return leaf_sum(run_leaf(m, index));
    node = *run_node(m, index);
    i = m->hot_base >> run_shift(level - 1) & (RUNMAP_FAN - 1);
    node_set(&node, i, settled_sum(m, node.child[i], level - 1));
    return run_node_sum(&node, 1ULL << run_shift(level - 1));
}

uint64_t runmap_longest(const struct runmap *m)
{
    return m->hot_dirty ? settled_sum(m, m->root, m->level).longest : m->sum.longest;
}
