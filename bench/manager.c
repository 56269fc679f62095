/* SPDX-License-Identifier: MIT */
/*
 * What short connections cost the service manager, which keeps the sockets of sessions that hold
 * something, beside 1,000 sessions that stay. bench/manager.sh boots the machine for it.
 *
 * Places that are free again and again are the worst case: each connection that is granted
 * something is kept, and dropped when it leaves, beside nearly as many as can be kept. Of one that
 * is granted nothing the manager does not hear; of none at all where no place is free.
 */
#include <stdlib.h>
#include <unistd.h>

#include "allot.h"
#include "bench.h"
#include "bounds.h"
#include "machine.h"
#include "wire.h"

#define MANAGER     1 /* its process */
#define SOCKET      "/run/allot/allot.sock"
#define STANDING    1000u
#define CONNECTIONS 1000u /* a round */
#define PLACES_LEFT 4u    /* a connection may begin before the last one's place is free again */
#define BLOCK_SIZE  64u
#define GOAL_NS     500000.0
#define QUIET_US    20000u

struct crowd {
    struct wire wires[STANDING];
    unsigned opened;
    unsigned holding; /* the first of them */
};

static int crowd_open(struct crowd *c)
{
    for (; c->opened < STANDING; c->opened++)
        if (wire_open(&c->wires[c->opened], SOCKET, "default"))
            return -1;
    return 0;
}

/* Until `n` of them hold a block. */
static int crowd_hold(struct crowd *c, unsigned n)
{
    uint64_t position;

    for (; c->holding < n; c->holding++)
        if (wire_run_allocs(&c->wires[c->holding], BLOCK_SIZE, &position, 1, 1))
            return -1;
    return 0;
}

static void crowd_close(struct crowd *c)
{
    for (unsigned i = 0; i < c->opened; i++)
        wire_close(&c->wires[i]);
    free(c);
}

/* When it has come to rest, and so read all that it was told. */
static double manager_cpu_ns(void)
{
    double now = machine_cpu_ns(MANAGER);
    double before;

    do {
        before = now;
        usleep(QUIET_US);
        now = machine_cpu_ns(MANAGER);
    } while (now > before);
    return now;
}

static int hold_a_block(struct allot *session)
{
    struct allot_pool *pool;
    uint64_t offset;
    int rc = allot_attach(session, NULL, ALLOT_WRITE, &pool);

    if (!rc)
        rc = allot_alloc(pool, BLOCK_SIZE, NULL, &offset);
    return rc ? rc : allot_free(pool, offset);
}

static double measure_connections(int (*use)(struct allot *session))
{
    struct allot *session;
    double start = manager_cpu_ns();
    int rc = 0;

    for (unsigned i = 0; i < CONNECTIONS && !rc; i++) {
        rc = allot_open(&session, SOCKET);
        if (!rc) {
            rc = use(session);
            allot_close(session);
        }
    }
    return rc ? bench_failed("a connection", rc) : (manager_cpu_ns() - start) / CONNECTIONS;
}

static double measure_idle(void *ctx)
{
    (void)ctx;
    return measure_connections(allot_ping);
}

static double measure_holding(void *ctx)
{
    (void)ctx;
    return measure_connections(hold_a_block);
}

static void report(struct bench *b, const char *name, const struct bench_probe *probe)
{
    bench_report(b, &(struct bench_row){.name = name,
                                        .unit = "ns",
                                        .ours = &probe->series,
                                        .yardstick = "limit",
                                        .yardstick_value = GOAL_NS,
                                        .goal = 1});
}

static int run(struct bench *b)
{
    struct crowd *c = calloc(1, sizeof(*c));
    struct bench_probe probes[] = {{.measure = measure_idle}, {.measure = measure_holding}};
    struct bench_probe full = {.measure = measure_holding};

    machine_raise_descriptors();
    int rc = c ? crowd_open(c) : -1;
    if (!rc)
        rc = crowd_hold(c, CLIENTS_KEPT_MAX - PLACES_LEFT);
    if (!rc)
        rc = bench_rounds(b, probes, 2);
    if (!rc) {
        report(b, "a ping", &probes[0]);
        report(b, "a block, with places left", &probes[1]);
        rc = crowd_hold(c, STANDING);
    }
    if (!rc)
        rc = bench_rounds(b, &full, 1);
    if (!rc)
        report(b, "a block, with none left", &full);
    if (c)
        crowd_close(c);
    return rc;
}

const struct bench_group bench_manager = {"manager", run};
