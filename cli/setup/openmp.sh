#!/bin/sh
# Find the OpenMP runtime that LightGBM needs; install it where that is allowed (Debian, root).
# Usage: openmp.sh PYTHON
set -eu

if "$1" -c 'import lightgbm' 2>/dev/null; then
    echo "OpenMP found."
    exit 0
fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing the OpenMP runtime for LightGBM ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libgomp1 >/dev/null
    "$1" -c 'import lightgbm'
    exit 0
fi

echo "LightGBM needs the OpenMP runtime: install it (Debian: 'sudo apt-get install libgomp1'; macOS: 'brew install libomp'), then run make again." >&2
exit 1
