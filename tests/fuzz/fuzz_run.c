/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer: bytes choose pages or IDs and every operation on them. What they answer is compared
 * with the model of the unit tests after each; see tests/unit/run_test.h.
 */
#include "run_test.h"

#define ID_MAX (UINT64_C(1) << 48)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const struct allot_id_ops *ops;
        uint64_t units_max;
    } tables[] = {
        {&run_small_pages, RUN_SMALL_PAGES_MAX},
        {&run_huge_pages, RUN_HUGE_PAGES_MAX},
        {&allot_bitmap_ids, ID_MAX},
    };

    if (size)
        run_model_bytes(tables[data[0] % 3].ops, tables[data[0] % 3].units_max, data + 1, size - 1);
    return 0;
}
