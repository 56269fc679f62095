/* SPDX-License-Identifier: MIT */
/*
 * Sessions that go on: the daemon is killed, or stopped as for an upgrade, under their feet, and no
 * call of the library sees it. With connections that the service manager keeps, with none of them
 * kept, and with the supervisor as the manager.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/support.h"
#include "allot.h"
#include "fixture.h"
#include "open.h"
#include "wire.h"

#define CLIENTS 6u
#define DEATHS  25u
#define HELD    64u

static struct wire w;
static struct wire other;

/* What a client does until it is told to stop: every answer is checked against what it holds. */
struct storm {
    const char *socket;
    uint64_t seed;
    int stop[2]; /* closed when it is to stop */
};

static bool told_to_stop(const struct storm *s)
{
    char byte;

    return recv(s->stop[0], &byte, 1, MSG_DONTWAIT) == 0;
}

static void fill(struct allot_pool *p, uint64_t offset, uint64_t size)
{
    memset(allot_ptr(p, offset), (int)(offset >> 4 & 0xff), size);
}

static void check_filled(const struct allot_pool *p, uint64_t offset, uint64_t size)
{
    const unsigned char *at = allot_ptr(p, offset);

    check(at[0] == (offset >> 4 & 0xff) && at[size - 1] == (offset >> 4 & 0xff));
}

static void storm(void *ctx)
{
    const struct storm *s = ctx;
    struct test_random random;
    struct allot_pool *p;
    uint64_t at[HELD] = {0};
    uint64_t sizes[HELD];

    close(s->stop[1]);
    test_random_init(&random, s->seed);
    struct allot *a = open_session(s->socket);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    while (!told_to_stop(s)) {
        unsigned i = (unsigned)test_random_below(&random, HELD - 8);
        switch (test_random_below(&random, 6)) {
        case 0: { /* a batch */
            uint64_t want[8];
            uint64_t got[8];
            for (unsigned k = 0; k < 8; k++)
                want[k] = 1 + test_random_below(&random, 500);
            check_equal(allot_alloc_batch(p, 8, want, NULL, got, NULL), 0);
            for (unsigned k = 0; k < 8; k++)
                fill(p, got[k], want[k]);
            for (unsigned k = 0; k < 8; k++)
                check_filled(p, got[k], want[k]);
            check_equal(allot_free_batch(p, 8, got, NULL), 0);
            break;
        }
        case 1: /* refused, and once only */
            check_equal(allot_alloc(p, 1ull << 40, NULL, &at[HELD - 1]), ALLOT_E_NO_MEMORY);
            check(allot_last_limit() > 0);
            break;
        case 2: { /* more than is committed while the loop waits */
            uint64_t large;
            uint64_t size = 1 + test_random_below(&random, 4 << 20);
            check_equal(allot_alloc(p, size, NULL, &large), 0);
            fill(p, large, size);
            check_filled(p, large, size);
            check_equal(allot_free(p, large), 0);
            break;
        }
        case 3: { /* a session beside it, whose goodbye may be what the daemon dies over */
            struct allot *b = open_session(s->socket);
            struct allot_pool *q;
            uint64_t block;
            if (i % 2) {
                check_equal(allot_attach(b, NULL, ALLOT_WRITE, &q), 0);
                check_equal(allot_alloc(q, 1000, NULL, &block), 0);
            }
            allot_close(b);
            break;
        }
        default:
            if (at[i]) {
                check_filled(p, at[i], sizes[i]);
                check_equal(allot_free_sized(p, at[i], sizes[i]), 0);
                at[i] = 0;
            } else {
                sizes[i] = 1 + test_random_below(&random, 3000);
                check_equal(allot_alloc(p, sizes[i], NULL, &at[i]), 0);
                fill(p, at[i], sizes[i]);
            }
        }
    }
    for (unsigned i = 0; i < HELD; i++) {
        if (!at[i])
            continue;
        check_filled(p, at[i], sizes[i]);
        check_equal(allot_free_sized(p, at[i], sizes[i]), 0);
    }
    /* Had anything been done twice, there would be something left. */
    wire_open(&w, s->socket);
    Allot__SessionInfo info;
    wire_sessions(&w, allot_session_id(a), &info);
    check_equal(info.allocations, 0);
    wire_close(&w);
    allot_close(a);
}

static void nap_ms(unsigned ms)
{
    struct timespec t = {.tv_nsec = (long)ms * 1000000};

    nanosleep(&t, NULL);
}

static void kill_and_start(struct fixture *f)
{
    fixture_kill(f);
    fixture_start(f);
}

/* As `systemctl restart` does, with a newer daemon or the same. */
static void stop_and_start(struct fixture *f)
{
    fixture_stop(f);
    fixture_start(f);
}

static void restart_under_storm(struct fixture *f, const struct fixture_setup *setup,
                                void (*restart)(struct fixture *f))
{
    struct storm storms[CLIENTS];
    pid_t pids[CLIENTS];
    uint64_t seed = test_seed(0x5707);
    struct test_random random;

    fprintf(stderr, "seed %#llx\n", (unsigned long long)seed);
    test_random_init(&random, seed);
    fixture_open(f, setup);
    fixture_start(f);
    for (unsigned i = 0; i < CLIENTS; i++) {
        storms[i] = (struct storm){.socket = f->socket, .seed = seed + i};
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, storms[i].stop) == 0);
        pids[i] = child_start(storm, &storms[i]);
        close(storms[i].stop[0]);
    }
    for (unsigned i = 0; i < DEATHS; i++) {
        nap_ms((unsigned)test_random_below(&random, 20)); /* the moment is what is at random */
        restart(f);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        close(storms[i].stop[1]);
    for (unsigned i = 0; i < CLIENTS; i++)
        child_join(pids[i]);
    wire_open(&other, f->socket);
    wire_wait_live(&other, "default", 0, 0, 0);
    wire_wait_sessions(&other, 1);
    wire_close(&other);
}

static const struct fixture_setup kept = {.keep_clients = true};

static void test_resume__daemon_killed_connections_kept(void **state)
{
    restart_under_storm(*state, &kept, kill_and_start);
}

static void test_resume__daemon_killed_nothing_kept(void **state)
{
    restart_under_storm(*state, NULL, kill_and_start);
}

static void test_resume__daemon_killed_under_the_supervisor(void **state)
{
    static const char *const arguments[] = {"--supervise", NULL};
    static const struct fixture_setup supervised = {.arguments = arguments};

    restart_under_storm(*state, &supervised, fixture_kill_supervised);
}

static void test_resume__daemon_restarted_connections_kept(void **state)
{
    restart_under_storm(*state, &kept, stop_and_start);
}

static void test_resume__daemon_restarted_nothing_kept(void **state)
{
    restart_under_storm(*state, NULL, stop_and_start);
}

/* As if the process had started at another time than the session's. */
static void change_start_time(int ledger, uint64_t session)
{
    struct {
        uint64_t id;
        uint64_t incarnation;
        uint32_t pid;
    } found = {0};
    off_t at = -8;

    do {
        at += 8;
        check(pread(ledger, &found, sizeof(found), at) == sizeof(found));
    } while (found.id != session || found.pid != (uint32_t)getpid());
    found.incarnation--;
    check(pwrite(ledger, &found.incarnation, 8, at + 8) == 8);
}

/* Where a socket does not tell its process (before Linux 6.5), the start time tells it from a later
 * one with its pid. */
static void test_resume__pid_of_another_process(void **state)
{
    struct fixture *f = *state;
    bool forced = getenv("ALLOTD_OLD_KERNEL") != NULL;

    check(setenv("ALLOTD_OLD_KERNEL", "1", 1) == 0);
    fixture_open(f, &kept);
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 1000);
    fixture_kill(f);
    change_start_time(f->stored[fixture_find_stored(f, "ledger")].fd, w.session);
    fixture_start(f);
    wire_open(&other, f->socket);
    wire_wait_live(&other, "default", 0, 0, 0);
    wire_wait_sessions(&other, 1);
    wire_close(&other);
    wire_close(&w);
    if (!forced)
        unsetenv("ALLOTD_OLD_KERNEL");
}

/* The very connection, not another one: a client that knows nothing of reconnecting. */
static void test_resume__the_same_connection(void **state)
{
    struct fixture *f = *state;
    uint64_t block = 0;

    fixture_open(f, &kept);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    for (unsigned i = 0; i < 5; i++) {
        if (block)
            wire_free(&w, pool, block);
        block = wire_alloc(&w, pool, 1000 + i);
        /* Asked before the daemon dies, or while none is there: answered by the next. */
        Allot__Request r = wire_request(ALLOT__OP__OP_USABLE_SIZE, pool);
        r.number = w.next;
        r.positions = &block;
        r.n_positions = 1;
        if (i % 2)
            wire_send(&w, &r);
        fixture_kill(f);
        if (i % 2 == 0)
            wire_send(&w, &r);
        fixture_start(f);
        uint64_t value;
        Allot__Error error;
        wire_collect(&w, w.next, 1, &error, &value);
        w.next++;
        check_equal(error, ALLOT__ERROR__E_OK);
        check(value >= 1000 + i);
    }
    fixture_stop(f); /* as an upgrade does */
    fixture_start(f);
    wire_free(&w, pool, block);
    wire_expect_good(&w, pool);
    wire_close(&w);
    wire_open(&w, f->socket);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_close(&w);
}

/* Until the manager's socket takes no more. Each comes from another socket, whose room does not
 * end it. */
static void fill_notifications(const struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    ssize_t sent;

    memcpy(address.sun_path, f->notify_path, sizeof(f->notify_path));
    do {
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sent = sendto(fd, "STATUS=", 7, MSG_DONTWAIT, (struct sockaddr *)&address, sizeof(address));
        close(fd);
    } while (sent > 0);
}

/* Whether the session's socket is stored, once the manager has heard all. */
static bool is_stored(struct fixture *f, uint64_t session)
{
    char name[32];

    snprintf(name, sizeof(name), "client-%llu", (unsigned long long)session);
    fixture_take_notifications(f);
    return fixture_find_stored(f, name) >= 0;
}

/* What it is not told when a client leaves, it is told later. */
static void test_resume__the_manager_does_not_listen(void **state)
{
    struct fixture *f = *state;

    fixture_open(f, &kept);
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 100);
    check(is_stored(f, w.session));

    pthread_mutex_lock(&fixture_lock);
    fill_notifications(f);
    check_equal(wire_goodbye(&w), ALLOT__ERROR__E_OK);
    wire_expect_end(&w);
    pthread_mutex_unlock(&fixture_lock);
    check(is_stored(f, w.session));

    wire_open(&other, f->socket);
    wire_alloc(&other, wire_pool(&other, "default"), 100);
    check(is_stored(f, other.session));
    check(!is_stored(f, w.session));
    wire_close(&w);
    wire_close(&other);
}

/* Who comes back with what the manager did not hear of is kept from then on. */
static void test_resume__who_holds_something_is_kept(void **state)
{
    struct fixture *f = *state;
    unsigned char secret[CODEC_SECRET_SIZE];

    fixture_open(f, &kept);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint64_t session = w.session;
    memcpy(secret, w.reply->secret.data, sizeof(secret));
    uint32_t pool = wire_pool(&w, "default");
    pthread_mutex_lock(&fixture_lock);
    fill_notifications(f);
    wire_alloc(&w, pool, 100);
    pthread_mutex_unlock(&fixture_lock);
    fixture_kill(f);
    check(!is_stored(f, session));
    wire_close(&w);
    fixture_start(f);
    uint64_t next = w.next;
    check_equal(wire_resume(&w, f->socket, session, secret, sizeof(secret)), ALLOT__ERROR__E_OK);
    w.next = next;
    check_equal(wire_item(&w, ALLOT__OP__OP_PING, 0, 0, 0, 0, NULL), ALLOT__ERROR__E_OK);
    check(is_stored(f, session));
    wire_close(&w);
}

/* A grant that waited for its memory counts as one that did not. */
static void test_resume__who_holds_a_large_block_is_kept(void **state)
{
    struct fixture *f = *state;

    fixture_open(f, &kept);
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 1 << 20);
    check(is_stored(f, w.session));
    wire_close(&w);
}

/* The next daemon knows what it watches from the ledger alone. */
static void test_resume__who_watches_is_kept(void **state)
{
    struct fixture *f = *state;
    unsigned char secret[CODEC_SECRET_SIZE];

    fixture_open(f, NULL);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint64_t session = w.session;
    memcpy(secret, w.reply->secret.data, sizeof(secret));
    check_equal(wire_item(&w, ALLOT__OP__OP_WATCH, wire_pool(&w, "default"), 0, 0, 0, NULL),
                ALLOT__ERROR__E_OK);
    fixture_kill(f);
    wire_close(&w);
    f->setup.keep_clients = true;
    fixture_start(f);
    check_equal(wire_resume(&w, f->socket, session, secret, sizeof(secret)), ALLOT__ERROR__E_OK);
    Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);
    ping.number = w.next;
    wire_send(&w, &ping);
    while (wire_receive(&w)->n_events)
        ; /* what a watch has to tell may come first */
    check(is_stored(f, session));
    wire_close(&w);
}

static void test_resume__the_store_is_lost(void **state)
{
    struct fixture *f = *state;
    struct allot *a;
    struct allot_pool *p;
    struct allot_ticket ticket;
    uint64_t block;

    fixture_open(f, NULL);
    fixture_start(f);
    check_equal(allot_open(&a, f->socket), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    check_equal(allot_alloc(p, 100, NULL, &block), 0);
    check_equal(allot_ticket(p, block, &ticket), 0);
    strcpy(allot_ptr(p, block), "still here");
    fixture_kill(f);
    fixture_drop_stored(f);
    fixture_start(f);
    uint64_t size;
    check_equal(allot_alloc(p, 100, NULL, &block), ALLOT_E_POOL_GONE);
    check_equal(allot_free(p, block), ALLOT_E_POOL_GONE);
    check_equal(allot_ping(a), ALLOT_E_POOL_GONE);
    check_equal(allot_usable_size(p, block, &size), ALLOT_E_POOL_GONE);
    check(strcmp(allot_ptr(p, block), "still here") == 0);
    allot_close(a);
    /* The old ticket names nothing in the new pool, though its place is taken again. */
    check_equal(allot_open(&a, f->socket), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    uint64_t again;
    check_equal(allot_alloc(p, 100, NULL, &again), 0);
    check_equal(again, block);
    check_equal(allot_release(p, &ticket), ALLOT_E_NOT_ALLOCATED);
    check_equal(allot_acquire(p, &ticket, &again, NULL), ALLOT_E_NOT_ALLOCATED);
    allot_close(a);
}

/* ---- how many are kept ---- */

#define CLIENTS_KEPT 256u
#define CROWD        (CLIENTS_KEPT + 4u)

static unsigned count_kept(struct fixture *f)
{
    unsigned count = 0;

    fixture_take_notifications(f);
    for (unsigned i = 0; i < f->n_stored; i++)
        count += strncmp(f->stored[i].name, "client-", 7) == 0;
    return count;
}

/* Others that hold something connect again. */
static void test_resume__not_more_than_are_kept(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup setup = {.keep_clients = true};
    static struct wire crowd[CROWD];
    bool stays[CROWD]; /* whom, is also a matter of when the manager listens */

    fixture_open(f, &setup);
    fixture_start(f);
    for (unsigned i = 0; i < CROWD; i++) {
        wire_open(&crowd[i], f->socket);
        wire_alloc(&crowd[i], wire_pool(&crowd[i], "default"), 100);
    }
    check_equal(count_kept(f), CLIENTS_KEPT);
    for (unsigned i = 0; i < CROWD; i++)
        stays[i] = is_stored(f, crowd[i].session);
    fixture_kill(f);
    fixture_start(f);
    for (unsigned i = 0; i < CROWD; i++) {
        if (stays[i])
            check_equal(wire_ping(&crowd[i]), ALLOT__ERROR__E_OK);
        else
            wire_expect_end(&crowd[i]);
        wire_close(&crowd[i]);
    }
}

/* ---- who may take a session up ---- */

struct thief {
    const char *socket;
    uint64_t session;
    unsigned char secret[CODEC_SECRET_SIZE];
};

static void steal(void *ctx)
{
    const struct thief *t = ctx;

    check_equal(wire_resume(&other, t->socket, t->session, t->secret, sizeof(t->secret)),
                ALLOT__ERROR__E_DENIED);
    wire_hello(&other); /* a session of its own it may have */
    wire_close(&other);
}

static void test_resume__by_whom(void **state)
{
    struct fixture *f = *state;
    struct thief t = {.socket = f->socket};
    static struct wire again;

    wire_open(&w, f->socket);
    t.session = w.session;
    check_equal(w.reply->secret.len, CODEC_SECRET_SIZE);
    memcpy(t.secret, w.reply->secret.data, CODEC_SECRET_SIZE);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 100);

    unsigned char wrong[CODEC_SECRET_SIZE];
    memcpy(wrong, t.secret, sizeof(wrong));
    wrong[CODEC_SECRET_SIZE - 1] ^= 1;
    check_equal(wire_resume(&other, f->socket, w.session, wrong, sizeof(wrong)),
                ALLOT__ERROR__E_SESSION);
    wire_close(&other);
    check_equal(wire_resume(&other, f->socket, w.session, t.secret, sizeof(t.secret) - 1),
                ALLOT__ERROR__E_SESSION);
    wire_close(&other);
    check_equal(wire_resume(&other, f->socket, w.session, NULL, 0), ALLOT__ERROR__E_SESSION);
    wire_close(&other);
    check_equal(wire_resume(&other, f->socket, w.session + 1000, t.secret, sizeof(t.secret)),
                ALLOT__ERROR__E_SESSION);
    wire_close(&other);
    child_join(child_start(steal, &t));
    wire_free(&w, pool, block); /* nothing of all that has touched it */
    block = wire_alloc(&w, pool, 100);

    /* From the same process it is taken over, on whatever loop it was; the old connection ends. */
    for (unsigned i = 0; i < 4; i++) {
        check_equal(wire_resume(&again, f->socket, w.session, t.secret, sizeof(t.secret)),
                    ALLOT__ERROR__E_OK);
        check_equal(again.reply->session, w.session);
        again.next = w.next;
        again.session = w.session;
        wire_expect_end(&w);
        wire_close(&w);
        wire_free(&again, pool, block);
        block = wire_alloc(&again, pool, 100 + i);
        struct wire swap = w;
        w = again;
        again = swap;
        check_equal(wire_ping(&w), ALLOT__ERROR__E_OK);
    }
    check_equal(wire_goodbye(&w), ALLOT__ERROR__E_OK);
    wire_close(&w);
    check_equal(wire_resume(&w, f->socket, t.session, t.secret, sizeof(t.secret)),
                ALLOT__ERROR__E_SESSION);
    wire_hello(&w);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_wait_sessions(&w, 1);
    wire_close(&w);
}

/* A request that is first on its socket at a start of the daemon is suspected of having ended the
 * one before; but eight are too many only where they are in a row. */
static void test_resume__kills_that_are_not_in_a_row(void **state)
{
    struct fixture *f = *state;

    fixture_open(f, &kept);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint64_t block = wire_alloc(&w, wire_pool(&w, "default"), 1000);
    for (unsigned i = 0; i < 20; i++) {
        fixture_kill(f);
        Allot__Request r = wire_request(ALLOT__OP__OP_PING, 0);
        Allot__Error error;
        r.number = w.next;
        wire_send(&w, &r);
        fixture_start(f);
        wire_collect(&w, w.next++, 1, &error, NULL);
        check_equal(error, ALLOT__ERROR__E_OK);
    }
    wire_free(&w, 1, block);
    wire_close(&w);
}

/* ---- the fixture itself ---- */

#define FORKS 300u /* many times as many as it takes to meet the moment */
#define FDS   64

struct offer {
    const struct fixture *f;
    int fd;
    atomic_bool stop;
};

/* Sends the manager the descriptor, as one of a client, which it does not keep. */
static void *offer_again_and_again(void *ctx)
{
    static char text[] = "FDSTORE=1\nFDNAME=client-1";
    struct offer *o = ctx;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {.iov_base = text, .iov_len = sizeof(text) - 1};
    struct msghdr m = {.msg_name = &address,
                       .msg_namelen = sizeof(address),
                       .msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control.space,
                       .msg_controllen = sizeof(control.space)};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, o->f->notify_path);
    memcpy(CMSG_DATA(&control.header), &o->fd, sizeof(o->fd));
    while (!o->stop && sendmsg(fd, &m, 0) > 0)
        ;
    close(fd);
    return NULL;
}

/* In a child: how often it has what is offered. */
static void expect_only_one(void *ctx)
{
    const struct offer *o = ctx;
    struct stat offered, found;
    unsigned n = 0;

    check(fstat(o->fd, &offered) == 0);
    for (int fd = 0; fd < FDS; fd++)
        n += fstat(fd, &found) == 0 && found.st_dev == offered.st_dev &&
             found.st_ino == offered.st_ino;
    check_equal(n, 1);
}

/* A connection that is not kept ends with the daemon: no child that is forked while the manager
 * has got it, and not closed it yet, keeps it open. */
static void test_resume__children_hold_no_connection_of_others(void **state)
{
    static struct offer offer;
    struct fixture *f = *state;
    pthread_t sender;
    int ends[2];

    fixture_open(f, NULL);
    check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    offer = (struct offer){.f = f, .fd = ends[1]};
    check_equal(pthread_create(&sender, NULL, offer_again_and_again, &offer), 0);
    for (unsigned i = 0; i < FORKS; i++)
        child_join(child_start(expect_only_one, &offer));
    offer.stop = true;
    pthread_join(sender, NULL);
    close(ends[0]);
    close(ends[1]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_resume__children_hold_no_connection_of_others),
        fixture_test_bare(test_resume__pid_of_another_process),
        fixture_test_bare(test_resume__the_same_connection),
        fixture_test_bare(test_resume__the_manager_does_not_listen),
        fixture_test_bare(test_resume__who_holds_something_is_kept),
        fixture_test_bare(test_resume__who_holds_a_large_block_is_kept),
        fixture_test_bare(test_resume__who_watches_is_kept),
        fixture_test_bare(test_resume__the_store_is_lost),
        fixture_test_bare(test_resume__not_more_than_are_kept),
        fixture_test(test_resume__by_whom),
        fixture_test_bare(test_resume__kills_that_are_not_in_a_row),
        fixture_test_bare(test_resume__daemon_killed_connections_kept),
        fixture_test_bare(test_resume__daemon_killed_nothing_kept),
        fixture_test_bare(test_resume__daemon_killed_under_the_supervisor),
        fixture_test_bare(test_resume__daemon_restarted_connections_kept),
        fixture_test_bare(test_resume__daemon_restarted_nothing_kept),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
