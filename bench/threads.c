/* SPDX-License-Identifier: MIT */
/*
 * Several worker loops: what the daemon's CPU costs with two of them beside one, and that a pool
 * whose lock is held holds up nobody who works in another pool.
 *
 * For the first, two driver threads, one on each core, keep eight requests in flight on each of
 * four connections; the daemon's threads are free to run anywhere, so they and the drivers share
 * two cores. For the second, the daemon's loops run in this process, so that the lock can be taken
 * from outside.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "config.h"
#include "loops.h"
#include "machine.h"
#include "server.h"
#include "store.h"
#include "wire.h"

#define DRIVERS     2u
#define CONNECTIONS 4u /* a driver */
#define IN_FLIGHT   8u
#define TURNS       500u
#define BLOCK_SIZE  64u
#define REQUESTS    (2.0 * IN_FLIGHT * CONNECTIONS * TURNS * DRIVERS)

static const char *const pool_names[] = {"default", "other"};

/* ---- CPU of one and of two workers ---- */

struct driver {
    struct wire wires[CONNECTIONS];
    uint64_t blocks[CONNECTIONS][IN_FLIGHT];
    pthread_t thread;
    int core;
    int rc;
};

struct crew {
    struct server server;
    struct driver drivers[DRIVERS];
};

static void crew_close(struct crew *c)
{
    for (unsigned i = 0; i < DRIVERS; i++)
        for (unsigned j = 0; j < CONNECTIONS; j++)
            wire_close(&c->drivers[i].wires[j]);
    if (c->server.pid > 0)
        server_stop(&c->server);
}

/* The daemon deals connections out in turn, so with two workers each driver has one of them. */
static int crew_open(struct crew *c, const struct bench *b, unsigned workers, unsigned pools)
{
    *c = (struct crew){.server = {.pid = -1, .notify = -1}};
    for (unsigned i = 0; i < DRIVERS; i++) {
        c->drivers[i].core = (int)i;
        for (unsigned j = 0; j < CONNECTIONS; j++)
            c->drivers[i].wires[j].fd = -1;
    }
    int rc = server_start(&c->server, b, MACHINE_ANY_CORE, workers);
    for (unsigned j = 0; j < CONNECTIONS && !rc; j++)
        for (unsigned i = 0; i < DRIVERS && !rc; i++)
            rc = wire_open(&c->drivers[i].wires[j], c->server.socket, pool_names[i % pools]);
    return rc;
}

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

static int turn(struct driver *d)
{
    int rc = 0;

    for (unsigned i = 0; i < CONNECTIONS && !rc; i++)
        rc = wire_send_allocs(&d->wires[i], BLOCK_SIZE, IN_FLIGHT);
    for (unsigned i = 0; i < CONNECTIONS && !rc; i++)
        rc = collect(&d->wires[i], d->blocks[i]);
    for (unsigned i = 0; i < CONNECTIONS && !rc; i++)
        rc = wire_send_frees(&d->wires[i], d->blocks[i], IN_FLIGHT);
    for (unsigned i = 0; i < CONNECTIONS && !rc; i++)
        rc = collect(&d->wires[i], NULL);
    return rc;
}

static void *drive(void *arg)
{
    struct driver *d = arg;

    d->rc = machine_pin(d->core);
    for (unsigned i = 0; i < TURNS && !d->rc; i++)
        d->rc = turn(d);
    return NULL;
}

static double measure(void *ctx)
{
    struct crew *c = ctx;
    double start = machine_cpu_ns(c->server.pid);
    int rc = 0;

    for (unsigned i = 0; i < DRIVERS; i++)
        if (pthread_create(&c->drivers[i].thread, NULL, drive, &c->drivers[i]))
            abort();
    for (unsigned i = 0; i < DRIVERS; i++) {
        pthread_join(c->drivers[i].thread, NULL);
        rc |= c->drivers[i].rc;
    }
    return rc ? -1 : (machine_cpu_ns(c->server.pid) - start) / REQUESTS;
}

static int run_workers(struct bench *b)
{
    struct crew crews[4];
    struct bench_probe probes[4];
    unsigned opened = 0;
    int rc = 0;

    for (; opened < 4 && !rc; opened++) {
        rc = crew_open(&crews[opened], b, opened % 2 + 1, opened / 2 + 1);
        probes[opened] = (struct bench_probe){.measure = measure, .ctx = &crews[opened]};
    }
    if (!rc)
        rc = bench_rounds(b, probes, 4);
    for (unsigned i = 0; i < opened; i++)
        crew_close(&crews[i]);
    for (unsigned pools = 1; pools <= 2 && !rc; pools++)
        bench_report(b, &(struct bench_row){.name = pools == 1 ? "CPU, 2 workers, one pool"
                                                               : "CPU, 2 workers, a pool each",
                                            .unit = "ns",
                                            .ours = &probes[2 * pools - 1].series,
                                            .yardstick = "1 worker",
                                            .yardstick_series = &probes[2 * pools - 2].series,
                                            .goal = 1.15});
    return rc;
}

/* ---- a held lock ---- */

#define ASKED     1000u
#define ANSWER_MS 2000

struct inside {
    struct config config;
    struct store store;
    struct sessions sessions;
    struct loops loops;
    struct wire wires[2]; /* one on each worker and pool */
};

static void on_closed(void *ctx)
{
    (void)ctx;
}

/* A client whose other end goes to the next worker. */
static int connect_inside(struct inside *in, unsigned i)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    loops_deal(&in->loops, fds[1]);
    return wire_open_fd(&in->wires[i], fds[0], pool_names[i]);
}

static bool answers_within(const struct wire *w, int ms)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};

    return poll(&p, 1, ms) > 0;
}

/* How many of ASKED pairs on the second pool get no answer in time while the first one's lock is
 * held and a request waits for it; negative where the test itself fails. */
static double unanswered(struct inside *in)
{
    struct pool *held = store_pool_named(&in->store, pool_names[0]);
    uint64_t position;
    uint64_t waiting;
    unsigned answered = 0;

    pthread_mutex_lock(&held->lock);
    int rc = wire_send_allocs(&in->wires[0], BLOCK_SIZE, 1);
    while (!rc && answered < ASKED) {
        rc = wire_send_allocs(&in->wires[1], BLOCK_SIZE, 1);
        if (rc || !answers_within(&in->wires[1], ANSWER_MS))
            break;
        rc = wire_receive(&in->wires[1], &position) == 1 ? 0 : -1;
        if (!rc)
            rc = wire_send_frees(&in->wires[1], &position, 1);
        if (rc || !answers_within(&in->wires[1], ANSWER_MS))
            break;
        rc = wire_receive(&in->wires[1], NULL) == 1 ? 0 : -1;
        answered++;
    }
    /* Was it really held? */
    if (answers_within(&in->wires[0], 0)) {
        fprintf(stderr, "bench: a request was answered while its pool's lock was held\n");
        rc = -1;
    }
    pthread_mutex_unlock(&held->lock);
    if (!rc && answers_within(&in->wires[0], ANSWER_MS))
        rc = wire_receive(&in->wires[0], &waiting) == 1 ? 0 : -1;
    return rc ? -1.0 : (double)(ASKED - answered);
}

static int inside_open(struct inside *in)
{
    config_default(&in->config);
    in->config.pools[1] = in->config.pools[0];
    in->config.n_pools = 2;
    for (unsigned i = 0; i < 2; i++) {
        strcpy(in->config.pools[i].name, pool_names[i]);
        in->wires[i].fd = -1;
    }
    if (store_open(&in->store, &in->config, NULL, 0))
        return -1;
    if (sessions_init(&in->sessions, &in->store, 16)) {
        store_close(&in->store);
        return -1;
    }
    int rc = loops_init(&in->loops, 2, &in->sessions, on_closed, NULL);
    if (!rc)
        rc = loops_start(&in->loops);
    for (unsigned i = 0; i < 2 && !rc; i++)
        rc = connect_inside(in, i);
    return rc;
}

static int run_lock(struct bench *b)
{
    static struct inside in; /* as large as main()'s */
    struct bench_series series = {.n = 1};
    int rc = inside_open(&in);

    if (!rc) {
        series.values[0] = unanswered(&in);
        rc = series.values[0] < 0 ? -1 : 0;
    }
    for (unsigned i = 0; i < 2; i++)
        wire_close(&in.wires[i]);
    loops_stop(&in.loops);
    sessions_deinit(&in.sessions);
    store_close(&in.store);
    if (!rc)
        bench_report(b, &(struct bench_row){.name = "other pool's lock is held",
                                            .unit = "lost",
                                            .ours = &series,
                                            .yardstick = "pairs asked",
                                            .yardstick_value = ASKED,
                                            .goal = 0});
    return rc;
}

static int run(struct bench *b)
{
    int rc = run_workers(b);

    return run_lock(b) || rc ? -1 : 0;
}

const struct bench_group bench_threads = {"threads", run};
