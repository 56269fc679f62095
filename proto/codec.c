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

#include "flat.h"

static void *arena_alloc(void *ctx, size_t size)
{
    struct codec_arena *arena = ctx;
    size_t rounded = (size + 15u) & ~(size_t)15u;

    if (rounded < size || rounded > CODEC_ARENA_SIZE - arena->used)
        return NULL;
    void *ptr = arena->bytes + arena->used;
    arena->used += rounded;
    return ptr;
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

/* Items told by one column; the other, where the operation reads it, must agree. */
static int items(size_t count, size_t other)
{
    if (count == 0 || count > CODEC_BATCH_MAX || count != other)
        return -ALLOT__ERROR__E_BATCH;
    return (int)count;
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
        return 1;
    case ALLOT__OP__OP_ALLOC:
    case ALLOT__OP__OP_ALLOC_PAGES:
    case ALLOT__OP__OP_ALLOC_IDS:
        return items(r->n_sizes, r->n_sizes);
    case ALLOT__OP__OP_FREE:
    case ALLOT__OP__OP_FREE_PAGES:
    case ALLOT__OP__OP_FREE_IDS:
        return items(r->n_positions, r->n_sizes ? r->n_sizes : r->n_positions);
    case ALLOT__OP__OP_ALLOC_PAGES_AT:
    case ALLOT__OP__OP_ALLOC_IDS_AT:
        return items(r->n_positions, r->n_sizes);
    case ALLOT__OP__OP_USABLE_SIZE:
        return items(r->n_positions, r->n_positions);
    case ALLOT__OP__OP_RESIZE:
        return r->n_positions == 1 && r->n_sizes == 1 ? 1 : -ALLOT__ERROR__E_BATCH;
    case ALLOT__OP__OP_ADD_MEMORY:
        return r->n_sizes == 1 ? 1 : -ALLOT__ERROR__E_BATCH;
    default:
        return -ALLOT__ERROR__E_UNKNOWN;
    }
}
