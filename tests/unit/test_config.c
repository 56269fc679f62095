/* SPDX-License-Identifier: MIT */
/*
 * The configuration as an administrator writes it: what each key does, and that every mistake is
 * told with its line, all in one run. What the daemon logs is read back from stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "log.h"
#include "support.h"

#define K      UINT64_C(1024)
#define M      (K * K)
#define G      (M * K)
#define PREFIX "allotd: error: "

static struct config config;
static char path[64]; /* of the file, through /proc */
static int file_fd, log_fd;
static char log_text[1u << 18];

static int setup(void **state)
{
    (void)state;
    unsetenv("JOURNAL_STREAM");
    file_fd = memfd_create("config", 0);
    log_fd = memfd_create("log", MFD_CLOEXEC);
    snprintf(path, sizeof(path), "/dev/fd/%d", file_fd);
    return file_fd < 0 || log_fd < 0;
}

static int teardown(void **state)
{
    (void)state;
    close(file_fd);
    close(log_fd);
    return 0;
}

/* Loads what is at `from`; what was logged meanwhile is in log_text. */
static int load_path(const char *from)
{
    int saved = dup(STDERR_FILENO);

    if (saved < 0 || ftruncate(log_fd, 0) || lseek(log_fd, 0, SEEK_SET) ||
        dup2(log_fd, STDERR_FILENO) < 0)
        abort();
    memset(&config, 0xee, sizeof(config));
    int rc = config_load(&config, from);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t size = pread(log_fd, log_text, sizeof(log_text) - 1, 0);
    log_text[size < 0 ? 0 : size] = 0;
    return rc;
}

static int load_bytes(const void *bytes, size_t size)
{
    if (ftruncate(file_fd, 0) || pwrite(file_fd, bytes, size, 0) != (ssize_t)size)
        abort();
    return load_path(path);
}

static int load(const char *text)
{
    return load_bytes(text, strlen(text));
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    while ((text = strstr(text, what))) {
        n++;
        text += strlen(what);
    }
    return n;
}

static void assert_loads(const char *text)
{
    if (load(text) || *log_text)
        fail_msg("not accepted in silence:\n%s\n%s", text, log_text);
}

/* Exactly one mistake, in that line, with these words. */
static void assert_mistake(const char *text, int line, const char *words)
{
    char start[128];

    snprintf(start, sizeof(start), PREFIX "%s:%d: ", path, line);
    if (load(text) != -1)
        fail_msg("accepted:\n%s", text);
    if (count(log_text, PREFIX) != 1 || strncmp(log_text, start, strlen(start)) != 0 ||
        !strstr(log_text, words) || count(log_text, "\n") != 1)
        fail_msg("not one mistake in line %d about '%s':\n%s\n%s", line, words, text, log_text);
}

static struct peer peer_of(uid_t uid, gid_t gid, const gid_t *groups, unsigned n)
{
    struct peer peer = {.uid = uid, .gid = gid, .n_groups = n};

    memcpy(peer.groups, groups, n * sizeof(*groups));
    return peer;
}

static Allot__Access access_of(uid_t uid, gid_t gid)
{
    struct peer peer = peer_of(uid, gid, (gid_t[]){0}, 0);

    return config_access(&config.pools[0], &peer);
}

static void assert_default_pool(const struct config_pool *pool, const char *name)
{
    const struct allot_byte_ops *built_in = NULL;

    assert_string_equal(pool->name, name);
    assert_true(pool->size == G && pool->size_max == G && pool->page_size == 4096);
    assert_true(pool->ids == UINT64_C(1) << 32);
    assert_true(pool->quota == UINT64_MAX);
    assert_true(pool->allocations_max == ALLOCATIONS_MAX);
    assert_int_equal(pool->names_quota, 1024);
    (void)allot_byte_find(NULL, &built_in); /* NULL stays where there is none */
    assert_ptr_equal(pool->allocator, built_in);
    assert_int_equal(pool->n_rules, 1);
    assert_int_equal(pool->rules[0].kind, RULE_ANY);
    assert_int_equal(pool->rules[0].access, ALLOT__ACCESS__ACCESS_WRITE);
}

static void test_config__built_in(void **state)
{
    (void)state;
    config_default(&config);
    assert_string_equal(config.socket, "");
    assert_int_equal(config.sessions_max, 1024);
    assert_int_equal(config.log_level, LOG_INFO);
    assert_int_equal(config.n_pools, 1);
    assert_default_pool(&config.pools[0], "default");
}

static void test_config__workers_are_the_cores_that_may_be_used(void **state)
{
    (void)state;
    cpu_set_t all, one;

    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    config_default(&config);
    unsigned cores = (unsigned)CPU_COUNT(&all);
    assert_int_equal(config.workers, cores < WORKERS_MAX ? cores : WORKERS_MAX);
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    config_default(&config);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
    assert_int_equal(config.workers, 1);
}

static void test_config__a_file_without_pools_keeps_the_built_in_one(void **state)
{
    (void)state;
    assert_loads("");
    assert_int_equal(config.n_pools, 1);
    assert_default_pool(&config.pools[0], "default");
    assert_loads("[daemon]\nworkers = 3\n");
    assert_int_equal(config.workers, 3);
    assert_default_pool(&config.pools[0], "default");
}

static void test_config__every_key(void **state)
{
    (void)state;
    assert_loads("# all of them\n"
                 "[daemon]\n"
                 "socket = /run/allot/other.sock\n"
                 "workers = 2\n"
                 "sessions_max = 4096\n"
                 "log_level = debug\n"
                 "\n"
                 "[pool frames] ; a comment\n"
                 "size = 16M\n"
                 "size_max = 1T\n"
                 "page_size = 64K\n"
                 "ids = 281474976710655\n"
                 "quota = 3G ; a comment\n"
                 "allocations_max = 1000\n"
                 "names_quota = 0\n"
                 "access = uid:1000=write gid:44=read *=none\n"
                 "[pool audio]\n");
    assert_string_equal(config.socket, "/run/allot/other.sock");
    assert_int_equal(config.workers, 2);
    assert_int_equal(config.sessions_max, 4096);
    assert_int_equal(config.log_level, LOG_DEBUG);
    assert_int_equal(config.n_pools, 2);
    const struct config_pool *pool = &config.pools[0];
    assert_string_equal(pool->name, "frames");
    assert_true(pool->size == 16 * M && pool->size_max == 1024 * G && pool->page_size == 64 * K);
    assert_true(pool->ids == (UINT64_C(1) << 48) - 1 && pool->quota == 3 * G);
    assert_int_equal(pool->allocations_max, 1000);
    assert_int_equal(pool->names_quota, 0);
    assert_int_equal(pool->n_rules, 3);
    assert_true(pool->rules[0].kind == RULE_UID && pool->rules[0].id == 1000 &&
                pool->rules[0].access == ALLOT__ACCESS__ACCESS_WRITE);
    assert_true(pool->rules[1].kind == RULE_GID && pool->rules[1].id == 44 &&
                pool->rules[1].access == ALLOT__ACCESS__ACCESS_READ);
    assert_true(pool->rules[2].kind == RULE_ANY &&
                pool->rules[2].access == ALLOT__ACCESS__ACCESS_NONE);
    assert_default_pool(&config.pools[1], "audio");
}

static void test_config__allocators(void **state)
{
    static const char *const names[] = {"tlsf", "first-fit", "buddy", "slab"};
    char text[64], words[64];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct allot_byte_ops *ops;

        snprintf(text, sizeof(text), "[pool p]\nallocator = %s\n", names[i]);
        snprintf(words, sizeof(words), "allocator: '%s' is not built in", names[i]);
        if (allot_byte_find(names[i], &ops)) {
            assert_mistake(text, 2, words);
        } else {
            assert_loads(text);
            assert_ptr_equal(config.pools[0].allocator, ops);
        }
    }
}

static void test_config__sizes_follow_from_each_other(void **state)
{
    (void)state;
    const struct config_pool *pool = config.pools;

    assert_loads("[pool p]\nsize = 1M\n");
    assert_true(pool->size == M && pool->size_max == G);
    assert_loads("[pool p]\nsize = 3G\n");
    assert_true(pool->size == 3 * G && pool->size_max == 3 * G);
    assert_loads("[pool p]\nsize_max = 5M\n");
    assert_true(pool->size == 5 * M && pool->size_max == 5 * M);
    assert_loads("[pool p]\npage_size = 1G\n");
    assert_true(pool->size == 2 * G && pool->size_max == 2 * G);
    assert_loads("[pool p]\nsize = 8192\nsize_max = 8K\n");
    assert_true(pool->size == 8192 && pool->size_max == 8192);
    assert_loads("[pool p]\nsize_max = 128T\n");
    assert_true(pool->size_max == UINT64_C(1) << 47);
}

static void test_config__sizes_are_rounded_up_to_pages(void **state)
{
    (void)state;
    char expected[200];

    assert_int_equal(load("[pool p]\nsize_max = 10000\nsize = 9000\n"), 0);
    assert_true(config.pools[0].size == 12288 && config.pools[0].size_max == 12288);
    snprintf(expected, sizeof(expected), "allotd: warning: %s:3: size: 9000 bytes", path);
    assert_non_null(strstr(log_text, expected));
    snprintf(expected, sizeof(expected), "allotd: warning: %s:2: size_max: 10000 bytes", path);
    assert_non_null(strstr(log_text, expected));
    assert_int_equal(count(log_text, "\n"), 2);
}

static void test_config__lines_as_people_write_them(void **state)
{
    (void)state;
    /* A byte order mark, indentation, carriage returns, blank lines, no end of the last line. */
    assert_loads("\xef\xbb\xbf[daemon]\r\n\r\n   \t\r\n  workers=5\r\n\t sessions_max :\t7 \r\n"
                 "; comment\r\n  # comment\r\n\t[ pool   a-b_c.D9 ]\r\n  size = 1M\r\n"
                 "    ids = 9");
    assert_int_equal(config.workers, 5);
    assert_int_equal(config.sessions_max, 7);
    assert_int_equal(config.n_pools, 1);
    assert_string_equal(config.pools[0].name, "a-b_c.D9");
    assert_true(config.pools[0].size == M && config.pools[0].ids == 9);
    /* Whatever inih would take for an indented line, and so for more of the one before. */
    assert_loads("[pool a]\naccess = *=none\n\r[pool b]\n\v\fids = 9\n");
    assert_int_equal(config.n_pools, 2);
    assert_int_equal(config.pools[1].ids, 9);
}

static void test_config__longest_names_are_whole(void **state)
{
    (void)state;
    char text[400], name[65], socket[109];

    memset(name, 'n', sizeof(name) - 1);
    name[63] = 0;
    snprintf(text, sizeof(text), "[pool %s]\n", name);
    assert_loads(text);
    assert_string_equal(config.pools[0].name, name);
    name[63] = 'n';
    name[64] = 0;
    snprintf(text, sizeof(text), "\n[pool %s]\n", name);
    assert_mistake(text, 2, "at most 63 bytes");

    memset(socket, 's', sizeof(socket) - 1);
    socket[0] = '/';
    socket[107] = 0;
    snprintf(text, sizeof(text), "[daemon]\nsocket = %s\n", socket);
    assert_loads(text);
    assert_string_equal(config.socket, socket);
    socket[107] = 's';
    socket[108] = 0;
    snprintf(text, sizeof(text), "[daemon]\nsocket = %s\n", socket);
    assert_mistake(text, 2, "longer than 107 bytes");
}

static void test_config__a_line_too_long_is_not_cut(void **state)
{
    (void)state;
    char text[1000];

    strcpy(text, "[pool p]\nquota = ");
    memset(text + strlen(text), ' ', 400);
    strcpy(text + 400, "1M\nids = 7\n");
    assert_mistake(text, 2, "longer than");
    strcpy(text, "[pool p]\n# ");
    memset(text + 11, 'c', 500);
    strcpy(text + 511, "\nids = 7\n");
    assert_mistake(text, 2, "longer than");
}

static void test_config__pools_without_keys_count(void **state)
{
    (void)state;
    char text[1000] = "";

    for (unsigned i = 0; i < POOLS_MAX; i++)
        snprintf(text + strlen(text), 32, "[pool p%u]\n", i);
    assert_loads(text);
    assert_int_equal(config.n_pools, POOLS_MAX);
    assert_string_equal(config.pools[POOLS_MAX - 1].name, "p15");
    strcat(text, "[pool another]\nsize = 1M\n");
    assert_mistake(text, POOLS_MAX + 1, "at most 16 pools");
}

static void test_config__one_mistake_one_message(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int line;
        const char *words;
    } rows[] = {
        {"workers = 1\n", 1, "before the first section"},
        {"[daemon]\nworkes = 1\n", 2, "'workes' is unknown"},
        {"[daemon]\nsize = 1\n", 2, "'size' is unknown"},
        {"[pool p]\nworkers = 1\n", 2, "'workers' is unknown"},
        {"[pool p]\nSIZE = 1M\n", 2, "'SIZE' is unknown"},
        {"[pool p]\n= 1M\n", 2, "'' is unknown"},
        {"[demon]\nworkers = 1\nx = 2\n", 1, "[demon] is unknown"},
        {"[]\n", 1, "[] is unknown"},
        {"[poolp]\n", 1, "[poolp] is unknown"},
        {"\n[pool p\nsize = 1\n", 2, "']' is missing"},
        {"[pool p] size = 1\n", 1, "nothing but a comment"},
        {"[pool]\n", 1, "needs a name"},
        {"[pool ]\nsize = 1M\n", 1, "needs a name"},
        {"[pool a b]\n", 1, "letters"},
        {"[pool a/b]\n", 1, "letters"},
        {"[pool \xc3\xa4]\n", 1, "letters"},
        {"[pool p]\n[pool q]\n[pool p]\nsize = 1M\n", 3, "second time"},
        {"[pool p]\nsize\n", 2, "neither"},
        {"[pool p]\nsize 1M", 2, "neither"},
        {"hello\n[pool p]\n", 1, "neither"},
        {"[pool p]\nsize = 1M\nids = 3\nsize = 1M\n", 4, "line 2 already"},
        {"[daemon]\nworkers = 1\n[pool p]\n[daemon]\nworkers = 2\n", 5, "line 2 already"},
        {"[daemon]\nworkers = 0\n", 2, "from 1 to 64"},
        {"[daemon]\nworkers = 65\n", 2, "from 1 to 64"},
        {"[daemon]\nworkers = two\n", 2, "not a whole number"},
        {"[daemon]\nworkers =\n", 2, "not a whole number"},
        {"[daemon]\nworkers = -1\n", 2, "not a whole number"},
        {"[daemon]\nworkers = +1\n", 2, "not a whole number"},
        {"[daemon]\nsessions_max = 4097\n", 2, "from 1 to 4096"},
        {"[daemon]\nsessions_max = 0\n", 2, "from 1 to 4096"},
        {"[daemon]\nlog_level = loud\n", 2, "'loud'"},
        {"[daemon]\nsocket = allot.sock\n", 2, "absolute"},
        {"[daemon]\nsocket =\n", 2, "absolute"},
        {"[daemon]\nsocket = @allot\n", 2, "absolute"},
        {"[daemon]\nsocket = /run/allot/\n", 2, "directory"},
        {"[pool p]\nsize = 1.5G\n", 2, "not a whole number"},
        {"[pool p]\nsize = 1GB\n", 2, "not a whole number"},
        {"[pool p]\nsize = 1 G\n", 2, "not a whole number"},
        {"[pool p]\nsize = 1g\n", 2, "not a whole number"},
        {"[pool p]\nsize = 0x1000\n", 2, "not a whole number"},
        {"[pool p]\nsize = G\n", 2, "not a whole number"},
        {"[pool p]\nsize = 18446744073709551616\n", 2, "not a whole number"},
        {"[pool p]\nsize = 16777216T\n", 2, "not a whole number"},
        {"[pool p]\nsize = 0\n", 2, "from 1 to 140737488355328"},
        {"[pool p]\nsize_max = 129T\n", 2, "from 1 to 140737488355328"},
        {"[pool p]\nsize = 16777215T\n", 2, "from 1 to 140737488355328"},
        {"[pool p]\nids = 3\nsize = 2M\nsize_max = 1M\n", 3, "more than size_max"},
        {"[pool p]\nsize_max = 1M\nsize = 2M\n[pool q]\n", 3, "more than size_max"},
        {"[pool p]\nsize = 4K\n", 2, "less than two pages"},
        {"[pool p]\nsize_max = 4K\n", 2, "less than two pages"},
        {"[pool p]\nsize = 64K\npage_size = 64K\n", 2, "less than two pages"},
        {"[pool p]\npage_size = 5000\n", 2, "not a power of two"},
        {"[pool p]\npage_size = 2K\n", 2, "from 4096 to 1073741824"},
        {"[pool p]\npage_size = 2G\n", 2, "from 4096 to 1073741824"},
        {"[pool p]\nallocator = best\n", 2, "'best' is not tlsf, buddy, slab or first-fit"},
        {"[pool p]\nallocator =\n", 2, "'' is not tlsf"},
        {"[pool p]\nids = 0\n", 2, "from 1 to 281474976710655"},
        {"[pool p]\nids = 256T\n", 2, "from 1 to 281474976710655"},
        {"[pool p]\nquota = 0\n", 2, "from 1 to"},
        {"[pool p]\nallocations_max = 67108865\n", 2, "from 1 to 67108864"},
        {"[pool p]\nnames_quota = 16385\n", 2, "from 0 to 16384"},
        {"[pool p]\naccess =\n", 2, "no rule"},
        {"[pool p]\naccess = write\n", 2, "'write' is not WHO="},
        {"[pool p]\naccess = *=all\n", 2, "not 'all'"},
        {"[pool p]\naccess = *=\n", 2, "not ''"},
        {"[pool p]\naccess = =read\n", 2, "'' is not uid:"},
        {"[pool p]\naccess = alice=read\n", 2, "'alice' is not uid:"},
        {"[pool p]\naccess = uid:=read\n", 2, "'uid:' is not uid:"},
        {"[pool p]\naccess = uid:nobody-has-this-name=read\n", 2, "no user"},
        {"[pool p]\naccess = gid:nobody-has-this-name=read\n", 2, "no group"},
        {"[pool p]\naccess = uid:10x=read\n", 2, "not the number of a user"},
        {"[pool p]\naccess = gid:4294967295=read\n", 2, "not the number of a group"},
        {"[pool p]\naccess = uid:99999999999999999999=read\n", 2, "not the number of a user"},
        {"[pool p]\naccess = uid:7=read *=none\naccess = uid:07=write\n", 3, "a rule already"},
        {"[pool p]\naccess = *=read *=read\n", 2, "a rule already"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_mistake(rows[i].text, rows[i].line, rows[i].words);
}

static void test_config__all_mistakes_in_one_run(void **state)
{
    (void)state;
    static const int lines[] = {1, 3, 4, 5, 6, 8, 9, 10, 12, 15};
    const char *at = log_text;

    assert_int_equal(load("early = 1\n"
                          "[daemon]\n"
                          "workers = none\n"
                          "garbage\n"
                          "color = red\n"
                          "socket = relative\n"
                          "[pool p]\n"
                          "size = -3\n"
                          "page_size = 5000\n"
                          "allocator = best\n"
                          "ids = 17\n"
                          "access = uid:nobody-has-this-name=read *=read\n"
                          "[pool q]\n"
                          "size_max = 1M\n"
                          "size = 2M\n"),
                     -1);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char start[128];

        snprintf(start, sizeof(start), PREFIX "%s:%d: ", path, lines[i]);
        if (strncmp(at, start, strlen(start)) != 0)
            fail_msg("line %d is not told in its place:\n%s", lines[i], log_text);
        at = strchr(at, '\n') + 1;
    }
    assert_string_equal(at, "");
}

static void test_config__names_of_users_and_groups(void **state)
{
    (void)state;
    char text[400];
    const struct passwd *user = getpwuid(0);
    assert_non_null(user);
    char *user_name = strdup(user->pw_name);
    const struct group *group = getgrgid(0);
    assert_non_null(group);

    snprintf(text, sizeof(text), "[pool p]\naccess = uid:%s=read\naccess = gid:%s=write\n",
             user_name, group->gr_name);
    free(user_name);
    assert_loads(text);
    assert_int_equal(config.pools[0].n_rules, 2);
    assert_int_equal(access_of(0, 5), ALLOT__ACCESS__ACCESS_READ);
    assert_int_equal(access_of(5, 0), ALLOT__ACCESS__ACCESS_WRITE);
    assert_int_equal(access_of(5, 5), ALLOT__ACCESS__ACCESS_NONE);
}

static void test_config__which_rule_counts(void **state)
{
    (void)state;
    struct peer peer;

    assert_loads("[pool p]\naccess = *=read gid:10=none gid:11=write uid:1=none uid:2=write\n");
    assert_int_equal(access_of(9, 9), ALLOT__ACCESS__ACCESS_READ);
    assert_int_equal(access_of(9, 10), ALLOT__ACCESS__ACCESS_NONE);
    assert_int_equal(access_of(9, 11), ALLOT__ACCESS__ACCESS_WRITE);
    assert_int_equal(access_of(1, 11), ALLOT__ACCESS__ACCESS_NONE);
    assert_int_equal(access_of(2, 10), ALLOT__ACCESS__ACCESS_WRITE);
    peer = peer_of(9, 10, (gid_t[]){50, 11}, 2); /* the most that a group gives */
    assert_int_equal(config_access(config.pools, &peer), ALLOT__ACCESS__ACCESS_WRITE);
    peer = peer_of(9, 9, (gid_t[]){50, 10}, 2);
    assert_int_equal(config_access(config.pools, &peer), ALLOT__ACCESS__ACCESS_NONE);

    /* The order in the file means nothing. */
    assert_loads("[pool p]\naccess = uid:2=none gid:11=read gid:10=none *=write\n");
    assert_int_equal(access_of(2, 11), ALLOT__ACCESS__ACCESS_NONE);
    assert_int_equal(access_of(9, 11), ALLOT__ACCESS__ACCESS_READ);
    assert_int_equal(access_of(9, 10), ALLOT__ACCESS__ACCESS_NONE);
    peer = peer_of(9, 11, (gid_t[]){10}, 1);
    assert_int_equal(config_access(config.pools, &peer), ALLOT__ACCESS__ACCESS_READ);
    assert_int_equal(access_of(9, 9), ALLOT__ACCESS__ACCESS_WRITE);
}

static void test_config__at_most_so_many_rules(void **state)
{
    (void)state;
    char text[4000] = "[pool p]\n";

    for (unsigned i = 0; i < RULES_MAX; i++)
        snprintf(text + strlen(text), 64, "access = uid:%u=read\n", i);
    assert_loads(text);
    assert_int_equal(config.pools[0].n_rules, RULES_MAX);
    assert_int_equal(access_of(RULES_MAX - 1, 0), ALLOT__ACCESS__ACCESS_READ);
    strcat(text, "access = uid:1000=read\n");
    assert_mistake(text, RULES_MAX + 2, "at most 64 rules");
}

static void test_config__words_of_the_file_forge_no_line(void **state)
{
    (void)state;
    assert_int_equal(load("[pool p]\n\x1b[2Jx\rallotd: error: forged = 1\n"), -1);
    assert_non_null(strstr(log_text, "\\x1b[2Jx\\x0dallotd"));
    assert_null(strchr(log_text, '\x1b'));
    assert_null(strchr(log_text, '\r'));
    assert_int_equal(load_path("/nonexistent\nallotd: error: forged"), -1);
    assert_non_null(strstr(log_text, "/nonexistent\\nallotd"));
    assert_int_equal(count(log_text, "\n"), 1);
}

static void test_config__files_that_are_none(void **state)
{
    (void)state;
    assert_int_equal(load_path("/nonexistent/allotd.conf"), -1);
    assert_non_null(strstr(log_text, PREFIX "/nonexistent/allotd.conf: No such file"));
    assert_int_equal(load_path("/"), -1);
    assert_non_null(strstr(log_text, "Is a directory"));
    assert_int_equal(load_bytes("[daemon]\nwork\0ers = 1\n[pool p]\n", 31), -1);
    assert_non_null(strstr(log_text, ":2: the line holds a 0 byte"));
    assert_int_equal(count(log_text, "\n"), 1);
    assert_int_equal(load_path("/dev/zero"), -1);
    assert_non_null(strstr(log_text, "the file is longer than 1048576 bytes"));
}

/* Whatever the file says, it is refused with a reason or gives a configuration within its limits.
 */
static void test_config__random_files_are_refused_or_sound(void **state)
{
    (void)state;
    static const char *const words[] = {"[pool ", "[daemon]",  "]",         "\n",
                                        "\n",     "\n",        " = ",       "=",
                                        "size",   "size_max",  "ids",       "access",
                                        "quota",  "workers",   "socket",    "/run/x",
                                        "1M",     "2G",        "8K",        "4096",
                                        "0",      "a",         "b",         "*=read",
                                        "uid:1=", "none",      "gid:2=",    "write",
                                        "tlsf",   " ",         "page_size", "64K",
                                        ";",      "#",         "\t",        "\xef\xbb\xbf",
                                        "\r",     "allocator", "-1",        "99999999999999999999"};
    static const char *const lines[] = {"[pool a]\n",      "[pool b]\n",        "size = 1M\n",
                                        "size_max = 2M\n", "access = *=read\n", "[daemon]\n",
                                        "workers = 2\n"};
    uint64_t seed = test_seed(0xc0f16);
    struct test_random random;
    unsigned accepted = 0;
    const int rounds = 20000;
    const struct allot_byte_ops *built_in;
    bool none = allot_byte_find(NULL, &built_in);

    test_random_init(&random, seed);
    for (int round = 0; round < rounds; round++) {
        char text[600] = "";

        for (uint64_t n = test_random_below(&random, 9); n > 0; n--)
            strcat(text, lines[test_random_below(&random, sizeof(lines) / sizeof(lines[0]))]);
        if (test_random_below(&random, 2))
            for (uint64_t n = test_random_below(&random, 20); n > 0; n--)
                strcat(text, words[test_random_below(&random, sizeof(words) / sizeof(words[0]))]);
        int rc = load(text);
        bool sound = rc == -1 ? strstr(log_text, PREFIX) != NULL : strstr(log_text, PREFIX) == NULL;
        if (rc == 0) {
            accepted++;
            sound &= config.n_pools >= 1 && config.n_pools <= POOLS_MAX && config.workers >= 1;
            for (unsigned i = 0; i < config.n_pools && sound; i++) {
                const struct config_pool *p = &config.pools[i];
                sound = p->size % p->page_size == 0 && p->size_max % p->page_size == 0 &&
                        p->size >= 2 * p->page_size && p->size <= p->size_max && p->n_rules >= 1 &&
                        !p->allocator == none && *p->name;
            }
        }
        if (!sound) {
            test_seed_print(seed);
            fail_msg("round %d, %d:\n%s\n%s", round, rc, text, log_text);
        }
    }
    assert_in_range(accepted, rounds / 50, rounds - rounds / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config__built_in),
        cmocka_unit_test(test_config__workers_are_the_cores_that_may_be_used),
        cmocka_unit_test(test_config__a_file_without_pools_keeps_the_built_in_one),
        cmocka_unit_test(test_config__every_key),
        cmocka_unit_test(test_config__allocators),
        cmocka_unit_test(test_config__sizes_follow_from_each_other),
        cmocka_unit_test(test_config__sizes_are_rounded_up_to_pages),
        cmocka_unit_test(test_config__lines_as_people_write_them),
        cmocka_unit_test(test_config__longest_names_are_whole),
        cmocka_unit_test(test_config__a_line_too_long_is_not_cut),
        cmocka_unit_test(test_config__pools_without_keys_count),
        cmocka_unit_test(test_config__one_mistake_one_message),
        cmocka_unit_test(test_config__all_mistakes_in_one_run),
        cmocka_unit_test(test_config__names_of_users_and_groups),
        cmocka_unit_test(test_config__which_rule_counts),
        cmocka_unit_test(test_config__at_most_so_many_rules),
        cmocka_unit_test(test_config__words_of_the_file_forge_no_line),
        cmocka_unit_test(test_config__files_that_are_none),
        cmocka_unit_test(test_config__random_files_are_refused_or_sound),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
