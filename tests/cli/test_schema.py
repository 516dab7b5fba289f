"""The schema for editors, and the example: both say what the settings are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from shield.cli.schema import json_schema
from shield.config.settings import Settings
from shield.config.shape import all_keys
from tests.ground import DOCUMENTED, Ground

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_the_schema_that_is_kept_is_current() -> None:
    assert (CONFIG / "shield.schema.json").read_text() == json_schema(), "shield schema > config/shield.schema.json"


@pytest.mark.parametrize("text", [DOCUMENTED, (CONFIG / "shield.yaml").read_text()], ids=["documented", "example"])
def test_the_schema_accepts_what_is_accepted(text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")

    jsonschema.validate(yaml.safe_load(text), json.loads(json_schema()))


def test_every_key_says_what_it_is_for() -> None:
    made = json.loads(json_schema())
    sections = {"": made, **made["$defs"]}
    lacking = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, about in section.get("properties", {}).items()  # enumerations have none
        if len(about.get("description", "")) < 10 and "$ref" not in about  # a section says it itself
    ]

    assert not lacking


def test_the_example_lacks_nothing_but_credentials(ground: Ground) -> None:
    text = (CONFIG / "shield.yaml").read_text()

    keys = [f"origins.{name}.{key}" for name in ("fra", "iad") for key in ("access_key_id", "secret_key")]
    assert [problem.split(": ")[1] for problem in ground.problems(text)] == keys

    environ = {f"SHIELD_{key.replace('.', '__').upper()}": "x" for key in keys}
    assert ground.load(text, **environ).notes == ()


def test_the_example_has_every_key_with_its_default() -> None:
    lines = (CONFIG / "shield.yaml").read_text().splitlines()
    seen = {match[1] for line in lines if (match := re.match(r"[ #]*([a-z_0-9]+):", line))}

    assert {key.split("__")[-1] for key in all_keys({})} <= seen

    given = yaml.safe_load((CONFIG / "shield.yaml").read_text())
    plain = Settings.model_validate({key: value for key, value in given.items() if key in ("node", "origins")})
    assert Settings.model_validate({**given, "routes": {"default": {}}}) == plain
