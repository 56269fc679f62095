/* SPDX-License-Identifier: MIT */
/*
 * What sharing costs: taking a reference and giving it back, by two requests, and the end of a
 * client that held many allocations beside freeing them in batches.
 *
 * The holder and the taker are two sessions of this process. A death is measured from the kill of a
 * process that holds the allocations until the daemon has none of them, elapsed time, since nobody
 * waits for an answer meanwhile; so is the freeing beside it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allot.h"
#include "bench.h"
#include "machine.h"
#include "raw.h"
#include "server.h"

#define PAIRS      2500u   /* a round */
#define HELD       100000u /* by whom a death is measured of */
#define BATCH      250u
#define BLOCK_SIZE 64u
#define POLL_US    200u /* how often one asks whether it is over, which takes its time, too */

struct share {
    struct raw raw;
    struct server server;
    pid_t timed;
    struct allot *holder, *taker;
    struct allot_pool *held, *taken;
    struct allot_ticket ticket;
    uint64_t *blocks; /* HELD */
};

static int share_open(struct share *s, const struct bench *b)
{
    uint64_t block;
    int rc;

    *s = (struct share){.raw = {.pid = -1, .fd = -1}, .server = {.pid = -1, .notify = -1}};
    s->blocks = calloc(HELD, sizeof(*s->blocks));
    if (!s->blocks || machine_pin(0) || raw_start(&s->raw, 0) || server_start(&s->server, b, 0, 1))
        return -1;
    s->timed = s->server.pid;
    rc = allot_open(&s->holder, s->server.socket);
    if (!rc)
        rc = allot_open(&s->taker, s->server.socket);
    if (!rc)
        rc = allot_attach(s->holder, NULL, ALLOT_WRITE, &s->held);
    if (!rc)
        rc = allot_attach(s->taker, NULL, ALLOT_READ, &s->taken);
    if (!rc)
        rc = allot_alloc(s->held, BLOCK_SIZE, NULL, &block);
    if (!rc)
        rc = allot_ticket(s->held, block, &s->ticket);
    return rc ? bench_failed("allot_open", rc) : 0;
}

static void share_close(struct share *s)
{
    allot_close(s->taker);
    allot_close(s->holder);
    if (s->server.pid > 0)
        server_stop(&s->server);
    raw_stop(&s->raw);
    free(s->blocks);
    machine_pin(MACHINE_ANY_CORE);
}

static double measure_pair(void *ctx)
{
    struct share *s = ctx;
    uint64_t offset;
    double start = machine_turns_ns(s->timed);
    int rc = 0;

    for (unsigned i = 0; i < PAIRS && !rc; i++) {
        rc = allot_acquire(s->taken, &s->ticket, &offset, NULL);
        if (!rc)
            rc = allot_release(s->taken, &s->ticket);
    }
    double end = machine_turns_ns(s->timed);
    return rc ? bench_failed("allot_acquire", rc) : (end - start) / PAIRS;
}

/* ---- deaths ---- */

static int hold_many(struct allot_pool *p, uint64_t *blocks)
{
    uint64_t sizes[BATCH];
    int rc = 0;

    for (unsigned i = 0; i < BATCH; i++)
        sizes[i] = BLOCK_SIZE;
    for (unsigned i = 0; i < HELD && !rc; i += BATCH)
        rc = allot_alloc_batch(p, BATCH, sizes, NULL, blocks + i, NULL);
    return rc;
}

static double measure_frees(void *ctx)
{
    struct share *s = ctx;
    int rc = hold_many(s->held, s->blocks);
    double start = machine_now_ns();

    for (unsigned i = 0; i < HELD && !rc; i += BATCH)
        rc = allot_free_batch(s->held, BATCH, s->blocks + i, NULL);
    return rc ? bench_failed("allot_free_batch", rc) : machine_now_ns() - start;
}

static int note_blocks(void *ctx, const struct allot_pool_info *info)
{
    uint64_t *blocks = ctx;

    *blocks = info->blocks;
    return 1; /* "default" is the first */
}

_Noreturn static void victim(const struct share *s, int ready)
{
    struct allot *session = NULL;
    struct allot_pool *pool;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int rc = allot_open(&session, s->server.socket);
    if (!rc)
        rc = allot_attach(session, NULL, ALLOT_WRITE, &pool);
    if (!rc)
        rc = hold_many(pool, s->blocks);
    if (rc || write(ready, "", 1) != 1)
        _exit(EXIT_FAILURE);
    for (;;)
        pause();
}

static double measure_death(void *ctx)
{
    struct share *s = ctx;
    int ready[2];
    char byte;
    uint64_t blocks = 0;
    double result = -1;

    if (pipe(ready))
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        victim(s, ready[1]);
    close(ready[1]);
    if (pid > 0 && read(ready[0], &byte, 1) == 1) {
        double start = machine_now_ns();
        kill(pid, SIGKILL);
        do {
            usleep(POLL_US);
            int rc = allot_list_pools(s->holder, note_blocks, &blocks);
            if (rc < 0)
                return bench_failed("allot_list_pools", rc);
        } while (blocks > 1); /* the ticket's */
        result = machine_now_ns() - start;
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
    close(ready[0]);
    return result;
}

static int run(struct bench *b)
{
    struct share s;
    int rc = share_open(&s, b);
    struct bench_probe pairs[] = {{.measure = raw_measure, .ctx = &s.raw},
                                  {.measure = measure_pair, .ctx = &s}};
    struct bench_probe ends[] = {{.measure = measure_frees, .ctx = &s},
                                 {.measure = measure_death, .ctx = &s}};

    if (!rc)
        rc = bench_rounds(b, pairs, 2);
    if (!rc)
        bench_report(b, &(struct bench_row){.name = "acquire+release, one core",
                                            .unit = "ns",
                                            .ours = &pairs[1].series,
                                            .yardstick = "raw ping-pong, 32 bytes",
                                            .yardstick_series = &pairs[0].series,
                                            .goal = 2.8});
    if (!rc)
        rc = bench_rounds(b, ends, 2);
    if (!rc)
        bench_report(b, &(struct bench_row){.name = "death of a holder of 10^5",
                                            .unit = "ns",
                                            .ours = &ends[1].series,
                                            .yardstick = "freeing them in batches",
                                            .yardstick_series = &ends[0].series,
                                            .goal = 0.5});
    share_close(&s);
    return rc;
}

const struct bench_group bench_references = {"references", run};
