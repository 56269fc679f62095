#!/bin/bash
# systemd-boot.sh BUILD: the installed units under a real systemd.
#
# Socket activation, who may connect, a daemon killed while a client holds an allocation, reload, stop,
# and more deaths in a row than systemd's default limits allow.
set -euo pipefail
# shellcheck source=tests/systemd/service.sh
. "$(dirname "$0")/../systemd/service.sh"
service_boot examples/hello
step "booted"

allotctl=$(sed -n 's/^CMAKE_INSTALL_PREFIX:.*=//p' "$build/CMakeCache.txt")/bin/allotctl
status() { machine_as friend "$allotctl" status --json; }

# Socket activation.
[ "$(show ActiveState)" = inactive ] || fail "the service runs before anybody asks"
[ "$(machine_run stat -c '%A %U %G' /run/allot/allot.sock)" = "srw-rw---- root allot" ] ||
  fail "the socket's mode is $(machine_run stat -c '%A %U %G' /run/allot/allot.sock)"
if machine_as stranger "$allotctl" ping 2>"$machine_dir/refused"; then
  fail "somebody outside of the group may connect"
fi
[ "$(show ActiveState)" = inactive ] || fail "a stranger can start the service"
machine_as friend "$allotctl" ping >/dev/null || fail "a member of the group gets no answer"
[ "$(show ActiveState)" = active ] || fail "pinged, but not active"
step "socket activation"

# A client that holds an allocation: `hello` waits for Enter.
mkfifo "$machine_dir/enter"
machine_as friend hello <"$machine_dir/enter" >"$machine_dir/offset" 2>/dev/null &
waiting=$!
exec {enter}>"$machine_dir/enter"
machine_wait "the client's allocation" test -s "$machine_dir/offset"
offset=$(cat "$machine_dir/offset")
holder() { # its session in the daemon's list
  status | jq -e '.sessions | map(select(.allocations == 1)) | .[0]' 2>/dev/null
}
used() { status | jq '[.pools[].used_bytes] | add'; }
[ "$(used)" = 64 ] || fail "64 bytes are allocated, the daemon says $(used)"
session=$(holder | jq .session)
[ "$(holder | jq .uid)" = "$(machine_run id -u friend)" ] ||
  fail "the daemon takes the client for user $(holder | jq .uid)"
said=$(machine_as friend hello "$offset")

# The daemon dies; pool and ledger come back from the descriptor store.
kill_daemon() { # 0 when the next one runs
  local old
  old=$(show MainPID)
  machine_run kill -KILL "$old"
  machine_wait "another daemon" another_daemon "$old"
}
another_daemon() {
  local new
  new=$(show MainPID)
  [ "$new" != 0 ] && [ "$new" != "$1" ] && [ "$(show ActiveState)" = active ]
}
[ "$(show NFileDescriptorStore)" -ge 2 ] || fail "nothing is in the descriptor store"
kill_daemon
[ "$(used)" = 64 ] || fail "after the daemon's death it knows $(used) bytes instead of 64"
[ "$(holder | jq .session)" = "$session" ] || fail "the allocation belongs to another session"
[ "$(machine_as friend hello "$offset")" = "$said" ] || fail "the pool's bytes are others"
step "the daemon was killed and knows all"

# The client dies without a word, while its connection was lost with the old daemon.
client=$(holder | jq .pid)
machine_run kill -KILL "$client"
wait "$waiting" 2>/dev/null || true
freed() { [ "$(used)" = 0 ]; }
machine_wait "the dead client's allocation to go" freed
exec {enter}>&-
step "the client was killed and holds nothing"

machine_run systemctl reload allotd.service
machine_as friend "$allotctl" ping >/dev/null || fail "no answer after a reload"
[ "$(show ActiveState)" = active ] || fail "reload ended the service"
for _ in $(seq 10); do kill_daemon; done
machine_as friend "$allotctl" ping >/dev/null || fail "no answer after ten deaths in a row"
machine_run systemctl is-active --quiet allotd.socket || fail "the socket was given up"
step "reloaded, and ten deaths in a row"

machine_run systemctl --quiet stop allotd.service
[ "$(show Result)" = success ] || fail "stopping ends with $(show Result)"
machine_as friend "$allotctl" ping >/dev/null || fail "no answer after stop and activation"
step "stopped and started again"

# One key is newer than some that know the units.
if machine_run journalctl --no-pager --boot _PID=1 | grep -v "'FileDescriptorStorePreserve'" |
  grep -E 'allotd?\.(service|socket|slice).*:[0-9]+: '; then
  fail "systemd complains of the units"
fi
errors=$(machine_run journalctl --quiet --no-pager --boot --priority err _COMM=allotd)
[ -z "$errors" ] || fail "the daemon logged: $errors"
step "done"
