/* SPDX-License-Identifier: MIT */
/*
 * Memory that is about to be filled, all of it.
 */
#ifndef ALLOTD_MEMORY_H
#define ALLOTD_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <allot/align.h>

/* Less is not worth the calls. */
#define MEMORY_POPULATE_MIN 65536u

/* Has the kernel bring the whole pages of [start, start+size) at once, large ones where it may,
 * which costs less than bringing each when it is touched. Where it cannot, that is how they come.
 */
static inline void memory_populate(void *start, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ALLOT_ALIGN_UP((uintptr_t)start, page);
    uintptr_t end = ALLOT_ALIGN_DOWN((uintptr_t)start + size, page);

    if (size < MEMORY_POPULATE_MIN)
        return;
    (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
    (void)madvise((void *)first, end - first, MADV_POPULATE_WRITE);
}

#endif
