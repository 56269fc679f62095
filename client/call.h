/* SPDX-License-Identifier: MIT */
/* Calls of many threads over one connection: numbering, the window in flight, who receives. */
#ifndef ALLOT_CALL_H
#define ALLOT_CALL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allot.h"
#include "codec.h"
#include "connection.h"

/* One request and where its answers go. The caller fills in the first part and zeroes the rest. */
struct call {
    uint64_t *values; /* one an operation, as are the codes */
    int *codes;
    uint64_t *generations; /* likewise, or NULL */
    uint64_t *sizes;       /* likewise */
    void *frame; /* CODEC_FRAME_MAX bytes for the reply as it came, or NULL where nobody wants it */
    bool wants_fd;
    uint64_t wait_ms; /* that the daemon may take longer */

    size_t frame_size; /* 0: no reply with a frame came */
    int fd;            /* with wants_fd: connection_receive()'s, the caller's to close */

    /* Private, under the lock. */
    Allot__Request *request;
    uint64_t attempt; /* of its last sending */
    uint64_t number;
    unsigned count, answered;
    int result;
    bool sleeping;
    pthread_cond_t wake;
    struct call *next;
};

struct call_totals {
    uint64_t bytes_sent, bytes_received, calls;
};

struct calls {
    struct connection connection; /* the leader's, while it is lost */
    char path[108];
    uint64_t session; /* 0 before the first hello */
    unsigned char secret[CODEC_SECRET_SIZE];
    pthread_mutex_t lock;  /* everything below but the leader's part */
    atomic_int timeout_ms; /* read without the lock, too */
    bool lost;             /* the connection is; the leader makes another */
    bool closing;          /* a lost connection is not worth another any more */
    atomic_int broken;     /* why nothing works any more, or 0; read without the lock, too */
    int broken_errno;
    bool led;            /* some thread receives, */
    bool takes_fd;       /* and has room for a descriptor */
    unsigned fds_wanted; /* calls in progress that want a descriptor */
    uint64_t attempts;   /* requests sent, those sent again counted again */
    uint64_t next;       /* the next operation's number */
    /* The first number of the first call that is unanswered; `next` when there is none. */
    uint64_t oldest;
    unsigned window; /* operations that may be unanswered, CODEC_INFLIGHT_MAX at most */
    unsigned batch_max;
    bool pending[CODEC_INFLIGHT_MAX];        /* by number: unanswered */
    struct call *waiter[CODEC_INFLIGHT_MAX]; /* of these; NULL: nobody waits any more */
    struct call *queue, **queue_end;         /* calls that could not be sent yet */
    struct call_totals totals;
    void (*on_events)(void *ctx, const Allot__Reply *); /* under the lock */
    void *ctx;
    int poll_fd;  /* an epoll over the connection and the timer, or -1 */
    int timer_fd; /* expires when there is something to be done that the connection does not tell */
    unsigned char out[CODEC_FRAME_MAX];

    /* The leader's. */
    unsigned char in[CODEC_FRAME_MAX];
    struct codec_arena arena;
};

/* Connects, and opens a session; *s is all zero before. On failure nothing is left. */
int calls_open(struct calls *s, const char *path, int timeout_ms);
/* No thread may be in a call. */
void calls_deinit(struct calls *s);
/* In a forked child: frees without touching locks that another thread may have held. */
void calls_deinit_inherited(struct calls *s);

void calls_set_timeout(struct calls *s, int timeout_ms);
struct call_totals calls_totals(struct calls *s);

/* What is lost from here on is not connected again: goodbye comes next. */
void calls_closing(struct calls *s);

/* *ret_fd becomes readable when calls_receive() has something to do; it stays the session's. */
int calls_poll(struct calls *s, int *ret_fd);
/* Lets it be readable after so many nanoseconds, 1 or more. */
void calls_ring_locked(struct calls *s, uint64_t after_ns);
/* Receives what is there, where no other thread does so already. Does not wait, but where the
 * connection is lost: then it tries once to make another, for RECONNECT_MS at most. */
int calls_receive(struct calls *s);

/*
 * Sends the request (its number is filled in here) and waits for all its answers. 0 when they came:
 * codes and values are set. Else a negative code: one of the daemon's where the request was refused
 * as a whole, BATCH or FRAME_SIZE where it was not sent, TIMEOUT, DISCONNECTED, SYSTEM, or what
 * broke the session.
 */
int call_run(struct calls *s, Allot__Request *request, struct call *call);

/* Whether nobody knows what the daemon did. */
static inline bool call_is_unknown(int code)
{
    return code == ALLOT_E_TIMEOUT || code == ALLOT_E_DISCONNECTED;
}

/* ---- between call.c, hello.c and poll.c ---- */

/* How long a thread waits before it tries to connect again: at first as long as a daemon needs to
 * start, in the end so that many clients together are no load. */
#define RETRY_MIN_NS UINT64_C(1000000)
#define RETRY_MAX_NS UINT64_C(100000000)

/* A new session on a new connection. The path is set. */
int calls_connect(struct calls *s, uint64_t deadline);
/* The session on another connection. DISCONNECTED: not before the deadline; it may work later. */
int calls_reconnect(struct calls *s, uint64_t deadline, struct call_totals *totals);

/* One reply, decoded and sound, in the leader's part. As connection_receive(); MALFORMED. */
int calls_receive_reply(struct calls *s, uint64_t deadline, Allot__Reply **ret, size_t *ret_size,
                        int *ret_fd);

/* Puts a new connection into the epoll, if there is one. SYSTEM. */
int calls_poll_connection_locked(struct calls *s);
/* Before it is closed. */
void calls_unpoll_connection_locked(struct calls *s);
void calls_close_poll(struct calls *s);

#endif
