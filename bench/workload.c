/* SPDX-License-Identifier: MIT */
/*
 * The loops, for malloc and for the allocators of lib/.
 *
 * What it is: workloads a, b, c, scan and traces, once each as an inline function that is compiled
 * twice: with malloc() and free(), and with an allocator's table. Positions are addresses of a
 * mapped pool, and the first word of every block is written. What it is not: it knows no goals and
 * prints nothing but failures.
 *
 * A replaced block is freed before the new one is asked for. The order of sizes and of victims
 * depends on the generator alone, so it is the same for all.
 *
 * Pools are mapped sparse and not touched beforehand: pages are first touched before it counts.
 * They are huge pages unless small ones are asked for; malloc's heap has small ones. Time is what
 * the process computes, because on a shared core elapsed time tells more of the others; but in
 * scan, where asking for it would cost more than what is measured.
 */
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "machine.h"

#define PAGE          4096u
#define REFUSED       (-1.0)
#define ROUND_MIN     5e6 /* ns: else it tells of the caches as the round before left them */
#define SMALL         64u /* bytes of a block in workloads a and scan */
#define ALIGN         8u
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* ---- metadata ---- */

static size_t whole_pages(size_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

static void *meta_resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    struct workload_meta *m = ctx;
    void *fresh = NULL;

    if (!new_size)
        munmap(ptr, whole_pages(old_size));
    else if (ptr)
        fresh = mremap(ptr, whole_pages(old_size), whole_pages(new_size), MREMAP_MAYMOVE);
    else
        fresh = mmap(NULL, whole_pages(new_size), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED)
        return NULL;
    m->bytes += new_size - old_size;
    if (m->bytes > m->bytes_peak)
        m->bytes_peak = m->bytes;
    return fresh;
}

void workload_meta_init(struct workload_meta *m)
{
    *m = (struct workload_meta){.meta = {.resize = meta_resize, .ctx = m}};
}

/* ---- one block ---- */

/* 0 where refused. */
ALWAYS_INLINE uint64_t take(struct workload *w, bool ours, uint64_t size, uint64_t align)
{
    uint64_t pos;

    if (ours) {
        if (w->ops->alloc(w->bytes, size, align, &pos))
            return 0;
    } else {
        pos = (uint64_t)(uintptr_t)malloc(size);
    }
    if (pos)
        *(volatile uint64_t *)(uintptr_t)pos = size;
    return pos;
}

ALWAYS_INLINE bool give(struct workload *w, bool ours, uint64_t pos, uint64_t size, uint64_t align)
{
    if (ours)
        return w->ops->dealloc(w->bytes, pos, size, align) == 0;
    free((void *)(uintptr_t)pos); /* NOLINT */
    return true;
}

/* ---- the loops ---- */

/* False for a round that is too short to count: it is to be made again, of twice as many. */
ALWAYS_INLINE bool is_long(struct workload *w, double spent)
{
    if (spent >= ROUND_MIN)
        return true;
    w->repeat *= 2;
    return false;
}

/* With variables of its own: of malloc() the compiler knows that it leaves the workload alone, of a
 * call through the table it does not, and would read them again after each. */
ALWAYS_INLINE double lifo(struct workload *w, bool ours)
{
    struct workload_block *blocks = w->blocks;
    unsigned live = w->live;
    double spent;

    do {
        double began = machine_cpu_ns(0);
        for (unsigned i = 0, repeat = w->repeat; i < repeat; i++) {
            for (unsigned k = 0; k < live; k++) {
                uint64_t pos = take(w, ours, SMALL, ALIGN);
                if (!pos)
                    return REFUSED;
                blocks[k].pos = pos;
            }
            for (unsigned k = live; k-- > 0;)
                if (!give(w, ours, blocks[k].pos, SMALL, ALIGN))
                    return REFUSED;
        }
        spent = machine_cpu_ns(0) - began;
    } while (!is_long(w, spent));
    return spent / ((double)w->repeat * live);
}

ALWAYS_INLINE double pinned(struct workload *w, bool ours)
{
    uint64_t pin = take(w, ours, SMALL, ALIGN);
    double result = pin ? lifo(w, ours) : REFUSED;

    return pin && give(w, ours, pin, SMALL, ALIGN) ? result : REFUSED;
}

ALWAYS_INLINE bool replace(struct workload *w, bool ours, struct workload_block *block)
{
    if (block->pos && !give(w, ours, block->pos, block->size, ALIGN))
        return false;
    block->size = workload_range(&w->random, w->lo, w->hi);
    block->pos = take(w, ours, block->size, ALIGN);
    return block->pos;
}

ALWAYS_INLINE double replace_all(struct workload *w, bool ours)
{
    for (unsigned i = 0; i < w->live && !w->blocks[i].pos; i++)
        if (!replace(w, ours, &w->blocks[i]))
            return REFUSED;
    for (; w->warm > 0; w->warm--)
        if (!replace(w, ours, &w->blocks[workload_range(&w->random, 0, w->live - 1)]))
            return REFUSED;
    double began = machine_cpu_ns(0);
    for (unsigned i = 0; i < w->repeat; i++)
        if (!replace(w, ours, &w->blocks[workload_range(&w->random, 0, w->live - 1)]))
            return REFUSED;
    return (machine_cpu_ns(0) - began) / w->repeat;
}

ALWAYS_INLINE double scan(struct workload *w, bool ours)
{
    double spent = 0;

    for (unsigned i = 0; i < w->repeat; i++) {
        for (unsigned k = 0; k < w->live; k++) {
            w->blocks[k].pos = take(w, ours, SMALL, ALIGN);
            if (!w->blocks[k].pos)
                return REFUSED;
        }
        for (unsigned k = 0; k < w->live; k += 2)
            if (!give(w, ours, w->blocks[k].pos, SMALL, ALIGN))
                return REFUSED;
        double began = machine_now_ns();
        for (unsigned k = 1; k < w->live; k += 2)
            if (!give(w, ours, w->blocks[k].pos, SMALL, ALIGN))
                return REFUSED;
        spent += machine_now_ns() - began;
    }
    return spent / ((double)w->repeat * (w->live / 2));
}

ALWAYS_INLINE double trace(struct workload *w, bool ours)
{
    const struct trace *t = w->trace;
    uint64_t *places = &w->blocks->pos; /* closer together than blocks */
    double spent;

    do {
        double began = machine_cpu_ns(0);
        for (unsigned i = 0; i < w->repeat; i++) {
            for (size_t k = 0; k < t->n_steps; k++) {
                const struct trace_step *step = &t->steps[k];
                uint64_t *pos = &places[step->id];
                if (!step->is_free)
                    *pos = take(w, ours, step->size, step->align);
                if (step->is_free ? !give(w, ours, *pos, step->size, step->align) : !*pos)
                    return REFUSED;
            }
        }
        spent = machine_cpu_ns(0) - began;
    } while (!is_long(w, spent));
    return spent / ((double)w->repeat * (double)t->n_blocks);
}

/* Each of them once for malloc and once for a table. */
#define LOOP(loop, body)                                                                           \
    double workload_##loop(void *workload)                                                         \
    {                                                                                              \
        struct workload *w = workload;                                                             \
        double result = w->ops ? body(w, true) : body(w, false);                                   \
        if (result < 0)                                                                            \
            fprintf(stderr, "bench: %s refused in %s\n", w->ops ? w->ops->name : "malloc", #loop); \
        return result;                                                                             \
    }

LOOP(lifo, lifo)
LOOP(pinned, pinned)
LOOP(replace, replace_all)
LOOP(scan, scan)
LOOP(trace, trace)

/* ---- opening and closing ---- */

int workload_open(struct workload *w)
{
    size_t blocks = w->trace ? w->trace->n_blocks : w->live;

    workload_meta_init(&w->meta);
    w->random.x = WORKLOAD_SEED;
    w->blocks = mmap(NULL, whole_pages(blocks * sizeof(*w->blocks)), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (w->blocks == MAP_FAILED)
        w->blocks = NULL;
    if (!w->blocks || !w->ops)
        return w->blocks ? 0 : -1;
    w->pool = mmap(NULL, w->pool_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w->pool == MAP_FAILED) {
        w->pool = NULL;
        return -1;
    }
    if (!w->small_pages)
        madvise(w->pool, w->pool_bytes, MADV_HUGEPAGE); /* where the kernel has none: none */
    if (w->ops->create(&w->meta.meta, &w->bytes))
        return -1;
    return w->ops->init(w->bytes, (uint64_t)(uintptr_t)w->pool, w->pool_bytes) ? -1 : 0;
}

/* malloc gets back what a replacing loop has left. */
void workload_close(struct workload *w)
{
    size_t blocks = w->trace ? w->trace->n_blocks : w->live;

    for (size_t i = 0; !w->ops && w->lo && w->blocks && i < blocks; i++)
        free((void *)(uintptr_t)w->blocks[i].pos); /* NOLINT */
    if (w->ops)
        w->ops->destroy(w->bytes);
    if (w->blocks)
        munmap(w->blocks, whole_pages(blocks * sizeof(*w->blocks)));
    if (w->pool)
        munmap(w->pool, w->pool_bytes);
    w->bytes = NULL;
    w->blocks = NULL;
    w->pool = NULL;
}

/* ---- proof ---- */

/* Every byte of the block is this. */
static int mark_of(const struct workload_block *block)
{
    return (int)((block->pos / ALIGN * 31 + block->size) & 0xff);
}

static bool is_intact(const struct workload_block *block)
{
    const unsigned char *bytes = (const unsigned char *)(uintptr_t)block->pos;

    for (uint64_t i = 0; i < block->size; i++)
        if (bytes[i] != mark_of(block))
            return false;
    return true;
}

static bool replace_marked(struct workload *w, struct workload_block *block)
{
    if (block->pos && (!is_intact(block) || !give(w, true, block->pos, block->size, ALIGN)))
        return false;
    block->size = workload_range(&w->random, w->lo, w->hi);
    block->pos = take(w, true, block->size, ALIGN);
    if (!block->pos || block->pos % ALIGN)
        return false;
    memset((void *)(uintptr_t)block->pos, mark_of(block), block->size);
    return true;
}

int workload_proof(const struct allot_byte_ops *ops, const struct workload_replacing *r)
{
    struct workload w = {
        .ops = ops, .pool_bytes = 4 * r->live * r->hi, .live = r->live, .lo = r->lo, .hi = r->hi};
    bool is_right = workload_open(&w) == 0;

    for (unsigned i = 0; i < r->pairs && is_right; i++)
        is_right = replace_marked(&w, &w.blocks[workload_range(&w.random, 0, r->live - 1)]) &&
                   ops->check(w.bytes) == 0;
    for (unsigned i = 0; i < r->live && is_right; i++)
        is_right =
            is_intact(&w.blocks[i]) && give(&w, true, w.blocks[i].pos, w.blocks[i].size, ALIGN);
    is_right = is_right && ops->check(w.bytes) == 0 && take(&w, true, w.pool_bytes / 4 * 3, ALIGN);
    if (!is_right)
        fprintf(stderr, "bench: %s is wrong\n", ops->name);
    workload_close(&w);
    return is_right ? 0 : -1;
}

/* ---- space ---- */

#define SPACE_START (UINT64_C(1) << 32) /* nothing is there: positions are not dereferenced */

/* Runs in a pool of this size: 1, or 0 where refused, or -1 where it could not be run. */
static int fits(const struct allot_byte_ops *ops, const struct workload_replacing *r, uint64_t pool,
                struct workload_space *ret)
{
    struct workload_meta meta;
    struct allot_byte *bytes = NULL;
    struct workload_block *blocks = calloc(r->live, sizeof(*blocks));
    struct workload_random random = {WORKLOAD_SEED};
    double requested = 0;
    int result = -1;

    workload_meta_init(&meta);
    *ret = (struct workload_space){.pool = (double)pool};
    if (!blocks || ops->create(&meta.meta, &bytes) || ops->init(bytes, SPACE_START, pool))
        goto out;
    result = 1;
    for (unsigned i = 0; i < r->live + r->pairs && result == 1; i++) {
        struct workload_block *b =
            &blocks[i < r->live ? i : workload_range(&random, 0, r->live - 1)];
        if (b->pos && ops->dealloc(bytes, b->pos, b->size, ALIGN))
            result = -1;
        requested -= (double)b->size;
        b->size = workload_range(&random, r->lo, r->hi);
        if (result == 1 && ops->alloc(bytes, b->size, ALIGN, &b->pos))
            result = 0;
        requested += (double)b->size;
        if (requested > ret->requested)
            ret->requested = requested;
    }
    ret->metadata = (double)meta.bytes_peak;
out:
    ops->destroy(bytes);
    free(blocks);
    return result;
}

int workload_space(const struct allot_byte_ops *ops, const struct workload_replacing *r,
                   struct workload_space *ret)
{
    uint64_t low = 0, high = PAGE * 16;
    struct workload_space space;
    int rc;

    while ((rc = fits(ops, r, high, ret)) == 0) {
        low = high;
        high *= 2;
        if (high > UINT64_C(1) << 40)
            return -1;
    }
    while (rc >= 0 && (double)(high - low) > 0.001 * (double)low) {
        uint64_t middle = low + (high - low) / 2 / PAGE * PAGE;
        if (middle == low)
            break;
        rc = fits(ops, r, middle, &space);
        if (rc == 1) {
            *ret = space;
            high = middle;
        } else {
            low = middle;
        }
    }
    return rc < 0 ? -1 : 0;
}
