/* SPDX-License-Identifier: MIT */
/*
 * First fit in address order: every block is put at the lowest position that holds it.
 *
 * What it is: the policy that keeps the high end of a space free, and the least metadata a block of
 * all the byte allocators here: 4 bytes a run in leaves that are kept nearly full. What it is not:
 * O(1); see tlsf.c for that. No block is found by hashing, no free run by size: one tree of all
 * runs (runtree.h) answers both, and every operation is a change of state of a part of one run: a
 * block is taken from a free run, memory is added from a gap, and so on.
 *
 * Sizes and positions are multiples of 16 bytes.
 *
 * Invariants: those of runtree.c; total and used are what the runs add up to.
 *
 * Locks: none. Limits: all operations are O(log n) but alloc() at an `align` above 16. That visits
 * in address order each free run that is long enough for `size` but does not hold it aligned. The
 * first run of size + align - 16 bytes or more ends the search at the latest; where there is none,
 * all runs between those lengths may be looked at: exactness has this price. dealloc() makes fewer
 * runs or as many, so it needs no metadata memory.
 */
#include <allot/align.h>

#include "firstfit.h"

static struct firstfit *firstfit_of(const struct allot_byte *b)
{
    return (struct firstfit *)(void *)b; /* base is its first member */
}

static int round_request(uint64_t size, uint64_t align, uint64_t *ret_size)
{
    if (!size || !ALLOT_IS_POW2(align) || !allot_align_up(size, RUN_GRANULE, ret_size))
        return ALLOT_E_INVALID;
    return 0;
}

static int firstfit_create(const struct allot_meta *meta, struct allot_byte **ret)
{
    struct firstfit *f = meta->resize(meta->ctx, NULL, 0, sizeof(*f));

    if (!f)
        return ALLOT_E_NO_MEMORY;
    *f = (struct firstfit){.base = {&allot_first_fit}};
    if (!runtree_init(&f->runs, meta)) {
        meta->resize(meta->ctx, f, sizeof(*f), 0);
        return ALLOT_E_NO_MEMORY;
    }
    *ret = &f->base;
    return 0;
}

static void firstfit_destroy(struct allot_byte *b)
{
    struct firstfit *f = firstfit_of(b);
    struct allot_meta meta;

    if (!b)
        return;
    meta = f->runs.meta;
    runtree_deinit(&f->runs);
    meta.resize(meta.ctx, f, sizeof(*f), 0);
}

/* Ranges. */

static int cut_inwards(uint64_t *start, uint64_t size, uint64_t *ret_end)
{
    uint64_t end;

    if (__builtin_add_overflow(*start, size, &end) || end > RUN_END)
        return ALLOT_E_INVALID;
    *start = ALLOT_ALIGN_UP(*start, RUN_GRANULE);
    *ret_end = ALLOT_ALIGN_DOWN(end, RUN_GRANULE);
    return *start < *ret_end ? 0 : ALLOT_E_INVALID;
}

/* The way to the run of such a state that holds all of [start, end); false if there is none. */
static bool within(const struct firstfit *f, uint64_t start, uint64_t end, enum run_state state,
                   struct runtree_path *path)
{
    struct run run;

    runtree_locate(&f->runs, start, path);
    run = runtree_run(&f->runs, path);
    return run.state == state && end <= run.end;
}

static int firstfit_add_memory(struct allot_byte *b, uint64_t start, uint64_t size)
{
    struct firstfit *f = firstfit_of(b);
    struct runtree_path path;
    uint64_t end;
    int err = cut_inwards(&start, size, &end);

    if (err)
        return err;
    if (!within(f, start, end, RUN_GAP, &path))
        return ALLOT_E_OVERLAP;
    if (!runtree_reserve(&f->runs, 1))
        return ALLOT_E_NO_MEMORY;
    runtree_set(&f->runs, &path, start, end, RUN_FREE, false);
    f->total += end - start;
    return 0;
}

static int firstfit_init(struct allot_byte *b, uint64_t start, uint64_t size)
{
    struct firstfit *f = firstfit_of(b);
    uint64_t end;
    int err = cut_inwards(&start, size, &end);

    if (err)
        return err;
    runtree_reset(&f->runs);
    f->total = 0;
    f->used = 0;
    return firstfit_add_memory(b, start, end - start);
}

static int firstfit_take_back(struct allot_byte *b, uint64_t near, uint64_t granule,
                              uint64_t *ret_start, uint64_t *ret_size)
{
    struct firstfit *f = firstfit_of(b);
    struct runtree_path path;
    uint64_t start, end;
    struct run run;

    if (!ALLOT_IS_POW2(granule))
        return ALLOT_E_INVALID;
    if (near >= RUN_END || !within(f, near, near, RUN_FREE, &path))
        return ALLOT_E_NOT_ALLOCATED;
    run = runtree_run(&f->runs, &path);
    granule = granule > RUN_GRANULE ? granule : RUN_GRANULE;
    start = ALLOT_ALIGN_UP(run.start, granule);
    end = ALLOT_ALIGN_DOWN(run.end, granule);
    if (start >= end)
        return ALLOT_E_NOT_ALLOCATED;
    /* One for the cut, one more for an add_memory() that undoes it. */
    if (!runtree_reserve(&f->runs, 2))
        return ALLOT_E_NO_MEMORY;
    runtree_set(&f->runs, &path, start, end, RUN_GAP, false);
    f->total -= end - start;
    *ret_start = start;
    *ret_size = end - start;
    return 0;
}

/* Blocks. */

static int firstfit_alloc(struct allot_byte *b, uint64_t size, uint64_t align, uint64_t *ret_pos)
{
    struct firstfit *f = firstfit_of(b);
    struct runtree_path path;
    uint64_t pos;
    int err = round_request(size, align, &size);

    if (err)
        return err;
    if (!runtree_reserve(&f->runs, 1) || !runtree_first_fit(&f->runs, size, align, &path))
        return ALLOT_E_NO_MEMORY;
    pos = ALLOT_ALIGN_UP(runtree_run(&f->runs, &path).start, align);
    runtree_set(&f->runs, &path, pos, pos + size, RUN_USED, false);
    f->used += size;
    *ret_pos = pos;
    return 0;
}

static int firstfit_footprint(const struct allot_byte *b, uint64_t pos, uint64_t size,
                              uint64_t align, uint64_t *ret_start, uint64_t *ret_size)
{
    uint64_t end;
    int err = round_request(size, align, &size);

    (void)b;
    if (err)
        return err;
    if (!ALLOT_IS_ALIGNED(pos, align) || !ALLOT_IS_ALIGNED(pos, RUN_GRANULE) ||
        __builtin_add_overflow(pos, size, &end) || end > RUN_END)
        return ALLOT_E_INVALID;
    *ret_start = pos;
    *ret_size = size;
    return 0;
}

static int firstfit_claim(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align)
{
    struct firstfit *f = firstfit_of(b);
    struct runtree_path path;
    int err = firstfit_footprint(b, pos, size, align, &pos, &size);

    if (err)
        return err;
    if (!within(f, pos, pos + size, RUN_FREE, &path))
        return ALLOT_E_OVERLAP;
    if (!runtree_reserve(&f->runs, 1))
        return ALLOT_E_NO_MEMORY;
    runtree_set(&f->runs, &path, pos, pos + size, RUN_USED, false);
    f->used += size;
    return 0;
}

/* The block that starts at `pos`; its size is told. */
static int find_block(const struct firstfit *f, uint64_t pos, struct runtree_path *path,
                      uint64_t *ret_size)
{
    struct run run;

    if (pos >= RUN_END)
        return ALLOT_E_NOT_ALLOCATED;
    runtree_locate(&f->runs, pos, path);
    run = runtree_run(&f->runs, path);
    if (run.start != pos || run.state != RUN_USED)
        return ALLOT_E_NOT_ALLOCATED;
    *ret_size = run.end - pos;
    return 0;
}

/* The same, as alloc() returned it for `size`, which is rounded here, and `align`. */
static int find_exactly(const struct firstfit *f, uint64_t pos, uint64_t align, uint64_t *size,
                        struct runtree_path *path)
{
    uint64_t found;
    int err = round_request(*size, align, size);

    if (!err)
        err = find_block(f, pos, path, &found);
    if (!err && (found != *size || !ALLOT_IS_ALIGNED(pos, align)))
        err = ALLOT_E_NOT_ALLOCATED;
    return err;
}

static int firstfit_dealloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align)
{
    struct firstfit *f = firstfit_of(b);
    struct runtree_path path;
    int err = find_exactly(f, pos, align, &size, &path);

    if (err)
        return err;
    runtree_set(&f->runs, &path, pos, pos + size, RUN_FREE, false);
    f->used -= size;
    return 0;
}

static int firstfit_realloc(struct allot_byte *b, uint64_t pos, uint64_t size, uint64_t align,
                            uint64_t new_size)
{
    struct firstfit *f = firstfit_of(b);
    struct runtree_path path;
    uint64_t end, new_end;
    int err = round_request(new_size, align, &new_size);

    if (!err)
        err = find_exactly(f, pos, align, &size, &path);
    if (err || new_size == size)
        return err;
    end = pos + size;
    if (__builtin_add_overflow(pos, new_size, &new_end) || new_end > RUN_END)
        return ALLOT_E_NO_MEMORY;
    if (new_size > size && !within(f, end, new_end, RUN_FREE, &path))
        return ALLOT_E_NO_MEMORY;
    if (!runtree_reserve(&f->runs, 1))
        return ALLOT_E_NO_MEMORY;
    if (new_size > size)
        runtree_set(&f->runs, &path, end, new_end, RUN_USED, true);
    else
        runtree_set(&f->runs, &path, new_end, end, RUN_FREE, false);
    f->used += new_size - size;
    return 0;
}

static int firstfit_usable_size(const struct allot_byte *b, uint64_t pos, uint64_t *ret_size)
{
    struct runtree_path path;

    return find_block(firstfit_of(b), pos, &path, ret_size);
}

static uint64_t firstfit_largest_free(const struct allot_byte *b)
{
    return firstfit_of(b)->runs.largest;
}

static uint64_t firstfit_total_bytes(const struct allot_byte *b)
{
    return firstfit_of(b)->total;
}

static uint64_t firstfit_used_bytes(const struct allot_byte *b)
{
    return firstfit_of(b)->used;
}

static uint64_t firstfit_available_bytes(const struct allot_byte *b)
{
    return firstfit_of(b)->total - firstfit_of(b)->used;
}

static uint64_t firstfit_metadata_bytes(const struct allot_byte *b)
{
    const struct firstfit *f = firstfit_of(b);

    return sizeof(*f) + (uint64_t)f->runs.capacity * sizeof(union runtree_node);
}

const struct allot_byte_ops allot_first_fit = {
    .name = "first-fit",
    .create = firstfit_create,
    .destroy = firstfit_destroy,
    .init = firstfit_init,
    .add_memory = firstfit_add_memory,
    .take_back = firstfit_take_back,
    .alloc = firstfit_alloc,
    .claim = firstfit_claim,
    .footprint = firstfit_footprint,
    .dealloc = firstfit_dealloc,
    .realloc = firstfit_realloc,
    .usable_size = firstfit_usable_size,
    .largest_free = firstfit_largest_free,
    .total_bytes = firstfit_total_bytes,
    .used_bytes = firstfit_used_bytes,
    .available_bytes = firstfit_available_bytes,
    .metadata_bytes = firstfit_metadata_bytes,
    .check = firstfit_check,
    .dump = firstfit_dump,
};
