/* SPDX-License-Identifier: MIT */
/*
 * Clients as users have them: liballot in 1, 8 and 200 processes at once, with threads, batches and
 * every kind of allocation; and what becomes of their blocks when they end, in every way to end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/support.h"
#include "allot.h"
#include "fixture.h"
#include "wire.h"

#define CLIENTS_MAX 200u
#define THREADS     4u
#define SLOTS       64u

static struct wire w;

struct client {
    const char *socket;
    unsigned number;
    unsigned steps;
    const struct gate *ready;
    const struct gate *go;
};

/* Blocks carry who wrote them: nobody else may have been there meanwhile. */
static void fill(const struct allot_pool *p, uint64_t offset, uint64_t size, uint64_t mark)
{
    unsigned char *block = allot_ptr(p, offset);

    check(block != NULL);
    memset(block, (int)(mark & 0xff), size);
    if (size >= sizeof(mark))
        memcpy(block, &mark, sizeof(mark));
}

static void expect_filled(const struct allot_pool *p, uint64_t offset, uint64_t size, uint64_t mark)
{
    const unsigned char *block = allot_ptr(p, offset);
    uint64_t found = mark;

    check(block != NULL);
    if (size >= sizeof(mark))
        memcpy(&found, block, sizeof(mark));
    check_equal(found, mark);
    check_equal(block[size - 1], size == sizeof(mark) ? mark >> 56 : mark & 0xff);
}

static void use_blocks(struct allot_pool *p, struct test_random *random, uint64_t mark,
                       unsigned steps)
{
    uint64_t at[SLOTS] = {0};
    uint64_t sizes[SLOTS];

    for (unsigned i = 0; i < steps; i++) {
        unsigned slot = (unsigned)test_random_below(random, SLOTS);
        if (at[slot] == 0) {
            sizes[slot] = 1 + test_random_below(random, 4000);
            check_equal(allot_alloc(p, sizes[slot], NULL, &at[slot]), 0);
            check(at[slot] != 0);
            fill(p, at[slot], sizes[slot], mark + slot);
            continue;
        }
        expect_filled(p, at[slot], sizes[slot], mark + slot);
        if (i % 5 == 0) {
            uint64_t size = 1 + test_random_below(random, 8000);
            check_equal(allot_realloc(p, at[slot], sizes[slot], size, NULL, &at[slot]), 0);
            sizes[slot] = size;
            fill(p, at[slot], sizes[slot], mark + slot);
        } else {
            check_equal(allot_free_sized(p, at[slot], sizes[slot]), 0);
            at[slot] = 0;
        }
    }
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (at[slot])
            expect_filled(p, at[slot], sizes[slot], mark + slot);
    for (unsigned slot = 0; slot < SLOTS; slot += 2)
        if (at[slot]) /* the others are left to goodbye */
            check_equal(allot_free(p, at[slot]), 0);
}

static void use_batches(struct allot_pool *p, uint64_t mark)
{
    uint64_t sizes[ALLOT_BATCH_MAX];
    uint64_t offsets[ALLOT_BATCH_MAX];
    int codes[ALLOT_BATCH_MAX];

    for (unsigned i = 0; i < ALLOT_BATCH_MAX; i++)
        sizes[i] = 16 + i % 100;
    check_equal(allot_alloc_batch(p, ALLOT_BATCH_MAX, sizes, NULL, offsets, codes), 0);
    for (unsigned i = 0; i < ALLOT_BATCH_MAX; i++)
        fill(p, offsets[i], sizes[i], mark + i);
    for (unsigned i = 0; i < ALLOT_BATCH_MAX; i++)
        expect_filled(p, offsets[i], sizes[i], mark + i);
    check_equal(allot_free_batch(p, ALLOT_BATCH_MAX, offsets, codes), 0);
}

static void use_pages_and_ids(struct allot_pool *p, uint64_t mark)
{
    uint64_t pages;
    uint64_t first;

    check_equal(allot_alloc_pages(p, 3, NULL, &pages), 0);
    fill(p, pages, 3 * allot_page_size(p), mark);
    check_equal(allot_alloc_ids(p, 10, NULL, &first), 0);
    check_equal(allot_alloc_ids_at(p, first + 9, 1, NULL), ALLOT_E_OVERLAP);
    expect_filled(p, pages, 3 * allot_page_size(p), mark);
    check_equal(allot_free_pages(p, pages, 3), 0);
    check_equal(allot_free_ids(p, first, 10), 0);
}

static void run_client(void *ctx)
{
    const struct client *c = ctx;
    struct allot *a;
    struct allot_pool *p;
    struct test_random random;
    uint64_t mark = (uint64_t)(c->number + 1) << 32;

    check_equal(allot_open(&a, c->socket), 0);
    check_equal(allot_set_timeout(a, FIXTURE_DEADLINE_MS), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    gate_signal(c->ready);
    gate_wait(c->go);
    test_random_init(&random, test_seed(0xc1) + c->number * 31u);
    use_blocks(p, &random, mark, c->steps);
    use_batches(p, mark);
    use_pages_and_ids(p, mark);
    uint64_t offset;
    check_equal(allot_alloc(p, 100, NULL, &offset), 0);
    check_equal(allot_free(p, offset), 0);
    int rc = allot_free(p, offset); /* it may be somebody else's by now */
    check(rc == ALLOT_E_NOT_ALLOCATED || rc == ALLOT_E_NOT_OWNER);
    if (c->number % 2)
        allot_close(a); /* else its end has to do */
}

/* Starts them all, lets them go at once, and expects nothing to be left. */
static void run_clients(const struct fixture *f, unsigned n, unsigned steps)
{
    static struct client clients[CLIENTS_MAX];
    static pid_t pids[CLIENTS_MAX];
    struct gate ready;
    struct gate go;

    wire_open(&w, f->socket);
    uint64_t free_pages = wire_pool_info(&w, "default")->free_pages;
    gate_open(&ready);
    gate_open(&go);
    for (unsigned i = 0; i < n; i++) {
        clients[i] = (struct client){f->socket, i, steps, &ready, &go};
        pids[i] = child_start(run_client, &clients[i]);
    }
    for (unsigned i = 0; i < n; i++)
        gate_wait(&ready);
    check_equal(wire_sessions(&w, 0, NULL), n + 1);
    for (unsigned i = 0; i < n; i++)
        gate_signal(&go);
    for (unsigned i = 0; i < n; i++)
        child_join(pids[i]);
    wire_wait_sessions(&w, 1);
    const Allot__PoolInfo *info = wire_pool_info(&w, "default");
    check_equal(info->blocks + info->page_runs + info->id_ranges + info->used_bytes, 0);
    check_equal(info->heap_bytes, info->heap_free_bytes);
    check_equal(info->free_pages + info->heap_bytes / info->page_size, free_pages);
    gate_close(&ready);
    gate_close(&go);
    wire_close(&w);
}

static void test_clients__one(void **state)
{
    run_clients(*state, 1, 3000);
}

static void test_clients__eight(void **state)
{
    run_clients(*state, 8, 1000);
}

static void test_clients__two_hundred(void **state)
{
    run_clients(*state, CLIENTS_MAX, 100);
}

struct thread {
    pthread_t id;
    struct allot_pool *pool;
    unsigned number;
};

static void *run_thread(void *ctx)
{
    const struct thread *t = ctx;
    struct test_random random;

    test_random_init(&random, test_seed(0x7) + t->number);
    use_blocks(t->pool, &random, (uint64_t)(t->number + 1) << 40, 500);
    use_batches(t->pool, (uint64_t)(t->number + 1) << 40);
    use_pages_and_ids(t->pool, (uint64_t)(t->number + 1) << 40);
    return ctx;
}

static void run_threads(void *ctx)
{
    struct thread threads[THREADS];
    struct allot *a;
    struct allot_pool *p;

    check_equal(allot_open(&a, ctx), 0);
    check_equal(allot_set_timeout(a, FIXTURE_DEADLINE_MS), 0);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i].pool = p;
        threads[i].number = i;
        check_equal(pthread_create(&threads[i].id, NULL, run_thread, &threads[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        void *ended = NULL;
        pthread_join(threads[i].id, &ended);
        check(ended == &threads[i]);
    }
    allot_close(a);
}

static void *run_session(void *ctx)
{
    run_threads(ctx);
    return ctx;
}

/* All in this process: the thread sanitizer follows no threads of a forked child. */
static void test_clients__threads_share_a_session(void **state)
{
    struct fixture *f = *state;
    pthread_t sessions[4];

    for (unsigned i = 0; i < 4; i++)
        check_equal(pthread_create(&sessions[i], NULL, run_session, f->socket), 0);
    for (unsigned i = 0; i < 4; i++) {
        void *ended = NULL;
        pthread_join(sessions[i], &ended);
        check(ended == f->socket);
    }
    wire_open(&w, f->socket);
    wire_wait_sessions(&w, 1);
    check_equal(wire_pool_info(&w, "default")->used_bytes, 0);
    wire_close(&w);
}

static void test_clients__attach_without_room_for_a_descriptor(void **state)
{
    const struct fixture *f = *state;
    struct allot_pool *p = NULL;
    struct rlimit old, full;
    struct allot *a;

    check_equal(allot_open(&a, f->socket), 0);
    check(getrlimit(RLIMIT_NOFILE, &old) == 0);
    int lowest = dup(STDERR_FILENO);
    close(lowest);
    full = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = old.rlim_max};
    check(setrlimit(RLIMIT_NOFILE, &full) == 0);
    int error = allot_attach(a, NULL, ALLOT_WRITE, &p);
    int reason = errno;
    check(setrlimit(RLIMIT_NOFILE, &old) == 0);
    check_equal(error, ALLOT_E_SYSTEM);
    check_equal(reason, EMFILE);
    check(p == NULL);
    check_equal(allot_attach(a, NULL, ALLOT_WRITE, &p), 0);
    allot_close(a);
}

/* One that ends in a way of its own. */
struct ending {
    const char *socket;
    struct gate ready;
    struct gate go;
    struct gate done;
};

static void ending_open(struct ending *e, const char *socket)
{
    e->socket = socket;
    gate_open(&e->ready);
    gate_open(&e->go);
    gate_open(&e->done);
}

static void ending_close(struct ending *e)
{
    gate_close(&e->ready);
    gate_close(&e->go);
    gate_close(&e->done);
}

/* All that follows from what a loop has seen before this is done after it: connections are dealt to
 * the loops in turn, and a new one is an event of its own, which a loop comes to in its next round.
 */
static void let_loops_come_round(const struct fixture *f)
{
    static struct wire v;

    for (unsigned i = 0; i < FIXTURE_WORKERS; i++) {
        wire_open(&v, f->socket);
        check_equal(wire_goodbye(&v), ALLOT__ERROR__E_OK);
        wire_close(&v);
    }
}

static void hang_up_and_live(void *ctx)
{
    const struct ending *e = ctx;

    wire_open(&w, e->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 1000);
    wire_close(&w);
    gate_signal(&e->ready);
    gate_wait(&e->go);
}

static void test_end__closed_socket_keeps_blocks_until_the_process_ends(void **state)
{
    const struct fixture *f = *state;
    struct ending e;
    Allot__SessionInfo info;

    ending_open(&e, f->socket);
    wire_open(&w, f->socket);
    pid_t pid = child_start(hang_up_and_live, &e);
    gate_wait(&e.ready);
    do /* the hang-up reaches the daemon in its own time */
        check_equal(wire_sessions(&w, w.session + 1, &info), 2);
    while (info.connected);
    let_loops_come_round(f);
    check_equal(wire_sessions(&w, w.session + 1, &info), 2);
    check_equal(info.pid, pid);
    check_equal(info.allocations, 1);
    check_equal(wire_pool_info(&w, "default")->blocks, 1);
    gate_signal(&e.go);
    child_join(pid);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_wait_sessions(&w, 1);
    ending_close(&e);
    wire_close(&w);
}

/* The grandchild has the socket, and the mapping if it were not kept from it; the parent dies. */
static void leave_a_child_behind(void *ctx)
{
    const struct ending *e = ctx;

    wire_open(&w, e->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 1000);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, 0);
        gate_signal(&e->ready);
        gate_wait(&e->go);
        gate_signal(&e->done);
        _exit(0);
    }
    pause();
}

static void test_end__a_forked_child_keeps_nothing_of_a_dead_parent(void **state)
{
    const struct fixture *f = *state;
    struct ending e;

    ending_open(&e, f->socket);
    wire_open(&w, f->socket);
    pid_t pid = child_start(leave_a_child_behind, &e);
    gate_wait(&e.ready);
    check_equal(wire_pool_info(&w, "default")->blocks, 1);
    child_kill(pid);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_wait_sessions(&w, 1);
    gate_signal(&e.go);
    gate_wait(&e.done);
    wire_expect_good(&w, wire_pool(&w, "default"));
    ending_close(&e);
    wire_close(&w);
}

static void hold_stopped(void *ctx)
{
    const struct ending *e = ctx;

    wire_open(&w, e->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 1000);
    gate_signal(&e->ready);
    raise(SIGSTOP);
}

/* Stopped is not dead, however long. */
static void test_end__a_stopped_client_keeps_its_blocks(void **state)
{
    const struct fixture *f = *state;
    struct ending e;

    ending_open(&e, f->socket);
    wire_open(&w, f->socket);
    pid_t pid = child_start(hold_stopped, &e);
    gate_wait(&e.ready);
    for (unsigned i = 0; i < 1000; i++)
        check_equal(wire_pool_info(&w, "default")->blocks, 1);
    child_kill(pid);
    wire_wait_live(&w, "default", 0, 0, 0);
    ending_close(&e);
    wire_close(&w);
}

/* Becomes another program, which has the socket only where `keeps` says so. */
struct becoming {
    const char *socket;
    bool keeps;
    int in[2];
    int out[2];
};

static void become_another(void *ctx)
{
    const struct becoming *b = ctx;
    char program[] = "/bin/cat";
    char *const words[] = {program, NULL};

    wire_open(&w, b->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 1000);
    check(fcntl(w.fd, F_SETFD, b->keeps ? 0 : FD_CLOEXEC) == 0);
    check(dup2(b->in[0], STDIN_FILENO) == STDIN_FILENO);
    check(dup2(b->out[1], STDOUT_FILENO) == STDOUT_FILENO);
    execv(program, words);
}

/* Another program in the same process: the daemon is told of a closed socket at most. */
static void outlive_exec(const struct fixture *f, bool keeps)
{
    struct becoming b = {.socket = f->socket, .keeps = keeps};
    Allot__SessionInfo info;
    char byte = 'x';

    wire_open(&w, f->socket);
    check(pipe2(b.in, O_CLOEXEC) == 0 && pipe2(b.out, O_CLOEXEC) == 0);
    pid_t pid = child_start(become_another, &b);
    check(write(b.in[1], &byte, 1) == 1);
    check(read(b.out[0], &byte, 1) == 1); /* it is another program now */
    do
        check_equal(wire_sessions(&w, w.session + 1, &info), 2);
    while (info.connected && !keeps);
    check_equal(info.pid, pid);
    check_equal(info.allocations, 1);
    check_equal(info.connected, keeps);
    close(b.in[1]);
    child_join(pid);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_wait_sessions(&w, 1);
    close(b.in[0]);
    close(b.out[0]);
    close(b.out[1]);
    wire_close(&w);
}

static void test_end__another_program_holds_what_the_process_held(void **state)
{
    outlive_exec(*state, true);
    outlive_exec(*state, false);
}

struct passing {
    const char *socket;
    int pair[2];
};

static void pass_on(void *ctx)
{
    const struct passing *p = ctx;
    struct wire to = {.fd = p->pair[1], .reply_fd = -1};

    wire_open(&w, p->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 1000);
    wire_send_with_fds(&to, &w.next, sizeof(w.next), &w.fd, 1);
    pause();
}

/* The session is the process's that opened it, whoever has its socket. */
static void test_end__a_socket_passed_on_ends_with_who_opened_it(void **state)
{
    const struct fixture *f = *state;
    struct passing p = {.socket = f->socket};
    static struct wire passed;
    uint64_t next;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = &next, .iov_len = sizeof(next)};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    int fd;

    wire_open(&w, f->socket);
    check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p.pair) == 0);
    pid_t pid = child_start(pass_on, &p);
    check(recvmsg(p.pair[0], &m, MSG_CMSG_CLOEXEC) == sizeof(next));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
    wire_adopt(&passed, fd);
    passed.next = next;
    check_equal(wire_ping(&passed), ALLOT__ERROR__E_OK);
    check_equal(wire_pool_info(&w, "default")->blocks, 1);
    child_kill(pid);
    wire_expect_end(&passed);
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_wait_sessions(&w, 1);
    wire_close(&passed);
    close(p.pair[0]);
    close(p.pair[1]);
    wire_close(&w);
}

static void test_end__goodbye_frees_before_it_answers(void **state)
{
    const struct fixture *f = *state;
    static struct wire leaving;
    uint64_t sizes[CODEC_BATCH_MAX];

    wire_open(&w, f->socket);
    wire_open(&leaving, f->socket);
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, wire_pool(&leaving, "default"));
    for (unsigned i = 0; i < CODEC_BATCH_MAX; i++)
        sizes[i] = 24;
    r.sizes = sizes;
    r.n_sizes = CODEC_BATCH_MAX;
    for (unsigned i = 0; i < 40; i++)
        wire_run(&leaving, &r, CODEC_BATCH_MAX, NULL, NULL);
    check_equal(wire_goodbye(&leaving), ALLOT__ERROR__E_OK);
    check_equal(wire_pool_info(&w, "default")->blocks, 0); /* now, not in time */
    check_equal(wire_sessions(&w, 0, NULL), 1);
    wire_expect_end(&leaving);
    wire_close(&leaving);
    wire_close(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_clients__one),
        fixture_test(test_clients__eight),
        fixture_test(test_clients__two_hundred),
        fixture_test(test_clients__threads_share_a_session),
        fixture_test(test_clients__attach_without_room_for_a_descriptor),
        fixture_test(test_end__closed_socket_keeps_blocks_until_the_process_ends),
        fixture_test(test_end__a_forked_child_keeps_nothing_of_a_dead_parent),
        fixture_test(test_end__a_stopped_client_keeps_its_blocks),
        fixture_test(test_end__another_program_holds_what_the_process_held),
        fixture_test(test_end__a_socket_passed_on_ends_with_who_opened_it),
        fixture_test(test_end__goodbye_frees_before_it_answers),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
