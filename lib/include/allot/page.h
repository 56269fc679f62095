/* SPDX-License-Identifier: MIT */
/*
 * The page family: runs of whole pages.
 *
 * The same rules as in byte.h: positions only, out-of-band metadata, no locks, 0 or a code of
 * error.h, nothing changed on failure. Positions are in bytes, counts in pages, alignments in
 * bytes. Positions and their ends stay below 2^48.
 */
#ifndef ALLOT_PAGE_H
#define ALLOT_PAGE_H

#include <stdint.h>

#include <allot/error.h>
#include <allot/meta.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct allot_page {
    const struct allot_page_ops *ops;
};

struct allot_page_ops {
    const char *name;

    /* Makes an empty allocator. INVALID: page_size is not a power of two of 4096 or more. */
    int (*create)(const struct allot_meta *meta, uint64_t page_size, struct allot_page **ret);
    void (*destroy)(struct allot_page *p); /* NULL is allowed */

    /* Forgets everything and manages [start, start+size). */
    int (*init)(struct allot_page *p, uint64_t start, uint64_t size);
    /* Manages more, any number of times. Ends are cut inwards to whole pages; touching ranges are
     * merged. INVALID: no page remains, or the end exceeds 2^48. OVERLAP: one of those pages is
     * managed already. */
    int (*add_memory)(struct allot_page *p, uint64_t start, uint64_t size);

    /*
     * `num` pages in one run whose position is a multiple of `align` (a power of two; values up to
     * the page size mean one page): the lowest such run, except that with a larger align a higher
     * one may be taken where many misaligned runs lie before it. INVALID: num 0 or align not a
     * power of two. NO_MEMORY: there is none.
     */
    int (*alloc_pages)(struct allot_page *p, uint64_t num, uint64_t align, uint64_t *ret_pos);
    /* Exactly the run at `base`; also the claim for rebuilding. INVALID: num 0, base not a multiple
     * of the page size, or out of the managed ranges. OVERLAP: a page of it is taken. NO_MEMORY. */
    int (*alloc_pages_at)(struct allot_page *p, uint64_t base, uint64_t num);
    /*
     * Frees `num` pages, which may be part of what was taken at once, or several such. INVALID: num
     * 0 or pos not a multiple of the page size. NOT_ALLOCATED: a page of the run is not taken;
     * nothing is freed. NO_MEMORY, for metadata, only where an end of the run is not an end of
     * something that was taken: giving back what was taken cannot fail.
     */
    int (*dealloc_pages)(struct allot_page *p, uint64_t pos, uint64_t num);

    uint64_t (*page_size)(const struct allot_page *p);    /* bytes */
    uint64_t (*largest_free)(const struct allot_page *p); /* pages in the longest free run */
    uint64_t (*total_pages)(const struct allot_page *p);  /* managed = used + available */
    uint64_t (*used_pages)(const struct allot_page *p);
    uint64_t (*available_pages)(const struct allot_page *p);
    uint64_t (*metadata_bytes)(const struct allot_page *p);

    int (*check)(const struct allot_page *p);                                  /* as in byte.h */
    int (*dump)(const struct allot_page *p, allot_visit_fn *visit, void *ctx); /* in bytes */
};

/*
 * One bit a page under a summary tree that carries, for each node, the free run at its start, the
 * longest inside and the free run at its end (as in M. Knyszek and A. Clements, "Scaling the Go
 * page allocator", 2019). O(log n) for a run of any length; memory for the added ranges only.
 */
extern const struct allot_page_ops allot_bitmap_pages;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
