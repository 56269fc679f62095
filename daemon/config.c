/* SPDX-License-Identifier: MIT */
/*
 * The configuration file.
 *
 * What it is: a strict reader of the INI file that names every mistake by path and line, all of
 * them in one run. What it is not: it opens and makes nothing; a configuration is a plain struct,
 * and whoever has one decides whether to use it.
 *
 * How: inih splits and trims the lines, but on its own it cuts a section's name at 49 bytes and a
 * line at 199, joins an indented line to the one before, says nothing of a section without keys,
 * and tells the number of one faulty line only. So it gets its lines from next_line(), which counts
 * them, refuses what would be cut, takes indentation away, and keeps section headings for itself;
 * a line of which inih then reports no key is one that it did not understand.
 *
 * Invariants: a mistake does not stop the reading, and a value that is refused counts as not given,
 * so that one mistake is one message. What depends on several keys is checked at the section's end.
 *
 * Locks: none; getpwnam() and getgrnam() allow one thread at a time.
 *
 * Limits: FILE_MAX_BYTES, so that a device given by accident ends.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <ini.h>
#include <inttypes.h>
#include <pwd.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "log.h"

#define FILE_MAX_BYTES       (1u << 20)
#define SIZE_MAX_DEFAULT     (UINT64_C(1) << 30)
#define PAGE_SIZE_LIMIT      (UINT64_C(1) << 30)
#define IDS_DEFAULT          (UINT64_C(1) << 32)
#define NAMES_QUOTA_DEFAULT  1024u
#define SESSIONS_MAX_DEFAULT 1024u

_Static_assert(sizeof(((struct config *)0)->socket) == sizeof(((struct sockaddr_un *)0)->sun_path),
               "a socket's path fits its address");

enum section { SECTION_NONE, SECTION_UNKNOWN, SECTION_DAEMON, SECTION_POOL };
enum daemon_key { DAEMON_SOCKET, DAEMON_WORKERS, DAEMON_SESSIONS_MAX, DAEMON_LOG_LEVEL, N_DAEMON };
enum pool_key {
    POOL_SIZE,
    POOL_SIZE_MAX,
    POOL_PAGE_SIZE,
    POOL_ALLOCATOR,
    POOL_IDS,
    POOL_QUOTA,
    POOL_ALLOCATIONS_MAX,
    POOL_NAMES_QUOTA,
    POOL_ACCESS,
    N_POOL
};

static const char *const daemon_keys[N_DAEMON] = {"socket", "workers", "sessions_max", "log_level"};
static const char *const pool_keys[N_POOL] = {"size",  "size_max", "page_size",       "allocator",
                                              "ids",   "quota",    "allocations_max", "names_quota",
                                              "access"};

struct reading {
    struct config *config;
    const char *path;
    FILE *file;
    int line;
    unsigned bytes;
    unsigned mistakes;
    enum section section;
    bool key_expected;       /* the line that inih has should yield a key */
    int daemon_at[N_DAEMON]; /* the line that gave the key; 0: not given */
    int pool_at[N_POOL];     /* the same, of this pool */
    struct config_pool *pool;
    struct config_pool refused; /* where keys of a pool go that cannot be one */
};

__attribute__((format(printf, 3, 4))) static void mistake(struct reading *r, int line,
                                                          const char *format, ...)
{
    char what[512];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    log_error("%s:%d: %s", r->path, line, what);
    r->mistakes++;
}

static bool parse_digits(const char *text, char **ret_end, uint64_t *ret)
{
    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    *ret = strtoull(text, ret_end, 10);
    return errno == 0;
}

static bool parse_number(const char *text, uint64_t *ret)
{
    static const char suffixes[] = "KMGT";
    char *end;
    uint64_t n;

    if (!parse_digits(text, &end, &n))
        return false;
    const char *suffix = *end ? strchr(suffixes, *end) : NULL;
    if (*end && (!suffix || end[1]))
        return false;
    unsigned shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
    if (n > UINT64_MAX >> shift)
        return false;
    *ret = n << shift;
    return true;
}

/* *ret stays as it was where the value is wrong. */
static bool read_number(struct reading *r, const char *key, const char *text, uint64_t min,
                        uint64_t max, uint64_t *ret)
{
    uint64_t n;

    if (!parse_number(text, &n)) {
        mistake(r, r->line,
                "%s: '%s' is not a whole number below 2^64, with K, M, G or T after it if need be",
                key, text);
        return false;
    }
    if (n < min || n > max) {
        mistake(r, r->line, "%s: %s is not from %" PRIu64 " to %" PRIu64, key, text, min, max);
        return false;
    }
    *ret = n;
    return true;
}

static void read_unsigned(struct reading *r, const char *key, const char *text, unsigned max,
                          unsigned *ret)
{
    uint64_t n;

    if (read_number(r, key, text, 1, max, &n))
        *ret = (unsigned)n;
}

const char *config_socket_mistake(const char *path)
{
    if (path[0] != '/')
        return "the path must be absolute";
    if (strlen(path) >= sizeof(((struct config *)0)->socket))
        return "the path is longer than 107 bytes";
    if (path[strlen(path) - 1] == '/')
        return "the path names a directory";
    return NULL;
}

/* A user's or group's number by its name, or as it stands. */
static bool find_id(struct reading *r, enum rule_kind kind, const char *name, uint32_t *ret)
{
    const char *what = kind == RULE_UID ? "user" : "group";
    char *end;
    uint64_t n;

    if (isdigit((unsigned char)name[0])) {
        if (!parse_digits(name, &end, &n) || *end || n >= UINT32_MAX) {
            mistake(r, r->line, "access: '%s' is not the number of a %s", name, what);
            return false;
        }
        *ret = (uint32_t)n;
        return true;
    }
    errno = 0;
    if (kind == RULE_UID) {
        const struct passwd *user = getpwnam(name);
        if (user) {
            *ret = user->pw_uid;
            return true;
        }
    } else {
        const struct group *group = getgrnam(name);
        if (group) {
            *ret = group->gr_gid;
            return true;
        }
    }
    mistake(r, r->line, "access: there is no %s '%s'", what, name);
    return false;
}

static bool parse_access(const char *text, Allot__Access *ret)
{
    if (strcmp(text, "none") == 0)
        *ret = ALLOT__ACCESS__ACCESS_NONE;
    else if (strcmp(text, "read") == 0)
        *ret = ALLOT__ACCESS__ACCESS_READ;
    else if (strcmp(text, "write") == 0)
        *ret = ALLOT__ACCESS__ACCESS_WRITE;
    else
        return false;
    return true;
}

/* One WHO=WHAT, which is taken apart. */
static void read_rule(struct reading *r, char *text)
{
    struct config_pool *pool = r->pool;
    struct config_rule rule = {.kind = RULE_ANY};
    char *what = strrchr(text, '=');

    if (!what) {
        mistake(r, r->line, "access: '%s' is not WHO=none, WHO=read or WHO=write", text);
        return;
    }
    *what++ = 0;
    if (!parse_access(what, &rule.access)) {
        mistake(r, r->line, "access: '%s' may be none, read or write, not '%s'", text, what);
        return;
    }
    if (strncmp(text, "uid:", 4) == 0 && text[4])
        rule.kind = RULE_UID;
    else if (strncmp(text, "gid:", 4) == 0 && text[4])
        rule.kind = RULE_GID;
    else if (strcmp(text, "*") != 0) {
        mistake(r, r->line, "access: '%s' is not uid:USER, gid:GROUP or *", text);
        return;
    }
    if (rule.kind != RULE_ANY && !find_id(r, rule.kind, text + 4, &rule.id))
        return;
    for (unsigned i = 0; i < pool->n_rules; i++)
        if (pool->rules[i].kind == rule.kind && pool->rules[i].id == rule.id) {
            mistake(r, r->line, "access: '%s' has a rule already", text);
            return;
        }
    if (pool->n_rules == RULES_MAX) {
        mistake(r, r->line, "access: a pool has at most %u rules", RULES_MAX);
        return;
    }
    pool->rules[pool->n_rules++] = rule;
}

static void read_access(struct reading *r, const char *value)
{
    char *copy = strdup(value);
    char *rest;
    unsigned n = 0;

    if (!copy) {
        mistake(r, r->line, "access: out of memory");
        return;
    }
    for (char *rule = strtok_r(copy, " \t", &rest); rule; rule = strtok_r(NULL, " \t", &rest)) {
        read_rule(r, rule);
        n++;
    }
    if (n == 0)
        mistake(r, r->line, "access: no rule given");
    free(copy);
}

static bool is_member(const struct peer *peer, gid_t group)
{
    bool member = group == peer->gid;

    for (unsigned i = 0; i < peer->n_groups && !member; i++)
        member = group == peer->groups[i];
    return member;
}

Allot__Access config_access(const struct config_pool *pool, const struct peer *peer)
{
    Allot__Access of_all = ALLOT__ACCESS__ACCESS_NONE;
    Allot__Access of_groups = ALLOT__ACCESS__ACCESS_NONE;
    bool in_group = false;

    for (unsigned i = 0; i < pool->n_rules; i++) {
        const struct config_rule *rule = &pool->rules[i];

        if (rule->kind == RULE_UID && rule->id == peer->uid)
            return rule->access;
        if (rule->kind == RULE_ANY)
            of_all = rule->access;
        if (rule->kind != RULE_GID || !is_member(peer, rule->id))
            continue;
        in_group = true;
        if (rule->access > of_groups)
            of_groups = rule->access;
    }
    return in_group ? of_groups : of_all;
}

static void read_allocator(struct reading *r, const char *name)
{
    int err = allot_byte_find(name, &r->pool->allocator);

    if (err)
        mistake(r, r->line, "allocator: '%s' is %s", name,
                err == ALLOT_E_NOT_BUILT ? "not built in" : "not tlsf, buddy, slab or first-fit");
}

static void begin_pool(struct config_pool *pool, const char *name)
{
    *pool = (struct config_pool){
        .page_size = PAGE_SIZE_MIN,
        .ids = IDS_DEFAULT,
        .quota = UINT64_MAX,
        .allocations_max = ALLOCATIONS_MAX,
        .names_quota = NAMES_QUOTA_DEFAULT,
    };
    (void)allot_byte_find(NULL, &pool->allocator);
    snprintf(pool->name, sizeof(pool->name), "%s", name);
}

/* A size that was not given (0) follows from the other. */
static void fill_defaults(struct config_pool *pool)
{
    if (pool->size_max == 0) {
        pool->size_max = SIZE_MAX_DEFAULT;
        if (pool->size_max < 2 * pool->page_size)
            pool->size_max = 2 * pool->page_size;
        if (pool->size_max < pool->size)
            pool->size_max = pool->size;
    }
    if (pool->size == 0)
        pool->size = pool->size_max;
    if (pool->n_rules == 0)
        pool->rules[pool->n_rules++] =
            (struct config_rule){RULE_ANY, 0, ALLOT__ACCESS__ACCESS_WRITE};
}

static void round_up(struct reading *r, enum pool_key key, uint64_t *size)
{
    uint64_t page = r->pool->page_size;
    uint64_t whole = (*size + page - 1) & ~(page - 1);

    if (whole != *size && r->pool_at[key])
        log_warning("%s:%d: %s: %" PRIu64 " bytes rounded up to %" PRIu64
                    ", whole pages of %" PRIu64,
                    r->path, r->pool_at[key], pool_keys[key], *size, whole, page);
    *size = whole;
}

static void end_section(struct reading *r)
{
    struct config_pool *pool = r->pool;
    bool size_given = pool && pool->size;

    if (r->section != SECTION_POOL)
        return;
    int line = r->pool_at[size_given ? POOL_SIZE : POOL_SIZE_MAX];
    const char *key = pool_keys[size_given ? POOL_SIZE : POOL_SIZE_MAX];
    fill_defaults(pool);
    if (pool->size > pool->size_max)
        mistake(r, line, "size: %" PRIu64 " bytes is more than size_max, %" PRIu64, pool->size,
                pool->size_max);
    else if (pool->size < 2 * pool->page_size)
        mistake(r, line, "%s: %" PRIu64 " bytes is less than two pages of %" PRIu64, key,
                pool->size, pool->page_size);
    round_up(r, POOL_SIZE, &pool->size);
    round_up(r, POOL_SIZE_MAX, &pool->size_max);
    if (pool != &r->refused)
        r->config->n_pools++;
}

static const char *name_mistake(const char *name)
{
    if (!*name)
        return "a pool needs a name: [pool NAME]";
    if (strlen(name) > CODEC_NAME_MAX)
        return "a pool's name has at most 63 bytes";
    for (const char *c = name; *c; c++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", *c))
            return "a pool's name is made of letters, digits, '.', '_' and '-'";
    return NULL;
}

static void begin_pool_section(struct reading *r, const char *name)
{
    struct config *config = r->config;
    const char *what = name_mistake(name);

    r->section = SECTION_POOL;
    r->pool = &r->refused;
    memset(r->pool_at, 0, sizeof(r->pool_at));
    if (what)
        mistake(r, r->line, "%s", what);
    for (unsigned i = 0; i < config->n_pools && !what; i++)
        if (strcmp(config->pools[i].name, name) == 0) {
            what = "given twice";
            mistake(r, r->line, "pool '%s' stands here for the second time", name);
        }
    if (!what && config->n_pools == POOLS_MAX) {
        what = "too many";
        mistake(r, r->line, "there can be at most %u pools", POOLS_MAX);
    }
    if (!what)
        r->pool = &config->pools[config->n_pools];
    begin_pool(r->pool, what ? "" : name);
}

/* `text` starts at '['. It is taken apart. */
static void read_heading(struct reading *r, char *text)
{
    char *end = strchr(text, ']');

    end_section(r);
    r->section = SECTION_UNKNOWN;
    if (!end) {
        mistake(r, r->line, "']' is missing");
        return;
    }
    char *rest = end + 1;
    rest += strspn(rest, " \t\r\n");
    if (*rest && *rest != ';' && *rest != '#') {
        mistake(r, r->line, "nothing but a comment may follow ']'");
        return;
    }
    while (end > text + 1 && strchr(" \t", end[-1]))
        end--;
    *end = 0;
    char *name = text + 1 + strspn(text + 1, " \t");
    if (strcmp(name, "daemon") == 0)
        r->section = SECTION_DAEMON;
    else if (strncmp(name, "pool", 4) == 0 && (name[4] == 0 || strchr(" \t", name[4])))
        begin_pool_section(r, name + 4 + strspn(name + 4, " \t"));
    else
        mistake(r, r->line, "section [%s] is unknown; there are [daemon] and [pool NAME]", name);
}

static void read_daemon_key(struct reading *r, enum daemon_key key, const char *value)
{
    struct config *config = r->config;
    const char *what;
    int level;

    switch (key) {
    case DAEMON_SOCKET:
        what = config_socket_mistake(value);
        if (what)
            mistake(r, r->line, "socket: %s", what);
        else
            strcpy(config->socket, value);
        break;
    case DAEMON_WORKERS:
        read_unsigned(r, daemon_keys[key], value, WORKERS_MAX, &config->workers);
        break;
    case DAEMON_SESSIONS_MAX:
        read_unsigned(r, daemon_keys[key], value, SESSIONS_MAX, &config->sessions_max);
        break;
    case DAEMON_LOG_LEVEL:
        level = log_level_from_name(value);
        if (level < 0)
            mistake(r, r->line, "log_level: '%s' is not error, warning, info or debug", value);
        else
            config->log_level = level;
        break;
    case N_DAEMON:
        break;
    }
}

static void read_page_size(struct reading *r, const char *value)
{
    uint64_t n;

    if (!read_number(r, "page_size", value, PAGE_SIZE_MIN, PAGE_SIZE_LIMIT, &n))
        return;
    if (n & (n - 1))
        mistake(r, r->line, "page_size: %s is not a power of two", value);
    else
        r->pool->page_size = n;
}

static void read_pool_key(struct reading *r, enum pool_key key, const char *value)
{
    struct config_pool *pool = r->pool;

    switch (key) {
    case POOL_SIZE:
        read_number(r, pool_keys[key], value, 1, REGION_SIZE_MAX, &pool->size);
        break;
    case POOL_SIZE_MAX:
        read_number(r, pool_keys[key], value, 1, REGION_SIZE_MAX, &pool->size_max);
        break;
    case POOL_PAGE_SIZE:
        read_page_size(r, value);
        break;
    case POOL_ALLOCATOR:
        read_allocator(r, value);
        break;
    case POOL_IDS:
        read_number(r, pool_keys[key], value, 1, IDS_MAX, &pool->ids);
        break;
    case POOL_QUOTA:
        read_number(r, pool_keys[key], value, 1, UINT64_MAX, &pool->quota);
        break;
    case POOL_ALLOCATIONS_MAX:
        read_number(r, pool_keys[key], value, 1, ALLOCATIONS_MAX, &pool->allocations_max);
        break;
    case POOL_NAMES_QUOTA:
        read_number(r, pool_keys[key], value, 0, NAMES_MAX, &pool->names_quota);
        break;
    case POOL_ACCESS:
        read_access(r, value);
        break;
    case N_POOL:
        break;
    }
}

/* Which of the keys it is, or -1. A key that may stand once only is refused the second time. */
static int find_key(struct reading *r, const char *const *keys, int n_keys, int *at,
                    const char *name)
{
    for (int i = 0; i < n_keys; i++) {
        if (strcmp(keys[i], name) != 0)
            continue;
        if (at[i] && !(keys == pool_keys && i == POOL_ACCESS)) {
            mistake(r, r->line, "%s was given in line %d already", name, at[i]);
            return -1;
        }
        at[i] = r->line;
        return i;
    }
    mistake(r, r->line, "key '%s' is unknown here", name);
    return -1;
}

/* inih's handler. It goes on in any case. */
static int on_key(void *ctx, const char *section, const char *name, const char *value)
{
    struct reading *r = ctx;
    int key;

    (void)section;
    r->key_expected = false;
    switch (r->section) {
    case SECTION_NONE:
        mistake(r, r->line, "key '%s' stands before the first section", name);
        break;
    case SECTION_UNKNOWN:
        break;
    case SECTION_DAEMON:
        key = find_key(r, daemon_keys, N_DAEMON, r->daemon_at, name);
        if (key >= 0)
            read_daemon_key(r, (enum daemon_key)key, value);
        break;
    case SECTION_POOL:
        key = find_key(r, pool_keys, N_POOL, r->pool_at, name);
        if (key >= 0)
            read_pool_key(r, (enum pool_key)key, value);
        break;
    }
    return 1;
}

/* A line without its end and indentation; false at the end of the file. A line that has no place,
 * or holds a 0 byte, is reported and comes out empty. */
static bool read_line(struct reading *r, char *text, size_t room)
{
    size_t size = 0;
    bool any = false;
    bool cut = false;
    bool zero = false;
    int c;

    while ((c = getc(r->file)) != EOF) {
        any = true;
        if (++r->bytes > FILE_MAX_BYTES || c == '\n')
            break;
        zero |= c == 0;
        if (size == 0 && isspace(c))
            continue;
        if (size == room - 1)
            cut = true;
        else
            text[size++] = (char)c;
    }
    if (!any)
        return false;
    r->line++;
    if (cut)
        mistake(r, r->line, "the line is longer than %zu bytes", room - 1);
    if (zero)
        mistake(r, r->line, "the line holds a 0 byte");
    text[cut || zero ? 0 : size] = 0;
    if (r->line == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
        memmove(text, text + 3, strlen(text + 3) + 1);
    return true;
}

/* inih's reader, as fgets(). */
static char *next_line(char *text, int room, void *ctx)
{
    struct reading *r = ctx;

    if (r->key_expected)
        mistake(r, r->line, "the line is neither KEY = VALUE nor [SECTION]");
    r->key_expected = false;
    if (r->bytes > FILE_MAX_BYTES) {
        mistake(r, r->line, "the file is longer than %u bytes", FILE_MAX_BYTES);
        return NULL;
    }
    if (!read_line(r, text, (size_t)room))
        return NULL;
    if (*text == '[') {
        read_heading(r, text);
        *text = 0;
    } else
        r->key_expected = !strchr(";#", *text); /* which finds the 0 of an empty line as well */
    return text;
}

/* The cores that this process may run on. */
static unsigned count_cores(void)
{
    cpu_set_t cores;
    int n = 1;

    if (sched_getaffinity(0, sizeof(cores), &cores) == 0)
        n = CPU_COUNT(&cores);
    else if (errno == EINVAL) /* more cores than the set has room for */
        n = (int)WORKERS_MAX;
    return n < 1 ? 1 : (unsigned)n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

void config_default(struct config *config)
{
    *config = (struct config){
        .workers = count_cores(),
        .sessions_max = SESSIONS_MAX_DEFAULT,
        .log_level = LOG_INFO,
        .n_pools = 1,
    };
    begin_pool(&config->pools[0], "default");
    fill_defaults(&config->pools[0]);
}

int config_load(struct config *config, const char *path)
{
    struct reading r = {.config = config, .path = path, .file = fopen(path, "re")};

    if (!r.file) {
        log_error("%s: %s", path, strerror(errno));
        return -1;
    }
    config_default(config);
    struct config_pool built_in = config->pools[0];
    config->n_pools = 0;

    int rc = ini_parse_stream(next_line, &r, on_key, &r);
    if (ferror(r.file)) {
        log_error("%s: %s", path, strerror(errno));
        r.mistakes++;
    }
    fclose(r.file);
    end_section(&r);
    if (rc && !r.mistakes)
        mistake(&r, r.line, "not understood");
    if (r.mistakes)
        return -1;
    if (config->n_pools == 0) {
        config->pools[0] = built_in;
        config->n_pools = 1;
    }
    return 0;
}
