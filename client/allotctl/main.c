/* SPDX-License-Identifier: MIT */
/*
 * allotctl: looks at allotd, and asks it for things by hand.
 *
 * What it is: the command line, the table of commands, messages. Each command's own words are read
 * by the command, so that the shell reads them alike.
 *
 * Exit status: 0; 1 where the daemon refused or could not be reached, or where output could not be
 * written; 2 for wrong use.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "allotctl.h"

struct command {
    const char *name;
    int (*run)(struct context *c, int argc, char **argv);
    enum allot_access access; /* to the pool; 0: it needs none */
    const char *usage;
    const char *what;
};

static const struct command commands[] = {
    {"status", command_status, 0, "[--json]", "pools, tags and sessions"},
    {"ping", command_ping, 0, "[-c COUNT]", "round trips, and how long they took"},
    {"alloc", command_alloc, ALLOT_WRITE, "SIZE...", "blocks of bytes"},
    {"free", command_free, ALLOT_WRITE, "OFFSET...", "frees blocks (of this session: see shell)"},
    {"realloc", command_realloc, ALLOT_WRITE, "OFFSET OLD-SIZE SIZE",
     "makes a block longer or shorter"},
    {"usable", command_usable, ALLOT_WRITE, "OFFSET", "how much of a block may be used"},
    {"pages", command_pages, ALLOT_WRITE, "COUNT [--at OFFSET] | --free OFFSET COUNT",
     "whole pages"},
    {"ids", command_ids, ALLOT_WRITE, "COUNT [--at ID] | --free ID COUNT", "numbers"},
    {"publish", command_publish, ALLOT_WRITE, "NAME (SIZE | --at OFFSET) [--replace]",
     "a block with a name"},
    {"unpublish", command_unpublish, ALLOT_WRITE, "NAME...", "takes names away"},
    {"lookup", command_lookup, ALLOT_READ, "NAME...", "takes what names name"},
    {"names", command_names, ALLOT_READ, "[PREFIX]", "what is published"},
    {"watch", command_watch, ALLOT_READ, "[PREFIX]", "what becomes of names, until input ends"},
    {"shell", command_shell, ALLOT_WRITE, "", "these commands line by line, in one session"},
};

const char *argp_program_version = "allotctl " ALLOT_VERSION;

static const char doc[] =
    "Looks at allotd, the shared-memory allocator, and asks it for things by hand.\v"
    "alloc, pages, ids and lookup hold what they got until their input ends or a signal comes. "
    "SIZE takes K, M, G, T, P, E. See allotctl(1).";

/* Puts the commands before the last part of `doc`. argp frees what it did not give. */
static char *describe(int key, const char *text, void *input)
{
    char *described = NULL;
    size_t size;
    FILE *f = key == ARGP_KEY_HELP_POST_DOC ? open_memstream(&described, &size) : NULL;

    (void)input;
    if (!f)
        return (char *)(uintptr_t)text;
    fputs("Commands (COMMAND --help tells its arguments):\n", f);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(f, "  %-11s%s\n", commands[i].name, commands[i].what);
    fprintf(f, "\n%s", text);
    fclose(f);
    return described;
}

static const struct argp_option options[] = {
    {"socket", 's', "SOCKET", 0,
     "The daemon's socket (default: $ALLOT_SOCKET, else /run/allot/allot.sock)", 0},
    {"pool", 'p', "POOL", 0, "The pool to work on (default: default)", 0},
    {0},
};

struct arguments {
    struct context context;
    int argc;
    char **argv;
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case 's':
        arguments->context.socket = arg;
        return 0;
    case 'p':
        arguments->context.pool_name = arg;
        return 0;
    case ARGP_KEY_ARG:
        arguments->argv = state->argv + state->next - 1;
        arguments->argc = state->argc - state->next + 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no command");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (!strcmp(commands[i].name, name))
            return &commands[i];
    return NULL;
}

int complain(const char *command, const char *format, ...)
{
    va_list list;

    fprintf(stderr, "allotctl: %s%s", command ? command : "", command ? ": " : "");
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    return EXIT_WRONG_USE;
}

int wrong_use(const char *command)
{
    return complain(command, "usage: %s %s", command, find_command(command)->usage);
}

bool flush_output(void)
{
    static bool told;

    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    if (!told)
        complain(NULL, "standard output: %s", strerror(errno));
    told = true;
    return false;
}

int refused(const char *command, int code, const char *unit)
{
    const char *what = code == ALLOT_E_SYSTEM ? strerror(errno) : allot_strerror(code);
    char text[SIZE_TEXT];

    if ((code == ALLOT_E_NO_MEMORY || code == ALLOT_E_QUOTA) && unit && !strcmp(unit, "bytes"))
        complain(command, "%s; at most %" PRIu64 " bytes (%s) would be granted now", what,
                 allot_last_limit(), size_text(allot_last_limit(), text));
    else if ((code == ALLOT_E_NO_MEMORY || code == ALLOT_E_QUOTA) && unit)
        complain(command, "%s; at most %" PRIu64 " %s would be granted now", what,
                 allot_last_limit(), unit);
    else
        complain(command, "%s", what);
    return EXIT_REFUSED;
}

int context_open(struct context *c)
{
    int r = c->session ? 0 : allot_open(&c->session, c->socket);

    if (r == 0)
        return EXIT_OK;
    const char *path = getenv("ALLOT_SOCKET");
    if (c->socket)
        path = *c->socket ? c->socket : "--socket";
    else if (!path || !*path)
        path = "/run/allot/allot.sock";
    return refused(path, r, NULL);
}

int context_attach(struct context *c, enum allot_access access)
{
    int r = context_open(c);

    if (r != EXIT_OK || c->pool)
        return r;
    r = allot_attach(c->session, c->pool_name, access, &c->pool);
    return r == 0 ? EXIT_OK : refused(c->pool_name, r, NULL);
}

void context_close(struct context *c)
{
    allot_close(c->session);
    c->session = NULL;
    c->pool = NULL;
}

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

int command_ping(struct context *c, int argc, char **argv)
{
    uint64_t count = 1;
    double least = 0, most = 0, sum = 0;

    if (argc != 1 && !(argc == 3 && !strcmp(argv[1], "-c")))
        return wrong_use("ping");
    if (argc == 3 && (!number_parse(argv[2], &count) || count == 0))
        return complain("ping", "not a count: %s", argv[2]);
    for (uint64_t i = 0; i < count; i++) {
        double before = now_us();
        int r = allot_ping(c->session);
        if (r < 0)
            return refused("ping", r, NULL);
        double took = now_us() - before;
        least = i == 0 || took < least ? took : least;
        most = took > most ? took : most;
        sum += took;
    }
    if (count == 1)
        printf("answered in %.1f us\n", sum);
    else
        printf("%" PRIu64 " answered in %.1f us on average, %.1f at least, %.1f at most\n", count,
               sum / (double)count, least, most);
    return EXIT_OK;
}

void command_list(void)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        char text[80];
        snprintf(text, sizeof(text), "%s %s", commands[i].name, commands[i].usage);
        printf("%-48s %s\n", text, commands[i].what);
    }
}

int command_run(struct context *c, int argc, char **argv)
{
    const struct command *command = find_command(argv[0]);

    if (!command)
        return complain(argv[0], "no such command; see %s",
                        c->in_shell ? "help" : "allotctl --help");
    if (argc == 2 && !strcmp(argv[1], "--help")) {
        printf("usage: %s %s\n%s\n", command->name, command->usage, command->what);
        return EXIT_OK;
    }
    int r = command->access ? context_attach(c, command->access) : context_open(c);
    return r == EXIT_OK ? command->run(c, argc, argv) : r;
}

/* At exit, which argp's --help and --version take as well. */
static void check_output(void)
{
    if (!flush_output())
        _exit(EXIT_REFUSED);
}

/* A standard descriptor that is closed would be the session's number: what is printed would go to
 * the daemon. What stands in refuses to be read, or written, as a closed one does. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv)
{
    /* In order, so that a command's own options stay with it. */
    static const struct argp argp = {
        options, parse_option, "COMMAND [ARGUMENT...]", doc, 0, describe, 0};
    struct arguments arguments = {.context = {.pool_name = "default"}};

    fill_standard_descriptors();
    atexit(check_output);
    argp_err_exit_status = EXIT_WRONG_USE;
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &arguments);
    int r = command_run(&arguments.context, arguments.argc, arguments.argv);
    context_close(&arguments.context);
    return r;
}
