/* SPDX-License-Identifier: MIT */
/*
 * A daemon, as far as sessions need it, that is killed anywhere in what it does, instruction by
 * instruction, and started again; see step.h.
 *
 * After each start: what the other session holds is untouched, and so is what has a name; the
 * session goes on with all that it held, or nothing is left of it; its slot is free only then, and
 * who gets it next finds no trace of it.
 */
#ifndef ALLOT_TEST_VICTIM_H
#define ALLOT_TEST_VICTIM_H

#include "image.h"
#include "session.h"

#define PAGE   4096u
#define REGION (64ull * PAGE)
#define GRANTS 4u           /* to each session */
#define HELD   (GRANTS + 2) /* by SLOT: one of the other's, and one on its way from there as well */

struct victim {
    struct ledger ledger; /* as it is seen from beside the daemon */
    int region;
    const struct config *config; /* of the next start */
    struct store store;
    struct sessions sessions;
    uv_loop_t loop;
    struct session *session; /* in SLOT; NULL: none */
    uint64_t last_id;        /* that the slot has had */
};

/* With one pool, and with another, whose name takes several stores. */
#define MORE "one-more-pool-with-a-name-that-is-long"
extern const struct config victim_config;
extern const struct config victim_config_more;

/* Both sessions hold something of every kind, and one block together; each has an operation that
 * was committed and not answered. No daemon runs yet. */
void victim_make(struct victim *v);

/* As a daemon starts. False where it refuses the ledger. */
bool victim_start(struct victim *v);
void victim_stop(struct victim *v);

/* Opens a session of this process: its ID. */
uint64_t victim_open_slot(struct victim *v, unsigned slot);

/* One operation on the first pool, which must succeed: op, position, generation and name are set.
 */
struct pool_operation victim_do(struct victim *v, unsigned slot, uint64_t number,
                                struct pool_operation o);

/* Ends SLOT's session, as its process's death does, and sees it through. */
void victim_end_session(struct victim *v);

/* What is done, and what may have come of it. */
struct life {
    const char *name;
    void (*act)(void *victim, void *arg);
    unsigned held;   /* by SLOT, while the session is there */
    bool is_new;     /* it can only be there as a new one */
    bool is_gone;    /* its process is */
    unsigned every;  /* see struct stepping */
    unsigned states; /* at least */
    /* What is wrong beside all that, in a daemon that runs again; NULL: nothing. */
    const char *(*judge)(struct victim *v);
};

/* Steps through it, starts a daemon after each instruction that has changed the ledger, and ends
 * the victim. */
void victim_run(struct victim *v, const struct life *life);

#endif
