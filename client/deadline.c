/* SPDX-License-Identifier: MIT */
/* Deadlines. A clock that is set does not move them. */
#include <errno.h>
#include <time.h>

#include "allot.h"
#include "deadline.h"

static uint64_t clock_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t deadline_in(int timeout_ms)
{
    return timeout_ms < 0 ? DEADLINE_NEVER : clock_now() + (uint64_t)timeout_ms * NS_PER_MS;
}

uint64_t deadline_after(uint64_t deadline, uint64_t ms)
{
    uint64_t later;

    if (__builtin_mul_overflow(ms, NS_PER_MS, &later) ||
        __builtin_add_overflow(later, deadline, &later))
        return DEADLINE_NEVER;
    return later;
}

uint64_t deadline_left(uint64_t deadline)
{
    if (deadline == DEADLINE_NEVER)
        return UINT64_MAX;
    uint64_t now = clock_now();
    return deadline > now ? deadline - now : 0;
}

bool deadline_sleep(uint64_t deadline, uint64_t wait_ns)
{
    uint64_t now = clock_now();

    if (now >= deadline)
        return false;
    if (wait_ns > deadline - now)
        wait_ns = deadline - now;
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / NS_PER_S),
                            .tv_nsec = (long)(wait_ns % NS_PER_S)};
    (void)nanosleep(&wait, NULL); /* a signal makes it shorter */
    return true;
}

void deadline_cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attributes);
    pthread_condattr_destroy(&attributes);
}

int deadline_wait(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t deadline)
{
    struct timespec until = {.tv_sec = (time_t)(deadline / NS_PER_S),
                             .tv_nsec = (long)(deadline % NS_PER_S)};
    int r = deadline == DEADLINE_NEVER ? pthread_cond_wait(c, lock)
                                       : pthread_cond_timedwait(c, lock, &until);

    return r == ETIMEDOUT ? ALLOT_E_TIMEOUT : 0;
}
