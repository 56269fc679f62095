#!/bin/bash
# manager.sh BUILD ARGUMENT…: what short connections cost the service manager: boots a machine with a
# systemd of its own, where allotd is a service, and runs allot-bench with these arguments there.
set -euo pipefail
# shellcheck source=tests/systemd/service.sh
. "$(dirname "$0")/../tests/systemd/service.sh"
service_boot bench/allot-bench
machine_run allot-bench "${@:2}"
