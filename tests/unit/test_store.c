/* SPDX-License-Identifier: MIT */
/*
 * What the service manager is told of clients' sockets, by two loops at once. It is the test
 * itself.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "store.h"

#define ROUNDS 50u

static struct store store = {.lock = PTHREAD_MUTEX_INITIALIZER};
static int manager;

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

/* What one loop has decided, another may overtake. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (strncmp(message->msg_iov->iov_base, "FDSTOREREMOVE", 13) == 0)
        usleep(1000);
    return __real_sendmsg(fd, message, flags);
}

static void open_manager(struct sockaddr_un *address)
{
    char directory[] = "/tmp/test_store.XXXXXX";

    assert_non_null(mkdtemp(directory));
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof(address->sun_path), "%s/manager", directory);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(manager, (struct sockaddr *)address, sizeof(*address)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", address->sun_path, 1), 0);
}

static void close_manager(struct sockaddr_un *address)
{
    unsetenv("NOTIFY_SOCKET");
    close(manager);
    unlink(address->sun_path);
    *strrchr(address->sun_path, '/') = 0;
    rmdir(address->sun_path);
}

/* Until the manager has no room, however little one sender has. */
static void fill(const struct sockaddr_un *address)
{
    bool sent = true;

    while (sent) {
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sent = false;
        assert_true(fd >= 0);
        while (sendto(fd, "", 1, MSG_DONTWAIT, (const struct sockaddr *)address, sizeof(*address)) >
               0)
            sent = true;
        close(fd);
    }
}

/* The manager reads all that was said; true where it keeps client 1 then. */
static bool is_first_kept(void)
{
    bool kept = false;
    char text[256];
    ssize_t size;

    while ((size = recv(manager, text, sizeof(text) - 1, MSG_DONTWAIT)) > 0) {
        text[size] = 0;
        if (strstr(text, "FDNAME=client-1"))
            kept = strstr(text, "FDSTORE=1");
    }
    return kept;
}

static void *keep_first(void *ctx)
{
    bool *kept = ctx;

    *kept = store_keep_client(&store, STDIN_FILENO, 1);
    return NULL;
}

/* What is still to be dropped is dropped by whichever loop comes next, and before another socket is
 * kept under that name. */
static void test_store__is_told_in_order(void **state)
{
    struct sockaddr_un address;
    pthread_t loop;
    bool kept;

    (void)state;
    open_manager(&address);
    assert_true(store_keep_client(&store, STDIN_FILENO, 1));
    assert_true(is_first_kept());
    for (unsigned i = 0; i < ROUNDS; i++) {
        fill(&address);
        store_forget_client(&store, 1); /* in vain */
        assert_false(is_first_kept());
        assert_int_equal(pthread_create(&loop, NULL, keep_first, &kept), 0);
        assert_true(store_keep_client(&store, STDIN_FILENO, 2));
        assert_int_equal(pthread_join(loop, NULL), 0);
        assert_true(kept);
        assert_true(is_first_kept());
        store_forget_client(&store, 2);
        assert_int_equal(store.clients, 1);
    }
    close_manager(&address);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store__is_told_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
