/* SPDX-License-Identifier: MIT */
/*
 * Names.
 *
 * What it is: the typed face of a pool's names in the ledger and the indexes derived from it: all
 * names in order, each one's reference, how many each user has; and a log of the last changes for
 * those who watch. What it is not: it stores no reference (operation_names.c does, between
 * names_reserve() and names_add()), and judges no rights.
 *
 * Invariants: a name is live exactly while a reference word of HOLDER_NAME has its index; it is
 * then in `order`, else (if it was used once) on the stack of free ones. What is in the ledger of a
 * live name never changes: replacing it means another one, by one store over the old word. Names at
 * or above info->names_top were never used and have no content.
 *
 * Locks: the pool's, for everything but names_grow_file().
 *
 * Cost: one table in the order of the names serves finding, listing by prefix and going on after a
 * name. To enter one moves 16 KiB on average where the table is full, about 0.5 µs.
 *
 * Limits: NAMES_MAX, and one more, so that a full table can still replace.
 */
#include "names.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

/* Room is made for this many at a time: 20 KiB of ledger. */
#define GROW_STEP 256u

_Static_assert(LEDGER_NAMES <= UINT16_MAX, "a reference word has 16 bits for a name's index");

/* ---- what a name is ---- */

/* The length of the UTF-8 sequence at `at`, or 0 where it is none (overlong, a surrogate, above
 * U+10FFFF); *ret is the character. */
static unsigned utf8_next(const unsigned char *at, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned size = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    uint32_t c = size == 1 ? at[0] : at[0] & (0x7fu >> size);

    if (size > 1 && (at[0] < 0xc0 || at[0] >= 0xf8))
        return 0;
    for (unsigned i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (at[i] & 0x3f);
    }
    *ret = c;
    return c < least[size] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? 0 : size;
}

bool names_is_name(const char *name)
{
    const unsigned char *at = (const unsigned char *)name;
    uint32_t c;

    while (*at) {
        unsigned size = utf8_next(at, &c);
        if (!size || c < 0x20 || (c >= 0x7f && c < 0xa0))
            return false;
        at += size;
    }
    size_t length = (size_t)(at - (const unsigned char *)name);
    return length >= 1 && length <= CODEC_NAME_MAX;
}

/* ---- order ---- */

/* The place in `order` of the first name that is not before `name`. */
static uint32_t lower_bound(const struct names *n, const char *name)
{
    uint32_t low = 0;
    uint32_t high = n->live;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (strcmp(n->name[n->order[middle]].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct names *n, uint32_t at, const char *name)
{
    return at < n->live && strcmp(n->name[n->order[at]].name, name) == 0;
}

uint32_t names_find(const struct names *n, const char *name)
{
    uint32_t at = lower_bound(n, name);

    return is_at(n, at, name) ? n->order[at] : NAMES_NONE;
}

bool names_has_prefix(const struct names *n, uint32_t at, const char *prefix)
{
    return at < n->live && strncmp(n->name[n->order[at]].name, prefix, strlen(prefix)) == 0;
}

uint32_t names_after(const struct names *n, const char *prefix, const char *after)
{
    uint32_t at = lower_bound(n, strcmp(after, prefix) < 0 ? prefix : after);

    at += is_at(n, at, after);
    return names_has_prefix(n, at, prefix) ? at : n->live;
}

/* ---- changing ---- */

bool names_reserve(struct names *n, const char *name, uint32_t uid, uint32_t gid,
                   uint32_t *ret_index)
{
    uint32_t index = n->n_free ? n->free[n->n_free - 1] : n->info->names_top;

    if (index == n->committed || !tally_reserve(&n->users))
        return false;
    if (index == n->info->names_top) {
        n->free[n->n_free++] = (uint16_t)index;
        atomic_store_explicit(&n->info->names_top, index + 1, memory_order_release);
    }
    struct ledger_name *record = &n->name[index];
    *record = (struct ledger_name){.sequence = n->info->names_sequence + 1, .uid = uid, .gid = gid};
    strncpy(record->name, name, CODEC_NAME_MAX);
    atomic_store_explicit(&n->info->names_sequence, record->sequence, memory_order_release);
    *ret_index = index;
    return true;
}

static void enter(struct names *n, uint32_t at, uint32_t index, uint32_t reference)
{
    n->order[at] = (uint16_t)index;
    n->references[index] = reference;
    tally_add(&n->users, n->name[index].uid, 0, 0);
}

static void leave(struct names *n, uint32_t index)
{
    n->references[index] = NAMES_NONE;
    tally_remove(&n->users, n->name[index].uid, 0, 0);
}

static void remember(struct names *n, uint64_t sequence, const char *name, bool gone, bool replaced)
{
    struct names_change *change = &n->log[sequence % NAMES_LOG];

    *change = (struct names_change){.sequence = sequence, .gone = gone, .replaced = replaced};
    memcpy(change->name, name, sizeof(change->name));
}

const struct names_change *names_change(const struct names *n, uint64_t sequence)
{
    const struct names_change *change = &n->log[sequence % NAMES_LOG];

    return change->sequence == sequence ? change : NULL;
}

/* A name off the top of the stack, as names_reserve() left it there. */
static void take_reserved(struct names *n, uint32_t index)
{
    n->n_free--;
    assert(n->free[n->n_free] == index);
    (void)index;
}

static void insert(struct names *n, uint32_t index, uint32_t reference)
{
    uint32_t at = lower_bound(n, n->name[index].name);

    memmove(&n->order[at + 1], &n->order[at], (n->live - at) * sizeof(*n->order));
    n->live++;
    enter(n, at, index, reference);
}

void names_add(struct names *n, uint32_t index, uint32_t reference)
{
    take_reserved(n, index);
    insert(n, index, reference);
    remember(n, n->name[index].sequence, n->name[index].name, false, false);
}

void names_replace(struct names *n, uint32_t old, uint32_t index)
{
    uint32_t at = lower_bound(n, n->name[old].name);
    uint32_t reference = n->references[old];

    take_reserved(n, index);
    leave(n, old);
    enter(n, at, index, reference);
    n->free[n->n_free++] = (uint16_t)old;
    remember(n, n->name[index].sequence, n->name[index].name, false, true);
}

void names_remove(struct names *n, uint32_t index)
{
    uint32_t at = lower_bound(n, n->name[index].name);
    uint64_t sequence = n->info->names_sequence + 1;

    atomic_store_explicit(&n->info->names_sequence, sequence, memory_order_release);
    remember(n, sequence, n->name[index].name, true, false);
    n->live--;
    memmove(&n->order[at], &n->order[at + 1], (n->live - at) * sizeof(*n->order));
    leave(n, index);
    n->free[n->n_free++] = (uint16_t)index;
}

uint32_t names_of_user(const struct names *n, uint32_t uid)
{
    return tally_get(&n->users, uid).allocations;
}

/* ---- opening ---- */

static bool is_plausible(const struct names *n, uint32_t index)
{
    return index < n->info->names_top && n->references[index] == NAMES_NONE &&
           n->name[index].sequence <= n->info->names_sequence &&
           memchr(n->name[index].name, 0, sizeof(n->name[index].name)) &&
           names_is_name(n->name[index].name) && names_find(n, n->name[index].name) == NAMES_NONE;
}

/* Derives the indexes from the ledger's words. */
static int derive(struct names *n)
{
    const ledger_reference *words = ledger_references(n->ledger, n->pool);

    for (uint32_t i = 0; i < n->info->references_top; i++) {
        uint32_t index = ledger_reference_index(words[i]);
        if (!words[i] || ledger_reference_slot(words[i]) != HOLDER_NAME)
            continue;
        if (!is_plausible(n, index)) {
            log_error("ledger: pool %s: the name of reference %u is damaged", n->info->name, i);
            return -EBADMSG;
        }
        if (!tally_reserve(&n->users))
            return -ENOMEM;
        insert(n, index, i);
    }
    for (uint32_t i = n->info->names_top; i-- > 0;)
        if (n->references[i] == NAMES_NONE)
            n->free[n->n_free++] = (uint16_t)i;
    return 0;
}

int names_open(struct names *n, const struct ledger *ledger, unsigned pool)
{
    struct ledger_pool *info = &ledger->pools[pool];
    uint32_t committed = (info->names_top / GROW_STEP + 1) * GROW_STEP;

    if (info->names_top > LEDGER_NAMES) {
        log_error("ledger: pool %s: its names are damaged", info->name);
        return -EBADMSG;
    }
    *n = (struct names){
        .ledger = ledger,
        .pool = pool,
        .info = info,
        .name = ledger_names(ledger, pool),
        .committed = committed < LEDGER_NAMES ? committed : LEDGER_NAMES,
        .order = malloc(LEDGER_NAMES * sizeof(*n->order)),
        .references = malloc(LEDGER_NAMES * sizeof(*n->references)),
        .free = malloc(LEDGER_NAMES * sizeof(*n->free)),
        .log = calloc(NAMES_LOG, sizeof(*n->log)),
    };
    int rc = tally_init(&n->users);
    if (!rc && (!n->order || !n->references || !n->free || !n->log))
        rc = -ENOMEM;
    if (!rc)
        rc = ledger_commit_names(ledger, pool, 0, n->committed);
    if (!rc) {
        memset(n->references, 0xff, LEDGER_NAMES * sizeof(*n->references));
        rc = derive(n);
    }
    if (rc)
        names_close(n);
    return rc;
}

void names_close(struct names *n)
{
    free(n->order);
    free(n->references);
    free(n->free);
    free(n->log);
    tally_deinit(&n->users);
    *n = (struct names){0};
}

bool names_low(const struct names *n)
{
    return !n->n_free && n->info->names_top == n->committed && n->committed < LEDGER_NAMES;
}

int names_grow_file(const struct names *n, uint32_t *ret_committed)
{
    uint32_t left = LEDGER_NAMES - n->committed;
    uint32_t count = left < GROW_STEP ? left : GROW_STEP;
    int rc = ledger_commit_names(n->ledger, n->pool, n->committed, count);

    if (!rc)
        *ret_committed = n->committed + count;
    return rc;
}

/* ---- checking ---- */

const char *names_check(const struct names *n)
{
    const ledger_reference *words = ledger_references(n->ledger, n->pool);
    uint32_t found = 0;
    uint64_t charged = 0;

    for (uint32_t i = 0; i < n->info->references_top; i++) {
        if (!words[i] || ledger_reference_slot(words[i]) != HOLDER_NAME)
            continue;
        found++;
        if (n->references[ledger_reference_index(words[i])] != i)
            return "a name has another reference than the ledger says";
    }
    for (uint32_t i = 0; i < n->live; i++) {
        if (i > 0 && strcmp(n->name[n->order[i - 1]].name, n->name[n->order[i]].name) >= 0)
            return "the names are not in order";
        if (n->references[n->order[i]] == NAMES_NONE)
            return "a name is listed that has no reference";
    }
    for (size_t i = 0; i < n->users.capacity; i++)
        charged += n->users.entries[i].allocations;
    if (found != n->live || charged != n->live || n->live + n->n_free != n->info->names_top)
        return "there are other names than the ledger has";
    return NULL;
}

uint64_t names_bytes(const struct names *n)
{
    return n->committed * (uint64_t)sizeof(*n->name) +
           n->users.capacity * sizeof(*n->users.entries) + NAMES_LOG * sizeof(*n->log) +
           LEDGER_NAMES * (sizeof(*n->order) + sizeof(*n->references) + sizeof(*n->free));
}
