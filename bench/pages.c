/* SPDX-License-Identifier: MIT */
/*
 * The page allocator: 512 pages in one run, taken and given back, in a space of 2^20 pages. Beside
 * the empty space, two that are half taken: every group of 512 pages has a hole of 256, so nothing
 * fits but the last group, which is free.
 */
#include <stdio.h>
#include <stdlib.h>

#include <allot/page.h>

#include "bench.h"
#include "machine.h"

#define PAGE  4096ull
#define PAGES (1ull << 20)
#define GROUP 512ull
#define PAIRS 100000u

static int make(bool holes, struct allot_page **ret)
{
    struct allot_page *p;

    if (allot_bitmap_pages.create(&bench_meta, PAGE, &p))
        return -1;
    *ret = p;
    int rc = p->ops->init(p, 0, PAGES * PAGE);
    /* The hole comes first in its group, so that the last one does not reach the free group. */
    for (uint64_t group = 0; holes && group < PAGES - GROUP && !rc; group += GROUP)
        rc = p->ops->alloc_pages_at(p, (group + GROUP / 2) * PAGE, GROUP / 2);
    return rc;
}

static double measure(void *ctx)
{
    struct allot_page *p = ctx;
    uint64_t position;
    double start = machine_now_ns();

    for (unsigned i = 0; i < PAIRS; i++)
        if (p->ops->alloc_pages(p, GROUP, PAGE, &position) ||
            p->ops->dealloc_pages(p, position, GROUP))
            return -1;
    return (machine_now_ns() - start) / PAIRS;
}

static int run(struct bench *b)
{
    struct allot_page *empty = NULL;
    struct allot_page *half = NULL;
    int rc = machine_pin(0);

    if (!rc)
        rc = make(false, &empty);
    if (!rc)
        rc = make(true, &half);
    struct bench_probe probes[] = {{.measure = measure, .ctx = empty},
                                   {.measure = measure, .ctx = half}};
    if (!rc)
        rc = bench_rounds(b, probes, 2);
    allot_bitmap_pages.destroy(empty);
    allot_bitmap_pages.destroy(half);
    machine_pin(MACHINE_ANY_CORE);
    if (rc) {
        fprintf(stderr, "bench: the page allocator failed\n");
        return -1;
    }
    bench_report(b, &(struct bench_row){.name = "512 of 2^20, half taken",
                                        .unit = "ns",
                                        .ours = &probes[1].series,
                                        .yardstick = "the same, empty space",
                                        .yardstick_series = &probes[0].series,
                                        .goal = 5});
    return 0;
}

const struct bench_group bench_pages = {"pages", run};
