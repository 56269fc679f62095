/* SPDX-License-Identifier: MIT */
/*
 * Kill anywhere in the life of a session: its slot is opened, attached, ended, reclaimed in slices,
 * closed, and swept at the start of the next daemon, instruction by instruction; see step.h.
 *
 * After each recovery: what the other session holds is untouched; the session goes on with all that
 * it held, or nothing is left of it; its slot is free only then, and who gets it next finds no
 * trace of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "image.h"
#include "region.h"
#include "session.h"
#include "step.h"

#define PAGE   4096u
#define REGION (64ull * PAGE)
#define HELD   4u /* granted to each session; the first has the other's last as well */

/* The ledger's file, as it is seen from beside the daemon, and a daemon, as far as sessions need
 * it. */
struct world {
    struct ledger ledger;
    int region;
    struct store store;
    struct sessions sessions;
    uv_loop_t loop;
    struct session *session; /* in SLOT; NULL: none */
    uint64_t last_id;        /* that the slot has had */
};

static void copy_out(void *world, unsigned char *image)
{
    const struct world *w = world;

    image_take(&w->ledger, image);
}

static const struct config config = {
    .n_pools = 1,
    .pools = {{.name = "step",
               .size = REGION,
               .size_max = REGION,
               .page_size = PAGE,
               .ids = 100,
               .quota = UINT64_MAX,
               .allocations_max = 100,
               .allocator = &allot_tlsf}},
};

/* ---- worlds ---- */

/* A process that lives as long as this test: itself. */
static struct peer read_peer(void)
{
    struct peer peer;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(peer_read(fds[0], &peer), 0);
    close(peer.pidfd);
    close(fds[0]);
    close(fds[1]);
    return peer;
}

static uint64_t open_slot(struct world *w, unsigned slot)
{
    struct peer peer = read_peer();
    uint64_t id;

    assert_int_equal(ledger_session_open(&w->ledger, slot, (uint32_t)peer.pid, peer.uid, peer.gid,
                                         peer.start_time, &id),
                     0);
    return id;
}

static struct pool_operation operate(struct world *w, unsigned slot, uint64_t number, Allot__Op op,
                                     uint64_t position, uint64_t generation)
{
    struct pool_operation o = {
        .op = op,
        .slot = slot,
        .entry = ledger_entry(&w->ledger, slot, number),
        .size = op == ALLOT__OP__OP_ACQUIRE ? 0 : 1 + slot,
        .position = position,
        .generation = generation,
    };

    ledger_entry_begin(o.entry, number, op, 0);
    if (pool_execute(w->store.pools[0], &o) == POOL_COMMIT)
        pool_finish(w->store.pools[0], &o,
                    region_commit(w->region, o.commit_offset, o.commit_size));
    assert_int_equal(o.error, 0);
    return o;
}

static void on_closed(void *ctx)
{
    (void)ctx;
}

/* As a daemon starts. False where it refuses the ledger. */
static bool daemon_start(struct world *w)
{
    struct notify_fd fds[] = {{.fd = dup(w->ledger.fd), .name = "ledger"},
                              {.fd = dup(w->region), .name = "pool-step"}};
    struct session *s;

    w->session = NULL;
    assert_int_equal(store_open(&w->store, &config, fds, 2), 0);
    if (fds[0].fd >= 0) { /* not taken over: set aside, and another one made */
        store_close(&w->store);
        return false;
    }
    assert_int_equal(sessions_init(&w->sessions, &w->store, SESSIONS_MAX), 0);
    w->sessions.on_closed = on_closed;
    assert_int_equal(uv_loop_init(&w->loop), 0);
    for (unsigned slot = SLOT; slot <= OTHER; slot++) {
        if (!w->ledger.sessions[slot].id)
            continue;
        assert_int_equal(session_adopt(&w->sessions, &w->loop, slot, -1, &s), 0);
        if (slot == SLOT)
            w->session = s;
    }
    return true;
}

static void daemon_stop(struct world *w)
{
    sessions_abandon(&w->sessions, &w->loop);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    sessions_deinit(&w->sessions);
    store_close(&w->store);
}

/* Both sessions hold something of every kind, and one block together; each has an operation that
 * was committed and not answered. */
static void world_make(struct world *w)
{
    static const Allot__Op ops[HELD] = {ALLOT__OP__OP_ALLOC_PAGES, ALLOT__OP__OP_ALLOC_IDS,
                                        ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_ALLOC};
    struct pool_operation o = {0};

    *w = (struct world){0};
    assert_int_equal(store_open(&w->store, &config, NULL, 0), 0);
    assert_int_equal(ledger_adopt(&w->ledger, dup(w->store.ledger.fd)), 0);
    w->region = dup(w->store.pools[0]->fd);
    for (unsigned slot = SLOT; slot <= OTHER; slot++) {
        open_slot(w, slot);
        for (unsigned i = 0; i < HELD; i++)
            o = operate(w, slot, i + 1, ops[i], 0, 0);
        o.entry->result = 0;
    }
    operate(w, SLOT, HELD + 1, ALLOT__OP__OP_ACQUIRE,
            (uint64_t)RECORD_BYTES << CODEC_KIND_SHIFT | o.value, o.generation);
    w->ledger.sessions[SLOT].attached = LEDGER_ATTACHED(0, ALLOT__ACCESS__ACCESS_READ);
    store_close(&w->store);
}

/* One that shares nothing with `w` but the region. */
static void world_copy(struct world *copy, const struct world *w)
{
    *copy = (struct world){.region = w->region};
    image_ledger(&copy->ledger);
}

/* How many references the slot has in the ledger, and OTHER. */
static unsigned count_held(const struct world *w, unsigned slot)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < w->ledger.pools[0].references_top; i++) {
        uint64_t word = ledger_references(&w->ledger, 0)[i];
        count += word && ledger_reference_slot(word) == slot;
    }
    return count;
}

/* Ends the session, as its process's death does, and sees it through. */
static void act_end(void *world, void *arg)
{
    struct world *w = world;

    (void)arg;
    session_end(w->session);
    while (w->ledger.sessions[SLOT].id)
        uv_run(&w->loop, UV_RUN_ONCE);
}

/* ---- judging ---- */

/* What the operation under test may have come to. */
struct scenario {
    const char *name;
    void (*act)(void *world, void *arg);
    unsigned held;   /* by SLOT, while the session is there */
    bool is_new;     /* it can only be there as a new one */
    bool is_gone;    /* its process is */
    unsigned every;  /* see struct stepping */
    unsigned states; /* at least */
};

static bool is_untouched(const struct world *w, bool is_new)
{
    const struct ledger_session *record = &w->ledger.sessions[SLOT];

    if (!is_new)
        return record->attached == LEDGER_ATTACHED(0, ALLOT__ACCESS__ACCESS_READ) ||
               record->attached == LEDGER_ATTACHED(0, ALLOT__ACCESS__ACCESS_WRITE);
    return !record->attached && !record->starts && !record->first && record->uid == getuid() &&
           ledger_journal_last(&w->ledger, SLOT) == 0;
}

/* Whoever gets the slot next finds it as new, under an ID that was never used. */
static bool is_free(struct world *w)
{
    uint64_t last = w->last_id;

    return !w->ledger.sessions[SLOT].id && open_slot(w, SLOT) > last && is_untouched(w, true);
}

static bool is_settled(const struct world *w)
{
    for (unsigned slot = SLOT; slot <= OTHER; slot++) {
        for (unsigned i = 0; w->ledger.sessions[slot].id && i < CODEC_INFLIGHT_MAX; i++) {
            const struct ledger_entry *e = ledger_entry(&w->ledger, slot, i);
            if (e->number && !e->result)
                return false;
        }
    }
    return true;
}

static const char *judge_started(struct world *w, const struct scenario *s)
{
    if (w->session && s->is_gone)
        return "a session without a process";
    if (count_held(w, SLOT) != (w->session ? s->held : 0))
        return "a session in part";
    if (w->session && !is_untouched(w, s->is_new))
        return "the session is not what it was";
    if (count_held(w, OTHER) != HELD || !w->sessions.slots[OTHER])
        return "another session has lost something";
    if (!is_settled(w))
        return "the journal has an entry that is neither answered nor empty";
    if (!pool_check(w->store.pools[0]))
        return "allocators and ledger do not agree";
    if (w->session)
        act_end(w, NULL);
    if (count_held(w, SLOT) > 0)
        return "the session's end leaves something";
    if (!is_free(w))
        return "the slot's next session finds traces";
    return NULL;
}

struct look {
    struct world *copy;
    const struct scenario *scenario;
    unsigned points;
    const char *wrong;
};

static void look(void *ctx, const unsigned char *image)
{
    struct look *look = ctx;
    struct world *w = look->copy;

    look->points++;
    if (look->wrong)
        return;
    image_load(&w->ledger, image);
    w->last_id = w->ledger.sessions[SLOT].id;
    if (!daemon_start(w)) {
        look->wrong = "the ledger is refused";
        return;
    }
    look->wrong = judge_started(w, look->scenario);
    daemon_stop(w);
}

static void run(struct world *w, const struct scenario *s)
{
    struct world copy;
    struct look at = {.copy = &copy, .scenario = s};

    world_copy(&copy, w);
    unsigned long steps = step_through_all(&(struct stepping){.world = w,
                                                              .act = s->act,
                                                              .size = IMAGE_SIZE,
                                                              .copy = copy_out,
                                                              .look = look,
                                                              .ctx = &at,
                                                              .every = s->every});
    printf("%s: %lu instructions, %u states\n", s->name, steps, at.points);
    if (at.wrong)
        fail_msg("%s: state %u: %s", s->name, at.points, at.wrong);
    assert_true(at.points >= s->states);
    ledger_close(&copy.ledger);
    if (w->store.ledger.base)
        daemon_stop(w);
    ledger_close(&w->ledger);
    close(w->region);
}

/* ---- scenarios ---- */

static void test_step_sessions__end(void **state)
{
    struct world w;

    (void)state;
    world_make(&w);
    assert_true(daemon_start(&w));
    run(&w, &(struct scenario){"end", act_end, HELD + 1, .states = HELD + 3});
}

static void act_reclaim(void *world, void *arg)
{
    struct world *w = world;

    (void)arg;
    while (pool_reclaim(w->store.pools[0], SLOT, 2))
        ;
}

/* Others are served between its slices. */
static void test_step_sessions__reclaim_in_slices(void **state)
{
    struct world w;

    (void)state;
    world_make(&w);
    assert_true(daemon_start(&w));
    w.ledger.sessions[SLOT].ended = 1;
    run(&w, &(struct scenario){"reclaim", act_reclaim, .is_gone = true, .states = HELD + 1});
}

static void act_start(void *world, void *arg)
{
    (void)arg;
    daemon_start(world);
}

/* The process has died while no daemon was there; the one that sweeps it dies as well. */
static void test_step_sessions__sweep_at_start(void **state)
{
    struct world w;

    (void)state;
    world_make(&w);
    w.ledger.sessions[SLOT].start_time++; /* another process has its pid now */
    run(&w, &(struct scenario){"sweep", act_start, .is_gone = true, .states = HELD + 2,
                               .every = step_recovery_every()});
}

static void act_close(void *world, void *arg)
{
    struct world *w = world;

    (void)arg;
    ledger_session_close(&w->ledger, SLOT);
}

static void test_step_sessions__close(void **state)
{
    struct world w;

    (void)state;
    world_make(&w);
    assert_true(daemon_start(&w));
    w.ledger.sessions[SLOT].ended = 1;
    act_reclaim(&w, NULL);
    run(&w, &(struct scenario){"close", act_close, .is_gone = true, .states = 2});
}

static void act_open(void *world, void *arg)
{
    (void)arg;
    open_slot(world, SLOT);
}

/* In a slot that another had, which went as far as its ID. */
static void test_step_sessions__open(void **state)
{
    struct ledger_session *record;
    struct world w;

    (void)state;
    world_make(&w);
    assert_true(daemon_start(&w));
    act_reclaim(&w, NULL);
    record = &w.ledger.sessions[SLOT];
    record->id = 0;
    record->uid = getuid() + 1;
    record->starts = 3;
    record->first = 7;
    run(&w, &(struct scenario){"open", act_open, .is_new = true, .states = 5});
}

static void act_attach(void *world, void *arg)
{
    struct world *w = world;

    (void)arg;
    session_attach(w->session, 0, ALLOT__ACCESS__ACCESS_WRITE, ALLOT__ACCESS__ACCESS_WRITE);
}

static void test_step_sessions__attach(void **state)
{
    struct world w;

    (void)state;
    world_make(&w);
    assert_true(daemon_start(&w));
    run(&w, &(struct scenario){"attach", act_attach, HELD + 1, .states = 1});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_sessions__open),
        cmocka_unit_test(test_step_sessions__attach),
        cmocka_unit_test(test_step_sessions__end),
        cmocka_unit_test(test_step_sessions__reclaim_in_slices),
        cmocka_unit_test(test_step_sessions__close),
        cmocka_unit_test(test_step_sessions__sweep_at_start),
    };

    step_on_one_processor();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
