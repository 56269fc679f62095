/* SPDX-License-Identifier: MIT */
/*
 * grow_heap [ALGORITHM]: a heap that is made to grow eight times, each time twice as much, and says
 * how it stands.
 */
#include <stdio.h>
#include <stdlib.h>

#include <allot/algorithm.h>
#include <allot/local.h>

#define GROWTHS 8

int main(int argc, char **argv)
{
    static struct allot_local heap;
    const struct allot_byte_ops *ops;
    struct allot_local_stats stats;
    uint64_t before = 0;
    char text[128];

    if (argc > 2 || allot_byte_find(argc > 1 ? argv[1] : NULL, &ops)) {
        fputs("usage: grow_heap [tlsf | buddy | slab | first-fit]\n", stderr);
        return 2;
    }
    if (allot_local_init(&heap, ops, &allot_grower_raw)) {
        fputs("grow_heap: no memory\n", stderr);
        return EXIT_FAILURE;
    }
    for (unsigned i = 0; i < GROWTHS; i++) {
        size_t size = (size_t)1 << (20 + i);

        if (allot_local_grow(&heap, size)) {
            fprintf(stderr, "grow_heap: no memory to grow by %zu bytes\n", size);
            return EXIT_FAILURE;
        }
        allot_local_measure(&heap, &stats);
        allot_local_stats_text(&stats, text, sizeof(text));
        printf("grown by %zu: %s\n", size, text);
        if (stats.total < before + size || stats.size != stats.total) {
            fputs("grow_heap: something is missing\n", stderr);
            return EXIT_FAILURE;
        }
        before = stats.total;
    }
    allot_local_deinit(&heap);
    return EXIT_SUCCESS;
}
