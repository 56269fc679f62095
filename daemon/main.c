/* SPDX-License-Identifier: MIT */
/*
 * allotd: the daemon.
 *
 * What it is: the wiring. Options and configuration, what the service manager handed over, the
 * store, the loops, the listener, and the main loop, which sees to signals and accepts.
 *
 * Exit status: 0 after SIGTERM or SIGINT; 2 for a wrong command line or configuration; 1 for all
 * else that keeps it from serving.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config.h"
#include "listener.h"
#include "log.h"
#include "loops.h"
#include "notify.h"
#include "options.h"
#include "session.h"
#include "store.h"
#include "supervise.h"

#define CONFIG_PATH "/etc/allot/allotd.conf"
#define SOCKET_PATH "/run/allot/allot.sock"

struct daemon {
    struct options options;
    struct config config;
    struct store store;
    struct sessions sessions;
    struct loops loops;
    struct listener listener;
    uv_loop_t loop;
    uv_async_t freed; /* a worker closed a descriptor */
    uv_signal_t signals[3];
};

/* A standard descriptor that is closed would be the number of the next file that is opened: the log
 * would go into the ledger. */
static void fill_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static const char *config_path(const struct options *options)
{
    if (options->config)
        return options->config;
    return access(CONFIG_PATH, F_OK) == 0 || errno != ENOENT ? CONFIG_PATH : NULL;
}

/* The configuration as file and command line have it together. 0 or -1. */
static int read_config(const struct options *options, struct config *config)
{
    const char *path = config_path(options);

    config_default(config);
    if (path && config_load(config, path))
        return -1;
    if (options->workers)
        config->workers = (unsigned)options->workers;
    if (options->log_level >= 0)
        config->log_level = options->log_level;
    if (options->socket)
        strcpy(config->socket, options->socket); /* which fits: options_parse() */
    return 0;
}

/* Every session needs a socket and a pidfd; every attach one more for a moment. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Why nobody can listen there. */
static const char *listen_reason(int rc)
{
    switch (rc) {
    case -EADDRINUSE:
        return "in use by a live daemon";
    case -ENOENT:
        return "its directory does not exist";
    case -ENOTSOCK:
        return "is there and not a socket";
    default:
        return strerror(-rc);
    }
}

static int open_listener(struct daemon *d, struct notify_fd *fds, int n_fds)
{
    const char *path = d->config.socket[0] ? d->config.socket : NULL;

    if (!listener_inherit(&d->listener, fds, n_fds, path)) {
        path = path ? path : SOCKET_PATH;
        int rc = listener_open(&d->listener, path);
        if (rc) {
            log_error("%s: %s", path, listen_reason(rc));
            return rc;
        }
    }
    listener_keep(&d->listener);
    return 0;
}

static void on_accepted(void *ctx, int fd)
{
    struct daemon *d = ctx;

    loops_deal(&d->loops, fd);
}

static void on_short_of_descriptors(void *ctx)
{
    struct daemon *d = ctx;

    loops_shed(&d->loops);
}

static void on_connection_closed(void *ctx)
{
    struct daemon *d = ctx;

    uv_async_send(&d->freed);
}

static void on_freed(uv_async_t *freed)
{
    struct daemon *d = freed->data;

    listener_resume(&d->listener);
}

static void on_terminate(uv_signal_t *handle, int signal_number)
{
    struct daemon *d = handle->data;

    log_info("stopping: %s", strsignal(signal_number));
    notify_send("STOPPING=1");
    uv_stop(&d->loop);
}

static void on_reload(uv_signal_t *handle, int signal_number)
{
    struct daemon *d = handle->data;
    struct config config;

    (void)signal_number;
    notify_reloading();
    if (read_config(&d->options, &config) || !store_configure(&d->store, &config)) {
        log_error("reload: the old configuration stays");
    } else {
        atomic_store(&d->sessions.max, config.sessions_max);
        log_set_level(config.log_level);
        d->sessions.on_names(d->sessions.names_ctx); /* some may be read by others now */
        log_info("reloaded: quotas, limits, rights and log level");
        if (config.workers != d->config.workers || strcmp(config.socket, d->config.socket) != 0)
            log_warning("reload: workers and socket change with a restart only");
    }
    notify_send("READY=1");
}

static int start_signals(struct daemon *d)
{
    static const struct {
        int number;
        uv_signal_cb callback;
    } wanted[] = {{SIGTERM, on_terminate}, {SIGINT, on_terminate}, {SIGHUP, on_reload}};

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        int rc = uv_signal_init(&d->loop, &d->signals[i]);
        if (!rc)
            rc = uv_signal_start(&d->signals[i], wanted[i].callback, wanted[i].number);
        if (rc)
            return rc;
        d->signals[i].data = d;
    }
    return 0;
}

/* A pool wants one of each family. */
static bool has_allocators(void)
{
    const struct allot_byte_ops *bytes;
    const struct allot_page_ops *pages;
    const struct allot_id_ops *ids;
    const char *missing = allot_byte_find(NULL, &bytes)   ? "byte"
                          : allot_page_find(NULL, &pages) ? "page"
                          : allot_id_find(NULL, &ids)     ? "ID"
                                                          : NULL;

    if (missing)
        log_error("cannot start: no %s allocator is built in", missing);
    return !missing;
}

/* Everything is there before the first client is accepted. */
static int start(struct daemon *d)
{
    static struct notify_fd fds[NOTIFY_FDS_MAX];
    int n_fds = notify_listen_fds(fds, NOTIFY_FDS_MAX);

    if (n_fds < 0) {
        log_error("descriptors from the service manager: %s", strerror(-n_fds));
        return n_fds;
    }
    int rc = store_open(&d->store, &d->config, fds, n_fds);
    if (rc)
        return rc;
    rc = open_listener(d, fds, n_fds);
    if (rc)
        return rc;
    rc = sessions_init(&d->sessions, &d->store, d->config.sessions_max);
    if (!rc)
        rc = uv_loop_init(&d->loop);
    if (!rc)
        rc = uv_async_init(&d->loop, &d->freed, on_freed);
    d->freed.data = d;
    if (!rc)
        rc = loops_init(&d->loops, d->config.workers, &d->sessions, on_connection_closed, d);
    if (!rc)
        rc = loops_adopt_sessions(&d->loops, &d->sessions, fds, n_fds);
    for (int i = 0; i < n_fds; i++)
        if (fds[i].fd >= 0)
            close(fds[i].fd);
    if (!rc)
        rc = start_signals(d);
    if (!rc)
        rc = loops_start(&d->loops);
    if (!rc)
        rc = listener_start(&d->listener, &d->loop, on_accepted, on_short_of_descriptors, d);
    if (rc)
        log_error("cannot start: %s", uv_strerror(rc));
    return rc;
}

static void stop(struct daemon *d)
{
    listener_close(&d->listener);
    loops_stop(&d->loops);
    for (size_t i = 0; i < sizeof(d->signals) / sizeof(d->signals[0]); i++)
        uv_close((uv_handle_t *)&d->signals[i], NULL);
    uv_close((uv_handle_t *)&d->freed, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
    sessions_deinit(&d->sessions);
    store_close(&d->store);
}

int main(int argc, char **argv)
{
    static struct daemon d;

    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    options_parse(argc, argv, &d.options);
    if (read_config(&d.options, &d.config))
        return EXIT_CONFIG;
    log_set_level(d.config.log_level);
    if (d.options.check_config) {
        puts("the configuration is good");
        return EXIT_SUCCESS;
    }
    raise_descriptor_limit();
    if (d.options.supervise)
        return supervise(argv, d.options.supervise);
    signal(SIGXFSZ, SIG_IGN); /* a region larger than files may be: EFBIG */
    if (!has_allocators() || start(&d))
        return EXIT_FAILURE;
    notify_send("READY=1");
    log_info("ready; pools: %u, workers: %u", d.config.n_pools, d.config.workers);
    uv_run(&d.loop, UV_RUN_DEFAULT);
    stop(&d);
    return EXIT_SUCCESS;
}
