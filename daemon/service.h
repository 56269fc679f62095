/* SPDX-License-Identifier: MIT */
/*
 * The service: one request in, answers out. The one switch over operations; rights are checked
 * here. Called on the session's own loop.
 */
#ifndef ALLOTD_SERVICE_H
#define ALLOTD_SERVICE_H

#include "expiry.h"
#include "replies.h"
#include "session.h"

/* What a request is served with: shared by all connections of a loop. */
struct service {
    struct sessions *sessions;
    uv_loop_t *loop;
    uv_loop_t *home; /* with SERVICE_MOVE: where to */
    bool poisoned;   /* the request must not be carried out: each operation is INTERNAL */
    struct codec_arena arena;
    struct replies replies;
    struct expiry expiry;
};

enum service_step {
    SERVICE_DONE,  /* answered, or refused */
    SERVICE_WAIT,  /* s->resume will be called: then serve the same request again */
    SERVICE_PAUSE, /* answered; s->resume will be called: then serve what follows */
    SERVICE_CLOSE, /* answered, and the session is over: consume, send, close */
    SERVICE_MOVE,  /* the session is another loop's: hand the socket over there, unread */
};

/*
 * Serves one request. *session is NULL until a hello made it. `socket_fd` tells who a hello comes
 * from. *ret_operations is how many numbers it takes. Where that is more than `room`, nothing was
 * done (SERVICE_DONE and no answer): serve it again in a later round. `taken` is how many the
 * requests before it in its frame took; together they may not be more than fit a journal.
 */
enum service_step service_request(struct service *service, struct session **session, int socket_fd,
                                  const void *bytes, size_t size, unsigned taken, unsigned room,
                                  unsigned *ret_operations);

/* Refuses a request, or a frame that is none, as a whole; `number` and `attempt` are the request's,
 * or 0. */
void service_refuse(struct service *service, uint64_t number, uint64_t attempt, Allot__Error why);

#endif
