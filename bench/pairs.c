/* SPDX-License-Identifier: MIT */
/*
 * allot-bench-pairs ALLOCATOR LIVE PAIRS: what callgrind counts for the benchmark "lib".
 *
 * LIVE blocks of 16 to 4096 bytes are allocated; then PAIRS times a random one is replaced, in a
 * function of its own, to which counting is limited. Blocks are not touched: they are nowhere.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib.h"
#include "workload.h"

#define BLOCK_MIN 16u
#define BLOCK_MAX 4096u
#define ALIGN     8u
#define START     (UINT64_C(1) << 40)
#define POOL      (UINT64_C(1) << 40)

/* The name is known to instructions.c. */
__attribute__((noinline)) int bench_pairs(struct allot_byte *bytes, struct workload_block *blocks,
                                          unsigned live, unsigned pairs);

static struct workload_random random_ = {WORKLOAD_SEED};

int bench_pairs(struct allot_byte *bytes, struct workload_block *blocks, unsigned live,
                unsigned pairs)
{
    int rc = 0;

    for (unsigned i = 0; i < pairs && !rc; i++) {
        struct workload_block *b = &blocks[workload_range(&random_, 0, live - 1)];
        rc = bytes->ops->dealloc(bytes, b->pos, b->size, ALIGN);
        b->size = workload_range(&random_, BLOCK_MIN, BLOCK_MAX);
        if (!rc)
            rc = bytes->ops->alloc(bytes, b->size, ALIGN, &b->pos);
    }
    return rc;
}

int main(int argc, char **argv)
{
    const struct allot_byte_ops *const *ops = lib_allocators;
    struct workload_meta meta;
    struct allot_byte *bytes;

    if (argc != 4)
        return 2;
    unsigned live = (unsigned)strtoul(argv[2], NULL, 10);
    unsigned pairs = (unsigned)strtoul(argv[3], NULL, 10);
    struct workload_block *blocks = calloc(live, sizeof(*blocks));
    while (*ops && strcmp((*ops)->name, argv[1]) != 0)
        ops++;
    workload_meta_init(&meta);
    if (!*ops || !live || !blocks || (*ops)->create(&meta.meta, &bytes))
        return EXIT_FAILURE;
    int rc = (*ops)->init(bytes, START, POOL);
    for (unsigned i = 0; i < live && !rc; i++) {
        blocks[i].size = workload_range(&random_, BLOCK_MIN, BLOCK_MAX);
        rc = bytes->ops->alloc(bytes, blocks[i].size, ALIGN, &blocks[i].pos);
    }
    if (!rc)
        rc = bench_pairs(bytes, blocks, live, pairs);
    (*ops)->destroy(bytes);
    free(blocks);
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
