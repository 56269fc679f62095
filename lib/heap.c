/* SPDX-License-Identifier: MIT */
/*
 * The byte heap over pages: a byte allocator whose memory comes from a page allocator, a run at a
 * time, and goes back to it.
 *
 * It keeps no state: which pages are the heap's is what the byte allocator manages. It uses the two
 * tables only, so it learns what an implementation needs by asking footprint().
 *
 * Growing. The first run is 32 KiB; later ones are as large as all that the heap has, or the
 * request, rounded up to a power of two, halved while the pages refuse it and the request would
 * still fit.
 *
 * Giving back. The heap means to keep 32 KiB or a quarter of what is used, whichever is more, in
 * whole pages. When a free leaves it twice that, whole free pages go back until that is left, the
 * freed block's run first, then the largest. So between giving back and growing again, and between
 * growing by need and giving back, lies at least that quarter: a loop of allocating and freeing at
 * the edge does neither. Free pages that lie between blocks in runs of less than two pages may
 * stay.
 *
 * An empty heap keeps one run of 32 KiB: what is scattered goes back and the lowest free run is
 * taken instead, so that the pages are no more broken up than before there was a heap. Where it
 * then lies in somebody's way, and whatever else the heap keeps, trimming gives it up: before any
 * request is refused, for bytes here, for pages by the owner of both.
 *
 * Invariant: a page is the heap's, or free, or somebody else's; on every failure it is again what
 * it was, but that whole free pages of the heap may have gone back.
 *
 * Locks: none. Limits: those of the two allocators.
 */
#include <allot/align.h>
#include <allot/heap.h>

#define HEAP_FIRST UINT64_C(32768)

/* One trimming moves so many runs at most: a refusal must come at once. */
#define TRIM_RUNS_MAX 64

static uint64_t page_of(const struct allot_heap *h)
{
    return h->pages->ops->page_size(h->pages);
}

static uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* `x` is 2 … 2^63. */
static uint64_t pow2_above(uint64_t x)
{
    return UINT64_C(1) << (64 - __builtin_clzll(x - 1));
}

void allot_heap_init(struct allot_heap *h, struct allot_byte *bytes, struct allot_page *pages)
{
    h->bytes = bytes;
    h->pages = pages;
}

/* The smallest run that surely holds such a block: its bytes, and the multiple it must start at. */
static int least_run(const struct allot_heap *h, uint64_t size, uint64_t align, uint64_t *ret_size,
                     uint64_t *ret_align)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t page = page_of(h), start, length, at = page;

    if (ops->footprint(h->bytes, 0, size, align, &start, ret_size) ||
        !allot_align_up(*ret_size, page, ret_size))
        return ALLOT_E_NO_MEMORY; /* alloc() found nothing wrong with them but their size */
    /* What may start at an odd multiple of `at` may start at any multiple. */
    while (ops->footprint(h->bytes, at, size, align, &start, &length)) {
        if (at >> 48)
            return ALLOT_E_NO_MEMORY;
        at *= 2;
    }
    *ret_align = at;
    return 0;
}

/* Gives the whole free pages around `near` back, but leaves `keep` bytes free. False if there are
 * none. */
static bool give_back(struct allot_heap *h, uint64_t near, uint64_t keep)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t page = page_of(h), start, size, available, stay = 0;

    if (ops->take_back(h->bytes, near, page, &start, &size))
        return false;
    available = ops->available_bytes(h->bytes);
    if (available < keep) {
        stay = ALLOT_ALIGN_UP(keep - available, page);
        stay = stay < size ? stay : size;
    }
    /* Pages that were taken in one run with others may want metadata to go back alone. */
    if (stay < size && h->pages->ops->dealloc_pages(h->pages, start + stay, (size - stay) / page))
        stay = size;
    if (stay)
        ops->add_memory(h->bytes, start, stay); /* cannot fail after take_back() */
    return stay < size;
}

/* The same around the largest free run. The table tells where that is by handing it out. */
static bool give_back_largest(struct allot_heap *h, uint64_t keep)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t size = ops->largest_free(h->bytes), pos;

    if (size < page_of(h) || ops->alloc(h->bytes, size, 1, &pos))
        return false;
    ops->dealloc(h->bytes, pos, size, 1);
    return give_back(h, pos, keep);
}

bool allot_heap_trim(struct allot_heap *h)
{
    unsigned runs = 0;

    while (runs < TRIM_RUNS_MAX && give_back_largest(h, 0))
        runs++;
    return runs;
}

static int grow(struct allot_heap *h, uint64_t size, uint64_t align, uint64_t *ret_start)
{
    const struct allot_page_ops *pages = h->pages->ops;
    uint64_t page = page_of(h), total = h->bytes->ops->total_bytes(h->bytes);
    uint64_t least, run_align, want, pos;
    int err = least_run(h, size, align, &least, &run_align);

    if (err)
        return err;
    if (least / page > pages->largest_free(h->pages))
        return ALLOT_E_NO_MEMORY;
    want = pow2_above(max64(total, least));
    want = max64(want, total ? page : HEAP_FIRST);
    for (want = max64(want, page);; want = max64(want / 2, least)) {
        err = pages->alloc_pages(h->pages, want / page, run_align, &pos);
        if (!err)
            break;
        if (want == least)
            return err;
    }
    err = h->bytes->ops->add_memory(h->bytes, pos, want / page * page);
    if (err) {
        pages->dealloc_pages(h->pages, pos, want / page);
        return err;
    }
    *ret_start = pos;
    return 0;
}

/* The heap's and the pages'. */
static uint64_t free_bytes(const struct allot_heap *h)
{
    return h->bytes->ops->available_bytes(h->bytes) +
           h->pages->ops->available_pages(h->pages) * page_of(h);
}

/* After a free at `near`. */
static void settle(struct allot_heap *h, uint64_t near)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t page = page_of(h), used = ops->used_bytes(h->bytes);
    uint64_t keep = ALLOT_ALIGN_UP(max64(HEAP_FIRST, used / 4), page), start;

    if (!used) {
        uint64_t total = ops->total_bytes(h->bytes);

        if (total <= keep && ops->largest_free(h->bytes) == total)
            return;
        while (give_back_largest(h, 0))
            ;
        if (!ops->total_bytes(h->bytes))
            (void)grow(h, 1, 1, &start); /* where that is refused, nothing is kept */
        return;
    }
    if (ops->available_bytes(h->bytes) <= 2 * keep)
        return;
    give_back(h, near, keep);
    /* A run of two pages has a whole one in it. */
    while (ops->available_bytes(h->bytes) > 2 * keep && ops->largest_free(h->bytes) >= 2 * page) {
        if (!give_back_largest(h, keep))
            return;
    }
}

int allot_heap_alloc(struct allot_heap *h, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t start;
    int err = ops->alloc(h->bytes, size, align, ret_pos);

    if (err != ALLOT_E_NO_MEMORY)
        return err;
    err = grow(h, size, align, &start);
    if (err && size <= free_bytes(h) && allot_heap_trim(h))
        err = grow(h, size, align, &start);
    if (err)
        return err;
    err = ops->alloc(h->bytes, size, align, ret_pos);
    if (err)
        give_back(h, start, 0);
    return err;
}

/* Makes those of the `num` pages from `start` the heap's that are free; the others are its already
 * or never will be. Halves until each part is one or the other; 48 deep at most. */
static int claim_pages(struct allot_heap *h, uint64_t start, uint64_t num)
{
    uint64_t page = page_of(h);
    int err = h->pages->ops->alloc_pages_at(h->pages, start, num);

    if (err == ALLOT_E_OVERLAP) {
        if (num == 1)
            return 0;
        err = claim_pages(h, start, num / 2);
        return err ? err : claim_pages(h, start + num / 2 * page, num - num / 2);
    }
    if (err)
        return err;
    err = h->bytes->ops->add_memory(h->bytes, start, num * page);
    if (err)
        h->pages->ops->dealloc_pages(h->pages, start, num);
    return err;
}

/* Claims a block for which pages are missing. */
static __attribute__((noinline)) int claim_growing(struct allot_heap *h, uint64_t pos,
                                                   uint64_t size, uint64_t align)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t page = page_of(h), start, length, end, near;
    int err = ops->footprint(h->bytes, pos, size, align, &start, &length);

    if (err)
        return err;
    end = ALLOT_ALIGN_UP(start + length, page);
    start = ALLOT_ALIGN_DOWN(start, page);
    if ((end - start) / page > h->pages->ops->total_pages(h->pages))
        return ALLOT_E_INVALID; /* else a failure would look for pages to give back for ever */
    err = claim_pages(h, start, (end - start) / page);
    if (!err)
        err = ops->claim(h->bytes, pos, size, align);
    if (!err)
        return 0;
    for (near = start; near < end; near += page)
        give_back(h, near, 0);
    return err;
}

int allot_heap_claim(struct allot_heap *h, uint64_t pos, uint64_t size, uint64_t align)
{
    /* Most blocks lie in pages that another one has brought already. */
    int err = h->bytes->ops->claim(h->bytes, pos, size, align);

    return err == ALLOT_E_OVERLAP ? claim_growing(h, pos, size, align) : err;
}

int allot_heap_dealloc(struct allot_heap *h, uint64_t pos, uint64_t size, uint64_t align)
{
    int err = h->bytes->ops->dealloc(h->bytes, pos, size, align);

    if (!err)
        settle(h, pos);
    return err;
}

/* Makes the pages after a block the heap's, so that it can grow in place. The free pages between
 * leave the byte allocator first, because that is how it tells where they end. */
static int extend(struct allot_heap *h, uint64_t end, uint64_t want)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    const struct allot_page_ops *pages = h->pages->ops;
    uint64_t page = page_of(h), from, tail, edge, stop;
    int err;

    if (ops->take_back(h->bytes, end, page, &from, &tail)) {
        from = ALLOT_ALIGN_UP(end, page);
        tail = 0;
    }
    edge = from + tail;
    stop = max64(ALLOT_ALIGN_UP(want, page), edge);
    err = stop > edge ? pages->alloc_pages_at(h->pages, edge, (stop - edge) / page)
                      : ALLOT_E_NO_MEMORY;
    if (!err) {
        err = ops->add_memory(h->bytes, from, stop - from);
        if (!err)
            return 0;
        pages->dealloc_pages(h->pages, edge, (stop - edge) / page);
    }
    if (tail)
        ops->add_memory(h->bytes, from, tail); /* cannot fail after take_back() */
    return ALLOT_E_NO_MEMORY;
}

int allot_heap_realloc(struct allot_heap *h, uint64_t pos, uint64_t size, uint64_t align,
                       uint64_t new_size)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    uint64_t start, length, new_start, new_length;
    int err = ops->realloc(h->bytes, pos, size, align, new_size);

    if (err && err != ALLOT_E_NO_MEMORY)
        return err;
    if (ops->footprint(h->bytes, pos, size, align, &start, &length) ||
        ops->footprint(h->bytes, pos, new_size, align, &new_start, &new_length))
        return err;
    if (!err) {
        if (new_length < length)
            settle(h, new_start + new_length);
        return 0;
    }
    if (new_start != start || new_length <= length || extend(h, start + length, start + new_length))
        return ALLOT_E_NO_MEMORY;
    err = ops->realloc(h->bytes, pos, size, align, new_size);
    if (err)
        give_back(h, ALLOT_ALIGN_UP(start + length, page_of(h)), 0);
    return err;
}

/* The largest block that a run of `run` bytes, the longest that the pages have, would bring. */
static uint64_t largest_by_growing(const struct allot_heap *h, uint64_t run)
{
    const struct allot_page_ops *pages = h->pages->ops;
    uint64_t page = page_of(h), least, align, pos;

    if (!run)
        return 0;
    if (!least_run(h, run, 1, &least, &align) && least == run && align == page)
        return run;
    /* An implementation whose blocks have sizes or places of their own: powers of two. */
    for (uint64_t size = pow2_above(run / 2 + 1); size >= page; size /= 2) {
        if (least_run(h, size, 1, &least, &align) ||
            pages->alloc_pages(h->pages, least / page, align, &pos))
            continue;
        pages->dealloc_pages(h->pages, pos, least / page);
        return size;
    }
    return 0;
}

uint64_t allot_heap_largest_free(const struct allot_heap *h)
{
    uint64_t run = h->pages->ops->largest_free(h->pages) * page_of(h);

    return max64(h->bytes->ops->largest_free(h->bytes), largest_by_growing(h, run));
}
