# shellcheck shell=bash
# Sourced: a throw-away machine with a real systemd, in namespaces over an overlay of this system's
# root (or of $ALLOT_BOOT_ROOT). Nothing of the host is changed: mounts are private to the calling
# script's mount namespace, files go to a tmpfs, and the machine dies with the script, however that
# ends. Needs root, overlayfs and cgroup2; no container engine.
#
#   machine_isolate "$@"   first of all: restarts the script in a mount namespace, as root only
#   machine_create         makes the root, in $machine_root; put files there
#   machine_boot           boots it
#   machine_run CMD…       runs CMD inside, as root
#   machine_as USER CMD…   … as a user of the machine
#   machine_wait WHAT CMD… until CMD succeeds; fails after a minute
machine_here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
machine_pid=
machine_unshare=
machine_cgroup=

machine_isolate() {
  if [ "${ALLOT_MACHINE_ISOLATED:-}" = "$PPID" ]; then return; fi
  local lack=
  if [ "$(id -u)" != 0 ]; then
    lack="needs root"
  elif ! [ -x /lib/systemd/systemd ]; then
    lack="needs systemd (script/setup test installs it)"
  fi
  if [ -n "$lack" ]; then
    if [ "${CI:-}" = true ]; then
      echo "FAILED: $lack, and in CI no test may be skipped" >&2
      exit 1
    fi
    echo "skipped: $lack" >&2
    exit 77
  fi
  # unshare becomes the script itself, so the script's parent is this shell.
  ALLOT_MACHINE_ISOLATED=$$ setpriv --pdeathsig KILL -- \
    unshare --mount --propagation unchanged -- "$0" "$@"
  exit
}

machine_create() {
  # In a plain chroot "/" is no mount of which this could be asked; entering the namespace that we are
  # in already leads to the root of all mounts.
  mount --make-rprivate / 2>/dev/null ||
    nsenter --mount=/proc/self/ns/mnt -- mount --make-rprivate /
  machine_dir=$(mktemp -d "${TMPDIR:-/tmp}/allot-machine.XXXXXX")
  trap machine_destroy EXIT
  trap 'exit 1' INT TERM HUP
  mount -t tmpfs -o mode=755 tmpfs "$machine_dir"
  mkdir "$machine_dir"/{up,work,root,cgroup}
  machine_root=$machine_dir/root
  mount -t overlay overlay "$machine_root" \
    -o "lowerdir=${ALLOT_BOOT_ROOT:-/},upperdir=$machine_dir/up,workdir=$machine_dir/work"
  mkdir -p "$machine_root"/{proc,sys,dev,run,tmp,etc/systemd/system}
  # Only what systemd brings, not what is enabled on this host.
  find "$machine_root/etc/systemd/system" -mindepth 1 -delete
  for unit in systemd-sysctl systemd-modules-load systemd-udevd systemd-udev-trigger \
    systemd-timesyncd systemd-networkd systemd-firstboot systemd-random-seed; do
    ln -s /dev/null "$machine_root/etc/systemd/system/$unit.service"
  done
  rm -f "$machine_root/etc/fstab"
  tr -d - </proc/sys/kernel/random/uuid >"$machine_root/etc/machine-id"

  mount -t cgroup2 cgroup2 "$machine_dir/cgroup"
  # What earlier runs had to leave, since somebody killed them.
  local stale
  for stale in "$machine_dir"/cgroup/allot-machine-*; do
    if [ -d "$stale" ] && ! kill -0 "${stale##*-}" 2>/dev/null; then machine_drop_cgroup "$stale"; fi
  done
  machine_cgroup=$machine_dir/cgroup/allot-machine-$$
  mkdir "$machine_cgroup"
}

machine_boot() {
  (
    echo "$BASHPID" >"$machine_cgroup/cgroup.procs"
    exec setpriv --pdeathsig KILL -- unshare --mount --propagation unchanged --pid --uts --ipc --net \
      --cgroup --fork --kill-child=KILL -- "$machine_here/init.sh" "$machine_root"
  ) </dev/null >"$machine_dir/log" 2>&1 &
  machine_unshare=$!
  machine_wait "the machine to boot" machine_is_up
}

machine_is_up() {
  local state
  if ! kill -0 "$machine_unshare" 2>/dev/null; then
    echo "FAILED: the machine died while booting" >&2
    exit 1
  fi
  # No newline ends this file, so read reports its end even when it has read something.
  read -r machine_pid <"/proc/$machine_unshare/task/$machine_unshare/children" || true
  [ -n "$machine_pid" ] || return 1
  state=$(machine_run systemctl is-system-running 2>/dev/null) || true
  [ "$state" = running ] || [ "$state" = degraded ]
}

machine_run() {
  nsenter --target "$machine_pid" --all --root --wdns=/ -- "$@"
}

machine_as() {
  local user=$1
  shift
  machine_run setpriv --reuid "$user" --regid "$user" --init-groups -- "$@"
}

machine_wait() { # WHAT CMD…
  local what=$1 end=$((SECONDS + 60))
  shift
  until "$@"; do
    if [ "$SECONDS" -ge "$end" ]; then
      echo "FAILED: waited a minute for $what" >&2
      exit 1
    fi
    sleep 0.02
  done
}

machine_drop_cgroup() {
  for _ in $(seq 100); do
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    if ! [ -d "$1" ]; then return; fi
    sleep 0.05
  done
  echo "the cgroup $1 is still in use" >&2
}

# Also after a failure, at any step; its own errors do not matter.
machine_destroy() {
  local status=$?
  set +e
  if [ "$status" -ne 0 ] && [ -n "$machine_unshare" ]; then
    echo "--- the machine's log" >&2
    tail -n 20 "$machine_dir/log" >&2
    if [ -n "$machine_pid" ]; then
      machine_run journalctl --no-pager --boot --lines 60 >&2
    fi
  fi
  if [ -n "$machine_unshare" ]; then
    kill -KILL "$machine_unshare" 2>/dev/null
    wait "$machine_unshare" 2>/dev/null
  fi
  if [ -n "$machine_cgroup" ]; then machine_drop_cgroup "$machine_cgroup"; fi
  umount --recursive --lazy "$machine_dir" 2>/dev/null
  rmdir "$machine_dir" 2>/dev/null
  exit "$status"
}
