/* SPDX-License-Identifier: MIT */
/*
 * liballot-malloc.so: malloc and its family over one local heap, for programs that were not built
 * for it (LD_PRELOAD). ALLOT_MALLOC names the algorithm; what is unknown or not built ends the
 * program before main(), since going on with another would measure or hide something else.
 *
 * Start-up. The dynamic linker allocates before libc knows the environment. Until it does, blocks
 * come from a small static buffer; each has its size before it, and freeing one does nothing. The
 * heap is made by the first allocation that finds an environment, or by the constructor, which runs
 * before all others (-z initfirst). One thread runs until then.
 *
 * fork(). The lock is held across it, so a child never has a heap in the middle of a change. The
 * handlers are registered first, hence run last before the fork and first after it: those of others
 * may allocate. fork() goes on to lock libc's list of streams, and whoever flushes all of them
 * holds that while a stream allocates: so it is locked before the heap, as it is before libc's own.
 * Where there is but one thread nothing is locked, as in libc: a signal handler that forks may have
 * interrupted whoever holds the lock.
 *
 * Misuse. Freeing what is not allocated ends the program with a message: it is a defect of the
 * program that would damage it further. free() leaves errno alone: no call here goes through libc.
 *
 * Zero sizes give a block of their own. realloc(p, 0) frees and returns NULL, as glibc's does. One
 * that grows to ROOM_MIN or more makes the block an eighth larger still, if that can be had: so
 * growing by small steps copies in proportion to the size and not to its square.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include <allot/algorithm.h>
#include <allot/align.h>
#include <allot/local.h>

#include "system.h"

#define EXPORT __attribute__((visibility("default")))

#define BLOCK_ALIGN 16u
#define PAGE        4096u
#define EARLY_SIZE  65536u
#define ROOM_MIN    131072u

static struct allot_local_locked heap;
static bool ready; /* set while one thread runs */

static _Alignas(16) unsigned char early[EARLY_SIZE];
static size_t early_used;

static void say(const char *text)
{
    (void)system_call(SYS_write, STDERR_FILENO, (long)text, (long)strlen(text), 0, 0, 0);
}

static _Noreturn void stop(const char *text, const char *word)
{
    say("allot-malloc: ");
    say(text);
    say(word);
    say("\n");
    abort();
}

static _Noreturn void stop_at(const char *text, const void *ptr)
{
    char digits[2 + 16 + 1] = "0x0000000000000000";
    uintptr_t x = (uintptr_t)ptr;

    for (char *p = digits + 17; x; x >>= 4)
        *p-- = "0123456789abcdef"[x & 15];
    stop(text, digits);
}

/* Start. */

static void start(char **environment)
{
    static const char variable[] = "ALLOT_MALLOC=";
    const struct allot_byte_ops *ops;
    const char *name = NULL;
    int err;

    for (char **e = environment; *e; e++) {
        if (!strncmp(*e, variable, sizeof(variable) - 1) && (*e)[sizeof(variable) - 1])
            name = *e + sizeof(variable) - 1;
    }
    err = allot_byte_find(name, &ops);
    if (err == ALLOT_E_INVALID)
        stop("ALLOT_MALLOC names no algorithm that there is: ", name);
    if (err)
        stop("ALLOT_MALLOC names an algorithm that is not built in: ", name);
    if (allot_local_locked_init(&heap, ops, &allot_grower_raw))
        stop("no memory for the heap of ", ops->name);
    ready = true;
}

/* Of libc, which declares them nowhere. The lock is recursive. */
extern void _IO_list_lock(void);
extern void _IO_list_unlock(void);
extern void _IO_list_resetlock(void);

static bool forking; /* with locks; written while they are held */

static void before_fork(void)
{
    if (__libc_single_threaded)
        return;
    _IO_list_lock();
    allot_local_hold(&heap);
    forking = true;
}

static void after_fork(void)
{
    if (!forking)
        return;
    forking = false;
    allot_local_release(&heap);
    _IO_list_unlock();
}

static void after_fork_in_child(void)
{
    if (!forking)
        return;
    forking = false;
    allot_local_forget_holder(&heap);
    _IO_list_resetlock();
}

__attribute__((constructor)) static void construct(int argc, char **argv, char **environment)
{
    (void)argc;
    (void)argv;
    if (!ready)
        start(environment);
    if (pthread_atfork(before_fork, after_fork, after_fork_in_child))
        stop("no memory to watch fork", "");
}

static inline bool awake(void)
{
    if (__builtin_expect(ready, 1))
        return true;
    if (!environ)
        return false;
    start(environ);
    return true;
}

/* The early buffer. */

static bool is_early(const void *ptr)
{
    return (uintptr_t)ptr - (uintptr_t)early < EARLY_SIZE;
}

static size_t early_size(const void *ptr)
{
    size_t size;

    memcpy(&size, (const unsigned char *)ptr - BLOCK_ALIGN, sizeof(size));
    return size;
}

static void *early_alloc(size_t size, size_t align)
{
    uintptr_t base = (uintptr_t)early;
    uintptr_t at = ALLOT_ALIGN_UP(base + early_used + BLOCK_ALIGN, align);

    if (align > EARLY_SIZE || size > EARLY_SIZE || at - base > EARLY_SIZE - size)
        stop("too much is allocated before start", "");
    early_used = ALLOT_ALIGN_UP(at - base + size, BLOCK_ALIGN);
    memcpy(early + (at - base) - BLOCK_ALIGN, &size, sizeof(size));
    return early + (at - base);
}

/* The family. */

static void *take(size_t size, size_t align, bool zero)
{
    void *block;
    int err;

    if (__builtin_expect(!awake(), 0))
        return early_alloc(size, align);
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    err = zero ? allot_local_locked_zalloc(&heap, size, align, &block)
               : allot_local_locked_alloc(&heap, size, align, &block);
    if (__builtin_expect(err, 0)) {
        errno = ENOMEM;
        return NULL;
    }
    return block;
}

EXPORT void *malloc(size_t size)
{
    return take(size, BLOCK_ALIGN, false);
}

EXPORT void *calloc(size_t count, size_t each)
{
    size_t size;

    if (__builtin_mul_overflow(count, each, &size)) {
        errno = ENOMEM;
        return NULL;
    }
    return take(size, BLOCK_ALIGN, true);
}

EXPORT void free(void *ptr)
{
    if (!ptr || __builtin_expect(is_early(ptr), 0))
        return;
    if (__builtin_expect(!ready || allot_local_locked_free(&heap, ptr), 0))
        stop_at("free(): not allocated: ", ptr);
}

static int resize(void *ptr, size_t size, void **ret)
{
    size_t have;
    int err;

    if (size < ROOM_MIN)
        return allot_local_locked_realloc(&heap, ptr, size, ret);
    err = allot_local_locked_usable_size(&heap, ptr, &have);
    if (err)
        return err;
    if (size > have && !allot_local_locked_realloc(&heap, ptr, size + size / 8, ret))
        return 0;
    if (size > have || have - size > have / 8)
        return allot_local_locked_realloc(&heap, ptr, size, ret);
    *ret = ptr;
    return 0;
}

EXPORT void *realloc(void *ptr, size_t size)
{
    void *block;
    int err;

    if (!ptr)
        return malloc(size);
    if (!size) {
        free(ptr);
        return NULL;
    }
    if (__builtin_expect(is_early(ptr), 0)) {
        size_t old = early_size(ptr);

        block = malloc(size);
        if (block)
            memcpy(block, ptr, old < size ? old : size);
        return block;
    }
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    err = ready ? resize(ptr, size, &block) : ALLOT_E_NOT_ALLOCATED;
    if (__builtin_expect(err == ALLOT_E_NOT_ALLOCATED, 0))
        stop_at("realloc(): not allocated: ", ptr);
    if (err) {
        errno = ENOMEM;
        return NULL;
    }
    return block;
}

EXPORT void *reallocarray(void *ptr, size_t count, size_t each)
{
    size_t size;

    if (__builtin_mul_overflow(count, each, &size)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(ptr, size);
}

EXPORT void *aligned_alloc(size_t align, size_t size)
{
    if (!ALLOT_IS_POW2(align)) {
        errno = EINVAL;
        return NULL;
    }
    return take(size, align < BLOCK_ALIGN ? BLOCK_ALIGN : align, false);
}

EXPORT void *memalign(size_t align, size_t size)
{
    return aligned_alloc(align, size);
}

EXPORT int posix_memalign(void **ret, size_t align, size_t size)
{
    int kept = errno;
    void *block;

    if (!ALLOT_IS_POW2(align) || align < sizeof(void *))
        return EINVAL;
    block = aligned_alloc(align, size);
    errno = kept;
    if (!block)
        return ENOMEM;
    *ret = block;
    return 0;
}

static size_t page_size(void)
{
    long size = sysconf(_SC_PAGESIZE);

    return size > 0 ? (size_t)size : PAGE;
}

EXPORT void *valloc(size_t size)
{
    return aligned_alloc(page_size(), size);
}

EXPORT void *pvalloc(size_t size)
{
    size_t page = page_size(), whole;

    if (__builtin_add_overflow(size ? size : 1, page - 1, &whole)) {
        errno = ENOMEM;
        return NULL;
    }
    return aligned_alloc(page, ALLOT_ALIGN_DOWN(whole, page));
}

EXPORT size_t malloc_usable_size(void *ptr)
{
    size_t size;

    if (!ptr)
        return 0;
    if (is_early(ptr))
        return early_size(ptr);
    return ready && !allot_local_locked_usable_size(&heap, ptr, &size) ? size : 0;
}
