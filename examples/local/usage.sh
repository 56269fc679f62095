#!/usr/bin/env bash
# examples/local/usage.sh DIR: the programs of examples/local, in DIR, refuse wrong arguments, with status
# 2 and their usage, and do nothing else.
set -uo pipefail
dir=${1:?usage: usage.sh DIR}
failed=0

refuses() { # PROGRAM ARGUMENT…
  local said status

  said=$("$dir/$1" "${@:2}" 2>&1)
  status=$?
  if [ $status -ne 2 ] || [[ $said != "usage: $1 "* ]]; then
    printf 'usage.sh: %s: status %d: %s\n' "$*" $status "$said" >&2
    failed=1
  fi
}

for program in hello_world grow_heap stress_test; do
  refuses $program buddies
  refuses $program ''
done
refuses hello_world tlsf tlsf
refuses grow_heap tlsf tlsf
for steps in -1 1x x '' ' 1' 4294967296 99999999999999999999; do
  refuses stress_test tlsf "$steps"
done
refuses stress_test tlsf 1 0
refuses stress_test tlsf 1 2 1
refuses stress_test tlsf 1 1 4294967296
refuses stress_test tlsf 1 1 1 1
exit $failed
