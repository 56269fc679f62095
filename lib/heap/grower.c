/* SPDX-License-Identifier: MIT */
/*
 * The three growers: anonymous mappings by system calls of our own, the same by libc, and a buffer
 * of the caller's.
 *
 * An alignment above the page is had by mapping that much more and giving the ends back. Memory is
 * reserved by the kernel's ordinary rule: what is mapped is not backed until it is touched.
 *
 * Limits: addresses below 2^63, as in every byte allocator. Locks: none.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include <allot/align.h>
#include <allot/grower.h>

#include "system.h"

struct mapper {
    long (*map)(uint64_t size);
    long (*unmap)(uint64_t start, uint64_t size);
};

static bool bad_request(uint64_t size, uint64_t align, uint64_t granule)
{
    return !size || !ALLOT_IS_ALIGNED(size, granule) || size >> 62 || !ALLOT_IS_POW2(align) ||
           align >> 62;
}

static int mapper_grow(const struct mapper *m, uint64_t size, uint64_t align, uint64_t *ret_start)
{
    uint64_t want = size, start, fit;
    long at;

    if (bad_request(size, align, ALLOT_GROWER_GRANULE))
        return ALLOT_E_INVALID;
    if (align > 4096)
        want += align < ALLOT_GROWER_GRANULE ? ALLOT_GROWER_GRANULE : align;
    at = m->map(want);
    if (system_failed(at))
        return ALLOT_E_NO_MEMORY;
    start = (uint64_t)at;
    fit = ALLOT_ALIGN_UP(start, align);
    /* An end that the kernel will not take stays mapped and is lost: address space, not memory. */
    if (fit > start)
        (void)m->unmap(start, fit - start);
    if (start + want > fit + size)
        (void)m->unmap(fit + size, start + want - (fit + size));
    *ret_start = fit;
    return 0;
}

/* By system calls of our own. */

static long raw_map(uint64_t size)
{
    return system_call(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0);
}

static long raw_unmap(uint64_t start, uint64_t size)
{
    return system_call(SYS_munmap, (long)start, (long)size, 0, 0, 0, 0);
}

static int raw_grow(struct allot_grower *g, uint64_t size, uint64_t align, uint64_t *ret_start)
{
    static const struct mapper raw = {raw_map, raw_unmap};

    (void)g;
    return mapper_grow(&raw, size, align, ret_start);
}

static int raw_shrink(struct allot_grower *g, uint64_t start, uint64_t size)
{
    (void)g;
    return raw_unmap(start, size) ? ALLOT_E_NO_MEMORY : 0;
}

static int raw_resize(struct allot_grower *g, uint64_t start, uint64_t size, uint64_t new_size,
                      uint64_t *ret_start)
{
    long at;

    (void)g;
    at = system_call(SYS_mremap, (long)start, (long)size, (long)new_size, MREMAP_MAYMOVE, 0, 0);
    if (system_failed(at))
        return ALLOT_E_NO_MEMORY;
    *ret_start = (uint64_t)at;
    return 0;
}

static int raw_discard(struct allot_grower *g, uint64_t start, uint64_t size)
{
    (void)g;
    return system_call(SYS_madvise, (long)start, (long)size, MADV_DONTNEED, 0, 0, 0)
               ? ALLOT_E_NO_MEMORY
               : 0;
}

static const struct allot_grower_ops raw_ops = {
    .name = "mmap-raw",
    .granule = ALLOT_GROWER_GRANULE,
    .grow = raw_grow,
    .shrink = raw_shrink,
    .resize = raw_resize,
    .discard = raw_discard,
};

struct allot_grower allot_grower_raw = {&raw_ops};

/* By libc. */

static long libc_map(uint64_t size)
{
    return (long)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long libc_unmap(uint64_t start, uint64_t size)
{
    return munmap((void *)(uintptr_t)start, size);
}

static int libc_grow(struct allot_grower *g, uint64_t size, uint64_t align, uint64_t *ret_start)
{
    static const struct mapper libc = {libc_map, libc_unmap};

    (void)g;
    return mapper_grow(&libc, size, align, ret_start);
}

static int libc_shrink(struct allot_grower *g, uint64_t start, uint64_t size)
{
    (void)g;
    return libc_unmap(start, size) ? ALLOT_E_NO_MEMORY : 0;
}

static int libc_resize(struct allot_grower *g, uint64_t start, uint64_t size, uint64_t new_size,
                       uint64_t *ret_start)
{
    void *at = mremap((void *)(uintptr_t)start, size, new_size, MREMAP_MAYMOVE);

    (void)g;
    if (at == MAP_FAILED)
        return ALLOT_E_NO_MEMORY;
    *ret_start = (uintptr_t)at;
    return 0;
}

static int libc_discard(struct allot_grower *g, uint64_t start, uint64_t size)
{
    (void)g;
    return madvise((void *)(uintptr_t)start, size, MADV_DONTNEED) ? ALLOT_E_NO_MEMORY : 0;
}

static const struct allot_grower_ops libc_ops = {
    .name = "mmap-libc",
    .granule = ALLOT_GROWER_GRANULE,
    .grow = libc_grow,
    .shrink = libc_shrink,
    .resize = libc_resize,
    .discard = libc_discard,
};

struct allot_grower allot_grower_libc = {&libc_ops};

/* A fixed buffer. */

#define FIXED_GRANULE UINT64_C(16)

static int fixed_grow(struct allot_grower *g, uint64_t size, uint64_t align, uint64_t *ret_start)
{
    struct allot_grower_fixed *fixed = (struct allot_grower_fixed *)g;
    uint64_t start;

    if (bad_request(size, align, FIXED_GRANULE))
        return ALLOT_E_INVALID;
    if (!allot_align_up(fixed->next, align, &start) || start > fixed->end ||
        size > fixed->end - start)
        return ALLOT_E_NO_MEMORY;
    fixed->next = start + size;
    *ret_start = start;
    return 0;
}

static const struct allot_grower_ops fixed_ops = {
    .name = "fixed",
    .granule = FIXED_GRANULE,
    .grow = fixed_grow,
};

void allot_grower_fixed_init(struct allot_grower_fixed *g, void *buffer, size_t size)
{
    uint64_t start = (uintptr_t)buffer;

    g->base.ops = &fixed_ops;
    g->next = ALLOT_ALIGN_UP(start, FIXED_GRANULE);
    g->end = ALLOT_ALIGN_DOWN(start + size, FIXED_GRANULE);
    if (g->end < g->next)
        g->end = g->next;
}
