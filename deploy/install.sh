#!/usr/bin/env bash
# Installs Shield on this machine, or a newer version beside the running one; docs/install.md has the steps around it.
set -euo pipefail

usage() {
    cat <<'END'
Usage: install.sh [--prefix DIR] [--wheel FILE] [--keep N]
       install.sh --uninstall [--purge] [--prefix DIR]

  --prefix DIR   everything below DIR, as this user: no user is made, systemd isn't told. For tries and packages.
  --wheel FILE   install this wheel. Left out: one is built from the checkout that this script is in.
  --keep N       versions that stay, the new one included (default 2). One that still runs stays in any case.
  --uninstall    remove Shield. Settings, credentials and cache stay.
  --purge        with --uninstall: remove these, too.

Each version has a directory of its own in /opt/shield; the link /opt/shield/current is switched when it is complete. A
running node keeps its version until `shield upgrade`, or a restart. Running this again changes nothing that is there already.
Set PYTHON to name an interpreter. pip's variables are heeded (PIP_NO_INDEX and PIP_FIND_LINKS: without a registry).
END
}

fail() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}

say() { echo "$*"; }

prefix="" wheel="" keep=2 uninstall="" purge=""
while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --wheel | --keep)
            [ $# -ge 2 ] && [ -n "$2" ] || fail "$1 needs a value; --help tells more" 2
            case $1 in
                --prefix) prefix=$2 ;;
                --wheel) wheel=$2 ;;
                --keep) keep=$2 ;;
            esac
            shift 2
            ;;
        --uninstall) uninstall=yes && shift ;;
        --purge) purge=yes && shift ;;
        -h | --help) usage && exit 0 ;;
        *) fail "unknown: $1; --help tells what there is" 2 ;;
    esac
done
[[ $keep =~ ^[1-9][0-9]*$ ]] || fail "--keep: expected a number from 1 up, got $keep" 2
[ -z "$purge" ] || [ -n "$uninstall" ] || fail "--purge goes with --uninstall" 2
if [ -n "$prefix" ]; then
    [[ $prefix == /* ]] || prefix=$PWD/$prefix
    prefix=${prefix%/}
    [ -n "$prefix" ] || fail "--prefix: expected a directory other than /; without the option it is installed there" 2
    [[ $prefix =~ ^[A-Za-z0-9_./+-]*$ ]] || fail "--prefix: expected a path of letters, digits and _ . / + -" 2
elif [ "$(id -u)" != 0 ]; then
    fail "run it as root, or with --prefix DIR to try it"
fi

source_directory=$(cd "$(dirname "$0")/.." && pwd)
base=$prefix/opt/shield
config=$prefix/etc/shield
cache=$prefix/var/cache/shield
state=$prefix/var/lib/shield
logs=$prefix/var/log/shield
units=$prefix/etc/systemd/system
advice=$prefix/usr/local/share/shield
rotation=$prefix/etc/logrotate.d/shield
command=$prefix/usr/local/bin/shield
shared=$prefix/usr/local/share
pages="man/man1/shield.1 man/man5/shield.yaml.5 bash-completion/completions/shield
    zsh/site-functions/_shield fish/vendor_completions.d/shield.fish"

# as_root COMMAND... runs the command unless there is a prefix: it changes the machine itself.
as_root() { [ -n "$prefix" ] || "$@"; }

systemctl_if_there() { [ ! -d /run/systemd/system ] || systemctl "$@"; }

# put MODE SOURCE TARGET copies a file if it is new or differs, with our paths for those of /.
put() {
    local made
    made=$(mktemp)
    sed -E "s#(^|[ =:-])(/opt/shield|/etc/shield|/var/(log|cache|lib)/shield)#\1$prefix\2#g" "$2" >"$made"
    if ! cmp -s "$made" "$3"; then
        install -D -m "$1" "$made" "$3"
        say "wrote    $3"
    fi
    rm -f "$made"
}

# directory MODE PATH makes a directory of the node's user.
directory() {
    [ -d "$2" ] || install -d -m "$1" "$2"
    as_root chown shield:shield "$2"
}

remove_all() {
    if [ -z "$prefix" ] && [ -f "$units/shield.service" ]; then
        systemctl_if_there disable --now shield.socket shield.service || fail "the node can't be stopped; nothing was removed"
    fi
    rm -rf "$base" "$advice"
    for page in $pages; do
        rm -f "$shared/$page"
    done
    rm -f "$units/shield.service" "$units/shield.socket" "$units/shield.service.d/credentials.conf" "$rotation" "$command"
    rmdir "$units/shield.service.d" 2>/dev/null || true
    as_root systemctl_if_there daemon-reload
    if [ -n "$purge" ]; then
        rm -rf "$config" "$cache" "$state" "$logs"
        if [ -z "$prefix" ] && id shield >/dev/null 2>&1; then
            userdel shield
        fi
        say "removed  Shield, its settings and its cache"
    else
        say "removed  Shield; $config, $cache and $logs are still there (--purge removes them)"
    fi
}

if [ -n "$uninstall" ]; then
    remove_all
    exit
fi

# A version: its number, and the start of a digest of its files, since the same number may be built twice.

# shellcheck source=deploy/environment.sh
source "$source_directory/deploy/environment.sh"
python=$(find_python)
[ -z "$wheel" ] || [ -f "$wheel" ] || fail "--wheel: no such file: $wheel" 2
version=$("$python" - "${wheel:-$source_directory}" <<'END'
import hashlib, os, pathlib, re, sys, zipfile
source = pathlib.Path(sys.argv[1])
digest = hashlib.sha256()
try:
    if source.is_dir():
        version = re.search('^__version__ = "([^"]+)"$', (source / "shield/__init__.py").read_text(), re.M)[1]
        digest.update(os.environ.get("SHIELD_COMPILE", "0").strip("0").encode())
        for path in [source / "pyproject.toml", source / "setup.py", *sorted((source / "shield").rglob("*.py"))]:
            digest.update(b"%b\0%b\0" % (str(path.relative_to(source)).encode(), path.read_bytes()))
    else:
        with zipfile.ZipFile(source) as wheel:
            record = next(name for name in wheel.namelist() if name.endswith(".dist-info/RECORD"))
            package, version = record.split("/")[0].removesuffix(".dist-info").split("-")
            digest.update(b"\n".join(sorted(wheel.read(record).splitlines())))
            if package != "shield":
                sys.exit(1)
except (OSError, LookupError, TypeError, ValueError, StopIteration, zipfile.BadZipFile):
    sys.exit(1)
print(f"{version}-{digest.hexdigest()[:8]}")
END
) || fail "${wheel:-$source_directory} is no wheel and no checkout of Shield" 2

# install_into DIRECTORY makes an environment there with what a node needs, and without pip.
install_into() {
    local work installer=$python
    work=$(mktemp -d)
    "$python" -m venv --without-pip "$1" ||
        fail "$python can't make virtual environments; on Debian: apt-get install python3-venv"
    if ! "$python" -m pip --python "$1/bin/python" --version >/dev/null 2>&1; then
        "$python" -m venv "$work/pip" || fail "$python has no pip; on Debian: apt-get install python3-venv"
        installer=$work/pip/bin/python
    fi
    if [ -z "$wheel" ]; then
        # A copy is built, so that the checkout stays as it is.
        mkdir "$work/source"
        cp -R "$source_directory"/{shield,pyproject.toml,README.md,setup.py} "$work/source"
    fi
    "$installer" -m pip --python "$1/bin/python" --disable-pip-version-check --quiet install --no-cache-dir \
        "${wheel:-$work/source}" || fail "pip couldn't install; what runs now is as it was"
    rm -rf "$work"
    mkdir -p "$1/share/doc/shield"
    cp "$source_directory"/docs/*.md "$1/share/doc/shield/" 2>/dev/null || true
    "$1/bin/shield" --version >/dev/null || fail "$1 was installed and doesn't run; what runs now is as it was"
    # Versions from before these existed make none.
    env -u PYTHONDONTWRITEBYTECODE -u PYTHONPYCACHEPREFIX "$1/bin/shield" precompile >/dev/null 2>&1 || true
    share "$1" man/man1/shield.1 "$1/bin/shield" manual commands
    share "$1" man/man5/shield.yaml.5 "$1/bin/shield" manual settings
    share "$1" bash-completion/completions/shield env _SHIELD_COMPLETE=source_bash "$1/bin/shield"
    share "$1" zsh/site-functions/_shield env _SHIELD_COMPLETE=source_zsh "$1/bin/shield"
    share "$1" fish/vendor_completions.d/shield.fish env _SHIELD_COMPLETE=source_fish "$1/bin/shield"
}

# share DIRECTORY NAME COMMAND... keeps what a command prints in DIRECTORY/share, if it succeeds.
share() {
    local file=$1/share/$2
    mkdir -p "$(dirname "$file")"
    "${@:3}" >"$file" 2>/dev/null || rm -f "$file"
}

# link TARGET LINK makes a symbolic link, or changes one.
link() {
    [ "$(readlink "$2" 2>/dev/null)" != "$1" ] || return 0
    mkdir -p "$(dirname "$2")"
    ln -sfn "$1" "$2"
    say "link     $2"
}

if [ -z "$prefix" ] && ! id shield >/dev/null 2>&1; then
    useradd --system --user-group --home-dir /var/lib/shield --no-create-home --shell /usr/sbin/nologin shield
    say "made     user shield"
fi
umask 022

if [ -e "$base/$version/.complete" ]; then
    say "there    $base/$version"
else
    # An incomplete one was never current.
    rm -rf "${base:?}/$version"
    mkdir -p "$base"
    install_into "$base/$version"
    touch "$base/$version/.complete"
    say "made     $base/$version"
fi

# The link is replaced by a rename, so that there always is one.
if [ "$(readlink "$base/current" 2>/dev/null)" != "$version" ]; then
    ln -sfn "$version" "$base/.current.new"
    mv -T "$base/.current.new" "$base/current"
    touch "$base/$version/.complete" # its time orders the versions by when they became current
    say "current  $version"
    switched=yes
fi

# Settings, credentials: never overwritten.
[ -d "$config" ] || install -d -m 0750 "$config"
as_root chgrp shield "$config"
[ -d "$config/credentials" ] || install -d -m 0700 "$config/credentials"
if [ ! -e "$config/shield.yaml" ]; then
    put 0640 "$source_directory/config/one-machine.yaml" "$config/shield.yaml"
    as_root chgrp shield "$config/shield.yaml"
fi
directory 0700 "$cache"
directory 0700 "$state"
directory 0750 "$logs"

put 0644 "$source_directory/deploy/systemd/shield.service" "$units/shield.service"
put 0644 "$source_directory/deploy/systemd/shield.socket" "$units/shield.socket"
put 0644 "$source_directory/deploy/systemd/shield.service.d/credentials.conf" "$units/shield.service.d/credentials.conf"
for example in access-log disks low-ports; do
    put 0644 "$source_directory/deploy/systemd/shield.service.d/$example.conf" "$advice/shield.service.d/$example.conf"
done
put 0644 "$source_directory/deploy/host/sysctl.conf" "$advice/sysctl.conf"
put 0644 "$source_directory/deploy/host/limits.conf" "$advice/limits.conf"
put 0644 "$source_directory/deploy/host/logrotate" "$rotation"
link "$base/current/bin/shield" "$command"
for page in $pages; do
    [ ! -e "$base/current/share/$page" ] || link "$base/current/share/$page" "$shared/$page"
done
as_root systemctl_if_there daemon-reload

# Older versions are removed, except those in use by a process: it may still have to import modules from there.
number=0
while read -r marker; do
    old=$(dirname "$marker")
    [ ! -L "$old" ] || continue # the link to the current one
    number=$((number + 1))
    if [ "$number" -le "$keep" ] || [ "$(readlink "$base/current")" = "$(basename "$old")" ]; then
        continue
    fi
    if grep -qsF "$old/" /proc/[0-9]*/maps; then
        say "runs     $old: it stays until the node is upgraded or restarted"
    else
        rm -rf "$old"
        say "removed  $old"
    fi
done < <(ls -t "$base"/*/.complete)

if [ -n "${switched:-}" ]; then
    cat <<END

Next:
  edit       $config/shield.yaml; secrets go into $config/credentials
  check      $command check --config $config/shield.yaml
  start      systemctl enable --now shield
  upgrade    $command upgrade --config $config/shield.yaml      (if it runs already: no request fails)
  see        $command health --config $config/shield.yaml
  read       man shield; man shield.yaml; shells complete \`shield\`
  advice     $advice
END
fi
