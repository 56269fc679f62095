/* SPDX-License-Identifier: MIT */
/*
 * The local heap: a byte allocator whose memory comes from a grower, by pointers.
 *
 * It keeps no header at a block. Which blocks there are, and how large, the byte allocator knows:
 * a free looks the size up and then frees exactly that, so a wrong pointer is told and changes
 * nothing. It never touches a block but to copy or to clear it.
 *
 * Growing: by a quarter of all that it has, between 1 MiB and 64 MiB, or by the request if that is
 * more; halved while the grower refuses and the request would still fit. What is mapped and not
 * touched costs address space only.
 *
 * Giving back: when more is free than 2 MiB and than half of what is used, the run around a freed
 * block goes back, as far as it has whole pieces of 256 KiB, and then the largest runs, until that
 * is so no more. Smaller runs stay, because each hole costs the kernel a mapping, of which a
 * process may have 65,530. Each time the heap grows again after it gave back, those 2 MiB double,
 * up to 64 MiB: so a loop soon has what it needs, and maps and clears it no more.
 *
 * Invariant: what the byte allocator manages is what the grower gave and did not get back.
 *
 * Locks: none. Limits: those of the byte allocator.
 */
#include <stdbool.h>
#include <string.h>

#include <allot/align.h>
#include <allot/local.h>

#include "meta.h"
#include "trace.h"

#define GROW_MIN UINT64_C(1048576)
#define GROW_MAX UINT64_C(67108864)
#define KEEP_MIN UINT64_C(1048576) /* half of what may be free whatever is used */
#define KEEP_MAX UINT64_C(33554432)
#define BACK     UINT64_C(262144)

/* What a grower's ranges start at, at least: a page, or its granule if that is less. */
#define START_MAX UINT64_C(4096)

#define BLOCK_ALIGN 16u

static uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int allot_local_init(struct allot_local *h, const struct allot_byte_ops *ops,
                     struct allot_grower *grower)
{
    struct allot_meta meta = {meta_resize, &h->meta};
    int err;

    memset(h, 0, sizeof(*h));
    h->grower = grower;
    h->keep = KEEP_MIN;
    meta_init(&h->meta, grower);
    err = ops->create(&meta, &h->bytes);
    if (err)
        meta_deinit(&h->meta);
    return err;
}

struct ending {
    struct allot_grower *grower;
    uint64_t start;
    uint64_t size;
};

static void end_run(void *ctx, unsigned long long start, unsigned long long size,
                    enum allot_run_state state)
{
    struct ending *e = ctx;

    (void)state;
    if (e->size && e->start + e->size == start) {
        e->size += size;
        return;
    }
    if (e->size)
        (void)e->grower->ops->shrink(e->grower, e->start, e->size);
    e->start = start;
    e->size = size;
}

void allot_local_deinit(struct allot_local *h)
{
    struct ending e = {h->grower, 0, 0};

    if (h->grower->ops->shrink) {
        h->bytes->ops->dump(h->bytes, end_run, &e);
        end_run(&e, 0, 0, ALLOT_RUN_FREE);
    }
    h->bytes->ops->destroy(h->bytes);
    meta_deinit(&h->meta);
    h->bytes = NULL;
}

/* The smallest range that surely holds such a block, and the multiple that it must start at. */
static int least_range(const struct allot_local *h, uint64_t size, uint64_t align,
                       uint64_t *ret_size, uint64_t *ret_align)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t granule = h->grower->ops->granule, at = min64(granule, START_MAX), start, length;

    if (ops->footprint(h->bytes, 0, size, align, &start, ret_size) ||
        !allot_align_up(*ret_size, granule, ret_size))
        return ALLOT_E_NO_MEMORY; /* alloc() found nothing wrong with them but their size */
    /* What may start at an odd multiple of `at` may start at any multiple. */
    while (ops->footprint(h->bytes, at, size, align, &start, &length)) {
        if (at >> 48)
            return ALLOT_E_NO_MEMORY;
        at *= 2;
    }
    *ret_align = at;
    return 0;
}

static int grow(struct allot_local *h, uint64_t size, uint64_t align)
{
    const struct allot_grower_ops *grower = h->grower->ops;
    uint64_t total = h->bytes->ops->total_bytes(h->bytes), least, range_align, want, start;
    int err = least_range(h, size, align, &least, &range_align);

    if (err)
        return err;
    want = min64(max64(total / 4, GROW_MIN), GROW_MAX);
    want = max64(ALLOT_ALIGN_UP(want, grower->granule), least);
    while (grower->grow(h->grower, want, range_align, &start)) {
        if (want == least)
            return ALLOT_E_NO_MEMORY;
        want = max64(ALLOT_ALIGN_DOWN(want / 2, grower->granule), least);
    }
    err = h->bytes->ops->add_memory(h->bytes, start, want);
    if (err) {
        if (grower->shrink)
            (void)grower->shrink(h->grower, start, want);
        return err;
    }
    if (h->gave_back)
        __atomic_store_n(&h->keep, min64(2 * h->keep, KEEP_MAX), __ATOMIC_RELAXED);
    h->gave_back = false;
    TRACE(h, ALLOT_LOCAL_GROW, start, want);
    return 0;
}

int allot_local_grow(struct allot_local *h, size_t size)
{
    return size ? grow(h, size, BLOCK_ALIGN) : ALLOT_E_INVALID;
}

static inline bool has_too_much(const struct allot_local *h)
{
    const struct allot_byte_ops *ops = h->bytes->ops;

    return ops->available_bytes(h->bytes) > 2 * max64(h->keep, ops->used_bytes(h->bytes) / 4);
}

/* Where the largest free run is, the table tells by handing it out. */
static bool find_largest(struct allot_local *h, uint64_t *ret_pos)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t size = ops->largest_free(h->bytes);

    return size >= BACK && !ops->alloc(h->bytes, size, 1, ret_pos) &&
           !ops->dealloc(h->bytes, *ret_pos, size, 1);
}

static __attribute__((noinline)) void give_back(struct allot_local *h, uint64_t near)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t start, size;

    do {
        if (ops->take_back(h->bytes, near, BACK, &start, &size))
            return;
        if (h->grower->ops->shrink(h->grower, start, size)) {
            (void)ops->add_memory(h->bytes, start, size); /* cannot fail after take_back() */
            return;
        }
        h->gave_back = true;
        TRACE(h, ALLOT_LOCAL_SHRINK, start, size);
    } while (has_too_much(h) && find_largest(h, &near));
}

/* After a free at `near`. */
static inline void settle(struct allot_local *h, uint64_t near)
{
    if (has_too_much(h) && h->grower->ops->shrink)
        give_back(h, near);
}

int allot_local_alloc(struct allot_local *h, size_t size, size_t align, void **ret)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t pos;
    int err;

    size += !size;
    err = ops->alloc(h->bytes, size, align, &pos);
    if (err == ALLOT_E_NO_MEMORY) {
        err = grow(h, size, align);
        if (!err)
            err = ops->alloc(h->bytes, size, align, &pos);
    }
    if (err) {
        TRACE(h, ALLOT_LOCAL_REFUSE, 0, size);
        return err;
    }
    TRACE(h, ALLOT_LOCAL_ALLOC, pos, size);
    *ret = (void *)(uintptr_t)pos;
    return 0;
}

/* What is larger than may stay free is from the grower, most likely, and never touched: then its
 * pages are dropped at little cost, and writing would make them. Else writing costs less. */
void allot_local_clear(const struct allot_local *h, void *ptr, size_t size)
{
    uint64_t start = (uintptr_t)ptr, end = start + size;
    uint64_t inner = ALLOT_ALIGN_UP(start, ALLOT_GROWER_GRANULE);
    uint64_t inner_end = ALLOT_ALIGN_DOWN(end, ALLOT_GROWER_GRANULE);

    if (size <= 2 * __atomic_load_n(&h->keep, __ATOMIC_RELAXED) || !h->grower->ops->discard ||
        h->grower->ops->discard(h->grower, inner, inner_end - inner)) {
        memset(ptr, 0, size);
        return;
    }
    memset(ptr, 0, inner - start);
    memset((void *)(uintptr_t)inner_end, 0, end - inner_end);
}

int allot_local_zalloc(struct allot_local *h, size_t size, size_t align, void **ret)
{
    int err = allot_local_alloc(h, size, align, ret);

    if (!err)
        allot_local_clear(h, *ret, size);
    return err;
}

int allot_local_free_sized(struct allot_local *h, void *ptr, size_t size, size_t align)
{
    uint64_t pos = (uintptr_t)ptr;
    int err;

    size += !size;
    err = h->bytes->ops->dealloc(h->bytes, pos, size, align);
    if (err)
        return err;
    TRACE(h, ALLOT_LOCAL_FREE, pos, size);
    settle(h, pos);
    return 0;
}

int allot_local_free(struct allot_local *h, void *ptr)
{
    size_t size;
    int err = allot_local_usable_size(h, ptr, &size);

    return err ? err : allot_local_free_sized(h, ptr, size, 1);
}

int allot_local_realloc_start(struct allot_local *h, void *ptr, size_t new_size, void **ret,
                              size_t *ret_copy)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t pos = (uintptr_t)ptr, size, now;
    void *fresh;
    int err = ops->usable_size(h->bytes, pos, &size);

    if (err)
        return err;
    new_size += !new_size;
    err = ops->realloc(h->bytes, pos, size, 1, new_size);
    if (!err) {
        TRACE(h, ALLOT_LOCAL_RESIZE, pos, new_size);
        if (new_size < size && !ops->usable_size(h->bytes, pos, &now) && now < size)
            settle(h, pos + now);
        *ret = ptr;
        return 0;
    }
    if (err != ALLOT_E_NO_MEMORY)
        return err;
    err = allot_local_alloc(h, new_size, BLOCK_ALIGN, &fresh);
    if (err) {
        /* The old block is as good as a smaller one that cannot be had. */
        if (new_size > size)
            return err;
        *ret = ptr;
        return 0;
    }
    *ret = fresh;
    *ret_copy = min64(size, new_size);
    return 0;
}

int allot_local_realloc(struct allot_local *h, void *ptr, size_t new_size, void **ret)
{
    size_t copy;
    int err = allot_local_realloc_start(h, ptr, new_size, ret, &copy);

    if (err || *ret == ptr)
        return err;
    memcpy(*ret, ptr, copy);
    return allot_local_free(h, ptr);
}

int allot_local_usable_size(const struct allot_local *h, const void *ptr, size_t *ret)
{
    uint64_t size;
    int err = h->bytes->ops->usable_size(h->bytes, (uintptr_t)ptr, &size);

    if (!err)
        *ret = size;
    return err;
}
