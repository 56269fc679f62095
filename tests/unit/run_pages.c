/* SPDX-License-Identifier: MIT */
/*
 * Pages as IDs: a page's ID is its position over the page size. See run_test.h.
 */
#include <stdlib.h>

#include <allot/page.h>

#include "run_test.h"

static const struct allot_page_ops *const ops = &allot_bitmap_pages;

struct paged {
    struct allot_id id;
    struct allot_page *pages;
};

static struct allot_page *pages_of(const struct allot_id *d)
{
    return ((const struct paged *)d)->pages;
}

/* A multiple of the page size, however large. */
static uint64_t bytes_of(const struct allot_id *d, uint64_t pages)
{
    uint64_t page = ops->page_size(pages_of(d));

    return pages > UINT64_MAX / page ? 0 - page : pages * page;
}

static void paged_destroy(struct allot_id *d)
{
    if (d)
        ops->destroy(pages_of(d));
    free(d);
}

static int paged_init(struct allot_id *d, uint64_t first, uint64_t count)
{
    return ops->init(pages_of(d), bytes_of(d, first), bytes_of(d, count));
}

static int paged_add_memory(struct allot_id *d, uint64_t first, uint64_t count)
{
    return ops->add_memory(pages_of(d), bytes_of(d, first), bytes_of(d, count));
}

static int paged_alloc_id(struct allot_id *d, uint64_t count, uint64_t align, uint64_t *ret_first)
{
    uint64_t pos, page = ops->page_size(pages_of(d));
    int r = ops->alloc_pages(pages_of(d), count,
                             align > UINT64_MAX / page ? 1ULL << 63 : align * page, &pos);

    if (r == 0)
        *ret_first = pos / page;
    return r;
}

static int paged_alloc_fixed_id(struct allot_id *d, uint64_t first, uint64_t count)
{
    return ops->alloc_pages_at(pages_of(d), bytes_of(d, first), count);
}

static int paged_dealloc_id(struct allot_id *d, uint64_t first, uint64_t count)
{
    return ops->dealloc_pages(pages_of(d), bytes_of(d, first), count);
}

static uint64_t paged_size(const struct allot_id *d)
{
    return ops->total_pages(pages_of(d));
}

static uint64_t paged_used(const struct allot_id *d)
{
    return ops->used_pages(pages_of(d));
}

static uint64_t paged_available(const struct allot_id *d)
{
    return ops->available_pages(pages_of(d));
}

static uint64_t paged_largest_free(const struct allot_id *d)
{
    return ops->largest_free(pages_of(d));
}

static uint64_t paged_metadata_bytes(const struct allot_id *d)
{
    return ops->metadata_bytes(pages_of(d));
}

static int paged_check(const struct allot_id *d)
{
    return ops->check(pages_of(d));
}

struct paged_dump {
    uint64_t page;
    allot_visit_fn *visit;
    void *ctx;
};

static void paged_visit(void *ctx, unsigned long long start, unsigned long long size,
                        enum allot_run_state state)
{
    const struct paged_dump *dump = ctx;

    dump->visit(dump->ctx, start / dump->page, size / dump->page, state);
}

static int paged_dump(const struct allot_id *d, allot_visit_fn *visit, void *ctx)
{
    struct paged_dump dump = {ops->page_size(pages_of(d)), visit, ctx};

    return ops->dump(pages_of(d), paged_visit, &dump);
}

static int paged_create(const struct allot_meta *meta, const struct allot_id_ops *paged_ops,
                        uint64_t page_size, struct allot_id **ret)
{
    struct paged *paged = malloc(sizeof(*paged));
    int r = paged ? ops->create(meta, page_size, &paged->pages) : ALLOT_E_NO_MEMORY;

    if (r) {
        free(paged);
        return r;
    }
    paged->id.ops = paged_ops;
    *ret = &paged->id;
    return 0;
}

static int small_create(const struct allot_meta *meta, struct allot_id **ret)
{
    return paged_create(meta, &run_small_pages, 4096, ret);
}

static int huge_create(const struct allot_meta *meta, struct allot_id **ret)
{
    return paged_create(meta, &run_huge_pages, 2 << 20, ret);
}

#define PAGED                                                                                      \
    .destroy = paged_destroy, .init = paged_init, .add_memory = paged_add_memory,                  \
    .alloc_id = paged_alloc_id, .alloc_fixed_id = paged_alloc_fixed_id,                            \
    .dealloc_id = paged_dealloc_id, .size = paged_size, .used = paged_used,                        \
    .available = paged_available, .largest_free = paged_largest_free,                              \
    .metadata_bytes = paged_metadata_bytes, .check = paged_check, .dump = paged_dump

const struct allot_id_ops run_small_pages = {.name = "4 KiB", .create = small_create, PAGED};
const struct allot_id_ops run_huge_pages = {.name = "2 MiB", .create = huge_create, PAGED};
