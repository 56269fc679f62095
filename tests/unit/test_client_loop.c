/* SPDX-License-Identifier: MIT */
/*
 * A program with an event loop of its own: whoever loses the connection, and whoever makes another,
 * allot_fd() becomes readable when there is something to do, and not otherwise.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fake_session.h"

#define DEADLINE_MS 10000

/* The script tells that it has come so far, and is told to go on. */
static int reached[2];
static int go_on[2];

static void signal_to(const int fds[2])
{
    if (write(fds[1], "x", 1) != 1)
        abort();
}

static void wait_for(const int fds[2])
{
    char byte;

    if (read(fds[0], &byte, 1) != 1)
        abort();
}

static int setup(void **state)
{
    (void)state;
    return pipe(reached) < 0 || pipe(go_on) < 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        close(reached[i]);
        close(go_on[i]);
    }
    return 0;
}

static int descriptor(struct allot *a)
{
    int fd;

    assert_int_equal(allot_fd(a, &fd), 0);
    return fd;
}

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) == 1;
}

static void process_until_quiet(struct allot *a, int fd)
{
    for (unsigned i = 0; i < 10 && is_readable(fd, 0); i++)
        assert_int_equal(allot_process(a), 0);
    assert_false(is_readable(fd, 0));
}

/* Another thread, in a call, has begun to connect again; what this one was rung for is consumed. */
static void lose_to_a_call(struct allot *a, int fd, struct pinger *t)
{
    process_until_quiet(a, fd);
    t->a = a;
    pthread_create(&t->thread, NULL, ping_thread, t);
    wait_for(reached);
    assert_true(is_readable(fd, DEADLINE_MS));
    process_until_quiet(a, fd);
}

static void lost_script(struct fake *f)
{
    fake_begin(f);
    fake_receive(f);
    fake_hang_up(f);
    fake_accept_again(f);
    signal_to(reached);
    wait_for(go_on);
    fake_refuse(f, 0, ALLOT__ERROR__E_SESSION);
    fake_hang_up(f);
}

static void test_loop__is_told_that_another_threads_call_ended_the_session(void **state)
{
    struct pinger t;

    (void)state;
    fake_start(&fake, lost_script);
    struct allot *a = open_session();
    attach_default(a);
    int fd = descriptor(a);
    lose_to_a_call(a, fd, &t);
    signal_to(go_on);
    pthread_join(t.thread, NULL);
    assert_int_equal(t.code, ALLOT_E_POOL_GONE);
    assert_true(is_readable(fd, DEADLINE_MS));
    assert_int_equal(allot_process(a), ALLOT_E_POOL_GONE);
    allot_close(a);
    expect_no_failure();
}

static void silent_script(struct fake *f)
{
    fake_begin(f);
    fake_receive(f);
    fake_hang_up(f);
    fake_accept_again(f);
    signal_to(reached);
    fake_check(f, !fake_receive(f)); /* not answered until the client gives up */
    fake_hang_up(f);
    do
        fake_accept_again(f); /* it waits for less than this thread may need */
    while (recv(f->fd, NULL, 0, MSG_PEEK | MSG_DONTWAIT) == 0);
    fake_welcome(f);
    signal_to(reached);
    fake_end(f);
}

static void test_loop__connects_where_another_thread_gave_up(void **state)
{
    struct pinger t;

    (void)state;
    fake_start(&fake, silent_script);
    struct allot *a = open_session();
    attach_default(a);
    int fd = descriptor(a);
    assert_int_equal(allot_set_timeout(a, 200), 0);
    lose_to_a_call(a, fd, &t);
    pthread_join(t.thread, NULL);
    assert_int_equal(t.code, ALLOT_E_DISCONNECTED);
    while (!is_readable(reached[0], 0)) {
        assert_true(is_readable(fd, DEADLINE_MS));
        assert_int_equal(allot_process(a), 0);
    }
    process_until_quiet(a, fd);
    allot_close(a);
    expect_no_failure();
}

static void again_script(struct fake *f)
{
    fake_begin(f);
    wait_for(go_on);
    fake_hang_up(f);
    fake_accept_again(f);
    fake_welcome(f);
    fake_end(f);
}

/* A child has the old socket still, which stays readable. */
static void test_loop__is_quiet_where_a_child_has_the_lost_socket(void **state)
{
    (void)state;
    fake_start(&fake, again_script);
    struct allot *a = open_session();
    attach_default(a);
    int fd = descriptor(a);
    process_until_quiet(a, fd);
    pid_t pid = fork();
    if (pid == 0) {
        close(fake.fd); /* it is the daemon's */
        pause();
        _exit(0);
    }
    signal_to(go_on);
    assert_int_equal(allot_ping(a), 0);
    process_until_quiet(a, fd);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    allot_close(a);
    expect_no_failure();
}

#define HANG_UPS 100u

/* Some of these come before what is sent again, and some after it. */
static void dying_again_script(struct fake *f)
{
    fake_begin(f);
    fake_receive(f);
    fake_hang_up(f);
    for (unsigned i = 0; i < HANG_UPS; i++) {
        fake_accept_again(f);
        fake_welcome(f);
        fake_hang_up(f);
    }
    fake_accept_again(f);
    fake_welcome(f);
    fake_end(f);
}

static void test_loop__connections_lost_while_asking_again_are_closed(void **state)
{
    (void)state;
    unsigned descriptors = count_descriptors();
    fake_start(&fake, dying_again_script);
    struct allot *a = open_session();
    attach_default(a);
    int fd = descriptor(a);
    assert_int_equal(allot_ping(a), 0);
    process_until_quiet(a, fd);
    allot_close(a);
    expect_no_failure();
    assert_int_equal(count_descriptors(), descriptors);
}

static void watches_script(struct fake *f)
{
    uint64_t id = 0;

    fake_begin(f);
    for (unsigned i = 0; i <= ALLOT_WATCHES_MAX; i++) {
        fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_WATCH);
        id = f->request->number;
        fake_answer(f, id, 1, NULL, &id);
    }
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_UNWATCH &&
                      f->request->n_positions == 1 && f->request->positions[0] == id);
    fake_answer(f, f->request->number, 1, NULL, NULL);
    fake_end(f);
}

static void ignore_event(void *ctx, const struct allot_event *event)
{
    (void)ctx;
    (void)event;
}

/* The daemon has forgotten one, as of a pool that it has no more. */
static void test_loop__a_watch_that_finds_no_place_is_ended(void **state)
{
    uint64_t watch;

    (void)state;
    fake_start(&fake, watches_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    for (unsigned i = 0; i < ALLOT_WATCHES_MAX; i++)
        assert_int_equal(allot_watch(p, NULL, ignore_event, NULL, &watch), 0);
    assert_int_equal(allot_watch(p, NULL, ignore_event, NULL, &watch), ALLOT_E_LIMIT);
    allot_close(a);
    expect_no_failure();
}

#define EVENTS      20000u /* of one watch: two are more than the library keeps */
#define EVENTS_SENT 100u

/* So many of a kind. */
static void tell(struct fake *f, uint64_t watch, Allot__EventKind kind, unsigned n)
{
    Allot__Event events[EVENTS_SENT], *list[EVENTS_SENT];

    for (unsigned told = 0; told < n;) {
        Allot__Reply reply = ALLOT__REPLY__INIT;
        reply.events = list;
        for (; reply.n_events < EVENTS_SENT && told < n; told++) {
            Allot__Event *e = list[reply.n_events] = &events[reply.n_events];
            allot__event__init(e);
            e->watch = watch;
            e->kind = kind;
            reply.n_events++;
        }
        fake_send(f, &reply, -1);
    }
}

/* A request for the state of the watch, or for a new one. */
static uint64_t receive_watch(struct fake *f, uint64_t watch)
{
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_WATCH);
    fake_check(f, f->request->n_positions == (watch != 0));
    fake_check(f, !watch || f->request->positions[0] == watch);
    return f->request->number;
}

static void expect_unwatch(struct fake *f, uint64_t id)
{
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_UNWATCH &&
                      f->request->n_positions == 1 && f->request->positions[0] == id);
}

static void abandoned_script(struct fake *f)
{
    uint64_t lost[3];

    fake_begin(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ATTACH);
    fake_grant_attach(f, f->request->number);
    lost[0] = receive_watch(f, 0); /* the client gives this one up */
    expect_unwatch(f, lost[0]);    /* and this one */
    expect_unwatch(f, lost[0]);
    fake_answer(f, f->request->number, 1, NULL, NULL);
    for (unsigned i = 1; i < 3; i++) {
        lost[i] = receive_watch(f, 0);
        fake_answer(f, lost[i], 1, NULL, &lost[i]);
    }
    expect_unwatch(f, lost[1]); /* and this one, and the other with it */
    for (unsigned i = 1; i < 3; i++) {
        Allot__Error none = i == 1 ? ALLOT__ERROR__E_INVALID : ALLOT__ERROR__E_OK;
        expect_unwatch(f, lost[i]);
        fake_answer(f, f->request->number, 1, &none, NULL);
    }
    fake_answer(f, receive_watch(f, 0), 1, NULL, &lost[0]);
    fake_end(f);
}

/* Else it would be told, and take a place, until the session's end. */
static void test_loop__a_watch_that_was_given_up_is_ended(void **state)
{
    uint64_t watch;

    (void)state;
    fake_start(&fake, abandoned_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    struct allot_pool *other = attach_default(a);
    assert_int_equal(allot_set_timeout(a, 50), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(allot_watch(p, NULL, ignore_event, NULL, &watch), ALLOT_E_TIMEOUT);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(allot_watch(p, NULL, ignore_event, NULL, &watch), 0);
    assert_int_equal(allot_set_timeout(a, 50), 0);
    allot_detach(p);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_watch(other, NULL, ignore_event, NULL, &watch), 0);
    allot_close(a);
    expect_no_failure();
}

#define PINGS 20u

/* With each answer comes another event. */
static void busy_script(struct fake *f)
{
    fake_begin(f);
    uint64_t watch = receive_watch(f, 0);
    fake_answer(f, watch, 1, NULL, &watch);
    for (unsigned i = 0; i < PINGS; i++) {
        fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
        tell(f, watch, ALLOT__EVENT_KIND__EVENT_APPEARED, 1);
        fake_answer(f, f->request->number, 1, NULL, NULL);
    }
    fake_end(f);
}

static struct allot *busy;
static unsigned busy_events;

static void count_and_ping(void *ctx, const struct allot_event *event)
{
    (void)ctx;
    (void)event;
    busy_events++;
    assert_int_equal(allot_ping(busy), 0);
}

static void test_loop__what_comes_meanwhile_is_left_for_the_next_turn(void **state)
{
    uint64_t watch;

    (void)state;
    fake_start(&fake, busy_script);
    busy = open_session();
    struct allot_pool *p = attach_default(busy);
    int fd = descriptor(busy);
    assert_int_equal(allot_watch(p, NULL, count_and_ping, NULL, &watch), 0);
    assert_int_equal(allot_ping(busy), 0);
    for (unsigned turn = 1; turn <= PINGS; turn++) {
        assert_true(is_readable(fd, DEADLINE_MS));
        assert_int_equal(allot_process(busy), 0);
        assert_int_equal(busy_events, turn);
    }
    allot_close(busy);
    expect_no_failure();
}

/* Which of the program's next additions to an epoll fails, as at a user's limit; 0: none. */
static unsigned refused;

/* In place of libc's. */
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    if (op == EPOLL_CTL_ADD && refused && --refused == 0) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
}

static void test_loop__a_descriptor_that_cannot_be_had_can_be_later(void **state)
{
    int fd;

    (void)state;
    fake_start(&fake, again_script);
    struct allot *a = open_session();
    attach_default(a);
    unsigned descriptors = count_descriptors();
    for (unsigned i = 1; i <= 2; i++) {
        refused = i;
        assert_int_equal(allot_fd(a, &fd), ALLOT_E_SYSTEM);
        assert_int_equal(errno, ENOSPC);
        assert_int_equal(count_descriptors(), descriptors);
    }
    fd = descriptor(a);
    process_until_quiet(a, fd);
    signal_to(go_on);
    assert_true(is_readable(fd, DEADLINE_MS));
    assert_int_equal(allot_ping(a), 0);
    allot_close(a);
    expect_no_failure();
}

static void overflow_script(struct fake *f)
{
    uint64_t watches[2];

    fake_begin(f);
    for (unsigned i = 0; i < 2; i++) {
        watches[i] = receive_watch(f, 0);
        fake_answer(f, watches[i], 1, NULL, &watches[i]);
    }
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
    for (unsigned i = 0; i < 2; i++)
        tell(f, watches[i], ALLOT__EVENT_KIND__EVENT_STATE, 1);
    for (unsigned i = 0; i < 2; i++)
        tell(f, watches[i], ALLOT__EVENT_KIND__EVENT_APPEARED, EVENTS);
    for (unsigned i = 0; i < 2; i++)
        tell(f, watches[i], ALLOT__EVENT_KIND__EVENT_COMPLETE, 1);
    fake_answer(f, f->request->number, 1, NULL, NULL);
    receive_watch(f, watches[0]); /* the client gives this one up */
    uint64_t number = receive_watch(f, watches[0]);
    tell(f, watches[0], ALLOT__EVENT_KIND__EVENT_COMPLETE, 1); /* of the state before */
    fake_answer(f, number, 1, NULL, &watches[0]);              /* which may not be read now */
    fake_answer(f, receive_watch(f, watches[1]), 1, NULL, &watches[1]);
    for (unsigned i = 0; i < 2; i++) {
        tell(f, watches[1 - i], ALLOT__EVENT_KIND__EVENT_STATE, 1);
        tell(f, watches[1 - i], ALLOT__EVENT_KIND__EVENT_COMPLETE, 1);
    }
    fake_end(f);
}

static void count_event(void *ctx, const struct allot_event *event)
{
    unsigned *counts = ctx;

    counts[event->kind]++;
}

static void test_loop__what_was_left_out_is_asked_for(void **state)
{
    unsigned counts[2][ALLOT_GONE + 1] = {0};
    uint64_t watch;

    (void)state;
    fake_start(&fake, overflow_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(allot_watch(p, NULL, count_event, counts[i], &watch), 0);
    int fd = descriptor(a);
    assert_int_equal(allot_ping(a), 0);
    assert_int_equal(allot_set_timeout(a, 50), 0);
    assert_int_equal(allot_process(a), 0);
    assert_int_equal(counts[0][ALLOT_APPEARED], EVENTS);
    assert_in_range(counts[1][ALLOT_APPEARED], 1, EVENTS - 1);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_process(a), 0);
    while (!counts[0][ALLOT_COMPLETE] || !counts[1][ALLOT_COMPLETE]) {
        assert_true(is_readable(fd, DEADLINE_MS));
        assert_int_equal(allot_process(a), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(counts[i][ALLOT_STATE], 2);
        assert_int_equal(counts[i][ALLOT_COMPLETE], 1);
    }
    allot_close(a);
    expect_no_failure();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_loop__is_told_that_another_threads_call_ended_the_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loop__connects_where_another_thread_gave_up, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_loop__is_quiet_where_a_child_has_the_lost_socket,
                                        setup, teardown),
        cmocka_unit_test(test_loop__connections_lost_while_asking_again_are_closed),
        cmocka_unit_test(test_loop__a_watch_that_finds_no_place_is_ended),
        cmocka_unit_test_setup_teardown(test_loop__a_descriptor_that_cannot_be_had_can_be_later,
                                        setup, teardown),
        cmocka_unit_test(test_loop__a_watch_that_was_given_up_is_ended),
        cmocka_unit_test(test_loop__what_comes_meanwhile_is_left_for_the_next_turn),
        cmocka_unit_test(test_loop__what_was_left_out_is_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
