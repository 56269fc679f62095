/* SPDX-License-Identifier: MIT */
/*
 * The ledger: the daemon-private file that records everything handed out. The truth; all indexes
 * are derived from it. ledger.c tells the layout, this header what others may do with it.
 *
 * Whole-file operations (create, adopt, close) belong to the main thread before and after the
 * loops run. A session's record and journal are touched by that session's worker only; a pool's
 * part under the pool's lock (records.h).
 */
#ifndef ALLOTD_LEDGER_H
#define ALLOTD_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bounds.h"
#include "codec.h"

/* ---- what lies in the file ---- */

#define LEDGER_LAYOUT 3u

enum record_kind {
    RECORD_BYTES = CODEC_KIND_BYTES,
    RECORD_PAGES = CODEC_KIND_PAGES,
    RECORD_IDS = CODEC_KIND_IDS
};

/* One allocation. It is live while a reference points at it. */
struct ledger_record {
    uint64_t position;
    _Atomic uint64_t size; /* as asked for: bytes; bytes of the pages; IDs. Resizing is one store */
    uint64_t generation;   /* of the grant: no other in this pool ever had it */
    uint32_t time_s;       /* CLOCK_REALTIME of the grant */
    uint32_t tag;
    uint32_t uid;           /* whom it is charged to, until its last reference goes */
    _Atomic uint16_t flags; /* RECORD_FROZEN; setting one is one store */
    uint8_t kind;           /* enum record_kind */
    uint8_t align_log2;
};

#define RECORD_FROZEN 1u /* for good: nobody is to write to it */

/* What who acquires it is told: its size, and whether it is frozen. */
static inline uint64_t ledger_record_told(const struct ledger_record *record)
{
    return record->size | (record->flags & RECORD_FROZEN ? CODEC_VALUE_FROZEN : 0);
}

/* As it is in a ticket. */
static inline uint64_t ledger_record_place(const struct ledger_record *record)
{
    return (uint64_t)record->kind << CODEC_KIND_SHIFT | record->position;
}

/*
 * One reference, in one word: its store makes it live, storing 0 ends it. It is held by a session,
 * by its slot, or by something that has a record of its own in the ledger, of which the word has
 * the index. Storing another word in its place moves a reference from one holder, or from one
 * record, to another, in one step.
 */
typedef _Atomic uint64_t ledger_reference;

enum {
    HOLDER_PARCEL = 0xfffd, /* above all slots */
    HOLDER_NAME = 0xfffe,
};

static inline uint64_t ledger_reference_word(unsigned slot, uint64_t generation, uint32_t record)
{
    return (uint64_t)(slot + 1) << 48 | (generation & 0xffff) << 32 | record;
}

static inline uint64_t ledger_reference_word_of(unsigned holder, uint16_t index, uint32_t record)
{
    return (uint64_t)(holder + 1) << 48 | (uint64_t)index << 32 | record;
}

/* A session's slot, or a HOLDER_. */
static inline unsigned ledger_reference_slot(uint64_t word)
{
    return (unsigned)(word >> 48) - 1;
}

/* Of a holder that is no session. */
static inline uint16_t ledger_reference_index(uint64_t word)
{
    return (uint16_t)(word >> 32);
}

static inline uint32_t ledger_reference_record(uint64_t word)
{
    return (uint32_t)word;
}

/* A reference on its way: live while a reference's word has its index. */
struct ledger_parcel {
    uint64_t deadline; /* CLOCK_MONOTONIC in ns: of this boot, which the ledger does not outlive */
    uint64_t receiver; /* a session's ID; 0: whoever takes it first */
    uint32_t slot;     /* that session's */
    uint32_t uid;      /* of the sender */
};

/* A published name. It is live while a reference of HOLDER_NAME has its index, and never changes
 * then. */
struct ledger_name {
    char name[CODEC_NAME_MAX + 1];
    uint64_t sequence; /* of the change of the pool's names that published it */
    uint32_t uid;      /* who did */
    uint32_t gid;
};

/* What a session watches. */
struct ledger_watch {
    _Atomic uint64_t id; /* the number of the operation that made it; 0: none */
    uint32_t pool;
    uint32_t unused;
    char prefix[CODEC_NAME_MAX + 1];
};

/* In a session. */
#define LEDGER_WATCHES 8u

/* In a pool: one more than may be live, so that one can be replaced where all are. */
#define LEDGER_NAMES (NAMES_MAX + 1)

/*
 * One operation of a session. Written in this order: number 0, the intent, the number, then the
 * operation's own committing store, then value, then result. A crash leaves an entry without
 * result; ledger_journal_settle() finds out whether the committing store happened.
 */
struct ledger_entry {
    _Atomic uint64_t number;
    uint32_t op; /* Allot__Op */
    uint32_t pool;
    uint32_t record;
    uint32_t reference;
    union {
        _Atomic uint64_t old_word; /* what the committing store replaces … */
        uint64_t size;             /* of a lookup: its answer's size, written before its result */
    };
    _Atomic uint64_t new_word; /* … and by what */
    uint64_t value;            /* the answer's value */
    uint64_t generation;       /* the answer's, for a grant */
    _Atomic uint64_t result;   /* 0: not answered; else LEDGER_ANSWERED | Allot__Error */
};

#define LEDGER_ANSWERED (1ull << 32)

/*
 * A grant that waits has no result, and lies in the fields that it does not need yet: old_word is
 * LEDGER_WAITS | align_log2 << 48 | size, `value` the deadline, `generation` arrival << 32 | tag.
 * While nothing is intended, new_word is the same as old_word. What ends it is one store of another
 * new_word: the reference's word, if that becomes live, or LEDGER_REFUSES | error << 48 | value.
 */
#define LEDGER_WAITS    (1ull << 63)
#define LEDGER_REFUSES  (3ull << 62)
#define LEDGER_SIZE_MAX ((1ull << 48) - 1)

/* What an entry that waits holds. */
struct ledger_wait {
    uint64_t size;
    uint64_t align;
    uint64_t deadline; /* CLOCK_MONOTONIC in ns */
    uint32_t arrival;
    uint32_t tag;
};

struct ledger_session {
    _Atomic uint64_t id;  /* 0: the slot is free */
    uint64_t incarnation; /* of the process; see peer.h */
    uint32_t pid;
    uint32_t uid;
    uint32_t gid;
    _Atomic uint32_t ended; /* goodbye was said or the process is gone: what it holds is void */
    unsigned char secret[CODEC_SECRET_SIZE];
    _Atomic uint32_t attached; /* LEDGER_ATTACHED() bits of what it attached for */
    uint32_t starts;  /* of the daemon in a row that went no further on its socket than … */
    uint64_t reached; /* … the request of this index in the first frame */
};

/* Two bits a pool, by index: an Allot__Access. */
#define LEDGER_ATTACHED(pool, access) ((uint32_t)(access) << 2 * (pool))
_Static_assert(POOLS_MAX <= 16, "two bits a pool fit 32");

struct ledger_pool {
    char name[CODEC_NAME_MAX + 1]; /* empty: no pool here */
    char allocator[32];
    uint64_t size_max;
    uint64_t page_size;
    uint64_t ids;
    _Atomic uint64_t size;           /* bytes managed */
    _Atomic uint64_t generation;     /* of the last grant; the first is random, see pool.c */
    _Atomic uint32_t records_top;    /* records and references below these were used once; above, */
    _Atomic uint32_t references_top; /* the file is never read */
    _Atomic uint32_t names_top;      /* the same for names */
    uint32_t unused_32;
    _Atomic uint64_t names_sequence; /* changes of its names */
    uint64_t unused[12];
};

/* ---- the open ledger ---- */

struct ledger {
    int fd;
    char *base;
    struct ledger_pool *pools;       /* POOLS_MAX */
    struct ledger_session *sessions; /* SESSIONS_MAX */
};

/* Makes an empty ledger. 0 or -errno. */
int ledger_create(struct ledger *ledger);

/* Opens a ledger that another daemon left. -EBADMSG: unusable, and the log says why. Takes `fd`
 * over on success only. */
int ledger_adopt(struct ledger *ledger, int fd);

/* Unmaps and closes; the file lives on where others hold it. */
void ledger_close(struct ledger *ledger);

/* The records and references of pool `pool`, ALLOCATIONS_MAX each; readable only as far as
 * ledger_pool's tops or what ledger_commit_part() was asked for. */
struct ledger_record *ledger_records(const struct ledger *ledger, unsigned pool);
ledger_reference *ledger_references(const struct ledger *ledger, unsigned pool);

/* Backs `count` records and as many references of a pool, from number `from` on, with memory. 0 or
 * -errno. Thread-safe; it may block. */
int ledger_commit_part(const struct ledger *ledger, unsigned pool, uint32_t from, uint32_t count);

/* The parcels of a pool, PARCELS_MAX; readable once they have memory. */
struct ledger_parcel *ledger_parcels(const struct ledger *ledger, unsigned pool);
int ledger_commit_parcels(const struct ledger *ledger, unsigned pool); /* 0 or -errno */

/* The names of pool `pool`, LEDGER_NAMES, readable likewise. */
struct ledger_name *ledger_names(const struct ledger *ledger, unsigned pool);
int ledger_commit_names(const struct ledger *ledger, unsigned pool, uint32_t from, uint32_t count);

/* Punches a pool's part out of the file and clears its description; sessions forget that they have
 * attached or watch it. */
void ledger_clear_pool(const struct ledger *ledger, unsigned pool);

/* ---- sessions ---- */

/* Writes the record of a new session into a free slot, its journal empty, and gives it an ID that
 * was never used before. 0 or -errno. Any thread; one at a time for a slot. */
int ledger_session_open(struct ledger *ledger, unsigned slot, uint32_t pid, uint32_t uid,
                        uint32_t gid, uint64_t incarnation, uint64_t *ret_id);
/* Frees the slot; its journal's memory goes back to the system. Nothing refers to it any more. */
void ledger_session_close(const struct ledger *ledger, unsigned slot);

/* The slot of the session with this ID, or SESSIONS_MAX. Any thread: it may be free by now. */
unsigned ledger_session_find(const struct ledger *ledger, uint64_t id);

/* The session's watches, LEDGER_WATCHES. */
struct ledger_watch *ledger_watches(const struct ledger *ledger, unsigned slot);

/* ---- a session's journal ---- */

/* The entry that `number` uses: of CODEC_INFLIGHT_MAX, in turn. */
struct ledger_entry *ledger_entry(const struct ledger *ledger, unsigned slot, uint64_t number);

/* The highest number in the journal; 0 if there is none. */
uint64_t ledger_journal_last(const struct ledger *ledger, unsigned slot);

/* Takes the entry for a new operation. The intent proper follows with ledger_entry_intend(). */
void ledger_entry_begin(struct ledger_entry *entry, uint64_t number, Allot__Op op, unsigned pool);

/* Tells what the committing store will replace and by what, before it happens. */
void ledger_entry_intend(struct ledger_entry *entry, uint32_t record, uint32_t reference,
                         uint64_t old_word, uint64_t new_word);

/* Stores the answer: the operation is over, whatever happens now. */
static inline void ledger_entry_finish(struct ledger_entry *entry, Allot__Error error,
                                       uint64_t value, uint64_t generation)
{
    entry->value = value;
    entry->generation = generation;
    atomic_store_explicit(&entry->result, LEDGER_ANSWERED | (uint64_t)error, memory_order_release);
}

/* The entry, begun, waits from now on. size is LEDGER_SIZE_MAX at most. */
void ledger_entry_wait(struct ledger_entry *entry, const struct ledger_wait *wait);
/* What it waits for. */
struct ledger_wait ledger_entry_waiting(const struct ledger_entry *entry);
/* Whether it has ever waited; without a result it still does. */
bool ledger_entry_has_waited(const struct ledger_entry *entry);

static inline bool ledger_entry_waits(const struct ledger_entry *entry)
{
    return !entry->result && ledger_entry_has_waited(entry);
}

/* The answer to one that waits, if it is an error: `value` is LEDGER_SIZE_MAX at most. */
void ledger_entry_refuse(struct ledger_entry *entry, Allot__Error error, uint64_t value);

/*
 * After a crash: gives every entry without a result the result of what was committed. An operation
 * that was not committed has not happened; its entry is emptied, so that the same request runs
 * anew, or waits on.
 */
void ledger_journal_settle(const struct ledger *ledger, unsigned slot);

#endif
