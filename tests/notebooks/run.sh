#!/usr/bin/env bash
# Runs one of the notebooks' tests with a Python that can.
#
#   run.sh TEST.py PROGRAM PYTHON     PROGRAM: the binary `potluck`; PYTHON: the interpreter
#
# Exits with 77, which ctest counts as skipped, where something is missing, and says what.
set -euo pipefail

readonly test=$1 program=$2 python=$3
readonly here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

skip() {
  printf 'skipped: %s\n' "$*"
  exit 77
}

[[ -x "$python" ]] || command -v "$python" >/dev/null ||
  skip "there is no $python; deploy/setup.sh --ci makes build/python-notebooks"
command -v openssl >/dev/null || skip "there is no openssl, which makes the certificates of servers that are none of ours"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || skip "$python is older than Python 3.9"

cd /  # Nothing may come from the folder that this is started in.
POTLUCK_BINARY=$program PYTHONDONTWRITEBYTECODE=1 exec "$python" "$here/$test" -v
