/* SPDX-License-Identifier: MIT */
/*
 * Many clients: what a request costs the daemon's CPU when 1, 8, 64 or 1,000 connections each have
 * eight requests in flight. One process holds all of them and shares the daemon's core, so that the
 * daemon always finds whole windows; what is counted is the daemon's own time.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "machine.h"
#include "raw.h"
#include "server.h"
#include "wire.h"

#define IN_FLIGHT  8u
#define REQUESTS   64000u /* a round, about */
#define BLOCK_SIZE 64u

struct crowd {
    struct server server;
    unsigned n;
    struct wire *wires;
    uint64_t (*blocks)[IN_FLIGHT];
};

static int crowd_open(struct crowd *c, const struct bench *b, unsigned n)
{
    *c = (struct crowd){.server = {.pid = -1, .notify = -1},
                        .wires = calloc(n, sizeof(*c->wires)),
                        .blocks = calloc(n, sizeof(*c->blocks))};
    if (!c->wires || !c->blocks || server_start(&c->server, b, 0, 1))
        return -1;
    for (; c->n < n; c->n++)
        if (wire_open(&c->wires[c->n], c->server.socket, "default"))
            return -1;
    return 0;
}

static void crowd_close(struct crowd *c)
{
    for (unsigned i = 0; i < c->n; i++)
        wire_close(&c->wires[i]);
    if (c->server.pid > 0)
        server_stop(&c->server);
    free(c->wires);
    free(c->blocks);
}

/* All of one window's answers. */
static int collect(struct wire *w, uint64_t *values)
{
    for (unsigned done = 0; done < IN_FLIGHT;) {
        int n = wire_receive(w, values ? values + done : NULL);
        if (n < 0)
            return -1;
        done += (unsigned)n;
    }
    return 0;
}

static int turn(struct crowd *c)
{
    for (unsigned i = 0; i < c->n; i++)
        if (wire_send_allocs(&c->wires[i], BLOCK_SIZE, IN_FLIGHT))
            return -1;
    for (unsigned i = 0; i < c->n; i++)
        if (collect(&c->wires[i], c->blocks[i]))
            return -1;
    for (unsigned i = 0; i < c->n; i++)
        if (wire_send_frees(&c->wires[i], c->blocks[i], IN_FLIGHT))
            return -1;
    for (unsigned i = 0; i < c->n; i++)
        if (collect(&c->wires[i], NULL))
            return -1;
    return 0;
}

static double measure(void *ctx)
{
    struct crowd *c = ctx;
    unsigned turns = REQUESTS / (2 * IN_FLIGHT * c->n);
    double start = machine_cpu_ns(c->server.pid);

    for (unsigned i = 0; i < turns; i++)
        if (turn(c))
            return -1;
    return (machine_cpu_ns(c->server.pid) - start) / (2.0 * IN_FLIGHT * turns * c->n);
}

static int run(struct bench *b)
{
    static const struct {
        unsigned n;
        const char *name;
        double goal;
    } rows[] = {{8, "8", BENCH_NO_GOAL},
                {1, "1", BENCH_NO_GOAL},
                {64, "64", BENCH_NO_GOAL},
                {1000, "1000", 1.5}};
    enum { ROWS = sizeof(rows) / sizeof(rows[0]) };
    struct raw raw;
    struct crowd crowds[ROWS] = {0};
    struct bench_probe probes[1 + ROWS] = {{.measure = raw_measure_cpu, .ctx = &raw}};
    unsigned opened = 0;

    machine_raise_descriptors();
    int rc = machine_pin(0);
    if (!rc)
        rc = raw_start(&raw, 0);
    for (; opened < ROWS && !rc; opened++) {
        rc = crowd_open(&crowds[opened], b, rows[opened].n);
        probes[1 + opened] = (struct bench_probe){.measure = measure, .ctx = &crowds[opened]};
    }
    if (!rc)
        rc = bench_rounds(b, probes, 1 + ROWS);
    for (unsigned i = 0; i < opened; i++)
        crowd_close(&crowds[i]);
    raw_stop(&raw);
    machine_pin(MACHINE_ANY_CORE);
    for (unsigned i = 0; i < ROWS && !rc; i++)
        bench_report(
            b, &(struct bench_row){.name = rows[i].name,
                                   .unit = "ns",
                                   .ours = &probes[1 + i].series,
                                   .yardstick = i ? "8 connections" : "raw ping-pong's server CPU",
                                   .yardstick_series = &probes[i ? 1 : 0].series,
                                   .goal = rows[i].goal});
    return rc;
}

const struct bench_group bench_connections = {"connections", run};
