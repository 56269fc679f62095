/* SPDX-License-Identifier: MIT */
/*
 * Slabs: the recount of every invariant, and the list of all runs. Both walk the whole of the
 * allocator and change nothing.
 */
#include "slab.h"

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what))                                                                               \
            return __LINE__;                                                                       \
    } while (0)

static int check_slab(const struct slabs *h, uint32_t s, uint64_t *filled)
{
    const struct slots *slots = &h->slots[s];
    const struct slab_class *class = &h->class[slots->class];
    uint64_t pos = h->nodes.at[s].pos, size = 0;
    uint32_t free = 0;

    CHECK(slots->class < h->class_count && ALLOT_IS_ALIGNED(pos, SLAB_SIZE));
    CHECK(h->inner->ops->usable_size(h->inner, pos, &size) == 0 && size == SLAB_SIZE);
    for (uint32_t word = 0; word < SLAB_WORDS; word++) {
        CHECK(class->slots <= 64 || !slots->map[word] == !(slots->summary >> word & 1));
        for (uint64_t bits = slots->map[word]; bits; bits &= bits - 1)
            free++;
        if (class->slots < (word + 1) * 64)
            CHECK(!(slots->map[word] >> (class->slots > word * 64 ? class->slots % 64 : 0)));
    }
    CHECK(class->slots <= 64 || SLAB_WORDS == 64 || !(slots->summary >> SLAB_WORDS % 64));
    CHECK(free == slots->free && free <= class->slots);
    CHECK(free < class->slots || h->spare == s);
    *filled += (uint64_t)(class->slots - free) * class->size;
    return 0;
}

static int check_lists(const struct slabs *h, uint32_t partial)
{
    for (uint32_t c = 0; c < h->class_count; c++) {
        uint32_t prev = 0;

        CHECK(c == 0 || h->class[c].size > h->class[c - 1].size);
        for (uint32_t i = h->class[c].partial; i; prev = i, i = h->slots[i].next) {
            CHECK((!prev || h->slots[i].prev == prev) && h->slots[i].class == c &&
                  h->slots[i].free && partial--);
        }
    }
    CHECK(!partial);
    return 0;
}

int slabs_check(const struct allot_byte *b)
{
    const struct slabs *h = (const struct slabs *)(const void *)b;
    const struct nodes *n = &h->nodes;
    uint64_t filled = 0;
    uint32_t count = 0, partial = 0, spare = 0;
    int line = h->inner->ops->check(h->inner);

    if (line)
        return line;
    CHECK(n->taken == n->used + 1 && n->buckets >= 2 * n->used);
    for (uint32_t bucket = 0; bucket < n->buckets; bucket++) {
        for (uint32_t i = n->bucket[bucket]; i; i = n->at[i].link[0]) {
            CHECK(i < n->top && i < h->slots_capacity && ++count <= n->used);
            CHECK(nodes_bucket(n, n->at[i].pos) == &n->bucket[bucket]);
            line = check_slab(h, i, &filled);
            if (line)
                return line;
            partial += h->slots[i].free != 0;
            spare |= i == h->spare;
        }
    }
    CHECK(count == n->used && filled == h->filled && (spare || !h->spare));
    return check_lists(h, partial);
}

struct dump {
    const struct slabs *h;
    allot_visit_fn *visit;
    void *ctx;
};

static void dump_slab(const struct dump *d, uint32_t s)
{
    const struct slots *slots = &d->h->slots[s];
    const struct slab_class *class = &d->h->class[slots->class];
    uint64_t base = d->h->nodes.at[s].pos, from = base;

    for (uint32_t slot = 0; slot < class->slots; slot++) {
        uint64_t pos = base + (uint64_t)slot * class->size;

        if (slots->map[slot / 64] >> (slot % 64) & 1)
            continue;
        if (from < pos)
            d->visit(d->ctx, from, pos - from, ALLOT_RUN_FREE);
        d->visit(d->ctx, pos, class->size, ALLOT_RUN_USED);
        from = pos + class->size;
    }
    if (from < base + SLAB_SIZE)
        d->visit(d->ctx, from, base + SLAB_SIZE - from, ALLOT_RUN_FREE);
}

static void dump_inner(void *ctx, unsigned long long start, unsigned long long size,
                       enum allot_run_state state)
{
    const struct dump *d = ctx;
    uint32_t s = state == ALLOT_RUN_USED ? *nodes_find(&d->h->nodes, start) : 0;

    if (s)
        dump_slab(d, s);
    else
        d->visit(d->ctx, start, size, state);
}

int slabs_dump(const struct allot_byte *b, allot_visit_fn *visit, void *ctx)
{
    const struct slabs *h = (const struct slabs *)(const void *)b;
    struct dump d = {h, visit, ctx};

    return h->inner->ops->dump(h->inner, dump_inner, &d);
}
