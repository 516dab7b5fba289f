"""The unit: systemd has no complaint, it is closed to what a node doesn't need, and fits how a node stops."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from shield.config.settings import Settings
from tests.deploy.settings import checked
from tests.deploy.tools import ROOT, program, run

SYSTEMD = ROOT / "deploy" / "systemd"
DROP_INS = sorted(path.stem for path in (SYSTEMD / "shield.service.d").glob("*.conf"))
MOST_EXPOSED = 2.0  # of 10, as systemd counts


def directives(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text().splitlines()
    return [(key, value) for key, mark, value in (line.partition("=") for line in lines if line[:1] != "#") if mark]


def value(name: str) -> str:
    return dict(directives(SYSTEMD / "shield.service"))[name]


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it is, but for a program and a user that are here."""
    made = tmp_path / "shield.service"
    text = (SYSTEMD / "shield.service").read_text()
    made.write_text(re.sub(r"^(Exec\w+)=\S+", rf"\1={shutil.which('true')}", text, flags=re.MULTILINE))
    return made


def drop_in(unit: Path, name: str) -> None:
    directory = unit.with_name("shield.service.d")
    directory.mkdir(exist_ok=True)
    shutil.copy(SYSTEMD / "shield.service.d" / f"{name}.conf", directory)


@pytest.mark.parametrize("name", ["", *DROP_INS])
def test_systemd_reads_it_without_a_complaint(unit: Path, name: str) -> None:
    if name:
        drop_in(unit, name)

    assert run(program("systemd-analyze"), "verify", "--man=no", unit) == ""


@pytest.mark.parametrize("name", ["", *DROP_INS])
def test_it_is_closed_to_what_a_node_does_not_need(unit: Path, name: str) -> None:
    if name:
        drop_in(unit, name)

    said = run(program("systemd-analyze"), "security", "--offline=true", "--no-pager", unit)

    found = re.search(r"Overall exposure level for shield\.service: ([\d.]+)", said)
    assert found is not None and float(found[1]) <= MOST_EXPOSED


def test_the_time_to_stop_is_enough_for_a_drain(tmp_path: Path) -> None:
    example = checked((ROOT / "config" / "on-prem-and-cloud.yaml").read_text(), tmp_path)
    usual = Settings.model_validate({"origins": {"fra": {"provider": "http", "endpoint": "http://127.0.0.1"}}})

    for settings in (example, usual):
        assert int(value("TimeoutStopSec")) >= settings.drain.delay + settings.drain.timeout + 5.0


def test_settings_that_cannot_be_used_are_not_tried_again_and_a_reload_tells_whether_it_was_refused() -> None:
    assert value("RestartPreventExitStatus") == "2"  # what `shield serve` ends with
    assert value("ExecReload").endswith("shield reload --config /etc/shield/shield.yaml")


def test_the_manager_is_told_and_keeps_what_the_node_hands_over() -> None:
    assert (value("Type"), value("NotifyAccess")) == ("notify", "main")
    most = Settings.model_json_schema()["properties"]["workers"]["maximum"]
    assert int(value("FileDescriptorStoreMax")) > 2 * most  # listeners of each worker


def test_systemd_reads_the_socket_unit_without_a_complaint_and_it_opens_the_example_s_addresses(
    unit: Path, tmp_path: Path
) -> None:
    shutil.copy(SYSTEMD / "shield.socket", tmp_path)
    settings = checked((ROOT / "config" / "one-machine.yaml").read_text(), tmp_path)
    opened = [what for key, what in directives(SYSTEMD / "shield.socket") if key == "ListenStream"]

    assert run(program("systemd-analyze"), "verify", "--man=no", unit, tmp_path / "shield.socket") == ""
    assert opened == [*map(str, settings.listen), str(settings.admin.listen)]


def test_a_node_finds_the_credentials_that_the_drop_in_loads() -> None:
    """A directory's files are called after the credential, an underscore, and their own name."""
    ((_, loaded),) = directives(SYSTEMD / "shield.service.d" / "credentials.conf")[:1]
    name, _, path = loaded.partition(":")

    assert f"{name}_origins__fra__secret_key" == "shield_origins__fra__secret_key"
    assert path == "/etc/shield/credentials"


def test_caches_of_the_example_are_where_the_unit_lets_it_write(tmp_path: Path) -> None:
    settings = checked((ROOT / "config" / "one-machine.yaml").read_text(), tmp_path)

    for tier in settings.cache.tiers:
        for directory in tier.directories:
            assert directory.path.is_relative_to(f"/var/cache/{value('CacheDirectory')}")
