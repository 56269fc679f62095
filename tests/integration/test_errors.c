/* SPDX-License-Identifier: MIT */
/*
 * Every answer of allot.proto that an operation can end with, asked for on purpose; each is
 * followed by a good request. Refusals of whole requests are in test_wire.c.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "wire.h"

#define PAGE 4096u
#define MIB  (1ull << 20)

static struct wire w;
static struct wire other;

/* A pool of 64 MiB that may grow to 128, with few IDs, and one that only some may use. */
#define CONFIG                                                                                     \
    "[daemon]\nworkers = 2\nsessions_max = 4\n"                                                    \
    "[pool default]\nsize = 64M\nsize_max = 128M\nids = 1000\n"                                    \
    "[pool coarse]\nsize_max = 64M\npage_size = 64K\n"                                             \
    "[pool quota]\nsize_max = 64M\nquota = 1M\n"                                                   \
    "[pool ample]\nsize_max = 1M\nquota = 2M\n"                                                    \
    "[pool few]\nsize_max = 1M\nallocations_max = 8\n"                                             \
    "[pool readers]\nsize_max = 1M\naccess = *=read\n"                                             \
    "[pool nobody]\nsize_max = 1M\naccess = *=none\n"

static const struct fixture_setup with_pools = {.config = CONFIG};

#define pools_test(f) fixture_test_with(with_pools, f)

/* One item with its numbers just as they are, zeros too. */
static Allot__Error run(Allot__Op op, uint32_t pool, uint64_t position, uint64_t size,
                        uint64_t align, uint64_t *ret_value)
{
    Allot__Request r = wire_request(op, pool);
    Allot__Error error;
    uint64_t value;
    bool frees =
        op == ALLOT__OP__OP_FREE || op == ALLOT__OP__OP_FREE_PAGES || op == ALLOT__OP__OP_FREE_IDS;

    r.positions = &position;
    r.n_positions = 1;
    r.sizes = &size;
    r.n_sizes = frees && size == 0 ? 0 : 1;
    r.align = align;
    wire_run(&w, &r, 1, &error, &value);
    if (ret_value)
        *ret_value = value;
    return error;
}

static void expect(Allot__Error error, Allot__Op op, uint32_t pool, uint64_t position,
                   uint64_t size, uint64_t align)
{
    check_equal(run(op, pool, position, size, align, NULL), error);
    wire_expect_good(&w, pool);
}

#define INVALID       ALLOT__ERROR__E_INVALID
#define OVERLAP       ALLOT__ERROR__E_OVERLAP
#define NOT_ALLOCATED ALLOT__ERROR__E_NOT_ALLOCATED
#define NOT_OWNER     ALLOT__ERROR__E_NOT_OWNER

static void test_invalid__sizes_and_alignments(void **state)
{
    const struct fixture *f = *state;
    static const uint64_t sizes[] = {0, 1ull << 63, UINT64_MAX, UINT64_MAX - 15};
    static const uint64_t aligns[] = {3, 48, 4097, UINT64_MAX, (1ull << 63) + 1};

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 100);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        expect(INVALID, ALLOT__OP__OP_ALLOC, pool, 0, sizes[i], 0);
        expect(INVALID, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, sizes[i], 0);
        expect(INVALID, ALLOT__OP__OP_ALLOC_PAGES_AT, pool, 32 * MIB, sizes[i], 0);
        expect(INVALID, ALLOT__OP__OP_ALLOC_IDS, pool, 0, sizes[i], 0);
        expect(INVALID, ALLOT__OP__OP_ALLOC_IDS_AT, pool, 10, sizes[i], 0);
        expect(INVALID, ALLOT__OP__OP_RESIZE, pool, block, sizes[i], 0);
        expect(INVALID, ALLOT__OP__OP_ADD_MEMORY, pool, 0, sizes[i], 0);
    }
    /* Counts of pages whose bytes overflow. */
    expect(INVALID, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, UINT64_MAX / PAGE + 1, 0);
    expect(INVALID, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 1ull << 52, 0);
    for (size_t i = 0; i < sizeof(aligns) / sizeof(aligns[0]); i++) {
        expect(INVALID, ALLOT__OP__OP_ALLOC, pool, 0, 100, aligns[i]);
        expect(INVALID, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 1, aligns[i]);
        expect(INVALID, ALLOT__OP__OP_ALLOC_IDS, pool, 0, 1, aligns[i]);
    }
    /* A power of two, but larger than the pool. */
    expect(INVALID, ALLOT__OP__OP_ALLOC, pool, 0, 100, 256 * MIB);
    expect(INVALID, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 1, 1ull << 63);
    wire_close(&w);
}

static void test_invalid__places(void **state)
{
    const struct fixture *f = *state;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    const Allot__Op pages = ALLOT__OP__OP_ALLOC_PAGES_AT;
    expect(INVALID, pages, pool, 0, 1, 0);                     /* page 0 is nobody's */
    expect(INVALID, pages, pool, 32 * MIB + 1, 1, 0);          /* not on a page */
    expect(INVALID, pages, pool, 64 * MIB, 1, 0);              /* not managed yet */
    expect(INVALID, pages, pool, 64 * MIB - PAGE, 2, 0);       /* its end is not */
    expect(INVALID, pages, pool, 128 * MIB, 1, 0);             /* out of the region */
    expect(INVALID, pages, pool, UINT64_MAX - PAGE + 1, 1, 0); /* the end overflows */
    expect(INVALID, pages, pool, 32 * MIB, UINT64_MAX / PAGE, 0);
    const Allot__Op ids = ALLOT__OP__OP_ALLOC_IDS_AT;
    expect(INVALID, ids, pool, 0, 1, 0);
    expect(INVALID, ids, pool, 1001, 1, 0);
    expect(INVALID, ids, pool, 1000, 2, 0);
    expect(INVALID, ids, pool, UINT64_MAX, 1, 0);
    expect(INVALID, ids, pool, UINT64_MAX, INT64_MAX, 0);
    check_equal(run(ids, pool, 1000, 1, 0, NULL), ALLOT__ERROR__E_OK);
    check_equal(run(pages, pool, 64 * MIB - PAGE, 1, 0, NULL), ALLOT__ERROR__E_OK);
    /* Growth past the region; then to its very end, page by page and beyond. */
    expect(INVALID, ALLOT__OP__OP_ADD_MEMORY, pool, 0, 64 * MIB + 1, 0);
    uint64_t size;
    check_equal(run(ALLOT__OP__OP_ADD_MEMORY, pool, 0, 1, 0, &size), ALLOT__ERROR__E_OK);
    check_equal(size, 64 * MIB + PAGE);
    check_equal(run(ALLOT__OP__OP_ADD_MEMORY, pool, 0, 64 * MIB - PAGE, 0, &size),
                ALLOT__ERROR__E_OK);
    check_equal(size, 128 * MIB);
    expect(INVALID, ALLOT__OP__OP_ADD_MEMORY, pool, 0, 1, 0);
    check_equal(run(pages, pool, 128 * MIB - PAGE, 1, 0, NULL), ALLOT__ERROR__E_OK);
    wire_close(&w);
}

static void test_invalid__attach(void **state)
{
    const struct fixture *f = *state;
    Allot__Error error;

    wire_open(&w, f->socket);
    wire_attach(&w, "default", ALLOT__ACCESS__ACCESS_NONE, &error);
    check_equal(error, INVALID);
    wire_attach(&w, "default", (Allot__Access)3, &error);
    check_equal(error, INVALID);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_overlap__names_what_is_taken(void **state)
{
    const struct fixture *f = *state;
    const Allot__Op pages = ALLOT__OP__OP_ALLOC_PAGES_AT;
    const Allot__Op ids = ALLOT__OP__OP_ALLOC_IDS_AT;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    check_equal(run(pages, pool, 32 * MIB, 10, 0, NULL), ALLOT__ERROR__E_OK);
    expect(OVERLAP, pages, pool, 32 * MIB, 10, 0);
    expect(OVERLAP, pages, pool, 32 * MIB + 9 * PAGE, 1, 0);
    expect(OVERLAP, pages, pool, 32 * MIB - PAGE, 2, 0);
    expect(OVERLAP, pages, pool, 32 * MIB - PAGE, 20, 0);
    check_equal(run(pages, pool, 32 * MIB + 10 * PAGE, 1, 0, NULL), ALLOT__ERROR__E_OK);
    /* A page that the byte allocator holds. */
    uint64_t block = wire_alloc(&w, pool, 100);
    expect(OVERLAP, pages, pool, block / PAGE * PAGE, 1, 0);
    check_equal(run(ids, pool, 100, 10, 0, NULL), ALLOT__ERROR__E_OK);
    expect(OVERLAP, ids, pool, 100, 10, 0);
    expect(OVERLAP, ids, pool, 109, 1, 0);
    expect(OVERLAP, ids, pool, 99, 2, 0);
    expect(OVERLAP, ids, pool, 1, 1000, 0);
    check_equal(run(ids, pool, 110, 1, 0, NULL), ALLOT__ERROR__E_OK);
    wire_close(&w);
}

/* Asks for too much; then exactly what the refusal named must be granted, and one more must not. */
static void ask_for_the_largest(Allot__Op op, Allot__Op op_free, uint32_t pool, uint64_t align)
{
    uint64_t most;
    uint64_t position;

    check_equal(run(op, pool, 0, 1ull << 40, align, &most), ALLOT__ERROR__E_NO_MEMORY);
    check(most > 0);
    uint64_t same;
    check_equal(run(op, pool, 0, most + 1, align, &same), ALLOT__ERROR__E_NO_MEMORY);
    check_equal(same, most);
    check_equal(run(op, pool, 0, most, align, &position), ALLOT__ERROR__E_OK);
    check(position != 0);
    check(align == 0 || position % align == 0);
    check_equal(run(op_free, pool, position, most, 0, NULL), ALLOT__ERROR__E_OK);
    wire_expect_good(&w, pool);
}

static void test_no_memory__names_the_largest_that_fits(void **state)
{
    const struct fixture *f = *state;
    static const uint64_t aligns[] = {0, 16, 4096, 1 << 20, 1 << 24};
    static const char *const pools[] = {"default", "coarse"};

    wire_open(&w, f->socket);
    for (size_t p = 0; p < 2; p++) {
        uint32_t pool = wire_pool(&w, pools[p]);
        for (unsigned crowded = 0; crowded < 2; crowded++) {
            for (size_t i = 0; i < sizeof(aligns) / sizeof(aligns[0]); i++) {
                ask_for_the_largest(ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_FREE, pool, aligns[i]);
                ask_for_the_largest(ALLOT__OP__OP_ALLOC_PAGES, ALLOT__OP__OP_FREE_PAGES, pool,
                                    aligns[i]);
            }
            for (uint64_t i = 0; !crowded && i < 9; i++)
                check_equal(
                    run(ALLOT__OP__OP_ALLOC_PAGES_AT, pool, (i * 7 + 1) * MIB, 16 - i, 0, NULL),
                    ALLOT__ERROR__E_OK);
        }
    }
    uint32_t pool = wire_pool(&w, "default");
    check_equal(run(ALLOT__OP__OP_ALLOC_IDS_AT, pool, 333, 1, 0, NULL), ALLOT__ERROR__E_OK);
    for (uint64_t align = 1; align <= 512; align *= 8)
        ask_for_the_largest(ALLOT__OP__OP_ALLOC_IDS, ALLOT__OP__OP_FREE_IDS, pool, align);
    wire_close(&w);
}

static void test_no_memory__resize_leaves_the_block(void **state)
{
    const struct fixture *f = *state;
    uint64_t usable;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 1000);
    wire_alloc(&w, pool, 1000); /* a neighbour in the way */
    check_equal(run(ALLOT__OP__OP_RESIZE, pool, block, 100000, 0, NULL), ALLOT__ERROR__E_NO_MEMORY);
    check_equal(run(ALLOT__OP__OP_USABLE_SIZE, pool, block, 0, 0, &usable), ALLOT__ERROR__E_OK);
    check(usable >= 1000);
    check_equal(run(ALLOT__OP__OP_RESIZE, pool, block, 10, 0, NULL), ALLOT__ERROR__E_OK);
    check_equal(run(ALLOT__OP__OP_FREE, pool, block, 1000, 0, NULL), NOT_ALLOCATED);
    check_equal(run(ALLOT__OP__OP_FREE, pool, block, 10, 0, NULL), ALLOT__ERROR__E_OK);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_not_allocated__bytes(void **state)
{
    const struct fixture *f = *state;
    const Allot__Op op = ALLOT__OP__OP_FREE;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 1000);
    const uint64_t never[] = {
        0,       1,        16,        block + 16, block - 16, block + 1,         PAGE,
        1000000, 64 * MIB, 128 * MIB, 1ull << 50, UINT64_MAX, block | 1ull << 63};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        if (never[i] == block)
            continue;
        expect(NOT_ALLOCATED, op, pool, never[i], 0, 0);
        expect(NOT_ALLOCATED, ALLOT__OP__OP_RESIZE, pool, never[i], 10, 0);
        expect(NOT_ALLOCATED, ALLOT__OP__OP_USABLE_SIZE, pool, never[i], 0, 0);
    }
    const uint64_t sizes[] = {1, 999, 1001, 1008, 1024, UINT64_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        expect(NOT_ALLOCATED, op, pool, block, sizes[i], 0);
    expect(NOT_ALLOCATED, ALLOT__OP__OP_FREE_PAGES, pool, block, 0, 0);
    expect(NOT_ALLOCATED, ALLOT__OP__OP_FREE_IDS, pool, block, 0, 0);
    check_equal(run(op, pool, block, 1000, 0, NULL), ALLOT__ERROR__E_OK);
    expect(NOT_ALLOCATED, op, pool, block, 1000, 0); /* freed before */
    expect(NOT_ALLOCATED, op, pool, block, 0, 0);
    wire_close(&w);
}

static void test_not_allocated__pages_and_ids(void **state)
{
    const struct fixture *f = *state;
    uint64_t run_at;
    uint64_t first;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    check_equal(run(ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 4, 0, &run_at), ALLOT__ERROR__E_OK);
    check_equal(run(ALLOT__OP__OP_ALLOC_IDS, pool, 0, 4, 0, &first), ALLOT__ERROR__E_OK);
    check(run_at != 0 && run_at % PAGE == 0 && first != 0);
    const Allot__Op pages = ALLOT__OP__OP_FREE_PAGES;
    expect(NOT_ALLOCATED, pages, pool, run_at, 3, 0);
    expect(NOT_ALLOCATED, pages, pool, run_at, 5, 0);
    expect(NOT_ALLOCATED, pages, pool, run_at, UINT64_MAX / PAGE + 5, 0); /* 4 when it overflows */
    expect(NOT_ALLOCATED, pages, pool, run_at + PAGE, 3, 0);
    expect(NOT_ALLOCATED, pages, pool, run_at + PAGE, 0, 0);
    expect(NOT_ALLOCATED, pages, pool, 0, 1, 0);
    expect(NOT_ALLOCATED, pages, pool, 48 * MIB, 1, 0);
    expect(NOT_ALLOCATED, ALLOT__OP__OP_FREE, pool, run_at, 0, 0);
    expect(NOT_ALLOCATED, ALLOT__OP__OP_FREE, pool, run_at, 4 * PAGE, 0);
    const Allot__Op ids = ALLOT__OP__OP_FREE_IDS;
    expect(NOT_ALLOCATED, ids, pool, first, 3, 0);
    expect(NOT_ALLOCATED, ids, pool, first, 5, 0);
    expect(NOT_ALLOCATED, ids, pool, first + 1, 3, 0);
    expect(NOT_ALLOCATED, ids, pool, 0, 0, 0);
    expect(NOT_ALLOCATED, ids, pool, 500, 1, 0);
    expect(NOT_ALLOCATED, ids, pool, UINT64_MAX, 0, 0);
    check_equal(run(pages, pool, run_at, 4, 0, NULL), ALLOT__ERROR__E_OK);
    check_equal(run(ids, pool, first, 4, 0, NULL), ALLOT__ERROR__E_OK);
    expect(NOT_ALLOCATED, pages, pool, run_at, 4, 0);
    expect(NOT_ALLOCATED, ids, pool, first, 0, 0);
    wire_close(&w);
}

static void test_not_owner__of_another_session(void **state)
{
    const struct fixture *f = *state;
    uint64_t block;
    uint64_t run_at;
    uint64_t first;
    uint64_t usable;

    wire_open(&other, f->socket);
    uint32_t pool = wire_pool(&other, "default");
    block = wire_alloc(&other, pool, 1000);
    check_equal(wire_item(&other, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 2, 0, &run_at), 0);
    check_equal(wire_item(&other, ALLOT__OP__OP_ALLOC_IDS, pool, 0, 2, 0, &first), 0);
    wire_open(&w, f->socket);
    check_equal(wire_pool(&w, "default"), pool);
    expect(NOT_OWNER, ALLOT__OP__OP_FREE, pool, block, 0, 0);
    expect(NOT_OWNER, ALLOT__OP__OP_FREE, pool, block, 1000, 0);
    expect(NOT_OWNER, ALLOT__OP__OP_RESIZE, pool, block, 10, 0);
    expect(NOT_OWNER, ALLOT__OP__OP_FREE_PAGES, pool, run_at, 2, 0);
    expect(NOT_OWNER, ALLOT__OP__OP_FREE_IDS, pool, first, 2, 0);
    check_equal(run(ALLOT__OP__OP_USABLE_SIZE, pool, block, 0, 0, &usable), ALLOT__ERROR__E_OK);
    check(usable >= 1000);
    wire_free(&other, pool, block);
    wire_expect_good(&other, pool);
    wire_close(&w);
    wire_close(&other);
}

static void test_no_pool__unknown_or_not_attached(void **state)
{
    const struct fixture *f = *state;
    static const uint32_t unknown[] = {0, 8, 16, 17, 1000, UINT32_MAX};
    static const char *const names[] = {
        "", "Default", "defaul", "default ",
        "0123456789012345678901234567890123456789012345678901234567890123456789"};
    Allot__Error error;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint32_t not_attached = pool + 1;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        check_equal(run(ALLOT__OP__OP_ALLOC, unknown[i], 0, 1, 0, NULL), ALLOT__ERROR__E_NO_POOL);
        check_equal(run(ALLOT__OP__OP_FREE_IDS, unknown[i], 1, 1, 0, NULL),
                    ALLOT__ERROR__E_NO_POOL);
        check_equal(run(ALLOT__OP__OP_TAGS, unknown[i], 0, 0, 0, NULL), ALLOT__ERROR__E_NO_POOL);
        wire_expect_good(&w, pool);
    }
    check_equal(run(ALLOT__OP__OP_ALLOC, not_attached, 0, 1, 0, NULL), ALLOT__ERROR__E_NO_POOL);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        wire_attach(&w, names[i], ALLOT__ACCESS__ACCESS_READ, &error);
        check_equal(error, ALLOT__ERROR__E_NO_POOL);
    }
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_denied__without_the_right(void **state)
{
    const struct fixture *f = *state;
    Allot__Error error;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_attach(&w, "readers", ALLOT__ACCESS__ACCESS_WRITE, &error);
    check_equal(error, ALLOT__ERROR__E_DENIED);
    wire_attach(&w, "nobody", ALLOT__ACCESS__ACCESS_READ, &error);
    check_equal(error, ALLOT__ERROR__E_DENIED);
    uint32_t readers = wire_attach(&w, "readers", ALLOT__ACCESS__ACCESS_READ, &error);
    check_equal(error, ALLOT__ERROR__E_OK);
    for (int op = ALLOT__OP__OP_ALLOC; op <= ALLOT__OP__OP_ADD_MEMORY; op++) {
        check_equal(run((Allot__Op)op, readers, 1, 1, 0, NULL), op == ALLOT__OP__OP_USABLE_SIZE
                                                                    ? ALLOT__ERROR__E_NOT_ALLOCATED
                                                                    : ALLOT__ERROR__E_DENIED);
        wire_expect_good(&w, pool);
    }
    /* Attached for less than it might. */
    wire_open(&other, f->socket);
    wire_attach(&other, "default", ALLOT__ACCESS__ACCESS_READ, &error);
    check_equal(error, ALLOT__ERROR__E_OK);
    check_equal(wire_item(&other, ALLOT__OP__OP_ALLOC, pool, 0, 1, 0, NULL),
                ALLOT__ERROR__E_DENIED);
    wire_expect_good(&other, wire_pool(&other, "default"));
    wire_close(&other);
    wire_close(&w);
}

static void test_quota__names_what_is_left(void **state)
{
    const struct fixture *f = *state;
    uint64_t left;
    uint64_t position;

    wire_open(&w, f->socket);
    wire_open(&other, f->socket);
    uint32_t pool = wire_pool(&w, "quota");
    wire_pool(&other, "quota");
    uint64_t mine = wire_alloc(&w, pool, 1000);
    wire_alloc(&other, pool, 100000); /* the same user */
    expect(ALLOT__ERROR__E_QUOTA, ALLOT__OP__OP_ALLOC, pool, 0, MIB, 0);
    expect(ALLOT__ERROR__E_QUOTA, ALLOT__OP__OP_RESIZE, pool, mine, MIB, 0);
    check_equal(run(ALLOT__OP__OP_ALLOC, pool, 0, MIB, 0, &left), ALLOT__ERROR__E_QUOTA);
    check_equal(left, MIB - 101000);
    check_equal(run(ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 256, 0, &left), ALLOT__ERROR__E_QUOTA);
    check_equal(left, (MIB - 101000) / PAGE);
    check_equal(run(ALLOT__OP__OP_ALLOC_PAGES, pool, 0, left, 0, &position), ALLOT__ERROR__E_OK);
    check_equal(run(ALLOT__OP__OP_FREE_PAGES, pool, position, 0, 0, NULL), ALLOT__ERROR__E_OK);
    check_equal(run(ALLOT__OP__OP_ALLOC, pool, 0, MIB - 101000, 0, &position), ALLOT__ERROR__E_OK);
    check_equal(run(ALLOT__OP__OP_ALLOC, pool, 0, 1, 0, &left), ALLOT__ERROR__E_QUOTA);
    check_equal(left, 0);
    check_equal(run(ALLOT__OP__OP_ALLOC_IDS, pool, 0, 1, 0, NULL), ALLOT__ERROR__E_OK);
    wire_free(&w, pool, position);
    wire_expect_good(&w, pool);
    wire_close(&other);
    wire_close(&w);
}

/* More quota is left than the pool could give. */
static void test_quota__names_what_would_be_granted(void **state)
{
    const struct fixture *f = *state;
    static const uint64_t aligns[] = {0, 4 * PAGE};
    static const Allot__Op ops[][2] = {{ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_FREE},
                                       {ALLOT__OP__OP_ALLOC_PAGES, ALLOT__OP__OP_FREE_PAGES}};
    uint64_t most;
    uint64_t position;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "ample");
    wire_alloc(&w, pool, 1000);
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < 2; j++) {
            check_equal(run(ops[i][0], pool, 0, 3 * MIB, aligns[j], &most), ALLOT__ERROR__E_QUOTA);
            check_equal(run(ops[i][0], pool, 0, most, aligns[j], &position), ALLOT__ERROR__E_OK);
            check_equal(run(ops[i][1], pool, position, 0, 0, NULL), ALLOT__ERROR__E_OK);
            check_equal(run(ops[i][0], pool, 0, most + 1, aligns[j], NULL),
                        ALLOT__ERROR__E_NO_MEMORY);
        }
    }
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_limit__allocations(void **state)
{
    const struct fixture *f = *state;
    uint64_t position[8];

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "few");
    for (unsigned i = 0; i < 8; i++)
        position[i] = wire_alloc(&w, pool, 100);
    check_equal(run(ALLOT__OP__OP_ALLOC, pool, 0, 1, 0, NULL), ALLOT__ERROR__E_LIMIT);
    check_equal(run(ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 1, 0, NULL), ALLOT__ERROR__E_LIMIT);
    check_equal(run(ALLOT__OP__OP_ALLOC_IDS, pool, 0, 1, 0, NULL), ALLOT__ERROR__E_LIMIT);
    wire_free(&w, pool, position[3]);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_limit__sessions(void **state)
{
    const struct fixture *f = *state;
    static struct wire some[4];
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);

    hello.version_min = hello.version_max = CODEC_VERSION;
    for (unsigned i = 0; i < 4; i++)
        wire_open(&some[i], f->socket);
    wire_connect(&w, f->socket);
    wire_send(&w, &hello);
    wire_expect_refusal(&w, ALLOT__ERROR__E_LIMIT, 0);
    check_equal(wire_goodbye(&some[0]), ALLOT__ERROR__E_OK);
    wire_send(&w, &hello);
    check(wire_receive(&w) && !w.reply->refused);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_expect_good(&some[1], wire_pool(&some[1], "default"));
    for (unsigned i = 0; i < 4; i++)
        wire_close(&some[i]);
    wire_close(&w);
}

/* What the daemon itself lacks is not the client's mistake: descriptors, here. */
static void test_internal__no_descriptor_to_hand_over(void **state)
{
    const struct fixture *f = *state;
    struct rlimit old;
    Allot__Error error;

    wire_open(&w, f->socket);
    check_equal(wire_ping(&w), ALLOT__ERROR__E_OK);
    check(prlimit(f->pid, RLIMIT_NOFILE, NULL, &old) == 0);
    struct rlimit tight = {.rlim_cur = 3, .rlim_max = old.rlim_max};
    check(prlimit(f->pid, RLIMIT_NOFILE, &tight, NULL) == 0);
    wire_attach(&w, "default", ALLOT__ACCESS__ACCESS_WRITE, &error);
    check_equal(error, ALLOT__ERROR__E_INTERNAL);
    check(prlimit(f->pid, RLIMIT_NOFILE, &old, NULL) == 0);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

#define LACKING_PAGES 13u

/* From here on the kernel has no memory for exactly so many pages at once. */
static void forbid_some_commits(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_fallocate, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3), /* not the punching of holes */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LACKING_PAGES * PAGE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 28 /* ENOSPC */),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program))
        _exit(CHECK_STATUS);
}

static void test_commit__memory_that_the_system_lacks(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup lacking = {.before_exec = forbid_some_commits};
    /* At once; by another thread; by another thread, in the second piece. */
    static const uint64_t pages[] = {LACKING_PAGES, 16 * MIB / PAGE + LACKING_PAGES,
                                     32 * MIB / PAGE + LACKING_PAGES};
    uint64_t position;

    fixture_open(f, &lacking);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t free_pages = wire_pool_info(&w, "default")->free_pages;
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        expect(ALLOT__ERROR__E_COMMIT, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, pages[i], 0);
        fixture_log_wait(f, "cannot commit");
        check_equal(wire_pool_info(&w, "default")->page_runs, 0);
        check_equal(wire_pool_info(&w, "default")->used_bytes, 0);
        check_equal(wire_pool_info(&w, "default")->free_pages +
                        wire_pool_info(&w, "default")->heap_bytes / PAGE,
                    free_pages);
    }
    /* A page more can be had, and so can the rest of a batch with one that cannot. */
    check_equal(run(ALLOT__OP__OP_ALLOC_PAGES, pool, 0, LACKING_PAGES + 1, 0, &position),
                ALLOT__ERROR__E_OK);
    uint64_t sizes[] = {1, 32 * MIB / PAGE + LACKING_PAGES, 2, 40 * MIB / PAGE};
    uint64_t values[4];
    Allot__Error errors[4];
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC_PAGES, pool);
    r.sizes = sizes;
    r.n_sizes = 4;
    wire_run(&w, &r, 4, errors, values);
    check_equal(errors[0], ALLOT__ERROR__E_OK);
    check_equal(errors[1], ALLOT__ERROR__E_COMMIT);
    check_equal(errors[2], ALLOT__ERROR__E_OK);
    check_equal(errors[3], ALLOT__ERROR__E_OK);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

/* A block that grows where it stands, into pages that cannot be had: it stays as it was. */
static void test_commit__resize_is_undone(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup lacking = {.before_exec = forbid_some_commits};
    uint64_t usable;

    if (strcmp(fixture_allocator(), "buddy") == 0)
        skip(); /* what it grows by is a power of two, never LACKING_PAGES */
    fixture_open(f, &lacking);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 1000);
    unsigned refused = 0;
    /* Where the block lies in its pages is the allocator's business: some size will be it. */
    for (uint64_t size = (LACKING_PAGES - 2) * PAGE; size <= LACKING_PAGES * PAGE; size += 512) {
        Allot__Error error = run(ALLOT__OP__OP_RESIZE, pool, block, size, 0, NULL);
        if (error == ALLOT__ERROR__E_COMMIT) {
            refused++;
            check_equal(run(ALLOT__OP__OP_USABLE_SIZE, pool, block, 0, 0, &usable), 0);
            check(usable >= 1000);
            continue;
        }
        check_equal(error, ALLOT__ERROR__E_OK);
        check_equal(run(ALLOT__OP__OP_RESIZE, pool, block, 1000, 0, NULL), ALLOT__ERROR__E_OK);
    }
    check(refused > 0);
    check_equal(run(ALLOT__OP__OP_FREE, pool, block, 1000, 0, NULL), ALLOT__ERROR__E_OK);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        pools_test(test_invalid__sizes_and_alignments),
        pools_test(test_invalid__places),
        pools_test(test_invalid__attach),
        pools_test(test_overlap__names_what_is_taken),
        pools_test(test_no_memory__names_the_largest_that_fits),
        pools_test(test_no_memory__resize_leaves_the_block),
        pools_test(test_not_allocated__bytes),
        pools_test(test_not_allocated__pages_and_ids),
        pools_test(test_not_owner__of_another_session),
        pools_test(test_no_pool__unknown_or_not_attached),
        pools_test(test_denied__without_the_right),
        pools_test(test_quota__names_what_is_left),
        pools_test(test_quota__names_what_would_be_granted),
        pools_test(test_limit__allocations),
        pools_test(test_limit__sessions),
        pools_test(test_internal__no_descriptor_to_hand_over),
        fixture_test_bare(test_commit__memory_that_the_system_lacks),
        fixture_test_bare(test_commit__resize_is_undone),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
