/* SPDX-License-Identifier: MIT */
/*
 * core NAME…: a program that has nothing but the installed allot-core. The byte allocators named
 * are built in and work, all others are known to be left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <allot/algorithm.h>
#include <allot/heap.h>

/* A name that the library uses inside: a program may have it too. */
int runmap_check(void);

int runmap_check(void)
{
    return 0;
}

static void *resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    (void)ctx;
    (void)old_size;
    if (new_size)
        return realloc(ptr, new_size);
    free(ptr);
    return NULL;
}

static const struct allot_meta meta = {resize, NULL};

static int works(const struct allot_byte_ops *ops)
{
    struct allot_byte *b;
    uint64_t pos;
    int good;

    if (ops->create(&meta, &b))
        return 0;
    good = !ops->init(b, 4096, 1 << 20) && !ops->alloc(b, 100, 8, &pos) && pos >= 4096 &&
           !ops->dealloc(b, pos, 100, 8) && !ops->used_bytes(b) && !ops->check(b);
    ops->destroy(b);
    return good;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"tlsf", "first-fit", "buddy", "slab"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct allot_byte_ops *ops;
        int err = allot_byte_find(names[i], &ops), wanted = 0;

        for (int k = 1; k < argc; k++)
            wanted |= !strcmp(argv[k], names[i]);
        if (wanted ? err || !works(ops) : err != ALLOT_E_NOT_BUILT) {
            fprintf(stderr, "core: %s: %d\n", names[i], err);
            return EXIT_FAILURE;
        }
    }
    printf("core: %d byte allocators\n", argc - 1);
    return EXIT_SUCCESS;
}
