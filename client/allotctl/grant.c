/* SPDX-License-Identifier: MIT */
/*
 * Allocating by hand: blocks, pages, IDs.
 *
 * What a session is granted goes with it, so a command on the command line holds what it got until
 * its input ends or SIGINT or SIGTERM comes; in the shell the session goes on and so do its grants.
 * A command of several grants that is refused in the middle keeps those before, says so by printing
 * them, and still ends with 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "allotctl.h"

/* Reads and drops standard input until it ends, or until a signal. Another one ends the program, as
 * ever: the daemon may not answer when it is told goodbye. */
static void hold(void)
{
    sigset_t ends, before;
    struct signalfd_siginfo first;
    char dropped[512];

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, &before);
    int signals = signalfd(-1, &ends, SFD_CLOEXEC);
    printf("held until input ends (Ctrl-D) or a signal comes (Ctrl-C)\n");
    flush_output();
    for (;;) {
        struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                             {.fd = signals, .events = POLLIN}};
        int n = poll(p, 2, -1);
        if (n < 0 && errno != EINTR)
            break;
        if (n > 0 && p[1].revents && read(signals, &first, sizeof(first)) > 0)
            break;
        if (n > 0 && p[0].revents && read(STDIN_FILENO, dropped, sizeof(dropped)) <= 0)
            break;
    }
    if (signals >= 0)
        close(signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

int hold_granted(const struct context *c, unsigned granted, int result)
{
    flush_output();
    if (granted && !c->in_shell)
        hold();
    return result;
}

static void print_grant(uint64_t offset, uint64_t bytes)
{
    char text[SIZE_TEXT];

    printf("offset 0x%" PRIx64 " (%" PRIu64 "): %s\n", offset, offset, size_text(bytes, text));
}

int command_alloc(struct context *c, int argc, char **argv)
{
    unsigned granted = 0;
    int result = EXIT_OK;
    uint64_t size, offset;

    if (argc < 2)
        return wrong_use("alloc");
    for (int i = 1; i < argc; i++) {
        if (!size_parse(argv[i], &size))
            return complain("alloc", "not a size: %s", argv[i]);
    }
    for (int i = 1; i < argc; i++) {
        size_parse(argv[i], &size);
        int r = allot_alloc(c->pool, size, NULL, &offset);
        if (r < 0) {
            result = refused("alloc", r, "bytes");
            continue;
        }
        granted++;
        print_grant(offset, size);
    }
    return hold_granted(c, granted, result);
}

int command_free(struct context *c, int argc, char **argv)
{
    int result = EXIT_OK;
    uint64_t offset;

    if (argc < 2)
        return wrong_use("free");
    for (int i = 1; i < argc; i++) {
        if (!number_parse(argv[i], &offset))
            return complain("free", "not an offset: %s", argv[i]);
    }
    for (int i = 1; i < argc; i++) {
        number_parse(argv[i], &offset);
        int r = allot_free(c->pool, offset);
        if (r < 0)
            result = refused("free", r, NULL);
        else
            printf("freed 0x%" PRIx64 "\n", offset);
    }
    return result;
}

int command_realloc(struct context *c, int argc, char **argv)
{
    uint64_t offset, old_size, size, moved;

    if (argc != 4)
        return wrong_use("realloc");
    if (!number_parse(argv[1], &offset))
        return complain("realloc", "not an offset: %s", argv[1]);
    if (!size_parse(argv[2], &old_size) || !size_parse(argv[3], &size))
        return complain("realloc", "not two sizes: %s %s", argv[2], argv[3]);
    int r = allot_realloc(c->pool, offset, old_size, size, NULL, &moved);
    if (r < 0)
        return refused("realloc", r, "bytes");
    print_grant(moved, size);
    return EXIT_OK;
}

int command_usable(struct context *c, int argc, char **argv)
{
    uint64_t offset, size;

    if (argc != 2 || !number_parse(argv[1], &offset))
        return wrong_use("usable");
    int r = allot_usable_size(c->pool, offset, &size);
    if (r < 0)
        return refused("usable", r, NULL);
    printf("%" PRIu64 " bytes\n", size);
    return EXIT_OK;
}

/* The words that pages and ids have in common. */
struct words {
    uint64_t count, at;
    bool has_at, frees;
};

static int parse_words(int argc, char **argv, struct words *w)
{
    *w = (struct words){0};
    if (argc == 4 && !strcmp(argv[1], "--free")) {
        w->frees = true;
        if (!number_parse(argv[2], &w->at))
            return complain(argv[0], "not a position: %s", argv[2]);
        if (!number_parse(argv[3], &w->count))
            return complain(argv[0], "not a count: %s", argv[3]);
        return EXIT_OK;
    }
    if (argc != 2 && !(argc == 4 && !strcmp(argv[2], "--at")))
        return wrong_use(argv[0]);
    if (!number_parse(argv[1], &w->count))
        return complain(argv[0], "not a count: %s", argv[1]);
    w->has_at = argc == 4;
    if (w->has_at && !number_parse(argv[3], &w->at))
        return complain(argv[0], "not a position: %s", argv[3]);
    return EXIT_OK;
}

int command_pages(struct context *c, int argc, char **argv)
{
    struct words w;
    int r = parse_words(argc, argv, &w);

    if (r != EXIT_OK)
        return r;
    if (w.frees)
        r = allot_free_pages(c->pool, w.at, w.count);
    else if (w.has_at)
        r = allot_alloc_pages_at(c->pool, w.at, w.count, NULL);
    else
        r = allot_alloc_pages(c->pool, w.count, NULL, &w.at);
    if (r < 0)
        return refused("pages", r, "pages");
    if (w.frees) {
        printf("freed 0x%" PRIx64 "\n", w.at);
        return EXIT_OK;
    }
    print_grant(w.at, w.count * allot_page_size(c->pool));
    return hold_granted(c, 1, EXIT_OK);
}

int command_ids(struct context *c, int argc, char **argv)
{
    struct words w;
    int r = parse_words(argc, argv, &w);

    if (r != EXIT_OK)
        return r;
    if (w.frees)
        r = allot_free_ids(c->pool, w.at, w.count);
    else if (w.has_at)
        r = allot_alloc_ids_at(c->pool, w.at, w.count, NULL);
    else
        r = allot_alloc_ids(c->pool, w.count, NULL, &w.at);
    if (r < 0)
        return refused("ids", r, "IDs");
    printf("%s %" PRIu64, w.frees ? "freed" : "IDs", w.at);
    if (w.count > 1)
        printf(" to %" PRIu64, w.at + w.count - 1);
    putchar('\n');
    return w.frees ? EXIT_OK : hold_granted(c, 1, EXIT_OK);
}
