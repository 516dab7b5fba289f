# shellcheck shell=bash
# Sourced by scripts: finds a Python and creates a virtual environment.

# make_environment DIRECTORY REQUIREMENT... installs into DIRECTORY, which is created if it doesn't exist. An editable
# installation (-e first) is not repeated while pyproject.toml, the interpreter and the checkout's path are the same.
make_environment() {
    local directory=$1
    shift
    make_venv "$directory"
    local stamp=
    if [ "$1" = -e ]; then
        stamp=$(stamp_of "$directory/bin/python" "$@" </dev/null)
        if [ "$(cat "$directory/.installed" 2>/dev/null)" = "$stamp" ]; then
            return
        fi
        rm -f "$directory/.installed"
    fi
    echo "installing into $directory; the first time this takes about a minute ..." >&2
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    if [ -n "$stamp" ]; then
        echo "$stamp" >"$directory/.installed"
    fi
}

# make_locked_environment DIRECTORY LOCK installs what LOCK pins, each file checked by its hash, and the working
# directory as an editable installation. What has to be built is built by what build.txt beside LOCK pins. Not repeated
# while these, pyproject.toml, the interpreter and the checkout's path are the same.
make_locked_environment() {
    local directory=$1 lock=$2 build stamp
    build=$(dirname "$lock")/build.txt
    make_venv "$directory"
    stamp=$(cat "$build" "$lock" | stamp_of "$directory/bin/python" "$lock")
    if [ "$(cat "$directory/.installed" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    rm -f "$directory/.installed"
    echo "installing what $lock pins into $directory; the first time this takes some minutes ..." >&2
    local install=("$directory/bin/python" -m pip install --quiet --disable-pip-version-check)
    # Isolated builds would take the newest build tools, whatever they are.
    if ! {
        "${install[@]}" --require-hashes --requirement "$build" &&
            "${install[@]}" --require-hashes --no-build-isolation --use-pep517 --requirement "$lock" &&
            "${install[@]}" --no-deps --no-build-isolation --editable .
    }; then
        echo "$lock can't be installed; after a change of pyproject.toml make it anew: nox -s lock" >&2
        return 1
    fi
    echo "$stamp" >"$directory/.installed"
}

make_venv() {
    local directory=$1 python
    python=$(find_python)
    if [ ! -x "$directory/bin/python" ]; then
        echo "creating a virtual environment in $directory ..." >&2
        "$python" -m venv "$directory" || {
            echo "$python can't make virtual environments; on Debian: apt-get install python3-venv" >&2
            return 1
        }
    fi
}

# stamp_of PYTHON REQUIREMENT... <LOCK tells what an editable installation of the working directory depends on.
stamp_of() {
    "$1" -c '
import hashlib, os, sys
with open("pyproject.toml", "rb") as file:
    parts = [file.read(), sys.stdin.buffer.read(), os.getcwd().encode(), sys.version.encode()]
parts += map(os.fsencode, sys.argv[1:])
print(hashlib.sha256(b"\0".join(parts)).hexdigest())' "${@:2}"
}

find_python() {
    local name
    for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "Python 3.11 or later is needed; none found (set PYTHON to name one)" >&2
    return 1
}
