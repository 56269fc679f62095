/* SPDX-License-Identifier: MIT */
/*
 * The client's calls against a daemon that misbehaves on purpose: whose answer goes to whom, and
 * what refusals and full sockets leave behind.
 */
#include <linux/sock_diag.h>
#include <sched.h>
#include <stdatomic.h>

#include "fake_session.h"
#include "support.h"

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

/* ---- the window ---- */

#define SMALL_WINDOW 4u

static atomic_bool is_partly_answered;

static void partial_script(struct fake *f)
{
    uint64_t values[SMALL_WINDOW] = {16, 32, 48, 64};

    f->inflight_max = SMALL_WINDOW;
    fake_begin(f);
    fake_check(f, fake_receive(f) && f->request->n_sizes == SMALL_WINDOW);
    uint64_t number = f->request->number;
    fake_answer(f, number, SMALL_WINDOW - 1, NULL, values);
    is_partly_answered = true;
    struct pollfd p = {.fd = f->fd, .events = POLLIN};
    fake_check(f, poll(&p, 1, 100) == 0); /* one more would be the fifth from its first number */
    fake_answer(f, number + SMALL_WINDOW - 1, 1, NULL, values + SMALL_WINDOW - 1);
    fake_end(f);
}

static void *batch_thread(void *ctx)
{
    const uint64_t sizes[SMALL_WINDOW] = {1, 2, 3, 4};
    uint64_t offsets[SMALL_WINDOW];

    return allot_alloc_batch(ctx, SMALL_WINDOW, sizes, NULL, offsets, NULL) ? ctx : NULL;
}

/* Sent again, a batch begins with its first number, which the daemon must still have. */
static void test_call__a_batch_is_in_the_window_until_all_of_it_is_answered(void **state)
{
    pthread_t thread;
    void *failed;

    (void)state;
    is_partly_answered = false;
    fake_start(&fake, partial_script);
    struct allot *a = open_session();
    struct allot_pool *p = attach_default(a);
    assert_int_equal(pthread_create(&thread, NULL, batch_thread, p), 0);
    while (!is_partly_answered)
        sched_yield();
    assert_int_equal(allot_ping(a), 0);
    pthread_join(thread, &failed);
    assert_null(failed);
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
    fake_refuse(f, number, ALLOT__ERROR__E_UNKNOWN); /* and the next one; the client may be gone */
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
#define FULL_ROUNDS  500

static atomic_int client_fd;

/* Lets the client's socket hold a few packets only, as where net.core.wmem_default is small. */
static void shrink_socket(void)
{
    int least = 1;
    int fd = 0;
    struct sockaddr_un peer;

    do {
        socklen_t size = sizeof(peer) - 1;
        memset(&peer, 0, sizeof(peer));
        (void)getpeername(++fd, (struct sockaddr *)&peer, &size);
    } while (strcmp(peer.sun_path, fake.path) != 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
    client_fd = fd;
}

static bool is_full(void)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof(memory);

    (void)getsockopt(client_fd, SOL_SOCKET, SO_MEMINFO, memory, &size);
    return memory[SK_MEMINFO_WMEM_ALLOC] >= memory[SK_MEMINFO_SNDBUF];
}

static void full_script(struct fake *f)
{
    fake_begin(f);
    for (unsigned i = 0; i < FULL_ROUNDS; i += is_full())
        sched_yield(); /* to those who find no room */
    for (int i = 0; i < FULL_THREADS; i++) {
        fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING);
        fake_answer(f, f->request->number, 1, NULL, NULL);
    }
    fake_end(f);
}

static void test_call__waits_for_room_in_the_socket(void **state)
{
    struct pinger threads[FULL_THREADS] = {0};

    (void)state;
    fake_start(&fake, full_script);
    struct allot *a = open_session();
    shrink_socket();
    attach_default(a);
    for (unsigned i = 0; i < FULL_THREADS; i++) {
        threads[i].a = a;
        pthread_create(&threads[i].thread, NULL, ping_thread, &threads[i]);
    }
    for (unsigned i = 0; i < FULL_THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        assert_int_equal(threads[i].code, 0);
    }
    allot_close(a);
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
        cmocka_unit_test(test_call__a_batch_is_in_the_window_until_all_of_it_is_answered),
        cmocka_unit_test(test_call__a_refused_request_takes_no_number),
        cmocka_unit_test(test_call__a_refusal_with_others_behind_ends_the_session),
        cmocka_unit_test(test_call__waits_for_room_in_the_socket),
        cmocka_unit_test(test_call__bad_batches_and_paths_are_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
