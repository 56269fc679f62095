/* SPDX-License-Identifier: MIT */
/*
 * Metadata memory. The allocators keep no state in the memory that they manage; what they need for
 * themselves they take from a provider that the caller hands over. The provider outlives the
 * allocator and is copied into it.
 */
#ifndef ALLOT_META_H
#define ALLOT_META_H

#include <stddef.h>

struct allot_meta {
    /*
     * As realloc(3), with the old size told: `ptr` NULL (old_size 0) takes new memory, `new_size` 0
     * gives back and returns NULL. The result is aligned to 16 bytes; bytes past `old_size` are
     * undefined. NULL for a `new_size` above 0 means failure; the old memory then stays as it was.
     */
    void *(*resize)(void *ctx, void *ptr, size_t old_size, size_t new_size);
    void *ctx;
};

/* What _dump() tells of: one run of positions, in rising order, without gaps inside a range. */
enum allot_run_state { ALLOT_RUN_FREE, ALLOT_RUN_USED };

typedef void allot_visit_fn(void *ctx, unsigned long long start, unsigned long long size,
                            enum allot_run_state state);

#endif
