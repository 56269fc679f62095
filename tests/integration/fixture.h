/* SPDX-License-Identifier: MIT */
/*
 * The one fixture of the integration tests: the real daemon on a private socket in a private
 * directory, with this process as its service manager: it hears READY=1 on NOTIFY_SOCKET, keeps the
 * descriptors that the daemon stores, and hands them to the next daemon.
 *
 * A fixture belongs to the test's main thread; a thread of its own hears the daemon meanwhile, as a
 * manager does. Whatever does not come in FIXTURE_DEADLINE_MS fails the test.
 */
#ifndef ALLOT_TEST_FIXTURE_H
#define ALLOT_TEST_FIXTURE_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "check.h"

/* Generous, since a noisy machine must not fail a test; a hang is all that it is to find. */
#define FIXTURE_DEADLINE_MS 60000

#define FIXTURE_STORED_MAX 320u

/* What most tests want: a pool with room to spare, two workers. */
#define FIXTURE_WORKERS 2u
#define FIXTURE_CONFIG  "[daemon]\nworkers = 2\n[pool default]\nsize_max = 256M\n"

/* How to start the daemon; all may be 0. */
struct fixture_setup {
    const char *config;             /* the file's text; NULL: FIXTURE_CONFIG */
    const char *const *arguments;   /* besides --config and --socket; ends with NULL */
    const char *const *environment; /* NAME=VALUE, ends with NULL */
    void (*before_exec)(void);      /* in the daemon's process */
    bool activate;                  /* hand over a listening socket; the daemon gets no --socket */
    bool keep_clients;              /* keep the clients' sockets, too */
};

/* A descriptor that the daemon stored. */
struct fixture_stored {
    int fd;
    char name[256];
};

/* The manager's: while it is held, nobody hears the daemon. */
extern pthread_mutex_t fixture_lock;

struct fixture {
    struct fixture_setup setup;
    char directory[40];
    char socket[108];
    char config[64];
    char log[64];
    char notify_path[64];
    int notify; /* the manager's end of NOTIFY_SOCKET */
    int ready;  /* readable once the daemon has said READY=1 */
    int end;    /* readable when the manager's thread is to end */
    pthread_t manager;
    int log_watch; /* readable when the log has grown */
    int listener;  /* with setup.activate; else -1 */
    pid_t pid;     /* 0: no daemon runs */
    int pidfd;
    off_t log_start; /* where the present daemon's lines begin */
    bool errors_expected;
    struct fixture_stored stored[FIXTURE_STORED_MAX];
    unsigned n_stored;
    unsigned n_removed; /* dropped by the present daemon's word */
};

/* Makes the directory and the manager's socket; no daemon yet. `setup` may be NULL. */
void fixture_open(struct fixture *f, const struct fixture_setup *setup);
/* Starts a daemon with what is stored, and waits until it is ready. */
void fixture_start(struct fixture *f);
/* Starts one that is to end by itself: its exit status, or -1 where a signal ended it. */
int fixture_run(struct fixture *f);
/* Waits for the end of one that runs and ends by itself. As fixture_run(). */
int fixture_end(struct fixture *f);
/* SIGTERM: it must exit with 0 and, unless errors_expected, have logged no error. What it stored
 * stays stored. */
void fixture_stop(struct fixture *f);
/* SIGKILL, at this instant, and what it had stored by then. */
void fixture_kill(struct fixture *f);
/* The same in two parts: between them its death is on its way. */
void fixture_kill_begin(struct fixture *f);
void fixture_kill_end(struct fixture *f);
/* With --supervise: the daemon, whose parent the fixture knows; its death at this instant, and the
 * start of the next one. */
pid_t fixture_supervised(const struct fixture *f);
void fixture_kill_supervised(struct fixture *f);
/* Ends all and cleans up; in a failed test it prints the daemon's log. */
void fixture_close(struct fixture *f);

/* fixture_spawn() does not wait; fixture_wait_ready() does, and false means that it ended. */
void fixture_spawn(struct fixture *f);
bool fixture_wait_ready(struct fixture *f);
/* Takes in what the daemon has sent to its manager so far. */
void fixture_take_notifications(struct fixture *f);

/* Writes a configuration for the next start. With ALLOT_TEST_ALLOCATOR in the environment pools get
 * that allocator, in a line of its own, unless the text says something of allocators itself: here
 * and wherever the fixture is given a configuration. */
void fixture_write_config(struct fixture *f, const char *config);
/* The name of the allocator that they have then. */
const char *fixture_allocator(void);
/* Writes a new configuration; SIGHUP, and waits until the daemon has looked at it. */
void fixture_reload(struct fixture *f, const char *config);

/* The index among f->stored, or -1. */
int fixture_find_stored(struct fixture *f, const char *name);
unsigned fixture_count_stored(struct fixture *f);
/* Forgets all that is stored, as `systemctl stop` does. */
void fixture_drop_stored(struct fixture *f);

/* The log since this daemon's start; valid until the next call. */
const char *fixture_log(struct fixture *f);
/* Waits until the log has this text. */
void fixture_log_wait(struct fixture *f, const char *text);

/* Entries of /proc/PID/fd; a line of /proc/PID/status in kB, such as "RssAnon:". */
unsigned fixture_count_fds(const struct fixture *f);
unsigned fixture_count_fds_from(const struct fixture *f, int first); /* of these numbers */
uint64_t fixture_status_kb(const struct fixture *f, const char *field);
/* Waits until it has so many open: what its clients leave behind it closes in its own time. */
void fixture_wait_fds(const struct fixture *f, unsigned count);

/* Lets clients of any uid come to the socket. */
void fixture_open_to_all(const struct fixture *f);

/* A child process that runs `run` and exits with 0; a failed check ends it with CHECK_STATUS. It
 * dies with the test. */
pid_t child_start(void (*run)(void *ctx), void *ctx);
/* Its wait status, in time. */
int child_wait(pid_t pid);
/* child_wait() for one that must have ended well. */
void child_join(pid_t pid);
/* SIGKILL; its death is complete when this returns. */
void child_kill(pid_t pid);

/* A byte through a pipe: for children that report and wait. */
struct gate {
    int fds[2];
};
void gate_open(struct gate *g);
void gate_close(struct gate *g);
void gate_signal(const struct gate *g);
void gate_wait(const struct gate *g); /* in time */

/* cmocka fixtures for tests with one daemon, as a struct fixture_setup or else FIXTURE_CONFIG has
 * it; *state is that setup or NULL before, the fixture after. */
int fixture_setup(void **state);
/* For tests that open their own: *state is a fixture not opened yet. */
int fixture_setup_bare(void **state);
int fixture_teardown(void **state);

#define fixture_test(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
#define fixture_test_with(setup, f)                                                                \
    cmocka_unit_test_prestate_setup_teardown(f, fixture_setup, fixture_teardown,                   \
                                             (void *)(uintptr_t) & (setup))
#define fixture_test_bare(f)                                                                       \
    cmocka_unit_test_setup_teardown(f, fixture_setup_bare, fixture_teardown)

#endif
