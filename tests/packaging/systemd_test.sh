#!/usr/bin/env bash
# systemd accepts the units of deploy/systemd, and they hold no secret: join strings come from files.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/root.sh"

units=("$repository"/deploy/systemd/*.service)
! grep -n 'potluck://' "${units[@]}" || fail "a join string stands in a unit"
command -v systemd-analyze >/dev/null || skip "systemd-analyze is missing (package systemd)"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for unit in "${units[@]}"; do  # With a program that is here: whether it is installed is not what is looked at.
  sed 's|^ExecStart=/usr/local/bin/potluck|ExecStart=/bin/true|' "$unit" >"$scratch/$(basename "${unit/@./@home.}")"
done
output=$(systemd-analyze verify --man=no "$scratch"/*.service 2>&1) || fail "systemd-analyze verify: $output"
# It warns of what it does not know, and succeeds.
! grep -F "$scratch" <<<"$output" || fail "systemd-analyze verify complains (above)"
for unit in "$scratch"/*.service; do
  systemd-analyze security --offline=yes --threshold=40 --no-pager "$unit" | tail -n 1
done
