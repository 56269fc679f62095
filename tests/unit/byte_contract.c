/* SPDX-License-Identifier: MIT */
/*
 * Each line of byte.h's contract, for any byte allocator. Sizes and places are such that all of
 * them agree on the answer; where blocks are rounded differently, footprint() tells how.
 */
#include "byte_suite.h"

#define OPS subject.ops

int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    test_meta_init(&f->meta);
    *state = f;
    return OPS->create(&f->meta.meta, &f->b);
}

int teardown(void **state)
{
    struct fixture *f = *state;
    size_t left;

    OPS->destroy(f->b);
    left = f->meta.bytes;
    free(f);
    return left ? -1 : 0;
}

void check(struct allot_byte *b)
{
    assert_int_equal(OPS->check(b), 0);
    assert_int_equal(OPS->total_bytes(b), OPS->used_bytes(b) + OPS->available_bytes(b));
}

uint64_t alloc(struct allot_byte *b, uint64_t size, uint64_t align)
{
    uint64_t pos = 1;

    assert_int_equal(OPS->alloc(b, size, align, &pos), 0);
    assert_int_equal(pos % align, 0);
    check(b);
    return pos;
}

/* Bytes of a block with its rounding. */
static uint64_t length(struct allot_byte *b, uint64_t size, uint64_t align)
{
    uint64_t start, bytes = 0;

    assert_int_equal(OPS->footprint(b, 0, size, align, &start, &bytes), 0);
    return bytes;
}

static void test_byte__refuses_bad_ranges(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->add_memory(b, 0, 0), ALLOT_E_INVALID);
    assert_int_equal(OPS->add_memory(b, 1, 30), ALLOT_E_INVALID);
    assert_int_equal(OPS->add_memory(b, UINT64_MAX - 15, 32), ALLOT_E_INVALID);
    assert_int_equal(OPS->add_memory(b, 16, UINT64_C(1) << 63), ALLOT_E_INVALID);
    assert_int_equal(OPS->init(b, 0, 15), ALLOT_E_INVALID);
    assert_int_equal(OPS->total_bytes(b), 0);
    assert_int_equal(OPS->largest_free(b), 0);
    check(b);
    assert_int_equal(OPS->add_memory(b, 4096, 4096), 0);
    assert_int_equal(OPS->init(b, 0, 15), ALLOT_E_INVALID);
    assert_int_equal(OPS->total_bytes(b), 4096);
    check(b);
}

/* The originals declare this error and never return it. */
static void test_byte__overlap_is_told(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 4096, 4096), 0);
    assert_int_equal(OPS->add_memory(b, 4096, 4096), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 0, 4112), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 8176, 64), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 5000, 100), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 0, 1 << 20), ALLOT_E_OVERLAP);
    /* Also where it is a block that is in the way. */
    alloc(b, 4096, 1);
    assert_int_equal(OPS->add_memory(b, 5008, 16), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->total_bytes(b), 4096);
    check(b);
}

static void test_byte__refuses_bad_requests(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos = 7, size = 7;

    assert_int_equal(OPS->alloc(b, 16, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->init(b, 0, 4096), 0);
    assert_int_equal(OPS->alloc(b, 0, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, 16, 0, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, 16, 24, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, UINT64_MAX, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, UINT64_C(1) << 63, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->alloc(b, 16, UINT64_C(1) << 63, &pos), 0);
    assert_int_equal(pos, 0);
    assert_int_equal(OPS->dealloc(b, 0, 16, UINT64_C(1) << 63), 0);
    pos = 7;
    assert_int_equal(OPS->alloc(b, 4097, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->claim(b, 8, 16, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 16, 32), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 0, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 16, 3), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, UINT64_C(1) << 63, 16, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 4096, 16, 1), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->claim(b, 0, 4097, 1), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->usable_size(b, UINT64_C(1) << 63, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 0, 3, &pos, &size), ALLOT_E_INVALID);
    assert_int_equal(OPS->take_back(b, 4096, 16, &pos, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, UINT64_MAX, 16, &pos, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 0, 8192, &pos, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(pos, 7);
    assert_int_equal(size, 7);
    check(b);
}

static void test_byte__position_zero_is_legal(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 0, 64), 0);
    assert_int_equal(alloc(b, 64, UINT64_C(1) << 48), 0);
    assert_int_equal(OPS->dealloc(b, 0, 64, UINT64_C(1) << 48), 0);
}

/* One of the originals adds them only from some size up. */
static void test_byte__small_ranges_are_of_use(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    for (uint64_t i = 0; i < 200; i++) {
        assert_int_equal(OPS->add_memory(b, 4096 * i + 1, 31), 0);
        assert_int_equal(OPS->total_bytes(b), (i + 1) * 16);
    }
    check(b);
    for (uint64_t i = 0; i < 200; i++)
        assert_int_equal(alloc(b, 16, 1) % 4096, 16);
    assert_int_equal(OPS->available_bytes(b), 0);
}

/* One of the originals keeps the first one's totals, another panics. */
static void test_byte__second_init_starts_anew(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos;

    assert_int_equal(OPS->init(b, 0, 4096), 0);
    assert_int_equal(OPS->add_memory(b, 1 << 20, 4096), 0);
    pos = alloc(b, 100, 1);
    assert_int_equal(OPS->init(b, 4096, 8192), 0);
    check(b);
    assert_int_equal(OPS->total_bytes(b), 8192);
    assert_int_equal(OPS->used_bytes(b), 0);
    assert_int_equal(OPS->dealloc(b, pos, 100, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->add_memory(b, 0, 4096), 0);
    assert_int_equal(OPS->add_memory(b, 12288, 4096), 0);
    assert_int_equal(OPS->total_bytes(b), 16384);
    assert_int_equal(alloc(b, 16384, 1), 0);
}

/* Four blocks side by side, freed in each of the 24 orders. */
static void test_byte__merges_in_any_order(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    for (unsigned code = 0; code < 24; code++) {
        uint64_t pos[4];

        assert_int_equal(OPS->init(b, 64, 64), 0);
        for (unsigned i = 0; i < 4; i++)
            pos[i] = alloc(b, 16, 1);
        assert_int_equal(OPS->largest_free(b), 0);
        for (unsigned left = 4, rest = code; left; rest /= left--) {
            unsigned k = rest % left;

            assert_int_equal(OPS->dealloc(b, pos[k], 16, 1), 0);
            pos[k] = pos[left - 1];
            check(b);
        }
        assert_int_equal(OPS->largest_free(b), 64);
    }
}

/* The originals round the request up to a list whose blocks are all larger. */
static void test_byte__grants_exactly_the_largest(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos, largest;

    for (uint64_t size = 16; size < UINT64_C(1) << 40; size = size * 3 / 2 + 15) {
        assert_int_equal(OPS->init(b, 1 << 20, size), 0);
        while ((largest = OPS->largest_free(b))) {
            assert_int_equal(OPS->alloc(b, largest + 1, 1, &pos), ALLOT_E_NO_MEMORY);
            alloc(b, largest, 1);
        }
        assert_int_equal(OPS->available_bytes(b), 0);
    }
}

/* Of 2000 runs in ranges of their own, whose sizes fall into one list of the originals. */
static void test_byte__grants_the_largest_of_many(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    const uint64_t least = UINT64_C(1) << 30;
    uint64_t pos;

    for (uint64_t i = 0; i < 2000; i++)
        assert_int_equal(OPS->add_memory(b, i * 2 * least, least + i * 7919 % 2000 * 16), 0);
    check(b);
    for (uint64_t i = 2000; i--;) {
        uint64_t largest = subject.places == BYTE_POWERS ? least : least + i * 16;

        assert_int_equal(OPS->largest_free(b), largest);
        assert_int_equal(OPS->alloc(b, largest + 1, 1, &pos), ALLOT_E_NO_MEMORY);
        assert_int_equal(OPS->alloc(b, largest, 1, &pos), 0);
        if (i % 100 == 0)
            check(b);
    }
    assert_true(OPS->largest_free(b) < least);
}

/* All originals but one misalign: from 32 up, or where the alignment is larger than the size. */
static void test_byte__honours_every_alignment(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 16, UINT64_C(1) << 50), 0);
    for (uint64_t size = 1; size < 40000; size = size * 5 / 4 + 1) {
        for (uint64_t align = 1; align <= UINT64_C(1) << 48; align *= 2) {
            uint64_t largest = OPS->largest_free(b), bytes = length(b, size, align);
            uint64_t first = alloc(b, size, align), second = alloc(b, size, align);

            assert_true(first + size <= second || second + size <= first);
            assert_int_equal(OPS->used_bytes(b), 2 * bytes);
            /* No alignment costs more than the size, or than a small block. */
            assert_true(bytes <= 2 * (size > 64 ? size : 64));
            assert_int_equal(OPS->dealloc(b, first, size, align), 0);
            assert_int_equal(OPS->dealloc(b, second, size, align), 0);
            assert_int_equal(OPS->largest_free(b), largest);
        }
    }
}

/* What lies before an aligned block is free for others. */
static void test_byte__keeps_the_front_of_an_aligned_block(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 16, 4096), 0);
    assert_int_equal(alloc(b, 16, 4096), 4096);
    for (uint64_t pos = 16; pos < 4096; pos += 16)
        alloc(b, 16, 1);
    assert_int_equal(OPS->available_bytes(b), 0);
}

static void test_byte__fills_the_one_aligned_place(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 16, (2 << 20) - 16), 0);
    assert_int_equal(alloc(b, 1 << 20, 1 << 20), 1 << 20);
    assert_int_equal(OPS->available_bytes(b), (1 << 20) - 16);
}

/* The originals hang, hand the same block out twice, or crash. */
static void test_byte__double_free_is_told(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos, other;

    assert_int_equal(OPS->init(b, 0, 1 << 20), 0);
    assert_int_equal(OPS->dealloc(b, 0, 16, 1), ALLOT_E_NOT_ALLOCATED);
    for (uint64_t size = 16; size < 100000; size *= 2) {
        pos = alloc(b, size, 1);
        other = alloc(b, size, 1);
        assert_int_equal(OPS->dealloc(b, pos, size, 1), 0);
        assert_int_equal(OPS->dealloc(b, pos, size, 1), ALLOT_E_NOT_ALLOCATED);
        assert_int_equal(OPS->dealloc(b, other, size, 1), 0);
        assert_int_equal(OPS->dealloc(b, other, size, 1), ALLOT_E_NOT_ALLOCATED);
        assert_int_equal(OPS->dealloc(b, pos, size, 1), ALLOT_E_NOT_ALLOCATED);
        check(b);
    }
    assert_int_equal(OPS->largest_free(b), 1 << 20);
}

/* The originals take any position for that of a block. */
static void test_byte__foreign_positions_are_told(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos, other, usable = 7;

    assert_int_equal(OPS->init(b, 4096, 65536), 0);
    other = alloc(b, 100, 1);
    pos = alloc(b, 100, 1);
    assert_int_equal(OPS->dealloc(b, other, 100, 1), 0);
    for (uint64_t wrong = 0; wrong < 80000; wrong++) {
        if (wrong == pos)
            continue;
        assert_int_equal(OPS->dealloc(b, wrong, 100, 1), ALLOT_E_NOT_ALLOCATED);
        assert_int_equal(OPS->realloc(b, wrong, 100, 1, 200), ALLOT_E_NOT_ALLOCATED);
        assert_int_equal(OPS->usable_size(b, wrong, &usable), ALLOT_E_NOT_ALLOCATED);
    }
    assert_int_equal(OPS->dealloc(b, UINT64_C(1) << 63, 100, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, UINT64_MAX - 15, 16, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(usable, 7);
    assert_int_equal(OPS->used_bytes(b), length(b, 100, 1));
    check(b);
}

/* The originals corrupt themselves and say nothing. */
static void test_byte__wrong_sizes_are_told(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    const uint64_t size = 100, align = 32;
    uint64_t pos, other, start, bytes;

    assert_int_equal(OPS->init(b, 65536, 65536), 0);
    other = alloc(b, size, align);
    pos = alloc(b, size, align);
    assert_int_equal(OPS->dealloc(b, other, size, align), 0);
    assert_int_equal(OPS->dealloc(b, pos, 0, align), ALLOT_E_INVALID);
    assert_int_equal(OPS->dealloc(b, pos, size, 0), ALLOT_E_INVALID);
    assert_int_equal(OPS->dealloc(b, pos, size, 12), ALLOT_E_INVALID);
    assert_int_equal(OPS->dealloc(b, pos, UINT64_MAX, align), ALLOT_E_INVALID);
    assert_int_equal(OPS->dealloc(b, pos, size, UINT64_C(1) << 20), ALLOT_E_NOT_ALLOCATED);
    for (uint64_t wrong = 1; wrong < 80000; wrong++) {
        if (OPS->footprint(b, pos, wrong, align, &start, &bytes) == 0 &&
            bytes == length(b, size, align))
            continue;
        assert_int_equal(OPS->dealloc(b, pos, wrong, align), ALLOT_E_NOT_ALLOCATED);
        assert_int_equal(OPS->realloc(b, pos, wrong, align, size), ALLOT_E_NOT_ALLOCATED);
    }
    assert_int_equal(OPS->used_bytes(b), length(b, size, align));
    check(b);
    assert_int_equal(OPS->dealloc(b, pos, length(b, size, align), align), 0);
    assert_int_equal(OPS->largest_free(b), 65536);
}

/* All that free(3) and realloc(3) know of a block is enough, whatever it was asked with. */
static void test_byte__usable_size_stands_for_what_was_asked(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t usable = 0;

    assert_int_equal(OPS->init(b, 16, UINT64_C(1) << 40), 0);
    for (uint64_t size = 1; size < 100000; size = size * 5 / 4 + 1) {
        for (uint64_t align = 1; align <= 1 << 20; align *= 2) {
            uint64_t pos = alloc(b, size, align);

            assert_int_equal(OPS->usable_size(b, pos, &usable), 0);
            assert_true(usable >= size);
            assert_int_equal(OPS->realloc(b, pos, usable, 1, usable), 0);
            assert_int_equal(OPS->dealloc(b, pos, usable, 1), 0);
        }
    }
    assert_int_equal(OPS->used_bytes(b), 0);
}

/* The originals have no such thing. */
static void test_byte__realloc_uses_the_free_neighbour(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t usable = 0;

    assert_int_equal(OPS->init(b, 0, 1024), 0);
    assert_int_equal(alloc(b, 100, 1), 0);
    assert_int_equal(OPS->realloc(b, 0, 100, 1, 1024), 0);
    check(b);
    assert_int_equal(OPS->usable_size(b, 0, &usable), 0);
    assert_int_equal(usable, 1024);
    assert_int_equal(OPS->available_bytes(b), 0);
    assert_int_equal(OPS->realloc(b, 0, 1024, 1, 1025), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->realloc(b, 0, 1024, 1, 17), 0);
    check(b);
    assert_int_equal(OPS->used_bytes(b), 32);
    assert_int_equal(alloc(b, 32, 1), 32);
    assert_int_equal(OPS->realloc(b, 0, 17, 1, 33), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->realloc(b, 0, 17, 1, 1), 0);
    assert_int_equal(OPS->realloc(b, 0, 17, 1, 64), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->realloc(b, 0, 1, 1, 0), ALLOT_E_INVALID);
    assert_int_equal(OPS->realloc(b, 0, 1, 1, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(OPS->realloc(b, 16, 1, 1, 16), ALLOT_E_NOT_ALLOCATED);
    check(b);
}

/* The originals keep ranges apart for ever. */
static void test_byte__touching_ranges_become_one(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos;

    assert_int_equal(OPS->add_memory(b, 0, 1000), 0); /* 992 after cutting */
    assert_int_equal(OPS->add_memory(b, 2000, 2096), 0);
    assert_int_equal(OPS->alloc(b, 4096, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->add_memory(b, 992, 1008), 0);
    check(b);
    assert_int_equal(OPS->total_bytes(b), 4096);
    assert_int_equal(OPS->largest_free(b), 4096);
    assert_int_equal(alloc(b, 4096, 1), 0);
    assert_int_equal(OPS->add_memory(b, 4096, 4096), 0);
    assert_int_equal(alloc(b, 4096, 1), 4096);
    assert_int_equal(OPS->dealloc(b, 0, 4096, 1), 0);
    assert_int_equal(OPS->dealloc(b, 4096, 4096, 1), 0);
    assert_int_equal(OPS->largest_free(b), 8192);
}

static void test_byte__take_back_cuts_a_range(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    const uint64_t page = 4096, last = 4 * page - 16;
    uint64_t start, size;

    assert_int_equal(OPS->init(b, 0, 4 * page), 0);
    assert_int_equal(OPS->claim(b, 0, 16, 1), 0);
    assert_int_equal(OPS->claim(b, last, 16, 1), 0);
    assert_int_equal(OPS->take_back(b, 0, page, &start, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 20, 1 << 20, &start, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 20, page, &start, &size), 0);
    check(b);
    assert_int_equal(start, page);
    assert_int_equal(size, 2 * page);
    assert_int_equal(OPS->total_bytes(b), 2 * page);
    assert_true(OPS->largest_free(b) < page);
    assert_int_equal(OPS->dealloc(b, 0, 16, 1), 0);
    assert_int_equal(OPS->dealloc(b, last, 16, 1), 0);
    assert_int_equal(OPS->add_memory(b, page, 2 * page), 0);
    assert_int_equal(OPS->largest_free(b), 4 * page);
    assert_int_equal(OPS->take_back(b, 5000, page, &start, &size), 0);
    assert_int_equal(size, 4 * page);
    assert_int_equal(OPS->total_bytes(b), 0);
    check(b);
}

/* Up to all there is; one of the originals panics at multiples of 4 GiB. */
static void test_byte__has_no_size_cap(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    for (unsigned log = 5; log <= 63; log++) {
        uint64_t size = UINT64_C(1) << log, start = log < 63 ? size : 0;

        assert_int_equal(OPS->init(b, start, size), 0);
        assert_int_equal(OPS->largest_free(b), size);
        assert_int_equal(alloc(b, size, 1), start);
        assert_int_equal(OPS->available_bytes(b), 0);
        assert_int_equal(OPS->dealloc(b, start, size, 1), 0);
        assert_int_equal(alloc(b, size / 2, 1), start);
        assert_int_equal(alloc(b, size / 2, 1), start + size / 2);
        assert_int_equal(OPS->dealloc(b, start, size / 2, 1), 0);
        assert_int_equal(OPS->dealloc(b, start + size / 2, size / 2, 1), 0);
        assert_int_equal(OPS->largest_free(b), size);
        check(b);
    }
}

/* Claims, in whatever order, that were told of ask for nothing more. */
static void test_byte__claims_after_a_reserve_need_no_metadata(void **state)
{
    struct fixture *f = *state;
    struct allot_byte *b = f->b;
    const uint64_t blocks = 100000, size = 64;

    if (!OPS->reserve)
        skip();
    assert_int_equal(OPS->add_memory(b, 0, blocks * size), 0);
    assert_int_equal(OPS->reserve(b, UINT64_MAX), ALLOT_E_NO_MEMORY);
    check(b);
    assert_int_equal(OPS->reserve(b, blocks), 0);
    check(b);
    f->meta.fail_always = true;
    for (uint64_t i = 0; i < blocks; i++)
        assert_int_equal(OPS->claim(b, (i % 2 ? blocks - i : i) * size, size, 1), 0);
    f->meta.fail_always = false;
    assert_false(f->meta.failed);
    assert_int_equal(OPS->largest_free(b), 0);
    check(b);
}

static void test_byte__metadata_for_a_million_blocks(void **state)
{
    struct fixture *f = *state;
    uint64_t pos;

    assert_int_equal(OPS->init(f->b, 0, UINT64_C(1) << 40), 0);
    for (uint64_t i = 1; i <= 1000000; i++) {
        assert_int_equal(OPS->alloc(f->b, 64, 8, &pos), 0);
        if (i >= 500000 && i % 1000 == 0)
            assert_true(OPS->metadata_bytes(f->b) <= subject.block_metadata_max * i);
    }
    assert_int_equal(OPS->metadata_bytes(f->b), f->meta.bytes);
    check(f->b);
}

int byte_contract_run(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_byte__refuses_bad_ranges),
        CASE(test_byte__overlap_is_told),
        CASE(test_byte__refuses_bad_requests),
        CASE(test_byte__position_zero_is_legal),
        CASE(test_byte__small_ranges_are_of_use),
        CASE(test_byte__second_init_starts_anew),
        CASE(test_byte__merges_in_any_order),
        CASE(test_byte__grants_exactly_the_largest),
        CASE(test_byte__grants_the_largest_of_many),
        CASE(test_byte__honours_every_alignment),
        CASE(test_byte__keeps_the_front_of_an_aligned_block),
        CASE(test_byte__fills_the_one_aligned_place),
        CASE(test_byte__double_free_is_told),
        CASE(test_byte__foreign_positions_are_told),
        CASE(test_byte__wrong_sizes_are_told),
        CASE(test_byte__usable_size_stands_for_what_was_asked),
        CASE(test_byte__realloc_uses_the_free_neighbour),
        CASE(test_byte__touching_ranges_become_one),
        CASE(test_byte__take_back_cuts_a_range),
        CASE(test_byte__has_no_size_cap),
        CASE(test_byte__claims_after_a_reserve_need_no_metadata),
        CASE(test_byte__metadata_for_a_million_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
