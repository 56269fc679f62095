/* SPDX-License-Identifier: MIT */
/*
 * The error codes of the allocators. Every function of lib/ that can fail returns 0 or one of
 * these; on failure nothing is changed and no output is set.
 *
 * The first four are those of allot.h and of `enum Error` in allot.proto, by the same names and
 * numbers. The fifth is algorithm.h's alone.
 */
#ifndef ALLOT_ERROR_H
#define ALLOT_ERROR_H

#define ALLOT_E_INVALID       (-1) /* invalid parameter: zero, overflow, bad alignment, out of bounds */
#define ALLOT_E_OVERLAP       (-2)  /* the range overlaps one that is already managed or taken */
#define ALLOT_E_NO_MEMORY     (-3)  /* no free range is large enough, or no metadata memory */
#define ALLOT_E_NOT_ALLOCATED (-4)  /* nothing of that position and size is allocated */
#define ALLOT_E_NOT_BUILT     (-64) /* there is such an implementation, but not in this build */

#endif
