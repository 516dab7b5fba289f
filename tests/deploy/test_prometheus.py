"""deploy/prometheus and deploy/grafana: promtool accepts them, and they agree with the metrics and the handbook."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest import recordings
from shield.observe.metrics import Metrics
from tests.deploy.tools import ROOT, program, run
from tests.disks import with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield
from tests.references import NodeReference

PROMETHEUS = ROOT / "deploy/prometheus"
RULES = PROMETHEUS / "shield.rules.yaml"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yaml"))
DASHBOARD: Mapping[str, Any] = json.loads((ROOT / "deploy/grafana/shield.json").read_text())
FIGURES = "".join([path.read_text() for path in (ROOT / "shield").glob("*figures.py")])
FIGURES += (ROOT / "shield/families.py").read_text() + (ROOT / "shield/observe/lags.py").read_text()


def rules() -> list[Mapping[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, Mapping[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def targets() -> Iterator[tuple[str, str]]:
    """The dashboard's expressions, by the titles of their panels."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Of all series that a node has."""
    found = set()
    for metric in Metrics(lambda: NodeReference.of_a_node(tmp_path_factory.mktemp("node")).families).collect():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        found |= {metric.name + ending for ending in endings}
    return frozenset(found)


def check_expression(expression: str, names: frozenset[str]) -> None:
    """It names metrics and labels that there are, and records of the rules."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for record in re.findall(r"\w+:shield_\w+(?::\w+)?", expression):
        assert record in recorded, f"{expression}: no record {record}"
    bare = re.sub(r"\w+:shield_\w+(?::\w+)?", "", expression)
    for name in re.findall(r"\bshield_\w+", bare):
        assert name in names, f"{expression}: no metric {name}"
    labels = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", bare)
    labels += [word for by in re.findall(r"(?:by|on) \(([^)]*)\)", bare) for word in by.split(", ") if word]
    for label in set(labels) - {"job", "instance", "le", "alertname"}:
        assert f'"{label}"' in FIGURES, f"{expression}: no label {label}"


def test_promtool_has_nothing_to_say_about_the_metrics_of_a_node(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/a", b"hello", lifetime=60)
    origin.fails("/broken", "InternalError")
    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        for target in ("/a", "/a", "/broken", "/absent"):
            shield.get(target)
        file = tmp_path / "metrics.txt"
        file.write_text(recordings.scraped(shield))

    said = run("bash", "-c", f"{program('promtool')} check metrics < {file}")

    assert said == ""


def test_promtool_accepts_the_rules() -> None:
    assert f"SUCCESS: {len(rules())} rules found" in run(program("promtool"), "check", "rules", RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_must_and_not_before(path: Path) -> None:
    assert "SUCCESS" in run(program("promtool"), "test", "rules", path)


def test_every_alert_has_a_test_in_which_it_fires_alone() -> None:
    fired = set()
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for query in test.get("promql_expr_test", ()):
                for sample in query["exp_samples"]:
                    fired |= set(re.findall(r'alertname="(\w+)"', sample["labels"]))

    assert fired == set(alerts())


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["origins-down", "disk-out"])
def test_a_recording_of_today_says_the_same(fault: str, tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    (tmp_path / "tests").mkdir()

    assert recordings.main(["--only", fault, "--directory", str(tmp_path / "tests")]) == 0

    assert "SUCCESS" in run(program("promtool"), "test", "rules", tmp_path / "tests" / f"{fault}.yaml")


def test_every_fault_that_is_recorded_has_its_file() -> None:
    assert {path.stem for path in TESTS} == {"written", *recordings.FAULTS}


def test_values_are_written_as_promtool_reads_them() -> None:
    assert recordings.packed([None, None, 1.0, 1.0, 1.0, 2.5, None]) == "_x2 1x2 2.5 _"


def test_a_recording_keeps_its_series_in_step() -> None:
    made = recordings.Recording(("shield_a", "shield_b"), {"ShieldDown": 1})

    made.take("shield_a_total 1.0\nshield_a_created 7.0\nshield_other 3.0\n")
    made.begin_fault()
    made.take('shield_a_total 2.0\nshield_b{origin="fra"} 5.0\n')
    made.take('shield_b{origin="fra"} 5.0\n')

    assert {key.partition("{")[0]: values for key, values in made.series.items()} == {
        "shield_a_total": [1.0, 2.0, None],
        "shield_b": [None, 5.0, 5.0],
    }
    (test,) = yaml.safe_load(made.text("A test"))["tests"]
    assert [query["eval_time"] for query in test["promql_expr_test"]] == ["0m", "2m"]
    assert test["input_series"][1]["series"].endswith('instance="node-1:9180",origin="fra"}')


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_read_metrics_that_there_are(rule: Mapping[str, Any], names: frozenset[str]) -> None:
    check_expression(rule["expr"], names)


def test_the_dashboard_reads_metrics_that_there_are(names: frozenset[str]) -> None:
    shown = list(targets())

    assert len(shown) > 50
    for _, expression in shown:
        check_expression(expression, names)


def test_promtool_accepts_the_dashboards_expressions(tmp_path: Path) -> None:
    """As records of rules, with Grafana's variables filled in."""
    made = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "1m").replace("$instance", ".*")}
        for number, (_, expr) in enumerate(targets())
    ]
    file = tmp_path / "dashboard.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": made}]}))

    assert "SUCCESS" in run(program("promtool"), "check", "rules", "--lint=none", file)


def test_panels_neither_overlap_nor_share_a_number() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))


def test_every_alert_says_what_to_do_in_a_section_of_the_handbook_and_none_is_left_over() -> None:
    page = (ROOT / "docs/alerts.md").read_text()
    sections = re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)

    anchors = set()
    for name, alert in alerts().items():
        assert alert["labels"]["severity"] in ("page", "ticket"), name
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}, name
        where, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert where == "docs/alerts.md", name
        anchors.add(anchor)
        assert name in page
    assert {name.lower() for name, _ in sections} == anchors
    for name, text in sections:
        assert re.search(r"^- Look: .*^- Do: ", text, re.MULTILINE | re.DOTALL), name


def test_the_rules_of_the_operator_are_these() -> None:
    made = yaml.safe_load((ROOT / "deploy/kubernetes/monitoring/prometheusrule.yaml").read_text())

    assert made["spec"] == yaml.safe_load(RULES.read_text()), "run deploy/prometheus/operator.sh"
