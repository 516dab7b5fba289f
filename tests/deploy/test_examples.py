"""The examples in config/ can be used as they are, and the secrets that they need are those that they name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shield.config.settings import Settings
from tests.deploy.settings import checked, wanted
from tests.deploy.tools import ROOT

EXAMPLES = {path.stem: path for path in sorted((ROOT / "config").glob("*.yaml"))}
OURS = ["one-machine", "on-prem-and-cloud", "three-clouds"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_can_be_used(name: str, tmp_path: Path) -> None:
    assert checked(EXAMPLES[name].read_text(), tmp_path).origins


@pytest.mark.parametrize("name", OURS)
def test_it_names_the_secrets_that_it_needs(name: str) -> None:
    text = EXAMPLES[name].read_text()
    comment = text[: text.index("\nnode:")]

    for secret in wanted(yaml.safe_load(text)):
        origin = secret.split("__")[1]
        assert secret in comment or secret.replace(origin, "NAME") in comment, secret


@pytest.mark.parametrize("name", OURS)
def test_its_listeners_admit_only_the_cdn_and_its_disks_are_used(name: str, tmp_path: Path) -> None:
    settings = checked(EXAMPLES[name].read_text(), tmp_path)

    assert settings.access is not None and settings.access.required()
    assert settings.cache.tiers
    assert settings.workers > 1


def test_that_of_two_places_tries_the_near_one_first_and_gives_up_before_cdns_do(tmp_path: Path) -> None:
    settings: Settings = checked(EXAMPLES["on-prem-and-cloud"].read_text(), tmp_path)

    assert list(settings.origins) == ["ceph", "cloud"]
    attempts = sum(o.timeouts.connect + o.timeouts.first_byte for o in settings.origins.values())
    assert settings.failover.deadline < 15 and attempts > settings.failover.deadline > attempts / 2
