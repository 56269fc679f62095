/* SPDX-License-Identifier: MIT */
/* The README's example, from the first #include on. `hello` writes and waits for Enter; `hello
 * OFFSET`, in another process, reads what it wrote. */
#include <allot.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct allot *session = NULL;
    struct allot_pool *pool;
    uint64_t offset = argc > 1 ? strtoull(argv[1], NULL, 10) : 0; /* none: write, else read there */
    int error = allot_open(&session, NULL);

    if (!error)
        error = allot_attach(session, "default", offset ? ALLOT_READ : ALLOT_WRITE, &pool);
    if (!error && !offset && !(error = allot_alloc(pool, 64, NULL, &offset))) {
        snprintf(allot_ptr(pool, offset), 64, "hello from session %" PRIu64,
                 allot_session_id(session));
        printf("%" PRIu64 "\n", offset); /* the same bytes in every process */
        fflush(stdout);
        getchar(); /* the block is freed with its owner */
    } else if (!error && allot_ptr(pool, offset)) {
        puts(allot_ptr(pool, offset));
    }
    if (error)
        fprintf(stderr, "hello: %s\n", allot_strerror(error));
    allot_close(session);
    return error != 0;
}
