/* SPDX-License-Identifier: MIT */
/*
 * How the instructions of a pair grow with the number of live blocks, counted by callgrind on
 * allot-bench-pairs. Nothing is timed, so once is enough; without valgrind it fails to run.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"
#include "machine.h"

#define FEW   1000u
#define MANY  1000000u
#define PAIRS 100000u

/* The sum, from what valgrind says; negative where it said none. */
static double collected(FILE *f)
{
    char line[256];
    double instructions = -1;

    while (fgets(line, sizeof(line), f)) {
        const char *found = strstr(line, "Collected : ");
        if (found && sscanf(found, "Collected : %lf", &instructions) != 1)
            instructions = -1;
    }
    return instructions;
}

static double count(const char *allocator, unsigned live)
{
    char live_text[16], pairs_text[16];
    int fds[2];

    snprintf(live_text, sizeof(live_text), "%u", live);
    snprintf(pairs_text, sizeof(pairs_text), "%u", PAIRS);
    if (pipe(fds) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        execlp("valgrind", "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
               "--toggle-collect=bench_pairs", BENCH_PAIRS, allocator, live_text, pairs_text,
               (char *)NULL);
        fprintf(stderr, "valgrind: %s\n", strerror(errno));
        _exit(127);
    }
    close(fds[1]);
    FILE *f = fdopen(fds[0], "r");
    double instructions = f ? collected(f) : -1;
    int status = -1;
    if (f)
        fclose(f);
    else
        close(fds[0]);
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
        return -1;
    return instructions > 0 ? instructions / PAIRS : -1;
}

int lib_instructions(struct bench *b, const struct allot_byte_ops *ops, double goal)
{
    struct bench_series many = {.values = {count(ops->name, MANY)}, .n = 1};
    double few = count(ops->name, FEW);
    char name[64];

    if (many.values[0] < 0 || few < 0) {
        fprintf(stderr, "bench: %s, instructions: valgrind is missing or failed\n", ops->name);
        return -1;
    }
    snprintf(name, sizeof(name), "%s, 10^6 live", ops->name);
    bench_report(b, &(struct bench_row){.name = name,
                                        .unit = "instr",
                                        .ours = &many,
                                        .yardstick = "10^3 live",
                                        .yardstick_value = few,
                                        .goal = goal});
    return 0;
}
