/* SPDX-License-Identifier: MIT */
/* The time that deadlines are in: it goes on when the daemon ends, until the machine does. */
#ifndef ALLOTD_CLOCK_H
#define ALLOTD_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC, in nanoseconds. */
static inline uint64_t clock_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* So many milliseconds from now; what lies too far off is never. */
static inline uint64_t clock_in(uint64_t ms)
{
    uint64_t ns;

    if (__builtin_mul_overflow(ms, UINT64_C(1000000), &ns) ||
        __builtin_add_overflow(ns, clock_now(), &ns))
        return UINT64_MAX;
    return ns;
}

/* Milliseconds from now to `deadline`, rounded up; 0 where it has passed. */
static inline uint64_t clock_until(uint64_t deadline)
{
    uint64_t now = clock_now();

    return deadline > now ? (deadline - now - 1) / 1000000 + 1 : 0;
}

#endif
