/* SPDX-License-Identifier: MIT */
/*
 * TLSF: two-level segregated fit over positions.
 *
 * A good-fit allocator whose operations take constant time: free runs are kept by size in bins.h,
 * blocks and neighbours in nodes.h. Alloc takes a run from the first bin that fits and gives the
 * front and the rest back as free runs; dealloc merges with both neighbours at once. What the paper
 * keeps in the blocks is outside here, so every position that comes in is looked up, and a wrong
 * one is told.
 *
 * One large free run, the top, is in no bin: alloc carves it only when no bin fits, and a block
 * that is freed beside it costs no bin either. It counts like any other.
 *
 * It is not address-ordered, keeps no lists of things to do later, and never moves a block.
 *
 * Claims and the taking back of an arbitrary position need the free run that contains a position,
 * which bins cannot find. For them the free runs move from the bins into a tree by position, and
 * move back when something else wants them by size. Each move visits all nodes; a rebuild makes one
 * at its start and one at its end. What lies in the run that was looked at last needs none: taking
 * back what a dealloc just made, and claims in rising order in memory that was just added.
 *
 * Invariants: no two free runs touch. A range's runs cover it without gaps. Ranges do not touch.
 * total is the sum of the ranges, used that of the blocks.
 *
 * Locks: none. Limits: 2^31 blocks; positions and their ends up to 2^63. An aligned request that
 * no run is large enough to hold wherever it starts is tried on ALIGNED_TRIES runs only, because
 * trying all would let a full allocator stall its caller.
 *
 * Long, because what alloc and dealloc are made of is inlined into them, and claims and ranges are
 * made of the same.
 */
#include "tlsf.h"
#include "tree.h"

#define ALIGNED_TRIES 64
#define READY_MAX     64 /* bounds the buckets that are split at once */
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NOINLINE      static __attribute__((noinline))
#define UNLIKELY(x)   __builtin_expect(x, 0)
#define POSITION_END  (UINT64_C(1) << 63)

static struct tlsf *tlsf_of(const struct allot_byte *b)
{
    return (struct tlsf *)(uintptr_t)b;
}

static int round_request(uint64_t size, uint64_t align, uint64_t *ret_size)
{
    if (!size || !ALLOT_IS_POW2(align) || !allot_align_up(size, NODE_GRANULE, ret_size))
        return ALLOT_E_INVALID;
    return 0;
}

static uint64_t available(const struct tlsf *t)
{
    return t->total - t->used;
}

static void forget(struct tlsf *t)
{
    nodes_reset(&t->nodes);
    bins_clear(&t->bins);
    t->total = 0;
    t->used = 0;
    t->ready = 0;
    t->ranges = 0;
    t->runs = 0;
    t->recent = 0;
    t->top = 0;
    t->top_size = 0;
    t->by_position = false;
}

static int tlsf_create(const struct allot_meta *meta, struct allot_byte **ret)
{
    struct tlsf *t = meta->resize(meta->ctx, NULL, 0, sizeof(*t));

    if (!t)
        return ALLOT_E_NO_MEMORY;
    if (!nodes_init(&t->nodes, meta)) {
        meta->resize(meta->ctx, t, sizeof(*t), 0);
        return ALLOT_E_NO_MEMORY;
    }
    t->base.ops = &allot_tlsf;
    forget(t);
    *ret = &t->base;
    return 0;
}

static void tlsf_destroy(struct allot_byte *b)
{
    struct tlsf *t = tlsf_of(b);
    struct allot_meta meta;

    if (!b)
        return;
    meta = t->nodes.meta;
    nodes_deinit(&t->nodes);
    meta.resize(meta.ctx, t, sizeof(*t), 0);
}

/* Free runs, by size or by position. What alloc and dealloc call last returns their 0, so that they
 * need not come back and save no registers. While by_position there is no top, so that every run is
 * larger than it: what is common makes one test for both. */

/* A run that is larger than the top. */
NOINLINE int run_insert_first(struct tlsf *t, uint32_t i, uint64_t size)
{
    uint32_t top = t->top;
    uint64_t top_size = t->top_size;

    if (t->by_position) {
        tree_insert(t->nodes.at, &t->runs, i);
        return 0;
    }
    t->top = i;
    t->top_size = size;
    return top ? bins_insert(&t->bins, t->nodes.at, top, top_size) : 0;
}

/* `size` is the run's. */
ALWAYS_INLINE int run_insert(struct tlsf *t, uint32_t i, uint64_t size)
{
    if (UNLIKELY(size > t->top_size))
        return run_insert_first(t, i, size);
    return bins_insert(&t->bins, t->nodes.at, i, size);
}

/* `size` is what the run had when it was inserted. */
NOINLINE void run_remove(struct tlsf *t, uint32_t i, uint64_t size)
{
    if (i == t->top) {
        t->top = 0;
        t->top_size = 0;
    } else if (t->by_position) {
        tree_remove(t->nodes.at, &t->runs, i);
    } else {
        bins_remove(&t->bins, t->nodes.at, i, size);
    }
}

/* For a run that is not the top. */
NOINLINE int run_rebin(struct tlsf *t, uint32_t i, uint64_t old_size, uint64_t size)
{
    if (UNLIKELY(t->by_position))
        return 0;
    bins_remove(&t->bins, t->nodes.at, i, old_size);
    return run_insert(t, i, size);
}

/* For a run that has its new place already. */
static inline int run_resize(struct tlsf *t, uint32_t i, uint64_t old_size, uint64_t size)
{
    if (i != t->top)
        return run_rebin(t, i, old_size, size);
    t->top_size = size;
    return 0;
}

/* Whether a run of `size` and the ones it is joined from are in bins of one size. None is the top
 * then, as all of them are smaller. */
static inline bool joins_exactly(const struct tlsf *t, uint64_t size)
{
    return !UNLIKELY(size > t->top_size || size >= BINS_EXACT_END);
}

/* As run_resize(), for a run that has been joined. */
ALWAYS_INLINE int run_grow(struct tlsf *t, uint32_t i, uint64_t old_size, uint64_t size)
{
    if (!joins_exactly(t, size))
        return run_resize(t, i, old_size, size);
    bins_remove_exact(&t->bins, t->nodes.at, i, (uint32_t)(old_size / NODE_GRANULE));
    return bins_insert_exact(&t->bins, t->nodes.at, i, (uint32_t)(size / NODE_GRANULE));
}

/* A free run of `size` bytes or more, at most 2^63; 0 if there is none. */
static inline uint32_t run_find(const struct tlsf *t, uint64_t size)
{
    uint32_t i = t->bins.head[bins_find(&t->bins, t->nodes.at, size)];

    if (!i && t->top_size >= size)
        i = t->top;
    return i;
}

static void reindex(struct tlsf *t, bool by_position)
{
    struct node *at = t->nodes.at;

    bins_clear(&t->bins);
    t->runs = 0;
    t->top = 0;
    t->top_size = 0;
    t->by_position = by_position;
    t->ready = 0;
    for (uint32_t i = 1; i < t->nodes.top; i++) {
        if (node_is_free(&at[i]))
            run_insert(t, i, node_size(at, i));
    }
}

static void set_ready(struct tlsf *t)
{
    uint32_t room = nodes_room(&t->nodes), buckets = t->nodes.buckets / 2 - t->nodes.used;

    t->ready = room < buckets ? room : buckets;
}

/* Room for `nodes` more, and buckets for some. Whoever takes of them other than alloc() asks here.
 */
static bool reserve(struct tlsf *t, uint32_t nodes)
{
    t->ready = 0;
    if (!nodes_reserve(&t->nodes, nodes))
        return false;
    nodes_spread(&t->nodes, READY_MAX);
    return true;
}

static inline void want_bins(struct tlsf *t)
{
    if (UNLIKELY(t->by_position))
        reindex(t, false);
}

static inline uint64_t range_start(const struct node *at, uint32_t header)
{
    return node_pos(&at[at[header].next]);
}

/* As run_at(). A block and what nobody manages are told without the tree. */
NOINLINE uint32_t run_search(struct tlsf *t, uint64_t pos)
{
    const struct node *at = t->nodes.at;
    uint32_t range = tree_ceiling(at, t->ranges, pos + 1), i;

    if (!range || pos < range_start(at, range) || *nodes_find(&t->nodes, pos))
        return 0;
    if (!t->by_position)
        reindex(t, true);
    i = tree_floor(at, t->runs, pos);
    if (!i || pos >= node_end(at, i))
        return 0;
    t->recent = i;
    return i;
}

/* The free run that contains `pos`; 0 if there is none. */
static inline uint32_t run_at(struct tlsf *t, uint64_t pos)
{
    const struct node *at = t->nodes.at;
    uint32_t i = t->recent;

    if (i < t->nodes.top && node_is_free(&at[i]) && pos - node_pos(&at[i]) < node_size(at, i))
        return i;
    return run_search(t, pos);
}

/* Node `i` at `pos`, of `size` bytes, which is linked between `prev` and `next` but not indexed,
 * joins the free run after it, the one before it, or both. */

NOINLINE int join_next(struct tlsf *t, uint32_t i, uint64_t pos, uint64_t size, uint32_t prev,
                       uint32_t next)
{
    struct node *at = t->nodes.at;
    uint64_t old_size = node_size(at, next);

    at[next].pos = pos | NODE_FREE;
    at[prev].next = next;
    at[next].prev = prev;
    nodes_give(&t->nodes, i);
    t->recent = next;
    return run_grow(t, next, old_size, old_size + size);
}

NOINLINE int join_prev(struct tlsf *t, uint32_t i, uint64_t pos, uint64_t size, uint32_t prev,
                       uint32_t next)
{
    struct node *at = t->nodes.at;
    uint64_t old_size = pos - node_pos(&at[prev]);

    at[prev].next = next;
    at[next].prev = prev;
    nodes_give(&t->nodes, i);
    t->recent = prev;
    return run_grow(t, prev, old_size, old_size + size);
}

NOINLINE int join_both(struct tlsf *t, uint32_t i, uint64_t pos, uint64_t size, uint32_t prev,
                       uint32_t next)
{
    struct node *at = t->nodes.at;
    uint32_t after = at[next].next;
    uint64_t old_size = pos - node_pos(&at[prev]), next_size = node_size(at, next);

    size += old_size + next_size;
    if (joins_exactly(t, size))
        bins_remove_exact(&t->bins, at, next, (uint32_t)(next_size / NODE_GRANULE));
    else
        run_remove(t, next, next_size);
    at[prev].next = after;
    at[after].prev = prev;
    nodes_give(&t->nodes, next);
    nodes_give(&t->nodes, i);
    t->recent = prev;
    return run_grow(t, prev, old_size, size);
}

/* Makes node `i` at `pos`, of `size` bytes and before `next`, which is linked but not indexed, a
 * free run, joined with both neighbours. */
ALWAYS_INLINE int run_free(struct tlsf *t, uint32_t i, uint64_t pos, uint64_t size, uint32_t next)
{
    struct node *at = t->nodes.at;
    uint32_t prev = at[i].prev;

    if (node_is_free(&at[next])) {
        if (node_is_free(&at[prev]))
            return join_both(t, i, pos, size, prev, next);
        return join_next(t, i, pos, size, prev, next);
    }
    if (node_is_free(&at[prev]))
        return join_prev(t, i, pos, size, prev, next);
    at[i].pos = pos | NODE_FREE;
    t->recent = i;
    return run_insert(t, i, size);
}

/* Makes free run `run` a block. A bucket is there. */
NOINLINE int run_carve_whole(struct tlsf *t, uint32_t run, uint64_t size)
{
    run_remove(t, run, size);
    t->nodes.at[run].pos ^= NODE_FREE;
    nodes_link_block(&t->nodes, run, t->nodes.at[run].pos);
    return 0;
}

/* Makes the first `size` bytes of free run `run`, of `old_size` and at `pos`, a block. A node is
 * reserved. */
ALWAYS_INLINE int run_carve(struct tlsf *t, uint32_t run, uint64_t old_size, uint64_t pos,
                            uint64_t size)
{
    struct node *at = t->nodes.at;
    uint32_t block;

    t->used += size;
    if (size == old_size)
        return run_carve_whole(t, run, size);
    block = nodes_take(&t->nodes);
    at[block].pos = pos;
    at[run].pos = (pos + size) | NODE_FREE;
    node_link_before(at, run, block);
    nodes_link_block(&t->nodes, block, pos);
    return run_resize(t, run, old_size, old_size - size);
}

/* As run_carve(), at any `pos` in the run. Two nodes are reserved. */
ALWAYS_INLINE void run_carve_at(struct tlsf *t, uint32_t run, uint64_t pos, uint64_t size)
{
    struct node *at = t->nodes.at;
    uint64_t start = node_pos(&at[run]), old_size = node_size(at, run);
    uint32_t front;

    if (pos != start) {
        front = nodes_take(&t->nodes);
        at[front].pos = start | NODE_FREE;
        at[run].pos = pos | NODE_FREE;
        node_link_before(at, run, front);
        run_resize(t, run, old_size, old_size - (pos - start));
        run_insert(t, front, pos - start);
    }
    run_carve(t, run, old_size - (pos - start), pos, size);
}

/* Ranges. */

static int cut_inwards(uint64_t *start, uint64_t size, uint64_t *ret_end)
{
    uint64_t end;

    if (__builtin_add_overflow(*start, size, &end) || end > POSITION_END)
        return ALLOT_E_INVALID;
    *start = ALLOT_ALIGN_UP(*start, NODE_GRANULE);
    *ret_end = ALLOT_ALIGN_DOWN(end, NODE_GRANULE);
    return *start < *ret_end ? 0 : ALLOT_E_INVALID;
}

static int tlsf_add_memory(struct allot_byte *b, uint64_t start, uint64_t size)
{
    struct tlsf *t = tlsf_of(b);
    struct node *at;
    uint64_t end;
    uint32_t before, after, i;
    int err = cut_inwards(&start, size, &end);

    if (err)
        return err;
    before = tree_floor(t->nodes.at, t->ranges, start);
    after = tree_ceiling(t->nodes.at, t->ranges, start + 1);
    if (after && range_start(t->nodes.at, after) < end)
        return ALLOT_E_OVERLAP;
    if (!reserve(t, 2))
        return ALLOT_E_NO_MEMORY;

    at = t->nodes.at;
    size = end - start;
    t->total += size;
    i = nodes_take(&t->nodes);
    at[i].pos = start;
    before = before && node_pos(&at[before]) == start ? before : 0;
    after = after && range_start(at, after) == end ? after : 0;
    if (after) {
        node_link_after(at, after, i);
        if (before) {
            uint32_t first = at[before].next, last = at[before].prev;

            tree_remove(at, &t->ranges, before);
            at[i].prev = last;
            at[last].next = i;
            at[first].prev = after;
            at[after].next = first;
            nodes_give(&t->nodes, before);
        }
    } else if (before) {
        node_link_before(at, before, i);
        at[before].pos = end | NODE_RANGE;
    } else {
        uint32_t header = nodes_take(&t->nodes);

        at[header] = (struct node){end | NODE_RANGE, i, i, {0, 0}};
        at[i].prev = header;
        at[i].next = header;
        tree_insert(at, &t->ranges, header);
    }
    return run_free(t, i, start, size, at[i].next);
}

static int tlsf_init(struct allot_byte *b, uint64_t start, uint64_t size)
{
    uint64_t end;
    int err = cut_inwards(&start, size, &end);

    if (err)
        return err;
    forget(tlsf_of(b));
    return tlsf_add_memory(b, start, end - start);
}

/* Cuts [start, end), inside the free run `run`, out of its range. Two nodes are reserved. */
static void range_cut(struct tlsf *t, uint32_t run, uint64_t start, uint64_t end)
{
    struct node *at = t->nodes.at;
    uint32_t header = tree_ceiling(at, t->ranges, start + 1), prev, next;
    uint64_t run_start = node_pos(&at[run]), run_end = node_end(at, run);

    run_remove(t, run, run_end - run_start);
    at[run].pos = start;
    if (run_start < start) {
        uint32_t left = nodes_take(&t->nodes);

        at[left].pos = run_start | NODE_FREE;
        node_link_before(at, run, left);
        run_insert(t, left, start - run_start);
    }
    if (end < run_end) {
        uint32_t right = nodes_take(&t->nodes);

        at[right].pos = end | NODE_FREE;
        node_link_after(at, run, right);
        run_insert(t, right, run_end - end);
    }
    prev = at[run].prev;
    next = at[run].next;
    if (prev != header && next != header) {
        /* The run becomes the header of what lies before it. */
        at[run].pos = start | NODE_RANGE;
        at[run].next = at[header].next;
        at[at[run].next].prev = run;
        at[header].next = next;
        at[next].prev = header;
        tree_insert(at, &t->ranges, run);
        return;
    }
    node_unlink(at, run);
    nodes_give(&t->nodes, run);
    if (prev == next) {
        tree_remove(at, &t->ranges, header);
        nodes_give(&t->nodes, header);
    } else if (next == header) {
        at[header].pos = start | NODE_RANGE;
    }
}

static int tlsf_take_back(struct allot_byte *b, uint64_t near, uint64_t granule,
                          uint64_t *ret_start, uint64_t *ret_size)
{
    struct tlsf *t = tlsf_of(b);
    uint64_t start, end;
    uint32_t run;

    if (!ALLOT_IS_POW2(granule))
        return ALLOT_E_INVALID;
    run = run_at(t, near);
    if (!run)
        return ALLOT_E_NOT_ALLOCATED;
    granule = granule > NODE_GRANULE ? granule : NODE_GRANULE;
    start = ALLOT_ALIGN_UP(node_pos(&t->nodes.at[run]), granule);
    end = ALLOT_ALIGN_DOWN(node_end(t->nodes.at, run), granule);
    if (start >= end)
        return ALLOT_E_NOT_ALLOCATED;
    /* Two for the cut, two more for an add_memory() that undoes it. */
    if (!reserve(t, 4))
        return ALLOT_E_NO_MEMORY;
    range_cut(t, run, start, end);
    t->total -= end - start;
    *ret_start = start;
    *ret_size = end - start;
    return 0;
}

/* Blocks. */

static bool fits(const struct node *at, uint32_t run, uint64_t size, uint64_t align)
{
    uint64_t pos = node_pos(&at[run]), have = node_size(at, run);
    uint64_t gap = ALLOT_ALIGN_UP(pos, align) - pos;

    return gap <= have && have - gap >= size;
}

static uint32_t find_aligned(const struct tlsf *t, uint64_t size, uint64_t align)
{
    const struct node *at = t->nodes.at;
    uint64_t slack = size + (align - NODE_GRANULE);
    uint32_t i = run_find(t, size), tries = ALIGNED_TRIES, bin;

    if (!i || fits(at, i, size, align))
        return i;
    if (slack <= available(t)) {
        i = run_find(t, slack);
        if (i)
            return i;
    }
    if (fits(at, t->top, size, align))
        return t->top;
    if (t->recent < t->nodes.top && node_is_free(&at[t->recent]) &&
        fits(at, t->recent, size, align))
        return t->recent;
    for (bin = bins_down(&t->bins, BINS_COUNT - 1); bin >= bins_of(size) && tries; tries--) {
        for (i = t->bins.head[bin]; i && tries; tries--) {
            if (fits(at, i, size, align))
                return i;
            if (bin < BINS_EXACT || node_size(at, at[i].link[1]) > node_size(at, at[i].link[0]))
                i = at[i].link[1];
            else
                i = at[i].link[0];
        }
        bin = bins_down(&t->bins, bin - 1);
    }
    return 0;
}

/* Any request. */
NOINLINE int alloc_slowly(struct tlsf *t, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    uint64_t pos;
    uint32_t run;
    int err = round_request(size, align, &size);

    if (err)
        return err;
    if (size > available(t) || !reserve(t, 2))
        return ALLOT_E_NO_MEMORY;
    want_bins(t);
    run = align <= NODE_GRANULE ? run_find(t, size) : find_aligned(t, size, align);
    if (!run)
        return ALLOT_E_NO_MEMORY;
    pos = ALLOT_ALIGN_UP(node_pos(&t->nodes.at[run]), align);
    run_carve_at(t, run, pos, size);
    set_ready(t);
    *ret_pos = pos;
    return 0;
}

/* The first run of a bin of one size. */
NOINLINE int alloc_exactly(struct tlsf *t, uint32_t bin, uint64_t *ret_pos)
{
    struct node *at = t->nodes.at;
    uint32_t i = bins_pop(&t->bins, at, bin);
    uint64_t pos = at[i].pos ^ NODE_FREE;

    t->ready--;
    t->used += (uint64_t)bin * NODE_GRANULE;
    at[i].pos = pos;
    nodes_link_block(&t->nodes, i, pos);
    *ret_pos = pos;
    return 0;
}

static int tlsf_alloc(struct allot_byte *b, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    struct tlsf *t = tlsf_of(b);
    uint64_t found;
    uint32_t run, bin;

    /* What is invalid goes there as well: less 1, a 0 is more than any other. */
    if (UNLIKELY(!t->ready || size - 1 >= available(t) || align - 1 >= NODE_GRANULE ||
                 align & (align - 1)))
        return alloc_slowly(t, size, align, ret_pos);
    size = ALLOT_ALIGN_UP(size, NODE_GRANULE);
    if (size < BINS_EXACT_END && t->bins.head[size / NODE_GRANULE])
        return alloc_exactly(t, (uint32_t)(size / NODE_GRANULE), ret_pos);
    bin = bins_find(&t->bins, t->nodes.at, size);
    if (!bin) {
        run = t->top;
        found = t->top_size;
        if (found < size)
            return ALLOT_E_NO_MEMORY;
    } else {
        run = t->bins.head[bin];
        found = bins_size(&t->bins, t->nodes.at, bin);
    }
    t->ready--;
    *ret_pos = node_pos(&t->nodes.at[run]);
    return run_carve(t, run, found, *ret_pos, size);
}

static inline int tlsf_footprint(const struct allot_byte *b, uint64_t pos, uint64_t size,
                                 uint64_t align, uint64_t *ret_start, uint64_t *ret_size)
{
    uint64_t end;
    int err = round_request(size, align, &size);

    (void)b;
    if (err)
        return err;
    if (!ALLOT_IS_ALIGNED(pos, align) || !ALLOT_IS_ALIGNED(pos, NODE_GRANULE) ||
        __builtin_add_overflow(pos, size, &end) || end > POSITION_END)
        return ALLOT_E_INVALID;
    *ret_start = pos;
    *ret_size = size;
    return 0;
}

static int tlsf_claim(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align)
{
    struct tlsf *t = tlsf_of(b);
    uint32_t run;
    int err = tlsf_footprint(b, pos, size, align, &pos, &size);

    if (err)
        return err;
    run = run_at(t, pos);
    if (!run || node_end(t->nodes.at, run) < pos + size)
        return ALLOT_E_OVERLAP;
    if (t->ready >= 2)
        t->ready -= 2;
    else if (!reserve(t, 2))
        return ALLOT_E_NO_MEMORY;
    run_carve_at(t, run, pos, size);
    if (!t->ready && !t->by_position)
        set_ready(t);
    return 0;
}

static int tlsf_reserve(struct allot_byte *b, uint64_t blocks)
{
    struct tlsf *t = tlsf_of(b);

    if (blocks > UINT32_MAX || !reserve(t, (uint32_t)blocks))
        return ALLOT_E_NO_MEMORY;
    nodes_expect(&t->nodes, (uint32_t)blocks);
    if (!t->by_position)
        set_ready(t);
    return 0;
}

/* The block that alloc() returned at `pos` for `size`, rounded up, and `align`, and the link to it;
 * 0 if there is none. */
ALWAYS_INLINE uint32_t find_block(const struct tlsf *t, uint64_t pos, uint64_t size, uint64_t align,
                                  uint32_t **ret_link)
{
    const struct node *at = t->nodes.at;
    uint32_t *link, block;

    /* An alignment of 0 is less 1 all bits, of which no other has the last. */
    if ((pos | align | POSITION_END) & (align - 1))
        return 0;
    link = nodes_find(&t->nodes, pos);
    block = *link;
    /* What is next begins where the block should end: the state is all that is left. An invalid
     * size is rounded to 0, which is no block's. */
    if (!block || at[at[block].next].pos - (pos + size) > NODE_STATE)
        return 0;
    *ret_link = link;
    return block;
}

/* Why there is none. */
NOINLINE int no_block(uint64_t size, uint64_t align)
{
    int err = round_request(size, align, &size);

    return err ? err : ALLOT_E_NOT_ALLOCATED;
}

static int tlsf_dealloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align)
{
    struct tlsf *t = tlsf_of(b);
    uint32_t *link, block, next;

    size = ALLOT_ALIGN_UP(size, NODE_GRANULE);
    block = find_block(t, pos, size, align, &link);
    if (UNLIKELY(!block))
        return no_block(size, align);
    next = t->nodes.at[block].next;
    nodes_drop_block(&t->nodes, link, block);
    t->used -= size;
    return run_free(t, block, pos, size, next);
}

static int tlsf_realloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align,
                        uint64_t new_size)
{
    struct tlsf *t = tlsf_of(b);
    struct node *at = t->nodes.at;
    uint64_t spare;
    uint32_t *link, block, next;
    int err = round_request(new_size, align, &new_size);

    if (err)
        return err;
    size = ALLOT_ALIGN_UP(size, NODE_GRANULE);
    block = find_block(t, pos, size, align, &link);
    if (!block)
        return no_block(size, align);
    next = at[block].next;
    spare = node_is_free(&at[next]) ? node_size(at, next) : 0;
    t->recent = next; /* whoever is refused may want to know what is there */
    if (new_size > size && new_size - size > spare)
        return ALLOT_E_NO_MEMORY;
    if (new_size < size && !spare) {
        if (!reserve(t, 2))
            return ALLOT_E_NO_MEMORY;
        at = t->nodes.at;
        next = nodes_take(&t->nodes);
        at[next].pos = pos + new_size;
        node_link_after(at, block, next);
        run_free(t, next, pos + new_size, size - new_size, at[next].next);
    } else if (new_size != size) {
        at[next].pos = (pos + new_size) | NODE_FREE;
        if (spare + size != new_size) {
            run_resize(t, next, spare, spare + size - new_size);
        } else {
            run_remove(t, next, spare);
            node_unlink(at, next);
            nodes_give(&t->nodes, next);
        }
    }
    t->used += new_size - size;
    return 0;
}

static int tlsf_usable_size(const struct allot_byte *b, uint64_t pos, uint64_t *ret_size)
{
    const struct tlsf *t = tlsf_of(b);
    uint32_t block = *nodes_find(&t->nodes, pos);

    if (!block)
        return ALLOT_E_NOT_ALLOCATED;
    *ret_size = node_size(t->nodes.at, block);
    return 0;
}

static uint64_t tlsf_largest_free(const struct allot_byte *b)
{
    struct tlsf *t = tlsf_of(b);

    uint64_t binned;

    want_bins(t);
    binned = bins_largest(&t->bins, t->nodes.at);
    return t->top_size > binned ? t->top_size : binned;
}

static uint64_t tlsf_total_bytes(const struct allot_byte *b)
{
    return tlsf_of(b)->total;
}

static uint64_t tlsf_used_bytes(const struct allot_byte *b)
{
    return tlsf_of(b)->used;
}

static uint64_t tlsf_available_bytes(const struct allot_byte *b)
{
    return available(tlsf_of(b));
}

static uint64_t tlsf_metadata_bytes(const struct allot_byte *b)
{
    return sizeof(struct tlsf) + nodes_metadata_bytes(&tlsf_of(b)->nodes);
}

const struct allot_byte_ops allot_tlsf = {
    .name = "tlsf",
    .create = tlsf_create,
    .destroy = tlsf_destroy,
    .init = tlsf_init,
    .add_memory = tlsf_add_memory,
    .take_back = tlsf_take_back,
    .alloc = tlsf_alloc,
    .claim = tlsf_claim,
    .reserve = tlsf_reserve,
    .footprint = tlsf_footprint,
    .dealloc = tlsf_dealloc,
    .realloc = tlsf_realloc,
    .usable_size = tlsf_usable_size,
    .largest_free = tlsf_largest_free,
    .total_bytes = tlsf_total_bytes,
    .used_bytes = tlsf_used_bytes,
    .available_bytes = tlsf_available_bytes,
    .metadata_bytes = tlsf_metadata_bytes,
    .check = tlsf_check,
    .dump = tlsf_dump,
};
