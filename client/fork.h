/* SPDX-License-Identifier: MIT */
/*
 * Which process this is, for the price of a load.
 *
 * fork_generation() gives a number that no other process made from this one by fork or clone has;
 * fork_here() tells whether a number is still this process's.
 */
#ifndef ALLOT_FORK_H
#define ALLOT_FORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The wiped page's first word; set before the first generation is given out. */
extern _Atomic(uint64_t) *fork_word;

/* SYSTEM where the kernel has no MADV_WIPEONFORK (Linux 4.14). */
int fork_generation(uint64_t *ret);

static inline bool fork_here(uint64_t generation)
{
    return atomic_load_explicit(fork_word, memory_order_relaxed) == generation;
}

#endif
