/* SPDX-License-Identifier: MIT */
/*
 * What every byte allocator is tested for, through its table. Each test program names its allocator
 * once and adds the cases that are its own.
 *
 *   byte_contract.c  each line of byte.h, and what the originals get wrong
 *   byte_faults.c    every request for metadata memory fails once
 *   byte_runs.c      random runs against the model, and the originals' own workloads
 *   byte_cost.c      instructions, counted, so that no clock is asked
 */
#ifndef ALLOT_TEST_BYTE_SUITE_H
#define ALLOT_TEST_BYTE_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "byte_model.h"
#include "support.h"

/* The allocator that this program is about; each program defines it. */
extern const struct byte_traits subject;

struct fixture {
    struct test_meta meta;
    struct allot_byte *b; /* manages nothing yet */
};

int setup(void **state);
int teardown(void **state); /* fails where metadata is left */

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

void check(struct allot_byte *b);

/* One that is granted, aligned, and leaves everything right. */
uint64_t alloc(struct allot_byte *b, uint64_t size, uint64_t align);

int byte_contract_run(void);
int byte_faults_run(void);
int byte_runs_run(void);
int byte_cost_run(void);

/* For all but first-fit, which tries all places and says so. */
void test_byte__an_aligned_request_tries_a_bounded_number(void **state);

/* All of them; the number of cases that failed. */
static inline int byte_suite_run(void)
{
    return byte_contract_run() + byte_faults_run() + byte_runs_run() + byte_cost_run();
}

#endif
