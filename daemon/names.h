/* SPDX-License-Identifier: MIT */
/*
 * The names of one pool: which there are, in order, and who published them. Everything here is
 * under the pool's lock, except names_grow_file().
 */
#ifndef ALLOTD_NAMES_H
#define ALLOTD_NAMES_H

#include "ledger.h"
#include "tally.h"

/* What a name must be on the wire: see allot.proto. */
bool names_is_name(const char *name);

/* A change of the pool's names, as the log has it. */
struct names_change {
    uint64_t sequence;
    bool gone;
    bool replaced;
    char name[CODEC_NAME_MAX + 1];
};

/* Changes that are remembered for those who watch: 88 KiB a pool. Who is further behind is told the
 * state anew. */
#define NAMES_LOG 1024u

struct names {
    const struct ledger *ledger;
    unsigned pool;
    struct ledger_pool *info;
    struct ledger_name *name;
    uint32_t committed;   /* names that have memory */
    uint16_t *order;      /* the live ones, by name */
    uint32_t live;        /* of these */
    uint32_t *references; /* of each live one its reference's index */
    uint16_t *free;       /* a stack of the others that were used once */
    uint32_t n_free;
    struct tally users;       /* how many each has */
    struct names_change *log; /* NAMES_LOG, by sequence, in turn */
};

#define NAMES_NONE UINT32_MAX

/* Opens a pool's names and derives the indexes from the references that are theirs: below
 * info->references_top. 0; -ENOMEM; -EBADMSG where they contradict themselves (the log says how).
 */
int names_open(struct names *n, const struct ledger *ledger, unsigned pool);
void names_close(struct names *n);

/* True where none is left without names_grow_file(), which may block and is called outside the
 * pool's lock, by one thread at a time. 0 or -errno. */
bool names_low(const struct names *n);
int names_grow_file(const struct names *n, uint32_t *ret_committed);

/* The live name, or NAMES_NONE. */
uint32_t names_find(const struct names *n, const char *name);

/* Fills in a free name, which stays free until names_add(); it takes up the pool's next sequence
 * number. False where none is left. */
bool names_reserve(struct names *n, const char *name, uint32_t uid, uint32_t gid,
                   uint32_t *ret_index);

/* The reference was stored that makes the reserved name live. */
void names_add(struct names *n, uint32_t index, uint32_t reference);
/* It is live in place of `old`, its namesake. */
void names_replace(struct names *n, uint32_t old, uint32_t index);
/* The name's reference is gone. */
void names_remove(struct names *n, uint32_t index);

/* What the change of that number was; NULL where it was none, or is not remembered. */
const struct names_change *names_change(const struct names *n, uint64_t sequence);

/* How many of the user's there are. */
uint32_t names_of_user(const struct names *n, uint32_t uid);

/* The place in n->order of the first name that is after `after` and begins with `prefix`; those
 * that follow do so too, or none does. n->live where there is none. */
uint32_t names_after(const struct names *n, const char *prefix, const char *after);
bool names_has_prefix(const struct names *n, uint32_t at, const char *prefix);

/* Recounts the indexes against the ledger's references. What is wrong, or NULL. */
const char *names_check(const struct names *n);

/* The daemon's memory behind them, the ledger's part included. */
uint64_t names_bytes(const struct names *n);

#endif
