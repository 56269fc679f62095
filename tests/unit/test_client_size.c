/* SPDX-License-Identifier: MIT */
/* Sizes as allotctl reads and writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allotctl.h"

static void test_size__reads_suffixes_as_powers_of_1024(void **state)
{
    static const struct {
        const char *text;
        uint64_t value;
    } cases[] = {{"0", 0},
                 {"4096", 4096},
                 {"0x1000", 4096},
                 {"010", 10},
                 {"4K", 4096},
                 {"4k", 4096},
                 {"3M", 3 << 20},
                 {"2GiB", UINT64_C(2) << 30},
                 {"1T", UINT64_C(1) << 40},
                 {"15E", UINT64_C(15) << 60},
                 {"18446744073709551615", UINT64_MAX}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t value = 99;
        if (!size_parse(cases[i].text, &value) || value != cases[i].value)
            fail_msg("%s", cases[i].text);
    }
}

static void test_size__takes_nothing_else(void **state)
{
    static const char *const cases[] = {
        "",         " 1",  "-1", "+1",  "K",   "1.5G",  "1KK",
        "1 K",      "12x", "0x", "16E", "1Ki", "4096 ", "18446744073709551616",
        "16777216T"};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t value = 99;
        if (size_parse(cases[i], &value) || value != 99)
            fail_msg("taken: \"%s\"", cases[i]);
    }
}

static void test_size__numbers_have_no_suffix(void **state)
{
    uint64_t value = 99;

    (void)state;
    assert_false(number_parse("4K", &value));
    assert_int_equal(value, 99);
    assert_true(number_parse("0xff", &value));
    assert_int_equal(value, 255);
}

static void test_size__prints_three_digits(void **state)
{
    static const struct {
        uint64_t value;
        const char *text;
    } cases[] = {{0, "0 B"},
                 {999, "999 B"},
                 {1000, "0.98 KiB"},
                 {1024, "1.00 KiB"},
                 {1536, "1.50 KiB"},
                 {10240, "10.0 KiB"},
                 {102400, "100 KiB"},
                 {1023 * 1024, "1.00 MiB"},
                 {UINT64_C(1) << 30, "1.00 GiB"},
                 {UINT64_MAX, "16.0 EiB"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[SIZE_TEXT];
        assert_string_equal(size_text(cases[i].value, text), cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size__reads_suffixes_as_powers_of_1024),
        cmocka_unit_test(test_size__takes_nothing_else),
        cmocka_unit_test(test_size__numbers_have_no_suffix),
        cmocka_unit_test(test_size__prints_three_digits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
