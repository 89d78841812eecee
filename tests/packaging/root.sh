# For the scripts beside it: a bare system in a folder, and commands inside it. Source it.
#
# deploy/setup.sh --ci makes build/roots/debian-12 and debian-11 with debootstrap. A test works in a copy, which it
# removes; what it mounts there is seen by itself alone and goes with it.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

readonly kSkipped=77  # What ctest takes for "skipped" (SKIP_RETURN_CODE).

skip() {
  printf 'skipped: %s\n' "$*"
  exit "$kSkipped"
}

fail() {
  printf 'FAILED: %s\n' "$*"
  exit 1
}

the_wheel() {
  local wheel
  wheel=$(find "$repository/dist" -maxdepth 1 -name 'potluck-*.whl' | head -n 1)
  [[ -n "$wheel" ]] || fail "there is no wheel in dist/; deploy/package.sh makes it"
  printf '%s' "$wheel"
}

# copy_root NAME: sets `root` to a copy of build/roots/NAME.
copy_root() {
  local original="$repository/build/roots/$1"
  ((EUID == 0)) || skip "only root can enter another root folder"
  [[ -f "$original/.potluck-complete" ]] ||
    skip "there is no $1 in build/roots; deploy/setup.sh --ci makes it with debootstrap where it can reach a mirror"
  unshare --mount true 2>/dev/null || skip "this machine does not let mount anything"
  root=$(mktemp -d "$repository/build/roots/run.XXXXXX")
  trap 'rm -rf "$root"' EXIT
  cp -a --reflink=auto "$original/." "$root"
  chmod 755 "$root"
}

# inside COMMAND...: in the root folder, with its own /proc and process numbers. Standard input is empty.
inside() {
  # shellcheck disable=SC2016
  unshare --mount --pid --fork --kill-child bash -c \
    'mount --make-rprivate / && mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" &&
     exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 chroot "$0" "$@"' \
    "$root" "$@" </dev/null
}

# expect_json NAME VALUE JSON
expect_json() {
  python3 - "$@" <<'END' || fail "$1 is not $2 in: $3"
import json, sys
sys.exit(str(json.loads(sys.argv[3])[sys.argv[1]]) != sys.argv[2])
END
}
