/* SPDX-License-Identifier: MIT */
/*
 * The reference model of the byte allocators. See byte_model.h.
 *
 * It is slow and plain on purpose: what it says must be obvious.
 */
#include "byte_model.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"

#define RANGES_MAX 4096

struct block {
    uint64_t start; /* of the footprint */
    uint64_t end;
    uint64_t pos;
    uint64_t size;
    uint64_t align;
};

struct range {
    uint64_t start;
    uint64_t end;
};

struct model {
    const struct byte_model_plan *plan;
    const struct allot_byte_ops *ops;
    struct allot_byte *b;
    struct test_meta meta;
    struct test_random random;
    struct block blocks[BYTE_MODEL_LIVE_MAX + 1];
    struct range ranges[RANGES_MAX + 1];
    unsigned live;
    unsigned range_count;
    unsigned operation;
    uint64_t failed_before; /* metadata requests refused before this operation */
};

#define EXPECT(what)                                                                               \
    do {                                                                                           \
        if (!(what))                                                                               \
            return told(m, __LINE__, #what);                                                       \
    } while (0)

static bool told(const struct model *m, int line, const char *what)
{
    fprintf(stderr, "byte_model.c:%d: %s: operation %u: not so: %s\n", line, m->ops->name,
            m->operation, what);
    test_seed_print(m->plan->seed);
    return false;
}

static uint64_t below(struct model *m, uint64_t bound)
{
    return test_random_below(&m->random, bound);
}

/* 1 … max, every power of two as likely. */
static uint64_t random_size(struct model *m, uint64_t max)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll(max);
    uint64_t size = 1 + below(m, UINT64_C(1) << below(m, bits));

    if (below(m, 50) == 0)
        return max;
    return size < max ? size : max;
}

static uint64_t random_align(struct model *m)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll(m->plan->align_max);

    return below(m, 2) ? 8 : UINT64_C(1) << below(m, bits);
}

static bool metadata_refused(const struct model *m)
{
    return m->meta.failed != m->failed_before;
}

/* The first block that ends after `pos`. */
static unsigned block_after(const struct model *m, uint64_t pos)
{
    unsigned low = 0, high = m->live;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (m->blocks[middle].end <= pos)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_managed(const struct model *m, uint64_t start, uint64_t end)
{
    for (unsigned i = 0; i < m->range_count; i++)
        if (m->ranges[i].start <= start && end <= m->ranges[i].end)
            return true;
    return false;
}

static bool is_free(const struct model *m, uint64_t start, uint64_t end)
{
    unsigned i = block_after(m, start);

    return is_managed(m, start, end) && (i == m->live || m->blocks[i].start >= end);
}

/* The free run that contains `pos`. */
static bool free_run(const struct model *m, uint64_t pos, struct range *ret)
{
    unsigned i = block_after(m, pos);

    if (!is_free(m, pos, pos + 1))
        return false;
    for (unsigned k = 0; k < m->range_count; k++)
        if (m->ranges[k].start <= pos && pos < m->ranges[k].end)
            *ret = m->ranges[k];
    if (i > 0 && m->blocks[i - 1].end > ret->start)
        ret->start = m->blocks[i - 1].end;
    if (i < m->live && m->blocks[i].start < ret->end)
        ret->end = m->blocks[i].start;
    return true;
}

static uint64_t longest_free(const struct model *m)
{
    uint64_t longest = 0;

    for (unsigned k = 0; k < m->range_count; k++) {
        uint64_t from = m->ranges[k].start;

        for (unsigned i = block_after(m, from); i <= m->live; i++) {
            bool last = i == m->live || m->blocks[i].start >= m->ranges[k].end;
            uint64_t to = last ? m->ranges[k].end : m->blocks[i].start;

            longest = to - from > longest ? to - from : longest;
            if (last)
                break;
            from = m->blocks[i].end;
        }
    }
    return longest;
}

static bool block_add(struct model *m, uint64_t pos, uint64_t size, uint64_t align)
{
    struct block block = {.pos = pos, .size = size, .align = align};
    uint64_t length;
    unsigned i;

    EXPECT(pos % align == 0);
    EXPECT(m->ops->footprint(m->b, pos, size, align, &block.start, &length) == 0);
    block.end = block.start + length;
    EXPECT(block.start <= pos && pos + size <= block.end);
    EXPECT(is_free(m, block.start, block.end));
    i = block_after(m, block.start);
    memmove(&m->blocks[i + 1], &m->blocks[i], (m->live - i) * sizeof(block));
    m->blocks[i] = block;
    m->live++;
    return true;
}

static void block_drop(struct model *m, unsigned i)
{
    m->live--;
    memmove(&m->blocks[i], &m->blocks[i + 1], (m->live - i) * sizeof(m->blocks[0]));
}

/* Compares a dump with the model: the runs cover the ranges, and the used ones are the blocks. */
struct dump {
    const struct model *m;
    unsigned range;
    unsigned block;
    uint64_t pos; /* where the next run starts, in the range; 0: at its start */
    bool differs;
};

static void dump_visit(void *ctx, unsigned long long start, unsigned long long size,
                       enum allot_run_state state)
{
    struct dump *d = ctx;
    const struct model *m = d->m;

    if (d->differs || d->range == m->range_count) {
        d->differs = true;
        return;
    }
    if (start != (d->pos ? d->pos : m->ranges[d->range].start) || size == 0) {
        d->differs = true;
        return;
    }
    if (state == ALLOT_RUN_USED) {
        if (d->block == m->live || m->blocks[d->block].start != start ||
            m->blocks[d->block].end != start + size)
            d->differs = true;
        d->block++;
    }
    d->pos = start + size;
    if (d->pos == m->ranges[d->range].end) {
        d->range++;
        d->pos = 0;
    }
}

static bool compare(struct model *m)
{
    struct dump d = {.m = m};
    uint64_t total = 0, used = 0, largest = m->ops->largest_free(m->b);
    int line = m->ops->check(m->b);

    if (line)
        fprintf(stderr, "check() failed in line %d\n", line);
    EXPECT(line == 0);
    EXPECT(m->ops->dump(m->b, dump_visit, &d) == 0);
    EXPECT(!d.differs && d.range == m->range_count && d.block == m->live);
    for (unsigned i = 0; i < m->range_count; i++)
        total += m->ranges[i].end - m->ranges[i].start;
    for (unsigned i = 0; i < m->live; i++)
        used += m->blocks[i].end - m->blocks[i].start;
    EXPECT(m->ops->total_bytes(m->b) == total);
    EXPECT(m->ops->used_bytes(m->b) == used);
    EXPECT(m->ops->available_bytes(m->b) == total - used);
    EXPECT(m->ops->metadata_bytes(m->b) == m->meta.bytes);
    EXPECT(largest <= longest_free(m));
    EXPECT(!m->plan->exact || largest == longest_free(m));
    return true;
}

static bool do_alloc(struct model *m)
{
    uint64_t size = random_size(m, m->plan->size_max), align = random_align(m), pos = 0;
    unsigned way = (unsigned)below(m, 20);
    int err;

    if (way == 0) {
        size = m->ops->largest_free(m->b);
        align = 1;
        if (!size)
            return true;
    } else if (way == 1) {
        size = m->ops->largest_free(m->b) + 1;
        align = 1;
    }
    if (m->live == m->plan->live_max)
        return true;
    err = m->ops->alloc(m->b, size, align, &pos);
    if (!err) {
        EXPECT(way != 1);
        return block_add(m, pos, size, align);
    }
    EXPECT(err == ALLOT_E_NO_MEMORY && pos == 0);
    if (metadata_refused(m))
        return true;
    EXPECT(way != 0);
    if (m->plan->exact) {
        uint64_t granule = m->plan->granule, slack = align > granule ? align - granule : 0;

        EXPECT(longest_free(m) < ALLOT_ALIGN_UP(size, granule) + slack);
    }
    return true;
}

static bool do_claim(struct model *m)
{
    uint64_t granule = m->plan->granule, align = random_align(m);
    uint64_t size = random_size(m, m->plan->size_max), start, length;
    uint64_t pos = m->plan->base + below(m, m->plan->space / granule) * granule;
    bool fine;
    int err;

    if (m->live == m->plan->live_max)
        return true;
    if (below(m, 8))
        pos = ALLOT_ALIGN_DOWN(pos, align);
    err = m->ops->footprint(m->b, pos, size, align, &start, &length);
    if (err) {
        EXPECT(err == ALLOT_E_INVALID);
        EXPECT(m->ops->claim(m->b, pos, size, align) == ALLOT_E_INVALID);
        return true;
    }
    fine = is_free(m, start, start + length);
    err = m->ops->claim(m->b, pos, size, align);
    if (!err) {
        EXPECT(fine);
        return block_add(m, pos, size, align);
    }
    if (fine && m->plan->divides && err == ALLOT_E_OVERLAP)
        return true;
    EXPECT(err == (fine ? ALLOT_E_NO_MEMORY : ALLOT_E_OVERLAP));
    EXPECT(!fine || metadata_refused(m));
    return true;
}

/* Frees that must be refused, for one reason each. */
static bool do_wrong_dealloc(struct model *m)
{
    const struct allot_byte_ops *ops = m->ops;
    struct block block;
    uint64_t start, length;

    if (!m->live)
        return true;
    block = m->blocks[below(m, m->live)];
    switch (below(m, 5)) {
    case 0:
        if (block.pos + m->plan->granule < block.end) /* else it is the next block's place */
            EXPECT(ops->dealloc(m->b, block.pos + m->plan->granule, block.size, 1) ==
                   ALLOT_E_NOT_ALLOCATED);
        break;
    case 1:
        EXPECT(ops->dealloc(m->b, block.pos + 1, block.size, 1) == ALLOT_E_NOT_ALLOCATED);
        break;
    case 2:
        EXPECT(ops->footprint(m->b, block.pos, block.end - block.start + 1, 1, &start, &length) ||
               start != block.start || length != block.end - block.start);
        EXPECT(ops->dealloc(m->b, block.pos, block.end - block.start + 1, 1) ==
               ALLOT_E_NOT_ALLOCATED);
        break;
    case 3:
        EXPECT(ops->dealloc(m->b, block.pos, 0, 1) == ALLOT_E_INVALID);
        break;
    default:
        if (block.pos)
            EXPECT(ops->dealloc(m->b, block.pos, block.size, (block.pos & (0 - block.pos)) * 2) ==
                   ALLOT_E_NOT_ALLOCATED);
    }
    return true;
}

static bool do_dealloc(struct model *m)
{
    struct block block;
    unsigned i;

    if (!m->live)
        return true;
    i = (unsigned)below(m, m->live);
    block = m->blocks[i];
    EXPECT(m->ops->dealloc(m->b, block.pos, block.size, block.align) == 0);
    block_drop(m, i);
    if (below(m, 4) == 0)
        EXPECT(m->ops->dealloc(m->b, block.pos, block.size, block.align) == ALLOT_E_NOT_ALLOCATED);
    return true;
}

static bool do_realloc(struct model *m)
{
    uint64_t new_size = random_size(m, m->plan->size_max), usable, start, length;
    struct block *block;
    unsigned i;
    bool fits;
    int err;

    if (!m->live)
        return true;
    i = (unsigned)below(m, m->live);
    block = &m->blocks[i];
    EXPECT(m->ops->usable_size(m->b, block->pos, &usable) == 0 && usable >= block->size &&
           block->pos + usable <= block->end);
    EXPECT(m->ops->realloc(m->b, block->pos, block->size, block->align, 0) == ALLOT_E_INVALID);
    EXPECT(m->ops->realloc(m->b, block->pos + 1, block->size, 1, new_size) ==
           ALLOT_E_NOT_ALLOCATED);
    if (m->ops->footprint(m->b, block->pos, new_size, block->align, &start, &length)) {
        EXPECT(m->ops->realloc(m->b, block->pos, block->size, block->align, new_size) != 0);
        return true;
    }
    fits = start == block->start &&
           (start + length <= block->end || is_free(m, block->end, start + length));
    err = m->ops->realloc(m->b, block->pos, block->size, block->align, new_size);
    if (!err) {
        EXPECT(fits);
        block->end = start + length;
        block->size = new_size;
        return true;
    }
    EXPECT(err == ALLOT_E_NO_MEMORY);
    EXPECT(!m->plan->exact || !fits || metadata_refused(m));
    return true;
}

static bool do_add_memory(struct model *m)
{
    uint64_t granule = m->plan->granule, start, end, size;
    struct range *at = m->ranges;
    bool overlaps = false;
    unsigned i = 0;
    int err;

    start = m->plan->base + below(m, m->plan->space);
    size = random_size(m, m->plan->space / 4 + 1);
    if (m->range_count && below(m, 2)) {
        unsigned k = (unsigned)below(m, m->range_count);

        start = below(m, 2) || at[k].start < m->plan->base + size ? at[k].end : at[k].start - size;
        if (k + 1 < m->range_count && start == at[k].end && below(m, 2))
            size = at[k + 1].start - start;
    }
    if (start + size > m->plan->base + m->plan->space)
        size = m->plan->base + m->plan->space - start;
    end = ALLOT_ALIGN_DOWN(start + size, granule);
    err = m->ops->add_memory(m->b, start, size);
    start = ALLOT_ALIGN_UP(start, granule);
    if (start >= end) {
        EXPECT(err == ALLOT_E_INVALID);
        return true;
    }
    for (unsigned k = 0; k < m->range_count; k++) {
        overlaps |= at[k].start < end && start < at[k].end;
        i += at[k].end <= start;
    }
    if (err) {
        EXPECT(err == (overlaps ? ALLOT_E_OVERLAP : ALLOT_E_NO_MEMORY));
        EXPECT(overlaps || metadata_refused(m));
        return true;
    }
    EXPECT(!overlaps && m->range_count < RANGES_MAX);
    memmove(&at[i + 1], &at[i], (m->range_count - i) * sizeof(at[0]));
    at[i] = (struct range){start, end};
    m->range_count++;
    for (unsigned k = i + 1; k >= i && k > 0; k--) {
        if (k < m->range_count && at[k - 1].end == at[k].start) {
            at[k - 1].end = at[k].end;
            m->range_count--;
            memmove(&at[k], &at[k + 1], (m->range_count - k) * sizeof(at[0]));
        }
    }
    return true;
}

static bool do_take_back(struct model *m)
{
    uint64_t near = m->plan->base + below(m, m->plan->space), start = 0, size = 0, end;
    uint64_t granule = UINT64_C(1) << below(m, 14);
    struct range run = {0}, *at = m->ranges;
    bool has = free_run(m, near, &run);
    unsigned k = 0;
    int err;

    err = m->ops->take_back(m->b, near, granule, &start, &size);
    granule = granule > m->plan->granule ? granule : m->plan->granule;
    if (has) {
        run.start = ALLOT_ALIGN_UP(run.start, granule);
        run.end = ALLOT_ALIGN_DOWN(run.end, granule);
        has = run.start < run.end;
    }
    if (err) {
        EXPECT(start == 0 && size == 0);
        EXPECT(err == ALLOT_E_NOT_ALLOCATED || (err == ALLOT_E_NO_MEMORY && metadata_refused(m)));
        EXPECT(!m->plan->exact || !has || metadata_refused(m));
        return true;
    }
    end = start + size;
    EXPECT(has && run.start <= start && end <= run.end);
    EXPECT(!m->plan->exact || (run.start == start && end == run.end));
    EXPECT(start % granule == 0 && size % granule == 0 && size);
    while (at[k].end < end)
        k++;
    memmove(&at[k + 1], &at[k], (m->range_count - k) * sizeof(at[0]));
    m->range_count++;
    at[k].end = start;
    at[k + 1].start = end;
    for (unsigned drop = 2; drop--;) {
        if (at[k + drop].start == at[k + drop].end) {
            m->range_count--;
            memmove(&at[k + drop], &at[k + drop + 1], (m->range_count - k - drop) * sizeof(at[0]));
        }
    }
    EXPECT(m->range_count <= RANGES_MAX);
    return true;
}

/* Takes back and, without metadata memory, adds all or the first part again: that cannot fail. */
static bool do_take_back_undone(struct model *m)
{
    const struct allot_byte_ops *ops = m->ops;
    uint64_t near = m->plan->base + below(m, m->plan->space), start, size, part;
    uint64_t total = ops->total_bytes(m->b);

    if (ops->take_back(m->b, near, m->plan->granule, &start, &size))
        return true;
    part = 1 + below(m, size);
    part = ALLOT_ALIGN_UP(part, m->plan->granule);
    m->meta.fail_always = 1;
    EXPECT(ops->add_memory(m->b, start, part) == 0);
    m->meta.fail_always = 0;
    EXPECT(ops->total_bytes(m->b) == total - size + part);
    if (part < size)
        EXPECT(ops->add_memory(m->b, start + part, size - part) == 0 || metadata_refused(m));
    if (ops->total_bytes(m->b) < total)
        EXPECT(ops->add_memory(m->b, start + part, size - part) == 0);
    return true;
}

/* A second allocator is made from the ranges and the live blocks, in random order, and takes the
 * place of the first. */
static bool rebuild(struct model *m)
{
    static unsigned order[RANGES_MAX + BYTE_MODEL_LIVE_MAX];
    struct allot_byte *fresh;
    unsigned count = m->range_count > m->live ? m->range_count : m->live;

    m->meta.fail_in = 0;
    m->ops->destroy(m->b);
    EXPECT(m->meta.bytes == 0);
    EXPECT(m->ops->create(&m->meta.meta, &fresh) == 0);
    m->b = fresh;
    for (unsigned pass = 0; pass < 2; pass++) {
        unsigned n = pass ? m->live : m->range_count;

        for (unsigned i = 0; i < count; i++)
            order[i] = i;
        for (unsigned i = n; i > 1; i--) {
            unsigned k = (unsigned)below(m, i), swap = order[i - 1];

            order[i - 1] = order[k];
            order[k] = swap;
        }
        for (unsigned i = 0; i < n; i++) {
            struct range *range = &m->ranges[order[i]];
            struct block *block = &m->blocks[order[i]];

            if (pass)
                EXPECT(m->ops->claim(fresh, block->pos, block->size, block->align) == 0);
            else
                EXPECT(m->ops->add_memory(fresh, range->start, range->end - range->start) == 0);
        }
    }
    return compare(m);
}

static bool step(struct model *m)
{
    unsigned way = (unsigned)below(m, 1000);
    /* Swings between filling and emptying. */
    unsigned allocs = m->operation / 4096 % 2 ? 330 : 480;

    if (way < allocs)
        return do_alloc(m);
    if (way < 810)
        return do_dealloc(m);
    if (way < 900)
        return do_realloc(m);
    if (way < 950)
        return do_wrong_dealloc(m);
    if (way < 970)
        return do_claim(m);
    if (way < 990)
        return do_add_memory(m);
    return below(m, 2) ? do_take_back(m) : do_take_back_undone(m);
}

static bool run(struct model *m)
{
    const struct byte_model_plan *plan = m->plan;

    EXPECT(m->ops->create(&m->meta.meta, &m->b) == 0);
    EXPECT(m->ops->add_memory(m->b, plan->base, plan->space / 2) == 0);
    m->ranges[m->range_count++] = (struct range){
        ALLOT_ALIGN_UP(plan->base, plan->granule),
        ALLOT_ALIGN_DOWN(plan->base + plan->space / 2, plan->granule),
    };
    for (m->operation = 1; m->operation <= plan->operations; m->operation++) {
        if (plan->metadata_failure_every && below(m, plan->metadata_failure_every) == 0)
            m->meta.fail_in = 1;
        m->failed_before = m->meta.failed;
        if (!step(m))
            return false;
        if (m->operation % plan->check_every == 0 && !compare(m))
            return false;
        if (m->operation % plan->rebuild_every == 0 && !rebuild(m))
            return false;
    }
    if (!compare(m) || !rebuild(m))
        return false;
    while (m->live) {
        struct block *block = &m->blocks[m->live - 1];

        EXPECT(m->ops->dealloc(m->b, block->pos, block->size, block->align) == 0);
        m->live--;
    }
    return compare(m);
}

bool byte_model_run(const struct byte_model_plan *plan)
{
    struct model *m = calloc(1, sizeof(*m));
    bool fine;

    if (!m)
        abort();
    m->plan = plan;
    m->ops = plan->ops;
    test_meta_init(&m->meta);
    test_random_init(&m->random, plan->seed);
    fine = run(m);
    m->ops->destroy(m->b);
    if (fine && m->meta.bytes) {
        fprintf(stderr, "destroy() kept %zu bytes\n", m->meta.bytes);
        fine = false;
    }
    free(m);
    return fine;
}
