/* SPDX-License-Identifier: MIT */
/*
 * The messages of every day, straight to the wire and back: those of numbers and columns of numbers
 * only. Each function does what protobuf-c would do, or returns false and has done nothing that
 * counts; the caller then takes protobuf-c's way.
 */
#ifndef ALLOT_FLAT_H
#define ALLOT_FLAT_H

#include <stdbool.h>

#include "codec.h"

/* `frame` has CODEC_FRAME_MAX bytes. False also where the message might not fit. */
bool flat_encode_request(const Allot__Request *request, unsigned char *frame, size_t *ret_size);
bool flat_encode_reply(const Allot__Reply *reply, unsigned char *frame, size_t *ret_size);

/* The message lies in the arena, which starts anew. False also for whatever is not well-formed. */
bool flat_decode_request(struct codec_arena *arena, const unsigned char *frame, size_t size,
                         Allot__Request **ret);
bool flat_decode_reply(struct codec_arena *arena, const unsigned char *frame, size_t size,
                       Allot__Reply **ret);

/* codec.c's: the next `size` bytes of the arena, aligned to 16; NULL where it has no more. */
void *codec_arena_take(struct codec_arena *arena, size_t size);

#endif
