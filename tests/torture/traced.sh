#!/bin/sh
# Stands in for the daemon: the one that TRACED names, with TRACED_FAULT (strace's --inject) at its
# TRACED_CALLS. It keeps its pid and its parent: strace is the one that is detached.
exec strace -D -qq -f -o /dev/null -e "trace=$TRACED_CALLS" -e "inject=$TRACED_CALLS:$TRACED_FAULT" \
  "$TRACED" "$@"
