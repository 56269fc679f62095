/* SPDX-License-Identifier: MIT */
/*
 * allotctl as people use it, from the command line and in its shell, with the real daemon: what it
 * prints, what it says of wrong use and refusals, and its exit status.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "fixture.h"

#define MIB       (1ull << 20)
#define WORDS_MAX 12
#define LINE_ROOM 128
#define TEXT_MAX  65536

#define CONFIG                                                                                     \
    "[pool default]\nsize = 16M\nsize_max = 64M\nids = 1000\n"                                     \
    "[pool quota]\nsize_max = 64M\nquota = 1M\n"                                                   \
    "[pool readers]\nsize_max = 1M\naccess = *=read\n"                                             \
    "[pool nobody]\nsize_max = 1M\naccess = *=none\n"

static const struct fixture_setup with_pools = {.config = CONFIG};

#define allotctl_test(f) fixture_test_with(with_pools, f)

/* One run of it. */
struct tool {
    const char *socket; /* goes into ALLOT_SOCKET */
    const char *words[WORDS_MAX + 2];
    int in, out, err; /* what it gets for these */
    pid_t pid;
    int to, from; /* the test's ends where it is talked with, else -1 */
};

static struct tool tool; /* the one that is talked with */
static char output[TEXT_MAX], errors[TEXT_MAX];

/* `fd` becomes the standard descriptor `as`; -1: it has none. */
static void give(int fd, int as)
{
    if (fd < 0)
        close(as);
    else
        check(dup2(fd, as) >= 0);
}

static void exec_tool(void *ctx)
{
    struct tool *t = ctx;

    if (t->to >= 0)
        close(t->to); /* or it would never see its input's end */
    check(setenv("ALLOT_SOCKET", t->socket, 1) == 0);
    give(t->in, STDIN_FILENO);
    give(t->out, STDOUT_FILENO);
    give(t->err, STDERR_FILENO);
    check(execv(t->words[0], (char *const *)t->words) == 0);
}

/* `words` has room for a copy of the line. */
static void tool_init(struct tool *t, const struct fixture *f, const char *line, char *words)
{
    unsigned n = 0;
    char *rest = NULL;

    memset(t, 0, sizeof(*t));
    t->socket = f->socket;
    t->to = t->from = -1;
    t->words[n++] = getenv("ALLOTCTL") ? getenv("ALLOTCTL") : ALLOTCTL_PATH;
    check(strlen(line) < LINE_ROOM);
    strcpy(words, line);
    for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        check(n <= WORDS_MAX);
        t->words[n++] = word;
    }
}

/* A file in memory with this text, read from its start. */
static int text_file(const char *text)
{
    int fd = memfd_create("text", MFD_CLOEXEC);

    check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    check(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void take_text(int fd, char *text)
{
    ssize_t n = pread(fd, text, TEXT_MAX - 1, 0);

    check(n >= 0);
    text[n] = 0;
    close(fd);
}

static int exit_status(const struct tool *t)
{
    int status = child_wait(t->pid);

    check(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Runs it to its end, its output going to `out`: its exit status. `errors` is what it said. Without
 * `input`, and with `out` -1, that descriptor is closed. */
static int run(const struct fixture *f, const char *line, const char *input, int out)
{
    struct tool t;
    char words[LINE_ROOM];

    tool_init(&t, f, line, words);
    t.in = input ? text_file(input) : -1;
    t.out = out;
    t.err = text_file("");
    t.pid = child_start(exec_tool, &t);
    int status = exit_status(&t);
    close(t.in);
    take_text(t.err, errors);
    return status;
}

/* The same; `output` is what it printed. */
static int allotctl(const struct fixture *f, const char *line, const char *input)
{
    int out = text_file("");
    int status = run(f, line, input, out);

    take_text(out, output);
    return status;
}

/* Starts it, to be talked with: talk_say(), talk_hear(), talk_end(). */
static void talk(const struct fixture *f, const char *line)
{
    static char words[LINE_ROOM];
    int to[2], from[2];

    tool_init(&tool, f, line, words);
    check(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
    tool.in = to[0];
    tool.to = to[1];
    tool.from = from[0];
    tool.out = from[1];
    tool.err = text_file("");
    tool.pid = child_start(exec_tool, &tool);
    close(tool.in);
    close(tool.out);
}

/* Reads what it prints until that ends with `end`. */
static void talk_hear(const char *end)
{
    size_t n = 0;

    do {
        struct pollfd p = {.fd = tool.from, .events = POLLIN};
        check(poll(&p, 1, FIXTURE_DEADLINE_MS) == 1);
        ssize_t got = read(tool.from, output + n, TEXT_MAX - 1 - n);
        check(got > 0);
        n += (size_t)got;
        output[n] = 0;
    } while (n < strlen(end) || strcmp(output + n - strlen(end), end) != 0);
}

/* One line to the shell, and all that it prints for it, into `output`: up to what the second line
 * makes it print. */
static void talk_say(const char *format, ...)
{
    char line[LINE_ROOM];
    va_list list;

    va_start(list, format);
    vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    check(dprintf(tool.to, "%s\nusable --help\n", line) > 0);
    talk_hear("how much of a block may be used\n");
    *strstr(output, "usage: usable") = 0;
}

static int talk_end(void)
{
    close(tool.to);
    int status = exit_status(&tool);
    close(tool.from);
    take_text(tool.err, errors);
    return status;
}

/* The number that follows `before`, in `text`. */
static uint64_t number_after(const char *text, const char *before)
{
    const char *at = strstr(text, before);

    if (!at)
        fprintf(stderr, "no \"%s\" in: %s\n", before, text);
    check(at != NULL);
    return strtoull(at + strlen(before), NULL, 0);
}

static void expect_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fprintf(stderr, "no \"%s\" in: %s\n", part, text);
    check(strstr(text, part) != NULL);
}

/* `status --json`, parsed; the caller's to decref. */
static json_t *status_json(const struct fixture *f)
{
    json_error_t error;

    check_equal(allotctl(f, "status --json", ""), 0);
    check(errors[0] == 0);
    json_t *root = json_loads(output, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        fprintf(stderr, "%s at line %d of: %s\n", error.text, error.line, output);
    check(root != NULL);
    return root;
}

static uint64_t number_in(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value))
        fprintf(stderr, "no integer \"%s\"\n", key);
    check(json_is_integer(value));
    return (uint64_t)json_integer_value(value);
}

/* The entry of `list` whose `key` is this text or, where that is NULL, this number. */
static const json_t *entry(const json_t *root, const char *list, const char *key, const char *text,
                           uint64_t number)
{
    const json_t *all = json_object_get(root, list);
    const json_t *each;
    size_t i;

    check(json_is_array(all));
    json_array_foreach(all, i, each)
    {
        const json_t *value = json_object_get(each, key);
        if (text ? json_is_string(value) && !strcmp(json_string_value(value), text)
                 : (uint64_t)json_integer_value(value) == number)
            return each;
    }
    return NULL;
}

static uint64_t used_bytes(const struct fixture *f)
{
    json_t *root = status_json(f);
    uint64_t used = number_in(entry(root, "pools", "name", "default", 0), "used_bytes");

    json_decref(root);
    return used;
}

static void test_allotctl__status_tells_what_is_held(void **state)
{
    struct fixture *f = *state;
    char line[64];

    talk(f, "shell");
    talk_say("alloc 1000 3K");
    talk_say("pages 3");
    talk_say("ids 10");

    json_t *root = status_json(f);
    check_equal(json_array_size(json_object_get(root, "pools")), 4);
    const json_t *pool = entry(root, "pools", "name", "default", 0);
    check_equal(number_in(pool, "size"), 16 * MIB);
    check_equal(number_in(pool, "size_max"), 64 * MIB);
    check_equal(number_in(pool, "page_size"), 4096);
    check_equal(number_in(pool, "used_bytes"), 1000 + 3072 + 3 * 4096);
    check_equal(number_in(pool, "blocks"), 2);
    check_equal(number_in(pool, "page_runs"), 1);
    check_equal(number_in(pool, "id_ranges"), 1);
    check_equal(number_in(pool, "ids"), 1000);
    check_equal(number_in(pool, "ids_used"), 10);
    check(number_in(pool, "committed_bytes") >= 4 * 4096);
    check(number_in(pool, "largest_free") < 16 * MIB);
    assert_string_equal(json_string_value(json_object_get(pool, "access")), "write");
    const json_t *nobody = entry(root, "pools", "name", "nobody", 0);
    assert_string_equal(json_string_value(json_object_get(nobody, "access")), "none");
    const json_t *tag = entry(root, "tags", "pool", "default", 0);
    check_equal(number_in(tag, "tag"), 0);
    check_equal(number_in(tag, "bytes"), 1000 + 3072 + 3 * 4096);
    const json_t *session = entry(root, "sessions", "pid", NULL, (uint64_t)tool.pid);
    check(session != NULL);
    check_equal(number_in(session, "uid"), getuid());
    check_equal(number_in(session, "bytes"), 1000 + 3072 + 3 * 4096);
    check_equal(number_in(session, "ids"), 10);
    check(json_is_true(json_object_get(session, "connected")));
    json_decref(root);

    check_equal(allotctl(f, "status", ""), 0);
    expect_text(output, "4 pools, 16.0 KiB of ");
    expect_text(output, ", 2 sessions\n");
    expect_text(output, "\nPOOL ");
    expect_text(output, "\n SESSION ");
    snprintf(line, sizeof(line), "\ndefault  %s ", fixture_allocator());
    expect_text(output, line);

    check_equal(talk_end(), 0);
    check(errors[0] == 0);
    check_equal(used_bytes(f), 0);
}

static void test_allotctl__the_shell_frees_what_it_allocated(void **state)
{
    struct fixture *f = *state;

    talk(f, "shell");
    talk_say("alloc 500");
    uint64_t block = number_after(output, "offset ");
    expect_text(output, "500 B\n");
    talk_say("usable %" PRIu64, block);
    check(number_after(output, "") >= 500);
    talk_say("realloc 0x%" PRIx64 " 500 1M", block);
    uint64_t moved = number_after(output, "offset ");
    expect_text(output, "1.00 MiB\n");
    talk_say("pages 4 # a comment");
    uint64_t run = number_after(output, "offset ");
    check_equal(run % 4096, 0);
    expect_text(output, "16.0 KiB\n");
    talk_say("pages --free %" PRIu64 " 4", run);
    talk_say("pages 2 --at %" PRIu64, run);
    check_equal(number_after(output, "offset "), run);
    talk_say("ids 10 --at 501");
    expect_text(output, "IDs 501 to 510\n");
    talk_say("ids 1");
    uint64_t id = number_after(output, "IDs ");
    check_equal(used_bytes(f), MIB + 2 * 4096);
    talk_say("  ");
    check(output[0] == 0);

    talk_say("free %" PRIu64, moved);
    check_equal(number_after(output, "freed "), moved);
    talk_say("pages --free %" PRIu64 " 2", run);
    talk_say("ids --free 501 10");
    expect_text(output, "freed 501 to 510\n");
    talk_say("ids --free %" PRIu64 " 1", id);
    talk_say("status");
    expect_text(output, "4 pools, 0 B of ");
    check(dprintf(tool.to, "quit\n") > 0);
    check_equal(talk_end(), 0);
    check(errors[0] == 0);
}

static void test_allotctl__the_shell_goes_on_after_a_failure_and_tells_it(void **state)
{
    struct fixture *f = *state;

    check_equal(allotctl(f, "shell", "free 16\nnonsense\nalloc\nshell\nping\n"), 1);
    expect_text(errors, "allotctl: free: nothing of that position and size is allocated\n");
    expect_text(errors, "allotctl: nonsense: no such command; see help\n");
    expect_text(errors, "allotctl: alloc: usage: alloc SIZE...\n");
    expect_text(errors, "allotctl: shell: this is one\n");
    expect_text(output, "answered in ");
    check_equal(allotctl(f, "shell", "help\nalloc 5"), 0);
    expect_text(output, "realloc OFFSET OLD-SIZE SIZE");
    expect_text(output, "offset 0x");
    check_equal(used_bytes(f), 0);
}

/* Runs `line`; the refusal names a number, and `again` with that number is granted. */
static void expect_limit(const struct fixture *f, const char *line, const char *why,
                         const char *again)
{
    char text[64];

    check_equal(allotctl(f, line, ""), 1);
    check(output[0] == 0);
    expect_text(errors, why);
    uint64_t limit = number_after(errors, "; at most ");
    check(limit > 0);
    snprintf(text, sizeof(text), again, limit);
    check_equal(allotctl(f, text, ""), 0);
    snprintf(text, sizeof(text), again, limit + 1);
    check_equal(allotctl(f, text, ""), 1);
}

static void test_allotctl__a_refusal_names_what_would_be_granted(void **state)
{
    struct fixture *f = *state;

    expect_limit(f, "alloc 1T", "allotctl: alloc: no memory", "alloc %" PRIu64);
    expect_limit(f, "pages 1000000", "allotctl: pages: no memory", "pages %" PRIu64);
    expect_limit(f, "ids 5000", "allotctl: ids: no memory", "ids %" PRIu64);
    expect_limit(f, "-p quota alloc 2M", "allotctl: alloc: over quota", "-p quota alloc %" PRIu64);
    expect_text(errors, "bytes (1.00 MiB) would be granted now\n");
    check_equal(used_bytes(f), 0);
}

static void test_allotctl__refusals_end_with_1(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *line, *errors;
    } refused[] = {
        {"alloc 0", "alloc: invalid parameter"},
        {"free 4096", "free: nothing of that position"},
        {"usable 4096", "usable: nothing of that position"},
        {"realloc 4096 1 2", "realloc: nothing of that position"},
        {"pages 0", "pages: invalid parameter"},
        {"pages 1 --at 1", "pages: invalid parameter"},
        {"ids 2 --at 1000", "ids: invalid parameter"},
        {"ids --free 7 1", "ids: nothing of that position"},
        {"publish a 0", "publish: invalid parameter"},
        {"publish a\x7f 1", "publish: invalid parameter"},
        {"publish a --at 16", "publish: it is allocated, but this session does not hold it"},
        {"unpublish nothing", "nothing: nothing of that name is published"},
        {"lookup nothing", "nothing: nothing of that name is published"},
        {"-p missing watch", "missing: no such pool"},
        {"-p missing alloc 1", "missing: no such pool"},
        {"--pool=nobody alloc 1", "nobody: permission denied"},
        {"-p readers alloc 1", "readers: permission denied"},
        {"-s /nonexistent/socket ping", "/nonexistent/socket: no connection to the daemon"},
    };

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        int status = allotctl(f, refused[i].line, "");
        if (status != 1)
            fprintf(stderr, "of: allotctl %s\n", refused[i].line);
        check_equal(status, 1);
        check(!strncmp(errors, "allotctl: ", 10));
        expect_text(errors, refused[i].errors);
        check(output[0] == 0);
    }
    check_equal(allotctl(f, "ping", ""), 0);
}

static void test_allotctl__names(void **state)
{
    struct fixture *f = *state;

    check_equal(allotctl(f, "publish one/1 5000", ""), 0);
    expect_text(output, "one/1: offset 0x");
    check_equal(allotctl(f, "publish one/1 6000", ""), 1);
    expect_text(errors, "publish: the name is taken");
    check_equal(allotctl(f, "publish one/1 6000 --replace", ""), 0);
    check_equal(allotctl(f, "lookup one/1 two", ""), 1);
    expect_text(output, "one/1: bytes, 0x");
    expect_text(output, ", 6000\nheld");
    expect_text(errors, "two: nothing of that name is published");
    check_equal(allotctl(f, "names o", ""), 0);
    expect_text(output, "6000");
    /* What there is is told in any case, also where the input has ended already. */
    check_equal(allotctl(f, "watch one/", ""), 0);
    expect_text(output, "state");
    expect_text(output, "appeared");
    expect_text(output, "complete");
    check_equal(allotctl(f, "unpublish one/1", ""), 0);
    check_equal(allotctl(f, "names", ""), 0);
    check(strstr(output, "one/1") == NULL);
}

static void test_allotctl__wrong_use_ends_with_2(void **state)
{
    struct fixture *f = *state;
    static const char *const wrong[] = {
        "",
        "nonsense",
        "--nonsense",
        "-s",
        "alloc",
        "alloc x",
        "alloc -1",
        "alloc 1.5K",
        "alloc 4Q",
        "alloc 1 4KK",
        "alloc 0x",
        "alloc 18446744073709551616",
        "alloc 16E",
        "free",
        "free 0x10 x",
        "realloc 16 16",
        "realloc 16 16 x",
        "usable",
        "usable 16 16",
        "pages",
        "pages 4K",
        "pages 1 --at",
        "pages 1 --to 4096",
        "pages --free 4096",
        "ids",
        "ids -1",
        "ids 1 --at x",
        "publish a",
        "publish a x",
        "publish a 1 2",
        "publish a 1 --at 16",
        "publish a --at x",
        "publish a 1 --replaces",
        "unpublish",
        "lookup",
        "names a b",
        "watch a b",
        "status --xml",
        "status --json now",
        "ping -c",
        "ping -c 0",
        "ping 3",
        "shell now",
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        int status = allotctl(f, wrong[i], "");
        if (status != 2)
            fprintf(stderr, "of: allotctl %s\n", wrong[i]);
        check_equal(status, 2);
        expect_text(errors, "allotctl: ");
        check(output[0] == 0);
    }
    check_equal(used_bytes(f), 0);
}

static void test_allotctl__grants_are_held_until_the_input_ends_or_a_signal_comes(void **state)
{
    struct fixture *f = *state;

    for (int by_signal = 0; by_signal <= 1; by_signal++) {
        talk(f, "alloc 1000 1T 500");
        talk_hear("held until input ends (Ctrl-D) or a signal comes (Ctrl-C)\n");
        check_equal(used_bytes(f), 1500);
        check(dprintf(tool.to, "read and dropped\n") > 0);
        if (by_signal)
            check(kill(tool.pid, SIGTERM) == 0);
        check_equal(talk_end(), 1); /* one was refused */
        expect_text(errors, "allotctl: alloc: no memory");
        check_equal(used_bytes(f), 0);
    }
}

static void test_allotctl__a_second_signal_ends_what_waits_for_the_daemon(void **state)
{
    struct fixture *f = *state;

    talk(f, "alloc 1000");
    talk_hear("held until input ends (Ctrl-D) or a signal comes (Ctrl-C)\n");
    check(kill(f->pid, SIGSTOP) == 0);
    check(kill(tool.pid, SIGINT) == 0 && kill(tool.pid, SIGTERM) == 0);
    check(WIFSIGNALED(child_wait(tool.pid)));
    check(kill(f->pid, SIGCONT) == 0);
    close(tool.to);
    close(tool.from);
    close(tool.err);
}

static void test_allotctl__the_daemons_death_is_told(void **state)
{
    struct fixture *f = *state;

    talk(f, "shell");
    talk_say("alloc 1000");
    fixture_kill(f);
    talk_say("alloc 1000");
    check(output[0] == 0);
    check_equal(talk_end(), 1);
    expect_text(errors, "allotctl: alloc: no connection to the daemon\n");
    check_equal(allotctl(f, "status --json", ""), 1);
    check(output[0] == 0);
    expect_text(errors, f->socket);
}

static void test_allotctl__words_that_need_no_daemon(void **state)
{
    struct fixture *f = *state;

    check_equal(allotctl(f, "--version", ""), 0);
    expect_text(output, "allotctl ");
    check_equal(allotctl(f, "--help", ""), 0);
    expect_text(output, "\n  ids        numbers\n");
    expect_text(output, "\n  watch      what becomes of names, until input ends\n");
    check_equal(allotctl(f, "pages --help", ""), 0);
    expect_text(output, "usage: pages COUNT [--at OFFSET] | --free OFFSET COUNT\n");
}

static void test_allotctl__output_that_cannot_be_written_is_told(void **state)
{
    static const char *const lines[] = {"status --json", "shell", "pages --help", "--help",
                                        "--version"};
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    check(full >= 0);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        check_equal(run(*state, lines[i], "ping\nping\n", full), 1);
        check(!strcmp(errors, "allotctl: standard output: No space left on device\n"));
    }
    close(full);
}

/* What is opened first must not get the number that is read from or printed to. */
static void test_allotctl__a_closed_standard_descriptor_is_told(void **state)
{
    struct fixture *f = *state;
    int out = text_file("");

    check_equal(run(f, "alloc 1000", "", -1), 1);
    expect_text(errors, "allotctl: standard output: Bad file descriptor\n");
    check_equal(run(f, "shell", NULL, out), 1);
    expect_text(errors, "allotctl: shell: standard input: Bad file descriptor\n");
    check_equal(run(f, "alloc 1000", NULL, out), 0);
    take_text(out, output);
    expect_text(output, "held until input ends");
}

static void test_allotctl__wrong_use_tells_the_right_one(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *line, *usage;
    } wrong[] = {
        {"pages", "pages: usage: pages COUNT [--at OFFSET] | --free OFFSET COUNT\n"},
        {"ids", "ids: usage: ids COUNT [--at ID] | --free ID COUNT\n"},
        {"publish", "publish: usage: publish NAME (SIZE | --at OFFSET) [--replace]\n"},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        check_equal(allotctl(f, wrong[i].line, ""), 2);
        expect_text(errors, wrong[i].usage);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        allotctl_test(test_allotctl__status_tells_what_is_held),
        allotctl_test(test_allotctl__the_shell_frees_what_it_allocated),
        allotctl_test(test_allotctl__the_shell_goes_on_after_a_failure_and_tells_it),
        allotctl_test(test_allotctl__a_refusal_names_what_would_be_granted),
        allotctl_test(test_allotctl__refusals_end_with_1),
        allotctl_test(test_allotctl__names),
        allotctl_test(test_allotctl__wrong_use_ends_with_2),
        allotctl_test(test_allotctl__grants_are_held_until_the_input_ends_or_a_signal_comes),
        allotctl_test(test_allotctl__a_second_signal_ends_what_waits_for_the_daemon),
        allotctl_test(test_allotctl__the_daemons_death_is_told),
        allotctl_test(test_allotctl__words_that_need_no_daemon),
        allotctl_test(test_allotctl__output_that_cannot_be_written_is_told),
        allotctl_test(test_allotctl__a_closed_standard_descriptor_is_told),
        allotctl_test(test_allotctl__wrong_use_tells_the_right_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
