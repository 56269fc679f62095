/* SPDX-License-Identifier: MIT */
/*
 * Collecting replies.
 *
 * Invariants: answers leave in the order in which they were added. Between two calls of
 * replies_flush() at most CODEC_INFLIGHT_MAX answers are added (that is how many a round carries
 * out), those to one request have consecutive numbers, and a caller asks replies_full() before each
 * request, so there is always room.
 *
 * Locks: none; a loop's own.
 */
#include "replies.h"

#include <assert.h>

_Static_assert(CODEC_INFLIGHT_MAX * 30u + 64u <= CODEC_FRAME_MAX,
               "answers to a full window (a value and a size of ten bytes, a generation of eight, "
               "an error of two) fit a frame");

void replies_reset(struct replies *r)
{
    r->n_frames = 0;
    r->used = 0;
    r->has_fd = false;
    r->count = 0;
}

bool replies_full(const struct replies *r)
{
    /* One frame that closes the answers so far, one of its own, one of answers after it: each is
     * encoded where the largest would fit. */
    return r->has_fd || r->n_frames + 3 > REPLIES_FRAMES_MAX ||
           REPLIES_BYTES - r->used < 3 * CODEC_FRAME_MAX;
}

void replies_add(struct replies *r, uint64_t number, Allot__Error error, uint64_t value,
                 uint64_t generation, uint64_t size)
{
    if (r->count && (r->number + r->count != number || r->count == CODEC_INFLIGHT_MAX))
        replies_flush(r);
    if (!r->count) {
        r->number = number;
        r->any_error = false;
        r->any_value = false;
        r->any_generation = false;
        r->any_size = false;
    }
    r->errors[r->count] = error;
    r->values[r->count] = value;
    r->generations[r->count] = generation;
    r->sizes[r->count] = size;
    r->any_error |= error != ALLOT__ERROR__E_OK;
    r->any_value |= value != 0;
    r->any_generation |= generation != 0;
    r->any_size |= size != 0;
    r->count++;
}

static bool append(struct replies *r, const Allot__Reply *message, int fd)
{
    size_t size;

    assert(r->n_frames < REPLIES_FRAMES_MAX && REPLIES_BYTES - r->used >= CODEC_FRAME_MAX);
    if (codec_encode_reply(message, r->bytes + r->used, &size))
        return false;
    r->frames[r->n_frames++] = (struct replies_frame){.offset = r->used, .size = size, .fd = fd};
    r->used += size;
    r->has_fd |= fd >= 0;
    return true;
}

void replies_flush(struct replies *r)
{
    Allot__Reply reply = ALLOT__REPLY__INIT;

    if (!r->count)
        return;
    reply.number = r->number;
    reply.count = r->count;
    if (r->any_error) {
        reply.n_errors = r->count;
        reply.errors = r->errors;
    }
    if (r->any_value) {
        reply.n_values = r->count;
        reply.values = r->values;
    }
    if (r->any_generation) {
        reply.n_generations = r->count;
        reply.generations = r->generations;
    }
    if (r->any_size) {
        reply.n_sizes = r->count;
        reply.sizes = r->sizes;
    }
    r->count = 0;
    bool fits = append(r, &reply, -1);
    assert(fits);
    (void)fits;
}

bool replies_message(struct replies *r, const Allot__Reply *message, int fd)
{
    replies_flush(r);
    return append(r, message, fd);
}
