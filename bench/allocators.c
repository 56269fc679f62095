/* SPDX-License-Identifier: MIT */
/*
 * The byte allocators that are measured: a line for each.
 */
#include "lib.h"

const struct allot_byte_ops *const lib_allocators[] = {
    &allot_tlsf, &allot_slab, &allot_buddy, &allot_first_fit, NULL,
};
