"""`shield advise` tries changes on a log and names those that save most, with the settings to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from shield.cli import _app
from shield.cli.advise import AdviceWish, advise
from shield.egress.ledger import Ledger, LedgerTerms, WorkerUsage
from shield.egress.meter import EgressAccount, MeterReading
from tests.simulate.test_node import zipf

MIB = 1 << 20
START = 1_760_000_000.0


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of requests for 28 MB of objects, each under two spellings of a parameter that means nothing."""
    path = tmp_path_factory.mktemp("advise") / "access.log"
    lines = []
    for turn, number in enumerate(zipf(1200, 700)):
        target = f"/o/{number}?w=200&t={turn % 2}"
        said = {
            "time": START + 3 * turn,
            "method": "GET",
            "target": target,
            "status": 200,
            "bytes": 40_000 + number,
        }
        lines.append(json.dumps({**said, "cache": "hit"}))
    path.write_text("\n".join(lines))
    return path


def written(directory: Path, **changes: Any) -> Path:
    path = directory / "shield.yaml"
    origin = {"provider": "http", "endpoint": "http://127.0.0.1:1"}
    settings = {
        "origins": {"fra": {**origin, "price": {"egress": 0.08}}},
        "routes": {"images": {"query": {"allow": ["w", "t"]}}},
        "cache": {"memory": {"capacity": "16MiB"}},
        "ledger": {"path": str(directory / "ledger.sqlite")},
        **changes,
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(_app, ["advise", *map(str, words)])


def plain(*words: object) -> dict[str, Any]:
    found = run(*words, "--json")
    assert found.exit_code == 0, found.output
    said: dict[str, Any] = json.loads(found.stdout)
    return said


def test_the_changes_that_save_most_come_with_figures_and_settings(tmp_path: Path, log: Path) -> None:
    config = written(tmp_path)
    reading = MeterReading(EgressAccount("fra", "images", "miss"), 10, 160_000_000, {200: 10})
    usage = WorkerUsage("w", [reading], {})
    Ledger(LedgerTerms(tmp_path / "ledger.sqlite", keep=1e9)).flush([usage], START + 60)

    said = plain("--config", config, "--log", log)

    by_kind, now = {each["kind"]: each for each in said["changes"]}, said["now"]
    saved = [each["saves"] for each in said["changes"]]
    assert len(said["changes"]) == 3 and said["unit"] == "USD"
    assert by_kind["query"]["settings"] == {"routes": {"images": {"query": {"allow": ["w"]}}}}
    assert by_kind["provider"]["settings"] == {"origins": {"fra": {"price": "r2"}}}
    assert saved == sorted(saved, reverse=True)
    assert [each["after"]["month"] for each in said["changes"]] == pytest.approx([now["month"] - it for it in saved])
    assert by_kind["query"]["after"]["hit_ratio"] > now["hit_ratio"]
    assert said["together"]["month"] < min(each["after"]["month"] for each in by_kind.values()) + 0.01


def test_what_is_advised_can_be_written_and_does_what_was_said(tmp_path: Path, log: Path) -> None:
    config = written(tmp_path)
    first = plain("--config", config, "--log", log, "-n", 1)
    (change,) = first["changes"]
    settings = yaml.safe_load(config.read_text())
    settings["origins"]["fra"]["price"] = change["settings"]["origins"]["fra"]["price"]
    config.write_text(yaml.safe_dump(settings))

    assert plain("--config", config, "--log", log, "-n", 1)["now"]["month"] == pytest.approx(change["after"]["month"])


def test_the_text_has_yaml_and_what_it_takes(tmp_path: Path, log: Path) -> None:
    found = run("--config", written(tmp_path), "--log", log)

    assert found.exit_code == 0
    assert "A month (30 days) of this traffic costs" in found.stdout
    assert "   It takes a look at the platform: in the log, objects had the same size" in found.stdout
    assert "       routes:\n         images:\n           query:\n             allow:\n" in found.stdout
    assert "All of them together save" in found.stdout


def test_the_ledger_is_compared_and_tells_what_probes_cost(
    tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, cache={"memory": {"capacity": "1GiB"}}, routes={"images": {}})
    readings = [
        MeterReading(EgressAccount("fra", "images", "miss"), 1500, 60_000_000, {200: 1500}),
        MeterReading(EgressAccount("fra", "", "probe"), 1500, 60_000_000, {200: 1500}),
    ]
    Ledger(LedgerTerms(tmp_path / "ledger.sqlite", keep=1e9)).flush([WorkerUsage("w", readings, {})], START + 60)

    assert advise(config, AdviceWish([str(log)], 9, as_json=True), now=START + 86_400.0) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["ledger"]["log_bytes"] == 60_000_000
    assert said["ledger"]["month_by_reason"]["probe"] == pytest.approx(0.08 * 0.06 * 30, rel=0.01)
    (probes,) = [each for each in said["changes"] if each["kind"] == "probes"]
    assert probes["saves"] == pytest.approx(0.08 * 0.06 * 30 * 5 / 6, rel=0.01) and probes["after"] is None
    assert "memory" not in {each["kind"] for each in said["changes"]}  # nothing ever had to go


def test_a_section_without_a_value_is_as_none(tmp_path: Path, log: Path) -> None:
    assert run("--config", written(tmp_path, cache=None), "--log", log).exit_code == 0


def test_all_of_the_log_can_not_be_to_warm_up(tmp_path: Path, log: Path) -> None:
    found = run("--config", written(tmp_path), "--log", log, "--warm-up", "100%")

    assert found.exit_code == 2 and "--warm-up 100%: expected less than the whole log" in found.stderr


def test_without_prices_bytes_are_saved(tmp_path: Path, log: Path) -> None:
    config = written(tmp_path, origins={"fra": {"provider": "http", "endpoint": "http://127.0.0.1:1"}})

    said = plain("--config", config, "--log", log)

    assert said["unit"] == "bytes" and said["now"]["month"] > 1e9
    assert "provider" not in {each["kind"] for each in said["changes"]} and said["changes"]


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--sample", "0"), "--sample 0: expected a share above 0"), (("--warm-up", "x"), "--warm-up x: expected")],
)
def test_options_that_cant_be_used_are_named(tmp_path: Path, log: Path, options: tuple[str, ...], said: str) -> None:
    found = run("--config", written(tmp_path), "--log", log, *options)

    assert found.exit_code == 2 and said in found.stderr
