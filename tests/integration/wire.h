/* SPDX-License-Identifier: MIT */
/*
 * A client at the level of the wire: a raw socket and the codec, so that a test can say anything,
 * good or bad, and sees every frame that comes back. One thread at a time.
 */
#ifndef ALLOT_TEST_WIRE_H
#define ALLOT_TEST_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "codec.h"

struct wire {
    int fd;
    uint64_t next;        /* the number of the next operation */
    uint64_t session;     /* its ID */
    Allot__Reply *reply;  /* the last received; lives until the next */
    int reply_fd;         /* the descriptor that came with it, or -1; the caller's to close */
    uint64_t region_size; /* of the pool attached last */
    struct codec_arena arena;
};

/* Connects, no hello yet. */
void wire_connect(struct wire *w, const char *path);
/* Takes over a connected socket, no hello yet. */
void wire_adopt(struct wire *w, int fd);
/* Says hello, which must be answered well. */
void wire_hello(struct wire *w);
/* Connects and says hello. */
void wire_open(struct wire *w, const char *path);
/* Connects and asks for a session that there is: OK, or why it was refused. */
Allot__Error wire_resume(struct wire *w, const char *path, uint64_t session,
                         const unsigned char *secret, size_t size);
void wire_close(struct wire *w);

/* One frame as it is; `fds` go with it. */
void wire_send_bytes(struct wire *w, const void *bytes, size_t size);
void wire_send_with_fds(struct wire *w, const void *bytes, size_t size, const int *fds, size_t n);
/* A frame with one request, of these very bytes. */
void wire_send_encoded(struct wire *w, const void *request, size_t size);
/* False where the socket has no room. */
bool wire_try_send(struct wire *w, const Allot__Request *request);
void wire_send(struct wire *w, const Allot__Request *request);

/* The next frame, in time; NULL at the connection's end. */
Allot__Reply *wire_receive(struct wire *w);
/* The next frame refuses a request as a whole, for this reason. */
void wire_expect_refusal(struct wire *w, Allot__Error why, uint64_t number);
/* The daemon hangs up. */
void wire_expect_end(struct wire *w);
/* Something can be received right now. */
bool wire_readable(const struct wire *w);

/* The frame of a request of one operation: set what it needs and hand it on. */
Allot__Request wire_request(Allot__Op op, uint32_t pool);

/* Numbers the request, sends it, and collects the answers of its `n` operations, ignoring those
 * that came twice. `errors` and `values` (NULL or n entries) are set. */
void wire_run(struct wire *w, Allot__Request *request, unsigned n, Allot__Error *errors,
              uint64_t *values);
/* Only the second half: answers to `n` operations from `number` on. */
void wire_collect(struct wire *w, uint64_t number, unsigned n, Allot__Error *errors,
                  uint64_t *values);

/* One operation of one item: its error; *ret_value may be NULL. `size` or `position` 0: left out
 * (use wire_run() to send a zero). */
Allot__Error wire_item(struct wire *w, Allot__Op op, uint32_t pool, uint64_t position,
                       uint64_t size, uint64_t align, uint64_t *ret_value);

Allot__Error wire_ping(struct wire *w);
Allot__Error wire_goodbye(struct wire *w);
/* The pool's number, or 0 with *ret_error. The region's descriptor is w->reply_fd. */
uint32_t wire_attach(struct wire *w, const char *name, Allot__Access access,
                     Allot__Error *ret_error);
/* wire_attach() for writing, which must succeed, and closes the descriptor. */
uint32_t wire_pool(struct wire *w, const char *name);

/* OP_ALLOC of one block, which must succeed. */
uint64_t wire_alloc(struct wire *w, uint32_t pool, uint64_t size);
void wire_free(struct wire *w, uint32_t pool, uint64_t position);

/* What names a grant. */
struct wire_ticket {
    uint64_t place;
    uint64_t generation;
};

/* One grant, which must succeed, and its ticket. */
struct wire_ticket wire_grant(struct wire *w, uint32_t pool, Allot__Op op, uint64_t size);
/* OP_ACQUIRE or OP_RELEASE of one; *ret_size may be NULL. */
Allot__Error wire_reference(struct wire *w, Allot__Op op, uint32_t pool, struct wire_ticket t,
                            uint64_t *ret_size);

/* The next good request still works: an allocation, written into nothing, and its free. */
void wire_expect_good(struct wire *w, uint32_t pool);

/* Lists. Strings and messages live until the next receive. */
const Allot__PoolInfo *wire_pool_info(struct wire *w, const char *name);
/* How many sessions the daemon has; with `session` not 0, *ret is that one's. */
size_t wire_sessions(struct wire *w, uint64_t session, Allot__SessionInfo *ret);
/* Waits until nothing but `blocks` blocks, `runs` and `ranges` is allocated in the pool. Reclaiming
 * a dead client's is the daemon's own business, so this asks until it is done. */
void wire_wait_live(struct wire *w, const char *name, uint64_t blocks, uint64_t runs,
                    uint64_t ranges);
/* Waits until there are that many sessions. */
void wire_wait_sessions(struct wire *w, size_t count);

#endif
