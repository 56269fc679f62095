/* SPDX-License-Identifier: MIT */
/* Logging to stderr: one line a message, with the level's name, or journald's <N> prefix where
 * stderr is the journal (JOURNAL_STREAM). Thread-safe: a line is one write(2). Never fails. */
#ifndef ALLOTD_LOG_H
#define ALLOTD_LOG_H

#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG */

/* Messages above `level` are dropped. LOG_INFO at first. May be called again at any time. */
void log_set_level(int level);
/* "error", "warning", "info", "debug" → level, or -1. */
int log_level_from_name(const char *name);
void log_write(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_write(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_DEBUG, __VA_ARGS__)

#endif
