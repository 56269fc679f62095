/* SPDX-License-Identifier: MIT */
/*
 * The allocators of lib/ beside glibc's malloc.
 *
 * What it is: the rows and goals of the byte allocators, each in the workloads a (LIFO), b and c
 * (random replacement of small and of large blocks), scan (frees between free neighbours) and the
 * traces; the pool that b needs; instructions by the number of live blocks. Bitmap pages are in
 * occupancy.c. What it is not: a measurement of the daemon; here a call is a call.
 *
 * All of one workload is measured in turn, malloc among them, in one process and on one core. So is
 * the in-band TLSF, which tells what of a figure is the machine's: an algorithm's ratio to malloc
 * on one machine is not the same on another.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inband.h"
#include "lib.h"
#include "machine.h"
#include "workload.h"

#define ALLOCATORS_MAX 8u
#define MIB            (UINT64_C(1) << 20)
#define SPACE_PAIRS    200000u
#define GOAL_IN_BAND   1.5 /* in the traces: TLSF beside the same with its metadata in the blocks */

enum { MALLOC, IN_BAND, OURS }; /* the order of the probes; ours are all the rest */

enum {
    A1,
    A2,
    A3,
    B,
    C,
    SCAN_100,
    SCAN_1000,
    SCAN_5000,
    VEC_PUSH,
    VEC_SMALL,
    VEC_LARGE,
    MAP,
    B_SMALL,
    C_SMALL,
    WORKLOADS,
    SPACE = WORKLOADS,
    GROWTH,
    GOALS
};

#define LOOP(title, loop) .name = (title), .measure = workload_##loop
#define LIFO(title, loop) LOOP(title, loop), .pool_bytes = 64 * MIB, .repeat = 1
#define TRACE(title)                                                                               \
    LOOP(title, trace), .trace = (title), .pool_bytes = 128 * MIB, .repeat = 1, .in_band = true
#define SMALL_BLOCKS                                                                               \
    .pool_bytes = 128 * MIB, .lo = 16, .hi = 4096, .live = 10000, .repeat = 50000, .warm = 200000
#define LARGE_BLOCKS                                                                               \
    .pool_bytes = 2048 * MIB, .lo = 64 * 1024, .hi = 4 * MIB, .live = 200, .repeat = 5000,         \
    .warm = 300000

static const struct lib_workload {
    const char *name;
    double (*measure)(void *workload);
    const char *trace;
    uint64_t pool_bytes, lo, hi;
    unsigned live, repeat;
    unsigned warm; /* pairs before the first that counts */
    bool small_pages;
    bool in_band; /* is reported */
} workloads[WORKLOADS] = {
    [A1] = {LIFO("a1", lifo), .live = 1, .in_band = true},
    [A2] = {LIFO("a2", pinned), .live = 1},
    [A3] = {LIFO("a3", lifo), .live = 1000},
    [B] = {LOOP("b", replace), SMALL_BLOCKS, .in_band = true},
    [C] = {LOOP("c", replace), LARGE_BLOCKS, .in_band = true},
    [SCAN_100] = {LOOP("scan N=100", scan), .pool_bytes = 64 * MIB, .live = 200, .repeat = 500},
    [SCAN_1000] = {LOOP("scan N=1000", scan), .pool_bytes = 64 * MIB, .live = 2000, .repeat = 50},
    [SCAN_5000] = {LOOP("scan N=5000", scan), .pool_bytes = 64 * MIB, .live = 10000, .repeat = 10},
    [VEC_PUSH] = {TRACE("vec_push_3M")},
    [VEC_SMALL] = {TRACE("vec_rand_free_25K_64")},
    [VEC_LARGE] = {TRACE("vec_rand_free_7500_520")},
    [MAP] = {TRACE("btree_map_50K")},
    [B_SMALL] = {LOOP("b, small pages", replace), SMALL_BLOCKS, .small_pages = true},
    [C_SMALL] = {LOOP("c, small pages", replace), LARGE_BLOCKS, .small_pages = true},
};

/* Upper bounds of the ratios; 0 where there is none. Those of the traces are 1.5 times what the
 * best of the originals (for TLSF the original TLSF) needs beside its own malloc. */
static const struct lib_goals {
    const char *name;
    double goal[GOALS];
} goals[] = {
    {"tlsf",
     {[A1] = 2,
      [B] = 0.7,
      [C] = 0.28,
      [VEC_PUSH] = 1.5 * 25 / 1195,
      [VEC_SMALL] = 1.5 * 39 / 122,
      [VEC_LARGE] = 1.5 * 41 / 61,
      [MAP] = 1.5 * 24 / 25,
      [SPACE] = 1.10,
      [GROWTH] = 1.3}},
    {"slab",
     {[A1] = 0.8,
      [B] = 0.25,
      [VEC_PUSH] = 1.5 * 10 / 1195,
      [VEC_SMALL] = 1.5 * 39 / 122,
      [VEC_LARGE] = 1.5 * 41 / 61,
      [MAP] = 1.5 * 14 / 25,
      [SPACE] = 1.37,
      [GROWTH] = 1.3}},
    {"buddy", {[A2] = 2, [B] = 0.9, [SCAN_5000] = 4, [SPACE] = 1.40, [GROWTH] = 2.5}},
    {"first-fit", {[B] = 2.5, [C] = 0.6, [SCAN_5000] = 15, [SPACE] = 1.12, [GROWTH] = 2.5}},
};

static double goal_of(const struct allot_byte_ops *ops, int what)
{
    for (size_t i = 0; i < sizeof(goals) / sizeof(goals[0]); i++)
        if (strcmp(goals[i].name, ops->name) == 0 && goals[i].goal[what] > 0)
            return goals[i].goal[what];
    return BENCH_NO_GOAL;
}

static void report(struct bench *b, const struct lib_workload *what, const struct workload *work,
                   const struct bench_probe *probes, size_t n)
{
    char name[64], yardstick[64];
    bool is_scan = what->measure == workload_scan;

    snprintf(yardstick, sizeof(yardstick), "malloc%s", is_scan ? ", free alone" : "");
    for (size_t i = what->in_band ? IN_BAND : OURS; i < n; i++) {
        snprintf(name, sizeof(name), "%s, %s", work[i].ops->name, what->name);
        bench_report(b, &(struct bench_row){.name = name,
                                            .unit = "ns",
                                            .ours = &probes[i].series,
                                            .yardstick = yardstick,
                                            .yardstick_series = &probes[MALLOC].series,
                                            .goal = goal_of(work[i].ops, (int)(what - workloads))});
        if (!what->in_band || work[i].ops != &allot_tlsf)
            continue;
        snprintf(name, sizeof(name), "tlsf, %s, beside in-band", what->name);
        bench_report(b, &(struct bench_row){.name = name,
                                            .unit = "ns",
                                            .ours = &probes[i].series,
                                            .yardstick = bench_inband.name,
                                            .yardstick_series = &probes[IN_BAND].series,
                                            .goal = what->trace ? GOAL_IN_BAND : BENCH_NO_GOAL});
    }
}

static int read_trace(struct trace *t, const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s.trace", BENCH_TRACES, name);
    return trace_read(t, path);
}

static int push_first(void)
{
    struct trace trace;
    struct workload work = {.trace = &trace, .repeat = 1};
    int rc = read_trace(&trace, workloads[VEC_PUSH].trace);

    if (!rc)
        rc = workload_open(&work);
    if (!rc)
        rc = workload_trace(&work) < 0 ? -1 : 0;
    workload_close(&work);
    trace_free(&trace);
    return rc;
}

/* In a process of its own, so that malloc starts each workload as it does in a new program: what it
 * gives back and when depends on the largest block that was ever freed. The other traces follow on
 * vec_push_3M, whose blocks are the largest, as in the program that they were recorded from. */
static int in_child(struct bench *b, const struct lib_workload *what, struct workload *work,
                    struct bench_probe *probes, size_t n)
{
    int rc = 0, status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (what->trace)
            rc = push_first();
        for (size_t i = 0; i < n && !rc; i++) {
            probes[i] = (struct bench_probe){.measure = what->measure, .ctx = &work[i]};
            rc = workload_open(&work[i]);
        }
        if (!rc)
            rc = bench_rounds(b, probes, n);
        _exit(rc ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

static int run_workload(struct bench *b, const struct lib_workload *what)
{
    struct workload work[OURS + ALLOCATORS_MAX] = {[IN_BAND].ops = &bench_inband};
    struct trace trace = {0};
    size_t n = OURS, bytes = (OURS + ALLOCATORS_MAX) * sizeof(struct bench_probe);
    struct bench_probe *probes =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int rc = probes != MAP_FAILED ? 0 : -1;

    if (!rc && what->trace)
        rc = read_trace(&trace, what->trace);
    for (; n < OURS + ALLOCATORS_MAX && lib_allocators[n - OURS]; n++)
        work[n].ops = lib_allocators[n - OURS];
    for (size_t i = 0; i < n; i++)
        work[i] = (struct workload){.ops = work[i].ops,
                                    .pool_bytes = what->pool_bytes,
                                    .live = what->live,
                                    .repeat = what->repeat,
                                    .warm = what->warm,
                                    .small_pages = what->small_pages,
                                    .lo = what->lo,
                                    .hi = what->hi,
                                    .trace = what->trace ? &trace : NULL};
    if (!rc)
        rc = in_child(b, what, work, probes, n);
    if (!rc)
        report(b, what, work, probes, n);
    else
        fprintf(stderr, "bench: workload %s failed\n", what->name);
    if (probes != MAP_FAILED)
        munmap(probes, bytes);
    trace_free(&trace);
    return rc;
}

static int run_space(struct bench *b, const struct allot_byte_ops *ops)
{
    const struct workload_replacing r = {.lo = workloads[B].lo,
                                         .hi = workloads[B].hi,
                                         .live = workloads[B].live,
                                         .pairs = SPACE_PAIRS};
    struct workload_space space;
    struct bench_series ours = {.n = 1};
    char name[64], yardstick[64];

    if (workload_space(ops, &r, &space))
        return -1;
    ours.values[0] = space.pool + space.metadata;
    snprintf(name, sizeof(name), "%s, pool for b", ops->name);
    snprintf(yardstick, sizeof(yardstick), "asked; metadata %.3f",
             space.metadata / space.requested);
    bench_report(b, &(struct bench_row){.name = name,
                                        .unit = "bytes",
                                        .ours = &ours,
                                        .yardstick = yardstick,
                                        .yardstick_value = space.requested,
                                        .goal = goal_of(ops, SPACE)});
    return 0;
}

static int run(struct bench *b)
{
    static const struct workload_replacing proof = {
        .lo = 1, .hi = 4096, .live = 200, .pairs = 20000};
    int rc = machine_pin(0);

    if (!rc)
        rc = workload_proof(&bench_inband, &proof);
    for (size_t i = 0; i < WORKLOADS && !rc; i++)
        rc = run_workload(b, &workloads[i]);
    if (!rc)
        rc = lib_occupancy(b);
    for (size_t i = 0; lib_allocators[i] && !rc; i++)
        rc = run_space(b, lib_allocators[i]);
    for (size_t i = 0; lib_allocators[i] && !rc; i++)
        rc = lib_instructions(b, lib_allocators[i], goal_of(lib_allocators[i], GROWTH));
    machine_pin(MACHINE_ANY_CORE);
    return rc;
}

const struct bench_group bench_lib = {"lib", run};
