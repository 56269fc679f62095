/* SPDX-License-Identifier: MIT */
/*
 * holder: a client that holds an allocation, and says on each line of its input whether it still
 * does: "good" and its socket's name, which is another one on another connection; or an error.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <allot.h>

#define SIZE 1000

static void print_good(void)
{
    DIR *directory = opendir("/proc/self/fd");
    char link[64];

    printf("good");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        ssize_t size = readlinkat(dirfd(directory), entry->d_name, link, sizeof(link) - 1);
        link[size > 0 ? size : 0] = 0;
        if (strncmp(link, "socket:", 7) == 0)
            printf(" %s", link);
    }
    printf("\n");
    closedir(directory);
}

static int look(struct allot_pool *pool, uint64_t offset)
{
    const unsigned char *bytes = allot_ptr(pool, offset);
    uint64_t size;
    uint64_t other;
    int error = allot_usable_size(pool, offset, &size);

    if (!error && size < SIZE)
        error = ALLOT_E_NOT_ALLOCATED;
    for (unsigned i = 0; i < SIZE; i++)
        if (bytes[i] != 'h')
            error = ALLOT_E_INVALID;
    if (!error)
        error = allot_alloc(pool, SIZE, NULL, &other);
    if (!error)
        error = allot_free(pool, other);
    return error;
}

int main(void)
{
    struct allot *session = NULL;
    struct allot_pool *pool;
    uint64_t offset;
    int c;
    int error = allot_open(&session, NULL);

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!error)
        error = allot_set_timeout(session, 50000);
    if (!error)
        error = allot_attach(session, "default", ALLOT_WRITE, &pool);
    if (!error)
        error = allot_alloc(pool, SIZE, NULL, &offset);
    if (!error)
        memset(allot_ptr(pool, offset), 'h', SIZE);
    do {
        if (!error)
            error = look(pool, offset);
        if (error)
            puts(allot_strerror(error));
        else
            print_good();
        while ((c = getchar()) != '\n' && c != EOF)
            ;
    } while (c != EOF);
    allot_close(session);
    return error != 0;
}
