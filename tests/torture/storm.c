/* SPDX-License-Identifier: MIT */
/* What the storms share. */
#include "storm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "wire.h"

struct storm *storm_new(const struct stage *st)
{
    struct storm *s =
        mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    check(s != MAP_FAILED);
    strcpy(s->socket, st->socket);
    return s;
}

void storm_free(struct storm *s)
{
    munmap(s, sizeof(*s));
}

void storm_wait(const struct storm *s, uint64_t more)
{
    const struct timespec moment = {.tv_nsec = 100000};
    uint64_t goal = atomic_load(&s->operations) + more;
    uint64_t seen = 0;

    /* It hangs where nothing at all goes on. */
    for (unsigned i = 0; atomic_load(&s->operations) < goal; i++) {
        nanosleep(&moment, NULL);
        check(i < 10u * FIXTURE_DEADLINE_MS && checks_failed() == 0);
        if (atomic_load(&s->operations) != seen)
            i = 0;
        seen = atomic_load(&s->operations);
    }
}

static struct wire watcher;

uint64_t storm_free_pages(const struct storm *s)
{
    wire_open(&watcher, s->socket);
    uint64_t pages = wire_pool_info(&watcher, "default")->free_pages;
    check_equal(wire_goodbye(&watcher), ALLOT__ERROR__E_OK);
    wire_close(&watcher);
    return pages;
}

void storm_expect_nothing(const struct storm *s, uint64_t free_pages)
{
    wire_open(&watcher, s->socket);
    wire_wait_sessions(&watcher, 1);
    wire_wait_live(&watcher, "default", 0, 0, 0);
    const Allot__PoolInfo *info = wire_pool_info(&watcher, "default");
    check_equal(info->used_bytes, 0);
    check_equal(info->ids_used, 0);
    check_equal(info->names, 0);
    check_equal(info->heap_bytes, info->heap_free_bytes);
    check_equal(info->free_pages + info->heap_bytes / info->page_size, free_pages);
    check_equal(wire_goodbye(&watcher), ALLOT__ERROR__E_OK);
    wire_close(&watcher);
}

uint64_t storm_length(uint64_t short_run, uint64_t long_run)
{
    return getenv("ALLOT_TORTURE_LONG") ? long_run : short_run;
}

uint64_t storm_seed(void)
{
    uint64_t seed = test_seed(0x570a11);

    fprintf(stderr, "seed %#llx\n", (unsigned long long)seed);
    return seed;
}
