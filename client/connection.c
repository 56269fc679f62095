/* SPDX-License-Identifier: MIT */
/*
 * The socket to the daemon.
 *
 * What it is: connect, send a frame, receive a frame. What it is not: it knows nothing of what the
 * frames say, and of threads only that one receives at a time.
 *
 * Deadlines. The ordinary call must cost one send and one receive, so the receive's own time-out
 * (SO_RCVTIMEO, the slice) is set in advance, to half of what a call may take. While more than a
 * slice is left, a plain receive cannot overrun the deadline; when less is left, poll waits for
 * exactly that. A signal or an ended slice leads to another look at the clock, so neither lengthens
 * a call. The slice changes only while nobody receives: one that grew between the look at the clock
 * and the receive would outlast the deadline.
 *
 * Invariants: SIGPIPE is never raised (MSG_NOSIGNAL); every descriptor is close-on-exec from birth;
 * a descriptor that nobody asked for is closed, not leaked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "allot.h"
#include "codec.h"
#include "connection.h"

static int set_socket_timeout(int fd, int option, uint64_t ns)
{
    struct timeval tv = {.tv_sec = (time_t)(ns / NS_PER_S),
                         .tv_usec = (suseconds_t)(ns % NS_PER_S / NS_PER_US)};

    return setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv)) < 0 ? ALLOT_E_SYSTEM : 0;
}

void connection_fit_slice(struct connection *c, int timeout_ms)
{
    uint64_t slice = timeout_ms < 0 ? 0 : (uint64_t)timeout_ms * NS_PER_MS / 2;

    /* Where the old one stays, receives take more calls but no more time. */
    if (slice != c->slice_ns && set_socket_timeout(c->fd, SO_RCVTIMEO, slice) == 0)
        c->slice_ns = slice;
}

/* A connect can wait only for room in the listener's queue; SO_SNDTIMEO bounds that. It is left
 * behind on the socket, where nothing else waits to send. */
static int connect_until(int fd, const struct sockaddr_un *address, uint64_t deadline)
{
    for (;;) {
        uint64_t left = deadline_left(deadline);
        if (left == 0)
            return ALLOT_E_TIMEOUT;
        int r =
            set_socket_timeout(fd, SO_SNDTIMEO, deadline == DEADLINE_NEVER ? 0 : left + NS_PER_US);
        if (r < 0)
            return r;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
            return 0;
        switch (errno) {
        case EINTR:
        case EAGAIN:
            break;
        case ENOENT:
        case ECONNREFUSED:
            return ALLOT_E_DISCONNECTED;
        case EACCES:
        case EPERM:
            return ALLOT_E_DENIED;
        default:
            return ALLOT_E_SYSTEM;
        }
    }
}

int connection_open(struct connection *c, const char *path, uint64_t deadline)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    size_t length = strlen(path);

    if (length == 0 || length >= sizeof(address.sun_path))
        return ALLOT_E_PATH;
    memcpy(address.sun_path, path, length);

    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ALLOT_E_SYSTEM;
    int r = connect_until(fd, &address, deadline);
    if (r == 0 && fstat(fd, &st) < 0)
        r = ALLOT_E_SYSTEM;
    if (r < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return r;
    }
    *c = (struct connection){.fd = fd, .device = st.st_dev, .inode = st.st_ino};
    return 0;
}

void connection_close(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
}

void connection_close_inherited(struct connection *c)
{
    struct stat st;

    if (fstat(c->fd, &st) == 0 && st.st_dev == c->device && st.st_ino == c->inode)
        close(c->fd);
    c->fd = -1;
}

int connection_send(const struct connection *c, const void *frame, size_t size)
{
    for (;;) {
        if (send(c->fd, frame, size, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        switch (errno) {
        case EINTR:
            break;
        case EAGAIN:
        case ENOBUFS:
            return CONNECTION_FULL;
        case EPIPE:
        case ECONNRESET:
        case ENOTCONN:
            return ALLOT_E_DISCONNECTED;
        default:
            return ALLOT_E_SYSTEM;
        }
    }
}

/* The first descriptor of a packet; there should be no others. What is cut off the control data is
 * a descriptor that the process has no number for. */
static int take_fd(struct msghdr *message)
{
    int taken = -1;

    for (struct cmsghdr *m = CMSG_FIRSTHDR(message); m; m = CMSG_NXTHDR(message, m)) {
        if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= m->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(m) + at, sizeof(fd));
            if (taken < 0)
                taken = fd;
            else
                close(fd);
        }
    }
    return taken < 0 && message->msg_flags & MSG_CTRUNC ? CONNECTION_FD_LOST : taken;
}

/* As recv(2); the packet's own length also where it was cut. */
static ssize_t receive_packet(int fd, void *frame, int *ret_fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = frame, .iov_len = CODEC_FRAME_MAX};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};

    if (!ret_fd)
        return recv(fd, frame, CODEC_FRAME_MAX, MSG_TRUNC);
    ssize_t size = recvmsg(fd, &message, MSG_TRUNC | MSG_CMSG_CLOEXEC);
    *ret_fd = size < 0 ? -1 : take_fd(&message);
    return size;
}

int connection_receive(const struct connection *c, uint64_t deadline, void *frame, size_t *ret_size,
                       int *ret_fd)
{
    for (;;) {
        uint64_t left = deadline_left(deadline);
        if (left != UINT64_MAX && (c->slice_ns == 0 || left < c->slice_ns)) {
            int events = connection_wait(c, POLLIN, deadline);
            if (events < 0)
                return events;
            if (events == 0)
                continue;
        }
        ssize_t size = receive_packet(c->fd, frame, ret_fd);
        if (size < 0) {
            if (errno == EINTR || errno == EAGAIN)
                continue;
            return errno == ECONNRESET ? ALLOT_E_DISCONNECTED : ALLOT_E_SYSTEM;
        }
        if (size == 0 || size > CODEC_FRAME_MAX) {
            if (ret_fd && *ret_fd >= 0) {
                close(*ret_fd);
                *ret_fd = -1;
            }
            return size == 0 ? ALLOT_E_DISCONNECTED : ALLOT_E_FRAME_SIZE;
        }
        *ret_size = (size_t)size;
        return 0;
    }
}

int connection_wait(const struct connection *c, short events, uint64_t deadline)
{
    uint64_t left = deadline_left(deadline);
    struct pollfd p = {.fd = c->fd, .events = events};
    struct timespec wait = {.tv_sec = (time_t)(left / NS_PER_S),
                            .tv_nsec = (long)(left % NS_PER_S)};

    if (left == 0)
        return ALLOT_E_TIMEOUT;
    int n = ppoll(&p, 1, deadline == DEADLINE_NEVER ? NULL : &wait, NULL);
    if (n > 0)
        return p.revents;
    if (n < 0 && errno != EINTR)
        return ALLOT_E_SYSTEM;
    return n == 0 ? ALLOT_E_TIMEOUT : 0;
}
