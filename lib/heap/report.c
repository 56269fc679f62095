/* SPDX-License-Identifier: MIT */
/*
 * What a local heap tells of itself: its free list, whether its list of runs is in order, and both
 * as text. Numbers are written here, because printf() may allocate.
 *
 * All of it walks the whole heap. Locks: the heap's.
 */
#include <stdbool.h>
#include <string.h>

#include <allot/local.h>

struct walk {
    struct allot_local_stats *stats;
    struct allot_local_validity *validity;
    uint64_t start;
    uint64_t end;
    bool any;
    bool after_free;
};

static void visit(void *ctx, unsigned long long start, unsigned long long size,
                  enum allot_run_state state)
{
    struct walk *w = ctx;
    bool is_free = state == ALLOT_RUN_FREE;

    if (w->stats && is_free) {
        w->stats->length++;
        w->stats->size += size;
    }
    if (w->validity && w->any) {
        w->validity->out_of_order += start < w->start;
        w->validity->overlaps += start < w->end && w->start < start + size;
        w->validity->adjacents += is_free && w->after_free && start == w->end;
    }
    w->start = start;
    w->end = start + size;
    w->any = true;
    w->after_free = is_free;
}

void allot_local_measure(const struct allot_local *h, struct allot_local_stats *ret)
{
    const struct allot_byte_ops *ops = h->bytes->ops;
    struct walk w = {.stats = ret};

    memset(ret, 0, sizeof(*ret));
    ret->total = ops->total_bytes(h->bytes);
    ret->used = ops->used_bytes(h->bytes);
    ret->metadata = ops->metadata_bytes(h->bytes);
    ops->dump(h->bytes, visit, &w);
}

void allot_local_validate(const struct allot_local *h, struct allot_local_validity *ret)
{
    struct walk w = {.validity = ret};

    memset(ret, 0, sizeof(*ret));
    h->bytes->ops->dump(h->bytes, visit, &w);
}

struct line {
    char *text;
    size_t size;
    size_t length;
};

static void put_text(struct line *line, const char *text)
{
    for (; *text && line->length + 1 < line->size; text++)
        line->text[line->length++] = *text;
    if (line->size)
        line->text[line->length] = '\0';
}

static void put_number(struct line *line, uint64_t number)
{
    char digits[24], *p = digits + sizeof(digits) - 1;

    *p = '\0';
    do {
        *--p = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    put_text(line, p);
}

void allot_local_stats_text(const struct allot_local_stats *stats, char *text, size_t size)
{
    struct line line = {text, size, 0};

    put_text(&line, "length: ");
    put_number(&line, stats->length);
    put_text(&line, ", size: ");
    put_number(&line, stats->size);
}

void allot_local_validity_text(const struct allot_local_validity *v, char *text, size_t size)
{
    struct line line = {text, size, 0};

    put_text(&line, "overlaps: ");
    put_number(&line, v->overlaps);
    put_text(&line, ", adjacents: ");
    put_number(&line, v->adjacents);
    put_text(&line, ", out of order: ");
    put_number(&line, v->out_of_order);
}
