/* SPDX-License-Identifier: MIT */
/* What allotctl's files share: the exit codes, the session in use, messages, sizes. */
#ifndef ALLOTCTL_H
#define ALLOTCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allot.h"

enum { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_WRONG_USE = 2 };

struct context {
    const char *socket; /* NULL: the library's default */
    const char *pool_name;
    struct allot *session;
    struct allot_pool *pool; /* NULL until a command needs it */
    bool in_shell;
};

/* Both print the reason and return an exit code, EXIT_OK when the session or the pool is there. */
int context_open(struct context *c);
int context_attach(struct context *c, enum allot_access access);
void context_close(struct context *c);

/* "allotctl: COMMAND: …" on stderr. These return EXIT_WRONG_USE, refused() EXIT_REFUSED. */
int complain(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The command's usage, as complain(). */
int wrong_use(const char *command);
/* Names `code` (errno with SYSTEM), and what would have fitted, in `unit`s, where it is known. */
int refused(const char *command, int code, const char *unit);

/* Writes what was printed. False where something could not be, which is told once. */
bool flush_output(void);

/* For a command that has taken something: keeps it on the command line. Returns `result`. */
int hold_granted(const struct context *c, unsigned granted, int result);

/* "4096", "0x1000", "4K", "1.5G" is not one: whole numbers, powers of 1024. False for anything else
 * and for what does not fit 64 bits. */
bool size_parse(const char *text, uint64_t *ret);
/* A plain number. */
bool number_parse(const char *text, uint64_t *ret);
/* "1.5 GiB"; `buffer` has SIZE_TEXT bytes and is returned. */
#define SIZE_TEXT 24
const char *size_text(uint64_t bytes, char *buffer);

/* A command by its words, argv[0] its name. Each returns an exit code. */
int command_alloc(struct context *c, int argc, char **argv);
int command_free(struct context *c, int argc, char **argv);
int command_pages(struct context *c, int argc, char **argv);
int command_ids(struct context *c, int argc, char **argv);
int command_realloc(struct context *c, int argc, char **argv);
int command_usable(struct context *c, int argc, char **argv);
int command_names(struct context *c, int argc, char **argv);
int command_publish(struct context *c, int argc, char **argv);
int command_unpublish(struct context *c, int argc, char **argv);
int command_watch(struct context *c, int argc, char **argv);
int command_lookup(struct context *c, int argc, char **argv);
int command_status(struct context *c, int argc, char **argv);
int command_ping(struct context *c, int argc, char **argv);
int command_shell(struct context *c, int argc, char **argv);

/* Runs argv[0] with its arguments, by the table of commands. */
int command_run(struct context *c, int argc, char **argv);
/* Each command's usage and what it does, a line each. */
void command_list(void);

#endif
