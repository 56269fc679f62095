/* SPDX-License-Identifier: MIT */
/*
 * The local heap: memory for one process, by pointers, over any byte allocator and any grower. It
 * is not heap.h, which composes a byte allocator with pages and knows no system: "local" because
 * what it hands out means nothing outside this process. It belongs to the target allot-heap.
 *
 * Metadata lies apart from the blocks, in ranges of the grower's own; malloc() is never called.
 * Functions return 0 or a code of error.h, and on failure nothing has changed.
 *
 *   allot_local         for one thread at a time
 *   allot_local_locked  the same under a lock
 *   allot_local_handle  a locked one that ends with its last reference
 */
#ifndef ALLOT_LOCAL_H
#define ALLOT_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <allot/byte.h>
#include <allot/grower.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* What a trace is told of: the heap's range grew or shrank, a block came, went, was resized in
 * place or could not be had. */
enum allot_local_event {
    ALLOT_LOCAL_GROW,
    ALLOT_LOCAL_SHRINK,
    ALLOT_LOCAL_ALLOC,
    ALLOT_LOCAL_FREE,
    ALLOT_LOCAL_RESIZE,
    ALLOT_LOCAL_REFUSE,
};

/* Called from inside the heap: it must not call the heap. */
typedef void allot_local_trace_fn(void *ctx, enum allot_local_event event, uint64_t start,
                                  uint64_t size);

#define ALLOT_LOCAL_META_CLASSES 48

struct allot_local_meta {
    struct allot_grower *grower;
    uint64_t chunks; /* chain of the ranges that small pieces are cut from */
    uint64_t next;   /* the rest of the first of them */
    uint64_t end;
    uint64_t spare[ALLOT_LOCAL_META_CLASSES]; /* chains of free pieces of 2^k bytes */
};

struct allot_local {
    struct allot_byte *bytes;
    struct allot_grower *grower;
    struct allot_local_meta meta;
    uint64_t keep;               /* so much and as much again may be free */
    bool gave_back;              /* since it last grew */
    allot_local_trace_fn *trace; /* NULL: nobody listens, which costs one branch */
    void *trace_ctx;
};

/* The free list, as its length and the bytes in it, and the whole. */
struct allot_local_stats {
    uint64_t length;
    uint64_t size;
    uint64_t total;
    uint64_t used;
    uint64_t metadata;
};

/* What must not be in the list of runs. Adjacents are free runs that touch: some algorithms keep
 * such, TLSF does not. */
struct allot_local_validity {
    uint64_t overlaps;
    uint64_t adjacents;
    uint64_t out_of_order;
};

/* `h` must not move afterwards. NO_MEMORY: no metadata. */
int allot_local_init(struct allot_local *h, const struct allot_byte_ops *ops,
                     struct allot_grower *grower);
/* Every block ends; all memory goes back to a grower that takes it. */
void allot_local_deinit(struct allot_local *h);

/* Size 0 gets a block of its own, as large as the smallest. INVALID: align not a power of two.
 * Nothing is said about the contents; zalloc() makes them zero. */
int allot_local_alloc(struct allot_local *h, size_t size, size_t align, void **ret);
int allot_local_zalloc(struct allot_local *h, size_t size, size_t align, void **ret);
/* Makes a block of the heap zero: by dropping its pages where it is large. Needs no lock. */
void allot_local_clear(const struct allot_local *h, void *ptr, size_t size);
/* NOT_ALLOCATED: no block starts there. */
int allot_local_free(struct allot_local *h, void *ptr);
/* Also NOT_ALLOCATED where `size` and `align` round to another block than the one there. */
int allot_local_free_sized(struct allot_local *h, void *ptr, size_t size, size_t align);
/* In place where it can be, at ptr's alignment; else the contents move to a multiple of 16. */
int allot_local_realloc(struct allot_local *h, void *ptr, size_t new_size, void **ret);
/* The same without the end: where *ret is not ptr, *ret_copy bytes are still to be copied there,
 * which needs no lock, and then ptr to be freed. */
int allot_local_realloc_start(struct allot_local *h, void *ptr, size_t new_size, void **ret,
                              size_t *ret_copy);
int allot_local_usable_size(const struct allot_local *h, const void *ptr, size_t *ret);
/* Memory for at least `size` bytes more, before it is needed. */
int allot_local_grow(struct allot_local *h, size_t size);

void allot_local_measure(const struct allot_local *h, struct allot_local_stats *ret);
void allot_local_validate(const struct allot_local *h, struct allot_local_validity *ret);
/* One line without an end, cut to `size` bytes with its 0; a `size` of 128 always does. */
void allot_local_stats_text(const struct allot_local_stats *stats, char *text, size_t size);
void allot_local_validity_text(const struct allot_local_validity *v, char *text, size_t size);

/* The lock spins for a while, then sleeps in the kernel. */
struct allot_local_locked {
    uint32_t word; /* 0 free, 1 held, 2 held and somebody sleeps */
    struct allot_local heap;
};

int allot_local_locked_init(struct allot_local_locked *l, const struct allot_byte_ops *ops,
                            struct allot_grower *grower);
void allot_local_locked_deinit(struct allot_local_locked *l);
int allot_local_locked_alloc(struct allot_local_locked *l, size_t size, size_t align, void **ret);
int allot_local_locked_zalloc(struct allot_local_locked *l, size_t size, size_t align, void **ret);
int allot_local_locked_free(struct allot_local_locked *l, void *ptr);
int allot_local_locked_free_sized(struct allot_local_locked *l, void *ptr, size_t size,
                                  size_t align);
int allot_local_locked_realloc(struct allot_local_locked *l, void *ptr, size_t new_size,
                               void **ret);
int allot_local_locked_usable_size(struct allot_local_locked *l, const void *ptr, size_t *ret);

/* For whoever needs several steps in one, and for fork(): hold before, release in the parent,
 * forget in the child, where no other thread is. */
void allot_local_hold(struct allot_local_locked *l);
void allot_local_release(struct allot_local_locked *l);
void allot_local_forget_holder(struct allot_local_locked *l);

/* A heap whose memory, its own state included, is the grower's. new() makes one reference. */
struct allot_local_handle;

int allot_local_handle_new(const struct allot_byte_ops *ops, struct allot_grower *grower,
                           struct allot_local_handle **ret);
struct allot_local_handle *allot_local_handle_ref(struct allot_local_handle *handle);
/* The last one ends the heap with every block. Returns NULL. */
struct allot_local_handle *allot_local_handle_unref(struct allot_local_handle *handle);
struct allot_local_locked *allot_local_handle_heap(struct allot_local_handle *handle);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
