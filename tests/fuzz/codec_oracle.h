/* SPDX-License-Identifier: MIT */
/*
 * What must hold of the codec for any frame at all, for the unit test and the fuzzer alike.
 *
 * A decoded message stays within its arena; the number of its items is within bounds; what is known
 * of it, encoded again, is canonical: decoding and encoding that a second time gives the same
 * bytes. Unknown fields are left out of that: protobuf-c takes a field 0 whose tag is written in
 * more bytes than it needs, but not the one that it makes of it.
 */
#ifndef ALLOT_TEST_CODEC_ORACLE_H
#define ALLOT_TEST_CODEC_ORACLE_H

#include <stdbool.h>
#include <string.h>

#include "codec.h"

#define CODEC_GUARD 64

/* An arena with bytes around it that nobody may write. */
struct guarded_arena {
    unsigned char before[CODEC_GUARD];
    struct codec_arena arena;
    unsigned char after[CODEC_GUARD];
};

static inline void guarded_init(struct guarded_arena *g)
{
    memset(g->before, 0xa5, sizeof(g->before));
    memset(g->after, 0xa5, sizeof(g->after));
}

static inline bool guarded_intact(const struct guarded_arena *g)
{
    for (size_t i = 0; i < CODEC_GUARD; i++)
        if (g->before[i] != 0xa5 || g->after[i] != 0xa5)
            return false;
    return g->arena.used <= CODEC_ARENA_SIZE;
}

static inline bool within(const struct guarded_arena *g, const void *ptr, size_t size)
{
    const unsigned char *at = ptr;

    return at >= g->arena.bytes && size <= g->arena.used &&
           at + size <= g->arena.bytes + g->arena.used;
}

/* 0, or the line of what does not hold. */
static inline int codec_oracle_request(const void *frame, size_t size)
{
    static _Thread_local struct guarded_arena first, second;
    static _Thread_local unsigned char once[CODEC_FRAME_MAX], twice[CODEC_FRAME_MAX];
    Allot__Request *request = NULL;
    size_t once_size, twice_size;

    guarded_init(&first);
    guarded_init(&second);
    int rc = codec_decode_request(&first.arena, frame, size, &request);
    if (!guarded_intact(&first))
        return __LINE__;
    if (rc)
        return rc == (size > CODEC_FRAME_MAX ? -ALLOT__ERROR__E_FRAME_SIZE
                                             : -ALLOT__ERROR__E_MALFORMED) &&
                       !request
                   ? 0
                   : __LINE__;
    if (size > CODEC_FRAME_MAX || !within(&first, request, sizeof(*request)))
        return __LINE__;
    if (request->n_sizes && !within(&first, request->sizes, request->n_sizes * sizeof(uint64_t)))
        return __LINE__;
    if (request->n_positions &&
        !within(&first, request->positions, request->n_positions * sizeof(uint64_t)))
        return __LINE__;
    if (*request->name && !within(&first, request->name, strlen(request->name) + 1))
        return __LINE__;

    int count = codec_request_count(request);
    if (count > (int)CODEC_BATCH_MAX ||
        (count < 0 && count != -ALLOT__ERROR__E_BATCH && count != -ALLOT__ERROR__E_UNKNOWN))
        return __LINE__;

    request->base.n_unknown_fields = 0;
    rc = codec_encode_request(request, once, &once_size);
    if (rc) /* a negative enumeration value takes more room than it came in */
        return rc == -ALLOT__ERROR__E_FRAME_SIZE ? 0 : __LINE__;
    if (codec_decode_request(&second.arena, once, once_size, &request) || !guarded_intact(&second))
        return __LINE__;
    if (codec_request_count(request) != count)
        return __LINE__;
    if (codec_encode_request(request, twice, &twice_size))
        return __LINE__;
    return once_size == twice_size && memcmp(once, twice, once_size) == 0 ? 0 : __LINE__;
}

static inline int codec_oracle_reply(const void *frame, size_t size)
{
    static _Thread_local struct guarded_arena first, second;
    static _Thread_local unsigned char once[CODEC_FRAME_MAX], twice[CODEC_FRAME_MAX];
    Allot__Reply *reply = NULL;
    size_t once_size, twice_size;

    guarded_init(&first);
    guarded_init(&second);
    int rc = codec_decode_reply(&first.arena, frame, size, &reply);
    if (!guarded_intact(&first))
        return __LINE__;
    if (rc)
        return reply ? __LINE__ : 0;
    if (!within(&first, reply, sizeof(*reply)))
        return __LINE__;
    if (reply->n_values && !within(&first, reply->values, reply->n_values * sizeof(uint64_t)))
        return __LINE__;
    for (size_t i = 0; i < reply->n_pools; i++)
        if (!within(&first, reply->pools[i], sizeof(*reply->pools[i])) ||
            (*reply->pools[i]->name &&
             !within(&first, reply->pools[i]->name, strlen(reply->pools[i]->name) + 1)))
            return __LINE__;
    for (size_t i = 0; i < reply->n_sessions; i++)
        if (!within(&first, reply->sessions[i], sizeof(*reply->sessions[i])))
            return __LINE__;

    reply->base.n_unknown_fields = 0;
    for (size_t i = 0; i < reply->n_pools; i++)
        reply->pools[i]->base.n_unknown_fields = 0;
    for (size_t i = 0; i < reply->n_tags; i++)
        reply->tags[i]->base.n_unknown_fields = 0;
    for (size_t i = 0; i < reply->n_sessions; i++)
        reply->sessions[i]->base.n_unknown_fields = 0;
    rc = codec_encode_reply(reply, once, &once_size);
    if (rc)
        return rc == -ALLOT__ERROR__E_FRAME_SIZE ? 0 : __LINE__;
    if (codec_decode_reply(&second.arena, once, once_size, &reply) || !guarded_intact(&second))
        return __LINE__;
    if (codec_encode_reply(reply, twice, &twice_size))
        return __LINE__;
    return once_size == twice_size && memcmp(once, twice, once_size) == 0 ? 0 : __LINE__;
}

#endif
