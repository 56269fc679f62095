/* SPDX-License-Identifier: MIT */
/*
 * The codec: protobuf-c with its allocator bound to an arena, and a shorter way for flat messages.
 *
 * What it is: the one place that knows how big a message may get. What it is not: it neither reads
 * nor writes sockets, and it judges only a message's form, never what it asks for.
 *
 * Invariants: decoding takes memory from the arena only, so a hostile frame costs at most
 * CODEC_ARENA_SIZE bytes and no malloc; the schema is flat (no recursion, and no sub-message that a
 * sender could repeat to make protobuf-c merge it again and again). Nothing is freed one by one:
 * the next decode starts the arena anew.
 *
 * Locks: none; an arena belongs to one thread at a time.
 */
#include "codec.h"

#include <string.h>

#include "flat.h"

void *codec_arena_take(struct codec_arena *arena, size_t size)
{
    size_t rounded = (size + 15u) & ~(size_t)15u;

    if (rounded < size || rounded > CODEC_ARENA_SIZE - arena->used)
        return NULL;
    void *ptr = arena->bytes + arena->used;
    arena->used += rounded;
    return ptr;
}

static void *arena_alloc(void *ctx, size_t size)
{
    return codec_arena_take(ctx, size);
}

static void arena_free(void *ctx, void *ptr)
{
    (void)ctx;
    (void)ptr;
}

static int decode(struct codec_arena *arena, const ProtobufCMessageDescriptor *type,
                  const void *frame, size_t size, ProtobufCMessage **ret)
{
    ProtobufCAllocator allocator = {
        .alloc = arena_alloc, .free = arena_free, .allocator_data = arena};

    if (size > CODEC_FRAME_MAX)
        return -ALLOT__ERROR__E_FRAME_SIZE;
    arena->used = 0;
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, size, frame);
    if (!message)
        return -ALLOT__ERROR__E_MALFORMED;
    *ret = message;
    return 0;
}

static int encode(const ProtobufCMessage *message, void *frame, size_t *ret_size)
{
    if (protobuf_c_message_get_packed_size(message) > CODEC_FRAME_MAX)
        return -ALLOT__ERROR__E_FRAME_SIZE;
    *ret_size = protobuf_c_message_pack(message, frame);
    return 0;
}

int codec_decode_request(struct codec_arena *arena, const void *frame, size_t size,
                         Allot__Request **ret)
{
    if (size <= CODEC_FRAME_MAX && flat_decode_request(arena, frame, size, ret))
        return 0;
    return decode(arena, &allot__request__descriptor, frame, size, (ProtobufCMessage **)ret);
}

int codec_decode_reply(struct codec_arena *arena, const void *frame, size_t size,
                       Allot__Reply **ret)
{
    if (size <= CODEC_FRAME_MAX && flat_decode_reply(arena, frame, size, ret))
        return 0;
    return decode(arena, &allot__reply__descriptor, frame, size, (ProtobufCMessage **)ret);
}

int codec_encode_request(const Allot__Request *request, void *frame, size_t *ret_size)
{
    if (flat_encode_request(request, frame, ret_size))
        return 0;
    return encode(&request->base, frame, ret_size);
}

int codec_encode_reply(const Allot__Reply *reply, void *frame, size_t *ret_size)
{
    if (flat_encode_reply(reply, frame, ret_size))
        return 0;
    return encode(&reply->base, frame, ret_size);
}

/* `requests` in allot.proto's Frame: field 1, a message. */
#define FRAME_REQUEST_TAG 0x0a

int codec_add_request(const Allot__Request *request, void *frame, size_t *size)
{
    unsigned char encoded[CODEC_FRAME_MAX];
    unsigned char *at = (unsigned char *)frame + *size;
    size_t length;
    int rc = codec_encode_request(request, encoded, &length);

    if (rc)
        return rc;
    /* A length takes one byte, or two below 2^14, which no request in a frame reaches. */
    size_t head = length < 0x80 ? 2 : 3;
    if (length + head > CODEC_FRAME_MAX - *size)
        return -ALLOT__ERROR__E_FRAME_SIZE;
    *at++ = FRAME_REQUEST_TAG;
    if (head == 3)
        *at++ = (unsigned char)(length | 0x80);
    *at++ = (unsigned char)(head == 3 ? length >> 7 : length);
    memcpy(at, encoded, length);
    *size += head + length;
    return 0;
}

bool codec_next_request(const void *frame, size_t size, size_t *at, const void **ret_request,
                        size_t *ret_size, int *ret_error)
{
    const unsigned char *bytes = frame;
    size_t length = 0;
    size_t i = *at + 1;

    *ret_error = *at < size ? -ALLOT__ERROR__E_MALFORMED : 0;
    if (*at >= size || bytes[*at] != FRAME_REQUEST_TAG)
        return false;
    for (unsigned shift = 0;; shift += 7, i++) {
        if (i == size || shift > 28)
            return false;
        length |= (size_t)(bytes[i] & 0x7f) << shift;
        if (bytes[i] < 0x80)
            break;
    }
    i++;
    if (length > size - i)
        return false;
    *ret_error = 0;
    *ret_request = bytes + i;
    *ret_size = length;
    *at = i + length;
    return true;
}

/* Items told by one column; the other, where the operation reads it, must agree. */
static int items(size_t count, size_t other)
{
    if (count == 0 || count > CODEC_BATCH_MAX || count != other)
        return -ALLOT__ERROR__E_BATCH;
    return (int)count;
}

/* Of a grant: one item where it may wait, so that each item waits by itself. */
static int grants(const Allot__Request *r)
{
    if (r->deadline_ms && r->n_sizes > 1)
        return -ALLOT__ERROR__E_BATCH;
    return items(r->n_sizes, r->n_sizes);
}

int codec_request_count(const Allot__Request *r)
{
    switch (r->op) {
    case ALLOT__OP__OP_HELLO:
        return 0;
    case ALLOT__OP__OP_GOODBYE:
    case ALLOT__OP__OP_PING:
    case ALLOT__OP__OP_ATTACH:
    case ALLOT__OP__OP_POOLS:
    case ALLOT__OP__OP_TAGS:
    case ALLOT__OP__OP_SESSIONS:
    case ALLOT__OP__OP_UNPUBLISH:
    case ALLOT__OP__OP_LOOKUP:
    case ALLOT__OP__OP_NAMES:
        return 1;
    case ALLOT__OP__OP_PUBLISH:
        return r->n_positions == 1 && r->n_generations == 1 ? 1 : -ALLOT__ERROR__E_BATCH;
    case ALLOT__OP__OP_WATCH:
        return r->n_positions <= 1 ? 1 : -ALLOT__ERROR__E_BATCH;
    case ALLOT__OP__OP_UNWATCH:
        return r->n_positions == 1 ? 1 : -ALLOT__ERROR__E_BATCH;
    case ALLOT__OP__OP_ALLOC:
    case ALLOT__OP__OP_ALLOC_PAGES:
    case ALLOT__OP__OP_ALLOC_IDS:
        return grants(r);
    case ALLOT__OP__OP_FREE:
    case ALLOT__OP__OP_FREE_PAGES:
    case ALLOT__OP__OP_FREE_IDS:
        return items(r->n_positions, r->n_sizes ? r->n_sizes : r->n_positions);
    case ALLOT__OP__OP_ALLOC_PAGES_AT:
    case ALLOT__OP__OP_ALLOC_IDS_AT:
        return items(r->n_positions, r->n_sizes);
    case ALLOT__OP__OP_USABLE_SIZE:
        return items(r->n_positions, r->n_positions);
    case ALLOT__OP__OP_ACQUIRE:
    case ALLOT__OP__OP_RELEASE:
    case ALLOT__OP__OP_FREEZE:
    case ALLOT__OP__OP_SEND:
        return items(r->n_positions, r->n_generations);
    case ALLOT__OP__OP_RESIZE:
        return r->n_positions == 1 && r->n_sizes == 1 ? 1 : -ALLOT__ERROR__E_BATCH;
    case ALLOT__OP__OP_ADD_MEMORY:
        return r->n_sizes == 1 ? 1 : -ALLOT__ERROR__E_BATCH;
    default:
        return -ALLOT__ERROR__E_UNKNOWN;
    }
}

Allot__Access codec_access(Allot__Op op)
{
    switch (op) {
    case ALLOT__OP__OP_USABLE_SIZE:
    case ALLOT__OP__OP_ACQUIRE:
    case ALLOT__OP__OP_RELEASE:
    case ALLOT__OP__OP_SEND:
    case ALLOT__OP__OP_LOOKUP:
    case ALLOT__OP__OP_NAMES:
    case ALLOT__OP__OP_WATCH:
    case ALLOT__OP__OP_UNWATCH:
        return ALLOT__ACCESS__ACCESS_READ;
    default:
        return ALLOT__ACCESS__ACCESS_WRITE;
    }
}
