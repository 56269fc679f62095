/* SPDX-License-Identifier: MIT */
/*
 * Memory files.
 *
 * What it is: the only place that makes, checks, opens again and backs the memfds of pools and
 * ledger. What it is not: it maps nothing and knows nothing of what lies inside.
 *
 * Invariants: the size never changes (SHRINK: a client that cut the file would give everybody else
 * SIGBUS; GROW: nobody needs it), and nobody can add a seal (SEAL: with FUTURE_WRITE a daemon that
 * starts again could not map its own pool). The mode is 0600: with a wider one another user could
 * turn a read-only descriptor into a writable one through /proc. Execution is sealed off where the
 * kernel knows how (Linux 6.3).
 *
 * Locks: none. lseek() moves an offset that nobody reads.
 *
 * Limits: region_committed() tells what was written or touched. Memory that was committed and never
 * touched since looks like a hole to SEEK_DATA on this file system; committing it again costs
 * little and harms nothing.
 */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int region_create(const char *name, uint64_t size, int *ret_fd)
{
    if (size == 0 || size > INT64_MAX)
        return -EINVAL;

    unsigned noexec = kernel_is_old() ? 0 : MFD_NOEXEC_SEAL;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | noexec);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) < 0 || fchmod(fd, S_IRUSR | S_IWUSR) < 0 ||
        fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

int region_verify(int fd, uint64_t size)
{
    int seals = fcntl(fd, F_GET_SEALS);
    int flags = fcntl(fd, F_GETFL);
    struct stat st;

    if (seals < 0 || flags < 0)
        return -EBADF;
    if ((seals & SEALS) != SEALS || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
        return -EBADF;
    if ((flags & O_ACCMODE) != O_RDWR || (flags & O_PATH))
        return -EBADF;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EBADF;
    return (uint64_t)st.st_size == size ? 0 : -EMSGSIZE;
}

int region_reopen(int fd, bool writable, int *ret_fd)
{
    char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int again = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (again < 0)
        return -errno;
    *ret_fd = again;
    return 0;
}

int region_commit(int fd, uint64_t offset, uint64_t size)
{
    if (size == 0 || size > INT64_MAX || offset > INT64_MAX - size)
        return -EINVAL;
    while (fallocate(fd, 0, (off_t)offset, (off_t)size) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int region_committed(int fd, void (*visit)(void *ctx, uint64_t offset, uint64_t size), void *ctx)
{
    off_t at = 0;

    for (;;) {
        off_t start = lseek(fd, at, SEEK_DATA);
        if (start < 0)
            return errno == ENXIO ? 0 : -errno; /* ENXIO: only holes from here on */
        off_t end = lseek(fd, start, SEEK_HOLE);
        if (end < 0)
            return errno == ENXIO ? 0 : -errno;
        visit(ctx, (uint64_t)start, (uint64_t)(end - start));
        at = end;
    }
}
