/* SPDX-License-Identifier: MIT */
/*
 * The loops by which byte allocators are compared with glibc's malloc: the same code for both, with
 * the allocator's calls put in at compile time for malloc and by its table for ours. Every block's
 * first word is written, in both.
 */
#ifndef ALLOT_BENCH_WORKLOAD_H
#define ALLOT_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <allot/byte.h>

/* xorshift64*, as in the workloads that are re-created. */
#define WORKLOAD_SEED UINT64_C(0x9E3779B97F4A7C15)

struct workload_random {
    uint64_t x;
};

static inline uint64_t workload_range(struct workload_random *r, uint64_t lo, uint64_t hi)
{
    r->x ^= r->x >> 12;
    r->x ^= r->x << 25;
    r->x ^= r->x >> 27;
    return lo + ((((r->x * UINT64_C(0x2545F4914F6CDD1D)) >> 32) * (hi - lo + 1)) >> 32);
}

/* Metadata memory: pages of its own, so that malloc, which is the yardstick, sees nothing of it. */
struct workload_meta {
    struct allot_meta meta;
    size_t bytes; /* held now */
    size_t bytes_peak;
};

void workload_meta_init(struct workload_meta *m); /* which must not move any more */

/* A trace, as told in traces/README.md. */
struct trace_step {
    uint32_t id;
    uint32_t is_free : 1, align : 6, size : 25; /* of the block */
};

struct trace {
    struct trace_step *steps;
    size_t n_steps, n_blocks;
};

int trace_read(struct trace *t, const char *path);
void trace_free(struct trace *t);

struct workload_block {
    uint64_t pos, size;
};

/* One allocator and one loop. */
struct workload {
    const struct allot_byte_ops *ops; /* NULL: malloc */
    uint64_t pool_bytes;
    bool small_pages; /* of 4 KiB, in the pool */
    unsigned live;    /* blocks: depth of the stack, or number of those that are replaced */
    unsigned repeat;  /* of a round; workload_lifo, _pinned and _trace double it to 5 ms or more */
    unsigned warm;    /* pairs when replacing begins, uncounted: until all pages were touched */
    uint64_t lo, hi;  /* sizes */
    const struct trace *trace;

    struct workload_meta meta;
    struct allot_byte *bytes;
    void *pool;
    struct workload_block *blocks;
    struct workload_random random;
};

/* The loops. Each is one round and returns ns per pair, or per free in workload_scan; negative
 * where an allocator failed. */
double workload_lifo(void *workload);    /* a1, a3 */
double workload_pinned(void *workload);  /* a2: one more block lives meanwhile */
double workload_replace(void *workload); /* b, c: the blocks live from call to call */
double workload_scan(void *workload);
double workload_trace(void *workload);

/* With ops, pool_bytes and what the loop needs set. 0, or -1 and said why. */
int workload_open(struct workload *w);
void workload_close(struct workload *w);

struct workload_replacing {
    uint64_t lo, hi;
    unsigned live, pairs;
};

/* Replacing with every byte of each block written and found again, and the allocator's own check
 * after each pair; at last all is free in one piece. 0, or -1 and said what is wrong. */
int workload_proof(const struct allot_byte_ops *ops, const struct workload_replacing *r);

/* The smallest pool, to 0.1 %, in which replacing runs unrefused, and the peaks of what it held and
 * asked for. */
struct workload_space {
    double pool, metadata, requested;
};

int workload_space(const struct allot_byte_ops *ops, const struct workload_replacing *r,
                   struct workload_space *ret);

#endif
