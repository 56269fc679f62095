/* SPDX-License-Identifier: MIT */
/*
 * Runs of a byte allocator, through its table alone, against a plain reference: sorted arrays of
 * the managed ranges and of the live blocks. Every answer is compared, also refusals.
 *
 * Where a function returns false, it has told on stderr what was wrong, at which operation, and the
 * seed.
 */
#ifndef ALLOT_TEST_BYTE_MODEL_H
#define ALLOT_TEST_BYTE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <allot/align.h>
#include <allot/byte.h>

#define BYTE_GRANULE        16
#define BYTE_MODEL_LIVE_MAX 4096

/* Where an allocator can place a block. */
enum byte_places {
    BYTE_ANYWHERE, /* at any multiple of the granule */
    BYTE_POWERS,   /* a power of two, at a multiple of itself */
    /* Free memory may be divided for blocks of one size: other claims there are refused, and how
     * large a block is left is not foretold. */
    BYTE_DIVIDED,
};

struct byte_traits {
    const struct allot_byte_ops *ops;
    enum byte_places places;
    bool tries_all;              /* refuses an aligned request only where no free run holds it */
    uint64_t block_metadata_max; /* bytes a block, where a million blocks of 64 bytes are */
};

struct byte_model_plan {
    uint64_t base; /* all managed ranges lie in [base, base+space) */
    uint64_t space;
    uint64_t size_max;
    uint64_t align_max;
    unsigned live_max; /* at most BYTE_MODEL_LIVE_MAX; up to 256, every step is compared */
};

/* Random operations of all kinds: ranges come and go, metadata is refused now and then, and the
 * allocator is rebuilt through claim() in random order and goes on as the rebuilt one. */
bool byte_model_run(const struct byte_traits *traits, const struct byte_model_plan *plan,
                    uint64_t seed, unsigned long operations);

/* The same as the bytes have it, until they end. */
bool byte_model_play(const struct byte_traits *traits, const struct byte_model_plan *plan,
                     const unsigned char *bytes, size_t size);

/* For callers with operations of their own. Traits and plan must outlive the model. */
struct byte_model *byte_model_open(const struct byte_traits *traits,
                                   const struct byte_model_plan *plan, uint64_t seed);
bool byte_model_add_memory(struct byte_model *m, uint64_t start, uint64_t size);
bool byte_model_alloc(struct byte_model *m, uint64_t size, uint64_t align); /* or a right refusal */
bool byte_model_dealloc(struct byte_model *m, unsigned i);                  /* i-th by position */
unsigned byte_model_live(const struct byte_model *m);
bool byte_model_compare(struct byte_model *m);
/* Unless something was wrong (`fine` false): rebuilds, frees all and compares. Then ends it. */
bool byte_model_close(struct byte_model *m, bool fine);

#endif
