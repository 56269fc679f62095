/* SPDX-License-Identifier: MIT */
/*
 * The byte heap over pages: each byte allocator over bitmap pages, through the tables.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <allot/algorithm.h>
#include <allot/align.h>
#include <allot/heap.h>

#include "support.h"

#define PAGE  UINT64_C(4096)
#define START (UINT64_C(1) << 24) /* so that buddy can have all of it as one block */
#define PAGES 4096                /* 16 MiB */
#define FIRST (32768 / PAGE)
#define LIVE  800

/* Under test. */
static const struct allot_byte_ops *algorithm;

static bool is(const char *name)
{
    return !strcmp(algorithm->name, name);
}

struct fixture {
    struct test_meta meta;
    struct allot_byte *bytes;
    struct allot_page *pages;
    struct allot_heap heap;
};

struct block {
    uint64_t pos;
    uint64_t size;
    uint64_t align;
};

static void fixture_init(struct fixture *f, uint64_t page)
{
    test_meta_init(&f->meta);
    assert_int_equal(algorithm->create(&f->meta.meta, &f->bytes), 0);
    assert_int_equal(allot_bitmap_pages.create(&f->meta.meta, page, &f->pages), 0);
    assert_int_equal(f->pages->ops->init(f->pages, START, PAGES * PAGE), 0);
    allot_heap_init(&f->heap, f->bytes, f->pages);
}

static void fixture_deinit(struct fixture *f)
{
    f->bytes->ops->destroy(f->bytes);
    f->pages->ops->destroy(f->pages);
    assert_int_equal(f->meta.bytes, 0);
}

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));

    if (!f)
        return -1;
    fixture_init(f, PAGE);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_deinit(*state);
    free(*state);
    return 0;
}

static uint64_t available_pages(struct fixture *f)
{
    return f->pages->ops->available_pages(f->pages);
}

static uint64_t total(struct fixture *f)
{
    return f->bytes->ops->total_bytes(f->bytes);
}

/* Both allocators are right, and every page that is not free is the heap's, but `others`. */
static void check(struct fixture *f, uint64_t others)
{
    assert_int_equal(f->bytes->ops->check(f->bytes), 0);
    assert_int_equal(f->pages->ops->check(f->pages), 0);
    assert_int_equal(f->pages->ops->used_pages(f->pages), total(f) / PAGE + others);
    assert_int_equal(total(f) % PAGE, 0);
}

static uint64_t alloc(struct fixture *f, uint64_t size, uint64_t align)
{
    uint64_t pos = 0;

    assert_int_equal(allot_heap_alloc(&f->heap, size, align, &pos), 0);
    assert_true(pos >= START && pos % align == 0);
    return pos;
}

static void test_heap__starts_small_and_doubles(void **state)
{
    struct fixture *f = *state;
    uint64_t before = 0;

    assert_int_equal(allot_heap_largest_free(&f->heap), PAGES * PAGE);
    alloc(f, 64, 8);
    assert_int_equal(total(f), 32768);
    for (int grown = 0; grown < 5;) {
        before = total(f);
        alloc(f, 64, 8);
        if (total(f) != before) {
            assert_int_equal(total(f), 2 * before);
            grown++;
        }
    }
    check(f, 0);
    before = total(f);
    alloc(f, 3 << 20, 8);
    assert_int_equal(total(f), before + (4 << 20));
    check(f, 0);
}

static void test_heap__starts_with_a_page_that_is_larger(void **state)
{
    const uint64_t page = UINT64_C(1) << 21;
    struct fixture f;

    (void)state;
    fixture_init(&f, page);
    alloc(&f, 64, 8);
    assert_int_equal(total(&f), page);
    alloc(&f, page, 8);
    assert_int_equal(total(&f), 2 * page);
    alloc(&f, page + 1, 8);
    assert_int_equal(total(&f), 4 * page);
    fixture_deinit(&f);
}

static void test_heap__halves_before_it_fails(void **state)
{
    struct fixture *f = *state;
    const struct allot_page_ops *pages = f->pages->ops;
    uint64_t pos = 7;

    alloc(f, 4 << 20, 1);
    assert_int_equal(total(f), 4 << 20);
    /* There are 2 MiB, then a page of somebody else's, then less than 2 MiB. */
    assert_int_equal(pages->alloc_pages_at(f->pages, START + (6 << 20), 1), 0);
    assert_int_equal(pages->alloc_pages_at(f->pages, START + (8 << 20), PAGES / 2), 0);
    alloc(f, 1 << 20, 1); /* wants 4 MiB, gets 2 */
    assert_int_equal(total(f), 6 << 20);
    alloc(f, allot_heap_largest_free(&f->heap), 1);
    assert_int_equal(allot_heap_alloc(&f->heap, 2 << 20, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(pos, 7);
    check(f, PAGES / 2 + 1);
}

static void test_heap__grows_into_pages_added_later(void **state)
{
    struct fixture *f = *state;
    const struct allot_page_ops *pages = f->pages->ops;
    uint64_t pos;

    alloc(f, PAGES * PAGE / 2, 1);
    assert_int_equal(allot_heap_alloc(&f->heap, PAGES * PAGE, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(pages->add_memory(f->pages, 8 * START, PAGES * PAGE / 2), 0);
    assert_int_equal(allot_heap_alloc(&f->heap, PAGES * PAGE, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(pages->add_memory(f->pages, 8 * START + PAGES * PAGE / 2, PAGES * PAGE / 2),
                     0);
    assert_int_equal(allot_heap_alloc(&f->heap, PAGES * PAGE, 1, &pos), 0);
    assert_int_equal(pos, 8 * START);
    check(f, 0);
}

static void test_heap__tells_errors(void **state)
{
    struct fixture *f = *state;
    uint64_t pos = 7;

    assert_int_equal(allot_heap_alloc(&f->heap, 0, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(allot_heap_alloc(&f->heap, 1, 3, &pos), ALLOT_E_INVALID);
    assert_int_equal(allot_heap_alloc(&f->heap, UINT64_MAX, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(allot_heap_alloc(&f->heap, UINT64_MAX - 15, 1, &pos),
                     is("buddy") ? ALLOT_E_INVALID : ALLOT_E_NO_MEMORY);
    assert_int_equal(allot_heap_alloc(&f->heap, UINT64_C(1) << 63, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(allot_heap_alloc(&f->heap, 1, UINT64_C(1) << 63, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(allot_heap_alloc(&f->heap, PAGES * PAGE + 1, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(allot_heap_claim(&f->heap, START + 8, 16, 1), ALLOT_E_INVALID);
    assert_int_equal(allot_heap_claim(&f->heap, 0, 16, 1), ALLOT_E_INVALID);
    assert_int_equal(allot_heap_claim(&f->heap, START + PAGES * PAGE - 16, 32, 1), ALLOT_E_INVALID);
    /* At once, however much it is: a damaged ledger may ask for it. */
    assert_int_equal(allot_heap_claim(&f->heap, START, UINT64_C(1) << 60, 1), ALLOT_E_INVALID);
    assert_int_equal(allot_heap_dealloc(&f->heap, START, 16, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(allot_heap_realloc(&f->heap, START, 16, 1, 32), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(pos, 7);
    assert_int_equal(total(f), 0);
    assert_int_equal(available_pages(f), PAGES);
    check(f, 0);
}

static void test_heap__honours_alignments_above_a_page(void **state)
{
    const uint64_t max = UINT64_C(1) << 30;
    struct fixture *f = *state;

    assert_int_equal(f->pages->ops->init(f->pages, max, 2 * max), 0);
    for (uint64_t align = PAGE; align <= max; align *= 2) {
        uint64_t pos = alloc(f, 100, align);

        check(f, 0);
        assert_int_equal(allot_heap_dealloc(&f->heap, pos, 100, align), 0);
        assert_true(total(f) <= 32768);
    }
    /* The one place left for it, as the heap has kept the first pages. */
    assert_int_equal(alloc(f, max, max), 2 * max);
    check(f, 0);
}

static void test_heap__an_empty_heap_keeps_the_first_run_only(void **state)
{
    struct fixture *f = *state;
    struct test_random random;
    static struct block blocks[LIVE];
    uint64_t seed = test_seed(11);

    test_random_init(&random, seed);
    for (int round = 0; round < 20; round++) {
        for (unsigned i = 0; i < LIVE; i++) {
            blocks[i].size = 1 + test_random_below(&random, 30000);
            blocks[i].pos = 0;
            (void)allot_heap_alloc(&f->heap, blocks[i].size, 16, &blocks[i].pos);
        }
        for (unsigned left = LIVE; left; left--) {
            unsigned i = (unsigned)test_random_below(&random, left);
            struct block block = blocks[i];

            blocks[i] = blocks[left - 1];
            if (block.pos)
                assert_int_equal(allot_heap_dealloc(&f->heap, block.pos, block.size, 16), 0);
        }
        check(f, 0);
        assert_true(total(f) <= 32768);
        assert_true(available_pages(f) >= PAGES - FIRST);
        /* In one piece, at the edge. */
        assert_int_equal(f->bytes->ops->largest_free(f->bytes), total(f));
        assert_int_equal(f->pages->ops->largest_free(f->pages), available_pages(f));
    }
}

/* What is kept follows what is used, not what once was. */
static void test_heap__shrinks_while_blocks_remain(void **state)
{
    struct fixture *f = *state;
    static uint64_t pos[3000];
    uint64_t pin = alloc(f, 16, 8);

    for (unsigned i = 0; i < 3000; i++)
        pos[i] = alloc(f, PAGE, 8);
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(allot_heap_dealloc(&f->heap, pos[i], PAGE, 8), 0);
    check(f, 0);
    assert_true(total(f) <= 3 * 32768);
    assert_int_equal(allot_heap_dealloc(&f->heap, pin, 16, 8), 0);
    assert_true(total(f) <= 32768);
}

/* Giving back from the middle of a long run needs metadata; without, the pages stay the heap's. */
static void test_heap__loses_no_page_without_metadata(void **state)
{
    const uint64_t first = UINT64_C(1) << 32, pages = 1 << 20, large = UINT64_C(256) << 20;
    struct fixture *f = *state;
    uint64_t pos, other;

    assert_int_equal(f->pages->ops->init(f->pages, first, pages * PAGE), 0);
    assert_int_equal(allot_heap_alloc(&f->heap, large, PAGE, &pos), 0);
    assert_int_equal(allot_heap_alloc(&f->heap, UINT64_C(128) << 20, PAGE, &other), 0);
    assert_int_equal(total(f), UINT64_C(512) << 20);
    f->meta.fail_always = 1;
    assert_int_equal(allot_heap_realloc(&f->heap, pos, large, PAGE, 5 * PAGE + 1), 0);
    assert_true(f->meta.failed > 0);
    check(f, 0);
    f->meta.fail_always = 0;
    assert_true(allot_heap_trim(&f->heap));
    check(f, 0);
    assert_true(total(f) <= UINT64_C(129) << 20);
}

/* A loop of freeing and allocating anywhere on the way up moves pages at most once. */
static void test_heap__does_not_thrash_at_the_edge(void **state)
{
    struct fixture *f = *state;

    alloc(f, 16, 8);
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t pos = alloc(f, 4000, 8), had, moves = 0;

        for (unsigned k = 0; k < 10; k++) {
            had = total(f);
            assert_int_equal(allot_heap_dealloc(&f->heap, pos, 4000, 8), 0);
            moves += had != total(f);
            had = total(f);
            pos = alloc(f, 4000, 8);
            moves += had != total(f);
        }
        assert_true(moves <= 1);
    }
    check(f, 0);
}

/* What it says is granted; once trimmed, a byte more is not. */
static void assert_largest_is_true(struct fixture *f)
{
    uint64_t largest = allot_heap_largest_free(&f->heap), trimmed, pos;

    if (largest) {
        assert_int_equal(allot_heap_alloc(&f->heap, largest, 1, &pos), 0);
        assert_int_equal(allot_heap_dealloc(&f->heap, pos, largest, 1), 0);
    }
    while (allot_heap_trim(&f->heap))
        ;
    trimmed = allot_heap_largest_free(&f->heap);
    assert_true(trimmed + 2 * PAGE > largest);
    assert_int_equal(allot_heap_alloc(&f->heap, trimmed + 1, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(allot_heap_largest_free(&f->heap), trimmed);
}

struct dump {
    uint64_t used[2 * LIVE];
    unsigned count;
};

static void visit(void *ctx, unsigned long long start, unsigned long long size,
                  enum allot_run_state state)
{
    struct dump *d = ctx;

    if (state == ALLOT_RUN_FREE)
        return;
    assert_true(d->count + 2 <= 2 * LIVE);
    d->used[d->count++] = start;
    d->used[d->count++] = size;
}

/* The same blocks claimed in random order: same blocks, same sums, and both allocators right. */
static void rebuild(struct fixture **f, struct block *blocks, unsigned live, uint64_t others,
                    struct test_random *random)
{
    static struct dump before, after;
    struct fixture *old = *f, *fresh = NULL;

    before.count = 0;
    after.count = 0;
    assert_int_equal(setup((void **)&fresh), 0);
    if (others)
        assert_int_equal(fresh->pages->ops->alloc_pages_at(fresh->pages, START, others), 0);
    for (unsigned i = live; i; i--) {
        unsigned k = (unsigned)test_random_below(random, i);
        struct block block = blocks[k];

        blocks[k] = blocks[i - 1];
        blocks[i - 1] = block;
        assert_int_equal(allot_heap_claim(&fresh->heap, block.pos, block.size, block.align), 0);
        assert_int_equal(allot_heap_claim(&fresh->heap, block.pos, block.size, block.align),
                         ALLOT_E_OVERLAP);
    }
    check(fresh, others);
    assert_int_equal(fresh->bytes->ops->used_bytes(fresh->bytes),
                     old->bytes->ops->used_bytes(old->bytes));
    old->bytes->ops->dump(old->bytes, visit, &before);
    fresh->bytes->ops->dump(fresh->bytes, visit, &after);
    assert_int_equal(before.count, after.count);
    assert_memory_equal(before.used, after.used, before.count * sizeof(before.used[0]));
    teardown((void **)&old);
    *f = fresh;
}

static void step(struct fixture *f, struct block *blocks, unsigned *live,
                 struct test_random *random)
{
    unsigned way = (unsigned)test_random_below(random, 100), i;
    struct block block;
    uint64_t failed = f->meta.failed;
    int err;

    if (way < 50 && *live < LIVE) {
        block.size = 1 + test_random_below(random, UINT64_C(1) << test_random_below(random, 20));
        block.align = UINT64_C(1) << test_random_below(random, way < 5 ? 21 : 5);
        err = allot_heap_alloc(&f->heap, block.size, block.align, &block.pos);
        assert_true(err == 0 || err == ALLOT_E_NO_MEMORY);
        if (err && failed == f->meta.failed)
            assert_true(allot_heap_largest_free(&f->heap) < block.size + block.align);
        if (!err)
            blocks[(*live)++] = block;
        return;
    }
    if (!*live)
        return;
    i = (unsigned)test_random_below(random, *live);
    if (way < 65) {
        block = blocks[i];
        block.size = 1 + test_random_below(random, 2 * block.size + PAGE);
        err = allot_heap_realloc(&f->heap, block.pos, blocks[i].size, block.align, block.size);
        assert_true(err == 0 || (err == ALLOT_E_NO_MEMORY &&
                                 (block.size > blocks[i].size || failed != f->meta.failed ||
                                  is("slab")))); /* another class */
        if (!err)
            blocks[i] = block;
        return;
    }
    block = blocks[i];
    blocks[i] = blocks[--*live];
    assert_int_equal(allot_heap_dealloc(&f->heap, block.pos, block.size, block.align), 0);
    assert_int_equal(allot_heap_dealloc(&f->heap, block.pos, block.size, block.align),
                     ALLOT_E_NOT_ALLOCATED);
}

static void random_run(void **state, uint64_t others, uint64_t seed)
{
    static struct block blocks[LIVE];
    struct fixture **f = (struct fixture **)state;
    struct test_random random;
    const unsigned long steps = steps_scaled(500000);
    unsigned live = 0;

    fprintf(stderr, "seed 0x%" PRIx64 "\n", seed);
    test_random_init(&random, seed);
    if (others)
        assert_int_equal((*f)->pages->ops->alloc_pages_at((*f)->pages, START, others), 0);
    for (unsigned long i = 1; i <= steps; i++) {
        step(*f, blocks, &live, &random);
        if (i % 100 == 0) {
            check(*f, others);
            assert_largest_is_true(*f);
        }
        if (i % 5000 == 0)
            rebuild(f, blocks, live, others, &random);
    }
    while (live--)
        assert_int_equal(allot_heap_dealloc(&(*f)->heap, blocks[live].pos, blocks[live].size,
                                            blocks[live].align),
                         0);
    check(*f, others);
    assert_true(total(*f) <= 32768);
}

static void test_heap__random_run(void **state)
{
    random_run(state, 0, test_seed(21));
}

static void test_heap__random_run_beside_other_pages(void **state)
{
    random_run(state, PAGES / 2 + 3, test_seed(22));
}

static void test_heap__largest_free_counts_a_run_once(void **state)
{
    struct fixture *f = *state;
    uint64_t pos = alloc(f, 4 * PAGE, 1), hole;

    /* A free tail of the heap that touches free pages: no request gets both, unless trimmed. */
    assert_int_equal(f->pages->ops->alloc_pages_at(f->pages, START + 16 * PAGE, PAGES - 16), 0);
    assert_int_equal(allot_heap_largest_free(&f->heap), 8 * PAGE);
    assert_int_equal(allot_heap_alloc(&f->heap, 8 * PAGE, 1, &hole), 0);
    assert_int_equal(allot_heap_largest_free(&f->heap), 4 * PAGE);
    assert_largest_is_true(f);
    assert_int_equal(allot_heap_dealloc(&f->heap, pos, 4 * PAGE, 1), 0);
    check(f, PAGES - 16);
}

/* Free pages of the heap and free pages beside them hold what neither does alone. */
static void test_heap__trims_before_it_refuses(void **state)
{
    struct fixture *f = *state;
    uint64_t a, b;

    /* The lower half of the first run stays taken, whichever half came first. */
    assert_int_equal(f->pages->ops->alloc_pages_at(f->pages, START, 4), 0);
    a = alloc(f, 4 * PAGE, 1);
    b = alloc(f, 4 * PAGE, 1);
    assert_int_equal(allot_heap_dealloc(&f->heap, a > b ? a : b, 4 * PAGE, 1), 0);
    assert_int_equal(f->pages->ops->alloc_pages_at(f->pages, START + 16 * PAGE, PAGES - 16), 0);
    assert_int_equal(allot_heap_largest_free(&f->heap), 4 * PAGE);
    alloc(f, 8 * PAGE, 1);
    assert_int_equal(available_pages(f), 0);
    check(f, PAGES - 12);
}

static void test_heap__trim_leaves_the_pages_of_blocks(void **state)
{
    struct fixture *f = *state;
    const uint64_t size = 3 * PAGE + 16;
    uint64_t pos = alloc(f, size, 1);

    assert_true(allot_heap_trim(&f->heap));
    assert_false(allot_heap_trim(&f->heap));
    assert_int_equal(total(f), 4 * PAGE);
    assert_int_equal(allot_heap_dealloc(&f->heap, pos, size, 1), 0);
    assert_true(allot_heap_trim(&f->heap));
    assert_int_equal(total(f), 0);
    assert_int_equal(f->pages->ops->largest_free(f->pages), PAGES);
    assert_false(allot_heap_trim(&f->heap));
    check(f, 0);
}

/* A refusal must come at once, however many runs could be moved. */
static void test_heap__trims_a_bounded_number_of_runs(void **state)
{
    struct fixture *f = *state;
    const uint64_t size = 4 * PAGE;
    uint64_t pos[400], before;
    unsigned times = 0;

    for (unsigned i = 0; i < 400; i++)
        pos[i] = alloc(f, size, 1);
    for (unsigned i = 0; i < 400; i += 2)
        assert_int_equal(allot_heap_dealloc(&f->heap, pos[i], size, 1), 0);
    do {
        before = total(f);
        times += allot_heap_trim(&f->heap);
        assert_true(before - total(f) <= 64 * size);
    } while (total(f) < before);
    assert_true(times > 1);
    assert_int_equal(total(f), 200 * size);
    check(f, 0);
}

static void test_heap__realloc_takes_the_pages_behind(void **state)
{
    struct fixture *f = *state;
    uint64_t pos = alloc(f, 4 * PAGE, 1), wall;

    assert_int_equal(allot_heap_realloc(&f->heap, pos, 4 * PAGE, 1, 1 << 20), 0);
    check(f, 0);
    wall = alloc(f, 100, 1);
    assert_true(wall >= pos + (1 << 20));
    assert_int_equal(allot_heap_realloc(&f->heap, pos, 1 << 20, 1, 2 << 20), ALLOT_E_NO_MEMORY);
    check(f, 0);
    assert_int_equal(allot_heap_dealloc(&f->heap, wall, 100, 1), 0);
    assert_int_equal(allot_heap_realloc(&f->heap, pos, 1 << 20, 1, PAGES * PAGE), 0);
    assert_int_equal(available_pages(f), 0);
    assert_int_equal(allot_heap_realloc(&f->heap, pos, PAGES * PAGE, 1, PAGES * PAGE + 1),
                     ALLOT_E_NO_MEMORY);
    assert_int_equal(allot_heap_realloc(&f->heap, pos, PAGES * PAGE, 1, 3 * PAGE + 16), 0);
    assert_true(total(f) <= 2 * 32768);
    check(f, 0);
}

static void test_heap__claim_takes_what_is_missing_or_nothing(void **state)
{
    struct fixture *f = *state;
    const uint64_t at = START + 10 * PAGE;
    uint64_t had;

    /* Two blocks in one page, then some that reach from one that the heap has into the next. */
    assert_int_equal(allot_heap_claim(&f->heap, at, 16, 1), 0);
    assert_int_equal(allot_heap_claim(&f->heap, at + 128, 128, 1), 0);
    assert_int_equal(total(f), PAGE);
    if (!is("buddy")) { /* whose blocks begin at multiples of their sizes */
        assert_int_equal(allot_heap_claim(&f->heap, at + 4 * PAGE + 32, 100, 1), 0);
        assert_int_equal(allot_heap_claim(&f->heap, at + 256, 4 * PAGE - 224, 1), 0);
        assert_int_equal(total(f), 5 * PAGE);
    }
    check(f, 0);
    /* A page in the middle is somebody's: the others are not kept. */
    had = total(f);
    assert_int_equal(f->pages->ops->alloc_pages_at(f->pages, START + 107 * PAGE, 1), 0);
    assert_int_equal(allot_heap_claim(&f->heap, START + 104 * PAGE, 8 * PAGE, 1), ALLOT_E_OVERLAP);
    assert_int_equal(total(f), had);
    check(f, 1);
    assert_int_equal(allot_heap_claim(&f->heap, START + 104 * PAGE, 2 * PAGE, PAGE), 0);
    assert_int_equal(allot_heap_claim(&f->heap, START + 108 * PAGE, 4 * PAGE, PAGE), 0);
    check(f, 1);
}

/* Each request for metadata is refused in turn: what was asked then is undone, the rest is right.
 */
static void test_heap__survives_each_refusal_of_metadata(void **state)
{
    (void)state;
    for (uint64_t nth = 1, done = 0; !done; nth++) {
        static struct block blocks[LIVE];
        struct test_random random;
        struct fixture f;
        unsigned live = 0;

        fixture_init(&f, PAGE);
        test_random_init(&random, 31);
        f.meta.fail_in = nth;
        for (unsigned i = 0; i < 3000; i++) {
            uint64_t failed = f.meta.failed;

            step(&f, blocks, &live, &random);
            if (i % 100 == 0)
                (void)allot_heap_trim(&f.heap);
            if (failed != f.meta.failed || i % 500 == 0)
                check(&f, 0);
        }
        done = !f.meta.failed;
        assert_true(!done || nth > 5);
        while (live--)
            assert_int_equal(allot_heap_dealloc(&f.heap, blocks[live].pos, blocks[live].size,
                                                blocks[live].align),
                             0);
        check(&f, 0);
        fixture_deinit(&f);
    }
}

/* The same for claims: what was refused can be claimed again. */
static void test_heap__claims_survive_each_refusal_of_metadata(void **state)
{
    (void)state;
    for (uint64_t nth = 1, done = 0; !done; nth++) {
        struct fixture f;

        fixture_init(&f, PAGE);
        f.meta.fail_in = nth;
        for (unsigned i = 0; i < 600; i++) {
            uint64_t failed = f.meta.failed, size = UINT64_C(128) << i % 7;
            uint64_t pos = START + i * 7 % 600 * UINT64_C(24576);
            int err = allot_heap_claim(&f.heap, pos, size, 1);

            if (failed != f.meta.failed)
                check(&f, 0);
            if (err) {
                assert_int_equal(err, ALLOT_E_NO_MEMORY);
                assert_true(failed != f.meta.failed);
                assert_int_equal(allot_heap_claim(&f.heap, pos, size, 1), 0);
            }
            assert_int_equal(allot_heap_claim(&f.heap, pos, size, 1), ALLOT_E_OVERLAP);
        }
        check(&f, 0);
        done = !f.meta.failed;
        assert_true(!done || nth > 5);
        fixture_deinit(&f);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        CASE(test_heap__starts_small_and_doubles),
        cmocka_unit_test(test_heap__starts_with_a_page_that_is_larger),
        CASE(test_heap__halves_before_it_fails),
        CASE(test_heap__grows_into_pages_added_later),
        CASE(test_heap__tells_errors),
        CASE(test_heap__honours_alignments_above_a_page),
        CASE(test_heap__an_empty_heap_keeps_the_first_run_only),
        CASE(test_heap__shrinks_while_blocks_remain),
        CASE(test_heap__does_not_thrash_at_the_edge),
        CASE(test_heap__largest_free_counts_a_run_once),
        CASE(test_heap__trims_before_it_refuses),
        CASE(test_heap__trim_leaves_the_pages_of_blocks),
        CASE(test_heap__trims_a_bounded_number_of_runs),
        CASE(test_heap__loses_no_page_without_metadata),
        CASE(test_heap__realloc_takes_the_pages_behind),
        CASE(test_heap__claim_takes_what_is_missing_or_nothing),
        CASE(test_heap__random_run),
        CASE(test_heap__random_run_beside_other_pages),
        cmocka_unit_test(test_heap__survives_each_refusal_of_metadata),
        cmocka_unit_test(test_heap__claims_survive_each_refusal_of_metadata),
    };

    return allot_byte_find(name, &algorithm) ? 0 /* not built */
                                             : cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    return run("tlsf") + run("first-fit") + run("buddy") + run("slab");
}
