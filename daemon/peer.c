/* SPDX-License-Identifier: MIT */
/*
 * Who is at the other end of a connection.
 *
 * What it is: credentials that the kernel noted when the peer connected, and a pidfd, which tells
 * when the process is gone. What it is not: the peer's word, or a check of rights (config.h).
 *
 * Invariants: pidfd and start time belong to one process: the time is read while the pidfd is held,
 * and afterwards the pidfd must not be readable, so the pid was not another's in between.
 *
 * What tells a process from others that have had its pid is the same for all daemons that run under
 * one kernel, whatever their units let them see of /proc, or is not known: a restart after which it
 * is another would take all clients for dead. So the pidfd's inode comes before /proc's start time.
 *
 * Limits: without SO_PEERPIDFD (before Linux 6.5) the peer may end, and its pid be another's,
 * between connect() and pidfd_open(). The socket is hung up then, and that is refused as well, but
 * not where the peer left a copy of its socket to somebody else. Where pidfds have no inodes
 * (before Linux 6.9), and /proc hides other users' processes, a pid that is another's after a
 * restart is taken for the same process: what that one held is free only when the other ends, too.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "kernel.h"
#include "log.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#define PIDFS_MAGIC 0x50494446 /* where pidfds have inodes of their own */

/* Numbers in /proc/PID/stat before the start time, from the state on, which follows the name. */
#define FIELDS_BEFORE_START 19

/* 0 while the process lives, -ESRCH once it is gone. */
static int alive(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int n;

    do
        n = poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return n ? -ESRCH : 0;
}

/* The name, field 2, may hold spaces and parentheses: the fields after it begin at the last ')'. */
static int parse_start_time(char *stat, uint64_t *ret)
{
    char *at = strrchr(stat, ')');

    if (!at)
        return -EPROTO;
    at++;
    for (int i = 0; i < FIELDS_BEFORE_START; i++) {
        at += strspn(at, " ");
        at += strcspn(at, " ");
    }
    at += strspn(at, " ");

    char *end;
    errno = 0;
    unsigned long long time = strtoull(at, &end, 10);
    if (end == at || *end != ' ' || errno)
        return -EPROTO;
    *ret = time;
    return 0;
}

static int read_start_time(pid_t pid, uint64_t *ret)
{
    char path[sizeof("/proc//stat") + 3 * sizeof(pid)];
    char text[1024]; /* the fields up to the start time take at most about 400 */

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : errno == EPERM ? -EACCES : -errno;
    ssize_t size;
    do
        size = read(fd, text, sizeof(text) - 1);
    while (size < 0 && errno == EINTR);
    int rc = size < 0 ? -errno : 0;
    close(fd);
    if (rc)
        return rc;
    text[size] = 0;
    return parse_start_time(text, ret);
}

/* One a process, or 0 where pidfds have none of their own. */
static uint64_t pidfd_inode(int pidfd)
{
    struct statfs fs;
    struct stat st;

    if (kernel_is_old() || fstatfs(pidfd, &fs) < 0 || fs.f_type != PIDFS_MAGIC ||
        fstat(pidfd, &st) < 0)
        return 0;
    return st.st_ino;
}

/* Where the process is gone, so is its /proc/PID, which the caller sees by the pidfd. */
static int read_incarnation(pid_t pid, int pidfd, uint64_t *ret)
{
    *ret = pidfd_inode(pidfd);
    if (*ret)
        return 0;
    int rc = read_start_time(pid, ret);
    return rc == -ESRCH || rc == -EACCES ? 0 : rc;
}

/* Of whoever has the pid now; -ESRCH where nobody has. */
static int pidfd_of(pid_t pid)
{
    if (pid <= 0)
        return -ESRCH;
    int fd = pidfd_open(pid, 0);
    return fd >= 0 ? fd : errno == EINVAL ? -ESRCH : -errno;
}

static int open_pidfd(int socket_fd, pid_t pid, int *ret, bool *ret_by_pid)
{
    if (!kernel_is_old()) {
        int fd;
        socklen_t size = sizeof(fd);

        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0) {
            *ret = fd;
            *ret_by_pid = false;
            return 0;
        }
        if (errno != ENOPROTOOPT)
            return errno == EINVAL ? -ESRCH : -errno; /* EINVAL: gone, to kernels before 6.16 */
    }
    int fd = pidfd_of(pid);
    if (fd < 0)
        return fd;

    struct pollfd p = {.fd = socket_fd, .events = 0};
    if (poll(&p, 1, 0) > 0 && (p.revents & POLLHUP)) {
        close(fd);
        return -ESRCH;
    }
    *ret = fd;
    *ret_by_pid = true;
    return 0;
}

static int read_groups(int socket_fd, struct peer *peer)
{
    socklen_t size = sizeof(peer->groups);

    peer->n_groups = 0;
    if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, peer->groups, &size) == 0) {
        peer->n_groups = (unsigned)(size / sizeof(gid_t));
        return 0;
    }
    if (errno != ERANGE)
        return errno == ENODATA ? 0 : -errno; /* ENODATA: the kernel noted none */

    gid_t *all = malloc(size);
    if (!all)
        return -ENOMEM;
    int rc = getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, all, &size) < 0 ? -errno : 0;
    if (!rc) {
        memcpy(peer->groups, all, sizeof(peer->groups));
        peer->n_groups = GROUPS_MAX;
        log_warning("process %d of user %u is in %zu groups; only its first %u count",
                    (int)peer->pid, (unsigned)peer->uid, size / sizeof(gid_t), GROUPS_MAX);
    }
    free(all);
    return rc;
}

int peer_read(int socket_fd, struct peer *ret)
{
    struct peer peer = {.pidfd = -1};
    struct ucred cred;
    socklen_t size = sizeof(cred);

    if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return -errno;
    peer.pid = cred.pid;
    peer.uid = cred.uid;
    peer.gid = cred.gid;
    int rc = read_groups(socket_fd, &peer);
    if (rc)
        return rc;
    rc = open_pidfd(socket_fd, cred.pid, &peer.pidfd, &peer.by_pid);
    if (rc)
        return rc;
    if (cred.pid > 0)
        rc = read_incarnation(cred.pid, peer.pidfd, &peer.incarnation);
    int gone = alive(peer.pidfd);
    if (gone)
        rc = gone;
    if (rc) {
        close(peer.pidfd);
        return rc;
    }
    *ret = peer;
    return 0;
}

bool peer_may_be(uint64_t incarnation, uint64_t other)
{
    return !incarnation || !other || incarnation == other;
}

bool peer_is_same(const struct peer *a, const struct peer *b)
{
    if (a->pid <= 0 || b->pid <= 0)
        return a->pid == b->pid && pidfd_inode(a->pidfd) &&
               pidfd_inode(a->pidfd) == pidfd_inode(b->pidfd);
    return a->pid == b->pid && peer_may_be(a->incarnation, b->incarnation);
}

int peer_reopen(pid_t pid, uint64_t incarnation)
{
    uint64_t found = 0;
    int fd = pidfd_of(pid);

    if (fd < 0)
        return fd;
    int rc = read_incarnation(pid, fd, &found);
    int gone = alive(fd);
    if (gone)
        rc = gone;
    else if (!rc && !peer_may_be(found, incarnation))
        rc = -ESRCH;
    if (rc) {
        close(fd);
        return rc;
    }
    return fd;
}
