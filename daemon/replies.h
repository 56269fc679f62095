/* SPDX-License-Identifier: MIT */
/*
 * What is to be sent after one read: answers are collected, consecutive ones into one frame, until
 * all go out with one system call. One of these serves all connections of a loop in turn.
 */
#ifndef ALLOTD_REPLIES_H
#define ALLOTD_REPLIES_H

#include <stdbool.h>

#include "codec.h"

/* Frames of one round: one for each request read at most. */
#define REPLIES_FRAMES_MAX 64u
/* Room for a round's small frames and a few of the largest. */
#define REPLIES_BYTES (6u * CODEC_FRAME_MAX)

struct replies_frame {
    size_t offset;
    size_t size;
    int fd; /* goes with the frame and is closed after; -1: none */
};

struct replies {
    unsigned n_frames;
    size_t used;
    bool has_fd; /* one of the frames has a descriptor */
    struct replies_frame frames[REPLIES_FRAMES_MAX];

    /* Answers not encoded yet: consecutive, from `number` on. */
    uint64_t number;
    unsigned count;
    bool any_error;
    bool any_value;
    bool any_generation;
    bool any_size;
    Allot__Error errors[CODEC_INFLIGHT_MAX];
    uint64_t values[CODEC_INFLIGHT_MAX];
    uint64_t generations[CODEC_INFLIGHT_MAX];
    uint64_t sizes[CODEC_INFLIGHT_MAX];

    unsigned char bytes[REPLIES_BYTES];
};

void replies_reset(struct replies *r);

/* True where another request's answers might not fit, or be a second descriptor: send first. */
bool replies_full(const struct replies *r);

/* The answer to one operation. */
void replies_add(struct replies *r, uint64_t number, Allot__Error error, uint64_t value,
                 uint64_t generation, uint64_t size);

/* A frame of its own, in order with the answers; `fd` (or -1) is taken over. False where the
 * message is too large for a frame; nothing is added then. */
bool replies_message(struct replies *r, const Allot__Reply *message, int fd);

/* Encodes what is collected: `frames` is then complete. */
void replies_flush(struct replies *r);

#endif
