"""What documents say of the code holds: diagrams have the states of the enums, links lead somewhere, README's
configurations pass the check, its examples give what it shows."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import pytest

from shield.fill.readers import Phase
from shield.rules.verdict import Verdict

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "loadtest/README.md"]


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
