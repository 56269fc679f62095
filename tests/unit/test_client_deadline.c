/* SPDX-License-Identifier: MIT */
/* What ends a call without its answer: the deadline, which nothing moves once the call has begun.
 */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <time.h>

#include "fake_session.h"

static void late_script(struct fake *f)
{
    uint64_t first, value = 0x1000, wrong = 0x2000;

    fake_begin(f);
    fake_receive(f);
    first = f->request->number; /* the client gives this one up */
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ATTACH);
    uint64_t attach = f->request->number; /* and this one */
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ALLOC);
    fake_answer(f, first, 1, NULL, &wrong);
    fake_grant_attach(f, attach);
    fake_answer(f, first, 1, NULL, &wrong);
    fake_answer(f, f->request->number, 1, NULL, &value);
    fake_end(f);
}

static void test_deadline__drops_answers_that_come_too_late(void **state)
{
    struct allot_pool *late = NULL;
    uint64_t offset = 1;

    (void)state;
    fake_start(&fake, late_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    unsigned descriptors = count_descriptors();
    assert_int_equal(allot_set_timeout(a, 20), 0);
    assert_int_equal(allot_alloc(p, 100, NULL, &offset), ALLOT_E_TIMEOUT);
    assert_int_equal(offset, 1);
    assert_int_equal(allot_attach(a, "other", ALLOT_WRITE, &late), ALLOT_E_TIMEOUT);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_alloc(p, 100, NULL, &offset), 0);
    assert_int_equal(offset, 0x1000);
    assert_int_equal(count_descriptors(), descriptors);
    allot_close(a);
    expect_no_failure();
}

static atomic_uint signals;

/* Ends by itself, so that a wait which each signal begins anew ends too. */
#define SIGNALS_MAX 2000

static void on_signal(int number)
{
    static const struct itimerval none;

    (void)number;
    if (atomic_fetch_add(&signals, 1) == SIGNALS_MAX)
        setitimer(ITIMER_REAL, &none, NULL);
}

/* A signal each 5 ms, without SA_RESTART. */
static void start_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct itimerval every = {{0, 5000}, {0, 5000}};

    atomic_store(&signals, 0);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

static void stop_signals(void)
{
    struct itimerval none = {0};

    setitimer(ITIMER_REAL, &none, NULL);
    signal(SIGALRM, SIG_DFL);
}

static void signals_script(struct fake *f)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    fake_begin(f);
    fake_receive(f);
    uint64_t silent = f->request->number; /* given up; answered when the next came */
    fake_receive(f);
    unsigned before = atomic_load(&signals);
    while (atomic_load(&signals) < before + 3)
        sched_yield();
    fake_answer(f, silent, 2, NULL, NULL);
    fake_end(f);
}

static void test_deadline__a_signal_neither_breaks_nor_lengthens_it(void **state)
{
    struct timespec before, after;

    (void)state;
    fake_start(&fake, signals_script);
    struct allot *a = open_session();
    attach_default(a);
    start_signals();
    assert_int_equal(allot_set_timeout(a, 100), 0);
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(allot_ping(a), ALLOT_E_TIMEOUT);
    clock_gettime(CLOCK_MONOTONIC, &after);
    long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    assert_true(ms >= 100);
    assert_true(atomic_load(&signals) < SIGNALS_MAX); /* it ended before they did */
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_ping(a), 0);
    stop_signals();
    allot_close(a);
    expect_no_failure();
}

static atomic_bool is_held; /* the fake has a request and does not answer it yet */

static void held_ping_script(struct fake *f)
{
    fake_begin(f);
    fake_receive(f);
    uint64_t held = f->request->number;
    is_held = true;
    fake_receive(f);
    fake_answer(f, held, 2, NULL, NULL);
    fake_end(f);
}

static void test_deadline__a_longer_timeout_does_not_lengthen_a_call_in_progress(void **state)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct pinger waiting = {0};
    struct timespec patience;

    (void)state;
    is_held = false;
    fake_start(&fake, held_ping_script);
    struct allot *a = open_session();
    attach_default(a);
    assert_int_equal(allot_set_timeout(a, 1000), 0);
    waiting.a = a;
    assert_int_equal(pthread_create(&waiting.thread, NULL, ping_thread, &waiting), 0);
    while (!is_held)
        sched_yield();
    sigaction(SIGALRM, &action, NULL);
    assert_int_equal(allot_set_timeout(a, -1), 0);
    pthread_kill(waiting.thread, SIGALRM); /* a receive that has begun begins anew */
    clock_gettime(CLOCK_REALTIME, &patience);
    patience.tv_sec += 20;
    int late = pthread_timedjoin_np(waiting.thread, NULL, &patience);
    assert_int_equal(allot_ping(a), 0);
    if (late)
        pthread_join(waiting.thread, NULL);
    signal(SIGALRM, SIG_DFL);
    assert_int_equal(late, 0);
    assert_int_equal(waiting.code, ALLOT_E_TIMEOUT);
    allot_close(a);
    expect_no_failure();
}

/* Of the pool, whose number is 1: a block at 16. */
static const struct allot_ticket foreign = {UINT64_C(1) << 56 | UINT64_C(1) << 48 | 16, 1};

static void held_acquire_script(struct fake *f)
{
    uint64_t sizes[] = {100, 0};

    fake_begin(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ACQUIRE);
    uint64_t held = f->request->number;
    is_held = true;
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
    fake_answer(f, held, 2, NULL, sizes);
    fake_end(f);
}

static int acquire(struct allot_pool *p)
{
    uint64_t offset;

    return allot_acquire(p, &foreign, &offset, NULL);
}

static void *acquire_thread(void *ctx)
{
    return (void *)(intptr_t)acquire(ctx);
}

static void test_deadline__who_waits_for_another_threads_answer_has_a_deadline_too(void **state)
{
    pthread_t waiting;
    void *code;

    (void)state;
    is_held = false;
    fake_start(&fake, held_acquire_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(allot_set_timeout(a, -1), 0);
    assert_int_equal(pthread_create(&waiting, NULL, acquire_thread, p), 0);
    while (!is_held)
        sched_yield();
    assert_int_equal(allot_set_timeout(a, 50), 0);
    assert_int_equal(acquire(p), ALLOT_E_TIMEOUT);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_ping(a), 0);
    assert_int_equal(pthread_join(waiting, &code), 0);
    assert_int_equal((intptr_t)code, 0);
    assert_int_equal(acquire(p), 0);
    allot_close(a);
    expect_no_failure();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadline__drops_answers_that_come_too_late),
        cmocka_unit_test(test_deadline__a_signal_neither_breaks_nor_lengthens_it),
        cmocka_unit_test(test_deadline__a_longer_timeout_does_not_lengthen_a_call_in_progress),
        cmocka_unit_test(test_deadline__who_waits_for_another_threads_answer_has_a_deadline_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
