/* SPDX-License-Identifier: MIT */
/*
 * The malloc family as a program meets it, run with liballot-malloc.so before libc. Nothing here
 * links allot, so the same program shows what libc's own malloc does: `family libc` succeeds where
 * libc has handed something out, and fails under the preload.
 */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* cmocka's header may put its own names over these; and a compiler may drop what is never read. */
#undef malloc
#undef calloc
#undef free
#undef realloc

static void *volatile kept;
static volatile size_t huge = SIZE_MAX;

static void *keep(void *p)
{
    kept = p;
    return kept;
}

static void test_malloc__the_whole_family_is_ours(void **state)
{
    static const char *const names[] = {
        "malloc",        "calloc",         "realloc",  "reallocarray",       "free",
        "aligned_alloc", "posix_memalign", "memalign", "malloc_usable_size", "valloc",
        "pvalloc",
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        Dl_info info;

        assert_true(dladdr(dlsym(RTLD_DEFAULT, names[i]), &info) > 0);
        assert_non_null(strstr(info.dli_fname, "liballot-malloc.so"));
    }
}

static void test_malloc__zero_gives_a_block_of_its_own(void **state)
{
    void *a = keep(malloc(0)), *b = keep(calloc(0, 8)), *c = keep(realloc(NULL, 0));

    (void)state;
    assert_true(a && b && c && a != b && b != c && a != c);
    free(a);
    free(b);
    free(c);
    free(keep(NULL));
}

static void test_malloc__sets_errno_and_free_leaves_it(void **state)
{
    void *volatile a = malloc(100); /* volatile: a compiler knows that realloc() ends a block */
    void *p = state;

    errno = 0;
    assert_null(keep(malloc(huge)));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(keep(calloc(huge / 2, 3)));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(keep(reallocarray(a, huge / 2, 3)));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(keep(realloc(a, huge / 2)));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(keep(aligned_alloc(huge & 48, 96)));
    assert_int_equal(errno, EINVAL);
    errno = 77;
    assert_int_equal(posix_memalign(&p, huge & 48, 8), EINVAL);
    assert_int_equal(posix_memalign(&p, 4, 8), EINVAL);
    assert_int_equal(posix_memalign(&p, 64, huge / 2), ENOMEM);
    assert_ptr_equal(p, state);
    free(a);
    free(keep(calloc(1, 64 << 20)));
    assert_int_equal(errno, 77);
}

static void test_malloc__aligns(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p;

    (void)state;
    for (size_t align = 8; align <= 1 << 24; align *= 2) {
        assert_int_equal(posix_memalign(&p, align, 100), 0);
        assert_int_equal((uintptr_t)p % align, 0);
        assert_true(malloc_usable_size(p) >= 100);
        memset(p, 1, malloc_usable_size(p));
        free(p);
        p = keep(memalign(align, 1));
        assert_int_equal((uintptr_t)p % align, 0);
        free(p);
        p = keep(aligned_alloc(align, align));
        assert_int_equal((uintptr_t)p % align, 0);
        free(p);
    }
    for (size_t size = 1; size < 5000; size += 7) {
        p = keep(malloc(size));
        assert_int_equal((uintptr_t)p % 16, 0);
        free(p);
    }
    p = keep(valloc(1));
    assert_int_equal((uintptr_t)p % page, 0);
    free(p);
    p = keep(pvalloc(1));
    assert_int_equal((uintptr_t)p % page, 0);
    assert_true(malloc_usable_size(p) >= page);
    free(p);
    assert_int_equal(malloc_usable_size(NULL), 0);
}

static void test_malloc__calloc_clears(void **state)
{
    (void)state;
    for (size_t size = 1; size < 16 << 20; size = size * 3 + 1) {
        unsigned char *p = keep(malloc(size));
        size_t used = 0;

        memset(p, 0xff, size);
        free(p);
        p = keep(calloc(size, 1));
        for (size_t i = 0; i < size; i++)
            used += p[i];
        assert_int_equal(used, 0);
        free(p);
    }
}

static void test_malloc__realloc_keeps_contents(void **state)
{
    unsigned char *p = keep(malloc(1)), *wall;

    (void)state;
    *p = 0;
    for (size_t size = 2; size < 1 << 22; size += size / 2) {
        size_t old = size < 3 ? 1 : malloc_usable_size(p);

        wall = keep(malloc(32)); /* so that some moves are needed */
        p = keep(realloc(p, size));
        assert_non_null(p);
        for (size_t i = 0; i < old && i < size; i += 97)
            assert_int_equal(p[i], i % 251);
        for (size_t i = 0; i < malloc_usable_size(p); i++)
            p[i] = (unsigned char)(i % 251);
        free(wall);
    }
    p = keep(reallocarray(p, 3, 100));
    for (size_t i = 0; i < 300; i++)
        assert_int_equal(p[i], i % 251);
    assert_null(realloc(p, 0));
}

#define GUARDED 65536u

static void *guarded;

static void allocate_and_unguard(int signal)
{
    (void)signal;
    free(keep(malloc(10)));
    (void)mprotect(guarded, GUARDED, PROT_READ | PROT_WRITE);
}

/* Copying a large block takes long: others need not wait for it. */
static void test_malloc__serves_others_while_it_copies(void **state)
{
    struct sigaction old, act = {.sa_handler = allocate_and_unguard};
    void *wall, *moved;

    (void)state;
    alarm(60);
    guarded = keep(aligned_alloc(GUARDED, GUARDED));
    wall = keep(malloc(2 << 20));
    assert_int_equal(sigaction(SIGSEGV, &act, &old), 0);
    assert_int_equal(mprotect(guarded, GUARDED, PROT_NONE), 0);
    moved = keep(realloc(guarded, 8 << 20));
    assert_int_equal(sigaction(SIGSEGV, &old, NULL), 0);
    assert_ptr_not_equal(moved, guarded); /* or this would prove nothing */
    free(moved);
    free(wall);
    alarm(0);
}

/* Two blocks in each other's way that grow by turns. */
static void test_malloc__growing_by_small_steps_moves_little(void **state)
{
    const size_t step = 4096, most = 16 << 20;
    void *p[2] = {NULL, NULL};
    size_t moved = 0;

    (void)state;
    for (size_t size = step; size <= most; size += step) {
        for (unsigned i = 0; i < 2; i++) {
            uintptr_t before = (uintptr_t)p[i];

            p[i] = keep(realloc(p[i], size));
            assert_non_null(p[i]);
            moved += (uintptr_t)p[i] == before ? 0 : size;
        }
    }
    assert_true(moved < 2 * 16 * most);
    free(p[0]);
    free(p[1]);
}

/* The status of a child that does `act`, and what it says, cut to `size`. */
static int status_of(void (*act)(void), char *said, size_t size)
{
    int status, ends[2];
    size_t length = 0;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (!pid) {
        dup2(ends[1], STDERR_FILENO);
        act();
        _exit(0);
    }
    close(ends[1]);
    while (length + 1 < size && (n = read(ends[0], said + length, size - 1 - length)) > 0)
        length += (size_t)n;
    said[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void free_twice(void)
{
    void *p = keep(malloc(10)), *again = kept;

    free(p);
    free(again);
}

static void free_inside(void)
{
    free((unsigned char *)keep(malloc(100)) + 16);
}

static unsigned char foreign[64];

static void free_foreign(void)
{
    free(keep(foreign + 16));
}

static void realloc_foreign(void)
{
    keep(realloc(keep(foreign + 16), 10));
}

static void realloc_freed(void)
{
    void *p = keep(malloc(10)), *again = kept;

    free(p);
    keep(realloc(again, 20));
}

static void test_malloc__misuse_ends_the_program(void **state)
{
    static const struct {
        void (*act)(void);
        const char *says;
    } misuse[] = {
        {free_twice, "allot-malloc: free(): not allocated: 0x"},
        {free_inside, "allot-malloc: free(): not allocated: 0x"},
        {free_foreign, "allot-malloc: free(): not allocated: 0x"},
        {realloc_foreign, "allot-malloc: realloc(): not allocated: 0x"},
        {realloc_freed, "allot-malloc: realloc(): not allocated: 0x"},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(misuse) / sizeof(misuse[0]); i++) {
        char said[200];
        int status = status_of(misuse[i].act, said, sizeof(said));

        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        assert_ptr_equal(strstr(said, misuse[i].says), said);
    }
}

#define THREADS 4

static void allocate(void)
{
    for (unsigned i = 0; i < 100; i++)
        free(malloc(i * 100));
}

static volatile sig_atomic_t forks;

static void fork_in_handler(int signal)
{
    pid_t pid = fork();
    int status;

    (void)signal;
    if (!pid)
        _exit(0);
    if (waitpid(pid, &status, 0) == pid && !status)
        forks++;
}

/* A handler of the one thread that there is may fork, whatever it has interrupted. */
static void test_malloc__forks_in_a_signal_handler(void **state)
{
    const struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    struct sigaction old, act = {.sa_handler = fork_in_handler};

    (void)state;
    alarm(60);
    assert_int_equal(sigaction(SIGVTALRM, &act, &old), 0);
    assert_int_equal(setitimer(ITIMER_VIRTUAL, &often, NULL), 0);
    while (forks < 100)
        allocate();
    assert_int_equal(setitimer(ITIMER_VIRTUAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGVTALRM, &old, NULL), 0);
    alarm(0);
}

static bool stopping;

static void *churn(void *arg)
{
    while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
        unsigned char *p = malloc(1 + (uintptr_t)arg * 100);

        p[0] = 1;
        p = realloc(p, 3000);
        p[2999] = 1;
        free(p);
    }
    return arg;
}

#define SLOTS 64

/* Blocks that any thread may take and free: each holds its own address at both ends, and its
 * length in words between. */
static uintptr_t *slots[SLOTS];

static void put_and_take(uintptr_t *fresh, size_t words, unsigned slot, uintptr_t *bad)
{
    uintptr_t *p;

    if (fresh) {
        fresh[0] = fresh[words - 1] = (uintptr_t)fresh;
        fresh[1] = words;
    }
    p = __atomic_exchange_n(&slots[slot], fresh, __ATOMIC_ACQ_REL);
    if (p)
        *bad += p[0] != (uintptr_t)p || p[p[1] - 1] != (uintptr_t)p;
    free(p);
}

static void *pass_on(void *arg)
{
    uintptr_t bad = 0, x = (uintptr_t)arg;

    for (unsigned i = 0; i < 50000; i++) {
        size_t words;

        x = x * 6364136223846793005u + 1442695040888963407u;
        words = 3 + (x >> 33) % (i % 100 ? 100 : 20000);
        put_and_take(malloc(words * sizeof(uintptr_t)), words, (x >> 50) % SLOTS, &bad);
    }
    return (void *)bad;
}

static void test_malloc__threads_free_what_others_took(void **state)
{
    pthread_t thread[THREADS];
    uintptr_t all_bad = 0;
    void *bad;

    (void)state;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, pass_on, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], &bad), 0);
        all_bad += (uintptr_t)bad;
    }
    for (unsigned i = 0; i < SLOTS; i++)
        put_and_take(NULL, 0, i, &all_bad);
    assert_int_equal(all_bad, 0);
}

static void fork_beside(void *(*run)(void *))
{
    pthread_t thread[THREADS];
    char said[200];

    alarm(60);
    __atomic_store_n(&stopping, false, __ATOMIC_RELAXED);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, run, (void *)i), 0);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(status_of(allocate, said, sizeof(said)), 0);
    __atomic_store_n(&stopping, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    alarm(0);
}

/* A lock that another thread holds at fork() would stop the child for ever. */
static void test_malloc__works_in_a_child_of_many_threads(void **state)
{
    (void)state;
    fork_beside(churn);
}

static ssize_t write_by_allocating(void *cookie, const char *text, size_t size)
{
    (void)cookie;
    (void)text;
    allocate();
    return (ssize_t)size;
}

static void *flush_all(void *arg)
{
    FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_by_allocating});

    while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
        fputc('x', f);
        fflush(NULL);
    }
    fclose(f);
    return arg;
}

/* Who flushes all streams allocates under a lock that fork() takes. */
static void test_malloc__forks_while_streams_allocate(void **state)
{
    (void)state;
    fork_beside(flush_all);
}

/* What libc's own allocator has handed out, after much of libc that allocates has run. */
static size_t libc_bytes(void)
{
    struct mallinfo2 info;
    pthread_t thread;
    char *line = NULL;
    size_t size = 0;
    FILE *f = fopen("/proc/self/maps", "r");

    while (f && getline(&line, &size, f) > 0)
        ;
    if (f)
        fclose(f);
    free(line);
    if (asprintf(&line, "%0500d", 1) > 0)
        free(line);
    free(keep(strdup("a string")));
    setenv("ALLOT_TEST_VARIABLE", "value", 1);
    if (!pthread_create(&thread, NULL, churn, NULL))
        pthread_join(thread, NULL);
    free(keep(malloc(1 << 20)));
    info = mallinfo2();
    return info.arena + info.hblkhd;
}

static void test_malloc__libc_hands_out_nothing(void **state)
{
    (void)state;
    assert_int_equal(libc_bytes(), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malloc__the_whole_family_is_ours),
        cmocka_unit_test(test_malloc__zero_gives_a_block_of_its_own),
        cmocka_unit_test(test_malloc__sets_errno_and_free_leaves_it),
        cmocka_unit_test(test_malloc__aligns),
        cmocka_unit_test(test_malloc__calloc_clears),
        cmocka_unit_test(test_malloc__realloc_keeps_contents),
        cmocka_unit_test(test_malloc__serves_others_while_it_copies),
        cmocka_unit_test(test_malloc__growing_by_small_steps_moves_little),
        cmocka_unit_test(test_malloc__misuse_ends_the_program),
        cmocka_unit_test(test_malloc__forks_in_a_signal_handler), /* before there are threads */
        cmocka_unit_test(test_malloc__threads_free_what_others_took),
        cmocka_unit_test(test_malloc__works_in_a_child_of_many_threads),
        cmocka_unit_test(test_malloc__forks_while_streams_allocate),
        cmocka_unit_test(test_malloc__libc_hands_out_nothing),
    };

    if (argc == 2 && !strcmp(argv[1], "libc")) {
        stopping = true;
        return libc_bytes() ? 0 : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
