/* SPDX-License-Identifier: MIT */
/*
 * A byte heap over a page allocator: the composition of which a pool is made. The page allocator
 * owns the region; the heap takes page runs from it when its byte allocator is full and returns
 * whole free runs. It knows the byte allocator by its table only.
 *
 * Growth, as in the original kernel: 32 KiB first; then max(next_pow2(max(total, size)), one page),
 * halved while the pages refuse it and the request would still fit. Back go whole free pages, once
 * twice of what is to be kept is free: 32 KiB or a quarter of what is used, the larger, in whole
 * pages; when nothing is used any more, all but one run of those 32 KiB (or one page, if that is
 * more) at once. Same rules as byte.h. The heap owns neither allocator; destroy it before them.
 */
#ifndef ALLOT_HEAP_H
#define ALLOT_HEAP_H

#include <stdbool.h>

#include <allot/byte.h>
#include <allot/page.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct allot_heap {
    struct allot_byte *bytes;
    struct allot_page *pages;
};

/* `bytes` manages nothing yet. */
void allot_heap_init(struct allot_heap *h, struct allot_byte *bytes, struct allot_page *pages);

/* As the byte table's operations of the same names. NO_MEMORY only after growing was tried, and
 * after trimming, where all that is free would be enough. A claim takes the pages it needs, as far
 * as they are not the heap's; INVALID where they are not managed.
 */
int allot_heap_alloc(struct allot_heap *h, uint64_t size, uint64_t align, uint64_t *ret_pos);
int allot_heap_claim(struct allot_heap *h, uint64_t pos, uint64_t size, uint64_t align);
int allot_heap_dealloc(struct allot_heap *h, uint64_t pos, uint64_t size, uint64_t align);
int allot_heap_realloc(struct allot_heap *h, uint64_t pos, uint64_t size, uint64_t align,
                       uint64_t new_size);

/* Gives free whole pages that the heap keeps back to the page allocator, for one that has refused:
 * the largest runs first, a bounded number. False if there were none. What is left of a run at its
 * ends, less than a page each, joins it no more. */
bool allot_heap_trim(struct allot_heap *h);

/* The largest size that allot_heap_alloc(size, 1) would grant now, from its own free memory or
 * from pages; where trimming joins free pages of both, more may be had. */
uint64_t allot_heap_largest_free(const struct allot_heap *h);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
