/* SPDX-License-Identifier: MIT */
/*
 * Trace points: one branch that is predicted while nobody listens, nothing at all in a build with
 * ALLOT_NO_TRACE.
 */
#ifndef ALLOT_HEAP_TRACE_H
#define ALLOT_HEAP_TRACE_H

#include <allot/local.h>

#ifdef ALLOT_NO_TRACE
#define TRACE(h, event, start, size) ((void)(h))
#else
#define TRACE(h, event, start, size)                                                               \
    do {                                                                                           \
        if (__builtin_expect((h)->trace != NULL, 0))                                               \
            (h)->trace((h)->trace_ctx, event, start, size);                                        \
    } while (0)
#endif

#endif
