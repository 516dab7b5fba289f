"""The handbook agrees with the program: commands, settings, calls, metrics, faults, messages and alarms that it names
exist, and none is missing where it lists them all."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from shield.cli.options import begin_run
from shield.config.reference import find, reference
from shield.errors import Fault
from shield.rules.alarms import KINDS, AlarmKind
from tests.documents import DOCUMENTS, HANDBOOK, PRESENT, ROOT, parser, section_of
from tests.references import NodeReference


def _lines() -> list[tuple[str, str]]:
    """Commands that stand in lines of their own, and their documents."""
    found = []
    for document in DOCUMENTS:
        text = re.sub(r"\\\n\s*", " ", (ROOT / document).read_text())
        for line in re.findall(r"^(?: {4}|```\n)(.*\bshield [a-z].*)$", text, re.MULTILINE):
            for piece in re.split(r" && | [|>] ", re.sub(r"\s#.*", "", line)):
                if command := re.match(
                    r"(?:\$ )?(?:sudo (?:systemd-run .*/credentials )?)?(?:\.venv/bin/)?(shield [a-z].*)", piece
                ):
                    found.append((document, command[1].strip()))
    return found


@pytest.mark.parametrize("command", sorted({command for _, command in _lines()}))
def test_a_command_in_a_line_of_its_own_is_one(command: str) -> None:
    try:
        parser().main(shlex.split(command)[1:], standalone_mode=False)
    finally:
        begin_run()  # other tests in this process have no --token-file


def test_every_command_is_shown_in_the_handbook() -> None:
    shown = {command for _, command in _lines()}

    assert len(shown) > 30
    assert {command.split()[1] for command in shown} >= set(parser().commands) - {
        "trial",
        "precompile",
        "demo",
        "schema",
    }


@pytest.mark.parametrize("document", PRESENT)
def test_commands_in_a_sentence_exist_with_their_options(document: str) -> None:
    for words in re.findall(r"`shield ([^`]+)`", (ROOT / document).read_text()):
        command, rest = parser(), shlex.split(re.sub(r"[][]", " ", words))
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        assert not getattr(command, "commands", {}) or not rest or rest[0].startswith(("-", "COMMAND", "OPTIONS")), (
            words
        )
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in rest if word.startswith("-")} <= options, words


SECTIONS = {group.path.split(".")[0] for group in reference() if group.path}


@pytest.mark.parametrize("document", PRESENT)
def test_settings_that_are_named_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = {
        path
        for path in re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)+)(?::[^`]*)?`", text)
        if path.split(".")[0] in SECTIONS
    }

    assert [path for path in sorted(named) if not find(path)] == []


def test_settings_in_remedies_of_alarms_exist() -> None:
    named = {path for terms in KINDS.values() for path in re.findall(r"\b([a-z_]+\.[a-z_.]+[a-z])\b", terms.remedy)}

    assert [path for path in sorted(named) if not find(path)] == []


def _first_cells(section: str) -> list[str]:
    return re.findall(r"^\| (.*?) \|", section, re.MULTILINE)


@pytest.fixture(scope="module")
def node_reference(tmp_path_factory: pytest.TempPathFactory) -> NodeReference:
    return NodeReference.of_a_node(tmp_path_factory.mktemp("disk"))


def _explained_metrics() -> dict[str, set[str]]:
    """Metrics that are explained, without prefix and suffix, and their labels."""
    found = re.findall(r"`shield_(\w+?)(?:_total)?(?:\{([^}]*)\})?`", section_of("metrics.md", "What they mean"))
    labels: dict[str, set[str]] = {}
    for name, shown in found:
        named = {label for label in shown.split(",") if label and "=" not in label}
        labels[name] = labels.get(name, set()) | named
    return labels


def test_the_handbook_explains_every_metric_and_no_other(node_reference: NodeReference) -> None:
    assert set(_explained_metrics()) == {family.name for family in node_reference.families}


def test_the_handbook_has_the_labels_of_metrics(node_reference: NodeReference) -> None:
    for family in node_reference.families:
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        if family.samples:
            assert labels == _explained_metrics()[family.name], family.name


@pytest.mark.parametrize("name", ["metrics.md", "admin.md"])
def test_the_generated_part_of_a_page_is_current(name: str, node_reference: NodeReference) -> None:
    page = (ROOT / "docs" / name).read_text()

    assert page == node_reference.page(name), "nox -s docs, or python -m tests.references"


@pytest.mark.parametrize("document", ["README.md", *HANDBOOK])
def test_calls_of_the_admin_api_that_are_shown_exist(document: str, node_reference: NodeReference) -> None:
    text = (ROOT / document).read_text()
    calls = {(method.upper(), path) for path, methods in node_reference.calls["paths"].items() for method in methods}
    shown = {
        ("", path) for path in re.findall(r"(?:127\.0\.0\.1:9180|admin\.sock http://localhost)(/[\w/.-]*)", text)
    }
    shown |= set(re.findall(r"`(GET|POST|PUT|DELETE) (/[\w/{}.-]*)`", text))

    def exists(method: str, path: str) -> bool:
        return any(
            method in ("", other) and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
            for other, template in calls
        )

    assert [call for call in sorted(shown) if not exists(*call)] == []


def test_the_handbook_has_every_fault_and_no_other() -> None:
    shown = {
        name
        for cell in _first_cells(section_of("messages.md", "Faults"))
        for name in re.findall(r"`([a-z-]+)`", cell)
    }

    assert shown == {fault.value for fault in Fault}


def _explained() -> list[str]:
    """What the node says, in the first cells of tables that explain it."""
    oncall = (ROOT / "docs/oncall.md").read_text()
    tables = [section_of("messages.md", "Log"), *re.findall(r"(?:^\|.*\n)+", oncall, re.MULTILINE)]
    tables = [
        table for table in tables if re.search(r"^\| (?:message|the drill ended since) \|", table, re.MULTILINE)
    ]
    return [
        message for table in tables for cell in _first_cells(table)[2:] for message in re.findall(r"`([^`]+)`", cell)
    ]


def test_messages_that_the_handbook_explains_are_those_of_the_node() -> None:
    source = "\n".join(_strings(path) for path in (ROOT / "shield").rglob("*.py"))

    assert len(_explained()) > 60
    for message in _explained():
        for piece in re.split(r"\.\.\.|[+-]?\d[\d.:]*|\bN\b|fra\b|listen|state_directory", message):
            assert piece.strip(" :;-") in source, message


def test_alarms_are_listed_with_their_severities_and_lead_to_their_runbooks() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| (\w+) \| .* \| \[.+\]\((.+)\) \|$", section_of("monitoring.md", "Alarms"), re.MULTILINE
    )

    kinds = {kind: terms for kind, terms in KINDS.items() if kind is not AlarmKind.TEST}
    assert rows == [(kind.value, terms.severity.value, terms.runbook) for kind, terms in kinds.items()]


def test_remedies_of_alarms_name_commands_that_exist() -> None:
    named = {words for terms in KINDS.values() for words in re.findall(r"\bshield ((?:[a-z]+ ?)+)", terms.remedy)}

    assert len(named) > 5
    for words in named:
        first, *more = words.split()
        command = parser().commands[first]
        is_alone = not more and getattr(command, "invoke_without_command", False)
        assert is_alone or not getattr(command, "commands", {}) or more[0] in command.commands, words


def _strings(path: Path) -> str:
    """All strings of a module: literals that are one after another are one."""
    found = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    return "\n".join(value for value in found if isinstance(value, str))
