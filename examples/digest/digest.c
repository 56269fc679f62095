/* SPDX-License-Identifier: MIT */
/*
 * Digest example: the starter.
 *
 * Makes the channels, starts one producer and three consumers beside itself, collects what each
 * counted, compares that with what the daemon and the receivers counted, and prints the table.
 * While all of them still hold their sessions, it runs a command of the user's; then it lets them
 * end.
 *
 * It is no part of the job: its own session opens when the others are idle, to ask for the daemon's
 * list of sessions, and is counted nowhere.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <allot.h>

#include "wire.h"

#define PROCESSES   (1 + DIGEST_CONSUMERS) /* the producer first */
#define RECOUNT_MAX 1000

struct process {
    const char *program;
    pid_t pid;
    int report_fd;
    struct digest_report report;
    /* What the daemon counted. */
    uint64_t daemon_received, daemon_sent;
    bool listed;
};

static void pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        digest_fail("making a channel", 0);
}

/* Runs in the child. `fds` become the descriptors from 3 on. */
__attribute__((noreturn)) static void become(const char *program, char **argv, const int *fds,
                                             int n)
{
    char path[PATH_MAX + 32];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    int moved[1 + DIGEST_CONSUMERS];

    if (length < 0)
        digest_fail("/proc/self/exe", 0);
    path[length] = '\0';
    snprintf(strrchr(path, '/') + 1, 32, "%s", program);
    /* Out of the way of their own targets first. */
    for (int i = 0; i < n; i++)
        if ((moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, DIGEST_REPORT_FD + n)) < 0)
            digest_fail("handing a channel over", 0);
    for (int i = 0; i < n; i++)
        if (dup2(moved[i], DIGEST_REPORT_FD + i) < 0)
            digest_fail("handing a channel over", 0);
    execv(path, argv);
    digest_fail(path, 0);
}

static void start(struct process *p, const char *program, char **argv, int *channels, int n)
{
    int report[2], fds[1 + DIGEST_CONSUMERS];

    pair(report);
    fds[0] = report[1];
    memcpy(fds + 1, channels, (size_t)n * sizeof(*channels));
    p->program = program;
    p->pid = fork();
    if (p->pid < 0)
        digest_fail("starting a process", 0);
    if (p->pid == 0)
        become(program, argv, fds, 1 + n);
    close(report[1]);
    for (int i = 0; i < n; i++)
        close(channels[i]);
    p->report_fd = report[0];
}

static void start_all(struct process *all, char *pool, char *list, char *results)
{
    char *producer[] = {(char *)"digest-producer", pool, list, results, NULL};
    char *consumer[] = {(char *)"digest-consumer", pool, NULL};
    int near[DIGEST_CONSUMERS], far[DIGEST_CONSUMERS];

    for (int i = 0; i < DIGEST_CONSUMERS; i++) {
        int fds[2];

        pair(fds);
        near[i] = fds[0];
        far[i] = fds[1];
    }
    for (int i = 0; i < DIGEST_CONSUMERS; i++)
        start(&all[1 + i], consumer[0], consumer, &far[i], 1);
    start(&all[0], producer[0], producer, near, DIGEST_CONSUMERS);
}

/* False where the process ended without a report. It has said why. */
static bool collect(struct process *p)
{
    return recv(p->report_fd, &p->report, sizeof(p->report), 0) == sizeof(p->report);
}

static int visit_session(void *ctx, const struct allot_session_info *info)
{
    struct process *all = ctx;

    for (int i = 0; i < PROCESSES; i++) {
        if (all[i].report.session != info->session)
            continue;
        all[i].listed = true;
        all[i].daemon_received = info->bytes_received;
        all[i].daemon_sent = info->bytes_sent;
    }
    return 0;
}

static bool counts_agree(const struct process *all)
{
    for (int i = 0; i < PROCESSES; i++)
        if (!all[i].listed || all[i].daemon_received != all[i].report.daemon_sent ||
            all[i].daemon_sent != all[i].report.daemon_received)
            return false;
    return true;
}

/* The daemon counts a packet after sending it, which may be after the client has read it; so the
 * list is read again where it is behind. */
static void ask_daemon(struct process *all)
{
    struct allot *session;
    int error;

    if ((error = allot_open(&session, NULL)) != 0)
        digest_fail("opening a session", error);
    for (int i = 0; i < RECOUNT_MAX && !counts_agree(all); i++)
        if ((error = allot_list_sessions(session, visit_session, all)) != 0)
            digest_fail("listing sessions", error);
    allot_close(session);
}

/* 1234567 → 1,234,567 */
static const char *grouped(char *to, uint64_t n)
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%" PRIu64, n);
    char *at = to;

    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            *at++ = ',';
        *at++ = digits[i];
    }
    *at = '\0';
    return to;
}

__attribute__((format(printf, 3, 4))) static void row(const char *name, uint64_t n,
                                                      const char *format, ...)
{
    char text[32];
    va_list args;

    printf("%-24s %17s  ", name, grouped(text, n));
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* False where two ends counted differently, or where files were lost on the way. */
static bool print_table(const struct process *all)
{
    const struct digest_report *made = &all[0].report;
    uint64_t daemon = 0, daemon_far = 0, sent = made->channel_sent,
             received = made->channel_received;
    uint64_t sent_far = 0, received_far = 0, files = 0, bytes = 0;
    char text[3][32];
    bool good;

    for (int i = 0; i < PROCESSES; i++) {
        daemon += all[i].report.daemon_sent + all[i].report.daemon_received;
        daemon_far += all[i].daemon_received + all[i].daemon_sent;
    }
    for (int i = 1; i < PROCESSES; i++) {
        received_far += all[i].report.channel_received;
        sent_far += all[i].report.channel_sent;
        files += all[i].report.files;
        bytes += all[i].report.bytes;
    }
    row("files", made->files, "(%" PRIu64 " of them empty, %" PRIu64 " more skipped)", made->empty,
        made->skipped);
    row("bytes in them", made->bytes, "hashed in place by %d consumers", DIGEST_CONSUMERS);
    row("bytes over sockets", daemon + sent + received, "the other ends counted %s",
        grouped(text[0], daemon_far + sent_far + received_far));
    row("  clients and allotd", daemon, "allotd counted %s", grouped(text[0], daemon_far));
    row("  offsets", sent, "the consumers counted %s", grouped(text[0], received_far));
    row("  digests", received, "the consumers counted %s", grouped(text[0], sent_far));
    row("allocations", made->allocations, "each freed when it was answered");
    printf("%-24s %17.3f\n\n", "seconds", (double)made->nanoseconds / 1e9);

    printf("%-16s %8s %8s %9s %15s %13s %13s %7s\n", "process", "pid", "session", "files", "bytes",
           "to allotd", "from allotd", "cpu s");
    for (int i = 0; i < PROCESSES; i++) {
        const struct digest_report *r = &all[i].report;

        printf("%-16s %8" PRId64 " %8" PRIu64 " %9" PRIu64 " %15s %13s %13s %7.3f\n",
               all[i].program, r->pid, r->session, r->files, grouped(text[0], r->bytes),
               grouped(text[1], r->daemon_sent), grouped(text[2], r->daemon_received),
               (double)r->cpu_nanoseconds / 1e9);
    }
    fflush(stdout);
    good = counts_agree(all) && sent == received_far && received == sent_far &&
           files == made->files && bytes == made->bytes;
    if (!good)
        fprintf(stderr, "digest: the two ends counted differently\n");
    return good;
}

static bool run_command(char **argv)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        execvp(argv[0], argv);
        digest_fail(argv[0], 0);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
    struct process all[PROCESSES] = {0};
    bool good = true;

    if (argc < 4) {
        fprintf(stderr, "usage: digest POOL LIST RESULTS [COMMAND ARGUMENT...]\n"
                        "LIST: a file of names, each ended by a NUL byte. RESULTS: a directory.\n"
                        "The daemon's socket is $ALLOT_SOCKET.\n");
        return 2;
    }
    start_all(all, argv[1], argv[2], argv[3]);
    for (int i = 0; i < PROCESSES; i++)
        good &= collect(&all[i]);
    if (good) {
        ask_daemon(all);
        good = print_table(all);
        if (argc > 4)
            good &= run_command(argv + 4);
    }
    for (int i = 0; i < PROCESSES; i++)
        close(all[i].report_fd);
    for (int i = 0; i < PROCESSES; i++) {
        int status;

        if (waitpid(all[i].pid, &status, 0) < 0 || status != 0)
            good = false;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
