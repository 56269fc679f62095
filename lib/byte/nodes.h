/* SPDX-License-Identifier: MIT */
/*
 * Nodes: what a byte allocator keeps about each run of the memory that it manages.
 *
 * One growable array of 24-byte nodes, named by their index, since the provider may move the array;
 * 0 names nobody. A node is a used block, a free run, the header of a managed range, or spare. The
 * runs of a range form a ring through their range's header, in address order, so that a neighbour
 * is one step away and the header, never free, stops every merge. No node has a size: a run ends
 * where the next one starts, and the last where the header says, whose position is the range's end.
 *
 * The nodes lie in groups of 64. The first of a group is no node: its `pos` tells which of the
 * others are spare, and link[1] chains the groups that have one. They are taken in rising order, so
 * that what is allocated in a row lies in a row, in whatever order it was freed before: neighbours
 * often share a cache line. A few that were given back are at hand, which is a shorter way where
 * blocks come and go. at[0] also stands for nobody.
 *
 * Used blocks are also found by position: linear hashing (W. Litwin, VLDB 1980) with two 4-byte
 * buckets a block, so that the table grows by a few buckets at a time and nothing ever stalls to
 * rehash. It does not contract.
 *
 * Invariant: taking a node and adding a block never fail after nodes_reserve(). Giving back never
 * needs memory.
 */
#ifndef ALLOT_BYTE_NODES_H
#define ALLOT_BYTE_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include <allot/align.h>
#include <allot/meta.h>

/* The unit of positions and sizes; the low bits that it leaves in a position hold the node's state.
 */
#define NODE_GRANULE 16u
#define NODE_STATE   15u

#define NODES_GROUP 64u
#define NODES_HAND  32u

enum node_state { NODE_USED = 0, NODE_FREE = 1, NODE_RANGE = 2, NODE_SPARE = 4 };

struct node {
    uint64_t pos;  /* and the state in the low bits */
    uint32_t prev; /* neighbours in address order; the range header closes the ring */
    uint32_t next;
    /* used: [0] hash chain; free: list, trie or tree links; range: tree links */
    uint32_t link[2];
};

struct nodes {
    struct allot_meta meta;
    struct node *at;
    uint32_t *bucket;
    uint32_t capacity; /* of at[] */
    uint32_t room;     /* nodes in it, at[0] included */
    uint32_t top;      /* at[top…] were never taken */
    uint32_t spare;    /* 1 + the first of a group that has a spare node; 0 where none has */
    uint32_t at_hand;
    uint32_t hand[NODES_HAND]; /* spare nodes that no group tells of */
    uint32_t taken;            /* nodes that are not spare, at[0] included */
    uint32_t used;             /* blocks in the hash */
    uint32_t buckets;
    uint32_t bucket_capacity;
    uint32_t mask; /* 2^k - 1 >= buckets - 1, the smallest */
    uint32_t half; /* mask / 2 */
};

bool nodes_init(struct nodes *n, const struct allot_meta *meta);
void nodes_deinit(struct nodes *n);
/* Forgets all nodes and keeps their memory. */
void nodes_forget(struct nodes *n);
/* Forgets all nodes and gives back memory down to what nodes_init() took. */
void nodes_reset(struct nodes *n);
bool nodes_grow(struct nodes *n, uint32_t count);
/* The buckets for so many more blocks, as far as there is memory. */
void nodes_expect(struct nodes *n, uint32_t blocks);
/* Recounts spare nodes and buckets. 0, or the line of the check that failed. */
int nodes_check(const struct nodes *n);

/* So many nodes are in an array of `capacity`, at[0] included. */
static inline uint32_t nodes_in(uint32_t capacity)
{
    return capacity - (capacity - 1) / NODES_GROUP;
}

/* For so many more nodes there is room, each of which may be a block. */
static inline uint32_t nodes_room(const struct nodes *n)
{
    uint32_t nodes = n->room - n->taken, blocks = n->bucket_capacity / 2 - n->used;

    return nodes < blocks ? nodes : blocks;
}

/* Room for `count` more nodes, each of which may be a block. */
static inline bool nodes_reserve(struct nodes *n, uint32_t count)
{
    return __builtin_expect(nodes_room(n) >= count, 1) || nodes_grow(n, count);
}

static inline uint64_t nodes_metadata_bytes(const struct nodes *n)
{
    return (uint64_t)n->capacity * sizeof(struct node) +
           (uint64_t)n->bucket_capacity * sizeof(uint32_t);
}

static inline uint64_t node_pos(const struct node *node)
{
    return node->pos & ~(uint64_t)NODE_STATE;
}

static inline enum node_state node_state(const struct node *node)
{
    return (enum node_state)(node->pos & NODE_STATE);
}

static inline bool node_is_free(const struct node *node)
{
    return node->pos & NODE_FREE;
}

/* Where the run ends, and how large it is. at[0] has a size of 0. */
static inline uint64_t node_end(const struct node *at, uint32_t i)
{
    return node_pos(&at[at[i].next]);
}

static inline uint64_t node_size(const struct node *at, uint32_t i)
{
    return node_end(at, i) - node_pos(&at[i]);
}

static inline uint32_t nodes_take(struct nodes *n)
{
    n->taken++;
    if (n->at_hand)
        return n->hand[--n->at_hand];
    if (n->spare) {
        uint32_t first = n->spare - 1;
        uint64_t spare = n->at[first].pos;

        n->at[first].pos = spare & (spare - 1);
        if (!n->at[first].pos)
            n->spare = n->at[first].link[1];
        return first + (uint32_t)__builtin_ctzll(spare);
    }
    if (n->top % NODES_GROUP == 0)
        n->at[n->top++] = (struct node){0};
    return n->top++;
}

static inline void nodes_give(struct nodes *n, uint32_t i)
{
    uint32_t first = i - i % NODES_GROUP;

    n->at[i].pos = NODE_SPARE;
    n->taken--;
    if (n->at_hand < NODES_HAND) {
        n->hand[n->at_hand++] = i;
        return;
    }
    if (!n->at[first].pos) {
        n->at[first].link[1] = n->spare;
        n->spare = 1 + first;
    }
    n->at[first].pos |= UINT64_C(1) << (i % NODES_GROUP);
}

static inline void node_link_before(struct node *at, uint32_t i, uint32_t fresh)
{
    uint32_t prev = at[i].prev;

    at[fresh].prev = prev;
    at[fresh].next = i;
    at[prev].next = fresh;
    at[i].prev = fresh;
}

static inline void node_link_after(struct node *at, uint32_t i, uint32_t fresh)
{
    uint32_t next = at[i].next;

    at[fresh].prev = i;
    at[fresh].next = next;
    at[next].prev = fresh;
    at[i].next = fresh;
}

static inline void node_unlink(struct node *at, uint32_t i)
{
    at[at[i].prev].next = at[i].next;
    at[at[i].next].prev = at[i].prev;
}

/* Scatters an index: a bijection (the 32-bit finalizer of MurmurHash3), so that what it orders or
 * branches by is as good as random and never equal for two nodes. */
static inline uint32_t node_scatter(uint32_t i)
{
    i ^= i >> 16;
    i *= 0x85ebca6bu;
    i ^= i >> 13;
    i *= 0xc2b2ae35u;
    i ^= i >> 16;
    return i;
}

/* Multiplicative (D. Knuth, TAOCP 6.4), by a factor so small that what lies side by side has
 * buckets side by side: 16 bytes are 1.2 buckets. It was searched for: of blocks of one size in a
 * row, over 43 usual sizes and 10 numbers of blocks, 0.11 others stand before each in its bucket,
 * where by chance it would be 0.27. Over steps at random it is 0.24, and 17 in the worst of 1,500.
 */
static inline uint32_t nodes_hash(uint64_t pos)
{
    return (uint32_t)((pos * 0x1359852C5u) >> 36);
}

static inline uint32_t *nodes_bucket(const struct nodes *n, uint64_t pos)
{
    uint32_t b = nodes_hash(pos) & n->mask;

    /* What is not yet split off is in the bucket without the top bit. No branch: it is as good as
     * random. */
    return &n->bucket[b & (n->half | (0u - (b < n->buckets)))];
}

/* The link that names the block at `pos`, or the 0 that ends its chain. */
static inline uint32_t *nodes_find(const struct nodes *n, uint64_t pos)
{
    uint32_t *link = nodes_bucket(n, pos);

    while (*link && n->at[*link].pos != pos)
        link = &n->at[*link].link[0];
    return link;
}

static inline void nodes_split_bucket(struct nodes *n)
{
    uint32_t fresh = n->buckets, *from, *to;

    if (fresh > n->mask) {
        n->half = n->mask;
        n->mask = 2 * n->mask + 1;
    }
    from = &n->bucket[fresh & n->half];
    to = &n->bucket[fresh];
    n->buckets++;
    for (uint32_t i = *from; i; i = n->at[i].link[0]) {
        if ((nodes_hash(n->at[i].pos) & n->mask) == fresh) {
            *to = i;
            to = &n->at[i].link[0];
        } else {
            *from = i;
            from = &n->at[i].link[0];
        }
    }
    *from = 0;
    *to = 0;
}

/* Splits buckets until there are two for each block and for `ahead` more, or no memory for more. */
static inline void nodes_spread(struct nodes *n, uint32_t ahead)
{
    while (n->buckets < 2 * (n->used + ahead) && n->buckets < n->bucket_capacity)
        nodes_split_bucket(n);
}

/* As nodes_add_block(), after nodes_spread(). `pos` is the node's. */
static inline void nodes_link_block(struct nodes *n, uint32_t i, uint64_t pos)
{
    uint32_t *bucket = nodes_bucket(n, pos);

    n->used++;
    n->at[i].link[0] = *bucket;
    *bucket = i;
}

static inline void nodes_add_block(struct nodes *n, uint32_t i)
{
    nodes_spread(n, 1);
    nodes_link_block(n, i, n->at[i].pos);
}

/* `link`, which names `i`, as from nodes_find(). */
static inline void nodes_drop_block(struct nodes *n, uint32_t *link, uint32_t i)
{
    *link = n->at[i].link[0];
    n->used--;
}

#endif
