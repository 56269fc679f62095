/* SPDX-License-Identifier: MIT */
/*
 * A program that has nothing but what is installed. It speaks to no daemon: that the library is
 * found, linked and called is what it shows.
 */
#include <allot.h>
#include <stdio.h>

int main(void)
{
    struct allot *a = NULL;
    int r = allot_open(&a, "/nonexistent/allot.sock");

    printf("allot %s: %s\n", ALLOT_VERSION, allot_strerror(r));
    return r == ALLOT_E_DISCONNECTED && !a ? 0 : 1;
}

/* Names that the library uses inside: a program may have them too. */
int call_run(void);
int codec_decode_request(void);

int call_run(void)
{
    return 0;
}

int codec_decode_request(void)
{
    return 0;
}
