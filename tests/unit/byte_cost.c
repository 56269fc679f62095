/* SPDX-License-Identifier: MIT */
/*
 * What an operation costs among many blocks, in instructions: a parent single-steps its child, so
 * that no clock, other load or sanitizer can blur it.
 */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "byte_suite.h"

#define OPS subject.ops

#define FEW  100 /* more than an aligned request tries */
#define MANY 5000

/* In the child: the blocks are its, and a wrong answer ends it. */
static uint64_t block[2 * MANY];

static void expect(int err)
{
    if (err)
        _exit(1);
}

typedef void act_fn(struct allot_byte *b, unsigned count);

/* 2 * count blocks side by side, every other one free. */
static void teeth(struct allot_byte *b, unsigned count, uint64_t size)
{
    uint64_t far = UINT64_C(4) << 40, pos, length;

    for (unsigned i = 0; i < 2 * count; i++)
        expect(OPS->alloc(b, size, 1, &block[i]));
    for (unsigned i = 0; i < 2 * count; i += 2)
        expect(OPS->dealloc(b, block[i], size, 1));
    /* No table is to be full just now. */
    expect(OPS->add_memory(b, far, 4096));
    expect(OPS->take_back(b, far, 1, &pos, &length));
    expect(OPS->add_memory(b, far, 4096));
    expect(OPS->alloc(b, 4 * size, 1, &pos));
    expect(OPS->dealloc(b, pos, 4 * size, 1));
}

static void comb(struct allot_byte *b, unsigned count)
{
    expect(OPS->init(b, 64, UINT64_C(1) << 40));
    teeth(b, count, 64);
}

static unsigned instructions(struct allot_byte *b, act_fn *prepare, act_fn *act, unsigned count)
{
    unsigned steps = 0;
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        expect(ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? 1 : 0);
        prepare(b, count);
        raise(SIGSTOP);
        act(b, count);
        raise(SIGSTOP);
        _exit(0);
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

/* 50 times as many blocks are at most twice the levels of a tree; a walk along a list would be 50
 * times as long. */
static void assert_cheap(void **state, act_fn *prepare, act_fn *act)
{
    struct allot_byte *b = ((struct fixture *)*state)->b;
    unsigned few = instructions(b, prepare, act, FEW);
    unsigned many = instructions(b, prepare, act, MANY);

    assert_in_range(many, 1, 2 * few);
}

static void free_two(struct allot_byte *b, unsigned count)
{
    expect(OPS->dealloc(b, block[1], 64, 1));
    expect(OPS->dealloc(b, block[count | 1], 64, 1));
}

/* One of the originals searches its list of free blocks for the buddy, another for the place. */
static void test_byte__free_costs_the_same_whatever_is_free(void **state)
{
    assert_cheap(state, comb, free_two);
}

static void alloc_past(struct allot_byte *b, unsigned count)
{
    uint64_t pos;

    (void)count;
    expect(OPS->alloc(b, 256, 1, &pos));
    expect(OPS->dealloc(b, pos, 256, 1));
}

/* The same one walks past every free block that is too small. */
static void test_byte__alloc_does_not_walk_past_short_runs(void **state)
{
    assert_cheap(state, comb, alloc_past);
}

static void alloc_aligned(struct allot_byte *b, unsigned count)
{
    uint64_t pos;

    (void)count;
    expect(OPS->alloc(b, 64, UINT64_C(1) << 50, &pos) != ALLOT_E_NO_MEMORY);
}

void test_byte__an_aligned_request_tries_a_bounded_number(void **state)
{
    assert_cheap(state, comb, alloc_aligned);
}

static void resize(struct allot_byte *b, unsigned count)
{
    uint64_t usable;

    expect(OPS->realloc(b, block[count | 1], 64, 1, 61));
    expect(OPS->usable_size(b, block[count | 1], &usable));
}

static void test_byte__a_block_is_found_among_any_number(void **state)
{
    assert_cheap(state, comb, resize);
}

static void add(struct allot_byte *b, unsigned count)
{
    (void)count;
    expect(OPS->add_memory(b, UINT64_C(2) << 40, 4096));
}

static void test_byte__add_memory_does_not_visit_what_is_there(void **state)
{
    assert_cheap(state, comb, add);
}

#define BEHIND UINT64_C(32768)

/* Small blocks up to BEHIND, then larger ones with holes between. */
static void comb_behind(struct allot_byte *b, unsigned count)
{
    uint64_t pos;

    expect(OPS->init(b, 0, UINT64_C(1) << 40));
    for (unsigned i = 0; i < BEHIND / 4096; i++)
        expect(OPS->alloc(b, 4096, 1, &pos));
    teeth(b, count, 9008);
}

static void take_behind(struct allot_byte *b, unsigned count)
{
    uint64_t start, size, pos;

    (void)count;
    expect(OPS->realloc(b, BEHIND - 4096, 4096, 1, 1 << 20) != ALLOT_E_NO_MEMORY);
    expect(OPS->take_back(b, BEHIND, 1, &start, &size) || start != BEHIND);
    expect(OPS->alloc(b, 1 << 20, 1, &pos));
}

/* As a heap does that looks whether pages behind the block would do. */
static void test_byte__what_is_behind_a_refused_block_is_found(void **state)
{
    assert_cheap(state, comb_behind, take_behind);
}

static void take_too_little(struct allot_byte *b, unsigned count)
{
    uint64_t start, size, pos;

    expect(OPS->alloc(b, 64, 1, &pos));
    expect(OPS->dealloc(b, pos, 64, 1));
    expect(OPS->dealloc(b, block[count | 1], 9008, 1));
    expect(OPS->take_back(b, block[count | 1], 1 << 20, &start, &size) != ALLOT_E_NOT_ALLOCATED);
    expect(OPS->alloc(b, 1 << 20, 1, &pos));
}

static void test_byte__what_was_freed_is_found_though_it_is_too_little(void **state)
{
    assert_cheap(state, comb_behind, take_too_little);
}

int byte_cost_run(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_byte__free_costs_the_same_whatever_is_free),
        CASE(test_byte__alloc_does_not_walk_past_short_runs),
        CASE(test_byte__a_block_is_found_among_any_number),
        CASE(test_byte__what_is_behind_a_refused_block_is_found),
        CASE(test_byte__what_was_freed_is_found_though_it_is_too_little),
        CASE(test_byte__add_memory_does_not_visit_what_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
