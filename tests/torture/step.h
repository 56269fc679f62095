/* SPDX-License-Identifier: MIT */
/*
 * Single-stepping: what a kill after each instruction leaves behind in shared memory.
 *
 * A killed process leaves its shared memory exactly as its last instruction left it, so a copy
 * taken between two instructions is what a restart after a kill at that point finds.
 */
#ifndef ALLOT_TEST_STEP_H
#define ALLOT_TEST_STEP_H

#include <stddef.h>

struct stepping {
    void *world;
    void (*act)(void *world, void *arg); /* in a traced child */
    void *arg;
    size_t size; /* of an image: the shared memory that counts */
    void (*copy)(void *world, unsigned char *image);
    void (*look)(void *ctx, const unsigned char *image); /* it may step through something itself */
    void *ctx;
    unsigned every; /* look at each so many instructions as well; 0: only where something changed */
};

/* Calls look() after each instruction that changed the image. How many instructions there were. A
 * child that does not come through fails the test. */
unsigned long step_through_all(const struct stepping *s);

/* Tracer and traced take turns: on one processor a turn costs a tenth. */
void step_on_one_processor(void);

/* In the long run: every 7th instruction of a recovery, whether it changed anything or not. */
unsigned step_recovery_every(void);

#endif
