/* SPDX-License-Identifier: MIT */
/*
 * The fixture.
 *
 * What it is: starting, watching and ending the daemon under test, and a service manager's file
 * descriptor store with systemd's rules: a descriptor of the same open file is stored once, under
 * its first name. What it is not: a client (wire.h, liballot).
 *
 * Invariants: the test process has no threads while it forks. All descriptors are close-on-exec;
 * every child dies with the test. The daemon's stderr goes to a file, so that nobody has to drain
 * it; inotify tells when it grows.
 *
 * Locks: fixture_lock, for what is stored and for what the manager is just being sent. Who forks
 * holds it, too: a child keeps what it inherits, and a connection does not end with the daemon
 * while its other end is open anywhere.
 */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/kcmp.h>

#include <allot/algorithm.h>

#define LISTEN_FDS_START 3
#define LOG_MAX          (4u << 20)

pthread_mutex_t fixture_lock = PTHREAD_MUTEX_INITIALIZER;

/* Waits for `fd`, or until the process behind `pidfd` (-1: none) has ended: false. */
static bool wait_readable(int fd, int pidfd)
{
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    int n;

    do
        n = poll(p, 2, FIXTURE_DEADLINE_MS);
    while (n < 0 && errno == EINTR);
    check(n > 0);
    return p[0].revents != 0;
}

static int wait_process(pid_t pid, int pidfd)
{
    int status = -1;

    wait_readable(pidfd, -1);
    check(waitpid(pid, &status, 0) == pid);
    return status;
}

/* As systemd compares: one open file description is one descriptor. */
static bool same_file(int a, int b)
{
    struct stat x, y;
    long r = syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b);

    if (r >= 0)
        return r == 0;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void store_fd(struct fixture *f, int fd, const char *name)
{
    if (!f->setup.keep_clients && strncmp(name, "client-", 7) == 0) {
        close(fd);
        return;
    }
    for (unsigned i = 0; i < f->n_stored; i++) {
        if (same_file(f->stored[i].fd, fd)) {
            close(fd);
            return;
        }
    }
    check(f->n_stored < FIXTURE_STORED_MAX);
    f->stored[f->n_stored].fd = fd;
    snprintf(f->stored[f->n_stored].name, sizeof(f->stored[0].name), "%s", name);
    f->n_stored++;
}

static void drop_fd(struct fixture *f, unsigned i)
{
    close(f->stored[i].fd);
    f->stored[i] = f->stored[--f->n_stored];
}

/* One datagram. False where none waits. */
static bool take_notification(struct fixture *f)
{
    char text[1024];
    char name[256] = "";
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = text, .iov_len = sizeof(text) - 1};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    ssize_t size = recvmsg(f->notify, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    bool store = false;
    bool remove = false;
    bool ready = false;
    int fd = -1;

    if (size < 0)
        return false;
    text[size] = 0;
    for (char *rest, *line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        ready |= strcmp(line, "READY=1") == 0;
        store |= strcmp(line, "FDSTORE=1") == 0;
        remove |= strcmp(line, "FDSTOREREMOVE=1") == 0;
        if (strncmp(line, "FDNAME=", 7) == 0)
            snprintf(name, sizeof(name), "%.255s", line + 7);
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    check(store == (fd >= 0));
    if (store)
        store_fd(f, fd, name);
    for (unsigned i = f->n_stored; remove && i-- > 0;)
        if (strcmp(f->stored[i].name, name) == 0) {
            drop_fd(f, i);
            f->n_removed++;
        }
    if (ready)
        eventfd_write(f->ready, 1);
    return true;
}

void fixture_take_notifications(struct fixture *f)
{
    pthread_mutex_lock(&fixture_lock);
    while (take_notification(f))
        ;
    pthread_mutex_unlock(&fixture_lock);
}

static void *manage(void *ctx)
{
    struct fixture *f = ctx;
    struct pollfd p[2] = {{.fd = f->notify, .events = POLLIN}, {.fd = f->end, .events = POLLIN}};

    while (!p[1].revents) {
        if (poll(p, 2, -1) > 0 && p[0].revents)
            fixture_take_notifications(f);
    }
    return NULL;
}

int fixture_find_stored(struct fixture *f, const char *name)
{
    int found = -1;

    pthread_mutex_lock(&fixture_lock);
    for (unsigned i = 0; i < f->n_stored; i++)
        if (strcmp(f->stored[i].name, name) == 0)
            found = (int)i;
    pthread_mutex_unlock(&fixture_lock);
    return found;
}

unsigned fixture_count_stored(struct fixture *f)
{
    pthread_mutex_lock(&fixture_lock);
    unsigned n = f->n_stored;
    pthread_mutex_unlock(&fixture_lock);
    return n;
}

void fixture_drop_stored(struct fixture *f)
{
    pthread_mutex_lock(&fixture_lock);
    while (f->n_stored > 0)
        drop_fd(f, f->n_stored - 1);
    pthread_mutex_unlock(&fixture_lock);
}

static int bind_socket(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    check(fd >= 0);
    memcpy(address.sun_path, path, strlen(path));
    check(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

const char *fixture_allocator(void)
{
    const char *name = getenv("ALLOT_TEST_ALLOCATOR");
    const struct allot_byte_ops *ops;

    if (name)
        return name;
    check(allot_byte_find(NULL, &ops) == 0);
    return ops->name;
}

void fixture_write_config(struct fixture *f, const char *config)
{
    const char *allocator = getenv("ALLOT_TEST_ALLOCATOR");
    FILE *file = fopen(f->config, "we");

    check(file != NULL);
    if (strstr(config, "allocator"))
        allocator = NULL;
    while (*config) {
        size_t line = strcspn(config, "\n") + 1;

        check(fprintf(file, "%.*s", (int)line, config) >= 0);
        if (allocator && strncmp(config, "[pool ", 6) == 0)
            check(fprintf(file, "allocator = %s\n", allocator) > 0);
        config += strnlen(config, line);
    }
    check(fclose(file) == 0);
}

void fixture_open(struct fixture *f, const struct fixture_setup *setup)
{
    static const struct fixture_setup plain;

    memset(f, 0, sizeof(*f));
    f->setup = setup ? *setup : plain;
    f->listener = f->pidfd = f->notify = f->log_watch = -1;
    strcpy(f->directory, "/tmp/allot-test-XXXXXX");
    check(mkdtemp(f->directory) != NULL);
    snprintf(f->socket, sizeof(f->socket), "%s/sock", f->directory);
    snprintf(f->config, sizeof(f->config), "%s/conf", f->directory);
    snprintf(f->log, sizeof(f->log), "%s/log", f->directory);
    snprintf(f->notify_path, sizeof(f->notify_path), "%s/notify", f->directory);
    f->notify = bind_socket(f->notify_path, SOCK_DGRAM);
    f->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->end = eventfd(0, EFD_CLOEXEC);
    check(f->ready >= 0 && f->end >= 0 && pthread_create(&f->manager, NULL, manage, f) == 0);
    check(close(open(f->log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) == 0);
    fixture_write_config(f, f->setup.config ? f->setup.config : FIXTURE_CONFIG);
    f->log_watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    check(f->log_watch >= 0 && inotify_add_watch(f->log_watch, f->log, IN_MODIFY) >= 0);
    if (f->setup.activate) {
        f->listener = bind_socket(f->socket, SOCK_SEQPACKET);
        check(listen(f->listener, 4096) == 0);
    }
}

/* What the manager does between fork and exec. */
static void pass_descriptors(const struct fixture *f)
{
    char names[FIXTURE_STORED_MAX * 64] = "";
    char number[16];
    int fds[FIXTURE_STORED_MAX + 1];
    unsigned n = 0;

    if (f->listener >= 0) {
        fds[n++] = f->listener;
        strcat(names, "allotd.socket");
    }
    for (unsigned i = 0; i < f->n_stored; i++) {
        fds[n++] = f->stored[i].fd;
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", n > 1 ? ":" : "",
                 f->stored[i].name);
    }
    if (n == 0)
        return;
    /* Out of the way first. */
    for (unsigned i = 0; i < n; i++)
        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 200);
    for (unsigned i = 0; i < n; i++)
        dup2(fds[i], LISTEN_FDS_START + (int)i);
    snprintf(number, sizeof(number), "%u", n);
    setenv("LISTEN_FDS", number, 1);
    setenv("LISTEN_FDNAMES", names, 1);
    snprintf(number, sizeof(number), "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
}

_Noreturn static void become_daemon(const struct fixture *f, pid_t parent)
{
    const char *program = getenv("ALLOTD");
    char *argv[32] = {(char *)(uintptr_t) "allotd", (char *)(uintptr_t) "--config",
                      (char *)(uintptr_t)f->config};
    unsigned n = 3;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(CHECK_STATUS);
    int log = open(f->log, O_WRONLY | O_APPEND);
    if (log < 0 || dup2(log, STDERR_FILENO) < 0)
        _exit(CHECK_STATUS);
    if (!f->setup.activate) {
        argv[n++] = (char *)(uintptr_t) "--socket";
        argv[n++] = (char *)(uintptr_t)f->socket;
    }
    for (const char *const *a = f->setup.arguments; a && *a && n < 31; a++)
        argv[n++] = (char *)(uintptr_t)*a;
    setenv("NOTIFY_SOCKET", f->notify_path, 1);
    setenv("ALLOTD_CHECK", "1", 1);
    for (const char *const *e = f->setup.environment; e && *e; e++)
        putenv((char *)(uintptr_t)*e);
    pass_descriptors(f);
    if (f->setup.before_exec)
        f->setup.before_exec();
    execv(program ? program : ALLOTD_PATH, argv);
    perror("execv");
    _exit(CHECK_STATUS);
}

static void forget_ready(struct fixture *f)
{
    eventfd_t count;

    fixture_take_notifications(f);
    (void)eventfd_read(f->ready, &count);
}

void fixture_spawn(struct fixture *f)
{
    pid_t parent = getpid();
    struct stat st;

    check(f->pid == 0);
    check(stat(f->log, &st) == 0);
    f->log_start = st.st_size;
    f->n_removed = 0;
    forget_ready(f);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0)
        become_daemon(f, parent);
    f->pid = pid;
    f->pidfd = pidfd_open(pid, 0);
    check(f->pidfd >= 0);
}

bool fixture_wait_ready(struct fixture *f)
{
    return wait_readable(f->ready, f->pidfd);
}

void fixture_start(struct fixture *f)
{
    fixture_spawn(f);
    check(fixture_wait_ready(f));
}

/* Waits for its end, and hears its last words; one that hangs is killed. */
static int reap(struct fixture *f)
{
    struct pollfd p = {.fd = f->pidfd, .events = POLLIN};
    int status = -1;

    if (poll(&p, 1, FIXTURE_DEADLINE_MS) == 0) {
        fprintf(stderr, "the daemon does not end\n");
        kill(f->pid, SIGABRT);
    }
    if (waitpid(f->pid, &status, 0) != f->pid)
        status = -1;
    fixture_take_notifications(f);
    close(f->pidfd);
    f->pidfd = -1;
    f->pid = 0;
    return status;
}

int fixture_end(struct fixture *f)
{
    int status = reap(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int fixture_run(struct fixture *f)
{
    fixture_spawn(f);
    return fixture_end(f);
}

static bool sanitizer_silent(struct fixture *f)
{
    return !strstr(fixture_log(f), "runtime error:") && !strstr(fixture_log(f), "Sanitizer");
}

/* Whether it ended as it should. */
static bool terminate(struct fixture *f)
{
    kill(f->pid, SIGTERM);
#ifdef __SANITIZE_THREAD__ /* loses a signal that comes just before the main loop waits */
    struct pollfd p = {.fd = f->pidfd, .events = POLLIN};
    if (poll(&p, 1, 1000) == 0)
        kill(f->pid, SIGTERM);
#endif
    int status = reap(f);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && sanitizer_silent(f) &&
        (f->errors_expected || !strstr(fixture_log(f), "error:")))
        return true;
    fprintf(stderr, "the daemon ended with status %#x, or logged an error\n", (unsigned)status);
    return false;
}

void fixture_stop(struct fixture *f)
{
    check(f->pid > 0);
    check(terminate(f));
}

void fixture_kill_begin(struct fixture *f)
{
    check(f->pid > 0);
    check(kill(f->pid, SIGKILL) == 0);
}

void fixture_kill_end(struct fixture *f)
{
    int status = reap(f);

    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    check(sanitizer_silent(f));
}

void fixture_kill(struct fixture *f)
{
    fixture_kill_begin(f);
    fixture_kill_end(f);
}

pid_t fixture_supervised(const struct fixture *f)
{
    char path[64];
    int pid = 0;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)f->pid, (int)f->pid);
    FILE *file = fopen(path, "re");
    check(file && fscanf(file, "%d", &pid) == 1 && pid > 0);
    fclose(file);
    return pid;
}

void fixture_kill_supervised(struct fixture *f)
{
    forget_ready(f);
    check(kill(fixture_supervised(f), SIGKILL) == 0);
    check(fixture_wait_ready(f));
}

void fixture_reload(struct fixture *f, const char *config)
{
    fixture_write_config(f, config);
    forget_ready(f);
    check(kill(f->pid, SIGHUP) == 0);
    check(wait_readable(f->ready, f->pidfd));
}

static void print_log(struct fixture *f)
{
    f->log_start = 0;
    fprintf(stderr, "---- the daemon's log:\n%s----\n", fixture_log(f));
}

void fixture_close(struct fixture *f)
{
    bool failed = checks_failed() > 0;

    if (!f->directory[0])
        return;
    if (f->pid > 0 && failed) {
        kill(f->pid, SIGKILL);
        reap(f);
    }
    bool ended = f->pid == 0 || terminate(f);
    if (failed || !ended)
        print_log(f);
    eventfd_write(f->end, 1);
    pthread_join(f->manager, NULL);
    fixture_drop_stored(f);
    close(f->end);
    close(f->ready);
    close(f->notify);
    close(f->log_watch);
    if (f->listener >= 0)
        close(f->listener);
    unlink(f->socket);
    unlink(f->config);
    unlink(f->log);
    unlink(f->notify_path);
    rmdir(f->directory);
    f->directory[0] = 0;
    check(ended);
}

const char *fixture_log(struct fixture *f)
{
    static char text[LOG_MAX + 1];
    int fd = open(f->log, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t n = 0;

    if (fd >= 0)
        while (size < LOG_MAX &&
               (n = pread(fd, text + size, LOG_MAX - size, f->log_start + (off_t)size)) > 0)
            size += (size_t)n;
    close(fd);
    text[size] = 0;
    return text;
}

void fixture_log_wait(struct fixture *f, const char *text)
{
    char events[4096];

    for (;;) {
        while (read(f->log_watch, events, sizeof(events)) > 0)
            ;
        if (strstr(fixture_log(f), text))
            return;
        check(wait_readable(f->log_watch, f->pidfd) || strstr(fixture_log(f), text));
    }
}

unsigned fixture_count_fds_from(const struct fixture *f, int first)
{
    char path[64];
    unsigned n = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)f->pid);
    DIR *directory = opendir(path);
    check(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory));)
        n += entry->d_name[0] != '.' && atoi(entry->d_name) >= first;
    closedir(directory);
    return n;
}

unsigned fixture_count_fds(const struct fixture *f)
{
    return fixture_count_fds_from(f, 0);
}

void fixture_wait_fds(const struct fixture *f, unsigned count)
{
    for (unsigned ms = 0; fixture_count_fds(f) != count && ms < FIXTURE_DEADLINE_MS; ms++)
        poll(NULL, 0, 1);
    check_equal(fixture_count_fds(f), count);
}

uint64_t fixture_status_kb(const struct fixture *f, const char *field)
{
    char path[64];
    char line[256];
    uint64_t value = UINT64_MAX;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)f->pid);
    FILE *file = fopen(path, "re");
    check(file != NULL);
    while (fgets(line, sizeof(line), file))
        if (strncmp(line, field, strlen(field)) == 0)
            value = strtoull(line + strlen(field), NULL, 10);
    fclose(file);
    check(value != UINT64_MAX);
    return value;
}

void fixture_open_to_all(const struct fixture *f)
{
    check(chmod(f->directory, 0755) == 0 && chmod(f->socket, 0666) == 0);
}

pid_t child_start(void (*run)(void *ctx), void *ctx)
{
    pid_t parent = getpid();

    fflush(stdout);
    pthread_mutex_lock(&fixture_lock);
    pid_t pid = fork();
    pthread_mutex_unlock(&fixture_lock);
    check(pid >= 0);
    if (pid > 0)
        return pid;
    checks_in_child();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(CHECK_STATUS);
    run(ctx);
    _exit(0);
}

int child_wait(pid_t pid)
{
    int pidfd = pidfd_open(pid, 0);

    check(pidfd >= 0);
    int status = wait_process(pid, pidfd);
    close(pidfd);
    return status;
}

void child_join(pid_t pid)
{
    int status = child_wait(pid);

    check(WIFEXITED(status));
    check_equal(WEXITSTATUS(status), 0);
}

void child_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    int status = child_wait(pid);
    check(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
}

void gate_open(struct gate *g)
{
    check(pipe2(g->fds, O_CLOEXEC) == 0);
}

void gate_close(struct gate *g)
{
    close(g->fds[0]);
    close(g->fds[1]);
}

void gate_signal(const struct gate *g)
{
    check(write(g->fds[1], "g", 1) == 1);
}

void gate_wait(const struct gate *g)
{
    char byte;

    wait_readable(g->fds[0], -1);
    check(read(g->fds[0], &byte, 1) == 1);
}

int fixture_setup_bare(void **state)
{
    static struct fixture f;

    if (f.directory[0]) /* of a test whose setup failed */
        fixture_close(&f);
    checks_begin();
    memset(&f, 0, sizeof(f));
    *state = &f;
    return 0;
}

int fixture_setup(void **state)
{
    const struct fixture_setup *setup = *state;

    fixture_setup_bare(state);
    fixture_open(*state, setup);
    fixture_start(*state);
    return 0;
}

int fixture_teardown(void **state)
{
    fixture_close(*state);
    return checks_failed() > 0 ? -1 : 0;
}
