"""The page of a sweep is one well-formed file that loads nothing."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from shield.simulate.chart import ChartLine, Drawing, drawn, page
from shield.simulate.results import Estimate

LINES = [
    ChartLine("a <b>", [Estimate(0.2), Estimate(0.4, 0.1), Estimate(0.5, None)]),
    ChartLine("c", [Estimate(0.0)] * 3),
]


def test_a_drawing_is_well_formed_and_within_its_bounds() -> None:
    svg = drawn(Drawing("Hit & miss", ["1GiB", "2GiB", "4GiB"], LINES, "{:.0%}".format))

    root = ElementTree.fromstring(svg)
    points = re.findall(r'points="([^"]+)"', svg)
    assert root.tag.endswith("svg") and len(points) == 2
    for pair in " ".join(points).split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 640 and 0 <= y <= 300
    assert "a &lt;b&gt;" in svg and "2GiB" in svg and "60%" in svg  # the axis ends above value and error


@pytest.mark.parametrize(
    ("greatest", "shown"),
    [(0.84, ["0.00", "0.25", "0.50", "0.75", "1.00"]), (22.2, ["0.00", "6.00", "12.00", "18.00", "24.00"])],
)
def test_the_steps_of_the_axis_are_round(greatest: float, shown: list[str]) -> None:
    svg = drawn(Drawing("x", ["a"], [ChartLine("a", [Estimate(greatest)])], "{:.2f}".format))

    assert re.findall(r'text-anchor="end">([^<]+)<', svg) == shown


def test_one_place_and_only_zeros_can_be_drawn() -> None:
    ElementTree.fromstring(drawn(Drawing("x", ["a"], [ChartLine("a", [Estimate(0.0)])], str)))
    ElementTree.fromstring(drawn(Drawing("x", [], [], str)))


def test_a_page_has_its_notes_and_figures_and_loads_nothing() -> None:
    drawing = Drawing("Hit ratio", ["a"], LINES[:1], str)

    text = page("Title", ["5 < 6"], [drawing], [["", "a.yaml"], ["hit ratio", "1 %"]])

    assert "<p>5 &lt; 6</p>" in text and "<th>a.yaml</th>" in text and "<td>1 %</td>" in text
    assert "<script" not in text and "src=" not in text and "href=" not in text
