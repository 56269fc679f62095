/* SPDX-License-Identifier: MIT */
/*
 * Bitmap pages: the page family over the run map (../bitmap/), one unit a page.
 *
 * Here bytes become pages and back, and the page family's errors are told. The search, the ranges
 * and all costs are the run map's. It is not a byte allocator with large blocks: which pages were
 * taken together is not remembered, so a part of them can be given back.
 *
 * Locks: none; the caller's. Limits: positions below 2^48, whatever the page size.
 */
#include <allot/align.h>
#include <allot/page.h>

#include "../bitmap/runmap.h"

#define POSITION_MAX  (1ULL << 48)
#define PAGE_SIZE_MIN 4096

struct page_bitmap {
    struct allot_page page;
    unsigned shift; /* of the page size */
    struct runmap map;
};

static struct page_bitmap *page_bitmap(struct allot_page *p)
{
    return (struct page_bitmap *)p; /* its first member */
}

static const struct page_bitmap *page_bitmap_const(const struct allot_page *p)
{
    return (const struct page_bitmap *)p;
}

static int bitmap_create(const struct allot_meta *meta, uint64_t page_size, struct allot_page **ret)
{
    struct page_bitmap *b;

    if (page_size < PAGE_SIZE_MIN || !ALLOT_IS_POW2(page_size))
        return ALLOT_E_INVALID;
    b = meta->resize(meta->ctx, NULL, 0, sizeof(*b));
    if (!b)
        return ALLOT_E_NO_MEMORY;
    b->page.ops = &allot_bitmap_pages;
    b->shift = (unsigned)__builtin_ctzll(page_size);
    runmap_init(&b->map, meta);
    *ret = &b->page;
    return 0;
}

static void bitmap_destroy(struct allot_page *p)
{
    struct page_bitmap *b = page_bitmap(p);
    struct allot_meta meta;

    if (!p)
        return;
    meta = b->map.meta;
    runmap_clear(&b->map);
    meta.resize(meta.ctx, b, sizeof(*b), 0);
}

/* The whole pages of a range of bytes. */
static int whole_pages(const struct page_bitmap *b, uint64_t start, uint64_t size,
                       uint64_t *ret_first, uint64_t *ret_end)
{
    uint64_t first, end;

    if (start > POSITION_MAX || size > POSITION_MAX - start)
        return ALLOT_E_INVALID;
    first = ALLOT_ALIGN_UP(start, 1ULL << b->shift) >> b->shift;
    end = (start + size) >> b->shift;
    if (first >= end)
        return ALLOT_E_INVALID;
    *ret_first = first;
    *ret_end = end;
    return 0;
}

static int bitmap_add_memory(struct allot_page *p, uint64_t start, uint64_t size)
{
    struct page_bitmap *b = page_bitmap(p);
    uint64_t first, end;
    int r = whole_pages(b, start, size, &first, &end);

    return r ? r : runmap_add(&b->map, first, end);
}

static int bitmap_init(struct allot_page *p, uint64_t start, uint64_t size)
{
    struct page_bitmap *b = page_bitmap(p);
    uint64_t first, end;
    int r = whole_pages(b, start, size, &first, &end);

    return r ? r : runmap_restart(&b->map, first, end);
}

static int bitmap_alloc_pages(struct allot_page *p, uint64_t num, uint64_t align, uint64_t *ret_pos)
{
    struct page_bitmap *b = page_bitmap(p);
    uint64_t first;
    int r;

    if (!ALLOT_IS_POW2(align))
        return ALLOT_E_INVALID;
    align >>= b->shift;
    r = runmap_alloc(&b->map, num, align ? align : 1, &first);
    if (r)
        return r;
    *ret_pos = first << b->shift;
    return 0;
}

static int bitmap_alloc_pages_at(struct allot_page *p, uint64_t base, uint64_t num)
{
    struct page_bitmap *b = page_bitmap(p);

    if (!ALLOT_IS_ALIGNED(base, 1ULL << b->shift))
        return ALLOT_E_INVALID;
    return runmap_alloc_at(&b->map, base >> b->shift, num);
}

static int bitmap_dealloc_pages(struct allot_page *p, uint64_t pos, uint64_t num)
{
    struct page_bitmap *b = page_bitmap(p);

    if (!ALLOT_IS_ALIGNED(pos, 1ULL << b->shift))
        return ALLOT_E_INVALID;
    return runmap_free(&b->map, pos >> b->shift, num);
}

static uint64_t bitmap_page_size(const struct allot_page *p)
{
    return 1ULL << page_bitmap_const(p)->shift;
}

static uint64_t bitmap_largest_free(const struct allot_page *p)
{
    return runmap_longest(&page_bitmap_const(p)->map);
}

static uint64_t bitmap_total_pages(const struct allot_page *p)
{
    return page_bitmap_const(p)->map.total;
}

static uint64_t bitmap_used_pages(const struct allot_page *p)
{
    return page_bitmap_const(p)->map.used;
}

static uint64_t bitmap_available_pages(const struct allot_page *p)
{
    return page_bitmap_const(p)->map.total - page_bitmap_const(p)->map.used;
}

static uint64_t bitmap_metadata_bytes(const struct allot_page *p)
{
    return sizeof(struct page_bitmap) + page_bitmap_const(p)->map.meta_bytes;
}

static int bitmap_check(const struct allot_page *p)
{
    return runmap_check(&page_bitmap_const(p)->map);
}

static int bitmap_dump(const struct allot_page *p, allot_visit_fn *visit, void *ctx)
{
    return runmap_dump(&page_bitmap_const(p)->map, page_bitmap_const(p)->shift, visit, ctx);
}

const struct allot_page_ops allot_bitmap_pages = {
    .name = "bitmap",
    .create = bitmap_create,
    .destroy = bitmap_destroy,
    .init = bitmap_init,
    .add_memory = bitmap_add_memory,
    .alloc_pages = bitmap_alloc_pages,
    .alloc_pages_at = bitmap_alloc_pages_at,
    .dealloc_pages = bitmap_dealloc_pages,
    .page_size = bitmap_page_size,
    .largest_free = bitmap_largest_free,
    .total_pages = bitmap_total_pages,
    .used_pages = bitmap_used_pages,
    .available_pages = bitmap_available_pages,
    .metadata_bytes = bitmap_metadata_bytes,
    .check = bitmap_check,
    .dump = bitmap_dump,
};
