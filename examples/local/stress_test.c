/* SPDX-License-Identifier: MIT */
/*
 * stress_test [ALGORITHM [STEPS [MIN [MAX]]]]: random blocks come and go, MIN to MAX bytes each
 * (default 65,536 steps of 1 KiB to 1 MiB). After every step the heap's list of runs must be in
 * order, and in the end every invariant of the allocator hold.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

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

struct block {
    unsigned char *at; /* NULL: none */
    size_t size;
};

static bool is_valid(const struct allot_local *heap, uint64_t step)
{
    struct allot_local_validity v;
    char text[128];

    allot_local_validate(heap, &v);
    if (!v.overlaps && !v.out_of_order) /* free runs may touch: buddies that do not fit */
        return true;
    allot_local_validity_text(&v, text, sizeof(text));
    fprintf(stderr, "stress_test: step %" PRIu64 ": %s\n", step, text);
    return false;
}

static bool put(struct allot_local *heap, struct block *block, unsigned char mark, uint64_t low,
                uint64_t high)
{
    block->size = range(low, high);
    if (allot_local_alloc(heap, block->size, (size_t)1 << range(0, 12), (void **)&block->at)) {
        fprintf(stderr, "stress_test: no memory for %zu bytes\n", block->size);
        return false;
    }
    block->at[0] = block->at[block->size - 1] = mark;
    return true;
}

static bool take(struct allot_local *heap, struct block *block, unsigned char mark)
{
    if (block->at[0] != mark || block->at[block->size - 1] != mark) {
        fprintf(stderr, "stress_test: %p was written over\n", (void *)block->at);
        return false;
    }
    if (allot_local_free(heap, block->at)) {
        fprintf(stderr, "stress_test: %p is not allocated\n", (void *)block->at);
        return false;
    }
    block->at = NULL;
    return true;
}

/* Decimal digits only, a value below 2^32. */
static bool parse(const char *text, uint64_t *ret)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    *ret = strtoull(text, &end, 10);
    return !*end && !(*ret >> 32);
}

int main(int argc, char **argv)
{
    static struct allot_local heap;
    const struct allot_byte_ops *ops;
    uint64_t number[] = {65536, 1024, 1048576}, steps, low, high;
    struct block blocks[SLOTS] = {{NULL, 0}};
    struct allot_local_stats stats;
    char text[128];
    bool ok = argc <= 5 && !allot_byte_find(argc > 1 ? argv[1] : NULL, &ops);

    for (int i = 2; ok && i < argc; i++)
        ok = parse(argv[i], &number[i - 2]);
    steps = number[0];
    low = number[1];
    high = number[2];
    if (!ok || !low || high < low) {
        fputs("usage: stress_test [tlsf | buddy | slab | first-fit [STEPS [MIN [MAX]]]]\n"
              "       0 < MIN <= MAX < 2^32 bytes\n",
              stderr);
        return 2;
    }
    if (allot_local_init(&heap, ops, &allot_grower_raw)) {
        fputs("stress_test: no memory\n", stderr);
        return EXIT_FAILURE;
    }
    for (uint64_t step = 0; step < steps; step++) {
        unsigned char slot = (unsigned char)range(0, SLOTS - 1);
        struct block *block = &blocks[slot];

        ok = block->at ? take(&heap, block, slot) : put(&heap, block, slot, low, high);
        if (!ok || !is_valid(&heap, step))
            return EXIT_FAILURE;
    }
    if (heap.bytes->ops->check(heap.bytes)) {
        fputs("stress_test: an invariant does not hold\n", stderr);
        return EXIT_FAILURE;
    }
    allot_local_measure(&heap, &stats);
    allot_local_stats_text(&stats, text, sizeof(text));
    printf("%" PRIu64 " steps: %s\n", steps, text);
    allot_local_deinit(&heap);
    return EXIT_SUCCESS;
}
