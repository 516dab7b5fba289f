"""`shield prices` shows list prices, and those of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shield.cli.prices import prices


def test_list_prices_are_shown_with_source_and_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert prices() == 0

    said = capsys.readouterr().out
    assert "aws-us-east-1" in said and "beyond 10 TiB: 0.085" in said and "2026-09-20" in said


def test_ones_own_list_prices_are_shown_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "shield.yaml"
    settings: dict[str, object] = {"origins": {"fra": {"provider": "http", "endpoint": "http://127.0.0.1:1"}}}
    acme = {"egress": 0.05, "read": "2026-11-01", "source": "contract 4711", "zone": "Asia/Shanghai"}
    settings["price_list"] = {"acme": acme, "r2": {"egress": 7}}
    config.write_text(yaml.safe_dump(settings))

    assert prices(config) == 0

    said = capsys.readouterr().out
    assert "contract 4711" in said and "Asia/Shanghai" in said and "7 USD" in said and "0.00036" not in said
    assert said.index("acme") < said.index("aws-us-east-1")
    assert prices(config.with_name("none.yaml")) == 2
