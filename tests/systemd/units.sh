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

systemd-analyze security --no-pager --offline=true --threshold=10 "$service" >/dev/null ||
  fail "systemd-analyze gives the service more than 1.0"
grep -q '^PrivateUsers=no$' "$service" || fail "PrivateUsers= falsifies the clients' credentials"

setting() { sed -n "s/^$1=//p" "$service"; }
[ "$(setting LimitNOFILE)" -ge $((2 * $(setting FileDescriptorStoreMax) + 2 * 4096)) ] ||
  fail "LimitNOFILE is too low for the descriptor store and 4,096 sessions"
[ "$(setting RestartSec) $(setting StartLimitIntervalSec)" = "0 0" ] ||
  fail "restarts are delayed or limited"
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
