#!/usr/bin/env bash
# Installs what is missing, builds Potluck and runs its tests; ctest's summary comes last.
#
#   deploy/test.sh             every test that is not labelled `long`
#   deploy/test.sh --long      every test
#   deploy/test.sh -R Store    further arguments go to ctest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=release
if [[ "${1:-}" == --long ]]; then
  preset=release-long
  shift
fi

deploy/setup.sh
cmake --preset release
cmake --build --preset release
exec ctest --preset "$preset" "$@"
