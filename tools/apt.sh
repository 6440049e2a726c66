#!/usr/bin/env bash
# Installs what the tests want from the system's packages: PostgreSQL 15, the oldest server Perdure supports.
# Does nothing where it stands already. Where it can't be installed, the tests on it are skipped, or, with
# PERDURE_CI=1, this script fails.
set -euo pipefail

server=/usr/lib/postgresql/15/bin/postgres
[ -x "$server" ] && exit 0

give_up() {
    echo "tools/apt.sh: PostgreSQL 15 is not installed: $1" >&2
    [ "${PERDURE_CI:-}" = 1 ] && exit 1
    echo "tools/apt.sh: the tests on PostgreSQL 15 will be skipped" >&2
    exit 0
}

command -v apt-get >/dev/null || give_up "this machine has no apt-get; install it by hand"
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    give_up "installing needs root; run: sudo apt-get install postgresql-15"
fi

install() { DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }

"${as_root[@]}" apt-get update -qq || echo "tools/apt.sh: apt-get update failed; trying with the lists as they are" >&2
# The package would start a server of its own on port 5432: the tests want the programs alone.
install postgresql-common || give_up "apt-get install postgresql-common failed"
settings=/etc/postgresql-common/createcluster.conf
"${as_root[@]}" sed -i "s/^#\?create_main_cluster.*/create_main_cluster = false/" "$settings" || give_up "can't write $settings"
install postgresql-15 || give_up "apt-get install postgresql-15 failed"
[ -x "$server" ] || give_up "$server is missing after the installation"
