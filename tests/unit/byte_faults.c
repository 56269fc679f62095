/* SPDX-License-Identifier: MIT */
/*
 * Every request for metadata memory that an operation makes fails once, in turn: the operation says
 * NO_MEMORY, everything is as it was, and it succeeds when it is repeated. Each operation is tried
 * after any number of blocks, so that each table is now and then full just then.
 */
#include <allot/algorithm.h>
#include <allot/heap.h>

#include "byte_suite.h"

#define OPS subject.ops

#define BLOCKS_MAX 300
#define LARGE      UINT64_C(20000) /* no slab has slots so large */
#define SPACE      (UINT64_C(1) << 30)
#define MIDDLE     (SPACE + SPACE / 2)
#define PAGE       UINT64_C(4096)

/* An allocator, or a heap over it. */
struct world {
    struct test_meta meta;
    struct allot_byte *b;
    struct allot_page *pages; /* NULL: no heap */
    struct allot_heap heap;
    uint64_t last; /* the last block, a large one */
};

static void world_init(struct world *w, bool heap, unsigned blocks)
{
    const struct allot_page_ops *pages;

    if (heap && allot_page_find(NULL, &pages))
        skip();
    uint64_t wall; /* so that the last block has no free neighbour */

    memset(w, 0, sizeof(*w));
    test_meta_init(&w->meta);
    assert_int_equal(OPS->create(&w->meta.meta, &w->b), 0);
    if (heap) {
        assert_int_equal(pages->create(&w->meta.meta, PAGE, &w->pages), 0);
        assert_int_equal(w->pages->ops->init(w->pages, SPACE, SPACE), 0);
        allot_heap_init(&w->heap, w->b, w->pages);
    } else {
        assert_int_equal(OPS->init(w->b, SPACE, SPACE), 0);
    }
    for (unsigned left = blocks; left; left--) {
        uint64_t size = left % 2 ? LARGE : 8192;

        if (heap)
            assert_int_equal(allot_heap_alloc(&w->heap, size, 1, &w->last), 0);
        else
            assert_int_equal(OPS->alloc(w->b, size, 1, &w->last), 0);
    }
    if (!heap)
        assert_int_equal(OPS->alloc(w->b, LARGE, 1, &wall), 0);
}

static void world_deinit(struct world *w)
{
    OPS->destroy(w->b);
    if (w->pages)
        w->pages->ops->destroy(w->pages);
    assert_int_equal(w->meta.bytes, 0);
}

/* What must not change; but a heap may have given free pages back. */
struct view {
    uint64_t total, used, largest;
    uint64_t digest; /* of all runs, or of a heap's blocks */
    uint64_t heap;   /* no bool, since all of it is compared */
};

static void visit(void *ctx, unsigned long long start, unsigned long long size,
                  enum allot_run_state state)
{
    struct view *v = ctx;

    if (v->heap && state == ALLOT_RUN_FREE)
        return;
    v->digest = (v->digest ^ start) * 0x2545F4914F6CDD1DULL;
    v->digest = (v->digest ^ size ^ state) * 0x2545F4914F6CDD1DULL;
}

static struct view look(struct world *w)
{
    struct view v = {.heap = w->pages != NULL};

    check(w->b);
    v.total = OPS->total_bytes(w->b);
    v.used = OPS->used_bytes(w->b);
    assert_int_equal(OPS->dump(w->b, visit, &v), 0);
    if (w->pages) {
        assert_int_equal(w->pages->ops->check(w->pages), 0);
        assert_int_equal(w->pages->ops->used_pages(w->pages) * PAGE, v.total);
    } else {
        v.largest = OPS->largest_free(w->b);
    }
    return v;
}

typedef int act_fn(struct world *w);

/* The act with its `nth` request refused, or all for 0. False if it does not make so many. */
static bool refuse(act_fn *act, bool heap, unsigned blocks, uint64_t nth, uint64_t *told)
{
    struct view before, after;
    struct world w;
    bool refused;
    int err;

    world_init(&w, heap, blocks);
    before = look(&w);
    w.meta.fail_in = nth;
    w.meta.fail_always = nth == 0;
    err = act(&w);
    refused = w.meta.failed;
    w.meta.fail_in = 0;
    w.meta.fail_always = 0;
    if (refused && err) {
        assert_int_equal(err, ALLOT_E_NO_MEMORY);
        after = look(&w);
        if (heap && after.total < before.total)
            before.total = after.total;
        assert_memory_equal(&before, &after, sizeof(before));
        assert_int_equal(act(&w), 0);
        ++*told;
    } else {
        /* Without a new slab a block comes from elsewhere, and a heap takes other pages. */
        assert_true(!refused || heap || subject.places == BYTE_DIVIDED);
    }
    (void)look(&w);
    world_deinit(&w);
    return refused;
}

/* The number of times that the act was refused and said so. */
static uint64_t refuse_each(act_fn *act, bool heap)
{
    uint64_t told = 0;

    for (unsigned blocks = 1; blocks <= BLOCKS_MAX; blocks++) {
        struct world w;
        int err;

        world_init(&w, heap, blocks);
        err = act(&w); /* a block has no room to grow, now and then */
        world_deinit(&w);
        for (uint64_t nth = 0; !err && refuse(act, heap, blocks, nth, &told); nth++)
            ;
    }
    return told;
}

static void test_byte__create_without_metadata(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct allot_byte *b = NULL;
        struct test_meta meta;
        int err;

        test_meta_init(&meta);
        meta.fail_in = nth;
        err = OPS->create(&meta.meta, &b);
        if (!meta.failed) {
            assert_int_equal(err, 0);
            assert_true(nth > 1);
            OPS->destroy(b);
            return;
        }
        assert_int_equal(err, ALLOT_E_NO_MEMORY);
        assert_null(b);
        assert_int_equal(meta.bytes, 0);
    }
}

/* On one that is new; the tables of an old one may be enough. */
static void test_byte__init_without_metadata(void **state)
{
    struct fixture *f = *state;
    uint64_t refused = 0;

    for (f->meta.fail_in = 1; OPS->init(f->b, SPACE, SPACE) != 0; f->meta.fail_in = ++refused) {
        assert_int_equal(f->meta.failed, refused + 1);
        assert_int_equal(OPS->total_bytes(f->b), 0);
        check(f->b);
    }
    f->meta.fail_in = 0;
    assert_int_equal(OPS->largest_free(f->b), SPACE);
    check(f->b);
}

static int init_anew(struct world *w)
{
    return OPS->init(w->b, 2 * SPACE, SPACE);
}

/* With tables that are full, and where the provider does not take back what is too much. */
static void test_byte__second_init_without_metadata(void **state)
{
    (void)state;
    (void)refuse_each(init_anew, false); /* most need nothing */
    for (unsigned blocks = 1; blocks <= BLOCKS_MAX; blocks++) {
        struct world w;

        world_init(&w, false, blocks);
        w.meta.fail_shrinking = 1;
        assert_int_equal(init_anew(&w), 0);
        check(w.b);
        assert_int_equal(OPS->largest_free(w.b), SPACE);
        for (unsigned i = 0; i < 2 * BLOCKS_MAX; i++)
            assert_int_equal(OPS->alloc(w.b, LARGE, 1, &w.last), 0);
        check(w.b);
        world_deinit(&w);
    }
}

static int add_memory(struct world *w)
{
    return OPS->add_memory(w->b, 3 * SPACE, PAGE);
}

static void test_byte__add_memory_without_metadata(void **state)
{
    (void)state;
    assert_true(refuse_each(add_memory, false) > 0);
}

static int take_back(struct world *w)
{
    uint64_t start, size;

    return OPS->take_back(w->b, MIDDLE, PAGE, &start, &size);
}

static void test_byte__take_back_without_metadata(void **state)
{
    (void)state;
    assert_true(refuse_each(take_back, false) > 0);
}

static int alloc_small(struct world *w)
{
    return OPS->alloc(w->b, 16, 1, &w->last);
}

static int alloc_large(struct world *w)
{
    return OPS->alloc(w->b, LARGE, 1, &w->last);
}

static int alloc_aligned(struct world *w)
{
    return OPS->alloc(w->b, LARGE, 1 << 20, &w->last);
}

static void test_byte__alloc_without_metadata(void **state)
{
    (void)state;
    assert_true(refuse_each(alloc_small, false) > 0);
    assert_true(refuse_each(alloc_large, false) > 0);
    assert_true(refuse_each(alloc_aligned, false) > 0);
}

static int claim(struct world *w)
{
    return OPS->claim(w->b, MIDDLE, LARGE, 1);
}

static void test_byte__claim_without_metadata(void **state)
{
    (void)state;
    assert_true(refuse_each(claim, false) > 0);
}

static int reserve(struct world *w)
{
    return OPS->reserve(w->b, 10000);
}

static void test_byte__reserve_without_metadata(void **state)
{
    (void)state;
    if (!OPS->reserve)
        skip();
    assert_true(refuse_each(reserve, false) > 0);
}

static int shrink(struct world *w)
{
    return OPS->realloc(w->b, w->last, LARGE, 1, 10000);
}

static void test_byte__realloc_without_metadata(void **state)
{
    (void)state;
    assert_true(refuse_each(shrink, false) > 0);
}

static int heap_alloc(struct world *w)
{
    return allot_heap_alloc(&w->heap, OPS->largest_free(w->b) + 1, 1, &w->last);
}

static void test_byte__heap_grows_without_metadata(void **state)
{
    (void)state;
    assert_true(refuse_each(heap_alloc, true) > 0);
}

static int heap_claim(struct world *w)
{
    return allot_heap_claim(&w->heap, MIDDLE, LARGE, 1);
}

static void test_byte__heap_claims_without_metadata(void **state)
{
    (void)state;
    assert_true(refuse_each(heap_claim, true) > 0);
}

static int heap_realloc(struct world *w)
{
    return allot_heap_realloc(&w->heap, w->last, LARGE, 1, 32768 + 16);
}

static void test_byte__heap_reallocs_without_metadata(void **state)
{
    (void)state;
    assert_true(refuse_each(heap_realloc, true) > 0);
}

/* Blocks and their pages go back, whatever there is of metadata memory. */
static void test_byte__heap_frees_without_metadata(void **state)
{
    struct world w;

    (void)state;
    for (unsigned blocks = 1; blocks <= BLOCKS_MAX; blocks++) {
        world_init(&w, true, blocks);
        w.meta.fail_always = 1;
        assert_int_equal(allot_heap_dealloc(&w.heap, w.last, LARGE, 1), 0);
        (void)look(&w);
        world_deinit(&w);
    }
}

static void test_byte__dealloc_needs_no_metadata(void **state)
{
    struct fixture *f = *state;
    const uint64_t count = 5000;
    static uint64_t pos[5000];
    uint64_t calls;

    assert_int_equal(OPS->init(f->b, 0, count * 64), 0);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(OPS->alloc(f->b, 64, 1, &pos[i]), 0);
    calls = f->meta.calls;
    f->meta.fail_always = 1;
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(OPS->dealloc(f->b, pos[i * 2011 % count], 64, 1), 0);
    check(f->b);
    assert_int_equal(f->meta.calls, calls);
    /* And what was given up is there for others. */
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(OPS->alloc(f->b, 64, 1, &pos[i]), 0);
}

/* Where one table has grown and the next could not, the room that there was is still of use. */
static void test_byte__a_refusal_takes_no_room(void **state)
{
    static uint64_t pos[4096];

    (void)state;
    for (uint64_t nth = 1; nth <= 4; nth++) {
        struct world w;
        unsigned count = 0;

        world_init(&w, false, 1);
        w.meta.fail_in = nth;
        while (!OPS->alloc(w.b, LARGE, 1, &pos[count]))
            assert_true(++count < sizeof(pos) / sizeof(*pos));
        w.meta.fail_always = 1;
        for (unsigned i = 0; i < count; i++)
            assert_int_equal(OPS->dealloc(w.b, pos[i], LARGE, 1), 0);
        for (unsigned i = 0; i < count; i++)
            assert_int_equal(OPS->alloc(w.b, LARGE, 1, &pos[i]), 0);
        check(w.b);
        world_deinit(&w);
    }
}

/* However full the tables are, undoing a cut needs no metadata memory. */
static void test_byte__what_was_taken_back_can_be_added_again(void **state)
{
    struct fixture *f = *state;
    const uint64_t whole = UINT64_C(1) << 60;
    uint64_t start, size;

    for (unsigned blocks = 1; blocks < 200; blocks++) {
        assert_int_equal(OPS->init(f->b, 16, whole), 0);
        assert_int_equal(OPS->claim(f->b, whole, 16, 1), 0);
        for (unsigned i = 0; i < blocks; i++)
            alloc(f->b, 16, 16);
        assert_int_equal(OPS->take_back(f->b, whole / 2, PAGE, &start, &size), 0);
        f->meta.fail_always = 1;
        assert_int_equal(OPS->add_memory(f->b, start, size), 0);
        f->meta.fail_always = 0;
        check(f->b);
        assert_int_equal(OPS->total_bytes(f->b), whole);
    }
}

int byte_faults_run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte__create_without_metadata),
        CASE(test_byte__init_without_metadata),
        cmocka_unit_test(test_byte__second_init_without_metadata),
        cmocka_unit_test(test_byte__add_memory_without_metadata),
        cmocka_unit_test(test_byte__take_back_without_metadata),
        cmocka_unit_test(test_byte__alloc_without_metadata),
        cmocka_unit_test(test_byte__claim_without_metadata),
        cmocka_unit_test(test_byte__reserve_without_metadata),
        cmocka_unit_test(test_byte__realloc_without_metadata),
        cmocka_unit_test(test_byte__heap_grows_without_metadata),
        cmocka_unit_test(test_byte__heap_claims_without_metadata),
        cmocka_unit_test(test_byte__heap_reallocs_without_metadata),
        cmocka_unit_test(test_byte__heap_frees_without_metadata),
        CASE(test_byte__dealloc_needs_no_metadata),
        cmocka_unit_test(test_byte__a_refusal_takes_no_room),
        CASE(test_byte__what_was_taken_back_can_be_added_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
