#!/bin/sh
# Find Java 17 or newer for Spark; install it where that is allowed (Debian, root); else say exactly what to do.
set -eu

version_of() {
    "$1" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1
}

for java in "${JAVA_HOME:-/nonexistent}/bin/java" "$(command -v java || true)"; do
    if [ -x "$java" ]; then
        version=$(version_of "$java")
        if [ "${version:-0}" -ge 17 ]; then
            echo "Java $version found."
            exit 0
        fi
    fi
done

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Java 17 (openjdk-17-jre-headless) ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openjdk-17-jre-headless >/dev/null ||
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq default-jre-headless >/dev/null
    exit 0
fi

echo "Spark needs Java 17 or newer: install it (Debian: 'sudo apt-get install openjdk-17-jre-headless'; macOS: 'brew install openjdk@17') or set JAVA_HOME, then run make again." >&2
exit 1
