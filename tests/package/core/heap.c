/* SPDX-License-Identifier: MIT */
/*
 * A program that has nothing but the installed allot-heap and what that brings.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <allot/algorithm.h>
#include <allot/local.h>

/* A name that the library uses inside: a program may have it too. */
int meta_init(void);

int meta_init(void)
{
    return 0;
}

static void hear(void *ctx, enum allot_local_event event, uint64_t start, uint64_t size)
{
    (void)event;
    (void)start;
    (void)size;
    ++*(unsigned *)ctx;
}

int main(void)
{
    static struct allot_local heap;
    const struct allot_byte_ops *ops;
    unsigned events = 0;
    void *block;

    if (allot_byte_find(NULL, &ops) || allot_local_init(&heap, ops, &allot_grower_raw))
        return EXIT_FAILURE;
    heap.trace = hear;
    heap.trace_ctx = &events;
    if (allot_local_alloc(&heap, 1000, 64, &block))
        return EXIT_FAILURE;
    memset(block, 1, 1000);
    if (allot_local_free(&heap, block))
        return EXIT_FAILURE;
    allot_local_deinit(&heap);
    printf("heap: over %s, %u events\n", ops->name, events);
    return EXIT_SUCCESS;
}
