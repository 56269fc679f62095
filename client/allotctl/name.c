/* SPDX-License-Identifier: MIT */
/*
 * Names by hand: publishing, looking up, listing, watching.
 *
 * What is published stays when the command has ended; what is looked up is held as grants are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "allotctl.h"

static const char *kind_text(const struct allot_ticket *ticket)
{
    static const char *const kinds[] = {"?", "bytes", "pages", "ids"};

    return kinds[ticket->place >> 48 & 3];
}

static uint64_t position_of(const struct allot_ticket *ticket)
{
    return ticket->place & ((UINT64_C(1) << 48) - 1);
}

int command_publish(struct context *c, int argc, char **argv)
{
    bool replaces = argc > 1 && !strcmp(argv[argc - 1], "--replace");
    int words = argc - replaces;
    bool has_at = words == 4 && !strcmp(argv[2], "--at");
    struct allot_ticket ticket;
    uint64_t number;
    int r = 0;

    if (words != 3 && !has_at)
        return wrong_use("publish");
    if (has_at ? !number_parse(argv[3], &number) : !size_parse(argv[2], &number))
        return complain("publish", "not %s: %s", has_at ? "an offset" : "a size", argv[words - 1]);
    if (!has_at)
        r = allot_alloc(c->pool, number, NULL, &number);
    if (r < 0)
        return refused("publish", r, "bytes");
    r = allot_ticket(c->pool, number, &ticket);
    if (r == 0)
        r = allot_publish(c->pool, argv[1], &ticket, replaces ? ALLOT_REPLACE : 0);
    if (!has_at)
        (void)allot_release(c->pool, &ticket); /* the name holds it */
    if (r < 0)
        return refused("publish", r, NULL);
    printf("%s: offset 0x%" PRIx64 "\n", argv[1], number);
    return EXIT_OK;
}

int command_unpublish(struct context *c, int argc, char **argv)
{
    int result = EXIT_OK;

    if (argc < 2)
        return wrong_use("unpublish");
    for (int i = 1; i < argc; i++) {
        int r = allot_unpublish(c->pool, argv[i]);
        if (r < 0)
            result = refused(argv[i], r, NULL);
    }
    return result;
}

int command_lookup(struct context *c, int argc, char **argv)
{
    unsigned found = 0;
    int result = EXIT_OK;
    struct allot_ticket ticket;
    uint64_t position, size;

    if (argc < 2)
        return wrong_use("lookup");
    for (int i = 1; i < argc; i++) {
        int r = allot_lookup(c->pool, argv[i], &ticket, &position, &size);
        if (r < 0) {
            result = refused(argv[i], r, NULL);
            continue;
        }
        found++;
        printf("%s: %s, 0x%" PRIx64 " (%" PRIu64 "), %" PRIu64 "\n", argv[i], kind_text(&ticket),
               position, position, size);
    }
    return hold_granted(c, found, result);
}

static int print_name(void *ctx, const struct allot_name_info *info)
{
    (void)ctx;
    printf("%-5s  %12" PRIu64 "  0x%-12" PRIx64 "  %6" PRIu32 "  %8" PRIu64 "  %s\n",
           kind_text(&info->ticket), info->size, position_of(&info->ticket), info->uid,
           info->sequence, info->name);
    return 0;
}

/* *ctx: whether all that there was is told. */
static void print_event(void *ctx, const struct allot_event *event)
{
    static const char *const kinds[] = {"?", "state", "complete", "appeared", "changed", "gone"};
    bool *complete = ctx;

    *complete |= event->kind == ALLOT_COMPLETE;
    printf("%-8s  %8" PRIu64, kinds[event->kind <= ALLOT_GONE ? event->kind : 0], event->sequence);
    if (event->ticket.place)
        printf("  %s  0x%" PRIx64, kind_text(&event->ticket), position_of(&event->ticket));
    printf("  %s\n", event->name);
    flush_output();
}

int command_watch(struct context *c, int argc, char **argv)
{
    uint64_t watch;
    struct pollfd p[] = {{.events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    char dropped[512];
    bool complete = false;

    if (argc > 2)
        return wrong_use("watch");
    int r = allot_watch(c->pool, argc == 2 ? argv[1] : NULL, print_event, &complete, &watch);
    if (r == 0)
        r = allot_fd(c->session, &p[0].fd);
    while (r == 0 && (poll(p, complete ? 2 : 1, -1) > 0 || errno == EINTR)) {
        if (p[1].revents && read(STDIN_FILENO, dropped, sizeof(dropped)) <= 0)
            break;
        r = allot_process(c->session);
    }
    if (r == 0)
        r = allot_unwatch(c->session, watch);
    return r < 0 ? refused("watch", r, NULL) : EXIT_OK;
}

int command_names(struct context *c, int argc, char **argv)
{
    if (argc > 2)
        return wrong_use("names");
    printf("%-5s  %12s  %-14s  %6s  %8s  %s\n", "KIND", "SIZE", "POSITION", "UID", "CHANGE",
           "NAME");
    int r = allot_list_names(c->pool, argc == 2 ? argv[1] : NULL, print_name, NULL);
    return r < 0 ? refused("names", r, NULL) : EXIT_OK;
}
