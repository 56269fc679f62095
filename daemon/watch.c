/* SPDX-License-Identifier: MIT */
/*
 * Watching names.
 *
 * What it is: a cursor. It keeps no events: what a watcher was not told yet is found when it can be
 * told, in the table of names and in the pool's log of changes. So one that never reads costs
 * nothing but the cursor, and who falls behind the log is told the state anew. What it is not: it
 * sends nothing (connection.c does, and puts the cursor back where that failed).
 *
 * Invariants: what is told of a name is how it is now. A change that another one followed is left
 * out, so that a name never seems to go back in time, also where it changed while the state was
 * being listed.
 *
 * Locks: the pool's, for one part.
 */
#include "watch.h"

#include <string.h>

static void list(struct watch *w, const struct pool *pool, const char *prefix,
                 struct watch_event *ret, size_t max, size_t *count)
{
    const struct names *n = &pool->names;
    uint32_t at = names_after(n, prefix, w->after);

    for (; *count < max && names_has_prefix(n, at, prefix); at++) {
        struct watch_event *event = &ret[(*count)++];
        event->kind = ALLOT__EVENT_KIND__EVENT_APPEARED;
        pool_name(pool, n->order[at], &event->name);
        memcpy(w->after, event->name.name.name, sizeof(w->after));
    }
    if (*count == max)
        return;
    ret[(*count)++] = (struct watch_event){.kind = ALLOT__EVENT_KIND__EVENT_COMPLETE,
                                           .name.name.sequence = w->sequence};
    w->phase = WATCH_FOLLOWS;
}

/* Whether the change is to be told. */
static bool tell(const struct pool *pool, const struct names_change *change,
                 struct watch_event *ret)
{
    uint32_t index = names_find(&pool->names, change->name);

    if (change->gone) {
        *ret = (struct watch_event){.kind = ALLOT__EVENT_KIND__EVENT_GONE,
                                    .name.name.sequence = change->sequence};
        memcpy(ret->name.name.name, change->name, sizeof(change->name));
        return index == NAMES_NONE;
    }
    if (index == NAMES_NONE || pool->names.name[index].sequence != change->sequence)
        return false;
    ret->kind =
        change->replaced ? ALLOT__EVENT_KIND__EVENT_CHANGED : ALLOT__EVENT_KIND__EVENT_APPEARED;
    pool_name(pool, index, &ret->name);
    return true;
}

static void follow(struct watch *w, const struct pool *pool, const char *prefix,
                   struct watch_event *ret, size_t max, size_t *count)
{
    while (*count < max && w->sequence < pool->names.info->names_sequence) {
        const struct names_change *change = names_change(&pool->names, ++w->sequence);
        if (change && strncmp(change->name, prefix, strlen(prefix)) == 0)
            *count += tell(pool, change, &ret[*count]);
    }
}

size_t watch_next(struct watch *w, struct pool *pool, const char *prefix, struct watch_event *ret,
                  size_t max)
{
    size_t count = 0;

    pool_lock(pool);
    uint64_t now = pool->names.info->names_sequence;
    if (w->phase == WATCH_FOLLOWS && now - w->sequence > NAMES_LOG)
        w->phase = WATCH_BEGINS;
    if (w->phase == WATCH_BEGINS) {
        w->sequence = now;
        w->after[0] = 0;
        w->phase = WATCH_LISTS;
        ret[count++] =
            (struct watch_event){.kind = ALLOT__EVENT_KIND__EVENT_STATE, .name.name.sequence = now};
    }
    if (w->phase == WATCH_LISTS)
        list(w, pool, prefix, ret, max, &count);
    else
        follow(w, pool, prefix, ret, max, &count);
    pool_unlock(pool);
    return count;
}
