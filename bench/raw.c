/* SPDX-License-Identifier: MIT */
/*
 * The raw ping-pong.
 */
#include "raw.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

#define RAW_BYTES 32
#define RAW_TRIPS 5000

_Noreturn static void echo(int fd, int core)
{
    char message[RAW_BYTES];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    machine_pin(core);
    while (recv(fd, message, sizeof(message), 0) == RAW_BYTES)
        if (send(fd, message, sizeof(message), 0) != RAW_BYTES)
            break;
    _exit(0);
}

int raw_start(struct raw *r, int core)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
        fprintf(stderr, "bench: socketpair: %s\n", strerror(errno));
        *r = (struct raw){.pid = -1, .fd = -1};
        return -1;
    }
    r->fd = fds[0];
    r->pid = fork();
    if (r->pid == 0) {
        close(fds[0]);
        echo(fds[1], core);
    }
    close(fds[1]);
    return r->pid > 0 ? 0 : -1;
}

void raw_stop(struct raw *r)
{
    if (r->fd >= 0)
        close(r->fd);
    if (r->pid > 0)
        waitpid(r->pid, NULL, 0);
    *r = (struct raw){.pid = -1, .fd = -1};
}

static int trips(struct raw *r)
{
    char message[RAW_BYTES] = {0};

    for (unsigned i = 0; i < RAW_TRIPS; i++)
        if (send(r->fd, message, sizeof(message), MSG_NOSIGNAL) != RAW_BYTES ||
            recv(r->fd, message, sizeof(message), 0) != RAW_BYTES)
            return -1;
    return 0;
}

double raw_measure(void *raw)
{
    double start = machine_now_ns();

    return trips(raw) ? -1 : (machine_now_ns() - start) / RAW_TRIPS;
}

double raw_measure_cpu(void *raw)
{
    struct raw *r = raw;
    double start = machine_cpu_ns(r->pid);

    return trips(r) ? -1 : (machine_cpu_ns(r->pid) - start) / RAW_TRIPS;
}
