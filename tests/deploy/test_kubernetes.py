"""Kubernetes manifests: they are what the cluster's schemas want, and agree with the settings that they carry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from shield.config.section import ListenAddress
from shield.config.settings import Settings
from shield.config.shape import resolve
from shield.config.units import parse_size
from tests.deploy.settings import checked, wanted
from tests.deploy.tools import ROOT, program, run

KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE, EXAMPLE = KUBERNETES / "base", KUBERNETES / "example"
KINDS_OF_OTHERS = {"Kustomization", "Component", "ServiceMonitor", "PrometheusRule"}  # no schema of Kubernetes' own
CONFIGS = [BASE / "shield.yaml", EXAMPLE / "shield.yaml"]


def documents() -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name != "shield.yaml":
            for document in yaml.safe_load_all(path.read_text()):
                yield path, document


def of_kind(kind: str, name: str = "shield") -> Mapping[str, Any]:
    (found,) = [one for _, one in documents() if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def pod() -> Mapping[str, Any]:
    spec: Mapping[str, Any] = of_kind("StatefulSet")["spec"]["template"]["spec"]
    return spec


def container() -> Mapping[str, Any]:
    (made,) = pod()["containers"]
    return dict(made)


@pytest.fixture(params=CONFIGS, ids=lambda path: path.parent.name)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return checked(request.param.read_text(), tmp_path)


def built(directory: Path) -> list[Mapping[str, Any]]:
    return list(yaml.safe_load_all(run(program("kubectl"), "kustomize", directory)))


def against_schemas(document: Mapping[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(document, validate.latest_version(), strict=True)


def test_every_manifest_is_used() -> None:
    used = set()
    for path, document in documents():
        if document["kind"] in ("Kustomization", "Component"):
            used |= {(path.parent / name).resolve() for name in document.get("resources", [])}

    assert {path for path, _ in documents() if path.name != "kustomization.yaml"} == {
        path for path in used if path.is_file()
    }


@pytest.mark.parametrize("directory", [BASE, EXAMPLE], ids=lambda path: path.name)
def test_what_kustomize_builds_is_what_the_cluster_wants(directory: Path) -> None:
    kinds = []
    for document in built(directory):
        kinds.append(document["kind"])
        if document["kind"] not in KINDS_OF_OTHERS:
            against_schemas(document)

    assert kinds.count("Service") == 2 and {"StatefulSet", "NetworkPolicy", "PodDisruptionBudget"} <= set(kinds)


def test_what_the_example_builds_refers_only_to_what_it_has() -> None:
    made = {(one["kind"], one["metadata"]["name"]): one for one in built(EXAMPLE)}
    spec = made["StatefulSet", "shield"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}

    assert ("ConfigMap", volumes["config"]["configMap"]["name"]) in made
    assert ("Secret", volumes["credentials"]["secret"]["secretName"]) in made
    assert ("Service", spec["serviceName"]) in made
    mounted = {mount["name"] for mount in spec["template"]["spec"]["containers"][0]["volumeMounts"]}
    claims = {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    assert mounted == set(volumes) | claims


def test_services_put_no_variables_into_the_environment_that_would_be_taken_for_settings() -> None:
    assert pod()["enableServiceLinks"] is False
    for variable in container()["env"]:
        assert resolve(variable["name"].removeprefix("SHIELD_").lower().split("__")) is not None


def test_ports_and_probes_are_those_of_the_listeners(settings: Settings) -> None:
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}

    assert isinstance(settings.admin.listen, ListenAddress)
    assert [address.port for address in settings.listen] == [ports["http"]]
    assert settings.admin.listen.port == ports["admin"]
    assert settings.admin.listen.host == "0.0.0.0", "the kubelet's probes come from outside of the pod"
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container()[name]["httpGet"]["port"] == "admin"
        assert container()[name]["httpGet"]["path"] == ("/ready" if name == "readinessProbe" else "/live")


def test_a_node_has_time_to_drain_and_endpoints_to_forget_it(settings: Settings) -> None:
    probe = container()["readinessProbe"]

    assert pod()["terminationGracePeriodSeconds"] >= settings.drain.delay + settings.drain.timeout + 5.0
    assert settings.drain.delay >= probe["periodSeconds"] * probe["failureThreshold"]


def test_the_cache_fits_into_its_volume_and_what_is_in_ram_into_its_limit(settings: Settings) -> None:
    (claim,) = of_kind("StatefulSet")["spec"]["volumeClaimTemplates"]
    volume = parse_size(f"{claim['spec']['resources']['requests']['storage']}B")
    limit = parse_size(f"{container()['resources']['limits']['memory']}B")
    (tier,) = settings.cache.tiers
    (directory,) = tier.directories

    assert directory.capacity + directory.free_floor < volume * 0.95  # the file system's own share
    assert settings.cache.memory.capacity + settings.cache.fills.memory + settings.workers * (300 << 20) < limit
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert str(directory.path).startswith(f"{mounts['cache']}/")


def test_nothing_of_the_pod_is_writable_but_the_cache_and_the_sockets() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] and pod()["automountServiceAccountToken"] is False
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    writable = {mount["name"] for mount in container()["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"cache", "sockets"}
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None and user.groups() == (
        str(pod()["securityContext"]["runAsUser"]),
        str(pod()["securityContext"]["runAsGroup"]),
    )


def test_the_admin_listener_is_open_to_monitoring_alone() -> None:
    rules = of_kind("NetworkPolicy")["spec"]["ingress"]

    (admin,) = [rule for rule in rules if {"port": "admin"} in rule["ports"]]
    assert admin["from"] and {"port": "http"} not in admin["ports"]
    (endpoint,) = of_kind("ServiceMonitor")["spec"]["endpoints"]
    names = {port["name"] for port in of_kind("Service", "shield-nodes")["spec"]["ports"]}
    assert endpoint["port"] in names and endpoint["path"] == "/metrics"


def test_the_examples_secrets_are_those_that_its_settings_need() -> None:
    given = [line.partition("=")[0] for line in (EXAMPLE / "credentials.env").read_text().splitlines()]

    assert sorted(given) == sorted(wanted(yaml.safe_load((EXAMPLE / "shield.yaml").read_text())))
    (mount,) = [m["mountPath"] for m in container()["volumeMounts"] if m["name"] == "credentials"]
    assert mount == "/run/secrets"
