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

struct byte_model {
    const struct byte_traits *traits;
    const struct byte_model_plan *plan;
    const struct allot_byte_ops *ops;
    struct allot_byte *b;
    struct test_meta meta;
    struct test_random random;
    struct block blocks[BYTE_MODEL_LIVE_MAX + 1];
    struct range ranges[RANGES_MAX + 1];
    unsigned live;
    unsigned range_count;
    bool small; /* everything is compared after every operation, not after every 1000th */
    unsigned long operation;
    uint64_t seed;          /* to be printed */
    uint64_t failed_before; /* metadata requests refused before this operation */
};

#define EXPECT(what)                                                                               \
    do {                                                                                           \
        if (!(what))                                                                               \
            return told(m, __LINE__, #what);                                                       \
    } while (0)

static bool told(const struct byte_model *m, int line, const char *what)
{
    fprintf(stderr, "byte_model.c:%d: %s: operation %lu: not so: %s\n", line, m->ops->name,
            m->operation, what);
    test_seed_print(m->seed);
    return false;
}

static uint64_t below(struct byte_model *m, uint64_t bound)
{
    return test_random_below(&m->random, bound);
}

/* 1 … max, every power of two as likely. */
static uint64_t random_size(struct byte_model *m, uint64_t max)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll(max);
    uint64_t size = 1 + below(m, UINT64_C(1) << below(m, bits));

    if (below(m, 50) == 0)
        return max;
    return size < max ? size : max;
}

static uint64_t random_align(struct byte_model *m)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll(m->plan->align_max);

    return below(m, 2) ? 8 : UINT64_C(1) << below(m, bits);
}

/* `x` is at most 2^63. */
static uint64_t pow2_above(uint64_t x)
{
    return x <= 1 ? 1 : UINT64_C(1) << (64 - __builtin_clzll(x - 1));
}

static bool metadata_refused(const struct byte_model *m)
{
    return m->meta.failed != m->failed_before;
}

/* The first block that ends after `pos`. */
static unsigned block_after(const struct byte_model *m, uint64_t pos)
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

/* The first range that ends after `pos`. */
static unsigned range_after(const struct byte_model *m, uint64_t pos)
{
    unsigned low = 0, high = m->range_count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (m->ranges[middle].end <= pos)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_managed(const struct byte_model *m, uint64_t start, uint64_t end)
{
    unsigned k = range_after(m, start);

    return k < m->range_count && m->ranges[k].start <= start && end <= m->ranges[k].end;
}

static bool is_free(const struct byte_model *m, uint64_t start, uint64_t end)
{
    unsigned i = block_after(m, start);

    return is_managed(m, start, end) && (i == m->live || m->blocks[i].start >= end);
}

/* The largest block that the free run [start, end) holds at align 1. */
static uint64_t largest_in(const struct byte_model *m, uint64_t start, uint64_t end)
{
    uint64_t size;

    if (m->traits->places != BYTE_POWERS || start == end)
        return end - start;
    size = pow2_above((end - start) / 2 + 1);
    while (ALLOT_ALIGN_UP(start, size) + size > end)
        size /= 2;
    return size;
}

/* The first free run from `pos` on, which is 0 or the end of another. */
static bool next_free(const struct byte_model *m, uint64_t pos, struct range *ret)
{
    for (unsigned k = range_after(m, pos); k < m->range_count; k++) {
        uint64_t from = m->ranges[k].start, to = m->ranges[k].end;
        unsigned i;

        from = from > pos ? from : pos;
        for (i = block_after(m, from); i < m->live && m->blocks[i].start <= from; i++)
            from = m->blocks[i].end;
        if (from >= to)
            continue;
        ret->start = from;
        ret->end = i < m->live && m->blocks[i].start < to ? m->blocks[i].start : to;
        return true;
    }
    return false;
}

static uint64_t largest_free(const struct byte_model *m)
{
    struct range run = {0};
    uint64_t largest = 0;

    while (next_free(m, run.end, &run)) {
        uint64_t size = largest_in(m, run.start, run.end);

        largest = size > largest ? size : largest;
    }
    return largest;
}

/* Must a free run be granted for such a request? */
static bool must_hold(const struct byte_model *m, const struct range *run, uint64_t size,
                      uint64_t align)
{
    uint64_t rounded = ALLOT_ALIGN_UP(size, BYTE_GRANULE);
    uint64_t pos = ALLOT_ALIGN_UP(run->start, align);

    if (m->traits->tries_all)
        return pos < run->end && run->end - pos >= rounded;
    if (m->traits->places == BYTE_POWERS)
        return largest_in(m, run->start, run->end) >= pow2_above(size > align ? size : align);
    return run->end - run->start >= rounded + (align > BYTE_GRANULE ? align - BYTE_GRANULE : 0);
}

static bool must_grant(const struct byte_model *m, uint64_t size, uint64_t align)
{
    struct range run = {0};

    while (next_free(m, run.end, &run))
        if (must_hold(m, &run, size, align))
            return true;
    return false;
}

static bool block_add(struct byte_model *m, uint64_t pos, uint64_t size, uint64_t align)
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

static void block_drop(struct byte_model *m, unsigned i)
{
    m->live--;
    memmove(&m->blocks[i], &m->blocks[i + 1], (m->live - i) * sizeof(m->blocks[0]));
}

/* Compares a dump with the model: the runs cover the ranges, and the used ones are the blocks. */
struct dump {
    const struct byte_model *m;
    unsigned range;
    unsigned block;
    uint64_t pos; /* where the next run starts, in the range; 0: at its start */
    bool differs;
};

static void dump_visit(void *ctx, unsigned long long start, unsigned long long size,
                       enum allot_run_state state)
{
    struct dump *d = ctx;
    const struct byte_model *m = d->m;

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

bool byte_model_compare(struct byte_model *m)
{
    struct dump d = {.m = m};
    uint64_t total = 0, used = 0, largest = m->ops->largest_free(m->b), longest = largest_free(m);
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
    if (m->traits->places == BYTE_DIVIDED)
        EXPECT(largest <= longest && (m->live || largest >= longest / 4 * 3));
    else
        EXPECT(largest == longest);
    return true;
}

bool byte_model_alloc(struct byte_model *m, uint64_t size, uint64_t align)
{
    uint64_t largest = align == 1 ? m->ops->largest_free(m->b) : 0, pos = 0;
    int err = m->ops->alloc(m->b, size, align, &pos);

    if (!err) {
        EXPECT(align > 1 || size <= largest);
        return block_add(m, pos, size, align);
    }
    EXPECT(err == ALLOT_E_NO_MEMORY && pos == 0);
    if (metadata_refused(m))
        return true;
    EXPECT(!largest || size != largest);
    EXPECT(m->traits->places == BYTE_DIVIDED || !must_grant(m, size, align));
    return true;
}

static bool do_alloc(struct byte_model *m)
{
    uint64_t size = random_size(m, m->plan->size_max), align = random_align(m);
    unsigned way = (unsigned)below(m, 20);

    if (m->live == m->plan->live_max)
        return true;
    if (way < 2) {
        size = m->ops->largest_free(m->b) + way;
        align = 1;
    }
    return size == 0 || size > UINT64_C(1) << 63 || byte_model_alloc(m, size, align);
}

static bool do_claim(struct byte_model *m)
{
    uint64_t granule = BYTE_GRANULE, align = random_align(m);
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
    if (fine && m->traits->places == BYTE_DIVIDED && err == ALLOT_E_OVERLAP)
        return true;
    EXPECT(err == (fine ? ALLOT_E_NO_MEMORY : ALLOT_E_OVERLAP));
    EXPECT(!fine || metadata_refused(m));
    return true;
}

/* Frees that must be refused, for one reason each. */
static bool do_wrong_dealloc(struct byte_model *m)
{
    const struct allot_byte_ops *ops = m->ops;
    struct block block;
    uint64_t start, length;

    if (!m->live)
        return true;
    block = m->blocks[below(m, m->live)];
    switch (below(m, 5)) {
    case 0:
        if (block.pos + BYTE_GRANULE < block.end) /* else it is the next block's place */
            EXPECT(ops->dealloc(m->b, block.pos + BYTE_GRANULE, block.size, 1) ==
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

bool byte_model_dealloc(struct byte_model *m, unsigned i)
{
    struct block block = m->blocks[i];

    EXPECT(m->ops->dealloc(m->b, block.pos, block.size, block.align) == 0);
    block_drop(m, i);
    return true;
}

static bool do_dealloc(struct byte_model *m)
{
    struct block block;
    unsigned i;

    if (!m->live)
        return true;
    i = (unsigned)below(m, m->live);
    if (below(m, 4) == 0) { /* as free(3) must */
        EXPECT(m->ops->usable_size(m->b, m->blocks[i].pos, &m->blocks[i].size) == 0);
        m->blocks[i].align = 1;
    }
    block = m->blocks[i];
    if (!byte_model_dealloc(m, i))
        return false;
    if (below(m, 4) == 0)
        EXPECT(m->ops->dealloc(m->b, block.pos, block.size, block.align) == ALLOT_E_NOT_ALLOCATED);
    return true;
}

static bool do_realloc(struct byte_model *m)
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
    EXPECT(m->traits->places == BYTE_DIVIDED || !fits || metadata_refused(m));
    return true;
}

bool byte_model_add_memory(struct byte_model *m, uint64_t start, uint64_t size)
{
    uint64_t end = ALLOT_ALIGN_DOWN(start + size, BYTE_GRANULE);
    struct range *at = m->ranges;
    int err = m->ops->add_memory(m->b, start, size);
    bool overlaps;
    unsigned i;

    start = ALLOT_ALIGN_UP(start, BYTE_GRANULE);
    if (start >= end) {
        EXPECT(err == ALLOT_E_INVALID);
        return true;
    }
    i = range_after(m, start);
    overlaps = i < m->range_count && at[i].start < end;
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

static bool do_add_memory(struct byte_model *m)
{
    uint64_t start = m->plan->base + below(m, m->plan->space);
    uint64_t size = random_size(m, m->plan->space / 4 + 1);
    const struct range *at = m->ranges;

    /* The more ranges there are, the more gaps are closed, so that they stay a few dozen. */
    if (m->range_count && below(m, 64) < 16 + m->range_count) {
        unsigned k = (unsigned)below(m, m->range_count);

        start = below(m, 2) || at[k].start < m->plan->base + size ? at[k].end : at[k].start - size;
        if (k + 1 < m->range_count && start == at[k].end && below(m, 4))
            size = at[k + 1].start - start;
    }
    if (start + size > m->plan->base + m->plan->space)
        size = m->plan->base + m->plan->space - start;
    return byte_model_add_memory(m, start, size);
}

static bool do_take_back(struct byte_model *m)
{
    uint64_t near = m->plan->base + below(m, m->plan->space), start = 0, size = 0, end;
    uint64_t granule = UINT64_C(1) << below(m, 14);
    struct range run = {0}, *at = m->ranges;
    bool has;
    unsigned k;
    int err;

    while ((has = next_free(m, run.end, &run)) && run.end <= near)
        ;
    has = has && run.start <= near;
    err = m->ops->take_back(m->b, near, granule, &start, &size);
    granule = granule > BYTE_GRANULE ? granule : BYTE_GRANULE;
    if (has) {
        run.start = ALLOT_ALIGN_UP(run.start, granule);
        run.end = ALLOT_ALIGN_DOWN(run.end, granule);
        has = run.start < run.end;
    }
    if (err) {
        EXPECT(start == 0 && size == 0);
        EXPECT(err == ALLOT_E_NOT_ALLOCATED || (err == ALLOT_E_NO_MEMORY && metadata_refused(m)));
        EXPECT(m->traits->places == BYTE_DIVIDED || !has || metadata_refused(m));
        return true;
    }
    end = start + size;
    EXPECT(has && run.start <= start && end <= run.end);
    EXPECT(m->traits->places == BYTE_DIVIDED || (run.start == start && end == run.end));
    EXPECT(start % granule == 0 && size % granule == 0 && size);
    k = range_after(m, start);
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
static bool do_take_back_undone(struct byte_model *m)
{
    const struct allot_byte_ops *ops = m->ops;
    uint64_t near = m->plan->base + below(m, m->plan->space), start, size, part;
    uint64_t total = ops->total_bytes(m->b);

    if (ops->take_back(m->b, near, BYTE_GRANULE, &start, &size))
        return true;
    part = 1 + below(m, size);
    part = ALLOT_ALIGN_UP(part, BYTE_GRANULE);
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

static void shuffle(struct byte_model *m, unsigned *order, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        order[i] = i;
    for (unsigned i = n; i > 1; i--) {
        unsigned k = (unsigned)below(m, i), swap = order[i - 1];

        order[i - 1] = order[k];
        order[k] = swap;
    }
}

static int by_position(const void *a, const void *b, void *blocks)
{
    uint64_t x = ((struct block *)blocks)[*(const unsigned *)a].pos;
    uint64_t y = ((struct block *)blocks)[*(const unsigned *)b].pos;

    return (x > y) - (x < y);
}

/* From the ranges and the live blocks, in random or rising order, by a second allocator, or by the
 * same one that is made to forget. */
static bool rebuild(struct byte_model *m)
{
    static unsigned order[RANGES_MAX + BYTE_MODEL_LIVE_MAX];
    const struct allot_byte_ops *ops = m->ops;
    unsigned added = 0;

    m->meta.fail_in = 0;
    shuffle(m, order, m->range_count);
    if (m->range_count && below(m, 2)) {
        const struct range *range = &m->ranges[order[added++]];

        EXPECT(ops->init(m->b, range->start, range->end - range->start) == 0);
    } else {
        ops->destroy(m->b);
        EXPECT(m->meta.bytes == 0);
        EXPECT(ops->create(&m->meta.meta, &m->b) == 0);
    }
    for (; added < m->range_count; added++) {
        const struct range *range = &m->ranges[order[added]];

        EXPECT(ops->add_memory(m->b, range->start, range->end - range->start) == 0);
    }
    shuffle(m, order, m->live);
    if (below(m, 2))
        qsort_r(order, m->live, sizeof(*order), by_position, m->blocks);
    if (ops->reserve && below(m, 2))
        EXPECT(ops->reserve(m->b, m->live) == 0);
    for (unsigned i = 0; i < m->live; i++) {
        const struct block *block = &m->blocks[order[i]];

        EXPECT(ops->claim(m->b, block->pos, block->size, block->align) == 0);
    }
    return byte_model_compare(m);
}

static bool step(struct byte_model *m)
{
    unsigned way = (unsigned)below(m, 1000);
    /* Swings between filling and emptying, long enough for both. */
    unsigned allocs = m->operation / (m->small ? 4096 : 32768) % 2 ? 330 : 480;

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

static bool perform(struct byte_model *m)
{
    m->operation++;
    if (below(m, m->small ? 50 : 500) == 0)
        m->meta.fail_in = 1;
    m->failed_before = m->meta.failed;
    if (!step(m))
        return false;
    if ((m->small || m->operation % 1000 == 0) && !byte_model_compare(m))
        return false;
    return m->operation % (m->small ? 997 : 49999) || rebuild(m);
}

struct byte_model *byte_model_open(const struct byte_traits *traits,
                                   const struct byte_model_plan *plan, uint64_t seed)
{
    struct byte_model *m = calloc(1, sizeof(*m));

    if (!m)
        abort();
    m->traits = traits;
    m->plan = plan;
    m->ops = traits->ops;
    m->small = plan->live_max <= 256;
    m->seed = seed;
    test_meta_init(&m->meta);
    test_random_init(&m->random, seed);
    if (m->ops->create(&m->meta.meta, &m->b))
        abort();
    return m;
}

unsigned byte_model_live(const struct byte_model *m)
{
    return m->live;
}

static bool drain(struct byte_model *m)
{
    if (!byte_model_compare(m) || !rebuild(m))
        return false;
    while (m->live)
        if (!byte_model_dealloc(m, m->live - 1))
            return false;
    return byte_model_compare(m);
}

bool byte_model_close(struct byte_model *m, bool fine)
{
    fine = fine && drain(m);
    m->ops->destroy(m->b);
    if (fine && m->meta.bytes)
        fine = told(m, __LINE__, "destroy() gives all metadata back");
    free(m);
    return fine;
}

static struct byte_model *begin(const struct byte_traits *traits,
                                const struct byte_model_plan *plan, uint64_t seed, bool *ret_fine)
{
    struct byte_model *m = byte_model_open(traits, plan, seed);

    *ret_fine = byte_model_add_memory(m, plan->base, plan->space / 2);
    return m;
}

bool byte_model_run(const struct byte_traits *traits, const struct byte_model_plan *plan,
                    uint64_t seed, unsigned long operations)
{
    bool fine;
    struct byte_model *m = begin(traits, plan, seed, &fine);

    while (fine && m->operation < operations)
        fine = perform(m);
    return byte_model_close(m, fine);
}

bool byte_model_play(const struct byte_traits *traits, const struct byte_model_plan *plan,
                     const unsigned char *bytes, size_t size)
{
    bool fine;
    struct byte_model *m = begin(traits, plan, 0, &fine);

    test_random_bytes(&m->random, bytes, size);
    while (fine && m->random.left)
        fine = perform(m);
    return byte_model_close(m, fine);
}
