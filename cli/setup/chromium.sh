#!/bin/sh
# Find Chromium for the browser tests and a font with Chinese characters; install both where that is allowed (Debian, root).
set -eu

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
chinese=$(fc-list :lang=zh-tw 2>/dev/null | head -n 1 || true)

if [ -n "$browser" ] && [ -n "$chinese" ]; then
    echo "Chromium found."
    exit 0
fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Chromium and a Chinese font for the browser tests ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-noto-cjk >/dev/null
    exit 0
fi

if [ -n "$browser" ]; then
    echo "Chromium found; without a Chinese font the screenshots show boxes."
    exit 0
fi

echo "The browser tests need Chromium: install it (Debian: 'sudo apt-get install chromium fonts-noto-cjk'), then run make again." >&2
exit 1
