#!/bin/bash
# systemd-store.sh BUILD: what happens to the daemon, and whether systemd keeps its descriptors over it.
#
# A client holds an allocation through each event. Where the store is kept, it still does afterwards, and
# on the same connection; where it is lost, it is told so.
set -euo pipefail
# shellcheck source=tests/systemd/service.sh
. "$(dirname "$0")/../systemd/service.sh"
service_boot tests/holder
version=$(machine_run systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
units=$machine_root$(machine_run systemctl show --property FragmentPath --value allotd.service)
allotd=$(machine_run sed -n 's/^ExecStart=//p' "${units#"$machine_root"}")
step "booted systemd $version"

# The client. Its first word is what it must say after every event that leaves it all it had.
hold() {
  coproc HOLDER { machine_as friend holder; }
  read -r -t 60 good <&"${HOLDER[0]}" || fail "the client says nothing"
  [[ $good = "good socket:"* ]] || fail "the client says: $good"
}
ask() {
  echo >&"${HOLDER[1]}"
  read -r -t 60 said <&"${HOLDER[0]}" || fail "after $1 the client says nothing"
}
kept() { # EVENT
  ask "$1"
  [ "$said" = "$good" ] || fail "after $1 the client, which had said '$good', says: $said"
  step "kept: $1"
}
leave() {
  local fd=${HOLDER[1]} pid=$HOLDER_PID
  exec {fd}>&-
  wait "$pid" || true
}
lost() { # EVENT
  ask "$1"
  [[ $said = *"has lost what it kept"* ]] || fail "after $1, which loses the store, the client says: $said"
  leave
  hold
  step "lost: $1"
}

# dropin SECTION LINE…: until dropin without any
dropin() {
  local directory=$machine_root/etc/systemd/system/allotd.service.d
  rm -rf "$directory"
  if [ $# -gt 0 ]; then
    mkdir "$directory"
    printf '%s\n' "[$1]" "${@:2}" >"$directory/test.conf"
  fi
  machine_run systemctl daemon-reload
}
signal() { # fails where none runs: to 0 it would go to us
  local pid
  pid=$(show MainPID)
  [ "$pid" != 0 ] && machine_run kill -"$1" "$pid"
}
is_up() { [ "$(show ActiveState)" = active ]; }
restarts() { show NRestarts; }
restarted_since() { [ "$(restarts)" -ge $(($1 + $2)) ]; } # COUNT HOW-MANY
die() {                                                   # SIGNAL
  local before
  before=$(restarts)
  machine_wait "a daemon" signal "$1" # the last start was counted before it ran
  machine_wait "another daemon" restarted_since "$before" 1
}

hold
die KILL
kept "kill -9"
die SEGV
kept "SIGSEGV"
die TERM
kept "an exit with 0 (Restart=always)"
machine_run systemctl restart allotd.service
kept "systemctl restart"
machine_run systemctl try-restart allotd.service
kept "systemctl try-restart"
machine_run systemctl daemon-reload
die KILL
kept "systemctl daemon-reload"
machine_run systemctl daemon-reexec
machine_wait "systemd to be back" machine_is_up
die KILL
kept "systemctl daemon-reexec"

machine_run mv "$allotd" "$allotd.away"
die KILL
from=$SECONDS
machine_wait "some failures" restarted_since "$(restarts)" 3
[ $((SECONDS - from)) -ge 2 ] || fail "starts that fail follow each other at once"
machine_run mv "$allotd.away" "$allotd"
kept "a binary that was missing for a while"

dropin Service ExecStartPre=/bin/false
die KILL
machine_wait "some failures" restarted_since "$(restarts)" 3
dropin
kept "an ExecStartPre that fails"

# Where /proc hides the client, and the kernel's newer ways to it are not there.
dropin Service Environment=ALLOTD_OLD_KERNEL=1
machine_run systemctl restart allotd.service
die KILL
kept "kill -9, as on an older kernel"
dropin
machine_run systemctl restart allotd.service

dropin Service WatchdogSec=100ms
machine_run systemctl restart allotd.service
machine_wait "the watchdog" restarted_since 0 2
dropin
machine_run systemctl restart allotd.service
kept "the watchdog"

before=$(restarts)
for _ in $(seq 10); do
  die KILL
done
restarted_since "$before" 10 || fail "ten deaths were $(restarts) restarts after $before"
kept "ten deaths in a row"

for _ in $(seq 10); do machine_run systemctl restart allotd.socket; done
kept "systemctl restart allotd.socket, ten times in a row"
# It cannot start while the service runs; the daemon listens on, and so does the next one.
machine_run systemctl --quiet restart --job-mode=ignore-dependencies allotd.socket 2>/dev/null || true
[ "$(machine_run systemctl is-active allotd.socket)" != active ] || fail "the socket unit is not dead"
die KILL
# This starts the socket unit, which gives the socket to its group only some time after it listens.
machine_wait "the next daemon" is_up
said=$(machine_as friend holder </dev/null) || fail "the next daemon gives a client: $said"
kept "the end of the socket unit"

socket_dropin=$machine_root/etc/systemd/system/allotd.socket.d
mkdir "$socket_dropin"
printf '[Socket]\nSocketGroup=nobody-has-this-name\n' >"$socket_dropin/test.conf"
machine_run systemctl daemon-reload
machine_run systemctl restart allotd.socket 2>/dev/null && fail "the socket unit starts"
kept "a socket unit that does not start"
die KILL
kept "kill -9 without a socket unit"
rm -r "$socket_dropin"
machine_run systemctl daemon-reload
machine_run systemctl restart allotd.service
said=$(machine_as friend holder </dev/null) || fail "the daemon gives a client: $said"
kept "a socket unit that starts again"

machine_run systemctl stop allotd.service 2>/dev/null
machine_run systemctl restart allotd.socket
if [ "$version" -ge 254 ]; then kept "systemctl stop"; else lost "systemctl stop"; fi

is_down() { [ "$(show ActiveState)" = inactive ] || [ "$(show ActiveState)" = failed ]; }
if [ "$version" -lt 254 ]; then
  dropin Unit StartLimitIntervalSec=60 StartLimitBurst=2
  while ! is_down; do signal KILL 2>/dev/null || true; done
  dropin
  machine_run systemctl reset-failed
  machine_run systemctl start allotd.socket
  lost "a start limit that was hit"

  dropin Service Restart=on-failure
  signal TERM
  machine_wait "the end" is_down
  dropin
  lost "an exit with 0 (Restart=on-failure)"

  machine_run mv "${units#"$machine_root"}" /run/away.service
  machine_run systemctl daemon-reload
  signal KILL
  machine_wait "the end" is_down
  machine_run mv /run/away.service "${units#"$machine_root"}"
  machine_run systemctl daemon-reload
  lost "a unit file that was missing at death"
fi

[ "$(show ControlGroup)" = /allot.slice/allotd.service ] ||
  fail "the service is in $(show ControlGroup), not in the slice with the limit"
errors=$(machine_run journalctl --quiet --no-pager --boot --priority err _COMM=allotd)
[ -z "$errors" ] || fail "the daemon logged: $errors"
leave
step "done"
