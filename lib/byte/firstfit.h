/* SPDX-License-Identifier: MIT */
/*
 * The state of a first-fit allocator, for firstfit.c and firstfit_check.c alone.
 */
#ifndef ALLOT_BYTE_FIRSTFIT_H
#define ALLOT_BYTE_FIRSTFIT_H

#include <allot/byte.h>

#include "runtree.h"

struct firstfit {
    struct allot_byte base;
    struct runtree runs;
    uint64_t total;
    uint64_t used;
};

int firstfit_check(const struct allot_byte *b);
int firstfit_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx);

#endif
