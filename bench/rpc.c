/* SPDX-License-Identifier: MIT */
/*
 * What a request costs: one at a time and in batches through liballot, many in flight at the level
 * of frames; each beside the raw ping-pong. All times are per request: an allocation with its free
 * is two.
 *
 * Client and server on one core is the hard case: nothing overlaps, so every instruction of either
 * side shows. Time is then the CPU time of both sides, which on a quiet machine is the elapsed
 * time, since one of them can always run. On two cores it is elapsed time, and both figures contain
 * the wake-up of another core, which is larger than all else, the more so on a virtual machine.
 */
#include <stdio.h>
#include <stdlib.h>

#include "allot.h"
#include "bench.h"
#include "machine.h"
#include "raw.h"
#include "server.h"
#include "wire.h"

#define SINGLE     5000u  /* requests a round, one at a time */
#define PIPELINED  25600u /* with several in flight or in batches */
#define BATCH      64u
#define BLOCK_SIZE 64u

/* One daemon, one raw peer, and clients of both. */
struct rpc {
    struct raw raw;
    struct server server;
    pid_t timed; /* for machine_turns_ns() */
    struct wire wire;
    struct allot *session;
    struct allot_pool *pool;
    uint64_t *blocks; /* PIPELINED */
};

struct pipeline_probe {
    struct rpc *rpc;
    unsigned window;
    bool packets;
};

static int rpc_open(struct rpc *r, const struct bench *b, int core)
{
    int rc;

    *r = (struct rpc){
        .raw = {.pid = -1, .fd = -1}, .server = {.pid = -1, .notify = -1}, .wire = {.fd = -1}};
    r->blocks = calloc(PIPELINED, sizeof(*r->blocks));
    if (!r->blocks || machine_pin(0) || raw_start(&r->raw, core))
        return -1;
    if (server_start(&r->server, b, core, 1))
        return -1;
    r->timed = core == 0 ? r->server.pid : 0;
    rc = allot_open(&r->session, r->server.socket);
    if (!rc)
        rc = allot_attach(r->session, NULL, ALLOT_WRITE, &r->pool);
    if (rc)
        return bench_failed("allot_open", rc);
    return wire_open(&r->wire, r->server.socket, "default");
}

static void rpc_close(struct rpc *r)
{
    allot_close(r->session);
    wire_close(&r->wire);
    if (r->server.pid > 0)
        server_stop(&r->server);
    raw_stop(&r->raw);
    free(r->blocks);
    machine_pin(MACHINE_ANY_CORE);
}

/* ---- one at a time, and batches, by liballot ---- */

static int alloc_batches(struct rpc *r, unsigned n)
{
    uint64_t sizes[BATCH];
    int rc = 0;

    for (unsigned i = 0; i < BATCH; i++)
        sizes[i] = BLOCK_SIZE;
    for (unsigned i = 0; i < n && !rc; i += BATCH)
        rc = allot_alloc_batch(r->pool, n - i < BATCH ? n - i : BATCH, sizes, NULL, r->blocks + i,
                               NULL);
    return rc ? bench_failed("allot_alloc_batch", rc) : 0;
}

static int free_batches(struct rpc *r, unsigned n)
{
    int rc = 0;

    for (unsigned i = 0; i < n && !rc; i += BATCH)
        rc = allot_free_batch(r->pool, n - i < BATCH ? n - i : BATCH, r->blocks + i, NULL);
    return rc ? bench_failed("allot_free_batch", rc) : 0;
}

static double measure_alloc(void *ctx)
{
    struct rpc *r = ctx;
    double start = machine_turns_ns(r->timed);
    int rc = 0;

    for (unsigned i = 0; i < SINGLE && !rc; i++)
        rc = allot_alloc(r->pool, BLOCK_SIZE, NULL, &r->blocks[i]);
    double end = machine_turns_ns(r->timed);
    if (rc)
        return bench_failed("allot_alloc", rc);
    return free_batches(r, SINGLE) ? -1 : (end - start) / SINGLE;
}

static double measure_free(void *ctx)
{
    struct rpc *r = ctx;
    int rc = 0;

    if (alloc_batches(r, SINGLE))
        return -1;
    double start = machine_turns_ns(r->timed);
    for (unsigned i = 0; i < SINGLE && !rc; i++)
        rc = allot_free(r->pool, r->blocks[i]);
    double end = machine_turns_ns(r->timed);
    return rc ? bench_failed("allot_free", rc) : (end - start) / SINGLE;
}

static double measure_pair(void *ctx)
{
    struct rpc *r = ctx;
    double start = machine_turns_ns(r->timed);
    int rc = 0;

    for (unsigned i = 0; i < SINGLE && !rc; i += 2) {
        rc = allot_alloc(r->pool, BLOCK_SIZE, NULL, &r->blocks[0]);
        if (!rc)
            rc = allot_free(r->pool, r->blocks[0]);
    }
    return rc ? bench_failed("allot_alloc", rc) : (machine_turns_ns(r->timed) - start) / SINGLE;
}

static double measure_batch_alloc(void *ctx)
{
    struct rpc *r = ctx;
    double start = machine_turns_ns(r->timed);
    int rc = alloc_batches(r, PIPELINED);
    double end = machine_turns_ns(r->timed);

    return rc || free_batches(r, PIPELINED) ? -1 : (end - start) / PIPELINED;
}

static double measure_batch_free(void *ctx)
{
    struct rpc *r = ctx;

    if (alloc_batches(r, PIPELINED))
        return -1;
    double start = machine_turns_ns(r->timed);
    int rc = free_batches(r, PIPELINED);
    return rc ? -1 : (machine_turns_ns(r->timed) - start) / PIPELINED;
}

/* ---- in flight ---- */

static double measure_window_alloc(void *ctx)
{
    const struct pipeline_probe *p = ctx;
    struct rpc *r = p->rpc;

    r->wire.packets = p->packets;
    double start = machine_turns_ns(r->timed);
    int rc = wire_run_allocs(&r->wire, BLOCK_SIZE, r->blocks, PIPELINED, p->window);
    double end = machine_turns_ns(r->timed);

    return rc || wire_run_frees(&r->wire, r->blocks, PIPELINED, BATCH) ? -1
                                                                       : (end - start) / PIPELINED;
}

static double measure_window_free(void *ctx)
{
    const struct pipeline_probe *p = ctx;
    struct rpc *r = p->rpc;

    r->wire.packets = p->packets;
    if (wire_run_allocs(&r->wire, BLOCK_SIZE, r->blocks, PIPELINED, BATCH))
        return -1;
    double start = machine_turns_ns(r->timed);
    int rc = wire_run_frees(&r->wire, r->blocks, PIPELINED, p->window);
    return rc ? -1 : (machine_turns_ns(r->timed) - start) / PIPELINED;
}

/* ---- groups ---- */

static int run_single(struct bench *b, int core, const char *const names[3])
{
    struct rpc r;
    int rc = rpc_open(&r, b, core);
    struct bench_probe probes[] = {{.measure = raw_measure, .ctx = &r.raw},
                                   {.measure = measure_alloc, .ctx = &r},
                                   {.measure = measure_free, .ctx = &r},
                                   {.measure = measure_pair, .ctx = &r}};

    if (!rc)
        rc = bench_rounds(b, probes, 4);
    rpc_close(&r);
    for (unsigned i = 0; i < 3 && !rc; i++)
        raw_report(b, names[i], &probes[i + 1], &probes[0], i == 0 ? 1.4 : BENCH_NO_GOAL);
    return rc;
}

static int run_rpc(struct bench *b)
{
    static const char *const one[] = {"alloc, one core", "free, one core", "alloc+free, one core"};
    static const char *const two[] = {"alloc, two cores", "free, two cores",
                                      "alloc+free, two cores"};
    int rc = run_single(b, 0, one);

    if (!rc && machine_cores() > 1)
        rc = run_single(b, 1, two);
    return rc;
}

static int run_pipeline(struct bench *b)
{
    static const struct {
        unsigned window;
        bool packets;
        double goal;
        const char *alloc;
        const char *free;
    } rows[] = {
        {1, false, BENCH_NO_GOAL, "alloc, 1 in flight", "free, 1 in flight"},
        {16, false, BENCH_NO_GOAL, "alloc, 16 in flight", "free, 16 in flight"},
        {64, false, 0.14, "alloc, 64 in flight", "free, 64 in flight"},
        {256, false, BENCH_NO_GOAL, "alloc, 256 in flight", "free, 256 in flight"},
        {64, true, BENCH_NO_GOAL, "alloc, 64, a packet each", "free, 64, a packet each"},
    };
    enum { ROWS = sizeof(rows) / sizeof(rows[0]) };
    struct rpc r;
    struct raw_window packets;
    struct pipeline_probe windows[ROWS];
    struct bench_probe probes[2 + 2 * ROWS] = {
        {.measure = raw_measure, .ctx = &r.raw},
        [1 + 2 * ROWS] = {.measure = raw_window_measure, .ctx = &packets}};
    int rc = rpc_open(&r, b, 0);

    if (!rc)
        rc = raw_window_start(&packets, BATCH);
    else
        packets.peer = (struct raw){.pid = -1, .fd = -1};

    for (unsigned i = 0; i < ROWS; i++) {
        windows[i] = (struct pipeline_probe){&r, rows[i].window, rows[i].packets};
        probes[1 + 2 * i] =
            (struct bench_probe){.measure = measure_window_alloc, .ctx = &windows[i]};
        probes[2 + 2 * i] =
            (struct bench_probe){.measure = measure_window_free, .ctx = &windows[i]};
    }
    if (!rc)
        rc = bench_rounds(b, probes, 2 + 2 * ROWS);
    raw_stop(&packets.peer);
    rpc_close(&r);
    for (unsigned i = 0; i < ROWS && !rc; i++) {
        raw_report(b, rows[i].alloc, &probes[1 + 2 * i], &probes[0], rows[i].goal);
        raw_report(b, rows[i].free, &probes[2 + 2 * i], &probes[0], rows[i].goal);
    }
    if (!rc)
        raw_report(b, "64 bare packets", &probes[1 + 2 * ROWS], &probes[0], BENCH_NO_GOAL);
    return rc;
}

static int run_batch(struct bench *b)
{
    struct rpc r;
    int rc = rpc_open(&r, b, 0);
    struct bench_probe probes[] = {{.measure = raw_measure, .ctx = &r.raw},
                                   {.measure = measure_batch_alloc, .ctx = &r},
                                   {.measure = measure_batch_free, .ctx = &r}};

    if (!rc)
        rc = bench_rounds(b, probes, 3);
    rpc_close(&r);
    if (rc)
        return rc;
    raw_report(b, "alloc, 64 a batch", &probes[1], &probes[0], 0.07);
    raw_report(b, "free, 64 a batch", &probes[2], &probes[0], 0.07);
    return 0;
}

const struct bench_group bench_rpc = {"rpc", run_rpc};
const struct bench_group bench_pipeline = {"pipeline", run_pipeline};
const struct bench_group bench_batch = {"batch", run_batch};
