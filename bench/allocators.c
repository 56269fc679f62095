/* SPDX-License-Identifier: MIT */
/*
 * The byte allocators that are measured, a line for each, and metadata from malloc.
 */
#include <stdlib.h>

#include "lib.h"

const struct allot_byte_ops *const lib_allocators[] = {
    &allot_tlsf, &allot_slab, &allot_buddy, &allot_first_fit, NULL,
};

static void *meta_resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    (void)ctx;
    (void)old_size;
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, new_size);
}

const struct allot_meta bench_meta = {.resize = meta_resize};
