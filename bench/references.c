/* SPDX-License-Identifier: MIT */
/*
 * What sharing costs: taking a reference and giving it back, by two requests; a name given, given
 * to something else, taken away and looked up, by one request each; and the end of a client that
 * held many allocations beside freeing them in batches.
 *
 * The holder and the taker are two sessions of this process. Each name is another block's, so that
 * every look-up takes a reference that the taker has not yet. What a round of names begins with
 * and what it leaves, others' requests make and undo, outside of the measured time. A death is
 * measured from the kill of a process that holds the allocations until the daemon has none of them,
 * elapsed time, since nobody waits for an answer meanwhile; so is the freeing beside it.
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
#define NAMES      1000u   /* the same; below the quota of names */
#define HELD       100000u /* by whom a death is measured of */
#define BATCH      250u    /* a divisor of both */
#define BLOCK_SIZE 64u
#define POLL_US    200u /* how often one asks whether it is over, which takes its time, too */

struct share {
    struct raw raw;
    struct server server;
    pid_t timed;
    struct allot *holder, *taker;
    struct allot_pool *held, *taken;
    struct allot_ticket tickets[NAMES]; /* of the holder's blocks */
    char names[NAMES][16];
    uint64_t *blocks; /* HELD */
};

/* Blocks for the holder: `n` of them. */
static int hold(struct allot_pool *p, unsigned n, uint64_t *blocks)
{
    uint64_t sizes[BATCH];
    int rc = 0;

    for (unsigned i = 0; i < BATCH; i++)
        sizes[i] = BLOCK_SIZE;
    for (unsigned i = 0; i < n && !rc; i += BATCH)
        rc = allot_alloc_batch(p, BATCH, sizes, NULL, blocks + i, NULL);
    return rc;
}

static int share_open(struct share *s, const struct bench *b)
{
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
        rc = hold(s->held, NAMES, s->blocks);
    for (unsigned i = 0; i < NAMES && !rc; i++) {
        snprintf(s->names[i], sizeof(s->names[i]), "frame-%u", i);
        rc = allot_ticket(s->held, s->blocks[i], &s->tickets[i]);
    }
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
        rc = allot_acquire(s->taken, &s->tickets[0], &offset, NULL);
        if (!rc)
            rc = allot_release(s->taken, &s->tickets[0]);
    }
    double end = machine_turns_ns(s->timed);
    return rc ? bench_failed("allot_acquire", rc) : (end - start) / PAIRS;
}

/* ---- names ---- */

static int publish(struct share *s, unsigned i)
{
    return allot_publish(s->held, s->names[i], &s->tickets[i], 0);
}

static int replace(struct share *s, unsigned i)
{
    return allot_publish(s->held, s->names[i], &s->tickets[(i + 1) % NAMES], ALLOT_REPLACE);
}

static int unpublish(struct share *s, unsigned i)
{
    return allot_unpublish(s->held, s->names[i]);
}

static int look_up(struct share *s, unsigned i)
{
    return allot_lookup(s->taken, s->names[i], NULL, NULL, NULL);
}

static int give_back(struct share *s, unsigned i)
{
    int rc = allot_release(s->taken, &s->tickets[i]);

    return rc ? rc : unpublish(s, i);
}

typedef int name_step(struct share *s, unsigned i);

/* What is done to all names, in this order; NULL: nothing. */
struct names {
    struct share *share;
    name_step *before, *timed, *after;
};

static int do_all(struct share *s, name_step *step)
{
    int rc = 0;

    for (unsigned i = 0; step && i < NAMES && !rc; i++)
        rc = step(s, i);
    return rc;
}

static double measure_names(void *ctx)
{
    struct names *n = ctx;
    int rc = do_all(n->share, n->before);
    double start = machine_turns_ns(n->share->timed);

    if (!rc)
        rc = do_all(n->share, n->timed);
    double end = machine_turns_ns(n->share->timed);
    if (!rc)
        rc = do_all(n->share, n->after);
    return rc ? bench_failed("names", rc) : (end - start) / NAMES;
}

/* ---- deaths ---- */

static double measure_frees(void *ctx)
{
    struct share *s = ctx;
    int rc = hold(s->held, HELD, s->blocks);
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
        rc = hold(pool, HELD, s->blocks);
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
        } while (blocks > NAMES);
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
    struct names rows[] = {{&s, NULL, publish, unpublish},
                           {&s, publish, replace, unpublish},
                           {&s, publish, unpublish, NULL},
                           {&s, publish, look_up, give_back}};
    struct bench_probe requests[] = {
        {.measure = raw_measure, .ctx = &s.raw},     {.measure = measure_pair, .ctx = &s},
        {.measure = measure_names, .ctx = &rows[0]}, {.measure = measure_names, .ctx = &rows[1]},
        {.measure = measure_names, .ctx = &rows[2]}, {.measure = measure_names, .ctx = &rows[3]}};
    struct bench_probe ends[] = {{.measure = measure_frees, .ctx = &s},
                                 {.measure = measure_death, .ctx = &s}};

    if (!rc)
        rc = bench_rounds(b, requests, sizeof(requests) / sizeof(requests[0]));
    if (!rc) {
        raw_report(b, "acquire+release, one core", &requests[1], &requests[0], 2.8);
        raw_report(b, "publish, one core", &requests[2], &requests[0], 1.5);
        raw_report(b, "publish with replace, one core", &requests[3], &requests[0], 1.5);
        raw_report(b, "unpublish, one core", &requests[4], &requests[0], BENCH_NO_GOAL);
        raw_report(b, "lookup, one core", &requests[5], &requests[0], 1.5);
        rc = bench_rounds(b, ends, 2);
    }
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
