# shellcheck shell=bash
# Sourced first of all, with the build's directory as the script's first argument: allot installed on
# a machine of its own (machine.sh), booted, with its socket unit started. friend is in its group,
# stranger is not.
#
#   service_boot PROGRAM…   does all that; these programs of the build are in /usr/bin there
#   show PROPERTY           of allotd.service
#   step WHAT               is done
#   fail WHY
# shellcheck source=tests/systemd/machine.sh
. "$(dirname "${BASH_SOURCE[0]}")/machine.sh"
machine_isolate "$@"
build=$1

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
step() { printf '%6d ms  %s\n' $((($(date +%s%N) - began) / 1000000)) "$*"; }
began=$(date +%s%N)

service_boot() {
  machine_create
  DESTDIR=$machine_root cmake --install "$build" >/dev/null
  (cd "$build" && install -t "$machine_root/usr/bin" "$@")
  ldconfig -r "$machine_root"
  mkdir -p "$machine_root/etc/sysusers.d"
  cat >"$machine_root/etc/sysusers.d/allot-test.conf" <<END
u friend -
m friend allot
u stranger -
END
  systemd-sysusers --root="$machine_root" 2>/dev/null
  machine_boot
  machine_run systemctl start allotd.socket
}

show() { machine_run systemctl show --property "$1" --value allotd.service; }
