"""deploy/compose.yaml and the Nomad job: they are well-formed and agree with the settings that they carry."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from shield.config.loading import load
from shield.config.section import ListenAddress
from shield.config.settings import Settings
from tests.deploy.settings import checked
from tests.deploy.tools import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE: Mapping[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SHIELD = COMPOSE["services"]["shield"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """As the container sees them: its file and its secrets."""
    for name in SHIELD["secrets"]:
        (tmp_path / name).write_bytes((DEPLOY / COMPOSE["secrets"][name]["file"]).read_bytes())
    return load(DEPLOY / "compose/shield.yaml", environ={}, secret_directories=[tmp_path]).settings


def test_it_is_what_the_compose_specification_wants() -> None:
    compose_spec = pytest.importorskip("compose_spec")

    made = compose_spec.PyCompose.from_json(json.dumps(COMPOSE))
    made.validate()

    assert set(made.service_names()) == set(COMPOSE["services"])


def test_files_that_it_names_are_there() -> None:
    named = [secret["file"] for secret in COMPOSE["secrets"].values()]
    for service in COMPOSE["services"].values():
        named += [v.split(":")[0] for v in service.get("volumes", ()) if v.startswith(".")]

    assert named
    for name in named:
        assert (DEPLOY / name).exists(), name
    assert (DEPLOY / SHIELD["build"]["context"] / SHIELD["build"]["dockerfile"]).exists()


def test_volumes_and_services_that_are_referred_to_are_there() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source.startswith(".") or source in COMPOSE["volumes"]
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"])


def test_images_have_a_version_and_ports_are_for_this_machine() -> None:
    for name, service in COMPOSE["services"].items():
        if "build" not in service:
            assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", service["image"]), name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_the_nodes_origins_are_the_services_with_their_keys(settings: Settings) -> None:
    for name, origin in settings.origins.items():
        service = COMPOSE["services"][name]
        assert origin.endpoint == f"http://{name}{service['environment']['RUSTFS_ADDRESS']}"
        assert origin.access_key_id is not None and origin.secret_key is not None
        assert origin.access_key_id.get_secret_value() == service["environment"]["RUSTFS_ACCESS_KEY"]
        assert origin.secret_key.get_secret_value() == service["environment"]["RUSTFS_SECRET_KEY"]


def test_the_node_can_stop_in_time_and_write_where_it_must(settings: Settings) -> None:
    assert int(SHIELD["stop_grace_period"].removesuffix("s")) >= settings.drain.delay + settings.drain.timeout + 5.0
    (tier,) = settings.cache.tiers
    mounted = [volume.split(":")[1] for volume in SHIELD["volumes"] if volume.startswith("cache:")]
    assert str(tier.directories[0].path).startswith(f"{mounted[0]}/")
    assert SHIELD["read_only"] is True and any(mount.startswith("/tmp") for mount in SHIELD["tmpfs"])


def test_prometheus_scrapes_the_nodes_admin_listener(settings: Settings) -> None:
    scrape = yaml.safe_load((DEPLOY / "compose/prometheus.yaml").read_text())["scrape_configs"][0]

    assert isinstance(settings.admin.listen, ListenAddress)
    assert scrape["static_configs"] == [{"targets": [f"shield:{settings.admin.listen.port}"]}]


def test_prometheus_and_grafana_read_the_rules_and_the_dashboard_from_where_they_are_mounted() -> None:
    rules = yaml.safe_load((DEPLOY / "compose/prometheus.yaml").read_text())["rule_files"]
    (provider,) = yaml.safe_load((DEPLOY / "compose/grafana/dashboards/provider.yaml").read_text())["providers"]
    mounted = {}
    for name in ("prometheus", "grafana"):
        for volume in COMPOSE["services"][name]["volumes"]:
            source, target, *_ = volume.split(":")
            mounted[target] = DEPLOY / source

    assert [mounted[path].name for path in rules] == ["shield.rules.yaml"]
    assert (mounted[provider["options"]["path"]] / "shield.json").is_file()


def test_the_nomad_job_is_well_formed_and_gives_the_node_time_to_stop(tmp_path: Path) -> None:
    hcl2 = pytest.importorskip("hcl2")
    with (DEPLOY / "nomad/shield.nomad.hcl").open() as file:
        job = hcl2.load(file)
    settings = checked((ROOT / "config/one-machine.yaml").read_text(), tmp_path)

    text = (DEPLOY / "nomad/shield.nomad.hcl").read_text()
    assert set(job) >= {"variable", "job"}
    kill = re.search(r'kill_timeout = "(\d+)s"', text)
    assert kill is not None and int(kill[1]) >= settings.drain.delay + settings.drain.timeout + 5.0
