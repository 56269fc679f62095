/* SPDX-License-Identifier: MIT */
/* A grower for tests of the local heap. */
#ifndef ALLOT_TEST_PICKY_H
#define ALLOT_TEST_PICKY_H

#include <stdbool.h>
#include <stdint.h>

#include <allot/local.h>

/* The raw grower, but for what it is told to refuse. It counts what is out, and what it is asked to
 * discard. */
struct picky {
    struct allot_grower base;
    uint64_t out;
    uint64_t limit;      /* of what may be out; 0: none */
    unsigned refuse_nth; /* of the calls of grow() and resize() from now on, once; 0: none */
    bool refused;
    bool refuse_shrink, refuse_discard;
    unsigned discards;
};

static struct picky *picky(struct allot_grower *g)
{
    return (struct picky *)g;
}

static bool refuses(struct picky *p, uint64_t more)
{
    bool now = (p->refuse_nth && --p->refuse_nth == 0) || (p->limit && p->out + more > p->limit);

    p->refused |= now;
    return now;
}

static int picky_grow(struct allot_grower *g, uint64_t size, uint64_t align, uint64_t *ret)
{
    int err = refuses(picky(g), size)
                  ? ALLOT_E_NO_MEMORY
                  : allot_grower_raw.ops->grow(&allot_grower_raw, size, align, ret);

    picky(g)->out += err ? 0 : size;
    return err;
}

static int picky_shrink(struct allot_grower *g, uint64_t start, uint64_t size)
{
    int err = picky(g)->refuse_shrink
                  ? ALLOT_E_NO_MEMORY
                  : allot_grower_raw.ops->shrink(&allot_grower_raw, start, size);

    picky(g)->out -= err ? 0 : size;
    return err;
}

static int picky_resize(struct allot_grower *g, uint64_t start, uint64_t size, uint64_t new_size,
                        uint64_t *ret)
{
    int err = refuses(picky(g), 0)
                  ? ALLOT_E_NO_MEMORY
                  : allot_grower_raw.ops->resize(&allot_grower_raw, start, size, new_size, ret);

    picky(g)->out += err ? 0 : new_size - size;
    return err;
}

static int picky_discard(struct allot_grower *g, uint64_t start, uint64_t size)
{
    picky(g)->discards++;
    return picky(g)->refuse_discard ? ALLOT_E_NO_MEMORY
                                    : allot_grower_raw.ops->discard(&allot_grower_raw, start, size);
}

static const struct allot_grower_ops picky_ops = {
    .name = "picky",
    .granule = ALLOT_GROWER_GRANULE,
    .grow = picky_grow,
    .shrink = picky_shrink,
    .resize = picky_resize,
    .discard = picky_discard,
};

#endif
