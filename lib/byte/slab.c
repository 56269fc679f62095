/* SPDX-License-Identifier: MIT */
/*
 * Slabs: small blocks in slots of equal size, everything else from an inner byte allocator.
 *
 * A slab is 32 KiB of the inner allocator's memory, naturally aligned, so that a position tells
 * where its slab would be, and a hash whether there is one. It is divided into slots of one size
 * class, with a bitmap of the free ones. Alloc takes a free slot of the first slab that has
 * one, the slot freed last if it can, else the lowest; dealloc sets a bit. A slab whose last block
 * goes is returned to the inner allocator, except that one empty slab, whatever its class was, is
 * kept as the spare, so that a block that comes and goes alone costs no slab each time. The spare
 * goes back before anything is refused, told or taken that it stands in the way of: to a user it is
 * free memory like any other.
 *
 * Classes: the multiples of 16 bytes up to 128; above it a slab divided by whole numbers, eight to
 * a power of two (four for the last), so that little is left over at its end; up to 8 KiB.
 * A request gets the smallest class that is a multiple of its alignment. Larger requests, and those
 * whose alignment would make such a class more than twice what they need, go to the inner
 * allocator.
 *
 * A block of a class may also be a single: a block of the inner allocator that has the class's
 * size. Alloc makes one where there is no room for a slab, and claim makes one unless the block is
 * a slot of a slab that is there already. So all memory can be used to the last granule, what
 * claims need is the block and nothing around it, and their order does not matter. Singles that a
 * rebuild made cost as much metadata as the inner allocator's blocks until they are freed.
 *
 * It is not ordered by address, has no lists of blocks to free later, and moves nothing.
 *
 * Invariants: every slab is one block of the inner allocator. A slab is in its class's list if and
 * only if it has a free slot. At most one is empty, and that is the spare; the spare may have come
 * into use since.
 *
 * Locks: none. Limits: 2^31 slabs, and those of the inner allocator, which must be one that takes
 * any multiple of 16 for a place and a size: TLSF or first-fit.
 */
#include "slab.h"

#define NO_CLASS    SLAB_CLASSES
#define FINE_MAX    128u /* classes up to it are the multiples of the granule */
#define SPLIT       8u   /* classes a power of two */
#define ALIGN_SLACK 64u  /* a size below it may get a class of twice as much */

static inline struct slabs *slabs_of(const struct allot_byte *b)
{
    return (struct slabs *)(uintptr_t)b;
}

/* Classes. */

static void add_class(struct slabs *h, uint32_t size)
{
    struct slab_class *class = &h->class[h->class_count];
    uint32_t last = h->class_count ? h->class[h->class_count - 1].size : 0;

    if (size == last)
        return; /* as rounding may have it */
    class->size = size;
    class->slots = (uint32_t)SLAB_SIZE / size;
    for (uint32_t i = last / NODE_GRANULE + (last != 0); i <= size / NODE_GRANULE; i++)
        h->class_of[i] = (uint8_t)h->class_count;
    h->class_count++;
}

static void make_classes(struct slabs *h)
{
    h->class_count = 0;
    for (uint32_t size = NODE_GRANULE; size <= FINE_MAX; size += NODE_GRANULE)
        add_class(h, size);
    for (uint32_t slots = (uint32_t)SLAB_SIZE / FINE_MAX; slots > SLAB_SIZE / SLAB_BLOCK_MAX;) {
        uint32_t below = 1u << (31 - __builtin_clz(slots - 1)); /* the next power of two */

        slots -= below > SPLIT ? below / SPLIT : 1;
        add_class(h, ALLOT_ALIGN_DOWN((uint32_t)SLAB_SIZE / slots, NODE_GRANULE));
    }
}

static __attribute__((noinline)) uint32_t class_aligned(const struct slabs *h, uint64_t size,
                                                        uint64_t align)
{
    uint64_t limit = 2 * (size > ALIGN_SLACK ? size : ALIGN_SLACK);
    uint32_t c;

    if (align > SLAB_BLOCK_MAX)
        return NO_CLASS;
    for (c = h->class_of[(size + NODE_GRANULE - 1) / NODE_GRANULE]; c < h->class_count; c++) {
        if (h->class[c].size > limit)
            return NO_CLASS;
        if (ALLOT_IS_ALIGNED(h->class[c].size, align))
            return c;
    }
    return NO_CLASS;
}

/* A request whose class is told by its size alone. */
static inline bool is_plain(uint64_t size, uint64_t align)
{
    const uint32_t aligns = 1u << 1 | 1u << 2 | 1u << 4 | 1u << 8 | 1u << 16;

    return size - 1 < SLAB_BLOCK_MAX && align <= NODE_GRANULE && aligns >> align & 1;
}

/* Its slabs have one word of map. */
static inline bool is_large(const struct slab_class *class)
{
    return class->slots <= 64;
}

/* NO_CLASS also for a size or an alignment that is none. */
static inline uint32_t class_for(const struct slabs *h, uint64_t size, uint64_t align)
{
    if (__builtin_expect(size - 1 >= SLAB_BLOCK_MAX || !ALLOT_IS_POW2(align), 0))
        return NO_CLASS;
    if (__builtin_expect(align > NODE_GRANULE, 0))
        return class_aligned(h, size, align);
    return h->class_of[(size + NODE_GRANULE - 1) / NODE_GRANULE];
}

/* What the inner allocator is asked for where the block is no slot: a class's size also where the
 * alignment forbids the class, since usable_size() tells it to who frees without an alignment. */
static inline uint64_t inner_size(const struct slabs *h, uint64_t size, uint32_t class)
{
    if (class == NO_CLASS && size - 1 < SLAB_BLOCK_MAX)
        class = h->class_of[(size + NODE_GRANULE - 1) / NODE_GRANULE];
    return class == NO_CLASS ? size : h->class[class].size;
}

/* Slabs. */

/* 0 if `pos` is in none. */
static inline uint32_t slab_at(const struct slabs *h, uint64_t pos)
{
    return *nodes_find(&h->nodes, ALLOT_ALIGN_DOWN(pos, SLAB_SIZE));
}

static inline bool is_empty(const struct slabs *h, uint32_t s)
{
    return h->slots[s].free == h->slots[s].count;
}

static void list_push(struct slabs *h, uint32_t s)
{
    uint32_t *head = &h->class[h->slots[s].class].partial;

    h->slots[s].next = *head;
    h->slots[*head].prev = s; /* that of slots[0] is never read */
    *head = s;
}

static void list_remove(struct slabs *h, uint32_t s)
{
    uint32_t *head = &h->class[h->slots[s].class].partial;
    uint32_t prev = h->slots[s].prev, next = h->slots[s].next;

    if (*head == s) {
        *head = next;
    } else {
        h->slots[prev].next = next;
        h->slots[next].prev = prev;
    }
}

/* Divides empty slab `s`, which is in no list, and puts it into the class's. */
static void divide(struct slabs *h, uint32_t s, uint32_t class)
{
    struct slots *slots = &h->slots[s];
    uint32_t left = h->class[class].slots, word = 0;

    slots->class = (uint16_t) class;
    if (h->last_pos == h->nodes.at[s].pos)
        h->last_pos = LAST_NONE;
    slots->hint = 0;
    slots->pos = h->nodes.at[s].pos;
    slots->size = h->class[class].size;
    slots->inverse = UINT32_MAX / slots->size + 1;
    slots->count = (uint16_t)left;
    slots->free = (uint16_t)left;
    slots->summary = 0;
    for (; left >= 64; left -= 64, word++) {
        slots->map[word] = ~UINT64_C(0);
        slots->summary |= UINT64_C(1) << word;
    }
    if (left) {
        slots->map[word] = (UINT64_C(1) << left) - 1;
        slots->summary |= UINT64_C(1) << word++;
    }
    for (; word < SLAB_WORDS; word++)
        slots->map[word] = 0;
    list_push(h, s);
}

/* Gives empty slab `s` back to the inner allocator. */
static void slab_release(struct slabs *h, uint32_t s)
{
    uint64_t pos = h->nodes.at[s].pos;

    list_remove(h, s);
    nodes_drop_block(&h->nodes, nodes_find(&h->nodes, pos));
    nodes_give(&h->nodes, s);
    if (h->last_pos == pos)
        h->last_pos = LAST_NONE;
    h->inner->ops->dealloc(h->inner, pos, SLAB_SIZE, SLAB_SIZE); /* cannot fail: it is there */
}

/* The empty slab, if there is one; else 0. */
static uint32_t empty_slab(const struct slabs *h)
{
    return h->spare && is_empty(h, h->spare) ? h->spare : 0;
}

/* True if there was one. */
static bool release_spare(struct slabs *h)
{
    uint32_t s = empty_slab(h);

    h->spare = 0;
    if (s)
        slab_release(h, s);
    return s;
}

static void release_spare_in(struct slabs *h, uint64_t start, uint64_t size)
{
    uint32_t s = empty_slab(h);

    if (s && h->nodes.at[s].pos < start + size && start < h->nodes.at[s].pos + SLAB_SIZE)
        release_spare(h);
}

static bool reserve(struct slabs *h)
{
    void *slots;

    if (!nodes_reserve(&h->nodes, 1))
        return false;
    if (h->slots_capacity >= h->nodes.capacity)
        return true;
    slots =
        h->nodes.meta.resize(h->nodes.meta.ctx, h->slots, h->slots_capacity * sizeof(struct slots),
                             h->nodes.capacity * sizeof(struct slots));
    if (!slots)
        return false;
    h->slots = slots;
    h->slots_capacity = h->nodes.capacity;
    return true;
}

/* Makes a slab for the class, whose list is empty. */
static __attribute__((noinline)) bool slab_make(struct slabs *h, uint32_t class)
{
    uint32_t s = empty_slab(h);
    uint64_t pos;

    if (s) {
        list_remove(h, s);
        divide(h, s, class);
        return true;
    }
    if (h->inner->ops->largest_free(h->inner) < SLAB_SIZE || !reserve(h) ||
        h->inner->ops->alloc(h->inner, SLAB_SIZE, SLAB_SIZE, &pos))
        return false;
    s = nodes_take(&h->nodes);
    h->nodes.at[s].pos = pos;
    h->nodes.at[s].size = SLAB_SIZE;
    nodes_add_block(&h->nodes, s);
    divide(h, s, class);
    return true;
}

/* Slab `s` has no free slot in `word` any more. 0, so that who calls it last need not come back. */
static __attribute__((noinline)) int word_emptied(struct slabs *h, uint32_t s, uint32_t word)
{
    h->slots[s].summary &= ~(UINT64_C(1) << word);
    if (!h->slots[s].free)
        list_remove(h, s);
    return 0;
}

static inline int slot_take(struct slabs *h, uint32_t s, uint32_t slot)
{
    struct slots *slots = &h->slots[s];
    uint64_t left = slots->map[slot / 64] & ~(UINT64_C(1) << (slot % 64));

    slots->map[slot / 64] = left;
    h->filled += slots->size;
    slots->free--;
    return __builtin_expect(!left, 0) ? word_emptied(h, s, slot / 64) : 0;
}

/* Without a branch, however the compiler sees it. */
static inline uint32_t choose(bool first, uint32_t a, uint32_t b)
{
    uint32_t mask = 0u - (uint32_t)first;

    return (a & mask) | (b & ~mask);
}

/* True if a slot starts at `pos`. The offset times the reciprocal is, in units of 2^32, the slot
 * and how far into it; a whole number of slots leaves less than one reciprocal (D. Lemire et al.,
 * "Faster remainder by direct computation", 2019). */
static inline bool slot_at(const struct slots *slots, uint64_t pos, uint32_t *ret_slot)
{
    uint64_t product = pos % SLAB_SIZE * slots->inverse;

    *ret_slot = (uint32_t)(product >> 32);
    return (uint32_t)product < slots->inverse && *ret_slot < slots->count;
}

static inline bool slot_is_free(const struct slots *slots, uint32_t slot)
{
    return slots->map[slot / 64] >> (slot % 64) & 1;
}

/* True if a block starts at `pos`. */
static inline bool slot_is_used(const struct slots *slots, uint64_t pos, uint32_t *ret_slot)
{
    return slot_at(slots, pos, ret_slot) && !slot_is_free(slots, *ret_slot);
}

/* Life. */

static void forget(struct slabs *h)
{
    nodes_reset(&h->nodes);
    h->last_pos = LAST_NONE;
    h->spare = 0;
    h->filled = 0;
    for (uint32_t c = 0; c < h->class_count; c++)
        h->class[c].partial = 0;
}

int allot_slab_create(const struct allot_meta *meta, const struct allot_byte_ops *inner,
                      struct allot_byte **ret)
{
    struct slabs *h = meta->resize(meta->ctx, NULL, 0, sizeof(*h));

    if (!h)
        return ALLOT_E_NO_MEMORY;
    if (inner->create(meta, &h->inner)) {
        meta->resize(meta->ctx, h, sizeof(*h), 0);
        return ALLOT_E_NO_MEMORY;
    }
    if (!nodes_init(&h->nodes, meta)) {
        inner->destroy(h->inner);
        meta->resize(meta->ctx, h, sizeof(*h), 0);
        return ALLOT_E_NO_MEMORY;
    }
    h->base.ops = &allot_slab;
    h->slots = NULL;
    h->slots_capacity = 0;
    make_classes(h);
    forget(h);
    *ret = &h->base;
    return 0;
}

static int slab_create(const struct allot_meta *meta, struct allot_byte **ret)
{
    /* Where the build has neither, it has TLSF for this alone, and nobody finds it by name. */
    return allot_slab_create(meta, ALLOT_TLSF || !ALLOT_FIRST_FIT ? &allot_tlsf : &allot_first_fit,
                             ret);
}

static void slab_destroy(struct allot_byte *b)
{
    struct slabs *h = slabs_of(b);
    struct allot_meta meta;

    if (!b)
        return;
    meta = h->nodes.meta;
    h->inner->ops->destroy(h->inner);
    nodes_deinit(&h->nodes);
    if (h->slots)
        meta.resize(meta.ctx, h->slots, h->slots_capacity * sizeof(struct slots), 0);
    meta.resize(meta.ctx, h, sizeof(*h), 0);
}

/* Ranges. */

static int slab_init(struct allot_byte *b, uint64_t start, uint64_t size)
{
    struct slabs *h = slabs_of(b);
    int err = h->inner->ops->init(h->inner, start, size);

    if (!err)
        forget(h);
    return err;
}

static int slab_add_memory(struct allot_byte *b, uint64_t start, uint64_t size)
{
    struct slabs *h = slabs_of(b);

    return h->inner->ops->add_memory(h->inner, start, size);
}

static int slab_take_back(struct allot_byte *b, uint64_t near, uint64_t granule,
                          uint64_t *ret_start, uint64_t *ret_size)
{
    struct slabs *h = slabs_of(b);
    int err;

    if (!ALLOT_IS_POW2(granule))
        return ALLOT_E_INVALID;
    if (near < UINT64_MAX)
        release_spare_in(h, near, 1);
    err = h->inner->ops->take_back(h->inner, near, granule, ret_start, ret_size);
    if (err != ALLOT_E_NOT_ALLOCATED || slab_at(h, near) || !release_spare(h))
        return err;
    return h->inner->ops->take_back(h->inner, near, granule, ret_start, ret_size);
}

/* Blocks. */

/* A block of the inner allocator. */
static __attribute__((noinline)) int alloc_single(struct slabs *h, uint64_t size, uint64_t align,
                                                  uint64_t *ret_pos)
{
    int err = h->inner->ops->alloc(h->inner, size, align, ret_pos);

    if (err == ALLOT_E_NO_MEMORY && release_spare(h))
        err = h->inner->ops->alloc(h->inner, size, align, ret_pos);
    return err;
}

/* Of the many slots of small blocks that of the last dealloc is likely to be free still, and then
 * nothing has to wait for the map. */
static inline int slot_alloc_small(struct slabs *h, uint32_t s, uint64_t *ret_pos)
{
    struct slots *slots = &h->slots[s];
    uint32_t slot = slots->hint, word = slot / 64;
    uint64_t map = slots->map[word], bit = UINT64_C(1) << (slot % 64);

    if (!(map & bit)) {
        word = (uint32_t)__builtin_ctzll(slots->summary);
        map = slots->map[word];
        slot = word * 64 + (uint32_t)__builtin_ctzll(map);
        bit = map & (0 - map);
    }
    *ret_pos = slots->pos + slot * slots->size;
    slots->map[word] = map ^ bit;
    slots->free--;
    h->filled += slots->size;
    return __builtin_expect(map == bit, 0) ? word_emptied(h, s, word) : 0;
}

/* On the first slab of a class of large blocks. Nothing here branches by what is as good as random:
 * whether the slot is its slab's last. */
static __attribute__((noinline)) int slot_alloc_large(struct slabs *h, struct slab_class *class,
                                                      uint64_t *ret_pos)
{
    struct slots *slots = &h->slots[class->partial];
    uint64_t map = slots->map[0], left = map & (map - 1);

    *ret_pos = slots->pos + (uint32_t)__builtin_ctzll(map) * slots->size;
    slots->map[0] = left;
    slots->free--;
    h->filled += slots->size;
    class->partial = choose(!left, slots->next, class->partial);
    return 0;
}

static inline int slot_alloc(struct slabs *h, struct slab_class *class, uint64_t *ret_pos)
{
    if (is_large(class))
        return slot_alloc_large(h, class, ret_pos);
    return slot_alloc_small(h, class->partial, ret_pos);
}

/* Without a slab that has a free slot. */
static __attribute__((noinline)) int alloc_slow(struct slabs *h, uint64_t size, uint64_t align,
                                                uint64_t *ret_pos)
{
    uint32_t c = class_for(h, size, align);

    if (c != NO_CLASS && (h->class[c].partial || slab_make(h, c)))
        return slot_alloc(h, &h->class[c], ret_pos);
    return alloc_single(h, inner_size(h, size, c), align, ret_pos);
}

static int slab_alloc(struct allot_byte *b, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    struct slabs *h = slabs_of(b);
    struct slab_class *class;

    if (__builtin_expect(!is_plain(size, align), 0))
        return alloc_slow(h, size, align, ret_pos);
    class = &h->class[h->class_of[(size + NODE_GRANULE - 1) / NODE_GRANULE]];
    if (__builtin_expect(!class->partial, 0))
        return alloc_slow(h, size, align, ret_pos);
    return slot_alloc(h, class, ret_pos);
}

static int slab_footprint(const struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align,
                          uint64_t *ret_start, uint64_t *ret_size)
{
    const struct slabs *h = slabs_of(b);

    size = inner_size(h, size, class_for(h, size, align));
    return h->inner->ops->footprint(h->inner, pos, size, align, ret_start, ret_size);
}

static int slab_claim(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align)
{
    struct slabs *h = slabs_of(b);
    uint32_t c = class_for(h, size, align), s, slot;
    int err = slab_footprint(b, pos, size, align, &pos, &size);

    if (err)
        return err;
    s = slab_at(h, pos);
    if (s && h->slots[s].class == c) {
        if (slot_at(&h->slots[s], pos, &slot) && slot_is_free(&h->slots[s], slot))
            return slot_take(h, s, slot);
    }
    release_spare_in(h, pos, size);
    return h->inner->ops->claim(h->inner, pos, size, align);
}

/* A block of the inner allocator, or none. */
static __attribute__((noinline)) int dealloc_single(struct slabs *h, uint64_t pos, uint64_t size,
                                                    uint64_t align)
{
    uint64_t rounded;

    if (slab_at(h, pos) && size && ALLOT_IS_POW2(align) &&
        allot_align_up(size, NODE_GRANULE, &rounded))
        return ALLOT_E_NOT_ALLOCATED; /* a slab has no slots so large */
    size = inner_size(h, size, class_for(h, size, align));
    return h->inner->ops->dealloc(h->inner, pos, size, align);
}

/* Slab `s`, not the spare, has only free slots. */
static __attribute__((noinline)) int slab_emptied(struct slabs *h, uint32_t s)
{
    if (empty_slab(h))
        slab_release(h, s);
    else
        h->spare = s;
    return 0;
}

/* Slab `s` has its first free slot in `word`. */
static __attribute__((noinline)) int word_filled(struct slabs *h, uint32_t s, uint32_t word)
{
    struct slots *slots = &h->slots[s];

    if (slots->free == 1)
        list_push(h, s);
    slots->summary |= UINT64_C(1) << word;
    return slots->free == slots->count && s != h->spare ? slab_emptied(h, s) : 0;
}

static inline int slot_dealloc_small(struct slabs *h, uint32_t s, uint64_t pos)
{
    struct slots *slots = &h->slots[s];
    uint64_t map;
    uint32_t slot;

    if (!slot_is_used(slots, pos, &slot))
        return ALLOT_E_NOT_ALLOCATED;
    map = slots->map[slot / 64];
    slots->map[slot / 64] = map | UINT64_C(1) << (slot % 64);
    if (slots->hint != slot) /* a store that is not made delays no later load */
        slots->hint = (uint16_t)slot;
    h->filled -= slots->size;
    slots->free++;
    if (__builtin_expect(!map, 0))
        return word_filled(h, s, slot / 64);
    return slots->free == slots->count && s != h->spare ? slab_emptied(h, s) : 0;
}

/* For a class of large blocks: without branches as slot_alloc_large(). */
static inline int slot_dealloc_large(struct slabs *h, uint32_t s, uint64_t pos, uint32_t class)
{
    struct slots *slots = &h->slots[s];
    uint32_t *head = &h->class[class].partial, first = *head, slot;
    bool was_full;

    if (!slot_is_used(slots, pos, &slot))
        return ALLOT_E_NOT_ALLOCATED;
    was_full = !slots->map[0];
    slots->map[0] |= UINT64_C(1) << slot;
    slots->free++;
    h->filled -= slots->size;
    h->slots[choose(was_full, s, 0)].next = first;
    h->slots[choose(was_full, first, 0)].prev = s;
    *head = choose(was_full, s, first);
    return slots->free == slots->count && s != h->spare ? slab_emptied(h, s) : 0;
}

/* Any block but a small one of the last slab's. */
static __attribute__((noinline)) int dealloc_any(struct slabs *h, uint64_t pos, uint64_t size,
                                                 uint64_t align)
{
    uint32_t c = class_for(h, size, align), s = slab_at(h, pos);

    if (__builtin_expect(!s || c == NO_CLASS, 0))
        return dealloc_single(h, pos, size, align);
    if (h->slots[s].class != c)
        return ALLOT_E_NOT_ALLOCATED;
    if (is_large(&h->class[c]))
        return slot_dealloc_large(h, s, pos, c);
    h->last = s;
    h->last_class = c;
    h->last_pos = h->nodes.at[s].pos;
    return slot_dealloc_small(h, s, pos);
}

static int slab_dealloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align)
{
    struct slabs *h = slabs_of(b);
    uint32_t c;

    if (h->last_pos != ALLOT_ALIGN_DOWN(pos, SLAB_SIZE) ||
        __builtin_expect(!is_plain(size, align), 0))
        return dealloc_any(h, pos, size, align);
    c = h->class_of[(size + NODE_GRANULE - 1) / NODE_GRANULE];
    if (c != h->last_class)
        return dealloc_any(h, pos, size, align);
    return slot_dealloc_small(h, h->last, pos);
}

static int slab_realloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align,
                        uint64_t new_size)
{
    struct slabs *h = slabs_of(b);
    uint32_t c = class_for(h, size, align), s = slab_at(h, pos), fresh, slot;
    uint64_t rounded;

    if (!size || !ALLOT_IS_POW2(align) || !new_size ||
        !allot_align_up(new_size, NODE_GRANULE, &rounded))
        return ALLOT_E_INVALID;
    fresh = class_for(h, new_size, align);
    if (!s) {
        int err;

        size = inner_size(h, size, c);
        new_size = inner_size(h, new_size, fresh);
        err = h->inner->ops->realloc(h->inner, pos, size, align, new_size);
        if (err == ALLOT_E_NO_MEMORY && release_spare(h))
            err = h->inner->ops->realloc(h->inner, pos, size, align, new_size);
        return err;
    }
    if (h->slots[s].class != c || !slot_is_used(&h->slots[s], pos, &slot))
        return ALLOT_E_NOT_ALLOCATED;
    return fresh == c ? 0 : ALLOT_E_NO_MEMORY;
}

static int slab_usable_size(const struct allot_byte *b, uint64_t pos, uint64_t *ret_size)
{
    const struct slabs *h = slabs_of(b);
    uint32_t s = slab_at(h, pos), slot;

    if (!s)
        return h->inner->ops->usable_size(h->inner, pos, ret_size);
    if (!slot_is_used(&h->slots[s], pos, &slot))
        return ALLOT_E_NOT_ALLOCATED;
    *ret_size = h->class[h->slots[s].class].size;
    return 0;
}

/* Totals. */

static uint64_t slab_largest_free(const struct allot_byte *b)
{
    struct slabs *h = slabs_of(b);
    uint64_t largest;

    release_spare(h);
    largest = h->inner->ops->largest_free(h->inner);
    if (largest > SLAB_BLOCK_MAX)
        return largest;
    for (uint32_t c = h->class_count; c--;)
        if (h->class[c].partial || h->class[c].size <= largest)
            return h->class[c].size;
    return 0;
}

static uint64_t slab_total_bytes(const struct allot_byte *b)
{
    const struct slabs *h = slabs_of(b);

    return h->inner->ops->total_bytes(h->inner);
}

static uint64_t slab_used_bytes(const struct allot_byte *b)
{
    const struct slabs *h = slabs_of(b);

    return h->inner->ops->used_bytes(h->inner) - h->nodes.used * SLAB_SIZE + h->filled;
}

static uint64_t slab_available_bytes(const struct allot_byte *b)
{
    return slab_total_bytes(b) - slab_used_bytes(b);
}

static uint64_t slab_metadata_bytes(const struct allot_byte *b)
{
    const struct slabs *h = slabs_of(b);

    return sizeof(*h) + nodes_metadata_bytes(&h->nodes) + h->slots_capacity * sizeof(struct slots) +
           h->inner->ops->metadata_bytes(h->inner);
}

const struct allot_byte_ops allot_slab = {
    .name = "slab",
    .create = slab_create,
    .destroy = slab_destroy,
    .init = slab_init,
    .add_memory = slab_add_memory,
    .take_back = slab_take_back,
    .alloc = slab_alloc,
    .claim = slab_claim,
    .footprint = slab_footprint,
    .dealloc = slab_dealloc,
    .realloc = slab_realloc,
    .usable_size = slab_usable_size,
    .largest_free = slab_largest_free,
    .total_bytes = slab_total_bytes,
    .used_bytes = slab_used_bytes,
    .available_bytes = slab_available_bytes,
    .metadata_bytes = slab_metadata_bytes,
    .check = slabs_check,
    .dump = slabs_dump,
};
