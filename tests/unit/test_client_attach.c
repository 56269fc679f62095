/* SPDX-License-Identifier: MIT */
/*
 * Descriptors: each attach gets the one that came with its answer, whichever thread received it,
 * and none is leaked.
 */
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "fake_session.h"
#include "support.h"

static atomic_bool is_held; /* the fake has a request and does not answer it yet */

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

static void test_attach__who_attaches_gets_the_descriptor_though_another_receives(void **state)
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

static void test_attach__no_descriptor_is_lost_or_leaked_among_threads(void **state)
{
    (void)state;
    fake_start(&fake, attaches_script);
    run_attach_threads(false);
    expect_no_failure();
}

static void test_attach__no_descriptor_is_leaked_by_threads_that_give_up(void **state)
{
    (void)state;
    fake_start(&fake, slow_attaches_script);
    assert_in_range(run_attach_threads(true), 1, ATTACH_THREADS * ATTACH_ROUNDS - 1);
    expect_no_failure();
}

static void goodbye_script(struct fake *f)
{
    fake_hello(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_GOODBYE);
    fake_hang_up(f);
}

static void test_attach__a_name_that_fits_no_frame_is_no_pools(void **state)
{
    static char name[CODEC_FRAME_MAX + 1];
    struct allot_pool *p;

    (void)state;
    fake_start(&fake, goodbye_script);
    struct allot *a = open_session();
    memset(name, 'n', sizeof(name) - 1);
    assert_int_equal(allot_attach(a, name, ALLOT_WRITE, &p), ALLOT_E_NO_POOL);
    allot_close(a);
    expect_no_failure();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attach__who_attaches_gets_the_descriptor_though_another_receives),
        cmocka_unit_test(test_attach__no_descriptor_is_lost_or_leaked_among_threads),
        cmocka_unit_test(test_attach__no_descriptor_is_leaked_by_threads_that_give_up),
        cmocka_unit_test(test_attach__a_name_that_fits_no_frame_is_no_pools),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
