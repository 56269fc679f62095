/* SPDX-License-Identifier: MIT */
/*
 * Nodes: their memory.
 *
 * Small arrays double, so that a young allocator grows in few steps; large ones grow by a twelfth,
 * so that what is not yet needed stays small beside 24 bytes a block. A provider that can remap
 * pages makes those steps free of copying.
 *
 * Limit: an index has 32 bits, and so has the number of buckets, two a block: 2^31 blocks.
 */
#include "nodes.h"
#include "check.h"

#define NODES_FIRST    NODES_GROUP
#define NODES_DOUBLING 4096u

static bool resize(struct nodes *n, void **array, uint32_t *capacity, uint32_t want, size_t each)
{
    size_t bytes;
    void *fresh;

    if (__builtin_mul_overflow((size_t)want, each, &bytes))
        return false;
    fresh = n->meta.resize(n->meta.ctx, *array, *capacity * each, bytes);
    if (!fresh)
        return false;
    *array = fresh;
    *capacity = want;
    return true;
}

static bool resize_nodes(struct nodes *n, uint32_t want)
{
    void *array = n->at;
    bool done = resize(n, &array, &n->capacity, want, sizeof(struct node));

    n->at = array;
    n->room = nodes_in(n->capacity);
    return done;
}

static bool resize_buckets(struct nodes *n, uint32_t want)
{
    void *array = n->bucket;
    bool done = resize(n, &array, &n->bucket_capacity, want, sizeof(uint32_t));

    n->bucket = array;
    return done;
}

static uint32_t larger(uint32_t capacity)
{
    uint32_t more = capacity < NODES_DOUBLING ? capacity : capacity / 12;

    return more > UINT32_MAX - capacity ? UINT32_MAX : capacity + more;
}

void nodes_forget(struct nodes *n)
{
    n->at[0] = (struct node){0};
    n->top = 1;
    n->taken = 1;
    n->spare = 0;
    n->at_hand = 0;
    n->used = 0;
    n->bucket[0] = 0;
    n->bucket[1] = 0;
    n->buckets = 2;
    n->mask = 1;
    n->half = 0;
}

bool nodes_init(struct nodes *n, const struct allot_meta *meta)
{
    *n = (struct nodes){.meta = *meta};
    if (!resize_nodes(n, NODES_FIRST) || !resize_buckets(n, 2 * NODES_FIRST)) {
        nodes_deinit(n);
        return false;
    }
    nodes_forget(n);
    return true;
}

void nodes_deinit(struct nodes *n)
{
    if (n->at)
        n->meta.resize(n->meta.ctx, n->at, n->capacity * sizeof(struct node), 0);
    if (n->bucket)
        n->meta.resize(n->meta.ctx, n->bucket, n->bucket_capacity * sizeof(uint32_t), 0);
    n->at = NULL;
    n->bucket = NULL;
}

void nodes_reset(struct nodes *n)
{
    /* A provider that refuses to shrink leaves the array as it was, which is as good. */
    if (n->capacity > NODES_FIRST)
        (void)resize_nodes(n, NODES_FIRST);
    if (n->bucket_capacity > 2 * NODES_FIRST)
        (void)resize_buckets(n, 2 * NODES_FIRST);
    nodes_forget(n);
}

void nodes_expect(struct nodes *n, uint32_t blocks)
{
    uint32_t most = n->bucket_capacity / 2, buckets = 2 * (blocks < most ? blocks : most);

    if (n->used || buckets <= n->buckets) {
        nodes_spread(n, blocks);
        return;
    }
    for (uint32_t i = n->buckets; i < buckets; i++)
        n->bucket[i] = 0;
    n->buckets = buckets;
    n->mask = UINT32_MAX >> __builtin_clz(buckets - 1);
    n->half = n->mask >> 1;
}

bool nodes_grow(struct nodes *n, uint32_t count)
{
    uint32_t want = n->capacity, buckets = n->bucket_capacity;

    while (nodes_in(want) - n->taken < count) {
        if (want == UINT32_MAX)
            return false;
        want = larger(want);
    }
    while (buckets / 2 - n->used < count) {
        if (buckets == UINT32_MAX)
            return false;
        buckets = larger(buckets);
    }
    return (want == n->capacity || resize_nodes(n, want)) &&
           (buckets == n->bucket_capacity || resize_buckets(n, buckets));
}

static int check_spare(const struct nodes *n)
{
    uint32_t groups = 0, listed = 0, spare = 0;

    CHECK(n->at[0].next == 0 && n->top <= n->capacity && n->room == nodes_in(n->capacity));
    for (uint32_t first = 0; first < n->top; first += NODES_GROUP) {
        groups += n->at[first].pos != 0;
        for (uint64_t bits = n->at[first].pos; bits; bits &= bits - 1, spare++) {
            uint32_t i = first + (uint32_t)__builtin_ctzll(bits);

            CHECK(i != first && i < n->top && node_state(&n->at[i]) == NODE_SPARE);
        }
    }
    for (uint32_t k = 0; k < n->at_hand; k++, spare++) {
        uint32_t i = n->hand[k], bit = i % NODES_GROUP;

        CHECK(bit && i < n->top && node_state(&n->at[i]) == NODE_SPARE);
        CHECK(!(n->at[i - bit].pos >> bit & 1));
    }
    CHECK(spare == n->top - (n->top - 1) / NODES_GROUP - n->taken);
    for (uint32_t i = n->spare; i; i = n->at[i - 1].link[1])
        CHECK(i <= n->top && i % NODES_GROUP == 1 && n->at[i - 1].pos && ++listed <= groups);
    CHECK(listed == groups);
    return 0;
}

int nodes_check(const struct nodes *n)
{
    uint32_t chained = 0;
    int line = check_spare(n);

    if (line)
        return line;
    CHECK(n->buckets <= n->bucket_capacity && n->buckets >= 2 * n->used);
    CHECK(n->half == n->mask >> 1 && n->buckets > n->half && n->buckets - 1 <= n->mask);
    for (uint32_t b = 0; b < n->buckets; b++) {
        for (uint32_t i = n->bucket[b]; i; i = n->at[i].link[0]) {
            CHECK(i < n->top && nodes_bucket(n, n->at[i].pos) == &n->bucket[b]);
            CHECK(++chained <= n->used);
        }
    }
    CHECK(chained == n->used);
    return 0;
}
