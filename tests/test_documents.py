"""Documents agree with the code: diagrams have the states of the enums, terms name existing classes, links resolve,
README's configurations pass the check, its examples give the output that it shows."""

from __future__ import annotations

import ast
import hashlib
import hmac
import re
from enum import Enum
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from typer.testing import CliRunner

import shield
from shield.cli import _app
from shield.cli.check import check
from shield.cli.explain import explain
from shield.config.settings import Settings
from shield.errors import Fault
from shield.fill.readers import Phase
from shield.observe.report import together
from shield.rules.verdict import Verdict
from tests.architecture import source_of
from tests.disks import with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield

ROOT = Path(__file__).parents[1]
COMMANDS = (
    r"check|serve|reload|upgrade|health|schema|explain|why|whatif|sign-url|audit|drill \w+|drill|store \w+|origin \w+"
)
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/architecture.md",
    "docs/deploy.md",
    "docs/oncall.md",
    "loadtest/README.md",
]


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
    """The terms of the architecture: each row's first and third column."""
    _, _, section = (ROOT / "docs/architecture.md").read_text().partition("\n## Words\n")
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


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        file = path.parent / target if target else path
        assert file.exists(), f"{document}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_are_there(document: str) -> None:
    for name in re.findall(r"`((?:shield|tests|config|deploy|docs)/[\w./-]+)`", (ROOT / document).read_text()):
        assert (ROOT / name).exists(), f"{document}: {name}"


def _blocks() -> list[str]:
    """README's configurations as printed."""
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def _whole() -> str:
    """The one that is whole."""
    (whole,) = [block for block in _blocks() if re.search("^origins:", block, re.MULTILINE)]
    return whole


def test_readmes_configuration_passes_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "shield.yaml"
    path.write_text(_whole())
    path.chmod(0o600)

    code = check(path)

    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    assert "settings can be used" in said.out


@pytest.mark.parametrize("block", [b for b in _blocks() if b != _whole()], ids=lambda b: b.partition(":")[0])
def test_a_part_of_a_configuration_passes_the_check_within_the_whole(block: str, tmp_path: Path) -> None:
    """`tls` and the files that it needs aside: they are no part of what is shown."""
    whole, part = yaml.safe_load(_whole()), yaml.safe_load(block)
    if "client_certificate" in part.get("access", {}):
        whole["tls"] = {"certificate_file": "/etc/shield/tls.pem", "key_file": "/etc/shield/tls.key"}

    Settings.model_validate({**whole, **part})


def test_what_readme_shows_of_explain_is_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "shield.yaml"
    path.write_text(_whole())
    path.chmod(0o600)
    shown = re.search(r"\$ shield explain .* '(\S+)'\n((?:    .*\n)+)", (ROOT / "README.md").read_text())
    assert shown is not None

    assert explain(shown[1], path) == 0

    assert capsys.readouterr().out.startswith(dedent(shown[2]))


def test_what_readme_shows_of_a_signature_is_right() -> None:
    shown = re.search(
        r"printf '%s\\n%s' (\S+) (\S+) \|.* -hmac (\S+)\n +([0-9a-f]+)\n", (ROOT / "README.md").read_text()
    )
    assert shown is not None
    path, expires, key, signature = shown.groups()

    assert hmac.new(key.encode(), f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest() == signature


@pytest.mark.parametrize("document", ["README.md", "docs/deploy.md", "docs/oncall.md"])
def test_commands_that_are_shown_exist_with_their_options(document: str) -> None:
    shown = re.findall(rf"`?shield ({COMMANDS})\b([^`\n#&|]*)", (ROOT / document).read_text())

    assert shown
    for words, rest in shown:
        helped = CliRunner().invoke(_app, [*words.split(), "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert helped.exit_code == 0, words
        for option in re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest):
            assert option in helped.output, f"{words} {option}"


def test_readme_shows_all_commands_but_those_that_need_no_word() -> None:
    shown = set(re.findall(rf"shield ({COMMANDS})\b", (ROOT / "README.md").read_text()))

    assert shown >= {"check", "serve", "reload", "schema", "explain", "sign-url", "store stat", "store rm"}


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


def _oncall(heading: str) -> str:
    """A section of the handbook."""
    text = (ROOT / "docs/oncall.md").read_text()
    return re.split(r"^## ", text, flags=re.MULTILINE)[text.count("\n## ", 0, text.index(f"\n## {heading}\n")) + 1]


def _first_cells(section: str) -> list[str]:
    return re.findall(r"^\| (.*?) \|", section, re.MULTILINE)


def test_the_handbook_has_every_metric_and_no_other(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        made = {family.name for family in together([shield.call(shield.node.report)]).families}

    assert set(re.findall(r"shield_(\w+?)(?:_total)?\b", _oncall("Metrics"))) == made


def test_the_handbook_has_every_fault_and_no_other() -> None:
    shown = {name for cell in _first_cells(_oncall("Faults")) for name in re.findall(r"`([a-z-]+)`", cell)}

    assert shown == {fault.value for fault in Fault}


def test_messages_that_the_handbook_explains_are_those_of_the_log() -> None:
    source = "\n".join(_strings(path) for path in (ROOT / "shield").rglob("*.py"))

    for cell in _first_cells(_oncall("Log"))[2:]:
        for message in re.findall(r"`([^`]+)`", cell):
            for piece in re.split(r"\.\.\.|[+-]?\d+|fra\b", message):
                assert piece.strip(" :;") in source, message


def _strings(path: Path) -> str:
    """All strings of a module: literals that are one after another are one."""
    found = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    return "\n".join(value for value in found if isinstance(value, str))
