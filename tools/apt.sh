#!/usr/bin/env bash
# Installs what the tests want from the system's packages: PostgreSQL 15, the oldest server Perdure supports, and
# PgBouncer. Does nothing where both stand already. What can't be installed leaves its tests skipped, or, with
# PERDURE_CI=1, makes this script fail.
set -euo pipefail

server=/usr/lib/postgresql/15/bin/postgres
bouncer() { PATH="$PATH:/usr/sbin:/usr/local/sbin:/sbin" command -v pgbouncer >/dev/null; }
[ -x "$server" ] && bouncer && exit 0

give_up() {
    echo "tools/apt.sh: PostgreSQL 15 and PgBouncer are not both installed: $1" >&2
    [ "${PERDURE_CI:-}" = 1 ] && exit 1
    echo "tools/apt.sh: the tests on what is missing will be skipped" >&2
    exit 0
}

command -v apt-get >/dev/null || give_up "this machine has no apt-get; install them by hand"
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    give_up "installing needs root; run: sudo apt-get install postgresql-15 pgbouncer"
fi

install() { DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }

"${as_root[@]}" apt-get update -qq || echo "tools/apt.sh: apt-get update failed; trying with the lists as they are" >&2
# Both packages would start a service of their own: the tests want the programs alone.
if [ ! -x "$server" ]; then
    install postgresql-common || give_up "apt-get install postgresql-common failed"
    settings=/etc/postgresql-common/createcluster.conf
    "${as_root[@]}" sed -i "s/^#\?create_main_cluster.*/create_main_cluster = false/" "$settings" || give_up "can't write $settings"
    install postgresql-15 || give_up "apt-get install postgresql-15 failed"
    [ -x "$server" ] || give_up "$server is missing after the installation"
fi
if ! bouncer; then
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null && "${as_root[@]}" chmod 755 "$policy"
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
    fi
    install pgbouncer || give_up "apt-get install pgbouncer failed"
fi
