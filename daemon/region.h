/* SPDX-License-Identifier: MIT */
/*
 * Memory files: the regions that pools manage, and the ledger's file. A memfd made at its maximum
 * size, with mode 0600, sealed against shrinking, growing and further seals; it costs nothing until
 * a part is committed. All functions return 0 or -errno and are thread-safe.
 */
#ifndef ALLOTD_REGION_H
#define ALLOTD_REGION_H

#include <stdbool.h>
#include <stdint.h>

/* `name` is for /proc only. */
int region_create(const char *name, uint64_t size, int *ret_fd);

/* Checks that a descriptor from outside is such a file of this very size: -EBADF not a memfd with
 * our seals, -EMSGSIZE another size. */
int region_verify(int fd, uint64_t size);

/* Another open file description of the same memory, for somebody else: read-only or writable.
 * Close-on-exec. */
int region_reopen(int fd, bool writable, int *ret_fd);

/* Backs [offset, offset+size) with memory; may take long (about 0.4 µs a page). -ENOSPC or -ENOMEM
 * where the system has none; EINTR is retried. */
int region_commit(int fd, uint64_t offset, uint64_t size);

/* Calls `visit` for each run of the file that was written or touched, in rising order. What was
 * committed and not touched since is backed with memory too, but the kernel tells it as a hole. */
int region_committed(int fd, void (*visit)(void *ctx, uint64_t offset, uint64_t size), void *ctx);

#endif
