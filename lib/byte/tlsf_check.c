/* SPDX-License-Identifier: MIT */
/*
 * TLSF: the recount of every invariant, and the list of all runs. Both walk the whole of the
 * allocator and change nothing.
 */
#include "check.h"
#include "tlsf.h"
#include "tree.h"

struct tally {
    uint64_t total;
    uint64_t used;
    uint32_t ranges;
    uint32_t blocks;
    uint32_t runs; /* free ones */
};

static int check_range(const struct tlsf *t, uint32_t header, struct tally *tally)
{
    const struct node *at = t->nodes.at;
    uint64_t start, pos;
    uint32_t prev = header;
    bool after_free = false;

    CHECK(node_state(&at[header]) == NODE_RANGE);
    CHECK(at[header].next != header);
    start = pos = node_pos(&at[at[header].next]);
    for (uint32_t i = at[header].next; i != header; i = at[i].next) {
        bool is_free = node_state(&at[i]) == NODE_FREE;

        CHECK(i && i < t->nodes.top && at[i].prev == prev);
        CHECK(is_free || node_state(&at[i]) == NODE_USED);
        CHECK(at[i].next < t->nodes.top && node_end(at, i) > pos);
        CHECK(!(is_free && after_free));
        if (is_free) {
            tally->runs++;
        } else {
            tally->blocks++;
            tally->used += node_size(at, i);
            CHECK(*nodes_find(&t->nodes, pos) == i);
        }
        pos = node_end(at, i);
        after_free = is_free;
        prev = i;
    }
    CHECK(at[header].prev == prev);
    tally->total += pos - start;
    tally->ranges++;
    return 0;
}

/* Adds the nodes of the trie at `root`, whose indices have the lowest `depth` bits of `way`.
 * Recursion is at most 32 deep. */
static int check_trie(const struct tlsf *t, uint32_t root, uint32_t bin, uint32_t depth,
                      uint32_t way, uint32_t *count)
{
    const struct node *at = t->nodes.at;

    CHECK(root < t->nodes.top && node_state(&at[root]) == NODE_FREE);
    CHECK(bins_of(node_size(at, root)) == bin && root != t->top && ++*count <= t->nodes.taken);
    CHECK(!((root ^ way) & ((UINT64_C(1) << depth) - 1)));
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t child = at[root].link[side];
        int line;

        if (!child)
            continue;
        CHECK(depth < 32 && node_size(at, child) <= node_size(at, root));
        line = check_trie(t, child, bin, depth + 1, way | side << depth, count);
        if (line)
            return line;
    }
    return 0;
}

static int check_bins(const struct tlsf *t, uint32_t *count)
{
    const struct node *at = t->nodes.at;
    const struct bins *bins = &t->bins;

    CHECK(!bins->head[0]);
    for (uint32_t word = 0; word < BINS_WORDS; word++)
        CHECK(!(bins->summary[word / 64] >> (word % 64) & 1) == !bins->map[word]);
    for (uint32_t bin = 0; bin < BINS_COUNT; bin++) {
        uint32_t head = bins->head[bin], prev = 0;

        CHECK(!(bins->map[bin / 64] >> (bin % 64) & 1) == !head);
        if (bin >= BINS_EXACT) {
            int line = head ? check_trie(t, head, bin, 0, 0, count) : 0;

            if (line)
                return line;
            continue;
        }
        for (uint32_t i = head; i; prev = i, i = at[i].link[1]) {
            CHECK(i < t->nodes.top && node_state(&at[i]) == NODE_FREE && at[i].link[0] == prev);
            CHECK(bins_of(node_size(at, i)) == bin && i != t->top && ++*count <= t->nodes.taken);
        }
    }
    return 0;
}

int tlsf_check(const struct allot_byte *b)
{
    const struct tlsf *t = (const struct tlsf *)(const void *)b;
    const struct node *at = t->nodes.at;
    struct tally tally = {0};
    uint64_t end = 0;
    uint32_t indexed = 0;
    int line = nodes_check(&t->nodes); /* first: a lookup trusts the chains */

    if (line)
        return line;
    for (uint32_t i = tree_ceiling(at, t->ranges, 0); i;
         i = tree_ceiling(at, t->ranges, at[i].pos + 1)) {
        CHECK(!tally.ranges || node_pos(&at[at[i].next]) > end);
        line = check_range(t, i, &tally);
        if (line)
            return line;
        end = node_pos(&at[i]);
    }
    CHECK(tree_count(at, t->ranges) == tally.ranges);
    CHECK(t->total == tally.total && t->used == tally.used);
    CHECK(t->nodes.taken == 1 + tally.ranges + tally.blocks + tally.runs);
    CHECK(t->nodes.used == tally.blocks);
    CHECK(t->ready <= nodes_room(&t->nodes) && !(t->ready && t->by_position));
    CHECK(t->ready <= t->nodes.buckets / 2 - t->nodes.used);
    CHECK(t->top_size == node_size(at, t->top));
    if (t->by_position) {
        CHECK(!t->top);
        indexed = tree_count(at, t->runs);
        for (uint32_t bin = 0; bin < BINS_COUNT; bin++)
            CHECK(!t->bins.head[bin]);
    } else {
        CHECK(!t->runs && t->top < t->nodes.top);
        CHECK(!t->top || node_state(&at[t->top]) == NODE_FREE);
        indexed = t->top != 0;
    }
    line = check_bins(t, &indexed);
    if (line)
        return line;
    CHECK(indexed == tally.runs);
    return 0;
}

int tlsf_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx)
{
    const struct tlsf *t = (const struct tlsf *)(const void *)b;
    const struct node *at = t->nodes.at;

    for (uint32_t i = tree_ceiling(at, t->ranges, 0); i;
         i = tree_ceiling(at, t->ranges, at[i].pos + 1)) {
        for (uint32_t run = at[i].next; run != i; run = at[run].next)
            visit(ctx, node_pos(&at[run]), node_size(at, run),
                  node_state(&at[run]) == NODE_FREE ? ALLOT_RUN_FREE : ALLOT_RUN_USED);
    }
    return 0;
}
