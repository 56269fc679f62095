/* SPDX-License-Identifier: MIT */
/*
 * Metadata memory over a grower.
 *
 * An allocator has few pieces of metadata, most of them arrays that grow for ever. Pieces of 64 KiB
 * or more are ranges of their own where the grower can resize one, so that a growing array is
 * remapped and not copied. All others are rounded to powers of two, cut from chunks, and kept in a
 * chain a size once they are free.
 *
 * Limits: chunks go back with the heap only, and pieces in the chains are never joined; an array
 * that doubled leaves as much behind as it has. Locks: the heap's.
 */
#include <stdbool.h>
#include <string.h>

#include <allot/align.h>

#include "meta.h"

#define PIECE_MIN UINT64_C(16)
#define CHUNK     UINT64_C(65536)
#define OWN_RANGE UINT64_C(65536)

/* At the front of each chunk; as large as the smallest piece. */
struct chunk {
    uint64_t next;
    uint64_t size;
};

void meta_init(struct allot_local_meta *m, struct allot_grower *grower)
{
    memset(m, 0, sizeof(*m));
    m->grower = grower;
}

void meta_deinit(struct allot_local_meta *m)
{
    const struct allot_grower_ops *ops = m->grower->ops;
    uint64_t at = m->chunks;

    while (at && ops->shrink) {
        struct chunk chunk = *(struct chunk *)(uintptr_t)at;

        (void)ops->shrink(m->grower, at, chunk.size);
        at = chunk.next;
    }
    meta_init(m, m->grower);
}

static unsigned class_of(uint64_t size)
{
    return size <= PIECE_MIN ? 4 : 64 - (unsigned)__builtin_clzll(size - 1);
}

static bool has_own_range(const struct allot_local_meta *m, uint64_t size)
{
    return size >= OWN_RANGE && m->grower->ops->resize && m->grower->ops->shrink;
}

static uint64_t cut(struct allot_local_meta *m, uint64_t size)
{
    const struct allot_grower_ops *ops = m->grower->ops;
    uint64_t want = size + sizeof(struct chunk), start;
    struct chunk *chunk;

    if (m->end - m->next >= size) {
        start = m->next;
        m->next += size;
        return start;
    }
    /* A small granule tells of a buffer that may be small: no more than needed. */
    if (ops->granule >= CHUNK && want < CHUNK)
        want = CHUNK;
    want = ALLOT_ALIGN_UP(want, ops->granule);
    if (ops->grow(m->grower, want, PIECE_MIN, &start))
        return 0;
    chunk = (struct chunk *)(uintptr_t)start;
    chunk->next = m->chunks;
    chunk->size = want;
    m->chunks = start;
    m->next = start + sizeof(*chunk) + size;
    m->end = start + want;
    return start + sizeof(*chunk);
}

static uint64_t piece_take(struct allot_local_meta *m, uint64_t size)
{
    unsigned k = class_of(size);
    uint64_t piece, start;

    if (has_own_range(m, size)) {
        size = ALLOT_ALIGN_UP(size, m->grower->ops->granule);
        return m->grower->ops->grow(m->grower, size, 1, &start) ? 0 : start;
    }
    if (k >= ALLOT_LOCAL_META_CLASSES)
        return 0;
    piece = m->spare[k];
    if (!piece)
        return cut(m, UINT64_C(1) << k);
    m->spare[k] = *(uint64_t *)(uintptr_t)piece;
    return piece;
}

static void piece_give(struct allot_local_meta *m, uint64_t piece, uint64_t size)
{
    unsigned k = class_of(size);

    if (has_own_range(m, size)) {
        /* What the system refuses to take is lost to it, and to us. */
        (void)m->grower->ops->shrink(m->grower, piece,
                                     ALLOT_ALIGN_UP(size, m->grower->ops->granule));
        return;
    }
    *(uint64_t *)(uintptr_t)piece = m->spare[k];
    m->spare[k] = piece;
}

static uint64_t piece_resize(struct allot_local_meta *m, uint64_t piece, uint64_t old_size,
                             uint64_t new_size)
{
    uint64_t granule = m->grower->ops->granule, fresh;

    if (has_own_range(m, old_size) && has_own_range(m, new_size)) {
        uint64_t have = ALLOT_ALIGN_UP(old_size, granule), want = ALLOT_ALIGN_UP(new_size, granule);

        if (have == want)
            return piece;
        if (!m->grower->ops->resize(m->grower, piece, have, want, &fresh))
            return fresh;
    } else if (!has_own_range(m, old_size) && !has_own_range(m, new_size) &&
               class_of(old_size) == class_of(new_size)) {
        return piece;
    }
    fresh = piece_take(m, new_size);
    if (!fresh)
        return 0;
    memcpy((void *)(uintptr_t)fresh, (void *)(uintptr_t)piece,
           old_size < new_size ? old_size : new_size);
    piece_give(m, piece, old_size);
    return fresh;
}

void *meta_resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    struct allot_local_meta *m = ctx;

    if (new_size >> 62)
        return NULL;
    if (!ptr)
        return new_size ? (void *)(uintptr_t)piece_take(m, new_size) : NULL;
    if (!new_size) {
        piece_give(m, (uintptr_t)ptr, old_size);
        return NULL;
    }
    return (void *)(uintptr_t)piece_resize(m, (uintptr_t)ptr, old_size, new_size);
}
