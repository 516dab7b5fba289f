# Sourced by scripts: finds a Python and makes a virtual environment.

# make_environment DIRECTORY REQUIREMENT... installs into DIRECTORY, made when it isn't there.
make_environment() {
    local directory=$1
    shift
    local python
    python=$(find_python)
    if [ ! -x "$directory/bin/python" ]; then
        "$python" -m venv "$directory" || {
            echo "$python can't make virtual environments; on Debian: apt-get install python3-venv" >&2
            return 1
        }
    fi
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
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
