/* SPDX-License-Identifier: MIT */
/*
 * Bitmap IDs: the ID family over the run map (../bitmap/), one unit an ID.
 *
 * The run map keeps nodes only along the edges of what was taken, so a space of 2^48 free IDs
 * costs one node, and IDs that are taken in order cost little more than their bits. IDs that lie
 * far apart cost a path of nodes each. It gives no names to IDs and remembers no owners.
 *
 * Locks: none; the caller's. Limits: IDs below 2^48.
 */
#include <allot/id.h>

#include "../bitmap/runmap.h"

struct id_bitmap {
    struct allot_id id;
    struct runmap map;
};

static struct id_bitmap *id_bitmap(struct allot_id *d)
{
    return (struct id_bitmap *)d; /* its first member */
}

static const struct runmap *id_runs(const struct allot_id *d)
{
    return &((const struct id_bitmap *)d)->map;
}

static int idmap_create(const struct allot_meta *meta, struct allot_id **ret)
{
    struct id_bitmap *b = meta->resize(meta->ctx, NULL, 0, sizeof(*b));

    if (!b)
        return ALLOT_E_NO_MEMORY;
    b->id.ops = &allot_bitmap_ids;
    runmap_init(&b->map, meta);
    *ret = &b->id;
    return 0;
}

static void idmap_destroy(struct allot_id *d)
{
    struct id_bitmap *b = id_bitmap(d);
    struct allot_meta meta;

    if (!d)
        return;
    meta = b->map.meta;
    runmap_clear(&b->map);
    meta.resize(meta.ctx, b, sizeof(*b), 0);
}

static bool in_bounds(uint64_t first, uint64_t count)
{
    return count && first <= RUNMAP_UNITS_MAX && count <= RUNMAP_UNITS_MAX - first;
}

static int idmap_add_memory(struct allot_id *d, uint64_t first, uint64_t count)
{
    if (!in_bounds(first, count))
        return ALLOT_E_INVALID;
    return runmap_add(&id_bitmap(d)->map, first, first + count);
}

static int idmap_init(struct allot_id *d, uint64_t first, uint64_t count)
{
    if (!in_bounds(first, count))
        return ALLOT_E_INVALID;
    return runmap_restart(&id_bitmap(d)->map, first, first + count);
}

static int idmap_alloc_id(struct allot_id *d, uint64_t count, uint64_t align, uint64_t *ret_first)
{
    return runmap_alloc(&id_bitmap(d)->map, count, align, ret_first);
}

static int idmap_alloc_fixed_id(struct allot_id *d, uint64_t first, uint64_t count)
{
    return runmap_alloc_at(&id_bitmap(d)->map, first, count);
}

static int idmap_dealloc_id(struct allot_id *d, uint64_t first, uint64_t count)
{
    return runmap_free(&id_bitmap(d)->map, first, count);
}

static bool idmap_is_allocated(const struct allot_id *d, uint64_t id)
{
    return runmap_is_used(id_runs(d), id);
}

static uint64_t idmap_size(const struct allot_id *d)
{
    return id_runs(d)->total;
}

static uint64_t idmap_used(const struct allot_id *d)
{
    return id_runs(d)->used;
}

static uint64_t idmap_available(const struct allot_id *d)
{
    return id_runs(d)->total - id_runs(d)->used;
}

static uint64_t idmap_largest_free(const struct allot_id *d)
{
    return runmap_longest(id_runs(d));
}

static uint64_t idmap_metadata_bytes(const struct allot_id *d)
{
    return sizeof(struct id_bitmap) + id_runs(d)->meta_bytes;
}

static int idmap_check(const struct allot_id *d)
{
    return runmap_check(id_runs(d));
}

static int idmap_dump(const struct allot_id *d, allot_visit_fn *visit, void *ctx)
{
    return runmap_dump(id_runs(d), 0, visit, ctx);
}

const struct allot_id_ops allot_bitmap_ids = {
    .name = "bitmap",
    .create = idmap_create,
    .destroy = idmap_destroy,
    .init = idmap_init,
    .add_memory = idmap_add_memory,
    .alloc_id = idmap_alloc_id,
    .alloc_fixed_id = idmap_alloc_fixed_id,
    .dealloc_id = idmap_dealloc_id,
    .is_allocated = idmap_is_allocated,
    .size = idmap_size,
    .used = idmap_used,
    .available = idmap_available,
    .largest_free = idmap_largest_free,
    .metadata_bytes = idmap_metadata_bytes,
    .check = idmap_check,
    .dump = idmap_dump,
};
