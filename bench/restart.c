/* SPDX-License-Identifier: MIT */
/*
 * The daemon's death: from the kill to the next answer, with many allocations live.
 *
 * The daemon runs under its own supervisor, and the client is liballot, which notices nothing but
 * the time. The yardstick is what a restart cannot do without: a start of a daemon that has
 * nothing, and twice the time that the same allocations take in an empty heap of lib/, since they
 * are all claimed again, and indexes of the daemon's own are built over them. A process of its own
 * does that in each round (insert.c), as the new daemon is one: both touch all their memory for the
 * first time.
 *
 * The daemon asks for huge pages. On a virtual machine the first rounds may get some that the host
 * has no memory behind yet, and it is the host's work that they measure.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "allot.h"
#include "bench.h"
#include "machine.h"
#include "server.h"

#define ROUNDS      5u
#define WARM_UP     4u /* rounds that do not count, see below */
#define BATCH       250u
#define BLOCK_SIZE  64u
#define SETTLE_US   100000 /* a daemon that dies before it was ready is not started again at once */
#define START_LIMIT 20e6   /* ns of CPU, with nothing live */
#define TOTAL_LIMIT 1e9    /* ns, with 10^6 live */

struct death {
    struct server server;
    struct allot *session;
    struct allot_pool *pool;
};

static int death_open(struct death *d, const struct bench *b, unsigned live)
{
    uint64_t sizes[BATCH];
    uint64_t offsets[BATCH];

    *d = (struct death){.server = {.pid = -1, .notify = -1}};
    for (unsigned i = 0; i < BATCH; i++)
        sizes[i] = BLOCK_SIZE;
    if (server_start_supervised(&d->server, b, 2))
        return -1;
    int rc = allot_open(&d->session, d->server.socket);
    if (!rc)
        rc = allot_attach(d->session, NULL, ALLOT_WRITE, &d->pool);
    for (unsigned i = 0; i < live && !rc; i += BATCH)
        rc = allot_alloc_batch(d->pool, BATCH, sizes, NULL, offsets, NULL);
    return rc ? bench_failed("allot_alloc_batch", rc) : 0;
}

static void death_close(struct death *d)
{
    allot_close(d->session);
    if (d->server.pid > 0)
        server_stop(&d->server);
}

/* Elapsed ns from the kill to the next answer; *ret_cpu is what the new daemon computed for it. */
static double death_once(struct death *d, double *ret_cpu)
{
    pid_t child = server_child(&d->server);
    struct pollfd gone = {.fd = child > 0 ? pidfd_open(child, 0) : -1, .events = POLLIN};

    if (gone.fd < 0)
        return -1;
    usleep(SETTLE_US);
    double start = machine_now_ns();
    kill(child, SIGKILL);
    poll(&gone, 1, -1); /* or it might answer still */
    close(gone.fd);
    int rc = allot_ping(d->session);
    double result = machine_now_ns() - start;
    if (rc)
        return bench_failed("allot_ping", rc);
    child = server_child(&d->server);
    *ret_cpu = machine_cpu_ns(child);
    return child < 0 || *ret_cpu < 0 ? -1 : result;
}

/* ns that as many blocks take in an empty heap. */
static double insert(unsigned live)
{
    char command[sizeof(BENCH_INSERT) + 16];
    double result;

    snprintf(command, sizeof(command), "'%s' %u", BENCH_INSERT, live);
    FILE *f = popen(command, "re");
    if (!f)
        return -1;
    if (fscanf(f, "%lf", &result) != 1)
        result = -1;
    return pclose(f) == 0 ? result : -1;
}

static int run(struct bench *b)
{
    static const unsigned counts[] = {100000, 1000000};
    struct bench_series cpu = {0};
    int rc = 0;

    for (unsigned i = 0; i < 2 && !rc; i++) {
        struct bench_series ours = {0};
        struct bench_series least = {0};
        struct bench_series elapsed = {0};
        struct death full = {.server = {.pid = -1}};
        struct death empty = {.server = {.pid = -1}};
        char name[64];
        rc = death_open(&full, b, counts[i]);
        if (!rc)
            rc = death_open(&empty, b, 0);
        for (unsigned k = 0; k < WARM_UP + ROUNDS && !rc; k++) {
            double start = 0;
            double spent = 0;
            double inserted = insert(counts[i]);
            double whole = death_once(&empty, &start);
            if (whole >= 0)
                whole = death_once(&full, &spent);
            rc = whole < 0 || inserted < 0 ? -1 : 0;
            if (k < WARM_UP)
                continue;
            cpu.values[cpu.n++] = start;
            ours.values[ours.n++] = spent;
            least.values[least.n++] = start + 2 * inserted;
            elapsed.values[elapsed.n++] = whole;
        }
        death_close(&empty);
        death_close(&full);
        if (rc)
            break;
        snprintf(name, sizeof(name), "kill to answer, 10^%u live", i + 5);
        bench_report(b, &(struct bench_row){.name = name,
                                            .unit = "ns",
                                            .ours = &ours,
                                            .yardstick = "empty start, and 2 x lib/",
                                            .yardstick_series = &least,
                                            .goal = 1});
        if (i == 1)
            bench_report(b, &(struct bench_row){.name = "kill to answer, 10^6 live, whole",
                                                .unit = "ns",
                                                .ours = &elapsed,
                                                .yardstick = "limit",
                                                .yardstick_value = TOTAL_LIMIT,
                                                .goal = 1});
    }
    if (!rc)
        bench_report(b, &(struct bench_row){.name = "CPU of an empty start",
                                            .unit = "ns",
                                            .ours = &cpu,
                                            .yardstick = "limit",
                                            .yardstick_value = START_LIMIT,
                                            .goal = 1});
    return rc;
}

const struct bench_group bench_restart = {"restart", run};
