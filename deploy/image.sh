#!/bin/sh
# The steps of deploy/Dockerfile inside the image: a user for Potluck, its folder for state, its name on the path. The
# tests run them in a root folder without a container engine. For a POSIX shell: a minimal base has no bash.
#
#   image.sh FOLDER    FOLDER holds bin/potluck
set -eu

folder=${1:?usage: image.sh FOLDER}
chmod 755 "$folder/bin/potluck"
ln -sf "$folder/bin/potluck" /usr/local/bin/potluck

# A number that is not likely to be a person's, the same in every image: volumes belong to it.
groupadd --gid 10042 potluck
useradd --no-create-home --uid 10042 --gid potluck --home-dir /var/lib/potluck --shell /usr/sbin/nologin potluck
install -d -m 700 -o potluck -g potluck /var/lib/potluck
potluck --version
