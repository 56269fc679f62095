/* SPDX-License-Identifier: MIT */
/*
 * Preloaded beside liballot-malloc.so: ends a program with status 70 that would end otherwise while
 * libc's own allocator has taken memory from the system, in whatever arena. What the dynamic linker
 * takes before libc is there does not count: it comes from no arena.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <string.h>
#include <unistd.h>

__attribute__((destructor)) static void look(void)
{
    static const char said[] = "witness: libc's own allocator is in use\n";
    struct mallinfo2 info = mallinfo2();

    if (info.arena + info.hblkhd) {
        (void)!write(STDERR_FILENO, said, strlen(said));
        _exit(70);
    }
}
