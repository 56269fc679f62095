#!/usr/bin/env bash
# tests/torture/model/check.sh CC: spin goes through all states of reference.pml, which must be sound,
# and of each variant with a trap, which must not.
set -euo pipefail
shopt -s inherit_errexit

model=$(cd "$(dirname "$0")" && pwd)/reference.pml
cc=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# errors [-DTRAP]: how many it finds, 0 or 1 (it stops at the first); fails where it cannot tell.
errors() {
  rm -f pan
  spin -a "$@" "$model" >spin.log || { cat spin.log >&2; return 1; }
  "$cc" -O2 -w -DSAFETY -o pan pan.c
  ./pan -m1000000 >pan.log
  if grep -q 'max search depth too small' pan.log; then
    echo "the search is not deep enough" >&2
    return 1
  fi
  sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log
}

failed=0
found=$(errors)
printf '%-36s %s errors, %s states\n' sound "$found" \
  "$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' pan.log)"
if [ "$found" != 0 ]; then failed=1; fi
while read -r trap; do
  found=$(errors "-D$trap")
  printf '%-36s %s\n' "$trap" "$(sed -n 's/^pan:[0-9]*: *//p' pan.log | head -n1)"
  if [ "$found" != 1 ]; then failed=1; fi
done < <(grep -o 'TRAP_[A-Z_]\+' "$model" | sort -u)
exit "$failed"
