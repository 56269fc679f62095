/* SPDX-License-Identifier: MIT */
/*
 * System calls without libc, so that a malloc can make them before libc is ready and without
 * touching errno.
 *
 * Clobbers: the x86-64 instruction keeps its return address in rcx and the flags in r11, so both
 * are lost; aarch64 loses x0 only. "memory": the kernel reads and writes what pointers name, and
 * mappings come and go.
 */
#ifndef ALLOT_HEAP_SYSTEM_H
#define ALLOT_HEAP_SYSTEM_H

#include <stdbool.h>
#include <sys/syscall.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "allot-heap knows the system calls of x86-64 and aarch64"
#endif

static inline long system_call(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "cc", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;

    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "cc", "memory");
    return x0;
#endif
}

/* A result of -4095 … -1 is an errno. */
static inline bool system_failed(long result)
{
    return (unsigned long)result > -4096UL;
}

#endif
