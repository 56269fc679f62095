/* SPDX-License-Identifier: MIT */
/*
 * Digest example: the producer.
 *
 * It reads files into buffers of a pool, tells consumers where they lie, and frees each buffer when
 * it is answered. It does not hash and sends no file's bytes over a socket.
 *
 * At most WINDOW files a consumer and BYTES_MAX bytes in all are out at a time (a file larger than
 * that goes alone), so memory stays bounded however much there is to read. When the pool is full,
 * it waits for an answer and tries again; a file that does not fit into the empty pool is skipped.
 * So is one that cannot be read, is no regular file any more, or changes while it is read. Each
 * skipped file is reported, none ends the work.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <allot.h>

#include "wire.h"

/* Enough that a consumer never waits for the next file while this process reads one. */
#define WINDOW    16u
#define BYTES_MAX (64ull << 20)
#define TAG       0xd1ce57u

struct file {
    const char *name;
    char *skipped; /* why, or NULL */
    uint64_t offset, size;
    struct timespec changed; /* st_ctim when it was read */
    uint8_t digest[SHA256_DIGEST_SIZE];
};

struct producer {
    struct allot *session;
    struct allot_pool *pool;
    char *names; /* the list as it was read */
    struct file *files;
    size_t n_files;
    size_t done;                    /* answered or skipped */
    unsigned out[DIGEST_CONSUMERS]; /* unanswered, for each consumer */
    unsigned out_all;
    uint64_t out_bytes;
    bool terminal;
    uint64_t progress_at; /* when to print the next line */
    struct digest_report report;
};

static void skip(struct producer *p, struct file *f, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void skip(struct producer *p, struct file *f, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (vasprintf(&f->skipped, format, args) < 0)
        digest_fail("remembering a skipped file", 0);
    va_end(args);
    p->report.skipped++;
    p->done++;
}

static void send_task(struct producer *p, const struct file *f)
{
    struct digest_task task = {
        .index = (uint64_t)(f - p->files), .offset = f->offset, .size = f->size};
    unsigned to = 0;

    for (unsigned i = 1; i < DIGEST_CONSUMERS; i++)
        if (p->out[i] < p->out[to])
            to = i;
    if (send(DIGEST_CHANNEL_FD + (int)to, &task, sizeof(task), MSG_NOSIGNAL) != sizeof(task))
        digest_fail("sending a task", 0);
    p->report.channel_sent += sizeof(task);
    p->out[to]++;
    p->out_all++;
    p->out_bytes += f->size;
}

static void take_answer(struct producer *p, unsigned from)
{
    struct digest_answer answer;
    struct file *f;
    ssize_t n = recv(DIGEST_CHANNEL_FD + (int)from, &answer, sizeof(answer), MSG_TRUNC);
    int error;

    if (n < 0 && errno == EINTR)
        return;
    if (n != sizeof(answer) || answer.index >= p->n_files) {
        fprintf(stderr, "digest-producer: consumer %u %s\n", from + 1,
                n == 0 ? "has ended" : "answers nonsense");
        exit(EXIT_FAILURE);
    }
    p->report.channel_received += sizeof(answer);
    f = &p->files[answer.index];
    memcpy(f->digest, answer.digest, sizeof(f->digest));
    if (f->size && (error = allot_free(p->pool, f->offset)) != 0)
        digest_fail("freeing a buffer", error);
    p->out[from]--;
    p->out_all--;
    p->out_bytes -= f->size;
    p->done++;
    p->report.files++;
    p->report.empty += f->size == 0;
    p->report.bytes += f->size;
}

static void wait_answers(struct producer *p)
{
    struct pollfd fds[DIGEST_CONSUMERS];

    for (unsigned i = 0; i < DIGEST_CONSUMERS; i++)
        fds[i] = (struct pollfd){.fd = DIGEST_CHANNEL_FD + (int)i, .events = POLLIN};
    if (poll(fds, DIGEST_CONSUMERS, -1) < 0) {
        if (errno == EINTR)
            return;
        digest_fail("waiting for answers", 0);
    }
    for (unsigned i = 0; i < DIGEST_CONSUMERS; i++)
        if (fds[i].revents)
            take_answer(p, i);
}

/* Reads exactly `size` bytes; 0, an errno, or -1 where the file is of another length. */
static int read_whole(int fd, uint8_t *to, uint64_t size)
{
    uint64_t done = 0;
    uint8_t extra;
    ssize_t n;

    while (done < size) {
        n = read(fd, to + done, size - done < 1u << 30 ? (size_t)(size - done) : 1u << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : -1;
        done += (uint64_t)n;
    }
    do
        n = read(fd, &extra, 1);
    while (n < 0 && errno == EINTR);
    return n < 0 ? errno : n > 0 ? -1 : 0;
}

/* Reads the open file into the buffer of `f` and hands it to a consumer, or skips it and frees the
 * buffer. */
static void load(struct producer *p, struct file *f, int fd, const struct stat *before)
{
    uint8_t *bytes = f->size ? allot_ptr(p->pool, f->offset) : NULL;
    struct stat after;
    int error = read_whole(fd, bytes, f->size);

    if (error > 0) {
        skip(p, f, "cannot be read: %s", strerror(error));
    } else if (error || fstat(fd, &after) < 0 || after.st_size != before->st_size ||
               memcmp(&after.st_mtim, &before->st_mtim, sizeof(after.st_mtim)) != 0 ||
               memcmp(&after.st_ctim, &before->st_ctim, sizeof(after.st_ctim)) != 0) {
        skip(p, f, "changed while it was read");
    } else {
        f->changed = after.st_ctim;
        send_task(p, f);
        return;
    }
    if (f->size && (error = allot_free(p->pool, f->offset)) != 0)
        digest_fail("freeing a buffer", error);
}

/* False: there is no room now, but there will be when an answer has come. */
static bool take_file(struct producer *p, struct file *f)
{
    const struct allot_options options = {.tag = TAG};
    struct stat st;
    /* Not blocking: the name may have become a FIFO since it was listed. */
    int fd = open(f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    int error = 0;

    if (fd < 0 || fstat(fd, &st) < 0) {
        skip(p, f, "cannot be opened: %s", strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        skip(p, f, "is no regular file any more");
    } else {
        f->size = (uint64_t)st.st_size;
        if (f->size && p->out_all && p->out_bytes + f->size > BYTES_MAX) {
            close(fd);
            return false;
        }
        if (f->size)
            error = allot_alloc(p->pool, f->size, &options, &f->offset);
        p->report.allocations += f->size && !error;
        if (!error) {
            load(p, f, fd, &st);
        } else if (error != ALLOT_E_NO_MEMORY && error != ALLOT_E_QUOTA &&
                   error != ALLOT_E_COMMIT && error != ALLOT_E_INVALID) {
            digest_fail("allocating a buffer", error);
        } else if (p->out_all) {
            close(fd);
            return false;
        } else {
            skip(p, f, "%" PRIu64 " bytes: %s (the largest buffer now is of %" PRIu64 ")", f->size,
                 allot_strerror(error), allot_last_limit());
        }
    }
    if (fd >= 0)
        close(fd);
    return true;
}

static void show_progress(struct producer *p)
{
    uint64_t now;

    if (!p->terminal)
        return;
    now = digest_clock(CLOCK_MONOTONIC);
    if (now < p->progress_at)
        return;
    p->progress_at = now + 100000000u;
    fprintf(stderr, "\r%zu of %zu files, %" PRIu64 " MiB\033[K", p->done, p->n_files,
            p->report.bytes >> 20);
}

static void run(struct producer *p)
{
    size_t next = 0;

    while (p->done < p->n_files) {
        while (next < p->n_files && p->out_all < WINDOW * DIGEST_CONSUMERS &&
               take_file(p, &p->files[next]))
            next++;
        if (p->out_all)
            wait_answers(p);
        show_progress(p);
    }
    if (p->terminal)
        fprintf(stderr, "\r\033[K");
    for (int i = 0; i < DIGEST_CONSUMERS; i++)
        shutdown(DIGEST_CHANNEL_FD + i, SHUT_WR);
}

/* The list: names, each ended by a NUL byte. */
static void read_list(struct producer *p, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    char *name;
    size_t size;

    if (fd < 0 || fstat(fd, &st) < 0)
        digest_fail(path, 0);
    size = (size_t)st.st_size;
    p->names = malloc(size + 1);
    if (!p->names || read_whole(fd, (uint8_t *)p->names, size) != 0)
        digest_fail(path, 0);
    close(fd);
    for (size_t i = 0; i < size; i++)
        p->n_files += p->names[i] == '\0';
    p->files = calloc(p->n_files + 1, sizeof(*p->files));
    if (!p->files)
        digest_fail("listing files", 0);
    name = p->names;
    for (size_t i = 0; i < p->n_files; i++) {
        p->files[i].name = name;
        name += strlen(name) + 1;
    }
}

static FILE *create(const char *dir, const char *name)
{
    char *path;
    FILE *f;

    if (asprintf(&path, "%s/%s", dir, name) < 0 || !(f = fopen(path, "wxe")))
        digest_fail(name, 0);
    free(path);
    return f;
}

/* digests: as `sha256sum -z` writes them. stamps: SIZE SECONDS.NANOSECONDS NAME of the same files.
 * skipped: REASON, NAME. Every entry ends with a NUL byte, and so does a reason. */
static void write_results(const struct producer *p, const char *dir)
{
    FILE *digests = create(dir, "digests"), *stamps = create(dir, "stamps");
    FILE *skipped = create(dir, "skipped");

    for (const struct file *f = p->files; f < p->files + p->n_files; f++) {
        if (f->skipped) {
            fprintf(skipped, "%s%c%s%c", f->skipped, 0, f->name, 0);
            continue;
        }
        for (int i = 0; i < SHA256_DIGEST_SIZE; i++)
            fprintf(digests, "%02x", f->digest[i]);
        fprintf(digests, "  %s%c", f->name, 0);
        fprintf(stamps, "%" PRIu64 " %lld.%09ld %s%c", f->size, (long long)f->changed.tv_sec,
                f->changed.tv_nsec, f->name, 0);
    }
    if (fclose(digests) || fclose(stamps) || fclose(skipped))
        digest_fail("writing the results", 0);
}

int main(int argc, char **argv)
{
    struct producer p = {.terminal = isatty(STDERR_FILENO)};
    struct allot_traffic traffic;
    uint64_t start;
    int error;

    if (argc != 4) {
        fprintf(stderr, "usage: digest-producer POOL LIST RESULTS, started by digest\n");
        return 2;
    }
    read_list(&p, argv[2]);
    if ((error = allot_open(&p.session, NULL)) != 0)
        digest_fail("opening a session", error);
    if ((error = allot_attach(p.session, argv[1], ALLOT_WRITE, &p.pool)) != 0)
        digest_fail("attaching the pool", error);

    start = digest_clock(CLOCK_MONOTONIC);
    run(&p);
    p.report.nanoseconds = digest_clock(CLOCK_MONOTONIC) - start;
    write_results(&p, argv[3]);

    allot_traffic(p.session, &traffic);
    p.report.session = allot_session_id(p.session);
    p.report.daemon_sent = traffic.bytes_sent;
    p.report.daemon_received = traffic.bytes_received;
    digest_report_send(&p.report);
    allot_close(p.session);
    for (size_t i = 0; i < p.n_files; i++)
        free(p.files[i].skipped);
    free(p.files);
    free(p.names);
    return 0;
}
