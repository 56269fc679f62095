/* SPDX-License-Identifier: MIT */
/*
 * allot-bench-insert LIVE: the CPU time, in ns, that LIVE blocks take in an empty heap of lib/.
 * What the benchmark "restart" runs.
 */
#include <stdio.h>
#include <stdlib.h>

#include <allot/heap.h>

#include "bench.h"
#include "machine.h"

#define BLOCK_SIZE 64u
#define PAGE       4096u
#define SPACE      (UINT64_C(1) << 30)

int main(int argc, char **argv)
{
    struct allot_page *pages = NULL;
    struct allot_byte *bytes = NULL;
    struct allot_heap heap;
    uint64_t position;

    if (argc != 2)
        return 2;
    unsigned live = (unsigned)strtoul(argv[1], NULL, 10);
    double start = machine_cpu_ns(0);
    int rc = allot_bitmap_pages.create(&bench_meta, PAGE, &pages);
    if (!rc)
        rc = allot_tlsf.create(&bench_meta, &bytes);
    if (!rc)
        rc = pages->ops->init(pages, PAGE, SPACE - PAGE);
    if (!rc)
        allot_heap_init(&heap, bytes, pages);
    for (unsigned i = 0; i < live && !rc; i++)
        rc = allot_heap_alloc(&heap, BLOCK_SIZE, 16, &position);
    double spent = machine_cpu_ns(0) - start;
    allot_tlsf.destroy(bytes);
    allot_bitmap_pages.destroy(pages);
    if (rc)
        return EXIT_FAILURE;
    printf("%.0f\n", spent);
    return EXIT_SUCCESS;
}
