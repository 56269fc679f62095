/* SPDX-License-Identifier: MIT */
/*
 * Alignment helpers. An alignment is a value in bytes (or pages, or IDs), a power of two; never an
 * exponent. The ALLOT_ macros are constant expressions when their arguments are; the functions
 * report overflow. All are pure and thread-safe.
 */
#ifndef ALLOT_ALIGN_H
#define ALLOT_ALIGN_H

#include <stdbool.h>
#include <stdint.h>

/* True for 1, 2, 4, … 2^63; false for 0. */
#define ALLOT_IS_POW2(x) ((x) != 0 && ((x) & ((x)-1)) == 0)

/* `align` must be a power of two; arguments are evaluated more than once. No mask is inverted, so
 * an `align` of a narrower type than `x` is right too. ALIGN_UP wraps past 2^64: use
 * allot_align_up() on unchecked input. */
#define ALLOT_ALIGN_DOWN(x, align) ((x) - ((x) & ((align)-1)))
#define ALLOT_ALIGN_UP(x, align)   ALLOT_ALIGN_DOWN((x) + ((align)-1), align)
#define ALLOT_IS_ALIGNED(x, align) (((x) & ((align)-1)) == 0)

/* Rounds up to a multiple of `align`. False, with *ret untouched, where the result exceeds 2^64-1.
 */
static inline bool allot_align_up(uint64_t x, uint64_t align, uint64_t *ret)
{
    uint64_t sum;

    if (__builtin_add_overflow(x, align - 1, &sum))
        return false;
    *ret = ALLOT_ALIGN_DOWN(sum, align);
    return true;
}

#endif
