#!/usr/bin/env bash
# Checks what is in the wheel that deploy/package.sh made: whether it runs on every system that its name promises.
#
#   deploy/check_bundle.sh [WHEEL]     default: the one in dist/
#
# For every program and library in it: no symbol of a glibc later than 2.35 or of a libstdc++ later than 3.4.30, no
# library needed but those listed here, no search path but its own folder, stripped. And the files that have to be there,
# and the size. Every breach is one line; exits with 1 if there is one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly most_bytes=$((40 * 1000 * 1000))
wheel=${1:-}
if [[ -z "$wheel" ]]; then
  wheel=$(find dist -maxdepth 1 -name 'potluck-*.whl' 2>/dev/null | head -n 1)
fi
[[ -f "$wheel" ]] || {
  printf 'check_bundle: there is no wheel%s; deploy/package.sh makes one\n' "${1:+ $1}" >&2
  exit 1
}
for tool in objdump readelf python3; do
  command -v "$tool" >/dev/null || {
    printf 'check_bundle: %s is missing (packages binutils, python3)\n' "$tool" >&2
    exit 1
  }
done

breaches=0
breach() {
  printf 'check_bundle: %s\n' "$*" >&2
  breaches=$((breaches + 1))
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m zipfile -e "$wheel" "$folder"

# What every system with glibc has; libgcc_s comes with it wherever a package manager runs.
readonly system="libc.so.6 libm.so.6 libgcc_s.so.1 ld-linux-x86-64.so.2"
allowed() {
  case "$1" in
    libpotluck_onednn.so) printf '%s libdnnl.so.3 libgomp.so.1' "$system" ;;
    # As it comes from its makers; libstdc++ of any age will do, and without one the portable kernels serve.
    libdnnl.so.3) printf '%s libgomp.so.1 libpthread.so.0 libdl.so.2 libstdc++.so.6' "$system" ;;
    potluck | libpotluck_cuda.so | libgomp.so.1) printf '%s' "$system" ;;
    *) breach "$1 is a program or library that nobody expects" ;;
  esac
}

# newer VERSION LIMIT
newer() { [[ "$1" != "$2" && "$(printf '%s\n%s\n' "$1" "$2" | sort -V | tail -n 1)" == "$1" ]]; }

check_versions() {
  local file=$1 name=$2 symbol version kind limit
  while read -r symbol version; do
    kind=${version%%_*}
    case "$kind" in
      GLIBC) limit=2.35 ;;
      GLIBCXX) limit=3.4.30 ;;
      CXXABI) limit=1.3.13 ;;
      *) continue ;;
    esac
    ! newer "${version#*_}" "$limit" || breach "$name uses $symbol of $version; allowed is up to ${kind}_$limit"
  done < <(objdump -T "$file" | awk '/\*UND\*/ { gsub(/[()]/, "", $(NF - 1)); print $NF, $(NF - 1) }')
}

check_elf() {
  local file=$1 name=${1##*/} needed list path
  list=$(allowed "$name")
  while read -r needed; do
    [[ " $list " == *" $needed "* ]] || breach "$name needs $needed; allowed: $list"
  done < <(readelf -d "$file" | sed -n 's/^.*(NEEDED).*\[\(.*\)\]$/\1/p')
  check_versions "$file" "$name"
  path=$(readelf -d "$file" | sed -n 's/^.*(R\(UN\)\?PATH).*\[\(.*\)\]$/\2/p')
  [[ -z "$path" || "$path" == "\$ORIGIN" ]] || breach "$name looks for libraries in $path; allowed is \$ORIGIN"
  [[ -z "$(readelf -S -W "$file" | grep -F ' .symtab ' || true)" ]] || breach "$name is not stripped"
}

programs=0
while IFS= read -r file; do
  if [[ "$(head -c 4 "$file" | od -An -tx1 | tr -d ' \n')" == 7f454c46 ]]; then
    check_elf "$file"
    programs=$((programs + 1))
  fi
done < <(find "$folder" -type f | sort)

for name in potluck/bin/potluck potluck/__init__.py potluck/py.typed potluck/bin/kernels/CMakeLists.txt \
  'potluck-*.dist-info/RECORD' 'potluck-*.dist-info/licenses/LICENSE'; do
  compgen -G "$folder/$name" >/dev/null || breach "$name is not in the wheel"
done
if [[ -f "$folder/potluck/bin/libpotluck_onednn.so" ]]; then
  for name in libdnnl.so.3 libgomp.so.1; do
    [[ -f "$folder/potluck/bin/$name" ]] || breach "$name is not in the wheel, and libpotluck_onednn.so needs it"
  done
fi
# The machine code in the GPU plug-in: one ELF file an architecture, whose flags name it (from sm_100 on, in another byte).
architectures() {
  python3 - "$1" <<'END'
import struct, sys
data = open(sys.argv[1], "rb").read()
at, found = data.find(b"\x7fELF", 1), []
while at >= 0:
    if struct.unpack_from("<H", data, at + 18)[0] == 190:  # EM_CUDA
        flags = struct.unpack_from("<I", data, at + 48)[0]
        found.append(flags & 255 if data[at + 8] < 8 else flags >> 8 & 255)
    at = data.find(b"\x7fELF", at + 4)
print(*sorted(found))
END
}
plugin="$folder/potluck/bin/libpotluck_cuda.so"
wanted=$(sed -n 's/^set(POTLUCK_CUDA_ARCHS \(.*\))$/\1/p' kernels/cuda/PotluckCubins.cmake)
if [[ -f "$plugin" ]]; then
  found=$(architectures "$plugin")
  [[ -n "$wanted" && "$found" == "$wanted" ]] || breach "libpotluck_cuda.so has code for '$found'; it should be for '$wanted'"
elif [[ -z "${POTLUCK_NO_CUDA:-}" ]]; then
  breach "libpotluck_cuda.so is not in the wheel (POTLUCK_NO_CUDA=1 if that is meant)"
fi
[[ -f "$folder/potluck/bin/libpotluck_onednn.so" || -n "${POTLUCK_NO_ONEDNN:-}" ]] ||
  breach "libpotluck_onednn.so is not in the wheel (POTLUCK_NO_ONEDNN=1 if that is meant)"
bytes=$(stat -c %s "$wheel")
((bytes < most_bytes)) || breach "the wheel has $bytes bytes; allowed are less than $most_bytes"

((breaches == 0)) || exit 1
printf '%s: %d bytes, %d programs and libraries, all as they should be\n' "${wheel##*/}" "$bytes" "$programs"
