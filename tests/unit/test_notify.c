/* SPDX-License-Identifier: MIT */
/*
 * The service manager's protocol against a manager of our own, which notes every datagram and the
 * descriptor with it; and the descriptors that come in, each case in a process of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "notify.h"

struct manager {
    int socket;
    char dir[64];
    char path[100];
    char text[512]; /* of the last datagram */
    int fd;         /* that came with it, or -1 */
};

static int manager_bind(struct manager *m, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(path);

    memcpy(address.sun_path, path, size);
    if (path[0] == '@')
        address.sun_path[0] = 0;
    m->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return m->socket < 0 ||
           bind(m->socket, (struct sockaddr *)&address,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (path[0] == '/')));
}

static int setup(void **state)
{
    struct manager *m = calloc(1, sizeof(*m));

    if (!m)
        return -1;
    m->fd = -1;
    strcpy(m->dir, "/tmp/test_notify.XXXXXX");
    if (!mkdtemp(m->dir))
        return -1;
    snprintf(m->path, sizeof(m->path), "%s/manager", m->dir);
    *state = m;
    return manager_bind(m, m->path) || setenv("NOTIFY_SOCKET", m->path, 1);
}

static int teardown(void **state)
{
    struct manager *m = *state;

    unsetenv("NOTIFY_SOCKET");
    close(m->socket);
    if (m->fd >= 0)
        close(m->fd);
    unlink(m->path);
    rmdir(m->dir);
    free(m);
    return 0;
}

/* Takes the datagram that must be there by now. */
static void receive(struct manager *m)
{
    union {
        char bytes[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec text = {.iov_base = m->text, .iov_len = sizeof(m->text) - 1};
    struct msghdr message = {.msg_iov = &text,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};

    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
    ssize_t size = recvmsg(m->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    assert_true(size >= 0);
    assert_false(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    m->text[size] = 0;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (c) {
        assert_int_equal(c->cmsg_type, SCM_RIGHTS);
        assert_int_equal(c->cmsg_len, CMSG_LEN(sizeof(int)));
        memcpy(&m->fd, CMSG_DATA(c), sizeof(int));
    }
}

static void assert_silent(struct manager *m)
{
    char byte;

    assert_int_equal(recv(m->socket, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static void test_notify__without_a_manager_nothing_is_wrong(void **state)
{
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(notify_send("READY=1"), 0);
    assert_int_equal(notify_store(STDERR_FILENO, "pool", 100), 0);
    assert_int_equal(notify_unstore("pool", 100), 0);
    assert_int_equal(notify_reloading(), 0);
    setenv("NOTIFY_SOCKET", "", 1);
    assert_int_equal(notify_send("READY=1"), 0);
    assert_silent(*state);
}

static void test_notify__state_arrives_as_it_is(void **state)
{
    struct manager *m = *state;

    assert_int_equal(notify_send("READY=1\nSTATUS=two words"), 0);
    receive(m);
    assert_string_equal(m->text, "READY=1\nSTATUS=two words");
    assert_int_equal(m->fd, -1);
    assert_silent(m);
}

static void test_notify__abstract_socket(void **state)
{
    struct manager *m = *state;
    struct manager abstract = {.fd = -1};
    char name[64];

    snprintf(name, sizeof(name), "@allot-test-notify-%d", (int)getpid());
    assert_int_equal(manager_bind(&abstract, name), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    assert_int_equal(notify_send("READY=1"), 0);
    receive(&abstract);
    assert_string_equal(abstract.text, "READY=1");
    assert_silent(m);
    close(abstract.socket);
}

static void test_notify__longest_path_and_one_more(void **state)
{
    struct manager *m = *state;
    struct manager longest = {.fd = -1};
    char path[120];
    int size = snprintf(path, sizeof(path), "%s/", m->dir);

    memset(path + size, 'l', sizeof(path) - (size_t)size);
    path[107] = 0;
    assert_int_equal(manager_bind(&longest, path), 0);
    setenv("NOTIFY_SOCKET", path, 1);
    assert_int_equal(notify_send("READY=1"), 0);
    receive(&longest);
    close(longest.socket);
    unlink(path);
    path[107] = 'l';
    path[108] = 0;
    setenv("NOTIFY_SOCKET", path, 1);
    assert_int_equal(notify_send("READY=1"), -ENAMETOOLONG);
}

static void test_notify__unreachable_manager_is_named(void **state)
{
    struct manager *m = *state;

    setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
    assert_int_equal(notify_send("READY=1"), -EAFNOSUPPORT);
    setenv("NOTIFY_SOCKET", "/nonexistent/manager", 1);
    assert_int_equal(notify_send("READY=1"), -ENOENT);
    setenv("NOTIFY_SOCKET", m->path, 1);
    shutdown(m->socket, SHUT_RD);
    close(m->socket);
    assert_int_equal(notify_send("READY=1"), -ECONNREFUSED);
    m->socket = -1;
}

static void test_notify__store_hands_the_descriptor_over(void **state)
{
    struct manager *m = *state;
    struct stat sent, got;
    int fd = memfd_create("stored", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(notify_store(fd, "pool.default", 100), 0);
    assert_int_equal(fstat(fd, &sent), 0);
    close(fd); /* the message holds it */
    receive(m);
    assert_string_equal(m->text, "FDSTORE=1\nFDPOLL=0\nFDNAME=pool.default");
    assert_true(m->fd >= 0);
    assert_int_equal(fstat(m->fd, &got), 0);
    assert_true(sent.st_ino == got.st_ino && sent.st_dev == got.st_dev);
    assert_int_equal(notify_store(-1, "pool.default", 100), -EBADF);
    assert_silent(m);
}

static void test_notify__unstore_names_what_goes(void **state)
{
    struct manager *m = *state;

    assert_int_equal(notify_unstore("ledger", 100), 0);
    receive(m);
    assert_string_equal(m->text, "FDSTOREREMOVE=1\nFDNAME=ledger");
    assert_int_equal(m->fd, -1);
}

/* systemd drops the name, and stores under another, where it does not like it. */
static void test_notify__names_that_a_manager_refuses(void **state)
{
    struct manager *m = *state;
    char name[257];
    static const char *const bad[] = {"", "a:b", "a\nREADY=1", "tab\t", "\x7f", "\xc3\xa4", "a b"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(notify_store(STDERR_FILENO, bad[i], 100), -EINVAL);
        assert_int_equal(notify_unstore(bad[i], 100), -EINVAL);
    }
    memset(name, 'n', sizeof(name) - 1);
    name[256] = 0;
    assert_int_equal(notify_store(STDERR_FILENO, name, 100), -EINVAL);
    assert_silent(m);
    name[255] = 0;
    assert_int_equal(notify_store(STDERR_FILENO, name, 100), 0);
    receive(m);
    assert_int_equal(strlen(strstr(m->text, "FDNAME=")), strlen("FDNAME=") + 255);
}

static uint64_t monotonic_usec(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void test_notify__reloading_tells_the_time(void **state)
{
    struct manager *m = *state;
    uint64_t told, before = monotonic_usec();

    assert_int_equal(notify_reloading(), 0);
    uint64_t after = monotonic_usec();
    receive(m);
    assert_int_equal(sscanf(m->text, "RELOADING=1\nMONOTONIC_USEC=%" SCNu64, &told), 1);
    assert_in_range(told, before, after);
}

struct sender {
    atomic_int tid;
    atomic_bool done;
    int rc;
};

static void *send_ready(void *arg)
{
    struct sender *s = arg;

    atomic_store(&s->tid, (int)syscall(SYS_gettid));
    s->rc = notify_send("READY=1");
    atomic_store(&s->done, true);
    return NULL;
}

/* True once the thread sleeps in the kernel, or is through. */
static bool settled(struct sender *s)
{
    char path[64], text[256];
    int tid = atomic_load(&s->tid);
    bool asleep = false;

    if (!tid || atomic_load(&s->done))
        return tid;
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    FILE *file = fopen(path, "re");
    if (!file)
        return atomic_load(&s->done);
    const char *name_end = fgets(text, sizeof(text), file) ? strrchr(text, ')') : NULL;
    asleep = name_end && strncmp(name_end, ") S", 3) == 0;
    fclose(file);
    return asleep;
}

static void test_notify__a_busy_manager_is_waited_for(void **state)
{
    struct manager *m = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct sender s = {.rc = 1};
    pthread_t thread;
    int filler = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unsigned sent = 0;

    strcpy(address.sun_path, m->path);
    while (sendto(filler, "X=1", 3, 0, (struct sockaddr *)&address, sizeof(address)) == 3)
        sent++;
    assert_int_equal(errno, EAGAIN);
    close(filler);
    assert_int_equal(pthread_create(&thread, NULL, send_ready, &s), 0);
    while (!settled(&s))
        sched_yield();
    for (unsigned i = 0; i < sent; i++)
        receive(m);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(s.rc, 0);
    receive(m);
    assert_string_equal(m->text, "READY=1");
}

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* Runs `body` in a process whose descriptors 3 to 3+n-1 are files, as a manager would start it. */
static void in_service(int n, const char *names, void (*body)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        char text[32];
        int file = open("/dev/null", O_RDONLY);

        if (file < 3)
            file = fcntl(file, F_DUPFD, 3);
        for (int i = 0; i < n; i++)
            if (3 + i != file)
                dup2(file, 3 + i);
        for (int fd = 3; fd < 3 + n; fd++)
            fcntl(fd, F_SETFD, 0);
        snprintf(text, sizeof(text), "%d", (int)getpid());
        setenv("LISTEN_PID", text, 1);
        snprintf(text, sizeof(text), "%d", n);
        setenv("LISTEN_FDS", text, 1);
        if (names)
            setenv("LISTEN_FDNAMES", names, 1);
        else
            unsetenv("LISTEN_FDNAMES");
        body();
        CHECK(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES"));
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static struct notify_fd came[NOTIFY_FDS_MAX];

static void three_named(void)
{
    CHECK(notify_listen_fds(came, NOTIFY_FDS_MAX) == 3);
    CHECK(came[0].fd == 3 && came[1].fd == 4 && came[2].fd == 5);
    CHECK(strcmp(came[0].name, "ledger") == 0);
    CHECK(strcmp(came[1].name, "pool.default") == 0);
    CHECK(strcmp(came[2].name, "allotd.socket") == 0);
    for (int i = 0; i < 3; i++)
        CHECK(fcntl(came[i].fd, F_GETFD) & FD_CLOEXEC);
    CHECK(notify_listen_fds(came, NOTIFY_FDS_MAX) == 0); /* once only */
}

static void test_notify__descriptors_come_with_their_names(void **state)
{
    (void)state;
    in_service(3, "ledger:pool.default:allotd.socket", three_named);
}

static void some_unknown(void)
{
    CHECK(notify_listen_fds(came, NOTIFY_FDS_MAX) == 3);
    CHECK(strcmp(came[0].name, "unknown") == 0);
    CHECK(strcmp(came[1].name, "b") == 0);
    CHECK(strcmp(came[2].name, "unknown") == 0);
}

static void all_unknown(void)
{
    CHECK(notify_listen_fds(came, NOTIFY_FDS_MAX) == 2);
    CHECK(strcmp(came[0].name, "unknown") == 0 && strcmp(came[1].name, "unknown") == 0);
}

static void test_notify__missing_names_are_unknown(void **state)
{
    (void)state;
    char long_name[300];

    in_service(3, ":b", some_unknown);
    in_service(2, NULL, all_unknown);
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = 0;
    in_service(2, long_name, all_unknown);
}

static void for_somebody_else(void)
{
    setenv("LISTEN_PID", "1", 1);
    CHECK(notify_listen_fds(came, NOTIFY_FDS_MAX) == 0);
    CHECK(!(fcntl(3, F_GETFD) & FD_CLOEXEC));
}

static void without_a_pid(void)
{
    unsetenv("LISTEN_PID");
    CHECK(notify_listen_fds(came, NOTIFY_FDS_MAX) == 0);
}

static void test_notify__descriptors_for_another_process_are_left_alone(void **state)
{
    (void)state;
    in_service(1, "x", for_somebody_else);
    in_service(1, "x", without_a_pid);
}

static void too_many(void)
{
    CHECK(notify_listen_fds(came, 2) == -E2BIG);
    CHECK(fcntl(5, F_GETFD) & FD_CLOEXEC); /* those beyond do not leak either */
}

static void one_closed(void)
{
    close(4);
    CHECK(notify_listen_fds(came, NOTIFY_FDS_MAX) == -EBADF);
}

static void test_notify__too_many_and_missing_descriptors_are_named(void **state)
{
    (void)state;
    in_service(3, "a:b:c", too_many);
    in_service(2, "a:b", one_closed);
}

static void odd_counts(void)
{
    static const char *const odd[] = {"",   "-1",         "x",          "1x",
                                      " 1", "2147483647", "4294967297", "99999999999999999999"};
    char pid[32];

    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", odd[i], 1);
        CHECK(notify_listen_fds(came, NOTIFY_FDS_MAX) == -EINVAL);
        setenv("LISTEN_PID", odd[i], 1);
        setenv("LISTEN_FDS", "1", 1);
        CHECK(notify_listen_fds(came, NOTIFY_FDS_MAX) == (i == 5 ? 0 : -EINVAL));
    }
}

static void test_notify__odd_numbers_are_refused(void **state)
{
    (void)state;
    in_service(1, NULL, odd_counts);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_notify__without_a_manager_nothing_is_wrong),
        CASE(test_notify__state_arrives_as_it_is),
        CASE(test_notify__abstract_socket),
        CASE(test_notify__longest_path_and_one_more),
        CASE(test_notify__unreachable_manager_is_named),
        CASE(test_notify__store_hands_the_descriptor_over),
        CASE(test_notify__unstore_names_what_goes),
        CASE(test_notify__names_that_a_manager_refuses),
        CASE(test_notify__reloading_tells_the_time),
        CASE(test_notify__a_busy_manager_is_waited_for),
        cmocka_unit_test(test_notify__descriptors_come_with_their_names),
        cmocka_unit_test(test_notify__missing_names_are_unknown),
        cmocka_unit_test(test_notify__descriptors_for_another_process_are_left_alone),
        cmocka_unit_test(test_notify__too_many_and_missing_descriptors_are_named),
        cmocka_unit_test(test_notify__odd_numbers_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
