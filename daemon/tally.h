/* SPDX-License-Identifier: MIT */
/*
 * Sums per 32-bit key (a tag, a user): what is live under it. A key with nothing live is not there.
 * Locks: the owner's.
 */
#ifndef ALLOTD_TALLY_H
#define ALLOTD_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tally_entry {
    uint32_t key;
    uint32_t allocations; /* 0: the place is empty */
    uint64_t bytes;
    uint64_t ids;
};

struct tally {
    struct tally_entry *entries;
    size_t capacity; /* a power of two */
    size_t count;
    uint64_t secret; /* of where a key lies */
};

int tally_init(struct tally *t); /* 0 or -errno */
void tally_deinit(struct tally *t);

bool tally_grow(struct tally *t); /* twice as large; false without memory */

/* Makes sure that one more key has a place. False without memory. */
static inline bool tally_reserve(struct tally *t)
{
    return t->count < t->capacity / 4 * 3 || tally_grow(t);
}

/* One allocation more; the key has a place, by tally_reserve() or because it is there. */
void tally_add(struct tally *t, uint32_t key, uint64_t bytes, uint64_t ids);
/* One allocation or more under one key, which has a place likewise. */
void tally_join(struct tally *t, const struct tally_entry *more);
/* One allocation less; these very bytes and IDs were added. */
void tally_remove(struct tally *t, uint32_t key, uint64_t bytes, uint64_t ids);
/* The bytes of an allocation have changed. */
void tally_resize(struct tally *t, uint32_t key, uint64_t old_bytes, uint64_t new_bytes);
/* All zero where the key is not there. */
struct tally_entry tally_get(const struct tally *t, uint32_t key);
/* The `max` lowest keys that are `from` or above, in rising order; how many there are. O(n log
 * max). */
size_t tally_list(const struct tally *t, uint64_t from, struct tally_entry *ret, size_t max);

#endif
