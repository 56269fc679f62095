/* SPDX-License-Identifier: MIT */
/*
 * What the unit tests of lib/ share: a seeded generator and a metadata provider that counts, fails
 * on purpose and moves whatever it can, so that a kept pointer shows under a sanitizer.
 *
 * A run is replayed by setting ALLOT_SEED to the number that a failing test printed.
 */
#ifndef ALLOT_TEST_SUPPORT_H
#define ALLOT_TEST_SUPPORT_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <allot/meta.h>

/* xorshift64*: S. Vigna, "An experimental exploration of Marsaglia's xorshift generators". Or, for
 * a fuzzer, bytes that it has chosen. */
struct test_random {
    uint64_t x; /* never 0 */
    const unsigned char *bytes;
    size_t left; /* of them */
};

static inline void test_random_init(struct test_random *r, uint64_t seed)
{
    *r = (struct test_random){.x = seed ? seed : 1};
}

/* From now on the choices are made by `size` bytes; when they are used up, for the first. */
static inline void test_random_bytes(struct test_random *r, const unsigned char *bytes, size_t size)
{
    r->bytes = bytes;
    r->left = size;
}

static inline uint64_t test_random_next(struct test_random *r)
{
    r->x ^= r->x >> 12;
    r->x ^= r->x << 25;
    r->x ^= r->x >> 27;
    return r->x * 0x2545F4914F6CDD1DULL;
}

/* 0 … bound-1; bound is not 0. The bias of the remainder does not matter here. */
static inline uint64_t test_random_below(struct test_random *r, uint64_t bound)
{
    uint64_t x = 0;

    if (!r->bytes)
        return (test_random_next(r) >> 8) % bound;
    for (uint64_t rest = bound - 1; rest && r->left; rest >>= 8, r->left--)
        x = x << 8 | *r->bytes++;
    return x % bound;
}

/* The seed of this run: ALLOT_SEED (decimal or 0x…) when set, else `fallback`. */
static inline uint64_t test_seed(uint64_t fallback)
{
    const char *text = getenv("ALLOT_SEED");

    return text && *text ? strtoull(text, NULL, 0) : fallback;
}

/* How long a random run is: `steps`, times ALLOT_STEPS where that is set. */
static inline unsigned long steps_scaled(unsigned long steps)
{
    const char *text = getenv("ALLOT_STEPS");
    unsigned long factor = text ? strtoul(text, NULL, 0) : 0;

    return factor ? steps * factor : steps;
}

/* Call when a seeded run has failed, before failing the test. */
static inline void test_seed_print(uint64_t seed)
{
    fprintf(stderr, "replay with ALLOT_SEED=0x%" PRIx64 "\n", seed);
}

/*
 * The provider. `fail_in` n: the n-th growing call from now fails, once (0: never). `fail_always`:
 * every growing call fails. `fail_shrinking`: those to less, but not to nothing. Growing always
 * moves, so the old place is poisoned at once.
 */
struct test_meta {
    struct allot_meta meta; /* what the allocator gets */
    size_t bytes;           /* held now */
    size_t bytes_peak;
    uint64_t calls; /* growing calls so far, failed ones too */
    uint64_t fail_in;
    int fail_always;
    int fail_shrinking;
    uint64_t failed;
};

static inline void *test_meta_resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    struct test_meta *m = ctx;
    void *fresh = NULL;

    if (new_size > old_size) {
        m->calls++;
        if (m->fail_always || (m->fail_in && --m->fail_in == 0)) {
            m->failed++;
            return NULL;
        }
    }
    if (m->fail_shrinking && new_size && new_size < old_size)
        return NULL;
    if (new_size) {
        fresh = malloc(new_size);
        if (!fresh)
            abort();
        memset(fresh, 0xa5, new_size);
        if (ptr)
            memcpy(fresh, ptr, old_size < new_size ? old_size : new_size);
    }
    if (ptr) {
        memset(ptr, 0x5a, old_size);
        free(ptr);
    }
    m->bytes += new_size;
    m->bytes -= old_size;
    if (m->bytes > m->bytes_peak)
        m->bytes_peak = m->bytes;
    return fresh;
}

/* `m` must not move while the allocator lives. */
static inline void test_meta_init(struct test_meta *m)
{
    memset(m, 0, sizeof(*m));
    m->meta.resize = test_meta_resize;
    m->meta.ctx = m;
}

#endif
