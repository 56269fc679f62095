/* SPDX-License-Identifier: MIT */
/*
 * Single-stepping, by ptrace.
 *
 * What it is: a child that does what is under test, stopped after each instruction, and a copy of
 * the memory that it shares with its parent. What it is not: it knows nothing of what it steps
 * through.
 */
#include "step.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* One that stops itself before and after what is to be stepped through. */
static pid_t start(const struct stepping *s)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        s->act(s->world, s->arg);
        raise(SIGSTOP);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSTOPPED(status));
    return child;
}

unsigned long step_through_all(const struct stepping *s)
{
    unsigned char *last = malloc(s->size);
    unsigned char *now = malloc(s->size);
    unsigned long steps = 0;
    int status;

    assert_true(last && now);
    pid_t child = start(s);
    s->copy(s->world, last);
    for (;;) {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSTOPPED(status));
        if (WSTOPSIG(status) != SIGTRAP)
            break; /* the second SIGSTOP: it is over */
        steps++;
        s->copy(s->world, now);
        if (memcmp(now, last, s->size) == 0 && (!s->every || steps % s->every))
            continue;
        memcpy(last, now, s->size);
        s->look(s->ctx, now);
    }
    assert_int_equal(WSTOPSIG(status), SIGSTOP);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    free(last);
    free(now);
    return steps;
}

void step_on_one_processor(void)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    sched_setaffinity(0, sizeof(one), &one);
}

unsigned step_recovery_every(void)
{
    return getenv("ALLOT_TORTURE_LONG") ? 7 : 0;
}
