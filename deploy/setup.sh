#!/usr/bin/env bash
# Installs what Potluck is built from on Debian 12 or Ubuntu 24.04, and only what is missing.
#
#   deploy/setup.sh          what demo.sh and test.sh need
#   deploy/setup.sh --ci     also what .ci/run needs: clang; bare Debian 12 and 11 to try the bundle in (build/roots); the
#                            proxies that the tests of docs/reach.md run (build/proxies); and Jupyter for the notebooks'
#                            tests (build/python-notebooks)
#   POTLUCK_NO_CUDA=1        do not fetch the GPU compiler (NVRTC)
#   POTLUCK_NO_ONEDNN=1      do not fetch oneDNN, which the CPU plug-in is built with
#   POTLUCK_DEBIAN_MIRROR    with --ci: where debootstrap gets Debian from, instead of deb.debian.org
#
# Nothing to install: says so and needs no root. All messages go to standard error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

with_ci=0
case "${1:-}" in
  '') ;;
  --ci) with_ci=1 ;;
  *) fail "unknown argument '$1'; allowed: --ci" ;;
esac

# NVRTC compiles the GPU kernels to machine code without an installed CUDA toolkit or a GPU.
readonly nvrtc_packages=(
  nvidia-cuda-nvrtc-cu12==12.8.93
  nvidia-cuda-runtime-cu12==12.8.90
  nvidia-cuda-nvcc-cu12==12.8.93
  nvidia-cuda-cccl-cu12==12.9.27
)
readonly nvrtc_folder=build/python
readonly nvrtc_stamp="$nvrtc_folder/.potluck-stamp"

# oneDNN 3.2, with GCC's OpenMP: one package has the library, the other its headers.
readonly onednn_packages=(onednn-cpu-gomp==2023.2.0 onednn-devel-cpu-gomp==2023.2.0)
readonly onednn_digests=" 2f22a54d6a890ed14bfa185d42a4be65d8b5b1df85dc1f0f3a9abe31620416fb \
9763c69e8c907e119056bd52ad918ca84ac9ba939d130a99dfa95ccca3e5e284 "  # SHA-256 of the wheels.
readonly onednn_folder=build/python-onednn
readonly onednn_stamp="$onednn_folder/.potluck-stamp"

# What stands between a worker and its coordinator in tests. Unpacked here, not installed: installed, their services
# would be started, now or at the next boot.
readonly proxy_packages=(socat nginx-light haproxy tinyproxy)
readonly proxy_folder=build/proxies
readonly proxy_stamp="$proxy_folder/.potluck-stamp"

# Jupyter without its server: kernels, and what executes notebooks in them.
readonly notebook_packages=(
  nbclient==0.11.0
  nbformat==5.11.1
  ipykernel==7.4.0
  jupyter_client==8.10.0
  matplotlib==3.11.2
)
readonly notebook_folder=build/python-notebooks
readonly notebook_stamp="$notebook_folder/.potluck-stamp"

installed() {
  [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

distribution() {
  # shellcheck source=/dev/null
  (. /etc/os-release && printf '%s %s' "${ID:-unknown}" "${VERSION_ID:-}") 2>/dev/null || printf 'unknown'
}

# Boost's headers: 1.81 or later. Debian 12 has 1.81 beside its default 1.74, which cannot compile Asio as C++20.
boost_package() {
  local package version
  while read -r package version; do
    if dpkg --compare-versions "$version" ge 1.81 && installed "$package"; then
      printf '%s' "$package"
      return
    fi
  done < <(dpkg-query -W -f '${Package} ${Version}\n' 'libboost1.*-dev' 2>/dev/null)
  if [[ "$(distribution)" == "debian 12" ]]; then
    printf 'libboost1.81-dev'
  else
    printf 'libboost-dev'
  fi
}

# The default clang of Debian 12 is 14: no standard coroutines. Its OpenMP headers and library exclude those of every
# other version, so that whichever is installed serves (cmake/Clang.cmake).
clang_packages() {
  local version=""
  if [[ "$(distribution)" == "debian 12" ]]; then
    version=-16
  fi
  printf 'clang%s\n' "$version"
  if ! compgen -G '/usr/lib/llvm-*/lib/clang/*/include/omp.h' >/dev/null; then
    printf 'libomp%s-dev\n' "$version"
  fi
}

wanted_packages() {
  printf '%s\n' \
    g++ cmake ninja-build ccache ca-certificates \
    protobuf-compiler protobuf-compiler-grpc libgrpc++-dev libprotobuf-dev libabsl-dev "$(boost_package)" \
    libspdlog-dev libfmt-dev nlohmann-json3-dev libcli11-dev libssl-dev libsqlite3-dev zlib1g-dev \
    libgtest-dev libgmock-dev python3
  if [[ -z "${POTLUCK_NO_CUDA:-}" ]] || wants_onednn; then
    printf 'python3-pip\n'
  fi
  if ((with_ci)); then
    clang_packages
    printf '%s\n' binutils debootstrap debian-archive-keyring openssl python3-venv systemd
  fi
}

install_packages() {
  local -a missing=("$@")
  # --no-remove: stop rather than take away a package that something else here needs.
  local -a install=(apt-get install -y --no-install-recommends --no-remove "${missing[@]}")
  local -a as_root=(env DEBIAN_FRONTEND=noninteractive)
  local hint=""
  if [[ " ${missing[*]} " == *" libboost1.81-dev "* ]] && installed libboost1.74-dev; then
    hint="libboost1.74-dev is installed and excludes libboost1.81-dev: leave out --no-remove to replace it. "
  fi

  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null || { [[ ! -t 0 ]] && ! sudo -n true 2>/dev/null; }; then
      fail "these packages are missing and only root can install them: ${missing[*]}." \
        "${hint}As root, run: apt-get update && ${install[*]}"
    fi
    as_root=(sudo env DEBIAN_FRONTEND=noninteractive)
  fi

  say "installing with apt-get: ${missing[*]}"
  # A package list that cannot be refreshed is no reason to stop: the install below decides.
  "${as_root[@]}" apt-get update -q >&2 || say "apt-get update failed (see above); trying with the lists there are"
  "${as_root[@]}" "${install[@]}" >&2 ||
    fail "apt-get could not install the packages (see above). ${hint}To try by hand, as root: ${install[*]}"
}

# Without an index, or without a wheel for this machine, the build goes on without NVRTC.
fetch_nvrtc() {
  local partial=build/python.partial log=build/python.log
  say "fetching the GPU compiler NVRTC 12.8 from the Python package index (about 130 MB) into $nvrtc_folder"
  mkdir -p build
  rm -rf "$partial"
  if ! python3 -m pip install --no-deps --only-binary :all: --quiet --disable-pip-version-check --no-input \
    --retries 1 --timeout 30 --target "$partial" "${nvrtc_packages[@]}" >"$log" 2>&1; then
    rm -rf "$partial"
    say "could not fetch NVRTC (the reason is in $log): the build goes on, with the GPU plug-in only if nvcc is found"
    return
  fi
  printf '%s\n' "${nvrtc_packages[@]}" >"$partial/$(basename "$nvrtc_stamp")"
  rm -rf "$nvrtc_folder"
  mv "$partial" "$nvrtc_folder"
  rm -f "$log"
}

# The wheels' own data folders are what is wanted; `pip --target` leaves lib/ out, so they are unpacked here.
unpack_onednn() {
  local partial=$1 wheel
  python3 -m pip download --no-deps --only-binary :all: --quiet --disable-pip-version-check --no-input \
    --retries 1 --timeout 30 --dest "$partial" "${onednn_packages[@]}" || return 1
  for wheel in "$partial"/*.whl; do
    if [[ "$onednn_digests" != *" $(sha256sum "$wheel" | cut -d' ' -f1) "* ]]; then
      printf '%s is not the file that was expected: its SHA-256 is another\n' "$wheel"
      return 1
    fi
    python3 -m zipfile -e "$wheel" "$partial" || return 1
    cp -r "$partial"/*.data/data/. "$partial"/ || return 1
    rm -rf "$wheel" "$partial"/*.data
  done
  [[ -f "$partial/lib/libdnnl.so.3" && -f "$partial/include/oneapi/dnnl/dnnl.hpp" ]] || return 1
  rm -f "$partial"/lib/libdnnl.so "$partial"/lib/libdnnl.so.3.*  # Copies: wheels hold no links.
}

# Without an index, or without a wheel for this machine, the build goes on without the CPU plug-in.
fetch_onednn() {
  local partial=build/python-onednn.partial log=build/python-onednn.log
  say "fetching oneDNN 3.2 from the Python package index (about 40 MB) into $onednn_folder"
  mkdir -p build
  rm -rf "$partial"
  if ! unpack_onednn "$partial" >"$log" 2>&1; then
    rm -rf "$partial"
    say "could not fetch oneDNN (the reason is in $log): the build goes on without the CPU plug-in;" \
      "networks are then trained by portable kernels, which are slower"
    return
  fi
  printf '%s\n' "${onednn_packages[@]}" >"$partial/$(basename "$onednn_stamp")"
  rm -rf "$onednn_folder"
  mv "$partial" "$onednn_folder"
  rm -f "$log"
}

# A program that is installed already serves as it is.
proxy_installed() {
  local name=${1%-light}
  PATH="$PATH:/usr/sbin" command -v "$name" >/dev/null
}

# With what they depend on and is missing here. Tests whose proxy is not there are skipped, and say so.
fetch_proxies() {
  local partial=build/proxies.partial log=build/proxies.log package
  local -a packages=()
  say "fetching with apt-get, into $proxy_folder, what the tests of docs/reach.md run: $*"
  rm -rf "$partial"
  mkdir -p "$partial/packages"
  mapfile -t packages < <(apt-get install -s --no-install-recommends "$@" 2>"$log" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
  # As whoever calls: apt's own user may not write here.
  if ((${#packages[@]} == 0)) ||
    ! (cd "$partial/packages" && apt-get -o APT::Sandbox::User="$(id -un)" download "${packages[@]}") >>"$log" 2>&1; then
    rm -rf "$partial"
    say "could not fetch them (the reason is in $log): tests that need them are skipped"
    return
  fi
  for package in "$partial"/packages/*.deb; do
    dpkg-deb -x "$package" "$partial" >>"$log" 2>&1 || say "$(basename "$package") could not be unpacked (see $log)"
  done
  rm -rf "$partial/packages" "$proxy_folder"
  touch "$partial/$(basename "$proxy_stamp")"
  mv "$partial" "$proxy_folder"
  rm -f "$log"
}

# Without an index the notebooks' tests are skipped.
fetch_notebooks() {
  local log=build/python-notebooks.log
  say "fetching Jupyter's kernel and nbclient from the Python package index (about 60 MB) into $notebook_folder"
  mkdir -p build
  rm -rf "$notebook_folder"
  if ! { python3 -m venv "$notebook_folder" &&
    "$notebook_folder/bin/python" -m pip install --only-binary :all: --quiet --disable-pip-version-check --no-input \
      --retries 1 --timeout 30 "${notebook_packages[@]}"; } >"$log" 2>&1; then
    rm -rf "$notebook_folder"
    say "could not fetch Jupyter (the reason is in $log): the tests of notebooks are skipped"
    return
  fi
  printf '%s\n' "${notebook_packages[@]}" >"$notebook_stamp"
  rm -f "$log"
}

notebooks_fetched() {
  [[ -f "$notebook_stamp" && "$(cat "$notebook_stamp")" == "$(printf '%s\n' "${notebook_packages[@]}")" ]]
}

wants_onednn() {
  [[ -z "${POTLUCK_NO_ONEDNN:-}" && "$(uname -m)" == x86_64 ]]
}

onednn_fetched() {
  [[ -f "$onednn_stamp" && "$(cat "$onednn_stamp")" == "$(printf '%s\n' "${onednn_packages[@]}")" ]]
}

nvrtc_fetched() {
  [[ -f "$nvrtc_stamp" && "$(cat "$nvrtc_stamp")" == "$(printf '%s\n' "${nvrtc_packages[@]}")" ]]
}

# make_root NAME SUITE PACKAGES: a bare system in build/roots/NAME. Without one the tests that run in it are skipped.
make_root() {
  local root="build/roots/$1" log="build/roots/$1.log"
  mkdir -p build/roots
  rm -rf "$root"
  say "making a bare $1 in $root with debootstrap (some minutes, 200 MB)"
  if ! debootstrap --variant=minbase ${3:+"--include=$3"} \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$2" "$root" "$mirror" >"$log" 2>&1; then
    rm -rf "$root"
    say "could not make it (the reason is in $log): the tests that run in it will be skipped"
    return
  fi
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$log"
  touch "$root/.potluck-complete"
}

# Oldest first: the one that the bundle is refused by, then the one that it runs on.
make_roots() {
  local mirror=${POTLUCK_DEBIAN_MIRROR:-http://deb.debian.org/debian}
  [[ -f build/roots/debian-11/.potluck-complete ]] || make_root debian-11 bullseye python3-pip
  [[ -f build/roots/debian-12/.potluck-complete ]] || make_root debian-12 bookworm ''
}

wants_roots() {
  ((with_ci)) && [[ "$(uname -m)" == x86_64 ]] &&
    [[ ! -f build/roots/debian-11/.potluck-complete || ! -f build/roots/debian-12/.potluck-complete ]]
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  fail "this script installs packages with apt-get (Debian 12, Ubuntu 24.04), which is not here." \
    "deploy/README.md lists what to install on other systems."
fi

missing=()
while read -r package; do
  installed "$package" || missing+=("$package")
done < <(wanted_packages)

changed=0
if ((${#missing[@]} > 0)); then
  install_packages "${missing[@]}"
  changed=1
fi
if [[ -z "${POTLUCK_NO_CUDA:-}" ]] && ! nvrtc_fetched; then
  fetch_nvrtc
  changed=1
fi
if wants_onednn && ! onednn_fetched; then
  fetch_onednn
  changed=1
fi
if wants_roots; then
  if ((EUID == 0)); then
    make_roots
    changed=1
  else
    say "only root can make the bare systems of build/roots: the tests that run in them will be skipped"
  fi
fi
if ((with_ci)) && [[ ! -f "$proxy_stamp" ]]; then
  proxies=()
  for package in "${proxy_packages[@]}"; do
    proxy_installed "$package" || proxies+=("$package")
  done
  if ((${#proxies[@]} > 0)); then
    fetch_proxies "${proxies[@]}"
    changed=1
  fi
fi
if ((with_ci)) && ! notebooks_fetched; then
  fetch_notebooks
  changed=1
fi
((changed)) || say "all that is needed is installed"
