/* SPDX-License-Identifier: MIT */
/*
 * What a session waits for, from its side: requests in the queues of pools (waits.h), tried when
 * their turn may have come, ended at their deadlines, answered when the connection takes it. All
 * functions are called on the session's loop, or before the loops run.
 */
#ifndef ALLOTD_PENDING_H
#define ALLOTD_PENDING_H

#include "session.h"

/* For a request that may have to wait; it is in no queue yet. NULL without memory. */
struct wait *pending_wait(struct session *s, uint64_t number);
/* The pool has queued it: it ends at its deadline, if not before. */
void pending_begin(struct session *s, const struct wait *w);

/* Nobody waits for this one any more, and its number is another request's. It may have been given
 * up before: for one that its round had no room for. */
void pending_give_up(struct session *s, uint64_t number);

/* Takes up what an earlier daemon left waiting in the session's journal, and what it may not have
 * answered where the connection is still the same. 0 or -ENOMEM. */
int pending_adopt(struct session *s, bool connected);

/* The next answer that has not been sent, by rising number. False where there is none. */
bool pending_answer(struct session *s, uint64_t *ret_number, const struct ledger_entry **ret_entry);
/* The connection is gone: what is not sent will be asked for again. */
void pending_disconnected(struct session *s);

/* Nothing is waited for any more; the journal keeps it, for another daemon. */
void pending_leave(struct session *s);
/* Whether memory is being committed for it: not to be closed yet. */
bool pending_is_busy(const struct session *s);
/* Closes its handles; `closed` is called for each. How many there are. */
unsigned pending_close(struct session *s, uv_close_cb closed);
void pending_free(struct session *s);

#endif
