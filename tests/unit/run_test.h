/* SPDX-License-Identifier: MIT */
/*
 * The tests that pages and IDs share: both take and give back runs of units, so both are played
 * through the ID table. Units are below `units_max`, a power of two of 2^27 or more.
 */
#ifndef ALLOT_TEST_RUN_TEST_H
#define ALLOT_TEST_RUN_TEST_H

#include <stddef.h>
#include <stdint.h>

#include <allot/id.h>

#include "support.h"

/* Pages by the ID table, of 4 KiB and of 2 MiB, and how many there are. */
#define RUN_SMALL_PAGES_MAX (UINT64_C(1) << 36)
#define RUN_HUGE_PAGES_MAX  (UINT64_C(1) << 27)
extern const struct allot_id_ops run_small_pages, run_huge_pages;

/* The contract line by line, random runs and failing metadata: a group of cases. The number of
 * those that failed. `is_allocated` may be NULL. */
int run_contract(const struct allot_id_ops *ops, uint64_t units_max);

/* 10^6 steps (times ALLOT_STEPS) against a plain array, three fifths of them in spaces so small
 * that everything is compared after each. */
void run_model_play(const struct allot_id_ops *ops, uint64_t units_max, uint64_t seed);

/* Shorter ones, in which each request for metadata memory is refused in turn. */
void run_model_faults(const struct allot_id_ops *ops, uint64_t units_max, uint64_t seed);

/* One in a small space as the bytes have it, until they end, metadata refused now and then. */
void run_model_bytes(const struct allot_id_ops *ops, uint64_t units_max, const unsigned char *bytes,
                     size_t size);

#endif
