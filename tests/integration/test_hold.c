/* SPDX-License-Identifier: MIT */
/*
 * What is held on to: frozen allocations, in the library and across restarts.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "allot.h"
#include "fixture.h"
#include "wire.h"

static struct wire w;
static struct wire other;

#define ACQUIRE ALLOT__OP__OP_ACQUIRE
#define RELEASE ALLOT__OP__OP_RELEASE
#define FREEZE  ALLOT__OP__OP_FREEZE

static uint64_t position_of(struct wire_ticket t)
{
    return t.place & ((1ull << CODEC_KIND_SHIFT) - 1);
}

/* ---- frozen ---- */

static void test_hold__frozen_survives_the_daemon(void **state)
{
    struct fixture *f = *state;
    uint64_t told = 0;

    wire_open(&w, f->socket);
    wire_open(&other, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 1000);
    wire_pool(&other, "default");
    check_equal(wire_reference(&other, FREEZE, pool, t, NULL), ALLOT__ERROR__E_NOT_OWNER);
    check_equal(wire_attach(&other, "default", ALLOT__ACCESS__ACCESS_READ, NULL), pool);
    check_equal(wire_reference(&w, FREEZE, pool, t, NULL), ALLOT__ERROR__E_OK);
    check_equal(wire_item(&w, ALLOT__OP__OP_RESIZE, pool, position_of(t), 500, 0, NULL),
                ALLOT__ERROR__E_FROZEN);
    wire_close(&w); /* this session lives on with this process */
    wire_close(&other);
    fixture_kill(f);
    fixture_start(f);
    wire_open(&other, f->socket);
    check_equal(wire_attach(&other, "default", ALLOT__ACCESS__ACCESS_READ, NULL), pool);
    check_equal(wire_reference(&other, ACQUIRE, pool, t, &told), ALLOT__ERROR__E_OK);
    check_equal(told, 1000 | CODEC_VALUE_FROZEN);
    check_equal(wire_reference(&other, FREEZE, pool, t, NULL), ALLOT__ERROR__E_DENIED);
    wire_close(&other);
}

static void open_pool(const struct fixture *f, enum allot_access access, struct allot **a,
                      struct allot_pool **p)
{
    check_equal(allot_open(a, f->socket), 0);
    check_equal(allot_attach(*a, NULL, access, p), 0);
}

static void test_hold__no_pointer_to_write_to_what_is_frozen(void **state)
{
    const struct fixture *f = *state;
    struct allot_ticket tickets[2];
    struct allot_pool *p;
    struct allot_pool *q;
    struct allot_pool *reading;
    struct allot *a;
    struct allot *b;
    uint64_t block;
    uint64_t pages;
    uint64_t size;

    open_pool(f, ALLOT_WRITE, &a, &p);
    open_pool(f, ALLOT_WRITE, &b, &q);
    check_equal(allot_attach(b, NULL, ALLOT_READ, &reading), 0);
    check_equal(allot_alloc(p, 100, NULL, &block), 0);
    check_equal(allot_alloc_pages(p, 2, NULL, &pages), 0);
    check_equal(allot_ticket(p, block, &tickets[0]), 0);
    check_equal(allot_ticket(p, pages, &tickets[1]), 0);
    strcpy(allot_ptr(p, block), "as it was");
    check_equal(allot_freeze(q, &tickets[0]), ALLOT_E_NOT_OWNER);
    check_equal(allot_acquire(q, &tickets[0], &block, &size), 0);
    check(allot_ptr(q, block) != NULL);
    check_equal(allot_freeze(reading, &tickets[0]), ALLOT_E_DENIED);
    check_equal(allot_release(q, &tickets[0]), 0);
    for (unsigned i = 0; i < 2; i++)
        check_equal(allot_freeze(p, &tickets[i]), 0);
    check(allot_ptr(p, block) == NULL && allot_ptr(p, pages) == NULL);
    check(strcmp(allot_const_ptr(p, block), "as it was") == 0);
    check_equal(allot_offset(p, allot_const_ptr(p, block)), block);

    check_equal(allot_acquire(q, &tickets[0], &block, &size), 0);
    check_equal(size, 100);
    check(allot_ptr(q, block) == NULL && allot_ptr(reading, block) == NULL);
    check(strcmp(allot_const_ptr(q, block), "as it was") == 0);
    check(strcmp(allot_const_ptr(reading, block), "as it was") == 0);
    check_equal(allot_release(q, &tickets[0]), 0);
    check(allot_ptr(q, block) != NULL); /* nothing of this session's is there */

    /* Resized it is a copy, which is not frozen. */
    uint64_t copy = 0;
    check_equal(allot_realloc(p, block, 100, 50, NULL, &copy), 0);
    check(copy != block);
    check(strcmp(allot_ptr(p, copy), "as it was") == 0);
    check_equal(allot_free(p, copy), 0);
    check_equal(allot_free_pages(p, pages, 2), 0);
    check(allot_ptr(p, pages) != NULL);
    allot_close(a);
    allot_close(b);
}

static void write_through(void *ctx)
{
    const struct fixture *f = ctx;
    struct allot_pool *p;
    struct allot *a;
    uint64_t block;

    open_pool(f, ALLOT_WRITE, &a, &p);
    check_equal(allot_alloc(p, 100, NULL, &block), 0);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer has its own */
    *(volatile char *)(uintptr_t)allot_const_ptr(p, block) = 1;
}

static void test_hold__writing_through_a_pointer_for_reading_is_a_fault(void **state)
{
    int status = child_wait(child_start(write_through, *state));

    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_hold__frozen_survives_the_daemon),
        fixture_test(test_hold__no_pointer_to_write_to_what_is_frozen),
        fixture_test(test_hold__writing_through_a_pointer_for_reading_is_a_fault),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
