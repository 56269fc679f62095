/* SPDX-License-Identifier: MIT */
/*
 * The stages.
 *
 * Under systemd the unit is the installed one with a drop-in: the next daemon starts only when
 * nobody has a lock on that file, and where clients' sockets are not to be kept, the store has no
 * room for them.
 */
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire.h"

/* ---- the fixture ---- */

static void managed_kill(struct stage *st)
{
    fixture_kill(st->f);
}

static void managed_go_on(struct stage *st)
{
    fixture_start(st->f);
}

static void managed_restart(struct stage *st)
{
    fixture_stop(st->f);
    fixture_start(st->f);
}

static uint64_t managed_count_kept(struct stage *st)
{
    return fixture_count_stored(st->f);
}

static void managed_expect_calm(struct stage *st)
{
    check(!strstr(fixture_log(st->f), "error:"));
}

static const struct stage_ops managed = {
    .kill = managed_kill,
    .go_on = managed_go_on,
    .restart = managed_restart,
    .count_kept = managed_count_kept,
    .expect_calm = managed_expect_calm,
};

/* ---- the supervisor ---- */

static void supervised_kill(struct stage *st)
{
    fixture_kill_supervised(st->f);
}

static void supervised_go_on(struct stage *st)
{
    (void)st;
}

/* The supervisor keeps descriptors at numbers above what it has for a moment: one that comes has
 * two. */
#define KEPT_FDS_START 64

static uint64_t supervised_count_kept(struct stage *st)
{
    return fixture_count_fds_from(st->f, KEPT_FDS_START);
}

static const struct stage_ops supervised = {
    .kill = supervised_kill,
    .go_on = supervised_go_on,
    .count_kept = supervised_count_kept,
    .expect_calm = managed_expect_calm,
};

/* ---- systemd ---- */

#define SERVICE     "allotd.service"
#define DROPIN_DIR  "/run/systemd/system/" SERVICE ".d"
#define DROPIN_PATH DROPIN_DIR "/storm.conf"
#define DROPIN                                                                                     \
    "[Service]\n"                                                                                  \
    "FileDescriptorStorePreserve=no\n"                                                             \
    "ExecStopPost=flock " DROPIN_PATH " true\n"
#define STORED_MIN     3 /* the ledger, the pool and the listener */
#define NO_CLIENT_KEPT "FileDescriptorStoreMax=3\n"

static void write_file(const char *directory, const char *path, const char *text)
{
    check(mkdir(directory, 0755) == 0 || errno == EEXIST);
    FILE *file = fopen(path, "we");
    check(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void run_command(const char *command)
{
    check_equal(system(command), 0);
}

/* A number that systemd tells of the service. */
static uint64_t property(const char *name)
{
    char command[96];
    uint64_t value = 0;

    snprintf(command, sizeof(command), "systemctl show --property %s --value " SERVICE, name);
    FILE *output = popen(command, "re");
    check(output && fscanf(output, "%" SCNu64, &value) == 1 && pclose(output) == 0);
    return value;
}

static pid_t main_pid(void)
{
    pid_t pid = (pid_t)property("MainPID");

    check(pid > 0);
    return pid;
}

static void systemd_open(struct stage *st, const struct fixture_setup *setup)
{
    write_file(DROPIN_DIR, DROPIN_PATH, setup->keep_clients ? DROPIN : DROPIN NO_CLIENT_KEPT);
    write_file("/etc/allot", "/etc/allot/allotd.conf", setup->config);
    run_command("systemctl daemon-reload");
    run_command("systemctl --quiet stop " SERVICE);
    run_command("systemctl start " SERVICE);
    check_equal(property("NFileDescriptorStore"), STORED_MIN);
    st->socket = "/run/allot/allot.sock";
}

static void systemd_kill(struct stage *st)
{
    pid_t pid = main_pid();
    struct pollfd p = {.fd = pidfd_open(pid, 0), .events = POLLIN};

    st->gate = open(DROPIN_PATH, O_RDONLY | O_CLOEXEC);
    check(st->gate >= 0 && flock(st->gate, LOCK_EX) == 0);
    check(p.fd >= 0 && kill(pid, SIGKILL) == 0);
    check(poll(&p, 1, FIXTURE_DEADLINE_MS) == 1);
    close(p.fd);
}

/* All starts but the first were ours. */
static void expect_no_other_start(const struct stage *st)
{
    check_equal(property("NRestarts"), st->kills);
}

static void systemd_go_on(struct stage *st)
{
    static struct wire w;

    expect_no_other_start(st);
    st->kills++;
    /* Clients that were born meanwhile have the file open as well. */
    check(flock(st->gate, LOCK_UN) == 0);
    close(st->gate);
    /* It accepts when it has said that it is ready; the death of one that has not would go past the
     * gate. */
    wire_open(&w, st->socket);
    check_equal(wire_goodbye(&w), ALLOT__ERROR__E_OK);
    wire_close(&w);
}

static void read_program(char path[static PATH_MAX])
{
    char link[32];

    snprintf(link, sizeof(link), "/proc/%d/exe", (int)main_pid());
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    check(size > 0);
    path[size] = 0;
}

/* An upgrade: the program is a new file. */
static void systemd_restart(struct stage *st)
{
    char path[PATH_MAX];
    char now[PATH_MAX];
    char command[4 * PATH_MAX + 32];

    expect_no_other_start(st);
    read_program(path);
    snprintf(command, sizeof(command), "cp %s %s.new && mv %s.new %s", path, path, path, path);
    run_command(command);
    run_command("systemctl restart " SERVICE);
    st->kills = 0;
    read_program(now);
    check(strcmp(now, path) == 0); /* the old one's would be said to be deleted */
}

static uint64_t systemd_count_kept(struct stage *st)
{
    (void)st;
    return property("NFileDescriptorStore");
}

static void systemd_expect_calm(struct stage *st)
{
    expect_no_other_start(st);
    run_command("! journalctl --quiet --no-pager --boot --priority err _COMM=allotd | grep .");
}

static const struct stage_ops under_systemd = {
    .kill = systemd_kill,
    .go_on = systemd_go_on,
    .restart = systemd_restart,
    .count_kept = systemd_count_kept,
    .expect_calm = systemd_expect_calm,
};

void stage_open(struct stage *st, struct fixture *f, const struct fixture_setup *setup)
{
    const char *name = getenv("ALLOT_STAGE");

    if (name && strcmp(name, "systemd") == 0) {
        *st = (struct stage){.ops = &under_systemd};
        systemd_open(st, setup);
        return;
    }
    fixture_open(f, setup);
    fixture_start(f);
    *st = (struct stage){
        .ops = setup->arguments ? &supervised : &managed, .f = f, .socket = f->socket};
}
