/* SPDX-License-Identifier: MIT */
/*
 * Growers: where the heap of one process gets its memory from. A grower hands out ranges of
 * addresses that may be read and written at once, and are zero.
 *
 * Sizes are multiples of ALLOT_GROWER_GRANULE for the two that map, of 16 for the fixed buffer.
 * Functions return 0 or a code of error.h; on failure nothing has changed. The two that map may be
 * called by several threads at once and leave errno alone but for the libc one; a fixed buffer is
 * for one thread at a time, or the caller's lock.
 */
#ifndef ALLOT_GROWER_H
#define ALLOT_GROWER_H

#include <stddef.h>
#include <stdint.h>

#include <allot/error.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A multiple of every page size of Linux on x86-64 and aarch64, so that nobody has to ask. */
#define ALLOT_GROWER_GRANULE UINT64_C(65536)

struct allot_grower {
    const struct allot_grower_ops *ops;
};

struct allot_grower_ops {
    const char *name;
    uint64_t granule;

    /* A fresh range that starts at a multiple of `align`, a power of two. INVALID: size 0 or no
     * multiple of the granule, or align not a power of two. NO_MEMORY. */
    int (*grow)(struct allot_grower *g, uint64_t size, uint64_t align, uint64_t *ret_start);

    /* Gives back any part, also of several ranges that touch. NULL: this grower takes nothing back.
     * NO_MEMORY: the system refused; the range is as it was. */
    int (*shrink)(struct allot_grower *g, uint64_t start, uint64_t size);

    /* Makes a range that grow() or resize() returned, whole, longer or shorter; it may move with
     * what it holds. What is new is zero. NULL: cannot. */
    int (*resize)(struct allot_grower *g, uint64_t start, uint64_t size, uint64_t new_size,
                  uint64_t *ret_start);

    /* Makes a part zero and lets the system have its memory meanwhile. NULL: cannot. */
    int (*discard)(struct allot_grower *g, uint64_t start, uint64_t size);
};

/* mmap by system calls of its own, without a line of libc. */
extern struct allot_grower allot_grower_raw;
/* mmap by libc. */
extern struct allot_grower allot_grower_libc;

/* A buffer of the caller's, from its front; nothing of it comes back. */
struct allot_grower_fixed {
    struct allot_grower base;
    uint64_t next;
    uint64_t end;
};

/* `buffer` is zero and outlives `g`. Its ends are cut to multiples of 16. */
void allot_grower_fixed_init(struct allot_grower_fixed *g, void *buffer, size_t size);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
