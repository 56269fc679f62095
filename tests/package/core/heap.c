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

int main(void)
{
    static struct allot_local heap;
    const struct allot_byte_ops *ops;
    void *block;

    if (allot_byte_find(NULL, &ops) || allot_local_init(&heap, ops, &allot_grower_raw) ||
        allot_local_alloc(&heap, 1000, 64, &block))
        return EXIT_FAILURE;
    memset(block, 1, 1000);
    if (allot_local_free(&heap, block))
        return EXIT_FAILURE;
    allot_local_deinit(&heap);
    printf("heap: over %s\n", ops->name);
    return EXIT_SUCCESS;
}
