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
 * at its start and one at its end, and taking back the run that a dealloc just made needs none.
 *
 * Invariants: no two free runs touch. A range's runs cover it without gaps. Ranges do not touch.
 * total is the sum of the ranges, used that of the blocks.
 *
 * Locks: none. Limits: 2^31 blocks; positions and their ends up to 2^63. An aligned request that
 * no run is large enough to hold wherever it starts is tried on ALIGNED_TRIES runs only, because
 * trying all would let a full allocator stall its caller.
 */
#include "tlsf.h"
#include "tree.h"

#define ALIGNED_TRIES 64
#define READY_MAX     64 /* bounds the buckets that are split at once */
#define ALWAYS_INLINE static inline __attribute__((always_inline))
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
 * need not come back and save no registers. */

ALWAYS_INLINE int run_insert(struct tlsf *t, uint32_t i)
{
    struct node *at = t->nodes.at;
    uint32_t top = t->top;
    uint64_t size = at[i].size, top_size = at[top].size;

    if (__builtin_expect(t->by_position, 0)) {
        tree_insert(at, &t->runs, i);
        return 0;
    }
    if (size > top_size) {
        t->top = i;
        i = top;
        size = top_size;
    }
    return i ? bins_insert(&t->bins, at, i, size) : 0;
}

static inline void run_remove(struct tlsf *t, uint32_t i)
{
    if (i == t->top)
        t->top = 0;
    else if (__builtin_expect(t->by_position, 0))
        tree_remove(t->nodes.at, &t->runs, i);
    else
        bins_remove(&t->bins, t->nodes.at, i);
}

/* For a run that is not the top: its new size. */
static __attribute__((noinline)) int run_rebin(struct tlsf *t, uint32_t i, uint64_t size)
{
    struct node *at = t->nodes.at;

    if (__builtin_expect(t->by_position, 0)) {
        at[i].size = size | NODE_FREE;
        return 0;
    }
    bins_remove(&t->bins, at, i);
    at[i].size = size | NODE_FREE;
    return run_insert(t, i);
}

static inline int run_resize(struct tlsf *t, uint32_t i, uint64_t pos, uint64_t size)
{
    struct node *at = t->nodes.at;

    at[i].pos = pos;
    if (i != t->top)
        return run_rebin(t, i, size);
    at[i].size = size | NODE_FREE;
    return 0;
}

/* A free run of `size` bytes or more, at most 2^63; 0 if there is none. */
static inline uint32_t run_find(const struct tlsf *t, uint64_t size)
{
    uint32_t i = bins_find(&t->bins, t->nodes.at, size);

    /* The size of at[0] is 0 without its state. */
    if (!i && node_size(&t->nodes.at[t->top]) >= size)
        i = t->top;
    return i;
}

static void reindex(struct tlsf *t, bool by_position)
{
    struct node *at = t->nodes.at;

    bins_clear(&t->bins);
    t->runs = 0;
    t->top = 0;
    t->by_position = by_position;
    t->ready = 0;
    for (uint32_t i = 1; i < t->nodes.top; i++) {
        if (node_is_free(&at[i]))
            run_insert(t, i);
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
    if (__builtin_expect(t->by_position, 0))
        reindex(t, false);
}

/* The free run that contains `pos`; 0 if there is none. What a dealloc has just made, a block and
 * what nobody manages are told without the tree. */
static uint32_t run_at(struct tlsf *t, uint64_t pos)
{
    const struct node *at = t->nodes.at;
    uint32_t i = t->recent, range;

    if (i < t->nodes.top && node_is_free(&at[i]) && pos - at[i].pos < node_size(&at[i]))
        return i;
    range = tree_floor(at, t->ranges, pos);
    if (!range || pos - at[range].pos >= node_size(&at[range]) || *nodes_find(&t->nodes, pos))
        return 0;
    if (!t->by_position)
        reindex(t, true);
    i = tree_floor(at, t->runs, pos);
    return i && pos - at[i].pos < node_size(&at[i]) ? i : 0;
}

/* Joins the free runs on both sides of node `i`, which is linked but not indexed. */
static __attribute__((noinline)) int run_join(struct tlsf *t, uint32_t i, uint64_t size)
{
    struct node *at = t->nodes.at;
    uint32_t prev = at[i].prev, next = at[i].next;

    size += node_size(&at[prev]) + node_size(&at[next]);
    run_remove(t, next);
    at[prev].next = at[next].next;
    at[at[next].next].prev = prev;
    nodes_give(&t->nodes, next);
    nodes_give(&t->nodes, i);
    t->recent = prev;
    return run_resize(t, prev, at[prev].pos, size);
}

/* Makes node `i` at [pos, pos+size), which is linked but not indexed, a free run, merged with both
 * neighbours. */
ALWAYS_INLINE int run_free(struct tlsf *t, uint32_t i, uint64_t pos, uint64_t size)
{
    struct node *at = t->nodes.at;
    uint32_t prev = at[i].prev, next = at[i].next;

    if (node_is_free(&at[next])) {
        if (node_is_free(&at[prev]))
            return run_join(t, i, size);
        node_unlink(at, i);
        nodes_give(&t->nodes, i);
        t->recent = next;
        return run_resize(t, next, pos, size + node_size(&at[next]));
    }
    if (node_is_free(&at[prev])) {
        node_unlink(at, i);
        nodes_give(&t->nodes, i);
        t->recent = prev;
        return run_resize(t, prev, at[prev].pos, node_size(&at[prev]) + size);
    }
    at[i].pos = pos;
    at[i].size = size | NODE_FREE;
    t->recent = i;
    return run_insert(t, i);
}

/* Makes free run `run` a block. A bucket is there. */
static __attribute__((noinline)) int run_carve_whole(struct tlsf *t, uint32_t run)
{
    run_remove(t, run);
    t->nodes.at[run].size ^= NODE_FREE;
    nodes_link_block(&t->nodes, run);
    return 0;
}

/* Makes the first `size` bytes of free run `run`, at `pos`, a block. A node is reserved. */
ALWAYS_INLINE int run_carve(struct tlsf *t, uint32_t run, uint64_t pos, uint64_t size)
{
    struct node *at = t->nodes.at;
    uint64_t rest = node_size(&at[run]) - size;
    uint32_t block;

    t->used += size;
    if (!rest)
        return run_carve_whole(t, run);
    block = nodes_take(&t->nodes);
    at[block].pos = pos;
    at[block].size = size;
    node_link_before(at, run, block);
    nodes_link_block(&t->nodes, block);
    return run_resize(t, run, pos + size, rest);
}

/* As run_carve(), at any `pos` in the run. Two nodes are reserved. */
static void run_carve_at(struct tlsf *t, uint32_t run, uint64_t pos, uint64_t size)
{
    struct node *at = t->nodes.at;
    uint64_t start = at[run].pos;
    uint32_t front;

    if (pos != start) {
        front = nodes_take(&t->nodes);
        at[front].pos = start;
        at[front].size = (pos - start) | NODE_FREE;
        node_link_before(at, run, front);
        run_resize(t, run, pos, node_end(&at[run]) - pos);
        run_insert(t, front);
    }
    run_carve(t, run, pos, size);
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
    after = tree_ceiling(t->nodes.at, t->ranges, start);
    if ((before && node_end(&t->nodes.at[before]) > start) ||
        (after && t->nodes.at[after].pos < end))
        return ALLOT_E_OVERLAP;
    if (!reserve(t, 2))
        return ALLOT_E_NO_MEMORY;

    at = t->nodes.at;
    size = end - start;
    t->total += size;
    i = nodes_take(&t->nodes);
    at[i].pos = start;
    at[i].size = size;
    before = before && node_end(&at[before]) == start ? before : 0;
    after = after && at[after].pos == end ? after : 0;
    if (before) {
        node_link_before(at, before, i);
        at[before].size += size;
        if (after) {
            uint32_t first = at[after].next, last = at[after].prev;

            tree_remove(at, &t->ranges, after);
            at[before].size += node_size(&at[after]);
            at[i].next = first;
            at[first].prev = i;
            at[last].next = before;
            at[before].prev = last;
            nodes_give(&t->nodes, after);
        }
    } else if (after) {
        node_link_after(at, after, i);
        at[after].pos = start;
        at[after].size += size;
    } else {
        uint32_t header = nodes_take(&t->nodes);

        at[header] = (struct node){start, size | NODE_RANGE, i, i, {0, 0}};
        at[i].prev = header;
        at[i].next = header;
        tree_insert(at, &t->ranges, header);
    }
    return run_free(t, i, start, size);
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
    uint32_t header = tree_floor(at, t->ranges, start), prev = at[run].prev, next = at[run].next;
    uint64_t run_start = at[run].pos, run_end = node_end(&at[run]);
    uint64_t range_start = at[header].pos, range_end = node_end(&at[header]);

    run_remove(t, run);
    node_unlink(at, run);
    nodes_give(&t->nodes, run);
    if (run_start < start) {
        uint32_t left = nodes_take(&t->nodes);

        at[left].pos = run_start;
        at[left].size = (start - run_start) | NODE_FREE;
        node_link_after(at, prev, left);
        run_insert(t, left);
        prev = left;
    }
    if (end < run_end) {
        uint32_t right = nodes_take(&t->nodes);

        at[right].pos = end;
        at[right].size = (run_end - end) | NODE_FREE;
        node_link_before(at, next, right);
        run_insert(t, right);
        next = right;
    }
    if (range_start < start && end < range_end) {
        uint32_t second = nodes_take(&t->nodes), last = at[header].prev;

        at[second] = (struct node){end, (range_end - end) | NODE_RANGE, last, next, {0, 0}};
        at[last].next = second;
        at[next].prev = second;
        at[header].size = (start - range_start) | NODE_RANGE;
        at[header].prev = prev;
        at[prev].next = header;
        tree_insert(at, &t->ranges, second);
    } else if (range_start < start) {
        at[header].size = (start - range_start) | NODE_RANGE;
    } else if (end < range_end) {
        at[header].pos = end;
        at[header].size = (range_end - end) | NODE_RANGE;
    } else {
        tree_remove(at, &t->ranges, header);
        nodes_give(&t->nodes, header);
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
    start = ALLOT_ALIGN_UP(t->nodes.at[run].pos, granule);
    end = ALLOT_ALIGN_DOWN(node_end(&t->nodes.at[run]), granule);
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

static bool fits(const struct node *run, uint64_t size, uint64_t align)
{
    uint64_t gap = ALLOT_ALIGN_UP(run->pos, align) - run->pos, have = node_size(run);

    return gap <= have && have - gap >= size;
}

static uint32_t find_aligned(const struct tlsf *t, uint64_t size, uint64_t align)
{
    const struct node *at = t->nodes.at;
    uint64_t slack = size + (align - NODE_GRANULE);
    uint32_t i = run_find(t, size), tries = ALIGNED_TRIES, bin;

    if (!i || fits(&at[i], size, align))
        return i;
    if (slack <= available(t)) {
        i = run_find(t, slack);
        if (i)
            return i;
    }
    if (fits(&at[t->top], size, align))
        return t->top;
    if (t->recent < t->nodes.top && node_is_free(&at[t->recent]) &&
        fits(&at[t->recent], size, align))
        return t->recent;
    for (bin = bins_down(&t->bins, BINS_COUNT - 1); bin >= bins_of(size) && tries; tries--) {
        for (i = t->bins.head[bin]; i && tries; tries--) {
            if (fits(&at[i], size, align))
                return i;
            if (bin < BINS_EXACT || at[at[i].link[1]].size > at[at[i].link[0]].size)
                i = at[i].link[1];
            else
                i = at[i].link[0];
        }
        bin = bins_down(&t->bins, bin - 1);
    }
    return 0;
}

/* Any request. */
static __attribute__((noinline)) int alloc_slowly(struct tlsf *t, uint64_t size, uint64_t align,
                                                  uint64_t *ret_pos)
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
    pos = ALLOT_ALIGN_UP(t->nodes.at[run].pos, align);
    run_carve_at(t, run, pos, size);
    set_ready(t);
    *ret_pos = pos;
    return 0;
}

static int tlsf_alloc(struct allot_byte *b, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    struct tlsf *t = tlsf_of(b);
    uint32_t run;

    /* What is invalid goes there as well: less 1, a 0 is more than any other. */
    if (__builtin_expect(!t->ready || size - 1 >= available(t) || align - 1 >= NODE_GRANULE ||
                             align & (align - 1),
                         0))
        return alloc_slowly(t, size, align, ret_pos);
    size = ALLOT_ALIGN_UP(size, NODE_GRANULE);
    run = run_find(t, size);
    if (!run)
        return ALLOT_E_NO_MEMORY;
    t->ready--;
    *ret_pos = t->nodes.at[run].pos;
    return run_carve(t, run, *ret_pos, size);
}

static int tlsf_footprint(const struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align,
                          uint64_t *ret_start, uint64_t *ret_size)
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
    if (!run || node_end(&t->nodes.at[run]) < pos + size)
        return ALLOT_E_OVERLAP;
    if (!reserve(t, 2))
        return ALLOT_E_NO_MEMORY;
    run_carve_at(t, run, pos, size);
    return 0;
}

/* The block that alloc() returned at `pos` for `size` and `align`, and the link to it; 0 if there
 * is none. */
static inline uint32_t find_block(const struct tlsf *t, uint64_t pos, uint64_t size, uint64_t align,
                                  uint32_t **ret_link)
{
    uint32_t *link = nodes_find(&t->nodes, pos), block = *link;

    /* An invalid size is rounded to 0, which is no block's. */
    if (!block || t->nodes.at[block].size != ALLOT_ALIGN_UP(size, NODE_GRANULE) || !align ||
        (pos | align) & (align - 1))
        return 0;
    *ret_link = link;
    return block;
}

/* Why there is none. */
static __attribute__((noinline)) int no_block(uint64_t size, uint64_t align)
{
    int err = round_request(size, align, &size);

    return err ? err : ALLOT_E_NOT_ALLOCATED;
}

static int tlsf_dealloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align)
{
    struct tlsf *t = tlsf_of(b);
    uint32_t *link, block = find_block(t, pos, size, align, &link);

    if (__builtin_expect(!block, 0))
        return no_block(size, align);
    size = t->nodes.at[block].size;
    nodes_drop_block(&t->nodes, link, block);
    t->used -= size;
    return run_free(t, block, pos, size);
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
    block = find_block(t, pos, size, align, &link);
    if (!block)
        return no_block(size, align);
    size = at[block].size;
    next = at[block].next;
    spare = node_is_free(&at[next]) ? node_size(&at[next]) : 0;
    t->recent = next; /* whoever is refused may want to know what is there */
    if (new_size > size && new_size - size > spare)
        return ALLOT_E_NO_MEMORY;
    if (new_size < size && !spare) {
        if (!reserve(t, 2))
            return ALLOT_E_NO_MEMORY;
        at = t->nodes.at;
        next = nodes_take(&t->nodes);
        at[next].pos = pos + new_size;
        at[next].size = size - new_size;
        node_link_after(at, block, next);
        run_free(t, next, pos + new_size, size - new_size);
    } else if (new_size != size) {
        spare += size - new_size;
        if (spare) {
            run_resize(t, next, pos + new_size, spare);
        } else {
            run_remove(t, next);
            node_unlink(at, next);
            nodes_give(&t->nodes, next);
        }
    }
    at[block].size = new_size;
    t->used += new_size - size;
    return 0;
}

static int tlsf_usable_size(const struct allot_byte *b, uint64_t pos, uint64_t *ret_size)
{
    const struct tlsf *t = tlsf_of(b);
    uint32_t block = *nodes_find(&t->nodes, pos);

    if (!block)
        return ALLOT_E_NOT_ALLOCATED;
    *ret_size = t->nodes.at[block].size;
    return 0;
}

static uint64_t tlsf_largest_free(const struct allot_byte *b)
{
    struct tlsf *t = tlsf_of(b);

    uint64_t top, binned;

    want_bins(t);
    top = node_size(&t->nodes.at[t->top]);
    binned = bins_largest(&t->bins, t->nodes.at);
    return top > binned ? top : binned;
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
