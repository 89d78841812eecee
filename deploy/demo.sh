#!/usr/bin/env bash
# Installs what is missing, builds Potluck and counts the solutions of the 18-queens problem: one coordinator and two
# workers on this machine. Only the result goes to standard output. Arguments are added to the command:
#
#   deploy/demo.sh --json
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deploy/setup.sh >&2
cmake --preset release >&2
cmake --build --preset release --target potluck >&2

printf 'demo: build/release/potluck nqueens 18 --local-workers 2 %s\n' "$*" >&2
exec build/release/potluck nqueens 18 --local-workers 2 "$@"
