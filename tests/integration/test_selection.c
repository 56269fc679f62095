/* SPDX-License-Identifier: MIT */
/*
 * The allocators that this build has and those that it has not: the former serve, and know their
 * blocks after a restart; whoever asks for the latter is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <allot/algorithm.h>

#include "fixture.h"
#include "wire.h"

#define BLOCKS 200u

static struct wire w;

/* What a pool wants and this build has not; NULL: nothing. */
static const char *missing(void)
{
    const struct allot_byte_ops *bytes;
    const struct allot_page_ops *pages;
    const struct allot_id_ops *ids;

    return allot_byte_find(NULL, &bytes)   ? "no byte allocator"
           : allot_page_find(NULL, &pages) ? "no page allocator"
           : allot_id_find(NULL, &ids)     ? "no ID allocator"
                                           : NULL;
}

static void expect_refusal(struct fixture *f, int status, const char *words)
{
    check_equal(fixture_run(f), status);
    if (!strstr(fixture_log(f), words))
        fprintf(stderr, "missing: %s in\n%s", words, fixture_log(f));
    check(strstr(fixture_log(f), words) != NULL);
}

static void expect_service(struct fixture *f, const char *allocator)
{
    uint64_t block[BLOCKS];

    fixture_start(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    check(strcmp(wire_pool_info(&w, "default")->allocator, allocator) == 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        block[i] = wire_alloc(&w, pool, 1 + i * i);
    for (unsigned i = 0; i < BLOCKS; i += 3)
        wire_free(&w, pool, block[i]);
    fixture_kill(f);
    fixture_start(f);
    wire_close(&w);
    check(!strstr(fixture_log(f), "error:"));
    wire_open(&w, f->socket);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_selection__what_is_asked_for(void **state)
{
    static const char *const names[] = {"tlsf", "first-fit", "buddy", "slab"};
    struct fixture *f = *state;
    char config[100], words[100];
    const struct fixture_setup setup = {.config = config};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct allot_byte_ops *ops;

        snprintf(config, sizeof(config), "[pool default]\nsize_max = 64M\nallocator = %s\n",
                 names[i]);
        fixture_open(f, &setup);
        if (allot_byte_find(names[i], &ops)) {
            snprintf(words, sizeof(words), "%s:3: allocator: '%s' is not built in", f->config,
                     names[i]);
            expect_refusal(f, 2, words);
        } else if (missing()) {
            expect_refusal(f, 1, missing());
        } else {
            expect_service(f, names[i]);
        }
        fixture_close(f);
    }
}

static void test_selection__default(void **state)
{
    static const struct fixture_setup setup = {.config = ""};
    struct fixture *f = *state;
    const struct allot_byte_ops *ops;

    fixture_open(f, &setup);
    if (missing())
        expect_refusal(f, 1, missing());
    else if (!allot_byte_find(NULL, &ops))
        expect_service(f, ops->name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_selection__what_is_asked_for),
        fixture_test_bare(test_selection__default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
