/* SPDX-License-Identifier: MIT */
/*
 * The ledger's file.
 *
 * What it is: one sealed memfd, mapped by the daemon alone, that holds what must survive the
 * daemon: descriptions of pools, sessions with their journals, and per pool the records of
 * allocations, the references that keep them alive, and names. What it is not: an index. Nothing in
 * here is searched while requests are served; records.c and pool.c derive what they need.
 *
 * Layout: fixed areas in a sparse file, each at the place where it would lie if all limits were
 * reached, so that nothing ever moves:
 *
 *     0        header        magic, layout, sizes, checksum of these; the last session ID
 *     4 KiB    pools         POOLS_MAX descriptions
 *     64 KiB   sessions      SESSIONS_MAX records of 64 bytes
 *     1 MiB    journals      SESSIONS_MAX rings of 256 entries of 64 bytes, each with the session's
 *                            LEDGER_WATCHES watches of 80 bytes behind it
 *     128 MiB  parts         per pool: ALLOCATIONS_MAX records of 40 bytes, as many references,
 *                            PARCELS_MAX parcels of 24 bytes, LEDGER_NAMES names of 80 bytes
 *
 * A part of the file is backed with memory before it is written (region_commit), and never read
 * before it was written: reading a hole of a mapped file backs it too.
 *
 * Invariants: what takes effect does so by one aligned store of 8 bytes at most; everything that it
 * makes visible was stored before it (release order, which after a kill is all that counts: the
 * page cache keeps every store of a dead process). References are the only liveness: a record is
 * free when none points at it. tops only rise while a pool lives.
 *
 * Limits: the file's size is about 51 GiB of address space with the limits of bounds.h; an empty
 * ledger takes under 1 MiB of memory.
 */
#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "log.h"
#include "region.h"

#define WHOLE_PAGES(n)  (((n) + 4095) / 4096 * 4096) /* what can be given back */
#define HEADER_MAGIC    0x3152474c544f4c41ull        /* "ALOTLGR1" */
#define POOLS_AT        4096ull
#define SESSIONS_AT     (64ull << 10)
#define JOURNALS_AT     (1ull << 20)
#define RING_SIZE       (CODEC_INFLIGHT_MAX * sizeof(struct ledger_entry))
#define JOURNAL_SIZE    WHOLE_PAGES(RING_SIZE + LEDGER_WATCHES * sizeof(struct ledger_watch))
#define PARTS_AT        (128ull << 20)
#define RECORDS_SIZE    (ALLOCATIONS_MAX * (uint64_t)sizeof(struct ledger_record))
#define REFERENCES_SIZE (ALLOCATIONS_MAX * (uint64_t)sizeof(ledger_reference))
#define PARCELS_SIZE    (PARCELS_MAX * (uint64_t)sizeof(struct ledger_parcel))
#define NAMES_SIZE      WHOLE_PAGES(LEDGER_NAMES *(uint64_t)sizeof(struct ledger_name))
#define PART_SIZE       (RECORDS_SIZE + REFERENCES_SIZE + PARCELS_SIZE + NAMES_SIZE)

struct header {
    uint64_t magic;
    uint32_t layout;
    uint32_t record_size;
    uint32_t entry_size;
    uint32_t session_size;
    uint32_t pool_size;
    uint32_t sessions_max;
    uint32_t pools_max;
    uint32_t allocations_max;
    uint32_t name_size;
    uint32_t names_max;
    uint32_t journal_size;
    uint32_t unused;
    uint64_t checksum; /* of all above */
    _Atomic uint64_t last_session;
};

_Static_assert(sizeof(struct ledger_record) == 40, "records lie without gaps");
_Static_assert(sizeof(struct ledger_parcel) == 24, "parcels lie without gaps");
_Static_assert(PARCELS_SIZE % 4096 == 0, "parts start on a page");
_Static_assert(sizeof(struct ledger_name) == 80, "names lie without gaps");
_Static_assert(sizeof(struct ledger_watch) == 80, "watches lie without gaps");
_Static_assert(sizeof(struct ledger_entry) == 64, "an entry is a cache line");
_Static_assert(sizeof(struct ledger_session) == 64, "a session's record is a cache line");
_Static_assert(sizeof(struct ledger_pool) == 256, "pool descriptions have a fixed size");
_Static_assert(POOLS_AT + POOLS_MAX * sizeof(struct ledger_pool) <= SESSIONS_AT, "areas overlap");
_Static_assert(SESSIONS_AT + SESSIONS_MAX * sizeof(struct ledger_session) <= JOURNALS_AT,
               "areas overlap");
_Static_assert(JOURNALS_AT + SESSIONS_MAX * JOURNAL_SIZE <= PARTS_AT, "areas overlap");

/* FNV-1a, 64 bits. */
static uint64_t header_checksum(const struct header *h)
{
    const unsigned char *bytes = (const unsigned char *)h;
    uint64_t hash = 0xcbf29ce484222325ull;

    for (size_t i = 0; i < offsetof(struct header, checksum); i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3ull;
    return hash;
}

static uint64_t ledger_file_size(void)
{
    return PARTS_AT + POOLS_MAX * PART_SIZE;
}

static int ledger_map(struct ledger *ledger, int fd)
{
    char *base =
        mmap(NULL, ledger_file_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    /* A crash dump of the daemon has no use for gigabytes of holes. */
    (void)madvise(base, ledger_file_size(), MADV_DONTDUMP);
    *ledger = (struct ledger){
        .fd = fd,
        .base = base,
        .pools = (struct ledger_pool *)(void *)(base + POOLS_AT),
        .sessions = (struct ledger_session *)(void *)(base + SESSIONS_AT),
    };
    return 0;
}

static struct header header_expected(void)
{
    struct header h = {
        .magic = HEADER_MAGIC,
        .layout = LEDGER_LAYOUT,
        .record_size = sizeof(struct ledger_record),
        .entry_size = sizeof(struct ledger_entry),
        .session_size = sizeof(struct ledger_session),
        .pool_size = sizeof(struct ledger_pool),
        .sessions_max = SESSIONS_MAX,
        .pools_max = POOLS_MAX,
        .allocations_max = ALLOCATIONS_MAX,
        .name_size = sizeof(struct ledger_name),
        .names_max = NAMES_MAX,
        .journal_size = JOURNAL_SIZE,
    };

    h.checksum = header_checksum(&h);
    return h;
}

int ledger_create(struct ledger *ledger)
{
    int fd;
    int rc = region_create("allot-ledger", ledger_file_size(), &fd);

    if (rc)
        return rc;
    /* Header, pools and sessions: 1/3 MiB that is always there, so that it can be read at will. */
    rc = region_commit(fd, 0, SESSIONS_AT + SESSIONS_MAX * sizeof(struct ledger_session));
    if (!rc)
        rc = ledger_map(ledger, fd);
    if (rc) {
        close(fd);
        return rc;
    }
    struct header *h = (struct header *)(void *)ledger->base;
    struct header expected = header_expected();
    memcpy(h, &expected, sizeof(expected));
    return 0;
}

/* Whether all sessions have IDs that were given out. */
static bool sessions_are_known(const struct ledger *ledger)
{
    const struct header *h = (const struct header *)(const void *)ledger->base;
    unsigned slot = 0;

    while (slot < SESSIONS_MAX && ledger->sessions[slot].id <= h->last_session)
        slot++;
    return slot == SESSIONS_MAX;
}

int ledger_adopt(struct ledger *ledger, int fd)
{
    struct header expected = header_expected();
    struct header found;
    int rc = region_verify(fd, ledger_file_size());

    if (rc) {
        log_error("ledger: not a ledger of this daemon: %s", strerror(-rc));
        return -EBADMSG;
    }
    rc = ledger_map(ledger, fd);
    if (rc)
        return rc;
    memcpy(&found, ledger->base, offsetof(struct header, last_session));
    bool good = memcmp(&found, &expected, offsetof(struct header, last_session)) == 0;
    if (!good && found.magic == HEADER_MAGIC && found.checksum == header_checksum(&found))
        log_error("ledger: layout %u with other sizes than this daemon's layout %u", found.layout,
                  LEDGER_LAYOUT);
    else if (!good)
        log_error("ledger: damaged header");
    else if (!(good = sessions_are_known(ledger)))
        log_error("ledger: a session has an ID that was never given out");
    if (good)
        return 0;
    munmap(ledger->base, ledger_file_size());
    *ledger = (struct ledger){.fd = -1};
    return -EBADMSG;
}

void ledger_close(struct ledger *ledger)
{
    if (!ledger->base)
        return;
    munmap(ledger->base, ledger_file_size());
    close(ledger->fd);
    *ledger = (struct ledger){.fd = -1};
}

static uint64_t part_at(unsigned pool)
{
    return PARTS_AT + pool * PART_SIZE;
}

struct ledger_record *ledger_records(const struct ledger *ledger, unsigned pool)
{
    return (struct ledger_record *)(void *)(ledger->base + part_at(pool));
}

ledger_reference *ledger_references(const struct ledger *ledger, unsigned pool)
{
    return (ledger_reference *)(void *)(ledger->base + part_at(pool) + RECORDS_SIZE);
}

int ledger_commit_part(const struct ledger *ledger, unsigned pool, uint32_t from, uint32_t count)
{
    uint64_t at = part_at(pool);
    int rc = region_commit(ledger->fd, at + from * (uint64_t)sizeof(struct ledger_record),
                           count * (uint64_t)sizeof(struct ledger_record));

    if (rc)
        return rc;
    return region_commit(ledger->fd, at + RECORDS_SIZE + from * (uint64_t)sizeof(ledger_reference),
                         count * (uint64_t)sizeof(ledger_reference));
}

struct ledger_parcel *ledger_parcels(const struct ledger *ledger, unsigned pool)
{
    return (struct ledger_parcel *)(void *)(ledger->base + part_at(pool) + RECORDS_SIZE +
                                            REFERENCES_SIZE);
}

int ledger_commit_parcels(const struct ledger *ledger, unsigned pool)
{
    return region_commit(ledger->fd, part_at(pool) + RECORDS_SIZE + REFERENCES_SIZE, PARCELS_SIZE);
}

static uint64_t names_at(unsigned pool)
{
    return part_at(pool) + RECORDS_SIZE + REFERENCES_SIZE + PARCELS_SIZE;
}

struct ledger_name *ledger_names(const struct ledger *ledger, unsigned pool)
{
    return (struct ledger_name *)(void *)(ledger->base + names_at(pool));
}

int ledger_commit_names(const struct ledger *ledger, unsigned pool, uint32_t from, uint32_t count)
{
    return region_commit(ledger->fd, names_at(pool) + from * (uint64_t)sizeof(struct ledger_name),
                         count * (uint64_t)sizeof(struct ledger_name));
}

static void punch(const struct ledger *ledger, uint64_t offset, uint64_t size)
{
    if (fallocate(ledger->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)size) < 0)
        log_warning("ledger: cannot give memory back: %s", strerror(errno));
}

/* What the session has attached and watches is not the pool that takes this one's place. */
static void forget_pool(const struct ledger *ledger, unsigned slot, unsigned pool)
{
    struct ledger_watch *watches = ledger_watches(ledger, slot);

    ledger->sessions[slot].attached &= ~LEDGER_ATTACHED(pool, 3);
    for (unsigned i = 0; i < LEDGER_WATCHES; i++)
        if (watches[i].pool == pool)
            watches[i].id = 0;
}

void ledger_clear_pool(const struct ledger *ledger, unsigned pool)
{
    /* The name goes first: what is half cleared is no pool, and is cleared again before it is. */
    ledger->pools[pool].name[0] = 0;
    for (unsigned i = 0; i < SESSIONS_MAX; i++)
        if (ledger->sessions[i].id)
            forget_pool(ledger, i, pool);
    memset(&ledger->pools[pool], 0, sizeof(ledger->pools[pool]));
    punch(ledger, part_at(pool), PART_SIZE);
}

int ledger_session_open(struct ledger *ledger, unsigned slot, uint32_t pid, uint32_t uid,
                        uint32_t gid, uint64_t incarnation, uint64_t *ret_id)
{
    struct header *h = (struct header *)(void *)ledger->base;
    struct ledger_session *s = &ledger->sessions[slot];
    int rc = region_commit(ledger->fd, JOURNALS_AT + slot * JOURNAL_SIZE, JOURNAL_SIZE);

    if (rc)
        return rc;
    if (getrandom(s->secret, sizeof(s->secret), 0) != sizeof(s->secret))
        return -errno;
    memset(ledger->base + JOURNALS_AT + slot * JOURNAL_SIZE, 0, JOURNAL_SIZE);
    s->incarnation = incarnation;
    s->pid = pid;
    s->uid = uid;
    s->gid = gid;
    s->ended = 0;
    s->attached = 0;
    s->starts = 0;
    s->reached = 0;
    uint64_t id = atomic_fetch_add(&h->last_session, 1) + 1;
    atomic_store_explicit(&s->id, id, memory_order_release);
    *ret_id = id;
    return 0;
}

void ledger_session_close(const struct ledger *ledger, unsigned slot)
{
    atomic_store_explicit(&ledger->sessions[slot].id, 0, memory_order_release);
    punch(ledger, JOURNALS_AT + slot * JOURNAL_SIZE, JOURNAL_SIZE);
}

unsigned ledger_session_find(const struct ledger *ledger, uint64_t id)
{
    unsigned slot = 0;

    while (slot < SESSIONS_MAX && ledger->sessions[slot].id != id)
        slot++;
    return slot;
}

struct ledger_entry *ledger_entry(const struct ledger *ledger, unsigned slot, uint64_t number)
{
    char *journal = ledger->base + JOURNALS_AT + slot * JOURNAL_SIZE;

    return (struct ledger_entry *)(void *)journal + number % CODEC_INFLIGHT_MAX;
}

struct ledger_watch *ledger_watches(const struct ledger *ledger, unsigned slot)
{
    char *journal = ledger->base + JOURNALS_AT + slot * JOURNAL_SIZE;

    return (struct ledger_watch *)(void *)(journal + RING_SIZE);
}

uint64_t ledger_journal_last(const struct ledger *ledger, unsigned slot)
{
    uint64_t last = 0;

    for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i++) {
        uint64_t number = ledger_entry(ledger, slot, i)->number;
        if (number > last)
            last = number;
    }
    return last;
}

void ledger_entry_begin(struct ledger_entry *entry, uint64_t number, Allot__Op op, unsigned pool)
{
    atomic_store_explicit(&entry->number, 0, memory_order_release);
    atomic_store_explicit(&entry->result, 0, memory_order_release);
    entry->op = (uint32_t)op;
    entry->pool = pool;
    atomic_store_explicit(&entry->old_word, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->new_word, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->number, number, memory_order_release);
}

void ledger_entry_intend(struct ledger_entry *entry, uint32_t record, uint32_t reference,
                         uint64_t old_word, uint64_t new_word)
{
    entry->record = record;
    entry->reference = reference;
    atomic_store_explicit(&entry->old_word, old_word, memory_order_relaxed);
    /* The two words differ, so an entry whose words are equal intends nothing yet. */
    atomic_store_explicit(&entry->new_word, new_word, memory_order_release);
}

void ledger_entry_wait(struct ledger_entry *entry, const struct ledger_wait *wait)
{
    uint64_t word = LEDGER_WAITS | (uint64_t)__builtin_ctzll(wait->align) << 48 | wait->size;

    entry->value = wait->deadline;
    entry->generation = (uint64_t)wait->arrival << 32 | wait->tag;
    /* In this order: new_word alone is no reference's word, so nothing has happened then. */
    atomic_store_explicit(&entry->new_word, word, memory_order_release);
    atomic_store_explicit(&entry->old_word, word, memory_order_release);
}

struct ledger_wait ledger_entry_waiting(const struct ledger_entry *entry)
{
    return (struct ledger_wait){
        .size = entry->old_word & LEDGER_SIZE_MAX,
        .align = 1ull << (entry->old_word >> 48 & 63),
        .deadline = entry->value,
        .arrival = (uint32_t)(entry->generation >> 32),
        .tag = (uint32_t)entry->generation,
    };
}

bool ledger_entry_has_waited(const struct ledger_entry *entry)
{
    return entry->number && entry->old_word & LEDGER_WAITS && codec_may_wait((Allot__Op)entry->op);
}

void ledger_entry_refuse(struct ledger_entry *entry, Allot__Error error, uint64_t value)
{
    atomic_store_explicit(&entry->new_word, LEDGER_REFUSES | (uint64_t)error << 48 | value,
                          memory_order_release);
    ledger_entry_finish(entry, error, value, 0);
}

/* Whether the committing store of an entry happened, and what its answer carries. */
static bool entry_committed(const struct ledger *ledger, unsigned slot, struct ledger_entry *e,
                            uint64_t *ret_value, uint64_t *ret_generation)
{
    *ret_value = 0;
    *ret_generation = 0;
    if (e->old_word == e->new_word || e->pool >= POOLS_MAX)
        return false;
    if (e->op == ALLOT__OP__OP_ADD_MEMORY) {
        *ret_value = e->new_word;
        return ledger->pools[e->pool].size != e->old_word;
    }
    if (e->op == ALLOT__OP__OP_WATCH || e->op == ALLOT__OP__OP_UNWATCH) {
        *ret_value = e->new_word;
        return e->reference < LEDGER_WATCHES &&
               ledger_watches(ledger, slot)[e->reference].id == e->new_word;
    }
    /* The tops have not been checked yet where the pool is not open. */
    if (e->record >= ledger->pools[e->pool].records_top || e->record >= ALLOCATIONS_MAX ||
        e->reference >= ledger->pools[e->pool].references_top || e->reference >= ALLOCATIONS_MAX)
        return false;
    const struct ledger_record *record = &ledger_records(ledger, e->pool)[e->record];
    const ledger_reference *references = ledger_references(ledger, e->pool);
    switch (e->op) {
    case ALLOT__OP__OP_ALLOC:
    case ALLOT__OP__OP_ALLOC_PAGES:
    case ALLOT__OP__OP_ALLOC_PAGES_AT:
    case ALLOT__OP__OP_ALLOC_IDS:
    case ALLOT__OP__OP_ALLOC_IDS_AT:
        *ret_value = record->position;
        *ret_generation = record->generation;
        return references[e->reference] == e->new_word;
    case ALLOT__OP__OP_ACQUIRE:
        *ret_value = ledger_record_told(record) | (e->old_word ? CODEC_VALUE_PARCEL : 0);
        return references[e->reference] == e->new_word;
    case ALLOT__OP__OP_FREE:
    case ALLOT__OP__OP_FREE_PAGES:
    case ALLOT__OP__OP_FREE_IDS:
    case ALLOT__OP__OP_RELEASE:
    case ALLOT__OP__OP_SEND:
    case ALLOT__OP__OP_PUBLISH:
    case ALLOT__OP__OP_UNPUBLISH:
        return references[e->reference] == e->new_word;
    case ALLOT__OP__OP_LOOKUP:
        if (references[e->reference] != e->new_word)
            return false;
        *ret_value = ledger_record_place(record);
        *ret_generation = record->generation;
        e->size = ledger_record_told(record); /* no word, so another settling finds the same */
        return true;
    case ALLOT__OP__OP_RESIZE:
        *ret_value = record->position;
        return record->size == e->new_word;
    case ALLOT__OP__OP_FREEZE:
        return record->flags == e->new_word;
    default:
        return false;
    }
}

void ledger_journal_settle(const struct ledger *ledger, unsigned slot)
{
    for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i++) {
        struct ledger_entry *e = ledger_entry(ledger, slot, i);
        uint64_t value;
        uint64_t generation;

        if (!e->number || e->result)
            continue;
        if (entry_committed(ledger, slot, e, &value, &generation))
            ledger_entry_finish(e, ALLOT__ERROR__E_OK, value, generation);
        else if (ledger_entry_has_waited(e) && e->new_word >= LEDGER_REFUSES)
            ledger_entry_finish(e, (Allot__Error)(e->new_word >> 48 & 63),
                                e->new_word & LEDGER_SIZE_MAX, 0);
        else if (ledger_entry_has_waited(e))
            atomic_store_explicit(&e->new_word, e->old_word, memory_order_release);
        else
            atomic_store_explicit(&e->number, 0, memory_order_release);
    }
}
