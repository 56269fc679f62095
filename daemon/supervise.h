/* SPDX-License-Identifier: MIT */
/*
 * A service manager for one daemon, where there is no other: it starts the daemon again when that
 * dies, and keeps the descriptors that it stores. The daemon sees no difference to systemd.
 */
#ifndef ALLOTD_SUPERVISE_H
#define ALLOTD_SUPERVISE_H

/*
 * Runs this program again as a child with the arguments of `argv`, but for those that equal
 * `argument`, until SIGTERM or SIGINT ends both, or the child ends as one that was told to (status
 * 0) or that will never start (status 2 before it was ready for the first time). SIGHUP goes on to
 * the child. The exit status: the child's. Opens descriptors and blocks signals that it does not
 * give back: nothing is to come after it but the process's end.
 */
int supervise(char **argv, const char *argument);

#endif
