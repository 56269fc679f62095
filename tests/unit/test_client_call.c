/* SPDX-License-Identifier: MIT */
/*
 * The client's calls against a daemon that misbehaves on purpose: whose answer goes to whom, what
 * time-outs, signals, refusals, deaths and forks leave behind.
 */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "allot.h"
#include "fake_daemon.h"
#include "support.h"

static struct fake fake;

static void expect_no_failure(void)
{
    const char *failure = fake_stop(&fake);

    if (failure)
        fail_msg("the fake daemon saw: %s", failure);
}

static struct allot *open_session(void)
{
    struct allot *a = NULL;

    assert_int_equal(allot_open(&a, fake.path), 0);
    return a;
}

static struct allot_pool *attach_default(struct allot *a)
{
    struct allot_pool *p = NULL;

    assert_int_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    return p;
}

/* What the fake grants for a size, so that an answer tells which request it belongs to. */
static uint64_t grant_for(uint64_t size)
{
    return size * 16;
}

/* ---- groups ---- */

#define GROUP_THREADS 8
#define GROUP_ROUNDS  300

struct operation {
    uint64_t number, value;
    Allot__Error error;
};

/* Answers for a run of numbers, at a random length, in any order of runs, and some of them again.
 */
static void answer_in_groups(struct fake *f, struct test_random *r, const struct operation *ops,
                             size_t n)
{
    Allot__Error errors[CODEC_INFLIGHT_MAX];
    uint64_t values[CODEC_INFLIGHT_MAX];
    size_t starts[CODEC_INFLIGHT_MAX + 1], order[CODEC_INFLIGHT_MAX], groups = 0;

    for (size_t at = 0; at < n; groups++) {
        starts[groups] = at;
        order[groups] = groups;
        at += 1 + (size_t)test_random_below(r, n - at);
    }
    starts[groups] = n;
    for (size_t i = groups; i > 1; i--) {
        size_t j = (size_t)test_random_below(r, i), swapped = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swapped;
    }
    for (size_t g = 0; g < groups; g++) {
        size_t first = starts[order[g]], count = starts[order[g] + 1] - first;
        for (size_t i = 0; i < count; i++) {
            errors[i] = ops[first + i].error;
            values[i] = ops[first + i].value;
        }
        fake_answer(f, ops[first].number, (uint32_t)count, errors, values);
        if (test_random_below(r, 4) == 0) {
            memset(values, 0xee, count * sizeof(*values));
            fake_answer(f, ops[first].number, (uint32_t)count, NULL, values);
        }
    }
}

/* `pause_ms`: a daemon that now and then is busy for so long. */
static void serve_in_groups(struct fake *f, int pause_ms)
{
    struct operation ops[CODEC_INFLIGHT_MAX];
    struct test_random r;
    uint64_t expected = 2;
    size_t n = 0;
    bool goes_on = true;

    test_random_init(&r, test_seed(11));
    fake_begin(f);
    while (goes_on && !f->failure) {
        if (n > 0 && !fake_readable(f)) {
            if (pause_ms && test_random_below(&r, 16) == 0)
                poll(NULL, 0, pause_ms);
            answer_in_groups(f, &r, ops, n);
            n = 0;
        }
        if (!fake_receive(f))
            break;
        goes_on = f->request->op != ALLOT__OP__OP_GOODBYE;
        fake_check(f, f->request->number == expected);
        size_t count = f->request->n_sizes ? f->request->n_sizes : 1;
        fake_check(f, n + count <= CODEC_INFLIGHT_MAX);
        for (size_t i = 0; i < count && n < CODEC_INFLIGHT_MAX; i++, n++) {
            uint64_t size = f->request->n_sizes ? f->request->sizes[i] : 0;
            ops[n].number = expected++;
            ops[n].error = size % 7 == 3 ? ALLOT__ERROR__E_NO_MEMORY : ALLOT__ERROR__E_OK;
            ops[n].value = grant_for(size);
        }
    }
    for (size_t i = 0; i < n; i++) /* the last is goodbye: after it nobody listens */
        fake_answer(f, ops[i].number, 1, NULL, &ops[i].value);
}

static void groups_script(struct fake *f)
{
    serve_in_groups(f, 0);
}

static void slow_script(struct fake *f)
{
    serve_in_groups(f, 8);
}

struct group_thread {
    pthread_t thread;
    struct allot_pool *pool;
    uint64_t seed;
    bool may_time_out;
    unsigned wrong, timed_out;
};

static bool is_granted(uint64_t size, int code, uint64_t offset)
{
    return size % 7 == 3 ? code == ALLOT_E_NO_MEMORY : code == 0 && offset == grant_for(size);
}

static void *group_thread(void *ctx)
{
    struct group_thread *t = ctx;
    struct test_random r;
    uint64_t sizes[ALLOT_BATCH_MAX], offsets[ALLOT_BATCH_MAX];
    int codes[ALLOT_BATCH_MAX];

    test_random_init(&r, t->seed);
    for (int i = 0; i < GROUP_ROUNDS; i++) {
        size_t n = test_random_below(&r, 3) ? 1 : 1 + (size_t)test_random_below(&r, 256);
        for (size_t k = 0; k < n; k++)
            sizes[k] = 1 + test_random_below(&r, 1u << 20);
        int code = n == 1 ? allot_alloc(t->pool, sizes[0], NULL, &offsets[0])
                          : allot_alloc_batch(t->pool, n, sizes, NULL, offsets, codes);
        if (t->may_time_out && code == ALLOT_E_TIMEOUT) {
            t->timed_out++;
            continue;
        }
        if (n == 1)
            codes[0] = code;
        for (size_t k = 0; k < n; k++)
            t->wrong += !is_granted(sizes[k], codes[k], offsets[k]);
        if (n == 1 && codes[0])
            t->wrong += allot_last_limit() != grant_for(sizes[0]);
    }
    return NULL;
}

/* Returns how many calls timed out. */
static unsigned run_group_threads(struct allot_pool *p, bool may_time_out)
{
    struct group_thread threads[GROUP_THREADS] = {0};
    unsigned wrong = 0, timed_out = 0;

    for (unsigned i = 0; i < GROUP_THREADS; i++) {
        threads[i].pool = p;
        threads[i].seed = test_seed(11) + i;
        threads[i].may_time_out = may_time_out;
        assert_int_equal(pthread_create(&threads[i].thread, NULL, group_thread, &threads[i]), 0);
    }
    for (unsigned i = 0; i < GROUP_THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        wrong += threads[i].wrong;
        timed_out += threads[i].timed_out;
    }
    if (wrong)
        test_seed_print(test_seed(11));
    assert_int_equal(wrong, 0);
    return timed_out;
}

static void test_call__answers_reach_their_requests_however_grouped(void **state)
{
    (void)state;
    fake_start(&fake, groups_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    run_group_threads(p, false);
    allot_close(a);
    expect_no_failure();
}

static void test_call__threads_that_give_up_disturb_no_other(void **state)
{
    uint64_t offset;

    (void)state;
    fake_start(&fake, slow_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(allot_set_timeout(a, 4), 0);
    unsigned timed_out = run_group_threads(p, true);
    assert_in_range(timed_out, 1, GROUP_THREADS * GROUP_ROUNDS - 1);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_alloc(p, 100, NULL, &offset), 0);
    assert_int_equal(offset, grant_for(100));
    allot_close(a);
    expect_no_failure();
}

/* ---- time ---- */

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

static unsigned count_descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void test_call__drops_answers_that_come_too_late(void **state)
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

/* Ends by itself, so that a wait which each signal begins anew ends too, far too late. */
#define SIGNALS_MAX 600

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

static void test_call__a_signal_neither_breaks_nor_lengthens_it(void **state)
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
    assert_in_range(ms, 100, 1500); /* SIGNALS_MAX of them take 3000 */
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_ping(a), 0);
    stop_signals();
    allot_close(a);
    expect_no_failure();
}

/* ---- ends ---- */

struct pinger {
    pthread_t thread;
    struct allot *a;
    int code;
};

static void *ping_thread(void *ctx)
{
    struct pinger *t = ctx;

    t->code = allot_ping(t->a);
    return NULL;
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

static void test_call__a_longer_timeout_does_not_lengthen_a_call_in_progress(void **state)
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

#define DYING_THREADS 4

static void death_script(struct fake *f)
{
    fake_begin(f);
    for (int i = 0; i < DYING_THREADS; i++)
        fake_check(f, fake_receive(f) != NULL);
    close(f->fd);
    f->fd = -1;
}

static void test_call__all_waiters_hear_of_the_daemons_death(void **state)
{
    struct pinger threads[DYING_THREADS] = {0};

    (void)state;
    fake_start(&fake, death_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(allot_set_timeout(a, -1), 0);
    for (unsigned i = 0; i < DYING_THREADS; i++) {
        threads[i].a = a;
        pthread_create(&threads[i].thread, NULL, ping_thread, &threads[i]);
    }
    for (unsigned i = 0; i < DYING_THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        assert_int_equal(threads[i].code, ALLOT_E_DISCONNECTED);
    }
    assert_int_equal(allot_ping(a), ALLOT_E_DISCONNECTED);
    memset(allot_ptr(p, 16), 1, 100);
    allot_close(a);
    expect_no_failure();
}

static void leaving_script(struct fake *f)
{
    fake_begin(f);
    close(f->fd);
    f->fd = -1;
}

static void test_call__a_daemon_gone_while_idle_raises_no_signal(void **state)
{
    (void)state;
    fake_start(&fake, leaving_script);
    struct allot *a = open_session();
    attach_default(a);
    expect_no_failure(); /* the script has ended, the connection with it */
    assert_int_equal(allot_ping(a), ALLOT_E_DISCONNECTED);
    assert_int_equal(allot_ping(a), ALLOT_E_DISCONNECTED);
    allot_close(a);
}

static void long_script(struct fake *f)
{
    static const char frame[CODEC_FRAME_MAX + 1];

    fake_begin(f);
    fake_receive(f);
    fake_check(f, send(f->fd, frame, sizeof(frame), MSG_NOSIGNAL) == sizeof(frame));
    fake_check(f, !fake_receive(f));
}

static void test_call__a_cut_answer_ends_the_session(void **state)
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

static void test_call__columns_of_the_wrong_length_end_the_session(void **state)
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

/* ---- refusals ---- */

static void refuse_script(struct fake *f)
{
    fake_begin(f);
    fake_receive(f);
    uint64_t number = f->request->number;
    fake_refuse(f, number, ALLOT__ERROR__E_UNKNOWN);
    fake_check(f, fake_receive(f) && f->request->number == number);
    fake_refuse(f, 0, ALLOT__ERROR__E_MALFORMED);
    fake_check(f, fake_receive(f) && f->request->number == number);
    fake_answer(f, number, 1, NULL, NULL);
    fake_check(f, fake_receive(f) && f->request->number == number + 1);
    fake_answer(f, number + 1, 1, NULL, NULL);
    fake_end(f);
}

static void test_call__a_refused_request_takes_no_number(void **state)
{
    (void)state;
    fake_start(&fake, refuse_script);
    struct allot *a = open_session();
    attach_default(a);
    assert_int_equal(allot_ping(a), ALLOT_E_UNKNOWN);
    assert_int_equal(allot_ping(a), ALLOT_E_MALFORMED);
    assert_int_equal(allot_ping(a), 0);
    assert_int_equal(allot_ping(a), 0);
    allot_close(a);
    expect_no_failure();
}

static void refuse_first_script(struct fake *f)
{
    fake_begin(f);
    fake_receive(f);
    uint64_t number = f->request->number;
    fake_check(f, fake_receive(f) && f->request->number == number + 1);
    fake_refuse(f, number, ALLOT__ERROR__E_UNKNOWN);
    fake_refuse(f, number + 1, ALLOT__ERROR__E_SEQUENCE);
    fake_check(f, !fake_receive(f));
}

static void test_call__a_refusal_with_others_behind_ends_the_session(void **state)
{
    struct pinger threads[2] = {0};

    (void)state;
    fake_start(&fake, refuse_first_script);
    struct allot *a = open_session();
    attach_default(a);
    for (unsigned i = 0; i < 2; i++) {
        threads[i].a = a;
        pthread_create(&threads[i].thread, NULL, ping_thread, &threads[i]);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i].thread, NULL);
    int first = threads[0].code, second = threads[1].code;
    assert_true((first == ALLOT_E_UNKNOWN && second == ALLOT_E_SEQUENCE) ||
                (first == ALLOT_E_SEQUENCE && second == ALLOT_E_UNKNOWN));
    assert_int_equal(allot_ping(a), ALLOT_E_SEQUENCE);
    allot_close(a);
    expect_no_failure();
}

/* ---- a full socket ---- */

#define FULL_THREADS 40
#define FULL_NAME    15000

struct attacher {
    pthread_t thread;
    struct allot *a;
    int code;
};

static void *attach_thread(void *ctx)
{
    struct attacher *t = ctx;
    struct allot_pool *p = NULL;
    char name[FULL_NAME + 1];

    memset(name, 'x', FULL_NAME);
    name[FULL_NAME] = 0;
    t->code = allot_attach(t->a, name, ALLOT_READ, &p);
    return NULL;
}

/* Reads nothing before half of what a socket holds is there: all names do not fit. */
static void full_script(struct fake *f)
{
    Allot__Error error = ALLOT__ERROR__E_NO_POOL;
    int waiting = 0;

    fake_hello(f);
    while (waiting < 150000 && ioctl(f->fd, FIONREAD, &waiting) == 0)
        sched_yield();
    for (int i = 0; i < FULL_THREADS; i++) {
        fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ATTACH);
        fake_answer(f, f->request->number, 1, &error, NULL);
    }
    fake_end(f);
}

static void test_call__waits_for_room_in_the_socket(void **state)
{
    struct attacher threads[FULL_THREADS] = {0};

    (void)state;
    fake_start(&fake, full_script);
    struct allot *a = open_session();
    for (unsigned i = 0; i < FULL_THREADS; i++) {
        threads[i].a = a;
        pthread_create(&threads[i].thread, NULL, attach_thread, &threads[i]);
    }
    for (unsigned i = 0; i < FULL_THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        assert_int_equal(threads[i].code, ALLOT_E_NO_POOL);
    }
    allot_close(a);
    expect_no_failure();
}

/* ---- fork ---- */

static void fork_script(struct fake *f)
{
    fake_begin(f);
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
static int child(struct allot *a, struct allot_pool *p, void *page, const char *path)
{
    struct allot *own = NULL;
    uint64_t offset = 16;
    int fds[2];

    if (allot_ping(a) != ALLOT_E_FORKED || allot_alloc(p, 1, NULL, &offset) != ALLOT_E_FORKED)
        return 1;
    if (allot_ptr(p, 16) || allot_set_timeout(a, 1) != ALLOT_E_FORKED)
        return 2;
    if (msync(page, 4096, MS_ASYNC) == 0)
        return 6; /* something is mapped there */
    if (allot_open(&own, path) != 0 || allot_ping(own) != 0)
        return 3;
    if (allot_ping(a) != ALLOT_E_FORKED || allot_ptr(p, 16))
        return 4;
    allot_detach(p);
    allot_close(a);
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

static void test_call__a_child_has_no_session_but_can_open_one(void **state)
{
    (void)state;
    fake_start(&fake, fork_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    void *page = allot_ptr(p, 4096);
    strcpy(allot_ptr(p, 16), "kept");

    pid_t pid = fork();
    if (pid == 0)
        _exit(child(a, p, page, fake.path));
    expect_child_is_content(pid);

    pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(child(a, p, page, fake.path));
    expect_child_is_content(pid);

    assert_int_equal(allot_ping(a), 0);
    assert_string_equal(allot_ptr(p, 16), "kept");
    allot_close(a);
    expect_no_failure();
}

/* ---- descriptors ---- */

/* An answer that is held back while others attach, and how many attaches came meanwhile. */
static unsigned attaches;

static void held_back_script(struct fake *f)
{
    uint64_t held, value = 0x3000;

    fake_begin(f);
    attaches = 0;
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ALLOC);
    held = f->request->number;
    is_held = true;
    while (attaches == 0 && fake_receive(f)) {
        if (f->request->op == ALLOT__OP__OP_ATTACH) {
            fake_grant_attach(f, f->request->number);
            attaches++;
        } else {
            fake_answer(f, f->request->number, 1, NULL, NULL);
        }
    }
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
    fake_answer(f, held, 1, NULL, &value);
    fake_answer(f, f->request->number, 1, NULL, NULL);
    fake_end(f);
}

static void *held_back_thread(void *ctx)
{
    uint64_t offset = 0;

    return allot_alloc(ctx, 100, NULL, &offset) == 0 && offset == 0x3000 ? ctx : NULL;
}

static void test_call__who_attaches_gets_the_descriptor_though_another_receives(void **state)
{
    struct allot_pool *second = NULL;
    pthread_t thread;
    void *content;

    (void)state;
    is_held = false;
    fake_start(&fake, held_back_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(pthread_create(&thread, NULL, held_back_thread, p), 0);
    while (!is_held) /* from here on that thread receives, without room for a descriptor */
        sched_yield();
    assert_int_equal(allot_attach(a, "second", ALLOT_WRITE, &second), 0);
    assert_int_equal(allot_ping(a), 0);
    pthread_join(thread, &content);
    assert_ptr_equal(content, p);
    strcpy(allot_ptr(p, 64), "same");
    assert_string_equal(allot_ptr(second, 64), "same");
    allot_close(a);
    expect_no_failure();
    assert_int_equal(attaches, 1);
}

#define ATTACH_THREADS 6
#define ATTACH_ROUNDS  400

/* Answers in any order, some twice, descriptors included; `pause_ms` as above. */
static void serve_attaches(struct fake *f, int pause_ms)
{
    struct {
        uint64_t number, value;
        bool attaches;
    } asked[16], swapped;
    struct test_random r;
    bool goes_on = true;

    test_random_init(&r, test_seed(12));
    fake_begin(f);
    while (goes_on && !f->failure) {
        size_t n = 0;
        do {
            goes_on = fake_receive(f) && f->request->op != ALLOT__OP__OP_GOODBYE;
            if (!f->request)
                break;
            asked[n].number = f->request->number;
            asked[n].attaches = f->request->op == ALLOT__OP__OP_ATTACH;
            asked[n++].value = f->request->n_sizes ? grant_for(f->request->sizes[0]) : 0;
        } while (goes_on && n < 16 && fake_readable(f));
        for (size_t i = n; i > 1; i--) {
            size_t j = (size_t)test_random_below(&r, i);
            swapped = asked[i - 1];
            asked[i - 1] = asked[j];
            asked[j] = swapped;
        }
        if (pause_ms && test_random_below(&r, 32) == 0)
            poll(NULL, 0, pause_ms);
        for (size_t i = 0; i < n; i++) {
            bool twice = goes_on && test_random_below(&r, 4) == 0;
            for (int times = twice ? 2 : 1; times > 0; times--) {
                if (asked[i].attaches)
                    fake_grant_attach(f, asked[i].number);
                else
                    fake_answer(f, asked[i].number, 1, NULL, &asked[i].value);
            }
        }
    }
}

static void attaches_script(struct fake *f)
{
    serve_attaches(f, 0);
}

static void slow_attaches_script(struct fake *f)
{
    serve_attaches(f, 8);
}

struct mixed_thread {
    pthread_t thread;
    struct allot *session;
    struct allot_pool *pool;
    unsigned index, wrong, timed_out;
    bool may_time_out;
};

/* Every second thread attaches and detaches, the others allocate. */
static void *mixed_thread(void *ctx)
{
    struct mixed_thread *t = ctx;

    for (unsigned i = 0; i < ATTACH_ROUNDS; i++) {
        uint64_t size = 1 + t->index + i * ATTACH_THREADS, offset = 0;
        uint64_t word = 4096 + 8 * t->index;
        struct allot_pool *p = NULL;
        int code = t->index % 2 ? allot_attach(t->session, NULL, ALLOT_WRITE, &p)
                                : allot_alloc(t->pool, size, NULL, &offset);
        if (t->may_time_out && code == ALLOT_E_TIMEOUT) {
            t->timed_out++;
        } else if (code != 0) {
            t->wrong++;
        } else if (!p) {
            t->wrong += offset != grant_for(size);
        } else {
            *(volatile uint64_t *)allot_ptr(t->pool, word) = size;
            t->wrong += *(volatile uint64_t *)allot_ptr(p, word) != size;
            allot_detach(p);
        }
    }
    return NULL;
}

static unsigned run_attach_threads(bool may_time_out)
{
    struct mixed_thread threads[ATTACH_THREADS] = {0};
    unsigned wrong = 0, timed_out = 0;
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);

    unsigned descriptors = count_descriptors();
    if (may_time_out)
        assert_int_equal(allot_set_timeout(a, 4), 0);
    for (unsigned i = 0; i < ATTACH_THREADS; i++) {
        threads[i] = (struct mixed_thread){
            .session = a, .pool = p, .index = i, .may_time_out = may_time_out};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, mixed_thread, &threads[i]), 0);
    }
    for (unsigned i = 0; i < ATTACH_THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        wrong += threads[i].wrong;
        timed_out += threads[i].timed_out;
    }
    if (wrong)
        test_seed_print(test_seed(12));
    assert_int_equal(wrong, 0);
    assert_int_equal(allot_set_timeout(a, 5000), 0);
    assert_int_equal(allot_ping(a), 0); /* all that came late has been received */
    assert_int_equal(count_descriptors(), descriptors);
    allot_close(a);
    return timed_out;
}

static void test_call__no_descriptor_is_lost_or_leaked_among_threads(void **state)
{
    (void)state;
    fake_start(&fake, attaches_script);
    run_attach_threads(false);
    expect_no_failure();
}

static void test_call__no_descriptor_is_leaked_by_threads_that_give_up(void **state)
{
    (void)state;
    fake_start(&fake, slow_attaches_script);
    assert_in_range(run_attach_threads(true), 1, ATTACH_THREADS * ATTACH_ROUNDS - 1);
    expect_no_failure();
}

/* ---- what is decided before anything is sent ---- */

static void quiet_script(struct fake *f)
{
    fake_begin(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_GOODBYE);
    fake_answer(f, f->request->number, 1, NULL, NULL);
}

static void test_call__bad_batches_and_paths_are_not_sent(void **state)
{
    static uint64_t sizes[ALLOT_BATCH_MAX + 1], offsets[ALLOT_BATCH_MAX + 1];
    struct allot *other = NULL;
    char path[200];

    (void)state;
    fake_start(&fake, quiet_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(allot_alloc_batch(p, ALLOT_BATCH_MAX + 1, sizes, NULL, offsets, NULL),
                     ALLOT_E_BATCH);
    assert_int_equal(allot_alloc_batch(p, 0, sizes, NULL, offsets, NULL), ALLOT_E_BATCH);
    assert_int_equal(allot_free_batch(p, ALLOT_BATCH_MAX + 1, offsets, NULL), ALLOT_E_BATCH);
    assert_int_equal(allot_set_timeout(a, 0), ALLOT_E_INVALID);
    assert_int_equal(allot_open(&other, ""), ALLOT_E_PATH);
    memset(path, 'x', 108);
    path[108] = 0;
    assert_int_equal(allot_open(&other, path), ALLOT_E_PATH);
    path[107] = 0;
    assert_int_equal(allot_open(&other, path), ALLOT_E_DISCONNECTED);
    assert_null(other);
    allot_close(a);
    expect_no_failure();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call__answers_reach_their_requests_however_grouped),
        cmocka_unit_test(test_call__threads_that_give_up_disturb_no_other),
        cmocka_unit_test(test_call__drops_answers_that_come_too_late),
        cmocka_unit_test(test_call__a_signal_neither_breaks_nor_lengthens_it),
        cmocka_unit_test(test_call__a_longer_timeout_does_not_lengthen_a_call_in_progress),
        cmocka_unit_test(test_call__all_waiters_hear_of_the_daemons_death),
        cmocka_unit_test(test_call__a_daemon_gone_while_idle_raises_no_signal),
        cmocka_unit_test(test_call__a_cut_answer_ends_the_session),
        cmocka_unit_test(test_call__columns_of_the_wrong_length_end_the_session),
        cmocka_unit_test(test_call__a_refused_request_takes_no_number),
        cmocka_unit_test(test_call__a_refusal_with_others_behind_ends_the_session),
        cmocka_unit_test(test_call__waits_for_room_in_the_socket),
        cmocka_unit_test(test_call__a_child_has_no_session_but_can_open_one),
        cmocka_unit_test(test_call__who_attaches_gets_the_descriptor_though_another_receives),
        cmocka_unit_test(test_call__no_descriptor_is_lost_or_leaked_among_threads),
        cmocka_unit_test(test_call__no_descriptor_is_leaked_by_threads_that_give_up),
        cmocka_unit_test(test_call__bad_batches_and_paths_are_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
