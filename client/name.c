/* SPDX-License-Identifier: MIT */
/*
 * Names: publishing, looking up, listing.
 *
 * What it is not: a judge of names and rights; the daemon's word counts.
 *
 * A lookup takes a reference in the daemon, which has one for the whole process. Where another
 * thread gave something back between question and answer, that may have been this very reference:
 * then it is taken again by its ticket, and looked up again where that comes too late.
 */
#include <errno.h>

#include "session.h"

static Allot__Request request_for(const struct allot_pool *p, Allot__Op op, const char *name)
{
    Allot__Request request = ALLOT__REQUEST__INIT;

    request.op = op;
    request.pool = p->number;
    request.name = (char *)(uintptr_t)name; /* only read, which the generated type cannot say */
    return request;
}

int allot_publish(struct allot_pool *p, const char *name, const struct allot_ticket *ticket,
                  unsigned flags)
{
    Allot__Request request = request_for(p, ALLOT__OP__OP_PUBLISH, name);
    uint64_t place = pool_place_local(ticket->place);
    uint64_t generation = ticket->generation;

    if (flags & ~ALLOT_REPLACE || name_is_too_long(name))
        return ALLOT_E_INVALID;
    if (!pool_has(p, ticket))
        return ALLOT_E_NOT_ALLOCATED;
    request.positions = &place;
    request.n_positions = 1;
    request.generations = &generation;
    request.n_generations = 1;
    request.replace = flags & ALLOT_REPLACE;
    return pool_call_one(p, &request, NULL);
}

int allot_unpublish(struct allot_pool *p, const char *name)
{
    Allot__Request request = request_for(p, ALLOT__OP__OP_UNPUBLISH, name);

    return name_is_too_long(name) ? ALLOT_E_NO_NAME : pool_call_one(p, &request, NULL);
}

/* As the daemon answers it. */
static int look_up(struct allot_pool *p, const char *name, struct allot_ticket *ret,
                   uint64_t *ret_size)
{
    Allot__Request request = request_for(p, ALLOT__OP__OP_LOOKUP, name);
    uint64_t place;
    int code;
    struct call call = {
        .values = &place, .codes = &code, .generations = &ret->generation, .sizes = ret_size};

    int r = pool_call(p, &request, &call);
    if (r == 0)
        r = code;
    if (r == 0)
        ret->place = pool_place_global(p, place);
    return r;
}

int allot_lookup(struct allot_pool *p, const char *name, struct allot_ticket *ret_ticket,
                 uint64_t *ret_position, uint64_t *ret_size)
{
    struct held *held = &p->session->held;
    struct allot_ticket ticket;
    uint64_t position;
    uint64_t size;
    int r;

    if (!fork_here(p->generation))
        return ALLOT_E_FORKED;
    if (name_is_too_long(name))
        return ALLOT_E_NO_NAME;
    do {
        if (!held_promise(held, 1)) {
            errno = ENOMEM;
            return ALLOT_E_SYSTEM;
        }
        uint64_t mark = held_mark(held);
        r = look_up(p, name, &ticket, &size);
        if (r < 0) {
            held_unpromise(held, 1);
            return r;
        }
        bool frozen = size & CODEC_VALUE_FROZEN;
        size &= ~CODEC_VALUE_FROZEN;
        if (!held_found(held, &ticket, size, mark, p->session->calls.timeout_ms))
            r = allot_acquire(p, &ticket, &position, &size);
        else if (frozen)
            held_freeze(held, &ticket);
    } while (r == ALLOT_E_NOT_ALLOCATED);
    if (r < 0)
        return r;
    if (ret_ticket)
        *ret_ticket = ticket;
    if (ret_position)
        *ret_position = pool_position(ticket.place);
    if (ret_size)
        *ret_size = size;
    return 0;
}
