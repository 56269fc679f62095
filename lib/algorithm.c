/* SPDX-License-Identifier: MIT */
/*
 * The implementations by family and name: all that there are, and which of them are built in.
 *
 * ALLOT_TLSF and its like are 0 or 1, by the build's options of the same names. Within a family the
 * first entry that is built in is the default.
 */
#include <stdbool.h>
#include <stddef.h>

#include <allot/algorithm.h>

#define BUILT(on, table) ((on) ? (const void *)&(table) : NULL)

enum family { BYTE, PAGE, ID };

static const struct {
    enum family family;
    const char *name;
    const void *ops; /* NULL: left out */
} algorithms[] = {
    {BYTE, "tlsf", BUILT(ALLOT_TLSF, allot_tlsf)},
    {BYTE, "first-fit", BUILT(ALLOT_FIRST_FIT, allot_first_fit)},
    {BYTE, "buddy", BUILT(ALLOT_BUDDY, allot_buddy)},
    {BYTE, "slab", BUILT(ALLOT_SLAB, allot_slab)},
    {PAGE, "bitmap", BUILT(ALLOT_BITMAP_PAGES, allot_bitmap_pages)},
    {ID, "bitmap", BUILT(ALLOT_BITMAP_IDS, allot_bitmap_ids)},
};

static bool same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static int find(enum family family, const char *name, const void **ret)
{
    int err = name ? ALLOT_E_INVALID : ALLOT_E_NOT_BUILT;

    for (unsigned i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
        if (algorithms[i].family != family || (name && !same(name, algorithms[i].name)))
            continue;
        if (algorithms[i].ops) {
            *ret = algorithms[i].ops;
            return 0;
        }
        err = ALLOT_E_NOT_BUILT;
    }
    return err;
}

int allot_byte_find(const char *name, const struct allot_byte_ops **ret)
{
    const void *ops;
    int err = find(BYTE, name, &ops);

    if (!err)
        *ret = ops;
    return err;
}

int allot_page_find(const char *name, const struct allot_page_ops **ret)
{
    const void *ops;
    int err = find(PAGE, name, &ops);

    if (!err)
        *ret = ops;
    return err;
}

int allot_id_find(const char *name, const struct allot_id_ops **ret)
{
    const void *ops;
    int err = find(ID, name, &ops);

    if (!err)
        *ret = ops;
    return err;
}
