/* SPDX-License-Identifier: MIT */
/*
 * What is held: a table by place, open addressing with linear probing, at most three quarters full.
 * Removing moves what was pushed on back into the gap (D. Knuth, "The Art of Computer Programming",
 * vol. 3, section 6.4, algorithm R), so nothing is ever left behind that a search would have to
 * pass.
 *
 * Why an entry can be under way: between the last giving back and the daemon's answer another
 * thread may take the same thing again. Sent at once, its request could reach the daemon before the
 * other, which would then drop what was just taken. So it waits until the first is answered. What
 * was looked up by its name has no entry to wait for: there, a count of such beginnings and ends
 * tells whether anything was given back between the question and its answer.
 *
 * Invariants: an entry's place is not 0. count <= capacity * 3/4, and there is room for `promised`
 * more. What is under way ends by held_settle(), or because its place was granted anew. `frozen`
 * counts the entries that are.
 *
 * Locks: `lock`, for a few instructions, but in await_settled(), which waits on `settled` with it.
 */
#include "held.h"

#include <stdlib.h>

#include "deadline.h"

#define CAPACITY_MIN 64u

struct held_entry {
    uint64_t place; /* 0: empty */
    uint64_t generation;
    uint64_t size;
    uint32_t taken;
    bool under_way;
    bool frozen;
};

void held_init(struct held *h)
{
    *h = (struct held){0};
    pthread_mutex_init(&h->lock, NULL);
    deadline_cond_init(&h->settled);
}

void held_deinit(struct held *h)
{
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->settled);
    free(h->entries);
}

void held_deinit_inherited(struct held *h)
{
    free(h->entries);
}

static size_t home(const struct held *h, uint64_t place)
{
    return (size_t)((place * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (h->capacity - 1);
}

/* Where the place is, or where it would be put; NULL while there is no table. */
static struct held_entry *find(const struct held *h, uint64_t place)
{
    if (!h->capacity)
        return NULL;
    for (size_t i = home(h, place);; i = (i + 1) & (h->capacity - 1))
        if (h->entries[i].place == place || !h->entries[i].place)
            return &h->entries[i];
}

static struct held_entry *find_held(const struct held *h, uint64_t place)
{
    struct held_entry *e = find(h, place);

    return e && e->place ? e : NULL;
}

/* Room for `n` more. */
static bool reserve(struct held *h, size_t n)
{
    size_t want = h->count + h->promised + n;
    size_t capacity = h->capacity ? h->capacity : CAPACITY_MIN;
    struct held old = *h;

    while (want > capacity / 4 * 3)
        capacity *= 2;
    if (capacity == h->capacity)
        return true;
    struct held_entry *fresh = calloc(capacity, sizeof(*fresh));
    if (!fresh)
        return false;
    h->entries = fresh;
    h->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.entries[i].place)
            *find(h, old.entries[i].place) = old.entries[i];
    free(old.entries);
    return true;
}

static void erase(struct held *h, struct held_entry *e)
{
    size_t mask = h->capacity - 1;
    size_t gap = (size_t)(e - h->entries);

    h->frozen -= e->frozen;
    for (size_t i = (gap + 1) & mask; h->entries[i].place; i = (i + 1) & mask) {
        /* May it move up to the gap, or is its home behind that? */
        if (((i - home(h, h->entries[i].place)) & mask) < ((i - gap) & mask))
            continue;
        h->entries[gap] = h->entries[i];
        gap = i;
    }
    h->entries[gap].place = 0;
    h->count--;
}

bool held_promise(struct held *h, size_t n)
{
    pthread_mutex_lock(&h->lock);
    bool good = reserve(h, n);
    if (good)
        h->promised += n;
    pthread_mutex_unlock(&h->lock);
    return good;
}

void held_unpromise(struct held *h, size_t n)
{
    pthread_mutex_lock(&h->lock);
    h->promised -= n;
    pthread_mutex_unlock(&h->lock);
}

void held_put(struct held *h, const struct allot_ticket *ticket, uint64_t size)
{
    pthread_mutex_lock(&h->lock);
    struct held_entry *e = find(h, ticket->place);

    h->count += !e->place;
    h->frozen -= e->place && e->frozen;
    h->promised--;
    *e = (struct held_entry){
        .place = ticket->place, .generation = ticket->generation, .size = size, .taken = 1};
    pthread_cond_broadcast(&h->settled);
    pthread_mutex_unlock(&h->lock);
}

/* Waits until nothing at the place is under way. False where that takes too long. */
static bool await_settled(struct held *h, uint64_t place, int timeout_ms)
{
    uint64_t deadline = 0;

    for (;;) {
        const struct held_entry *e = find_held(h, place);
        if (!e || !e->under_way)
            return true;
        if (!deadline)
            deadline = deadline_in(timeout_ms);
        if (deadline_wait(&h->settled, &h->lock, deadline) < 0)
            return false;
    }
}

enum held_step held_take(struct held *h, const struct allot_ticket *ticket, int timeout_ms,
                         uint64_t *ret_size)
{
    enum held_step step = HELD_ASK;

    pthread_mutex_lock(&h->lock);
    bool late = !await_settled(h, ticket->place, timeout_ms);
    struct held_entry *e = find_held(h, ticket->place);
    if (late) {
        step = HELD_LATE;
    } else if (e && e->generation == ticket->generation) {
        e->taken++;
        *ret_size = e->size;
        step = HELD_DONE;
    } else if (!e && !reserve(h, 1)) {
        step = HELD_NO_MEMORY;
    } else if (!e) {
        h->count++;
        *find(h, ticket->place) = (struct held_entry){
            .place = ticket->place, .generation = ticket->generation, .under_way = true};
    } else {
        step = HELD_WRONG;
    }
    pthread_mutex_unlock(&h->lock);
    return step;
}

enum held_step held_give(struct held *h, struct allot_ticket *ticket, uint64_t size)
{
    enum held_step step = HELD_DONE;

    pthread_mutex_lock(&h->lock);
    struct held_entry *e = find_held(h, ticket->place);
    if (!e || e->under_way) {
        step = HELD_OTHER;
    } else if ((ticket->generation && ticket->generation != e->generation) ||
               (size && size != e->size)) {
        step = HELD_WRONG;
    } else if (e->taken > 1) {
        e->taken--;
    } else {
        e->under_way = true;
        h->asked++;
        ticket->generation = e->generation;
        step = HELD_ASK;
    }
    pthread_mutex_unlock(&h->lock);
    return step;
}

uint64_t held_mark(struct held *h)
{
    pthread_mutex_lock(&h->lock);
    uint64_t mark = h->asked;
    pthread_mutex_unlock(&h->lock);
    return mark;
}

bool held_found(struct held *h, const struct allot_ticket *ticket, uint64_t size, uint64_t mark,
                int timeout_ms)
{
    pthread_mutex_lock(&h->lock);
    bool late = !await_settled(h, ticket->place, timeout_ms);
    struct held_entry *e = find(h, ticket->place);
    h->promised--;
    /* What has a higher generation was granted at this place since. */
    bool good = !late && h->asked == mark && !(e->place && e->generation > ticket->generation);
    if (good && e->place && e->generation == ticket->generation) {
        e->taken++;
    } else if (good) {
        h->count += !e->place;
        h->frozen -= e->place && e->frozen;
        *e = (struct held_entry){
            .place = ticket->place, .generation = ticket->generation, .size = size, .taken = 1};
    }
    pthread_mutex_unlock(&h->lock);
    return good;
}

void held_settle(struct held *h, const struct allot_ticket *ticket, bool holds)
{
    pthread_mutex_lock(&h->lock);
    struct held_entry *e = find_held(h, ticket->place);
    h->asked++;
    if (e && (e->generation != ticket->generation || !e->under_way))
        e = NULL;
    if (e && holds) {
        e->taken = 1;
        e->under_way = false;
    } else if (e) {
        erase(h, e);
    }
    pthread_cond_broadcast(&h->settled);
    pthread_mutex_unlock(&h->lock);
}

void held_resize(struct held *h, uint64_t place, uint64_t size)
{
    pthread_mutex_lock(&h->lock);
    struct held_entry *e = find_held(h, place);
    if (e)
        e->size = size;
    pthread_mutex_unlock(&h->lock);
}

bool held_has_other_size(struct held *h, uint64_t place, uint64_t size)
{
    pthread_mutex_lock(&h->lock);
    const struct held_entry *e = find_held(h, place);
    bool other = e && e->taken && e->size != size;
    pthread_mutex_unlock(&h->lock);
    return other;
}

void held_freeze(struct held *h, const struct allot_ticket *ticket)
{
    pthread_mutex_lock(&h->lock);
    struct held_entry *e = find_held(h, ticket->place);
    if (e && e->generation == ticket->generation && !e->frozen) {
        e->frozen = true;
        h->frozen++;
    }
    pthread_mutex_unlock(&h->lock);
}

bool held_is_frozen(struct held *h, uint64_t place)
{
    if (!atomic_load_explicit(&h->frozen, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&h->lock);
    const struct held_entry *e = find_held(h, place);
    bool frozen = e && e->frozen;
    pthread_mutex_unlock(&h->lock);
    return frozen;
}

uint64_t held_generation(struct held *h, uint64_t place)
{
    pthread_mutex_lock(&h->lock);
    const struct held_entry *e = find_held(h, place);
    uint64_t generation = e && e->taken ? e->generation : 0;
    pthread_mutex_unlock(&h->lock);
    return generation;
}
