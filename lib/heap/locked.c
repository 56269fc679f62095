/* SPDX-License-Identifier: MIT */
/*
 * The local heap for several threads, and by reference.
 *
 * The lock is a word: 0 free, 1 held, 2 held and somebody may sleep (U. Drepper, "Futexes Are
 * Tricky"). It spins first, since it is held for a few hundred instructions, and sleeps then,
 * since on few cores its holder may not be running. It is not recursive: a trace that calls the
 * heap stops for ever.
 *
 * Growing happens under the lock too: a system call of microseconds, once per quarter of growth.
 */
#include <linux/futex.h>
#include <stdbool.h>
#include <string.h>

#include <allot/align.h>
#include <allot/local.h>

#include "system.h"

#define SPINS 100

static inline void relax(void)
{
#if defined(__x86_64__)
    __asm__ volatile("pause");
#else
    __asm__ volatile("yield");
#endif
}

static void hold_slowly(uint32_t *word)
{
    for (unsigned i = 0; i < SPINS; i++) {
        uint32_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);

        if (!seen &&
            __atomic_compare_exchange_n(word, &seen, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return;
        relax();
    }
    while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE))
        (void)system_call(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, 2, 0, 0, 0);
}

void allot_local_hold(struct allot_local_locked *l)
{
    uint32_t seen = 0;

    if (!__atomic_compare_exchange_n(&l->word, &seen, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        hold_slowly(&l->word);
}

void allot_local_release(struct allot_local_locked *l)
{
    if (__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2)
        (void)system_call(SYS_futex, (long)&l->word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

void allot_local_forget_holder(struct allot_local_locked *l)
{
    __atomic_store_n(&l->word, 0, __ATOMIC_RELEASE);
}

int allot_local_locked_init(struct allot_local_locked *l, const struct allot_byte_ops *ops,
                            struct allot_grower *grower)
{
    l->word = 0;
    return allot_local_init(&l->heap, ops, grower);
}

void allot_local_locked_deinit(struct allot_local_locked *l)
{
    allot_local_deinit(&l->heap);
}

int allot_local_locked_alloc(struct allot_local_locked *l, size_t size, size_t align, void **ret)
{
    int err;

    allot_local_hold(l);
    err = allot_local_alloc(&l->heap, size, align, ret);
    allot_local_release(l);
    return err;
}

int allot_local_locked_zalloc(struct allot_local_locked *l, size_t size, size_t align, void **ret)
{
    int err;

    allot_local_hold(l);
    err = allot_local_alloc(&l->heap, size, align, ret);
    allot_local_release(l);
    /* The block is the caller's: clearing it needs no lock. */
    if (!err)
        allot_local_clear(&l->heap, *ret, size);
    return err;
}

int allot_local_locked_free(struct allot_local_locked *l, void *ptr)
{
    int err;

    allot_local_hold(l);
    err = allot_local_free(&l->heap, ptr);
    allot_local_release(l);
    return err;
}

int allot_local_locked_free_sized(struct allot_local_locked *l, void *ptr, size_t size,
                                  size_t align)
{
    int err;

    allot_local_hold(l);
    err = allot_local_free_sized(&l->heap, ptr, size, align);
    allot_local_release(l);
    return err;
}

int allot_local_locked_realloc(struct allot_local_locked *l, void *ptr, size_t new_size, void **ret)
{
    size_t copy;
    int err;

    allot_local_hold(l);
    err = allot_local_realloc_start(&l->heap, ptr, new_size, ret, &copy);
    allot_local_release(l);
    if (err || *ret == ptr)
        return err;
    /* Both blocks are the caller's: copying, which may take long, needs no lock. */
    memcpy(*ret, ptr, copy);
    return allot_local_locked_free(l, ptr);
}

int allot_local_locked_usable_size(struct allot_local_locked *l, const void *ptr, size_t *ret)
{
    int err;

    allot_local_hold(l);
    err = allot_local_usable_size(&l->heap, ptr, ret);
    allot_local_release(l);
    return err;
}

/* By reference. */

struct allot_local_handle {
    struct allot_local_locked locked;
    uint64_t references;
    uint64_t size; /* of the range that this lies in */
};

int allot_local_handle_new(const struct allot_byte_ops *ops, struct allot_grower *grower,
                           struct allot_local_handle **ret)
{
    uint64_t size = ALLOT_ALIGN_UP(sizeof(struct allot_local_handle), grower->ops->granule), start;
    struct allot_local_handle *handle;
    int err = grower->ops->grow(grower, size, 16, &start);

    if (err)
        return err;
    handle = (struct allot_local_handle *)(uintptr_t)start;
    err = allot_local_locked_init(&handle->locked, ops, grower);
    if (err) {
        if (grower->ops->shrink)
            (void)grower->ops->shrink(grower, start, size);
        return err;
    }
    handle->references = 1;
    handle->size = size;
    *ret = handle;
    return 0;
}

struct allot_local_handle *allot_local_handle_ref(struct allot_local_handle *handle)
{
    __atomic_fetch_add(&handle->references, 1, __ATOMIC_RELAXED);
    return handle;
}

struct allot_local_handle *allot_local_handle_unref(struct allot_local_handle *handle)
{
    struct allot_grower *grower;

    if (!handle || __atomic_sub_fetch(&handle->references, 1, __ATOMIC_ACQ_REL))
        return NULL;
    grower = handle->locked.heap.grower;
    allot_local_locked_deinit(&handle->locked);
    if (grower->ops->shrink)
        (void)grower->ops->shrink(grower, (uintptr_t)handle, handle->size);
    return NULL;
}

struct allot_local_locked *allot_local_handle_heap(struct allot_local_handle *handle)
{
    return &handle->locked;
}
