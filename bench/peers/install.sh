#!/usr/bin/env bash
# Installs the peers that come from npm, at the versions of their lock files. The
# peers in Go need nothing.
set -euo pipefail
cd "$(dirname "$0")"

for tool in node npm; do
	command -v "$tool" >/dev/null || { echo "install $tool first: Node.js 20 or later, with npm" >&2; exit 1; }
done
for peer in node-ws bun; do
	lock=$peer/package-lock.json installed=$peer/node_modules/.package-lock.json
	# npm writes this copy of the lock file when it has installed everything.
	if [[ ! -e $installed || $lock -nt $installed ]]; then
		(cd "$peer" && npm ci --no-audit --no-fund)
	fi
	"$peer/run" -version
done
