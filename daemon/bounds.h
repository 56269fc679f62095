/* SPDX-License-Identifier: MIT */
/*
 * The daemon's fixed limits, each with its reason. What an administrator may change is in config.h.
 */
#ifndef ALLOTD_BOUNDS_H
#define ALLOTD_BOUNDS_H

/* Pools: each costs a ledger part and a row in every session's table of rights. */
#define POOLS_MAX 16u
/* Sessions, live or waiting for their process's end: a slot number must fit a reference word. */
#define SESSIONS_MAX 4096u
/* Client sockets that the service manager keeps: each that is added costs it time in proportion to
 * what it keeps (0.2 ms at 200, 2.4 ms at 1,800). Other clients connect again after a restart. */
#define CLIENTS_KEPT_MAX 256u
/* Worker loops: more than this many cores do not help a daemon whose locks are per pool. */
#define WORKERS_MAX 64u
/* Live allocations in one pool: keeps a record's number below 2^32 and its tables' address space,
 * which is reserved for all pools at once, below 64 GiB. */
#define ALLOCATIONS_MAX (1u << 26)
/* Parcels on their way in one pool: each is to be short-lived, and all of their ledger is committed
 * (96 KiB). An index fits 16 bits of a reference's word. */
#define PARCELS_MAX 4096u
/* Of one user's in one pool: so that no user alone fills it. */
#define PARCELS_USER_MAX (PARCELS_MAX / 2)
/* Requests that wait in one pool, and of one user's: a turn is looked for among all of them
 * whenever something is granted or freed, under the lock. */
#define WAITS_MAX      1024u
#define WAITS_USER_MAX (WAITS_MAX / 4)
/* Published names in one pool: they are kept in one table in order, which a change moves. */
#define NAMES_MAX (1u << 14)
/* Tags in one pool that are told apart: a list looks at all of them under the lock, for 0.2 ms. */
#define TAGS_MAX (1u << 14)
/* A page of a pool: the system's own at least. */
#define PAGE_SIZE_MIN 4096ull
/* Bytes of one pool's region: a process has no more address space on x86-64. */
#define REGION_SIZE_MAX (1ull << 47)
/* IDs of one pool: a position is 48 bits of a ticket. */
#define IDS_MAX ((1ull << 48) - 1)
/* Access rules of one pool: read linearly when a session attaches. */
#define RULES_MAX 64u
/* Supplementary groups that are looked at; the kernel's own limit is 65,536, ordinary users have a
 * handful. */
#define GROUPS_MAX 256u

#endif
