/* SPDX-License-Identifier: MIT */
/*
 * Seeded random runs of a byte allocator, through its table alone, against a plain reference:
 * sorted arrays of the managed ranges and of the live blocks. Every answer is compared, also
 * refusals, and the allocator is rebuilt through claim() in random order and goes on as the rebuilt
 * one.
 */
#ifndef ALLOT_TEST_BYTE_MODEL_H
#define ALLOT_TEST_BYTE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include <allot/align.h>
#include <allot/byte.h>

struct byte_model_plan {
    const struct allot_byte_ops *ops;
    uint64_t granule;
    /* Refuses only what no free run of size + align - granule holds, and largest_free() is the
     * longest free run: true of allocators that can place a block anywhere. */
    bool exact;
    /* Free memory may be divided for blocks of one size: other claims there are refused. */
    bool divides;
    uint64_t base; /* all managed ranges lie in [base, base+space) */
    uint64_t space;
    uint64_t size_max;
    uint64_t align_max;
    unsigned live_max; /* at most BYTE_MODEL_LIVE_MAX */
    unsigned operations;
    unsigned check_every;
    unsigned rebuild_every;
    unsigned metadata_failure_every; /* about; 0: never */
    uint64_t seed;
};

#define BYTE_MODEL_LIVE_MAX 4096

/* False after it has told on stderr what was wrong, at which operation, and the seed. */
bool byte_model_run(const struct byte_model_plan *plan);

#endif
