/* SPDX-License-Identifier: MIT */
/*
 * Buddy: each line of byte.h's contract, then seeded runs against the reference model. What freeing
 * costs is counted in instructions, by a parent that single-steps its child, so that no clock can
 * blur it.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "byte_model.h"
#include "support.h"

#define OPS (&allot_buddy)

struct fixture {
    struct test_meta meta;
    struct allot_byte *b;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    test_meta_init(&f->meta);
    *state = f;
    return OPS->create(&f->meta.meta, &f->b);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    size_t left;

    OPS->destroy(f->b);
    left = f->meta.bytes;
    free(f);
    return left ? -1 : 0;
}

static void check(struct allot_byte *b)
{
    assert_int_equal(OPS->check(b), 0);
}

static uint64_t alloc(struct allot_byte *b, uint64_t size, uint64_t align)
{
    uint64_t pos = 1;

    assert_int_equal(OPS->alloc(b, size, align, &pos), 0);
    assert_int_equal(pos % align, 0);
    check(b);
    return pos;
}

static void test_buddy__refuses_bad_ranges(void **state)
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
    assert_int_equal(OPS->add_memory(b, 4096, 4096), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 0, 4112), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 8176, 64), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 5000, 100), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->add_memory(b, 0, 1 << 20), ALLOT_E_OVERLAP);
    check(b);
}

static void test_buddy__refuses_bad_requests(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos = 7, size = 7;

    assert_int_equal(OPS->alloc(b, 16, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->init(b, 0, 4096), 0);
    assert_int_equal(OPS->alloc(b, 0, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, 16, 0, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, 16, 24, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, UINT64_MAX, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, (UINT64_C(1) << 63) + 1, 1, &pos), ALLOT_E_INVALID);
    assert_int_equal(OPS->alloc(b, UINT64_C(1) << 63, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->alloc(b, 4097, 1, &pos), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->claim(b, 8, 16, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 17, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 16, 32), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 0, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 16, 16, 3), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, UINT64_C(1) << 63, 16, 1), ALLOT_E_INVALID);
    assert_int_equal(OPS->claim(b, 4096, 16, 1), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->claim(b, 0, 4097, 1), ALLOT_E_OVERLAP);
    assert_int_equal(OPS->dealloc(b, UINT64_C(1) << 63, UINT64_C(1) << 63, 1),
                     ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->usable_size(b, UINT64_C(1) << 63, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 0, 3, &pos, &size), ALLOT_E_INVALID);
    assert_int_equal(OPS->take_back(b, 4096, 16, &pos, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, UINT64_MAX, 16, &pos, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 0, 8192, &pos, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(pos, 7);
    assert_int_equal(size, 7);
    check(b);
}

static void test_buddy__rounds_to_powers_of_two(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t used = 0, usable, pos;

    assert_int_equal(OPS->init(b, 0, 1 << 20), 0);
    for (uint64_t size = 1; size <= 5000; size = size * 3 / 2 + 1) {
        uint64_t block = 16;

        while (block < size)
            block *= 2;
        pos = alloc(b, size, 1);
        assert_int_equal(pos % block, 0);
        assert_int_equal(OPS->usable_size(b, pos, &usable), 0);
        assert_int_equal(usable, block);
        used += block;
        assert_int_equal(OPS->used_bytes(b), used);
    }
    assert_int_equal(OPS->usable_size(b, pos + 16, &usable), ALLOT_E_NOT_ALLOCATED);
}

static void test_buddy__merges_back_to_one_block(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos[64];

    assert_int_equal(OPS->init(b, 0, 1024), 0);
    for (unsigned i = 0; i < 64; i++)
        pos[i] = alloc(b, 16, 1);
    assert_int_equal(OPS->largest_free(b), 0);
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(OPS->dealloc(b, pos[i * 37 % 64], 16, 1), 0);
        check(b);
    }
    assert_int_equal(OPS->largest_free(b), 1024);
    assert_int_equal(alloc(b, 1024, 1), 0);
}

/* Blocks that only belong together by their absolute positions, in ranges that came apart. */
static void test_buddy__touching_ranges_merge_into_larger_blocks(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos;

    assert_int_equal(OPS->add_memory(b, 3 * 4096, 4096), 0);
    assert_int_equal(OPS->add_memory(b, 0, 4096), 0);
    assert_int_equal(OPS->add_memory(b, 2 * 4096, 4096), 0);
    assert_int_equal(OPS->largest_free(b), 2 * 4096);
    pos = alloc(b, 4097, 1);
    assert_int_equal(pos, 2 * 4096);
    assert_int_equal(OPS->add_memory(b, 4096, 4096), 0);
    check(b);
    assert_int_equal(OPS->dealloc(b, pos, 4097, 1), 0);
    assert_int_equal(OPS->largest_free(b), 4 * 4096);
    assert_int_equal(OPS->init(b, 16, 992), 0);
    assert_int_equal(OPS->add_memory(b, 1008, 16), 0);
    assert_int_equal(OPS->largest_free(b), 512);
    assert_int_equal(OPS->add_memory(b, 0, 16), 0);
    assert_int_equal(OPS->largest_free(b), 1024);
    check(b);
}

/* 4 GiB and all larger powers of two, at the multiples where a 32-bit order or size ends. */
static void test_buddy__has_no_size_cap(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    for (unsigned log = 4; log <= 63; log++) {
        uint64_t size = UINT64_C(1) << log, start = log < 63 ? size : 0;

        assert_int_equal(OPS->init(b, start, size), 0);
        assert_int_equal(OPS->largest_free(b), size);
        assert_int_equal(alloc(b, size, 1), start);
        assert_int_equal(OPS->available_bytes(b), 0);
        assert_int_equal(OPS->dealloc(b, start, size, 1), 0);
        if (log > 4) {
            assert_int_equal(alloc(b, size / 2, 1), start);
            assert_int_equal(alloc(b, size / 2, 1), start + size / 2);
            assert_int_equal(OPS->dealloc(b, start, size / 2, 1), 0);
            assert_int_equal(OPS->dealloc(b, start + size / 2, size / 2, 1), 0);
            assert_int_equal(OPS->largest_free(b), size);
        }
        check(b);
    }
}

static void test_buddy__alignment_costs_no_bytes(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;

    assert_int_equal(OPS->init(b, 16, UINT64_C(1) << 50), 0);
    for (unsigned log = 0; log <= 48; log++) {
        uint64_t pos = alloc(b, 100, UINT64_C(1) << log);

        assert_int_equal(OPS->used_bytes(b), 128);
        assert_int_equal(OPS->dealloc(b, pos, 100, UINT64_C(1) << log), 0);
    }
    /* A block that is aligned by its place alone. */
    assert_int_equal(OPS->init(b, 1 << 20, 64), 0);
    assert_int_equal(alloc(b, 64, 1 << 20), 1 << 20);
}

static void test_buddy__dealloc_is_exact(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t pos;

    assert_int_equal(OPS->init(b, 4096, 4096), 0);
    assert_int_equal(OPS->dealloc(b, 4096, 16, 1), ALLOT_E_NOT_ALLOCATED);
    pos = alloc(b, 100, 32);
    assert_int_equal(OPS->dealloc(b, pos, 0, 32), ALLOT_E_INVALID);
    assert_int_equal(OPS->dealloc(b, pos, 100, 12), ALLOT_E_INVALID);
    assert_int_equal(OPS->dealloc(b, pos, 64, 32), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, pos, 129, 32), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, pos, 100, UINT64_C(1) << 20), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, pos + 16, 16, 1), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->dealloc(b, 0, 100, 32), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->used_bytes(b), 128);
    assert_int_equal(OPS->dealloc(b, pos, 65, 32), 0);
    assert_int_equal(OPS->dealloc(b, pos, 100, 32), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->largest_free(b), 4096);
    check(b);
}

static void test_buddy__realloc_uses_the_upper_buddies(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t usable = 0;

    assert_int_equal(OPS->init(b, 0, 1024), 0);
    assert_int_equal(alloc(b, 100, 1), 0);
    assert_int_equal(OPS->realloc(b, 0, 100, 1, 1024), 0);
    check(b);
    assert_int_equal(OPS->usable_size(b, 0, &usable), 0);
    assert_int_equal(usable, 1024);
    assert_int_equal(OPS->realloc(b, 0, 1024, 1, 1025), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->realloc(b, 0, 1024, 1, 17), 0);
    check(b);
    assert_int_equal(OPS->used_bytes(b), 32);
    assert_int_equal(OPS->largest_free(b), 512);
    assert_int_equal(alloc(b, 32, 1), 32);
    assert_int_equal(OPS->realloc(b, 0, 17, 1, 33), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->realloc(b, 32, 32, 1, 33), ALLOT_E_NO_MEMORY);
    assert_int_equal(OPS->realloc(b, 0, 17, 1, 1), 0);
    assert_int_equal(OPS->realloc(b, 0, 17, 1, 64), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->realloc(b, 0, 1, 1, 0), ALLOT_E_INVALID);
    assert_int_equal(OPS->realloc(b, 0, 1, 1, UINT64_MAX), ALLOT_E_INVALID);
    assert_int_equal(OPS->realloc(b, 16, 1, 1, 16), ALLOT_E_NOT_ALLOCATED);
    check(b);
}

static void test_buddy__take_back_takes_the_whole_run(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    uint64_t start, size;

    assert_int_equal(OPS->init(b, 0, 7 * 4096), 0);
    assert_int_equal(OPS->claim(b, 0, 16, 1), 0);
    assert_int_equal(OPS->claim(b, 7 * 4096 - 16, 16, 1), 0);
    assert_int_equal(OPS->take_back(b, 0, 4096, &start, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 20, 1 << 20, &start, &size), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(OPS->take_back(b, 20, 4096, &start, &size), 0);
    check(b);
    assert_int_equal(start, 4096);
    assert_int_equal(size, 5 * 4096);
    assert_int_equal(OPS->total_bytes(b), 2 * 4096);
    assert_int_equal(OPS->dealloc(b, 0, 16, 1), 0);
    assert_int_equal(OPS->dealloc(b, 7 * 4096 - 16, 16, 1), 0);
    assert_int_equal(OPS->largest_free(b), 4096);
    assert_int_equal(OPS->add_memory(b, 4096, 5 * 4096), 0);
    assert_int_equal(OPS->largest_free(b), 4 * 4096);
    assert_int_equal(OPS->take_back(b, 5000, 4096, &start, &size), 0);
    assert_int_equal(size, 7 * 4096);
    assert_int_equal(OPS->total_bytes(b), 0);
    check(b);
}

/* However full the node array is, undoing a cut needs no metadata memory. */
static void test_buddy__what_was_taken_back_can_be_added_again(void **state)
{
    struct fixture *f = *state;
    const uint64_t near = UINT64_C(1) << 59;
    uint64_t start, size;

    for (unsigned blocks = 1; blocks < 200; blocks++) {
        assert_int_equal(OPS->init(f->b, 16, UINT64_C(1) << 60), 0);
        for (unsigned i = 0; i < blocks; i++)
            alloc(f->b, 16, 16);
        assert_int_equal(OPS->take_back(f->b, near, 16, &start, &size), 0);
        f->meta.fail_always = 1;
        assert_int_equal(OPS->add_memory(f->b, start, size), 0);
        f->meta.fail_always = 0;
        check(f->b);
        assert_int_equal(OPS->total_bytes(f->b), UINT64_C(1) << 60);
    }
}

/* A refused init() forgets nothing. */
static void test_buddy__refused_init_changes_nothing(void **state)
{
    struct fixture *f = *state;

    f->meta.fail_always = 1;
    assert_int_equal(OPS->init(f->b, 0, 4096), ALLOT_E_NO_MEMORY);
    f->meta.fail_always = 0;
    assert_int_equal(OPS->total_bytes(f->b), 0);
    check(f->b);
    assert_int_equal(OPS->init(f->b, 0, 4096), 0);
}

static void test_buddy__memory_for_a_million_blocks(void **state)
{
    struct fixture *f = *state;
    uint64_t pos;

    assert_int_equal(OPS->init(f->b, 0, UINT64_C(1) << 40), 0);
    for (unsigned i = 1; i <= 1000000; i++) {
        assert_int_equal(OPS->alloc(f->b, 64, 8, &pos), 0);
        if (i >= 500000 && i % 1000 == 0)
            assert_true(OPS->metadata_bytes(f->b) <= 44 * (uint64_t)i);
    }
    assert_int_equal(OPS->metadata_bytes(f->b), f->meta.bytes);
    check(f->b);
}

/* In the child: leaves `count` free blocks in one list and frees the buddy of the oldest. */
static void free_among(struct allot_byte *b, unsigned count)
{
    static uint64_t pos[2 * 5000];

    if (OPS->init(b, 0, 1 << 24))
        _exit(1);
    for (unsigned i = 0; i < 2 * count; i++)
        if (OPS->alloc(b, 64, 1, &pos[i]))
            _exit(1);
    for (unsigned i = 0; i < 2 * count; i += 2)
        if (OPS->dealloc(b, pos[i], 64, 1))
            _exit(1);
    raise(SIGSTOP);
    if (OPS->dealloc(b, pos[1], 64, 1) || OPS->dealloc(b, pos[count | 1], 64, 1))
        _exit(1);
    raise(SIGSTOP);
    _exit(0);
}

static unsigned instructions_to_free(struct allot_byte *b, unsigned count)
{
    unsigned steps = 0;
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
            _exit(1);
        free_among(b, count);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    do {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(++steps < 1000000);
    } while (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    assert_int_equal(ptrace(PTRACE_CONT, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return steps;
}

static void test_buddy__free_costs_the_same_whatever_is_free(void **state)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    unsigned few = instructions_to_free(b, 8), many = instructions_to_free(b, 5000);

    assert_in_range(many, 1, 2 * few);
}

static int fill(struct test_meta *meta, struct allot_byte **ret)
{
    struct allot_byte *b = NULL;
    uint64_t pos, start, size;
    int err = OPS->create(&meta->meta, &b);

    *ret = b;
    if (!err)
        err = OPS->add_memory(b, 0, 1 << 20);
    for (unsigned i = 0; !err && i < 200; i++)
        err = OPS->add_memory(b, (i + 2) << 20, 8192);
    for (unsigned i = 0; !err && i < 1000; i++)
        err = OPS->alloc(b, 16 + i, 64, &pos);
    for (unsigned i = 0; !err && i < 200; i++)
        err = OPS->take_back(b, ((i + 2) << 20) + 4096, 4096, &start, &size);
    return err;
}

/* Each request for metadata is refused in turn; what was there before stays right. */
static void test_buddy__survives_each_refusal_of_metadata(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct test_meta meta;
        struct allot_byte *b;
        int err;

        test_meta_init(&meta);
        meta.fail_in = nth;
        err = fill(&meta, &b);
        if (!meta.failed) {
            assert_true(nth > 10);
            OPS->destroy(b);
            return;
        }
        assert_int_equal(err, ALLOT_E_NO_MEMORY);
        if (b)
            check(b);
        OPS->destroy(b);
        assert_int_equal(meta.bytes, 0);
    }
}

static void test_buddy__small_space_against_the_model(void **state)
{
    struct byte_model_plan plan = {
        .ops = OPS,
        .granule = 16,
        .space = 256 * 16,
        .size_max = 256 * 16,
        .align_max = 4096,
        .live_max = 256,
        .operations = 300000,
        .check_every = 1,
        .rebuild_every = 997,
        .metadata_failure_every = 50,
        .seed = test_seed(0xb0d1),
    };

    (void)state;
    assert_true(byte_model_run(&plan));
    plan.base = (UINT64_C(1) << 62) + 5;
    assert_true(byte_model_run(&plan));
}

static void test_buddy__large_space_against_the_model(void **state)
{
    struct byte_model_plan plan = {
        .ops = OPS,
        .granule = 16,
        .base = 4099,
        .space = UINT64_C(1) << 32,
        .size_max = 1 << 24,
        .align_max = UINT64_C(1) << 30,
        .live_max = 3000,
        .operations = 500000,
        .check_every = 1000,
        .rebuild_every = 49999,
        .metadata_failure_every = 500,
        .seed = test_seed(0xb0d2),
    };

    (void)state;
    assert_true(byte_model_run(&plan));
    plan.space = UINT64_C(1) << 21; /* often full */
    plan.size_max = UINT64_C(1) << 21;
    assert_true(byte_model_run(&plan));
    plan.base = 0;
    plan.space = UINT64_C(1) << 63;
    plan.size_max = UINT64_C(1) << 63;
    assert_true(byte_model_run(&plan));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_buddy__refuses_bad_ranges),
        CASE(test_buddy__refuses_bad_requests),
        CASE(test_buddy__rounds_to_powers_of_two),
        CASE(test_buddy__merges_back_to_one_block),
        CASE(test_buddy__touching_ranges_merge_into_larger_blocks),
        CASE(test_buddy__has_no_size_cap),
        CASE(test_buddy__alignment_costs_no_bytes),
        CASE(test_buddy__dealloc_is_exact),
        CASE(test_buddy__realloc_uses_the_upper_buddies),
        CASE(test_buddy__take_back_takes_the_whole_run),
        CASE(test_buddy__what_was_taken_back_can_be_added_again),
        CASE(test_buddy__refused_init_changes_nothing),
        CASE(test_buddy__memory_for_a_million_blocks),
        CASE(test_buddy__free_costs_the_same_whatever_is_free),
        cmocka_unit_test(test_buddy__survives_each_refusal_of_metadata),
        cmocka_unit_test(test_buddy__small_space_against_the_model),
        cmocka_unit_test(test_buddy__large_space_against_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
