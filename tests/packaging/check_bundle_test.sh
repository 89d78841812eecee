#!/usr/bin/env bash
# deploy/check_bundle.sh finds what is wrong with a wheel: the ordinary build's program in it, and a file that is missing.
#
#   check_bundle_test.sh PROGRAM    the program of the ordinary build, which is linked to shared libraries
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/root.sh"

wheel=$(the_wheel)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 - "$wheel" "$1" "$scratch/wrong.whl" <<'END'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as right, zipfile.ZipFile(sys.argv[3], "w") as wrong:
    for name in right.namelist():
        if name == "potluck/bin/potluck":
            wrong.write(sys.argv[2], name)
        elif name not in ("potluck/bin/libgomp.so.1", "potluck/bin/libpotluck_cuda.so"):
            wrong.writestr(name, right.read(name))
END
status=0
output=$("$repository/deploy/check_bundle.sh" "$scratch/wrong.whl" 2>&1) || status=$?
((status == 1)) || fail "it ended with $status: $output"
for sentence in 'potluck needs libgrpc++.so' 'potluck needs libssl.so.3' 'potluck is not stripped' \
  'libgomp.so.1 is not in the wheel' 'libpotluck_cuda.so is not in the wheel'; do
  grep -q "$sentence" <<<"$output" || fail "it did not find \"$sentence\" but: $output"
done
printf '%s\n' "$output"
