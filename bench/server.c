/* SPDX-License-Identifier: MIT */
/*
 * Starting and stopping the daemon. It tells by NOTIFY_SOCKET when it is ready, so nothing is
 * guessed. The descriptors that it wants kept are dropped with their messages.
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

#define START_MS 10000

static const char configuration[] = "[pool default]\nsize = 1G\n[pool other]\nsize = 1G\n";

static int write_configuration(const char *path)
{
    FILE *f = fopen(path, "we");

    if (!f)
        return -1;
    bool written = fputs(configuration, f) >= 0;
    return fclose(f) == 0 && written ? 0 : -1;
}

static int open_notify(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* False where the daemon does not say so in time, or ends. */
static bool wait_ready(struct server *s)
{
    char state[1024];
    struct pollfd p = {.fd = s->notify, .events = POLLIN};
    double deadline = machine_now_ns() + START_MS * 1e6;

    while (machine_now_ns() < deadline) {
        if (poll(&p, 1, 100) > 0) {
            ssize_t n = recv(s->notify, state, sizeof(state) - 1, 0);
            if (n < 0)
                return false;
            state[n] = 0;
            if (strstr(state, "READY=1")) {
                close(s->notify); /* nothing is kept, and nobody waits for us to read */
                s->notify = -1;
                return true;
            }
        } else if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
            s->pid = -1;
            return false;
        }
    }
    return false;
}

static void remove_files(const struct server *s)
{
    static const char *const names[] = {"conf", "notify", "socket"};
    char path[96];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", s->dir, names[i]);
        unlink(path);
    }
    rmdir(s->dir);
}

_Noreturn static void run_daemon(const struct server *s, const char *program, int core,
                                 unsigned workers, bool supervised)
{
    char config[96];
    char notify[96];
    char count[16];

    snprintf(config, sizeof(config), "%s/conf", s->dir);
    snprintf(notify, sizeof(notify), "%s/notify", s->dir);
    snprintf(count, sizeof(count), "%u", workers);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    machine_pin(core);
    setenv("NOTIFY_SOCKET", notify, 1);
    execl(program, program, "--config", config, "--socket", s->socket, "--workers", count,
          "--log-level", "warning", supervised ? "--supervise" : (char *)NULL, (char *)NULL);
    fprintf(stderr, "bench: %s: %s\n", program, strerror(errno));
    _exit(127);
}

static int start(struct server *s, const struct bench *b, int core, unsigned workers,
                 bool supervised)
{
    char path[96];
    const char *tmp = getenv("TMPDIR");

    *s = (struct server){.pid = -1, .notify = -1};
    /* A long TMPDIR would not leave room for a socket's path. */
    snprintf(s->dir, sizeof(s->dir), "%s/allot-bench.XXXXXX",
             tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    if (!mkdtemp(s->dir)) {
        fprintf(stderr, "bench: %s: %s\n", s->dir, strerror(errno));
        return -1;
    }
    snprintf(s->socket, sizeof(s->socket), "%s/socket", s->dir);
    snprintf(path, sizeof(path), "%s/conf", s->dir);
    int rc = write_configuration(path);
    snprintf(path, sizeof(path), "%s/notify", s->dir);
    s->notify = open_notify(path);
    if (!rc && s->notify >= 0)
        s->pid = fork();
    if (s->pid == 0)
        run_daemon(s, b->allotd, core, workers, supervised);
    if (s->pid > 0 && wait_ready(s))
        return 0;
    fprintf(stderr, "bench: %s does not start\n", b->allotd);
    server_stop(s);
    return -1;
}

int server_start(struct server *s, const struct bench *b, int core, unsigned workers)
{
    return start(s, b, core, workers, false);
}

int server_start_supervised(struct server *s, const struct bench *b, unsigned workers)
{
    return start(s, b, MACHINE_ANY_CORE, workers, true);
}

pid_t server_child(const struct server *s)
{
    char path[64];
    int child = -1;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)s->pid, (int)s->pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    if (fscanf(f, "%d", &child) != 1)
        child = -1;
    fclose(f);
    return child;
}

void server_stop(struct server *s)
{
    int status;

    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        if (waitpid(s->pid, &status, 0) == s->pid && status != 0)
            fprintf(stderr, "bench: the daemon ended with status %#x\n", (unsigned)status);
    }
    if (s->notify >= 0)
        close(s->notify);
    remove_files(s);
    s->pid = s->notify = -1;
}
