/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer: any bytes as a frame, in both directions. Built with clang -fsanitize=fuzzer.
 */
#include <stdio.h>
#include <stdlib.h>

#include "codec_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int line = codec_oracle_request(data, size);

    if (!line)
        line = codec_oracle_reply(data, size);
    if (line) {
        fprintf(stderr, "codec_oracle.h:%d does not hold\n", line);
        abort();
    }
    return 0;
}
