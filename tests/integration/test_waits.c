/* SPDX-License-Identifier: MIT */
/*
 * What a connection waits for: memory that another thread commits, a peer that does not read, a
 * goodbye that takes its time. Others must be served meanwhile, and whoever waits may die.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/support.h"
#include "fixture.h"
#include "wire.h"

#define PAGE 4096u
#define KIB  (1ull << 10)
#define MIB  (1ull << 20)

static struct wire w;
static struct wire others[16];

static const struct fixture_setup roomy = {
    .config = "[daemon]\nworkers = 2\n[pool default]\nsize_max = 4G\n[pool quota]\nsize_max = 1G\n"
              "quota = 64M\n"};

#define waits_test(f) fixture_test_with(roomy, f)

static void test_commit__large_blocks_are_backed(void **state)
{
    const struct fixture *f = *state;
    /* Around the bound of what is committed at once, and of one piece. */
    static const uint64_t sizes[] = {256 * KIB, 256 * KIB + 1, MIB,
                                     16 * MIB,  16 * MIB + 1,  40 * MIB};
    uint64_t at[sizeof(sizes) / sizeof(sizes[0])];
    Allot__SessionInfo info;
    Allot__Error error;

    wire_open(&w, f->socket);
    uint32_t pool = wire_attach(&w, "default", ALLOT__ACCESS__ACCESS_WRITE, &error);
    char *base = mmap(NULL, w.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, w.reply_fd, 0);
    check(base != MAP_FAILED);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t before = wire_pool_info(&w, "default")->committed_bytes;
        at[i] = wire_alloc(&w, pool, sizes[i]);
        check(wire_pool_info(&w, "default")->committed_bytes >= before + sizes[i] - 2 * PAGE);
        base[at[i]] = 1;
        base[at[i] + sizes[i] - 1] = 2;
    }
    uint64_t committed = wire_pool_info(&w, "default")->committed_bytes;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        wire_free(&w, pool, at[i]);
    /* Memory that is there already is granted again without waiting. */
    wire_free(&w, pool, wire_alloc(&w, pool, 40 * MIB));
    check_equal(wire_pool_info(&w, "default")->committed_bytes, committed);
    /* Attach, two lists and a pair for each size, and what came after; operations that waited count
     * like all others. */
    check_equal(wire_sessions(&w, w.session, &info), 1);
    check_equal(info.operations, w.next - 2);
    munmap(base, w.region_size);
    wire_close(&w);
}

static void test_commit__in_the_middle_of_a_batch(void **state)
{
    const struct fixture *f = *state;
    uint64_t sizes[] = {64, 20 * MIB, 64, 0, 33 * MIB, 64, 300 * KIB, 64};
    uint64_t values[9];
    Allot__Error errors[9];

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    r.sizes = sizes;
    r.n_sizes = 8;
    r.number = w.next;
    wire_send(&w, &r);
    Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0); /* waits behind it */
    ping.number = w.next + 8;
    wire_send(&w, &ping);
    wire_collect(&w, w.next, 9, errors, values);
    w.next += 9;
    for (unsigned i = 0; i < 8; i++)
        check_equal(errors[i], sizes[i] ? ALLOT__ERROR__E_OK : ALLOT__ERROR__E_INVALID);
    check_equal(wire_pool_info(&w, "default")->blocks, 7);
    for (unsigned i = 0; i < 8; i++)
        if (sizes[i])
            wire_free(&w, pool, values[i]);
    check_equal(wire_pool_info(&w, "default")->blocks, 0);
    wire_close(&w);
}

static void test_commit__resize_grows_by_much(void **state)
{
    const struct fixture *f = *state;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t run_at;
    uint64_t block = wire_alloc(&w, pool, 40 * MIB);
    uint64_t usable;
    check_equal(wire_item(&w, ALLOT__OP__OP_RESIZE, pool, block, 64, 0, NULL), ALLOT__ERROR__E_OK);
    /* Where the rest went is the heap's business; in its place it may grow again. */
    Allot__Error error = wire_item(&w, ALLOT__OP__OP_RESIZE, pool, block, 30 * MIB, 0, NULL);
    check(error == ALLOT__ERROR__E_OK || error == ALLOT__ERROR__E_NO_MEMORY);
    check_equal(wire_item(&w, ALLOT__OP__OP_USABLE_SIZE, pool, block, 0, 0, &usable), 0);
    check(usable >= (error ? 64 : 30 * MIB));
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 100, 0, &run_at), 0);
    wire_free(&w, pool, block);
    check_equal(wire_pool_info(&w, "default")->used_bytes, 100 * PAGE);
    wire_close(&w);
}

/* While one session waits, its loop's other sessions are served, and those of the other loop. */
static void test_commit__holds_up_nobody_else(void **state)
{
    const struct fixture *f = *state;
    uint64_t size = 512 * MIB;
    unsigned served = 0;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    for (unsigned i = 0; i < 4; i++) {
        wire_open(&others[i], f->socket);
        wire_pool(&others[i], "default");
    }
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    r.sizes = &size;
    r.n_sizes = 1;
    /* Again where the memory came before this process had its turn. */
    for (unsigned tries = 0; served == 0 && tries < 7; tries++) {
        Allot__Error error;
        r.number = w.next++;
        wire_send(&w, &r);
        while (!wire_readable(&w)) {
            for (unsigned i = 0; i < 4; i++)
                wire_expect_good(&others[i], pool);
            served += !wire_readable(&w);
        }
        wire_collect(&w, r.number, 1, &error, NULL);
        check_equal(error, ALLOT__ERROR__E_OK);
    }
    check(served > 0);
    for (unsigned i = 0; i < 4; i++)
        wire_close(&others[i]);
    wire_close(&w);
}

struct victim {
    const char *socket;
    struct gate ready;
    struct gate go;
};

static void ask_for_much(void *ctx)
{
    const struct victim *v = ctx;
    uint64_t sizes[8];

    wire_open(&w, v->socket);
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, wire_pool(&w, "default"));
    for (unsigned i = 0; i < 8; i++)
        sizes[i] = i % 3 == 2 ? 40 * MIB : 100;
    r.sizes = sizes;
    r.n_sizes = 8;
    r.number = w.next;
    gate_signal(&v->ready);
    gate_wait(&v->go);
    wire_send(&w, &r);
    gate_signal(&v->ready);
    pause();
}

static void test_commit__client_killed_meanwhile(void **state)
{
    const struct fixture *f = *state;
    struct victim v = {.socket = f->socket};

    wire_open(&others[0], f->socket);
    uint32_t pool = wire_pool(&others[0], "default");
    uint64_t mine = wire_alloc(&others[0], pool, 100);
    for (unsigned round = 0; round < 24; round++) {
        gate_open(&v.ready);
        gate_open(&v.go);
        pid_t pid = child_start(ask_for_much, &v);
        gate_wait(&v.ready);
        gate_signal(&v.go);
        gate_wait(&v.ready);
        for (unsigned i = 0; i < round * 4; i++) /* a little later each time */
            check_equal(wire_ping(&others[0]), ALLOT__ERROR__E_OK);
        child_kill(pid);
        gate_close(&v.ready);
        gate_close(&v.go);
        wire_wait_sessions(&others[0], 1);
        check_equal(wire_pool_info(&others[0], "default")->blocks, 1);
        check_equal(wire_pool_info(&others[0], "default")->used_bytes, 100);
    }
    wire_free(&others[0], pool, mine);
    wire_expect_good(&others[0], pool);
    wire_close(&others[0]);
}

/* The same, and the daemon is told to stop while memory is on its way. */
static void test_commit__daemon_stops_meanwhile(void **state)
{
    struct fixture *f = *state;
    uint64_t size = 2048 * MIB;

    wire_open(&w, f->socket);
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, wire_pool(&w, "default"));
    r.sizes = &size;
    r.n_sizes = 1;
    r.number = w.next;
    wire_send(&w, &r);
    fixture_stop(f);
    wire_close(&w);
}

/* Many sessions wait at once, each with a tag that nobody had: when their grants come, the table of
 * tags has to have a place for all of them. */
/* What waited for room and is given up while memory is committed for it leaves nothing. */
static uint64_t ask(uint32_t pool, uint64_t size)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);

    r.number = w.next++;
    r.sizes = &size;
    r.n_sizes = 1;
    r.deadline_ms = FIXTURE_DEADLINE_MS;
    wire_send(&w, &r);
    return r.number;
}

static uint64_t committed(void)
{
    return wire_pool_info(&others[0], "default")->committed_bytes;
}

/* What waited for room and is given up while memory is committed for it leaves nothing. */
static void test_commit__given_up_meanwhile(void **state)
{
    static const struct fixture_setup setup = {
        .config = "[daemon]\nworkers = 2\n[pool default]\nsize_max = 4G\nquota = 520M\n"};
    struct fixture *f = *state;
    uint64_t value = 1;
    Allot__Error error;

    fixture_open(f, &setup);
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_open(&others[0], f->socket);
    uint32_t pool = wire_pool(&w, "default");
    /* Again, with more memory, where all of it came before the ping did. */
    for (unsigned tries = 0; value && tries < 7; tries++) {
        Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);
        uint64_t block = wire_alloc(&w, pool, 16 * MIB);
        ping.number = ask(pool, (512 + tries) * MIB);
        uint64_t before = committed();
        wire_free(&w, pool, block);
        while (committed() == before)
            ;
        wire_send(&w, &ping);
        wire_collect(&w, ping.number, 1, &error, &value);
        check_equal(error, ALLOT__ERROR__E_OK);
        if (value)
            wire_free(&w, pool, value);
    }
    check_equal(value, 0);
    wire_collect(&w, ask(pool, 16 * MIB), 1, &error, &value); /* when the quota has it back */
    check_equal(error, ALLOT__ERROR__E_OK);
    wire_free(&w, pool, value);
    check_equal(wire_pool_info(&w, "default")->used_bytes, 0);
    wire_close(&others[0]);
    wire_close(&w);
}

/* One frame: of all that came after `number` and the one behind it, and as much again of the first
 * as makes a full window. */
static void send_full_window(uint64_t number)
{
    unsigned char frame[CODEC_FRAME_MAX];
    Allot__Request ping = wire_request(ALLOT__OP__OP_PING, 0);
    size_t size = 0;

    for (unsigned i = 0; i < CODEC_INFLIGHT_MAX; i++) {
        ping.number = number + 2 + i % (CODEC_INFLIGHT_MAX - 2);
        check(codec_add_request(&ping, frame, &size) == 0);
    }
    wire_send_bytes(&w, frame, size);
}

/* One that waits is given up where its turn does not come in a round that is full, while memory is
 * committed for another. */
static void test_commit__for_another_than_is_given_up(void **state)
{
    static const struct fixture_setup setup = {
        .config = "[daemon]\nworkers = 2\n[pool default]\nsize_max = 4G\nquota = 520M\nids = 1\n"};
    struct fixture *f = *state;
    Allot__Request r;
    uint64_t one = 1;
    uint64_t value = 0;

    fixture_open(f, &setup);
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_open(&others[0], f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_pool(&others[0], "default");
    uint64_t block = wire_alloc(&others[0], pool, 16 * MIB);
    check_equal(wire_item(&others[0], ALLOT__OP__OP_ALLOC_IDS, pool, 0, 1, 0, NULL), 0);
    r = wire_request(ALLOT__OP__OP_ALLOC_IDS, pool);
    r.number = w.next++;
    r.sizes = &one;
    r.n_sizes = 1;
    r.deadline_ms = FIXTURE_DEADLINE_MS;
    wire_send(&w, &r);
    uint64_t number = ask(pool, 512 * MIB);
    for (unsigned i = 2; i < CODEC_INFLIGHT_MAX; i++)
        check_equal(wire_ping(&w), ALLOT__ERROR__E_OK);
    uint64_t before = committed();
    wire_free(&others[0], pool, block);
    while (committed() == before)
        ;
    kill(f->pid, SIGSTOP);
    for (unsigned i = 0; i < 20; i++) /* until it looks at more than one frame at a time */
        send_full_window(r.number);
    r.op = ALLOT__OP__OP_PING;
    wire_send(&w, &r);
    kill(f->pid, SIGCONT);
    while (!value) {
        check(wire_receive(&w) != NULL);
        if (w.reply->number == number)
            value = w.reply->values[0];
    }
    wire_close(&others[0]);
    wire_close(&w);
}

/* Who dies while memory is committed does not die of the request that waits for it. */
static void test_commit__killed_meanwhile_many_times(void **state)
{
    static const struct fixture_setup setup = {
        .config = "[daemon]\nworkers = 2\n[pool default]\nsize_max = 4G\n", .keep_clients = true};
    struct fixture *f = *state;
    uint64_t size = 512 * MIB;
    Allot__Error error;

    fixture_open(f, &setup);
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_open(&others[0], f->socket);
    uint32_t pool = wire_pool(&w, "default");
    wire_alloc(&w, pool, 100); /* so that its connection is kept */
    wire_alloc(&others[0], wire_pool(&others[0], "default"), 100);
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    r.number = w.next;
    r.sizes = &size;
    r.n_sizes = 1;
    wire_send(&w, &r);
    for (unsigned i = 0; i < 9; i++) { /* eight are too many for one that ends the daemon */
        uint64_t before = committed();
        while (committed() == before && !wire_readable(&w))
            ;
        fixture_kill(f);
        fixture_start(f);
    }
    wire_collect(&w, w.next, 1, &error, NULL);
    check_equal(error, ALLOT__ERROR__E_OK);
    wire_close(&others[0]);
    wire_close(&w);
}

static void test_commit__new_tags_of_many_who_wait(void **state)
{
    const struct fixture *f = *state;
    const unsigned n = sizeof(others) / sizeof(others[0]);
    uint64_t size = 2 * MIB;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    for (unsigned round = 1; round <= 16; round++) {
        Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
        uint64_t small = 16;
        r.sizes = &small;
        r.n_sizes = 1;
        r.tag = 1000 + round;
        wire_run(&w, &r, 1, NULL, NULL); /* one more tag that is there */
        for (unsigned i = 0; i < n; i++) {
            wire_open(&others[i], f->socket);
            wire_pool(&others[i], "default");
        }
        kill(f->pid, SIGSTOP);
        for (unsigned i = 0; i < n; i++) {
            r.sizes = &size;
            r.tag = i;
            r.number = others[i].next;
            wire_send(&others[i], &r);
        }
        kill(f->pid, SIGCONT);
        for (unsigned i = 0; i < n; i++) {
            uint64_t position;
            wire_collect(&others[i], others[i].next++, 1, NULL, &position);
            check(position != 0);
        }
        Allot__Request tags = wire_request(ALLOT__OP__OP_TAGS, pool);
        wire_run(&w, &tags, 1, NULL, NULL);
        check_equal(w.reply->n_tags, n + round);
        for (unsigned i = 0; i < n; i++) {
            check_equal(wire_goodbye(&others[i]), ALLOT__ERROR__E_OK);
            wire_close(&others[i]);
        }
        size += 2 * MIB; /* so that it has to be committed again */
    }
    wire_close(&w);
}

/* Two sessions of one user grow at the same time: together they must not get past the quota. */
static void test_commit__quota_counts_what_is_on_its_way(void **state)
{
    const struct fixture *f = *state;
    Allot__Error errors[2];
    uint64_t blocks[2];
    uint64_t size = 9 * MIB;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "quota");
    /* The first block makes the heap large; the alignment leaves both of the others room to grow in
     * that nobody has touched. Pages take what is then too much: 14 MiB of the quota are left. */
    wire_alloc(&w, pool, 36 * MIB);
    for (unsigned i = 0; i < 2; i++) {
        wire_open(&others[i], f->socket);
        wire_pool(&others[i], "quota");
        check_equal(
            wire_item(&others[i], ALLOT__OP__OP_ALLOC, pool, 0, MIB, i ? 16 * MIB : 0, &blocks[i]),
            ALLOT__ERROR__E_OK);
    }
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC_PAGES, pool, 0, 12 * MIB / PAGE, 0, NULL),
                ALLOT__ERROR__E_OK);
    kill(f->pid, SIGSTOP);
    for (unsigned i = 0; i < 2; i++) {
        Allot__Request r = wire_request(ALLOT__OP__OP_RESIZE, pool);
        r.positions = &blocks[i];
        r.n_positions = 1;
        r.sizes = &size;
        r.n_sizes = 1;
        r.number = others[i].next++;
        wire_send(&others[i], &r);
    }
    kill(f->pid, SIGCONT);
    for (unsigned i = 0; i < 2; i++)
        wire_collect(&others[i], others[i].next - 1, 1, &errors[i], NULL);
    check(errors[0] == ALLOT__ERROR__E_QUOTA || errors[1] == ALLOT__ERROR__E_QUOTA);
    check(errors[0] == ALLOT__ERROR__E_OK || errors[1] == ALLOT__ERROR__E_OK);
    check_equal(wire_pool_info(&w, "quota")->used_bytes, (36 + 2 + 12 + 8) * MIB);
    for (unsigned i = 0; i < 2; i++)
        wire_close(&others[i]);
    wire_close(&w);
}

/* A client that sends and never reads: its frames stay where they are once the daemon's answers do
 * not go out any more, and the daemon keeps one round's answers at most. */
static void test_drain__a_client_that_never_reads(void **state)
{
    const struct fixture *f = *state;
    Allot__Request list = wire_request(ALLOT__OP__OP_POOLS, 0);
    const unsigned n = sizeof(others) / sizeof(others[0]);

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t before = fixture_status_kb(f, "RssAnon:");
    for (unsigned i = 0; i < n; i++)
        wire_open(&others[i], f->socket);
    uint64_t sent = 0;
    for (unsigned stuck = 0; stuck < 50;) {
        bool any = false;
        for (unsigned i = 0; i < n; i++) {
            list.number = others[i].next;
            if (!wire_try_send(&others[i], &list))
                continue;
            others[i].next++;
            any = true;
            sent++;
        }
        /* All are full; whatever the daemon still takes, it takes before these answers. */
        stuck = any ? 0 : stuck + 1;
        wire_expect_good(&w, pool);
        check(sent < 10000000);
    }
    uint64_t after = fixture_status_kb(f, "RssAnon:");
    fprintf(stderr, "%llu requests unread; the daemon grew by %llu KiB\n", (unsigned long long)sent,
            (unsigned long long)(after - before));
#ifndef ALLOT_SANITIZED
    check(after < before + n * 256 + 4096);
#endif
    /* They come to their senses: every answer is there, in order. */
    for (unsigned i = 0; i < n; i++) {
        for (uint64_t number = 1; number < others[i].next; number++)
            wire_collect(&others[i], number, 1, NULL, NULL);
        wire_expect_good(&others[i], wire_pool(&others[i], "default"));
        wire_close(&others[i]);
    }
    wire_close(&w);
}

/* A pool's descriptor that is not sent yet is the daemon's: of who does not read, it has one. */
static void test_drain__descriptors_of_who_never_reads(void **state)
{
    const struct fixture *f = *state;
    Allot__Request attach = wire_request(ALLOT__OP__OP_ATTACH, 0);

    attach.name = (char *)(uintptr_t) "default";
    attach.access = ALLOT__ACCESS__ACCESS_READ;
    wire_open(&others[0], f->socket);
    wire_open(&w, f->socket);
    unsigned before = fixture_count_fds(f);
    for (unsigned stuck = 0; stuck < 50;) {
        attach.number = w.next;
        bool sent = wire_try_send(&w, &attach);
        w.next += sent;
        stuck = sent ? 0 : stuck + 1;
        if (!sent) /* whatever the daemon still takes, it takes before this answer */
            check_equal(wire_ping(&others[0]), ALLOT__ERROR__E_OK);
    }
    check(fixture_count_fds(f) <= before + 1);
    for (uint64_t number = 1; number < w.next; number++) {
        wire_collect(&w, number, 1, NULL, NULL);
        check(w.reply_fd >= 0);
        close(w.reply_fd);
        w.reply_fd = -1;
    }
    fixture_wait_fds(f, before);
    wire_close(&w);
    wire_close(&others[0]);
}

/* Goodbye behind answers that nobody reads yet: both must come in the end. */
static void test_drain__goodbye_behind_a_backlog(void **state)
{
    const struct fixture *f = *state;
    Allot__Request list = wire_request(ALLOT__OP__OP_POOLS, 0);
    Allot__Request bye = wire_request(ALLOT__OP__OP_GOODBYE, 0);
    static struct wire watcher;

    wire_open(&watcher, f->socket);
    /* Somewhere in here the goodbye is in the round whose answers do not fit any more. */
    for (unsigned requests = 0; requests < 1000; requests += 7) {
        wire_open(&w, f->socket);
        kill(f->pid, SIGSTOP);
        unsigned sent = 0;
        while (sent < requests) {
            list.number = w.next + sent;
            if (!wire_try_send(&w, &list))
                break;
            sent++;
        }
        kill(f->pid, SIGCONT);
        while (sent < requests) {
            list.number = w.next + sent;
            if (!wire_try_send(&w, &list))
                break;
            sent++;
        }
        bye.number = w.next + sent;
        bool said = wire_try_send(&w, &bye);
        for (unsigned i = 0; i < 3; i++) /* it has its chance to get stuck */
            wire_sessions(&watcher, 0, NULL);
        for (unsigned i = 0; i < sent; i++)
            wire_collect(&w, w.next + i, 1, NULL, NULL);
        if (!said)
            wire_send(&w, &bye);
        wire_collect(&w, bye.number, 1, NULL, NULL);
        wire_expect_end(&w);
        wire_close(&w);
    }
    wire_wait_sessions(&watcher, 1);
    wire_close(&watcher);
}

/* One that never reads and then dies, or hangs up, in the middle of its backlog. */
static void send_and_die(void *ctx)
{
    const struct fixture *f = ctx;
    Allot__Request list = wire_request(ALLOT__OP__OP_POOLS, 0);

    wire_open(&w, f->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 100);
    for (unsigned refused = 0; refused < 100;) {
        list.number = w.next;
        if (wire_try_send(&w, &list))
            w.next++;
        else
            refused++;
    }
    wire_close(&w);
}

static void test_drain__backlog_of_the_dead_is_dropped(void **state)
{
    struct fixture *f = *state;

    wire_open(&others[0], f->socket);
    check_equal(wire_ping(&others[0]), ALLOT__ERROR__E_OK);
    unsigned before = fixture_count_fds(f);
    for (unsigned i = 0; i < 20; i++)
        child_join(child_start(send_and_die, f));
    wire_wait_live(&others[0], "default", 0, 0, 0);
    wire_wait_sessions(&others[0], 1);
    fixture_wait_fds(f, before);
    wire_close(&others[0]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        waits_test(test_commit__large_blocks_are_backed),
        waits_test(test_commit__in_the_middle_of_a_batch),
        waits_test(test_commit__resize_grows_by_much),
        waits_test(test_commit__holds_up_nobody_else),
        waits_test(test_commit__client_killed_meanwhile),
        waits_test(test_commit__daemon_stops_meanwhile),
        fixture_test_bare(test_commit__given_up_meanwhile),
        fixture_test_bare(test_commit__for_another_than_is_given_up),
        fixture_test_bare(test_commit__killed_meanwhile_many_times),
        waits_test(test_commit__new_tags_of_many_who_wait),
        waits_test(test_commit__quota_counts_what_is_on_its_way),
        waits_test(test_drain__a_client_that_never_reads),
        waits_test(test_drain__descriptors_of_who_never_reads),
        waits_test(test_drain__goodbye_behind_a_backlog),
        waits_test(test_drain__backlog_of_the_dead_is_dropped),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
