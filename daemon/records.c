/* SPDX-License-Identifier: MIT */
/*
 * Records and references of one pool.
 *
 * What it is: the typed face of a pool's ledger part, and its derived indexes: a hash table from
 * position to record, a chain of references for each record and for each session, what each
 * session holds by them, and chains of free slots. What it is not: it knows nothing of allocators;
 * pool.c keeps both in step.
 *
 * Invariants: a record is live exactly while its chain of references is not empty; it is then in
 * one hash chain, else (if it was used once) in the chain of free slots; the two share a link. A
 * reference is live exactly while its word is not 0; it is then in its record's chain and, where a
 * session holds it, in that session's. Slots at or above info->records_top were never used and have
 * no content.
 *
 * Locks: the pool's, for everything but records_grow_file().
 *
 * Cost: 40 bytes a record and 8 a reference in the ledger; here 8 and 12 for the links and 4 for a
 * bucket. The table grows by one bucket a record (W. Litwin, "Linear hashing", VLDB 1980), so that
 * no request pays for rehashing all of it.
 */
#include "records.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "memory.h"

/* Room is made for this many slots at a time: 208 KiB of ledger, 0.1 ms to commit. */
#define GROW_STEP 4096u
#define HASH_MIN  1024u
#define AHEAD     32u /* a record that may lie anywhere is asked for so many before it is read */

_Static_assert(GROW_STEP >= 2 * CODEC_BATCH_MAX, "a step must hold more than a batch");

struct record_link {
    uint32_t next; /* in its hash chain, or in the chain of free records */
    uint32_t references;
};

struct reference_link {
    uint32_t next_of_record; /* or in the chain of free references */
    uint32_t prev_of_session;
    uint32_t next_of_session;
};

/* As in lib/byte/nodes.h: what lies side by side has buckets side by side, IDs as if they were 16
 * bytes each. */
static inline uint32_t bucket_of(const struct records *r, bool ids, uint64_t position)
{
    uint64_t key = (ids ? position << 4 | 1ull << 60 : position) * 0x1359852c5ull;
    uint32_t hash = (uint32_t)(key >> 36);
    /* bucket_count lies between `half` and twice that; the lower ones are split already. */
    uint32_t half = 1u << (31 - __builtin_clz(r->bucket_count));
    uint32_t bucket = hash & (2 * half - 1);

    return bucket < r->bucket_count ? bucket : bucket - half;
}

static inline uint32_t record_bucket(const struct records *r, uint32_t record)
{
    const struct ledger_record *content = &r->record[record];

    return bucket_of(r, content->kind == RECORD_IDS, content->position);
}

/* Splits the next bucket in two. Without memory for one more, chains get longer instead. */
static void hash_grow(struct records *r)
{
    if (r->bucket_count == r->bucket_capacity) {
        uint32_t capacity = r->bucket_capacity * 2;
        uint32_t *buckets = realloc(r->buckets, capacity * sizeof(*buckets));
        if (!buckets)
            return;
        r->buckets = buckets;
        r->bucket_capacity = capacity;
    }
    uint32_t half = 1u << (31 - __builtin_clz(r->bucket_count));
    uint32_t old = r->bucket_count - half;
    uint32_t chain = r->buckets[old];

    r->buckets[old] = RECORDS_NONE;
    r->buckets[r->bucket_count++] = RECORDS_NONE;
    while (chain != RECORDS_NONE) {
        uint32_t next = r->record_links[chain].next;
        uint32_t bucket = record_bucket(r, chain);
        r->record_links[chain].next = r->buckets[bucket];
        r->buckets[bucket] = chain;
        chain = next;
    }
}

static inline void hash_add(struct records *r, uint32_t record)
{
    if (r->live >= r->bucket_count)
        hash_grow(r);
    uint32_t bucket = record_bucket(r, record);
    r->record_links[record].next = r->buckets[bucket];
    r->buckets[bucket] = record;
    r->live++;
    r->live_of[r->record[record].kind]++;
}

static void hash_remove(struct records *r, uint32_t record)
{
    uint32_t *at = &r->buckets[record_bucket(r, record)];

    while (*at != record)
        at = &r->record_links[*at].next;
    *at = r->record_links[record].next;
    r->live--;
    r->live_of[r->record[record].kind]--;
}

static inline void link_reference(struct records *r, uint32_t reference, uint64_t word)
{
    uint32_t record = ledger_reference_record(word);
    struct reference_link *link = &r->reference_links[reference];

    link->next_of_record = r->record_links[record].references;
    r->record_links[record].references = reference;
    if (ledger_reference_slot(word) >= SESSIONS_MAX)
        return; /* its holder knows it */
    const struct ledger_record *content = &r->record[record];
    struct records_holding *held = &r->held[ledger_reference_slot(word)];
    held->allocations++;
    held->bytes += kind_bytes(content->kind, content->size);
    held->ids += kind_ids(content->kind, content->size);
    link->prev_of_session = RECORDS_NONE;
    link->next_of_session = held->chain - 1;
    if (held->chain)
        r->reference_links[held->chain - 1].prev_of_session = reference;
    held->chain = reference + 1;
}

static void unlink_reference(struct records *r, uint32_t reference, uint64_t word)
{
    const struct reference_link *link = &r->reference_links[reference];
    const struct ledger_record *content = &r->record[ledger_reference_record(word)];
    uint32_t *at = &r->record_links[ledger_reference_record(word)].references;

    while (*at != reference)
        at = &r->reference_links[*at].next_of_record;
    *at = link->next_of_record;
    if (ledger_reference_slot(word) >= SESSIONS_MAX)
        return;
    struct records_holding *held = &r->held[ledger_reference_slot(word)];
    held->allocations--;
    held->bytes -= kind_bytes(content->kind, content->size);
    held->ids -= kind_ids(content->kind, content->size);
    if (link->prev_of_session != RECORDS_NONE)
        r->reference_links[link->prev_of_session].next_of_session = link->next_of_session;
    else
        held->chain = link->next_of_session + 1;
    if (link->next_of_session != RECORDS_NONE)
        r->reference_links[link->next_of_session].prev_of_session = link->prev_of_session;
}

static void free_record(struct records *r, uint32_t record)
{
    r->record_links[record].next = r->free_record;
    r->free_record = record;
    r->free_records++;
}

static void free_reference(struct records *r, uint32_t reference)
{
    r->reference_links[reference].next_of_record = r->free_reference;
    r->free_reference = reference;
    r->free_references++;
}

/* Whether a live word can be so. That of a holder with a record of its own is for that to say. */
static bool is_plausible(const struct records *r, uint64_t word)
{
    unsigned slot = ledger_reference_slot(word);

    if (slot >= SESSIONS_MAX)
        return slot == HOLDER_NAME || slot == HOLDER_PARCEL;
    return r->ledger->sessions[slot].id && (r->record[ledger_reference_record(word)].generation &
                                            0xffff) == ledger_reference_index(word);
}

/* Enters a record whose first reference was found. */
static bool adopt(struct records *r, uint32_t record)
{
    const struct ledger_record *content = &r->record[record];

    if (content->kind < RECORD_BYTES || content->kind > RECORD_IDS ||
        content->generation > r->info->generation)
        return false;
    hash_add(r, record);
    return true;
}

/* Derives chains and table from the ledger's words. */
static int records_derive(struct records *r)
{
    uint32_t records_top = r->info->records_top;
    uint32_t last = RECORDS_NONE;
    uint64_t last_position = UINT64_MAX;

    for (uint32_t i = 0; i < records_top; i++)
        r->record_links[i].references = RECORDS_NONE;
    r->in_order = true;
    for (uint32_t i = r->info->references_top; i-- > 0;) {
        uint64_t word = r->reference[i];
        uint32_t record = ledger_reference_record(word);

        if (i >= AHEAD)
            __builtin_prefetch(&r->record[ledger_reference_record(r->reference[i - AHEAD])]);
        if (!word) {
            free_reference(r, i);
            continue;
        }
        if (record >= records_top || !is_plausible(r, word)) {
            log_error("ledger: pool %s: reference %u is damaged", r->info->name, i);
            return -EBADMSG;
        }
        if (r->record_links[record].references == RECORDS_NONE) {
            if (!adopt(r, record)) {
                log_error("ledger: pool %s: record %u is damaged", r->info->name, record);
                return -EBADMSG;
            }
            r->in_order &= record < last && r->record[record].position <= last_position;
            last_position = r->record[record].position;
            last = record;
        }
        link_reference(r, i, word);
    }
    for (uint32_t i = records_top; i-- > 0;)
        if (r->record_links[i].references == RECORDS_NONE)
            free_record(r, i);
    return 0;
}

int records_open(struct records *r, const struct ledger *ledger, unsigned pool)
{
    struct ledger_pool *info = &ledger->pools[pool];
    uint32_t top =
        info->records_top > info->references_top ? info->records_top : info->references_top;
    uint32_t committed = (top + GROW_STEP) / GROW_STEP * GROW_STEP;
    uint32_t buckets = info->records_top > HASH_MIN ? info->records_top : HASH_MIN;

    if (committed > ALLOCATIONS_MAX)
        committed = ALLOCATIONS_MAX;

    *r = (struct records){
        .ledger = ledger,
        .pool = pool,
        .info = info,
        .record = ledger_records(ledger, pool),
        .reference = ledger_references(ledger, pool),
        .buckets = malloc(buckets * sizeof(uint32_t)), /* none is to be split while deriving */
        .bucket_count = buckets,
        .bucket_capacity = buckets,
        .free_record = RECORDS_NONE,
        .free_reference = RECORDS_NONE,
        .held = calloc(SESSIONS_MAX, sizeof(struct records_holding)),
    };
    int rc = top > ALLOCATIONS_MAX ? -EBADMSG : 0;
    if (!rc && (!r->buckets || !r->held))
        rc = -ENOMEM;
    if (!rc) /* what lies below was committed before it was used */
        rc = ledger_commit_part(ledger, pool, committed - GROW_STEP, GROW_STEP);
    if (!rc)
        rc = records_grow(r, committed);
    if (!rc) {
        memory_populate(r->record_links, info->records_top * sizeof(*r->record_links));
        memory_populate(r->reference_links, info->references_top * sizeof(*r->reference_links));
        memory_populate(r->buckets, buckets * sizeof(uint32_t));
        memset(r->buckets, 0xff, buckets * sizeof(uint32_t));
        rc = records_derive(r);
    }
    if (rc)
        records_close(r);
    return rc;
}

void records_close(struct records *r)
{
    free(r->record_links);
    free(r->reference_links);
    free(r->buckets);
    free(r->held);
    *r = (struct records){0};
}

bool records_low(const struct records *r)
{
    if (r->committed == ALLOCATIONS_MAX)
        return false;
    return r->free_records + (r->committed - r->info->records_top) < CODEC_BATCH_MAX ||
           r->free_references + (r->committed - r->info->references_top) < CODEC_BATCH_MAX;
}

int records_grow_file(const struct records *r, uint32_t *ret_committed)
{
    if (r->committed > ALLOCATIONS_MAX - GROW_STEP)
        return -ENOSPC;
    int rc = ledger_commit_part(r->ledger, r->pool, r->committed, GROW_STEP);
    if (!rc)
        *ret_committed = r->committed + GROW_STEP;
    return rc;
}

int records_grow(struct records *r, uint32_t committed)
{
    struct record_link *record_links = realloc(r->record_links, committed * sizeof(*record_links));
    if (!record_links)
        return -ENOMEM;
    r->record_links = record_links;
    struct reference_link *reference_links =
        realloc(r->reference_links, committed * sizeof(*reference_links));
    if (!reference_links)
        return -ENOMEM;
    r->reference_links = reference_links;
    r->committed = committed;
    return 0;
}

bool records_reserve(struct records *r, uint32_t *ret_record)
{
    uint32_t record = r->free_record;

    if (record == RECORDS_NONE) {
        record = r->info->records_top;
        if (record == r->committed)
            return false;
        /* Punched and fresh parts of the file read as 0, but a slot may hold what a crash left. */
        memset(&r->record[record], 0, sizeof(r->record[record]));
        r->record_links[record].next = RECORDS_NONE;
        r->record_links[record].references = RECORDS_NONE;
    }
    /* The number is used up before it is given away. */
    uint64_t generation = r->info->generation + 1;
    atomic_store_explicit(&r->info->generation, generation, memory_order_release);
    r->record[record].generation = generation;
    if (record == r->info->records_top) {
        free_record(r, record);
        atomic_store_explicit(&r->info->records_top, record + 1, memory_order_release);
    }
    *ret_record = record;
    return true;
}

bool records_reserve_reference(struct records *r, uint32_t *ret_reference)
{
    uint32_t reference = r->free_reference;

    if (reference == RECORDS_NONE) {
        reference = r->info->references_top;
        if (reference == r->committed)
            return false;
        r->reference[reference] = 0;
        free_reference(r, reference);
        atomic_store_explicit(&r->info->references_top, reference + 1, memory_order_release);
    }
    *ret_reference = reference;
    return true;
}

void records_commit(struct records *r, uint32_t record, uint32_t reference, uint64_t word)
{
    assert(record == r->free_record);
    r->free_record = r->record_links[record].next;
    r->free_records--;
    r->record_links[record].references = RECORDS_NONE;
    records_commit_reference(r, reference, word);
    hash_add(r, record);
}

void records_commit_reference(struct records *r, uint32_t reference, uint64_t word)
{
    assert(reference == r->free_reference);
    atomic_store_explicit(&r->reference[reference], word, memory_order_release);
    r->free_reference = r->reference_links[reference].next_of_record;
    r->free_references--;
    link_reference(r, reference, word);
}

uint32_t records_find(const struct records *r, enum record_kind kind, uint64_t position)
{
    uint32_t at = r->buckets[bucket_of(r, kind == RECORD_IDS, position)];

    while (at != RECORDS_NONE && (r->record[at].position != position || r->record[at].kind != kind))
        at = r->record_links[at].next;
    return at;
}

uint32_t records_reference_of(const struct records *r, uint32_t record, unsigned slot)
{
    uint32_t at = r->record_links[record].references;

    while (at != RECORDS_NONE && ledger_reference_slot(r->reference[at]) != slot)
        at = r->reference_links[at].next_of_record;
    return at;
}

uint32_t records_next_parcel(const struct records *r, uint32_t record, uint32_t reference)
{
    uint32_t at = reference == RECORDS_NONE ? r->record_links[record].references
                                            : r->reference_links[reference].next_of_record;

    while (at != RECORDS_NONE && ledger_reference_slot(r->reference[at]) != HOLDER_PARCEL)
        at = r->reference_links[at].next_of_record;
    return at;
}

bool records_is_live(const struct records *r, uint32_t record)
{
    return r->record_links[record].references != RECORDS_NONE;
}

bool records_is_sole(const struct records *r, uint32_t record, uint32_t reference)
{
    return r->record_links[record].references == reference &&
           r->reference_links[reference].next_of_record == RECORDS_NONE;
}

uint32_t records_first_held(const struct records *r, unsigned slot)
{
    return r->held[slot].chain - 1;
}

/* A reference to it has gone. */
static bool free_where_unheld(struct records *r, uint32_t record)
{
    if (r->record_links[record].references != RECORDS_NONE)
        return false;
    hash_remove(r, record);
    free_record(r, record);
    return true;
}

bool records_move(struct records *r, uint32_t reference, uint64_t word)
{
    uint64_t old = r->reference[reference];

    atomic_store_explicit(&r->reference[reference], word, memory_order_release);
    unlink_reference(r, reference, old);
    link_reference(r, reference, word);
    return free_where_unheld(r, ledger_reference_record(old));
}

bool records_drop(struct records *r, uint32_t reference)
{
    uint64_t word = r->reference[reference];

    atomic_store_explicit(&r->reference[reference], 0, memory_order_release);
    unlink_reference(r, reference, word);
    free_reference(r, reference);
    return free_where_unheld(r, ledger_reference_record(word));
}

/* ---- in order ---- */

#define DIGIT_BITS 11u
#define DIGITS     (1u << DIGIT_BITS)

static inline uint32_t digit(const struct records *r, uint32_t record, unsigned shift)
{
    return r->record[record].position >> shift & (DIGITS - 1);
}

/* One round of a radix sort (D. Knuth, TAOCP 3, 5.2.5): stable, by the digit at `shift`. */
static void distribute(const struct records *r, unsigned shift, const uint32_t *from, uint32_t *to)
{
    uint32_t at[DIGITS] = {0};
    uint32_t below = 0;

    for (uint32_t i = 0; i < r->live; i++)
        at[digit(r, from[i], shift)]++;
    for (uint32_t i = 0; i < DIGITS; i++) {
        uint32_t count = at[i];
        at[i] = below;
        below += count;
    }
    for (uint32_t i = 0; i < r->live; i++)
        to[at[digit(r, from[i], shift)]++] = from[i];
}

/* The live records by position, to be freed; NULL without memory. */
static uint32_t *sort(const struct records *r)
{
    uint32_t *order = malloc(r->live * sizeof(*order));
    uint32_t *other = malloc(r->live * sizeof(*other));
    uint32_t count = 0;
    uint64_t bits = 0;

    if (!order || !other) {
        free(order);
        free(other);
        return NULL;
    }
    for (uint32_t i = 0; count < r->live; i++) {
        if (!records_is_live(r, i))
            continue;
        order[count++] = i;
        bits |= r->record[i].position;
    }
    for (unsigned shift = 0; shift < 64 && bits >> shift; shift += DIGIT_BITS) {
        uint32_t *sorted = other;
        distribute(r, shift, order, sorted);
        other = order;
        order = sorted;
    }
    free(other);
    return order;
}

int records_visit(const struct records *r, int (*visit)(void *, const struct ledger_record *),
                  void *ctx)
{
    int rc = 0;

    if (r->in_order) {
        for (uint32_t i = 0; i < r->info->records_top && !rc; i++)
            if (records_is_live(r, i))
                rc = visit(ctx, &r->record[i]);
        return rc;
    }
    uint32_t *order = sort(r);
    if (!order)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->live && !rc; i++) {
        if (i + AHEAD < r->live)
            __builtin_prefetch(&r->record[order[i + AHEAD]]);
        rc = visit(ctx, &r->record[order[i]]);
    }
    free(order);
    return rc;
}

uint64_t records_bytes(const struct records *r)
{
    return r->committed * (uint64_t)(sizeof(*r->record) + sizeof(*r->reference) +
                                     sizeof(*r->record_links) + sizeof(*r->reference_links)) +
           r->bucket_capacity * (uint64_t)sizeof(*r->buckets) +
           SESSIONS_MAX * (uint64_t)sizeof(*r->held);
}
