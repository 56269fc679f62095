/* SPDX-License-Identifier: MIT */
/*
 * Pools: a mapping of the daemon's region, and offsets into it.
 *
 * The region's file has its greatest size from the start, so the whole of it is mapped once and no
 * pointer ever moves; what the daemon commits later appears under the mapping. The mapping is kept
 * out of children (MADV_DONTFORK: a child holds nothing, and what its parent frees may belong to
 * anyone next) and out of core dumps (MADV_DONTDUMP: a dump would commit the file's holes and hold
 * other processes' data).
 *
 * What is attached for writing is mapped twice, the second time for reading only, for
 * allot_const_ptr().
 *
 * Invariants: a pool is in its session's list from attach to detach. The list has links in one
 * direction and each change is one store, because a child that was forked in the middle of one
 * walks it, without its lock. In a child nothing is unmapped: something else may be at that
 * address.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "session.h"

#define NUMBER_GONE UINT32_MAX /* which no pool has */

/* NULL with errno where it fails. */
static void *map_once(const struct allot_pool *p, int fd, int protection)
{
    void *base = mmap(NULL, (size_t)p->size, protection, MAP_SHARED, fd, 0);

    if (base == MAP_FAILED)
        return NULL;
    if (madvise(base, (size_t)p->size, MADV_DONTFORK) < 0 ||
        madvise(base, (size_t)p->size, MADV_DONTDUMP) < 0) {
        int saved = errno;
        munmap(base, (size_t)p->size);
        errno = saved;
        return NULL;
    }
    return base;
}

static void unmap(struct allot_pool *p)
{
    munmap(p->base, (size_t)p->size);
    if (p->writable)
        munmap((void *)(uintptr_t)p->read_only, (size_t)p->size);
}

/* Maps what the attach reply told. The descriptor stays the caller's. */
static int map(struct allot_pool *p, int fd)
{
    struct stat st;

    if (p->size == 0 || p->size > SIZE_MAX)
        return ALLOT_E_MALFORMED;
    if (fstat(fd, &st) < 0)
        return ALLOT_E_SYSTEM;
    if (st.st_size < 0 || (uint64_t)st.st_size < p->size)
        return ALLOT_E_MALFORMED; /* touching what is past the file's end would raise SIGBUS */
    p->device = st.st_dev;
    p->inode = st.st_ino;
    unsigned char *read_only = map_once(p, fd, PROT_READ);
    if (!read_only)
        return ALLOT_E_SYSTEM;
    p->base = p->writable ? map_once(p, fd, PROT_READ | PROT_WRITE) : read_only;
    if (!p->base) {
        int saved = errno;
        munmap(read_only, (size_t)p->size);
        errno = saved;
        return ALLOT_E_SYSTEM;
    }
    p->read_only = read_only;
    return 0;
}

/* Enters it. Of others that map another region under its number, the pool is gone: to the daemon
 * their number would mean this one. */
static void link_pool(struct allot *a, struct allot_pool *p)
{
    pthread_mutex_lock(&a->pools_lock);
    for (struct allot_pool *other = a->pools; other; other = other->next)
        if (other->number == p->number && (other->device != p->device || other->inode != p->inode))
            other->number = NUMBER_GONE;
    p->next = a->pools;
    __atomic_store_n(&a->pools, p, __ATOMIC_RELEASE); /* in this order, for a child */
    pthread_mutex_unlock(&a->pools_lock);
}

/* What an attach needs while it runs: too large for a small thread's stack. */
struct attach {
    unsigned char frame[CODEC_FRAME_MAX];
    struct codec_arena arena;
};

static int attach(struct allot *a, struct attach *work, const char *name, enum allot_access access,
                  struct allot_pool *p)
{
    Allot__Request request = ALLOT__REQUEST__INIT;
    Allot__Reply *reply;
    uint64_t value;
    int code;
    struct call call = {
        .values = &value, .codes = &code, .frame = work->frame, .wants_fd = true, .fd = -1};

    request.op = ALLOT__OP__OP_ATTACH;
    request.name = (char *)(name ? name : "default");
    request.access = (Allot__Access)access;
    int r = name_is_too_long(name) ? ALLOT_E_NO_POOL : session_call(a, &request, &call);
    if (r == 0)
        r = code;
    if (r == 0 && call.fd == CONNECTION_FD_LOST) {
        errno = EMFILE;
        r = ALLOT_E_SYSTEM;
    }
    if (r == 0)
        r = codec_decode_reply(&work->arena, work->frame, call.frame_size, &reply);
    if (r == 0 && (reply->n_pools != 1 || call.fd < 0 || reply->pools[0]->pool > PLACE_POOL_MAX))
        r = ALLOT_E_MALFORMED;
    if (r == 0) {
        p->size = reply->pools[0]->size_max;
        p->page_size = reply->pools[0]->page_size;
        p->number = reply->pools[0]->pool;
        p->writable = access == ALLOT_WRITE;
        r = map(p, call.fd);
    }
    if (call.fd >= 0) {
        int saved = errno;
        close(call.fd);
        errno = saved;
    }
    return r;
}

int allot_attach(struct allot *a, const char *name, enum allot_access access,
                 struct allot_pool **ret)
{
    struct allot_pool *p = calloc(1, sizeof(*p));
    struct attach *work = malloc(sizeof(*work));
    int r = ALLOT_E_SYSTEM;

    if (p && work) {
        p->session = a;
        p->generation = a->generation;
        r = attach(a, work, name, access, p);
    }
    if (r == 0) {
        link_pool(a, p);
        *ret = p;
    } else {
        free(p);
    }
    free(work);
    return r;
}

void allot_detach(struct allot_pool *p)
{
    if (!p)
        return;
    bool here = fork_here(p->generation);
    watch_detach(p);
    if (here) {
        unmap(p);
        pthread_mutex_lock(&p->session->pools_lock);
    }
    for (struct allot_pool **at = &p->session->pools; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            break;
        }
    }
    if (here)
        pthread_mutex_unlock(&p->session->pools_lock);
    free(p);
}

void pool_detach_all(struct allot *a)
{
    while (a->pools)
        allot_detach(a->pools);
}

uint64_t allot_pool_size(const struct allot_pool *p)
{
    return p->size;
}

uint64_t allot_page_size(const struct allot_pool *p)
{
    return p->page_size;
}

static bool is_inside(const struct allot_pool *p, uint64_t offset)
{
    return offset != 0 && offset < p->size && fork_here(p->generation);
}

void *allot_ptr(const struct allot_pool *p, uint64_t offset)
{
    if (!is_inside(p, offset) ||
        held_is_frozen(&p->session->held, pool_place(p, CODEC_KIND_BYTES, offset)) ||
        held_is_frozen(&p->session->held, pool_place(p, CODEC_KIND_PAGES, offset)))
        return NULL;
    return p->base + offset;
}

const void *allot_const_ptr(const struct allot_pool *p, uint64_t offset)
{
    return is_inside(p, offset) ? p->read_only + offset : NULL;
}

uint64_t allot_offset(const struct allot_pool *p, const void *ptr)
{
    uint64_t offset = (uintptr_t)ptr - (uintptr_t)p->base;

    if (offset >= p->size)
        offset = (uintptr_t)ptr - (uintptr_t)p->read_only;
    return is_inside(p, offset) ? offset : 0;
}

int allot_add_memory(struct allot_pool *p, uint64_t bytes, uint64_t *ret_size)
{
    Allot__Request request = ALLOT__REQUEST__INIT;

    request.op = ALLOT__OP__OP_ADD_MEMORY;
    request.pool = p->number;
    request.sizes = &bytes;
    request.n_sizes = 1;
    return pool_call_one(p, &request, ret_size);
}
