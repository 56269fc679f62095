/* SPDX-License-Identifier: MIT */
/*
 * The implementations by name, as a configuration file or a user gives it. Each can be left out of
 * a build; what is left out stays known.
 */
#ifndef ALLOT_ALGORITHM_H
#define ALLOT_ALGORITHM_H

#include <allot/byte.h>
#include <allot/id.h>
#include <allot/page.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/*
 * Bytes: "tlsf", "first-fit", "buddy", "slab". Pages and IDs: "bitmap". NULL is the default, the
 * first of them that is built in. INVALID: there is none of that name. NOT_BUILT: there is, but not
 * in this build.
 */
int allot_byte_find(const char *name, const struct allot_byte_ops **ret);
int allot_page_find(const char *name, const struct allot_page_ops **ret);
int allot_id_find(const char *name, const struct allot_id_ops **ret);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
