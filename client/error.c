/* SPDX-License-Identifier: MIT */
/*
 * Codes in words, and the limit that the calling thread's last refusal named.
 *
 * The first list is the wire's (enum Error); that both agree is checked when this file is compiled.
 */
#include "error.h"
#include "allot.h"
#include "allot.pb-c.h"

_Static_assert(ALLOT_E_INVALID == -ALLOT__ERROR__E_INVALID &&
                   ALLOT_E_OVERLAP == -ALLOT__ERROR__E_OVERLAP &&
                   ALLOT_E_NO_MEMORY == -ALLOT__ERROR__E_NO_MEMORY &&
                   ALLOT_E_NOT_ALLOCATED == -ALLOT__ERROR__E_NOT_ALLOCATED &&
                   ALLOT_E_NOT_OWNER == -ALLOT__ERROR__E_NOT_OWNER &&
                   ALLOT_E_NO_POOL == -ALLOT__ERROR__E_NO_POOL &&
                   ALLOT_E_DENIED == -ALLOT__ERROR__E_DENIED &&
                   ALLOT_E_QUOTA == -ALLOT__ERROR__E_QUOTA &&
                   ALLOT_E_COMMIT == -ALLOT__ERROR__E_COMMIT,
               "allot.h and allot.proto disagree");
_Static_assert(
    ALLOT_E_FRAME_SIZE == -ALLOT__ERROR__E_FRAME_SIZE &&
        ALLOT_E_MALFORMED == -ALLOT__ERROR__E_MALFORMED &&
        ALLOT_E_UNKNOWN == -ALLOT__ERROR__E_UNKNOWN && ALLOT_E_BATCH == -ALLOT__ERROR__E_BATCH &&
        ALLOT_E_HELLO == -ALLOT__ERROR__E_HELLO && ALLOT_E_VERSION == -ALLOT__ERROR__E_VERSION &&
        ALLOT_E_SEQUENCE == -ALLOT__ERROR__E_SEQUENCE && ALLOT_E_LIMIT == -ALLOT__ERROR__E_LIMIT &&
        ALLOT_E_INTERNAL == -ALLOT__ERROR__E_INTERNAL &&
        ALLOT_E_SHARED == -ALLOT__ERROR__E_SHARED && ALLOT_E_SESSION == -ALLOT__ERROR__E_SESSION &&
        ALLOT_E_FROZEN == -ALLOT__ERROR__E_FROZEN &&
        ALLOT_E_DEADLINE == -ALLOT__ERROR__E_DEADLINE &&
        ALLOT_E_EXISTS == -ALLOT__ERROR__E_EXISTS && ALLOT_E_NO_NAME == -ALLOT__ERROR__E_NO_NAME,
    "allot.h and allot.proto disagree");

static _Thread_local uint64_t last_limit;

void error_note_limit(int code, uint64_t value)
{
    if (code == ALLOT_E_NO_MEMORY || code == ALLOT_E_QUOTA || code == ALLOT_E_DEADLINE)
        last_limit = value;
}

uint64_t allot_last_limit(void)
{
    return last_limit;
}

const char *allot_strerror(int code)
{
    switch (code) {
    case 0:
        return "success";
    case ALLOT_E_INVALID:
        return "invalid parameter: zero, too large, badly aligned, out of bounds, or not a name";
    case ALLOT_E_OVERLAP:
        return "the range overlaps one that is taken";
    case ALLOT_E_NO_MEMORY:
        return "no memory: no free range is large enough";
    case ALLOT_E_NOT_ALLOCATED:
        return "nothing of that position and size is allocated";
    case ALLOT_E_NOT_OWNER:
        return "it is allocated, but this session does not hold it";
    case ALLOT_E_NO_POOL:
        return "no such pool";
    case ALLOT_E_DENIED:
        return "permission denied";
    case ALLOT_E_QUOTA:
        return "over quota";
    case ALLOT_E_COMMIT:
        return "the system has no memory to back it";
    case ALLOT_E_FRAME_SIZE:
        return "a message was too long";
    case ALLOT_E_MALFORMED:
        return "a message was not understood";
    case ALLOT_E_UNKNOWN:
        return "the daemon does not know this operation";
    case ALLOT_E_BATCH:
        return "a batch of no or of too many items";
    case ALLOT_E_HELLO:
        return "a request before hello, or a second hello";
    case ALLOT_E_VERSION:
        return "the daemon speaks no common protocol version";
    case ALLOT_E_SEQUENCE:
        return "client and daemon disagree about the order of requests; the session is broken";
    case ALLOT_E_LIMIT:
        return "the daemon's limit of sessions, allocations or names is reached";
    case ALLOT_E_INTERNAL:
        return "internal error of the daemon";
    case ALLOT_E_SESSION:
        return "the daemon knows no such session";
    case ALLOT_E_SHARED:
        return "others hold it too";
    case ALLOT_E_FROZEN:
        return "it is frozen";
    case ALLOT_E_DEADLINE:
        return "waited for room in vain";
    case ALLOT_E_EXISTS:
        return "the name is taken";
    case ALLOT_E_NO_NAME:
        return "nothing of that name is published";
    case ALLOT_E_TIMEOUT:
        return "timed out";
    case ALLOT_E_DISCONNECTED:
        return "no connection to the daemon";
    case ALLOT_E_FORKED:
        return "the session belongs to the parent process";
    case ALLOT_E_PATH:
        return "the socket's path is empty or longer than 107 bytes";
    case ALLOT_E_POOL_GONE:
        return "the daemon has lost what it kept: the session and its pools are gone";
    case ALLOT_E_SYSTEM:
        return "a system call failed";
    default:
        return "unknown error";
    }
}
