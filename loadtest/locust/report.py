"""The report: one HTML file without scripts, plots as SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.locust.records import Record, Run, by_second, percentile
from loadtest.locust.scenarios import SCENARIOS, Verdict

WIDTH, HEIGHT, LEFT, BOTTOM = 460, 180, 52, 22
SHARES = (0.5, 0.9, 0.99, 0.999, 1.0)

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; color: #222 }
table { border-collapse: collapse; margin: .6em 0 1.2em }
td, th { padding: .15em .8em; text-align: left; border-bottom: 1px solid #ddd }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.passed { color: #176b2c } .failed { color: #b3141b; font-weight: 600 }
svg text { font: 11px system-ui, sans-serif; fill: #555 } figure { display: inline-block; margin: 0 1em 1em 0 }
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One of a plot, a value for each second."""

    name: str
    colour: str
    values: Sequence[float]


def report(runs: Sequence[tuple[Run, Sequence[Verdict]]]) -> str:
    """All scenarios in one page."""
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><title>Load test of Shield</title>"]
    parts += [f"<style>{_STYLE}</style><h1>Load test of Shield</h1>"]
    for run, verdicts in runs:
        parts += [f"<h2>{html.escape(run.scenario)}</h2><p>{html.escape(SCENARIOS[run.scenario].text)}.</p>"]
        parts += [_criteria(verdicts), *[f"<p>{html.escape(note)}.</p>" for note in run.notes]]
        parts += [_times(run), _plots(run)]
    return "\n".join(parts) + "</html>\n"


def _criteria(verdicts: Sequence[Verdict]) -> str:
    rows = [
        f"<tr><td class={'passed' if v.passed else 'failed'}>{'passed' if v.passed else 'FAILED'}</td>"
        f"<td>{html.escape(v.text)}</td><td>{html.escape(v.measured)}</td></tr>"
        for v in verdicts
    ]
    return f"<table><tr><th></th><th>criterion</th><th>measured</th></tr>{''.join(rows)}</table>"


def _times(run: Run) -> str:
    """Percentiles by kind of request, from the intended start and from the actual one: they differ by what waited."""
    head = "".join(f"<th class=n>{_share(share)}</th>" for share in SHARES)
    rows = []
    for name in sorted({record.name for record in run.records}):
        good = [record for record in run.good() if record.name == name]
        for label, values in (
            ("from intended start", [record.response for record in good]),
            ("from actual start", [record.service for record in good]),
        ):
            cells = "".join(f"<td class=n>{percentile(values, share) * 1000:.1f}</td>" for share in SHARES)
            rows.append(f"<tr><td>{html.escape(name)}</td><td>{label}</td><td class=n>{len(good)}</td>{cells}</tr>")
    late = percentile([record.started - record.intended for record in run.records], 0.99)
    return (
        f"<table><tr><th>milliseconds</th><th></th><th class=n>answers</th>{head}</tr>{''.join(rows)}</table>"
        f"<p>99 % of requests started at most {late * 1000:.0f} ms after their intended start.</p>"
    )


def _share(share: float) -> str:
    return "longest" if share >= 1.0 else f"{share * 100:g} %"


def _plots(run: Run) -> str:
    seconds = [records for _, records in by_second(run.records)]
    times = [[record.response * 1000 for record in records if not record.fault] for records in seconds]
    return "".join(
        [
            plot(
                "requests a second",
                [
                    Line("good", "#1f6fb4", [_count(records, good=True) for records in seconds]),
                    Line("failed", "#b3141b", [_count(records, good=False) for records in seconds]),
                ],
            ),
            plot(
                "milliseconds from the intended start",
                [
                    Line("50 %", "#1f6fb4", [percentile(values, 0.5) for values in times]),
                    Line("99 %", "#c77700", [percentile(values, 0.99) for values in times]),
                ],
            ),
            plot("hits, share of answers", [Line("hits", "#176b2c", [_hits(records) for records in seconds])]),
        ]
    )


def _count(records: Sequence[Record], *, good: bool) -> float:
    return float(sum((not record.fault) == good for record in records))


def _hits(records: Sequence[Record]) -> float:
    return sum(record.hit for record in records) / len(records) if records else 0.0


def plot(title: str, lines: Sequence[Line]) -> str:
    """Lines over the seconds of a run, from zero up to the greatest value."""
    top = max((value for line in lines for value in line.values), default=0.0) or 1.0
    last = max((len(line.values) for line in lines), default=1) - 1 or 1

    def at(second: int, value: float) -> str:
        x = LEFT + second / last * (WIDTH - LEFT - 8)
        y = HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - 24)
        return f"{x:.1f},{y:.1f}"

    drawn = []
    for number, line in enumerate(lines):
        points = " ".join(at(second, value) for second, value in enumerate(line.values))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="1.5"/>')
        drawn.append(
            f'<text x="{LEFT + 60 + 70 * number}" y="12" style="fill:{line.colour}">{html.escape(line.name)}</text>'
        )
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg width="{WIDTH}" height="{HEIGHT}" role="img">'
        f'<line x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{WIDTH - 8}" y2="{HEIGHT - BOTTOM}" stroke="#999"/>'
        f'<text x="{LEFT - 6}" y="28" text-anchor="end">{top:.4g}</text>'
        f'<text x="{LEFT - 6}" y="{HEIGHT - BOTTOM}" text-anchor="end">0</text>'
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 6}" text-anchor="end">{last} s</text>{"".join(drawn)}</svg></figure>'
    )
