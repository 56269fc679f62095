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
 * Invariants: outputs are set on success only; nothing is allocated from the heap.
 */
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

static int run_one(struct allot_pool *p, Allot__Request *request, uint64_t *ret_value)
{
    uint64_t value = 0;
    int code = 0;
    struct call call = {.values = &value, .codes = &code};

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

/* Grants `count` units of `unit_size` bytes (IDs have none): at *position, or anywhere where that
 * is NULL. */
static int alloc_one(struct allot_pool *p, Allot__Op op, const uint64_t *position, uint64_t count,
                     uint64_t unit_size, const struct allot_options *options,
                     uint64_t *ret_position)
{
    Allot__Request request = request_for(p, op);
    uint64_t value = 0;

    if (!options)
        options = &no_options;
    int r = check_options(options);
    if (r < 0)
        return r;
    set_options(&request, options);
    if (position)
        set_positions(&request, position, 1);
    set_sizes(&request, &count, 1);
    r = run_one(p, &request, &value);
    if (r == 0)
        r = zero(p, options, position ? *position : value, count * unit_size);
    if (r == 0 && ret_position)
        *ret_position = value;
    return r;
}

int allot_alloc(struct allot_pool *p, uint64_t size, const struct allot_options *options,
                uint64_t *ret_offset)
{
    return alloc_one(p, ALLOT__OP__OP_ALLOC, NULL, size, 1, options, ret_offset);
}

static int free_one(struct allot_pool *p, Allot__Op op, uint64_t position, uint64_t size)
{
    Allot__Request request = request_for(p, op);

    set_positions(&request, &position, 1);
    set_sizes(&request, &size, size ? 1 : 0);
    return run_one(p, &request, NULL);
}

int allot_free(struct allot_pool *p, uint64_t offset)
{
    return free_one(p, ALLOT__OP__OP_FREE, offset, 0);
}

int allot_free_sized(struct allot_pool *p, uint64_t offset, uint64_t size)
{
    /* On the wire 0 is "not compared", but no block is that long. */
    return size ? free_one(p, ALLOT__OP__OP_FREE, offset, size) : ALLOT_E_NOT_ALLOCATED;
}

static int resize(struct allot_pool *p, uint64_t offset, uint64_t size)
{
    Allot__Request request = request_for(p, ALLOT__OP__OP_RESIZE);

    set_positions(&request, &offset, 1);
    set_sizes(&request, &size, 1);
    return run_one(p, &request, NULL);
}

/* Allocates, copies, frees. The exact free tells a wrong old_size before anything is lost. */
static int move(struct allot_pool *p, uint64_t offset, uint64_t old_size, uint64_t size,
                const struct allot_options *options, uint64_t *ret_offset)
{
    struct allot_options plain = {.align = options->align, .tag = options->tag};
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
        if (r != ALLOT_E_TIMEOUT)
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
    /* Where the alignment asks for another place, and where it is none (then the allocation says
     * so), resizing would not do. */
    if (options->align && (options->align & (options->align - 1) || offset & (options->align - 1)))
        r = ALLOT_E_NO_MEMORY;
    else
        r = resize(p, offset, size);
    if (r == ALLOT_E_NO_MEMORY)
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
    return run_one(p, &request, ret_size);
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
    int results[ALLOT_BATCH_MAX];
    struct call call = {.values = values, .codes = results};

    if (n == 0 || n > ALLOT_BATCH_MAX)
        return ALLOT_E_BATCH;
    if (!options)
        options = &no_options;
    int r = check_options(options);
    if (r < 0)
        return r;
    set_options(&request, options);
    set_sizes(&request, sizes, n);
    r = pool_call(p, &request, &call);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (results[i] == 0)
            results[i] = zero(p, options, values[i], sizes[i]);
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
    uint64_t values[ALLOT_BATCH_MAX];
    int results[ALLOT_BATCH_MAX];
    struct call call = {.values = values, .codes = results};

    if (n == 0 || n > ALLOT_BATCH_MAX)
        return ALLOT_E_BATCH;
    set_positions(&request, offsets, n);
    int r = pool_call(p, &request, &call);
    if (r < 0)
        return r;
    if (codes)
        memcpy(codes, results, n * sizeof(*codes));
    return first_failure(n, values, results);
}

int allot_alloc_pages(struct allot_pool *p, uint64_t pages, const struct allot_options *options,
                      uint64_t *ret_offset)
{
    return alloc_one(p, ALLOT__OP__OP_ALLOC_PAGES, NULL, pages, p->page_size, options, ret_offset);
}

int allot_alloc_pages_at(struct allot_pool *p, uint64_t offset, uint64_t pages,
                         const struct allot_options *options)
{
    return alloc_one(p, ALLOT__OP__OP_ALLOC_PAGES_AT, &offset, pages, p->page_size, options, NULL);
}

int allot_free_pages(struct allot_pool *p, uint64_t offset, uint64_t pages)
{
    return free_one(p, ALLOT__OP__OP_FREE_PAGES, offset, pages);
}

int allot_alloc_ids(struct allot_pool *p, uint64_t count, const struct allot_options *options,
                    uint64_t *ret_first)
{
    return alloc_one(p, ALLOT__OP__OP_ALLOC_IDS, NULL, count, 0, options, ret_first);
}

int allot_alloc_ids_at(struct allot_pool *p, uint64_t first, uint64_t count,
                       const struct allot_options *options)
{
    return alloc_one(p, ALLOT__OP__OP_ALLOC_IDS_AT, &first, count, 0, options, NULL);
}

int allot_free_ids(struct allot_pool *p, uint64_t first, uint64_t count)
{
    return free_one(p, ALLOT__OP__OP_FREE_IDS, first, count);
}
