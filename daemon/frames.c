/* SPDX-License-Identifier: MIT */
/*
 * Sending frames.
 *
 * What it is: what a round has to say, handed to the kernel with one call where it takes all. What
 * it is not: it keeps nothing of what could not be sent (connection.c does).
 *
 * Locks: none.
 */
#include "frames.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for one descriptor. */
union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
};

static void hand_over(struct msghdr *message, union control *control, int fd)
{
    message->msg_control = control;
    message->msg_controllen = sizeof(*control);
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    *c = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
}

int frames_error(void)
{
    return errno == EINTR || errno == ENOBUFS || errno == ENOMEM ? -EAGAIN : -errno;
}

void frames_close(const struct replies_frame *frames, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (frames[i].fd >= 0)
            close(frames[i].fd);
}

int frames_send(int fd, const struct replies_frame *frames, unsigned n_frames, unsigned char *bytes,
                unsigned *sent)
{
    struct mmsghdr out[REPLIES_FRAMES_MAX];
    struct iovec parts[REPLIES_FRAMES_MAX];
    union control control;

    if (n_frames == 1 && frames[0].fd < 0) {
        if (send(fd, bytes + frames[0].offset, frames[0].size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            return frames_error();
        *sent = 1;
        return 0;
    }
    while (*sent < n_frames) {
        unsigned n = n_frames - *sent;
        for (unsigned i = 0; i < n; i++) {
            const struct replies_frame *frame = &frames[*sent + i];
            parts[i] = (struct iovec){.iov_base = bytes + frame->offset, .iov_len = frame->size};
            out[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
            if (frame->fd >= 0)
                hand_over(&out[i].msg_hdr, &control, frame->fd);
        }
        int rc = sendmmsg(fd, out, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (rc < 0)
            return frames_error();
        frames_close(&frames[*sent], (unsigned)rc);
        *sent += (unsigned)rc;
    }
    return 0;
}
