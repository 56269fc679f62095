/* SPDX-License-Identifier: MIT */
/*
 * The shell: a command a line, all in one session, so that what one line allocates another can
 * free.
 *
 * A line is words between spaces; # begins a comment. A command that fails is named on stderr and
 * the next one runs; the shell's own exit status is then 1. It ends with the input, at quit, or
 * where its output cannot be written, and what is still held is freed.
 *
 * Limits: WORDS_MAX is more than any command has use for and bounds what a line may ask for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allotctl.h"

#define WORDS_MAX 1024

/* Runs one line. 1 at quit. */
static int run_line(struct context *c, char *line, bool *failed)
{
    char *words[WORDS_MAX + 1], *rest = NULL;
    int n = 0;

    line[strcspn(line, "#\n")] = 0;
    for (char *word = strtok_r(line, " \t\r", &rest); word; word = strtok_r(NULL, " \t\r", &rest)) {
        if (n == WORDS_MAX) {
            complain("shell", "more than %d words in a line", WORDS_MAX);
            *failed = true;
            return 0;
        }
        words[n++] = word;
    }
    words[n] = NULL;
    if (n == 0)
        return 0;
    if (!strcmp(words[0], "quit") || !strcmp(words[0], "exit"))
        return 1;
    if (!strcmp(words[0], "help"))
        command_list();
    else if (command_run(c, n, words) != EXIT_OK)
        *failed = true;
    return 0;
}

int command_shell(struct context *c, int argc, char **argv)
{
    bool prompts = isatty(STDIN_FILENO), failed = false;
    char *line = NULL;
    size_t room = 0;

    if (argc != 1)
        return wrong_use(argv[0]);
    if (c->in_shell)
        return complain("shell", "this is one");
    c->in_shell = true;
    for (;;) {
        if (prompts)
            printf("allot> ");
        if (!flush_output())
            break;
        errno = 0;
        if (getline(&line, &room, stdin) < 0) {
            if (ferror(stdin)) {
                complain("shell", "standard input: %s", strerror(errno));
                failed = true;
            }
            break;
        }
        if (run_line(c, line, &failed) != 0)
            break;
    }
    free(line);
    c->in_shell = false;
    return failed ? EXIT_REFUSED : EXIT_OK;
}
