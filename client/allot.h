/* SPDX-License-Identifier: MIT */
/*
 * liballot: shared memory from allotd.
 *
 * A program opens a session (struct allot), attaches pools (struct allot_pool: a mapping of the
 * pool's whole region), and asks for blocks, pages and IDs. What it gets are offsets: plain 64-bit
 * numbers that mean the same bytes in every process attached to the pool. Send them through any
 * channel; allot_ptr() makes a pointer of one, allot_offset() an offset of a pointer.
 *
 * Errors. Every function that can fail returns 0 or a negative code from the list below; on failure
 * nothing has changed and no output is set, except where a function says otherwise.
 *
 * Waiting. A call blocks until the daemon has answered, for as long as the session's time-out
 * (allot_set_timeout(), 5 s at first). After TIMEOUT and DISCONNECTED it is unknown whether the
 * daemon carried the operation out; what it granted then belongs to the session and is freed with
 * it.
 *
 * A signal neither breaks a call nor lengthens it. No function may be called from a signal handler,
 * and no thread may be cancelled while it is in a function.
 *
 * Threads. All functions may be called from any thread at any time, except that allot_close() and
 * allot_detach() must not run beside other calls on the same session or pool. Calls of several
 * threads share the connection and do not wait for each other's answers.
 *
 * Fork. The child has no session: in it every call returns ALLOT_E_FORKED (allot_close() and
 * allot_detach() only free what is the child's own), and the pool is not mapped: allot_ptr() gives
 * NULL. It can open a session of its own.
 *
 * Death. When the process ends, all that it held is free again, but for what others hold too. When
 * the daemon ends, mappings stay readable and writable, and calls wait for the next one: the
 * library connects again and goes on, and every operation takes effect once. DISCONNECTED: no
 * daemon came in time, or none whose socket lets this process in; later calls try again. POOL_GONE,
 * from then on from each call: one came that has not kept the pools; what is mapped stays, and a
 * new session may be opened. A session is also at its end when the two sides no longer agree what
 * was asked (a cut or garbled answer, a request refused while others were behind it), or when the
 * next daemon speaks no protocol version of ours: from then on each call returns the same
 * FRAME_SIZE, MALFORMED, SEQUENCE or VERSION.
 */
#ifndef ALLOT_H
#define ALLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define ALLOT_VERSION "0.1.0"

/* Said by the daemon: the numbers are those of `enum Error` in allot.proto. */
#define ALLOT_E_INVALID       (-1) /* invalid parameter: zero, overflow, bad alignment, out of bounds */
#define ALLOT_E_OVERLAP       (-2)  /* the range overlaps one that is already managed or taken */
#define ALLOT_E_NO_MEMORY     (-3)  /* no free range is large enough, or no metadata memory */
#define ALLOT_E_NOT_ALLOCATED (-4)  /* nothing of that position and size is allocated */
#define ALLOT_E_NOT_OWNER     (-5)  /* it is allocated, but this session does not hold it */
#define ALLOT_E_NO_POOL       (-6)  /* no such pool */
#define ALLOT_E_DENIED        (-7)  /* the pool's access rule does not give this right */
#define ALLOT_E_QUOTA         (-8)  /* the user's quota in this pool does not allow it */
#define ALLOT_E_COMMIT        (-9)  /* the system has no memory for it */
#define ALLOT_E_FRAME_SIZE    (-10) /* a frame was too long and was cut */
#define ALLOT_E_MALFORMED     (-11) /* a frame was not understood */
#define ALLOT_E_UNKNOWN       (-12) /* the daemon does not know this operation */
#define ALLOT_E_BATCH         (-13) /* too many items in a batch */
#define ALLOT_E_HELLO         (-14) /* a request before hello, or a second hello */
#define ALLOT_E_VERSION       (-15) /* the daemon speaks no protocol version of ours */
#define ALLOT_E_SEQUENCE      (-16) /* a request's number is out of order */
#define ALLOT_E_LIMIT         (-17) /* a limit on sessions, allocations or names is reached */
#define ALLOT_E_INTERNAL      (-18) /* the daemon failed; its log says how */
#define ALLOT_E_SHARED        (-19) /* others hold it too, so it cannot be changed */
#define ALLOT_E_SESSION       (-20) /* no such session; the library says POOL_GONE for its own */
#define ALLOT_E_FROZEN        (-21) /* it is frozen, so it cannot be changed */
#define ALLOT_E_DEADLINE      (-22) /* it has waited for room in vain */
#define ALLOT_E_EXISTS        (-23) /* the name is taken */
#define ALLOT_E_NO_NAME       (-24) /* nothing of that name is published */
/* Said by the library. */
#define ALLOT_E_TIMEOUT      (-32) /* the deadline passed before an answer came */
#define ALLOT_E_DISCONNECTED (-33) /* the daemon is gone, or never was there */
#define ALLOT_E_FORKED       (-34) /* the session belongs to the parent process */
#define ALLOT_E_PATH         (-35) /* the socket's path is too long (107 bytes) or empty */
#define ALLOT_E_SYSTEM       (-36) /* a system call failed; errno says why */
#define ALLOT_E_POOL_GONE    (-37) /* the daemon lost what it kept: the session is over */

/* A sentence in English for any code, known or not; static, never NULL. */
const char *allot_strerror(int code);

/* A session and a pool, opaque. */
struct allot;
struct allot_pool;

/* ---- session ---- */

/*
 * Connects to the daemon at `socket_path` and opens a session. NULL: the environment's
 * ALLOT_SOCKET, else /run/allot/allot.sock. A relative path is looked up again, from where the
 * process is then, when the connection is lost. The caller ends it with allot_close().
 * PATH, DISCONNECTED (nobody listens there, or all who did hung up), DENIED (by the socket's mode),
 * VERSION, LIMIT, SYSTEM, TIMEOUT.
 */
int allot_open(struct allot **ret, const char *socket_path);

/* Detaches all pools (their handles are gone too), says goodbye (all that the session held is free
 * then) and frees `a`, which may be NULL. Never fails: where the daemon cannot be told, the
 * process's end will tell it. */
void allot_close(struct allot *a);

/* Milliseconds that each call begun from here on may take; -1 for ever, 0 is invalid. */
int allot_set_timeout(struct allot *a, int timeout_ms);

/* A round trip. */
int allot_ping(struct allot *a);

/* What crossed the session's socket so far, as this side counts it. */
struct allot_traffic {
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t calls; /* requests sent */
};
void allot_traffic(struct allot *a, struct allot_traffic *ret);

/* The session's ID in the daemon's lists. */
uint64_t allot_session_id(const struct allot *a);

/* ---- pool ---- */

enum allot_access { ALLOT_READ = 1, ALLOT_WRITE = 2 };

/* Maps the pool `name` (NULL: "default"). ALLOT_READ maps it read-only and allows no allocations.
 * The pool belongs to the session; attaching twice gives two mappings. NO_POOL, DENIED, SYSTEM. */
int allot_attach(struct allot *a, const char *name, enum allot_access access,
                 struct allot_pool **ret);

/* Unmaps and frees `p`, which may be NULL. What was allocated stays allocated. Core dumps leave the
 * mapping out: they would hold all processes' data and commit every hole of the region. */
void allot_detach(struct allot_pool *p);

/* Bytes from the region's start that are mapped: every offset is below this. */
uint64_t allot_pool_size(const struct allot_pool *p);
uint64_t allot_page_size(const struct allot_pool *p);

/* The address of an offset in this process; NULL for 0, for what is out of the region, where a
 * block or run of pages starts that this process knows to be frozen, and in a forked child. Nothing
 * is asked of the daemon, so a stale offset gives an address too. No system call; no lock while the
 * process holds nothing that is frozen. */
void *allot_ptr(const struct allot_pool *p, uint64_t offset);
/* The same for reading, frozen or not, in a mapping of its own: to write through it is a fault. */
const void *allot_const_ptr(const struct allot_pool *p, uint64_t offset);
/* The offset of an address in either mapping; 0 for any other address. */
uint64_t allot_offset(const struct allot_pool *p, const void *ptr);

/* Lets the pool manage `bytes` more of its region, in whole pages; *ret_size (may be NULL) is what
 * it manages then. INVALID past its maximum. */
int allot_add_memory(struct allot_pool *p, uint64_t bytes, uint64_t *ret_size);

/* ---- bytes ---- */

#define ALLOT_ZEROED 1u /* the block's bytes are 0; otherwise they are anything */

/* How to allocate; NULL where a function takes it means all zero. */
struct allot_options {
    uint64_t align; /* bytes (for IDs: a number), a power of two; 0: 16 bytes, one page, one ID */
    uint32_t tag;   /* for the daemon's statistics, which tell 16,384 apart */
    uint32_t flags; /* ALLOT_ZEROED */
    /*
     * Milliseconds to wait for room instead of being refused with NO_MEMORY or QUOTA; 0: not at
     * all. What the pool or the quota could never grant is refused at once. Who waits in a pool is
     * served in order of arrival, also by a daemon that comes after this one; but who does not
     * wait may be served before. A wait in vain ends with DEADLINE, and allot_last_limit() tells
     * what would have fitted then. The call may take so much longer than the session's time-out.
     * Other calls of the session go on meanwhile, up to 255 of them. Not for batches (BATCH), nor
     * at a place, where it is ignored.
     */
    uint64_t wait_ms;
};

/*
 * A block of `size` bytes, 1 or more. The memory is there: touching it never raises SIGBUS.
 * INVALID, NO_MEMORY, QUOTA, DEADLINE (allot_last_limit() tells what would fit), COMMIT, DENIED,
 * LIMIT.
 */
int allot_alloc(struct allot_pool *p, uint64_t size, const struct allot_options *options,
                uint64_t *ret_offset);

/* Gives back what this process took once: its own grant or what it acquired. The last one to do so,
 * in any process, frees the block. NOT_ALLOCATED, NOT_OWNER. */
int allot_free(struct allot_pool *p, uint64_t offset);
/* The same; refused with NOT_ALLOCATED where the block's size is not exactly `size`. */
int allot_free_sized(struct allot_pool *p, uint64_t offset, uint64_t size);

/*
 * Makes the block `size` bytes long, in place where it can, else by allocating (as `options` say),
 * copying and freeing; *ret_offset is where it is then. The first min(old, new) bytes are kept;
 * with ALLOT_ZEROED the bytes after them are 0. `old_size` is its present size, else NOT_ALLOCATED.
 * A block that others hold too, or that is frozen, is never changed: it is copied. On failure the
 * block is as it was; after TIMEOUT or DISCONNECTED either place may still be allocated.
 */
int allot_realloc(struct allot_pool *p, uint64_t offset, uint64_t old_size, uint64_t size,
                  const struct allot_options *options, uint64_t *ret_offset);

/* How many bytes from `offset` on belong to the block: at least the size asked for. The right to
 * read is enough. NOT_ALLOCATED, NOT_OWNER. */
int allot_usable_size(struct allot_pool *p, uint64_t offset, uint64_t *ret_size);

/* What the calling thread's last NO_MEMORY, QUOTA or DEADLINE refusal named: the largest size
 * (count of pages or IDs for those calls) that would have been granted. 0 before the first. */
uint64_t allot_last_limit(void);

/* ---- batches ---- */

#define ALLOT_BATCH_MAX 256 /* items in one call */

/*
 * `n` operations, 1 to ALLOT_BATCH_MAX, in one round trip. Each item ends by itself: codes[i] is 0
 * or its error, and offsets[i] is set where it is 0. `codes` may be NULL. Returns 0 when all ended
 * well, the first item's error where one did not (the others stand), or another error where nothing
 * is known (TIMEOUT, DISCONNECTED) or nothing was done (all others).
 */
int allot_alloc_batch(struct allot_pool *p, size_t n, const uint64_t *sizes,
                      const struct allot_options *options, uint64_t *offsets, int *codes);
int allot_free_batch(struct allot_pool *p, size_t n, const uint64_t *offsets, int *codes);

/* ---- pages: counts in pages, positions in bytes ---- */

/* OVERLAP: a page of the run is taken. Other errors as allot_alloc(). */
int allot_alloc_pages(struct allot_pool *p, uint64_t pages, const struct allot_options *options,
                      uint64_t *ret_offset);
int allot_alloc_pages_at(struct allot_pool *p, uint64_t offset, uint64_t pages,
                         const struct allot_options *options);
/* The whole run, as it was granted; `pages` 0 is not compared. */
int allot_free_pages(struct allot_pool *p, uint64_t offset, uint64_t pages);

/* ---- IDs: one space a pool, from 1 ---- */

int allot_alloc_ids(struct allot_pool *p, uint64_t count, const struct allot_options *options,
                    uint64_t *ret_first);
int allot_alloc_ids_at(struct allot_pool *p, uint64_t first, uint64_t count,
                       const struct allot_options *options);
/* The whole range, as it was granted; `count` 0 is not compared. */
int allot_free_ids(struct allot_pool *p, uint64_t first, uint64_t count);

/* ---- references ---- */

/*
 * An allocation lives until nobody holds it any more. Whoever is granted it holds it; others may,
 * with its ticket, as long as somebody does. What a process has taken n times (granted, acquired)
 * it gives back n times, with allot_release() or the free of its kind, which are the same (but a
 * pool attached for reading allows no frees); its end gives back all. The quota of the user whom it
 * was granted to is charged until the last one goes.
 *
 * A ticket is two numbers that mean the same in every process: send them over any channel. It names
 * this one grant for ever. Once that is over, or if its numbers were never given out, it names
 * nothing: NOT_ALLOCATED.
 */
struct allot_ticket {
    uint64_t place; /* pool, kind and position */
    uint64_t generation;
};

/* The ticket of the block or run of pages at `offset`, or of the range of IDs from `first` on, that
 * this process holds. No system call. NOT_OWNER. */
int allot_ticket(struct allot_pool *p, uint64_t offset, struct allot_ticket *ret);
int allot_id_ticket(struct allot_pool *p, uint64_t first, struct allot_ticket *ret);

/* Takes what the ticket names, which must be of this pool; reading is right enough. *ret_position
 * is its offset, or its first ID; *ret_size (may be NULL) what was asked for: bytes, or IDs. Where
 * this process holds it already nothing is asked of the daemon. NOT_ALLOCATED. */
int allot_acquire(struct allot_pool *p, const struct allot_ticket *ticket, uint64_t *ret_position,
                  uint64_t *ret_size);

/* Gives back once. NOT_ALLOCATED; NOT_OWNER where this process holds none of it. */
int allot_release(struct allot_pool *p, const struct allot_ticket *ticket);

/*
 * Sends what this process holds to another session (allot_session_id() there), or with `receiver` 0
 * to whoever acquires it first: it lives until then, whatever becomes of the sender, but no longer
 * than until the receiver ends or the deadline, `deadline_ms` from now, has passed. The ticket
 * itself goes through any channel; the receiver takes what it names by allot_acquire(), once.
 * Others who acquire it do not take it from the receiver. (Acquiring what a process holds already
 * is only counted there, so a parcel that reaches it then is over with its deadline.) INVALID (no
 * deadline), SESSION (no such receiver), NOT_ALLOCATED, NOT_OWNER; LIMIT: as many are on their way
 * as may be.
 */
int allot_send(struct allot_pool *p, const struct allot_ticket *ticket, uint64_t receiver,
               uint64_t deadline_ms);

/*
 * Freezes what this process holds, for good. THIS DOES NOT STOP A PROCESS THAT MAPS THE POOL
 * WRITABLE: it can write to every byte of it, frozen or not, by a pointer that it has. The kernel
 * keeps out only those who attached for reading. What freezing does: the size never changes any
 * more, and in every process that knows it (this one, and who acquires it from here on) the library
 * gives no pointer to write to it. Needs the right to write. NOT_ALLOCATED, NOT_OWNER, DENIED.
 */
int allot_freeze(struct allot_pool *p, const struct allot_ticket *ticket);

/* ---- names ---- */

/*
 * A name holds what it names as a process does, and is found by any process that may read the pool:
 * what was published outlives its publisher. A name is 1 to ALLOT_NAME_MAX bytes of UTF-8 without
 * control characters; names are compared byte by byte, within one pool.
 */
#define ALLOT_NAME_MAX 63
#define ALLOT_REPLACE  1u /* also where the name is taken, by this user */

/* Gives the name to what the ticket names, which this process must hold. `flags`: ALLOT_REPLACE;
 * who looks the name up then gets the old one or the new one, at every moment. INVALID (no name),
 * NOT_ALLOCATED, NOT_OWNER, EXISTS, DENIED (no right to write, or another user's name), QUOTA (of
 * names), LIMIT. */
int allot_publish(struct allot_pool *p, const char *name, const struct allot_ticket *ticket,
                  unsigned flags);

/* Takes the name away; what it named lives on while others hold it. Root and the daemon's own user
 * may do that to any name. NO_NAME; DENIED as above. */
int allot_unpublish(struct allot_pool *p, const char *name);

/* Takes what the name names, as allot_acquire() does; give it back with allot_release() or
 * allot_free(). Each `ret` may be NULL: the ticket; the offset or the first ID; what was asked for,
 * bytes or IDs. NO_NAME, LIMIT. */
int allot_lookup(struct allot_pool *p, const char *name, struct allot_ticket *ret_ticket,
                 uint64_t *ret_position, uint64_t *ret_size);

struct allot_name_info {
    char name[ALLOT_NAME_MAX + 1];
    struct allot_ticket ticket;
    uint64_t size;     /* as asked for: bytes or IDs */
    uint64_t sequence; /* of the change that made it so, among those of the pool's names */
    uint32_t uid, gid; /* who published it */
};

/* Calls `visit` for every name that begins with `prefix` (NULL: all), in the order of their bytes;
 * nothing is taken. As the lists below; INVALID where `prefix` is longer than a name. */
int allot_list_names(struct allot_pool *p, const char *prefix,
                     int (*visit)(void *ctx, const struct allot_name_info *), void *ctx);

/* ---- watching names ---- */

#define ALLOT_WATCHES_MAX 8 /* of one session */

enum allot_event_kind {
    ALLOT_STATE = 1, /* what follows is all there is: forget what you were told */
    ALLOT_COMPLETE,  /* that was all; changes follow */
    ALLOT_APPEARED,
    ALLOT_CHANGED, /* the name names something else */
    ALLOT_GONE,
};

struct allot_event {
    uint64_t watch;    /* whose event it is */
    uint64_t sequence; /* of the change, as in allot_name_info */
    enum allot_event_kind kind;
    const char *name;           /* until the callback returns; empty for STATE and COMPLETE */
    struct allot_ticket ticket; /* of APPEARED and CHANGED; nothing is taken */
};

/*
 * Watches the pool's names that begin with `prefix` (NULL: all). `told` is called by
 * allot_process() only: at first with the present state, and with it again after changes were
 * missed (a daemon that was replaced, a program that was slow for long). An event tells how a name
 * is, not all that happened to it, and may come twice. While the user has no right to read nothing
 * is told; then what was missed. The watch ends with allot_unwatch(), or with its pool. INVALID (a
 * prefix longer than a name), LIMIT, DENIED.
 */
int allot_watch(struct allot_pool *p, const char *prefix,
                void (*told)(void *ctx, const struct allot_event *event), void *ctx,
                uint64_t *ret_watch);
/* Where it is called in `told`, nothing more of this watch is told. INVALID. */
int allot_unwatch(struct allot *a, uint64_t watch);

/* A descriptor for poll(2) and its like, for reading only: when it is readable, allot_process() is
 * to be called. Sometimes there is nothing to do then. It belongs to the session. SYSTEM. */
int allot_fd(struct allot *a, int *ret_fd);

/* Takes in what the daemon has told and calls the callbacks, which may call the session; what is
 * told meanwhile makes the descriptor readable again. Does not wait, but for an answer where a
 * state is asked for again, and 50 ms where no daemon is there; it is then tried again. One thread
 * at a time. What ended the session, else 0. */
int allot_process(struct allot *a);

/* ---- statistics ---- */

struct allot_pool_info {
    uint32_t pool; /* the daemon's number for it */
    char name[64];
    char allocator[32];
    enum allot_access access;                /* 0: none */
    uint64_t page_size, size, size_max;      /* bytes */
    uint64_t committed_bytes, used_bytes;    /* backed by memory; asked for */
    uint64_t largest_free;                   /* bytes */
    uint64_t free_pages, largest_free_pages; /* pages */
    uint64_t heap_bytes, heap_free_bytes;    /* held by the byte allocator; of these, free */
    uint64_t blocks, page_runs, id_ranges;   /* live allocations */
    uint64_t ids, ids_used;
    uint64_t names;          /* published */
    uint64_t metadata_bytes; /* the daemon's own memory for the pool */
};

struct allot_tag_info {
    uint32_t tag;
    uint64_t allocations, bytes, ids;
};

struct allot_session_info {
    uint64_t session;
    uint32_t pid, uid, gid;
    bool connected; /* false: its socket is closed but the process still runs */
    uint64_t allocations, bytes, ids;
    uint64_t operations, bytes_received, bytes_sent; /* as the daemon counts them */
};

/* Each calls `visit` for every entry, in rising order; a value other than 0 from it ends the list
 * and is returned. `visit` may call the session. Long lists take several calls, so entries that
 * come or go meanwhile may be missed or seen. */
int allot_list_pools(struct allot *a, int (*visit)(void *ctx, const struct allot_pool_info *),
                     void *ctx);
int allot_list_tags(struct allot *a, uint32_t pool,
                    int (*visit)(void *ctx, const struct allot_tag_info *), void *ctx);
int allot_list_sessions(struct allot *a, int (*visit)(void *ctx, const struct allot_session_info *),
                        void *ctx);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
