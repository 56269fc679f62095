/* SPDX-License-Identifier: MIT */
/*
 * Bitmap pages at every occupancy.
 *
 * What it is: 2^20 pages, empty; half and nineteen twentieths taken by whole groups of 512, by
 * single random pages, and by all but one hole in each group, too short for 512 pages, with one
 * fitting hole at the very end. In each of them: one page taken and given back; a random one of
 * 1,000 pages replaced; 512 pages taken and given back. The yardstick is malloc in workload a1,
 * round by round in turn. What it is not: a test of what is found.
 *
 * Where single pages are taken, the last group is free as well, as 512 pages would fit nowhere
 * else.
 */
#include <stdio.h>

#include <allot/page.h>

#include "lib.h"
#include "machine.h"
#include "workload.h"

#define PAGE      UINT64_C(4096)
#define PAGES     (UINT64_C(1) << 20)
#define GROUP     UINT64_C(512)
#define HELD      1000u
#define PAIRS     20000u
#define GOAL_ONE  4
#define GOAL_MANY 40

enum layout { EMPTY, GROUPS, SINGLE, HOLES };

static const struct occupancy {
    const char *name;
    enum layout layout;
    unsigned percent; /* taken */
    unsigned hole;    /* pages free in each group */
} occupancies[] = {
    {"empty", EMPTY, 0, 0},
    {"50 % groups", GROUPS, 50, 0},
    {"95 % groups", GROUPS, 95, 0},
    {"50 % single pages", SINGLE, 50, 0},
    {"95 % single pages", SINGLE, 95, 0},
    {"50 % holes", HOLES, 50, 256},
    {"95 % holes", HOLES, 95, 25},
};
#define OCCUPANCIES (sizeof(occupancies) / sizeof(occupancies[0]))

struct space {
    struct workload_meta meta;
    struct workload_random random;
    struct allot_page *pages;
    uint64_t held[HELD];
};

static bool is_taken(struct space *s, const struct occupancy *o, uint64_t page)
{
    bool last = page >= PAGES - GROUP;

    switch (o->layout) {
    case GROUPS:
    case SINGLE:
        return workload_range(&s->random, 0, 99) < o->percent && (!last || o->layout == GROUPS);
    case HOLES:
        return page % GROUP >= o->hole && !last;
    case EMPTY:
        break;
    }
    return false;
}

static int fill(struct space *s, const struct occupancy *o)
{
    uint64_t step = o->layout == GROUPS ? GROUP : 1;
    int rc = allot_bitmap_pages.create(&s->meta.meta, PAGE, &s->pages);

    if (!rc)
        rc = s->pages->ops->init(s->pages, 0, PAGES * PAGE);
    for (uint64_t page = 0; page < PAGES && !rc && o->layout != EMPTY; page += step)
        if (is_taken(s, o, page))
            rc = s->pages->ops->alloc_pages_at(s->pages, page * PAGE, step);
    return rc;
}

static double lifo(struct space *s, uint64_t n)
{
    uint64_t pos;
    double began = machine_cpu_ns(0);

    for (unsigned i = 0; i < PAIRS; i++)
        if (s->pages->ops->alloc_pages(s->pages, n, PAGE, &pos) ||
            s->pages->ops->dealloc_pages(s->pages, pos, n))
            return -1;
    return (machine_cpu_ns(0) - began) / PAIRS;
}

static double one(void *space)
{
    return lifo(space, 1);
}

static double many(void *space)
{
    return lifo(space, GROUP);
}

static double replace(void *space)
{
    struct space *s = space;
    const struct allot_page_ops *ops = s->pages->ops;
    int rc = 0;

    for (unsigned i = 0; i < HELD && !rc; i++)
        rc = ops->alloc_pages(s->pages, 1, PAGE, &s->held[i]);
    double began = machine_cpu_ns(0);
    for (unsigned i = 0; i < PAIRS && !rc; i++) {
        uint64_t *pos = &s->held[workload_range(&s->random, 0, HELD - 1)];
        rc = ops->dealloc_pages(s->pages, *pos, 1);
        if (!rc)
            rc = ops->alloc_pages(s->pages, 1, PAGE, pos);
    }
    double spent = machine_cpu_ns(0) - began;
    for (unsigned i = 0; i < HELD && !rc; i++)
        rc = ops->dealloc_pages(s->pages, s->held[i], 1);
    return rc ? -1 : spent / PAIRS;
}

static int run_occupancy(struct bench *b, const struct occupancy *o)
{
    static struct space s;
    static const struct {
        const char *name;
        double (*measure)(void *space);
        double goal;
    } what[] = {{"one page", one, GOAL_ONE},
                {"one page, random", replace, BENCH_NO_GOAL},
                {"512 pages", many, GOAL_MANY}};
    struct workload malloc_a1 = {.live = 1, .repeat = PAIRS};
    struct bench_probe probes[4] = {{.measure = workload_lifo, .ctx = &malloc_a1}};
    char name[64];

    s = (struct space){.random = {WORKLOAD_SEED}};
    workload_meta_init(&s.meta);
    for (size_t i = 0; i < 3; i++)
        probes[i + 1] = (struct bench_probe){.measure = what[i].measure, .ctx = &s};
    int rc = workload_open(&malloc_a1);
    if (!rc)
        rc = fill(&s, o);
    if (!rc)
        rc = bench_rounds(b, probes, 4);
    for (size_t i = 0; i < 3 && !rc; i++) {
        snprintf(name, sizeof(name), "%s, %s", what[i].name, o->name);
        bench_report(b, &(struct bench_row){.name = name,
                                            .unit = "ns",
                                            .ours = &probes[i + 1].series,
                                            .yardstick = "malloc, a1",
                                            .yardstick_series = &probes[0].series,
                                            .goal = what[i].goal});
    }
    allot_bitmap_pages.destroy(s.pages);
    workload_close(&malloc_a1);
    if (rc)
        fprintf(stderr, "bench: pages failed: %s\n", o->name);
    return rc ? -1 : 0;
}

int lib_occupancy(struct bench *b)
{
    int rc = 0;

    for (size_t i = 0; i < OCCUPANCIES && !rc; i++)
        rc = run_occupancy(b, &occupancies[i]);
    return rc;
}
