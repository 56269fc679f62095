/* SPDX-License-Identifier: MIT */
/*
 * The daemon's death. It is killed, and another is started with what it had stored: the other must
 * know every allocation, and must have checked itself against the ledger. The fixture keeps the
 * descriptors as a service manager does.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/support.h"
#include "allot.h"
#include "fixture.h"
#include "wire.h"

#define PAGE 4096u
#define MIB  (1ull << 20)

static const struct fixture_setup two_pools = {
    .config = "[daemon]\nworkers = 2\n"
              "[pool default]\nsize = 32M\nsize_max = 64M\n"
              "[pool second]\nsize_max = 32M\npage_size = 16K\nids = 5000\n"};

static struct wire w;
static struct wire other;

#define restart_test(f) fixture_test_with(two_pools, f)

/* What the lists say, as text: to be the same before and after. What a pool's metadata costs and
 * how its heap cuts its pages is the daemon's own business; what was committed and never touched
 * looks like a hole to a new daemon. */
static void describe(struct wire *v, char *text, size_t room)
{
    size_t at = 0;

    check_equal(wire_item(v, ALLOT__OP__OP_POOLS, 0, 0, 0, 0, NULL), ALLOT__ERROR__E_OK);
    uint32_t n_pools = (uint32_t)v->reply->n_pools;
    for (uint32_t i = 0; i < n_pools; i++) {
        const Allot__PoolInfo *p = v->reply->pools[i];
        at += (size_t)snprintf(
            text + at, room - at,
            "%u %s %s %llu %llu %llu used %llu live %llu %llu %llu ids %llu %llu\n", p->pool,
            p->name, p->allocator, (unsigned long long)p->page_size, (unsigned long long)p->size,
            (unsigned long long)p->size_max, (unsigned long long)p->used_bytes,
            (unsigned long long)p->blocks, (unsigned long long)p->page_runs,
            (unsigned long long)p->id_ranges, (unsigned long long)p->ids,
            (unsigned long long)p->ids_used);
    }
    for (uint32_t pool = 1; pool <= n_pools; pool++) {
        check_equal(wire_item(v, ALLOT__OP__OP_TAGS, pool, 0, 0, 0, NULL), ALLOT__ERROR__E_OK);
        for (size_t i = 0; i < v->reply->n_tags; i++) {
            const Allot__TagInfo *t = v->reply->tags[i];
            at += (size_t)snprintf(text + at, room - at, "tag %u: %llu %llu %llu\n", t->tag,
                                   (unsigned long long)t->allocations, (unsigned long long)t->bytes,
                                   (unsigned long long)t->ids);
        }
    }
    check_equal(wire_item(v, ALLOT__OP__OP_SESSIONS, 0, 0, 0, 0, NULL), ALLOT__ERROR__E_OK);
    for (size_t i = 0; i < v->reply->n_sessions; i++) {
        const Allot__SessionInfo *s = v->reply->sessions[i];
        if (s->allocations > 0)
            at += (size_t)snprintf(text + at, room - at,
                                   "session %llu: %u %u %u holds %llu %llu %llu\n",
                                   (unsigned long long)s->session, s->pid, s->uid, s->gid,
                                   (unsigned long long)s->allocations, (unsigned long long)s->bytes,
                                   (unsigned long long)s->ids);
    }
    check(at < room);
}

/* One of each kind in a pool, with a tag. */
static void hold_some(struct wire *v, uint32_t pool, uint32_t tag)
{
    static const Allot__Op ops[] = {ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_ALLOC_PAGES,
                                    ALLOT__OP__OP_ALLOC_IDS};
    uint64_t sizes[] = {1, 16, 33};
    Allot__Error errors[3];

    for (size_t i = 0; i < 3; i++) {
        Allot__Request r = wire_request(ops[i], pool);
        r.sizes = sizes;
        r.n_sizes = 3;
        r.align = i == 1 ? 64 * 1024 : 32;
        r.tag = tag;
        wire_run(v, &r, 3, errors, NULL);
        for (size_t j = 0; j < 3; j++)
            check_equal(errors[j], ALLOT__ERROR__E_OK);
    }
}

struct holder {
    const char *socket;
    uint32_t tag;
    struct gate ready;
    struct gate end;
};

static void hold_in_both(void *ctx)
{
    const struct holder *h = ctx;

    wire_open(&w, h->socket);
    hold_some(&w, wire_pool(&w, "default"), h->tag);
    hold_some(&w, wire_pool(&w, "second"), h->tag + 1);
    gate_signal(&h->ready);
    gate_wait(&h->end);
}

static void expect_the_same_after_a_kill(struct fixture *f, void (*between)(void *), void *ctx)
{
    static char before[20000];
    static char after[20000];

    wire_open(&w, f->socket);
    describe(&w, before, sizeof(before));
    wire_close(&w);
    fixture_kill(f);
    if (between)
        between(ctx);
    fixture_start(f);
    wire_open(&w, f->socket);
    describe(&w, after, sizeof(after));
    wire_close(&w);
    if (strcmp(before, after) != 0)
        fprintf(stderr, "before:\n%safter:\n%s", before, after);
    check(strcmp(before, after) == 0);
}

static void test_restart__knows_every_allocation(void **state)
{
    struct fixture *f = *state;
    struct holder holders[5];
    pid_t pids[5];

    for (unsigned i = 0; i < 5; i++) {
        holders[i] = (struct holder){.socket = f->socket, .tag = 10 * i};
        gate_open(&holders[i].ready);
        gate_open(&holders[i].end);
        pids[i] = child_start(hold_in_both, &holders[i]);
        gate_wait(&holders[i].ready);
    }
    for (unsigned i = 0; i < 3; i++)
        expect_the_same_after_a_kill(f, NULL, NULL);
    wire_open(&w, f->socket);
    wire_wait_live(&w, "default", 15, 15, 15);
    /* One that goes under the new daemon; others that died while there was none. */
    child_kill(pids[0]);
    wire_wait_live(&w, "second", 12, 12, 12);
    wire_close(&w);
    fixture_kill(f);
    child_kill(pids[1]);
    gate_signal(&holders[2].end);
    child_join(pids[2]);
    fixture_start(f);
    wire_open(&w, f->socket);
    const Allot__PoolInfo *info = wire_pool_info(&w, "default"); /* at once, not in time */
    check_equal(info->blocks, 6);
    check_equal(info->page_runs, 6);
    check_equal(info->id_ranges, 6);
    for (unsigned i = 3; i < 5; i++) {
        gate_signal(&holders[i].end);
        child_join(pids[i]);
    }
    wire_wait_live(&w, "default", 0, 0, 0);
    wire_wait_live(&w, "second", 0, 0, 0);
    check_equal(wire_pool_info(&w, "default")->used_bytes, 0);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_restart__contents_stay_and_nothing_overlaps(void **state)
{
    struct fixture *f = *state;
    static uint64_t at[500];
    static uint64_t fresh[500];
    Allot__Error error;

    wire_open(&w, f->socket);
    uint32_t pool = wire_attach(&w, "default", ALLOT__ACCESS__ACCESS_WRITE, &error);
    unsigned char *base =
        mmap(NULL, w.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, w.reply_fd, 0);
    check(base != MAP_FAILED);
    for (unsigned i = 0; i < 500; i++) {
        at[i] = wire_alloc(&w, pool, 100 + i * 7);
        memset(base + at[i], (int)(i % 251), 100 + i * 7);
    }
    for (unsigned i = 0; i < 500; i += 3) {
        wire_free(&w, pool, at[i]);
        at[i] = 0;
    }
    for (unsigned kills = 0; kills < 3; kills++) {
        fixture_kill(f);
        wire_expect_end(&w);
        fixture_start(f);
        wire_close(&w);
        wire_open(&w, f->socket); /* a second session of this process */
        pool = wire_pool(&w, "default");
        for (unsigned i = 0; i < 500; i++) {
            fresh[i] = wire_alloc(&w, pool, 50 + i * 11);
            memset(base + fresh[i], 0xff, 50 + i * 11); /* would destroy what it overlaps */
        }
        for (unsigned i = 0; i < 500; i++)
            for (unsigned j = 0; at[i] && j < 100 + i * 7; j++)
                check(base[at[i] + j] == i % 251);
        for (unsigned i = 0; i < 500; i++)
            wire_free(&w, pool, fresh[i]);
    }
    munmap(base, 64 * MIB);
    wire_close(&w);
}

static void test_restart__growth_and_ids_stay(void **state)
{
    struct fixture *f = *state;
    uint64_t size;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    check_equal(wire_item(&w, ALLOT__OP__OP_ADD_MEMORY, pool, 0, 5 * MIB, 0, &size), 0);
    check_equal(size, 37 * MIB);
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC_PAGES_AT, pool, 36 * MIB, 256, 0, NULL), 0);
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC_IDS_AT, pool, 1u << 31, 77, 0, NULL), 0);
    uint64_t block = wire_alloc(&w, pool, 10000);
    check_equal(wire_item(&w, ALLOT__OP__OP_RESIZE, pool, block, 20, 0, NULL), 0);
    expect_the_same_after_a_kill(f, NULL, NULL);
    wire_open(&w, f->socket);
    check_equal(wire_pool(&w, "default"), pool);
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC_PAGES_AT, pool, 36 * MIB, 1, 0, NULL),
                ALLOT__ERROR__E_OVERLAP);
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC_IDS_AT, pool, (1u << 31) + 76, 1, 0, NULL),
                ALLOT__ERROR__E_OVERLAP);
    check_equal(wire_item(&w, ALLOT__OP__OP_FREE, pool, block, 20, 0, NULL),
                ALLOT__ERROR__E_NOT_OWNER);
    wire_expect_good(&w, pool);
    wire_close(&w);
}

/* SIGTERM with live clients, then a start: no difference to a kill. */
static void test_restart__after_a_clean_stop(void **state)
{
    struct fixture *f = *state;
    static char before[20000];
    static char after[20000];

    wire_open(&w, f->socket);
    hold_some(&w, wire_pool(&w, "second"), 5);
    describe(&w, before, sizeof(before));
    fixture_stop(f);
    wire_expect_end(&w);
    wire_close(&w);
    fixture_start(f);
    wire_open(&w, f->socket);
    describe(&w, after, sizeof(after));
    check(strcmp(before, after) == 0);
    wire_close(&w);
}

static void test_restart__by_socket_activation(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup activated = {.activate = true};

    fixture_open(f, &activated);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint64_t block = wire_alloc(&w, wire_pool(&w, "default"), 1000);
    check(block != 0);
    fixture_kill(f);
    wire_connect(&other, f->socket); /* while nobody is there: the manager's socket listens on */
    fixture_start(f);
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);
    hello.version_min = hello.version_max = CODEC_VERSION;
    wire_send(&other, &hello);
    check(wire_receive(&other) && !other.reply->refused);
    check_equal(wire_pool_info(&other, "default")->blocks, 1);
    wire_close(&other);
    wire_close(&w);
}

static void test_restart__pools_in_use_stay(void **state)
{
    struct fixture *f = *state;
    Allot__Error error;

    wire_open(&w, f->socket);
    uint64_t block = wire_alloc(&w, wire_pool(&w, "second"), 1000);
    check(block != 0);
    fixture_kill(f);
    wire_close(&w);
    /* `second` is gone from the configuration, `default`, which is empty, has another shape. */
    f->setup.config = NULL;
    fixture_write_config(f, "[pool default]\nsize_max = 128M\n[pool third]\nsize_max = 16M\n");
    fixture_start(f);
    check(strstr(fixture_log(f), "second") != NULL);
    wire_open(&w, f->socket);
    const Allot__PoolInfo *info = wire_pool_info(&w, "second");
    check(info && info->blocks == 1 && info->access == ALLOT__ACCESS__ACCESS_NONE);
    wire_attach(&w, "second", ALLOT__ACCESS__ACCESS_READ, &error);
    check_equal(error, ALLOT__ERROR__E_DENIED);
    check_equal(wire_pool_info(&w, "default")->size_max, 128 * MIB);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_expect_good(&w, wire_pool(&w, "third"));
    wire_close(&w);
    check(fixture_find_stored(f, "pool-second") >= 0);
    check(fixture_find_stored(f, "pool-third") >= 0);
}

static void test_restart__empty_pools_that_are_not_wanted_go(void **state)
{
    struct fixture *f = *state;

    fixture_kill(f);
    fixture_write_config(f, "[pool third]\nsize_max = 16M\n");
    fixture_start(f);
    wire_open(&w, f->socket);
    check(!wire_pool_info(&w, "second") && !wire_pool_info(&w, "default"));
    wire_expect_good(&w, wire_pool(&w, "third"));
    wire_close(&w);
    check_equal(fixture_find_stored(f, "pool-second"), -1);
    check_equal(f->n_stored, 3); /* the listener, too */
}

/* A session keeps what it attached, but not for another pool in that one's place: what it maps is
 * the old region. */
static void test_restart__a_fresh_pool_is_nobodys(void **state)
{
    struct fixture *f = *state;
    Allot__Error error;
    uint64_t size = 48 * MIB; /* more than there is, until some is added */
    unsigned char secret[CODEC_SECRET_SIZE];

    wire_open(&w, f->socket);
    memcpy(secret, w.reply->secret.data, sizeof(secret));
    uint32_t pool = wire_pool(&w, "default");
    uint32_t second = wire_pool(&w, "second");
    Allot__Request watch = wire_request(ALLOT__OP__OP_WATCH, pool);
    uint64_t watched = w.next;
    wire_run(&w, &watch, 1, &error, NULL);
    check_equal(error, ALLOT__ERROR__E_OK);
    check(wire_receive(&w) && w.reply->n_events > 0); /* there is nothing */
    Allot__Request wait = wire_request(ALLOT__OP__OP_ALLOC, pool);
    wait.sizes = &size;
    wait.n_sizes = 1;
    wait.number = w.next++;
    wait.deadline_ms = FIXTURE_DEADLINE_MS;
    wire_send(&w, &wait);
    check_equal(wire_ping(&w), ALLOT__ERROR__E_OK); /* it is in the journal */
    fixture_kill(f);
    wire_close(&w);
    f->setup.config = NULL;
    fixture_write_config(f, "[pool default]\nsize = 64M\nsize_max = 128M\n"
                            "[pool second]\nsize_max = 32M\npage_size = 16K\nids = 5000\n");
    fixture_start(f);
    check_equal(wire_resume(&other, f->socket, w.session, secret, sizeof(secret)),
                ALLOT__ERROR__E_OK);
    other.next = w.next;
    wire_send(&other, &wait);
    wire_collect(&other, wait.number, 1, &error, NULL);
    check_equal(error, ALLOT__ERROR__E_NO_POOL);
    check_equal(wire_item(&other, ALLOT__OP__OP_ALLOC, pool, 0, 100, 0, NULL),
                ALLOT__ERROR__E_NO_POOL);
    check_equal(wire_item(&other, ALLOT__OP__OP_UNWATCH, 0, watched, 0, 0, NULL),
                ALLOT__ERROR__E_INVALID);
    wire_expect_good(&other, second);
    check_equal(wire_pool_info(&other, "default")->blocks, 0);
    wire_expect_good(&other, wire_pool(&other, "default"));
    wire_close(&other);
}

/* Nor are they taken for one another by who attaches both. */
static void test_restart__a_handle_stays_with_its_region(void **state)
{
    struct fixture *f = *state;
    struct allot *a;
    struct allot_pool *before, *after, *also;
    uint64_t offset;

    check_equal(allot_open(&a, f->socket), 0);
    check_equal(allot_attach(a, "default", ALLOT_WRITE, &before), 0);
    check_equal(allot_attach(a, "default", ALLOT_WRITE, &also), 0);
    check_equal(allot_alloc(before, 100, NULL, &offset), 0);
    check_equal(allot_free(also, offset), 0);
    fixture_kill(f);
    f->setup.config = NULL;
    fixture_write_config(f, "[pool default]\nsize = 64M\nsize_max = 128M\n");
    fixture_start(f);
    check_equal(allot_alloc(before, 100, NULL, &offset), ALLOT_E_NO_POOL);
    check_equal(allot_attach(a, "default", ALLOT_WRITE, &after), 0);
    check_equal(allot_alloc(before, 100, NULL, &offset), ALLOT_E_NO_POOL);
    check_equal(allot_alloc(also, 100, NULL, &offset), ALLOT_E_NO_POOL);
    check_equal(allot_alloc(after, 100, NULL, &offset), 0);
    check_equal(allot_free(before, offset), ALLOT_E_NO_POOL);
    strcpy(allot_ptr(after, offset), "of the new one");
    check_equal(allot_free(after, offset), 0);
    allot_close(a);
}

/* What is wrong with a ledger. */
static void damage_header(int fd)
{
    check(pwrite(fd, "\0\1\2\3", 4, 0) == 4);
}

/* Nothing is: it is of another layout, and its checksum (FNV-1a) is right. */
static void make_another_layout(int fd)
{
    unsigned char header[64];
    uint64_t hash = 0xcbf29ce484222325u;

    check(pread(fd, header, sizeof(header), 0) == sizeof(header));
    header[8]++;
    for (size_t i = 0; i < 56; i++)
        hash = (hash ^ header[i]) * 0x100000001b3u;
    memcpy(header + 56, &hash, sizeof(hash));
    check(pwrite(fd, header, sizeof(header), 0) == sizeof(header));
}

static void damage_pool(int fd)
{
    check(pwrite(fd, "\377\377\377\377\377\377\377\377", 8, 4096 + 96) == 8); /* size_max */
}

static void damage_pool_name(int fd)
{
    check(pwrite(fd, "", 1, 4096) == 1);
}

static void damage_generation(int fd)
{
    check(pwrite(fd, "\0\0\0\0\0\0\0", 8, 4096 + 128) == 8); /* below its record's */
}

static void damage_last_session(int fd)
{
    check(pwrite(fd, "\0\0\0\0\0\0\0", 8, 64) == 8);
}

static const struct {
    void (*make)(int fd);
    const char *log; /* says so */
} damages[] = {
    {damage_header, "error: ledger: damaged header"},
    {make_another_layout, "error: ledger: layout"},
    {damage_pool, "error: pool"},
    {damage_pool_name, "error: store: pool"},
    {damage_generation, "error: ledger: pool"},
    {damage_last_session, "error: ledger: a session"},
};

static void test_restart__unusable_ledger_is_set_aside(void **state)
{
    struct fixture *f = *state;

    f->errors_expected = true;
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        wire_open(&w, f->socket);
        uint32_t pool = wire_pool(&w, "default");
        wire_alloc(&w, pool, 1000);
        fixture_kill(f);
        wire_close(&w);
        damages[i].make(f->stored[fixture_find_stored(f, "ledger")].fd);
        fixture_start(f);
        check(strstr(fixture_log(f), damages[i].log));
        check(strstr(fixture_log(f), "set aside"));
        wire_open(&w, f->socket);
        check_equal(wire_pool_info(&w, "default")->blocks, 0);
        wire_expect_good(&w, wire_pool(&w, "default"));
        wire_close(&w);
        fixture_take_notifications(f);
        /* Both are there for somebody to look at, and the new ones as well. */
        check(fixture_find_stored(f, "aside-ledger") >= 0);
        check(fixture_find_stored(f, "aside-pool-default") >= 0);
        check(fixture_find_stored(f, "ledger") >= 0);
        check(fixture_find_stored(f, "pool-default") >= 0);
        /* And the new ones hold: the next start finds nothing wrong. */
        fixture_kill(f);
        fixture_start(f);
        check(!strstr(fixture_log(f), "error:"));
        check(fixture_find_stored(f, "aside-ledger") >= 0);
    }
}

static void test_restart__ledger_without_its_region(void **state)
{
    struct fixture *f = *state;

    wire_open(&w, f->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 1000);
    fixture_kill(f);
    wire_close(&w);
    int i = fixture_find_stored(f, "pool-default");
    check(i >= 0);
    f->errors_expected = true;
    close(f->stored[i].fd);
    f->stored[i] = f->stored[--f->n_stored];
    fixture_start(f);
    check(strstr(fixture_log(f), "region is gone"));
    wire_open(&w, f->socket);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_close(&w);
}

static void test_restart__lost_store_starts_fresh(void **state)
{
    struct fixture *f = *state;

    wire_open(&w, f->socket);
    wire_alloc(&w, wire_pool(&w, "default"), 1000);
    fixture_stop(f);
    wire_close(&w);
    fixture_drop_stored(f);
    fixture_start(f);
    wire_open(&w, f->socket);
    check_equal(wire_pool_info(&w, "default")->blocks, 0);
    check_equal(wire_sessions(&w, 0, NULL), 1);
    wire_close(&w);
}

/* Killed while it starts, at many moments: the manager must never be left without the ledger. */
static void test_restart__killed_while_starting(void **state)
{
    struct fixture *f = *state;
    static char before[20000];
    static char after[20000];

    wire_open(&other, f->socket);
    hold_some(&other, wire_pool(&other, "default"), 1);
    wire_open(&w, f->socket);
    describe(&w, before, sizeof(before));
    wire_close(&w);
    fixture_kill(f);
    for (unsigned round = 0; round < 60; round++) {
        fixture_spawn(f);
        /* After so many microseconds, or when it is ready. */
        struct timespec wait = {.tv_nsec = (long)round * 200000};
        nanosleep(&wait, NULL);
        fixture_kill(f);
        /* Not for a moment was anything out of the store. */
        check_equal(f->n_removed, 0);
        check(fixture_find_stored(f, "ledger") >= 0);
        check(fixture_find_stored(f, "pool-default") >= 0);
        check(fixture_find_stored(f, "pool-second") >= 0);
        check(fixture_find_stored(f, "listener") >= 0);
        check_equal(f->n_stored, 4);
    }
    fixture_start(f);
    wire_open(&w, f->socket);
    describe(&w, after, sizeof(after));
    check(strcmp(before, after) == 0);
    wire_close(&w);
    wire_close(&other);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        restart_test(test_restart__knows_every_allocation),
        restart_test(test_restart__contents_stay_and_nothing_overlaps),
        restart_test(test_restart__growth_and_ids_stay),
        restart_test(test_restart__after_a_clean_stop),
        fixture_test_bare(test_restart__by_socket_activation),
        restart_test(test_restart__pools_in_use_stay),
        restart_test(test_restart__empty_pools_that_are_not_wanted_go),
        restart_test(test_restart__a_fresh_pool_is_nobodys),
        restart_test(test_restart__a_handle_stays_with_its_region),
        restart_test(test_restart__unusable_ledger_is_set_aside),
        restart_test(test_restart__ledger_without_its_region),
        restart_test(test_restart__lost_store_starts_fresh),
        restart_test(test_restart__killed_while_starting),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
