/* SPDX-License-Identifier: MIT */
/* What the benchmarks ask of the machine: time, cores, and what a process uses of both and of
 * memory. Functions that can fail return a negative number. */
#ifndef ALLOT_BENCH_MACHINE_H
#define ALLOT_BENCH_MACHINE_H

#include <stdint.h>
#include <sys/types.h>

double machine_now_ns(void);

/*
 * For what two processes do in turn. `other` 0: elapsed time. Else what both have computed: where
 * they share a core and one of them can always run, that is the elapsed time less what the rest of
 * the machine took meanwhile.
 */
double machine_turns_ns(pid_t other);

#define MACHINE_ANY_CORE (-1)

/* Runs the calling thread, and what it forks, on this core; on the last of those that it may use
 * where there are fewer. Cores are counted among those that the program was started with. */
int machine_pin(int core);
int machine_cores(void);

/* As many as this process may ever have. */
void machine_raise_descriptors(void);

/* What all threads of the process have computed, user and kernel, in ns. */
double machine_cpu_ns(pid_t pid);

/* A line of /proc/PID/status such as "RssAnon", in bytes. */
int64_t machine_memory(pid_t pid, const char *line);

/* Bytes that back the process's memory files whose name starts with `name`. */
int64_t machine_memfd_bytes(pid_t pid, const char *name);

#endif
