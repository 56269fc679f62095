/* SPDX-License-Identifier: MIT */
/*
 * Digest example: a consumer.
 *
 * It attaches the pool for reading and is told where files lie in it; it hashes them where they
 * are and answers. What it is told is checked against the mapping, as the word of a stranger would
 * be: an offset that leaves the pool ends the program instead of reading beside it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <allot.h>
#include <nettle/sha2.h>

#include "wire.h"

static bool take_task(struct digest_task *task, struct digest_report *report)
{
    ssize_t n;

    do
        n = recv(DIGEST_CHANNEL_FD, task, sizeof(*task), MSG_TRUNC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        digest_fail("receiving a task", 0);
    if (n == 0)
        return false;
    if ((size_t)n != sizeof(*task)) {
        fprintf(stderr, "digest-consumer: a task of %zd bytes\n", n);
        exit(EXIT_FAILURE);
    }
    report->channel_received += (uint64_t)n;
    return true;
}

static void hash(const struct allot_pool *pool, const struct digest_task *task, uint8_t *digest)
{
    uint64_t end = allot_pool_size(pool);
    struct sha256_ctx ctx;

    sha256_init(&ctx);
    if (task->size) {
        const uint8_t *bytes = allot_ptr(pool, task->offset);

        if (!bytes || task->size > end - task->offset) {
            fprintf(stderr, "digest-consumer: a buffer outside of the pool\n");
            exit(EXIT_FAILURE);
        }
        sha256_update(&ctx, task->size, bytes);
    }
    sha256_digest(&ctx, SHA256_DIGEST_SIZE, digest);
}

int main(int argc, char **argv)
{
    struct digest_report report = {0};
    struct allot_traffic traffic;
    struct allot_pool *pool;
    struct digest_task task;
    struct allot *session;
    uint64_t start;
    int error;

    if (argc != 2) {
        fprintf(stderr, "usage: digest-consumer POOL, started by digest\n");
        return 2;
    }
    if ((error = allot_open(&session, NULL)) != 0)
        digest_fail("opening a session", error);
    if ((error = allot_attach(session, argv[1], ALLOT_READ, &pool)) != 0)
        digest_fail("attaching the pool", error);

    start = digest_clock(CLOCK_MONOTONIC);
    while (take_task(&task, &report)) {
        struct digest_answer answer = {.index = task.index};

        hash(pool, &task, answer.digest);
        if (send(DIGEST_CHANNEL_FD, &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer))
            digest_fail("answering", 0);
        report.channel_sent += sizeof(answer);
        report.files++;
        report.empty += task.size == 0;
        report.bytes += task.size;
    }
    report.nanoseconds = digest_clock(CLOCK_MONOTONIC) - start;

    allot_traffic(session, &traffic);
    report.session = allot_session_id(session);
    report.daemon_sent = traffic.bytes_sent;
    report.daemon_received = traffic.bytes_received;
    digest_report_send(&report);
    allot_close(session);
    return 0;
}
