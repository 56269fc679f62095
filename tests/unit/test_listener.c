/* SPDX-License-Identifier: MIT */
/*
 * The listener where descriptors run out, on a loop that the test turns; and two that start at
 * once.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "listener.h"

struct world {
    uv_loop_t loop;
    struct listener listener;
    struct sockaddr_un address;
    char directory[32];
    int log; /* what the listener writes to stderr */
    int true_stderr;
    struct rlimit limit;
    unsigned accepted;
    unsigned refused;
};

static void on_accepted(void *ctx, int fd)
{
    struct world *w = ctx;

    w->accepted++;
    close(fd);
}

static void on_short_of_descriptors(void *ctx)
{
    struct world *w = ctx;

    w->refused++;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    if (!w)
        return -1;
    *state = w;
    strcpy(w->directory, "/tmp/allot-test-XXXXXX");
    w->address.sun_family = AF_UNIX;
    w->log = memfd_create("log", MFD_CLOEXEC);
    w->true_stderr = dup(STDERR_FILENO);
    if (!mkdtemp(w->directory) || w->log < 0 || w->true_stderr < 0 ||
        getrlimit(RLIMIT_NOFILE, &w->limit) || dup2(w->log, STDERR_FILENO) < 0)
        return -1;
    snprintf(w->address.sun_path, sizeof(w->address.sun_path), "%s/socket", w->directory);
    return uv_loop_init(&w->loop) || listener_open(&w->listener, w->address.sun_path) ||
           listener_start(&w->listener, &w->loop, on_accepted, on_short_of_descriptors, w);
}

static int teardown(void **state)
{
    struct world *w = *state;

    setrlimit(RLIMIT_NOFILE, &w->limit);
    dup2(w->true_stderr, STDERR_FILENO);
    close(w->true_stderr);
    close(w->log);
    listener_close(&w->listener);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&w->loop) || rmdir(w->directory);
    free(w);
    return rc;
}

static void limit_descriptors(struct world *w, rlim_t most)
{
    const struct rlimit limit = {.rlim_cur = most, .rlim_max = w->limit.rlim_max};

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Turns the loop until `*count` is `until`; where it pauses, as if a descriptor had become free,
 * which another has taken. */
static void turn(struct world *w, const unsigned *count, unsigned until)
{
    while (*count < until) {
        listener_resume(&w->listener);
        uv_run(&w->loop, UV_RUN_ONCE);
    }
}

static unsigned pauses_logged(const struct world *w)
{
    char text[4096] = {0};
    unsigned n = 0;

    assert_true(pread(w->log, text, sizeof(text) - 1, 0) >= 0);
    for (const char *at = text; (at = strstr(at, "accepting pauses")); at++)
        n++;
    return n;
}

static void test_listener__a_pause_is_logged_once(void **state)
{
    struct world *w = *state;
    int clients[2];

    for (unsigned i = 0; i < 2; i++) {
        clients[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_true(clients[i] >= 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(
            connect(clients[i], (const struct sockaddr *)&w->address, sizeof(w->address)), 0);
        limit_descriptors(w, 0);
        turn(w, &w->refused, 3 * (i + 1));
        assert_int_equal(pauses_logged(w), i + 1);
        limit_descriptors(w, w->limit.rlim_cur);
        turn(w, &w->accepted, i + 1);
        close(clients[i]);
    }
    assert_int_equal(pauses_logged(w), 2);
}

#define ROUNDS 20u

int __real_unlink(const char *path);
int __wrap_unlink(const char *path);
int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog);

/* A daemon that takes its time, … */
int __wrap_unlink(const char *path)
{
    usleep(2000);
    return __real_unlink(path);
}

/* … and is not there yet. */
int __wrap_listen(int fd, int backlog)
{
    usleep(2000);
    return __real_listen(fd, backlog);
}

struct start {
    const char *path;
    struct listener listener;
    int rc;
};

static void *start(void *ctx)
{
    struct start *s = ctx;

    s->rc = listener_open(&s->listener, s->path);
    return NULL;
}

/* Two daemons that start at once where a third has died. */
static void test_listener__a_stale_socket_is_replaced_once(void **state)
{
    const struct world *w = *state;
    char path[sizeof(w->directory) + sizeof("/stale")];
    struct start starts[2] = {{.path = path}, {.path = path}};
    pthread_t threads[2];

    snprintf(path, sizeof(path), "%s/stale", w->directory);
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned k = 0; k < 2; k++)
            assert_int_equal(pthread_create(&threads[k], NULL, start, &starts[k]), 0);
        for (unsigned k = 0; k < 2; k++)
            assert_int_equal(pthread_join(threads[k], NULL), 0);
        const struct start *loser = &starts[starts[0].rc == 0];
        assert_int_equal(loser->rc, -EADDRINUSE);
        assert_int_equal(starts[loser == &starts[0]].rc, 0);
        close(starts[loser == &starts[0]].listener.fd); /* and leaves its file to the next two */
    }
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_listener__a_pause_is_logged_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_listener__a_stale_socket_is_replaced_once, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
