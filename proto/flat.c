/* SPDX-License-Identifier: MIT */
/*
 * Flat messages.
 *
 * What it is: the encoding of Request and Reply written out, for messages without sub-messages and
 * with no string but a name. protobuf-c walks its tables for each of them: a request and its reply
 * took 4,500 of the 7,500 instructions that client and daemon need for one allocation, and take
 * about 600 here. What it is not: a second truth. allot.proto is; a test compares both ways, byte
 * for byte and field for field, also on damaged frames.
 *
 * Invariants: what is decoded here is a subset of what protobuf-c decodes, to the same fields; all
 * else (another string, an unknown field, a column in two parts or unpacked, a damaged or overlong
 * number) is left to it. Encoded are the fields in rising order, without those that are 0, as
 * protobuf-c does it. Nothing is read past the frame's end; memory comes from the arena, as much as
 * protobuf-c would take or less.
 *
 * Locks: none; an arena belongs to one thread at a time.
 */
#include "flat.h"

#include <endian.h>
#include <string.h>

#define TAG(field, type) ((field) << 3 | (type))

enum { VARINT = 0, COLUMN = 2, STRING = 2 };

/* Bytes of the longest number; and of a tag with it. */
#define NUMBER_MAX 10u
#define FIELD_MAX  (2u + NUMBER_MAX)

/* ---- encoding ---- */

static unsigned char *put_number(unsigned char *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (unsigned char)(value | 0x80);
    *at++ = (unsigned char)value;
    return at;
}

static unsigned char *put_field(unsigned char *at, unsigned field, uint64_t value)
{
    if (value == 0)
        return at;
    at = put_number(at, TAG(field, VARINT));
    return put_number(at, value);
}

static size_t number_size(uint64_t value)
{
    return (size_t)(63 - __builtin_clzll(value | 1)) / 7 + 1;
}

static unsigned char *put_column(unsigned char *at, unsigned field, const uint64_t *values,
                                 size_t n)
{
    size_t size = 0;

    if (n == 0)
        return at;
    for (size_t i = 0; i < n; i++)
        size += number_size(values[i]);
    at = put_number(at, TAG(field, COLUMN));
    at = put_number(at, size);
    for (size_t i = 0; i < n; i++)
        at = put_number(at, values[i]);
    return at;
}

/* An enum is an int32 on the wire, and a negative one has its sign extended. */
static uint64_t signed_number(int value)
{
    return (uint64_t)(int64_t)value;
}

static unsigned char *put_errors(unsigned char *at, unsigned field, const Allot__Error *errors,
                                 size_t n)
{
    size_t size = 0;

    if (n == 0)
        return at;
    for (size_t i = 0; i < n; i++)
        size += number_size(signed_number((int)errors[i]));
    at = put_number(at, TAG(field, COLUMN));
    at = put_number(at, size);
    for (size_t i = 0; i < n; i++)
        at = put_number(at, signed_number((int)errors[i]));
    return at;
}

/* Numbers of eight bytes, the least first. */
static unsigned char *put_fixed(unsigned char *at, unsigned field, const uint64_t *values, size_t n)
{
    if (n == 0)
        return at;
    at = put_number(at, TAG(field, COLUMN));
    at = put_number(at, n * sizeof(uint64_t));
    for (size_t i = 0; i < n; i++, at += sizeof(uint64_t)) {
        uint64_t value = htole64(values[i]);
        memcpy(at, &value, sizeof(value));
    }
    return at;
}

static unsigned char *put_string(unsigned char *at, unsigned field, const char *string, size_t size)
{
    if (size == 0)
        return at;
    at = put_number(at, TAG(field, STRING));
    at = put_number(at, size);
    memcpy(at, string, size);
    return at + size;
}

/* Whether the columns, a name and the scalars fit a frame, however long their numbers. */
static bool columns_fit(size_t a, size_t b, size_t c, size_t d)
{
    const size_t most = (CODEC_FRAME_MAX - CODEC_NAME_MAX - 18 * FIELD_MAX) / NUMBER_MAX;

    return a <= most && b <= most - a && c <= most - a - b && d <= most - a - b - c;
}

bool flat_encode_request(const Allot__Request *request, unsigned char *frame, size_t *ret_size)
{
    unsigned char *at = frame;
    size_t name_size = request->name ? strlen(request->name) : 0;

    if (name_size > CODEC_NAME_MAX || request->session || request->secret.len ||
        request->deadline_ms || request->receiver ||
        (request->after_name && request->after_name[0]) || request->base.n_unknown_fields ||
        !columns_fit(request->n_sizes, request->n_positions, request->n_generations, 0))
        return false;
    at = put_field(at, 1, signed_number((int)request->op));
    at = put_field(at, 2, request->number);
    at = put_field(at, 3, request->pool);
    at = put_column(at, 4, request->sizes, request->n_sizes);
    at = put_column(at, 5, request->positions, request->n_positions);
    at = put_field(at, 6, request->align);
    at = put_field(at, 7, request->tag);
    at = put_string(at, 8, request->name, name_size);
    at = put_field(at, 9, signed_number((int)request->access));
    at = put_field(at, 10, request->version_min);
    at = put_field(at, 11, request->version_max);
    at = put_field(at, 12, request->after);
    at = put_fixed(at, 13, request->generations, request->n_generations);
    at = put_field(at, 14, request->attempt);
    at = put_field(at, 20, request->replace ? 1 : 0);
    *ret_size = (size_t)(at - frame);
    return true;
}

bool flat_encode_reply(const Allot__Reply *reply, unsigned char *frame, size_t *ret_size)
{
    unsigned char *at = frame;

    if (reply->n_pools || reply->n_tags || reply->n_sessions || reply->n_names || reply->n_events ||
        reply->attempt || reply->secret.len || reply->base.n_unknown_fields ||
        !columns_fit(reply->n_errors, reply->n_values, reply->n_generations, reply->n_sizes))
        return false;
    at = put_field(at, 1, reply->number);
    at = put_field(at, 2, reply->count);
    at = put_field(at, 3, signed_number((int)reply->refused));
    at = put_errors(at, 4, reply->errors, reply->n_errors);
    at = put_column(at, 5, reply->values, reply->n_values);
    at = put_field(at, 6, reply->version);
    at = put_field(at, 7, reply->session);
    at = put_field(at, 8, reply->frame_max);
    at = put_field(at, 9, reply->batch_max);
    at = put_field(at, 10, reply->inflight_max);
    at = put_field(at, 14, reply->more ? 1 : 0);
    at = put_fixed(at, 15, reply->generations, reply->n_generations);
    at = put_column(at, 20, reply->sizes, reply->n_sizes);
    *ret_size = (size_t)(at - frame);
    return true;
}

/* ---- decoding ---- */

struct reader {
    const unsigned char *at;
    const unsigned char *end;
    bool good; /* so far */
};

static uint64_t take_number(struct reader *r)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 63 && r->at < r->end; shift += 7) {
        unsigned char byte = *r->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
    /* The tenth byte holds one bit. */
    if (r->at < r->end && r->at[0] <= 1)
        return value | (uint64_t)*r->at++ << 63;
    r->good = false;
    return 0;
}

/* A field's number and type; 0, which no field has, where it takes more than two bytes. */
static unsigned take_tag(struct reader *r)
{
    unsigned byte = *r->at++;

    if (byte < 0x80)
        return byte;
    if (r->at == r->end || *r->at >= 0x80)
        return 0;
    return (byte & 0x7f) | (unsigned)*r->at++ << 7;
}

/* The part of the frame that is the column, and how many numbers end in it. */
static struct reader take_column(struct reader *r, size_t *ret_n)
{
    uint64_t size = take_number(r);
    struct reader column = {.at = r->at, .end = r->at, .good = true};
    size_t n = 0;

    if (!r->good || size > (size_t)(r->end - r->at)) {
        r->good = false;
        return column;
    }
    column.end = r->at += size;
    for (const unsigned char *at = column.at; at < column.end; at++)
        n += *at < 0x80;
    *ret_n = n;
    return column;
}

static void take_numbers(struct reader *r, struct codec_arena *arena, uint64_t **ret, size_t *ret_n)
{
    size_t n = 0;
    struct reader column = take_column(r, &n);
    uint64_t *values = codec_arena_take(arena, n * sizeof(*values));

    if (*ret_n || !values) {
        r->good = false;
        return;
    }
    for (size_t i = 0; i < n; i++)
        values[i] = take_number(&column);
    r->good &= column.good && column.at == column.end;
    *ret = values;
    *ret_n = n;
}

static void take_fixed(struct reader *r, struct codec_arena *arena, uint64_t **ret, size_t *ret_n)
{
    uint64_t size = take_number(r);

    if (*ret_n || !r->good || size > (size_t)(r->end - r->at) || size % sizeof(uint64_t)) {
        r->good = false;
        return;
    }
    size_t n = (size_t)size / sizeof(uint64_t);
    uint64_t *values = codec_arena_take(arena, n * sizeof(*values));
    if (!values) {
        r->good = false;
        return;
    }
    for (size_t i = 0; i < n; i++, r->at += sizeof(uint64_t)) {
        memcpy(&values[i], r->at, sizeof(uint64_t));
        values[i] = le64toh(values[i]);
    }
    *ret = values;
    *ret_n = n;
}

static void take_string(struct reader *r, struct codec_arena *arena, char **ret)
{
    uint64_t size = take_number(r);

    if (*ret != protobuf_c_empty_string || !r->good || size > (size_t)(r->end - r->at)) {
        r->good = false;
        return;
    }
    char *string = codec_arena_take(arena, (size_t)size + 1);
    if (!string) {
        r->good = false;
        return;
    }
    memcpy(string, r->at, (size_t)size);
    string[size] = 0;
    r->at += size;
    *ret = string;
}

static void take_errors(struct reader *r, struct codec_arena *arena, Allot__Error **ret,
                        size_t *ret_n)
{
    size_t n = 0;
    struct reader column = take_column(r, &n);
    Allot__Error *values = codec_arena_take(arena, n * sizeof(*values));

    if (*ret_n || !values) {
        r->good = false;
        return;
    }
    for (size_t i = 0; i < n; i++)
        values[i] = (Allot__Error)(uint32_t)take_number(&column);
    r->good &= column.good && column.at == column.end;
    *ret = values;
    *ret_n = n;
}

bool flat_decode_request(struct codec_arena *arena, const unsigned char *frame, size_t size,
                         Allot__Request **ret)
{
    struct reader r = {.at = frame, .end = frame + size, .good = true};

    arena->used = 0;
    Allot__Request *m = codec_arena_take(arena, sizeof(*m));
    if (!m)
        return false;
    allot__request__init(m);
    while (r.good && r.at < r.end) {
        switch (take_tag(&r)) {
        case TAG(1, VARINT):
            m->op = (Allot__Op)(uint32_t)take_number(&r);
            break;
        case TAG(2, VARINT):
            m->number = take_number(&r);
            break;
        case TAG(3, VARINT):
            m->pool = (uint32_t)take_number(&r);
            break;
        case TAG(4, COLUMN):
            take_numbers(&r, arena, &m->sizes, &m->n_sizes);
            break;
        case TAG(5, COLUMN):
            take_numbers(&r, arena, &m->positions, &m->n_positions);
            break;
        case TAG(6, VARINT):
            m->align = take_number(&r);
            break;
        case TAG(7, VARINT):
            m->tag = (uint32_t)take_number(&r);
            break;
        case TAG(8, STRING):
            take_string(&r, arena, &m->name);
            break;
        case TAG(9, VARINT):
            m->access = (Allot__Access)(uint32_t)take_number(&r);
            break;
        case TAG(13, COLUMN):
            take_fixed(&r, arena, &m->generations, &m->n_generations);
            break;
        case TAG(14, VARINT):
            m->attempt = take_number(&r);
            break;
        case TAG(20, VARINT):
            m->replace = take_number(&r) != 0;
            break;
        default:
            return false;
        }
    }
    if (r.good)
        *ret = m;
    return r.good;
}

bool flat_decode_reply(struct codec_arena *arena, const unsigned char *frame, size_t size,
                       Allot__Reply **ret)
{
    struct reader r = {.at = frame, .end = frame + size, .good = true};

    arena->used = 0;
    Allot__Reply *m = codec_arena_take(arena, sizeof(*m));
    if (!m)
        return false;
    allot__reply__init(m);
    while (r.good && r.at < r.end) {
        switch (take_tag(&r)) {
        case TAG(1, VARINT):
            m->number = take_number(&r);
            break;
        case TAG(2, VARINT):
            m->count = (uint32_t)take_number(&r);
            break;
        case TAG(3, VARINT):
            m->refused = (Allot__Error)(uint32_t)take_number(&r);
            break;
        case TAG(4, COLUMN):
            take_errors(&r, arena, &m->errors, &m->n_errors);
            break;
        case TAG(5, COLUMN):
            take_numbers(&r, arena, &m->values, &m->n_values);
            break;
        case TAG(15, COLUMN):
            take_fixed(&r, arena, &m->generations, &m->n_generations);
            break;
        case TAG(20, COLUMN):
            take_numbers(&r, arena, &m->sizes, &m->n_sizes);
            break;
        default:
            return false;
        }
    }
    if (r.good)
        *ret = m;
    return r.good;
}
