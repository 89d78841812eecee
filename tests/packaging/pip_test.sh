#!/usr/bin/env bash
# `pip install` of the wheel into a fresh virtual environment, far from the repository, and a real run from there.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/root.sh"

wheel=$(the_wheel)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv" >/dev/null 2>&1 || skip "python3 -m venv does not work here (package python3-venv)"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-cache-dir "$wheel"
"$scratch/venv/bin/python" -m pip check
cp "$repository/tests/packaging/installed_test.py" "$scratch/"
cd "$scratch"
env -u PYTHONPATH -u POTLUCK_BINARY PATH="$scratch/venv/bin:$PATH" XDG_CACHE_HOME="$scratch/cache" HOME="$scratch" \
  POTLUCK_WHEEL="$wheel" "$scratch/venv/bin/python" "$scratch/installed_test.py"

# The GPU plug-in from the wheel's own sources, where there is a compiler for it.
if [[ -d "$repository/build/python/nvidia/cuda_nvrtc" ]]; then
  env -u PYTHONPATH PATH="$scratch/venv/bin:$PATH" XDG_CACHE_HOME="$scratch/cache" HOME="$scratch" CUDA_HOME=/nowhere \
    POTLUCK_NVRTC_ROOT="$repository/build/python" potluck doctor --build-plugin --architectures 75 --compiler nvrtc
fi
