/* SPDX-License-Identifier: MIT */
/*
 * The state of the daemon: first one line, then tables; or one JSON object with exact numbers.
 *
 * Everything is fetched before anything is printed, so an error leaves standard output empty. The
 * lists are fetched one after another while others go on allocating: they need not add up.
 *
 * JSON: numbers are integers; 64-bit values that no JSON integer can hold (above 2^63-1) cannot
 * occur, since a region has at most 2^47 bytes.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "allotctl.h"

/* Rows of one kind, as they come. */
struct rows {
    size_t row_bytes, n, room;
    char *rows;
};

struct tag_row {
    struct allot_tag_info info;
    const struct allot_pool_info *pool;
};

struct status {
    struct rows pools;    /* struct allot_pool_info */
    struct rows tags;     /* struct tag_row */
    struct rows sessions; /* struct allot_session_info */
    const struct allot_pool_info *tags_of;
};

static void rows_add(struct rows *r, const void *row)
{
    if (r->n == r->room) {
        r->room = r->room ? 2 * r->room : 16;
        r->rows = reallocarray(r->rows, r->room, r->row_bytes);
        if (!r->rows) {
            complain("status", "out of memory");
            exit(EXIT_REFUSED);
        }
    }
    memcpy(r->rows + r->n++ * r->row_bytes, row, r->row_bytes);
}

static const struct allot_pool_info *pool_at(const struct status *s, size_t i)
{
    return (const struct allot_pool_info *)s->pools.rows + i;
}

static const struct tag_row *tag_at(const struct status *s, size_t i)
{
    return (const struct tag_row *)s->tags.rows + i;
}

static const struct allot_session_info *session_at(const struct status *s, size_t i)
{
    return (const struct allot_session_info *)s->sessions.rows + i;
}

static int add_pool(void *ctx, const struct allot_pool_info *info)
{
    struct status *s = ctx;

    rows_add(&s->pools, info);
    return 0;
}

static int add_tag(void *ctx, const struct allot_tag_info *info)
{
    struct status *s = ctx;
    struct tag_row row = {.info = *info, .pool = s->tags_of};

    rows_add(&s->tags, &row);
    return 0;
}

static int add_session(void *ctx, const struct allot_session_info *info)
{
    struct status *s = ctx;

    rows_add(&s->sessions, info);
    return 0;
}

static int fetch(struct status *s, struct allot *a)
{
    int r = allot_list_pools(a, add_pool, s);

    for (size_t i = 0; i < s->pools.n && r == 0; i++) {
        s->tags_of = pool_at(s, i);
        r = allot_list_tags(a, s->tags_of->pool, add_tag, s);
    }
    return r == 0 ? allot_list_sessions(a, add_session, s) : r;
}

static const char *access_text(enum allot_access access)
{
    return access == ALLOT_WRITE ? "write" : access == ALLOT_READ ? "read" : "none";
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static void print_line(const struct status *s)
{
    uint64_t used = 0, size = 0;
    char text[2][SIZE_TEXT];

    for (size_t i = 0; i < s->pools.n; i++) {
        used += pool_at(s, i)->used_bytes;
        size += pool_at(s, i)->size;
    }
    printf("%zu pool%s, %s of %s used (%.1f %%), %zu session%s\n", s->pools.n, plural(s->pools.n),
           size_text(used, text[0]), size_text(size, text[1]),
           size ? 100.0 * (double)used / (double)size : 0.0, s->sessions.n, plural(s->sessions.n));
}

static int pool_width(const struct status *s)
{
    size_t width = strlen("POOL");

    for (size_t i = 0; i < s->pools.n; i++) {
        size_t length = strlen(pool_at(s, i)->name);
        width = length > width ? length : width;
    }
    return (int)width;
}

static void print_pools(const struct status *s)
{
    int width = pool_width(s);
    char text[6][SIZE_TEXT];

    printf("\n%-*s  %-9s  %-6s  %9s  %9s  %9s  %9s  %9s  %8s  %8s  %8s  %8s  %9s\n", width, "POOL",
           "ALLOCATOR", "ACCESS", "USED", "SIZE", "MAXIMUM", "COMMITTED", "LARGEST", "BLOCKS",
           "RUNS", "IDS", "NAMES", "METADATA");
    for (size_t i = 0; i < s->pools.n; i++) {
        const struct allot_pool_info *p = pool_at(s, i);
        printf("%-*s  %-9s  %-6s  %9s  %9s  %9s  %9s  %9s  %8" PRIu64 "  %8" PRIu64 "  %8" PRIu64
               "  %8" PRIu64 "  %9s\n",
               width, p->name, p->allocator, access_text(p->access),
               size_text(p->used_bytes, text[0]), size_text(p->size, text[1]),
               size_text(p->size_max, text[2]), size_text(p->committed_bytes, text[3]),
               size_text(p->largest_free, text[4]), p->blocks, p->page_runs, p->ids_used, p->names,
               size_text(p->metadata_bytes, text[5]));
    }
}

static void print_tags(const struct status *s)
{
    int width = pool_width(s);
    char text[SIZE_TEXT];

    if (s->tags.n)
        printf("\n%-*s  %10s  %11s  %9s  %8s\n", width, "POOL", "TAG", "ALLOCATIONS", "BYTES",
               "IDS");
    for (size_t i = 0; i < s->tags.n; i++) {
        const struct tag_row *t = tag_at(s, i);
        printf("%-*s  %10" PRIu32 "  %11" PRIu64 "  %9s  %8" PRIu64 "\n", width, t->pool->name,
               t->info.tag, t->info.allocations, size_text(t->info.bytes, text), t->info.ids);
    }
}

static void print_sessions(const struct status *s)
{
    char text[3][SIZE_TEXT];

    if (s->sessions.n)
        printf("\n%8s  %8s  %6s  %-9s  %11s  %9s  %8s  %10s  %9s  %9s\n", "SESSION", "PID", "UID",
               "SOCKET", "ALLOCATIONS", "BYTES", "IDS", "OPERATIONS", "RECEIVED", "SENT");
    for (size_t i = 0; i < s->sessions.n; i++) {
        const struct allot_session_info *e = session_at(s, i);
        printf("%8" PRIu64 "  %8" PRIu32 "  %6" PRIu32 "  %-9s  %11" PRIu64 "  %9s  %8" PRIu64
               "  %10" PRIu64 "  %9s  %9s\n",
               e->session, e->pid, e->uid, e->connected ? "connected" : "closed", e->allocations,
               size_text(e->bytes, text[0]), e->ids, e->operations,
               size_text(e->bytes_received, text[1]), size_text(e->bytes_sent, text[2]));
    }
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *json_pool(const struct allot_pool_info *p)
{
    return json_pack(
        "{so, ss, ss, ss, so, so, so, so, so, so, so, so, so, so, so, so, so, so, so, so, so}",
        "pool", number(p->pool), "name", p->name, "allocator", p->allocator, "access",
        access_text(p->access), "page_size", number(p->page_size), "size", number(p->size),
        "size_max", number(p->size_max), "committed_bytes", number(p->committed_bytes),
        "used_bytes", number(p->used_bytes), "largest_free", number(p->largest_free), "free_pages",
        number(p->free_pages), "largest_free_pages", number(p->largest_free_pages), "heap_bytes",
        number(p->heap_bytes), "heap_free_bytes", number(p->heap_free_bytes), "blocks",
        number(p->blocks), "page_runs", number(p->page_runs), "id_ranges", number(p->id_ranges),
        "ids", number(p->ids), "ids_used", number(p->ids_used), "names", number(p->names),
        "metadata_bytes", number(p->metadata_bytes));
}

static json_t *json_tag(const struct tag_row *t)
{
    return json_pack("{ss, so, so, so, so}", "pool", t->pool->name, "tag", number(t->info.tag),
                     "allocations", number(t->info.allocations), "bytes", number(t->info.bytes),
                     "ids", number(t->info.ids));
}

static json_t *json_session(const struct allot_session_info *e)
{
    return json_pack("{so, so, so, so, sb, so, so, so, so, so, so}", "session", number(e->session),
                     "pid", number(e->pid), "uid", number(e->uid), "gid", number(e->gid),
                     "connected", (int)e->connected, "allocations", number(e->allocations), "bytes",
                     number(e->bytes), "ids", number(e->ids), "operations", number(e->operations),
                     "bytes_received", number(e->bytes_received), "bytes_sent",
                     number(e->bytes_sent));
}

static int print_json(const struct status *s)
{
    json_t *pools = json_array(), *tags = json_array(), *sessions = json_array();
    int r = 0;

    for (size_t i = 0; i < s->pools.n; i++)
        r |= json_array_append_new(pools, json_pool(pool_at(s, i)));
    for (size_t i = 0; i < s->tags.n; i++)
        r |= json_array_append_new(tags, json_tag(tag_at(s, i)));
    for (size_t i = 0; i < s->sessions.n; i++)
        r |= json_array_append_new(sessions, json_session(session_at(s, i)));
    json_t *root = json_pack("{so, so, so}", "pools", pools, "tags", tags, "sessions", sessions);
    char *text = root && r == 0 ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (!text) {
        complain("status", "the JSON text could not be made");
        return EXIT_REFUSED;
    }
    puts(text); /* a failure of it is told at the end, as for all output */
    free(text);
    return EXIT_OK;
}

int command_status(struct context *c, int argc, char **argv)
{
    struct status s = {.pools.row_bytes = sizeof(struct allot_pool_info),
                       .tags.row_bytes = sizeof(struct tag_row),
                       .sessions.row_bytes = sizeof(struct allot_session_info)};
    bool json = argc == 2 && !strcmp(argv[1], "--json");

    if (argc != 1 && !json)
        return wrong_use(argv[0]);
    int r = fetch(&s, c->session);
    if (r < 0) {
        r = refused("status", r, NULL);
    } else if (json) {
        r = print_json(&s);
    } else {
        print_line(&s);
        print_pools(&s);
        print_tags(&s);
        print_sessions(&s);
        r = EXIT_OK;
    }
    free(s.pools.rows);
    free(s.tags.rows);
    free(s.sessions.rows);
    return r;
}
