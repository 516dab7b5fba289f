"""deploy/install.sh, run for real below a prefix: twice, to a newer version, and back to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.processes import free_port
from shield import __version__
from tests.deploy.tools import ROOT, checkout, program, run

SCRIPT = ROOT / "deploy" / "install.sh"
NEWER = "9.8.7"
PATIENCE = 90.0


@pytest.mark.parametrize("path", ["deploy/install.sh", "deploy/demo.sh", "deploy/environment.sh", "tests/run.sh"])
def test_the_linter_finds_nothing_in_scripts(path: str) -> None:
    assert run(program("shellcheck"), "-x", path) == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prefix"], "--prefix needs a value"),
        (["--perfix", "x"], "unknown: --perfix"),
        (["--purge", "--prefix", "x"], "--purge goes with --uninstall"),
        (["--keep", "0", "--prefix", "x"], "--keep: expected a number from 1 up, got 0"),
        (["--prefix", "/"], "--prefix: expected a directory other than /"),
        (["--prefix", "a b"], "--prefix: expected a path of letters"),
    ],
)
def test_a_slip_is_named_and_nothing_is_done(tmp_path: Path, words: list[str], said: str) -> None:
    ended = subprocess.run(["bash", SCRIPT, *words], cwd=tmp_path, capture_output=True, text=True)

    assert ended.returncode == 2
    assert f"install.sh: {said}" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_wheel_of_ours_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other-1.0-py3-none-any.whl"
    other.write_bytes(b"no zip")

    said = run("bash", SCRIPT, "--prefix", tmp_path / "p", "--wheel", other, fails=True)

    assert "is no wheel and no checkout of Shield" in said
    assert not (tmp_path / "p").exists()


class Installed:
    """Everything below a prefix."""

    def __init__(self, prefix: Path, environment: dict[str, str]) -> None:
        self.prefix = prefix
        self.environment = {**environment, "PYTHON": getattr(sys, "_base_executable", sys.executable)}
        self.command = prefix / "usr/local/bin/shield"
        self.config = prefix / "etc/shield/shield.yaml"
        self.unit = prefix / "etc/systemd/system/shield.service"
        self.base = prefix / "opt/shield"

    def install(self, source: Path = ROOT, *options: str) -> str:
        return run("bash", source / "deploy/install.sh", "--prefix", self.prefix, *options, env=self.environment)

    def says(self, *words: str, **environ: str) -> str:
        return run(self.command, *words, cwd=self.prefix, env={**self.environment, **environ})

    def versions(self) -> list[str]:
        return sorted(path.name.split("-")[0] for path in self.base.iterdir() if not path.is_symlink())

    def files(self) -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in self.prefix.rglob("*") if not path.is_dir()}


def maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""  # it has ended, or is another user's


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, str]) -> Installed:
    made = Installed(tmp_path_factory.mktemp("prefix"), wheels)
    made.install()
    return made


@pytest.fixture
def running(installed: Installed, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node of the version that is current."""
    admin = free_port()
    config = tmp_path / "running.yaml"
    origins = {"fra": {"provider": "http", "endpoint": "http://127.0.0.1:9"}}
    config.write_text(
        json.dumps({"listen": "127.0.0.1:0", "admin": {"listen": f"127.0.0.1:{admin}"}, "origins": origins})
    )
    command = [str(installed.command), "serve", "--config", str(config)]
    with subprocess.Popen(command, env=installed.environment, stderr=subprocess.DEVNULL) as node:
        deadline = time.monotonic() + PATIENCE
        while subprocess.run([installed.command, "health", "--config", config], capture_output=True).returncode:
            assert time.monotonic() < deadline and node.poll() is None, "the node isn't ready"
        yield node
        node.terminate()
        assert node.wait(PATIENCE) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_installed_works(installed: Installed) -> None:
    secrets = {
        "SHIELD_ORIGINS__MAIN__ACCESS_KEY_ID": "AK",
        "SHIELD_ORIGINS__MAIN__SECRET_KEY": "SK",
        "SHIELD_ACCESS__HEADER__SECRETS": "0123456789abcdef",
    }

    assert installed.says("--version").startswith(f"shield {__version__} (Python ")
    assert "settings can be used" in installed.says("check", "--config", str(installed.config), **secrets)
    assert f"{installed.prefix}/var/cache/shield/" in installed.config.read_text()
    assert not list((installed.base / "current/lib").glob("*/site-packages/pip"))
    (methods,) = (installed.base / "current/lib").glob("*/site-packages/shield/__pycache__/generated.*.methods")
    assert b"drain_timeout_seconds" in methods.read_bytes(), "a field of a worker's plan: all that a start imports"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_unit_is_good_and_starts_the_current_version(installed: Installed) -> None:
    text = installed.unit.read_text()

    assert f"ExecStart={installed.base}/current/bin/shield serve --config {installed.config}\n" in text
    assert (installed.unit.parent / "shield.service.d/credentials.conf").exists()
    assert run(program("systemd-analyze"), "verify", "--man=no", installed.unit) == ""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_man_and_shells_find_the_current_versions_pages(installed: Installed) -> None:
    share = installed.prefix / "usr/local/share"

    assert (share / "man/man1/shield.1").read_text().startswith('.TH "SHIELD" 1')
    assert ".SH CACHE.MEMORY\n" in (share / "man/man5/shield.yaml.5").read_text()
    assert (
        "complete -o default -F _shield_completion shield"
        in (share / "bash-completion/completions/shield").read_text()
    )
    assert (share / "zsh/site-functions/_shield").read_text().strip().startswith("#compdef shield\n")
    assert "complete --command shield" in (share / "fish/vendor_completions.d/shield.fish").read_text()
    assert (share / "man/man1/shield.1").readlink().is_relative_to(installed.base / "current")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_only_the_nodes_user_and_root_see_settings_and_cache(installed: Installed) -> None:
    modes = {"etc/shield": 0o750, "etc/shield/credentials": 0o700, "etc/shield/shield.yaml": 0o640}
    modes |= {"var/cache/shield": 0o700, "var/lib/shield": 0o700}

    assert {name: (installed.prefix / name).stat().st_mode & 0o777 for name in modes} == modes


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_second_run_changes_nothing(installed: Installed) -> None:
    installed.config.write_text(installed.config.read_text() + "# mine\n")
    before = installed.files()

    said = installed.install()

    assert said.splitlines() == [f"there    {(installed.base / 'current').resolve()}"]
    assert installed.files() == before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_version_that_was_not_installed_completely_is_made_anew(installed: Installed) -> None:
    """As after a loss of power: its directory is there, what is in it isn't all."""
    current = (installed.base / "current").resolve()
    (current / ".complete").unlink()
    (current / "bin/shield").unlink()

    assert f"made     {current}" in installed.install()
    assert installed.says("--version").startswith(f"shield {__version__} (Python ")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_running_version_stays_whole_until_the_node_has_become_the_newer_one(
    installed: Installed, tmp_path: Path, running: subprocess.Popen[bytes]
) -> None:
    old = (installed.base / "current").resolve()
    settings = installed.config.read_text()

    source = checkout(tmp_path, version=NEWER)
    said = installed.install(source, "--keep", "1")

    assert installed.says("--version").startswith(f"shield {NEWER} (Python ")
    assert installed.config.read_text() == settings
    assert f"runs     {old}: it stays until the node is upgraded or restarted" in said
    assert str(old) in maps(running.pid)
    assert f"{old}/" in (old / "bin/shield").read_text(), "it mustn't import through the link that was switched"

    said = installed.says("upgrade", "--config", str(tmp_path / "running.yaml"))

    assert said == f"upgraded: version {NEWER} serves\n"
    deadline = time.monotonic() + PATIENCE
    while any(str(old) in maps(int(process)) for process in os.listdir("/proc") if process.isdigit()):  # noqa: PTH208
        assert time.monotonic() < deadline, "workers of the old version don't end"
        time.sleep(0.05)
    assert f"{installed.base}/{NEWER}" in maps(running.pid)
    assert f"removed  {old}" in installed.install(source, "--keep", "1")
    assert installed.versions() == [NEWER]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_uninstalling_keeps_settings_and_cache_unless_they_are_to_be_purged(installed: Installed) -> None:
    cached = installed.prefix / "var/cache/shield/disk"
    cached.mkdir(exist_ok=True)

    installed.install(ROOT, "--uninstall")

    assert not installed.base.exists() and not installed.unit.exists() and not os.path.lexists(installed.command)
    assert not [path for path in (installed.prefix / "usr/local/share").rglob("*") if path.is_symlink()]
    assert installed.config.exists() and cached.exists()

    installed.install(ROOT, "--uninstall", "--purge")

    assert [path for path in installed.prefix.rglob("*") if not path.is_dir() or path.name == "shield"] == []
