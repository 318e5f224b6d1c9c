#!/usr/bin/env bash
# Installs what the end-to-end tests need, where it is missing: Debian packages
# with apt-get (through sudo when not root), npm modules with npm ci. Go and
# Node are expected to be there.
set -euo pipefail
cd "$(dirname "$0")"

for tool in go node npm; do
	command -v "$tool" >/dev/null || { echo "e2e needs $tool; install it first" >&2; exit 1; }
done

missing=()
has() { command -v "$1" >/dev/null || missing+=("$2"); }
has chromium chromium
has curl curl
has openssl openssl
has javac default-jdk-headless
has systemd-socket-activate systemd
for proxy in nginx haproxy caddy; do has "$proxy" "$proxy"; done
has promtool prometheus
has tc iproute2
has libwebsockets-test-client libwebsockets-test-server
/usr/bin/python3 -c 'import websockets' 2>/dev/null || missing+=(python3-websockets)

if ((${#missing[@]})); then
	echo "installing: ${missing[*]}"
	root=()
	if ((EUID)); then
		command -v sudo >/dev/null || { echo "not root and no sudo: install ${missing[*]} yourself" >&2; exit 1; }
		root=(sudo)
	fi
	"${root[@]}" apt-get update -q
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
fi

# npm writes this copy of the lock file when it has installed everything.
if [[ ! -e node_modules/.package-lock.json || package-lock.json -nt node_modules/.package-lock.json ]]; then
	echo "installing: npm modules"
	npm ci --no-audit --no-fund
fi
echo "e2e: everything is there"
