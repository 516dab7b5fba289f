#!/usr/bin/env bash
# Demonstrates Shield on this machine: creates an environment, installs, runs `shield demo`. Options go to the demo.
set -euo pipefail
cd "$(dirname "$0")/.."
source deploy/environment.sh
make_environment .venv/demo '.[demo]'
exec .venv/demo/bin/shield demo "$@"
