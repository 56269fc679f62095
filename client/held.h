/* SPDX-License-Identifier: MIT */
/*
 * What this process holds: how often each allocation was taken. The daemon has one reference a
 * session and allocation; here it is counted, so that only the first taking and the last giving
 * back are told to it.
 *
 * All functions are thread-safe, each by itself; a forked child must not call them.
 */
#ifndef ALLOT_HELD_H
#define ALLOT_HELD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allot.h"

struct held_entry;

struct held {
    pthread_mutex_t lock;
    pthread_cond_t settled; /* an entry is not under way any more */
    struct held_entry *entries;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
    size_t promised;       /* places for held_put() to come */
    uint64_t asked;        /* beginnings and ends of what the daemon was asked */
    _Atomic size_t frozen; /* entries that are */
};

void held_init(struct held *h);
void held_deinit(struct held *h);
/* In a child: without the lock, which another thread may have held. */
void held_deinit_inherited(struct held *h);

/* Sees to it that the next `n` held_put() find room. False without memory. */
bool held_promise(struct held *h, size_t n);
/* `n` of them will not come. */
void held_unpromise(struct held *h, size_t n);
/* A grant: taken once. What stood at its place is over, or the daemon would not have granted it. */
void held_put(struct held *h, const struct allot_ticket *ticket, uint64_t size);

enum held_step {
    HELD_DONE,  /* counted; nothing is to be told */
    HELD_ASK,   /* the daemon is to be asked; held_settle() must follow */
    HELD_OTHER, /* not known here: the daemon is to be asked, and that is all */
    HELD_WRONG, /* what is held there is something else, or has another size */
    HELD_NO_MEMORY,
    HELD_LATE, /* another thread's request for it is under way for longer than the time-out */
};

/* Takes once more. HELD_DONE: *ret_size is set. HELD_ASK also while another thread's giving back is
 * under way: it is waited for. */
enum held_step held_take(struct held *h, const struct allot_ticket *ticket, int timeout_ms,
                         uint64_t *ret_size);

/* Gives back once what is at ticket->place. A generation or a size of 0 is not compared. HELD_ASK:
 * it was the last, and *ticket is whole. */
enum held_step held_give(struct held *h, struct allot_ticket *ticket, uint64_t size);

/*
 * What the daemon found for this process, and took for it unless it had it: taken once more. `mark`
 * is held_mark()'s from before the daemon was asked. False where something was given back
 * meanwhile, which may have been this: then it is to be taken by its ticket. Uses up one promise.
 */
uint64_t held_mark(struct held *h);
bool held_found(struct held *h, const struct allot_ticket *ticket, uint64_t size, uint64_t mark,
                int timeout_ms);

/* The daemon's answer to what HELD_ASK was for: whether this session holds it now. Nothing happens
 * where its place was granted anew since. */
void held_settle(struct held *h, const struct allot_ticket *ticket, bool holds);

/* What is at the place has this size: it was resized, or its size was learned when it was taken. */
void held_resize(struct held *h, uint64_t place, uint64_t size);

/* Whether this process knows that what it holds at the place has another size. */
bool held_has_other_size(struct held *h, uint64_t place, uint64_t size);

/* What the ticket names is frozen, as this process has learned; nothing where it is not held. */
void held_freeze(struct held *h, const struct allot_ticket *ticket);

/* Whether what is held at the place is known to be frozen. Without the lock while nothing is. */
bool held_is_frozen(struct held *h, uint64_t place);

/* The ticket's generation; 0 where nothing is held at the place. */
uint64_t held_generation(struct held *h, uint64_t place);

#endif
