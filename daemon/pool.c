/* SPDX-License-Identifier: MIT */
/*
 * A pool.
 *
 * What it is: the composition of a region (memfd), a page allocator that owns it, a byte heap that
 * takes pages from that, an ID space, and the ledger's part that records what was granted. This
 * file opens, rebuilds, describes and checks it; operation.c and those beside it serve requests.
 * What it is not: it does not know sessions beyond their slot, nor connections, nor messages.
 *
 * Invariants, whenever the lock is free: every live record is taken in its allocator, with exactly
 * its size; what is taken besides is a reservation that waits for memory (pool_finish) or belongs
 * to the heap. Sums (tags, users) are those of the live records, users also of the reservations.
 * Every byte of a live block or page run is backed with memory.
 *
 * Locks: `lock` for all state; never across I/O. `growing` for who makes room in the ledger.
 *
 * Limits: ALLOCATIONS_MAX, SESSIONS_MAX, REGION_SIZE_MAX, IDS_MAX.
 */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <allot/align.h>

#include "log.h"
#include "memory.h"
#include "region.h"

static void *metadata_resize(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    const struct pool *pool = ctx;

    (void)old_size;
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    void *fresh = realloc(ptr, new_size);
    if (fresh && pool->filling)
        memory_populate(fresh, new_size);
    return fresh;
}

/* ---- state that operations change, too ---- */

void pool_mark_committed(struct pool *pool, uint64_t position, uint64_t size)
{
    int shift = __builtin_ctzll(pool->info->page_size);
    uint64_t last = (position + size - 1) >> shift;

    for (uint64_t page = position >> shift; page <= last; page++)
        pool->committed[page / 64] |= 1ull << page % 64;
}

void pool_count_in(struct pool *pool, const struct ledger_record *record)
{
    uint64_t bytes = kind_bytes(record->kind, record->size);

    tally_add(&pool->tags, record->tag, bytes, kind_ids(record->kind, record->size));
    pool->used_bytes += bytes;
}

void pool_count_out(struct pool *pool, const struct ledger_record *record)
{
    uint64_t bytes = kind_bytes(record->kind, record->size);
    uint64_t ids = kind_ids(record->kind, record->size);

    tally_remove(&pool->tags, record->tag, bytes, ids);
    tally_remove(&pool->users, record->uid, bytes, ids);
    pool->used_bytes -= bytes;
}

void pool_make_room(struct pool *pool)
{
    uint32_t committed = 0;
    uint32_t names_committed = 0;

    if (!atomic_load_explicit(&pool->low, memory_order_relaxed))
        return;
    pthread_mutex_lock(&pool->growing);
    if (pool->low) {
        pool_lock(pool);
        bool records = records_low(&pool->records);
        bool names = names_low(&pool->names);
        pool_unlock(pool);
        int rc = names ? names_grow_file(&pool->names, &names_committed) : 0;
        if (!rc && records)
            rc = records_grow_file(&pool->records, &committed);
        pool_lock(pool);
        if (names_committed)
            pool->names.committed = names_committed;
        if (committed)
            rc = records_grow(&pool->records, committed);
        pool->low = pool_is_low(pool);
        pool_unlock(pool);
        /* Each request tries again; one line in a row is enough. */
        if (rc && !pool->cramped)
            log_warning("pool %s: no room for more records: %s", pool->info->name, strerror(-rc));
        pool->cramped = rc != 0;
    }
    pthread_mutex_unlock(&pool->growing);
}

/* ---- rights and statistics ---- */

Allot__Access pool_access(struct pool *pool, const struct peer *peer)
{
    pool_lock(pool);
    Allot__Access access =
        pool->retired ? ALLOT__ACCESS__ACCESS_NONE : config_access(&pool->config, peer);
    pool_unlock(pool);
    return access;
}

void pool_configure(struct pool *pool, const struct config_pool *config)
{
    pool_lock(pool);
    pool->retired = !config;
    if (config) {
        pool->config.quota = config->quota;
        pool->config.allocations_max = config->allocations_max;
        pool->config.names_quota = config->names_quota;
        memcpy(pool->config.rules, config->rules, sizeof(pool->config.rules));
        pool->config.n_rules = config->n_rules;
    }
    pool->turned = true; /* a quota may be larger now, a right be gone */
    pool_ring_and_unlock(pool);
}

uint32_t pool_live(struct pool *pool)
{
    pool_lock(pool);
    uint32_t live = pool->records.live;
    pool_unlock(pool);
    return live;
}

void pool_info(struct pool *pool, Allot__PoolInfo *ret)
{
    struct stat st = {0};

    (void)fstat(pool->fd, &st);
    ret->committed_bytes = (uint64_t)st.st_blocks * 512;
    pool_lock(pool);
    ret->pool = pool->index + 1;
    ret->name = pool->info->name;
    ret->allocator = pool->info->allocator;
    ret->page_size = pool->info->page_size;
    ret->size = pool->info->size;
    ret->size_max = pool->info->size_max;
    ret->used_bytes = pool->used_bytes;
    ret->largest_free = allot_heap_largest_free(&pool->heap);
    ret->free_pages = pool->pages->ops->available_pages(pool->pages);
    ret->largest_free_pages = pool->pages->ops->largest_free(pool->pages);
    ret->heap_bytes = pool->bytes->ops->total_bytes(pool->bytes);
    ret->heap_free_bytes = pool->bytes->ops->available_bytes(pool->bytes);
    ret->blocks = pool->records.live_of[RECORD_BYTES];
    ret->page_runs = pool->records.live_of[RECORD_PAGES];
    ret->id_ranges = pool->records.live_of[RECORD_IDS];
    ret->ids = pool->ids->ops->size(pool->ids);
    ret->ids_used = pool->ids->ops->used(pool->ids);
    ret->names = pool->names.live;
    ret->metadata_bytes =
        pool->pages->ops->metadata_bytes(pool->pages) +
        pool->bytes->ops->metadata_bytes(pool->bytes) + pool->ids->ops->metadata_bytes(pool->ids) +
        records_bytes(&pool->records) + parcels_bytes(&pool->parcels) + names_bytes(&pool->names) +
        (pool->tags.capacity + pool->users.capacity) * sizeof(struct tally_entry) +
        pool->info->size_max / pool->info->page_size / 8;
    pool_unlock(pool);
}

size_t pool_tags(struct pool *pool, uint64_t from, struct tally_entry *ret, size_t max)
{
    pool_lock(pool);
    size_t count = tally_list(&pool->tags, from, ret, max);
    pool_unlock(pool);
    return count;
}

struct records_holding pool_holding(struct pool *pool, unsigned slot)
{
    pool_lock(pool);
    struct records_holding holding = pool->records.held[slot];
    pool_unlock(pool);
    return holding;
}

/* ---- opening ---- */

/* Only whole pages count: a client may have touched a part of one that was never committed. */
static void visit_committed(void *ctx, uint64_t offset, uint64_t size)
{
    struct pool *pool = ctx;
    uint64_t start = ALLOT_ALIGN_UP(offset, pool->info->page_size);
    uint64_t end = ALLOT_ALIGN_DOWN(offset + size, pool->info->page_size);

    if (start < end)
        pool_mark_committed(pool, start, end - start);
}

static int claim_record(struct pool *pool, const struct ledger_record *r)
{
    switch (r->kind) {
    case RECORD_BYTES:
        return allot_heap_claim(&pool->heap, r->position, r->size, 1ull << r->align_log2);
    case RECORD_PAGES:
        if (!ALLOT_IS_ALIGNED(r->size, pool->info->page_size))
            return ALLOT_E_INVALID;
        return pool->pages->ops->alloc_pages_at(pool->pages, r->position,
                                                r->size / pool->info->page_size);
    case RECORD_IDS:
        return pool->ids->ops->alloc_fixed_id(pool->ids, r->position, r->size);
    default:
        return ALLOT_E_INVALID;
    }
}

/* Records in a row are mostly charged alike, and several lie in a page. */
struct rebuild {
    struct pool *pool;
    uint64_t marked;        /* the end of the pages marked last */
    struct tally_entry sum; /* by uid, of records in a row that are charged alike */
    uint32_t tag;           /* theirs */
};

static int charge(struct rebuild *b)
{
    struct pool *pool = b->pool;

    if (!b->sum.allocations)
        return 0;
    if (!tally_reserve(&pool->users) || !tally_reserve(&pool->tags))
        return -ENOMEM;
    tally_join(&pool->users, &b->sum);
    b->sum.key = b->tag;
    tally_join(&pool->tags, &b->sum);
    pool->used_bytes += b->sum.bytes;
    b->sum = (struct tally_entry){0};
    return 0;
}

static int rebuild_record(void *ctx, const struct ledger_record *r)
{
    struct rebuild *b = ctx;
    struct pool *pool = b->pool;
    uint64_t end = r->position + r->size;
    int rc = r->align_log2 < 64 ? claim_record(pool, r) : ALLOT_E_INVALID;

    if (rc) {
        log_error("pool %s: the allocation of %llu at %#llx cannot be claimed (error %d)",
                  pool->info->name, (unsigned long long)r->size, (unsigned long long)r->position,
                  rc);
        return -EBADMSG;
    }
    if (r->kind != RECORD_IDS && end > b->marked) {
        pool_mark_committed(pool, r->position, r->size); /* touched or not */
        b->marked = ALLOT_ALIGN_UP(end, pool->info->page_size);
    }
    if (r->uid != b->sum.key || r->tag != b->tag) {
        rc = charge(b);
        b->sum.key = r->uid;
        b->tag = r->tag;
    }
    b->sum.allocations++;
    b->sum.bytes += kind_bytes(r->kind, r->size);
    b->sum.ids += kind_ids(r->kind, r->size);
    return rc;
}

static int reserve_blocks(struct pool *pool)
{
    const struct allot_byte_ops *ops = pool->bytes->ops;

    if (!ops->reserve)
        return 0;
    pool->filling = true;
    int err = ops->reserve(pool->bytes, pool->records.live_of[RECORD_BYTES]);
    pool->filling = false;
    return err ? -ENOMEM : 0;
}

/* Rebuilds allocators and sums from the live records. */
static int rebuild(struct pool *pool)
{
    struct rebuild b = {.pool = pool};
    int rc = reserve_blocks(pool);

    if (!rc)
        rc = records_visit(&pool->records, rebuild_record, &b);
    if (!rc)
        rc = charge(&b);
    return rc ? rc : region_committed(pool->fd, visit_committed, pool);
}

static int make_allocators(struct pool *pool)
{
    const struct allot_meta metadata = {.resize = metadata_resize, .ctx = pool};
    const struct ledger_pool *info = pool->info;
    const struct allot_page_ops *pages;
    const struct allot_id_ops *ids;
    int rc = allot_page_find(NULL, &pages);

    if (!rc)
        rc = allot_id_find(NULL, &ids);
    if (!rc)
        rc = pages->create(&metadata, info->page_size, &pool->pages);
    if (!rc)
        rc = pool->config.allocator->create(&metadata, &pool->bytes);
    if (!rc)
        rc = ids->create(&metadata, &pool->ids);
    /* Position 0 is never granted, so the first page is nobody's. */
    if (!rc)
        rc = pool->pages->ops->init(pool->pages, info->page_size, info->size - info->page_size);
    if (!rc)
        rc = pool->ids->ops->init(pool->ids, 1, info->ids);
    if (rc)
        return rc == ALLOT_E_NO_MEMORY ? -ENOMEM : -EINVAL;
    allot_heap_init(&pool->heap, pool->bytes, pool->pages);
    return 0;
}

static int make_region(struct pool *pool, const struct config_pool *config)
{
    struct ledger_pool *info = pool->info;
    char name[sizeof("allot-") + CODEC_NAME_MAX] = "allot-";
    int rc = region_create(strcat(name, config->name), config->size_max, &pool->fd);

    if (rc)
        return rc;
    strncpy(info->allocator, config->allocator->name, sizeof(info->allocator) - 1);
    info->size_max = config->size_max;
    info->page_size = config->page_size;
    info->ids = config->ids;
    info->size = config->size;
    /* Where no ticket that was ever given out points: neither of another pool nor of this one in
     * another life. */
    uint64_t generation;
    if (getrandom(&generation, sizeof(generation), 0) != sizeof(generation))
        return -errno;
    info->generation = generation >> 1 | 1;
    return 0;
}

/* Whether an earlier daemon can have written this: everything else relies on these numbers. */
static bool is_plausible(const struct ledger_pool *info)
{
    return info->page_size >= PAGE_SIZE_MIN && ALLOT_IS_POW2(info->page_size) &&
           ALLOT_IS_ALIGNED(info->size, info->page_size) &&
           ALLOT_IS_ALIGNED(info->size_max, info->page_size) && info->size > info->page_size &&
           info->size <= info->size_max && info->size_max <= REGION_SIZE_MAX && info->ids > 0 &&
           info->ids <= IDS_MAX && memchr(info->allocator, 0, sizeof(info->allocator)) &&
           info->records_top <= ALLOCATIONS_MAX && info->references_top <= ALLOCATIONS_MAX;
}

/* Fits the wishes to what the ledger has: a pool that lives keeps its shape. */
static int adopt_region(struct pool *pool, int fd)
{
    const struct ledger_pool *info = pool->info;
    struct config_pool *config = &pool->config;
    const struct allot_byte_ops *wished = config->allocator;

    if (!is_plausible(info)) {
        log_error("pool %s: its description is damaged", info->name);
        return -EBADMSG;
    }
    if (region_verify(fd, info->size_max)) {
        log_error("pool %s: its descriptor is not its region", info->name);
        return -EBADMSG;
    }
    int err = allot_byte_find(info->allocator, &config->allocator);
    if (err == ALLOT_E_NOT_BUILT) {
        log_error("pool %s: its allocator %s is not built in", info->name, info->allocator);
        return -ENOTSUP; /* nothing is wrong with the pool */
    }
    if (err) {
        log_error("pool %s: its allocator %s is unknown", info->name, info->allocator);
        return -EBADMSG;
    }
    if (wished && (config->size_max != info->size_max || config->page_size != info->page_size ||
                   config->ids != info->ids || wished != config->allocator))
        log_warning("pool %s: keeps its size, pages, IDs and allocator while it is in use",
                    info->name);
    pool->fd = fd;
    return 0;
}

int pool_open(struct pool *pool, struct ledger *ledger, unsigned index,
              const struct config_pool *config, int fd)
{
    struct ledger_pool *info = &ledger->pools[index];

    *pool = (struct pool){.index = index, .fd = -1, .ledger = ledger, .info = info};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_mutex_init(&pool->growing, NULL);
    pool->retired = !config;
    if (config)
        pool->config = *config;
    int rc = fd < 0 ? make_region(pool, config) : adopt_region(pool, fd);
    if (!rc)
        rc = make_allocators(pool);
    if (rc == -EINVAL && fd >= 0) {
        log_error("pool %s: no allocator takes its sizes", info->name);
        rc = -EBADMSG;
    }
    if (!rc)
        rc = records_open(&pool->records, ledger, index);
    if (!rc)
        rc = parcels_open(&pool->parcels, &pool->records);
    if (!rc)
        rc = names_open(&pool->names, ledger, index);
    if (!rc)
        rc = tally_init(&pool->tags);
    if (!rc)
        rc = tally_init(&pool->users);
    if (!rc) {
        pool->committed = calloc(info->size_max / info->page_size / 64 + 1, sizeof(uint64_t));
        if (!pool->committed)
            rc = -ENOMEM;
    }
    if (!rc)
        rc = rebuild(pool);
    if (!rc && getenv("ALLOTD_CHECK") && !pool_check(pool))
        rc = -EBADMSG;
    if (rc) {
        if (pool->fd == fd)
            pool->fd = -1; /* still the caller's */
        pool_close(pool);
        return rc;
    }
    pool->low = pool_is_low(pool);
    if (fd < 0) {
        /* The name makes it a pool, so it comes last, and its first byte behind the others. */
        memcpy(info->name + 1, config->name + 1, sizeof(info->name) - 1);
        atomic_thread_fence(memory_order_release);
        info->name[0] = config->name[0];
    }
    return 0;
}

void pool_close(struct pool *pool)
{
    if (pool->pages)
        pool->pages->ops->destroy(pool->pages);
    if (pool->bytes)
        pool->bytes->ops->destroy(pool->bytes);
    if (pool->ids)
        pool->ids->ops->destroy(pool->ids);
    records_close(&pool->records);
    parcels_close(&pool->parcels);
    names_close(&pool->names);
    tally_deinit(&pool->tags);
    tally_deinit(&pool->users);
    free(pool->committed);
    if (pool->fd >= 0)
        close(pool->fd);
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->growing);
}

/* ---- checking ---- */

bool pool_check(struct pool *pool)
{
    uint64_t sums[RECORD_IDS + 1] = {0};
    uint64_t footprints = 0;
    const char *wrong;
    unsigned parcels = 0;

    pool_lock(pool);
    wrong = names_check(&pool->names);
    for (uint32_t i = 0; i < pool->info->references_top; i++)
        parcels += ledger_reference_slot(pool->records.reference[i]) == HOLDER_PARCEL;
    if (parcels != pool->parcels.count)
        wrong = "other parcels are on their way than the ledger has";
    for (uint32_t i = 0; i < pool->info->records_top; i++) {
        const struct ledger_record *r = &pool->records.record[i];
        uint64_t start;
        uint64_t size;
        if (!records_is_live(&pool->records, i))
            continue;
        sums[r->kind] += r->size;
        if (r->kind != RECORD_BYTES)
            continue;
        if (pool->bytes->ops->footprint(pool->bytes, r->position, r->size, 1ull << r->align_log2,
                                        &start, &size))
            wrong = "a block lies where none can";
        else
            footprints += size;
    }
    uint64_t page_size = pool->info->page_size;
    if (pool->pages->ops->check(pool->pages) || pool->bytes->ops->check(pool->bytes) ||
        pool->ids->ops->check(pool->ids))
        wrong = "an allocator's invariant does not hold";
    else if (pool->bytes->ops->used_bytes(pool->bytes) != footprints)
        wrong = "the byte heap has other blocks than the ledger";
    else if (pool->pages->ops->used_pages(pool->pages) * page_size !=
             sums[RECORD_PAGES] + pool->bytes->ops->total_bytes(pool->bytes))
        wrong = "the page allocator has other pages than ledger and heap";
    else if (pool->ids->ops->used(pool->ids) != sums[RECORD_IDS])
        wrong = "the ID allocator has other IDs than the ledger";
    else if (pool->used_bytes != sums[RECORD_BYTES] + sums[RECORD_PAGES])
        wrong = "the sums are not those of the ledger";
    pool_unlock(pool);
    if (wrong)
        log_error("pool %s: %s", pool->info->name, wrong);
    return !wrong;
}
