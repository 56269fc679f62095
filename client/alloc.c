/* SPDX-License-Identifier: MIT */
/*
 * Bytes, pages and IDs: one function for each of the wire's operations, and realloc.
 *
 * What it is not: a judge. Zero sizes, bad alignments and foreign offsets go to the daemon, whose
 * word counts and whose error names them. Only what would not fit a request is refused here, and
 * what comes by a handle for reading.
 *
 * ALLOT_ZEROED is kept here, after the grant: nobody but a pool's clients touches its memory.
 *
 * What is granted is entered in the session's table of what it holds (held.c), and what is freed
 * there first: only the last of several takings of one allocation is told to the daemon.
 *
 * Invariants: outputs are set on success only.
 */
#include <errno.h>
#include <string.h>

#include "error.h"
#include "session.h"

static const struct allot_options no_options;

static Allot__Request request_for(const struct allot_pool *p, Allot__Op op)
{
    Allot__Request request = ALLOT__REQUEST__INIT;

    request.op = op;
    request.pool = p->number;
    return request;
}

static void set_options(Allot__Request *request, const struct allot_options *options)
{
    request->align = options->align;
    request->tag = options->tag;
    request->deadline_ms = options->wait_ms;
}

/* The columns are only read, which the generated type cannot say. */
static void set_sizes(Allot__Request *request, const uint64_t *sizes, size_t n)
{
    request->sizes = (uint64_t *)sizes;
    request->n_sizes = n;
}

static void set_positions(Allot__Request *request, const uint64_t *positions, size_t n)
{
    request->positions = (uint64_t *)positions;
    request->n_positions = n;
}

static int run(struct allot_pool *p, Allot__Request *request, uint64_t *ret_value,
               uint64_t *ret_generation)
{
    uint64_t value = 0;
    int code = 0;
    struct call call = {.values = &value, .codes = &code, .generations = ret_generation};

    if (request->op != ALLOT__OP__OP_SEND)
        call.wait_ms = request->deadline_ms;
    int r = pool_call(p, request, &call);
    if (r < 0)
        return r;
    error_note_limit(code, value);
    if (code == 0 && ret_value)
        *ret_value = value;
    return code;
}

/* 0, or MALFORMED where the daemon granted what is not in the mapping. */
static int zero(const struct allot_pool *p, const struct allot_options *options, uint64_t offset,
                uint64_t size)
{
    if (!(options->flags & ALLOT_ZEROED) || size == 0)
        return 0;
    if (offset > p->size || size > p->size - offset)
        return ALLOT_E_MALFORMED;
    memset(p->base + offset, 0, (size_t)size);
    return 0;
}

static int check_options(const struct allot_options *options)
{
    return options->flags & ~ALLOT_ZEROED ? ALLOT_E_INVALID : 0;
}

/* Before anything else: in a child the table's lock may be another thread's for ever. */
static int promise(const struct allot_pool *p, size_t n)
{
    int r = session_error(p->session);

    if (r == 0 && !held_promise(&p->session->held, n)) {
        errno = ENOMEM;
        return ALLOT_E_SYSTEM;
    }
    return r;
}

/* What an operation counts by: the unit's bytes (IDs have none), and the kind. */
struct unit {
    enum codec_kind kind;
    uint64_t size;
};

static const struct unit bytes = {CODEC_KIND_BYTES, 1};
static const struct unit ids = {CODEC_KIND_IDS, 1};

static struct unit pages_of(const struct allot_pool *p)
{
    return (struct unit){CODEC_KIND_PAGES, p->page_size};
}

/* Grants `count` units: at *position, or anywhere where that is NULL. */
static int alloc_one(struct allot_pool *p, Allot__Op op, const uint64_t *position, uint64_t count,
                     struct unit unit, const struct allot_options *options, uint64_t *ret_position)
{
    Allot__Request request = request_for(p, op);
    struct allot_ticket ticket;
    uint64_t value = 0;

    if (!options)
        options = &no_options;
    int r = check_options(options);
    if (r == 0)
        r = promise(p, 1);
    if (r < 0)
        return r;
    set_options(&request, options);
    if (position)
        set_positions(&request, position, 1);
    set_sizes(&request, &count, 1);
    r = run(p, &request, &value, &ticket.generation);
    if (r < 0) {
        held_unpromise(&p->session->held, 1);
        return r;
    }
    if (position)
        value = *position;
    ticket.place = pool_place(p, unit.kind, value);
    held_put(&p->session->held, &ticket, count * unit.size);
    if (unit.kind != CODEC_KIND_IDS)
        r = zero(p, options, value, count * unit.size);
    if (r == 0 && ret_position)
        *ret_position = value;
    return r;
}

int allot_alloc(struct allot_pool *p, uint64_t size, const struct allot_options *options,
                uint64_t *ret_offset)
{
    return alloc_one(p, ALLOT__OP__OP_ALLOC, NULL, size, bytes, options, ret_offset);
}

/* Whether this session holds still what it wanted to give back. Where nobody knows it does not: the
 * daemon will be asked when it is named again. */
static bool still_holds(int code)
{
    return code != 0 && code != ALLOT_E_NOT_ALLOCATED && code != ALLOT_E_NOT_OWNER &&
           !call_is_unknown(code);
}

/* `count` 0 is not compared. */
static int free_one(struct allot_pool *p, Allot__Op op, uint64_t position, uint64_t count,
                    struct unit unit)
{
    Allot__Request request = request_for(p, op);
    struct allot_ticket ticket = {.place = pool_place(p, unit.kind, position)};
    uint64_t size;

    int r = pool_error(p, op);
    if (r < 0)
        return r;
    if (__builtin_mul_overflow(count, unit.size, &size))
        return ALLOT_E_NOT_ALLOCATED;
    enum held_step step = held_give(&p->session->held, &ticket, size);
    if (step == HELD_DONE)
        return 0;
    if (step == HELD_WRONG)
        return ALLOT_E_NOT_ALLOCATED;
    set_positions(&request, &position, 1);
    set_sizes(&request, &count, count ? 1 : 0);
    r = run(p, &request, NULL, NULL);
    if (step == HELD_ASK)
        held_settle(&p->session->held, &ticket, still_holds(r));
    return r;
}

int allot_free(struct allot_pool *p, uint64_t offset)
{
    return free_one(p, ALLOT__OP__OP_FREE, offset, 0, bytes);
}

int allot_free_sized(struct allot_pool *p, uint64_t offset, uint64_t size)
{
    /* On the wire 0 is "not compared", but no block is that long. */
    return size ? free_one(p, ALLOT__OP__OP_FREE, offset, size, bytes) : ALLOT_E_NOT_ALLOCATED;
}

static int resize(struct allot_pool *p, uint64_t offset, uint64_t size)
{
    Allot__Request request = request_for(p, ALLOT__OP__OP_RESIZE);

    set_positions(&request, &offset, 1);
    set_sizes(&request, &size, 1);
    int r = run(p, &request, NULL, NULL);
    if (r == 0)
        held_resize(&p->session->held, pool_place(p, CODEC_KIND_BYTES, offset), size);
    return r;
}

/* Allocates, copies, frees. The exact free tells a wrong old_size before anything is lost. */
static int move(struct allot_pool *p, uint64_t offset, uint64_t old_size, uint64_t size,
                const struct allot_options *options, uint64_t *ret_offset)
{
    struct allot_options plain = {
        .align = options->align, .tag = options->tag, .wait_ms = options->wait_ms};
    uint64_t fresh = 0;

    if (offset == 0 || offset > p->size || old_size > p->size - offset)
        return ALLOT_E_NOT_ALLOCATED;
    int r = allot_alloc(p, size, &plain, &fresh);
    if (r < 0)
        return r;
    if (fresh > p->size || size > p->size - fresh)
        return ALLOT_E_MALFORMED;
    memcpy(p->base + fresh, p->base + offset, (size_t)(old_size < size ? old_size : size));
    r = allot_free_sized(p, offset, old_size);
    if (r < 0) {
        if (!call_is_unknown(r))
            (void)allot_free(p, fresh);
        return r;
    }
    *ret_offset = fresh;
    return 0;
}

int allot_realloc(struct allot_pool *p, uint64_t offset, uint64_t old_size, uint64_t size,
                  const struct allot_options *options, uint64_t *ret_offset)
{
    uint64_t where = offset;

    if (!options)
        options = &no_options;
    int r = check_options(options);
    if (r < 0)
        return r;
    /* The daemon would compare it only if the block were moved. */
    if (fork_here(p->generation) &&
        held_has_other_size(&p->session->held, pool_place(p, CODEC_KIND_BYTES, offset), old_size))
        return ALLOT_E_NOT_ALLOCATED;
    /* Where the alignment asks for another place, and where it is none (then the allocation says
     * so), resizing would not do. */
    if (options->align && (options->align & (options->align - 1) || offset & (options->align - 1)))
        r = ALLOT_E_NO_MEMORY;
    else
        r = resize(p, offset, size);
    if (r == ALLOT_E_NO_MEMORY || r == ALLOT_E_SHARED || r == ALLOT_E_FROZEN)
        r = move(p, offset, old_size, size, options, &where);
    if (r == 0 && size > old_size)
        r = zero(p, options, where + old_size, size - old_size);
    if (r == 0)
        *ret_offset = where;
    return r;
}

int allot_usable_size(struct allot_pool *p, uint64_t offset, uint64_t *ret_size)
{
    Allot__Request request = request_for(p, ALLOT__OP__OP_USABLE_SIZE);

    set_positions(&request, &offset, 1);
    return run(p, &request, ret_size, NULL);
}

/* The first item's code that is not 0, with its limit noted. */
static int first_failure(size_t n, const uint64_t *values, const int *codes)
{
    for (size_t i = 0; i < n; i++) {
        if (codes[i] != 0) {
            error_note_limit(codes[i], values[i]);
            return codes[i];
        }
    }
    return 0;
}

int allot_alloc_batch(struct allot_pool *p, size_t n, const uint64_t *sizes,
                      const struct allot_options *options, uint64_t *offsets, int *codes)
{
    Allot__Request request = request_for(p, ALLOT__OP__OP_ALLOC);
    uint64_t values[ALLOT_BATCH_MAX];
    uint64_t generations[ALLOT_BATCH_MAX];
    int results[ALLOT_BATCH_MAX];
    struct call call = {.values = values, .codes = results, .generations = generations};
    struct held *held = &p->session->held;

    if (!options)
        options = &no_options;
    if (n == 0 || n > ALLOT_BATCH_MAX || options->wait_ms)
        return ALLOT_E_BATCH;
    int r = check_options(options);
    if (r == 0)
        r = promise(p, n);
    if (r < 0)
        return r;
    set_options(&request, options);
    set_sizes(&request, sizes, n);
    r = pool_call(p, &request, &call);
    if (r < 0) {
        held_unpromise(held, n);
        return r;
    }
    for (size_t i = 0; i < n; i++) {
        struct allot_ticket ticket = {.place = pool_place(p, CODEC_KIND_BYTES, values[i]),
                                      .generation = generations[i]};
        if (results[i] == 0) {
            held_put(held, &ticket, sizes[i]);
            results[i] = zero(p, options, values[i], sizes[i]);
        } else {
            held_unpromise(held, 1);
        }
        if (results[i] == 0)
            offsets[i] = values[i];
    }
    if (codes)
        memcpy(codes, results, n * sizeof(*codes));
    return first_failure(n, values, results);
}

int allot_free_batch(struct allot_pool *p, size_t n, const uint64_t *offsets, int *codes)
{
    Allot__Request request = request_for(p, ALLOT__OP__OP_FREE);
    struct allot_ticket tickets[ALLOT_BATCH_MAX];
    enum held_step steps[ALLOT_BATCH_MAX];
    uint64_t asked[ALLOT_BATCH_MAX];
    uint64_t values[ALLOT_BATCH_MAX];
    int answers[ALLOT_BATCH_MAX];
    int results[ALLOT_BATCH_MAX];
    struct call call = {.values = values, .codes = answers};
    size_t m = 0;

    if (n == 0 || n > ALLOT_BATCH_MAX)
        return ALLOT_E_BATCH;
    int r = pool_error(p, ALLOT__OP__OP_FREE);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        tickets[i] = (struct allot_ticket){.place = pool_place(p, CODEC_KIND_BYTES, offsets[i])};
        steps[i] = held_give(&p->session->held, &tickets[i], 0);
        if (steps[i] != HELD_DONE)
            asked[m++] = offsets[i];
    }
    set_positions(&request, asked, m);
    if (m)
        r = pool_call(p, &request, &call);
    m = 0;
    for (size_t i = 0; i < n; i++) {
        results[i] = steps[i] == HELD_DONE ? 0 : r < 0 ? r : answers[m++];
        if (steps[i] == HELD_ASK)
            held_settle(&p->session->held, &tickets[i], still_holds(results[i]));
    }
    if (r < 0)
        return r;
    if (codes)
        memcpy(codes, results, n * sizeof(*codes));
    for (size_t i = 0; i < n; i++)
        if (results[i] != 0)
            return results[i];
    return 0;
}

int allot_alloc_pages(struct allot_pool *p, uint64_t pages, const struct allot_options *options,
                      uint64_t *ret_offset)
{
    return alloc_one(p, ALLOT__OP__OP_ALLOC_PAGES, NULL, pages, pages_of(p), options, ret_offset);
}

int allot_alloc_pages_at(struct allot_pool *p, uint64_t offset, uint64_t pages,
                         const struct allot_options *options)
{
    return alloc_one(p, ALLOT__OP__OP_ALLOC_PAGES_AT, &offset, pages, pages_of(p), options, NULL);
}

int allot_free_pages(struct allot_pool *p, uint64_t offset, uint64_t pages)
{
    return free_one(p, ALLOT__OP__OP_FREE_PAGES, offset, pages, pages_of(p));
}

int allot_alloc_ids(struct allot_pool *p, uint64_t count, const struct allot_options *options,
                    uint64_t *ret_first)
{
    return alloc_one(p, ALLOT__OP__OP_ALLOC_IDS, NULL, count, ids, options, ret_first);
}

int allot_alloc_ids_at(struct allot_pool *p, uint64_t first, uint64_t count,
                       const struct allot_options *options)
{
    return alloc_one(p, ALLOT__OP__OP_ALLOC_IDS_AT, &first, count, ids, options, NULL);
}

int allot_free_ids(struct allot_pool *p, uint64_t first, uint64_t count)
{
    return free_one(p, ALLOT__OP__OP_FREE_IDS, first, count, ids);
}

/* ---- references ---- */

static int ticket_of(const struct allot_pool *p, enum codec_kind kind, uint64_t position,
                     struct allot_ticket *ret)
{
    uint64_t place = pool_place(p, kind, position);

    int r = session_error(p->session);
    if (r < 0)
        return r;
    uint64_t generation = held_generation(&p->session->held, place);
    if (!generation)
        return ALLOT_E_NOT_OWNER;
    *ret = (struct allot_ticket){.place = place, .generation = generation};
    return 0;
}

int allot_ticket(struct allot_pool *p, uint64_t offset, struct allot_ticket *ret)
{
    int r = ticket_of(p, CODEC_KIND_BYTES, offset, ret);

    return r == ALLOT_E_NOT_OWNER ? ticket_of(p, CODEC_KIND_PAGES, offset, ret) : r;
}

int allot_id_ticket(struct allot_pool *p, uint64_t first, struct allot_ticket *ret)
{
    return ticket_of(p, CODEC_KIND_IDS, first, ret);
}

/* The daemon is asked what the ticket names in the pool. */
static int ask_request(struct allot_pool *p, Allot__Request *request,
                       const struct allot_ticket *ticket, uint64_t *ret_value)
{
    uint64_t place = pool_place_local(ticket->place);

    set_positions(request, &place, 1);
    request->generations = (uint64_t *)&ticket->generation;
    request->n_generations = 1;
    return run(p, request, ret_value, NULL);
}

static int ask(struct allot_pool *p, Allot__Op op, const struct allot_ticket *ticket,
               uint64_t *ret_value)
{
    Allot__Request request = request_for(p, op);

    return ask_request(p, &request, ticket, ret_value);
}

int allot_acquire(struct allot_pool *p, const struct allot_ticket *ticket, uint64_t *ret_position,
                  uint64_t *ret_size)
{
    uint64_t size = 0;

    int r = session_error(p->session);
    if (r < 0)
        return r;
    if (!pool_has(p, ticket))
        return ALLOT_E_NOT_ALLOCATED;
    switch (held_take(&p->session->held, ticket, p->session->calls.timeout_ms, &size)) {
    case HELD_LATE:
        return ALLOT_E_TIMEOUT;
    case HELD_WRONG:
        return ALLOT_E_NOT_ALLOCATED;
    case HELD_NO_MEMORY:
        errno = ENOMEM;
        return ALLOT_E_SYSTEM;
    case HELD_ASK:
        r = ask(p, ALLOT__OP__OP_ACQUIRE, ticket, &size);
        if (r == 0 && size & CODEC_VALUE_FROZEN)
            held_freeze(&p->session->held, ticket);
        size &= ~(CODEC_VALUE_FROZEN | CODEC_VALUE_PARCEL);
        if (r == 0)
            held_resize(&p->session->held, ticket->place, size);
        held_settle(&p->session->held, ticket, r == 0);
        if (r < 0)
            return r;
        break;
    default:
        break;
    }
    *ret_position = pool_position(ticket->place);
    if (ret_size)
        *ret_size = size;
    return 0;
}

int allot_release(struct allot_pool *p, const struct allot_ticket *ticket)
{
    struct allot_ticket given = *ticket;

    int r = session_error(p->session);
    if (r < 0)
        return r;
    if (!pool_has(p, ticket) || !ticket->generation)
        return ALLOT_E_NOT_ALLOCATED;
    enum held_step step = held_give(&p->session->held, &given, 0);
    if (step == HELD_DONE)
        return 0;
    if (step == HELD_WRONG)
        return ALLOT_E_NOT_ALLOCATED;
    r = ask(p, ALLOT__OP__OP_RELEASE, ticket, NULL);
    if (step == HELD_ASK)
        held_settle(&p->session->held, &given, still_holds(r));
    return r;
}

int allot_send(struct allot_pool *p, const struct allot_ticket *ticket, uint64_t receiver,
               uint64_t deadline_ms)
{
    Allot__Request request = request_for(p, ALLOT__OP__OP_SEND);

    if (!fork_here(p->generation))
        return ALLOT_E_FORKED;
    if (!pool_has(p, ticket))
        return ALLOT_E_NOT_ALLOCATED;
    request.receiver = receiver;
    request.deadline_ms = deadline_ms;
    return ask_request(p, &request, ticket, NULL);
}

int allot_freeze(struct allot_pool *p, const struct allot_ticket *ticket)
{
    if (!fork_here(p->generation))
        return ALLOT_E_FORKED;
    if (!pool_has(p, ticket))
        return ALLOT_E_NOT_ALLOCATED;
    int r = ask(p, ALLOT__OP__OP_FREEZE, ticket, NULL);
    if (r == 0)
        held_freeze(&p->session->held, ticket);
    return r;
}
