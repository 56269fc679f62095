/* SPDX-License-Identifier: MIT */
/*
 * Bins: free runs by size, for TLSF.
 *
 * Two levels of classes as in the paper: up to 128 KiB one bin for each multiple of 16 bytes, above
 * it 32 bins for each power of two; a bitmap of the bins that are not empty, under a summary of
 * three words, finds the next of them by two bit scans.
 *
 * A bin of one size is a doubly linked list. A wide bin is a trie over the node indices that is
 * also a heap by size: its root is its largest run. So an own-bin look is one comparison, a
 * request for exactly the largest run is never lost to rounding, and no number of runs in one bin
 * makes anything slower than the 32 levels that an index can have.
 *
 * Invariants: bit b of the map is set exactly when head[b] is not 0, bit w of the summary when word
 * w of the map is not. Bin 0 stays empty.
 */
#ifndef ALLOT_BYTE_BINS_H
#define ALLOT_BYTE_BINS_H

#include <stdint.h>

#include "nodes.h"

#define BINS_EXACT     8192u /* bins below are of one size, bin * 16 bytes */
#define BINS_EXACT_LOG 13u
#define BINS_EXACT_END ((uint64_t)BINS_EXACT * NODE_GRANULE) /* sizes below have such a bin */
#define BINS_SPLIT_LOG 5u
#define BINS_SPLIT     (1u << BINS_SPLIT_LOG)
#define BINS_GRANULES  59u /* log2 of the largest size, 2^63 bytes, in granules */
#define BINS_COUNT     (BINS_EXACT + BINS_SPLIT * (BINS_GRANULES - BINS_EXACT_LOG + 1))
#define BINS_WORDS     ((BINS_COUNT + 63) / 64)
#define BINS_SUMMARY   ((BINS_WORDS + 63) / 64)

struct bins {
    uint64_t summary[BINS_SUMMARY];
    uint64_t map[BINS_WORDS];
    uint32_t head[BINS_COUNT];
};

static inline void bins_clear(struct bins *b)
{
    for (uint32_t i = 0; i < BINS_SUMMARY; i++)
        b->summary[i] = 0;
    for (uint32_t i = 0; i < BINS_WORDS; i++)
        b->map[i] = 0;
    for (uint32_t i = 0; i < BINS_COUNT; i++)
        b->head[i] = 0;
}

static inline uint32_t bins_of(uint64_t size)
{
    uint64_t granules = size / NODE_GRANULE;
    uint32_t log;

    if (granules < BINS_EXACT)
        return (uint32_t)granules;
    log = 63u ^ (uint32_t)__builtin_clzll(granules);
    /* The shift leaves the leading 1 and the bits that choose among the 32. */
    return BINS_EXACT - BINS_SPLIT * (BINS_EXACT_LOG + 1) + BINS_SPLIT * log +
           (uint32_t)(granules >> (log - BINS_SPLIT_LOG));
}

/* The first bin from `bin` up that is not empty; 0 if there is none. */
static inline uint32_t bins_up(const struct bins *b, uint32_t bin)
{
    uint32_t word = bin / 64;
    uint64_t bits = b->map[word] & (~UINT64_C(0) << (bin % 64));

    if (!bits) {
        uint32_t part = word / 64;
        uint64_t words = b->summary[part] & (~UINT64_C(1) << (word % 64));

        while (!words) {
            if (++part == BINS_SUMMARY)
                return 0;
            words = b->summary[part];
        }
        word = part * 64 + (uint32_t)__builtin_ctzll(words);
        bits = b->map[word];
    }
    return word * 64 + (uint32_t)__builtin_ctzll(bits);
}

/* The last bin from `bin` down that is not empty; 0 if there is none. */
static inline uint32_t bins_down(const struct bins *b, uint32_t bin)
{
    uint32_t word = bin / 64;
    uint64_t bits = b->map[word] & (~UINT64_C(0) >> (63 - bin % 64));

    if (!bits) {
        uint32_t part = word / 64;
        uint64_t words = b->summary[part] & ((UINT64_C(1) << (word % 64)) - 1);

        while (!words) {
            if (!part)
                return 0;
            words = b->summary[--part];
        }
        word = part * 64 + 63u - (uint32_t)__builtin_clzll(words);
        bits = b->map[word];
    }
    return word * 64 + 63u - (uint32_t)__builtin_clzll(bits);
}

/* The first bin whose head is a free run of `size` bytes or more, at most 2^63; 0 if there is none.
 */
static inline uint32_t bins_find(const struct bins *b, const struct node *at, uint64_t size)
{
    uint32_t bin = bins_of(size);

    /* at[0] has a size of 0. */
    if (bin >= BINS_EXACT && node_size(at, b->head[bin]) < size)
        bin++;
    return bins_up(b, bin);
}

/* The size of the largest run of a bin; 0 of bin 0. */
static inline uint64_t bins_size(const struct bins *b, const struct node *at, uint32_t bin)
{
    return bin < BINS_EXACT ? bin * NODE_GRANULE : node_size(at, b->head[bin]);
}

static inline uint64_t bins_largest(const struct bins *b, const struct node *at)
{
    return bins_size(b, at, bins_down(b, BINS_COUNT - 1));
}

static inline void bins_fill(struct bins *b, uint32_t bin)
{
    uint32_t word = bin / 64;
    uint64_t bits = b->map[word];

    if (__builtin_expect(!bits, 0))
        b->summary[word / 64] |= UINT64_C(1) << (word % 64);
    b->map[word] = bits | UINT64_C(1) << (bin % 64);
}

/* Clears the bit of a bin that was not empty, if it is now. No branch: which of both is as good as
 * random. That a whole word becomes empty is rare. */
static inline void bins_drain(struct bins *b, uint32_t bin, bool is_empty)
{
    uint32_t word = bin / 64;
    uint64_t bits = b->map[word] ^ (uint64_t)is_empty << (bin % 64);

    b->map[word] = bits;
    if (__builtin_expect(!bits, 0))
        b->summary[word / 64] ^= UINT64_C(1) << (word % 64);
}

/* Puts `i` where its size says on the way that its index says, lowest bit first; whom it displaces
 * goes on down its own way, which is the same up to there. */
static inline void bins_trie_insert(struct node *at, uint32_t *link, uint32_t i)
{
    uint32_t way = i;
    uint64_t size = node_size(at, i);

    for (uint32_t bit = 1; *link; bit <<= 1) {
        uint32_t here = *link;
        uint64_t here_size = node_size(at, here);

        if (size > here_size) {
            at[i].link[0] = at[here].link[0];
            at[i].link[1] = at[here].link[1];
            *link = i;
            way = here;
            link = &at[i].link[(way & bit) != 0];
            i = here;
            size = here_size;
        } else {
            link = &at[here].link[(way & bit) != 0];
        }
    }
    *link = i;
    at[i].link[0] = 0;
    at[i].link[1] = 0;
}

/* The larger child moves up, again and again, until the gap is at a leaf. */
static inline void bins_trie_remove(struct node *at, uint32_t *link, uint32_t i)
{
    uint32_t child[2] = {at[i].link[0], at[i].link[1]};

    for (uint32_t bit = 1; *link != i; bit <<= 1)
        link = &at[*link].link[(i & bit) != 0];
    while (child[0] || child[1]) {
        /* at[0] has a size of 0: any run is larger than no child. */
        uint32_t side = node_size(at, child[1]) > node_size(at, child[0]);
        uint32_t up = child[side], other = child[!side];

        *link = up;
        link = &at[up].link[side];
        child[0] = at[up].link[0];
        child[1] = at[up].link[1];
        at[up].link[!side] = other;
    }
    *link = 0;
}

static __attribute__((noinline)) int bins_insert_wide(struct bins *b, struct node *at, uint32_t i,
                                                      uint32_t bin)
{
    bins_trie_insert(at, &b->head[bin], i);
    bins_fill(b, bin);
    return 0;
}

static __attribute__((noinline)) void bins_remove_wide(struct bins *b, struct node *at, uint32_t i,
                                                       uint32_t bin)
{
    bins_trie_remove(at, &b->head[bin], i);
    bins_drain(b, bin, !b->head[bin]);
}

/* The inserting ones return 0, so that who calls them last need not come back. */
static inline int bins_insert_exact(struct bins *b, struct node *at, uint32_t i, uint32_t bin)
{
    /* The links of at[0] are written to, never read. */
    uint32_t head = b->head[bin];

    at[i].link[0] = 0;
    at[i].link[1] = head;
    at[head].link[0] = i;
    b->head[bin] = i;
    bins_fill(b, bin);
    return 0;
}

static inline void bins_remove_exact(struct bins *b, struct node *at, uint32_t i, uint32_t bin)
{
    uint32_t prev = at[i].link[0], next = at[i].link[1], *link = &b->head[bin];

    at[next].link[0] = prev;
    link = prev ? &at[prev].link[1] : link;
    *link = next;
    bins_drain(b, bin, !(prev | next));
}

/* `size` is the run's, whose neighbours say so already. */
static inline int bins_insert(struct bins *b, struct node *at, uint32_t i, uint64_t size)
{
    uint32_t bin = bins_of(size);

    return bin < BINS_EXACT ? bins_insert_exact(b, at, i, bin) : bins_insert_wide(b, at, i, bin);
}

/* `size` is what the run had when it was inserted. */
static inline void bins_remove(struct bins *b, struct node *at, uint32_t i, uint64_t size)
{
    uint32_t bin = bins_of(size);

    if (bin < BINS_EXACT)
        bins_remove_exact(b, at, i, bin);
    else
        bins_remove_wide(b, at, i, bin);
}

/* Takes the first run out of a bin of one size that is not empty. */
static inline uint32_t bins_pop(struct bins *b, struct node *at, uint32_t bin)
{
    uint32_t i = b->head[bin], next = at[i].link[1];

    at[next].link[0] = 0;
    b->head[bin] = next;
    bins_drain(b, bin, !next);
    return i;
}

#endif
