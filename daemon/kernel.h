/* SPDX-License-Identifier: MIT */
/* What the kernel may not have yet. */
#ifndef ALLOTD_KERNEL_H
#define ALLOTD_KERNEL_H

#include <stdbool.h>
#include <stdlib.h>

/* Whether nothing is to be used that is younger than Linux 6.1, the oldest to run on: each such
 * thing has a fallback, and tests force all of them at once. */
static inline bool kernel_is_old(void)
{
    return getenv("ALLOTD_OLD_KERNEL") != NULL;
}

#endif
