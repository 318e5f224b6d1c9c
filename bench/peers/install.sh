#!/usr/bin/env bash
# Installs the peers that are not in go.mod: those from npm, at the versions of their lock
# files, and Centrifugo, a program in Go with hundreds of dependencies. The others need nothing.
set -euo pipefail
cd "$(dirname "$0")"

# Compiling it takes some minutes.
module=github.com/centrifugal/centrifugo/v6 version=v6.9.1
if [[ $(centrifugo/run -version 2>/dev/null) != "centrifugo $module $version" ]]; then
	command -v go >/dev/null || { echo "install Go first" >&2; exit 1; }
	GOBIN=$PWD/centrifugo/bin CGO_ENABLED=0 go install -ldflags "-X $module/internal/build.Version=${version#v}" "$module@$version"
fi
centrifugo/run -version

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
