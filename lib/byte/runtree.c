/* SPDX-License-Identifier: MIT */
/*
 * The run tree: its memory and its one change. That is one file, because all of it keeps the same
 * path valid; the searches are in runtree_search.c.
 *
 * A change is made inside one leaf. Where a run becomes one with a neighbour in the next leaf, that
 * leaf loses its first run, before (above) or after (below) the change proper; so the rest of the
 * code never looks at two leaves. Where a run starts too far from its leaf's first, the leaf is cut
 * there before.
 *
 * Leaves are kept nearly full: a full one is divided only when those in reach on either side are
 * full too (the idea of B*-trees; D. Comer, "The Ubiquitous B-Tree", 1979), and one that has lost a
 * run goes when those in reach can hold all that it has.
 *
 * Freeing can only raise what a leaf's largest run is, taking only lower it, and then only where
 * the run taken from was the largest: a leaf is recounted in that case alone, and the way up ends
 * at the first node that does not notice.
 *
 * Invariants: runs and starts rise strictly; all runs of a leaf start within RUNTREE_SPAN; no free
 * run or gap has its like beside it; no leaf is empty; an inner node other than the root has at
 * least an eighth of its places filled, a quarter after it has lost something; an inner root has
 * two children or more. The array never shrinks before a reset.
 *
 * Limits: 2^32 - 1 nodes; at an eighth full, 21 levels above the leaves hold more than those.
 */
#include "runtree.h"

#define NODES_FIRST    4u
#define NODES_DOUBLING 64u
#define LEAF_REACH     6u /* how many leaves on each side are looked at for room */
#define LEAF_ROOMY     (RUNTREE_LEAF_MAX - RUNTREE_LEAF_MAX / 16)
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
    t->at[0].leaf = (struct runtree_leaf){.end = RUN_END, .count = 1, .at = {RUN_GAP}};
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

/* Each change makes at most two leaves, splits one node a level, and adds a level. */
bool runtree_reserve(struct runtree *t, uint32_t changes)
{
    uint32_t count = changes * (t->height + 3) + (changes - 1), more;

    if (__builtin_expect(t->capacity - t->taken >= count, 1))
        return true;
    more = t->capacity < NODES_DOUBLING ? t->capacity : t->capacity / 32;
    count -= t->capacity - t->taken;
    more = more > count ? more : count;
    return more <= RUNTREE_NONE - t->capacity && resize(t, t->capacity + more);
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

/* What the nodes above know. */

/* Of the last run; 0 if it is not free. */
static uint64_t last_free(const struct runtree_leaf *leaf)
{
    uint32_t last = leaf->count - 1;

    return run_state(leaf->at[last]) == RUN_FREE ? leaf->end - leaf_start(leaf, last) : 0;
}

static uint64_t leaf_largest(const struct runtree_leaf *leaf)
{
    uint32_t words = 0;
    uint64_t largest, last;

    if (!leaf->count)
        return 0;
    for (uint32_t slot = 0; slot + 1 < leaf->count; slot++) {
        uint32_t size = free_words(leaf->at[slot], leaf->at[slot + 1]);

        words = size > words ? size : words;
    }
    largest = (uint64_t)(words & ~RUN_STATE) * RUN_UNIT;
    last = last_free(leaf);
    return last > largest ? last : largest;
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

static inline uint64_t load_two(const uint32_t *word)
{
    uint64_t two;

    __builtin_memcpy(&two, word, sizeof(two));
    return two;
}

static inline void store_two(uint32_t *word, uint64_t two)
{
    __builtin_memcpy(word, &two, sizeof(two));
}

static inline void words_up(uint32_t *word, uint32_t from, uint32_t end, uint32_t by)
{
    for (; end >= from + 8; end -= 8) {
        const uint32_t *at = &word[end - 8];
        uint64_t a = load_two(at), b = load_two(at + 2), c = load_two(at + 4), d = load_two(at + 6);

        BARRIER();
        store_two(&word[end - 8 + by], a);
        store_two(&word[end - 6 + by], b);
        store_two(&word[end - 4 + by], c);
        store_two(&word[end - 2 + by], d);
    }
    while (end > from) {
        end--;
        word[end + by] = word[end];
        BARRIER();
    }
}

static inline void words_down(uint32_t *word, uint32_t from, uint32_t end, uint32_t by)
{
    for (; from + 8 <= end; from += 8) {
        const uint32_t *at = &word[from];
        uint64_t a = load_two(at), b = load_two(at + 2), c = load_two(at + 4), d = load_two(at + 6);

        BARRIER();
        store_two(&word[from - by], a);
        store_two(&word[from + 2 - by], b);
        store_two(&word[from + 4 - by], c);
        store_two(&word[from + 6 - by], d);
    }
    for (; from < end; from++) {
        word[from - by] = word[from];
        BARRIER();
    }
}

/* Its words are less another start from now on. */
static void count_from(struct runtree_leaf *leaf, uint64_t start)
{
    uint32_t add = (uint32_t)(run_word(leaf->start, 0) - run_word(start, 0));

    leaf->start = start;
    for (uint32_t i = 0; i < leaf->count; i++)
        leaf->at[i] += add;
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
    uint64_t edge;

    if (level) {
        for (uint32_t i = r->inner.count; i--;)
            child_copy(&r->inner, i + count, &r->inner, i);
        l->inner.count -= count;
        r->inner.count += count;
        for (uint32_t i = 0; i < count; i++)
            child_copy(&r->inner, i, &l->inner, l->inner.count + i);
        return;
    }
    edge = leaf_start(&l->leaf, l->leaf.count - count);
    count_from(&r->leaf, edge);
    words_up(r->leaf.at, 0, r->leaf.count, count);
    l->leaf.count -= count;
    r->leaf.count += count;
    for (uint32_t i = 0; i < count; i++)
        r->leaf.at[i] = l->leaf.at[l->leaf.count + i] - in_words(edge - l->leaf.start);
    l->leaf.end = edge;
}

/* Moves the first `count` places of `right` to the end of `left`, its neighbour. */
static void move_left(struct runtree *t, uint32_t left, uint32_t right, uint32_t level,
                      uint32_t count)
{
    union runtree_node *l = &t->at[left], *r = &t->at[right];
    uint64_t edge;

    if (level) {
        for (uint32_t i = 0; i < count; i++)
            child_copy(&l->inner, l->inner.count + i, &r->inner, i);
        l->inner.count += count;
        r->inner.count -= count;
        for (uint32_t i = 0; i < r->inner.count; i++)
            child_copy(&r->inner, i, &r->inner, i + count);
        return;
    }
    edge = leaf_start(&r->leaf, count);
    for (uint32_t i = 0; i < count; i++)
        l->leaf.at[l->leaf.count + i] = r->leaf.at[i] + in_words(r->leaf.start - l->leaf.start);
    words_down(r->leaf.at, count, r->leaf.count, count);
    l->leaf.count += count;
    r->leaf.count -= count;
    count_from(&r->leaf, edge);
    l->leaf.end = edge;
}

static uint32_t node_count(const struct runtree *t, uint32_t i, uint32_t level)
{
    return level ? t->at[i].inner.count : t->at[i].leaf.count;
}

static uint64_t node_start(const struct runtree *t, uint32_t i, uint32_t level)
{
    return level ? t->at[i].inner.start[0] : t->at[i].leaf.start;
}

static void split(struct runtree *t, struct runtree_path *path, uint32_t level);

/* Moves the last `move` places of the node at `level` to a new one behind it; the path still leads
 * to where it led. Recursion is as deep as the tree is high. */
static void divide(struct runtree *t, struct runtree_path *path, uint32_t level, uint32_t move)
{
    uint32_t i = path->node[level], count = node_count(t, i, level), slot = path->slot[level];
    struct runtree_inner *parent;
    uint32_t fresh;

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
        t->at[fresh].leaf.start = t->at[fresh].leaf.end = t->at[i].leaf.end;
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

static void split(struct runtree *t, struct runtree_path *path, uint32_t level)
{
    uint32_t count = node_count(t, path->node[level], level);

    /* What is filled in rising order is not left half empty. */
    divide(t, path, level, path->slot[level] + 2 >= count ? count / 8 : count / 2);
}

/* From `pos` on, the last run of its leaf becomes one of a leaf of its own, with the same state.
 * The way to that. */
static struct runtree_path cut(struct runtree *t, struct runtree_path *path, uint64_t pos)
{
    struct runtree_leaf *leaf = &t->at[path->node[0]].leaf;
    struct runtree_path fresh;
    uint64_t end = leaf->end;

    leaf->end = pos;
    set_largest(t, path, leaf_largest(leaf));
    divide(t, path, 0, 0);
    fresh = *path;
    fresh.node[0] = t->at[path->node[1]].inner.child[++fresh.slot[1]];
    fresh.slot[0] = 0;
    t->at[fresh.node[0]].leaf = (struct runtree_leaf){
        .start = pos, .end = end, .count = 1, .at = {leaf->at[leaf->count - 1] & RUN_STATE}};
    set_largest(t, &fresh, leaf_largest(&t->at[fresh.node[0]].leaf));
    return fresh;
}

/* Whether a leaf can hold any runs of these two and of those between. */
static bool near(const struct runtree_leaf *left, const struct runtree_leaf *right)
{
    return !right->count || leaf_start(right, right->count - 1) - left->start < RUNTREE_SPAN;
}

/* Tells the parent what it must know of the leaf at a slot. */
static void tell(const struct runtree *t, struct runtree_inner *parent, uint32_t slot)
{
    const struct runtree_leaf *leaf = &t->at[parent->child[slot]].leaf;

    parent->start[slot] = leaf->start;
    parent->largest[slot] = leaf_largest(leaf);
}

/* The leaves in reach on one side of the path's that can share its runs, and how many they hold. */
struct side {
    uint32_t leaves;
    uint32_t runs;
};

static struct side side_of(const struct runtree *t, const struct runtree_path *path, int way)
{
    const struct runtree_inner *parent = &t->at[path->node[1]].inner;
    const struct runtree_leaf *here = &t->at[path->node[0]].leaf;
    uint32_t slot = path->slot[1];
    struct side side = {0};

    while (side.leaves < LEAF_REACH && (way > 0 ? slot + 1 < parent->count : slot > 0)) {
        const struct runtree_leaf *leaf = &t->at[parent->child[slot += (uint32_t)way]].leaf;

        if (!(way > 0 ? near(here, leaf) : near(leaf, here)))
            break;
        side.leaves++;
        side.runs += leaf->count;
    }
    return side;
}

/* Where `coming` more runs are to come to a leaf, it and those beyond it pass on what they hold
 * above `limit`, or all that they hold if still more comes. The parent is told of each but the
 * first. Recursion is as deep as leaves are in reach. */
static void pass_on(struct runtree *t, struct runtree_inner *parent, uint32_t slot, int way,
                    uint32_t coming, uint32_t limit)
{
    uint32_t next = slot + (uint32_t)way, count = t->at[parent->child[slot]].leaf.count, move;

    if (count + coming <= limit)
        return;
    move = coming < limit ? count + coming - limit : count;
    pass_on(t, parent, next, way, move, limit);
    if (way > 0)
        move_right(t, parent->child[slot], parent->child[next], 0, move);
    else
        move_left(t, parent->child[next], parent->child[slot], 0, move);
    tell(t, parent, next);
}

/* Makes a full leaf and those on one side equally full, if that makes room; the path still leads to
 * where it led. Not to the left where the leaf's first run must stay first. */
static bool shift(struct runtree *t, struct runtree_path *path, bool stay)
{
    uint32_t count = t->at[path->node[0]].leaf.count, slot = path->slot[1], limit;
    struct runtree_inner *parent;

    if (!t->height)
        return false;
    parent = &t->at[path->node[1]].inner;
    for (int way = 1; way >= (stay ? 1 : -1); way -= 2) {
        struct side side = side_of(t, path, way);

        limit = (side.runs + count) / (side.leaves + 1) + 1;
        limit = limit > RUNTREE_LEAF_MAX / 2 ? limit : RUNTREE_LEAF_MAX / 2 + 1;
        if (limit > LEAF_ROOMY)
            continue;
        pass_on(t, parent, slot, way, 0, limit);
        tell(t, parent, slot);
        if (way > 0 && path->slot[0] >= limit) {
            path->slot[0] -= limit;
            path->slot[1]++;
        } else if (way < 0 && path->slot[0] < count - limit) {
            path->slot[1]--;
            path->slot[0] += t->at[parent->child[path->slot[1]]].leaf.count - (count - limit);
        } else if (way < 0) {
            path->slot[0] -= count - limit;
        }
        path->node[0] = parent->child[path->slot[1]];
        return true;
    }
    return false;
}

/* Fills an inner node that has become low from a neighbour, or makes one of both. */
static void refill(struct runtree *t, const struct runtree_path *path)
{
    for (uint32_t level = 1; level < t->height; level++) {
        struct runtree_inner *parent = &t->at[path->node[level + 1]].inner;
        uint32_t slot = path->slot[level + 1], left, right, in_left, in_right;

        if (node_count(t, path->node[level], level) >= INNER_LOW)
            return;
        slot -= slot + 1 == parent->count;
        left = parent->child[slot];
        right = parent->child[slot + 1];
        in_left = node_count(t, left, level);
        in_right = node_count(t, right, level);
        if (in_left + in_right > RUNTREE_INNER_MAX - RUNTREE_INNER_MAX / 4) {
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

/* Whether a leaf that has lost one run or two is to be looked at by squeeze(), which reads a cache
 * line of each leaf in reach: not at every loss. */
static bool is_due(const struct runtree_leaf *leaf)
{
    return leaf->count % 8 < 2;
}

/* Gives all runs of a leaf to its neighbours, if they have room. The path is spent. */
static void squeeze(struct runtree *t, struct runtree_path *path)
{
    uint32_t i = path->node[0], count = t->at[i].leaf.count, slot = path->slot[1], limit, move;
    struct runtree_inner *parent;
    struct side left, right;

    if (!t->height || count > LEAF_ROOMY)
        return;
    parent = &t->at[path->node[1]].inner;
    left = side_of(t, path, -1);
    right = side_of(t, path, 1);
    if (!left.leaves && !right.leaves)
        return;
    limit = (left.runs + count + right.runs) / (left.leaves + right.leaves) + 1;
    if (count && (limit > LEAF_ROOMY || count > limit))
        return;
    move = left.leaves * limit > left.runs ? left.leaves * limit - left.runs : 0;
    move = move < count ? move : count;
    if (move) {
        pass_on(t, parent, slot - 1, -1, move, limit);
        move_left(t, parent->child[slot - 1], i, 0, move);
        tell(t, parent, slot - 1);
    }
    if (move < count) {
        pass_on(t, parent, slot + 1, 1, count - move, limit);
        move_right(t, i, parent->child[slot + 1], 0, count - move);
        tell(t, parent, slot + 1);
    }
    child_remove(parent, slot);
    node_give(t, i);
    refill(t, path);
}

/* Neighbours across the edges of a leaf, and the change. */

/* The first run of the next leaf, or RUN_NONE. */
static uint32_t after_leaf(const struct runtree *t, const struct runtree_path *path)
{
    uint32_t level = 1, i;

    while (level <= t->height && path->slot[level] + 1 == t->at[path->node[level]].inner.count)
        level++;
    if (level > t->height)
        return RUN_NONE;
    i = t->at[path->node[level]].inner.child[path->slot[level] + 1];
    while (--level)
        i = t->at[i].inner.child[0];
    return t->at[i].leaf.at[0];
}

/* The last run of the leaf before, or RUN_NONE. */
static uint32_t before_leaf(const struct runtree *t, const struct runtree_path *path)
{
    uint32_t level = 1, i;

    while (level <= t->height && !path->slot[level])
        level++;
    if (level > t->height)
        return RUN_NONE;
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
    uint64_t size, next;

    runtree_locate(t, start, &path);
    leaf = &t->at[path.node[0]].leaf;
    next = leaf_start(leaf, 1);
    size = run_state(leaf->at[0]) == RUN_FREE ? next - start : 0;
    words_down(leaf->at, 1, leaf->count, 1);
    leaf->count--;
    count_from(leaf, next);
    set_start(t, &path, next);
    if (size && size == known_largest(t, &path, 0))
        set_largest(t, &path, leaf_largest(leaf));

    runtree_locate(t, start, &below);
    grown = &t->at[below.node[0]].leaf;
    grown->end = next;
    size = last_free(grown);
    if (size > known_largest(t, &below, 0))
        set_largest(t, &below, size);
    if (is_due(leaf))
        squeeze(t, &path);
}

void runtree_set(struct runtree *t, struct runtree_path *path, uint64_t start, uint64_t end,
                 enum run_state state, bool join)
{
    struct runtree_leaf *leaf = &t->at[path->node[0]].leaf;
    uint32_t slot = path->slot[0], remove = 1, count = 0, low;
    uint64_t first = leaf_start(leaf, slot), stop = leaf_start(leaf, slot + 1), fresh[3];
    enum run_state old = run_state(leaf->at[slot]);
    bool likes = state != RUN_USED, drop = false, made = false;

    if (likes && end == stop && slot + 1 == leaf->count &&
        run_state(after_leaf(t, path)) == state) {
        drop_first(t, stop);
        runtree_locate(t, start, path);
        leaf = &t->at[path->node[0]].leaf;
        slot = path->slot[0];
        end = stop = leaf_start(leaf, slot + 1);
    }
    if (start - leaf->start >= RUNTREE_SPAN) {
        *path = cut(t, path, start);
        leaf = &t->at[path->node[0]].leaf;
        slot = 0;
        first = start;
        made = true;
    }
    if (end < stop && end - leaf->start >= RUNTREE_SPAN) {
        (void)cut(t, path, end);
        stop = end;
    }
    low = slot;
    if (start > first) {
        fresh[count++] = run_word(first, old);
        fresh[count++] = run_word(start, state);
    } else if ((likes || join) && slot && run_state(leaf->at[slot - 1]) == state) {
        low--;
    } else {
        fresh[count++] = run_word(start, state);
        drop = (likes || join) && !slot && run_state(before_leaf(t, path)) == state;
    }
    if (end < stop)
        fresh[count++] = run_word(end, old);
    else if (likes && slot + 1 < leaf->count && run_state(leaf->at[slot + 1]) == state)
        remove++;
    if (leaf->count + count > RUNTREE_LEAF_MAX + remove) {
        if (!shift(t, path, drop))
            split(t, path, 0);
        leaf = &t->at[path->node[0]].leaf;
        low = slot = path->slot[0];
    }
    if (count > remove)
        words_up(leaf->at, slot + remove, leaf->count, count - remove);
    else if (count < remove)
        words_down(leaf->at, slot + remove, leaf->count, remove - count);
    leaf->count = leaf->count + count - remove;
    for (uint32_t i = 0; i < count; i++)
        leaf->at[slot + i] = (uint32_t)(fresh[i] - run_word(leaf->start, 0));

    if (state == RUN_FREE) {
        uint64_t size;

        low += start > first;
        size = leaf_start(leaf, low + 1) - leaf_start(leaf, low);
        if (size > known_largest(t, path, 0))
            set_largest(t, path, size);
    } else if (old == RUN_FREE && stop - first == known_largest(t, path, 0)) {
        set_largest(t, path, leaf_largest(leaf));
    }
    if (drop)
        drop_first(t, start);
    else if (made || (count < remove && is_due(leaf)))
        squeeze(t, path);
}
