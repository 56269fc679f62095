/* SPDX-License-Identifier: MIT */
/*
 * What the storms share: many client processes at work, and a test that kills. The moments are
 * counted in the clients' operations, never in time.
 */
#ifndef ALLOT_TEST_STORM_H
#define ALLOT_TEST_STORM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../unit/support.h"
#include "stage.h"

#define STORM_CLIENTS 32u
#define STORM_BOARD   64u

/* A ticket that anybody may take. Its two halves are written and read in two steps, so now and then
 * somebody sees one half of each of two tickets, as a forger would make it. */
struct storm_ticket {
    atomic_uint_least64_t place;
    atomic_uint_least64_t generation;
};

/* In memory that all processes share. */
struct storm {
    char socket[108];
    atomic_bool stop; /* the clients give everything back and end */
    atomic_uint_least64_t operations;
    atomic_uint_least64_t refused;
    atomic_uint_least64_t repeated; /* answers that came once more */
    atomic_uint_least64_t taken;    /* by somebody else's ticket */
    atomic_uint_least64_t stale;
    atomic_uint_least64_t published;
    atomic_uint_least64_t found;   /* by its name */
    atomic_uint_least64_t waited;  /* granted to who would have waited */
    atomic_uint_least64_t in_vain; /* it has waited */
    atomic_uint_least64_t sessions[STORM_CLIENTS];
    struct storm_ticket board[STORM_BOARD];
};

/* One client of it. */
struct storm_client {
    struct storm *storm;
    unsigned index;
    uint64_t seed;
};

struct storm *storm_new(const struct stage *st);
void storm_free(struct storm *s);

/* Waits until `more` operations have been carried out since now. */
void storm_wait(const struct storm *s, uint64_t more);

/* Nothing is left of the clients, which have all ended, in the pool "default", which had so many
 * free pages before. */
void storm_expect_nothing(const struct storm *s, uint64_t free_pages);
uint64_t storm_free_pages(const struct storm *s);

/* In a run with ALLOT_TORTURE_LONG `long_run`, else `short_run`. */
uint64_t storm_length(uint64_t short_run, uint64_t long_run);
/* The run's seed; it is printed. */
uint64_t storm_seed(void);

#endif
