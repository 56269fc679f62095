/* SPDX-License-Identifier: MIT */
/* What ends a call without its answer, and a session: the daemon's death or garbage, a fork. */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fake_session.h"

#define NOBODY 65534

/* ---- the daemon ---- */

#define THREADS 4u

/* Dies with as many requests unanswered; the next one gets them again, but for the second, which
 * was answered. */
static void death_script(struct fake *f)
{
    uint64_t first = 0;

    fake_begin(f);
    for (unsigned i = 0; i < THREADS; i++) {
        fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
        if (i == 0)
            first = f->request->number;
    }
    uint64_t attempt = f->request->attempt;
    fake_answer(f, first + 1, 1, NULL, NULL);
    fake_hang_up(f);
    fake_accept_again(f);
    fake_welcome(f);
    for (unsigned i = 0; i < THREADS; i++) {
        if (i == 1)
            continue;
        fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
        fake_check(f, f->request->number == first + i && f->request->attempt > attempt);
        attempt = f->request->attempt;
    }
    fake_check(f, !fake_readable(f));
    for (unsigned i = THREADS; i-- > 0;)
        fake_answer(f, first + i, 1, NULL, NULL);
    fake_end(f);
}

static void test_end__what_waits_is_sent_again_in_order(void **state)
{
    struct pinger threads[THREADS] = {0};

    (void)state;
    fake_start(&fake, death_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(allot_set_timeout(a, -1), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i].a = a;
        pthread_create(&threads[i].thread, NULL, ping_thread, &threads[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        assert_int_equal(threads[i].code, 0);
    }
    assert_int_equal(allot_ping(a), 0);
    assert_int_equal(allot_session_id(a), FAKE_SESSION);
    memset(allot_ptr(p, 16), 1, 100);
    allot_close(a);
    expect_no_failure();
}

static void abandoned_script(struct fake *f)
{
    uint64_t value = 0x1000;

    fake_begin(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ALLOC);
    uint64_t number = f->request->number;
    fake_check(f, fake_receive(f) && f->request->number == number + 1);
    fake_hang_up(f);
    fake_accept_again(f);
    fake_welcome(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
    fake_check(f, f->request->number == number);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ALLOC);
    fake_check(f, f->request->number == number + 1 && f->request->sizes[0] == 200);
    fake_answer(f, number, 1, NULL, NULL);
    fake_answer(f, number + 1, 1, NULL, &value);
    fake_end(f);
}

static void test_end__a_number_that_nobody_waits_for_is_used_up_by_a_ping(void **state)
{
    uint64_t offset = 1;

    (void)state;
    fake_start(&fake, abandoned_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(allot_set_timeout(a, 20), 0);
    assert_int_equal(allot_alloc(p, 100, NULL, &offset), ALLOT_E_TIMEOUT);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_alloc(p, 200, NULL, &offset), 0);
    assert_int_equal(offset, 0x1000);
    allot_close(a);
    expect_no_failure();
}

static void refuse_again_script(struct fake *f)
{
    Allot__Reply refusal = ALLOT__REPLY__INIT;
    uint64_t value = 0x1000;

    fake_begin(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ALLOC);
    refusal.number = f->request->number;
    refusal.attempt = f->request->attempt;
    refusal.refused = ALLOT__ERROR__E_UNKNOWN;
    fake_send(f, &refusal, -1);
    fake_check(f, fake_receive(f) && f->request->number == refusal.number);
    fake_check(f, f->request->attempt > refusal.attempt);
    fake_send(f, &refusal, -1); /* as one that died after it had answered, and before it consumed */
    fake_answer(f, refusal.number, 1, NULL, &value);
    fake_end(f);
}

static void test_end__a_refusal_that_comes_twice_counts_once(void **state)
{
    uint64_t offset = 1;

    (void)state;
    fake_start(&fake, refuse_again_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(allot_alloc(p, 100, NULL, &offset), ALLOT_E_UNKNOWN);
    assert_int_equal(allot_alloc(p, 200, NULL, &offset), 0);
    assert_int_equal(offset, 0x1000);
    allot_close(a);
    expect_no_failure();
}

static void leaving_script(struct fake *f)
{
    fake_begin(f);
    close(f->listener);
    f->listener = -1;
    fake_hang_up(f);
}

static void test_end__a_daemon_gone_for_good_is_told_in_time(void **state)
{
    (void)state;
    fake_start(&fake, leaving_script);
    struct allot *a = open_session();
    attach_default(a);
    expect_no_failure(); /* the script has ended, the connection with it */
    assert_int_equal(allot_set_timeout(a, 50), 0);
    assert_int_equal(allot_ping(a), ALLOT_E_DISCONNECTED);
    assert_int_equal(allot_ping(a), ALLOT_E_DISCONNECTED);
    allot_close(a);
}

/* Gone, and back without a word until the client gives up; then as ever. */
static void fall_silent(struct fake *f)
{
    fake_hang_up(f);
    fake_accept_again(f);
    fake_check(f, !fake_receive(f));
    fake_hang_up(f);
    fake_accept_again(f);
    fake_welcome(f);
}

static void silent_script(struct fake *f)
{
    fake_begin(f);
    fall_silent(f);
    fake_end(f);
}

static void test_end__after_a_daemon_that_says_nothing_the_next_call_tries_again(void **state)
{
    (void)state;
    fake_start(&fake, silent_script);
    struct allot *a = open_session();
    attach_default(a);
    assert_int_equal(allot_set_timeout(a, 50), 0);
    assert_int_equal(allot_ping(a), ALLOT_E_DISCONNECTED);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_ping(a), 0);
    allot_close(a);
    expect_no_failure();
}

static void barred_script(struct fake *f)
{
    fake_begin(f);
    fake_check(f, chmod(f->path, 0) == 0);
    fake_hang_up(f);
    fake_accept_again(f);
    fake_welcome(f);
    fake_end(f);
}

/* As by systemd, which makes a socket its group's only some time after it listens. */
static void test_end__a_socket_of_nobodys_yet_is_waited_for(void **state)
{
    bool is_root = geteuid() == 0;

    (void)state;
    if (is_root)
        assert_int_equal(seteuid(NOBODY), 0); /* root is not held up by a mode */
    fake_start(&fake, barred_script);
    struct allot *a = open_session();
    attach_default(a);
    assert_int_equal(allot_set_timeout(a, 50), 0);
    assert_int_equal(allot_ping(a), ALLOT_E_DISCONNECTED);
    assert_int_equal(chmod(fake.path, 0600), 0);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_ping(a), 0);
    allot_close(a);
    expect_no_failure();
    if (is_root)
        assert_int_equal(seteuid(0), 0);
}

static void deaf_script(struct fake *f)
{
    fake_begin(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
    fake_hang_up(f);
    fake_accept_again(f);
    int deaf = f->fd;
    fake_check(f, shutdown(deaf, SHUT_RD) == 0);
    fake_welcome(f);
    fake_accept_again(f);
    fake_check(f, send(deaf, "", 1, MSG_NOSIGNAL) < 0); /* the client has closed it */
    close(deaf);
    fake_welcome(f);
    fake_end(f);
}

static void test_end__a_connection_lost_again_at_once_is_closed(void **state)
{
    (void)state;
    fake_start(&fake, deaf_script);
    struct allot *a = open_session();
    attach_default(a);
    assert_int_equal(allot_ping(a), 0);
    allot_close(a);
    expect_no_failure();
}

static void dying_at_hello_script(struct fake *f)
{
    for (unsigned i = 0; i < 3; i++) {
        fake_accept(f);
        fake_check(f, f->request && f->request->session == 0);
        fake_hang_up(f);
    }
    fake_begin(f);
    fake_end(f);
}

static void test_end__a_daemon_that_dies_over_a_first_hello_is_not_the_last(void **state)
{
    (void)state;
    fake_start(&fake, dying_at_hello_script);
    struct allot *a = open_session();
    attach_default(a);
    allot_close(a);
    expect_no_failure();
}

static void unanswered_free_script(struct fake *f)
{
    Allot__Error gone = ALLOT__ERROR__E_NOT_ALLOCATED;

    fake_begin(f);
    grant_one(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_FREE);
    fall_silent(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
    fake_answer(f, f->request->number, 1, NULL, NULL);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ACQUIRE);
    fake_answer(f, f->request->number, 1, &gone, NULL);
    fake_end(f);
}

/* The free may have been carried out: only the daemon knows. */
static void test_end__a_free_that_was_not_answered_is_not_taken_for_none(void **state)
{
    struct allot_ticket t;
    uint64_t offset;

    (void)state;
    fake_start(&fake, unanswered_free_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(allot_alloc(p, 100, NULL, &offset), 0);
    assert_int_equal(allot_ticket(p, offset, &t), 0);
    assert_int_equal(allot_set_timeout(a, 50), 0);
    assert_int_equal(allot_free(p, offset), ALLOT_E_DISCONNECTED);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_acquire(p, &t, &offset, NULL), ALLOT_E_NOT_ALLOCATED);
    allot_close(a);
    expect_no_failure();
}

static void unanswered_move_script(struct fake *f)
{
    Allot__Error full = ALLOT__ERROR__E_NO_MEMORY;
    uint64_t fresh = 0x1000;

    fake_begin(f);
    grant_one(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_RESIZE);
    fake_answer(f, f->request->number, 1, &full, NULL);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ALLOC);
    fake_answer(f, f->request->number, 1, NULL, &fresh);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_FREE);
    fall_silent(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
    fake_answer(f, f->request->number, 1, NULL, NULL);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ALLOC);
    fake_answer(f, f->request->number, 1, NULL, NULL);
    fake_end(f);
}

/* The old place may be free: the new one is the only copy. */
static void test_end__a_move_that_was_not_answered_keeps_the_copy(void **state)
{
    uint64_t offset;

    (void)state;
    fake_start(&fake, unanswered_move_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(allot_alloc(p, 100, NULL, &offset), 0);
    assert_int_equal(allot_set_timeout(a, 50), 0);
    assert_int_equal(allot_realloc(p, offset, 100, 200, NULL, &offset), ALLOT_E_DISCONNECTED);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_alloc(p, 100, NULL, &offset), 0);
    allot_close(a);
    expect_no_failure();
}

static int visit_pool(void *ctx, const struct allot_pool_info *info)
{
    (void)ctx;
    (void)info;
    return 0;
}

static int visit_tag(void *ctx, const struct allot_tag_info *info)
{
    (void)ctx;
    (void)info;
    return 0;
}

static int visit_session(void *ctx, const struct allot_session_info *info)
{
    (void)ctx;
    (void)info;
    return 0;
}

static int visit_name(void *ctx, const struct allot_name_info *info)
{
    (void)ctx;
    (void)info;
    return 0;
}

static void told(void *ctx, const struct allot_event *event)
{
    (void)ctx;
    (void)event;
}

/* Every call that can fail, on a session that is at its end for this process. 0, or which of them
 * does not say `code`. */
static unsigned differs(struct allot *a, struct allot_pool *p, struct allot_ticket t, int code)
{
    struct allot_pool *pool;
    uint64_t number = HELD;
    int fd;
    const int codes[] = {
        allot_ping(a),
        allot_set_timeout(a, 1000),
        allot_attach(a, NULL, ALLOT_READ, &pool),
        allot_add_memory(p, 1, &number),
        allot_alloc(p, 1, NULL, &number),
        allot_realloc(p, HELD, 100, 200, NULL, &number),
        allot_usable_size(p, HELD, &number),
        allot_free(p, HELD),
        allot_free_sized(p, HELD, 100),
        allot_alloc_batch(p, 1, &number, NULL, &number, NULL),
        allot_free_batch(p, 1, &number, NULL),
        allot_alloc_pages(p, 1, NULL, &number),
        allot_alloc_pages_at(p, 4096, 1, NULL),
        allot_free_pages(p, 4096, 1),
        allot_alloc_ids(p, 1, NULL, &number),
        allot_alloc_ids_at(p, 1, 1, NULL),
        allot_free_ids(p, 1, 1),
        allot_ticket(p, HELD, &t),
        allot_id_ticket(p, 1, &t),
        allot_acquire(p, &t, &number, NULL),
        allot_release(p, &t),
        allot_send(p, &t, 0, 1000),
        allot_freeze(p, &t),
        allot_publish(p, "name", &t, 0),
        allot_lookup(p, "name", NULL, NULL, NULL),
        allot_unpublish(p, "name"),
        allot_list_names(p, NULL, visit_name, NULL),
        allot_watch(p, NULL, told, NULL, &number),
        allot_fd(a, &fd),
        allot_process(a),
        allot_list_pools(a, visit_pool, NULL),
        allot_list_tags(a, 1, visit_tag, NULL),
        allot_list_sessions(a, visit_session, NULL),
    };

    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i] != code || number != HELD)
            return i + 1;
    return 0;
}

/* Its first answers are such that another try may mend it. */
static void full_script(struct fake *f)
{
    fake_begin(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ATTACH);
    fake_grant_attach(f, f->request->number);
    grant_one(f);
    fake_hang_up(f);
    fake_accept_again(f);
    fake_refuse(f, 0, ALLOT__ERROR__E_LIMIT);
    fake_hang_up(f);
    fake_accept_again(f);
    fake_refuse(f, 0, ALLOT__ERROR__E_SESSION);
    fake_hang_up(f);
}

static void test_end__a_daemon_that_lost_the_session_ends_it(void **state)
{
    (void)state;
    fake_start(&fake, full_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    struct allot_pool *reading;
    assert_int_equal(allot_attach(a, NULL, ALLOT_READ, &reading), 0);
    struct allot_ticket t = hold_one(p);
    strcpy(allot_ptr(p, HELD), "kept");
    assert_int_equal(allot_ping(a), ALLOT_E_POOL_GONE);
    assert_int_equal(differs(a, p, t, ALLOT_E_POOL_GONE), 0);
    assert_int_equal(differs(a, reading, t, ALLOT_E_POOL_GONE), 0);
    assert_string_equal(allot_ptr(p, HELD), "kept");
    allot_close(a);
    expect_no_failure();
}

static void long_script(struct fake *f)
{
    static const char frame[CODEC_FRAME_MAX + 1];

    fake_begin(f);
    fake_receive(f);
    fake_check(f, send(f->fd, frame, sizeof(frame), MSG_NOSIGNAL) == sizeof(frame));
    fake_check(f, !fake_receive(f));
}

static void test_end__a_cut_answer_ends_the_session(void **state)
{
    (void)state;
    fake_start(&fake, long_script);
    struct allot *a = open_session();
    attach_default(a);
    assert_int_equal(allot_ping(a), ALLOT_E_FRAME_SIZE);
    assert_int_equal(allot_ping(a), ALLOT_E_FRAME_SIZE);
    allot_close(a);
    expect_no_failure();
}

static void garbage_script(struct fake *f)
{
    uint64_t values[] = {1, 2};
    Allot__Reply reply = ALLOT__REPLY__INIT;

    fake_begin(f);
    fake_receive(f);
    reply.number = f->request->number;
    reply.count = 1; /* and two values */
    reply.values = values;
    reply.n_values = 2;
    fake_send(f, &reply, -1);
    fake_check(f, !fake_receive(f));
}

static void test_end__columns_of_the_wrong_length_end_the_session(void **state)
{
    (void)state;
    fake_start(&fake, garbage_script);
    struct allot *a = open_session();
    attach_default(a);
    assert_int_equal(allot_ping(a), ALLOT_E_MALFORMED);
    assert_int_equal(allot_ping(a), ALLOT_E_MALFORMED);
    allot_close(a);
    expect_no_failure();
}

/* ---- fork ---- */

static void fork_script(struct fake *f)
{
    fake_begin(f);
    grant_one(f);
    for (int i = 0; i < 2; i++) {
        int parent = f->fd;
        fake_hello(f);
        fake_end(f);
        f->fd = parent;
    }
    fake_end(f);
}

/* In a child: which of the promises does not hold, 0 when all do. `page` is of the parent's
 * mapping. */
static int child(struct allot *a, struct allot_pool *p, struct allot_ticket t, void *page,
                 int poll_fd)
{
    struct allot *own = NULL;
    int fds[2];

    unsigned which = differs(a, p, t, ALLOT_E_FORKED);
    if (which)
        return 10 + (int)which;
    if (allot_ptr(p, HELD) || allot_const_ptr(p, HELD) || allot_offset(p, page))
        return 2;
    if (msync(page, 4096, MS_ASYNC) == 0)
        return 6; /* something is mapped there */
    if (allot_open(&own, fake.path) != 0 || allot_ping(own) != 0)
        return 3;
    if (allot_ping(a) != ALLOT_E_FORKED || allot_ptr(p, HELD))
        return 4;
    if (dup2(STDERR_FILENO, poll_fd) != poll_fd)
        return 7;
    allot_detach(p);
    allot_close(a);
    if (fcntl(poll_fd, F_GETFD) < 0)
        return 8; /* it is the child's by now */
    if (pipe(fds) < 0 || allot_ping(own) != 0 || write(fds[1], "x", 1) != 1)
        return 5;
    allot_close(own);
    return 0;
}

static void expect_child_is_content(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_end__a_child_has_no_session_but_can_open_one(void **state)
{
    (void)state;
    fake_start(&fake, fork_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    struct allot_ticket t = hold_one(p);
    void *page = allot_ptr(p, 4096);
    int poll_fd;
    assert_int_equal(allot_fd(a, &poll_fd), 0);
    strcpy(allot_ptr(p, HELD), "kept");

    pid_t pid = fork();
    if (pid == 0)
        _exit(child(a, p, t, page, poll_fd));
    expect_child_is_content(pid);

    pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(child(a, p, t, page, poll_fd));
    expect_child_is_content(pid);

    assert_int_equal(allot_ping(a), 0);
    assert_string_equal(allot_ptr(p, HELD), "kept");
    allot_close(a);
    expect_no_failure();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end__what_waits_is_sent_again_in_order),
        cmocka_unit_test(test_end__a_number_that_nobody_waits_for_is_used_up_by_a_ping),
        cmocka_unit_test(test_end__a_refusal_that_comes_twice_counts_once),
        cmocka_unit_test(test_end__a_daemon_gone_for_good_is_told_in_time),
        cmocka_unit_test(test_end__after_a_daemon_that_says_nothing_the_next_call_tries_again),
        cmocka_unit_test(test_end__a_socket_of_nobodys_yet_is_waited_for),
        cmocka_unit_test(test_end__a_connection_lost_again_at_once_is_closed),
        cmocka_unit_test(test_end__a_daemon_that_dies_over_a_first_hello_is_not_the_last),
        cmocka_unit_test(test_end__a_free_that_was_not_answered_is_not_taken_for_none),
        cmocka_unit_test(test_end__a_move_that_was_not_answered_keeps_the_copy),
        cmocka_unit_test(test_end__a_daemon_that_lost_the_session_ends_it),
        cmocka_unit_test(test_end__a_cut_answer_ends_the_session),
        cmocka_unit_test(test_end__columns_of_the_wrong_length_end_the_session),
        cmocka_unit_test(test_end__a_child_has_no_session_but_can_open_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
