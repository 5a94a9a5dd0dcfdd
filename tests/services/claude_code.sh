#!/usr/bin/env bash
# Installs the Claude Code CLI for the tests, once, and prints the directory that holds `claude`.
# There is nothing to start or stop. Where it cannot be installed, it says why and fails.
set -euo pipefail

VERSION="${CLAUDE_CODE_VERSION:-2.1.197}"
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
PLACE="$ROOT/.cache/claude-code"
BIN="$PLACE/node_modules/.bin"

ready() { [ "$("$BIN/claude" --version 2>/dev/null | cut -d' ' -f1)" = "$VERSION" ]; }

if ! ready; then
  command -v npm >/dev/null || { echo "npm is needed to install the Claude Code CLI." >&2; exit 1; }
  mkdir -p "$PLACE"
  echo '{"private": true}' >"$PLACE/package.json"
  (cd "$PLACE" && npm install --no-audit --no-fund --loglevel=error \
    "@anthropic-ai/claude-code@$VERSION" >&2 </dev/null)
  ready || { echo "$BIN/claude does not answer as version $VERSION." >&2; exit 1; }
fi
echo "$BIN"
