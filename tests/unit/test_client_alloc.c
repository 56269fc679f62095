/* SPDX-License-Identifier: MIT */
/*
 * What the client adds to the daemon's operations: realloc by moving, cleared memory, lists in
 * parts. The fake daemon says what it was asked, in order.
 */
#include "fake_session.h"

static void begin(void (*script)(struct fake *), struct allot **ret_session,
                  struct allot_pool **ret_pool)
{
    fake_start(&fake, script);
    *ret_session = open_session();
    *ret_pool = attach_default(*ret_session);
}

static void end(struct allot *a)
{
    allot_close(a);
    expect_no_failure();
}

/* Receives a request with one position and one size (NO_SIZE: none), and answers it. */
#define NO_SIZE UINT64_MAX

static void expect(struct fake *f, Allot__Op op, uint64_t position, uint64_t size,
                   Allot__Error error, uint64_t value)
{
    const Allot__Request *r = fake_receive(f);

    fake_check(f, r != NULL);
    if (!r)
        return;
    fake_check(f, r->op == op);
    fake_check(f,
               position ? r->n_positions == 1 && r->positions[0] == position : r->n_positions == 0);
    fake_check(f, size != NO_SIZE ? r->n_sizes == 1 && r->sizes[0] == size : r->n_sizes == 0);
    fake_answer(f, r->number, 1, &error, &value);
}

static bool all_are(const unsigned char *bytes, size_t n, unsigned char value)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != value)
            return false;
    }
    return true;
}

static void move_script(struct fake *f)
{
    fake_begin(f);
    expect(f, ALLOT__OP__OP_RESIZE, 0x1000, 200, ALLOT__ERROR__E_NO_MEMORY, 0);
    expect(f, ALLOT__OP__OP_ALLOC, 0, 200, ALLOT__ERROR__E_OK, 0x3000);
    expect(f, ALLOT__OP__OP_FREE, 0x1000, 100, ALLOT__ERROR__E_OK, 0);
    fake_end(f);
}

static void test_alloc__realloc_moves_what_was_and_clears_the_rest(void **state)
{
    struct allot_options zeroed = {.flags = ALLOT_ZEROED};
    struct allot_pool *p;
    struct allot *a;
    uint64_t where = 0;

    (void)state;
    begin(move_script, &a, &p);
    memset(allot_ptr(p, 0x1000), 7, 200);
    memset(allot_ptr(p, 0x3000), 9, 300);
    assert_int_equal(allot_realloc(p, 0x1000, 100, 200, &zeroed, &where), 0);
    assert_int_equal(where, 0x3000);
    unsigned char *bytes = allot_ptr(p, where);
    assert_true(all_are(bytes, 100, 7));
    assert_true(all_are(bytes + 100, 100, 0));
    assert_true(all_are(bytes + 200, 100, 9));
    end(a);
}

static void wrong_size_script(struct fake *f)
{
    fake_begin(f);
    expect(f, ALLOT__OP__OP_RESIZE, 0x1000, 200, ALLOT__ERROR__E_NO_MEMORY, 0);
    expect(f, ALLOT__OP__OP_ALLOC, 0, 200, ALLOT__ERROR__E_OK, 0x3000);
    expect(f, ALLOT__OP__OP_FREE, 0x1000, 99, ALLOT__ERROR__E_NOT_ALLOCATED, 0);
    expect(f, ALLOT__OP__OP_FREE, 0x3000, NO_SIZE, ALLOT__ERROR__E_OK, 0);
    fake_end(f);
}

static void test_alloc__realloc_with_a_wrong_old_size_changes_nothing(void **state)
{
    struct allot_pool *p;
    struct allot *a;
    uint64_t where = 5;

    (void)state;
    begin(wrong_size_script, &a, &p);
    assert_int_equal(allot_realloc(p, 0x1000, 99, 200, NULL, &where), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(where, 5);
    end(a);
}

static void known_size_script(struct fake *f)
{
    fake_begin(f);
    expect(f, ALLOT__OP__OP_ALLOC, 0, 100, ALLOT__ERROR__E_OK, 0x1000);
    expect(f, ALLOT__OP__OP_RESIZE, 0x1000, 120, ALLOT__ERROR__E_OK, 0);
    fake_end(f);
}

/* What would be done in place is no more done than what would be moved. */
static void test_alloc__realloc_with_a_wrong_old_size_is_not_asked_for(void **state)
{
    struct allot_options zeroed = {.flags = ALLOT_ZEROED};
    struct allot_pool *p;
    struct allot *a;
    uint64_t where = 0;

    (void)state;
    begin(known_size_script, &a, &p);
    assert_int_equal(allot_alloc(p, 100, NULL, &where), 0);
    memset(allot_ptr(p, where), 7, 200);
    assert_int_equal(allot_realloc(p, where, 99, 200, &zeroed, &where), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(allot_realloc(p, where, 101, 200, &zeroed, &where), ALLOT_E_NOT_ALLOCATED);
    assert_int_equal(where, 0x1000);
    assert_true(all_are(allot_ptr(p, where), 200, 7));
    assert_int_equal(allot_realloc(p, where, 100, 120, &zeroed, &where), 0);
    assert_true(all_are(allot_ptr(p, where), 100, 7));
    assert_int_equal(allot_realloc(p, where, 100, 200, &zeroed, &where), ALLOT_E_NOT_ALLOCATED);
    end(a);
}

static void align_script(struct fake *f)
{
    fake_begin(f);
    expect(f, ALLOT__OP__OP_ALLOC, 0, 50, ALLOT__ERROR__E_OK, 0x4000);
    fake_check(f, f->request->align == 4096);
    expect(f, ALLOT__OP__OP_FREE, 0x1010, 100, ALLOT__ERROR__E_OK, 0);
    expect(f, ALLOT__OP__OP_RESIZE, 0x4000, 20, ALLOT__ERROR__E_OK, 0);
    fake_end(f);
}

static void test_alloc__realloc_moves_for_an_alignment_that_does_not_hold(void **state)
{
    struct allot_options page = {.align = 4096};
    struct allot_pool *p;
    struct allot *a;
    uint64_t where = 0;

    (void)state;
    begin(align_script, &a, &p);
    memset(allot_ptr(p, 0x1010), 7, 100);
    assert_int_equal(allot_realloc(p, 0x1010, 100, 50, &page, &where), 0);
    assert_int_equal(where, 0x4000);
    assert_true(all_are(allot_ptr(p, where), 50, 7));
    assert_int_equal(allot_realloc(p, where, 50, 20, &page, &where), 0);
    assert_int_equal(where, 0x4000);
    end(a);
}

static void zero_script(struct fake *f)
{
    fake_begin(f);
    expect(f, ALLOT__OP__OP_ALLOC_PAGES, 0, 2, ALLOT__ERROR__E_OK, 0x2000);
    expect(f, ALLOT__OP__OP_ALLOC, 0, 64, ALLOT__ERROR__E_OK, FAKE_POOL_SIZE - 32);
    fake_end(f);
}

static void test_alloc__clears_what_is_granted_and_nothing_outside_the_pool(void **state)
{
    struct allot_options zeroed = {.flags = ALLOT_ZEROED}, unknown = {.flags = 2};
    struct allot_pool *p;
    struct allot *a;
    uint64_t where = 0;

    (void)state;
    begin(zero_script, &a, &p);
    memset(allot_ptr(p, 0x1000), 9, 0x4000);
    assert_int_equal(allot_alloc(p, 64, &unknown, &where), ALLOT_E_INVALID);
    assert_int_equal(allot_alloc_pages(p, 2, &zeroed, &where), 0);
    assert_true(all_are(allot_ptr(p, 0x1000), 0x1000, 9));
    assert_true(all_are(allot_ptr(p, 0x2000), 0x2000, 0));
    assert_true(all_are(allot_ptr(p, 0x4000), 0x1000, 9));
    assert_int_equal(allot_alloc(p, 64, &zeroed, &where), ALLOT_E_MALFORMED);
    end(a);
}

static void ids_script(struct fake *f)
{
    fake_begin(f);
    expect(f, ALLOT__OP__OP_ALLOC_IDS, 0, 2, ALLOT__ERROR__E_OK, FAKE_POOL_SIZE + 1);
    expect(f, ALLOT__OP__OP_ALLOC_IDS_AT, 0x1000, 2, ALLOT__ERROR__E_OK, 0);
    fake_end(f);
}

static void test_alloc__ids_are_no_bytes_to_clear(void **state)
{
    struct allot_options zeroed = {.flags = ALLOT_ZEROED}, unknown = {.flags = 2};
    struct allot_pool *p;
    struct allot *a;
    uint64_t first = 0;

    (void)state;
    begin(ids_script, &a, &p);
    memset(allot_ptr(p, 0x1000), 9, 0x1000);
    assert_int_equal(allot_alloc_ids(p, 2, &unknown, &first), ALLOT_E_INVALID);
    assert_int_equal(allot_alloc_ids_at(p, 0x1000, 2, &unknown), ALLOT_E_INVALID);
    assert_int_equal(allot_alloc_ids(p, 2, &zeroed, &first), 0);
    assert_int_equal(first, FAKE_POOL_SIZE + 1);
    assert_int_equal(allot_alloc_ids_at(p, 0x1000, 2, &zeroed), 0);
    assert_true(all_are(allot_ptr(p, 0x1000), 0x1000, 9));
    end(a);
}

static void read_only_script(struct fake *f)
{
    fake_begin(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_ATTACH);
    fake_grant_attach(f, f->request->number);
    grant_one(f);
    expect(f, ALLOT__OP__OP_FREE, HELD, NO_SIZE, ALLOT__ERROR__E_OK, 0); /* nothing before it */
    expect(f, ALLOT__OP__OP_GOODBYE, 0, NO_SIZE, ALLOT__ERROR__E_OK, 0);
}

/* The session may write, by another mapping: the daemon would grant it. */
static void test_alloc__through_a_read_only_mapping_is_denied(void **state)
{
    uint64_t sizes[] = {64}, where[] = {0x1000};
    struct allot_pool *p, *reading = NULL;
    struct allot *a;

    (void)state;
    begin(read_only_script, &a, &p);
    assert_int_equal(allot_attach(a, NULL, ALLOT_READ, &reading), 0);
    assert_int_equal(allot_alloc(reading, 64, NULL, where), ALLOT_E_DENIED);
    assert_int_equal(allot_alloc_batch(reading, 1, sizes, NULL, where, NULL), ALLOT_E_DENIED);
    assert_int_equal(allot_alloc_pages_at(reading, 0x1000, 1, NULL), ALLOT_E_DENIED);
    assert_int_equal(allot_alloc_ids(reading, 1, NULL, where), ALLOT_E_DENIED);
    assert_int_equal(allot_realloc(reading, 0x1000, 64, 128, NULL, where), ALLOT_E_DENIED);
    assert_int_equal(allot_free(reading, 0x1000), ALLOT_E_DENIED);
    assert_int_equal(allot_free_batch(reading, 1, where, NULL), ALLOT_E_DENIED);
    assert_int_equal(allot_add_memory(reading, 4096, NULL), ALLOT_E_DENIED);
    assert_int_equal(where[0], 0x1000);
    /* Also where it would only be counted. */
    hold_one(p);
    where[0] = HELD;
    assert_int_equal(allot_free(reading, HELD), ALLOT_E_DENIED);
    assert_int_equal(allot_free_batch(reading, 1, where, NULL), ALLOT_E_DENIED);
    assert_int_equal(allot_free(p, HELD), 0);
    assert_int_equal(allot_free(p, HELD), 0);
    end(a);
}

static void test_alloc__offsets_and_addresses(void **state)
{
    struct allot_pool *p;
    struct allot *a;

    (void)state;
    begin(zero_script, &a, &p);
    assert_int_equal(allot_session_id(a), 7);
    char *first = (char *)allot_ptr(p, 1) - 1;
    uint64_t size = allot_pool_size(p), where;
    assert_int_equal(size, FAKE_POOL_SIZE);
    assert_null(allot_ptr(p, 0));
    assert_null(allot_ptr(p, size));
    assert_null(allot_ptr(p, UINT64_MAX));
    assert_ptr_equal(allot_ptr(p, size - 1), first + size - 1);
    assert_int_equal(allot_offset(p, first + 100), 100);
    assert_int_equal(allot_offset(p, first + size), 0);
    assert_int_equal(allot_offset(p, &where), 0);
    assert_int_equal(allot_offset(p, NULL), 0);
    assert_int_equal(allot_alloc_pages(p, 2, NULL, &where), 0);
    assert_int_equal(allot_alloc(p, 64, NULL, &where), 0);
    end(a);
}

static void send_tags(struct fake *f, uint32_t first, unsigned n, bool more)
{
    Allot__TagInfo tags[8], *pointers[8];
    Allot__Reply reply = ALLOT__REPLY__INIT;

    for (unsigned i = 0; i < n; i++) {
        allot__tag_info__init(&tags[i]);
        tags[i].tag = first + i;
        tags[i].allocations = 1;
        pointers[i] = &tags[i];
    }
    reply.number = f->request->number;
    reply.count = 1;
    reply.tags = pointers;
    reply.n_tags = n;
    reply.more = more;
    fake_send(f, &reply, -1);
}

static void list_script(struct fake *f)
{
    fake_begin(f);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_TAGS);
    fake_check(f, f->request->after == 0 && f->request->pool == 3);
    send_tags(f, 0, 4, true);
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_PING); /* by the visitor */
    fake_answer(f, f->request->number, 1, NULL, NULL);
    fake_check(f, fake_receive(f) && f->request->after == 4 && f->request->pool == 3);
    send_tags(f, 4, 2, false);
    /* A list that promises more and brings nothing. */
    fake_check(f, fake_receive(f) && f->request->op == ALLOT__OP__OP_TAGS);
    send_tags(f, 0, 0, true);
    fake_end(f);
}

struct seen {
    struct allot *a;
    uint32_t next;
    int ping;
};

static int see_tag(void *ctx, const struct allot_tag_info *info)
{
    struct seen *seen = ctx;

    if (info->tag != seen->next++ || info->allocations != 1)
        return -1000;
    if (info->tag == 3)
        seen->ping = allot_ping(seen->a);
    return 0;
}

static void test_alloc__lists_go_on_after_the_last_key(void **state)
{
    struct seen seen = {.ping = 1};
    struct allot_pool *p;

    (void)state;
    begin(list_script, &seen.a, &p);
    assert_int_equal(allot_list_tags(seen.a, 3, see_tag, &seen), 0);
    assert_int_equal(seen.next, 6);
    assert_int_equal(seen.ping, 0);
    assert_int_equal(allot_list_tags(seen.a, 3, see_tag, &seen), ALLOT_E_MALFORMED);
    end(seen.a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc__realloc_moves_what_was_and_clears_the_rest),
        cmocka_unit_test(test_alloc__realloc_with_a_wrong_old_size_changes_nothing),
        cmocka_unit_test(test_alloc__realloc_with_a_wrong_old_size_is_not_asked_for),
        cmocka_unit_test(test_alloc__realloc_moves_for_an_alignment_that_does_not_hold),
        cmocka_unit_test(test_alloc__clears_what_is_granted_and_nothing_outside_the_pool),
        cmocka_unit_test(test_alloc__ids_are_no_bytes_to_clear),
        cmocka_unit_test(test_alloc__through_a_read_only_mapping_is_denied),
        cmocka_unit_test(test_alloc__offsets_and_addresses),
        cmocka_unit_test(test_alloc__lists_go_on_after_the_last_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
