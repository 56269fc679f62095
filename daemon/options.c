/* SPDX-License-Identifier: MIT */
/*
 * The command line.
 *
 * What it is: the options by argp, each checked as far as its text alone tells, so that wrong usage
 * ends with status 2 before anything is opened. What it is not: the configuration, which the
 * options override.
 */
#include "options.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

#include "bounds.h"
#include "config.h"
#include "log.h"

#ifndef ALLOTD_VERSION
#define ALLOTD_VERSION "(unversioned build)"
#endif

enum { KEY_CHECK_CONFIG = 0x100, KEY_SUPERVISE };

static const struct argp_option table[] = {
    {"config", 'c', "FILE", 0, "Read FILE; the default is /etc/allot/allotd.conf, if it exists", 0},
    {"socket", 's', "PATH", 0, "Listen on PATH, which is absolute and has at most 107 bytes", 0},
    {"workers", 'w', "N", 0, "Run N worker loops; the default is one a core", 0},
    {"log-level", 'l', "LEVEL", 0, "Log down to LEVEL: error, warning, info or debug", 0},
    {"supervise", KEY_SUPERVISE, NULL, 0,
     "Stay, start the daemon as a child, and start it again when it dies: where there is no "
     "systemd",
     0},
    {"check-config", KEY_CHECK_CONFIG, NULL, 0,
     "Check the configuration and exit: 0 where it is right, 2 where it is not", 0},
    {0}};

static int parse_workers(const char *text, struct argp_state *state)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (end == text || *end || n < 1 || n > (long)WORKERS_MAX)
        argp_error(state, "'%s' is not a number of workers: 1 to %u", text, WORKERS_MAX);
    return (int)n;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    const char *mistake;

    switch (key) {
    case 'c':
        options->config = argument;
        return 0;
    case 's':
        mistake = config_socket_mistake(argument);
        if (mistake)
            argp_error(state, "socket '%s': %s", argument, mistake);
        options->socket = argument;
        return 0;
    case 'w':
        options->workers = parse_workers(argument, state);
        return 0;
    case 'l':
        options->log_level = log_level_from_name(argument);
        if (options->log_level < 0)
            argp_error(state, "'%s' is not a log level: error, warning, info or debug", argument);
        return 0;
    case KEY_CHECK_CONFIG:
        options->check_config = true;
        return 0;
    case KEY_SUPERVISE:
        options->supervise = state->argv[state->next - 1];
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': no arguments are taken", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_version(FILE *stream, struct argp_state *state)
{
    (void)state;
    fprintf(stream, "allotd %s\n", ALLOTD_VERSION);
}

void options_parse(int argc, char **argv, struct options *ret)
{
    const struct argp argp = {
        .options = table,
        .parser = parse,
        .doc = "Serves shared memory to the processes of this host.\v"
               "Options override the configuration file; see allotd(8) and allotd.conf(5).",
    };

    *ret = (struct options){.log_level = -1};
    argp_err_exit_status = EXIT_CONFIG;
    argp_program_version_hook = print_version;
    if (argp_parse(&argp, argc, argv, 0, NULL, ret) != 0)
        exit(EXIT_CONFIG);
}
