/* SPDX-License-Identifier: MIT */
/*
 * What the three programs of the digest example say to each other: one struct, one packet, over
 * socket pairs that the starter made and they inherited. All run on one machine from one build.
 */
#ifndef DIGEST_WIRE_H
#define DIGEST_WIRE_H

#include <stdint.h>
#include <time.h>

#include <nettle/sha2.h>

#define DIGEST_CONSUMERS 3

/* Inherited descriptors. The producer's channels are CHANNEL_FD and the ones after it. */
#define DIGEST_REPORT_FD  3
#define DIGEST_CHANNEL_FD 4

/* Producer to consumer. No byte of a file is in it; end of file is the end of the work. */
struct digest_task {
    uint64_t index;  /* of the file */
    uint64_t offset; /* of its buffer in the pool; 0 where it is empty */
    uint64_t size;   /* bytes */
};

/* Consumer to producer: the buffer is no longer looked at. */
struct digest_answer {
    uint64_t index;
    uint8_t digest[SHA256_DIGEST_SIZE];
};

/* Each of them to the starter, once, when its work is done. It keeps its session until the starter
 * closes the other end. */
struct digest_report {
    int64_t pid;
    uint64_t session;
    uint64_t files, empty, bytes; /* hashed: the producer counts its own view, consumers theirs */
    uint64_t skipped;
    uint64_t allocations;
    uint64_t daemon_sent, daemon_received;   /* bytes over the session's socket */
    uint64_t channel_sent, channel_received; /* bytes over the channels */
    uint64_t nanoseconds;                    /* the work, by the clock */
    uint64_t cpu_nanoseconds;
};

/* In process.c. */

/* Prints "PROGRAM: what: why" and exits with 1. `error` is liballot's code, or 0 for errno. */
__attribute__((noreturn)) void digest_fail(const char *what, int error);
uint64_t digest_clock(clockid_t clock);
/* Sends the report (whose pid and CPU time it fills in) and waits until the starter hangs up. */
void digest_report_send(struct digest_report *report);

#endif
