/* SPDX-License-Identifier: MIT */
/*
 * stress_test [STEPS [MIN [MAX [ALGORITHM]]]]: random blocks come and go, MIN to MAX bytes each
 * (default 65,536 steps of 1 KiB to 1 MiB). After every step the heap's list of runs must be in
 * order.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <allot/algorithm.h>
#include <allot/local.h>

#define SLOTS 128

/* xorshift64*: S. Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
static uint64_t next(void)
{
    static uint64_t x = UINT64_C(0x9E3779B97F4A7C15);

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

static uint64_t range(uint64_t low, uint64_t high)
{
    return low + (((next() >> 32) * (high - low + 1)) >> 32);
}

/* Buddies of different sizes and an empty slab's neighbours lie side by side. */
static int joins_all(const struct allot_local *heap)
{
    const char *name = heap->bytes->ops->name;

    return !strcmp(name, "tlsf") || !strcmp(name, "first-fit");
}

static int is_valid(const struct allot_local *heap, unsigned long step)
{
    struct allot_local_validity v;
    char text[128];

    allot_local_validate(heap, &v);
    if (!v.overlaps && !v.out_of_order && !(v.adjacents && joins_all(heap)))
        return 1;
    allot_local_validity_text(&v, text, sizeof(text));
    fprintf(stderr, "step %lu: %s\n", step, text);
    return 0;
}

int main(int argc, char **argv)
{
    static struct allot_local heap;
    unsigned long steps = argc > 1 ? strtoul(argv[1], NULL, 0) : 65536;
    uint64_t low = argc > 2 ? strtoull(argv[2], NULL, 0) : 1024;
    uint64_t high = argc > 3 ? strtoull(argv[3], NULL, 0) : 1048576;
    unsigned char *block[SLOTS] = {NULL};
    const struct allot_byte_ops *ops;
    struct allot_local_stats stats;
    char text[128];

    if (!low || high < low || high >> 32 || allot_byte_find(argc > 4 ? argv[4] : NULL, &ops) ||
        allot_local_init(&heap, ops, &allot_grower_raw))
        return EXIT_FAILURE;
    for (unsigned long step = 0; step < steps; step++) {
        unsigned slot = (unsigned)range(0, SLOTS - 1);
        size_t size = range(low, high);
        int err;

        if (block[slot]) {
            err = *block[slot] != slot || allot_local_free(&heap, block[slot]);
            block[slot] = NULL;
        } else {
            err = allot_local_alloc(&heap, size, (size_t)1 << range(0, 12), (void **)&block[slot]);
            if (!err)
                memset(block[slot], (int)slot, low);
        }
        if (err || !is_valid(&heap, step))
            return EXIT_FAILURE;
    }
    allot_local_measure(&heap, &stats);
    allot_local_stats_text(&stats, text, sizeof(text));
    printf("%lu steps: %s\n", steps, text);
    allot_local_deinit(&heap);
    return EXIT_SUCCESS;
}
