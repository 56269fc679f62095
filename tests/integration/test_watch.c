/* SPDX-License-Identifier: MIT */
/*
 * Watching names: what a watcher is told adds up to what is published, whoever is slow, and
 * whoever dies.
 */
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/support.h"
#include "allot.h"
#include "fixture.h"
#include "wire.h"

#define CHANGES 10000u
#define NAMES   800u
#define NOBODY  65534u

static struct wire w;
static struct wire other;

/* A program that publishes; each name names a block of its own. */
struct publisher {
    struct allot *session;
    struct allot_pool *pool;
    struct allot_ticket tickets[NAMES]; /* place 0: not published */
};

static void publisher_open(struct publisher *p, const char *socket)
{
    *p = (struct publisher){0};
    check_equal(allot_open(&p->session, socket), 0);
    check_equal(allot_attach(p->session, NULL, ALLOT_WRITE, &p->pool), 0);
}

static const char *name_of(unsigned i, char name[static 32])
{
    snprintf(name, 32, "%s/%u", i % 4 ? "frame" : "sound", i);
    return name;
}

static void publish(struct publisher *p, unsigned i)
{
    char name[32];
    uint64_t offset;

    check_equal(allot_alloc(p->pool, 16 + i, NULL, &offset), 0);
    check_equal(allot_ticket(p->pool, offset, &p->tickets[i]), 0);
    check_equal(allot_publish(p->pool, name_of(i, name), &p->tickets[i], ALLOT_REPLACE), 0);
    check_equal(allot_release(p->pool, &p->tickets[i]), 0);
}

static void unpublish(struct publisher *p, unsigned i)
{
    char name[32];

    check_equal(allot_unpublish(p->pool, name_of(i, name)), 0);
    p->tickets[i].place = 0;
}

static void change_at_random(struct publisher *p, struct test_random *random)
{
    unsigned i = (unsigned)test_random_below(random, NAMES);

    if (p->tickets[i].place && test_random_below(random, 2))
        unpublish(p, i);
    else
        publish(p, i);
}

/* What a watcher of "frame/" knows. */
struct watcher {
    struct allot *session;
    struct allot_pool *pool;
    uint64_t watch;
    struct allot_ticket tickets[NAMES];
    uint64_t sequence[NAMES];
    bool complete;
    unsigned states;
    unsigned events;
};

static void told(void *ctx, const struct allot_event *event)
{
    struct watcher *v = ctx;

    v->events++;
    if (event->kind == ALLOT_STATE) {
        memset(v->tickets, 0, sizeof(v->tickets));
        memset(v->sequence, 0, sizeof(v->sequence));
        v->complete = false;
        v->states++;
        return;
    }
    if (event->kind == ALLOT_COMPLETE) {
        v->complete = true;
        return;
    }
    check(strncmp(event->name, "frame/", 6) == 0);
    unsigned i = (unsigned)strtoul(event->name + 6, NULL, 10);
    check(i < NAMES && event->sequence >= v->sequence[i]);
    v->sequence[i] = event->sequence;
    v->tickets[i] = event->ticket;
    check((event->kind == ALLOT_GONE) == (event->ticket.place == 0));
}

static void watcher_open(struct watcher *v, const char *socket)
{
    *v = (struct watcher){0};
    check_equal(allot_open(&v->session, socket), 0);
    check_equal(allot_set_timeout(v->session, FIXTURE_DEADLINE_MS), 0);
    check_equal(allot_attach(v->session, NULL, ALLOT_READ, &v->pool), 0);
    check_equal(allot_watch(v->pool, "frame/", told, v, &v->watch), 0);
}

static bool knows_all(const struct watcher *v, const struct publisher *p)
{
    for (unsigned i = 0; i < NAMES; i++)
        if (i % 4 &&
            (v->tickets[i].place != p->tickets[i].place ||
             (p->tickets[i].place && v->tickets[i].generation != p->tickets[i].generation)))
            return false;
    return v->complete;
}

/* As a program with an event loop does it, until the watcher knows what is published. */
static void process_until_known(struct watcher *v, const struct publisher *p)
{
    struct pollfd fd = {.events = POLLIN};

    check_equal(allot_fd(v->session, &fd.fd), 0);
    while (!knows_all(v, p)) {
        check(poll(&fd, 1, FIXTURE_DEADLINE_MS) == 1);
        check_equal(allot_process(v->session), 0);
    }
}

static void test_watch__tells_each_change(void **state)
{
    struct fixture *f = *state;
    struct publisher p;
    struct watcher v;

    publisher_open(&p, f->socket);
    publish(&p, 1);
    publish(&p, 4); /* not watched */
    watcher_open(&v, f->socket);
    process_until_known(&v, &p);
    check_equal(v.events, 3);
    publish(&p, 2);
    process_until_known(&v, &p);
    check_equal(v.events, 4);
    publish(&p, 2);
    process_until_known(&v, &p);
    unpublish(&p, 1);
    process_until_known(&v, &p);
    check_equal(v.events, 6);
    check_equal(v.states, 1);
    /* Events that come while a call waits for its answer are not lost. */
    publish(&p, 3);
    check_equal(allot_ping(v.session), 0);
    check_equal(allot_ping(v.session), 0);
    process_until_known(&v, &p);
    check_equal(allot_unwatch(v.session, v.watch), 0);
    check_equal(allot_unwatch(v.session, v.watch), ALLOT_E_INVALID);
    publish(&p, 5);
    check_equal(allot_ping(v.session), 0);
    check_equal(allot_process(v.session), 0);
    check_equal(v.events, 7);
    allot_close(v.session);
    allot_close(p.session);
}

/* 10^4 changes go by while one watcher never reads, one reads now and then, and one makes calls
 * only, so that its library keeps what it is told: none of them disturbs the publisher, and each
 * knows the state in the end. */
static void test_watch__never_read(void **state)
{
    struct fixture *f = *state;
    struct publisher p;
    struct watcher slow;
    struct watcher calls;
    struct test_random random;
    Allot__Request request;
    Allot__Error error;
    uint64_t seed = test_seed(0x3a7c4);

    fprintf(stderr, "seed 0x%" PRIx64 "\n", seed);
    test_random_init(&random, seed);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    request = wire_request(ALLOT__OP__OP_WATCH, pool);
    wire_run(&w, &request, 1, &error, NULL);
    check_equal(error, ALLOT__ERROR__E_OK);
    publisher_open(&p, f->socket);
    watcher_open(&slow, f->socket);
    watcher_open(&calls, f->socket);
    for (unsigned i = 0; i < 1000; i++)
        change_at_random(&p, &random);
#ifndef ALLOT_SANITIZED
    uint64_t before = fixture_status_kb(f, "RssAnon:");
#endif
    for (unsigned i = 0; i < CHANGES; i++) {
        change_at_random(&p, &random);
        if (i % 1000 == 0)
            check_equal(allot_process(slow.session), 0);
        if (i % 4 == 0)
            check_equal(allot_ping(calls.session), 0);
    }
#ifndef ALLOT_SANITIZED /* a sanitizer keeps what is freed for a while */
    check(fixture_status_kb(f, "RssAnon:") < before + 1024);
#endif
    process_until_known(&slow, &p);
    process_until_known(&calls, &p);
    check_equal(calls.states, 1);
    /* What the one that never read has in its socket ends with the state anew. */
    bool again = false;
    for (unsigned states = 0; !again;) {
        check(wire_receive(&w) != NULL);
        for (size_t i = 0; i < w.reply->n_events; i++) {
            states += w.reply->events[i]->kind == ALLOT__EVENT_KIND__EVENT_STATE;
            again |= states > 1 && w.reply->events[i]->kind == ALLOT__EVENT_KIND__EVENT_COMPLETE;
        }
    }
    allot_close(slow.session);
    allot_close(calls.session);
    allot_close(p.session);
    wire_close(&w);
}

/* More than a socket holds, less than the log: nothing of it is left out. */
static void test_watch__read_late(void **state)
{
    struct fixture *f = *state;
    struct publisher p;
    struct watcher v;

    publisher_open(&p, f->socket);
    watcher_open(&v, f->socket);
    process_until_known(&v, &p);
    for (unsigned i = 0; i < NAMES; i++)
        publish(&p, i);
    process_until_known(&v, &p);
    check_equal(v.states, 1);
    check_equal(v.events, 2 + NAMES / 4 * 3);
    allot_close(v.session);
    allot_close(p.session);
}

#define MOST_NAMES 16384u

struct counting {
    struct allot *session;
    unsigned appeared;
    unsigned states;
    bool complete;
};

static void count_and_call(void *ctx, const struct allot_event *event)
{
    struct counting *c = ctx;

    c->states += event->kind == ALLOT_STATE;
    c->appeared += event->kind == ALLOT_APPEARED;
    c->complete |= event->kind == ALLOT_COMPLETE;
    check_equal(allot_ping(c->session), 0);
}

/* Where each callback makes a call, which takes in what there is to be told. */
static void test_watch__as_many_names_as_may_be(void **state)
{
    static const struct fixture_setup setup = {
        .config = "[daemon]\nworkers = 2\n[pool default]\nsize_max = 16M\nnames_quota = 16384\n"};
    struct fixture *f = *state;
    struct counting counting = {0};
    struct pollfd fd = {.events = POLLIN};
    struct allot_pool *pool;
    struct allot_ticket t;
    char name[32];
    uint64_t offset;
    uint64_t watch;

    fixture_open(f, &setup);
    fixture_start(f);
    check_equal(allot_open(&counting.session, f->socket), 0);
    check_equal(allot_attach(counting.session, NULL, ALLOT_WRITE, &pool), 0);
    check_equal(allot_alloc(pool, 16, NULL, &offset), 0);
    check_equal(allot_ticket(pool, offset, &t), 0);
    for (unsigned i = 0; i < MOST_NAMES; i++)
        check_equal(allot_publish(pool, name_of(i, name), &t, 0), 0);
    check_equal(allot_watch(pool, NULL, count_and_call, &counting, &watch), 0);
    check_equal(allot_fd(counting.session, &fd.fd), 0);
    while (!counting.complete) {
        check(poll(&fd, 1, FIXTURE_DEADLINE_MS) == 1);
        check_equal(allot_process(counting.session), 0);
        check(counting.states < 2);
    }
    check_equal(counting.appeared, MOST_NAMES);
    allot_close(counting.session);
}

static void restart_under_watchers(struct fixture *f, bool keep)
{
    const struct fixture_setup setup = {.keep_clients = keep};
    struct publisher p;
    struct watcher v;
    struct test_random random;

    test_random_init(&random, test_seed(0x3a7c5));
    fixture_open(f, &setup);
    fixture_start(f);
    publisher_open(&p, f->socket);
    watcher_open(&v, f->socket);
    process_until_known(&v, &p);
    for (unsigned i = 0; i < 5; i++) {
        unsigned states = v.states;
        for (unsigned k = 0; k < 50; k++)
            change_at_random(&p, &random);
        fixture_kill(f);
        fixture_start(f);
        for (unsigned k = 0; k < 50; k++)
            change_at_random(&p, &random);
        process_until_known(&v, &p);
        check(v.states > states);
    }
    check_equal(allot_unwatch(v.session, v.watch), 0);
    allot_close(v.session);
    allot_close(p.session);
}

static void test_watch__daemon_killed_connections_kept(void **state)
{
    restart_under_watchers(*state, true);
}

static void test_watch__daemon_killed_nothing_kept(void **state)
{
    restart_under_watchers(*state, false);
}

static Allot__Error ask(struct wire *v, Allot__Op op, uint32_t pool, const char *prefix,
                        uint64_t id)
{
    Allot__Request request = wire_request(op, pool);

    request.name = (char *)(uintptr_t)prefix;
    request.positions = &id;
    request.n_positions = id != 0;
    request.number = v->next++;
    wire_send(v, &request);
    do /* events, and what a daemon that was killed had answered already */
        check(wire_receive(v) != NULL);
    while (v->reply->number + v->reply->count <= request.number);
    check(v->reply->number <= request.number);
    return v->reply->n_errors ? v->reply->errors[request.number - v->reply->number]
                              : ALLOT__ERROR__E_OK;
}

/* The daemon cannot know what was still read of the old connection. */
static void test_watch__on_another_connection(void **state)
{
    struct fixture *f = *state;
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);
    unsigned char secret[CODEC_SECRET_SIZE];

    wire_open(&w, f->socket);
    memcpy(secret, w.reply->secret.data, sizeof(secret));
    uint32_t pool = wire_pool(&w, "default");
    check_equal(ask(&w, ALLOT__OP__OP_WATCH, pool, "", 0), ALLOT__ERROR__E_OK);
    uint64_t id = w.reply->values[0];
    check(wire_receive(&w) != NULL);
    check_equal(w.reply->n_events, 2);
    hello.version_min = hello.version_max = CODEC_VERSION;
    hello.session = w.session;
    hello.secret.data = secret;
    hello.secret.len = sizeof(secret);
    wire_connect(&other, f->socket);
    wire_send(&other, &hello);
    check(wire_receive(&other) != NULL);
    check_equal(other.reply->session, w.session);
    check(wire_receive(&other) != NULL);
    check_equal(other.reply->n_events, 2);
    check_equal(other.reply->events[0]->kind, ALLOT__EVENT_KIND__EVENT_STATE);
    check_equal(other.reply->events[0]->watch, id);
    check_equal(other.reply->events[1]->kind, ALLOT__EVENT_KIND__EVENT_COMPLETE);
    wire_close(&w);
    wire_close(&other);
}

/* What was given up does not come back with the next daemon, nor does it take a place. */
static void test_watch__ended_for_good(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup setup = {.keep_clients = true};
    uint64_t ids[ALLOT_WATCHES_MAX];

    fixture_open(f, &setup);
    fixture_start(f);
    wire_open(&other, f->socket);
    uint32_t pool = wire_pool(&other, "default");
    for (unsigned i = 0; i < ALLOT_WATCHES_MAX; i++) {
        check_equal(ask(&other, ALLOT__OP__OP_WATCH, pool, "", 0), ALLOT__ERROR__E_OK);
        ids[i] = other.reply->values[0];
    }
    check_equal(ask(&other, ALLOT__OP__OP_UNWATCH, pool, "", ids[5]), ALLOT__ERROR__E_OK);
    fixture_kill(f);
    fixture_start(f);
    check_equal(ask(&other, ALLOT__OP__OP_UNWATCH, pool, "", ids[5]), ALLOT__ERROR__E_INVALID);
    check_equal(ask(&other, ALLOT__OP__OP_WATCH, pool, "", 0), ALLOT__ERROR__E_OK);
    check_equal(ask(&other, ALLOT__OP__OP_WATCH, pool, "", 0), ALLOT__ERROR__E_LIMIT);
    wire_close(&other);
}

/* ---- rights ---- */

#define MAY_READ                                                                                   \
    "[daemon]\nworkers = 1\n[pool default]\nsize_max = 16M\naccess = uid:0=write *=read\n"
#define MAY_NOT                                                                                    \
    "[daemon]\nworkers = 1\n[pool default]\nsize_max = 16M\naccess = uid:0=write *=none\n"

/* The test and the watcher take turns. */
struct turns {
    const char *socket;
    struct gate done;
    struct gate next;
};

static void turn_over(const struct turns *t)
{
    gate_signal(&t->done);
    gate_wait(&t->next);
}

static void other_turn(const struct turns *t)
{
    gate_signal(&t->next);
    gate_wait(&t->done);
}

/* The loop has looked for what there is to tell before it serves the second. */
static void expect_silence(void)
{
    for (unsigned i = 0; i < 2; i++) {
        Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);
        ping.number = w.next++;
        wire_send(&w, &ping);
        check(wire_receive(&w) != NULL);
        check_equal(w.reply->number, ping.number);
        check_equal(w.reply->n_events, 0);
    }
}

static const Allot__Event *expect_events(size_t count)
{
    check(wire_receive(&w) != NULL);
    check_equal(w.reply->n_events, count);
    return w.reply->events[count - 1];
}

static void watch_as_nobody(void *ctx)
{
    const struct turns *t = ctx;

    check(setgroups(0, NULL) == 0);
    check(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
    wire_open(&w, t->socket);
    uint32_t pool = wire_attach(&w, "default", ALLOT__ACCESS__ACCESS_READ, NULL);
    check_equal(ask(&w, ALLOT__OP__OP_WATCH, pool, "", 0), ALLOT__ERROR__E_OK);
    check_equal(expect_events(2)->kind, ALLOT__EVENT_KIND__EVENT_COMPLETE);
    turn_over(t);
    expect_silence(); /* "sound/0" is there, and the right is gone */
    check_equal(ask(&w, ALLOT__OP__OP_WATCH, pool, "", 0), ALLOT__ERROR__E_DENIED);
    turn_over(t);
    check_equal(expect_events(1)->kind, ALLOT__EVENT_KIND__EVENT_APPEARED);
    turn_over(t);
    expect_silence(); /* of a daemon that was started without the right */
    turn_over(t);
    check_equal(expect_events(4)->kind, ALLOT__EVENT_KIND__EVENT_COMPLETE);
    gate_signal(&t->done);
}

/* What a user may not read it is not told: nothing, until it may again, and then without another
 * change what has become of the names. */
static void test_watch__right_taken_away(void **state)
{
    static const struct fixture_setup setup = {.config = MAY_READ, .keep_clients = true};
    struct fixture *f = *state;
    struct turns t = {.socket = f->socket};
    struct publisher p;

    if (geteuid() != 0) {
        check(!getenv("CI"));
        fprintf(stderr, "skipped: only root can be somebody else\n");
        skip();
    }
    fixture_open(f, &setup);
    fixture_start(f);
    fixture_open_to_all(f);
    publisher_open(&p, f->socket);
    gate_open(&t.done);
    gate_open(&t.next);
    pid_t watcher = child_start(watch_as_nobody, &t);
    gate_wait(&t.done);
    fixture_reload(f, MAY_NOT);
    publish(&p, 0);
    other_turn(&t);
    fixture_reload(f, MAY_READ);
    other_turn(&t);
    fixture_write_config(f, MAY_NOT);
    fixture_kill(f);
    fixture_start(f);
    publish(&p, 1);
    other_turn(&t);
    fixture_reload(f, MAY_READ);
    other_turn(&t);
    child_join(watcher);
    gate_close(&t.done);
    gate_close(&t.next);
    allot_close(p.session);
}

static void test_watch__bad_input(void **state)
{
    struct fixture *f = *state;
    char longest[CODEC_NAME_MAX + 2] = {0};
    const Allot__Op watch = ALLOT__OP__OP_WATCH;
    const Allot__Op unwatch = ALLOT__OP__OP_UNWATCH;
    uint64_t ids[8];

    memset(longest, 'n', CODEC_NAME_MAX + 1);
    wire_open(&other, f->socket);
    check_equal(ask(&other, watch, 1, "", 0), ALLOT__ERROR__E_NO_POOL);
    uint32_t pool = wire_pool(&other, "default");
    check_equal(ask(&other, watch, pool, longest, 0), ALLOT__ERROR__E_INVALID);
    check_equal(ask(&other, watch, pool, "", 12345), ALLOT__ERROR__E_INVALID);
    check_equal(ask(&other, unwatch, pool, "", 12345), ALLOT__ERROR__E_INVALID);
    for (unsigned i = 0; i < 8; i++) {
        check_equal(ask(&other, watch, pool, longest + 1, 0), ALLOT__ERROR__E_OK);
        ids[i] = other.reply->values[0];
    }
    check_equal(ask(&other, watch, pool, "", 0), ALLOT__ERROR__E_LIMIT);
    check_equal(ask(&other, watch, pool, "", ids[3]), ALLOT__ERROR__E_OK); /* the state again */
    check_equal(ask(&other, unwatch, pool, "", ids[3]), ALLOT__ERROR__E_OK);
    check_equal(ask(&other, unwatch, pool, "", ids[3]), ALLOT__ERROR__E_INVALID);
    check_equal(ask(&other, watch, pool, "", 0), ALLOT__ERROR__E_OK);
    check(other.reply->values[0] != ids[3]);
    /* Asked a second time, it is answered as the first time and not made twice. */
    uint64_t id = other.reply->values[0];
    other.next--;
    check_equal(ask(&other, watch, pool, "", 0), ALLOT__ERROR__E_OK);
    check_equal(other.reply->values[0], id);
    check_equal(ask(&other, unwatch, pool, "", id), ALLOT__ERROR__E_OK);
    wire_close(&other);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_watch__tells_each_change),
        fixture_test(test_watch__never_read),
        fixture_test(test_watch__read_late),
        fixture_test_bare(test_watch__as_many_names_as_may_be),
        fixture_test_bare(test_watch__daemon_killed_connections_kept),
        fixture_test_bare(test_watch__daemon_killed_nothing_kept),
        fixture_test(test_watch__on_another_connection),
        fixture_test_bare(test_watch__ended_for_good),
        fixture_test_bare(test_watch__right_taken_away),
        fixture_test(test_watch__bad_input),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
