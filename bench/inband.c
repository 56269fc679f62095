/* SPDX-License-Identifier: MIT */
/*
 * TLSF in the blocks.
 *
 * What it is: two-level segregated fit as M. Masmano et al. describe it ("TLSF: a New Dynamic
 * Memory Allocator for Real-Time Systems", ECRTS 2004). Each block starts with a header of 16
 * bytes, and a free one holds the links of its bin as well; both neighbours are found by adding or
 * following, and merged at once. A request is rounded up to the next bin, so that any block found
 * there fits, and nothing is searched. dealloc() believes what it is told.
 *
 * What it is not: an allocator to use. It is a yardstick: what the same algorithm costs on the same
 * machine where nothing is checked and metadata is in reach of those who write to the blocks.
 *
 * Invariants: no two free blocks touch. `prev` is told only where the block before is free. A used
 * block of size 0 ends the pool.
 */
#include "inband.h"

#include <stdbool.h>

#define GRANULE    16u
#define HEADER     16u
#define BLOCK_MIN  sizeof(struct block)
#define FREE       1u /* in a size */
#define PREV_FREE  2u
#define SPLIT_LOG  5u
#define SPLIT      (1u << SPLIT_LOG)
#define LINEAR_LOG 9u /* sizes below 512 have a bin each */
#define LEVELS     32u

struct block {
    struct block *prev; /* in address order */
    uint64_t size;      /* from header to header; the low bits are flags */
    struct block *next_in_bin;
    struct block *prev_in_bin;
};

struct inband {
    struct allot_byte base;
    struct allot_meta meta;
    struct block *first;
    struct block none; /* ends the bins' lists; written to and never read */
    uint64_t levels;   /* those with a bin that is not empty */
    uint32_t bins[LEVELS];
    struct block *head[LEVELS][SPLIT];
};

static struct inband *inband_of(const struct allot_byte *b)
{
    return (struct inband *)(uintptr_t)b;
}

static inline uint64_t size_of(const struct block *block)
{
    return block->size & ~(uint64_t)(GRANULE - 1);
}

static inline struct block *block_at(const struct block *block, uint64_t offset)
{
    return (struct block *)((uintptr_t)block + offset);
}

static inline uint32_t log_of(uint64_t size)
{
    return 63u ^ (uint32_t)__builtin_clzll(size);
}

static inline void bin_of(uint64_t size, uint32_t *ret_level, uint32_t *ret_bin)
{
    uint32_t log = log_of(size);

    if (log < LINEAR_LOG) {
        *ret_level = 0;
        *ret_bin = (uint32_t)size / GRANULE;
    } else {
        *ret_level = log - LINEAR_LOG + 1;
        *ret_bin = (uint32_t)(size >> (log - SPLIT_LOG)) % SPLIT;
    }
}

static inline void bin_insert(struct inband *t, struct block *block, uint64_t size)
{
    uint32_t level, bin;

    bin_of(size, &level, &bin);
    struct block *head = t->head[level][bin];
    block->next_in_bin = head;
    block->prev_in_bin = &t->none;
    head->prev_in_bin = block;
    t->head[level][bin] = block;
    t->bins[level] |= 1u << bin;
    t->levels |= UINT64_C(1) << level;
}

static inline void bin_pop(struct inband *t, uint32_t level, uint32_t bin, struct block *next)
{
    t->head[level][bin] = next;
    if (next != &t->none)
        return;
    t->bins[level] &= ~(1u << bin);
    if (!t->bins[level])
        t->levels &= ~(UINT64_C(1) << level);
}

static inline void bin_remove(struct inband *t, struct block *block)
{
    struct block *next = block->next_in_bin, *prev = block->prev_in_bin;
    uint32_t level, bin;

    bin_of(size_of(block), &level, &bin);
    next->prev_in_bin = prev;
    prev->next_in_bin = next;
    if (t->head[level][bin] == block)
        bin_pop(t, level, bin, next);
}

/* Takes a block of `size` bytes or more out of its bin; NULL if there is none. */
static inline struct block *bin_take(struct inband *t, uint64_t size)
{
    uint32_t level, bin, log = log_of(size);

    if (log >= LINEAR_LOG)
        size += (UINT64_C(1) << (log - SPLIT_LOG)) - 1;
    bin_of(size, &level, &bin);
    if (level >= LEVELS)
        return NULL;
    uint32_t bins = t->bins[level] & (~0u << bin);
    if (!bins) {
        uint64_t levels = t->levels & (~UINT64_C(1) << level);
        if (!levels)
            return NULL;
        level = (uint32_t)__builtin_ctzll(levels);
        bins = t->bins[level];
    }
    bin = (uint32_t)__builtin_ctz(bins);
    struct block *block = t->head[level][bin], *next = block->next_in_bin;
    next->prev_in_bin = &t->none;
    bin_pop(t, level, bin, next);
    return block;
}

static int inband_alloc(struct allot_byte *b, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    struct inband *t = inband_of(b);

    if (align > GRANULE)
        return ALLOT_E_INVALID;
    size = (size + HEADER + GRANULE - 1) & ~(uint64_t)(GRANULE - 1);
    if (size < BLOCK_MIN)
        size = BLOCK_MIN;
    struct block *block = bin_take(t, size);
    if (!block)
        return ALLOT_E_NO_MEMORY;
    uint64_t have = size_of(block);
    struct block *next = block_at(block, have);
    if (have - size >= BLOCK_MIN) {
        struct block *rest = block_at(block, size);
        rest->size = (have - size) | FREE;
        next->prev = rest;
        bin_insert(t, rest, have - size);
    } else {
        size = have;
        next->size &= ~(uint64_t)PREV_FREE;
    }
    block->size = size;
    *ret_pos = (uintptr_t)block + HEADER;
    return 0;
}

static int inband_dealloc(struct allot_byte *b, uint64_t pos, uint64_t unused_size,
                          uint64_t unused_align)
{
    struct inband *t = inband_of(b);
    struct block *block = (struct block *)(uintptr_t)(pos - HEADER);
    uint64_t size = size_of(block);
    struct block *next = block_at(block, size);

    (void)unused_size;
    (void)unused_align;
    if (block->size & PREV_FREE) {
        block = block->prev;
        bin_remove(t, block);
        size += size_of(block);
    }
    if (next->size & FREE) {
        bin_remove(t, next);
        size += size_of(next);
        next = block_at(next, size_of(next));
    }
    block->size = size | FREE;
    next->prev = block;
    next->size |= PREV_FREE;
    bin_insert(t, block, size);
    return 0;
}

static int inband_create(const struct allot_meta *meta, struct allot_byte **ret)
{
    struct inband *t = meta->resize(meta->ctx, NULL, 0, sizeof(*t));

    if (!t)
        return ALLOT_E_NO_MEMORY;
    t->base.ops = &bench_inband;
    t->meta = *meta;
    *ret = &t->base;
    return 0;
}

static void inband_destroy(struct allot_byte *b)
{
    struct inband *t = inband_of(b);

    if (b)
        t->meta.resize(t->meta.ctx, t, sizeof(*t), 0);
}

static int inband_init(struct allot_byte *b, uint64_t start, uint64_t size)
{
    struct inband *t = inband_of(b);

    if (start % GRANULE || size % GRANULE || size < BLOCK_MIN + HEADER)
        return ALLOT_E_INVALID;
    t->levels = 0;
    for (uint32_t level = 0; level < LEVELS; level++) {
        t->bins[level] = 0;
        for (uint32_t bin = 0; bin < SPLIT; bin++)
            t->head[level][bin] = &t->none;
    }
    t->first = (struct block *)(uintptr_t)start;
    size -= HEADER;
    block_at(t->first, size)->size = 0;
    t->first->size = size;
    return inband_dealloc(b, start + HEADER, 0, 0);
}

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what))                                                                               \
            return __LINE__;                                                                       \
    } while (0)

static int inband_check(const struct allot_byte *b)
{
    const struct inband *t = inband_of(b);
    const struct block *prev = NULL, *block = t->first;
    uint64_t free_blocks = 0, binned = 0;

    for (; size_of(block); prev = block, block = block_at(block, size_of(block))) {
        bool after_free = prev && prev->size & FREE;

        CHECK(size_of(block) >= BLOCK_MIN && after_free == !!(block->size & PREV_FREE));
        CHECK(!after_free || (block->prev == prev && !(block->size & FREE)));
        free_blocks += block->size & FREE;
    }
    for (uint32_t i = 0; i < LEVELS * SPLIT; i++) {
        uint32_t level = i / SPLIT, bin = i % SPLIT;
        const struct block *before = &t->none;

        CHECK((t->bins[level] >> bin & 1) == (t->head[level][bin] != &t->none));
        CHECK((t->levels >> level & 1) == (t->bins[level] != 0));
        for (block = t->head[level][bin]; block != &t->none; block = block->next_in_bin) {
            uint32_t its_level, its_bin;

            bin_of(size_of(block), &its_level, &its_bin);
            CHECK(block->size & FREE && block->prev_in_bin == before);
            CHECK(its_level == level && its_bin == bin && ++binned <= free_blocks);
            before = block;
        }
    }
    CHECK(binned == free_blocks);
    return 0;
}

const struct allot_byte_ops bench_inband = {
    .name = "in-band TLSF",
    .create = inband_create,
    .destroy = inband_destroy,
    .init = inband_init,
    .alloc = inband_alloc,
    .dealloc = inband_dealloc,
    .check = inband_check,
};
