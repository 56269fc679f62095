/* SPDX-License-Identifier: MIT */
/*
 * Names across processes: what was published stays when its publisher dies, and when the daemon
 * does; a name that is replaced under its readers is always there and whole; and who may do what.
 */
#include <grp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "allot.h"
#include "fixture.h"
#include "wire.h"

#define NOBODY 65534u

static struct wire w;
static struct wire other;

/* ---- at the wire ---- */

static Allot__Error named(struct wire *v, Allot__Op op, uint32_t pool, const char *name)
{
    Allot__Request request = wire_request(op, pool);
    Allot__Error error;

    request.name = (char *)(uintptr_t)name;
    wire_run(v, &request, 1, &error, NULL);
    return error;
}

static Allot__Error publish(struct wire *v, uint32_t pool, const char *name, struct wire_ticket t,
                            bool replace)
{
    Allot__Request request = wire_request(ALLOT__OP__OP_PUBLISH, pool);
    Allot__Error error;

    request.name = (char *)(uintptr_t)name;
    request.positions = &t.place;
    request.generations = &t.generation;
    request.n_positions = request.n_generations = 1;
    request.replace = replace;
    wire_run(v, &request, 1, &error, NULL);
    return error;
}

static Allot__Error unpublish(struct wire *v, uint32_t pool, const char *name)
{
    return named(v, ALLOT__OP__OP_UNPUBLISH, pool, name);
}

static Allot__Error lookup(struct wire *v, uint32_t pool, const char *name, struct wire_ticket *ret,
                           uint64_t *ret_size)
{
    Allot__Error error = named(v, ALLOT__OP__OP_LOOKUP, pool, name);

    if (error)
        return error;
    check(v->reply->n_values == 1 && v->reply->n_generations == 1 && v->reply->n_sizes == 1);
    *ret = (struct wire_ticket){v->reply->values[0], v->reply->generations[0]};
    *ret_size = v->reply->sizes[0];
    return error;
}

static void expect(struct wire *v, uint32_t pool, const char *name, struct wire_ticket t,
                   uint64_t size)
{
    struct wire_ticket found;
    uint64_t found_size;

    check_equal(lookup(v, pool, name, &found, &found_size), ALLOT__ERROR__E_OK);
    check_equal(found.place, t.place);
    check_equal(found.generation, t.generation);
    check_equal(found_size, size);
}

static Allot__Error give_back(struct wire *v, uint32_t pool, struct wire_ticket t)
{
    return wire_reference(v, ALLOT__OP__OP_RELEASE, pool, t, NULL);
}

static void open_reader(struct wire *v, const char *socket, const char *pool)
{
    wire_open(v, socket);
    check(wire_attach(v, pool, ALLOT__ACCESS__ACCESS_READ, NULL) != 0);
    close(v->reply_fd);
    v->reply_fd = -1;
}

/* ---- lives ---- */

/* A publisher in a process of its own, which waits to be killed. */
struct publisher {
    const char *socket;
    int pipe[2];
    struct wire_ticket tickets[3];
};

static void publish_three(void *ctx)
{
    static const struct {
        Allot__Op op;
        uint64_t size;
        const char *name;
    } three[] = {{ALLOT__OP__OP_ALLOC, 1000, "bytes"},
                 {ALLOT__OP__OP_ALLOC_PAGES, 5, "pages"},
                 {ALLOT__OP__OP_ALLOC_IDS, 7, "ids"}};
    struct publisher *p = ctx;

    wire_open(&w, p->socket);
    uint32_t pool = wire_pool(&w, "default");
    for (unsigned i = 0; i < 3; i++) {
        p->tickets[i] = wire_grant(&w, pool, three[i].op, three[i].size);
        check_equal(publish(&w, pool, three[i].name, p->tickets[i], false), ALLOT__ERROR__E_OK);
    }
    check(write(p->pipe[1], p->tickets, sizeof(p->tickets)) == sizeof(p->tickets));
    pause();
}

static void expect_three(struct wire *v, uint32_t pool, const struct publisher *p)
{
    expect(v, pool, "bytes", p->tickets[0], 1000);
    expect(v, pool, "pages", p->tickets[1], 5 * 4096);
    expect(v, pool, "ids", p->tickets[2], 7);
}

static void test_publish__outlive_publisher_and_daemon(void **state)
{
    struct fixture *f = *state;
    struct publisher p = {.socket = f->socket};

    check(pipe(p.pipe) == 0);
    pid_t pid = child_start(publish_three, &p);
    check(read(p.pipe[0], p.tickets, sizeof(p.tickets)) == sizeof(p.tickets));
    child_kill(pid);
    close(p.pipe[0]);
    close(p.pipe[1]);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_wait_sessions(&w, 1);
    wire_wait_live(&w, "default", 1, 1, 1);
    check_equal(wire_pool_info(&w, "default")->names, 3);
    expect_three(&w, pool, &p);
    wire_close(&w); /* this session lives on with this process */
    fixture_kill(f);
    fixture_start(f);
    wire_open(&w, f->socket);
    pool = wire_pool(&w, "default");
    expect_three(&w, pool, &p);
    check_equal(wire_goodbye(&w), ALLOT__ERROR__E_OK); /* and so does not hold them */
    wire_close(&w);
    wire_open(&w, f->socket);
    pool = wire_pool(&w, "default");
    check_equal(unpublish(&w, pool, "pages"), ALLOT__ERROR__E_OK);
    check_equal(unpublish(&w, pool, "pages"), ALLOT__ERROR__E_NO_NAME);
    check_equal(wire_pool_info(&w, "default")->names, 2);
    expect(&w, pool, "ids", p.tickets[2], 7);
    wire_close(&w);
}

/* What was looked up is held: it does not go with its name. */
static void test_publish__found_is_held(void **state)
{
    struct fixture *f = *state;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    open_reader(&other, f->socket, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 100);
    check_equal(publish(&w, pool, "name", t, false), ALLOT__ERROR__E_OK);
    check_equal(give_back(&w, pool, t), ALLOT__ERROR__E_OK);
    expect(&other, pool, "name", t, 100);
    expect(&other, pool, "name", t, 100); /* one reference a session */
    check_equal(unpublish(&w, pool, "name"), ALLOT__ERROR__E_OK);
    wire_wait_live(&w, "default", 1, 0, 0);
    check_equal(give_back(&other, pool, t), ALLOT__ERROR__E_OK);
    wire_wait_live(&w, "default", 0, 0, 0);
    check_equal(give_back(&other, pool, t), ALLOT__ERROR__E_NOT_ALLOCATED);
    wire_close(&w);
    wire_close(&other);
}

/* ---- bad input ---- */

/* Numbers under which names were looked up, sent again as something that takes them all. */
static void test_publish__looked_up_and_sent_again_as_one(void **state)
{
    const struct fixture *f = *state;
    uint64_t values[CODEC_BATCH_MAX];

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 100);
    check_equal(publish(&w, pool, "name", t, false), ALLOT__ERROR__E_OK);
    Allot__Request r = wire_request(ALLOT__OP__OP_FREE, pool);
    r.number = w.next;
    for (unsigned i = 0; i < CODEC_BATCH_MAX; i++) {
        expect(&w, pool, "name", t, 100);
        values[i] = t.place;
    }
    r.positions = values;
    r.n_positions = CODEC_BATCH_MAX;
    wire_send(&w, &r);
    wire_collect(&w, r.number, CODEC_BATCH_MAX, NULL, values);
    for (unsigned i = 0; i < CODEC_BATCH_MAX; i++)
        check_equal(values[i], t.place);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

static void test_publish__bad_ones(void **state)
{
    struct fixture *f = *state;
    char longest[CODEC_NAME_MAX + 2] = {0};
    const char *const bad[] = {"", "a\nb", "\x7f", "\xc2\x85", "\xff", longest};
    struct wire_ticket none;
    uint64_t size;

    wire_open(&w, f->socket);
    wire_open(&other, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 100);
    memset(longest, 'n', CODEC_NAME_MAX + 1);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check_equal(publish(&w, pool, bad[i], t, i % 2), ALLOT__ERROR__E_INVALID);
        check_equal(lookup(&w, pool, bad[i], &none, &size), ALLOT__ERROR__E_NO_NAME);
        check_equal(unpublish(&w, pool, bad[i]), ALLOT__ERROR__E_NO_NAME);
    }
    longest[CODEC_NAME_MAX] = 0;
    check_equal(publish(&w, pool, longest, t, true), ALLOT__ERROR__E_OK);
    check_equal(publish(&w, pool, longest, t, false), ALLOT__ERROR__E_EXISTS);
    check_equal(publish(&w, pool, longest, t, true), ALLOT__ERROR__E_OK); /* itself */
    expect(&w, pool, longest, t, 100);
    longest[CODEC_NAME_MAX - 1] = 0;
    check_equal(lookup(&w, pool, longest, &none, &size), ALLOT__ERROR__E_NO_NAME);

    /* What is not held, not granted, not any more, not of this pool. */
    check_equal(publish(&other, pool, "x", t, false), ALLOT__ERROR__E_NO_POOL);
    check_equal(lookup(&other, pool, "x", &none, &size), ALLOT__ERROR__E_NO_POOL);
    check_equal(wire_pool(&other, "default"), pool);
    check_equal(publish(&other, pool, "x", t, false), ALLOT__ERROR__E_NOT_OWNER);
    struct wire_ticket forged = {t.place, t.generation + 1};
    check_equal(publish(&w, pool, "x", forged, false), ALLOT__ERROR__E_NOT_ALLOCATED);
    forged = (struct wire_ticket){t.place + 16, t.generation};
    check_equal(publish(&w, pool, "x", forged, false), ALLOT__ERROR__E_NOT_ALLOCATED);
    forged = (struct wire_ticket){0, 0};
    check_equal(publish(&w, pool, "x", forged, false), ALLOT__ERROR__E_NOT_ALLOCATED);
    check_equal(publish(&w, 77, "x", t, false), ALLOT__ERROR__E_NO_POOL);
    wire_expect_good(&w, pool);
    check_equal(wire_pool_info(&w, "default")->names, 1);
    wire_close(&w);
    wire_close(&other);
}

#define QUOTA(n) "[daemon]\nworkers = 2\n[pool default]\nsize_max = 16M\nnames_quota = " n "\n"

static void test_publish__over_quota(void **state)
{
    static const struct fixture_setup three = {.config = QUOTA("3")};
    static const char *const names[] = {"one", "two", "three"};
    struct fixture *f = *state;

    fixture_open(f, &three);
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_open(&other, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 100);
    for (unsigned i = 0; i < 3; i++)
        check_equal(publish(&w, pool, names[i], t, false), ALLOT__ERROR__E_OK);
    check_equal(publish(&w, pool, "four", t, false), ALLOT__ERROR__E_QUOTA);
    check_equal(publish(&w, pool, "two", t, true), ALLOT__ERROR__E_OK); /* is none more */
    check_equal(wire_pool(&other, "default"), pool);
    struct wire_ticket u = wire_grant(&other, pool, ALLOT__OP__OP_ALLOC, 100);
    check_equal(publish(&other, pool, "four", u, true), ALLOT__ERROR__E_QUOTA); /* the user's */
    check_equal(unpublish(&other, pool, "one"), ALLOT__ERROR__E_OK);
    check_equal(publish(&other, pool, "four", u, false), ALLOT__ERROR__E_OK);
    fixture_kill(f);
    fixture_start(f);
    wire_close(&w);
    wire_open(&w, f->socket);
    wire_pool(&w, "default");
    t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 100);
    check_equal(publish(&w, pool, "five", t, false), ALLOT__ERROR__E_QUOTA);
    fixture_reload(f, QUOTA("4"));
    check_equal(publish(&w, pool, "five", t, false), ALLOT__ERROR__E_OK);
    fixture_reload(f, QUOTA("0"));
    check_equal(publish(&w, pool, "six", t, false), ALLOT__ERROR__E_QUOTA);
    check_equal(unpublish(&w, pool, "five"), ALLOT__ERROR__E_OK);
    wire_close(&w);
    wire_close(&other);
}

/* ---- rights ---- */

static void test_publish__by_readers(void **state)
{
    struct fixture *f = *state;
    struct wire_ticket found;
    uint64_t size;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    open_reader(&other, f->socket, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 100);
    check_equal(publish(&w, pool, "name", t, false), ALLOT__ERROR__E_OK);
    check_equal(lookup(&other, pool, "name", &found, &size), ALLOT__ERROR__E_OK);
    check_equal(publish(&other, pool, "more", found, false), ALLOT__ERROR__E_DENIED);
    check_equal(unpublish(&other, pool, "name"), ALLOT__ERROR__E_DENIED);
    check_equal(named(&other, ALLOT__OP__OP_NAMES, pool, ""), ALLOT__ERROR__E_OK);
    check_equal(other.reply->n_names, 1);
    check_equal(named(&other, ALLOT__OP__OP_NAMES, pool + 1, ""), ALLOT__ERROR__E_NO_POOL);
    wire_close(&w);
    wire_close(&other);
}

static void publish_as_nobody(void *ctx)
{
    const struct publisher *p = ctx;

    check(setgroups(0, NULL) == 0);
    check(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
    wire_open(&w, p->socket);
    uint32_t pool = wire_pool(&w, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 10);
    check_equal(publish(&w, pool, "root's", t, false), ALLOT__ERROR__E_EXISTS);
    check_equal(publish(&w, pool, "root's", t, true), ALLOT__ERROR__E_DENIED);
    check_equal(unpublish(&w, pool, "root's"), ALLOT__ERROR__E_DENIED);
    check_equal(publish(&w, pool, "nobody's", t, false), ALLOT__ERROR__E_OK);
}

static void test_publish__of_another_user(void **state)
{
    struct fixture *f = *state;
    struct publisher p = {.socket = f->socket};
    struct wire_ticket found;
    uint64_t size;

    if (geteuid() != 0) {
        check(!getenv("CI"));
        fprintf(stderr, "skipped: only root can be somebody else\n");
        skip();
    }
    fixture_open_to_all(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC, 10);
    check_equal(publish(&w, pool, "root's", t, false), ALLOT__ERROR__E_OK);
    child_join(child_start(publish_as_nobody, &p));
    check_equal(publish(&w, pool, "nobody's", t, true), ALLOT__ERROR__E_DENIED);
    check_equal(lookup(&w, pool, "nobody's", &found, &size), ALLOT__ERROR__E_OK);
    check_equal(named(&w, ALLOT__OP__OP_NAMES, pool, "n"), ALLOT__ERROR__E_OK);
    check_equal(w.reply->n_names, 1);
    check_equal(w.reply->names[0]->uid, NOBODY);
    check_equal(w.reply->names[0]->gid, NOBODY);
    check_equal(unpublish(&w, pool, "nobody's"), ALLOT__ERROR__E_OK);
    check_equal(unpublish(&w, pool, "nobody's"), ALLOT__ERROR__E_NO_NAME);
    wire_close(&w);
}

/* ---- through the library ---- */

struct listing {
    unsigned count;
    uint64_t sequence;
    char last[ALLOT_NAME_MAX + 1];
};

static int visit(void *ctx, const struct allot_name_info *info)
{
    struct listing *l = ctx;

    check(strncmp(info->name, "frame/", 6) == 0);
    check(l->count == 0 || strcmp(info->name, l->last) > 0);
    check_equal(info->uid, getuid());
    check_equal(info->size, 64 + strtoull(info->name + 6, NULL, 10));
    strcpy(l->last, info->name);
    l->count++;
    return 0;
}

static int stop_at_once(void *ctx, const struct allot_name_info *info)
{
    (void)ctx;
    (void)info;
    return 17;
}

static void test_publish__listed_in_parts(void **state)
{
    struct fixture *f = *state;
    struct listing l = {0};
    struct allot *a;
    struct allot_pool *p;
    struct allot_ticket t;
    char name[ALLOT_NAME_MAX + 2];
    uint64_t offset;

    check_equal(allot_open(&a, f->socket), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    for (unsigned i = 0; i < 350; i++) {
        snprintf(name, sizeof(name), i % 7 ? "frame/%u" : "frames/%u", i);
        check_equal(allot_alloc(p, 64 + i, NULL, &offset), 0);
        check_equal(allot_ticket(p, offset, &t), 0);
        check_equal(allot_publish(p, name, &t, 0), 0);
    }
    check_equal(allot_list_names(p, "frame/", visit, &l), 0);
    check_equal(l.count, 300);
    check_equal(allot_list_names(p, "frame/", stop_at_once, NULL), 17);
    check_equal(allot_list_names(p, "nothing", stop_at_once, NULL), 0);
    check_equal(allot_list_names(p, NULL, stop_at_once, NULL), 17);
    memset(name, 'n', sizeof(name));
    name[ALLOT_NAME_MAX + 1] = 0;
    check_equal(allot_list_names(p, name, visit, &l), ALLOT_E_INVALID);
    check_equal(allot_publish(p, name, &t, 0), ALLOT_E_INVALID);
    check_equal(allot_publish(p, "x", &t, 2), ALLOT_E_INVALID);
    check_equal(allot_lookup(p, name, NULL, NULL, NULL), ALLOT_E_NO_NAME);
    check_equal(allot_unpublish(p, name), ALLOT_E_NO_NAME);
    allot_close(a);
}

/* A block says in its first word how long it is, and in all others when it was made. */
#define REPLACEMENTS 3000u
#define READERS      3u

static void fill(struct allot_pool *p, uint64_t offset, uint64_t words, uint64_t mark)
{
    uint64_t *at = allot_ptr(p, offset);

    at[0] = words;
    for (uint64_t i = 1; i < words; i++)
        at[i] = mark;
}

struct reader {
    const char *socket;
    int stop[2]; /* closed when it is to stop */
};

/* Until told to stop: what is found is whole, and newer or the same each time. */
static void read_on(void *ctx)
{
    const struct reader *r = ctx;
    struct allot *a;
    struct allot_pool *p;
    uint64_t last = 0;
    uint64_t found = 0;
    char byte;

    close(r->stop[1]);
    check_equal(allot_open(&a, r->socket), 0);
    check_equal(allot_attach(a, NULL, ALLOT_READ, &p), 0);
    do {
        struct allot_ticket t;
        uint64_t offset;
        uint64_t size;
        check_equal(allot_lookup(p, "frame", &t, &offset, &size), 0);
        const uint64_t *at = allot_ptr(p, offset);
        check_equal(at[0] * 8, size);
        check(at[1] >= last);
        last = at[1];
        for (uint64_t i = 2; i < at[0]; i++)
            check(at[i] == last);
        check_equal(allot_release(p, &t), 0);
        found++;
    } while (recv(r->stop[0], &byte, 1, MSG_DONTWAIT) != 0);
    check(found > 100 && last > 1);
    allot_close(a);
}

static void test_publish__replaced_under_readers(void **state)
{
    struct fixture *f = *state;
    struct reader r = {.socket = f->socket};
    pid_t pids[READERS];
    struct allot *a;
    struct allot_pool *p;

    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r.stop) == 0);
    check_equal(allot_open(&a, f->socket), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    for (uint64_t i = 1; i <= REPLACEMENTS; i++) {
        uint64_t words = 2 + i * 7 % 300;
        struct allot_ticket t;
        uint64_t offset;
        check_equal(allot_alloc(p, words * 8, NULL, &offset), 0);
        fill(p, offset, words, i);
        check_equal(allot_ticket(p, offset, &t), 0);
        check_equal(allot_publish(p, "frame", &t, i == 1 ? 0 : ALLOT_REPLACE), 0);
        check_equal(allot_free(p, offset), 0);
        for (unsigned k = 0; i == 1 && k < READERS; k++)
            pids[k] = child_start(read_on, &r);
    }
    close(r.stop[1]);
    for (unsigned k = 0; k < READERS; k++)
        child_join(pids[k]);
    close(r.stop[0]);
    check_equal(allot_unpublish(p, "frame"), 0);
    wire_open(&w, f->socket);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_close(&w);
    allot_close(a);
}

/* Threads of one process look up and give back: it holds what it has found, each time. */
#define LOOKERS 4u
#define LOOKUPS 4000u

static void *look_up_and_release(void *ctx)
{
    struct allot_pool *p = ctx;

    for (unsigned i = 0; i < LOOKUPS; i++) {
        struct allot_ticket t;
        uint64_t offset;
        uint64_t size;
        check_equal(allot_lookup(p, i % 3 ? "one" : "two", &t, &offset, &size), 0);
        check_equal(*(const uint64_t *)allot_ptr(p, offset) * 8, size);
        check_equal(i % 2 ? allot_release(p, &t) : allot_free(p, offset), 0);
    }
    return NULL;
}

static void test_publish__looked_up_by_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[LOOKERS];
    struct allot *a;
    struct allot *b;
    struct allot_pool *p;
    struct allot_pool *q;

    check_equal(allot_open(&a, f->socket), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    check_equal(allot_open(&b, f->socket), 0);
    check_equal(allot_attach(b, NULL, ALLOT_WRITE, &q), 0);
    for (unsigned i = 0; i < LOOKUPS; i++) {
        struct allot_ticket t;
        uint64_t offset;
        check_equal(allot_alloc(p, (2 + i % 50) * 8, NULL, &offset), 0);
        fill(p, offset, 2 + i % 50, i);
        check_equal(allot_ticket(p, offset, &t), 0);
        check_equal(allot_publish(p, i % 2 ? "one" : "two", &t, ALLOT_REPLACE), 0);
        check_equal(allot_release(p, &t), 0);
        for (unsigned k = 0; i == 1 && k < LOOKERS; k++)
            check(pthread_create(&threads[k], NULL, look_up_and_release, q) == 0);
    }
    for (unsigned k = 0; k < LOOKERS; k++)
        pthread_join(threads[k], NULL);
    check_equal(allot_unpublish(p, "one"), 0);
    check_equal(allot_unpublish(p, "two"), 0);
    wire_open(&w, f->socket);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_close(&w);
    allot_close(a);
    allot_close(b);
}

static void test_publish__frozen(void **state)
{
    struct fixture *f = *state;
    struct allot *a;
    struct allot *b;
    struct allot_pool *p;
    struct allot_pool *q;
    struct allot_ticket t;
    uint64_t offset;
    uint64_t size;

    check_equal(allot_open(&a, f->socket), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    check_equal(allot_open(&b, f->socket), 0);
    check_equal(allot_attach(b, NULL, ALLOT_WRITE, &q), 0);
    check_equal(allot_alloc(p, 100, NULL, &offset), 0);
    check_equal(allot_ticket(p, offset, &t), 0);
    check_equal(allot_publish(p, "one", &t, 0), 0);
    check_equal(allot_freeze(p, &t), 0);
    check_equal(allot_lookup(q, "one", &t, &offset, &size), 0);
    check_equal(size, 100);
    check(allot_ptr(q, offset) == NULL && allot_const_ptr(q, offset) != NULL);
    allot_close(a);
    allot_close(b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_publish__outlive_publisher_and_daemon),
        fixture_test(test_publish__found_is_held),
        fixture_test(test_publish__looked_up_and_sent_again_as_one),
        fixture_test(test_publish__bad_ones),
        fixture_test_bare(test_publish__over_quota),
        fixture_test(test_publish__by_readers),
        fixture_test(test_publish__of_another_user),
        fixture_test(test_publish__listed_in_parts),
        fixture_test(test_publish__replaced_under_readers),
        fixture_test(test_publish__looked_up_by_threads),
        fixture_test(test_publish__frozen),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
