/* SPDX-License-Identifier: MIT */
/*
 * The run tree: its searches and its one change.
 *
 * A change is made inside one leaf. Where a run becomes one with a neighbour in the next leaf, that
 * leaf loses its first run, before (above) or after (below) the change proper; so the rest of the
 * code never looks at two leaves.
 *
 * Freeing can only raise what a leaf's largest run is, taking only lower it, and then only where
 * the run taken from was the largest: a leaf is recounted in that case alone, and the way up ends
 * at the first node that does not notice.
 *
 * Invariants: runs and starts rise strictly; no free run or gap has its like beside it; a node
 * other than the root has at least an eighth of its places filled, a quarter after it has lost
 * something; an inner root has two children or more. The array never shrinks before a reset.
 *
 * Limits: 2^32 - 1 nodes; at an eighth full, 19 levels above the leaves hold more than those.
 */
#include <allot/align.h>

#include "runtree.h"

#define NODES_FIRST    4u
#define NODES_DOUBLING 64u
#define LEAF_LOW       (RUNTREE_LEAF_MAX / 4)
#define INNER_LOW      (RUNTREE_INNER_MAX / 4)

_Static_assert(sizeof(union runtree_node) == RUNTREE_NODE_BYTES, "node layout");
_Static_assert(RUNTREE_INNER_MAX >= 16 && RUNTREE_LEAF_MAX >= 32,
               "halves of what is left must not be empty");

/* Memory. */

static bool resize(struct runtree *t, uint32_t want)
{
    size_t each = sizeof(union runtree_node), bytes;
    void *fresh;

    if (__builtin_mul_overflow((size_t)want, each, &bytes))
        return false;
    fresh = t->meta.resize(t->meta.ctx, t->at, t->capacity * each, bytes);
    if (!fresh)
        return false;
    t->at = fresh;
    t->capacity = want;
    return true;
}

static void forget(struct runtree *t)
{
    t->top = 1;
    t->taken = 1;
    t->spare = RUNTREE_NONE;
    t->root = 0;
    t->height = 0;
    t->largest = 0;
    t->at[0].leaf.count = 1;
    t->at[0].leaf.at[0] = RUN_GAP;
    t->at[0].leaf.at[1] = RUN_END;
}

bool runtree_init(struct runtree *t, const struct allot_meta *meta)
{
    *t = (struct runtree){.meta = *meta};
    if (!resize(t, NODES_FIRST))
        return false;
    forget(t);
    return true;
}

void runtree_deinit(struct runtree *t)
{
    t->meta.resize(t->meta.ctx, t->at, t->capacity * sizeof(union runtree_node), 0);
    t->at = NULL;
}

void runtree_reset(struct runtree *t)
{
    /* A provider that refuses to shrink leaves the array as it was, which is as good. */
    if (t->capacity > NODES_FIRST)
        (void)resize(t, NODES_FIRST);
    forget(t);
}

/* Each change splits at most one node a level, and adds a level. */
bool runtree_reserve(struct runtree *t, uint32_t changes)
{
    uint32_t count = changes * (t->height + 2) + (changes - 1);

    while (__builtin_expect(t->capacity - t->taken < count, 0)) {
        uint32_t more = t->capacity < NODES_DOUBLING ? t->capacity : t->capacity / 16;

        more = more < RUNTREE_NONE - t->capacity ? more : RUNTREE_NONE - t->capacity;
        if (!more || !resize(t, t->capacity + more))
            return false;
    }
    return true;
}

static uint32_t node_take(struct runtree *t)
{
    uint32_t i = t->spare;

    t->taken++;
    if (i == RUNTREE_NONE)
        return t->top++;
    t->spare = t->at[i].spare;
    return i;
}

static void node_give(struct runtree *t, uint32_t i)
{
    t->at[i].spare = t->spare;
    t->spare = i;
    t->taken--;
}

/* Searches. */

/* How many of the rising words are at most `pos`: whole eights first. All comparisons of a loop are
 * independent, which is faster here than halving, where each waits for the one before. */
static inline uint32_t count_upto(const uint64_t *word, uint32_t count, uint64_t pos)
{
    uint32_t below = 0, end;

    for (uint32_t i = 7; i < count; i += 8)
        below += word[i] <= pos;
    below *= 8;
    end = below + 8 < count ? below + 8 : count;
    for (uint32_t i = below; i < end; i++)
        below += word[i] <= pos;
    return below;
}

void runtree_locate(const struct runtree *t, uint64_t pos, struct runtree_path *path)
{
    uint32_t i = t->root;
    const struct runtree_leaf *leaf;

    for (uint32_t level = t->height; level; level--) {
        const struct runtree_inner *inner = &t->at[i].inner;
        uint32_t slot = count_upto(inner->start, inner->count, pos) - 1;

        path->node[level] = i;
        path->slot[level] = slot;
        i = inner->child[slot];
    }
    leaf = &t->at[i].leaf;
    path->node[0] = i;
    path->slot[0] = count_upto(leaf->at, leaf->count, pos | RUN_STATE) - 1;
}

/* All ones for a free run, else 0. */
static inline uint64_t free_mask(uint64_t word)
{
    return 0 - ((word & RUN_STATE) - 1) / (UINT64_C(1) << 63);
}

/* The first slot that holds the size; the node has one. */
static inline uint32_t leaf_fit(const struct runtree_leaf *leaf, uint64_t size)
{
    uint64_t start = leaf->at[0], next;
    uint32_t slot = 0;

    for (;; slot++, start = next) {
        next = leaf->at[slot + 1];
        /* One branch: which run is free, no branch prediction knows. */
        if (((run_start(next) - start) & free_mask(start)) >= size)
            break;
    }
    return slot;
}

static inline bool leaf_fit_aligned(const struct runtree_leaf *leaf, uint64_t size, uint64_t align,
                                    uint32_t *slot)
{
    for (; *slot < leaf->count; ++*slot) {
        uint64_t start = leaf->at[*slot], end = run_start(leaf->at[*slot + 1]), aligned;

        if (run_state(start) != RUN_FREE || end - start < size)
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

/* What the nodes above know. */

static uint64_t leaf_largest(const struct runtree_leaf *leaf)
{
    uint64_t largest = 0, start = leaf->at[0];

    for (uint32_t slot = 0; slot < leaf->count; slot++) {
        uint64_t next = leaf->at[slot + 1], size = run_start(next) - start;

        size &= free_mask(start);
        largest = size > largest ? size : largest;
        start = next;
    }
    return largest;
}

static uint64_t inner_largest(const struct runtree_inner *inner)
{
    uint64_t largest = 0;

    for (uint32_t slot = 0; slot < inner->count; slot++)
        largest = inner->largest[slot] > largest ? inner->largest[slot] : largest;
    return largest;
}

static uint64_t node_largest(const struct runtree *t, uint32_t i, uint32_t level)
{
    return level ? inner_largest(&t->at[i].inner) : leaf_largest(&t->at[i].leaf);
}

static uint64_t known_largest(const struct runtree *t, const struct runtree_path *path,
                              uint32_t level)
{
    if (level == t->height)
        return t->largest;
    return t->at[path->node[level + 1]].inner.largest[path->slot[level + 1]];
}

/* Tells the nodes above the leaf what its largest run is now. */
static void set_largest(struct runtree *t, const struct runtree_path *path, uint64_t largest)
{
    for (uint32_t level = 1; level <= t->height; level++) {
        struct runtree_inner *inner = &t->at[path->node[level]].inner;
        uint64_t *place = &inner->largest[path->slot[level]], old = *place;
        uint64_t known = known_largest(t, path, level);

        if (old == largest)
            return;
        *place = largest;
        if (largest < known)
            largest = old == known ? inner_largest(inner) : known;
    }
    t->largest = largest;
}

static void set_start(struct runtree *t, const struct runtree_path *path, uint64_t start)
{
    for (uint32_t level = 1; level <= t->height; level++) {
        t->at[path->node[level]].inner.start[path->slot[level]] = start;
        if (path->slot[level])
            return;
    }
}

/* Places. memmove() would be one thing more to ask of the system below; the barriers keep compilers
 * from calling it. */

#define BARRIER() __asm__ volatile("" : : : "memory")

static inline void words_up(uint64_t *word, uint32_t from, uint32_t end, uint32_t by)
{
    for (; end >= from + 4; end -= 4) {
        uint64_t a = word[end - 1], b = word[end - 2], c = word[end - 3], d = word[end - 4];

        BARRIER();
        word[end - 1 + by] = a;
        word[end - 2 + by] = b;
        word[end - 3 + by] = c;
        word[end - 4 + by] = d;
    }
    while (end > from) {
        end--;
        word[end + by] = word[end];
        BARRIER();
    }
}

static inline void words_down(uint64_t *word, uint32_t from, uint32_t end, uint32_t by)
{
    for (; from + 4 <= end; from += 4) {
        uint64_t a = word[from], b = word[from + 1], c = word[from + 2], d = word[from + 3];

        BARRIER();
        word[from - by] = a;
        word[from + 1 - by] = b;
        word[from + 2 - by] = c;
        word[from + 3 - by] = d;
    }
    for (; from < end; from++) {
        word[from - by] = word[from];
        BARRIER();
    }
}

static void child_copy(struct runtree_inner *to, uint32_t slot, const struct runtree_inner *inner,
                       uint32_t from)
{
    to->child[slot] = inner->child[from];
    to->start[slot] = inner->start[from];
    to->largest[slot] = inner->largest[from];
}

static void child_insert(struct runtree_inner *inner, uint32_t slot, uint32_t child, uint64_t start,
                         uint64_t largest)
{
    for (uint32_t i = inner->count++; i > slot; i--)
        child_copy(inner, i, inner, i - 1);
    inner->child[slot] = child;
    inner->start[slot] = start;
    inner->largest[slot] = largest;
}

static void child_remove(struct runtree_inner *inner, uint32_t slot)
{
    inner->count--;
    for (; slot < inner->count; slot++)
        child_copy(inner, slot, inner, slot + 1);
}

/* Moves the last `count` places of `left` to the front of `right`, its neighbour. */
static void move_right(struct runtree *t, uint32_t left, uint32_t right, uint32_t level,
                       uint32_t count)
{
    union runtree_node *l = &t->at[left], *r = &t->at[right];

    if (level) {
        for (uint32_t i = r->inner.count; i--;)
            child_copy(&r->inner, i + count, &r->inner, i);
        l->inner.count -= count;
        r->inner.count += count;
        for (uint32_t i = 0; i < count; i++)
            child_copy(&r->inner, i, &l->inner, l->inner.count + i);
        return;
    }
    words_up(r->leaf.at, 0, r->leaf.count + 1, count);
    l->leaf.count -= count;
    r->leaf.count += count;
    for (uint32_t i = 0; i < count; i++)
        r->leaf.at[i] = l->leaf.at[l->leaf.count + i];
    l->leaf.at[l->leaf.count] = run_start(r->leaf.at[0]);
}

/* Moves the first `count` places of `right` to the end of `left`, its neighbour. */
static void move_left(struct runtree *t, uint32_t left, uint32_t right, uint32_t level,
                      uint32_t count)
{
    union runtree_node *l = &t->at[left], *r = &t->at[right];

    if (level) {
        for (uint32_t i = 0; i < count; i++)
            child_copy(&l->inner, l->inner.count + i, &r->inner, i);
        l->inner.count += count;
        r->inner.count -= count;
        for (uint32_t i = 0; i < r->inner.count; i++)
            child_copy(&r->inner, i, &r->inner, i + count);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        l->leaf.at[l->leaf.count + i] = r->leaf.at[i];
    l->leaf.count += count;
    l->leaf.at[l->leaf.count] = run_start(r->leaf.at[count]);
    words_down(r->leaf.at, count, r->leaf.count + 1, count);
    r->leaf.count -= count;
}

static uint32_t node_count(const struct runtree *t, uint32_t i, uint32_t level)
{
    return level ? t->at[i].inner.count : t->at[i].leaf.count;
}

static uint64_t node_start(const struct runtree *t, uint32_t i, uint32_t level)
{
    return level ? t->at[i].inner.start[0] : run_start(t->at[i].leaf.at[0]);
}

/* Makes two of the full node at `level`; the path still leads to where it led. Recursion is as deep
 * as the tree is high. */
static void split(struct runtree *t, struct runtree_path *path, uint32_t level)
{
    uint32_t i = path->node[level], count = node_count(t, i, level), slot = path->slot[level];
    /* What is filled in rising order is not left half empty. */
    uint32_t move = slot + 2 >= count ? count / 8 : count / 2, fresh;
    struct runtree_inner *parent;

    if (level == t->height) {
        t->height++;
        t->root = node_take(t);
        t->at[t->root].inner.count = 0;
        child_insert(&t->at[t->root].inner, 0, i, node_start(t, i, level), t->largest);
        path->node[t->height] = t->root;
        path->slot[t->height] = 0;
    } else if (t->at[path->node[level + 1]].inner.count == RUNTREE_INNER_MAX) {
        split(t, path, level + 1);
    }
    parent = &t->at[path->node[level + 1]].inner;
    fresh = node_take(t);
    if (level) {
        t->at[fresh].inner.count = 0;
    } else {
        t->at[fresh].leaf.count = 0;
        t->at[fresh].leaf.at[0] = t->at[i].leaf.at[count];
    }
    move_right(t, i, fresh, level, move);
    parent->largest[path->slot[level + 1]] = node_largest(t, i, level);
    child_insert(parent, path->slot[level + 1] + 1, fresh, node_start(t, fresh, level),
                 node_largest(t, fresh, level));
    if (slot >= count - move) {
        path->node[level] = fresh;
        path->slot[level] = slot - (count - move);
        path->slot[level + 1]++;
    }
}

/* Moves a part of a full leaf to a neighbour that has an eighth to spare; the path still leads to
 * where it led. Not to the left where the leaf's first run must stay first. */
static bool shift(struct runtree *t, struct runtree_path *path, bool stay)
{
    const uint32_t most = RUNTREE_LEAF_MAX - RUNTREE_LEAF_MAX / 8;
    uint32_t i = path->node[0], count = t->at[i].leaf.count, slot, other, move;
    struct runtree_inner *parent;

    if (!t->height)
        return false;
    parent = &t->at[path->node[1]].inner;
    slot = path->slot[1];
    if (slot + 1 < parent->count && t->at[parent->child[slot + 1]].leaf.count < most) {
        other = parent->child[slot + 1];
        move = (count - t->at[other].leaf.count) / 2;
        move_right(t, i, other, 0, move);
        parent->start[slot + 1] = node_start(t, other, 0);
        parent->largest[slot + 1] = node_largest(t, other, 0);
        if (path->slot[0] >= count - move) {
            path->node[0] = other;
            path->slot[0] -= count - move;
            path->slot[1]++;
        }
    } else if (!stay && slot && t->at[parent->child[slot - 1]].leaf.count < most) {
        uint32_t before;

        other = parent->child[slot - 1];
        before = t->at[other].leaf.count;
        move = (count - before) / 2;
        move_left(t, other, i, 0, move);
        parent->start[slot] = node_start(t, i, 0);
        parent->largest[slot - 1] = node_largest(t, other, 0);
        if (path->slot[0] < move) {
            path->node[0] = other;
            path->slot[0] += before;
            path->slot[1]--;
        } else {
            path->slot[0] -= move;
        }
    } else {
        return false;
    }
    parent->largest[slot] = node_largest(t, i, 0);
    return true;
}

/* Fills a node that has become low from a neighbour, or makes one of both. The path is spent. */
static void refill(struct runtree *t, struct runtree_path *path, uint32_t level)
{
    for (; level < t->height; level++) {
        struct runtree_inner *parent = &t->at[path->node[level + 1]].inner;
        uint32_t low = level ? INNER_LOW : LEAF_LOW;
        uint32_t max = level ? RUNTREE_INNER_MAX : RUNTREE_LEAF_MAX;
        uint32_t slot = path->slot[level + 1], left, right, in_left, in_right;

        if (node_count(t, path->node[level], level) >= low)
            return;
        slot -= slot + 1 == parent->count;
        left = parent->child[slot];
        right = parent->child[slot + 1];
        in_left = node_count(t, left, level);
        in_right = node_count(t, right, level);
        if (in_left + in_right > max - max / 4) {
            uint32_t half = (in_left + in_right) / 2;

            if (in_left > half)
                move_right(t, left, right, level, in_left - half);
            else
                move_left(t, left, right, level, half - in_left);
            parent->start[slot + 1] = node_start(t, right, level);
            parent->largest[slot] = node_largest(t, left, level);
            parent->largest[slot + 1] = node_largest(t, right, level);
            return;
        }
        move_left(t, left, right, level, in_right);
        if (parent->largest[slot + 1] > parent->largest[slot])
            parent->largest[slot] = parent->largest[slot + 1];
        child_remove(parent, slot + 1);
        node_give(t, right);
    }
    if (t->height && t->at[t->root].inner.count == 1) {
        uint32_t only = t->at[t->root].inner.child[0];

        node_give(t, t->root);
        t->root = only;
        t->height--;
    }
}

/* Neighbours across the edges of a leaf, and the change. */

/* The first run of the next leaf; a used run's word if there is none. */
static uint64_t after_leaf(const struct runtree *t, const struct runtree_path *path)
{
    uint32_t level = 1, i;

    while (level <= t->height && path->slot[level] + 1 == t->at[path->node[level]].inner.count)
        level++;
    if (level > t->height)
        return RUN_USED;
    i = t->at[path->node[level]].inner.child[path->slot[level] + 1];
    while (--level)
        i = t->at[i].inner.child[0];
    return t->at[i].leaf.at[0];
}

/* The last run of the leaf before, likewise. */
static uint64_t before_leaf(const struct runtree *t, const struct runtree_path *path)
{
    uint32_t level = 1, i;

    while (level <= t->height && !path->slot[level])
        level++;
    if (level > t->height)
        return RUN_GAP | RUN_USED;
    i = t->at[path->node[level]].inner.child[path->slot[level] - 1];
    while (--level)
        i = t->at[i].inner.child[t->at[i].inner.count - 1];
    return t->at[i].leaf.at[t->at[i].leaf.count - 1];
}

/* The run at `start`, the first of its leaf, becomes part of the one below it. */
static void drop_first(struct runtree *t, uint64_t start)
{
    struct runtree_path path, below;
    struct runtree_leaf *leaf, *grown;
    uint64_t size, last;

    runtree_locate(t, start, &path);
    leaf = &t->at[path.node[0]].leaf;
    size = run_state(leaf->at[0]) == RUN_FREE ? run_start(leaf->at[1]) - start : 0;
    words_down(leaf->at, 1, leaf->count + 1, 1);
    leaf->count--;
    set_start(t, &path, run_start(leaf->at[0]));
    if (size && size == known_largest(t, &path, 0))
        set_largest(t, &path, leaf_largest(leaf));

    runtree_locate(t, start, &below);
    grown = &t->at[below.node[0]].leaf;
    grown->at[grown->count] = run_start(leaf->at[0]);
    last = grown->at[grown->count - 1];
    size = run_start(leaf->at[0]) - run_start(last);
    if (run_state(last) == RUN_FREE && size > known_largest(t, &below, 0))
        set_largest(t, &below, size);
    refill(t, &path, 0);
}

void runtree_set(struct runtree *t, struct runtree_path *path, uint64_t start, uint64_t end,
                 enum run_state state, bool join)
{
    struct runtree_leaf *leaf = &t->at[path->node[0]].leaf;
    uint32_t slot = path->slot[0], remove = 1, count = 0, low;
    uint64_t first = run_start(leaf->at[slot]), stop = run_start(leaf->at[slot + 1]), fresh[3];
    enum run_state old = run_state(leaf->at[slot]);
    bool likes = state != RUN_USED, drop = false;

    if (likes && end == stop && slot + 1 == leaf->count &&
        run_state(after_leaf(t, path)) == state) {
        drop_first(t, stop);
        runtree_locate(t, start, path);
        leaf = &t->at[path->node[0]].leaf;
        slot = path->slot[0];
        end = stop = run_start(leaf->at[slot + 1]);
    }
    low = slot;
    if (start > first) {
        fresh[count++] = first | old;
        fresh[count++] = start | state;
    } else if ((likes || join) && slot && run_state(leaf->at[slot - 1]) == state) {
        low--;
    } else {
        fresh[count++] = start | state;
        drop = (likes || join) && !slot && run_state(before_leaf(t, path)) == state;
    }
    if (end < stop)
        fresh[count++] = end | old;
    else if (likes && slot + 1 < leaf->count && run_state(leaf->at[slot + 1]) == state)
        remove++;
    if (leaf->count + count > RUNTREE_LEAF_MAX + remove) {
        if (!shift(t, path, drop))
            split(t, path, 0);
        leaf = &t->at[path->node[0]].leaf;
        low = slot = path->slot[0];
    }
    if (count > remove)
        words_up(leaf->at, slot + remove, leaf->count + 1, count - remove);
    else if (count < remove)
        words_down(leaf->at, slot + remove, leaf->count + 1, remove - count);
    leaf->count = leaf->count + count - remove;
    for (uint32_t i = 0; i < count; i++)
        leaf->at[slot + i] = fresh[i];

    if (state == RUN_FREE) {
        uint64_t from, size;

        low += start > first;
        from = leaf->at[low];
        size = run_start(leaf->at[low + 1]) - from;
        if (size > known_largest(t, path, 0))
            set_largest(t, path, size);
    } else if (old == RUN_FREE && stop - first == known_largest(t, path, 0)) {
        set_largest(t, path, leaf_largest(leaf));
    }
    if (drop)
        drop_first(t, start);
    else if (count < remove && leaf->count < LEAF_LOW)
        refill(t, path, 0);
}
