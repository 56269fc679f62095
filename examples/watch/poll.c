/* SPDX-License-Identifier: MIT */
/* Watching names with poll(2): until "frame/last" has come. */
#include <errno.h>
#include <poll.h>

#include "watch.h"

int main(void)
{
    struct watcher w;
    struct pollfd fd = {.events = POLLIN};
    int error = watcher_open(&w);

    if (!error)
        error = allot_fd(w.session, &fd.fd);
    while (!error && !w.over && (poll(&fd, 1, -1) > 0 || errno == EINTR))
        error = allot_process(w.session);
    watcher_close(&w);
    return error != 0;
}
