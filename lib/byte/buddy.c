/* SPDX-License-Identifier: MIT */
/*
 * Buddy: blocks of powers of two, each at a multiple of its own size.
 *
 * The binary buddy system (K. C. Knowlton, "A Fast Storage Allocator", CACM 1965) over absolute
 * positions: all of [0, 2^63) is one block that is cut in halves as far as what is managed, free
 * and used demands. So any number of ranges anywhere are one tree, and ranges that touch have
 * nothing between them that could stop a merge. What is kept is the cut blocks, the pairs: each
 * knows the state of both halves and the pair above. A pair is found by its middle in a hash, so a
 * free is one look-up that tells both whether that very block is used and what its buddy is, and
 * each merge is a step up.
 *
 * Free halves are in a list for each order, under one word that tells which are not empty. An
 * aligned request takes the front of a block that is so aligned; no block is larger for it.
 *
 * It is not address-ordered, keeps no lists of things to do later, and never moves a block. A
 * request is rounded to a power of two: a third is lost on sizes that are spread evenly.
 *
 * Invariants: no pair has two free halves, nor two absent ones (what is not managed). A pair is
 * reached from the root. total is the sum of what is not absent, used that of the blocks.
 *
 * Locks: none. Limits: 2^31 pairs; positions and their ends up to 2^63. Where no free block is as
 * aligned as a request, ALIGNED_TRIES smaller ones of each order are tried only, because trying all
 * would let a full allocator stall its caller.
 */
#include "buddy.h"

#define ALIGNED_TRIES 4
#define POSITION_END  (UINT64_C(1) << BUDDY_ORDER_MAX)

/* Both ends of a range are at most so many pairs below the root. */
#define RANGE_PAIRS (2 * (BUDDY_ORDER_MAX - BUDDY_ORDER_MIN))

static struct buddy *buddy_of(const struct allot_byte *b)
{
    return (struct buddy *)(uintptr_t)b;
}

static inline int round_request(uint64_t size, uint64_t align, unsigned *ret_order)
{
    unsigned order;

    if (!size || size > POSITION_END || !ALLOT_IS_POW2(align))
        return ALLOT_E_INVALID;
    order = 64u - (unsigned)__builtin_clzll((size - 1) | (NODE_GRANULE - 1));
    *ret_order = order;
    return 0;
}

/* Pairs. */

static bool reserve_halves(struct buddy *d, uint32_t count)
{
    const struct allot_meta *meta = &d->nodes.meta;
    uint32_t want = d->nodes.capacity;
    size_t each = sizeof(*d->half);
    void *fresh;

    /* Where this was refused once, the nodes without halves may not be needed any more. */
    if (d->half && nodes_in(d->half_capacity) - d->nodes.taken >= count)
        return true;
    fresh = meta->resize(meta->ctx, d->half, d->half_capacity * each, want * each);
    if (!fresh)
        return false;
    d->half = fresh;
    d->half_capacity = want;
    return true;
}

/* Room for `count` more pairs. */
static inline bool reserve(struct buddy *d, uint32_t count)
{
    return nodes_reserve(&d->nodes, count) &&
           (__builtin_expect(d->half_capacity >= d->nodes.capacity, 1) || reserve_halves(d, count));
}

static inline void list_insert(struct buddy *d, uint32_t i, unsigned order)
{
    struct node *at = d->nodes.at;
    uint32_t head = d->head[order];

    /* The links of at[0] are written to, never read. */
    at[i].prev = 0;
    at[i].next = head;
    at[head].prev = i;
    d->head[order] = i;
    d->orders |= UINT64_C(1) << order;
}

static inline void list_remove(struct buddy *d, uint32_t i, unsigned order)
{
    struct node *at = d->nodes.at;
    uint32_t prev = at[i].prev, next = at[i].next, *link = &d->head[order];

    at[next].prev = prev;
    link = prev ? &at[prev].next : link;
    *link = next;
    d->orders &= ~((uint64_t)((prev | next) == 0) << order);
}

/* As list_remove() of the head. */
static inline void list_pop(struct buddy *d, uint32_t i, unsigned order)
{
    struct node *at = d->nodes.at;
    uint32_t next = at[i].next;

    at[next].prev = 0;
    d->head[order] = next;
    d->orders &= ~((uint64_t)(next == 0) << order);
}

/* `link` as from nodes_find(). */
static inline void pair_give(struct buddy *d, uint32_t *link)
{
    uint32_t i = *link;

    nodes_drop_block(&d->nodes, link, i);
    nodes_give(&d->nodes, i);
}

/*
 * Cuts the half of pair `i` that contains `pos`, of `order` and in no list, until the half around
 * `pos` is of order `want`; what else comes off is `rest`. The pair of that half is returned, whose
 * state is not yet set. A pair for each order between is reserved.
 */
static inline uint32_t cut(struct buddy *d, uint32_t i, uint64_t pos, unsigned order, unsigned want,
                           uint32_t rest)
{
    struct node *at = d->nodes.at;

    while (order > want) {
        uint32_t fresh = nodes_take(&d->nodes);

        d->half[i][buddy_side(pos, order)] = fresh;
        order--;
        at[fresh].pos = buddy_middle(pos, order);
        d->half[fresh][!buddy_side(pos, order)] = rest;
        at[fresh].link[1] = i;
        nodes_add_block(&d->nodes, fresh);
        if (rest == BUDDY_FREE)
            list_insert(d, fresh, order);
        i = fresh;
    }
    return i;
}

/* Makes the half of pair `i` that contains `pos` free or absent, with its buddy where that is the
 * same. `link` is that of `i`, or NULL. */
static inline void merge(struct buddy *d, uint32_t i, uint32_t *link, uint64_t pos, unsigned order,
                         uint32_t state)
{
    struct node *at = d->nodes.at;

    while (d->half[i][!buddy_side(pos, order)] == state) {
        uint32_t up = at[i].link[1];

        if (state == BUDDY_FREE)
            list_remove(d, i, order);
        pair_give(d, link ? link : nodes_find(&d->nodes, at[i].pos));
        link = NULL;
        order++;
        i = up;
    }
    d->half[i][buddy_side(pos, order)] = state;
    if (state == BUDDY_FREE)
        list_insert(d, i, order);
}

/* The last pair that contains `pos`. A pair's ancestors are all there, so that half of the orders
 * are out at each look. */
static uint32_t locate(const struct buddy *d, uint64_t pos, unsigned *ret_order)
{
    unsigned low = BUDDY_ORDER_MIN, high = BUDDY_ORDER_MAX;
    uint32_t found = BUDDY_ROOT;

    while (low < high) {
        unsigned order = (low + high) / 2;
        uint32_t i = *nodes_find(&d->nodes, buddy_middle(pos, order));

        if (i) {
            found = i;
            high = order;
        } else {
            low = order + 1;
        }
    }
    *ret_order = low;
    return found;
}

static uint32_t state_at(const struct buddy *d, uint64_t pos, uint32_t *ret_pair,
                         unsigned *ret_order)
{
    uint32_t i = locate(d, pos, ret_order);

    *ret_pair = i;
    return d->half[i][buddy_side(pos, *ret_order)];
}

/* The whole. */

static void forget(struct buddy *d)
{
    uint32_t root;

    nodes_forget(&d->nodes);
    root = nodes_take(&d->nodes);
    d->nodes.at[root] = (struct node){.pos = POSITION_END};
    d->half[0][0] = d->half[0][1] = BUDDY_ABSENT;
    d->half[root][0] = BUDDY_ABSENT;
    d->half[root][1] = BUDDY_WALL;
    nodes_add_block(&d->nodes, root);
    d->total = 0;
    d->used = 0;
    d->orders = 0;
    for (unsigned order = 0; order <= BUDDY_ORDER_MAX; order++)
        d->head[order] = 0;
}

static void destroy(struct buddy *d, const struct allot_meta *meta)
{
    if (d->half)
        meta->resize(meta->ctx, d->half, d->half_capacity * sizeof(*d->half), 0);
    nodes_deinit(&d->nodes);
    meta->resize(meta->ctx, d, sizeof(*d), 0);
}

static int buddy_create(const struct allot_meta *meta, struct allot_byte **ret)
{
    struct buddy *d = meta->resize(meta->ctx, NULL, 0, sizeof(*d));

    if (!d)
        return ALLOT_E_NO_MEMORY;
    d->half = NULL;
    d->half_capacity = 0;
    if (!nodes_init(&d->nodes, meta) || !reserve(d, 1)) {
        destroy(d, meta);
        return ALLOT_E_NO_MEMORY;
    }
    d->base.ops = &allot_buddy;
    forget(d);
    *ret = &d->base;
    return 0;
}

static void buddy_destroy(struct allot_byte *b)
{
    struct buddy *d = buddy_of(b);
    struct allot_meta meta;

    if (!b)
        return;
    meta = d->nodes.meta;
    destroy(d, &meta);
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

/* The order of the largest block that starts at `pos` and does not pass `end`. */
static unsigned piece_order(uint64_t pos, uint64_t end)
{
    unsigned fits = 63u - (unsigned)__builtin_clzll(end - pos);
    unsigned starts = pos ? (unsigned)__builtin_ctzll(pos) : BUDDY_ORDER_MAX;

    return fits < starts ? fits : starts;
}

/* Makes [start, end), all of it `from`, `to`. RANGE_PAIRS are reserved. */
static void range_set(struct buddy *d, uint64_t start, uint64_t end, uint32_t from, uint32_t to)
{
    while (start < end) {
        unsigned want = piece_order(start, end), order;
        uint32_t i = locate(d, start, &order);

        if (from == BUDDY_FREE)
            list_remove(d, i, order);
        i = cut(d, i, start, order, want, from);
        merge(d, i, NULL, start, want, to);
        start += UINT64_C(1) << want;
    }
}

static int buddy_add_memory(struct allot_byte *b, uint64_t start, uint64_t size)
{
    struct buddy *d = buddy_of(b);
    uint64_t end;
    int err = cut_inwards(&start, size, &end);

    if (err)
        return err;
    for (uint64_t pos = start; pos < end;) {
        unsigned want = piece_order(pos, end), order;
        uint32_t i;

        if (state_at(d, pos, &i, &order) != BUDDY_ABSENT || order < want)
            return ALLOT_E_OVERLAP;
        pos += UINT64_C(1) << want;
    }
    if (!reserve(d, RANGE_PAIRS))
        return ALLOT_E_NO_MEMORY;
    range_set(d, start, end, BUDDY_ABSENT, BUDDY_FREE);
    d->total += end - start;
    return 0;
}

static int buddy_init(struct allot_byte *b, uint64_t start, uint64_t size)
{
    struct buddy *d = buddy_of(b);
    uint64_t end;
    int err = cut_inwards(&start, size, &end);

    if (err)
        return err;
    forget(d); /* the pairs are reserved, unless there was nothing to forget */
    return buddy_add_memory(b, start, end - start);
}

static int buddy_take_back(struct allot_byte *b, uint64_t near, uint64_t granule,
                           uint64_t *ret_start, uint64_t *ret_size)
{
    struct buddy *d = buddy_of(b);
    uint64_t start, end;
    unsigned order;
    uint32_t i;

    if (!ALLOT_IS_POW2(granule))
        return ALLOT_E_INVALID;
    if (state_at(d, near, &i, &order) != BUDDY_FREE)
        return ALLOT_E_NOT_ALLOCATED;
    /* A run is of a block of each order on either side at most. */
    start = near >> order << order;
    end = start + (UINT64_C(1) << order);
    while (start && state_at(d, start - 1, &i, &order) == BUDDY_FREE)
        start -= UINT64_C(1) << order;
    while (state_at(d, end, &i, &order) == BUDDY_FREE)
        end += UINT64_C(1) << order;
    granule = granule > NODE_GRANULE ? granule : NODE_GRANULE;
    start = ALLOT_ALIGN_UP(start, granule);
    end = ALLOT_ALIGN_DOWN(end, granule);
    if (start >= end)
        return ALLOT_E_NOT_ALLOCATED;
    /* As many for the cut as for an add_memory() that undoes it. */
    if (!reserve(d, 2 * RANGE_PAIRS))
        return ALLOT_E_NO_MEMORY;
    range_set(d, start, end, BUDDY_FREE, BUDDY_ABSENT);
    d->total -= end - start;
    *ret_start = start;
    *ret_size = end - start;
    return 0;
}

/* Blocks. */

static inline uint64_t free_pos(const struct buddy *d, uint32_t i)
{
    uint64_t middle = d->nodes.at[i].pos, size = middle & (0 - middle);

    return d->half[i][1] == BUDDY_FREE ? middle : middle - size;
}

/* A pair whose free half, of the order told, starts at a multiple of `align`; 0 if there is none.
 */
static uint32_t find_aligned(const struct buddy *d, unsigned want, uint64_t align,
                             unsigned *ret_order)
{
    const struct node *at = d->nodes.at;
    unsigned aligned = (unsigned)__builtin_ctzll(align);
    uint64_t larger = d->orders >> aligned << aligned;

    for (uint64_t orders = (d->orders ^ larger) >> want << want; orders; orders &= orders - 1) {
        unsigned order = (unsigned)__builtin_ctzll(orders), tries = ALIGNED_TRIES;

        *ret_order = order;
        for (uint32_t i = d->head[order]; i && tries; i = at[i].next, tries--)
            if (ALLOT_IS_ALIGNED(free_pos(d, i), align))
                return i;
    }
    if (!larger)
        return 0;
    *ret_order = (unsigned)__builtin_ctzll(larger);
    return d->head[*ret_order];
}

static int buddy_alloc(struct allot_byte *b, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    struct buddy *d = buddy_of(b);
    uint64_t orders, pos;
    unsigned want, order;
    uint32_t i;
    int err = round_request(size, align, &want);

    if (err)
        return err;
    orders = d->orders >> want << want;
    if (!orders)
        return ALLOT_E_NO_MEMORY;
    if (align >> want <= 1) {
        order = (unsigned)__builtin_ctzll(orders);
        i = d->head[order];
    } else {
        i = find_aligned(d, want, align, &order);
        if (!i)
            return ALLOT_E_NO_MEMORY;
    }
    if (order > want && !reserve(d, order - want))
        return ALLOT_E_NO_MEMORY;
    pos = free_pos(d, i);
    if (i == d->head[order])
        list_pop(d, i, order);
    else
        list_remove(d, i, order);
    i = cut(d, i, pos, order, want, BUDDY_FREE);
    d->half[i][buddy_side(pos, want)] = BUDDY_USED;
    d->used += UINT64_C(1) << want;
    *ret_pos = pos;
    return 0;
}

static int round_place(uint64_t pos, uint64_t size, uint64_t align, unsigned *ret_order)
{
    int err = round_request(size, align, ret_order);

    if (err)
        return err;
    size = UINT64_C(1) << *ret_order;
    if (!ALLOT_IS_ALIGNED(pos, align) || !ALLOT_IS_ALIGNED(pos, size) || pos >= POSITION_END)
        return ALLOT_E_INVALID;
    return 0;
}

static int buddy_footprint(const struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align,
                           uint64_t *ret_start, uint64_t *ret_size)
{
    unsigned order;
    int err = round_place(pos, size, align, &order);

    (void)b;
    if (err)
        return err;
    *ret_start = pos;
    *ret_size = UINT64_C(1) << order;
    return 0;
}

static int buddy_claim(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align)
{
    struct buddy *d = buddy_of(b);
    unsigned want, order;
    uint32_t i;
    int err = round_place(pos, size, align, &want);

    if (err)
        return err;
    if (state_at(d, pos, &i, &order) != BUDDY_FREE || order < want)
        return ALLOT_E_OVERLAP;
    if (order > want && !reserve(d, order - want))
        return ALLOT_E_NO_MEMORY;
    list_remove(d, i, order);
    i = cut(d, i, pos, order, want, BUDDY_FREE);
    d->half[i][buddy_side(pos, want)] = BUDDY_USED;
    d->used += UINT64_C(1) << want;
    return 0;
}

static int buddy_reserve(struct allot_byte *b, uint64_t blocks)
{
    struct buddy *d = buddy_of(b);

    if (blocks > UINT32_MAX || !reserve(d, (uint32_t)blocks))
        return ALLOT_E_NO_MEMORY;
    nodes_expect(&d->nodes, (uint32_t)blocks);
    return 0;
}

/* The link to the pair that has the block that alloc() returned at `pos` for `size` and `align`. */
static inline int find_block(const struct buddy *d, uint64_t pos, uint64_t size, uint64_t align,
                             unsigned *ret_order, uint32_t **ret_link)
{
    int err = round_request(size, align, ret_order);
    unsigned order = *ret_order;
    uint32_t *link;

    if (err)
        return err;
    if (pos & ((align - 1) | ((UINT64_C(1) << order) - 1)))
        return ALLOT_E_NOT_ALLOCATED;
    link = nodes_find(&d->nodes, pos | UINT64_C(1) << order);
    /* at[0] has no used half. */
    if (d->half[*link][buddy_side(pos, order)] != BUDDY_USED)
        return ALLOT_E_NOT_ALLOCATED;
    *ret_link = link;
    return 0;
}

static int buddy_dealloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align)
{
    struct buddy *d = buddy_of(b);
    unsigned order = 0;
    uint32_t *link;
    int err = find_block(d, pos, size, align, &order, &link);

    if (err)
        return err;
    d->used -= UINT64_C(1) << order;
    merge(d, *link, link, pos, order, BUDDY_FREE);
    return 0;
}

static int buddy_realloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align,
                         uint64_t new_size)
{
    struct buddy *d = buddy_of(b);
    unsigned order = 0, want;
    uint32_t *link, i, up;
    int err = round_request(new_size, align, &want);

    if (!err)
        err = find_block(d, pos, size, align, &order, &link);
    if (err)
        return err;
    i = *link;
    if (want < order) {
        if (!reserve(d, order - want))
            return ALLOT_E_NO_MEMORY;
        i = cut(d, i, pos, order, want, BUDDY_FREE);
    } else {
        /* The upper half must be free, and so not the block's, at each step up. */
        up = i;
        for (unsigned k = order; k < want; k++, up = d->nodes.at[up].link[1])
            if (d->half[up][1] != BUDDY_FREE)
                return ALLOT_E_NO_MEMORY;
        for (unsigned k = order; k < want; k++, i = up) {
            up = d->nodes.at[i].link[1];
            list_remove(d, i, k);
            pair_give(d, nodes_find(&d->nodes, d->nodes.at[i].pos));
        }
    }
    d->half[i][buddy_side(pos, want)] = BUDDY_USED;
    d->used += (UINT64_C(1) << want) - (UINT64_C(1) << order);
    return 0;
}

static int buddy_usable_size(const struct allot_byte *b, uint64_t pos, uint64_t *ret_size)
{
    unsigned order;
    uint32_t i;

    if (state_at(buddy_of(b), pos, &i, &order) != BUDDY_USED ||
        !ALLOT_IS_ALIGNED(pos, UINT64_C(1) << order))
        return ALLOT_E_NOT_ALLOCATED;
    *ret_size = UINT64_C(1) << order;
    return 0;
}

static uint64_t buddy_largest_free(const struct allot_byte *b)
{
    uint64_t orders = buddy_of(b)->orders;

    return orders ? UINT64_C(1) << (63 - __builtin_clzll(orders)) : 0;
}

static uint64_t buddy_total_bytes(const struct allot_byte *b)
{
    return buddy_of(b)->total;
}

static uint64_t buddy_used_bytes(const struct allot_byte *b)
{
    return buddy_of(b)->used;
}

static uint64_t buddy_available_bytes(const struct allot_byte *b)
{
    return buddy_of(b)->total - buddy_of(b)->used;
}

static uint64_t buddy_metadata_bytes(const struct allot_byte *b)
{
    const struct buddy *d = buddy_of(b);

    return sizeof(*d) + nodes_metadata_bytes(&d->nodes) +
           (uint64_t)d->half_capacity * sizeof(*d->half);
}

const struct allot_byte_ops allot_buddy = {
    .name = "buddy",
    .create = buddy_create,
    .destroy = buddy_destroy,
    .init = buddy_init,
    .add_memory = buddy_add_memory,
    .take_back = buddy_take_back,
    .alloc = buddy_alloc,
    .claim = buddy_claim,
    .reserve = buddy_reserve,
    .footprint = buddy_footprint,
    .dealloc = buddy_dealloc,
    .realloc = buddy_realloc,
    .usable_size = buddy_usable_size,
    .largest_free = buddy_largest_free,
    .total_bytes = buddy_total_bytes,
    .used_bytes = buddy_used_bytes,
    .available_bytes = buddy_available_bytes,
    .metadata_bytes = buddy_metadata_bytes,
    .check = buddy_check,
    .dump = buddy_dump,
};
