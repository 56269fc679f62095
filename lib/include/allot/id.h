/* SPDX-License-Identifier: MIT */
/*
 * The ID family: numbers, alone or in ranges. The same rules as in byte.h. IDs are below 2^48;
 * memory is in proportion to the IDs in use, not to the size of the space.
 */
#ifndef ALLOT_ID_H
#define ALLOT_ID_H

#include <stdbool.h>
#include <stdint.h>

#include <allot/error.h>
#include <allot/meta.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct allot_id {
    const struct allot_id_ops *ops;
};

struct allot_id_ops {
    const char *name;

    int (*create)(const struct allot_meta *meta, struct allot_id **ret);
    void (*destroy)(struct allot_id *d); /* NULL is allowed */

    /* Forgets everything and manages the IDs [first, first+count). */
    int (*init)(struct allot_id *d, uint64_t first, uint64_t count);
    /* Manages more. INVALID: count 0 or the end exceeds 2^48. OVERLAP: partly managed already. */
    int (*add_memory)(struct allot_id *d, uint64_t first, uint64_t count);

    /* `count` consecutive IDs, the first a multiple of `align` (a power of two): the lowest such
     * run, except that with align above 1 a higher one may be taken where many misaligned runs lie
     * before it. INVALID: count 0 or align not a power of two. NO_MEMORY: no such run is free. */
    int (*alloc_id)(struct allot_id *d, uint64_t count, uint64_t align, uint64_t *ret_first);
    /* Exactly [first, first+count); also the claim for rebuilding. INVALID: count 0 or out of the
     * managed ranges. OVERLAP: one of them is taken. NO_MEMORY. */
    int (*alloc_fixed_id)(struct allot_id *d, uint64_t first, uint64_t count);
    /* IDs taken at once, a part of them, or several such. INVALID: count 0. NOT_ALLOCATED: one of
     * them is not taken; nothing is freed. NO_MEMORY, for metadata, only where an end of the run is
     * not an end of something that was taken: giving back what was taken cannot fail. */
    int (*dealloc_id)(struct allot_id *d, uint64_t first, uint64_t count);
    bool (*is_allocated)(const struct allot_id *d, uint64_t id); /* false out of range */

    uint64_t (*size)(const struct allot_id *d); /* managed = used + available */
    uint64_t (*used)(const struct allot_id *d);
    uint64_t (*available)(const struct allot_id *d);
    uint64_t (*largest_free)(const struct allot_id *d);
    uint64_t (*metadata_bytes)(const struct allot_id *d);

    int (*check)(const struct allot_id *d);
    int (*dump)(const struct allot_id *d, allot_visit_fn *visit, void *ctx);
};

extern const struct allot_id_ops allot_bitmap_ids;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
