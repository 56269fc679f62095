/* SPDX-License-Identifier: MIT */
/* Sending the frames that replies.h has collected. */
#ifndef ALLOTD_FRAMES_H
#define ALLOTD_FRAMES_H

#include "replies.h"

/* What sending failed with, as -errno. What the kernel has no memory for will be sent later: EAGAIN
 * then, too. */
int frames_error(void);

/* Closes the descriptors that went with frames, or will not. */
void frames_close(const struct replies_frame *frames, unsigned n);

/* Sends frames[*sent...], which lie in `bytes` and have one descriptor at most, and closes what
 * went with them; *sent tells how far it got. 0, -EAGAIN where the peer does not drain, or another
 * -errno where it is gone. */
int frames_send(int fd, const struct replies_frame *frames, unsigned n_frames, unsigned char *bytes,
                unsigned *sent);

#endif
