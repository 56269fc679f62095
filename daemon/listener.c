/* SPDX-License-Identifier: MIT */
/*
 * The listener.
 *
 * What it is: accept(2) driven by uv_poll, since libuv knows no SOCK_SEQPACKET. What it is not: it
 * judges no client.
 *
 * Limits: sockaddr_un holds 107 bytes of path; a longer one is refused, never cut. When accept()
 * says that descriptors or memory have run out, the listener is no longer polled (it would spin)
 * until a connection or a session has closed, or a second has passed. If accept() says so again
 * then, that is the same pause, and not logged.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

/* Connections that wait to be accepted; the kernel caps it by net.core.somaxconn. */
#define BACKLOG 4096
/* Accepted in a row, before the main loop sees to signals again. */
#define ACCEPT_SLICE 64
/* Longer than any daemon needs for it. */
#define LOCK_PATIENCE_MS 10000u
/* A pause is over after this at the latest: what ran out may have been the system's, or gone to a
 * descriptor that is no connection's. */
#define RETRY_MS 1000

static int bind_to(int fd, const struct sockaddr_un *address)
{
    /* Mode 0660 from the start, not from a moment later. */
    mode_t mask = umask(0117);
    int rc = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

    umask(mask);
    return rc;
}

/* The path fits. */
static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, path, strlen(path));
    return address;
}

/* Removes a socket that nobody answers behind. */
static int clear_stale(const char *path)
{
    struct sockaddr_un address = address_of(path);
    struct stat st;

    /* Connecting to a file of another kind is refused in the same words. */
    if (lstat(path, &st) < 0)
        return -errno;
    if (!S_ISSOCK(st.st_mode))
        return -ENOTSOCK;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int rc = connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    close(fd);
    if (rc == -ECONNREFUSED)
        return unlink(path) < 0 ? -errno : 0;
    return -EADDRINUSE;
}

/* Locks the directory; closing it unlocks. Between finding nobody behind a socket and removing it,
 * and between making one and listening, another daemon must not do the same. Not for ever, since
 * anybody who may read the directory can lock it. */
static int lock_place(const char *path)
{
    char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];

    int fd = open(dirname(strcpy(copy, path)), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    unsigned ms = 0;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK && ms++ < LOCK_PATIENCE_MS)
        usleep(1000);
    return fd;
}

int listener_clear(const char *path)
{
    int place = lock_place(path);

    if (place < 0)
        return place;
    int rc = clear_stale(path);
    close(place);
    return rc;
}

static int bind_and_listen(int fd, const char *path)
{
    struct sockaddr_un address = address_of(path);
    int place = lock_place(path);

    if (place < 0)
        return place;
    int rc = bind_to(fd, &address);
    if (rc == -EADDRINUSE) {
        rc = clear_stale(path);
        if (!rc)
            rc = bind_to(fd, &address);
    }
    if (!rc && listen(fd, BACKLOG) < 0)
        rc = -errno;
    close(place);
    return rc;
}

int listener_open(struct listener *l, const char *path)
{
    if (strlen(path) >= sizeof(l->path))
        return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int rc = bind_and_listen(fd, path);
    if (rc) {
        close(fd);
        return rc;
    }
    *l = (struct listener){.fd = fd};
    strcpy(l->path, path);
    return 0;
}

static bool is_listener(int fd)
{
    int type = 0;
    int listening = 0;
    socklen_t size = sizeof(int);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

static bool is_same_socket(int a, int b)
{
    struct stat x;
    struct stat y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool is_bound_to(int fd, const char *path)
{
    struct sockaddr_un address = {0};
    socklen_t size = sizeof(address) - 1; /* a path of full length has no zero behind it */
    struct stat st;

    return getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
           (!path || strcmp(address.sun_path, path) == 0) && lstat(address.sun_path, &st) == 0 &&
           S_ISSOCK(st.st_mode);
}

bool listener_inherit(struct listener *l, struct notify_fd *fds, int n_fds, const char *path)
{
    int own = -1;
    int kept = -1;

    for (int i = 0; i < n_fds; i++) {
        if (fds[i].fd < 0 || !is_listener(fds[i].fd))
            continue;
        if (strcmp(fds[i].name, LISTENER_NAME) == 0)
            kept = i;
        else if (own < 0)
            own = i;
        else
            log_warning("of several sockets only the first is served: not '%s'", fds[i].name);
    }
    if (own < 0 && kept >= 0 && is_bound_to(fds[kept].fd, path))
        own = kept;
    if (own < 0)
        return false;
    *l = (struct listener){.fd = fds[own].fd,
                           .kept = kept >= 0 && is_same_socket(fds[own].fd, fds[kept].fd)};
    fds[own].fd = -1;
    return true;
}

void listener_keep(struct listener *l)
{
    if (l->kept || !notify_is_heard())
        return;
    notify_unstore(LISTENER_NAME, NOTIFY_PATIENCE_MS); /* another socket's */
    int rc = notify_store(l->fd, LISTENER_NAME, NOTIFY_PATIENCE_MS);
    if (rc) {
        log_warning("the service manager does not keep the listener: %s", strerror(-rc));
        return;
    }
    l->kept = true;
    l->path[0] = 0;
}

static void on_retry(uv_timer_t *retry)
{
    listener_resume(retry->data);
}

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

/* Or goes on pausing: the same pause, until accept() finds what it needs. */
static void pause_accepting(struct listener *l)
{
    if (!l->paused)
        log_warning("accepting pauses: %s", strerror(errno));
    l->paused = true;
    uv_poll_stop(&l->poll);
    uv_timer_start(&l->retry, on_retry, RETRY_MS, 0);
    l->short_of_descriptors(l->ctx);
}

static void on_connection(uv_poll_t *handle, int status, int events)
{
    struct listener *l = handle->data;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_SLICE; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && is_shortage(errno)) {
            pause_accepting(l);
            return;
        }
        l->paused = false;
        if (fd >= 0)
            l->accepted(l->ctx, fd);
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

int listener_start(struct listener *l, uv_loop_t *loop, void (*accepted)(void *ctx, int fd),
                   void (*short_of_descriptors)(void *ctx), void *ctx)
{
    int rc = uv_poll_init(loop, &l->poll, l->fd);

    if (rc)
        return rc;
    uv_timer_init(loop, &l->retry);
    l->poll.data = l;
    l->retry.data = l;
    l->accepted = accepted;
    l->short_of_descriptors = short_of_descriptors;
    l->ctx = ctx;
    return uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

void listener_resume(struct listener *l)
{
    if (!l->paused || uv_is_closing((uv_handle_t *)&l->poll))
        return;
    uv_timer_stop(&l->retry);
    uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

static void on_closed(uv_handle_t *handle)
{
    const struct listener *l = handle->data;

    close(l->fd);
    if (l->path[0])
        (void)listener_clear(l->path);
}

void listener_close(struct listener *l)
{
    uv_close((uv_handle_t *)&l->retry, NULL);
    uv_close((uv_handle_t *)&l->poll, on_closed);
}
