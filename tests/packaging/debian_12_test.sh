#!/usr/bin/env bash
# The wheel's program runs on a bare Debian 12, with no package but those that every system has: it counts, and it trains
# with its CPU plug-in, whose libraries lie beside it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/root.sh"

wheel=$(the_wheel)
copy_root debian-12
python3 -m zipfile -e "$wheel" "$root/opt/wheel"
chmod 755 "$root/opt/wheel/potluck/bin/potluck"
program=/opt/wheel/potluck/bin/potluck

for library in libgrpc++.so libgomp.so libprotobuf.so libssl.so.3; do
  [[ -z "$(find "$root/usr" -name "$library*" -print -quit)" ]] || fail "$library is there: this shows nothing"
done
inside "$program" --version
result=$(inside "$program" nqueens 12 --local-workers 1 --threads 2 --json)
expect_json solutions 14200 "$result"

inside "$program" data synth /tmp/digits --samples 256 --test 64 >/dev/null
result=$(inside "$program" train mnist-cnn --data /tmp/digits --out /tmp/run --local-workers 1 --threads 2 --max-steps 2 \
  --batch 64 --json)
expect_json steps 2 "$result"
if [[ -f "$root/opt/wheel/potluck/bin/libpotluck_onednn.so" ]] && grep -qw avx2 /proc/cpuinfo; then
  [[ "$result" == *onednn* ]] || fail "the CPU plug-in was not used: $result"
fi
printf 'a bare Debian 12 counts and trains\n'
