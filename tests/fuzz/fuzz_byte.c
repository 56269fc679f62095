/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer: bytes choose a byte allocator and every operation on it. What it answers is compared
 * with the model of the unit tests after each; see tests/unit/byte_model.h.
 */
#include <stdlib.h>

#include "byte_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct byte_traits traits[] = {
        {.ops = &allot_tlsf, .places = BYTE_ANYWHERE},
        {.ops = &allot_first_fit, .places = BYTE_ANYWHERE, .tries_all = true},
        {.ops = &allot_buddy, .places = BYTE_POWERS},
        {.ops = &allot_slab, .places = BYTE_DIVIDED},
    };
    static const struct byte_model_plan plans[] = {
        {.space = 256 * 16, .size_max = 256 * 16, .align_max = 4096, .live_max = 256},
        {.base = 4099,
         .space = 8 * 32768,
         .size_max = 65536,
         .align_max = UINT64_C(1) << 30,
         .live_max = 256},
    };

    if (size && !byte_model_play(&traits[data[0] % 4], &plans[data[0] / 4 % 2], data + 1, size - 1))
        abort();
    return 0;
}
