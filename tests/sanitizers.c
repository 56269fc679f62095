/* SPDX-License-Identifier: MIT */
/*
 * Linked into every test program. cmocka 1.1.5 installs a handler of its own for SIGSEGV, SIGBUS,
 * SIGFPE, SIGILL and SIGSYS around each test, which says no more than the signal's name and hides
 * the sanitizer's report with its stack. CMOCKA_TEST_ABORT does not change that: it is about failed
 * asserts only. The value 2 makes the sanitizer keep its handler, whoever asks for another.
 *
 * ASAN_OPTIONS and the like still have the last word.
 */
#define OPTIONS "handle_segv=2:handle_sigbus=2:handle_sigfpe=2:handle_sigill=2"

const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return OPTIONS;
}

const char *__tsan_default_options(void)
{
    return OPTIONS;
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1";
}
