/* SPDX-License-Identifier: MIT */
/*
 * System calls of our own, and the growers over them, by a program without a test library, so that
 * it runs on any processor that they know. test_grower.c has the whole of grower.h's contract.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <allot/align.h>
#include <allot/grower.h>

#include "system.h"

#define G ALLOT_GROWER_GRANULE

#define CHECK(condition) ((condition) ? (void)0 : fail(__FILE__, __LINE__, #condition))

static _Noreturn void fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    exit(EXIT_FAILURE);
}

/* More than there are registers: whatever the call really changes, a value is in it unless the
 * compiler was told. */
#define EIGHT(X, n) X(n##0) X(n##1) X(n##2) X(n##3) X(n##4) X(n##5) X(n##6) X(n##7)
#define VALUES(X)   EIGHT(X, 1) EIGHT(X, 2) EIGHT(X, 3) EIGHT(X, 4)

static void registers_survive(void)
{
    static volatile unsigned long source[50];
    unsigned long before = 0, after = 0;
    long pid;

    for (int i = 0; i < 50; i++)
        source[i] = 1UL << i;
#define LOAD(i) unsigned long v##i = source[i];
    VALUES(LOAD)
    pid = system_call(SYS_getpid, 0, 0, 0, 0, 0, 0);
#define ADD(i) after = 3 * after + v##i;
    VALUES(ADD)
#define ADD_AGAIN(i) before = 3 * before + source[i];
    VALUES(ADD_AGAIN)
    CHECK(after == before && pid == getpid());
}

/* What the compiler thinks of memory before a call is not true after it, nor may it wait. */
static void memory_is_read_and_written(void)
{
    int fds[2] = {-1, -1};
    char out = 0, in = 0;

    CHECK(!system_call(SYS_pipe2, (long)fds, 0, 0, 0, 0, 0));
    CHECK(fds[0] >= 0 && fds[1] >= 0);
    out = 'x';
    CHECK(system_call(SYS_write, fds[1], (long)&out, 1, 0, 0, 0) == 1);
    out = 'y';
    CHECK(system_call(SYS_read, fds[0], (long)&in, 1, 0, 0, 0) == 1);
    CHECK(in == 'x' && out == 'y');
    close(fds[0]);
    close(fds[1]);
}

/* All six arguments arrive, the last of them too. */
static void arguments_arrive(void)
{
    char name[] = "/tmp/allot-system-XXXXXX";
    int fd = mkstemp(name);
    long at;

    CHECK(fd >= 0 && !unlink(name) && !ftruncate(fd, 2 * (long)G) &&
          pwrite(fd, "z", 1, (long)G) == 1);
    at = system_call(SYS_mmap, 0, (long)G, PROT_READ, MAP_SHARED, fd, (long)G);
    CHECK(!system_failed(at) && *(const char *)at == 'z');
    CHECK(!system_call(SYS_munmap, at, (long)G, 0, 0, 0, 0));
    CHECK(system_failed(system_call(SYS_mmap, 0, 0, PROT_READ, MAP_SHARED, fd, 0)));
    close(fd);
}

static bool holds(uint64_t start, uint64_t size, unsigned char byte)
{
    const unsigned char *p = (const unsigned char *)(uintptr_t)start;

    return *p == byte && !memcmp(p, p + 1, size - 1);
}

static void fill(uint64_t start, uint64_t size, int byte)
{
    memset((void *)(uintptr_t)start, byte, size);
}

static void mapping_grower(struct allot_grower *g)
{
    uint64_t start;

    CHECK(!g->ops->grow(g, 3 * G, UINT64_C(1) << 24, &start));
    CHECK(ALLOT_IS_ALIGNED(start, UINT64_C(1) << 24) && holds(start, 3 * G, 0));
    fill(start, 3 * G, 7);
    CHECK(!g->ops->discard(g, start + G, G));
    CHECK(holds(start, G, 7) && holds(start + G, G, 0) && holds(start + 2 * G, G, 7));
    CHECK(!g->ops->resize(g, start, 3 * G, 64 * G, &start));
    CHECK(holds(start, G, 7) && holds(start + 3 * G, 61 * G, 0));
    CHECK(!g->ops->shrink(g, start, 64 * G));
    CHECK(g->ops->grow(g, UINT64_C(1) << 60, 1, &start) == ALLOT_E_NO_MEMORY);
}

static void fixed_grower(void)
{
    static unsigned char buffer[1000];
    struct allot_grower_fixed fixed;
    struct allot_grower *g = &fixed.base;
    uint64_t start;

    allot_grower_fixed_init(&fixed, buffer, sizeof(buffer));
    CHECK(!g->ops->grow(g, 512, 64, &start));
    CHECK(ALLOT_IS_ALIGNED(start, 64) && start - (uintptr_t)buffer <= sizeof(buffer) - 512);
    CHECK(g->ops->grow(g, 512, 1, &start) == ALLOT_E_NO_MEMORY);
}

int main(void)
{
    registers_survive();
    memory_is_read_and_written();
    arguments_arrive();
    mapping_grower(&allot_grower_raw);
    mapping_grower(&allot_grower_libc);
    fixed_grower();
    return EXIT_SUCCESS;
}
