/* SPDX-License-Identifier: MIT */
/*
 * The world of the operations that are stepped through: a ledger with one pool, in which something
 * of every kind is live, held by two sessions and by names.
 */
#ifndef ALLOT_TEST_WORLD_H
#define ALLOT_TEST_WORLD_H

#include "image.h"
#include "pool.h"

#define PAGE   4096u
#define REGION (256ull * PAGE)
#define NUMBER 297u /* of the operation under test */
#define LIVE   7u   /* allocations before it */

/* Of these: frozen, and held by the name "left alone" only; held by both sessions, and by the name
 * "mine"; held by OTHER, and by the name "held". The rest is SLOT's. */
enum { PUBLISHED = 0, SHARED = 4, FOREIGN = 6 };

/* What the operation under test is, and what it finds. */
struct scenario {
    const char *title;
    Allot__Op op;
    uint64_t size;
    uint64_t align;
    unsigned target; /* index of a live allocation; NO_TARGET: none */
    uint64_t position;
    uint64_t generation;
    const char *name;
    bool replace;
    unsigned receiver;  /* the slot, for a parcel */
    bool sent;          /* the other session has sent it to this one */
    Allot__Error error; /* it is refused for this */
};

#define NO_TARGET LIVE

struct world {
    struct ledger ledger;
    struct pool pool;
    int region;
    struct {
        uint64_t position;
        uint64_t generation;
    } grants[LIVE];
};

void world_make(struct world *w);
void world_close(struct world *w);

/* A world that shares nothing with `w` but the region; its pool is not open. */
void world_copy(struct world *copy, const struct world *w);

/* The slot's operation; carried out as the service does it; and so, where it must succeed. */
struct pool_operation world_operation(const struct world *w, unsigned slot,
                                      const struct scenario *s, uint64_t number);
void world_carry_out(struct world *w, struct pool_operation *o, uint64_t number);
struct pool_operation world_do(struct world *w, unsigned slot, const struct scenario *s,
                               uint64_t number);

/* Fills in of `s` where its target lies. */
void world_aim(const struct world *w, struct scenario *s);
/* OTHER sends the target to SLOT. */
void world_send(struct world *w, unsigned target);

/* One number that two states share only if as much is live, of the same kinds and sizes, held by
 * the same sessions and names, and frozen or not. Where it lies may differ: a rebuilt heap has
 * other pages than one that has grown. */
uint64_t world_digest(const struct world *w);

/* What a restart does with the ledger, up to the pool, which is open then. Settling the journal is
 * all that writes to it; that opening the pool only reads is checked here, so that stepping through
 * the first half is enough. */
bool world_recover(struct world *w);

/* Steps through `act`; `look` sees the ledger after each instruction that changed it, and after
 * each `every`-th, unless that is 0. How many instructions there were. */
unsigned long world_step(struct world *w, void (*act)(void *world, void *arg), void *arg,
                         void (*look)(void *ctx, const unsigned char *image), void *ctx,
                         unsigned every);

#endif
