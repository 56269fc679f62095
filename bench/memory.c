/* SPDX-License-Identifier: MIT */
/*
 * What the daemon's own memory costs: at rest, and for each live block. Counted is what the kernel
 * has given out: the daemon's private pages (RssAnon) and the ledger's blocks, whether or not they
 * are mapped just now. The region is not the daemon's: it is what the blocks themselves are.
 *
 * The yardsticks are the limits that the project set itself.
 */
#include <stdio.h>
#include <stdlib.h>

#include "allot.h"
#include "bench.h"
#include "machine.h"
#include "server.h"

#define BLOCKS     1000000u
#define STEP       100000u /* the worst moment is looked for at each of these */
#define BLOCK_SIZE 64u
#define BATCH      250u
#define REPEATS    3u

static const double block_limit = 128;
static const double idle_limit = 10 << 20;

static double daemon_bytes(const struct server *s)
{
    int64_t anonymous = machine_memory(s->pid, "RssAnon");
    int64_t ledger = machine_memfd_bytes(s->pid, "allot-ledger");

    return anonymous < 0 || ledger < 0 ? -1 : (double)(anonymous + ledger);
}

static void add(struct bench_series *s, double value)
{
    s->values[s->n++] = value;
}

static int fill(const struct server *s, struct allot_pool *pool, struct bench_series *at_end,
                struct bench_series *worst)
{
    uint64_t sizes[BATCH];
    uint64_t offsets[BATCH];
    double before = daemon_bytes(s);
    double most = 0;
    double now = 0;

    for (unsigned i = 0; i < BATCH; i++)
        sizes[i] = BLOCK_SIZE;
    for (unsigned live = 0; live < BLOCKS;) {
        int rc = allot_alloc_batch(pool, BATCH, sizes, NULL, offsets, NULL);
        if (rc) {
            fprintf(stderr, "bench: allot_alloc_batch: %s\n", allot_strerror(rc));
            return -1;
        }
        live += BATCH;
        if (live % STEP)
            continue;
        now = (daemon_bytes(s) - before) / live;
        most = now > most ? now : most;
    }
    add(at_end, now);
    add(worst, most);
    return before < 0 ? -1 : 0;
}

static int once(const struct bench *b, struct bench_series *idle, struct bench_series *at_end,
                struct bench_series *worst)
{
    struct server s;
    struct allot *session = NULL;
    struct allot_pool *pool;

    if (server_start(&s, b, MACHINE_ANY_CORE, 2))
        return -1;
    double resident = (double)machine_memory(s.pid, "VmRSS");
    add(idle, resident);
    int rc = allot_open(&session, s.socket);
    if (!rc)
        rc = allot_attach(session, NULL, ALLOT_WRITE, &pool);
    if (rc)
        fprintf(stderr, "bench: allot_open: %s\n", allot_strerror(rc));
    else
        rc = fill(&s, pool, at_end, worst);
    allot_close(session);
    server_stop(&s);
    return rc || resident < 0 ? -1 : 0;
}

static int run(struct bench *b)
{
    struct bench_series idle = {0};
    struct bench_series at_end = {0};
    struct bench_series worst = {0};

    for (unsigned i = 0; i < REPEATS; i++)
        if (once(b, &idle, &at_end, &worst))
            return -1;
    bench_report(b, &(struct bench_row){.name = "a live block, of 10^6",
                                        .unit = "bytes",
                                        .ours = &at_end,
                                        .yardstick = "limit",
                                        .yardstick_value = block_limit,
                                        .goal = 1});
    bench_report(b, &(struct bench_row){.name = "a live block, worst 10^5..10^6",
                                        .unit = "bytes",
                                        .ours = &worst,
                                        .yardstick = "limit",
                                        .yardstick_value = block_limit,
                                        .goal = 1});
    bench_report(b, &(struct bench_row){.name = "idle, two empty pools of 1 GiB",
                                        .unit = "bytes",
                                        .ours = &idle,
                                        .yardstick = "limit",
                                        .yardstick_value = idle_limit,
                                        .goal = 1});
    return 0;
}

const struct bench_group bench_memory = {"memory", run};
