/* SPDX-License-Identifier: MIT */
/* What a refusal leaves behind for allot_last_limit(). */
#ifndef ALLOT_CLIENT_ERROR_H
#define ALLOT_CLIENT_ERROR_H

#include <stdint.h>

/* Remembers `value` for the calling thread if `code` is one whose answer names a limit. */
void error_note_limit(int code, uint64_t value);

#endif
