/* SPDX-License-Identifier: MIT */
/*
 * Logging to stderr.
 *
 * What it is: one line a message, made whole on the stack and written by one write(2), so that
 * lines of several threads never mix. What it is not: a log file, a queue, or a way to fail: a line
 * that stderr does not take at once is lost.
 *
 * Invariants: a message is one line of at most LINE_MAX_BYTES. Control characters, of whoever the
 * text came from, leave as \xNN (a new line as \n), so that a client's words can neither forge a
 * line nor speak to a terminal. errno is the same after a call as before.
 *
 * Locks: none; the level is an atomic. Whoever runs this ignores SIGPIPE, or dies of a closed
 * stderr.
 */
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Short enough for a pipe to take it whole (PIPE_BUF is 4096), long enough for a path and a
 * sentence. */
#define LINE_MAX_BYTES 1024

static const struct {
    const char *name;
    int level;
} levels[] = {
    {"error", LOG_ERR},
    {"warning", LOG_WARNING},
    {"info", LOG_INFO},
    {"debug", LOG_DEBUG},
};

static atomic_int level_max = LOG_INFO;
static pthread_once_t journal_once = PTHREAD_ONCE_INIT;
static bool to_journal;

void log_set_level(int level)
{
    atomic_store_explicit(&level_max, level, memory_order_relaxed);
}

int log_level_from_name(const char *name)
{
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (strcmp(levels[i].name, name) == 0)
            return levels[i].level;
    return -1;
}

static const char *level_name(int level)
{
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (levels[i].level == level)
            return levels[i].name;
    return "error";
}

/* JOURNAL_STREAM is inherited by whatever the service starts: it counts only where it names the
 * very file that stderr is (systemd.exec(5)). */
static void find_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    to_journal = text && sscanf(text, "%llu:%llu", &device, &inode) == 2 &&
                 fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

/* Appends `text` with its control characters spelled out, C1 ones in UTF-8 too. Returns the new
 * length; a text that does not fit is cut and ends in "...". */
static size_t append_escaped(char *line, size_t at, size_t room, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)text;

    for (; *s; s++) {
        bool c1 = s[0] == 0xc2 && s[1] >= 0x80 && s[1] <= 0x9f;
        size_t need = *s == '\n' ? 2 : *s < 0x20 || *s == 0x7f || c1 ? 4 : 1;

        if (need + 3 > room - at) {
            memcpy(line + at, "...", 3);
            return at + 3;
        }
        if (need == 1) {
            line[at++] = (char)*s;
            continue;
        }
        line[at++] = '\\';
        if (need == 2) {
            line[at++] = 'n';
            continue;
        }
        line[at++] = 'x';
        line[at++] = hex[*s >> 4];
        line[at++] = hex[*s & 15];
    }
    return at;
}

static bool takes_a_line(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int n;

    do
        n = poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    return n != 0;
}

void log_write(int level, const char *format, ...)
{
    if (level > atomic_load_explicit(&level_max, memory_order_relaxed))
        return;

    int saved = errno;
    char text[LINE_MAX_BYTES];
    char line[LINE_MAX_BYTES];
    va_list args;

    pthread_once(&journal_once, find_journal);
    errno = saved; /* for %m */
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        snprintf(text, sizeof(text), "(a message that could not be written: %s)", format);
    va_end(args);

    int prefix = to_journal ? snprintf(line, sizeof(line), "<%d>", level)
                            : snprintf(line, sizeof(line), "allotd: %s: ", level_name(level));
    size_t size = append_escaped(line, (size_t)prefix, sizeof(line) - 1, text);
    line[size++] = '\n';
    while (takes_a_line(STDERR_FILENO) && write(STDERR_FILENO, line, size) < 0 && errno == EINTR)
        ;
    errno = saved;
}
