"""Configuration of CDNs and policies of providers: well-formed, complete, and of one mind with Shield."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shield.config.settings import Settings
from shield.rules.providers import PROVIDERS
from tests.deploy.settings import checked
from tests.deploy.tools import ROOT

CDN, IAM = ROOT / "deploy" / "cdn", ROOT / "deploy" / "iam"
PAGES = sorted(path.stem for path in CDN.glob("*.md") if path.stem != "README")
TOPICS = ["Access", "Health check", "Keep-alive", "Collapse and tiering", "Cache key", "Time limits"]


def terraform(name: str) -> str:
    return (CDN / f"{name}.tf").read_text()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return checked((ROOT / "config" / "one-machine.yaml").read_text(), tmp_path)


@pytest.mark.parametrize("name", PAGES)
def test_its_configuration_is_well_formed(name: str) -> None:
    hcl2 = pytest.importorskip("hcl2")
    with (CDN / f"{name}.tf").open() as file:
        made = hcl2.load(file)

    assert made["resource"] and made["terraform"]


@pytest.mark.parametrize("name", PAGES)
def test_variables_and_resources_that_are_referred_to_are_there(name: str) -> None:
    text = terraform(name)
    variables = set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))
    resources = set(re.findall(r'^resource "(\w+)" "(\w+)"', text, re.MULTILINE))

    assert set(re.findall(r"\bvar\.(\w+)", text)) == variables
    providers = "|".join({kind.split("_")[0] for kind, _ in resources})
    assert set(re.findall(rf"\b((?:{providers})_\w+)\.(\w+)(?:\[[^]]*\])?\.id\b", text)) <= resources


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_all_that_one_needs_and_leads_to_its_configuration(name: str) -> None:
    page = (CDN / f"{name}.md").read_text()

    assert [topic for topic in TOPICS if f"**{topic}.**" not in page] == []
    assert f"({name}.tf)" in page and f"({name}.md)" in (CDN / "README.md").read_text()


@pytest.mark.parametrize("name", [name for name in PAGES if name != "dns-failover"])
def test_the_secret_is_sent_in_the_field_of_the_examples_and_is_not_in_the_file(
    name: str, settings: Settings
) -> None:
    assert settings.access is not None and settings.access.header is not None
    text = terraform(name)

    assert settings.access.header.name.lower() in text.lower()
    assert re.search(r'variable "shield_secret" \{[^}]*sensitive\s*=\s*true', text)


@pytest.mark.parametrize("name", ["cloudflare", "fastly", "dns-failover"])
def test_health_is_checked_on_a_path_that_examples_leave_open(name: str, settings: Settings) -> None:
    (path,) = re.findall(r'\b(?:resource_)?path\s*=\s*"([^"]*)"', terraform(name))

    (route,) = [name for name, route in settings.routes.items() if route.match == path]
    assert settings.routes[route].access == ()


def test_time_limits_of_cdns_leave_time_for_a_failover(settings: Settings) -> None:
    limits = {
        "fastly first byte": _number("fastly", "first_byte_timeout") / 1000,
        "fastly health": _number("fastly", r"\n    timeout") / 1000,
        "cloudflare health": _number("cloudflare", r"\btimeout"),
        "cloudfront": _number("cloudfront", "origin_read_timeout"),
        "bunny": _number("bunny", "safehop_response_timeout"),
        "bunny coalescing": _number("bunny", "request_coalescing_timeout"),
    }

    assert {name: limit for name, limit in limits.items() if limit <= settings.failover.deadline} == {}


def test_idle_connections_are_closed_by_the_cdn_first(settings: Settings) -> None:
    assert _number("fastly", "keepalive_time") < settings.limits.keep_alive
    assert _number("cloudfront", "origin_keepalive_timeout") < settings.limits.keep_alive


def _number(name: str, key: str) -> float:
    found = re.search(rf"{key}\s*=\s*(\d+)", terraform(name))
    assert found is not None, f"{name}: {key}"
    return float(found[1])


@pytest.mark.parametrize("path", sorted([*CDN.glob("*.md"), *IAM.glob("*.md")]), ids=lambda path: path.stem)
def test_links_lead_somewhere_and_keys_that_are_named_are_settings(path: Path) -> None:
    text = path.read_text()
    known = yaml.safe_dump(Settings.model_json_schema())

    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (path.parent / target).exists(), target
    for key in re.findall(r"`(?:access|freshness|limits|failover|drain)\.([\w.]+)", text):
        for part in key.split("."):
            assert part in known, key


# Policies.


def test_every_provider_that_signs_has_a_policy_that_the_page_explains() -> None:
    page = (IAM / "README.md").read_text()
    signing = {name for name, provider in PROVIDERS.items() if provider.signed} - {"swift"}  # has no policies

    assert {path.stem for path in IAM.glob("*.json")} == signing
    for name in signing:
        assert f"| {name} | [{name}.json]({name}.json) |" in page


@pytest.mark.parametrize("name", ["aws", "wasabi", "minio", "ceph"])
def test_a_policy_lets_read_objects_and_list_their_bucket_and_nothing_else(name: str) -> None:
    policy: dict[str, Any] = json.loads((IAM / f"{name}.json").read_text())

    allowed = {(one["Effect"], one["Action"], one["Resource"]) for one in policy["Statement"]}
    assert allowed == {
        ("Allow", "s3:GetObject", "arn:aws:s3:::BUCKET/*"),
        ("Allow", "s3:ListBucket", "arn:aws:s3:::BUCKET"),
    }


def test_those_of_other_kinds_read_and_list_too() -> None:
    gcs, b2, r2 = (json.loads((IAM / f"{name}.json").read_text()) for name in ("gcs", "b2", "r2"))

    assert gcs["includedPermissions"] == ["storage.objects.get", "storage.objects.list"]
    assert b2["capabilities"] == ["readFiles", "listFiles"] and b2["bucketId"]
    (policy,) = r2["policies"]
    assert [group["name"] for group in policy["permission_groups"]] == ["Workers R2 Storage Bucket Item Read"]
    assert all(resource.endswith("_BUCKET") for resource in policy["resources"])
