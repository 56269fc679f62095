/* SPDX-License-Identifier: MIT */
/*
 * hello_world [ALGORITHM]: a vector of 2^20 numbers that grows as it is pushed to, in a heap of its
 * own; then what the heap says of itself.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <allot/algorithm.h>
#include <allot/local.h>

#define PUSHES (UINT32_C(1) << 20)

struct vector {
    struct allot_local *heap;
    uint64_t *at;
    size_t length;
    size_t capacity;
};

static int push(struct vector *v, uint64_t value)
{
    if (v->length == v->capacity) {
        size_t capacity = v->capacity ? 2 * v->capacity : 4;
        void *at;
        int err = v->at ? allot_local_realloc(v->heap, v->at, capacity * sizeof(*v->at), &at)
                        : allot_local_alloc(v->heap, capacity * sizeof(*v->at), 16, &at);

        if (err)
            return err;
        v->at = at;
        v->capacity = capacity;
    }
    v->at[v->length++] = value;
    return 0;
}

static void print_stats(const struct allot_local *heap)
{
    struct allot_local_stats stats;
    char text[128];

    allot_local_measure(heap, &stats);
    allot_local_stats_text(&stats, text, sizeof(text));
    puts(text);
}

int main(int argc, char **argv)
{
    static struct allot_local heap;
    const struct allot_byte_ops *ops;
    struct vector v = {.heap = &heap};
    uint64_t sum = 0;

    if (argc > 2 || allot_byte_find(argc > 1 ? argv[1] : NULL, &ops)) {
        fputs("usage: hello_world [tlsf | buddy | slab | first-fit]\n", stderr);
        return 2;
    }
    if (allot_local_init(&heap, ops, &allot_grower_raw)) {
        fputs("hello_world: no memory\n", stderr);
        return EXIT_FAILURE;
    }
    for (uint32_t i = 0; i < PUSHES; i++) {
        if (push(&v, i)) {
            fprintf(stderr, "hello_world: no memory after %zu numbers\n", v.length);
            return EXIT_FAILURE;
        }
    }
    for (size_t i = 0; i < v.length; i++)
        sum += v.at[i];
    printf("Hello, world! %zu numbers, sum %" PRIu64 "\n", v.length, sum);
    print_stats(&heap);
    if (allot_local_free(&heap, v.at)) {
        fputs("hello_world: the vector is not allocated\n", stderr);
        return EXIT_FAILURE;
    }
    print_stats(&heap);
    allot_local_deinit(&heap);
    return sum == (uint64_t)PUSHES * (PUSHES - 1) / 2 ? EXIT_SUCCESS : EXIT_FAILURE;
}
