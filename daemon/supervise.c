/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: `allotd --supervise`.
 *
 * What it is: a parent that does for the daemon what systemd does, by the same words: LISTEN_FDS,
 * LISTEN_FDNAMES and LISTEN_PID hand descriptors over; NOTIFY_SOCKET takes FDSTORE=1,
 * FDSTOREREMOVE=1, FDNAME= and BARRIER=1. What was handed to the supervisor itself goes on to the
 * daemon, and what the daemon says besides goes on to the supervisor's own manager. What it is not:
 * FDPOLL= means nothing here, since no stored descriptor is ever polled, and there is no watchdog.
 *
 * The socket has no name that others could find: its file is removed as soon as it is bound, and
 * the daemon reaches it by a descriptor, as /proc/self/fd/N. Only the daemon is heard.
 *
 * Invariants: the supervisor waits for nothing but events (and NOTIFY_PATIENCE_MS for a manager of
 * its own that does not read), so a daemon that hangs does not hang it; all that the daemon has
 * sent is read before its death is looked at. Its own descriptors lie above those that a child
 * gets, which so can be put in place in any order. The daemon dies with it: what it kept is lost
 * then, and a daemon without a store must not go on.
 *
 * Limits: NOTIFY_FDS_MAX descriptors, the same open file once, as much as a daemon takes back. A
 * daemon that does not come up is started again after RETRY_MIN_MS, then twice that, …,
 * RETRY_MAX_MS.
 */
#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/kcmp.h>

#include "listener.h"
#include "log.h"
#include "notify.h"
#include "options.h"

/* Above what a child gets: the stored ones and the way to the socket. */
#define OWN_FDS_START (LISTEN_FDS_START + NOTIFY_FDS_MAX + 1)
#define RETRY_MIN_MS  1
#define RETRY_MAX_MS  1000
/* The most that the kernel lets one message carry. */
#define MESSAGE_FDS_MAX 253

enum { EXIT_NO_EXEC = 127, EXIT_SIGNAL = 128 };

struct supervisor {
    char **argv; /* the daemon's */
    char program[PATH_MAX];
    int notify;      /* our end of NOTIFY_SOCKET */
    int notify_file; /* its file, O_PATH: the daemon's way to it */
    int signals;
    sigset_t old_mask;
    pid_t pid;      /* the daemon's; 0: none runs */
    bool started;   /* one was ready once */
    bool stopping;  /* by our signal */
    int retry_ms;   /* until the next start; 0: at once, as this one was ready */
    int status;     /* to end with; -1: not yet */
    unsigned n_fds; /* stored */
    struct notify_fd fds[NOTIFY_FDS_MAX];
};

/* The same descriptor at a number that no child needs, or -1. */
static int move_up(int fd)
{
    int moved = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, OWN_FDS_START);

    if (fd >= 0)
        close(fd);
    return moved;
}

/* ---- the store ---- */

static bool is_same_file(int a, int b)
{
    struct stat x;
    struct stat y;
    long r = syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b);

    if (r >= 0)
        return r == 0;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Takes `fd` over. */
static void store_add(struct supervisor *s, int fd, const char *name)
{
    for (unsigned i = 0; i < s->n_fds; i++) {
        if (is_same_file(s->fds[i].fd, fd)) {
            close(fd);
            return;
        }
    }
    fd = move_up(fd);
    if (fd >= 0 && s->n_fds < NOTIFY_FDS_MAX) {
        s->fds[s->n_fds].fd = fd;
        snprintf(s->fds[s->n_fds++].name, sizeof(s->fds[0].name), "%s", name);
        return;
    }
    log_warning("supervisor: %s cannot be kept: %s", name,
                fd < 0 ? strerror(errno) : "so many are already");
    if (fd >= 0)
        close(fd);
}

static void store_remove(struct supervisor *s, const char *name)
{
    for (unsigned i = s->n_fds; i-- > 0;) {
        if (strcmp(s->fds[i].name, name) != 0)
            continue;
        close(s->fds[i].fd);
        s->fds[i] = s->fds[--s->n_fds];
    }
}

/* ---- what the daemon says ---- */

/* A message of the daemon's, with descriptors that become ours or are closed. */
static void take_message(struct supervisor *s, char *text, int *fds, size_t n_fds)
{
    char copy[4096];
    char name[sizeof(s->fds[0].name)] = "stored";
    bool store = false;
    bool remove = false;
    bool barrier = false;
    char *rest;

    strcpy(copy, text);
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        store |= strcmp(line, "FDSTORE=1") == 0;
        remove |= strcmp(line, "FDSTOREREMOVE=1") == 0;
        barrier |= strcmp(line, "BARRIER=1") == 0;
        if (strncmp(line, "FDNAME=", 7) == 0)
            snprintf(name, sizeof(name), "%s", line + 7);
        if (strcmp(line, "READY=1") == 0) {
            s->started = true;
            s->retry_ms = 0;
        }
    }
    for (size_t i = 0; i < n_fds; i++) {
        if (store)
            store_add(s, fds[i], name);
        else
            close(fds[i]);
    }
    if (remove)
        store_remove(s, name);
    if (!store && !remove && !barrier)
        notify_send(text);
}

/* False where none waits. */
static bool read_message(struct supervisor *s)
{
    char text[4096];
    int fds[MESSAGE_FDS_MAX];
    size_t n_fds = 0;
    pid_t sender = 0;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(fds)) + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec part = {.iov_base = text, .iov_len = sizeof(text) - 1};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    ssize_t size = recvmsg(s->notify, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (size < 0)
        return errno == EINTR;
    text[size] = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_CREDENTIALS)
            sender = ((const struct ucred *)CMSG_DATA(c))->pid;
        if (c->cmsg_type == SCM_RIGHTS) {
            n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
        }
    }
    if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        log_warning("supervisor: a message of the daemon's was cut");
    if (s->pid > 0 && sender == s->pid) {
        take_message(s, text, fds, n_fds);
        return true;
    }
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    return true;
}

/* ---- its life ---- */

/* In the child. */
static void hand_over(const struct supervisor *s)
{
    static char names[NOTIFY_FDS_MAX * sizeof(s->fds[0].name)];
    char text[32];
    char *end = names;

    for (unsigned i = 0; i < s->n_fds; i++) {
        dup2(s->fds[i].fd, LISTEN_FDS_START + (int)i);
        end += sprintf(end, "%s%s", i > 0 ? ":" : "", s->fds[i].name);
    }
    dup2(s->notify_file, LISTEN_FDS_START + (int)s->n_fds);
    snprintf(text, sizeof(text), "/proc/self/fd/%u", LISTEN_FDS_START + s->n_fds);
    setenv("NOTIFY_SOCKET", text, 1);
    snprintf(text, sizeof(text), "%d", (int)getpid());
    setenv("LISTEN_PID", text, 1);
    snprintf(text, sizeof(text), "%u", s->n_fds);
    setenv("LISTEN_FDS", text, 1);
    setenv("LISTEN_FDNAMES", names, 1);
}

static void start(struct supervisor *s)
{
    pid_t self = getpid();
    pid_t pid = fork();

    if (pid < 0)
        log_error("supervisor: no process for the daemon: %s", strerror(errno));
    if (pid != 0) {
        s->pid = pid > 0 ? pid : 0;
        s->retry_ms = s->retry_ms == 0                 ? RETRY_MIN_MS
                      : s->retry_ms < RETRY_MAX_MS / 2 ? s->retry_ms * 2
                                                       : RETRY_MAX_MS;
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self)
        _exit(EXIT_NO_EXEC);
    hand_over(s);
    sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
    execv(s->program, s->argv);
    log_error("supervisor: %s: %s", s->program, strerror(errno));
    _exit(EXIT_NO_EXEC);
}

static void ended(struct supervisor *s, int status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNAL + WTERMSIG(status);

    s->pid = 0;
    if (s->stopping && (s->retry_ms > 0 || code == EXIT_SIGNAL + SIGTERM))
        s->status = 0; /* it was not ready for the signal, or not any more */
    else if (s->stopping || code == 0 || (code == EXIT_CONFIG && !s->started))
        s->status = code;
    else if (WIFSIGNALED(status))
        log_warning("supervisor: the daemon died: %s", strsignal(WTERMSIG(status)));
    else
        log_warning("supervisor: the daemon ended with status %d", code);
}

/* Who is dead has said all; and what it has said is read while it is still known. As the first
 * process of a container we have children of others, too. */
static void reap(struct supervisor *s)
{
    siginfo_t info = {0};
    int status;

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
        while (info.si_pid == s->pid && read_message(s))
            ;
        if (waitpid(info.si_pid, &status, 0) == s->pid)
            ended(s, status);
    }
}

static void take_signal(struct supervisor *s)
{
    struct signalfd_siginfo info;

    if (read(s->signals, &info, sizeof(info)) != sizeof(info))
        return;
    switch (info.ssi_signo) {
    case SIGCHLD:
        reap(s);
        break;
    case SIGHUP:
        if (s->pid > 0)
            kill(s->pid, SIGHUP);
        break;
    default:
        s->stopping = true;
        if (s->pid > 0)
            kill(s->pid, SIGTERM);
        else
            s->status = 0;
    }
}

/* ---- beginning and end ---- */

/* The socket, and its file that nobody else can find. */
static int open_notify(struct supervisor *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[sizeof(address.sun_path) - sizeof("/notify")];
    const char *place = getenv("TMPDIR");
    int one = 1;

    snprintf(directory, sizeof(directory), "%s/allotd-XXXXXX", place ? place : "/tmp");
    s->notify = move_up(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (s->notify < 0 || !mkdtemp(directory))
        return -errno;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", directory);
    int rc = 0;
    if (bind(s->notify, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        setsockopt(s->notify, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0)
        rc = -errno;
    s->notify_file = move_up(open(address.sun_path, O_PATH | O_CLOEXEC));
    if (!rc && s->notify_file < 0)
        rc = -errno;
    unlink(address.sun_path);
    rmdir(directory);
    return rc;
}

static int open_signals(struct supervisor *s)
{
    sigset_t wanted;

    /* Ignored, as whoever started us may have left it, it is not sent. */
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGHUP);
    sigaddset(&wanted, SIGCHLD);
    sigprocmask(SIG_BLOCK, &wanted, &s->old_mask);
    s->signals = move_up(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
    return s->signals < 0 ? -errno : 0;
}

static int open_program(struct supervisor *s, char **argv, const char *argument)
{
    /* By its path: a newer one that has come there is what the next start takes. */
    ssize_t size = readlink("/proc/self/exe", s->program, sizeof(s->program) - 1);
    unsigned n = 0;

    if (size < 0)
        return -errno;
    for (; *argv; argv++)
        if (strcmp(*argv, argument) != 0)
            s->argv[n++] = *argv;
    return 0;
}

static int open_all(struct supervisor *s, char **argv, const char *argument)
{
    static struct notify_fd fds[NOTIFY_FDS_MAX];
    int n = notify_listen_fds(fds, NOTIFY_FDS_MAX);
    int rc = n < 0 ? n : 0;

    for (int i = 0; i < n; i++)
        store_add(s, fds[i].fd, fds[i].name);
    if (!rc)
        rc = open_program(s, argv, argument);
    if (!rc)
        rc = open_notify(s);
    if (!rc)
        rc = open_signals(s);
    return rc;
}

/* Nobody listens any more where the daemon made a socket, unless it is another daemon. */
static void remove_socket(const struct supervisor *s)
{
    for (unsigned i = 0; i < s->n_fds; i++) {
        struct sockaddr_un address = {0};
        socklen_t size = sizeof(address) - 1;

        if (strcmp(s->fds[i].name, LISTENER_NAME) != 0 ||
            getsockname(s->fds[i].fd, (struct sockaddr *)&address, &size) < 0)
            continue;
        close(s->fds[i].fd);
        (void)listener_clear(address.sun_path);
    }
}

int supervise(char **argv, const char *argument)
{
    static struct supervisor s = {.status = -1};
    size_t n = 0;

    while (argv[n])
        n++;
    s.argv = calloc(n + 1, sizeof(*s.argv));
    int rc = s.argv ? open_all(&s, argv, argument) : -ENOMEM;
    if (rc) {
        log_error("supervisor: cannot start: %s", strerror(-rc));
        return EXIT_FAILURE;
    }
    start(&s);
    while (s.status < 0) {
        struct pollfd p[] = {{.fd = s.signals, .events = POLLIN},
                             {.fd = s.notify, .events = POLLIN}};
        int n_ready = poll(p, 2, s.pid > 0 ? -1 : s.retry_ms);
        if (n_ready == 0)
            start(&s);
        if (n_ready > 0 && p[1].revents)
            read_message(&s);
        if (n_ready > 0 && p[0].revents)
            take_signal(&s);
    }
    remove_socket(&s);
    return s.status;
}
