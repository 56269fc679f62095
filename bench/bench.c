/* SPDX-License-Identifier: MIT */
/*
 * The benchmark program's frame.
 *
 * What it is: the list of groups, the rounds, the statistics, the table and its JSON form. What it
 * is not: it knows nothing of what is measured.
 *
 * Medians, not means: on a machine that is shared, disturbances only ever add time. A missed goal
 * is a row that says so; the exit status tells only whether everything could be run.
 */
#include "bench.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allot.h"

#define ROUNDS 15u

static const struct bench_group *const groups[] = {
    &bench_rpc,     &bench_pipeline, &bench_batch,   &bench_connections,
    &bench_memory,  &bench_pages,    &bench_threads, &bench_references,
    &bench_restart, &bench_lib,      &bench_manager,
};
static const size_t n_groups = sizeof(groups) / sizeof(groups[0]);

int bench_failed(const char *what, int code)
{
    fprintf(stderr, "bench: %s: %s\n", what, allot_strerror(code));
    return -1;
}

/* ---- statistics ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The value below which the fraction `at` of the series lies, between neighbours in proportion. */
static double quantile(const struct bench_series *s, double at)
{
    double sorted[BENCH_ROUNDS_MAX];
    double place = at * (double)(s->n - 1);
    unsigned below = (unsigned)place;

    memcpy(sorted, s->values, s->n * sizeof(*sorted));
    qsort(sorted, s->n, sizeof(*sorted), by_value);
    if (below + 1 >= s->n)
        return sorted[s->n - 1];
    return sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]);
}

double bench_median(const struct bench_series *s)
{
    return quantile(s, 0.5);
}

/* In percent. */
static double noise(const struct bench_row *row)
{
    struct bench_series ratios = {.n = row->ours->n};

    for (unsigned i = 0; i < ratios.n; i++)
        ratios.values[i] =
            row->ours->values[i] /
            (row->yardstick_series ? row->yardstick_series->values[i] : row->yardstick_value);
    double median = bench_median(&ratios);
    return median > 0 ? 50 * (quantile(&ratios, 0.75) - quantile(&ratios, 0.25)) / median : 0;
}

static int measure_all(struct bench_probe *probes, size_t n, bool backwards, bool count)
{
    for (size_t i = 0; i < n; i++) {
        struct bench_probe *p = &probes[backwards ? n - 1 - i : i];
        double value = p->measure(p->ctx);
        if (!(value >= 0))
            return -1;
        if (count)
            p->series.values[p->series.n++] = value;
    }
    return 0;
}

int bench_rounds(const struct bench *b, struct bench_probe *probes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        probes[i].series.n = 0;
    int rc = measure_all(probes, n, false, false);
    for (unsigned round = 0; round < b->rounds && !rc; round++)
        rc = measure_all(probes, n, round % 2, true);
    return rc;
}

/* ---- output ---- */

static void print_json(const char *name, const struct bench_row *row, double ours, double yardstick,
                       double ratio)
{
    bool has_goal = row->goal >= 0;
    json_t *o = json_pack(
        "{s:s, s:s, s:f, s:s, s:f, s:f, s:o, s:o, s:f}", "name", name, "unit", row->unit, "ours",
        ours, "yardstick", row->yardstick, "yardstick_value", yardstick, "ratio", ratio, "goal",
        has_goal ? json_real(row->goal) : json_null(), "met",
        has_goal ? json_boolean(ratio <= row->goal) : json_null(), "noise_percent", noise(row));

    json_dumpf(o, stdout, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(o);
}

static void print_line(const char *name, const struct bench_row *row, double ours, double yardstick,
                       double ratio)
{
    char goal[32] = "";

    if (row->goal >= 0)
        snprintf(goal, sizeof(goal), "<= %.4g  %s", row->goal,
                 ratio <= row->goal ? "met" : "MISSED");
    printf("| %-48s | %10.5g %-5s | %-25s %10.5g | %7.3g +-%4.1f %% | %-14s |\n", name, ours,
           row->unit, row->yardstick, yardstick, ratio, noise(row), goal);
}

void bench_report(struct bench *b, const struct bench_row *row)
{
    char name[64];
    double ours = bench_median(row->ours);
    double yardstick =
        row->yardstick_series ? bench_median(row->yardstick_series) : row->yardstick_value;

    snprintf(name, sizeof(name), "%s/%s", b->group, row->name);
    if (b->json) {
        print_json(name, row, ours, yardstick, ours / yardstick);
    } else {
        if (b->rows == 0)
            printf("| %-48s | %-16s | %-36s | %-16s | %-14s |\n|%.50s|%.18s|%.38s|%.18s|%.16s|\n",
                   "name", "ours", "yardstick", "ratio", "goal",
                   "--------------------------------------------------",
                   "------------------------------------------------",
                   "------------------------------------------------",
                   "------------------------------------------------",
                   "------------------------------------------------");
        print_line(name, row, ours, yardstick, ours / yardstick);
    }
    fflush(stdout);
    b->rows++;
}

/* ---- the program ---- */

static void usage(FILE *stream)
{
    fputs("usage: run [--json] [--rounds N] [NAME...]\nnames:", stream);
    for (size_t i = 0; i < n_groups; i++)
        fprintf(stream, " %s", groups[i]->name);
    fputs("\n", stream);
}

static bool is_wanted(const struct bench_group *group, char **names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], group->name) == 0)
            return true;
    return n == 0 && group != &bench_manager; /* which wants a machine of its own */
}

static bool is_known(const char *name)
{
    for (size_t i = 0; i < n_groups; i++)
        if (strcmp(groups[i]->name, name) == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct bench b = {.rounds = ROUNDS, .allotd = getenv("ALLOTD")};
    int option;
    int status = EXIT_SUCCESS;

    if (!b.allotd)
        b.allotd = ALLOTD_PATH;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            usage(stdout);
            return EXIT_SUCCESS;
        }
        if (option == 'j')
            b.json = true;
        if (option == 'r')
            b.rounds = (unsigned)strtoul(optarg, NULL, 10);
        if (option == '?' || b.rounds == 0 || b.rounds > BENCH_ROUNDS_MAX) {
            usage(stderr);
            return 2;
        }
    }
    for (int i = optind; i < argc; i++) {
        if (!is_known(argv[i])) {
            fprintf(stderr, "bench: no benchmark is named '%s'\n", argv[i]);
            usage(stderr);
            return 2;
        }
    }
    for (size_t i = 0; i < n_groups; i++) {
        if (!is_wanted(groups[i], argv + optind, argc - optind))
            continue;
        b.group = groups[i]->name;
        if (groups[i]->run(&b)) {
            fprintf(stderr, "bench: %s could not be run\n", b.group);
            status = EXIT_FAILURE;
        }
    }
    return status;
}
