/* SPDX-License-Identifier: MIT */
/* What the group "lib" is made of, beside its workloads. Each function reports its rows and returns
 * 0, or -1 where something failed to run. */
#ifndef ALLOT_BENCH_LIB_H
#define ALLOT_BENCH_LIB_H

#include <allot/byte.h>

#include "bench.h"

/* The byte allocators that are built, up to a NULL. */
extern const struct allot_byte_ops *const lib_allocators[];

/* Pages at every occupancy, beside malloc with workload a1. */
int lib_occupancy(struct bench *b);

/* Instructions for a pair with 10^6 blocks live, beside those with 10^3. */
int lib_instructions(struct bench *b, const struct allot_byte_ops *ops, double goal);

#endif
