/* SPDX-License-Identifier: MIT */
/*
 * Asking the kernel for time, cores and memory.
 */
#include "machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static cpu_set_t allowed;
static bool allowed_known;

double machine_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The cores before anything was pinned. */
static const cpu_set_t *machine_allowed(void)
{
    if (!allowed_known)
        allowed_known = sched_getaffinity(0, sizeof(allowed), &allowed) == 0;
    return &allowed;
}

int machine_cores(void)
{
    return CPU_COUNT(machine_allowed());
}

int machine_pin(int core)
{
    cpu_set_t one;
    int seen = 0;

    if (core == MACHINE_ANY_CORE)
        return sched_setaffinity(0, sizeof(cpu_set_t), machine_allowed());
    if (core >= machine_cores())
        core = machine_cores() - 1;
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, machine_allowed()) || seen++ != core)
            continue;
        CPU_ZERO(&one);
        CPU_SET(i, &one);
        return sched_setaffinity(0, sizeof(one), &one);
    }
    return -1;
}

void machine_raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

double machine_cpu_ns(pid_t pid)
{
    clockid_t clock;
    struct timespec t;

    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t) < 0)
        return -1;
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double machine_turns_ns(pid_t other)
{
    return other ? machine_cpu_ns(getpid()) + machine_cpu_ns(other) : machine_now_ns();
}

int64_t machine_memory(pid_t pid, const char *line)
{
    char text[256];
    int64_t bytes = -1;

    snprintf(text, sizeof(text), "/proc/%d/status", (int)pid);
    FILE *f = fopen(text, "re");
    if (!f)
        return -1;
    while (bytes < 0 && fgets(text, sizeof(text), f)) {
        long long kib;
        if (strncmp(text, line, strlen(line)) == 0 && text[strlen(line)] == ':' &&
            sscanf(text + strlen(line) + 1, "%lld kB", &kib) == 1)
            bytes = kib * 1024;
    }
    fclose(f);
    return bytes;
}

int64_t machine_memfd_bytes(pid_t pid, const char *name)
{
    char path[64];
    char target[128];
    char wanted[64];
    int64_t bytes = 0;
    const struct dirent *entry;
    struct stat st;

    snprintf(wanted, sizeof(wanted), "/memfd:%s", name);
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return -1;
    while ((entry = readdir(dir))) {
        ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
        if (length < 0)
            continue;
        target[length] = 0;
        if (strncmp(target, wanted, strlen(wanted)) == 0 &&
            fstatat(dirfd(dir), entry->d_name, &st, 0) == 0)
            bytes += (int64_t)st.st_blocks * 512;
    }
    closedir(dir);
    return bytes;
}
