/* SPDX-License-Identifier: MIT */
/*
 * The service manager's protocol.
 *
 * What it is: sd_listen_fds(3) and sd_notify(3) without libsystemd, as both pages allow. What it is
 * not: a supervisor.
 *
 * No barrier follows a stored descriptor: the datagram holds the file from the moment it is sent,
 * and the manager, which watches this pid, reads its notifications before it looks at the end of
 * the process. A descriptor that was sent is stored even if the sender dies at once.
 *
 * Locks: none. Sending is thread-safe as long as nobody changes the environment.
 *
 * Limits: a manager that does not read is not waited for for ever: a loop is here meanwhile.
 */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* A number from the environment, 0 to INT_MAX, or -1. */
static long number(const char *text)
{
    char *end;

    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    long n = strtol(text, &end, 10);
    return errno || *end || n > INT_MAX ? -1 : n;
}

/* Field `i` of a list with colons between, or "unknown". */
static void field(const char *list, long i, char *ret, size_t room)
{
    for (; list && i > 0; i--) {
        list = strchr(list, ':');
        list = list ? list + 1 : NULL;
    }
    size_t size = list ? strcspn(list, ":") : 0;
    if (size == 0 || size >= room) {
        snprintf(ret, room, "unknown");
        return;
    }
    memcpy(ret, list, size);
    ret[size] = 0;
}

static int listen_fds(struct notify_fd *fds, size_t max)
{
    const char *pid = getenv("LISTEN_PID");
    const char *count = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    bool too_many = false;

    if (!pid || !count)
        return 0;
    if (number(pid) < 0 || number(count) < 0 || number(count) > INT_MAX - LISTEN_FDS_START)
        return -EINVAL;
    if (number(pid) != getpid())
        return 0;
    long n = number(count);
    for (long i = 0; i < n; i++) {
        int fd = LISTEN_FDS_START + (int)i;
        int flags = fcntl(fd, F_GETFD);

        if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
            return -errno;
        if ((size_t)i >= max) {
            too_many = true;
            continue;
        }
        fds[i].fd = fd;
        field(names, i, fds[i].name, sizeof(fds[i].name));
    }
    return too_many ? -E2BIG : (int)n;
}

int notify_listen_fds(struct notify_fd *fds, size_t max)
{
    int rc = listen_fds(fds, max);

    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return rc;
}

/* Where the manager listens. 0 where there is none, the address's length, or -errno. */
static int find_manager(struct sockaddr_un *address)
{
    const char *path = getenv("NOTIFY_SOCKET");

    if (!path || !*path)
        return 0;
    if (path[0] != '/' && path[0] != '@')
        return -EAFNOSUPPORT;
    size_t size = strlen(path);
    if (size + (path[0] == '/') > sizeof(address->sun_path))
        return -ENAMETOOLONG;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, size);
    if (path[0] == '@') {
        address->sun_path[0] = 0;
        return (int)(offsetof(struct sockaddr_un, sun_path) + size);
    }
    return (int)(offsetof(struct sockaddr_un, sun_path) + size + 1);
}

/* `fd` -1: none. */
static int send_state(const char *state, int fd, int patience_ms)
{
    struct sockaddr_un address;
    int size = find_manager(&address);

    if (size <= 0)
        return size;

    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec text = {.iov_base = (char *)(uintptr_t)state, .iov_len = strlen(state)};
    struct msghdr message = {
        .msg_name = &address, .msg_namelen = (socklen_t)size, .msg_iov = &text, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }

    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return -errno;
    struct timeval patience = {.tv_sec = patience_ms / 1000, .tv_usec = patience_ms % 1000 * 1000};
    int rc = setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ? -errno : 0;
    while (!rc && sendmsg(s, &message, MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            rc = -errno;
    close(s);
    return rc;
}

bool notify_is_heard(void)
{
    const char *path = getenv("NOTIFY_SOCKET");

    return path && *path;
}

int notify_send(const char *state)
{
    return send_state(state, -1, NOTIFY_PATIENCE_MS);
}

/* The manager takes a name of up to 255 printable characters without a colon; it drops others, or
 * the descriptor, without a word. */
static bool is_name(const char *name)
{
    size_t size = strlen(name);

    if (size == 0 || size >= sizeof(((struct notify_fd *)0)->name))
        return false;
    for (size_t i = 0; i < size; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == ':')
            return false;
    return true;
}

/* FDPOLL=0: a listener that hangs up, or a file, is ours to judge, not the manager's. */
int notify_store(int fd, const char *name, int patience_ms)
{
    char state[320];

    if (fd < 0)
        return -EBADF;
    if (!is_name(name))
        return -EINVAL;
    snprintf(state, sizeof(state), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
    return send_state(state, fd, patience_ms);
}

int notify_unstore(const char *name, int patience_ms)
{
    char state[320];

    if (!is_name(name))
        return -EINVAL;
    snprintf(state, sizeof(state), "FDSTOREREMOVE=1\nFDNAME=%s", name);
    return send_state(state, -1, patience_ms);
}

int notify_reloading(void)
{
    char state[64];
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
             (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    return send_state(state, -1, NOTIFY_PATIENCE_MS);
}
