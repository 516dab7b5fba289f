"""Documents agree with the code: diagrams have the states of the enums, terms name existing classes, links resolve,
configurations pass the check, examples give the output that is shown. `test_handbook.py` has more."""

from __future__ import annotations

import hashlib
import hmac
import re
import subprocess
import sys
from enum import Enum
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

import shield
from shield.cli.check import check
from shield.cli.explain import explain
from shield.config.settings import Settings
from shield.fill.readers import Phase
from shield.rules.verdict import Verdict
from tests.architecture import source_of
from tests.documents import DOCUMENTS, HANDBOOK, ROOT, section_of


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
    section = section_of("glossary.md", "Terms")
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
