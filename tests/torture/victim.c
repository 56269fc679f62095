/* SPDX-License-Identifier: MIT */
/* A daemon that is killed anywhere. */
#include "victim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "region.h"
#include "step.h"

#define SHAPE                                                                                      \
    .size = REGION, .size_max = REGION, .page_size = PAGE, .ids = 100, .quota = UINT64_MAX,        \
    .allocations_max = 100, .names_quota = 10, .allocator = &allot_tlsf, .n_rules = 1,             \
    .rules = {{.kind = RULE_ANY, .access = ALLOT__ACCESS__ACCESS_WRITE}}

const struct config victim_config = {.n_pools = 1, .pools = {{.name = "step", SHAPE}}};
const struct config victim_config_more = {
    .n_pools = 2, .pools = {{.name = "step", SHAPE}, {.name = MORE, SHAPE}}};

/* ---- starting ---- */

static void ignore(void *ctx)
{
    (void)ctx;
}

bool victim_start(struct victim *v)
{
    struct notify_fd fds[] = {{.fd = dup(v->ledger.fd), .name = "ledger"},
                              {.fd = dup(v->region), .name = "pool-step"}};
    struct session *s;

    v->session = NULL;
    assert_int_equal(store_open(&v->store, v->config, fds, 2), 0);
    if (fds[0].fd >= 0) { /* not taken over: set aside, and another one made */
        store_close(&v->store);
        return false;
    }
    assert_int_equal(sessions_init(&v->sessions, &v->store, SESSIONS_MAX), 0);
    v->sessions.on_closed = v->sessions.on_names = ignore;
    assert_int_equal(uv_loop_init(&v->loop), 0);
    for (unsigned slot = SLOT; slot <= OTHER; slot++) {
        if (!v->ledger.sessions[slot].id)
            continue;
        assert_int_equal(session_adopt(&v->sessions, &v->loop, slot, -1, &s), 0);
        if (slot == SLOT)
            v->session = s;
    }
    return true;
}

void victim_stop(struct victim *v)
{
    sessions_abandon(&v->sessions, &v->loop);
    uv_run(&v->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&v->loop), 0);
    sessions_deinit(&v->sessions);
    store_close(&v->store);
}

/* ---- what it finds ---- */

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

uint64_t victim_open_slot(struct victim *v, unsigned slot)
{
    struct peer peer = read_peer();
    uint64_t id;

    assert_int_equal(ledger_session_open(&v->ledger, slot, (uint32_t)peer.pid, peer.uid, peer.gid,
                                         peer.incarnation, &id),
                     0);
    return id;
}

struct pool_operation victim_do(struct victim *v, unsigned slot, uint64_t number,
                                struct pool_operation o)
{
    o.slot = slot;
    o.entry = ledger_entry(&v->ledger, slot, number);
    ledger_entry_begin(o.entry, number, o.op, 0);
    if (pool_execute(v->store.pools[0], &o) == POOL_COMMIT)
        pool_finish(v->store.pools[0], &o,
                    region_commit(v->region, o.commit_offset, o.commit_size));
    assert_int_equal(o.error, 0);
    return o;
}

void victim_make(struct victim *v)
{
    static const Allot__Op ops[GRANTS] = {ALLOT__OP__OP_ALLOC_PAGES, ALLOT__OP__OP_ALLOC_IDS,
                                          ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_ALLOC};
    struct pool_operation o = {0};

    *v = (struct victim){.config = &victim_config};
    assert_int_equal(store_open(&v->store, v->config, NULL, 0), 0);
    assert_int_equal(ledger_adopt(&v->ledger, dup(v->store.ledger.fd)), 0);
    v->region = dup(v->store.pools[0]->fd);
    for (unsigned slot = SLOT; slot <= OTHER; slot++) {
        victim_open_slot(v, slot);
        for (unsigned i = 0; i < GRANTS; i++)
            o = victim_do(v, slot, i + 1, (struct pool_operation){.op = ops[i], .size = 1 + slot});
        o.entry->result = 0;
    }
    o = (struct pool_operation){.position = (uint64_t)RECORD_BYTES << CODEC_KIND_SHIFT | o.value,
                                .generation = o.generation,
                                .receiver = v->ledger.sessions[SLOT].id,
                                .receiver_slot = SLOT,
                                .deadline = UINT64_MAX,
                                .name = "step"};
    o.op = ALLOT__OP__OP_ACQUIRE;
    victim_do(v, SLOT, GRANTS + 1, o);
    o.op = ALLOT__OP__OP_SEND;
    victim_do(v, OTHER, GRANTS + 2, o);
    o.op = ALLOT__OP__OP_PUBLISH;
    victim_do(v, SLOT, GRANTS + 3, o);
    v->ledger.sessions[SLOT].attached = LEDGER_ATTACHED(0, ALLOT__ACCESS__ACCESS_READ);
    store_close(&v->store);
}

void victim_end_session(struct victim *v)
{
    session_end(v->session);
    while (v->ledger.sessions[SLOT].id)
        uv_run(&v->loop, UV_RUN_ONCE);
}

/* ---- judging ---- */

/* How many references the holder has in the first pool: a session, by its slot, with what is on its
 * way to it, or HOLDER_NAME. */
static unsigned count_held(const struct victim *v, unsigned holder)
{
    const struct ledger_parcel *parcels = ledger_parcels(&v->ledger, 0);
    unsigned count = 0;

    for (uint32_t i = 0; i < v->ledger.pools[0].references_top; i++) {
        uint64_t word = ledger_references(&v->ledger, 0)[i];
        unsigned found = word ? ledger_reference_slot(word) : SESSIONS_MAX;
        if (found == HOLDER_PARCEL)
            found = parcels[ledger_reference_index(word)].slot;
        count += found == holder;
    }
    return count;
}

static bool is_untouched(const struct victim *v, bool is_new)
{
    const struct ledger_session *record = &v->ledger.sessions[SLOT];
    const struct ledger_watch *watches = ledger_watches(&v->ledger, SLOT);

    if (!is_new)
        return record->attached == LEDGER_ATTACHED(0, ALLOT__ACCESS__ACCESS_READ) ||
               record->attached == LEDGER_ATTACHED(0, ALLOT__ACCESS__ACCESS_WRITE);
    for (unsigned i = 0; i < LEDGER_WATCHES; i++)
        if (watches[i].id)
            return false;
    return !record->attached && !record->starts && !record->reached && record->uid == getuid() &&
           ledger_journal_last(&v->ledger, SLOT) == 0;
}

/* Whoever gets the slot next finds it as new, under an ID that was never used. */
static bool is_free(struct victim *v)
{
    uint64_t last = v->last_id;

    return !v->ledger.sessions[SLOT].id && victim_open_slot(v, SLOT) > last &&
           is_untouched(v, true);
}

static bool is_settled(const struct victim *v)
{
    for (unsigned slot = SLOT; slot <= OTHER; slot++) {
        for (unsigned i = 0; v->ledger.sessions[slot].id && i < CODEC_INFLIGHT_MAX; i++) {
            const struct ledger_entry *e = ledger_entry(&v->ledger, slot, i);
            if (e->number && !e->result)
                return false;
        }
    }
    return true;
}

static const char *judge_started(struct victim *v, const struct life *life)
{
    const char *wrong = NULL;

    if (v->session && life->is_gone)
        return "a session without a process";
    if (count_held(v, SLOT) != (v->session ? life->held : 0))
        return "a session in part";
    if (v->session && !is_untouched(v, life->is_new))
        return "the session is not what it was";
    if (count_held(v, OTHER) != GRANTS || !v->sessions.slots[OTHER])
        return "another session has lost something";
    if (count_held(v, HOLDER_NAME) != 1)
        return "a name has lost what it names";
    if (!is_settled(v))
        return "the journal has an entry that is neither answered nor empty";
    if (life->judge && (wrong = life->judge(v)))
        return wrong;
    if (!pool_check(v->store.pools[0]))
        return "allocators and ledger do not agree";
    if (v->session)
        victim_end_session(v);
    if (count_held(v, SLOT) > 0)
        return "the session's end leaves something";
    if (!is_free(v))
        return "the slot's next session finds traces";
    return NULL;
}

struct look {
    struct victim copy;
    const struct life *life;
    unsigned points;
    const char *wrong;
};

/* A part of a pool's name may be another pool's. */
static bool is_named_in_part(const struct ledger_pool *info)
{
    return info->name[0] && strcmp(info->name, "step") != 0 && strcmp(info->name, MORE) != 0;
}

static void look(void *ctx, const unsigned char *image)
{
    struct look *look = ctx;
    struct victim *v = &look->copy;

    if (look->wrong)
        return;
    look->points++;
    image_load(&v->ledger, image);
    v->last_id = v->ledger.sessions[SLOT].id;
    if (is_named_in_part(&v->ledger.pools[1])) {
        look->wrong = "a pool has a part of its name";
        return;
    }
    if (!victim_start(v)) {
        look->wrong = "the ledger is refused";
        return;
    }
    look->wrong = judge_started(v, look->life);
    victim_stop(v);
}

static void take(void *victim, unsigned char *image)
{
    const struct victim *v = victim;

    image_take(&v->ledger, image);
}

void victim_run(struct victim *v, const struct life *life)
{
    /* It shares nothing with the victim but the region. */
    struct look at = {.copy = {.region = v->region, .config = v->config}, .life = life};

    image_ledger(&at.copy.ledger);
    unsigned long steps = step_through_all(&(struct stepping){.world = v,
                                                              .act = life->act,
                                                              .size = IMAGE_SIZE,
                                                              .copy = take,
                                                              .look = look,
                                                              .ctx = &at,
                                                              .every = life->every});
    printf("%s: %lu instructions, %u states\n", life->name, steps, at.points);
    if (at.wrong)
        fail_msg("%s: state %u: %s", life->name, at.points, at.wrong);
    assert_true(at.points >= life->states);
    ledger_close(&at.copy.ledger);
    if (v->store.ledger.base)
        victim_stop(v);
    ledger_close(&v->ledger);
    close(v->region);
}
