/* SPDX-License-Identifier: MIT */
/*
 * The raw peers: processes that answer at once.
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

#include "bench.h"
#include "machine.h"

#define RAW_BYTES   32
#define RAW_TRIPS   5000
#define RAW_PACKETS 25600u

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

/* All that waits is looked at, answered by the number of packets, and then taken. */
_Noreturn static void echo_windows(int fd, int core)
{
    struct mmsghdr in[RAW_WINDOW_MAX];
    struct mmsghdr discard[RAW_WINDOW_MAX] = {0};
    struct iovec parts[RAW_WINDOW_MAX];
    char bytes[RAW_WINDOW_MAX][RAW_BYTES];
    int zero = 0;
    int n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    machine_pin(core);
    setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero));
    for (unsigned i = 0; i < RAW_WINDOW_MAX; i++) {
        parts[i] = (struct iovec){.iov_base = bytes[i], .iov_len = RAW_BYTES};
        in[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    while ((n = recvmmsg(fd, in, RAW_WINDOW_MAX, MSG_PEEK | MSG_WAITFORONE, NULL)) > 0) {
        if (in[0].msg_len == 0 || send(fd, &n, sizeof(n), MSG_NOSIGNAL) < 0)
            break;
        for (int taken = 0; taken < n;) {
            int rc = recvmmsg(fd, discard, (unsigned)(n - taken), MSG_DONTWAIT, NULL);
            if (rc <= 0)
                _exit(1);
            taken += rc;
        }
    }
    _exit(0);
}

static int start(struct raw *r, int core, void (*peer)(int fd, int core))
{
    int fds[2];

    *r = (struct raw){.pid = -1, .fd = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
        fprintf(stderr, "bench: socketpair: %s\n", strerror(errno));
        return -1;
    }
    r->fd = fds[0];
    r->pid = fork();
    if (r->pid == 0) {
        close(fds[0]);
        peer(fds[1], core);
    }
    close(fds[1]);
    r->timed = core == 0 ? r->pid : 0;
    return r->pid > 0 ? 0 : -1;
}

int raw_start(struct raw *r, int core)
{
    return start(r, core, echo);
}

int raw_window_start(struct raw_window *w, unsigned packets)
{
    w->packets = packets;
    return start(&w->peer, 0, echo_windows);
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
    struct raw *r = raw;
    double began = machine_turns_ns(r->timed);

    return trips(r) ? -1 : (machine_turns_ns(r->timed) - began) / RAW_TRIPS;
}

double raw_measure_cpu(void *raw)
{
    struct raw *r = raw;
    double began = machine_cpu_ns(r->pid);

    return trips(r) ? -1 : (machine_cpu_ns(r->pid) - began) / RAW_TRIPS;
}

double raw_window_measure(void *window)
{
    struct raw_window *w = window;
    struct mmsghdr out[RAW_WINDOW_MAX];
    char bytes[RAW_BYTES] = {0};
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    unsigned turns = RAW_PACKETS / w->packets;
    int answered;

    for (unsigned i = 0; i < w->packets; i++)
        out[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    double began = machine_turns_ns(w->peer.timed);
    for (unsigned i = 0; i < turns; i++) {
        unsigned sent = 0;
        for (unsigned done = 0; done < w->packets; done += (unsigned)answered) {
            int rc =
                sent < w->packets ? sendmmsg(w->peer.fd, out, w->packets - sent, MSG_NOSIGNAL) : 0;
            if (rc < 0 || recv(w->peer.fd, &answered, sizeof(answered), 0) != sizeof(answered))
                return -1;
            sent += (unsigned)rc;
        }
    }
    return (machine_turns_ns(w->peer.timed) - began) / (turns * w->packets);
}

void raw_report(struct bench *b, const char *name, const struct bench_probe *ours,
                const struct bench_probe *raw, double goal)
{
    bench_report(b, &(struct bench_row){.name = name,
                                        .unit = "ns",
                                        .ours = &ours->series,
                                        .yardstick = "raw ping-pong, 32 bytes",
                                        .yardstick_series = &raw->series,
                                        .goal = goal});
}
