/* SPDX-License-Identifier: MIT */
/*
 * The state of a TLSF allocator, for tlsf.c and tlsf_check.c alone.
 */
#ifndef ALLOT_BYTE_TLSF_H
#define ALLOT_BYTE_TLSF_H

#include <allot/byte.h>

#include "bins.h"
#include "nodes.h"

struct tlsf {
    struct allot_byte base;
    struct nodes nodes;
    uint64_t total;
    uint64_t used;
    uint64_t top_size; /* of `top`; 0 where there is none */
    uint32_t
        ready; /* alloc() can go ahead at once so many times: memory, buckets and bins are there */
    uint32_t ranges; /* tree of the range headers */
    uint32_t runs;   /* tree of the free runs, while by_position */
    uint32_t recent; /* the node that was made free or looked at last, if it is a free run */
    uint32_t top;    /* a large free run that is in no bin; 0 while by_position */
    bool by_position;
    struct bins bins; /* of the other free runs, unless by_position */
};

int tlsf_check(const struct allot_byte *b);
int tlsf_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx);

#endif
