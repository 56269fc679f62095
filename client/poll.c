/* SPDX-License-Identifier: MIT */
/*
 * For a program that waits for events with an event loop of its own: a descriptor that it watches.
 *
 * What it is: an epoll over the connection and a timer. The timer tells the program that another
 * thread has received some, and that it is time to try to connect. What it is not: calls_receive()
 * does what is to be done (call.c).
 *
 * Invariants: there are both descriptors or none; while there are and the connection is not lost,
 * it is in the epoll.
 *
 * Locks: `lock`: calls_poll() takes it; what ends in _locked wants it held.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "allot.h"
#include "call.h"

int calls_poll_connection_locked(struct calls *s)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (s->poll_fd < 0)
        return 0;
    return epoll_ctl(s->poll_fd, EPOLL_CTL_ADD, s->connection.fd, &event) < 0 ? ALLOT_E_SYSTEM : 0;
}

void calls_unpoll_connection_locked(struct calls *s)
{
    /* Closing alone would not do where a child has the socket, too. */
    if (s->poll_fd >= 0)
        (void)epoll_ctl(s->poll_fd, EPOLL_CTL_DEL, s->connection.fd, NULL);
}

void calls_ring_locked(struct calls *s, uint64_t after_ns)
{
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(after_ns / NS_PER_S),
                                           .tv_nsec = (long)(after_ns % NS_PER_S)}};

    if (s->timer_fd >= 0)
        (void)timerfd_settime(s->timer_fd, 0, &when, NULL);
}

static int make_poll_locked(struct calls *s)
{
    struct epoll_event event = {.events = EPOLLIN};

    s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    s->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->timer_fd >= 0 && s->poll_fd >= 0 &&
        epoll_ctl(s->poll_fd, EPOLL_CTL_ADD, s->timer_fd, &event) == 0 &&
        (s->lost || calls_poll_connection_locked(s) == 0)) {
        calls_ring_locked(s, 1); /* for what is queued already */
        return 0;
    }
    int saved = errno;
    calls_close_poll(s);
    errno = saved;
    return ALLOT_E_SYSTEM;
}

int calls_poll(struct calls *s, int *ret_fd)
{
    pthread_mutex_lock(&s->lock);
    int r = s->poll_fd < 0 ? make_poll_locked(s) : 0;
    if (r == 0)
        *ret_fd = s->poll_fd;
    pthread_mutex_unlock(&s->lock);
    return r;
}

void calls_close_poll(struct calls *s)
{
    close(s->poll_fd);
    close(s->timer_fd);
    s->poll_fd = s->timer_fd = -1;
}
