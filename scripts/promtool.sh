#!/bin/sh
# promtool.sh DIR: Prometheus' promtool in DIR, out of Debian's package `prometheus`; nothing is installed, no service started.
# The package comes from this machine's own apt sources. About 20 MB fetched, 50 MB kept; one that is there is left as it is.
# Exit code 3: this machine cannot (the reason is the last line on stderr).
set -eu
directory=$1
cannot() { echo "promtool: $*" >&2; exit 3; }

[ -x "$directory/promtool" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || cannot "needs a machine with apt and dpkg"
if [ "$(id -u)" = 0 ] && [ -z "$(apt-cache policy prometheus 2>/dev/null)" ]; then
    apt-get update -qq >/dev/null 2>&1 || cannot "could not read this machine's apt sources"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download prometheus) >/dev/null 2>&1 || cannot "no package prometheus in this machine's apt sources"
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool || cannot "no promtool in the package"
"$work/usr/bin/promtool" --version >/dev/null 2>&1 || cannot "the package's promtool does not run here"
mkdir -p "$directory"
# In one step: two test runs may be at it.
mv "$work/usr/bin/promtool" "$directory/promtool.$$"
mv "$directory/promtool.$$" "$directory/promtool"
