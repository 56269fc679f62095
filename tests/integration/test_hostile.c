/* SPDX-License-Identifier: MIT */
/*
 * Clients that mean harm: connections that say whatever the codec can say, in an order that gets
 * somewhere. They hold, wait, watch and publish, send numbers again in other groupings and as other
 * operations, do not read, take each other's sessions up, and go in the middle; the daemon is
 * killed among them. A client that behaves is served all the while, and of the others nothing is
 * left.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/support.h"
#include "fixture.h"
#include "wire.h"

#define CLIENTS   12u
#define STEPS     3000u /* of theirs, in a round */
#define ROUNDS    6u
#define KNOWN     32u          /* tickets that one remembers */
#define KEPT      16u          /* blocks of who behaves */
#define BLOCK     1000u        /* bytes of each */
#define SIZE      (4ull << 20) /* of a pool */
#define COLUMN    (CODEC_BATCH_MAX + 1)
#define NAMES     8u
#define PUBLISHED 4u /* of them, by who behaves */
#define COMMON    1u /* the pools */
#define GOOD      2u

static const struct fixture_setup lost = {
    .config = "[daemon]\nworkers = 2\n[pool common]\nsize_max = 4M\nids = 1000\n"
              "[pool good]\nsize_max = 4M\n"};

/* Long, with a control character, cut within a character, and too long. */
static const char *const names[NAMES] = {
    "a",    "ab",   "abc",   "012345678901234567890123456789012345678901234567890123456789012",
    "good", "\x7f", "a\xc3", "0123456789012345678901234567890123456789012345678901234567890123"};

static struct test_random random_;

static uint64_t below(uint64_t bound)
{
    return test_random_below(&random_, bound);
}

static bool one_in(uint64_t n)
{
    return below(n) == 0;
}

/* ---- who means harm: a process, with one thread ---- */

struct hostile {
    int fd; /* -1: not connected */
    bool deaf;
    bool stuck;       /* something waits, it seems, where the next is to come */
    uint64_t session; /* 0: none */
    unsigned char secret[CODEC_SECRET_SIZE];
    uint64_t next;
    uint64_t answered;                       /* the highest number that was */
    unsigned char kinds[CODEC_INFLIGHT_MAX]; /* of what is granted under a number */
    struct wire_ticket known[KNOWN];
};

static struct hostile hostiles[CLIENTS];

static void leave(struct hostile *c)
{
    close(c->fd);
    c->fd = -1;
}

static void learn(struct hostile *c, const Allot__Reply *reply)
{
    if (reply->session) {
        c->session = reply->session;
        memcpy(c->secret, reply->secret.data, CODEC_SECRET_SIZE);
    }
    if (reply->refused == ALLOT__ERROR__E_SESSION)
        c->session = 0;
    if (reply->refused == ALLOT__ERROR__E_SEQUENCE && reply->attempt) {
        c->next = c->answered + 1 + (one_in(8) ? below(32) : 0); /* after what waits, perhaps */
        c->stuck = true;
    }
    if (reply->count && c->answered < reply->number + reply->count - 1)
        c->answered = reply->number + reply->count - 1;
    if (c->next <= c->answered)
        c->next = c->answered + 1;
    for (size_t i = 0; i < reply->n_generations && i < reply->n_values; i++) {
        uint64_t kind = c->kinds[(reply->number + i) % CODEC_INFLIGHT_MAX];
        c->known[below(KNOWN)] = (struct wire_ticket){reply->values[i] | kind << CODEC_KIND_SHIFT,
                                                      reply->generations[i]};
    }
}

/* Whatever is there to read; descriptors are dropped. False at the connection's end. */
static bool hear(struct hostile *c)
{
    static unsigned char frame[CODEC_FRAME_MAX];
    static struct codec_arena arena;
    Allot__Reply *reply;
    ssize_t size;

    while ((size = recv(c->fd, frame, sizeof(frame), MSG_DONTWAIT)) > 0) {
        check(codec_decode_reply(&arena, frame, (size_t)size, &reply) == 0);
        learn(c, reply);
    }
    if (size < 0 && errno == EAGAIN)
        return true;
    leave(c);
    return false;
}

/* False where it could not be sent: the daemon is gone, or does not read. */
static bool say(struct hostile *c, const unsigned char *frame, size_t size)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN | POLLOUT};

    if (send(c->fd, frame, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size)
        return true;
    if (errno != EAGAIN)
        leave(c);
    else if (!c->deaf)
        poll(&p, 1, 20);
    return false;
}

/* Hello, as a session that there is or as a new one, and what a session begins with. */
static void greet(struct hostile *c, bool resume)
{
    unsigned char frame[CODEC_FRAME_MAX];
    size_t size = 0;
    Allot__Request hello = wire_request(ALLOT__OP__OP_HELLO, 0);
    Allot__Request attach = wire_request(ALLOT__OP__OP_ATTACH, 0);

    hello.version_min = hello.version_max = CODEC_VERSION;
    if (resume) {
        hello.session = c->session;
        c->secret[0] ^= one_in(16);
        hello.secret.data = c->secret;
        hello.secret.len = one_in(16) ? below(CODEC_SECRET_SIZE) : CODEC_SECRET_SIZE;
    } else {
        *c = (struct hostile){.fd = c->fd, .next = 1};
    }
    c->deaf = false;
    check(codec_add_request(&hello, frame, &size) == 0);
    for (unsigned pool = COMMON; pool <= GOOD && !resume; pool++) {
        attach.number = c->next++;
        attach.name = (char *)(uintptr_t)(pool == COMMON ? "common" : "good");
        attach.access = pool == COMMON ? ALLOT__ACCESS__ACCESS_WRITE : ALLOT__ACCESS__ACCESS_READ;
        check(codec_add_request(&attach, frame, &size) == 0);
    }
    say(c, frame, size);
}

static void come(struct hostile *c, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    check(c->fd >= 0);
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    while (connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        poll(NULL, 0, 1); /* there is no daemon now */
    greet(c, c->session && !one_in(4));
}

/* ---- what is said ---- */

/* The kind of what it grants; a lookup's answer says it itself. */
static unsigned char kind_of(Allot__Op op)
{
    if (op == ALLOT__OP__OP_ALLOC)
        return CODEC_KIND_BYTES;
    if (op == ALLOT__OP__OP_ALLOC_PAGES || op == ALLOT__OP__OP_ALLOC_PAGES_AT)
        return CODEC_KIND_PAGES;
    return op == ALLOT__OP__OP_ALLOC_IDS || op == ALLOT__OP__OP_ALLOC_IDS_AT ? CODEC_KIND_IDS : 0;
}

static uint64_t any_size(void)
{
    switch (below(10)) {
    case 0:
        return UINT64_MAX - below(SIZE);
    case 1:
        return (1ull << below(64)) - below(2);
    case 2:
        return SIZE - 1 - below(3) * 4096;
    case 3:
        return below(SIZE / 4096);
    default:
        return below(100);
    }
}

/* A request, and what its columns are made of. */
struct saying {
    Allot__Request request;
    uint64_t sizes[COLUMN];
    uint64_t positions[COLUMN];
    uint64_t generations[COLUMN];
};

/* Of so many items, or one column of another length; sizes may be left out of most. */
static void set_columns(struct saying *s, size_t items)
{
    Allot__Request *r = &s->request;
    bool bare = !kind_of(r->op) && one_in(2);

    r->n_sizes = bare ? 0 : items;
    r->n_positions = r->op == ALLOT__OP__OP_WATCH && one_in(2) ? 0 : items;
    r->n_generations = one_in(16) ? below(COLUMN + 1) : items;
    if (one_in(16))
        r->n_positions = below(COLUMN + 1);
}

static void think(struct saying *s, const struct hostile *c)
{
    static const Allot__Access access[] = {ALLOT__ACCESS__ACCESS_WRITE, ALLOT__ACCESS__ACCESS_READ,
                                           ALLOT__ACCESS__ACCESS_NONE};
    static const uint64_t deadlines[] = {1, 20, 1000000, UINT64_MAX};
    Allot__Op op = (Allot__Op)below(ALLOT__OP__OP_UNWATCH + 2);
    bool ticket = op >= ALLOT__OP__OP_ACQUIRE && op <= ALLOT__OP__OP_PUBLISH;
    const struct hostile *of = one_in(8) ? &hostiles[below(CLIENTS)] : c;
    Allot__Request *r = &s->request;

    if (op == ALLOT__OP__OP_GOODBYE && !one_in(8))
        op = ALLOT__OP__OP_LOOKUP;
    *r = wire_request(op, one_in(4) ? (uint32_t)below(4) : COMMON);
    for (unsigned i = 0; i < COLUMN; i++) {
        const struct wire_ticket *t = &of->known[below(KNOWN)];
        s->sizes[i] = any_size();
        s->positions[i] = one_in(16) ? any_size() : t->place;
        if (!ticket)
            s->positions[i] &= (1ull << CODEC_KIND_SHIFT) - 1;
        s->generations[i] = t->generation;
    }
    r->sizes = s->sizes;
    r->positions = s->positions;
    r->generations = s->generations;
    set_columns(s, one_in(4) ? below(COLUMN + 1) : 1);
    r->align = one_in(4) ? any_size() : one_in(4) ? 1ull << below(64) : 0;
    r->tag = (uint32_t)below(one_in(8) ? UINT32_MAX : 4);
    r->name = (char *)(uintptr_t)names[below(NAMES)];
    if (op == ALLOT__OP__OP_ATTACH && one_in(2))
        r->name = (char *)(uintptr_t) "common";
    /* What is good is not theirs to change. */
    r->access = access[strcmp(r->name, "good") == 0 ? 1 + below(2) : below(3)];
    r->after = one_in(4) ? below(UINT64_MAX) : 0;
    r->after_name = (char *)(uintptr_t)(one_in(4) ? names[below(NAMES)] : "");
    r->receiver = one_in(2) ? hostiles[below(CLIENTS)].session : 0;
    /* A parcel to anyone would outlive all. */
    r->deadline_ms = one_in(2) ? 0 : deadlines[below(ticket && !r->receiver ? 2 : 4)];
    r->replace = one_in(2);
}

/* Under the next number, or again under one that was; `taken` is what comes before in its frame.
 * How many it takes. */
static unsigned number(struct hostile *c, Allot__Request *r, bool again, unsigned taken)
{
    int count = codec_request_count(r);
    uint64_t back = below(CODEC_INFLIGHT_MAX + 2);

    if (back >= c->next && !one_in(64)) /* before the first */
        back = below(c->next);
    r->number = again ? c->next - back : c->next;
    r->attempt = r->number == c->next;
    if (count <= 0 || taken + (unsigned)count > CODEC_INFLIGHT_MAX || r->number > c->next ||
        c->next - r->number > CODEC_INFLIGHT_MAX)
        return 0; /* it will be refused */
    if (r->number + (unsigned)count > c->next)
        c->next = r->number + (unsigned)count;
    for (unsigned i = 0; i < (unsigned)count; i++)
        c->kinds[(r->number + i) % CODEC_INFLIGHT_MAX] = kind_of(r->op);
    return (unsigned)count;
}

/* A frame of `n` requests of two forms, and sometimes a wrong bit; not where a parcel could become
 * another's by it, or anyone's. */
static bool say_some(struct hostile *c, struct saying *two, unsigned n, bool again)
{
    unsigned char frame[CODEC_FRAME_MAX];
    uint64_t before = c->next;
    unsigned taken = 0;
    size_t size = 0;

    for (; n > 0 && taken < CODEC_INFLIGHT_MAX; n--) {
        Allot__Request *r = &two[below(2)].request;
        taken += number(c, r, again, taken);
        if (codec_add_request(r, frame, &size))
            break; /* it is full */
    }
    if (!two[0].request.receiver && !two[1].request.receiver && one_in(16))
        frame[below(size)] ^= (unsigned char)(1u << below(8));
    if (say(c, frame, size))
        return true;
    c->next = before;
    return false;
}

/* A row of requests of two forms, and the numbers of some of them again as one. */
static void talk(struct hostile *c)
{
    static struct saying two[2];
    unsigned frames = one_in(2) ? 1 + (unsigned)below(8) : 1;
    bool again = one_in(c->stuck ? 2 : 8);
    bool said = true;

    think(&two[0], c);
    think(&two[1], c);
    if (again) /* which ends what waits */
        two[1].request.op = ALLOT__OP__OP_PING;
    c->stuck &= !again;
    for (; frames > 0 && said; frames--) {
        said = say_some(c, two, 1 + (unsigned)below(one_in(2) ? 64 : 4), again);
        if (said && !c->deaf)
            said = hear(c);
    }
    for (unsigned i = 0; i < 4 && said; i++) {
        set_columns(&two[i % 2], below(COLUMN + 1));
        two[i % 2].request.deadline_ms = 0;
        said = say_some(c, two, 1, true);
    }
}

struct party {
    const char *path;
    uint64_t seed;
};

static void mean_harm(void *ctx)
{
    const struct party *party = ctx;

    test_random_init(&random_, party->seed);
    for (unsigned i = 0; i < CLIENTS; i++)
        hostiles[i].fd = -1;
    for (unsigned step = 0; step < STEPS; step++) {
        struct hostile *c = &hostiles[below(CLIENTS)];
        const struct hostile *other = &hostiles[below(CLIENTS)];
        if (c->fd < 0) {
            come(c, party->path);
        } else if (one_in(64)) {
            leave(c);
        } else if (one_in(32) && other->session) {
            leave(c);
            *c = *other; /* both say that they are it */
            come(c, party->path);
        } else if (one_in(16)) {
            c->deaf = !c->deaf;
        } else {
            talk(c);
        }
        for (unsigned i = 0; i < CLIENTS; i++)
            if (hostiles[i].fd >= 0 && !hostiles[i].deaf)
                hear(&hostiles[i]);
    }
}

/* ---- who behaves ---- */

static struct {
    struct wire wire;
    unsigned char secret[CODEC_SECRET_SIZE];
    unsigned char *region[2];
    struct wire_ticket kept[KEPT];
    struct wire_ticket named;
} good;

static unsigned char *bytes_of(unsigned pool, struct wire_ticket t)
{
    return good.region[pool - 1] + (t.place & ((1ull << CODEC_KIND_SHIFT) - 1));
}

static void *map(const char *name)
{
    Allot__Error error;

    check(wire_attach(&good.wire, name, ALLOT__ACCESS__ACCESS_WRITE, &error) != 0);
    void *region = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, good.wire.reply_fd, 0);
    check(region != MAP_FAILED);
    return region;
}

static void begin_well(const struct fixture *f)
{
    Allot__Request r = wire_request(ALLOT__OP__OP_PUBLISH, GOOD);
    Allot__Error error;

    wire_open(&good.wire, f->socket);
    memcpy(good.secret, good.wire.reply->secret.data, sizeof(good.secret));
    good.region[COMMON - 1] = map("common");
    good.region[GOOD - 1] = map("good");
    for (unsigned i = 0; i < KEPT; i++) {
        good.kept[i] = wire_grant(&good.wire, COMMON, ALLOT__OP__OP_ALLOC, BLOCK);
        memset(bytes_of(COMMON, good.kept[i]), (int)i + 1, BLOCK);
    }
    good.named = wire_grant(&good.wire, GOOD, ALLOT__OP__OP_ALLOC, BLOCK);
    r.positions = &good.named.place;
    r.generations = &good.named.generation;
    r.n_positions = r.n_generations = 1;
    for (unsigned i = 0; i < PUBLISHED; i++) {
        r.name = (char *)(uintptr_t)names[i];
        wire_run(&good.wire, &r, 1, &error, NULL);
        check_equal(error, ALLOT__ERROR__E_OK);
    }
}

/* All of it is there, and what is asked for besides is granted. */
static void expect_good(void)
{
    static const Allot__Op ops[] = {ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_ALLOC_PAGES,
                                    ALLOT__OP__OP_ALLOC_IDS};
    Allot__Request r = wire_request(ALLOT__OP__OP_LOOKUP, GOOD);
    struct wire_ticket t;
    uint64_t size;
    Allot__Error error;

    for (unsigned i = 0; i < KEPT; i++) {
        const unsigned char *bytes = bytes_of(COMMON, good.kept[i]);
        check_equal(wire_reference(&good.wire, ALLOT__OP__OP_ACQUIRE, COMMON, good.kept[i], &size),
                    ALLOT__ERROR__E_OK);
        check_equal(size, BLOCK);
        for (unsigned b = 0; b < size; b++)
            check_equal(bytes[b], i + 1);
    }
    for (unsigned i = 0; i < 3; i++) {
        t = wire_grant(&good.wire, GOOD, ops[i], 10);
        check_equal(wire_reference(&good.wire, ALLOT__OP__OP_RELEASE, GOOD, t, NULL),
                    ALLOT__ERROR__E_OK);
    }
    r.name = (char *)(uintptr_t)names[0];
    wire_run(&good.wire, &r, 1, &error, &t.place);
    check_equal(error, ALLOT__ERROR__E_OK);
    check_equal(t.place, good.named.place);
}

static void kill_daemon(struct fixture *f)
{
    uint64_t session = good.wire.session;
    uint64_t next = good.wire.next;

    fixture_kill(f);
    fixture_start(f);
    wire_close(&good.wire);
    check_equal(wire_resume(&good.wire, f->socket, session, good.secret, sizeof(good.secret)),
                ALLOT__ERROR__E_OK);
    good.wire.session = session;
    good.wire.next = next;
    expect_good();
}

/* What was published lives on. */
static void take_names_away(void)
{
    Allot__Request list = wire_request(ALLOT__OP__OP_NAMES, COMMON);
    Allot__Request r = wire_request(ALLOT__OP__OP_UNPUBLISH, COMMON);
    char name[CODEC_NAME_MAX + 1];
    Allot__Error error;

    for (;;) {
        wire_run(&good.wire, &list, 1, &error, NULL);
        check_equal(error, ALLOT__ERROR__E_OK);
        if (!good.wire.reply->n_names)
            return;
        strcpy(name, good.wire.reply->names[0]->name);
        r.name = name;
        wire_run(&good.wire, &r, 1, &error, NULL);
        check_equal(error, ALLOT__ERROR__E_OK);
    }
}

static void expect_nothing_left_in(const char *name, uint64_t blocks, uint64_t bytes,
                                   uint64_t published)
{
    wire_wait_live(&good.wire, name, blocks, 0, 0);
    const Allot__PoolInfo *info = wire_pool_info(&good.wire, name);
    check_equal(info->used_bytes, bytes);
    check_equal(info->ids_used, 0);
    check_equal(info->names, published);
    check_equal(info->free_pages + info->heap_bytes / info->page_size, SIZE / info->page_size - 1);
}

/* But for the good one's. */
static void expect_nothing_left(void)
{
    expect_nothing_left_in("common", KEPT, KEPT * BLOCK, 0);
    expect_nothing_left_in("good", 1, BLOCK, PUBLISHED);
}

static bool is_over(pid_t pid)
{
    siginfo_t info = {0};

    check(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
    return info.si_pid == pid;
}

static void meet(struct fixture *f, bool keep_clients)
{
    struct fixture_setup setup = lost;
    uint64_t seed = test_seed(0x4057113);

    setup.keep_clients = keep_clients;
    fprintf(stderr, "seed 0x%llx\n", (unsigned long long)seed);
    fixture_open(f, &setup);
    fixture_start(f);
    begin_well(f);
    for (unsigned long round = 0; round < steps_scaled(ROUNDS); round++) {
        unsigned fds = fixture_count_fds(f);
        struct party party = {f->socket, seed + round};
        pid_t pid = child_start(mean_harm, &party);
        for (unsigned i = 1; !is_over(pid); i++) {
            expect_good();
            if (round % 2 && i % 64 == 0)
                kill_daemon(f);
        }
        child_join(pid);
        wire_wait_sessions(&good.wire, 1);
        if (round % 2 == 0)
            fixture_wait_fds(f, fds);
        take_names_away();
        expect_nothing_left();
        kill_daemon(f);
        expect_nothing_left();
    }
    check_equal(wire_goodbye(&good.wire), ALLOT__ERROR__E_OK);
    wire_close(&good.wire);
    munmap(good.region[0], SIZE);
    munmap(good.region[1], SIZE);
}

static void test_hostile__connections_lost(void **state)
{
    meet(*state, false);
}

static void test_hostile__connections_kept(void **state)
{
    meet(*state, true);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        fixture_test_bare(test_hostile__connections_lost),
        fixture_test_bare(test_hostile__connections_kept),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
