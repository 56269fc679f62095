/* SPDX-License-Identifier: MIT */
/*
 * The daemon as its administrator sees it: configuration, reload, sockets, limits, rights, memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "wire.h"

#define MIB    (1ull << 20)
#define NOBODY 65534u

#define SESSIONS_MAX 4096u /* of daemon/bounds.h */

static struct wire w;
static struct wire other;

static void test_config__every_mistake_by_line(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup bad = {
        .config = "[daemon]\n"                   /* 1 */
                  "workers = none\n"             /* 2 */
                  "colour = blue\n"              /* 3 */
                  "[pool default]\n"             /* 4 */
                  "size_max = 8M\n"              /* 5 */
                  "size = 16M\n"                 /* 6 */
                  "page_size = 5000\n"           /* 7 */
                  "allocator = magic\n"          /* 8 */
                  "access = uid:0=all\n"         /* 9 */
                  "[pool default]\n"             /* 10 */
                  "[printer]\n"                  /* 11 */
                  "[pool ok]\n"                  /* 12 */
                  "ids = 0\n"                    /* 13 */
                  "quota = -1\n"                 /* 14 */
                  "size_max = 99999999999999T\n" /* 15 */
    };
    static const int lines[] = {2, 3, 6, 7, 8, 9, 10, 11, 13, 14, 15};
    char where[128];

    fixture_open(f, &bad);
    check_equal(fixture_run(f), 2);
    const char *log = fixture_log(f);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        snprintf(where, sizeof(where), "%s:%d: ", f->config, lines[i]);
        if (!strstr(log, where))
            fprintf(stderr, "missing: %s in\n%s", where, log);
        check(strstr(log, where) != NULL);
    }
    for (int line = 1; line <= 15; line++) {
        bool bad_line = false;
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
            bad_line |= lines[i] == line;
        snprintf(where, sizeof(where), "%s:%d: ", f->config, line);
        check(bad_line == !!strstr(log, where));
    }
    check(access(f->socket, F_OK) < 0);
}

static void test_config__missing_file(void **state)
{
    struct fixture *f = *state;

    fixture_open(f, NULL);
    unlink(f->config);
    check_equal(fixture_run(f), 2);
    check(strstr(fixture_log(f), f->config) != NULL);
}

static void test_command_line__wrong_usage(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[][3] = {
        {"--workers=0"}, {"--workers=65"}, {"--log-level=loud"}, {"--socket=sock"},
        {"--socket="},   {"argument"},     {"--no-such-option"}};
    struct fixture_setup plan = {0};

    fixture_open(f, NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        plan.arguments = bad[i];
        f->setup = plan;
        check_equal(fixture_run(f), 2);
        check(strlen(fixture_log(f)) > 0);
    }
}

static void test_reload__changes_rights_and_limits(void **state)
{
    struct fixture *f = *state;
    uint64_t left;

    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 100000);
    fixture_reload(f, "[daemon]\nworkers = 2\nsessions_max = 1\n"
                      "[pool default]\nsize_max = 256M\nquota = 150000\n");
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC, pool, 0, 60000, 0, &left),
                ALLOT__ERROR__E_QUOTA);
    check_equal(left, 50000);
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);
    hello.version_min = hello.version_max = CODEC_VERSION;
    wire_connect(&other, f->socket);
    wire_send(&other, &hello);
    wire_expect_refusal(&other, ALLOT__ERROR__E_LIMIT, 0);
    wire_close(&other);
    /* A quota below what is used already. */
    fixture_reload(f, "[pool default]\nsize_max = 256M\nquota = 10\n");
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC, pool, 0, 1, 0, &left), ALLOT__ERROR__E_QUOTA);
    check_equal(left, 0);
    /* Rights that were given are taken away, and come back. */
    fixture_reload(f, "[pool default]\nsize_max = 256M\naccess = *=read\n");
    check_equal(wire_item(&w, ALLOT__OP__OP_ALLOC, pool, 0, 1, 0, NULL), ALLOT__ERROR__E_DENIED);
    check_equal(wire_item(&w, ALLOT__OP__OP_FREE, pool, block, 0, 0, NULL), ALLOT__ERROR__E_DENIED);
    fixture_reload(f, FIXTURE_CONFIG);
    wire_expect_good(&w, pool);
    wire_free(&w, pool, block);
    wire_close(&w);
}

static void test_reload__bad_one_changes_nothing(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "[pool default]\nsize_max = 256M\naccess = *=read\nquota = much\n", /* not a number */
        "[pool default]\nsize_max = 128M\naccess = *=read\n",               /* another size */
        "[pool default]\nsize_max = 256M\nids = 77\naccess = *=read\n",
        "[pool default]\nsize_max = 256M\npage_size = 8K\naccess = *=read\n",
        "[pool default]\nsize_max = 256M\naccess = *=read\n[pool new]\n", /* one more */
        "[pool new]\nsize_max = 256M\n",                                  /* one in use less */
    };

    f->errors_expected = true;
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t block = wire_alloc(&w, pool, 100);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fixture_reload(f, bad[i]);
        fixture_log_wait(f, "old configuration stays");
        wire_expect_good(&w, pool);
    }
    check(strstr(fixture_log(f), "in use and cannot be removed") != NULL);
    char where[128];
    snprintf(where, sizeof(where), "%s:", f->config);
    check(strstr(fixture_log(f), where) != NULL);
    wire_free(&w, pool, block);
    wire_close(&w);
}

static void test_socket__path_too_long(void **state)
{
    struct fixture *f = *state;
    static char config[400];
    static char argument[200] = "--socket=";
    static const char *const arguments[] = {argument, NULL};
    char path[120];

    fixture_open(f, NULL);
    memset(path, 'a', 108);
    path[0] = '/';
    path[108] = 0;
    strcat(argument, path);
    f->setup.arguments = arguments; /* the later one counts */
    check_equal(fixture_run(f), 2);
    check(strstr(fixture_log(f), "107") != NULL);
    snprintf(config, sizeof(config), "[daemon]\nsocket = %s\n", path);
    fixture_write_config(f, config);
    f->setup.arguments = NULL;
    check_equal(fixture_run(f), 2);
    check(strstr(fixture_log(f), ":2: socket") != NULL);
}

static void test_socket__where_none_can_be(void **state)
{
    struct fixture *f = *state;
    char own[sizeof(f->socket)];

    fixture_open(f, NULL);
    strcpy(own, f->socket);
    strcpy(f->socket, "/nonexistent/allot.sock");
    check_equal(fixture_run(f), 1);
    check(strstr(fixture_log(f), "/allot.sock: its directory does not exist") != NULL);
    strcpy(f->socket, f->config);
    check_equal(fixture_run(f), 1);
    check(strstr(fixture_log(f), "/conf: is there and not a socket") != NULL);
    strcpy(f->socket, own);
}

static void test_socket__of_a_live_daemon_is_left_alone(void **state)
{
    struct fixture *f = *state;
    static struct fixture second;

    wire_open(&w, f->socket);
    fixture_open(&second, NULL);
    memcpy(second.socket, f->socket, sizeof(second.socket));
    check_equal(fixture_run(&second), 1);
    check(strstr(fixture_log(&second), "in use by a live daemon") != NULL);
    second.socket[0] = 0;
    fixture_close(&second);
    wire_expect_good(&w, wire_pool(&w, "default"));
    wire_open(&other, f->socket);
    wire_close(&other);
    wire_close(&w);
}

static void test_socket__stale_file_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    check(stat(f->socket, &st) == 0);
    check_equal(st.st_mode & 0777, 0660);
    fixture_stop(f);
    fixture_drop_stored(f);
    check(stat(f->socket, &st) == 0); /* what the manager keeps is not the daemon's to remove */
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_close(&w);
    fixture_kill(f);
    fixture_drop_stored(f);
    check(unlink(f->socket) == 0);
    /* What is no socket is not ours to remove. */
    FILE *file = fopen(f->socket, "we");
    check(file && fclose(file) == 0);
    check_equal(fixture_run(f), 1);
    check(stat(f->socket, &st) == 0 && S_ISREG(st.st_mode));
}

/* Where nobody keeps the listener, the daemon cleans up after itself. */
static void test_socket__is_removed_at_the_end(void **state)
{
    struct fixture *f = *state;
    static const char *const nobody[] = {"NOTIFY_SOCKET=", NULL};
    struct stat st;

    fixture_open(f, NULL);
    f->setup.environment = nobody;
    fixture_spawn(f);
    fixture_log_wait(f, "ready; ");
    check(stat(f->socket, &st) == 0);
    fixture_stop(f);
    check(stat(f->socket, &st) < 0 && errno == ENOENT);
}

static void hand_over_two(void)
{
    check(dup2(3, 4) == 4); /* sd_listen_fds(3) */
    check(setenv("LISTEN_FDS", "2", 1) == 0 && setenv("LISTEN_FDNAMES", "first:second", 1) == 0);
}

/* Whose clients would wait without a word of the reason. */
static void test_socket__that_is_not_served_is_named(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup two = {.activate = true, .before_exec = hand_over_two};

    fixture_open(f, &two);
    fixture_start(f);
    check(strstr(fixture_log(f), "not 'second'") != NULL);
}

/* The manager keeps it: who connects between two daemons waits for the next. */
static void test_socket__is_kept_for_the_next_daemon(void **state)
{
    struct fixture *f = *state;
    char path[sizeof(f->socket)];
    struct stat before;
    struct stat after;

    check(fixture_find_stored(f, "listener") >= 0);
    check(stat(f->socket, &before) == 0);
    for (unsigned i = 0; i < 3; i++) {
        if (i % 2)
            fixture_stop(f);
        else
            fixture_kill(f);
        check_equal(f->n_removed, 0);
        wire_connect(&w, f->socket);
        fixture_start(f);
        wire_hello(&w);
        wire_close(&w);
        check(stat(f->socket, &after) == 0 && after.st_ino == before.st_ino);
    }
    /* Where the path is another one now, or the file is gone, it is of no use. */
    fixture_kill(f);
    check(unlink(f->socket) == 0);
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_close(&w);
    fixture_kill(f);
    check_equal(f->n_removed, 1);
    strcpy(path, f->socket);
    strcat(f->socket, "-2");
    fixture_start(f);
    wire_open(&w, f->socket);
    wire_close(&w);
    fixture_stop(f);
    check_equal(f->n_removed, 1);
    check(fixture_find_stored(f, "listener") >= 0);
    check(unlink(path) == 0);
}

/* Lets the daemon open nothing more, whatever it holds: a limit that counts what is open would also
 * count what is closed a moment later. */
static void starve_of_descriptors(const struct fixture *f, struct rlimit *ret_old)
{
    check(prlimit(f->pid, RLIMIT_NOFILE, NULL, ret_old) == 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = ret_old->rlim_max};
    check(prlimit(f->pid, RLIMIT_NOFILE, &none, NULL) == 0);
}

static void test_descriptors__accepting_pauses_and_resumes(void **state)
{
    struct fixture *f = *state;
    static struct wire first;
    struct rlimit old;

    wire_open(&w, f->socket);
    wire_open(&first, f->socket);
    starve_of_descriptors(f, &old);
    wire_connect(&other, f->socket);
    fixture_log_wait(f, "accepting pauses");
    check_equal(wire_ping(&w), ALLOT__ERROR__E_OK);
    check(prlimit(f->pid, RLIMIT_NOFILE, &old, NULL) == 0);
    check_equal(wire_goodbye(&first), ALLOT__ERROR__E_OK);
    wire_close(&first);
    wire_hello(&other); /* taken in, now that there is room */
    wire_close(&other);
    wire_close(&w);
}

/* Peers that connect and say nothing hold descriptors, but not against those who speak. */
static void test_descriptors__the_silent_lock_nobody_out(void **state)
{
    struct fixture *f = *state;
    static struct wire silent[12];
    struct rlimit old;

    check(prlimit(f->pid, RLIMIT_NOFILE, NULL, &old) == 0);
    struct rlimit tight = {.rlim_cur = fixture_count_fds(f) + 8, .rlim_max = old.rlim_max};
    check(prlimit(f->pid, RLIMIT_NOFILE, &tight, NULL) == 0);
    for (unsigned i = 0; i < 12; i++)
        wire_connect(&silent[i], f->socket);
    fixture_log_wait(f, "accepting pauses");
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);
    hello.version_min = hello.version_max = CODEC_VERSION;
    for (;;) {
        wire_connect(&w, f->socket);
        wire_send(&w, &hello);
        if (wire_receive(&w) && !w.reply->refused)
            break;
        /* In, but no pidfd is left; or it had no turn for a second, and passed for silent. */
        check(!w.reply || w.reply->refused == ALLOT__ERROR__E_LIMIT);
        wire_close(&w);
    }
    check(prlimit(f->pid, RLIMIT_NOFILE, &old, NULL) == 0);
    wire_expect_good(&w, wire_pool(&w, "default"));
    for (unsigned i = 0; i < 12; i++)
        wire_close(&silent[i]);
    wire_close(&w);
}

static void test_session__that_never_attached_ends_with_its_socket(void **state)
{
    const struct fixture *f = *state;

    for (unsigned i = 0; i < 20; i++) {
        wire_open(&w, f->socket);
        check_equal(wire_ping(&w), ALLOT__ERROR__E_OK);
        wire_close(&w);
    }
    wire_open(&w, f->socket);
    wire_wait_sessions(&w, 1);
    wire_close(&w);
}

/* Slots are taken in turn: after so many sessions the latest have the first of them. */
static void test_session__lists_are_in_order_when_slots_come_round(void **state)
{
    const struct fixture *f = *state;
    static struct wire some[150]; /* more than a reply lists */

    for (unsigned i = 0; i < SESSIONS_MAX - 75; i++) {
        wire_open(&w, f->socket);
        wire_close(&w);
    }
    for (unsigned i = 0; i < 150; i++)
        wire_open(&some[i], f->socket);
    wire_wait_sessions(&some[0], 150); /* each ID above the one before */
    for (unsigned i = 0; i < 150; i++)
        wire_close(&some[i]);
}

struct hoard {
    const char *socket;
    struct gate ready;
};

/* Sessions without sockets: their process is all that keeps their descriptors. */
static void hoard_sessions(void *ctx)
{
    const struct hoard *h = ctx;

    for (unsigned i = 0; i < 8; i++) {
        wire_open(&w, h->socket);
        wire_pool(&w, "default"); /* one that never attached would end with its socket */
        wire_close(&w);
    }
    gate_signal(&h->ready);
    pause();
}

static void test_descriptors__of_the_dead_let_others_in(void **state)
{
    struct fixture *f = *state;
    struct hoard h = {.socket = f->socket};
    struct rlimit old;

    gate_open(&h.ready);
    pid_t pid = child_start(hoard_sessions, &h);
    gate_wait(&h.ready);
    wire_open(&w, f->socket);
    wire_wait_sessions(&w, 9);
    check_equal(wire_goodbye(&w), ALLOT__ERROR__E_OK);
    wire_expect_end(&w);
    wire_close(&w);
    /* No connection is left whose end could make room. */
    starve_of_descriptors(f, &old);
    wire_connect(&other, f->socket);
    fixture_log_wait(f, "accepting pauses");
    check(prlimit(f->pid, RLIMIT_NOFILE, &old, NULL) == 0);
    child_kill(pid); /* now there is room */
    wire_hello(&other);
    wire_close(&other);
    gate_close(&h.ready);
}

static const struct fixture_setup by_user = {
    .config = "[daemon]\nworkers = 2\n"
              "[pool root]\nsize_max = 16M\naccess = uid:0=write *=none\n"
              "[pool nobody]\nsize_max = 16M\naccess = uid:65534=write *=read\n"
              "[pool group]\nsize_max = 16M\naccess = gid:1234=write gid:1235=read *=none\n"
              "[pool open]\nsize_max = 16M\n"};

static void become_nobody(gid_t group)
{
    check(setgroups(1, &group) == 0);
    check(setresgid(NOBODY, NOBODY, NOBODY) == 0);
    check(setresuid(NOBODY, NOBODY, NOBODY) == 0);
}

static Allot__Error try_attach(const char *name, Allot__Access access)
{
    Allot__Error error;

    wire_attach(&w, name, access, &error);
    return error;
}

/* Of the pool that is root's alone; it was told to others. */
static uint32_t roots;
static struct wire_ticket ticket_of_root;

static void use_as_nobody(void *ctx)
{
    const struct fixture *f = ctx;

    become_nobody(1234);
    wire_open(&w, f->socket);
    check_equal(try_attach("root", ALLOT__ACCESS__ACCESS_READ), ALLOT__ERROR__E_DENIED);
    check_equal(wire_reference(&w, ALLOT__OP__OP_ACQUIRE, roots, ticket_of_root, NULL),
                ALLOT__ERROR__E_NO_POOL);
    check_equal(wire_reference(&w, ALLOT__OP__OP_RELEASE, roots, ticket_of_root, NULL),
                ALLOT__ERROR__E_NO_POOL);
    check_equal(try_attach("nobody", ALLOT__ACCESS__ACCESS_WRITE), ALLOT__ERROR__E_OK);
    check_equal(try_attach("group", ALLOT__ACCESS__ACCESS_WRITE), ALLOT__ERROR__E_OK);
    wire_expect_good(&w, wire_pool(&w, "nobody"));
    Allot__SessionInfo info;
    wire_sessions(&w, w.session, &info);
    check_equal(info.pid, getpid());
    check_equal(info.uid, NOBODY);
    check_equal(info.gid, NOBODY);
}

static void use_as_reader(void *ctx)
{
    const struct fixture *f = ctx;

    become_nobody(1235);
    wire_open(&w, f->socket);
    check_equal(try_attach("group", ALLOT__ACCESS__ACCESS_WRITE), ALLOT__ERROR__E_DENIED);
    check_equal(try_attach("group", ALLOT__ACCESS__ACCESS_READ), ALLOT__ERROR__E_OK);
    /* What came is for reading, and no way makes more of it. */
    int fd = w.reply_fd;
    char path[64];
    check(mmap(NULL, w.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    check_equal(errno, EACCES);
    void *base = mmap(NULL, w.region_size, PROT_READ, MAP_SHARED, fd, 0);
    check(base != MAP_FAILED);
    check(mprotect(base, w.region_size, PROT_READ | PROT_WRITE) < 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    check(open(path, O_RDWR | O_CLOEXEC) < 0);
    check(fchmod(fd, 0666) < 0);
    check(ftruncate(fd, 0) < 0);
    check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0);
}

static void test_rights__by_user_and_group(void **state)
{
    struct fixture *f = *state;

    if (geteuid() != 0) {
        check(!getenv("CI"));
        fprintf(stderr, "skipped: only root can be somebody else\n");
        skip();
    }
    fixture_open(f, &by_user);
    fixture_start(f);
    fixture_open_to_all(f);
    wire_open(&w, f->socket);
    check_equal(try_attach("nobody", ALLOT__ACCESS__ACCESS_WRITE), ALLOT__ERROR__E_DENIED);
    check_equal(try_attach("nobody", ALLOT__ACCESS__ACCESS_READ), ALLOT__ERROR__E_OK);
    check_equal(try_attach("group", ALLOT__ACCESS__ACCESS_READ), ALLOT__ERROR__E_DENIED);
    roots = wire_pool(&w, "root");
    ticket_of_root = wire_grant(&w, roots, ALLOT__OP__OP_ALLOC, 100);
    check_equal(wire_pool_info(&w, "group")->access, ALLOT__ACCESS__ACCESS_NONE);
    check_equal(wire_pool_info(&w, "nobody")->access, ALLOT__ACCESS__ACCESS_READ);
    child_join(child_start(use_as_nobody, f));
    child_join(child_start(use_as_reader, f));
    wire_expect_good(&w, wire_pool(&w, "open"));
    wire_close(&w);
}

static void test_rights__read_only_cannot_be_mapped_writable(void **state)
{
    const struct fixture *f = *state;

    wire_open(&w, f->socket);
    check_equal(try_attach("default", ALLOT__ACCESS__ACCESS_READ), ALLOT__ERROR__E_OK);
    check(mmap(NULL, w.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, w.reply_fd, 0) ==
          MAP_FAILED);
    check_equal(errno, EACCES);
    void *base = mmap(NULL, w.region_size, PROT_READ, MAP_SHARED, w.reply_fd, 0);
    check(base != MAP_FAILED);
    check(mprotect(base, w.region_size, PROT_READ | PROT_WRITE) < 0);
    check(munmap(base, w.region_size) == 0);
    wire_close(&w);
}

static void limit_file_size(void)
{
    static const struct rlimit small = {.rlim_cur = MIB, .rlim_max = MIB};

    check(setrlimit(RLIMIT_FSIZE, &small) == 0);
}

static void test_memory__larger_than_a_file_may_be(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup limited = {.before_exec = limit_file_size};

    fixture_open(f, &limited);
    check_equal(fixture_run(f), 1);
    check(strstr(fixture_log(f), "File too large") != NULL);
}

static void test_memory__idle_and_per_allocation(void **state)
{
    struct fixture *f = *state;
    static const struct fixture_setup gigabyte = {.config = "[pool default]\nsize_max = 1G\n"};
    const unsigned count = 200000;
    uint64_t sizes[CODEC_BATCH_MAX];
    struct stat before;
    struct stat after;

    fixture_open(f, &gigabyte);
    fixture_start(f);
    wire_open(&w, f->socket);
    uint32_t pool = wire_pool(&w, "default");
    uint64_t idle_kb = fixture_status_kb(f, "VmRSS:");
    uint64_t anonymous_kb = fixture_status_kb(f, "RssAnon:");
    int ledger = fixture_find_stored(f, "ledger");
    check(ledger >= 0 && fstat(f->stored[ledger].fd, &before) == 0);
    for (unsigned i = 0; i < CODEC_BATCH_MAX; i++)
        sizes[i] = 64;
    Allot__Request r = wire_request(ALLOT__OP__OP_ALLOC, pool);
    r.sizes = sizes;
    r.n_sizes = 250;
    for (unsigned i = 0; i < count; i += 250)
        wire_run(&w, &r, 250, NULL, NULL);
    check_equal(wire_pool_info(&w, "default")->blocks, count);
    check(fstat(f->stored[ledger].fd, &after) == 0);
    uint64_t own = (fixture_status_kb(f, "RssAnon:") - anonymous_kb) * 1024;
    uint64_t recorded = (uint64_t)(after.st_blocks - before.st_blocks) * 512;
    fprintf(stderr, "idle: %llu KiB resident; an allocation: %.1f bytes and %.1f in the ledger\n",
            (unsigned long long)idle_kb, (double)own / count, (double)recorded / count);
    check(recorded / count < 60);
#ifndef ALLOT_SANITIZED
    check(idle_kb <= 10 * 1024);
    check((own + recorded) / count <= 128);
#endif
    wire_close(&w);
}

static void test_stop__with_live_clients(void **state)
{
    struct fixture *f = *state;
    static struct wire some[16];

    for (unsigned i = 0; i < 16; i++) {
        wire_open(&some[i], f->socket);
        wire_alloc(&some[i], wire_pool(&some[i], "default"), 1000);
    }
    wire_connect(&w, f->socket); /* and one that has not said anything */
    fixture_stop(f);
    for (unsigned i = 0; i < 16; i++) {
        wire_expect_end(&some[i]);
        wire_close(&some[i]);
    }
    wire_expect_end(&w);
    wire_close(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_config__every_mistake_by_line),
        fixture_test_bare(test_config__missing_file),
        fixture_test_bare(test_command_line__wrong_usage),
        fixture_test(test_reload__changes_rights_and_limits),
        fixture_test(test_reload__bad_one_changes_nothing),
        fixture_test_bare(test_socket__path_too_long),
        fixture_test(test_socket__of_a_live_daemon_is_left_alone),
        fixture_test(test_socket__stale_file_is_replaced),
        fixture_test_bare(test_socket__where_none_can_be),
        fixture_test_bare(test_socket__is_removed_at_the_end),
        fixture_test_bare(test_socket__that_is_not_served_is_named),
        fixture_test(test_socket__is_kept_for_the_next_daemon),
        fixture_test(test_descriptors__accepting_pauses_and_resumes),
        fixture_test(test_descriptors__the_silent_lock_nobody_out),
        fixture_test(test_session__that_never_attached_ends_with_its_socket),
        fixture_test(test_session__lists_are_in_order_when_slots_come_round),
        fixture_test(test_descriptors__of_the_dead_let_others_in),
        fixture_test_bare(test_rights__by_user_and_group),
        fixture_test(test_rights__read_only_cannot_be_mapped_writable),
        fixture_test_bare(test_memory__larger_than_a_file_may_be),
        fixture_test_bare(test_memory__idle_and_per_allocation),
        fixture_test(test_stop__with_live_clients),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
