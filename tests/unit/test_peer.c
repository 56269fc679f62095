/* SPDX-License-Identifier: MIT */
/*
 * Who is at the other end: real processes on a real socket, alive, dead, not yet buried, with odd
 * names and many groups; on this kernel and on one without SO_PEERPIDFD, played by getsockopt() of
 * our own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#define PIDFS_MAGIC 0x50494446

enum kernel { THIS_KERNEL, OLD_KERNEL, FORCED };

static enum kernel kernel;
static unsigned asked_for_pidfd;

int getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict size)
{
    if (level == SOL_SOCKET && option == SO_PEERPIDFD) {
        asked_for_pidfd++;
        if (kernel == OLD_KERNEL) {
            errno = ENOPROTOOPT;
            return -1;
        }
    }
    return (int)syscall(SYS_getsockopt, fd, level, option, value, size);
}

static void choose(enum kernel k)
{
    kernel = k;
    asked_for_pidfd = 0;
    if (k == FORCED)
        setenv("ALLOTD_OLD_KERNEL", "1", 1);
    else
        unsetenv("ALLOTD_OLD_KERNEL");
}

static unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* A child that is connected to us. It runs `first`, connects, sends its own start time as it knew
 * it before, and waits for the end of its socket. */
struct client {
    pid_t pid;
    int fd; /* our end */
    uint64_t start_time;
};

static uint64_t own_start_time(void)
{
    unsigned long long time = 0;
    FILE *file = fopen("/proc/self/stat", "re");

    /* Our own name has no blanks, so the field can be counted from the start. */
    if (!file || fscanf(file,
                        "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                        "%*s %*s %*s %llu",
                        &time) != 1)
        time = 0;
    if (file)
        fclose(file);
    return time;
}

static void client_run(const struct sockaddr_un *address, socklen_t size, void (*first)(void))
{
    uint64_t time = own_start_time();
    char byte;

    if (first)
        first();
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (connect(fd, (const struct sockaddr *)address, size) ||
        send(fd, &time, sizeof(time), 0) != sizeof(time))
        _exit(1);
    _exit(recv(fd, &byte, 1, 0) < 0);
}

static struct client client_start(void (*first)(void))
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct client c = {.fd = -1};
    static unsigned serial;
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int name = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "allot-test-peer-%d-%u",
                        (int)getpid(), serial++);
    socklen_t size = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 + (socklen_t)name;

    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    c.pid = fork();
    if (c.pid == 0)
        client_run(&address, size, first);
    assert_true(c.pid > 0);
    c.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(c.fd >= 0);
    close(listener);
    assert_int_equal(recv(c.fd, &c.start_time, sizeof(c.start_time), 0), sizeof(c.start_time));
    assert_true(c.start_time > 0);
    return c;
}

/* Kills the client; without burying it, it stays a zombie. */
static void client_kill(struct client *c, bool bury)
{
    siginfo_t info;

    kill(c->pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)c->pid, &info, WEXITED | (bury ? 0 : WNOWAIT)), 0);
}

static void client_end(struct client *c)
{
    close(c->fd);
    waitpid(c->pid, NULL, 0);
}

/* What tells the client from others that have had its pid, to the kernel that was chosen. */
static uint64_t incarnation(const struct client *c)
{
    struct statfs fs;
    struct stat st;
    int fd = pidfd_open(c->pid, 0);

    assert_true(fd >= 0);
    assert_int_equal(fstatfs(fd, &fs), 0);
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    return kernel != FORCED && fs.f_type == PIDFS_MAGIC ? st.st_ino : c->start_time;
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static void test_peer__identity_is_the_kernels(void **state)
{
    (void)state;
    for (enum kernel k = THIS_KERNEL; k <= FORCED; k++) {
        gid_t groups[GROUPS_MAX];
        struct peer peer;

        choose(k);
        struct client c = client_start(NULL);
        assert_int_equal(peer_read(c.fd, &peer), 0);
        assert_int_equal(asked_for_pidfd, k == FORCED ? 0 : 1);
        assert_int_equal(peer.pid, c.pid);
        assert_int_equal(peer.uid, geteuid());
        assert_int_equal(peer.gid, getegid());
        assert_true(peer.incarnation == incarnation(&c));
        int n = getgroups(GROUPS_MAX, groups);
        assert_true(n >= 0);
        assert_int_equal(peer.n_groups, n);
        assert_memory_equal(peer.groups, groups, (size_t)n * sizeof(gid_t));
        assert_true(fcntl(peer.pidfd, F_GETFD) & FD_CLOEXEC);

        assert_false(readable(peer.pidfd));
        client_kill(&c, false);
        assert_true(readable(peer.pidfd));
        close(peer.pidfd);
        client_end(&c);
    }
}

/* Groups that are really there: only root can take some on. */
static const gid_t some[] = {7, 300, 70000};

static void take_some_groups(void)
{
    if (setgroups(3, some))
        _exit(1);
}

static void test_peer__supplementary_groups(void **state)
{
    (void)state;
    struct peer peer;

    if (geteuid() != 0)
        skip();
    choose(THIS_KERNEL);
    struct client c = client_start(take_some_groups);
    assert_int_equal(peer_read(c.fd, &peer), 0);
    assert_int_equal(peer.n_groups, 3);
    assert_memory_equal(peer.groups, some, sizeof(some));
    close(peer.pidfd);
    client_end(&c);
}

static void take_many_groups(void)
{
    gid_t many[3 * GROUPS_MAX];

    for (unsigned i = 0; i < 3 * GROUPS_MAX; i++)
        many[i] = 1000 + i;
    if (setgroups(3 * GROUPS_MAX, many))
        _exit(1);
}

static void test_peer__more_groups_than_are_looked_at(void **state)
{
    (void)state;
    struct peer peer;

    if (geteuid() != 0)
        skip();
    choose(THIS_KERNEL);
    struct client c = client_start(take_many_groups);
    assert_int_equal(peer_read(c.fd, &peer), 0);
    assert_int_equal(peer.n_groups, GROUPS_MAX);
    for (unsigned i = 0; i < GROUPS_MAX; i++)
        assert_int_equal(peer.groups[i], 1000 + i);
    close(peer.pidfd);
    client_end(&c);
}

static void become_another(void)
{
    if (setgroups(0, NULL) || setresgid(4242, 4242, 4242) || setresuid(4243, 4243, 4243))
        _exit(1);
}

static void test_peer__another_users_process(void **state)
{
    (void)state;
    struct peer peer;

    if (geteuid() != 0)
        skip();
    choose(THIS_KERNEL);
    struct client c = client_start(become_another);
    assert_int_equal(peer_read(c.fd, &peer), 0);
    assert_int_equal(peer.uid, 4243);
    assert_int_equal(peer.gid, 4242);
    assert_int_equal(peer.n_groups, 0);
    assert_true(peer.incarnation == incarnation(&c));
    close(peer.pidfd);
    client_end(&c);
}

static void be_called_oddly(void)
{
    prctl(PR_SET_NAME, "a) R 1 (2 3) 4");
}

static void be_called_newline(void)
{
    prctl(PR_SET_NAME, ")\n) S 9 9 9");
}

static void test_peer__names_with_blanks_and_parentheses(void **state)
{
    (void)state;
    void (*const names[])(void) = {be_called_oddly, be_called_newline};

    choose(FORCED); /* so that it is read */
    for (size_t i = 0; i < 2; i++) {
        struct peer peer;
        struct client c = client_start(names[i]);

        assert_int_equal(peer_read(c.fd, &peer), 0);
        assert_true(peer.incarnation == incarnation(&c));
        close(peer.pidfd);
        client_end(&c);
    }
}

static void test_peer__a_process_that_is_gone(void **state)
{
    (void)state;
    for (enum kernel k = THIS_KERNEL; k <= FORCED; k++)
        for (int bury = 0; bury < 2; bury++) {
            struct peer peer = {.pidfd = -7};

            choose(k);
            struct client c = client_start(NULL);
            client_kill(&c, bury);
            unsigned before = open_descriptors();
            assert_int_equal(peer_read(c.fd, &peer), -ESRCH);
            assert_int_equal(open_descriptors(), before);
            assert_int_equal(peer.pidfd, -7);
            client_end(&c);
        }
}

/* Without SO_PEERPIDFD a hung up socket is all that tells that the pid may be another's by now. */
static void test_peer__a_hung_up_socket_names_nobody_on_an_old_kernel(void **state)
{
    (void)state;
    int ends[2];
    struct peer peer;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    choose(OLD_KERNEL);
    assert_int_equal(peer_read(ends[0], &peer), 0);
    close(peer.pidfd);
    close(ends[1]);
    unsigned before = open_descriptors();
    assert_int_equal(peer_read(ends[0], &peer), -ESRCH);
    assert_int_equal(open_descriptors(), before);
    close(ends[0]);
}

static void test_peer__what_is_no_socket(void **state)
{
    (void)state;
    struct peer peer;

    choose(THIS_KERNEL);
    assert_int_equal(peer_read(-1, &peer), -EBADF);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(peer_read(file, &peer), -ENOTSOCK);
    close(file);
}

static void test_peer__reopen_finds_the_process_and_no_other(void **state)
{
    (void)state;
    for (enum kernel k = THIS_KERNEL; k <= FORCED; k++) {
        choose(k);
        struct client c = client_start(be_called_oddly);
        uint64_t it = incarnation(&c);
        unsigned before = open_descriptors();

        int fd = peer_reopen(c.pid, it);
        assert_true(fd >= 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_false(readable(fd));

        /* The same number, at another time. */
        assert_int_equal(peer_reopen(c.pid, it + 1), -ESRCH);
        assert_int_equal(peer_reopen(c.pid, it - 1), -ESRCH);
        assert_int_equal(peer_reopen(0, it), -ESRCH);
        assert_int_equal(peer_reopen(-1, it), -ESRCH);

        client_kill(&c, false);
        assert_true(readable(fd));
        assert_int_equal(peer_reopen(c.pid, it), -ESRCH);
        assert_int_equal(peer_reopen(c.pid, 0), -ESRCH);
        close(fd);
        client_kill(&c, true);
        assert_int_equal(peer_reopen(c.pid, it), -ESRCH);
        assert_int_equal(open_descriptors(), before);
        client_end(&c);
    }
}

/* In a child, as another user with a /proc that hides the client: which promise does not hold, 0
 * when all do. */
static int look_hidden(const struct client *c, uint64_t seen)
{
    struct peer peer;
    struct peer again;
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d", (int)c->pid);
    if (access(path, F_OK) == 0)
        return 1;
    if (peer_read(c->fd, &peer) || peer_read(c->fd, &again) || !peer_is_same(&peer, &again))
        return 2;
    if (kernel == FORCED && peer.incarnation != 0)
        return 3;
    if (peer_reopen(c->pid, peer.incarnation) < 0)
        return 4;
    if (peer.incarnation && peer_reopen(c->pid, peer.incarnation + 1) != -ESRCH)
        return 5;
    /* Known since before it was hidden, as when a unit's ProtectProc= changed. */
    if (peer_reopen(c->pid, seen) < 0)
        return 6;
    return 0;
}

static int hide_proc(void)
{
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("proc", "/proc", "proc", 0, "hidepid=invisible"))
        return -1;
    return setgroups(0, NULL) || setresgid(4244, 4244, 4244) || setresuid(4245, 4245, 4245);
}

#define CANNOT_HIDE 77

static void test_peer__hidden_by_proc(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    for (enum kernel k = THIS_KERNEL; k <= FORCED; k++) {
        int status;

        choose(k);
        struct client c = client_start(become_another);
        uint64_t seen = incarnation(&c);
        pid_t pid = fork();
        if (pid == 0)
            _exit(hide_proc() ? CANNOT_HIDE : look_hidden(&c, seen));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        client_end(&c);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == CANNOT_HIDE)
            skip(); /* no mount namespaces, or in a plain chroot */
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer__identity_is_the_kernels),
        cmocka_unit_test(test_peer__supplementary_groups),
        cmocka_unit_test(test_peer__more_groups_than_are_looked_at),
        cmocka_unit_test(test_peer__another_users_process),
        cmocka_unit_test(test_peer__names_with_blanks_and_parentheses),
        cmocka_unit_test(test_peer__a_process_that_is_gone),
        cmocka_unit_test(test_peer__a_hung_up_socket_names_nobody_on_an_old_kernel),
        cmocka_unit_test(test_peer__what_is_no_socket),
        cmocka_unit_test(test_peer__reopen_finds_the_process_and_no_other),
        cmocka_unit_test(test_peer__hidden_by_proc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
