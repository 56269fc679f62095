/* SPDX-License-Identifier: MIT */
/*
 * The byte allocators by name: all that there are, and which of them are built in.
 */
#include <string.h>

#include <allot/local.h>

/* An entry without a table is known and not built. */
static const struct {
    const char *name;
    const struct allot_byte_ops *ops;
} algorithms[] = {
    {"tlsf", &allot_tlsf},
    {"buddy", &allot_buddy},
    {"slab", &allot_slab},
    {"first-fit", &allot_first_fit},
};

int allot_local_algorithm(const char *name, const struct allot_byte_ops **ret)
{
    for (unsigned i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
        if (strcmp(name, algorithms[i].name))
            continue;
        if (!algorithms[i].ops)
            return ALLOT_E_NO_MEMORY;
        *ret = algorithms[i].ops;
        return 0;
    }
    return ALLOT_E_INVALID;
}
