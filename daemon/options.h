/* SPDX-License-Identifier: MIT */
/* The command line, by argp. */
#ifndef ALLOTD_OPTIONS_H
#define ALLOTD_OPTIONS_H

#include <stdbool.h>

/* The status after a wrong command line or configuration. */
#define EXIT_CONFIG 2

struct options {
    const char *config;    /* NULL: /etc/allot/allotd.conf if it exists, else the built-in one */
    const char *socket;    /* NULL: from the manager, the configuration, or /run/allot/allot.sock */
    int workers;           /* 0: from the configuration */
    int log_level;         /* -1: from the configuration */
    const char *supervise; /* the argument that asks for it, or NULL */
    bool check_config;     /* check the configuration and exit */
};

/* Exits with EXIT_CONFIG on wrong usage, 0 on --help and --version. */
void options_parse(int argc, char **argv, struct options *ret);

#endif
