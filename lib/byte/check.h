/* SPDX-License-Identifier: MIT */
#ifndef ALLOT_BYTE_CHECK_H
#define ALLOT_BYTE_CHECK_H

/* In a function that recounts invariants: what does not hold makes it return the line, not 0. */
#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what))                                                                               \
            return __LINE__;                                                                       \
    } while (0)

#endif
