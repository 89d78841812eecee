#!/usr/bin/env bash
# On Debian 11, whose glibc is 2.31, nobody is left with a riddle: pip refuses the wheel, the loader the program, and the
# package says in one sentence why. The package's own tests pass there with Python 3.9, the oldest that it supports.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/root.sh"

wheel=$(the_wheel)
copy_root debian-11
mkdir -p "$root/opt"
cp "$wheel" "$root/opt/"
python3 -m zipfile -e "$wheel" "$root/opt/wheel"
chmod 755 "$root/opt/wheel/potluck/bin/potluck"

# expect_failure TEXT COMMAND...: it fails, and says TEXT (a regular expression).
expect_failure() {
  local text=$1 output status=0
  shift
  output=$(inside "$@" 2>&1) || status=$?
  ((status != 0)) || fail "$* did not fail; it said: $output"
  grep -Eq -- "$text" <<<"$output" || fail "$* did not say \"$text\" but: $output"
  printf '%s: %s\n' "${*:1:3}" "$(grep -E -- "$text" <<<"$output" | tail -n 1)"
}

sentence='needs glibc 2\.35 or later, and this system has 2\.31'
expect_failure 'is not a supported wheel on this platform' \
  python3 -m pip install --no-index --no-deps "/opt/${wheel##*/}"
expect_failure "version .GLIBC_2\.3[2-5]' not found" /opt/wheel/potluck/bin/potluck --version
expect_failure "ImportError: .*$sentence" env PYTHONPATH=/opt/wheel python3 -c 'import potluck'
# The script that an installer would have made, as a home folder shared with newer machines brings it along.
printf '#!/usr/bin/python3\nimport sys\nfrom potluck._main import main\nsys.exit(main())\n' >"$root/usr/local/bin/potluck"
chmod 755 "$root/usr/local/bin/potluck"
expect_failure "^potluck: .*$sentence" env PYTHONPATH=/opt/wheel potluck nqueens 8

mkdir -p "$root/opt/python"
cp -r "$repository/deploy/python/potluck" "$repository/deploy/python/tests" "$root/opt/python/"
inside env PYTHONPATH=/opt/python PYTHONDONTWRITEBYTECODE=1 python3 /opt/python/tests/package_test.py
