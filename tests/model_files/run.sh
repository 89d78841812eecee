#!/usr/bin/env bash
# Whether others can open the models that Potluck writes: see check.py.
#
#   run.sh WRITER FOLDER [torch]   WRITER: the program write_model_files; FOLDER: where fetched Python packages are kept;
#                                  torch: PyTorch must be among them (without it, it is used where it is installed)
#   POTLUCK_PYTHON=P               a Python that may have the packages already (default: python3)
#
# Exits with 77, which ctest counts as skipped, where the packages are neither installed nor to be had.
set -euo pipefail

readonly writer=$1 packages_folder=$2
readonly here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly python=${POTLUCK_PYTHON:-python3}
packages=('numpy>=1.24' 'safetensors>=0.4' 'onnxruntime>=1.17')
modules='numpy, onnxruntime, safetensors'
if [[ "${3:-}" == torch ]]; then
  packages+=('torch>=2.1')
  modules+=', torch'
fi
readonly packages modules

skip() {
  printf 'skipped: %s\n' "$*"
  exit 77
}

can_import() { "$python" -c "import $modules" 2>/dev/null; }

command -v "$python" >/dev/null || skip "there is no $python"
if ! can_import; then
  export PYTHONPATH="$packages_folder"
  if ! can_import; then
    printf 'fetching %s from the Python package index into %s\n' "${packages[*]}" "$packages_folder"
    rm -rf "$packages_folder" "$packages_folder.partial"
    "$python" -m pip install --only-binary :all: --quiet --disable-pip-version-check --no-input --retries 1 \
      --timeout 30 --target "$packages_folder.partial" "${packages[@]}" 2>&1 ||
      skip "the Python packages ${packages[*]} cannot be fetched (see above)"
    mv "$packages_folder.partial" "$packages_folder"
    can_import || skip "the Python packages that were fetched do not work with $python"
  fi
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$writer" "$scratch"
"$python" "$here/check.py" "$scratch"
