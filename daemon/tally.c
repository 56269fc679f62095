/* SPDX-License-Identifier: MIT */
/*
 * Sums per key: a hash table with open addressing and linear probing, at most three quarters full;
 * removal shifts back what follows (D. Knuth, TAOCP 3, 6.4, algorithm R), so there are no
 * tombstones and the table's size follows the largest number of keys that were live at once. Where
 * a key lies is a secret: who knew could choose keys that all lie in a row.
 */
#include "tally.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define TALLY_MIN 16

static size_t tally_home(const struct tally *t, uint32_t key)
{
    uint64_t hash = key * t->secret;

    return (size_t)(((hash ^ hash >> 32) * 0x9e3779b97f4a7c15ull) >> 32) & (t->capacity - 1);
}

static struct tally_entry *tally_place(const struct tally *t, uint32_t key)
{
    size_t at = tally_home(t, key);

    while (t->entries[at].allocations && t->entries[at].key != key)
        at = (at + 1) & (t->capacity - 1);
    return &t->entries[at];
}

int tally_init(struct tally *t)
{
    uint64_t secret;

    if (getrandom(&secret, sizeof(secret), 0) != sizeof(secret))
        return -errno;
    *t = (struct tally){.entries = calloc(TALLY_MIN, sizeof(*t->entries)),
                        .capacity = TALLY_MIN,
                        .secret = secret | 1};
    return t->entries ? 0 : -ENOMEM;
}

void tally_deinit(struct tally *t)
{
    free(t->entries);
    *t = (struct tally){0};
}

bool tally_grow(struct tally *t)
{
    struct tally old = *t;
    struct tally_entry *entries = calloc(t->capacity * 2, sizeof(*entries));
    if (!entries)
        return false;
    t->entries = entries;
    t->capacity *= 2;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.entries[i].allocations)
            *tally_place(t, old.entries[i].key) = old.entries[i];
    free(old.entries);
    return true;
}

void tally_join(struct tally *t, const struct tally_entry *more)
{
    struct tally_entry *e = tally_place(t, more->key);

    if (!e->allocations) {
        *e = (struct tally_entry){.key = more->key};
        t->count++;
    }
    e->allocations += more->allocations;
    e->bytes += more->bytes;
    e->ids += more->ids;
}

void tally_add(struct tally *t, uint32_t key, uint64_t bytes, uint64_t ids)
{
    tally_join(t, &(struct tally_entry){key, 1, bytes, ids});
}

static void tally_empty(struct tally *t, size_t hole)
{
    size_t mask = t->capacity - 1;

    for (size_t at = (hole + 1) & mask; t->entries[at].allocations; at = (at + 1) & mask) {
        /* An entry may move into the hole unless its home lies behind the hole. */
        if (((at - tally_home(t, t->entries[at].key)) & mask) < ((at - hole) & mask))
            continue;
        t->entries[hole] = t->entries[at];
        hole = at;
    }
    t->entries[hole] = (struct tally_entry){0};
    t->count--;
}

void tally_remove(struct tally *t, uint32_t key, uint64_t bytes, uint64_t ids)
{
    struct tally_entry *e = tally_place(t, key);

    assert(e->allocations && e->bytes >= bytes && e->ids >= ids);
    e->bytes -= bytes;
    e->ids -= ids;
    if (--e->allocations == 0)
        tally_empty(t, (size_t)(e - t->entries));
}

void tally_resize(struct tally *t, uint32_t key, uint64_t old_bytes, uint64_t new_bytes)
{
    struct tally_entry *e = tally_place(t, key);

    assert(e->allocations && e->bytes >= old_bytes);
    e->bytes = e->bytes - old_bytes + new_bytes;
}

struct tally_entry tally_get(const struct tally *t, uint32_t key)
{
    const struct tally_entry *e = tally_place(t, key);

    return e->allocations ? *e : (struct tally_entry){.key = key};
}

static void sift_down(struct tally_entry *heap, size_t count, size_t at)
{
    struct tally_entry moved = heap[at];

    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1].key > heap[child].key)
            child++;
        if (heap[child].key <= moved.key)
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static void heapify(struct tally_entry *heap, size_t count)
{
    for (size_t at = count / 2; at-- > 0;)
        sift_down(heap, count, at);
}

size_t tally_list(const struct tally *t, uint64_t from, struct tally_entry *ret, size_t max)
{
    size_t count = 0; /* ret is a heap with its highest key on top once it is full */

    for (size_t i = 0; i < t->capacity; i++) {
        const struct tally_entry *e = &t->entries[i];
        if (!e->allocations || e->key < from)
            continue;
        if (count < max) {
            ret[count++] = *e;
            if (count == max)
                heapify(ret, count);
        } else if (e->key < ret[0].key) {
            ret[0] = *e;
            sift_down(ret, max, 0);
        }
    }
    /* Heapsort: qsort() may ask for memory. */
    if (count < max)
        heapify(ret, count);
    for (size_t left = count; left-- > 1;) {
        struct tally_entry highest = ret[0];
        ret[0] = ret[left];
        ret[left] = highest;
        sift_down(ret, left, 0);
    }
    return count;
}
