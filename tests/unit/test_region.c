/* SPDX-License-Identifier: MIT */
/*
 * Memory files against what clients could do to them: cut them, reopen them for writing, seal them
 * more, or hand the daemon something else in their place. Older kernels and full systems are played
 * by fallocate() and memfd_create() of our own.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "region.h"

#define PAGE 4096u
#define SIZE (1u << 20)

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* What the next calls of fallocate() say instead of doing anything. */
static int fallocate_errors[4];
static unsigned fallocate_calls;
/* A kernel before 6.3. */
static bool noexec_unknown;
static bool noexec_asked;

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    unsigned call = fallocate_calls++;

    if (call < sizeof(fallocate_errors) / sizeof(int) && fallocate_errors[call]) {
        errno = fallocate_errors[call];
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

int memfd_create(const char *name, unsigned flags)
{
    noexec_asked |= (flags & MFD_NOEXEC_SEAL) != 0;
    if (noexec_unknown && (flags & MFD_NOEXEC_SEAL)) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_memfd_create, name, flags);
}

static int setup(void **state)
{
    memset(fallocate_errors, 0, sizeof(fallocate_errors));
    fallocate_calls = 0;
    noexec_unknown = false;
    int *fd = malloc(sizeof(*fd));
    if (!fd || region_create("test", SIZE, fd))
        return -1;
    *state = fd;
    return 0;
}

static int teardown(void **state)
{
    int *fd = *state;

    close(*fd);
    free(fd);
    return 0;
}

static uint64_t backed(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void test_region__is_made_as_promised(void **state)
{
    int fd = *(int *)*state;
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, SIZE);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(backed(fd), 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    int seals = fcntl(fd, F_GET_SEALS);
    assert_int_equal(seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert_int_equal(region_verify(fd, SIZE), 0);
}

static void test_region__nobody_can_cut_grow_or_seal_it(void **state)
{
    int fd = *(int *)*state;

    assert_int_equal(ftruncate(fd, PAGE), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 2 * SIZE), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
    assert_int_equal(errno, EPERM);
}

static void test_region__is_made_on_a_kernel_without_noexec(void **state)
{
    (void)state;
    int fd;

    noexec_unknown = true;
    assert_int_equal(region_create("old", SIZE, &fd), 0);
    assert_int_equal(region_verify(fd, SIZE), 0);
    close(fd);
}

static void test_region__asks_for_no_noexec_where_the_fallbacks_are_forced(void **state)
{
    (void)state;
    int fd;

    noexec_asked = false;
    setenv("ALLOTD_OLD_KERNEL", "1", 1);
    assert_int_equal(region_create("forced", SIZE, &fd), 0);
    unsetenv("ALLOTD_OLD_KERNEL");
    assert_false(noexec_asked);
    assert_int_equal(region_verify(fd, SIZE), 0);
    close(fd);
}

static void test_region__impossible_sizes_are_refused(void **state)
{
    (void)state;
    char long_name[300];
    int fd = -7;

    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = 0;
    assert_int_equal(region_create("none", 0, &fd), -EINVAL);
    assert_true(region_create("too large", UINT64_MAX, &fd) < 0);
    assert_true(region_create("too large", (uint64_t)INT64_MAX + 1, &fd) < 0);
    assert_int_equal(region_create(long_name, SIZE, &fd), -EINVAL);
    assert_int_equal(fd, -7);
}

static void test_region__a_terabyte_costs_nothing(void **state)
{
    (void)state;
    int fd;

    assert_int_equal(region_create("large", UINT64_C(1) << 40, &fd), 0);
    assert_int_equal(backed(fd), 0);
    assert_int_equal(region_commit(fd, (UINT64_C(1) << 40) - PAGE, PAGE), 0);
    assert_in_range(backed(fd), PAGE, 16 * PAGE);
    close(fd);
}

static int memfd(uint64_t size, int seals)
{
    int fd = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void test_region__verify_knows_what_is_not_ours(void **state)
{
    int fd = *(int *)*state;
    const int ours = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int pipes[2], other;
    char path[] = "/tmp/test_region.XXXXXX";

    assert_int_equal(region_verify(fd, SIZE - PAGE), -EMSGSIZE);
    assert_int_equal(region_verify(fd, SIZE + PAGE), -EMSGSIZE);

    static const int lacking[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL};
    for (size_t i = 0; i < sizeof(lacking) / sizeof(lacking[0]); i++) {
        other = memfd(SIZE, ours & ~lacking[i]);
        assert_int_equal(region_verify(other, SIZE), -EBADF);
        close(other);
    }
    other = memfd(SIZE, ours | F_SEAL_FUTURE_WRITE);
    assert_int_equal(region_verify(other, SIZE), -EBADF);
    close(other);

    assert_int_equal(region_reopen(fd, false, &other), 0);
    assert_int_equal(region_verify(other, SIZE), -EBADF);
    close(other);

    other = mkstemp(path);
    assert_true(other >= 0);
    unlink(path);
    assert_int_equal(ftruncate(other, SIZE), 0);
    assert_int_equal(region_verify(other, SIZE), -EBADF);
    close(other);

    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(region_verify(pipes[0], SIZE), -EBADF);
    close(pipes[0]);
    close(pipes[1]);
    assert_int_equal(region_verify(pipes[0], SIZE), -EBADF);
    assert_int_equal(region_verify(-1, SIZE), -EBADF);
}

static void test_region__reader_can_only_read(void **state)
{
    int fd = *(int *)*state;
    int reader;
    char byte = 0;

    assert_int_equal(pwrite(fd, "x", 1, PAGE), 1);
    assert_int_equal(region_reopen(fd, false, &reader), 0);
    assert_true(fcntl(reader, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(pread(reader, &byte, 1, PAGE), 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(pwrite(reader, "y", 1, PAGE), -1);
    assert_int_equal(errno, EBADF);
    assert_ptr_equal(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0), MAP_FAILED);
    assert_int_equal(errno, EACCES);

    char *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reader, PAGE);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mprotect(map, PAGE, PROT_READ | PROT_WRITE), -1);
    assert_int_equal(fallocate(reader, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE), -1);
    assert_int_equal(map[0], 'x');
    munmap(map, PAGE);
    close(reader);
}

static void test_region__another_user_cannot_make_a_reader_a_writer(void **state)
{
    int fd = *(int *)*state;
    int reader, status;

    if (geteuid() != 0)
        skip(); /* only root can become somebody else */
    assert_int_equal(region_reopen(fd, false, &reader), 0);
    pid_t child = fork();
    if (child == 0) {
        int again;
        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
            _exit(2);
        _exit(region_reopen(reader, true, &again) == -EACCES ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(reader);
}

static void test_region__writer_shares_memory_but_not_the_offset(void **state)
{
    int fd = *(int *)*state;
    int writer;
    char byte = 0;

    assert_int_equal(region_reopen(fd, true, &writer), 0);
    assert_int_equal(lseek(writer, PAGE, SEEK_SET), PAGE);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    assert_int_equal(write(writer, "z", 1), 1);
    assert_int_equal(pread(fd, &byte, 1, PAGE), 1);
    assert_int_equal(byte, 'z');
    assert_int_equal(ftruncate(writer, 0), -1);
    assert_int_equal(region_verify(writer, SIZE), 0);
    close(writer);
}

static void test_region__reopen_of_nothing_fails(void **state)
{
    (void)state;
    int ret = -7;

    assert_int_equal(region_reopen(-1, true, &ret), -ENOENT);
    assert_int_equal(ret, -7);
}

static void test_region__commit_backs_exactly_the_range(void **state)
{
    int fd = *(int *)*state;

    assert_int_equal(region_commit(fd, 16 * PAGE, 8 * PAGE), 0);
    assert_int_equal(backed(fd), 8 * PAGE);
    assert_int_equal(region_commit(fd, 20 * PAGE, 8 * PAGE), 0);
    assert_int_equal(backed(fd), 12 * PAGE);
}

static void test_region__commit_keeps_what_is_there(void **state)
{
    int fd = *(int *)*state;
    char byte = 0;

    assert_int_equal(pwrite(fd, "k", 1, PAGE), 1);
    assert_int_equal(region_commit(fd, 0, 4 * PAGE), 0);
    assert_int_equal(pread(fd, &byte, 1, PAGE), 1);
    assert_int_equal(byte, 'k');
}

static void test_region__commit_refuses_what_is_not_in_the_file(void **state)
{
    int fd = *(int *)*state;

    assert_true(region_commit(fd, SIZE, PAGE) < 0);
    assert_true(region_commit(fd, SIZE - PAGE, 2 * PAGE) < 0);
    assert_int_equal(region_commit(fd, 0, 0), -EINVAL);
    assert_int_equal(region_commit(fd, UINT64_MAX, 2), -EINVAL);
    assert_int_equal(region_commit(fd, PAGE, UINT64_MAX), -EINVAL);
    assert_int_equal(region_commit(fd, INT64_MAX, PAGE), -EINVAL);
    assert_int_equal(backed(fd), 0);
    assert_int_equal(region_verify(fd, SIZE), 0);
}

static void test_region__commit_goes_on_after_signals(void **state)
{
    int fd = *(int *)*state;

    fallocate_errors[0] = fallocate_errors[1] = EINTR;
    assert_int_equal(region_commit(fd, 0, PAGE), 0);
    assert_int_equal(fallocate_calls, 3);
    assert_int_equal(backed(fd), PAGE);
}

static void test_region__a_full_system_is_named(void **state)
{
    int fd = *(int *)*state;

    fallocate_errors[0] = ENOSPC;
    fallocate_errors[1] = ENOMEM;
    assert_int_equal(region_commit(fd, 0, PAGE), -ENOSPC);
    assert_int_equal(region_commit(fd, 0, PAGE), -ENOMEM);
    assert_int_equal(region_commit(fd, 0, PAGE), 0);
}

struct runs {
    uint64_t at[8][2];
    unsigned n;
};

static void note_run(void *ctx, uint64_t offset, uint64_t size)
{
    struct runs *runs = ctx;

    assert_true(runs->n < 8);
    runs->at[runs->n][0] = offset;
    runs->at[runs->n++][1] = size;
}

static void test_region__committed_tells_written_runs_in_order(void **state)
{
    int fd = *(int *)*state;
    static char page[PAGE] = {1};
    struct runs runs = {.n = 0};
    static const unsigned pages[] = {0, 9, 8, 255, 40};

    assert_int_equal(region_committed(fd, note_run, &runs), 0);
    assert_int_equal(runs.n, 0);
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
        assert_int_equal(pwrite(fd, page, PAGE, pages[i] * PAGE), PAGE);
    assert_int_equal(region_committed(fd, note_run, &runs), 0);
    assert_int_equal(runs.n, 4);
    static const uint64_t expected[4][2] = {
        {0, PAGE}, {8 * PAGE, 2 * PAGE}, {40 * PAGE, PAGE}, {255 * PAGE, PAGE}};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(runs.at[i][0], expected[i][0]);
        assert_int_equal(runs.at[i][1], expected[i][1]);
    }
}

static void test_region__committed_names_a_bad_descriptor(void **state)
{
    (void)state;
    struct runs runs = {.n = 0};

    assert_int_equal(region_committed(-1, note_run, &runs), -EBADF);
    assert_int_equal(runs.n, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_region__is_made_as_promised),
        CASE(test_region__nobody_can_cut_grow_or_seal_it),
        CASE(test_region__is_made_on_a_kernel_without_noexec),
        CASE(test_region__asks_for_no_noexec_where_the_fallbacks_are_forced),
        CASE(test_region__impossible_sizes_are_refused),
        CASE(test_region__a_terabyte_costs_nothing),
        CASE(test_region__verify_knows_what_is_not_ours),
        CASE(test_region__reader_can_only_read),
        CASE(test_region__another_user_cannot_make_a_reader_a_writer),
        CASE(test_region__writer_shares_memory_but_not_the_offset),
        CASE(test_region__reopen_of_nothing_fails),
        CASE(test_region__commit_backs_exactly_the_range),
        CASE(test_region__commit_keeps_what_is_there),
        CASE(test_region__commit_refuses_what_is_not_in_the_file),
        CASE(test_region__commit_goes_on_after_signals),
        CASE(test_region__a_full_system_is_named),
        CASE(test_region__committed_tells_written_runs_in_order),
        CASE(test_region__committed_names_a_bad_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
