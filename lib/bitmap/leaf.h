/* SPDX-License-Identifier: MIT */
/*
 * A leaf of a run map: 512 units, one bit each, 1 = free. Eight words, 64 bytes.
 *
 * Everything here works on whole words: a run is found, measured or changed without looking at
 * single bits. Offsets are units within the leaf, ends are exclusive. Nothing here allocates.
 */
#ifndef ALLOT_BITMAP_LEAF_H
#define ALLOT_BITMAP_LEAF_H

#include <stdbool.h>
#include <stdint.h>

#define LEAF_SHIFT 9
#define LEAF_UNITS (1U << LEAF_SHIFT)
#define LEAF_WORDS (LEAF_UNITS / 64)

struct leaf {
    uint64_t word[LEAF_WORDS];
};

/* The free runs of a stretch of units: at its start, the longest anywhere, at its end. */
struct run_sum {
    uint64_t prefix, longest, suffix;
};

/* Bits lo … hi-1; 0 <= lo < hi <= 64. */
static inline uint64_t leaf_mask(unsigned lo, unsigned hi)
{
    return (~0ULL >> (64 - (hi - lo))) << lo;
}

static inline void leaf_fill(struct leaf *l, unsigned from, unsigned to, bool free)
{
    unsigned i = from / 64, last = (to - 1) / 64;
    unsigned lo = from % 64;

    for (; i <= last; i++, lo = 0) {
        uint64_t mask = leaf_mask(lo, i == last ? (to - 1) % 64 + 1 : 64);

        l->word[i] = free ? l->word[i] | mask : l->word[i] & ~mask;
    }
}

/* Are all of [from, to) free, or all of them used? */
static inline bool leaf_is(const struct leaf *l, unsigned from, unsigned to, bool free)
{
    unsigned i = from / 64, last = (to - 1) / 64;
    unsigned lo = from % 64;

    for (; i <= last; i++, lo = 0) {
        uint64_t word = free ? ~l->word[i] : l->word[i];

        if (word & leaf_mask(lo, i == last ? (to - 1) % 64 + 1 : 64))
            return false;
    }
    return true;
}

/* The bits of `w` at which a run of at least `n` ones starts (towards higher bits); n <= 64. */
static inline uint64_t leaf_starts(uint64_t w, unsigned n)
{
    unsigned have = 1;

    while (have < n && w) {
        unsigned step = have < n - have ? have : n - have;

        w &= w >> step;
        have += step;
    }
    return w;
}

/* The longest run of ones in `w`, where it exceeds `best`; else `best`. */
static inline unsigned leaf_longer(uint64_t w, unsigned best)
{
    uint64_t starts = leaf_starts(w, best + 1), next;
    unsigned step = 1;

    if (!starts)
        return best;
    best++;
    for (; step <= best && (next = starts & (starts >> step)) != 0; step *= 2) {
        starts = next;
        best += step;
    }
    for (; step; step /= 2) {
        if (step <= best && (next = starts & (starts >> step)) != 0) {
            starts = next;
            best += step;
        }
    }
    return best;
}

static inline struct run_sum leaf_sum(const struct leaf *l)
{
    unsigned prefix = LEAF_UNITS, best = 0, run = 0;

    for (unsigned i = 0; i < LEAF_WORDS; i++) {
        uint64_t w = l->word[i];
        unsigned head, tail;

        if (w == ~0ULL) {
            run += 64;
            continue;
        }
        if (w == 0) {
            prefix = prefix == LEAF_UNITS ? run : prefix;
            best = run > best ? run : best;
            run = 0;
            continue;
        }
        head = (unsigned)__builtin_ctzll(~w);
        tail = (unsigned)__builtin_clzll(~w);
        run += head;
        if (prefix == LEAF_UNITS)
            prefix = run;
        if (run > best)
            best = run;
        if (head + tail + 2 + best < 64)
            best = leaf_longer(w, best);
        run = tail;
    }
    return (struct run_sum){prefix, run > best ? run : best, run};
}

/* How many units right before `at` are free. */
static inline unsigned leaf_free_before(const struct leaf *l, unsigned at)
{
    unsigned i = at / 64, count = at % 64;
    uint64_t used;

    if (count) {
        used = ~l->word[i] << (64 - count);
        if (used)
            return (unsigned)__builtin_clzll(used);
    }
    for (; i-- > 0; count += 64) {
        used = ~l->word[i];
        if (used)
            return count + (unsigned)__builtin_clzll(used);
    }
    return count;
}

/* How many units from `at` on are free. */
static inline unsigned leaf_free_from(const struct leaf *l, unsigned at)
{
    unsigned count = 0;

    for (; at + count < LEAF_UNITS; count += 64 - (at + count) % 64) {
        uint64_t used = ~l->word[(at + count) / 64] >> ((at + count) % 64);

        if (used)
            return count + (unsigned)__builtin_ctzll(used);
    }
    return count;
}

/* Makes [from, to), which was all the other way and is not the whole leaf, free or used. Takes and
 * returns the leaf's sum. Only the runs beside it are looked at, unless the longest was cut. */
static inline struct run_sum leaf_change(struct leaf *l, struct run_sum sum, unsigned from,
                                         unsigned to, bool free)
{
    unsigned lo = from - leaf_free_before(l, from);
    unsigned hi = to + leaf_free_from(l, to);

    leaf_fill(l, from, to, free);
    if (!free && hi - lo == sum.longest && hi - lo < LEAF_UNITS)
        return leaf_sum(l);
    if (lo == 0)
        sum.prefix = free ? hi : from;
    if (hi == LEAF_UNITS)
        sum.suffix = LEAF_UNITS - (free ? lo : to);
    if (free && hi - lo > sum.longest)
        sum.longest = hi - lo;
    else if (!free && hi - lo == LEAF_UNITS)
        sum.longest = sum.prefix > sum.suffix ? sum.prefix : sum.suffix;
    return sum;
}

/* The lowest free unit; LEAF_UNITS when there is none. */
static inline unsigned leaf_first(const struct leaf *l)
{
    for (unsigned i = 0; i < LEAF_WORDS; i++) {
        if (l->word[i])
            return i * 64 + (unsigned)__builtin_ctzll(l->word[i]);
    }
    return LEAF_UNITS;
}

/* Where the lowest run of at least `n` free units starts; LEAF_UNITS when there is none. */
static inline unsigned leaf_find(const struct leaf *l, uint64_t n)
{
    unsigned run = 0;

    for (unsigned i = 0; i < LEAF_WORDS; i++) {
        uint64_t w = l->word[i];

        if (w == ~0ULL) {
            run += 64;
            if (run >= n)
                return i * 64 + 64 - run;
            continue;
        }
        if (run + (unsigned)__builtin_ctzll(~w) >= n)
            return i * 64 - run;
        if (n < 64) {
            uint64_t starts = leaf_starts(w, (unsigned)n);

            if (starts)
                return i * 64 + (unsigned)__builtin_ctzll(starts);
        }
        run = (unsigned)__builtin_clzll(~w);
    }
    return LEAF_UNITS;
}

/* The end of the run of like units that starts at `from`; LEAF_UNITS at most. */
static inline unsigned leaf_run_end(const struct leaf *l, unsigned from)
{
    unsigned i = from / 64;
    bool free = l->word[i] >> (from % 64) & 1;
    uint64_t other = (free ? ~l->word[i] : l->word[i]) & (~0ULL << (from % 64));

    while (!other && ++i < LEAF_WORDS)
        other = free ? ~l->word[i] : l->word[i];
    return other ? i * 64 + (unsigned)__builtin_ctzll(other) : LEAF_UNITS;
}

#endif
