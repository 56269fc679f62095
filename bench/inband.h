/* SPDX-License-Identifier: MIT */
/* A TLSF that keeps its metadata in the blocks: the yardstick of ours, which keeps it outside. */
#ifndef ALLOT_BENCH_INBAND_H
#define ALLOT_BENCH_INBAND_H

#include <allot/byte.h>

/* With create, destroy, init, alloc (alignments up to 16), dealloc and check only. Positions are
 * addresses, and what lies there is written to. */
extern const struct allot_byte_ops bench_inband;

#endif
