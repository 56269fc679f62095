#!/bin/bash
# PID 1 of the machine (machine.sh) until it becomes systemd: makes the root in $1 a world of its own.
# Runs in new PID, UTS, IPC, network, cgroup and mount namespaces, the mounts private already. The
# host's sysctls and kernel log stay out of reach.
set -euo pipefail
root=$1

mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
for file in sysrq-trigger kmsg kcore; do
  if [ -e "$root/proc/$file" ]; then mount --bind /dev/null "$root/proc/$file"; fi
done
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  : >"$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

# In a plain chroot there is no mount to pivot away from: move ours over it instead.
cd "$root"
mkdir -p .old
if pivot_root . .old 2>/dev/null; then
  umount -l /.old
  rmdir /.old
  cd /
else
  rmdir .old
  mount --move . /
  exec chroot . /bin/bash -c 'cd / && exec env -i container=allot-test \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"' bash /lib/systemd/systemd --system \
    --unit=basic.target --show-status=no
fi
exec env -i container=allot-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=basic.target --show-status=no
