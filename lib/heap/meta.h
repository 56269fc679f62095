/* SPDX-License-Identifier: MIT */
/*
 * Metadata memory over a grower: the provider that a local heap hands to its byte allocator.
 */
#ifndef ALLOT_HEAP_META_H
#define ALLOT_HEAP_META_H

#include <allot/local.h>
#include <allot/meta.h>

void meta_init(struct allot_local_meta *m, struct allot_grower *grower);
/* After the byte allocator is destroyed. */
void meta_deinit(struct allot_local_meta *m);
/* `ctx` is a struct allot_local_meta. */
void *meta_resize(void *ctx, void *ptr, size_t old_size, size_t new_size);

#endif
