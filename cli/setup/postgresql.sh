#!/bin/sh
# Find PostgreSQL's server programs for the tests; install them where that is allowed (Debian, root).
set -eu

if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    echo "PostgreSQL found."
    exit 0
fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing PostgreSQL for the tests (its own service is not needed) ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null
    exit 0
fi

echo "The tests run on PostgreSQL too: install it (Debian: 'sudo apt-get install postgresql'; macOS: 'brew install postgresql'), then run make again." >&2
exit 1
