/* SPDX-License-Identifier: MIT */
/*
 * Buddy: the recount of every invariant, and the list of all blocks. Both walk the whole tree of
 * pairs, at most 60 deep, and change nothing. Free blocks that touch without being buddies are told
 * one by one.
 */
#include "buddy.h"
#include "check.h"

struct tally {
    uint64_t used;
    uint64_t free;
    uint32_t pairs;
    uint32_t lists; /* free halves */
};

static int check_pair(const struct buddy *d, uint32_t i, struct tally *tally)
{
    const struct node *at = d->nodes.at, *pair = &at[i];
    uint32_t low = d->half[i][0], high = d->half[i][1];
    unsigned order = buddy_order(pair);

    CHECK(++tally->pairs < d->nodes.taken && *nodes_find(&d->nodes, pair->pos) == i);
    CHECK(low != high || low == BUDDY_USED);
    CHECK(low != BUDDY_WALL && (high == BUDDY_WALL) == (i == BUDDY_ROOT));
    for (unsigned side = 0; side < 2; side++) {
        uint32_t half = d->half[i][side];
        uint64_t size = UINT64_C(1) << order;

        if (half == BUDDY_USED) {
            tally->used += size;
        } else if (half == BUDDY_FREE) {
            uint32_t prev = pair->prev;

            tally->free += size;
            tally->lists++;
            CHECK((prev ? at[prev].next : d->head[order]) == i);
            CHECK(!pair->next || at[pair->next].prev == i);
        } else if (half != BUDDY_ABSENT && half != BUDDY_WALL) {
            uint64_t start = pair->pos - (side ? 0 : size);
            int line;

            CHECK(half < d->nodes.top && order > BUDDY_ORDER_MIN && at[half].link[1] == i);
            CHECK(at[half].pos == start + size / 2);
            line = check_pair(d, half, tally);
            if (line)
                return line;
        }
    }
    return 0;
}

static int check_lists(const struct buddy *d, uint32_t free_halves)
{
    const struct node *at = d->nodes.at;
    uint32_t count = 0;

    for (unsigned order = 0; order <= BUDDY_ORDER_MAX; order++) {
        CHECK((d->orders >> order & 1) == (d->head[order] != 0));
        for (uint32_t i = d->head[order]; i; i = at[i].next) {
            CHECK(i < d->nodes.top && buddy_order(&at[i]) == order && ++count <= free_halves);
            CHECK(d->half[i][0] == BUDDY_FREE || d->half[i][1] == BUDDY_FREE);
        }
    }
    CHECK(count == free_halves);
    return 0;
}

int buddy_check(const struct allot_byte *b)
{
    const struct buddy *d = (const struct buddy *)(const void *)b;
    struct tally tally = {0};
    int line = nodes_check(&d->nodes); /* first: a lookup trusts the chains */

    if (!line)
        line = check_pair(d, BUDDY_ROOT, &tally);
    if (line)
        return line;
    CHECK(d->used == tally.used && d->total == tally.used + tally.free);
    line = check_lists(d, tally.lists);
    if (line)
        return line;
    CHECK(d->half[0][0] == BUDDY_ABSENT && d->half[0][1] == BUDDY_ABSENT);
    CHECK(d->half_capacity >= d->nodes.top);
    CHECK(d->nodes.taken == 1 + tally.pairs && d->nodes.used == tally.pairs);
    return 0;
}

static void dump_pair(const struct buddy *d, uint32_t i, allot_visit_fn *visit, void *ctx)
{
    const struct node *pair = &d->nodes.at[i];
    uint64_t size = UINT64_C(1) << buddy_order(pair);

    for (unsigned side = 0; side < 2; side++) {
        uint32_t half = d->half[i][side];
        uint64_t start = pair->pos - (side ? 0 : size);

        if (half == BUDDY_USED)
            visit(ctx, start, size, ALLOT_RUN_USED);
        else if (half == BUDDY_FREE)
            visit(ctx, start, size, ALLOT_RUN_FREE);
        else if (half != BUDDY_ABSENT && half != BUDDY_WALL)
            dump_pair(d, half, visit, ctx);
    }
}

int buddy_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx)
{
    dump_pair((const struct buddy *)(const void *)b, BUDDY_ROOT, visit, ctx);
    return 0;
}
