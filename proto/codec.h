/* SPDX-License-Identifier: MIT */
/*
 * The codec that both sides share: frames to messages and back, within fixed memory.
 *
 * A decoded message lives in the arena, until the arena is used for the next one. An arena belongs
 * to one thread at a time. Functions return 0 or a negative Error of allot.proto.
 */
#ifndef ALLOT_CODEC_H
#define ALLOT_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allot.pb-c.h"

#define CODEC_VERSION 1

/* The most that one packet may carry: room for a batch of the longest numbers, small enough to sit
 * on a stack and never to be split by the kernel. */
#define CODEC_FRAME_MAX 16384u
/* Items in a request. No more than may be in flight, since a batch takes a number an item. */
#define CODEC_BATCH_MAX 256u
/* Operations unanswered at a time: the length of a session's journal. */
#define CODEC_INFLIGHT_MAX 256u
/* A ticket's place: a position below, and above it the kind of what is there. */
#define CODEC_KIND_SHIFT 48
enum codec_kind { CODEC_KIND_BYTES = 1, CODEC_KIND_PAGES = 2, CODEC_KIND_IDS = 3 };
/* With the size that an acquire is told, and a lookup (FROZEN only). */
#define CODEC_VALUE_FROZEN (UINT64_C(1) << 63)
#define CODEC_VALUE_PARCEL (UINT64_C(1) << 62)
/* Bytes of a session's secret. */
#define CODEC_SECRET_SIZE 16u
/* A name in bytes, a pool's or a published one, without the final 0. */
#define CODEC_NAME_MAX 63u

/* The costliest frame worth decoding is one packed column of one-byte numbers, 8 bytes each when
 * decoded; whatever needs more than that and a half is refused as malformed. */
#define CODEC_ARENA_SIZE (12u * CODEC_FRAME_MAX)

struct codec_arena {
    size_t used;
    _Alignas(16) unsigned char bytes[CODEC_ARENA_SIZE];
};

/* -E_MALFORMED, also where the arena is too small; -E_FRAME_SIZE above CODEC_FRAME_MAX. */
int codec_decode_request(struct codec_arena *arena, const void *frame, size_t size,
                         Allot__Request **ret);
int codec_decode_reply(struct codec_arena *arena, const void *frame, size_t size,
                       Allot__Reply **ret);

/* `frame` has CODEC_FRAME_MAX bytes. -E_FRAME_SIZE where the message does not fit. */
int codec_encode_request(const Allot__Request *request, void *frame, size_t *ret_size);
int codec_encode_reply(const Allot__Reply *reply, void *frame, size_t *ret_size);

/* Appends a request to a client's frame of *size bytes so far (0 at first). -E_FRAME_SIZE where it
 * does not fit any more: the frame stays as it was. */
int codec_add_request(const Allot__Request *request, void *frame, size_t *size);

/* Finds the request that starts at *at (0 at first) in a client's frame, for
 * codec_decode_request(), and moves *at behind it. True while there is one; *ret_error tells at the
 * end whether the frame was sound: 0 or -E_MALFORMED. */
bool codec_next_request(const void *frame, size_t size, size_t *at, const void **ret_request,
                        size_t *ret_size, int *ret_error);

/* The right in its pool that an operation wants: to hold is to read, to be granted is to write. */
Allot__Access codec_access(Allot__Op op);

/* Whether such a grant may wait for room; others ignore the deadline, but for OP_SEND. */
static inline bool codec_may_wait(Allot__Op op)
{
    return op == ALLOT__OP__OP_ALLOC || op == ALLOT__OP__OP_ALLOC_PAGES ||
           op == ALLOT__OP__OP_ALLOC_IDS;
}

/* How many numbers the request takes (its items), or -E_UNKNOWN, -E_BATCH. Hello takes 0. */
int codec_request_count(const Allot__Request *request);

#endif
