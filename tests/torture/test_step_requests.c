/* SPDX-License-Identifier: MIT */
/*
 * Kill anywhere in serving a request of a session that has just been taken up again, where it is
 * not a pool that writes to the ledger: see scenario.h for those that are, victim.h for what is
 * demanded of the session.
 *
 * After each kill the session is taken up once more, with the same ID and secret, and the same
 * request is answered the same, twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "service.h"
#include "step.h"
#include "victim.h"

#define NUMBER 301u /* of the request under test */

/* What is asked, and what comes of it. */
static struct {
    Allot__Request request;
    uint64_t value;
    unsigned watches;
} asked;

static struct service service;
static int sockets[2]; /* this process is at both ends */

/* ---- asking ---- */

static const Allot__Reply *serve(struct victim *v, struct session **session,
                                 const Allot__Request *r)
{
    static struct codec_arena arena;
    unsigned char frame[CODEC_FRAME_MAX];
    const struct replies_frame *answer = &service.replies.frames[0];
    const void *request;
    Allot__Reply *reply;
    unsigned operations;
    size_t size = 0;
    size_t at = 0;
    size_t length;
    int error;

    service.sessions = &v->sessions;
    service.loop = &v->loop;
    replies_reset(&service.replies);
    assert_int_equal(codec_add_request(r, frame, &size), 0);
    assert_true(codec_next_request(frame, size, &at, &request, &length, &error));
    assert_int_equal(service_request(&service, session, sockets[0], request, length, 0,
                                     CODEC_INFLIGHT_MAX, &operations),
                     SERVICE_DONE);
    replies_flush(&service.replies);
    assert_int_equal(service.replies.n_frames, 1);
    if (answer->fd >= 0)
        close(answer->fd);
    assert_int_equal(
        codec_decode_reply(&arena, service.replies.bytes + answer->offset, answer->size, &reply),
        0);
    return reply;
}

static bool take_up(struct victim *v)
{
    Allot__Request hello = ALLOT__REQUEST__INIT;
    struct session *s = NULL;

    hello.op = ALLOT__OP__OP_HELLO;
    hello.version_min = hello.version_max = CODEC_VERSION;
    hello.session = v->ledger.sessions[SLOT].id;
    hello.secret.data = v->ledger.sessions[SLOT].secret;
    hello.secret.len = CODEC_SECRET_SIZE;
    return !serve(v, &s, &hello)->refused && s == v->session;
}

static void leave(struct victim *v)
{
    session_disconnected(v->session, true);
}

static void act_ask(void *victim, void *arg)
{
    struct victim *v = victim;

    (void)arg;
    take_up(v);
    if (asked.request.op)
        serve(v, &v->session, &asked.request);
}

/* ---- judging ---- */

static bool is_answered(struct victim *v)
{
    const Allot__Reply *r = serve(v, &v->session, &asked.request);

    return !r->refused && r->number == asked.request.number && r->count == 1 && !r->n_errors &&
           (r->n_values ? r->values[0] : 0) == asked.value &&
           r->n_pools == (asked.request.op == ALLOT__OP__OP_ATTACH);
}

/* Whether the watches begin anew on this connection, wherever the last one was. */
static bool take_up_watches(struct victim *v)
{
    struct watch *watches = v->session->watches;

    for (unsigned i = 0; i < LEDGER_WATCHES; i++)
        watches[i].phase = WATCH_FOLLOWS;
    if (!take_up(v))
        return false;
    for (unsigned i = 0; i < LEDGER_WATCHES; i++)
        if (watches[i].id && watches[i].phase != WATCH_BEGINS)
            return false;
    return true;
}

static const char *judge(struct victim *v)
{
    const struct ledger_watch *watches = ledger_watches(&v->ledger, SLOT);
    const char *wrong = NULL;
    unsigned found = 0;

    if (!take_up_watches(v))
        return "the session, or a watch of it, cannot be taken up again";
    if (asked.request.op && (!is_answered(v) || !is_answered(v)))
        wrong = "the request, sent again, is answered otherwise";
    for (unsigned i = 0; i < LEDGER_WATCHES; i++) {
        found += watches[i].id != 0;
        if (watches[i].id != v->session->watches[i].id ||
            (watches[i].id && strcmp(watches[i].prefix, "prefix") != 0))
            wrong = "the watch is another";
    }
    if (found != asked.watches)
        wrong = "there are more watches, or fewer";
    leave(v);
    return wrong;
}

static Allot__Request request_of(Allot__Op op, const char *name)
{
    Allot__Request r = ALLOT__REQUEST__INIT;

    r.op = op;
    r.pool = 1;
    r.name = (char *)(uintptr_t)name;
    return r;
}

/* What is never to be read: an answered operation in the journal's place of the one under test. */
static void leave_traces(struct victim *v)
{
    *ledger_entry(&v->ledger, SLOT, NUMBER - 1) =
        (struct ledger_entry){.number = NUMBER - 1, .result = LEDGER_ANSWERED};
    *ledger_entry(&v->ledger, SLOT, NUMBER) =
        (struct ledger_entry){.number = NUMBER - CODEC_INFLIGHT_MAX,
                              .op = ALLOT__OP__OP_FREE,
                              .old_word = 5,
                              .new_word = 6,
                              .value = 7,
                              .generation = 8,
                              .result = LEDGER_ANSWERED};
}

/* The request comes after another watch, or none. */
static void run(struct life life, bool watched, Allot__Request request, unsigned watches)
{
    Allot__Request watch = request_of(ALLOT__OP__OP_WATCH, "prefix");
    struct victim v;

    victim_make(&v);
    assert_true(victim_start(&v));
    watch.number = v.session->next;
    if (watched) {
        assert_true(take_up(&v));
        serve(&v, &v.session, &watch);
        leave(&v);
        request.positions = &watch.number;
        request.n_positions = 1;
    }
    victim_stop(&v);
    leave_traces(&v);
    assert_true(victim_start(&v));
    request.number = NUMBER;
    asked.request = request;
    asked.watches = watches;
    asked.value = 0;
    if (request.op == ALLOT__OP__OP_WATCH)
        asked.value = watched ? watch.number : NUMBER;
    life.act = act_ask;
    life.held = HELD;
    life.judge = judge;
    victim_run(&v, &life);
}

/* Nothing in the ledger changes. */
static void test_step_requests__resume(void **state)
{
    (void)state;
    run((struct life){"resume", .every = 97, .states = 10}, false,
        request_of(ALLOT__OP__OP_NONE, NULL), 0);
}

static void test_step_requests__watch(void **state)
{
    (void)state;
    run((struct life){"watch", .states = 10}, false, request_of(ALLOT__OP__OP_WATCH, "prefix"), 1);
}

static void test_step_requests__watch_again(void **state)
{
    (void)state;
    run((struct life){"watch again", .states = 5}, true, request_of(ALLOT__OP__OP_WATCH, NULL), 1);
}

static void test_step_requests__unwatch(void **state)
{
    (void)state;
    run((struct life){"unwatch", .states = 5}, true, request_of(ALLOT__OP__OP_UNWATCH, NULL), 0);
}

static void test_step_requests__attach(void **state)
{
    Allot__Request attach = request_of(ALLOT__OP__OP_ATTACH, "step");

    (void)state;
    attach.access = ALLOT__ACCESS__ACCESS_WRITE;
    run((struct life){"attach", .states = 5}, false, attach, 0);
}

static void test_step_requests__ping(void **state)
{
    (void)state;
    run((struct life){"ping", .states = 3}, false, request_of(ALLOT__OP__OP_PING, NULL), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_requests__resume),
        cmocka_unit_test(test_step_requests__watch),
        cmocka_unit_test(test_step_requests__watch_again),
        cmocka_unit_test(test_step_requests__unwatch),
        cmocka_unit_test(test_step_requests__attach),
        cmocka_unit_test(test_step_requests__ping),
    };

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
        return 1;
    step_on_one_processor();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
