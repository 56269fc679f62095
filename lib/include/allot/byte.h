/* SPDX-License-Identifier: MIT */
/*
 * The byte family: blocks of any size at any power-of-two alignment.
 *
 * Positions are plain 64-bit numbers, never dereferenced: an offset in the daemon, an address in a
 * process. All metadata comes from the provider. Nothing here locks: one thread at a time, or the
 * caller's lock. Functions return 0 or a code of error.h; on failure nothing has changed.
 *
 * A user picks an implementation by its table (`allot_tlsf`) and knows only this header after that.
 */
#ifndef ALLOT_BYTE_H
#define ALLOT_BYTE_H

#include <stdint.h>

#include <allot/error.h>
#include <allot/meta.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct allot_byte {
    const struct allot_byte_ops *ops;
};

struct allot_byte_ops {
    const char *name; /* "tlsf", as in configuration files */

    /* Makes an empty allocator that manages nothing yet. ALLOT_E_NO_MEMORY without metadata. */
    int (*create)(const struct allot_meta *meta, struct allot_byte **ret);
    /* Gives all metadata back. NULL is allowed. */
    void (*destroy)(struct allot_byte *b);

    /* Forgets everything and manages [start, start+size). As add_memory() on a fresh allocator. */
    int (*init)(struct allot_byte *b, uint64_t start, uint64_t size);

    /*
     * Manages [start, start+size) as well, any number of times, in any order. Ends that are not
     * multiples of the implementation's granule are cut inwards. Ranges that touch are merged.
     * INVALID: nothing remains after cutting, or start+size exceeds 2^63. OVERLAP: part of it is
     * managed already.
     */
    int (*add_memory)(struct allot_byte *b, uint64_t start, uint64_t size);

    /*
     * Stops managing free memory: of the free run that contains `near`, the part whose ends are
     * multiples of `granule` (a power of two) leaves the allocator and is told. O(log n) where
     * `near` lies in the run that the last dealloc or refused realloc left. INVALID: granule not a
     * power of two. NOT_ALLOCATED: no such part, or `near` is not free. NO_MEMORY: no metadata.
     * If what was told, or its first part, is added again before anything else, that cannot fail.
     */
    int (*take_back)(struct allot_byte *b, uint64_t near, uint64_t granule, uint64_t *ret_start,
                     uint64_t *ret_size);

    /*
     * INVALID: size 0, align not a power of two, or the rounded size exceeds 2^64-1. NO_MEMORY: no
     * free run holds it; at an `align` above the granule also where no run is so long that it holds
     * it wherever the run starts, and a bounded number of shorter ones did not either. A request
     * for exactly largest_free() bytes with align 1 succeeds.
     */
    int (*alloc)(struct allot_byte *b, uint64_t size, uint64_t align, uint64_t *ret_pos);

    /*
     * For rebuilding: takes exactly the block that alloc() once returned for this size and align.
     * Claims may come in any order. INVALID: not a place that alloc() could have returned.
     * OVERLAP: part of it is taken or not managed.
     */
    int (*claim)(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align);

    /*
     * Makes room for the metadata of so many more blocks at once, which costs less than making it
     * as they come; a rebuild begins with it. NULL where it would not. NO_MEMORY: no metadata.
     */
    int (*reserve)(struct allot_byte *b, uint64_t blocks);

    /*
     * The range that must be managed before claim(pos, size, align) can succeed: the block with all
     * its rounding. INVALID as claim().
     */
    int (*footprint)(const struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align,
                     uint64_t *ret_start, uint64_t *ret_size);

    /*
     * Frees; never needs metadata memory. INVALID as alloc(). NOT_ALLOCATED, in every build, where
     * no block starts at `pos` or where `size` and `align` round to another block than the one
     * there.
     */
    int (*dealloc)(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align);

    /*
     * Resizes in place; a block never moves, since lib/ cannot copy. NO_MEMORY: the neighbour does
     * not allow it, or no metadata; the block is unchanged. NOT_ALLOCATED, INVALID as above.
     */
    int (*realloc)(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align,
                   uint64_t new_size);

    /* Bytes from `pos` that the block's owner may use: at least the size asked for. For those whose
     * free() knows no size: dealloc() and realloc() take it, with align 1, for the block's own. */
    int (*usable_size)(const struct allot_byte *b, uint64_t pos, uint64_t *ret_size);

    /* The largest size that alloc(size, 1) would grant now; 0 when full. */
    uint64_t (*largest_free)(const struct allot_byte *b);

    uint64_t (*total_bytes)(const struct allot_byte *b); /* managed = used + available */
    uint64_t (*used_bytes)(const struct allot_byte *b);  /* taken by blocks, rounding included */
    uint64_t (*available_bytes)(const struct allot_byte *b); /* free */
    uint64_t (*metadata_bytes)(const struct allot_byte *b);  /* held from the provider */

    /* Recounts every invariant. 0, or the line of the check that failed. O(everything). */
    int (*check)(const struct allot_byte *b);
    /* Visits all runs in rising order. O(everything); may sort, so not for hot paths. */
    int (*dump)(const struct allot_byte *b, allot_visit_fn *visit, void *ctx);
};

/* Two-Level Segregated Fit: M. Masmano et al., "TLSF: a New Dynamic Memory Allocator for Real-Time
 * Systems", ECRTS 2004. O(1). */
extern const struct allot_byte_ops allot_tlsf;

/* Binary buddies: K. C. Knowlton, "A Fast Storage Allocator", CACM 1965. A block is the power of
 * two from its size up, at a multiple of that. O(log n). */
extern const struct allot_byte_ops allot_buddy;

/* First fit in address order: each block at the lowest position that holds it. O(log n). */
extern const struct allot_byte_ops allot_first_fit;

/* Size classes in slabs, over an inner byte allocator: J. Bonwick, "The Slab Allocator", USENIX
 * 1994. O(1) beside the inner allocator's calls. A claim is also refused, with OVERLAP, where alloc
 * has divided its place for blocks of another size: rebuild before the first alloc. */
extern const struct allot_byte_ops allot_slab;

/* As allot_slab's create(), which is over TLSF (over first-fit in a build that has that and not
 * TLSF), over another: one that can place and claim blocks at any multiple of 16, of any such
 * size. */
int allot_slab_create(const struct allot_meta *meta, const struct allot_byte_ops *inner,
                      struct allot_byte **ret);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
