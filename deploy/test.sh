#!/usr/bin/env bash
# Installs what is missing, builds Potluck and runs its tests; ctest's summary comes last.
#
#   deploy/test.sh             every test that is not labelled `long`
#   deploy/test.sh --long      every test
#   deploy/test.sh -R Store    further arguments go to ctest
#
# A short training on real digits needs MNIST: the folder that POTLUCK_MNIST_DIR names, or build/mnist, into which it is
# fetched once. Where that cannot be done the test is skipped.
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
if [[ -z "${POTLUCK_MNIST_DIR:-}" ]]; then
  [[ -d build/mnist ]] || build/release/potluck data fetch mnist --to build/mnist ||
    printf 'test: MNIST could not be fetched: the training on it is skipped\n' >&2
  if [[ -d build/mnist ]]; then
    export POTLUCK_MNIST_DIR="$PWD/build/mnist"
  fi
fi
exec ctest --preset "$preset" "$@"
