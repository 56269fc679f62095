/* SPDX-License-Identifier: MIT */
/* Watching names in a loop of libuv: until "frame/last" has come. */
#include <uv.h>

#include "watch.h"

static void on_readable(uv_poll_t *handle, int status, int events)
{
    struct watcher *w = handle->data;

    (void)events;
    if (status < 0 || allot_process(w->session) != 0 || w->over)
        uv_close((uv_handle_t *)handle, NULL);
}

int main(void)
{
    struct watcher w;
    uv_poll_t readable;
    int fd;
    int error = watcher_open(&w);

    if (!error)
        error = allot_fd(w.session, &fd);
    if (!error)
        error = uv_poll_init(uv_default_loop(), &readable, fd);
    if (!error) {
        readable.data = &w;
        uv_poll_start(&readable, UV_READABLE, on_readable);
        uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    }
    uv_loop_close(uv_default_loop());
    watcher_close(&w);
    return error || !w.over;
}
