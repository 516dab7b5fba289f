"""Documents agree with the code: diagrams have the states of the enums, terms name existing classes, links resolve,
configurations pass the check, commands exist, examples give the output that is shown."""

from __future__ import annotations

import ast
import hashlib
import hmac
import re
import shlex
import subprocess
import sys
from enum import Enum
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from typer.main import get_command

import shield
from shield.cli import _app
from shield.cli.check import check
from shield.cli.explain import explain
from shield.config.reference import find, reference
from shield.config.settings import Settings
from shield.errors import Fault
from shield.fill.readers import Phase
from shield.rules.alarms import KINDS, AlarmKind
from shield.rules.verdict import Verdict
from tests.architecture import source_of
from tests.references import NodeReference

ROOT = Path(__file__).parents[1]
HANDBOOK = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", *HANDBOOK, "loadtest/README.md"]
DOCUMENTS += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy").rglob("*.md"))


def _diagram(heading: str) -> str:
    """The Mermaid block below a heading of the architecture."""
    section = re.split(r"^## ", (ROOT / "docs/architecture.md").read_text(), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(f"{heading}\n")]
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    assert isinstance(diagram, str)
    return diagram


def _arrows(diagram: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^\s*(\S+) --> ([^\s:]+)", diagram, re.MULTILINE))


def _states(diagram: str) -> set[str]:
    """Those that stand for values of an enum: in capitals."""
    return {name for arrow in _arrows(diagram) for name in arrow if name.isupper()}


@pytest.mark.parametrize(("heading", "states"), [("A request", Verdict), ("A fill", Phase)], ids=["request", "fill"])
def test_a_diagram_has_the_states_of_the_code(heading: str, states: type[Enum]) -> None:
    assert _states(_diagram(heading)) == {state.name for state in states}


@pytest.mark.parametrize("heading", ["A request", "A fill"])
def test_every_state_of_a_diagram_is_reached_and_left(heading: str) -> None:
    arrows = _arrows(_diagram(heading))

    names = {name for arrow in arrows for name in arrow} - {"[*]"}
    assert {target for _, target in arrows} - {"[*]"} == names
    assert {source for source, _ in arrows} - {"[*]"} == names


def _terms() -> list[tuple[str, str]]:
    """The terms of the glossary: each row's first and third column."""
    section = _section("glossary.md", "Terms")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    return [(row[0], row[2]) for row in rows[2:]]


def test_a_term_is_defined_once() -> None:
    terms = [term for terms, _ in _terms() for term in re.split("[,;] ", terms)]

    assert len(terms) > 50
    assert sorted(terms) == sorted(set(terms))


def test_the_classes_of_terms_exist() -> None:
    named = {name for _, names in _terms() for name in re.findall(r"`(\w+)`", names)}
    classes = {name for path in (ROOT / "shield").rglob("*.py") for name in source_of(path).classes()}

    assert len(named) > 25
    assert named - classes == set()


def _anchors(document: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = [re.sub(r"[^\w -]", "", it).lower().replace(" ", "-") for it in re.findall(r"^#+ (.*)$", text, re.M)]
    assert len(headings) == len(set(headings)), f"{document.name} has a heading twice"
    return set(headings)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        file = path.parent / target if target else path
        assert file.exists(), f"{document}: {target}"
        if anchor:
            assert anchor in _anchors(file), f"{document}: {target}#{anchor}"


def test_the_contents_of_the_handbook_name_every_page_once() -> None:
    shown = re.findall(r"^\| \[[^]]+\]\((\w[\w-]*\.md)\) \|", (ROOT / "docs/README.md").read_text(), re.MULTILINE)

    assert sorted(shown) == sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")


@pytest.mark.slow
def test_the_handbook_builds_as_a_site(tmp_path: Path) -> None:
    """By MkDocs, which complains of links, anchors and pages without a place in the contents."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", ".mkdocs.yml"]

    ended = subprocess.run([*command, "--site-dir", tmp_path], cwd=ROOT, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert '<h2 id="the-first-minute">' in (tmp_path / "docs/oncall/index.html").read_text()


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_are_there(document: str) -> None:
    for name in re.findall(r"`((?:shield|tests|config|deploy|docs)/[\w./-]+)`", (ROOT / document).read_text()):
        assert (ROOT / name).exists(), f"{document}: {name}"


def _blocks() -> list[tuple[str, str]]:
    """Configurations as printed, and their documents."""
    return [
        (document, block)
        for document in ("README.md", *HANDBOOK)
        for block in re.findall(r"```yaml\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    ]


def _is_whole(block: str) -> bool:
    return re.search("^origins:", block, re.MULTILINE) is not None


def _whole() -> str:
    """The one of the page on configuration, with two origins."""
    (whole,) = [block for document, block in _blocks() if document == "docs/configure.md" and _is_whole(block)]
    return whole


def _names(blocks: list[tuple[str, str]]) -> list[str]:
    return [f"{Path(document).stem}-{block.split(maxsplit=1)[0]}" for document, block in blocks]


WHOLE = [found for found in _blocks() if _is_whole(found[1])]
PARTS = [found for found in _blocks() if not _is_whole(found[1])]


@pytest.mark.parametrize(("document", "block"), WHOLE, ids=_names(WHOLE))
def test_a_whole_configuration_passes_the_check(
    document: str, block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shield.yaml"
    path.write_text(block)
    path.chmod(0o600)

    code = check(path)

    said = capsys.readouterr()
    assert (code, said.err) == (0, ""), document
    assert "settings can be used" in said.out


@pytest.mark.parametrize(("document", "block"), PARTS, ids=_names(PARTS))
def test_a_part_of_a_configuration_passes_the_check_within_the_whole(document: str, block: str) -> None:
    """`tls` and the files that it needs aside: they are no part of what is shown."""
    whole, part = yaml.safe_load(_whole()), yaml.safe_load(block)
    if "client_certificate" in part.get("access", {}):
        whole["tls"] = {"certificate_file": "/etc/shield/tls.pem", "key_file": "/etc/shield/tls.key"}

    Settings.model_validate({**whole, **part})


def test_what_is_shown_of_explain_is_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "shield.yaml"
    path.write_text(_whole())
    path.chmod(0o600)
    page = (ROOT / "docs/routing.md").read_text()
    shown = re.search(r"\$ shield explain .* '(\S+)'\n((?:    .*\n)+)", page)
    assert shown is not None

    assert explain(shown[1], path) == 0

    assert capsys.readouterr().out.startswith(dedent(shown[2]))


def test_what_is_shown_of_a_signature_is_right() -> None:
    page = (ROOT / "docs/security.md").read_text()
    shown = re.search(r"printf '%s\\n%s' (\S+) (\S+) \|.* -hmac (\S+)\n +([0-9a-f]+)\n", page)
    assert shown is not None
    path, expires, key, signature = shown.groups()

    assert hmac.new(key.encode(), f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest() == signature


@cache
def _parser() -> Any:
    """The command with all that it parses, that does nothing."""

    def emptied(command: Any) -> Any:
        command.callback = None
        for each in getattr(command, "commands", {}).values():
            emptied(each)
        return command

    return emptied(get_command(_app))


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
    _parser().main(shlex.split(command)[1:], standalone_mode=False)


def test_every_command_is_shown_in_the_handbook() -> None:
    shown = {command for _, command in _lines()}

    assert len(shown) > 30
    assert {command.split()[1] for command in shown} >= set(_parser().commands) - {"trial", "demo", "schema"}


@pytest.mark.parametrize("document", [it for it in DOCUMENTS if it != "CHANGELOG.md"])
def test_commands_in_a_sentence_exist_with_their_options(document: str) -> None:
    for words in re.findall(r"`shield ([^`]+)`", (ROOT / document).read_text()):
        command, rest = _parser(), shlex.split(re.sub(r"[][]", " ", words))
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        assert not getattr(command, "commands", {}) or not rest or rest[0].startswith(("-", "COMMAND", "OPTIONS")), (
            words
        )
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in rest if word.startswith("-")} <= options, words


SECTIONS = {group.path.split(".")[0] for group in reference() if group.path}


@pytest.mark.parametrize("document", [it for it in DOCUMENTS if it != "CHANGELOG.md"])
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


# the map

_MAP = re.search(r"^    __main__ .*?(?=^\S)", shield.__doc__ or "", re.DOTALL | re.MULTILINE)
_ROWS = {} if _MAP is None else dict(re.findall(r"^ {4}(\w+) +(.*\n(?: {5,}.*\n)*)", _MAP[0], re.MULTILINE))
_MODULES = sorted(
    path.relative_to(ROOT / "shield").with_suffix("").parts
    for path in (ROOT / "shield").rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("module", [parts for parts in _MODULES if parts[0] not in ("cli", "config")], ids="/".join)
def test_the_map_names_every_module(module: tuple[str, ...]) -> None:
    """But those of commands and of sections of the settings, which are named alike."""
    shown = _ROWS.get(module[0]) if len(module) > 1 else "\n".join([*_ROWS, *_ROWS.values()])

    assert shown is not None, "it has no row"
    assert re.search(rf"\b{module[-1]}\b", shown)


def test_the_map_names_no_module_that_is_gone() -> None:
    known = {part for module in _MODULES for part in module}

    assert set(_ROWS) <= known
    for row, text in _ROWS.items():
        assert set(re.findall(r"(?:^|[;:.,] )([a-z_]+)(?=/?: )", " ".join(text.split()))) <= known, row


# the handbook


def _section(page: str, heading: str) -> str:
    """A section of a page of the handbook."""
    text = (ROOT / "docs" / page).read_text()
    (section,) = [part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(f"{heading}\n")]
    return section


def _first_cells(section: str) -> list[str]:
    return re.findall(r"^\| (.*?) \|", section, re.MULTILINE)


@pytest.fixture(scope="module")
def node_reference(tmp_path_factory: pytest.TempPathFactory) -> NodeReference:
    return NodeReference.of_a_node(tmp_path_factory.mktemp("disk"))


def _explained_metrics() -> dict[str, set[str]]:
    """Metrics that are explained, without prefix and suffix, and their labels."""
    found = re.findall(r"`shield_(\w+?)(?:_total)?(?:\{([^}]*)\})?`", _section("metrics.md", "What they mean"))
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
        name for cell in _first_cells(_section("messages.md", "Faults")) for name in re.findall(r"`([a-z-]+)`", cell)
    }

    assert shown == {fault.value for fault in Fault}


def _explained() -> list[str]:
    """What the node says, in the first cells of tables that explain it."""
    oncall = (ROOT / "docs/oncall.md").read_text()
    tables = [_section("messages.md", "Log"), *re.findall(r"(?:^\|.*\n)+", oncall, re.MULTILINE)]
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
        r"^\| `([\w-]+)` \| (\w+) \| .* \| \[.+\]\((.+)\) \|$", _section("monitoring.md", "Alarms"), re.MULTILINE
    )

    kinds = {kind: terms for kind, terms in KINDS.items() if kind is not AlarmKind.TEST}
    assert rows == [(kind.value, terms.severity.value, terms.runbook) for kind, terms in kinds.items()]


def test_remedies_of_alarms_name_commands_that_exist() -> None:
    named = {words for terms in KINDS.values() for words in re.findall(r"\bshield ((?:[a-z]+ ?)+)", terms.remedy)}

    assert len(named) > 5
    for words in named:
        first, *more = words.split()
        command = _parser().commands[first]
        assert not getattr(command, "commands", {}) or more[0] in command.commands, words


def _strings(path: Path) -> str:
    """All strings of a module: literals that are one after another are one."""
    found = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    return "\n".join(value for value in found if isinstance(value, str))
