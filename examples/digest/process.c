/* SPDX-License-Identifier: MIT */
/* Digest example: what its programs have in common. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <allot.h>

#include "wire.h"

void digest_fail(const char *what, int error)
{
    const char *why = error && error != ALLOT_E_SYSTEM ? allot_strerror(error) : strerror(errno);

    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
    exit(EXIT_FAILURE);
}

uint64_t digest_clock(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void digest_report_send(struct digest_report *report)
{
    char byte;

    report->pid = getpid();
    report->cpu_nanoseconds = digest_clock(CLOCK_PROCESS_CPUTIME_ID);
    if (send(DIGEST_REPORT_FD, report, sizeof(*report), MSG_NOSIGNAL) != sizeof(*report))
        digest_fail("reporting", 0);
    while (recv(DIGEST_REPORT_FD, &byte, 1, 0) < 0)
        if (errno != EINTR)
            break;
}
