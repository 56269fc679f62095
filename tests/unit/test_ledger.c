/* SPDX-License-Identifier: MIT */
/*
 * The ledger's file: what a second opening finds, the journal after a kill, and the store that
 * decides whether what came in is used, set aside, or left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ledger.h"
#include "records.h"
#include "store.h"

#define PAGE UINT64_C(4096)

/* ---- the file ---- */

static void test_ledger__adopts_what_it_made(void **state)
{
    struct ledger first;
    struct ledger second;
    uint64_t id;
    uint64_t next;

    (void)state;
    assert_int_equal(ledger_create(&first), 0);
    assert_int_equal(ledger_session_open(&first, 9, 11, 12, 13, 14, &id), 0);
    int fd = dup(first.fd);
    ledger_close(&first);
    assert_int_equal(ledger_adopt(&second, fd), 0);
    assert_int_equal(second.sessions[9].id, id);
    assert_int_equal(second.sessions[9].pid, 11);
    assert_int_equal(second.sessions[9].incarnation, 14);
    ledger_session_close(&second, 9);
    assert_int_equal(ledger_session_open(&second, 9, 11, 12, 13, 14, &next), 0);
    assert_true(next > id);
    ledger_close(&second);
}

static blkcnt_t memory_of(const struct ledger *ledger)
{
    struct stat st;

    assert_int_equal(fstat(ledger->fd, &st), 0);
    return st.st_blocks;
}

static void open_some(struct ledger *ledger, unsigned count)
{
    uint64_t id;

    for (unsigned slot = 0; slot < count; slot++)
        assert_int_equal(ledger_session_open(ledger, slot, 1, 1, 1, 1, &id), 0);
}

static void test_ledger__sessions_leave_no_memory_behind(void **state)
{
    struct ledger ledger;

    (void)state;
    assert_int_equal(ledger_create(&ledger), 0);
    open_some(&ledger, 1);
    ledger_session_close(&ledger, 0);
    blkcnt_t before = memory_of(&ledger);
    open_some(&ledger, 64); /* their records are in one page */
    assert_true(memory_of(&ledger) > before);
    for (unsigned slot = 0; slot < 64; slot++)
        ledger_session_close(&ledger, slot);
    assert_int_equal(memory_of(&ledger), before);
    ledger_close(&ledger);
}

/* Every byte of the header's fixed part counts; after a refusal nothing of it is left open. */
static void test_ledger__refuses_a_damaged_header(void **state)
{
    struct ledger made;
    struct ledger ledger = {.fd = -1};

    (void)state;
    assert_int_equal(ledger_create(&made), 0);
    for (off_t i = 0; i < 48; i++) {
        unsigned char byte;
        assert_int_equal(pread(made.fd, &byte, 1, i), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(made.fd, &byte, 1, i), 1);
        assert_int_equal(ledger_adopt(&ledger, made.fd), -EBADMSG);
        ledger_close(&ledger);
        assert_true(fcntl(made.fd, F_GETFD) >= 0);
        byte ^= 0x10;
        assert_int_equal(pwrite(made.fd, &byte, 1, i), 1);
    }
    ledger_close(&made);
}

static void test_ledger__a_new_session_has_no_journal(void **state)
{
    struct ledger ledger;
    uint64_t id;

    (void)state;
    assert_int_equal(ledger_create(&ledger), 0);
    assert_int_equal(ledger_session_open(&ledger, 0, 1, 1, 1, 1, &id), 0);
    for (uint64_t number = 1; number <= 300; number++)
        ledger_entry_begin(ledger_entry(&ledger, 0, number), number, ALLOT__OP__OP_PING, 0);
    assert_int_equal(ledger_journal_last(&ledger, 0), 300);
    ledger_session_close(&ledger, 0);
    assert_int_equal(ledger_session_open(&ledger, 0, 1, 1, 1, 1, &id), 0);
    assert_int_equal(ledger_journal_last(&ledger, 0), 0);
    ledger_close(&ledger);
}

/* ---- the journal ---- */

struct journal {
    struct ledger ledger;
    struct ledger_record *record;
    ledger_reference *reference;
    struct ledger_entry *entry;
};

static int journal_setup(void **state)
{
    struct journal *j = calloc(1, sizeof(*j));
    uint64_t id;

    assert_int_equal(ledger_create(&j->ledger), 0);
    assert_int_equal(ledger_session_open(&j->ledger, 0, 1, 1, 1, 1, &id), 0);
    assert_int_equal(ledger_commit_part(&j->ledger, 0, 0, 16), 0);
    j->ledger.pools[0].records_top = 2;
    j->ledger.pools[0].references_top = 2;
    j->record = ledger_records(&j->ledger, 0);
    j->reference = ledger_references(&j->ledger, 0);
    j->entry = ledger_entry(&j->ledger, 0, 5);
    j->record[1] = (struct ledger_record){.position = 4096, .size = 100};
    *state = j;
    return 0;
}

static int journal_teardown(void **state)
{
    struct journal *j = *state;

    ledger_close(&j->ledger);
    free(j);
    return 0;
}

static void check_settled(struct journal *j, bool happened, uint64_t value)
{
    ledger_journal_settle(&j->ledger, 0);
    if (happened) {
        assert_int_equal(j->entry->number, 5);
        assert_int_equal(j->entry->result, LEDGER_ANSWERED);
        assert_int_equal(j->entry->value, value);
    } else {
        assert_int_equal(j->entry->number, 0);
    }
}

static void test_ledger__settles_what_was_only_begun(void **state)
{
    struct journal *j = *state;

    /* What the entry's last use left must not be taken for an intent. */
    ledger_entry_begin(j->entry, 5 + CODEC_INFLIGHT_MAX, ALLOT__OP__OP_ALLOC, 0);
    ledger_entry_intend(j->entry, 1, 1, 0, 77);
    j->reference[1] = 77;
    ledger_entry_finish(j->entry, ALLOT__ERROR__E_OK, 4096, 7);
    ledger_entry_begin(j->entry, 5, ALLOT__OP__OP_ALLOC, 0);
    check_settled(j, false, 0);
}

static void test_ledger__settles_a_grant(void **state)
{
    struct journal *j = *state;

    ledger_entry_begin(j->entry, 5, ALLOT__OP__OP_ALLOC, 0);
    ledger_entry_intend(j->entry, 1, 1, 0, 77);
    j->reference[1] = 77;
    check_settled(j, true, 4096);
    ledger_entry_begin(j->entry, 5, ALLOT__OP__OP_ALLOC, 0);
    ledger_entry_intend(j->entry, 1, 1, 0, 77);
    j->reference[1] = 0;
    check_settled(j, false, 0);
}

static void test_ledger__settles_a_release(void **state)
{
    struct journal *j = *state;

    j->reference[1] = 77;
    ledger_entry_begin(j->entry, 5, ALLOT__OP__OP_FREE, 0);
    ledger_entry_intend(j->entry, 1, 1, 77, 0);
    check_settled(j, false, 0);
    ledger_entry_begin(j->entry, 5, ALLOT__OP__OP_FREE, 0);
    ledger_entry_intend(j->entry, 1, 1, 77, 0);
    j->reference[1] = 0;
    check_settled(j, true, 0);
}

static void test_ledger__settles_a_resize(void **state)
{
    struct journal *j = *state;

    ledger_entry_begin(j->entry, 5, ALLOT__OP__OP_RESIZE, 0);
    ledger_entry_intend(j->entry, 1, 1, 100, 200);
    check_settled(j, false, 0);
    ledger_entry_begin(j->entry, 5, ALLOT__OP__OP_RESIZE, 0);
    ledger_entry_intend(j->entry, 1, 1, 100, 200);
    j->record[1].size = 200;
    check_settled(j, true, 4096);
}

/* An answer that was stored stays, whatever the words say by now. */
static void test_ledger__settles_no_answer_twice(void **state)
{
    struct journal *j = *state;

    ledger_entry_begin(j->entry, 5, ALLOT__OP__OP_ALLOC, 0);
    ledger_entry_finish(j->entry, ALLOT__ERROR__E_QUOTA, 12, 0);
    ledger_journal_settle(&j->ledger, 0);
    assert_int_equal(j->entry->number, 5);
    assert_int_equal(j->entry->result, LEDGER_ANSWERED | ALLOT__ERROR__E_QUOTA);
    assert_int_equal(j->entry->value, 12);
}

static void test_ledger__settles_damage_as_not_done(void **state)
{
    struct journal *j = *state;
    static const Allot__Op ops[] = {ALLOT__OP__OP_ALLOC, ALLOT__OP__OP_FREE, ALLOT__OP__OP_RESIZE,
                                    ALLOT__OP__OP_ADD_MEMORY, (Allot__Op)999};

    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        ledger_entry_begin(j->entry, 5, ops[i], POOLS_MAX);
        ledger_entry_intend(j->entry, 1, 1, 1, 2);
        check_settled(j, false, 0);
        if (ops[i] == ALLOT__OP__OP_ADD_MEMORY)
            continue;
        ledger_entry_begin(j->entry, 5, ops[i], 0);
        ledger_entry_intend(j->entry, UINT32_MAX, 1, 1, 2);
        check_settled(j, false, 0);
        ledger_entry_begin(j->entry, 5, ops[i], 0);
        ledger_entry_intend(j->entry, 1, UINT32_MAX, 1, 2);
        check_settled(j, false, 0);
    }
}

/* ---- the store ---- */

static struct config small_config(void)
{
    struct config config = {
        .n_pools = 1,
        .pools = {{
            .name = "unit",
            .size = 16 * PAGE,
            .size_max = 16 * PAGE,
            .page_size = PAGE,
            .ids = 10,
            .quota = UINT64_MAX,
            .allocations_max = 100,
        }},
    };

    assert_int_equal(allot_byte_find(NULL, &config.pools[0].allocator), 0);
    return config;
}

/* A store with one allocation, closed; its descriptors as a manager would hand them over. */
static void make_stored(const struct config *config, struct notify_fd fds[2])
{
    struct store store;
    uint64_t id;

    assert_int_equal(store_open(&store, config, NULL, 0), 0);
    assert_int_equal(ledger_session_open(&store.ledger, 0, 1, 1, 1, 1, &id), 0);
    struct pool_operation o = {
        .op = ALLOT__OP__OP_ALLOC_IDS, .size = 3, .entry = ledger_entry(&store.ledger, 0, 1)};
    ledger_entry_begin(o.entry, 1, o.op, 0);
    assert_int_equal(pool_execute(store.pools[0], &o), POOL_DONE);
    assert_int_equal(o.error, 0);
    fds[0] = (struct notify_fd){.fd = dup(store.ledger.fd), .name = "ledger"};
    fds[1] = (struct notify_fd){.fd = dup(store.pools[0]->fd), .name = "pool-unit"};
    store_close(&store);
}

static void test_store__opens_what_was_stored(void **state)
{
    struct config config = small_config();
    struct notify_fd fds[2];
    struct store store;

    (void)state;
    make_stored(&config, fds);
    assert_int_equal(store_open(&store, &config, fds, 2), 0);
    assert_int_equal(fds[0].fd, -1);
    assert_int_equal(fds[1].fd, -1);
    assert_int_equal(pool_live(store.pools[0]), 1);
    store_close(&store);
}

/* Short of descriptors is not damaged: nothing may be lost for it. */
static void test_store__leaves_alone_what_it_cannot_open_now(void **state)
{
    struct config config = small_config();
    struct notify_fd fds[2];
    struct store store;
    struct rlimit limit;
    struct rlimit none;

    (void)state;
    make_stored(&config, fds);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = store_open(&store, &config, fds, 2);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(rc, -EMFILE);
    assert_int_equal(store_open(&store, &config, fds, 2), 0);
    assert_int_equal(pool_live(store.pools[0]), 1);
    store_close(&store);
}

static const char *left_out(void)
{
    static const char *const names[] = {"tlsf", "first-fit", "buddy", "slab"};
    const struct allot_byte_ops *ops;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (allot_byte_find(names[i], &ops))
            return names[i];
    return NULL;
}

/* Nor for an allocator that another build has. */
static void test_store__leaves_alone_what_another_build_made(void **state)
{
    struct config config = small_config();
    struct notify_fd fds[2];
    struct ledger ledger;
    struct store store;

    (void)state;
    if (!left_out())
        skip();
    make_stored(&config, fds);
    assert_int_equal(ledger_adopt(&ledger, dup(fds[0].fd)), 0);
    strcpy(ledger.pools[0].allocator, left_out());
    assert_int_equal(store_open(&store, &config, fds, 2), -ENOTSUP);
    strcpy(ledger.pools[0].allocator, config.pools[0].allocator->name);
    ledger_close(&ledger);
    assert_int_equal(store_open(&store, &config, fds, 2), 0);
    assert_int_equal(pool_live(store.pools[0]), 1);
    store_close(&store);
}

static void test_store__sets_damage_aside(void **state)
{
    struct config config = small_config();
    struct notify_fd fds[2];
    struct store store;

    (void)state;
    make_stored(&config, fds);
    assert_int_equal(pwrite(fds[0].fd, "X", 1, 0), 1);
    assert_int_equal(store_open(&store, &config, fds, 2), 0);
    assert_int_equal(pool_live(store.pools[0]), 0);
    store_close(&store);
}

#define journal_test(f) cmocka_unit_test_setup_teardown(f, journal_setup, journal_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ledger__adopts_what_it_made),
        cmocka_unit_test(test_ledger__sessions_leave_no_memory_behind),
        cmocka_unit_test(test_ledger__refuses_a_damaged_header),
        cmocka_unit_test(test_ledger__a_new_session_has_no_journal),
        journal_test(test_ledger__settles_what_was_only_begun),
        journal_test(test_ledger__settles_a_grant),
        journal_test(test_ledger__settles_a_release),
        journal_test(test_ledger__settles_a_resize),
        journal_test(test_ledger__settles_no_answer_twice),
        journal_test(test_ledger__settles_damage_as_not_done),
        cmocka_unit_test(test_store__opens_what_was_stored),
        cmocka_unit_test(test_store__leaves_alone_what_it_cannot_open_now),
        cmocka_unit_test(test_store__leaves_alone_what_another_build_made),
        cmocka_unit_test(test_store__sets_damage_aside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
