#!/usr/bin/env bash
# Runs a link command with shared libraries replaced by their static twins, where there are some (Portable.cmake).
#
#   link_static.sh COMPILER ARGUMENT...
#
# What links oneDNN shares its OpenMP, which is then left as it is.
set -euo pipefail

keeps_openmp=0
for argument in "$@"; do
  if [[ "$argument" == */libdnnl.so* ]]; then
    keeps_openmp=1
  fi
done

# static_twin ARGUMENT: the file to link instead; fails if there is none. glibc's own libraries have to stay shared.
static_twin() {
  local twin
  case "$1" in
    -lc | -lm | -ldl | -lrt | -lpthread) return 1 ;;
    -l*) twin=$("$compiler" "-print-file-name=lib${1#-l}.a") ;;
    */libgomp.so*)
      ((keeps_openmp == 0)) || return 1
      twin="${1%%.so*}.a"
      ;;
    /*.so | /*.so.*) twin="${1%%.so*}.a" ;;
    *) return 1 ;;
  esac
  [[ "$twin" == /* && -f "$twin" ]] || return 1
  printf '%s' "$twin"
}

readonly compiler=$1
command=()
for argument in "$@"; do
  command+=("$(static_twin "$argument" || printf '%s' "$argument")")
done
exec "${command[@]}"
