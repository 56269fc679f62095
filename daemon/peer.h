/* SPDX-License-Identifier: MIT */
/* Who is at the other end of a connection: the kernel's word, never the client's. */
#ifndef ALLOTD_PEER_H
#define ALLOTD_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bounds.h"

struct peer {
    pid_t pid; /* 0 where the process is in a PID namespace that we do not see */
    uid_t uid;
    gid_t gid;
    gid_t groups[GROUPS_MAX]; /* supplementary */
    unsigned n_groups;
    uint64_t incarnation; /* which of those that have had this pid: the pidfd's inode (Linux 6.9),
                             else field 22 of /proc/PID/stat; 0 if /proc hides it or pid is 0 */
    int pidfd;            /* readable when the process is gone; owned by the holder of the struct */
    bool by_pid;          /* it is that of whoever has the pid now */
};

/*
 * Reads the credentials of a connected Unix socket. The pidfd is SO_PEERPIDFD's (Linux 6.5), else
 * pidfd_open() of the peer's pid. 0, or -errno: -ESRCH where the process is gone already, or has no
 * pid for us and the kernel no pidfd.
 */
int peer_read(int socket_fd, struct peer *ret);

/* Whether a pid's two incarnations may be one: one that is not known may be any. */
bool peer_may_be(uint64_t incarnation, uint64_t other);

/* Whether both are one process: by pid and incarnation, or, where we see no pid, by the pidfds (one
 * inode a process, Linux 6.9). */
bool peer_is_same(const struct peer *a, const struct peer *b);

/* Finds the process again after a restart: a pidfd for (pid, incarnation), or -ESRCH when that
 * process is gone. */
int peer_reopen(pid_t pid, uint64_t incarnation);

#endif
