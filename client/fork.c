/* SPDX-License-Identifier: MIT */
/*
 * Fork detection.
 *
 * One private page with MADV_WIPEONFORK holds this process's generation. In a child the kernel
 * hands it over empty, however the child was made: fork, raw clone, a library's own system call.
 * pthread_atfork() would see only the first. The generation itself comes from an ordinary counter,
 * which children inherit, so a child that opens a session of its own gets a number that differs
 * from all of its parent's.
 *
 * A child that shares the parent's memory (vfork, CLONE_VM) is the same process as far as memory
 * goes, and counts as it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "allot.h"
#include "fork.h"

_Atomic(uint64_t) *fork_word;

static pthread_once_t page_once = PTHREAD_ONCE_INIT;
static int page_error;
static _Atomic(uint64_t) generations;

static void page_map(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        page_error = errno;
        return;
    }
    if (madvise(page, size, MADV_WIPEONFORK) < 0) {
        page_error = errno;
        munmap(page, size);
        return;
    }
    fork_word = page;
}

int fork_generation(uint64_t *ret)
{
    uint64_t empty = 0;

    pthread_once(&page_once, page_map);
    if (!fork_word) {
        errno = page_error;
        return ALLOT_E_SYSTEM;
    }
    uint64_t mine = atomic_load(fork_word);
    if (mine == 0) {
        mine = atomic_fetch_add(&generations, 1) + 1;
        if (!atomic_compare_exchange_strong(fork_word, &empty, mine))
            mine = empty;
    }
    *ret = mine;
    return 0;
}
