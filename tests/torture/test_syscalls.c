/* SPDX-License-Identifier: MIT */
/*
 * The daemon is killed at each of its system calls in turn, from its start on: the first, the
 * second, and so on until a call is not reached any more. strace does it, so the daemon is the real
 * one. Once while its clients come and are served, once while it takes over what they have had
 * from the daemon before, and once while one that waits, and holds nothing, comes back to it.
 *
 * A client with a raw connection and one with the library do the same each time, and must see
 * nothing of it: each request is answered once (a repeated answer is the same), has been carried
 * out once, and the raw connection stays, from the first grant on. In the end nothing is left.
 *
 * Besides, calls of a living daemon fail for a moment.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "allot.h"
#include "fixture.h"
#include "wire.h"

#define WINDOW   16u
#define BATCH    40u
#define TOO_MUCH (1ull << 40)
#define ALL      ((64ull << 20) - 8192) /* as long as nobody holds anything */

/* All that the daemon calls from its start on; who is not reached costs one run. */
static const char *const calls[] = {
    "accept4",   "close",      "epoll_ctl", "epoll_wait", "fallocate",    "fcntl",  "newfstatat",
    "getrandom", "getsockopt", "ioctl",     "lseek",      "mmap",         "openat", "pidfd_open",
    "poll",      "pread64",    "munmap",    "madvise",    "rt_sigaction", "getpid", "read",
    "recvfrom",  "recvmmsg",   "recvmsg",   "sendmmsg",   "sendmsg",      "sendto", "setsockopt",
    "shutdown",  "socket",     "write",
};

static struct wire w;

/* What the clients know. */
struct run {
    const char *socket;
    struct gate held;   /* by the one that the other waits for */
    struct gate opened; /* once by each */
    struct gate go;
};

/* ---- the clients ---- */

/* One operation, where the connection may be lost: then false. */
static bool exchange(Allot__Request *r)
{
    unsigned char frame[CODEC_FRAME_MAX];
    size_t size = 0;

    if (r->op != ALLOT__OP__OP_HELLO)
        r->number = w.next++;
    check(codec_add_request(r, frame, &size) == 0);
    if (send(w.fd, frame, size, MSG_NOSIGNAL) != (ssize_t)size)
        return false;
    if (!wire_receive(&w))
        return false;
    check_equal(w.reply->refused, ALLOT__ERROR__E_OK);
    return true;
}

/* Hello, attach, and the first grant: from its answer on the connection is kept. */
static bool open_kept(const char *socket, uint32_t *ret_pool, uint64_t *ret_block)
{
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);
    Allot__Request attach = wire_request(ALLOT__OP__OP_ATTACH, 0);
    uint64_t size = 100;

    wire_connect(&w, socket);
    hello.version_min = hello.version_max = CODEC_VERSION;
    attach.name = (char *)(uintptr_t) "default";
    attach.access = ALLOT__ACCESS__ACCESS_WRITE;
    if (!exchange(&hello))
        return false;
    w.session = w.reply->session;
    if (!exchange(&attach))
        return false;
    *ret_pool = w.reply->pools[0]->pool;
    Allot__Request alloc = wire_request(ALLOT__OP__OP_ALLOC, *ret_pool);
    alloc.sizes = &size;
    alloc.n_sizes = 1;
    if (!exchange(&alloc))
        return false;
    check_equal(w.reply->n_errors, 0);
    *ret_block = w.reply->values[0];
    return true;
}

static void expect_held(uint64_t allocations)
{
    Allot__SessionInfo info;

    wire_sessions(&w, w.session, &info);
    check_equal(info.allocations, allocations);
}

/* A window of single requests, every fourth of which is refused; then their frees, likewise. */
static void run_window(uint32_t pool)
{
    Allot__Error errors[WINDOW];
    uint64_t values[WINDOW];
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    uint64_t number = w.next;

    r.n_sizes = 1;
    for (unsigned i = 0; i < WINDOW; i++) {
        uint64_t size = i % 4 == 3 ? TOO_MUCH : 100 + i;
        r.sizes = &size;
        r.number = w.next++;
        wire_send(&w, &r);
    }
    wire_collect(&w, number, WINDOW, errors, values);
    for (unsigned i = 0; i < WINDOW; i++)
        check_equal(errors[i], i % 4 == 3 ? ALLOT__ERROR__E_NO_MEMORY : ALLOT__ERROR__E_OK);
    expect_held(1 + WINDOW / 4 * 3);
    r = wire_request(ALLOT__OP__OP_FREE, pool);
    r.n_positions = 1;
    number = w.next;
    for (unsigned i = 0; i < WINDOW; i++) {
        uint64_t position = i % 4 == 3 ? 1 : values[i];
        r.positions = &position;
        r.number = w.next++;
        wire_send(&w, &r);
    }
    wire_collect(&w, number, WINDOW, errors, NULL);
    for (unsigned i = 0; i < WINDOW; i++)
        check_equal(errors[i], i % 4 == 3 ? ALLOT__ERROR__E_NOT_ALLOCATED : ALLOT__ERROR__E_OK);
}

/* A batch whose last item has to wait for memory. */
static void run_batch(uint32_t pool)
{
    Allot__Error errors[BATCH];
    uint64_t values[BATCH];
    uint64_t sizes[BATCH];
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);

    for (unsigned i = 0; i < BATCH; i++)
        sizes[i] = i + 1 < BATCH ? 1 + 10 * i : 2u << 20;
    r.sizes = sizes;
    r.n_sizes = BATCH;
    wire_run(&w, &r, BATCH, errors, values);
    for (unsigned i = 0; i < BATCH; i++)
        check_equal(errors[i], ALLOT__ERROR__E_OK);
    expect_held(1 + BATCH);
    r = wire_request(ALLOT__OP__OP_FREE, pool);
    r.positions = values;
    r.n_positions = BATCH;
    wire_run(&w, &r, BATCH, errors, NULL);
    for (unsigned i = 0; i < BATCH; i++)
        check_equal(errors[i], ALLOT__ERROR__E_OK);
}

static void run_raw(void *ctx)
{
    const struct run *run = ctx;
    uint32_t pool;
    uint64_t block;

    while (!open_kept(run->socket, &pool, &block))
        wire_close(&w);
    gate_signal(&run->opened);
    gate_wait(&run->go);
    run_window(pool);
    run_batch(pool);
    struct wire_ticket t = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC_PAGES, 2);
    check_equal(wire_reference(&w, ALLOT__OP__OP_ACQUIRE, pool, t, NULL), ALLOT__ERROR__E_OK);
    expect_held(2);
    check_equal(wire_reference(&w, ALLOT__OP__OP_RELEASE, pool, t, NULL), ALLOT__ERROR__E_OK);
    check_equal(wire_reference(&w, ALLOT__OP__OP_RELEASE, pool, t, NULL),
                ALLOT__ERROR__E_NOT_ALLOCATED);
    wire_free(&w, pool, block);
    expect_held(0);
    wire_close(&w);
}

static void run_library(void *ctx)
{
    const struct run *run = ctx;
    struct allot *a;
    struct allot_pool *p;
    const struct allot_options wait = {.wait_ms = 1};
    struct allot_ticket ticket;
    uint64_t sizes[BATCH];
    uint64_t blocks[BATCH];
    uint64_t first;

    for (unsigned i = 0; i < BATCH; i++)
        sizes[i] = 1000;
    check_equal(allot_open(&a, run->socket), 0);
    check_equal(allot_set_timeout(a, FIXTURE_DEADLINE_MS), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    gate_signal(&run->opened);
    gate_wait(&run->go);
    check_equal(allot_alloc_batch(p, BATCH, sizes, NULL, blocks, NULL), 0);
    for (unsigned i = 0; i < BATCH; i++)
        memset(allot_ptr(p, blocks[i]), (int)i, 1000);
    check_equal(allot_realloc(p, blocks[0], 1000, 9000, NULL, &blocks[0]), 0);
    check_equal(allot_alloc(p, TOO_MUCH, NULL, &first), ALLOT_E_NO_MEMORY);
    check_equal(allot_alloc_ids(p, 3, NULL, &first), 0);
    check_equal(allot_ticket(p, blocks[1], &ticket), 0);
    check_equal(allot_release(p, &ticket), 0);
    check_equal(allot_acquire(p, &ticket, &blocks[1], NULL), ALLOT_E_NOT_ALLOCATED);
    check_equal(allot_free_ids(p, first, 3), 0);
    check_equal(allot_alloc(p, ALL, &wait, &first), ALLOT_E_DEADLINE);
    check_equal(allot_ticket(p, blocks[2], &ticket), 0);
    check_equal(allot_publish(p, "name", &ticket, 0), 0);
    check_equal(allot_publish(p, "name", &ticket, 0), ALLOT_E_EXISTS);
    check_equal(allot_ticket(p, blocks[3], &ticket), 0);
    check_equal(allot_publish(p, "name", &ticket, ALLOT_REPLACE), 0);
    check_equal(allot_lookup(p, "name", NULL, &first, NULL), 0);
    check_equal(first, blocks[3]);
    check_equal(allot_free(p, first), 0);
    check_equal(allot_unpublish(p, "name"), 0);
    check_equal(allot_unpublish(p, "name"), ALLOT_E_NO_NAME);
    for (unsigned i = 2; i < BATCH; i++)
        check(((unsigned char *)allot_ptr(p, blocks[i]))[999] == i);
    check_equal(allot_free_sized(p, blocks[0], 9000), 0);
    check_equal(allot_free_batch(p, BATCH - 2, blocks + 2, NULL), 0);
    allot_close(a);
}

/* ---- one that waits ---- */

/* Has all IDs, until there is no daemon and the other client waits for one. */
static void run_holder(void *ctx)
{
    const struct run *run = ctx;
    Allot__SessionInfo info;

    wire_open(&w, run->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t ids = wire_pool_info(&w, "default")->ids;
    struct wire_ticket all = wire_grant(&w, pool, ALLOT__OP__OP_ALLOC_IDS, ids);
    gate_signal(&run->held);
    wire_wait_sessions(&w, 2);
    uint64_t other = w.reply->sessions[1]->session;
    do /* until it has attached, and asked */
        wire_sessions(&w, other, &info);
    while (info.operations < 2);
    gate_signal(&run->opened);
    gate_wait(&run->go);
    check_equal(wire_reference(&w, ALLOT__OP__OP_RELEASE, pool, all, NULL), ALLOT__ERROR__E_OK);
    wire_close(&w);
}

static void run_waiter(void *ctx)
{
    const struct run *run = ctx;
    struct allot_options options = {.wait_ms = FIXTURE_DEADLINE_MS};
    struct allot *a;
    struct allot_pool *p;
    uint64_t id;

    gate_wait(&run->held);
    check_equal(allot_open(&a, run->socket), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    gate_signal(&run->opened);
    check_equal(allot_alloc_ids(p, 1, &options, &id), 0);
    check_equal(allot_free_ids(p, id, 1), 0);
    allot_close(a);
}

/* ---- the kills ---- */

static bool has_ended(int pidfd, int timeout_ms)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) == 1;
}

/* The next daemon, with a fault at these calls; NULL: without. */
static void spawn(struct fixture *f, const char *where, const char *fault)
{
    char names[64];
    char what[64];
    const char *const environment[] = {names, what, NULL};

    snprintf(names, sizeof(names), "TRACED_CALLS=%s", where);
    snprintf(what, sizeof(what), "TRACED_FAULT=%s", fault ? fault : "");
    setenv("ALLOTD", fault ? TRACED_PATH : getenv("TRACED"), 1);
    f->setup.environment = fault ? environment : NULL;
    fixture_spawn(f);
    f->setup.environment = NULL;
}

static void expect_nothing_left(const char *socket)
{
    wire_open(&w, socket);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_wait_sessions(&w, 1);
    check_equal(wire_pool_info(&w, "default")->used_bytes, 0);
    check_equal(wire_pool_info(&w, "default")->ids_used, 0);
    check_equal(wire_goodbye(&w), ALLOT__ERROR__E_OK); /* the next daemon is not to know it */
    wire_close(&w);
}

/* What the daemon does meanwhile. */
struct scene {
    void (*clients[2])(void *ctx);
    bool adopting; /* what they have had from the one before */
};

/* Whether the call was reached. */
static bool kill_at(struct fixture *f, const char *call, unsigned n, const struct scene *scene)
{
    struct run run = {.socket = f->socket};
    pid_t pids[2];
    int pidfds[2];
    char fault[64];
    bool reached = false;

    snprintf(fault, sizeof(fault), "signal=KILL:when=%u", n);
    gate_open(&run.opened);
    gate_open(&run.held);
    gate_open(&run.go);
    spawn(f, call, scene->adopting ? NULL : fault);
    for (unsigned i = 0; i < 2; i++) {
        pids[i] = child_start(scene->clients[i], &run);
        pidfds[i] = pidfd_open(pids[i], 0);
    }
    for (unsigned i = 0; scene->adopting && i < 2; i++)
        gate_wait(&run.opened);
    if (scene->adopting)
        fixture_kill(f);
    for (unsigned i = 0; i < 2; i++)
        gate_signal(&run.go);
    if (scene->adopting)
        spawn(f, call, fault);
    while (!reached && !(has_ended(pidfds[0], 0) && has_ended(pidfds[1], 0)))
        reached = has_ended(f->pidfd, 1);
    if (!reached)
        fixture_kill_begin(f);
    fixture_kill_end(f);
    spawn(f, "", NULL);
    check(fixture_wait_ready(f));
    for (unsigned i = 0; i < 2; i++) {
        child_join(pids[i]);
        close(pidfds[i]);
    }
    gate_close(&run.opened);
    gate_close(&run.held);
    gate_close(&run.go);
    expect_nothing_left(f->socket);
    fixture_kill(f);
    return reached;
}

static const struct fixture_setup setup = {
    .config = "[daemon]\nworkers = 1\n[pool default]\nsize_max = 64M\n",
    .activate = true,
    .keep_clients = true};

static void kill_at_each(struct fixture *f, const struct scene *scene)
{
    unsigned kills = 0;

    fixture_open(f, &setup);
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        unsigned n = 1;
        while (kill_at(f, calls[i], n, scene))
            n++;
        kills += n - 1;
        printf("%s: %u\n", calls[i], n - 1);
    }
    printf("%u kills\n", kills);
    check(kills > 150);
}

static void test_syscalls__while_serving(void **state)
{
    kill_at_each(*state, &(struct scene){.clients = {run_raw, run_library}});
}

static void test_syscalls__while_adopting(void **state)
{
    kill_at_each(*state, &(struct scene){.clients = {run_raw, run_library}, .adopting = true});
}

static void test_syscalls__while_one_that_waits_comes_back(void **state)
{
    kill_at_each(*state, &(struct scene){.clients = {run_holder, run_waiter}, .adopting = true});
}

/* ---- what the kernel refuses for a moment ---- */

static void test_syscalls__no_memory_to_send(void **state)
{
    struct fixture *f = *state;
    struct run run = {.socket = f->socket};
    pid_t pids[2];

    fixture_open(f, &setup);
    gate_open(&run.opened);
    gate_open(&run.go);
    spawn(f, "sendto,sendmmsg", "error=ENOBUFS:when=2+3");
    pids[0] = child_start(run_raw, &run);
    pids[1] = child_start(run_library, &run);
    for (unsigned i = 0; i < 2; i++)
        gate_wait(&run.opened);
    for (unsigned i = 0; i < 2; i++)
        gate_signal(&run.go);
    for (unsigned i = 0; i < 2; i++)
        child_join(pids[i]);
    gate_close(&run.opened);
    gate_close(&run.go);
    expect_nothing_left(f->socket);
    fixture_kill(f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_syscalls__no_memory_to_send),
        fixture_test_bare(test_syscalls__while_serving),
        fixture_test_bare(test_syscalls__while_adopting),
        fixture_test_bare(test_syscalls__while_one_that_waits_comes_back),
    };

    check(getenv("ALLOTD") != NULL);
    setenv("TRACED", getenv("ALLOTD"), 0);
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
