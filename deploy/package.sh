#!/usr/bin/env bash
# Builds what other machines need into dist/: the wheel, which is at once what pip installs, what a coordinator hands to
# its workers and what deploy/Dockerfile is made of.
#
#   deploy/package.sh              dist/potluck-VERSION-py3-none-manylinux_2_35_x86_64.whl, and dist/potluck/, its files
#   deploy/package.sh --out DIR    there instead of dist/
#
# Prints the wheel's path; messages go to standard error. It runs on x86-64 with glibc 2.36 at most, so on Debian 12
# (deploy/setup.sh, which it runs first, installs what is missing), and what it makes runs wherever glibc is 2.35 or later. Same sources, same
# compiler: the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'package: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

out=dist
while (($# > 0)); do
  case "$1" in
    --out)
      (($# > 1)) || fail "--out needs a folder"
      out=$2
      shift 2
      ;;
    *) fail "unknown argument '$1'; allowed: --out DIR" ;;
  esac
done

[[ "$(uname -sm)" == "Linux x86_64" ]] || fail "this is $(uname -sm); the bundle is built on Linux x86_64"
readonly build=build/release
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
readonly bin="$stage/wheel/potluck/bin"

build_programs() {
  deploy/setup.sh
  cmake --preset release >&2
  cmake --build --preset release --target portable >&2
}

# The package's Python, and beside it in bin/ the programs without what only a debugger reads.
stage_programs() {
  mkdir -p "$bin"
  cp deploy/python/potluck/*.py deploy/python/potluck/py.typed "$stage/wheel/potluck/"
  local file
  strip --strip-unneeded -o "$bin/potluck" "$build/portable/potluck"
  for file in libpotluck_cuda.so libpotluck_onednn.so; do
    if [[ -f "$build/portable/$file" ]]; then
      strip --strip-unneeded -o "$bin/$file" "$build/portable/$file"
    else
      say "without $file, which was not built: deploy/setup.sh fetches what it needs"
    fi
  done
  if [[ -f "$bin/libpotluck_onednn.so" ]]; then  # oneDNN and its plug-in share one OpenMP; a bare system has none.
    strip --strip-unneeded -o "$bin/libdnnl.so.3" "$build/libdnnl.so.3"
    strip --strip-unneeded -o "$bin/libgomp.so.1" "$(readlink -f "$("${CXX:-g++}" -print-file-name=libgomp.so.1)")"
  fi
}

# `potluck doctor --build-plugin` compiles the GPU plug-in from these where its code does not fit.
stage_kernels() {
  local file
  while IFS= read -r file; do
    install -D -m 644 "$file" "$bin/$file"
  done < <(find kernels -type f ! -name '*_test.cc' ! -name '*_testing.*' ! -name 'other_version_plugin.cc')
}

# What is inside is distributed with it, so its licences are too: component and a file of the package it came from.
components() {
  cat <<END
abseil /usr/include/absl/base/config.h
boost /usr/include/boost/asio.hpp
c-ares /usr/include/ares.h
cli11 /usr/include/CLI/CLI.hpp
fmt /usr/include/fmt/format.h
gcc-runtime $("${CXX:-g++}" -print-file-name=libstdc++.a)
grpc /usr/include/grpcpp/grpcpp.h
nlohmann-json /usr/include/nlohmann/json.hpp
openssl /usr/include/openssl/ssl.h
protobuf /usr/include/google/protobuf/message.h
re2 /usr/include/re2/re2.h
spdlog /usr/include/spdlog/spdlog.h
sqlite /usr/include/sqlite3.h
zlib /usr/include/zlib.h
END
}

stage_licenses() {
  local component file package
  mkdir -p "$stage/licenses/common"
  cp LICENSE "$stage/licenses/"
  while read -r component file; do
    package=$(dpkg-query -S "$(readlink -f "$file")" 2>/dev/null | head -n 1 | cut -d: -f1) ||
      package=$(dpkg-query -S "$file" | head -n 1 | cut -d: -f1)
    [[ -n "$package" ]] || fail "no package of this system owns $file, so the licence of $component is not known"
    if [[ "$component" == boost ]]; then  # Its list of authors, file by file, is 2 MB; the licence is one for all.
      awk -v RS= '/^License: BSL-1.0/ && /Permission is hereby granted/ { print; exit }' \
        "/usr/share/doc/$package/copyright" >"$stage/licenses/boost.txt"
    else
      cp "/usr/share/doc/$package/copyright" "$stage/licenses/$component.txt"
    fi
    [[ -s "$stage/licenses/$component.txt" ]] || fail "the licence of $component is not in /usr/share/doc/$package"
  done < <(components)
  for file in Apache-2.0 GPL-2 GPL-3 LGPL-2.1 LGPL-3; do  # Texts that those only refer to.
    cp "/usr/share/common-licenses/$file" "$stage/licenses/common/"
  done
  if [[ -f "$bin/libdnnl.so.3" ]]; then
    cp build/python-onednn/share/doc/onednn/LICENSE "$stage/licenses/onednn.txt"
    cp build/python-onednn/share/doc/onednn/THIRD-PARTY-PROGRAMS "$stage/licenses/onednn-third-party.txt"
  fi
}

build_programs
version=$("$build/portable/potluck" --version)
version=${version#potluck }
stage_programs
stage_kernels
stage_licenses
# Modes are what a package has, whatever this user's umask is.
find "$stage/wheel" -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
chmod 755 "$bin/potluck"
mkdir -p "$stage/out" "$out"
wheel=$(python3 deploy/make_wheel.py --stage "$stage/wheel" --version "$version" --licenses "$stage/licenses" \
  --out "$stage/out")
deploy/check_bundle.sh "$wheel" >&2

# One wheel: whoever looks into the folder finds this version.
rm -rf "$out"/potluck-*.whl "$out/potluck"
mv "$stage/wheel/potluck" "$out/potluck"
mv "$wheel" "$out/"
say "$(du -h "$out/${wheel##*/}" | cut -f1) wheel, $(du -h "$out/potluck/bin/potluck" | cut -f1) program"
printf '%s\n' "$out/${wheel##*/}"
