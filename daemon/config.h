/* SPDX-License-Identifier: MIT */
/* The configuration: an INI file, or one built-in pool. allotd.conf(5) is the user's page. */
#ifndef ALLOTD_CONFIG_H
#define ALLOTD_CONFIG_H

#include <stdint.h>

#include <allot/algorithm.h>

#include "bounds.h"
#include "codec.h"
#include "peer.h"

enum rule_kind { RULE_ANY, RULE_UID, RULE_GID };

struct config_rule {
    enum rule_kind kind;
    uint32_t id;
    Allot__Access access;
};

struct config_pool {
    char name[CODEC_NAME_MAX + 1];
    uint64_t size;            /* bytes managed at first; whole pages */
    uint64_t size_max;        /* bytes of the region; whole pages, size or more, at most 2^47 */
    uint64_t page_size;       /* bytes; a power of two, 4096 to 1 GiB */
    uint64_t ids;             /* the ID space is 1..ids */
    uint64_t quota;           /* bytes that one user may hold; UINT64_MAX: no limit */
    uint64_t allocations_max; /* live allocations, ALLOCATIONS_MAX at most */
    uint64_t names_quota;     /* names that one user may have published, NAMES_MAX at most */
    const struct allot_byte_ops *allocator; /* NULL: none is built in */
    struct config_rule rules[RULES_MAX];
    unsigned n_rules;
};

struct config {
    char socket[108]; /* empty: not set */
    unsigned workers; /* 1 to WORKERS_MAX */
    unsigned sessions_max;
    int log_level;
    struct config_pool pools[POOLS_MAX];
    unsigned n_pools;
};

/*
 * Sizes and counts are whole numbers, with K, M, G or T (powers of 1024) after them if need be.
 *
 *   [daemon]         socket, workers, sessions_max, log_level
 *   [pool NAME]      size            bytes managed at first          default: size_max
 *                    size_max        bytes of the region             size, but 1 GiB at least
 *                    page_size       4K to 1G, a power of two        4K
 *                    allocator       a name of algorithm.h           its default
 *                    ids             IDs in the space, below 2^48    2^32
 *                    quota           bytes that one user may hold    no limit
 *                    allocations_max live allocations                ALLOCATIONS_MAX
 *                    names_quota     names that one user may publish 1024
 *                    access          who may do what                 *=write
 *
 * `access` is a list of WHO=WHAT: WHO is uid:NAME, gid:NAME (or numbers) or `*`, WHAT is none, read
 * or write. It may be given on several lines, which add up; whom no rule names gets nothing. Sizes
 * are rounded up to whole pages, with a warning. A pool has two pages at least, since page 0 is
 * never granted.
 */

/* The built-in configuration: the pool "default" of 1 GiB, open to everyone who may connect, a
 * worker for each core. */
void config_default(struct config *config);

/*
 * Reads `path` over the built-in defaults; a file with at least one pool section replaces the
 * built-in pool. Logs every mistake as path:line: what (unknown section or key, value out of
 * range, pool named twice, …) before it returns. 0, or -1 with *config unusable. One thread at a
 * time: it asks for users and groups by name.
 */
int config_load(struct config *config, const char *path);

/* Why a path cannot be the socket (relative, longer than 107 bytes, …), or NULL. */
const char *config_socket_mistake(const char *path);

/* What the pool's rules give to the process: the most that a matching rule gives. A uid rule that
 * matches overrides group rules, and those override `*`. */
Allot__Access config_access(const struct config_pool *pool, const struct peer *peer);

#endif
