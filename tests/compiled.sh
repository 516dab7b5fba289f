#!/usr/bin/env bash
# Compiles a copy of the source, and runs the tests of what is compiled on it, except those marked slow; arguments go to
# pytest. After tests/run.sh, whose environment it uses.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/test/bin/python
built=build/compiled
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "compiling into $built; this takes a minute or two ..." >&2
if ! SHIELD_COMPILE=1 "$python" setup.py -q build --build-lib "$built" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
export PYTHONPATH=$PWD/$built:$PWD PYTHONSAFEPATH=1 EXPECT_COMPILED=1
exec "$python" -m pytest --import-mode=append -p no:cacheprovider -m "not slow" \
    tests/test_compiled.py tests/rules tests/store tests/origin tests/fill tests/edge tests/peers tests/egress \
    tests/observe tests/test_proxy.py tests/test_transfer.py tests/test_delivery.py "$@"
