#!/usr/bin/env bash
# Install the browser that tests/tables/test_browser.py opens the report in, where there is none; Debian and Ubuntu.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "error: no chromium here; install it (on Debian, as root: apt-get install chromium)" >&2
    exit 2
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null
