/* SPDX-License-Identifier: MIT */
/*
 * From no connection to one on which the session goes on.
 *
 * What it is: connect, say hello, and again until that works or the deadline has passed: for a new
 * session, or, where there is one, to take it up again by its ID and secret. What it is not: what
 * was not answered is sent again by call.c.
 *
 * Locks: none are taken. The connection, `in`, `out`, the session and its limits are the caller's
 * alone meanwhile: before another thread knows of them, or as the leader of a lost connection.
 */
#include <errno.h>
#include <string.h>

#include "allot.h"
#include "call.h"

static int hello_send(struct calls *s, struct call_totals *totals)
{
    Allot__Request request = ALLOT__REQUEST__INIT;
    size_t size = 0;

    request.op = ALLOT__OP__OP_HELLO;
    request.version_min = request.version_max = CODEC_VERSION;
    request.session = s->session;
    if (s->session) {
        request.secret.data = s->secret;
        request.secret.len = sizeof(s->secret);
    }
    int r = codec_add_request(&request, s->out, &size);
    if (r == 0)
        r = connection_send(&s->connection, s->out, size);
    if (r != 0)
        return r < 0 ? r : ALLOT_E_DISCONNECTED;
    totals->bytes_sent += size;
    totals->calls++;
    return 0;
}

static int hello_receive(struct calls *s, uint64_t deadline, struct call_totals *totals)
{
    Allot__Reply *reply;
    size_t size = 0;

    int r = calls_receive_reply(s, deadline, &reply, &size, NULL);
    totals->bytes_received += size;
    if (r < 0)
        return r;
    if (reply->refused)
        return -(int)reply->refused;
    if (reply->version != CODEC_VERSION)
        return ALLOT_E_VERSION;
    if (reply->inflight_max == 0 || reply->batch_max == 0 || reply->session == 0 ||
        reply->secret.len != sizeof(s->secret))
        return ALLOT_E_MALFORMED;
    if (s->session)
        return reply->session == s->session ? 0 : ALLOT_E_MALFORMED;
    if (reply->inflight_max < s->window)
        s->window = reply->inflight_max;
    s->batch_max = reply->batch_max < s->window ? reply->batch_max : s->window;
    s->session = reply->session;
    memcpy(s->secret, reply->secret.data, sizeof(s->secret));
    return 0;
}

/* Says hello on the connection: for a new session, or, where there is one, to take it up again.
 * Closes it on failure. */
static int say_hello(struct calls *s, uint64_t deadline, struct call_totals *totals)
{
    int r = hello_send(s, totals);

    if (r == 0)
        r = hello_receive(s, deadline, totals);
    if (r < 0) {
        int saved = errno;
        connection_close(&s->connection);
        errno = saved;
    }
    return r;
}

static int connect_once(struct calls *s, uint64_t deadline, struct call_totals *totals)
{
    int r = connection_open(&s->connection, s->path, deadline);

    if (r == ALLOT_E_DENIED) /* systemd listens some time before the socket is its group's */
        return ALLOT_E_DISCONNECTED;
    return r < 0 ? r : say_hello(s, deadline, totals);
}

static uint64_t longer(uint64_t wait)
{
    return wait < RETRY_MAX_NS / 2 ? wait * 2 : RETRY_MAX_NS;
}

int calls_connect(struct calls *s, uint64_t deadline)
{
    uint64_t wait = RETRY_MIN_NS;
    int r = connection_open(&s->connection, s->path, deadline);

    /* Where nobody listens, there is no daemon; where one hangs up, another one may be to come. */
    while (r == 0 && (r = say_hello(s, deadline, &s->totals)) == ALLOT_E_DISCONNECTED &&
           deadline_sleep(deadline, wait)) {
        r = connection_open(&s->connection, s->path, deadline);
        wait = longer(wait);
    }
    return r;
}

/* What another try may mend: the daemon is about to come back, or is full for now. */
static bool may_pass(int code)
{
    return code == ALLOT_E_DISCONNECTED || code == ALLOT_E_SYSTEM || code == ALLOT_E_LIMIT ||
           code == ALLOT_E_INTERNAL;
}

int calls_reconnect(struct calls *s, uint64_t deadline, struct call_totals *totals)
{
    uint64_t wait = RETRY_MIN_NS;
    int r;

    while (may_pass(r = connect_once(s, deadline, totals)) && !s->closing &&
           deadline_sleep(deadline, wait))
        wait = longer(wait);
    return r == ALLOT_E_TIMEOUT || may_pass(r) ? ALLOT_E_DISCONNECTED : r;
}
