/* SPDX-License-Identifier: MIT */
/*
 * Reading of traces, in the form that traces/README.md tells.
 *
 * The files are the repository's own; what is checked is that they are whole: every free names a
 * block that lives.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workload.h"

static int read_number(FILE *f, uint32_t *ret)
{
    uint32_t n = 0;

    for (unsigned shift = 0; shift < 32; shift += 7) {
        int byte = getc(f);
        if (byte == EOF)
            return -1;
        n |= (uint32_t)(byte & 127) << shift;
        if (byte < 128) {
            *ret = n;
            return 0;
        }
    }
    return -1;
}

static int read_kinds(FILE *f, uint32_t *ret_n, struct trace_step **ret)
{
    uint32_t n;

    if (read_number(f, &n) || n == 0)
        return -1;
    *ret = calloc(n, sizeof(**ret));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size, align;
        if (!*ret || read_number(f, &size) || read_number(f, &align) || size >= 1u << 25 ||
            align >= 1u << 6)
            return -1;
        (*ret)[i].size = size & ((1u << 25) - 1);
        (*ret)[i].align = align & ((1u << 6) - 1);
    }
    *ret_n = n;
    return 0;
}

static int read_steps(FILE *f, struct trace *t, const struct trace_step *kinds, uint32_t n_kinds)
{
    struct trace_step *blocks = calloc(t->n_steps, sizeof(*blocks));
    uint32_t allocated = 0, number = 0;
    int rc = blocks ? 0 : -1;

    for (size_t i = 0; i < t->n_steps && !rc; i++) {
        rc = read_number(f, &number);
        if (!rc && number < n_kinds) {
            blocks[allocated] = kinds[number];
            blocks[allocated].id = allocated;
            t->steps[i] = blocks[allocated++];
        } else if (!rc) {
            number -= n_kinds;
            rc = number < allocated && !blocks[allocated - 1 - number].is_free ? 0 : -1;
            if (!rc) {
                blocks[allocated - 1 - number].is_free = 1;
                t->steps[i] = blocks[allocated - 1 - number];
            }
        }
    }
    t->n_blocks = allocated;
    free(blocks);
    return rc;
}

int trace_read(struct trace *t, const char *path)
{
    struct trace_step *kinds = NULL;
    uint32_t n_steps, n_kinds;
    FILE *f = fopen(path, "rbe");

    *t = (struct trace){0};
    int rc = f ? read_number(f, &n_steps) : -1;
    if (!rc)
        rc = read_kinds(f, &n_kinds, &kinds);
    if (!rc) {
        t->n_steps = n_steps;
        t->steps = calloc(n_steps, sizeof(*t->steps));
        rc = t->steps ? read_steps(f, t, kinds, n_kinds) : -1;
    }
    if (rc) {
        fprintf(stderr, "bench: %s: no trace\n", path);
        trace_free(t);
    }
    free(kinds);
    if (f)
        fclose(f);
    return rc;
}

void trace_free(struct trace *t)
{
    free(t->steps);
    *t = (struct trace){0};
}
