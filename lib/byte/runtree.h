/* SPDX-License-Identifier: MIT */
/*
 * The run tree: all runs of [0, 2^63) in address order, for first fit.
 *
 * A B+-tree whose leaves hold nothing but where each run starts, counted from where the leaf does,
 * with the run's state in the low bits: a run ends where the next one starts, so neighbours are one
 * word apart and a run costs 4 bytes. All runs of a leaf start within RUNTREE_SPAN; one that starts
 * farther off has a leaf of its own. Inner nodes carry for each child where it starts and the
 * largest free run below it (the "largest value in the subtree" augmentation of T. Cormen et al.,
 * "Introduction to Algorithms", chapter 14), so the lowest run that holds a size is one descent
 * away.
 *
 * What nobody manages is a run too, a gap, so that there is no empty tree and no first range.
 *
 * Nodes lie in one growable array and name each other by index, since the provider may move it.
 */
#ifndef ALLOT_BYTE_RUNTREE_H
#define ALLOT_BYTE_RUNTREE_H

#include <stdbool.h>
#include <stdint.h>

#include <allot/meta.h>

#define RUN_GRANULE 16u
#define RUN_END     (UINT64_C(1) << 63) /* of all positions */
#define RUN_STATE   3u
#define RUN_UNIT    (RUN_GRANULE / (RUN_STATE + 1)) /* of a word, whose low bits are the state */

/* Of the states of runs, only free is even. */
enum run_state { RUN_FREE = 0, RUN_USED = 1, RUN_NONE = 2, RUN_GAP = 3 };

/* Half a kilobyte a node: eight cache lines, of which a search touches two or three. */
#define RUNTREE_NODE_BYTES 512u
#define RUNTREE_LEAF_MAX   ((RUNTREE_NODE_BYTES - 20) / 4)
#define RUNTREE_INNER_MAX  ((RUNTREE_NODE_BYTES - 8) / 20)
#define RUNTREE_LEVELS     22u
#define RUNTREE_NONE       UINT32_MAX
#define RUNTREE_SPAN       ((UINT64_C(1) << 32) * RUN_UNIT)

struct runtree_leaf {
    uint64_t start; /* of the first run */
    uint64_t end;   /* of the last run */
    uint32_t count;
    uint32_t at[RUNTREE_LEAF_MAX]; /* run_word()s, less the leaf's start */
};

struct runtree_inner {
    uint32_t count;
    uint32_t child[RUNTREE_INNER_MAX];
    uint64_t start[RUNTREE_INNER_MAX];
    uint64_t largest[RUNTREE_INNER_MAX];
};

union runtree_node {
    uint32_t spare; /* the next spare node */
    struct runtree_leaf leaf;
    struct runtree_inner inner;
};

struct runtree {
    struct allot_meta meta;
    union runtree_node *at;
    uint32_t capacity; /* of at[] */
    uint32_t top;      /* at[top…] were never taken */
    uint32_t spare;    /* chain of nodes that were given back */
    uint32_t taken;
    uint32_t root;
    uint32_t height;  /* levels above the leaves */
    uint64_t largest; /* free run */
};

/* The way from the root to a run: level 0 is the leaf, and its slot the run. */
struct runtree_path {
    uint32_t node[RUNTREE_LEVELS];
    uint32_t slot[RUNTREE_LEVELS];
};

struct run {
    uint64_t start;
    uint64_t end;
    enum run_state state;
};

static inline uint64_t run_word(uint64_t start, enum run_state state)
{
    return start / RUN_UNIT | state;
}

static inline enum run_state run_state(uint32_t word)
{
    return (enum run_state)(word & RUN_STATE);
}

/* Where a run starts; where the last one ends if `slot` is the count. */
static inline uint64_t leaf_start(const struct runtree_leaf *leaf, uint32_t slot)
{
    if (slot == leaf->count)
        return leaf->end;
    return leaf->start + (uint64_t)(leaf->at[slot] & ~RUN_STATE) * RUN_UNIT;
}

/* In words, or more than any in one leaf. */
static inline uint32_t in_words(uint64_t bytes)
{
    return bytes < RUNTREE_SPAN ? (uint32_t)(bytes / RUN_UNIT) : UINT32_MAX;
}

/* What a free run measures in words, 0 for another; the low bits are the next run's state. One
 * branch less: which run is free, no branch prediction knows. */
static inline uint32_t free_words(uint32_t word, uint32_t next)
{
    return (next - word) & ((word & 1) - 1);
}

bool runtree_init(struct runtree *t, const struct allot_meta *meta);
void runtree_deinit(struct runtree *t);
/* One gap again; gives memory back down to what runtree_init() took. */
void runtree_reset(struct runtree *t);

/* Room for `changes` calls of runtree_set(). */
bool runtree_reserve(struct runtree *t, uint32_t changes);

/* The run that contains `pos`, below 2^63. */
void runtree_locate(const struct runtree *t, uint64_t pos, struct runtree_path *path);

/* The lowest free run that holds `size` at a multiple of `align`. False if there is none. */
bool runtree_first_fit(const struct runtree *t, uint64_t size, uint64_t align,
                       struct runtree_path *path);

/* What the path leads to. */
static inline struct run runtree_run(const struct runtree *t, const struct runtree_path *path)
{
    const struct runtree_leaf *leaf = &t->at[path->node[0]].leaf;
    uint32_t slot = path->slot[0];

    return (struct run){leaf_start(leaf, slot), leaf_start(leaf, slot + 1),
                        run_state(leaf->at[slot])};
}

/*
 * Gives [start, end), inside the run that the path leads to, another state. Free runs and gaps
 * become one with their like on either side; a used part becomes one with the used run below it if
 * `join`. Only a call that makes more runs than there were needs room, so never one that frees a
 * whole run. The path is spent.
 */
void runtree_set(struct runtree *t, struct runtree_path *path, uint64_t start, uint64_t end,
                 enum run_state state, bool join);

#endif
