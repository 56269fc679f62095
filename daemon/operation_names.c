/* SPDX-License-Identifier: MIT */
/*
 * Names: published, replaced, taken back, looked up, listed.
 *
 * A name is filled in before its reference is stored; replacing one is a single store of another
 * word over the old. What it is not: the table of names, its order and its log of changes are
 * names.c's; who is told of changes is watch.c's.
 *
 * Locks: pool_list_names() takes the pool's `lock`; all else wants it held.
 */
#include "operation.h"

#include <assert.h>
#include <unistd.h>

/* Whether the user may put `record` in place of the name `old`, or of none. */
static int check_publish(const struct pool *pool, const struct pool_operation *o, uint32_t old)
{
    const struct names *names = &pool->names;

    if (old != NAMES_NONE && !o->replace)
        return -ALLOT__ERROR__E_EXISTS;
    if (old != NAMES_NONE)
        return names->name[old].uid == o->uid ? 0 : -ALLOT__ERROR__E_DENIED;
    if (names_of_user(names, o->uid) >= pool->config.names_quota)
        return -ALLOT__ERROR__E_QUOTA;
    return names->live < NAMES_MAX ? 0 : -ALLOT__ERROR__E_LIMIT;
}

static int publish(struct pool *pool, struct pool_operation *o)
{
    uint32_t old = names_find(&pool->names, o->name);
    uint32_t record;
    uint32_t reference;
    uint32_t index;
    int rc =
        names_is_name(o->name) ? pool_find_held(pool, o, &record, &reference) : ALLOT_E_INVALID;

    if (!rc)
        rc = check_publish(pool, o, old);
    if (rc)
        return rc;
    if ((old == NAMES_NONE && !records_reserve_reference(&pool->records, &reference)) ||
        !names_reserve(&pool->names, o->name, o->uid, o->gid, &index))
        return -ALLOT__ERROR__E_LIMIT;
    uint64_t word = ledger_reference_word_of(HOLDER_NAME, (uint16_t)index, record);
    if (old == NAMES_NONE) {
        ledger_entry_intend(o->entry, record, reference, 0, word);
        records_commit_reference(&pool->records, reference, word);
        names_add(&pool->names, index, reference);
    } else {
        reference = pool->names.references[old];
        uint64_t old_word = pool->records.reference[reference];
        ledger_entry_intend(o->entry, record, reference, old_word, word);
        if (records_move(&pool->records, reference, word))
            pool_free_record(pool, ledger_reference_record(old_word));
        names_replace(&pool->names, old, index);
    }
    pool->low = pool_is_low(pool);
    return 0;
}

void pool_publish_locked(struct pool *pool, struct pool_operation *o)
{
    int rc = publish(pool, o);

    assert(pool->locked);
    o->generation = 0; /* the asker knows it */
    operation_answer(o, rc, 0);
}

/* Whether the user may take the name away. Its publisher may be a user that is no more. */
static bool may_unpublish(const struct ledger_name *name, uint32_t uid)
{
    return uid == name->uid || uid == 0 || uid == geteuid();
}

void pool_unpublish_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t index = names_find(&pool->names, o->name);
    int rc = 0;

    assert(pool->locked);
    if (index == NAMES_NONE)
        rc = -ALLOT__ERROR__E_NO_NAME;
    else if (!may_unpublish(&pool->names.name[index], o->uid))
        rc = -ALLOT__ERROR__E_DENIED;
    if (!rc) {
        uint32_t reference = pool->names.references[index];
        uint64_t word = pool->records.reference[reference];
        uint32_t record = ledger_reference_record(word);
        ledger_entry_intend(o->entry, record, reference, word, 0);
        pool_drop_reference(pool, reference);
        names_remove(&pool->names, index);
    }
    operation_answer(o, rc, 0);
}

void pool_lookup_locked(struct pool *pool, struct pool_operation *o)
{
    uint32_t index = names_find(&pool->names, o->name);
    uint32_t record = RECORDS_NONE;
    int rc = -ALLOT__ERROR__E_NO_NAME;

    assert(pool->locked);
    if (index != NAMES_NONE) {
        record = ledger_reference_record(pool->records.reference[pool->names.references[index]]);
        rc = pool_take_reference(pool, o, record);
    }
    if (rc) {
        operation_answer(o, rc, 0);
        return;
    }
    const struct ledger_record *r = &pool->records.record[record];
    o->generation = r->generation;
    o->entry->size = ledger_record_told(r);
    operation_answer(o, 0, ledger_record_place(r));
}

void pool_name(const struct pool *pool, uint32_t index, struct pool_name *ret)
{
    uint64_t word = pool->records.reference[pool->names.references[index]];
    const struct ledger_record *r = &pool->records.record[ledger_reference_record(word)];

    *ret = (struct pool_name){.name = pool->names.name[index],
                              .place = ledger_record_place(r),
                              .generation = r->generation,
                              .size = r->size};
}

size_t pool_list_names(struct pool *pool, const char *prefix, const char *after,
                       struct pool_name *ret, size_t max)
{
    const struct names *n = &pool->names;
    size_t count = 0;

    pool_lock(pool);
    for (uint32_t at = names_after(n, prefix, after);
         count < max && names_has_prefix(n, at, prefix); at++)
        pool_name(pool, n->order[at], &ret[count++]);
    pool_unlock(pool);
    return count;
}
