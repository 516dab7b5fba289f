"""Results of a sweep as one HTML file with drawings (SVG): no script, and nothing from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shield.simulate.results import Estimate

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 16, 36
_COLOURS = ("#2563eb", "#d97706", "#059669", "#be185d", "#6d28d9", "#475569")
_STEPS = 4  # of the upright axis
_TOPS = (1.0, 1.2, 1.6, 2.0, 2.4, 2.8, 3.2, 4.0, 6.0, 8.0)


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A name, and a value for each place on the level axis."""

    name: str
    values: Sequence[Estimate]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Lines over `places`, which are as far apart from each other as their names are many."""

    title: str
    places: Sequence[str]
    lines: Sequence[ChartLine]
    shown: Callable[[float], str]


def page(title: str, notes: Sequence[str], drawings: Sequence[Drawing], table: Sequence[Sequence[str]]) -> str:
    """The whole file. The first row of the table has its headings."""
    head, *rows = table
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
            "<style>body{font:15px system-ui,sans-serif;max-width:760px;margin:2em auto;padding:0 1em;color:#1e293b}"
            "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #e2e8f0}"
            "td:first-child,th:first-child{text-align:left;white-space:pre}svg{max-width:100%;height:auto}</style></head><body>",
            f"<h1>{html.escape(title)}</h1>",
            *[f"<p>{html.escape(note)}</p>" for note in notes],
            *[f"<h2>{html.escape(each.title)}</h2>\n{drawn(each)}" for each in drawings],
            "<h2>Figures</h2><table><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>",
            *["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows],
            "</table></body></html>",
            "",
        ]
    )


def _round_top(greatest: float) -> float:
    """The end of an axis for values up to this, so that its four steps are round."""
    if greatest <= 0.0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(greatest))
    return next((each * unit for each in _TOPS if each * unit >= greatest), 10.0 * unit)


def drawn(drawing: Drawing) -> str:
    """One drawing as SVG: lines with bars for their errors, and a legend."""
    greatest = max((each.value + (each.error or 0.0) for line in drawing.lines for each in line.values), default=0.0)
    top = _round_top(greatest)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def across(place: int) -> float:
        return _LEFT + width * (place / (len(drawing.places) - 1) if len(drawing.places) > 1 else 0.5)

    def down(value: float) -> float:
        return _TOP + height * (1.0 - min(max(value / top, 0.0), 1.0))

    legend = 18 * len(drawing.lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT + legend}" width="{_WIDTH}" '
        f'font-family="system-ui,sans-serif" font-size="12" role="img" aria-label="{html.escape(drawing.title)}">'
    ]
    for step in range(_STEPS + 1):
        value = top * step / _STEPS
        y = down(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#e2e8f0"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{html.escape(drawing.shown(value))}</text>'
        )
    for place, name in enumerate(drawing.places):
        y = _HEIGHT - _BOTTOM + 18
        parts.append(f'<text x="{across(place):.1f}" y="{y}" text-anchor="middle">{html.escape(name)}</text>')
    for number, line in enumerate(drawing.lines):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(across(place), each) for place, each in enumerate(line.values)]
        way = " ".join(f"{x:.1f},{down(each.value):.1f}" for x, each in points)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, each in points:
            parts.append(f'<circle cx="{x:.1f}" cy="{down(each.value):.1f}" r="3" fill="{colour}"/>')
            if each.error:
                low, high = down(each.value - each.error), down(each.value + each.error)
                parts.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}"/>')
        y = _HEIGHT + 18 * number + 6
        parts.append(f'<rect x="{_LEFT}" y="{y - 9}" width="12" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 18}" y="{y}">{html.escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>"])
