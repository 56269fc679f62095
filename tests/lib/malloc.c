/* SPDX-License-Identifier: MIT */
/*
 * A program with liballot-malloc.so before libc, on whatever processor: its blocks keep what is in
 * them, also across fork(), and libc's own malloc has handed out nothing. tests/preload has the
 * rest.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS 256u
#define STEPS 20000u

static unsigned char *block[SLOTS];
static size_t size[SLOTS];

static int is_whole(unsigned i)
{
    for (size_t k = 0; k < size[i]; k++)
        if (block[i][k] != (unsigned char)i)
            return 0;
    return 1;
}

static int step(unsigned n)
{
    unsigned i = n * 7919u % SLOTS;
    size_t wish = 1 + n * 104729u % 5000;

    if (block[i] && !is_whole(i))
        return 0;
    if (n % 3 == 0) {
        free(block[i]);
        block[i] = n % 2 ? aligned_alloc(256, wish) : calloc(wish, 1);
        if (!block[i] || (n % 2 == 0 && (block[i][0] || memcmp(block[i], block[i] + 1, wish - 1))))
            return 0;
    } else {
        block[i] = realloc(block[i], wish);
        if (!block[i])
            return 0;
        for (size_t k = 0; k < wish && k < size[i]; k++)
            if (block[i][k] != (unsigned char)i)
                return 0;
    }
    size[i] = wish;
    memset(block[i], (int)i, wish);
    return 1;
}

int main(void)
{
    struct mallinfo2 libc;
    int status;

    for (unsigned n = 0; n < STEPS; n++) {
        pid_t pid = n % 5000 ? -1 : fork();

        if (pid != -1 && pid != 0 && (waitpid(pid, &status, 0) != pid || status))
            return EXIT_FAILURE;
        if (!step(n)) {
            fprintf(stderr, "step %u\n", n);
            return EXIT_FAILURE;
        }
        if (pid == 0)
            return EXIT_SUCCESS;
    }
    libc = mallinfo2();
    return libc.arena + libc.hblkhd ? EXIT_FAILURE : EXIT_SUCCESS;
}
