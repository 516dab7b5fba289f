#!/usr/bin/env bash
# All checks: format, lint, types, tests. Creates its own environment; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source deploy/environment.sh
make_locked_environment .venv/test deploy/lock/test.txt
bin=.venv/test/bin
"$bin/ruff" format --check .
"$bin/ruff" check .
"$bin/mypy"
"$bin/python" -m tests.halves "$@"
