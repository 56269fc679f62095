/* SPDX-License-Identifier: MIT */
/*
 * The frame of all benchmarks. A group is a named function that measures and reports rows. Every
 * row is a ratio: what is ours beside a yardstick measured in the same run, round by round in turn,
 * so that a machine that gets slower for a while slows both.
 */
#ifndef ALLOT_BENCH_H
#define ALLOT_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include <allot/meta.h>

/* More rounds than this say nothing new; the spread within a run hides what they would add. */
#define BENCH_ROUNDS_MAX 101u

struct bench {
    bool json;
    unsigned rounds;
    const char *allotd; /* the daemon's program */
    const char *group;  /* that runs */
    unsigned rows;      /* reported so far */
};

struct bench_series {
    double values[BENCH_ROUNDS_MAX];
    unsigned n;
};

/* Something that can be measured again and again. */
struct bench_probe {
    /* One round; negative where it failed (and said why on stderr). */
    double (*measure)(void *ctx);
    void *ctx;
    struct bench_series series;
};

/* Measures every probe once without counting it, then all of them in turn, round after round; the
 * order is turned round in every other one. 0, or -1 where a measurement failed. */
int bench_rounds(const struct bench *b, struct bench_probe *probes, size_t n);

#define BENCH_NO_GOAL (-1.0)

struct bench_row {
    const char *name; /* within the group */
    const char *unit;
    const struct bench_series *ours;
    const char *yardstick;
    const struct bench_series *yardstick_series; /* as long as `ours`; NULL: yardstick_value */
    double yardstick_value;
    double goal; /* the ratio's upper bound, or BENCH_NO_GOAL */
};

/* Prints a row: medians, their ratio, the noise (half the distance between the quartiles of the
 * rounds' ratios, in percent of the median). */
void bench_report(struct bench *b, const struct bench_row *row);

double bench_median(const struct bench_series *s);

/* Says on stderr what a call of liballot came to. Always -1. */
int bench_failed(const char *what, int code);

/* Metadata for allocators of lib/, from malloc. */
extern const struct allot_meta bench_meta;

struct bench_group {
    const char *name;
    int (*run)(struct bench *b); /* 0, or -1 where something failed to run */
};

extern const struct bench_group bench_rpc;
extern const struct bench_group bench_pipeline;
extern const struct bench_group bench_batch;
extern const struct bench_group bench_connections;
extern const struct bench_group bench_memory;
extern const struct bench_group bench_pages;
extern const struct bench_group bench_threads;
extern const struct bench_group bench_references;
extern const struct bench_group bench_restart;
extern const struct bench_group bench_lib;
extern const struct bench_group bench_manager;

#endif
