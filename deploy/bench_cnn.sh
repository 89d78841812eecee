#!/usr/bin/env bash
# Compares training steps of the paper's network: Potluck, PyTorch and TensorFlow, in turn on the same cores.
#
#   deploy/bench_cnn.sh [--rounds R] [--seconds S] [--threads T] [--batch B] [--precision fp32|bf16] [--data DIR]
#                       [--torch PYTHON] [--tensorflow PYTHON] [--potluck PROGRAM]
#
# PYTHON is a Python that has the package: it runs deploy/torch_cnn.py or deploy/tf_cnn.py ("PYTHON SCRIPT": that script
# instead, called as `PYTHON SCRIPT speed --threads T --precision P --batch B --seconds S`; it prints one JSON object with
# images_per_second). What is not given is left out. The memory
# allocator libtcmalloc is preloaded for both where it is found, as it is faster there. The best of all rounds counts;
# it is only worth something on a machine that does nothing else. Writes a table, and on standard error what each round
# gave.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'bench_cnn: %s\n' "$*" >&2
  exit 1
}

rounds=3 seconds=5 threads=2 batch=128 precision=fp32 data="" torch="" tensorflow="" potluck=build/release/potluck
while (($# > 0)); do
  (($# > 1)) || fail "'$1' needs a value"
  case "$1" in
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --threads) threads=$2 ;;
    --batch) batch=$2 ;;
    --precision) precision=$2 ;;
    --data) data=$2 ;;
    --torch) torch=$2 ;;
    --tensorflow) tensorflow=$2 ;;
    --potluck) potluck=$2 ;;
    *) fail "unknown argument '$1'; see the head of this script" ;;
  esac
  shift 2
done
[[ -x "$potluck" ]] || fail "there is no program $potluck; build it first (deploy/demo.sh does)"

preload=""
for library in /usr/lib/*/libtcmalloc_minimal.so.4 /usr/lib/*/libtcmalloc.so.4; do
  [[ -e "$library" ]] && preload=$library && break
done
[[ -n "$preload" ]] || printf 'bench_cnn: libtcmalloc is not installed: PyTorch is slower without it\n' >&2

# rate JSON: the number of the first of these fields that it has.
rate() {
  python3 -c 'import json, sys
value = json.loads(sys.argv[1].strip().splitlines()[-1])
print("%.1f" % value.get("training", value)["images_per_second"])' "$1"
}

declare -A best=()
measure() {
  local name=$1 output value
  shift
  output=$("$@" 2>/dev/null) || fail "$name failed: $*"
  value=$(rate "$output")
  printf '%-12s %8.1f images/s (load %s)\n' "$name" "$value" "$(cut -d' ' -f1 /proc/loadavg)" >&2
  if [[ -z "${best[$name]:-}" ]] || python3 -c 'import sys; sys.exit(float(sys.argv[1]) <= float(sys.argv[2]))' \
    "$value" "${best[$name]}"; then
    best[$name]=$value
  fi
}

common=(--threads "$threads" --precision "$precision" --batch "$batch" --seconds "$seconds")
own=("$potluck" bench cnn "${common[@]}" --json)
[[ -z "$data" ]] || own+=(--data "$data")
for ((round = 1; round <= rounds; ++round)); do
  printf 'round %d of %d\n' "$round" "$rounds" >&2
  measure Potluck "${own[@]}"
  if [[ -n "$torch" ]]; then
    read -r -a command <<<"$torch"
    ((${#command[@]} > 1)) || command+=(deploy/torch_cnn.py)
    measure PyTorch env LD_PRELOAD="$preload" "${command[@]}" speed "${common[@]}"
  fi
  if [[ -n "$tensorflow" ]]; then
    measure TensorFlow env LD_PRELOAD="$preload" "$tensorflow" deploy/tf_cnn.py "${common[@]}"
  fi
done

printf '%s, batch %d, %d threads, best of %d rounds\n' "$precision" "$batch" "$threads" "$rounds"
for name in Potluck PyTorch TensorFlow; do
  [[ -n "${best[$name]:-}" ]] || continue
  python3 -c 'import sys
print("%-12s %8.1f images/s   Potluck is %.2f x" % (sys.argv[1], float(sys.argv[2]), float(sys.argv[3]) / float(sys.argv[2])))' \
    "$name" "${best[$name]}" "${best[Potluck]}"
done
