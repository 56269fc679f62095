/* SPDX-License-Identifier: MIT */
/*
 * Random runs of a run allocator against a plain array of bytes. See run_test.h.
 *
 * A space of a few hundred or thousand units somewhere below the limit is cut into segments with
 * gaps; segments are added in the middle of the run. Each operation's result is foretold from the
 * array: the error, and of a granted run that it was free, aligned, and the lowest where the
 * contract says so. After the run a second allocator is rebuilt from the live runs in random order
 * and must look the same. A cell of the array stands for `scale` units, so that spaces of 2^48
 * units are played too; `shift` units move all cells off the borders between subtrees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run_test.h"

enum { MODEL_OUT, MODEL_FREE, MODEL_USED };

struct model_run {
    uint64_t start, n;
};

struct model {
    const struct allot_id_ops *ops;
    struct allot_id *a;
    struct test_meta meta;
    struct test_random random;
    uint64_t seed;          /* to be printed */
    uint64_t origin, units; /* in cells */
    uint64_t scale, shift;  /* cell c is the units from c * scale + shift on */
    unsigned char *state;
    struct model_run *live; /* what was taken and is not given back, each run once */
    size_t live_count, live_capacity;
    struct model_run segment[8];
    unsigned segment_count, segments_added;
    uint64_t faults_seen, refusals; /* failures of the provider, and operations refused for them */
    bool thorough;                  /* everything is compared after every operation */
};

#define MODEL_TRUE(m, condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            test_seed_print((m)->seed);                                                            \
            fail_msg("%s:%d: %s", __FILE__, __LINE__, #condition);                                 \
        }                                                                                          \
    } while (0)

static uint64_t model_unit(const struct model *m, uint64_t cell)
{
    return (m->origin + cell) * m->scale + m->shift;
}

/* The end of the stretch from `at` on whose cells are `state`. */
static uint64_t model_end(const struct model *m, uint64_t at, int state)
{
    while (at < m->units && m->state[at] == state)
        at++;
    return at;
}

static bool model_is(const struct model *m, uint64_t start, uint64_t n, int state)
{
    return start <= m->units && n <= m->units - start && model_end(m, start, state) >= start + n;
}

/* Is all of it managed? */
static bool model_managed(const struct model *m, uint64_t start, uint64_t n)
{
    if (start > m->units || n > m->units - start)
        return false;
    for (uint64_t i = start; i < start + n; i++) {
        if (m->state[i] == MODEL_OUT)
            return false;
    }
    return true;
}

/* The lowest aligned fit, or UINT64_MAX; relative to the origin. */
static uint64_t model_lowest(const struct model *m, uint64_t n, uint64_t align)
{
    for (uint64_t at = 0; at < m->units;) {
        uint64_t end, start;

        if (m->state[at] != MODEL_FREE) {
            at++;
            continue;
        }
        end = model_end(m, at, MODEL_FREE);
        start = ((m->origin + at + align - 1) & ~(align - 1)) - m->origin;
        if (start <= end && end - start >= n)
            return start;
        at = end;
    }
    return UINT64_MAX;
}

static void model_mark(struct model *m, uint64_t start, uint64_t n, int state)
{
    memset(m->state + start, state, n);
}

static void model_live_add(struct model *m, uint64_t start, uint64_t n)
{
    if (n == 0)
        return;
    if (m->live_count == m->live_capacity) {
        m->live_capacity = m->live_capacity ? 2 * m->live_capacity : 64;
        m->live = realloc(m->live, m->live_capacity * sizeof(*m->live));
        if (!m->live)
            abort();
    }
    m->live[m->live_count++] = (struct model_run){start, n};
}

/* Takes [start, start+n), which is used, out of the live runs. */
static void model_live_cut(struct model *m, uint64_t start, uint64_t n)
{
    for (size_t i = 0; i < m->live_count;) {
        struct model_run run = m->live[i];

        if (run.start >= start + n || run.start + run.n <= start) {
            i++;
            continue;
        }
        m->live[i] = m->live[--m->live_count];
        if (run.start < start)
            model_live_add(m, run.start, start - run.start);
        if (run.start + run.n > start + n)
            model_live_add(m, start + n, run.start + run.n - (start + n));
    }
}

struct model_dump {
    const struct model *m;
    uint64_t at; /* cells told so far */
    bool wrong;
};

static void model_visit(void *ctx, unsigned long long start, unsigned long long size,
                        enum allot_run_state state)
{
    struct model_dump *d = ctx;
    const struct model *m = d->m;
    int cell = state == ALLOT_RUN_FREE ? MODEL_FREE : MODEL_USED;

    d->at = model_end(m, d->at, MODEL_OUT);
    if (start != model_unit(m, d->at) || size == 0 || size % m->scale ||
        model_end(m, d->at, cell) != d->at + size / m->scale)
        d->wrong = true;
    else
        d->at += size / m->scale;
}

/* Everything that `a` tells must be what the array says. */
static void model_compare(const struct model *m, struct allot_id *a)
{
    struct model_dump d = {.m = m};
    uint64_t total = 0, used = 0, longest = 0, run = 0;

    MODEL_TRUE(m, m->ops->check(a) == 0);
    for (uint64_t i = 0; i < m->units; i++) {
        total += m->state[i] != MODEL_OUT;
        used += m->state[i] == MODEL_USED;
        run = m->state[i] == MODEL_FREE ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    MODEL_TRUE(m, m->ops->size(a) == total * m->scale);
    MODEL_TRUE(m, m->ops->used(a) == used * m->scale);
    MODEL_TRUE(m, m->ops->available(a) == (total - used) * m->scale);
    MODEL_TRUE(m, m->ops->largest_free(a) == longest * m->scale);
    MODEL_TRUE(m, m->ops->dump(a, model_visit, &d) == 0);
    MODEL_TRUE(m, !d.wrong);
    MODEL_TRUE(m, model_end(m, d.at, MODEL_OUT) == m->units);
}

/* Was the operation refused because the provider failed in it? Then nothing may have changed. */
static bool model_refused(struct model *m, int r)
{
    if (m->meta.failed == m->faults_seen)
        return false;
    m->faults_seen = m->meta.failed;
    if (r != ALLOT_E_NO_MEMORY)
        return false; /* it did with less */
    m->refusals++;
    model_compare(m, m->a);
    return true;
}

/* Mostly small; sometimes the very size of the space. */
static uint64_t model_size(struct model *m)
{
    switch (test_random_below(&m->random, 8)) {
    case 0:
        return 1 + test_random_below(&m->random, m->units);
    case 1:
        return 1 + test_random_below(&m->random, m->units / 8 + 1);
    case 2:
        return 1ULL << test_random_below(&m->random, 10);
    case 3:
    case 4:
        return 1 + test_random_below(&m->random, 8);
    default:
        return 1;
    }
}

static void model_op_alloc(struct model *m, bool aligned)
{
    uint64_t n = model_size(m), align = 1, got = UINT64_MAX, at;
    int r;

    if (aligned && m->shift == 0)
        align = 1ULL << test_random_below(&m->random, test_random_below(&m->random, 8) ? 11 : 64);
    if (align > UINT64_MAX / 2 / m->scale)
        align = 1;
    r = m->ops->alloc_id(m->a, n * m->scale, m->shift ? 1 : align * m->scale, &got);
    if (model_refused(m, r)) {
        MODEL_TRUE(m, got == UINT64_MAX);
        return;
    }
    if (r != 0) {
        MODEL_TRUE(m, r == ALLOT_E_NO_MEMORY);
        MODEL_TRUE(m, got == UINT64_MAX);
        MODEL_TRUE(m, model_lowest(m, n, align) == UINT64_MAX);
        return;
    }
    MODEL_TRUE(m, got >= model_unit(m, 0) && (got - m->shift) % m->scale == 0);
    at = (got - model_unit(m, 0)) / m->scale;
    MODEL_TRUE(m, (m->origin + at) % align == 0);
    MODEL_TRUE(m, model_is(m, at, n, MODEL_FREE));
    if (m->thorough ? align == 1 || m->scale == 1
                    : align == 1 && test_random_below(&m->random, 16) == 0)
        MODEL_TRUE(m, at == model_lowest(m, n, align));
    model_mark(m, at, n, MODEL_USED);
    model_live_add(m, at, n);
}

static void model_op_alloc_at(struct model *m)
{
    uint64_t start = test_random_below(&m->random, m->units), n = model_size(m);
    int r = m->ops->alloc_fixed_id(m->a, model_unit(m, start), n * m->scale);

    if (model_refused(m, r))
        return;
    if (!model_managed(m, start, n)) {
        MODEL_TRUE(m, r == ALLOT_E_INVALID);
    } else if (!model_is(m, start, n, MODEL_FREE)) {
        MODEL_TRUE(m, r == ALLOT_E_OVERLAP);
    } else {
        MODEL_TRUE(m, r == 0);
        model_mark(m, start, n, MODEL_USED);
        model_live_add(m, start, n);
    }
}

/* Frees [start, start+n), rightly or wrongly. `whole`: both ends are ends of live runs. */
static void model_op_free(struct model *m, uint64_t start, uint64_t n, bool whole)
{
    int r = m->ops->dealloc_id(m->a, model_unit(m, start), n * m->scale);

    if (model_refused(m, r)) {
        MODEL_TRUE(m, !whole);
        return;
    }
    if (!model_is(m, start, n, MODEL_USED)) {
        MODEL_TRUE(m, r == ALLOT_E_NOT_ALLOCATED);
        return;
    }
    MODEL_TRUE(m, r == 0);
    model_mark(m, start, n, MODEL_FREE);
    model_live_cut(m, start, n);
}

static void model_op_free_live(struct model *m, bool part)
{
    struct model_run run;
    uint64_t skip = 0;

    if (m->live_count == 0)
        return;
    run = m->live[test_random_below(&m->random, m->live_count)];
    if (part) {
        skip = test_random_below(&m->random, run.n);
        run.n = 1 + test_random_below(&m->random, run.n - skip);
    }
    model_op_free(m, run.start + skip, run.n, !part);
}

static void model_op_add(struct model *m)
{
    struct model_run s;
    int r;

    if (m->segments_added < m->segment_count) {
        s = m->segment[m->segments_added];
        r = m->ops->add_memory(m->a, model_unit(m, s.start), s.n * m->scale);
        if (model_refused(m, r))
            return;
        MODEL_TRUE(m, r == 0);
        m->segments_added++;
        model_mark(m, s.start, s.n, MODEL_FREE);
        return;
    }
    s.start = test_random_below(&m->random, m->units);
    s.n = 1 + test_random_below(&m->random, m->units - s.start);
    if (model_is(m, s.start, s.n, MODEL_OUT))
        return;
    MODEL_TRUE(m,
               m->ops->add_memory(m->a, model_unit(m, s.start), s.n * m->scale) == ALLOT_E_OVERLAP);
}

/* One operation. `fill` in 0 … 100: how much taking outweighs giving back. */
static void model_step(struct model *m, unsigned fill)
{
    uint64_t dice = test_random_below(&m->random, 100);

    if (dice < 70) {
        if (test_random_below(&m->random, 100) < fill)
            model_op_alloc(m, dice < 18);
        else
            model_op_free_live(m, dice < 14);
    } else if (dice < 80) {
        model_op_alloc_at(m);
    } else if (dice < 88) {
        uint64_t n = model_size(m);

        model_op_free(m, test_random_below(&m->random, m->units), n, false);
    } else if (dice < 89) {
        model_op_add(m);
    } else if (m->ops->is_allocated) {
        uint64_t at = test_random_below(&m->random, m->units);
        uint64_t unit = model_unit(m, at) + test_random_below(&m->random, m->scale);

        MODEL_TRUE(m, m->ops->is_allocated(m->a, unit) == (m->state[at] == MODEL_USED));
    } else {
        model_op_alloc(m, false);
    }
}

/* Cuts the space into segments in random order; some touch, some have gaps between them. */
static void model_segments(struct model *m)
{
    uint64_t at = 0;

    m->segment_count = 0;
    while (at < m->units && m->segment_count < 8) {
        uint64_t n = 1 + test_random_below(&m->random, m->units - at);

        m->segment[m->segment_count++] = (struct model_run){at, n};
        at += n;
        if (test_random_below(&m->random, 2))
            at += test_random_below(&m->random, m->units / 16 + 2);
    }
    for (unsigned i = m->segment_count; i > 1; i--) {
        unsigned j = (unsigned)test_random_below(&m->random, i);
        struct model_run swap = m->segment[i - 1];

        m->segment[i - 1] = m->segment[j];
        m->segment[j] = swap;
    }
}

/* A second allocator, made by claims from what is live, in random order, must look the same. */
static void model_rebuild(struct model *m)
{
    struct test_meta meta;
    struct allot_id *again;

    test_meta_init(&meta);
    MODEL_TRUE(m, m->ops->create(&meta.meta, &again) == 0);
    for (unsigned i = m->segments_added; i-- > 0;) {
        struct model_run s = m->segment[i];

        MODEL_TRUE(m, m->ops->add_memory(again, model_unit(m, s.start), s.n * m->scale) == 0);
    }
    for (size_t left = m->live_count; left > 0; left--) {
        size_t i = test_random_below(&m->random, left);
        struct model_run run = m->live[i];

        MODEL_TRUE(m,
                   m->ops->alloc_fixed_id(again, model_unit(m, run.start), run.n * m->scale) == 0);
        m->live[i] = m->live[left - 1];
        m->live[left - 1] = run;
    }
    model_compare(m, again);
    m->ops->destroy(again);
    MODEL_TRUE(m, meta.bytes == 0);
}

/* Where the cells of a run lie. */
struct model_place {
    uint64_t origin, units, scale, shift;
};

/* `seed` is for the message only: the run follows from `random`. */
static void model_open(struct model *m, const struct allot_id_ops *ops, struct model_place place,
                       uint64_t seed, const struct test_random *random)
{
    memset(m, 0, sizeof(*m));
    m->ops = ops;
    m->seed = seed;
    m->origin = place.origin;
    m->units = place.units;
    m->scale = place.scale;
    m->shift = place.shift;
    m->thorough = place.units <= 256;
    m->state = calloc(1, place.units);
    if (!m->state)
        abort();
    m->random = *random;
    test_meta_init(&m->meta);
    MODEL_TRUE(m, ops->create(&m->meta.meta, &m->a) == 0);
    model_segments(m);
    model_op_add(m);
}

static void model_close(struct model *m)
{
    m->ops->destroy(m->a);
    MODEL_TRUE(m, m->meta.bytes == 0);
    free(m->live);
    free(m->state);
}

#define MODEL_PLAY_STEPS 10000

/* A whole run; filling and draining take turns, so that it is full and empty now and then. */
static void model_play(const struct allot_id_ops *ops, struct model_place place, uint64_t seed,
                       const struct test_random *random)
{
    struct model m;
    uint64_t turn = place.units < 1000 ? 200 : 3000;
    unsigned fill = 50;

    model_open(&m, ops, place, seed, random);
    for (uint64_t i = 1; i <= MODEL_PLAY_STEPS; i++) {
        if (i % turn == 0)
            fill = 20 + (unsigned)test_random_below(&m.random, 76);
        model_step(&m, fill);
        if (m.thorough || i % 1000 == 0)
            model_compare(&m, m.a);
    }
    model_compare(&m, m.a);
    model_rebuild(&m);
    model_close(&m);
}

/* The metadata provider fails: first at each of its calls in turn, once; then for stretches of a
 * run. `place` is small, and spread out so that nodes are needed often. Returns the number of
 * operations that were refused for it. */
static uint64_t model_play_faults(const struct allot_id_ops *ops, struct model_place place,
                                  uint64_t seed)
{
    struct test_random random;
    uint64_t refusals = 0;
    struct model m;

    test_random_init(&random, seed);
    for (uint64_t n = 1;; n++) {
        model_open(&m, ops, place, seed, &random);
        m.meta.fail_in = n;
        for (uint64_t i = 0; i < 500; i++)
            model_step(&m, i < 250 ? 70 : 30);
        model_compare(&m, m.a);
        model_rebuild(&m);
        refusals += m.refusals;
        model_close(&m);
        if (m.meta.failed == 0)
            break;
    }

    model_open(&m, ops, place, seed, &random);
    for (uint64_t i = 0; i < 20000; i++) {
        m.meta.fail_always = i / 100 % 2 == 0;
        model_step(&m, i / 1000 % 2 ? 70 : 30);
    }
    model_compare(&m, m.a);
    model_rebuild(&m);
    refusals += m.refusals;
    model_close(&m);
    return refusals;
}

void run_model_faults(const struct allot_id_ops *ops, uint64_t units_max, uint64_t seed)
{
    const struct model_place places[] = {
        {.units = 60, .scale = 1},
        {3, 200, units_max >> 20, 12345},
        {(units_max >> 13) - 100, 200, 4096, 1},
    };
    uint64_t refusals = 0;

    for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++)
        refusals += model_play_faults(ops, places[i], seed);
    assert_true(refusals > 0);
}

/* A place for `units` cells among `units_max` units: at the start, in odd places, across a border
 * between subtrees, and at the very end of what positions there are. */
static struct model_place model_place(struct test_random *random, uint64_t units_max,
                                      uint64_t units)
{
    struct model_place place = {.units = units, .scale = 1};
    unsigned spare = 0;
    uint64_t cells;

    if (test_random_below(random, 3) == 0) {
        while (units << (spare + 6) <= units_max)
            spare++;
        place.scale = 1ULL << test_random_below(random, spare + 1);
        if (test_random_below(random, 2))
            place.shift = 1 + test_random_below(random, place.scale);
    }
    cells = (units_max - place.shift) / place.scale;
    switch (test_random_below(random, 4)) {
    case 0:
        break;
    case 1:
        place.origin = cells - units;
        break;
    case 2:
        place.origin = (cells >> (1 + test_random_below(random, 4))) - units / 2;
        break;
    default:
        place.origin = test_random_below(random, cells - units);
    }
    return place;
}

void run_model_play(const struct allot_id_ops *ops, uint64_t units_max, uint64_t seed)
{
    uint64_t steps = steps_scaled(1000000);
    struct test_random random;

    test_random_init(&random, seed);
    for (uint64_t done = 0; done < steps; done += MODEL_PLAY_STEPS) {
        uint64_t units = done < steps * 3 / 5 ? 1 + test_random_below(&random, 256)
                                              : 300 + test_random_below(&random, 10000);
        struct model_place place = model_place(&random, units_max, units);
        struct test_random run;

        test_random_init(&run, test_random_next(&random));
        model_play(ops, place, seed, &run);
    }
}

void run_model_bytes(const struct allot_id_ops *ops, uint64_t units_max, const unsigned char *bytes,
                     size_t size)
{
    struct test_random random = {0};
    struct model m;
    uint64_t units;
    unsigned fill;

    test_random_bytes(&random, bytes, size);
    units = 1 + test_random_below(&random, 256);
    fill = (unsigned)test_random_below(&random, 101);
    model_open(&m, ops, model_place(&random, units_max, units), 0, &random);
    while (m.random.left) {
        if (test_random_below(&m.random, 16) == 1)
            m.meta.fail_in = 1 + test_random_below(&m.random, 4);
        model_step(&m, fill);
        model_compare(&m, m.a);
    }
    model_rebuild(&m);
    model_close(&m);
}
