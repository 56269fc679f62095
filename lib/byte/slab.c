/* SPDX-License-Identifier: MIT */
/*
 * Slabs: small blocks in slots of equal size, everything else from an inner byte allocator.
 *
 * A slab is 32 KiB of the inner allocator's memory, naturally aligned, so that a position tells
 * where its slab would be, and a table (slabtable.h) whether there is one. It is divided into slots
 * of one size class, with a bitmap of the free ones. Alloc takes a free slot of the first slab that
 * has one: the slot freed last if it can, else the lowest. Dealloc sets a bit. A slab whose last
 * block goes is returned to the inner allocator, except that each class keeps one empty slab as its
 * spare, so that a block that comes and goes alone costs no slab each time. All spares go back
 * before anything is refused, told or taken that they could stand in the way of: to a user they are
 * free memory like any other, and at most a slab a class. take_back() alone lets those stay that
 * lie beside what it is asked for.
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
 * only if it has a free slot. No slab is without users: an empty one is its class's spare, and the
 * class its only user. A spare may have come into use since.
 *
 * Locks: none. Limits: 2^30 slabs, and those of the inner allocator, which must be one that takes
 * any multiple of 16 for a place and a size: TLSF or first-fit.
 */
#include "slab.h"

#define NO_CLASS    SLAB_CLASSES
#define FINE_MAX    128u /* classes up to it are the multiples of the granule */
#define SPLIT       8u   /* classes a power of two */
#define ALIGN_SLACK 64u  /* a size below it may get a class of twice as much */
#define SIZE_LAST   (0 - (uint64_t)SLAB_GRANULE) /* is no error, and refused for ever */
#define NOINLINE    __attribute__((noinline))
#define HOT         __attribute__((aligned(64))) /* in as few cache lines as can be */
#define UNLIKELY(x) __builtin_expect(x, 0)

static inline struct slabs *slabs_of(const struct allot_byte *b)
{
    return (struct slabs *)(uintptr_t)b;
}

/* Rounded up; 0 for a size that cannot be rounded. */
static inline uint64_t granules_of(uint64_t size)
{
    return (size + SLAB_GRANULE - 1) / SLAB_GRANULE;
}

/* Classes. */

static void add_class(struct slabs *h, uint32_t size)
{
    uint32_t last = h->class_count ? h->class_size[h->class_count - 1] : 0;

    if (size == last)
        return; /* as rounding may have it */
    for (uint32_t i = last / SLAB_GRANULE + 1; i <= size / SLAB_GRANULE; i++)
        h->class_of[i] = (uint8_t)h->class_count;
    h->class_size[h->class_count++] = size;
}

static void make_classes(struct slabs *h)
{
    h->class_count = 0;
    for (uint32_t size = SLAB_GRANULE; size <= FINE_MAX; size += SLAB_GRANULE)
        add_class(h, size);
    for (uint32_t slots = (uint32_t)SLAB_SIZE / FINE_MAX; slots > SLAB_SIZE / SLAB_BLOCK_MAX;) {
        uint32_t below = 1u << (31 - __builtin_clz(slots - 1)); /* the next power of two */

        slots -= below > SPLIT ? below / SPLIT : 1;
        add_class(h, ALLOT_ALIGN_DOWN((uint32_t)SLAB_SIZE / slots, SLAB_GRANULE));
    }
    h->class_of[0] = (uint8_t)h->class_count; /* which has no slabs */
}

static NOINLINE uint32_t class_aligned(const struct slabs *h, uint64_t size, uint64_t align)
{
    uint64_t limit = 2 * (size > ALIGN_SLACK ? size : ALIGN_SLACK);
    uint32_t c;

    if (align > SLAB_BLOCK_MAX)
        return NO_CLASS;
    for (c = h->class_of[granules_of(size)]; c < h->class_count; c++) {
        if (h->class_size[c] > limit)
            return NO_CLASS;
        if (ALLOT_IS_ALIGNED(h->class_size[c], align))
            return c;
    }
    return NO_CLASS;
}

/* NO_CLASS also for a size or an alignment that is none. */
static inline uint32_t class_for(const struct slabs *h, uint64_t size, uint64_t align)
{
    if (size - 1 >= SLAB_BLOCK_MAX || !ALLOT_IS_POW2(align))
        return NO_CLASS;
    if (align > SLAB_GRANULE)
        return class_aligned(h, size, align);
    return h->class_of[granules_of(size)];
}

/* True if `align` is a power of two that divides the slab's slots. */
static inline bool aligns(const struct slab *slab, uint64_t align)
{
    return !((slab->size | align) & (align - 1));
}

/* True if the slab's is the class of such requests. Told without a look at the classes, and so not
 * where it is the alignment that makes the class. */
static inline bool fits(const struct slab *slab, uint64_t size, uint64_t align)
{
    return slab->size - size < slab->span && aligns(slab, align);
}

/* What the inner allocator is asked for where the block is no slot: a class's size also where the
 * alignment forbids the class, since usable_size() tells it to who frees without an alignment. */
static inline uint64_t inner_size(const struct slabs *h, uint64_t size, uint32_t class)
{
    if (class == NO_CLASS && size - 1 < SLAB_BLOCK_MAX)
        class = h->class_of[(size + SLAB_GRANULE - 1) / SLAB_GRANULE];
    return class == NO_CLASS ? size : h->class_size[class];
}

/* Slabs. */

static void list_push(struct slabs *h, struct slab *slab)
{
    struct slab **head = &h->partial[slab->class];

    slab->next = *head;
    (*head)->prev = slab;
    *head = slab;
}

static void list_remove(struct slabs *h, struct slab *slab)
{
    struct slab **head = &h->partial[slab->class];

    if (*head == slab) {
        *head = slab->next;
    } else {
        slab->prev->next = slab->next;
        slab->next->prev = slab->prev;
    }
}

static bool is_empty(const struct slabs *h, const struct slab *slab)
{
    return slab->users == 1 && h->spare[slab->class] == slab;
}

/* Gives an empty slab back to the inner allocator. */
static void slab_release(struct slabs *h, struct slab *slab)
{
    uint64_t pos = slab->pos;

    if (h->spare[slab->class] == slab)
        h->spare[slab->class] = NULL;
    list_remove(h, slab);
    slab_table_remove(&h->table, slab);
    if (h->last == slab)
        h->last = &h->table.none;
    h->inner->ops->dealloc(h->inner, pos, SLAB_SIZE, SLAB_SIZE); /* cannot fail: it is there */
}

/* True if there were empty ones. */
static NOINLINE bool release_spares(struct slabs *h)
{
    uint64_t before = h->table.count;

    for (uint32_t c = 0; c < h->class_count; c++)
        if (h->spare[c] && is_empty(h, h->spare[c]))
            slab_release(h, h->spare[c]);
    return h->table.count < before;
}

static NOINLINE int inner_alloc(struct slabs *h, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    int err = h->inner->ops->alloc(h->inner, size, align, ret_pos);

    if (err == ALLOT_E_NO_MEMORY && release_spares(h))
        err = h->inner->ops->alloc(h->inner, size, align, ret_pos);
    return err;
}

/* Makes a slab for the class, whose list is empty. */
static bool slab_make(struct slabs *h, uint32_t class)
{
    uint32_t size = h->class_size[class], count = (uint32_t)SLAB_SIZE / size;
    struct slab *slab;
    uint64_t pos;

    if (!slab_table_reserve(&h->table) || inner_alloc(h, SLAB_SIZE, SLAB_SIZE, &pos))
        return false;
    slab = slab_table_add(&h->table, pos);
    slab->size = size;
    slab->inverse = UINT32_MAX / size + 1;
    slab->span = size - (class ? h->class_size[class - 1] : 0);
    slab->count = (uint16_t)count;
    slab->class = (uint16_t) class;
    slab->recent_pos = pos;
    slab->recent_word = slab->map;
    slab->recent_bit = 1;
    for (uint32_t slot = 0; slot < count; slot += 64) {
        slab->summary |= UINT64_C(1) << slot / 64;
        slab->map[slot / 64] = ~UINT64_C(0) >> (count - slot < 64 ? 64 - (count - slot) : 0);
    }
    list_push(h, slab);
    return true;
}

/* The slab has lost its last user. 0, so that who calls it last need not come back. */
static NOINLINE int slab_unused(struct slabs *h, struct slab *slab)
{
    struct slab **spare = &h->spare[slab->class];

    if (*spare && is_empty(h, *spare)) {
        slab_release(h, slab);
        return 0;
    }
    if (*spare)
        (*spare)->users--;
    slab->users = 1;
    *spare = slab;
    return 0;
}

/* Slots. */

static inline uint64_t slot_pos(const struct slab *slab, uint32_t slot)
{
    return slab->pos + slot * slab->size;
}

/* True if a slot starts at `pos`. The offset times the reciprocal is, in units of 2^32, the slot
 * and how far into it; a whole number of slots leaves less than one reciprocal (D. Lemire et al.,
 * "Faster remainder by direct computation", 2019). */
static inline bool slot_at(const struct slab *slab, uint64_t pos, uint32_t *ret_slot)
{
    uint64_t product = pos % SLAB_SIZE * slab->inverse;

    *ret_slot = (uint32_t)(product >> 32);
    return (uint32_t)product < slab->inverse && *ret_slot < slab->count;
}

static inline bool slot_is_free(const struct slab *slab, uint32_t slot)
{
    return slab->map[slot / 64] >> (slot % 64) & 1;
}

/* True if a block starts at `pos`. */
static inline bool slot_is_used(const struct slab *slab, uint64_t pos, uint32_t *ret_slot)
{
    return slot_at(slab, pos, ret_slot) && !slot_is_free(slab, *ret_slot);
}

/* Without a branch, however the compiler sees it. */
static inline struct slab *choose(bool first, struct slab *a, struct slab *b)
{
    uintptr_t mask = 0 - (uintptr_t)first;

    return (struct slab *)(((uintptr_t)a & mask) | ((uintptr_t)b & ~mask));
}

/* The word of the slab's map has no free slot any more. */
static NOINLINE int word_emptied(struct slabs *h, struct slab *slab, const uint64_t *word)
{
    slab->summary &= ~(UINT64_C(1) << (word - slab->map));
    if (slab_is_large(slab) || !slab->summary)
        list_remove(h, slab);
    return 0;
}

/* A slot of the word was freed, and it is the first free one, or the last used one of its slab. */
static NOINLINE int word_filled(struct slabs *h, struct slab *slab, const uint64_t *word)
{
    if (!slab->summary)
        list_push(h, slab);
    slab->summary |= UINT64_C(1) << (word - slab->map);
    return slab->users ? 0 : slab_unused(h, slab);
}

/* `left` is the word without the slot. */
static inline int slot_take(struct slabs *h, struct slab *slab, uint64_t *word, uint64_t left)
{
    *word = left;
    slab->users++;
    h->filled += slab->size;
    return UNLIKELY(!left) ? word_emptied(h, slab, word) : 0;
}

/* The slot need not be used. */
static inline int slot_give(struct slabs *h, struct slab *slab, uint64_t *word, uint64_t bit)
{
    uint64_t old = *word;

    if (old & bit)
        return ALLOT_E_NOT_ALLOCATED;
    *word = old | bit;
    h->filled -= slab->size;
    slab->users--;
    if (UNLIKELY(!slab->users))
        return word_filled(h, slab, word);
    return UNLIKELY(!old) ? word_filled(h, slab, word) : 0;
}

/* Life. */

static void forget(struct slabs *h)
{
    h->last = &h->table.none;
    h->filled = 0;
    for (uint32_t c = 0; c < SLAB_CLASSES; c++) {
        h->partial[c] = &h->table.none;
        h->spare[c] = NULL;
    }
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
    if (!slab_table_init(&h->table, meta)) {
        inner->destroy(h->inner);
        meta->resize(meta->ctx, h, sizeof(*h), 0);
        return ALLOT_E_NO_MEMORY;
    }
    h->base.ops = &allot_slab;
    make_classes(h);
    forget(h);
    *ret = &h->base;
    return 0;
}

static void slab_destroy(struct allot_byte *b)
{
    struct slabs *h = slabs_of(b);
    struct allot_meta meta;

    if (!b)
        return;
    meta = h->table.meta;
    h->inner->ops->destroy(h->inner);
    slab_table_deinit(&h->table);
    meta.resize(meta.ctx, h, sizeof(*h), 0);
}

static int slab_create(const struct allot_meta *meta, struct allot_byte **ret)
{
    /* Where the build has neither, it has TLSF for this alone, and nobody finds it by name. */
    return allot_slab_create(meta, ALLOT_TLSF || !ALLOT_FIRST_FIT ? &allot_tlsf : &allot_first_fit,
                             ret);
}

/* Ranges. */

static int slab_init(struct allot_byte *b, uint64_t start, uint64_t size)
{
    struct slabs *h = slabs_of(b);
    int err = h->inner->ops->init(h->inner, start, size);

    if (err)
        return err;
    slab_table_reset(&h->table);
    forget(h);
    return 0;
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
    struct slab *slab = slab_table_at(&h->table, near);

    if (!ALLOT_IS_POW2(granule))
        return ALLOT_E_INVALID;
    if (is_empty(h, slab))
        slab_release(h, slab);
    else if (slab != &h->table.none)
        return ALLOT_E_NOT_ALLOCATED;
    return h->inner->ops->take_back(h->inner, near, granule, ret_start, ret_size);
}

/* Blocks. */

/* From the first slab of a class of large blocks. Nothing here branches by what is as good as
 * random: whether the slot is its slab's last. */
static NOINLINE int alloc_large(struct slabs *h, struct slab *slab, uint64_t *ret_pos)
{
    struct slab **head = &h->partial[slab->class];
    uint64_t map = slab->map[0], left = map & (map - 1);

    *ret_pos = slot_pos(slab, (uint32_t)__builtin_ctzll(map));
    slab->map[0] = left;
    slab->users++;
    h->filled += slab->size;
    *head = choose(!left, slab->next, slab);
    return 0;
}

/* The lowest free slot. */
static NOINLINE int alloc_small(struct slabs *h, struct slab *slab, uint64_t *ret_pos)
{
    uint32_t first = (uint32_t)__builtin_ctzll(slab->summary);
    uint64_t *word = &slab->map[first], map = *word;

    *ret_pos = slot_pos(slab, first * 64 + (uint32_t)__builtin_ctzll(map));
    return slot_take(h, slab, word, map & (map - 1));
}

/* Any request. */
static NOINLINE int alloc_any(struct slabs *h, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    uint32_t c = class_for(h, size, align);

    if (c == NO_CLASS || (h->partial[c] == &h->table.none && !slab_make(h, c)))
        return inner_alloc(h, inner_size(h, size, c), align, ret_pos);
    if (slab_is_large(h->partial[c]))
        return alloc_large(h, h->partial[c], ret_pos);
    return alloc_small(h, h->partial[c], ret_pos);
}

/* More than the small classes have. */
static NOINLINE int alloc_above(struct slabs *h, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    struct slab *slab;

    if (size > SLAB_BLOCK_MAX)
        return inner_alloc(h, size, align, ret_pos);
    slab = h->partial[h->class_of[granules_of(size)]];
    if (!slab->map[0] || !aligns(slab, align))
        return alloc_any(h, size, align, ret_pos);
    return alloc_large(h, slab, ret_pos);
}

static HOT int slab_alloc(struct allot_byte *b, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    struct slabs *h = slabs_of(b);
    uint64_t *word, map, bit;
    struct slab *slab;

    if (UNLIKELY(size > SLAB_SMALL_MAX))
        return alloc_above(h, size, align, ret_pos);
    slab = h->partial[h->class_of[granules_of(size)]];
    if (UNLIKELY(!aligns(slab, align)))
        return alloc_any(h, size, align, ret_pos);
    word = slab->recent_word;
    map = *word;
    bit = slab->recent_bit;
    if (UNLIKELY(!(map & bit)))
        return slab->summary ? alloc_small(h, slab, ret_pos) : alloc_any(h, size, align, ret_pos);
    *ret_pos = slab->recent_pos;
    return slot_take(h, slab, word, map ^ bit);
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
    uint32_t c = class_for(h, size, align), slot;
    int err = slab_footprint(b, pos, size, align, &pos, &size);
    struct slab *slab = slab_table_at(&h->table, pos);

    if (err)
        return err;
    if (slab != &h->table.none && slab->class == c && slot_at(slab, pos, &slot) &&
        slot_is_free(slab, slot)) {
        uint64_t *word = &slab->map[slot / 64];

        return slot_take(h, slab, word, *word ^ UINT64_C(1) << (slot % 64));
    }
    err = h->inner->ops->claim(h->inner, pos, size, align);
    if (err == ALLOT_E_OVERLAP && release_spares(h))
        err = h->inner->ops->claim(h->inner, pos, size, align);
    return err;
}

/* Without branches as alloc_large(). */
static NOINLINE int dealloc_large(struct slabs *h, struct slab *slab, uint64_t pos)
{
    struct slab **head = &h->partial[slab->class], *first = *head;
    uint64_t map = slab->map[0];
    bool was_full = !map;
    uint32_t slot;

    if (!slot_at(slab, pos, &slot) || map >> slot & 1)
        return ALLOT_E_NOT_ALLOCATED;
    slab->map[0] = map | UINT64_C(1) << slot;
    slab->next = choose(was_full, first, slab->next);
    choose(was_full, first, &h->table.none)->prev = slab;
    *head = choose(was_full, slab, first);
    h->filled -= slab->size;
    slab->users--;
    return UNLIKELY(!slab->users) ? slab_unused(h, slab) : 0;
}

static inline int dealloc_in(struct slabs *h, struct slab *slab, uint64_t pos)
{
    uint32_t slot;

    if (slab_is_large(slab))
        return dealloc_large(h, slab, pos);
    if (!slot_at(slab, pos, &slot))
        return ALLOT_E_NOT_ALLOCATED;
    h->last = slab;
    slab->recent_pos = pos;
    slab->recent_word = &slab->map[slot / 64];
    slab->recent_bit = UINT64_C(1) << (slot % 64);
    return slot_give(h, slab, slab->recent_word, slab->recent_bit);
}

/* Any block, or none; `slab` is the one at `pos`. */
static NOINLINE int dealloc_any(struct slabs *h, uint64_t pos, uint64_t size, uint64_t align,
                                struct slab *slab)
{
    uint32_t c = class_for(h, size, align);
    uint64_t rounded;

    if (slab == &h->table.none)
        return h->inner->ops->dealloc(h->inner, pos, inner_size(h, size, c), align);
    if (c != NO_CLASS)
        return slab->class == c ? dealloc_in(h, slab, pos) : ALLOT_E_NOT_ALLOCATED;
    if (!size || !ALLOT_IS_POW2(align) || !allot_align_up(size, SLAB_GRANULE, &rounded))
        return ALLOT_E_INVALID;
    return ALLOT_E_NOT_ALLOCATED;
}

/* Not the block found last. Where a slab is, the inner allocator has a block of that size and no
 * other, so a larger or smaller one is refused there as exactly as here. */
static NOINLINE int dealloc_other(struct slabs *h, uint64_t pos, uint64_t size, uint64_t align)
{
    uint64_t granules = granules_of(size);
    struct slab *slab = h->last;

    if (granules > granules_of(SLAB_BLOCK_MAX) && granules != granules_of(SLAB_SIZE))
        return h->inner->ops->dealloc(h->inner, pos, size, align);
    if (slab->pos != ALLOT_ALIGN_DOWN(pos, SLAB_SIZE))
        slab = slab_table_at(&h->table, pos);
    return fits(slab, size, align) ? dealloc_in(h, slab, pos)
                                   : dealloc_any(h, pos, size, align, slab);
}

static HOT int slab_dealloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align)
{
    struct slabs *h = slabs_of(b);
    struct slab *slab = h->last;

    if (slab->recent_pos != pos)
        return dealloc_other(h, pos, size, align);
    if (UNLIKELY(!fits(slab, size, align)))
        return dealloc_any(h, pos, size, align, slab);
    return slot_give(h, slab, slab->recent_word, slab->recent_bit);
}

static int slab_realloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align,
                        uint64_t new_size)
{
    struct slabs *h = slabs_of(b);
    uint32_t old = class_for(h, size, align), fresh, slot;
    struct slab *slab = slab_table_at(&h->table, pos);
    uint64_t rounded;
    int err;

    if (!size || !ALLOT_IS_POW2(align) || !new_size ||
        !allot_align_up(new_size, SLAB_GRANULE, &rounded))
        return ALLOT_E_INVALID;
    fresh = class_for(h, new_size, align);
    if (slab != &h->table.none) {
        if (slab->class != old || !slot_is_used(slab, pos, &slot))
            return ALLOT_E_NOT_ALLOCATED;
        if (fresh == old)
            return 0;
        /* What is behind the slab take_back() must find at once: see byte.h. */
        if (pos + slab->size == slab->pos + SLAB_SIZE)
            h->inner->ops->realloc(h->inner, slab->pos, SLAB_SIZE, SLAB_SIZE, SIZE_LAST);
        return ALLOT_E_NO_MEMORY;
    }
    size = inner_size(h, size, old);
    new_size = inner_size(h, new_size, fresh);
    err = h->inner->ops->realloc(h->inner, pos, size, align, new_size);
    if (err == ALLOT_E_NO_MEMORY && release_spares(h))
        err = h->inner->ops->realloc(h->inner, pos, size, align, new_size);
    return err;
}

static int slab_usable_size(const struct allot_byte *b, uint64_t pos, uint64_t *ret_size)
{
    struct slabs *h = slabs_of(b);
    const struct slab *slab = slab_table_at(&h->table, pos);
    uint32_t slot;

    if (slab == &h->table.none)
        return h->inner->ops->usable_size(h->inner, pos, ret_size);
    if (!slot_is_used(slab, pos, &slot))
        return ALLOT_E_NOT_ALLOCATED;
    *ret_size = slab->size;
    return 0;
}

/* Totals. */

static uint64_t slab_largest_free(const struct allot_byte *b)
{
    struct slabs *h = slabs_of(b);
    uint64_t largest;

    release_spares(h);
    largest = h->inner->ops->largest_free(h->inner);
    if (largest > SLAB_BLOCK_MAX)
        return largest;
    for (uint32_t c = h->class_count; c--;)
        if (h->partial[c] != &h->table.none || h->class_size[c] <= largest)
            return h->class_size[c];
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

    return h->inner->ops->used_bytes(h->inner) - h->table.count * SLAB_SIZE + h->filled;
}

static uint64_t slab_available_bytes(const struct allot_byte *b)
{
    return slab_total_bytes(b) - slab_used_bytes(b);
}

static uint64_t slab_metadata_bytes(const struct allot_byte *b)
{
    const struct slabs *h = slabs_of(b);

    return sizeof(*h) + slab_table_bytes(&h->table) + h->inner->ops->metadata_bytes(h->inner);
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
