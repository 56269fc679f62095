/* SPDX-License-Identifier: MIT */
/*
 * TLSF: what is asked of any byte allocator says all that there is to say of it.
 */
#include "byte_suite.h"

const struct byte_traits subject = {
    .ops = &allot_tlsf,
    .places = BYTE_ANYWHERE,
    .block_metadata_max = 44,
};

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_byte__an_aligned_request_tries_a_bounded_number),
    };

    return byte_suite_run() + cmocka_run_group_tests(tests, NULL, NULL);
}
