#!/usr/bin/env bash
# Does what deploy/Dockerfile says, line by line, in a bare Debian 12 without a container engine, and runs what came out
# as the image would be run: as its user, by its entry point.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/root.sh"

the_wheel >/dev/null
copy_root debian-12
user=root folder=/ entry=()
declare -a environment=()

copy() {  # FROM TO, of folders their contents, as COPY does. FROM may be a pattern, TO/ is a folder.
  local -a files
  mapfile -t files < <(compgen -G "$repository/$1")
  ((${#files[@]} > 0)) || fail "there is nothing at $1, which deploy/Dockerfile copies"
  mkdir -p "$root$(dirname "$2/x")"
  if [[ -d "${files[0]}" ]]; then
    cp -R "${files[0]}/." "$root$2"
  else
    [[ "$2" == */ ]] || rmdir "$root$2"
    cp "${files[@]}" "$root$2"
  fi
}

while read -r word rest; do
  case "$word" in
    '' | '#'*) ;;
    FROM) [[ "$rest" == debian:12* ]] || fail "the image is made from $rest; this test has a bare Debian 12" ;;
    COPY) read -r from to <<<"$rest" && copy "$from" "$to" ;;
    RUN) inside sh -c "$rest" ;;
    ENV) environment+=("$rest") ;;
    USER) user=$rest ;;
    WORKDIR) folder=$rest ;;
    VOLUME) [[ -d "$root$rest" ]] || fail "$rest is no folder of the image" ;;
    ENTRYPOINT) mapfile -t entry < <(python3 -c 'import json, sys; print(*json.loads(sys.argv[1]), sep="\n")' "$rest") ;;
    *) fail "deploy/Dockerfile has a line that this test does not know: $word $rest" ;;
  esac
done <"$repository/deploy/Dockerfile"

[[ "$user" != root && ${#entry[@]} -gt 0 ]] || fail "the image runs as $user, by ${entry[*]:-nothing}"
run() {
  inside setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs \
    env "${environment[@]}" HOME="$folder" sh -c 'cd "$0" && exec "$@"' "$folder" "${entry[@]}" "$@"
}
[[ "$(inside setpriv --reuid="$user" --regid="$user" --clear-groups id -u)" != 0 ]] || fail "$user is root"
result=$(run nqueens 12 --local-workers 1 --threads 2 --json)
expect_json solutions 14200 "$result"
# A run in its volume, with files that it writes there.
run data synth digits --samples 10 --test 10 >/dev/null
[[ -f "$root/var/lib/potluck/digits/train-images-idx3-ubyte" ]] || fail "it wrote nothing into its volume"
[[ "$(stat -c %a "$root/var/lib/potluck")" == 700 ]] || fail "others can read the state"
compgen -G "$root/opt/potluck/bin/potluck-*.whl" >/dev/null || fail "a coordinator in it has no bundle for notebooks"
printf 'the image counts\n'
