/* SPDX-License-Identifier: MIT */
/* Deadlines: nanoseconds of CLOCK_MONOTONIC. */
#ifndef ALLOT_DEADLINE_H
#define ALLOT_DEADLINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_US UINT64_C(1000)

#define DEADLINE_NEVER UINT64_MAX

uint64_t deadline_in(int timeout_ms); /* -1: never */
/* So much later; never, where that is too late to be a number. */
uint64_t deadline_after(uint64_t deadline, uint64_t ms);
/* Nanoseconds: 0 when it has passed, UINT64_MAX where it never does. */
uint64_t deadline_left(uint64_t deadline);

/* Sleeps so long, or to the deadline: false where that has passed. */
bool deadline_sleep(uint64_t deadline, uint64_t wait_ns);

/* Makes a condition for deadline_wait(), which is pthread_cond_wait() until then: 0, or TIMEOUT. */
void deadline_cond_init(pthread_cond_t *c);
int deadline_wait(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t deadline);

#endif
