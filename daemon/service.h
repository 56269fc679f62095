/* SPDX-License-Identifier: MIT */
/*
 * The service: one frame in, answers out. The one switch over operations; rights are checked here.
 * Called on the session's own loop.
 */
#ifndef ALLOTD_SERVICE_H
#define ALLOTD_SERVICE_H

#include "replies.h"
#include "session.h"

/* What a frame may be served with: shared by all connections of a loop. */
struct service {
    struct sessions *sessions;
    uv_loop_t *loop;
    struct codec_arena arena;
    struct replies replies;
};

enum service_step {
    SERVICE_DONE,  /* answered, or refused: consume the frame */
    SERVICE_WAIT,  /* s->resume will be called: then serve the same frame again */
    SERVICE_CLOSE, /* answered, and the session is over: consume, send, close */
};

/*
 * Serves one frame. *session is NULL until a hello made it. `socket_fd` tells who a hello comes
 * from. At most `room` operations are carried out in it; *ret_operations tells how many numbers it
 * takes, and where that is more than `room`, nothing was done (SERVICE_DONE and no answer): serve
 * it again in a later round.
 */
enum service_step service_frame(struct service *service, struct session **session, int socket_fd,
                                const void *frame, size_t size, unsigned room,
                                unsigned *ret_operations);

/* Refuses the frame as a whole; `number` is the request's, or 0. */
void service_refuse(struct service *service, uint64_t number, Allot__Error why);

#endif
