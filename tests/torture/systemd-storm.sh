#!/bin/bash
# systemd-storm.sh BUILD: the storms in which the daemon dies, where it is systemd that starts the next
# one: with all clients' sockets kept, with none, and with clients dying as well; and upgrades.
set -euo pipefail
# shellcheck source=tests/systemd/service.sh
. "$(dirname "$0")/../systemd/service.sh"
service_boot tests/torture/test_deaths tests/torture/test_windows
step "booted"

storm() { # PROGRAM TEST
  machine_run env ALLOT_STAGE=systemd "$1" "$1__$2"
  step "$1__$2"
}
storm test_windows the_daemon_killed
storm test_windows the_daemon_restarted
storm test_deaths of_the_daemon_nothing_kept
storm test_deaths of_both
