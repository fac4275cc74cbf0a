#!/bin/sh
# timescaledb_tree.sh DIR: a minimal Debian 13 tree in DIR with PostgreSQL 17 and TimescaleDB (Apache-2 edition) in it, to run
# a real TimescaleDB under chroot where there is no Docker. About 40 s and 0.7 GB; a finished tree is left as it is.
# Needs root. The mirror is the machine's own: the first Debian archive in its apt sources.
# Exit code 3: this machine cannot (the reason is the last line on stderr).
set -eu
tree=$1
suite=trixie
cannot() { echo "timescaledb_tree: $*" >&2; exit 3; }

[ -e "$tree/.complete" ] && exit 0
[ "$(id -u)" = 0 ] || cannot "needs root for debootstrap and chroot"
command -v apt-get >/dev/null || cannot "needs a machine with apt"

mirror=$(apt-get indextargets --format '$(SITE) $(COMPONENT) $(CREATED_BY)' 2>/dev/null \
  | awk '$2 == "main" && $3 == "Packages" && $1 ~ /debian\/?$/ { print $1; exit }')
[ -n "$mirror" ] || cannot "found no Debian archive in this machine's apt sources"

if ! command -v debootstrap >/dev/null; then
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends debootstrap debian-archive-keyring; } >/dev/null 2>&1 \
      || cannot "could not install debootstrap"
fi

rm -rf "$tree"
mkdir -p "$tree"
log="$tree.log"
# Without these no daemon is started while packages are set up, and no documentation is unpacked.
debootstrap --variant=minbase --include=ca-certificates "$suite" "$tree" "$mirror" >"$log" 2>&1 \
  || cannot "debootstrap failed, see $log"
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
chmod +x "$tree/usr/sbin/policy-rc.d"
mkdir -p "$tree/etc/dpkg/dpkg.cfg.d" "$tree/etc/postgresql-common"
printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' \
  >"$tree/etc/dpkg/dpkg.cfg.d/slim"
# The package would make a cluster of its own; the tests make theirs.
echo 'create_main_cluster = false' >"$tree/etc/postgresql-common/createcluster.conf"
# apt inside the tree fetches as apt outside does (certificates, proxies, date checks).
apt-config dump --format '%F "%v";%n' Acquire >"$tree/etc/apt/apt.conf.d/99-as-outside"
DEBIAN_FRONTEND=noninteractive chroot "$tree" apt-get install -qq -y --no-install-recommends \
    postgresql-17 postgresql-17-timescaledb >>"$log" 2>&1 || cannot "could not install PostgreSQL in the tree, see $log"
chroot "$tree" apt-get clean
rm -rf "$tree"/var/lib/apt/lists/*
touch "$tree/.complete"
