#!/bin/sh
# make_venv.sh DIR: a virtual environment with pip in DIR. Debian ships python3 without ensurepip: then python3-venv is
# installed where we may (root), and named where we may not.
set -eu
python=${PYTHON:-python3}
if "$python" -m venv "$1" >/dev/null 2>&1; then
    exit 0
fi
rm -rf "$1"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    version=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    apt-get update -qq && apt-get install -qq -y --no-install-recommends "$version" >/dev/null
    "$python" -m venv "$1" && exit 0
fi
echo "sentinet: $python cannot make a virtual environment. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2
exit 2
