/* SPDX-License-Identifier: MIT */
/*
 * `allotd --supervise`: the same daemon without systemd. What is killed here is the daemon below
 * the supervisor; the fixture is the supervisor's own manager.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "wire.h"

static const char *const arguments[] = {"--supervise", NULL};
static const struct fixture_setup supervised = {.arguments = arguments};

static struct wire w;
static struct wire other;

static void test_supervise__nothing_is_lost(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    fixture_open(f, &supervised);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 1000);
    for (unsigned i = 0; i < 5; i++) {
        fixture_kill_supervised(f);
        check_equal(wire_ping(&w), ALLOT__ERROR__E_OK);
        wire_open(&other, f->socket);
        wire_close(&other);
    }
    wire_free(&w, pool, block);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_close(&w);
    fixture_stop(f);
    check_equal(f->n_stored, 0); /* all of it lay with the supervisor */
    check(stat(f->socket, &st) < 0 && errno == ENOENT);
}

static void expect_all_goes_on(struct fixture *f, void (*before_exec)(void))
{
    struct fixture_setup setup = supervised;

    setup.before_exec = before_exec;
    fixture_open(f, &setup);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 1000);
    fixture_kill_supervised(f);
    wire_free(&w, pool, block);
    wire_close(&w);
}

static void close_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        close(fd);
}

/* What is opened first must not get the number that the log is written to. */
static void test_supervise__no_standard_descriptors(void **state)
{
    expect_all_goes_on(*state, close_standard_descriptors);
}

static void ignore_sigchld(void)
{
    check(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
}

/* Whoever started the supervisor may have had no interest in children. */
static void test_supervise__started_with_sigchld_ignored(void **state)
{
    expect_all_goes_on(*state, ignore_sigchld);
}

static void log_to_nobody(void)
{
    int fds[2];

    check(pipe(fds) == 0 && dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
    close(fds[0]);
    close(fds[1]);
}

/* Its other end stays open. */
static void log_to_full_pipe(void)
{
    static const char bytes[4096];
    int fds[2];

    check(pipe2(fds, O_NONBLOCK) == 0 && dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
    close(fds[1]);
    while (write(STDERR_FILENO, bytes, sizeof(bytes)) > 0)
        ;
    check(fcntl(STDERR_FILENO, F_SETFL, 0) == 0);
}

/* What is lost is what it has to say, and nothing else. */
static void test_supervise__the_log_is_closed(void **state)
{
    expect_all_goes_on(*state, log_to_nobody);
}

static void test_supervise__nobody_reads_the_log(void **state)
{
    expect_all_goes_on(*state, log_to_full_pipe);
}

/* A container's /tmp may be read-only. */
static void test_supervise__needs_no_other_place_than_tmpdir(void **state)
{
    struct fixture *f = *state;
    struct fixture_setup setup = supervised;
    char place[64];
    const char *const environment[] = {place, NULL};

    setup.environment = environment;
    fixture_open(f, &setup);
    snprintf(place, sizeof(place), "TMPDIR=%s", f->directory);
    fixture_start(f);
    fixture_kill_supervised(f);
    fixture_stop(f);
    snprintf(place, sizeof(place), "TMPDIR=%s/nowhere", f->directory);
    check_equal(fixture_run(f), 1);
}

static void test_supervise__a_first_start_refused_is_the_end(void **state)
{
    struct fixture *f = *state;

    fixture_open(f, &supervised);
    fixture_write_config(f, "nonsense\n");
    check_equal(fixture_run(f), 2);
}

static void test_supervise__a_later_start_refused_is_tried_again(void **state)
{
    struct fixture *f = *state;

    fixture_open(f, &supervised);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 1000);
    fixture_write_config(f, "nonsense\n");
    check(kill(fixture_supervised(f), SIGKILL) == 0);
    fixture_log_wait(f, "ended with status 2");
    fixture_write_config(f, FIXTURE_CONFIG);
    f->errors_expected = true;
    wire_free(&w, pool, block); /* answered by the one that comes up */
    wire_close(&w);
}

static void test_supervise__told_to_end_while_none_runs(void **state)
{
    struct fixture *f = *state;

    fixture_open(f, &supervised);
    fixture_start(f);
    fixture_write_config(f, "nonsense\n");
    check(kill(fixture_supervised(f), SIGKILL) == 0);
    fixture_log_wait(f, "ended with status 2");
    f->errors_expected = true;
    fixture_stop(f);
}

static void block_sigterm(void)
{
    sigset_t term;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    check(sigprocmask(SIG_BLOCK, &term, NULL) == 0);
}

/* The one that starts just then does not come up, but not because of the signal, which it never
 * gets. */
static void test_supervise__told_to_end_while_one_starts(void **state)
{
    struct fixture *f = *state;
    struct fixture_setup deaf = supervised;

    deaf.before_exec = block_sigterm;
    fixture_open(f, &deaf);
    fixture_start(f);
    check(unlink(f->config) == 0 && mkfifo(f->config, 0600) == 0);
    check(kill(fixture_supervised(f), SIGKILL) == 0);
    int config = open(f->config, O_WRONLY | O_CLOEXEC); /* returns when the next one reads it */
    check(config >= 0);
    check(kill(f->pid, SIGTERM) == 0);
    check(write(config, "nonsense\n", 9) == 9);
    close(config);
    f->errors_expected = true;
    check_equal(fixture_end(f), 0);
}

static void test_supervise__reloads(void **state)
{
    struct fixture *f = *state;

    fixture_open(f, &supervised);
    fixture_start(f);
    pid_t before = fixture_supervised(f);
    fixture_reload(f, FIXTURE_CONFIG "quota = 1M\n");
    check_equal(fixture_supervised(f), before);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC, pool, 0, 2 << 20, 0, NULL),
                ALLOT__ERROR__E_QUOTA);
    wire_close(&w);
}

/* Without what the supervisor kept, a daemon must not go on. */
static void test_supervise__the_daemon_dies_with_it(void **state)
{
    struct fixture *f = *state;

    fixture_open(f, &supervised);
    fixture_start(f);
    int pidfd = pidfd_open(fixture_supervised(f), 0);
    check(pidfd >= 0);
    fixture_kill(f);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    check_equal(poll(&p, 1, FIXTURE_DEADLINE_MS), 1);
    close(pidfd);
}

/* The way to the supervisor's socket, as the daemon below it has it. */
static void find_socket(const struct fixture *f, struct sockaddr_un *ret)
{
    static char environment[65536];
    char path[64];
    const char *found = NULL;

    snprintf(path, sizeof(path), "/proc/%d/environ", (int)fixture_supervised(f));
    FILE *file = fopen(path, "re");
    check(file != NULL);
    size_t size = fread(environment, 1, sizeof(environment) - 1, file);
    fclose(file);
    for (const char *at = environment; at < environment + size; at += strlen(at) + 1)
        if (strncmp(at, "NOTIFY_SOCKET=/proc/self/fd/", 28) == 0)
            found = at + 28;
    check(found != NULL);
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/%d/fd/%.8s", (int)fixture_supervised(f),
             found);
}

static void test_supervise__hears_only_the_daemon(void **state)
{
    struct fixture *f = *state;
    static const char forged[] = "FDSTOREREMOVE=1\nFDNAME=ledger";
    struct sockaddr_un address;

    fixture_open(f, &supervised);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 1000);
    find_socket(f, &address);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(sendto(fd, forged, strlen(forged), 0, (struct sockaddr *)&address, sizeof(address)) > 0);
    close(fd);
    fixture_kill_supervised(f);
    wire_free(&w, pool, block);
    wire_close(&w);
}

/* What the supervisor was handed itself goes on to the daemon, and is not its to remove. */
static void test_supervise__hands_on_what_it_was_given(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup activated = {.arguments = arguments, .activate = true};
    struct stat st;

    fixture_open(f, &activated);
    fixture_start(f);
    for (unsigned i = 0; i < 3; i++) {
        wire_open(&w, f->socket);
        wire_close(&w);
        fixture_kill_supervised(f);
    }
    fixture_stop(f);
    check(stat(f->socket, &st) == 0);
}

static struct gate leave;
static pid_t *left; /* shared with the child */

static void leave_a_child(void)
{
    pid_t pid = fork();

    check(pid >= 0);
    if (pid > 0) {
        *left = pid;
        return;
    }
    gate_wait(&leave);
    _exit(0);
}

/* As the first process of a container does, to which orphans come. */
static void test_supervise__reaps_others(void **state)
{
    struct fixture *f = *state;
    struct fixture_setup setup = supervised;

    left = mmap(NULL, sizeof(*left), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(left != MAP_FAILED);
    gate_open(&leave);
    setup.before_exec = leave_a_child;
    fixture_open(f, &setup);
    fixture_start(f);
    gate_signal(&leave);
    for (unsigned ms = 0; kill(*left, 0) == 0 && ms < FIXTURE_DEADLINE_MS; ms++)
        poll(NULL, 0, 1);
    check(kill(*left, 0) < 0 && errno == ESRCH);
    gate_close(&leave);
    munmap(left, sizeof(*left));
}

/* Where another daemon has put its own meanwhile. */
static void test_supervise__removes_no_other_socket(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;

    fixture_open(f, &supervised);
    fixture_start(f);
    check(unlink(f->socket) == 0);
    strcpy(address.sun_path, f->socket);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    check(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0);
    fixture_stop(f);
    check(stat(f->socket, &st) == 0);
    close(fd);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_supervise__nothing_is_lost),
        fixture_test_bare(test_supervise__no_standard_descriptors),
        fixture_test_bare(test_supervise__started_with_sigchld_ignored),
        fixture_test_bare(test_supervise__the_log_is_closed),
        fixture_test_bare(test_supervise__nobody_reads_the_log),
        fixture_test_bare(test_supervise__needs_no_other_place_than_tmpdir),
        fixture_test_bare(test_supervise__a_first_start_refused_is_the_end),
        fixture_test_bare(test_supervise__a_later_start_refused_is_tried_again),
        fixture_test_bare(test_supervise__told_to_end_while_none_runs),
        fixture_test_bare(test_supervise__told_to_end_while_one_starts),
        fixture_test_bare(test_supervise__reloads),
        fixture_test_bare(test_supervise__the_daemon_dies_with_it),
        fixture_test_bare(test_supervise__hears_only_the_daemon),
        fixture_test_bare(test_supervise__hands_on_what_it_was_given),
        fixture_test_bare(test_supervise__reaps_others),
        fixture_test_bare(test_supervise__removes_no_other_socket),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
