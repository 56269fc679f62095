/* SPDX-License-Identifier: MIT */
/*
 * Lists: pools, tags, sessions and names, as the daemon has them.
 *
 * A list comes in frames. The thread that receives a frame may be another caller's, so it copies
 * the frame as it is; here it is decoded, on the caller's own thread and outside all locks, which
 * is why the visitor may do what it likes.
 *
 * Limits: a frame that promises more but does not get further is MALFORMED, so no daemon can keep a
 * caller here for ever.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

struct list {
    struct allot *session;
    const struct allot_pool *pool; /* of names */
    Allot__Request request;
    Allot__Reply *reply;
    /* Visits all entries of the reply; `last` is then the last one's key. */
    int (*visit_part)(struct list *);
    union {
        int (*pool)(void *ctx, const struct allot_pool_info *);
        int (*tag)(void *ctx, const struct allot_tag_info *);
        int (*session)(void *ctx, const struct allot_session_info *);
        int (*name)(void *ctx, const struct allot_name_info *);
    } visit;
    void *ctx;
    uint64_t last;
    char last_name[ALLOT_NAME_MAX + 1];
    unsigned char frame[CODEC_FRAME_MAX];
    struct codec_arena arena;
};

static int visit_pools(struct list *list)
{
    for (size_t i = 0; i < list->reply->n_pools; i++) {
        const Allot__PoolInfo *in = list->reply->pools[i];
        struct allot_pool_info info = {.pool = in->pool,
                                       .access = (enum allot_access)in->access,
                                       .page_size = in->page_size,
                                       .size = in->size,
                                       .size_max = in->size_max,
                                       .committed_bytes = in->committed_bytes,
                                       .used_bytes = in->used_bytes,
                                       .largest_free = in->largest_free,
                                       .free_pages = in->free_pages,
                                       .largest_free_pages = in->largest_free_pages,
                                       .heap_bytes = in->heap_bytes,
                                       .heap_free_bytes = in->heap_free_bytes,
                                       .blocks = in->blocks,
                                       .page_runs = in->page_runs,
                                       .id_ranges = in->id_ranges,
                                       .ids = in->ids,
                                       .ids_used = in->ids_used,
                                       .names = in->names,
                                       .metadata_bytes = in->metadata_bytes};
        snprintf(info.name, sizeof(info.name), "%s", in->name);
        snprintf(info.allocator, sizeof(info.allocator), "%s", in->allocator);
        list->last = in->pool;
        int r = list->visit.pool(list->ctx, &info);
        if (r != 0)
            return r;
    }
    return 0;
}

static int visit_tags(struct list *list)
{
    for (size_t i = 0; i < list->reply->n_tags; i++) {
        const Allot__TagInfo *in = list->reply->tags[i];
        struct allot_tag_info info = {
            .tag = in->tag, .allocations = in->allocations, .bytes = in->bytes, .ids = in->ids};
        list->last = (uint64_t)in->tag + 1;
        int r = list->visit.tag(list->ctx, &info);
        if (r != 0)
            return r;
    }
    return 0;
}

static int visit_sessions(struct list *list)
{
    for (size_t i = 0; i < list->reply->n_sessions; i++) {
        const Allot__SessionInfo *in = list->reply->sessions[i];
        struct allot_session_info info = {.session = in->session,
                                          .pid = in->pid,
                                          .uid = in->uid,
                                          .gid = in->gid,
                                          .connected = in->connected,
                                          .allocations = in->allocations,
                                          .bytes = in->bytes,
                                          .ids = in->ids,
                                          .operations = in->operations,
                                          .bytes_received = in->bytes_received,
                                          .bytes_sent = in->bytes_sent};
        list->last = in->session;
        int r = list->visit.session(list->ctx, &info);
        if (r != 0)
            return r;
    }
    return 0;
}

static int visit_names(struct list *list)
{
    const struct allot_pool *p = list->pool;

    for (size_t i = 0; i < list->reply->n_names; i++) {
        const Allot__NameInfo *in = list->reply->names[i];
        struct allot_name_info info = {
            .ticket = {.place = pool_place_global(p, in->place), .generation = in->generation},
            .size = in->size,
            .sequence = in->sequence,
            .uid = in->uid,
            .gid = in->gid};
        snprintf(info.name, sizeof(info.name), "%s", in->name);
        if (strcmp(info.name, list->last_name) <= 0)
            return ALLOT_E_MALFORMED;
        strcpy(list->last_name, info.name);
        list->last++;
        int r = list->visit.name(list->ctx, &info);
        if (r != 0)
            return r;
    }
    return 0;
}

/* The next part, into list->reply. */
static int fetch(struct list *list)
{
    uint64_t value;
    int code;
    struct call call = {.values = &value, .codes = &code, .frame = list->frame};

    int r = session_call(list->session, &list->request, &call);
    if (r < 0)
        return r;
    if (code < 0)
        return code;
    return codec_decode_reply(&list->arena, list->frame, call.frame_size, &list->reply);
}

static int walk(struct list *list)
{
    for (;;) {
        int r = fetch(list);
        if (r == 0)
            r = list->visit_part(list);
        if (r != 0 || !list->reply->more)
            return r;
        if (list->last <= list->request.after)
            return ALLOT_E_MALFORMED;
        list->request.after = list->last;
    }
}

static struct list *list_new(struct allot *a, Allot__Op op, void *ctx)
{
    struct list *list = malloc(sizeof(*list));

    if (list) {
        list->session = a;
        list->ctx = ctx;
        list->last = 0;
        list->last_name[0] = 0;
        allot__request__init(&list->request);
        list->request.op = op;
    }
    return list;
}

int allot_list_pools(struct allot *a, int (*visit)(void *ctx, const struct allot_pool_info *),
                     void *ctx)
{
    struct list *list = list_new(a, ALLOT__OP__OP_POOLS, ctx);

    if (!list)
        return ALLOT_E_SYSTEM;
    list->visit_part = visit_pools;
    list->visit.pool = visit;
    int r = walk(list);
    free(list);
    return r;
}

int allot_list_tags(struct allot *a, uint32_t pool,
                    int (*visit)(void *ctx, const struct allot_tag_info *), void *ctx)
{
    struct list *list = list_new(a, ALLOT__OP__OP_TAGS, ctx);

    if (!list)
        return ALLOT_E_SYSTEM;
    list->request.pool = pool;
    list->visit_part = visit_tags;
    list->visit.tag = visit;
    int r = walk(list);
    free(list);
    return r;
}

int allot_list_sessions(struct allot *a, int (*visit)(void *ctx, const struct allot_session_info *),
                        void *ctx)
{
    struct list *list = list_new(a, ALLOT__OP__OP_SESSIONS, ctx);

    if (!list)
        return ALLOT_E_SYSTEM;
    list->visit_part = visit_sessions;
    list->visit.session = visit;
    int r = walk(list);
    free(list);
    return r;
}

int allot_list_names(struct allot_pool *p, const char *prefix,
                     int (*visit)(void *ctx, const struct allot_name_info *), void *ctx)
{
    if (name_is_too_long(prefix))
        return ALLOT_E_INVALID;
    struct list *list = list_new(p->session, ALLOT__OP__OP_NAMES, ctx);
    if (!list)
        return ALLOT_E_SYSTEM;
    list->pool = p;
    list->request.pool = p->number;
    list->request.name = (char *)(uintptr_t)(prefix ? prefix : "");
    list->request.after_name = list->last_name;
    list->visit_part = visit_names;
    list->visit.name = visit;
    int r = walk(list);
    free(list);
    return r;
}
