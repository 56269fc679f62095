#!/usr/bin/env bash
# units.sh SYSTEMD-BUILD ALLOTD: what can be said of the unit files without booting them, and of the
# example configuration.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
built=$1
allotd=$2
service=$top/systemd/allotd.service

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
if ! command -v systemd-analyze >/dev/null; then
  if [ "${CI:-}" = true ]; then fail "no systemd-analyze, and in CI no test may be skipped"; fi
  echo "skipped: no systemd-analyze (script/setup test installs it)"
  exit 77
fi

systemd-analyze security --no-pager --offline=true --threshold=4 "$service" >/dev/null 2>&1 ||
  fail "systemd-analyze gives the service more than 0.4"
grep -q '^PrivateUsers=no$' "$service" || fail "PrivateUsers= falsifies the clients' credentials"

setting() { sed -n "s/^$1=//p" "$service"; }
[ "$(setting LimitNOFILE)" -ge $((2 * $(setting FileDescriptorStoreMax) + 2 * 4096)) ] ||
  fail "LimitNOFILE is too low for the descriptor store and 4,096 sessions"
kept=$(sed -n 's/^#define NOTIFY_FDS_MAX //p' "$top/daemon/notify.h")
[ "$(setting FileDescriptorStoreMax)" -ge "$kept" ] ||
  fail "the descriptor store is smaller than what the daemon keeps"
[ "$(setting RestartSec) $(setting StartLimitIntervalSec)" = "0 0" ] ||
  fail "restarts are delayed or limited"
[ "$(setting FileDescriptorStorePreserve)" = yes ] || fail "a stop empties the descriptor store"
[ "$(setting OOMPolicy)" = continue ] || fail "the daemon ends for others' want of memory"
slice=$top/systemd/$(setting Slice)
if ! grep -q '^MemoryMax=' "$slice" || grep -q '^Memory\(Max\|High\)=' "$service"; then
  fail "the memory limit belongs to the slice: on the service it would not count after a restart"
fi
grep -q '^TriggerLimitIntervalSec=0$' "$top/systemd/allotd.socket" || fail "activation is limited"
program=$(sed -n 's/^ExecStart=//p' "$built/allotd.service")
[ "$(basename "$program")" = "$(basename "$allotd")" ] || fail "the service starts $program"

# The example is right as it stands, and with every key taken in.
tmp=$(mktemp -d "${TMPDIR:-/tmp}/allot-units.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
example=$top/systemd/allotd.conf.example
"$allotd" --config "$example" --check-config || fail "the example is refused"
sed 's/^#\([a-z_]* *=\|\[\)/\1/' "$example" >"$tmp/all.conf"
"$allotd" --config "$tmp/all.conf" --check-config || fail "the example with all keys is refused"
# Both pages know the same keys.
diff <(sed -n 's/^#\?\([a-z_]*\) *=.*/\1/p' "$example" | sort -u) \
  <(sed -n 's/^\*\([a-z_]*\)\* *=.*/\1/p' "$top/docs/allotd.conf.5.scd" | sort -u) ||
  fail "the example and allotd.conf(5) do not describe the same keys"

# A configuration that the daemon cannot look at is not taken for none, which opens a pool to all.
if [ "$(id -u)" = 0 ]; then
  status=0
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare --mount sh -c 'mount -t tmpfs -o mode=0700,uid=65534 none /etc &&
    exec setpriv --bounding-set -dac_override,-dac_read_search "$1" --check-config' \
    sh "$allotd" || status=$?
  [ "$status" = 2 ] || fail "a configuration that is out of sight is taken for none: $status"
fi
