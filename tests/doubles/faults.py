"""Ways to spoil a good answer: each turns the steps of an ordinary answer into those of a faulty one.

They compose in the order given: `spoils(path, at_body(1000, Wait(gate)), chunked(512))`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.doubles.gate import Gate
from tests.doubles.steps import Bytes, Chunk, Close, Drip, FieldLines, Head, LastChunk, Step

Fault = Callable[[Sequence[Step]], Sequence[Step]]


def at_head(offset: int, *steps: Step) -> Fault:
    """Play these after so many bytes of the head, then go on with the answer (if there still is a connection)."""

    def spoil(answer: Sequence[Step]) -> Sequence[Step]:
        place, head = _final_head(answer)
        raw = head.encode()
        torn = [Bytes(raw[:offset]), *steps, Bytes(raw[offset:])]
        return [*answer[:place], *torn, *answer[place + 1 :]]

    return spoil


def at_body(offset: int, *steps: Step) -> Fault:
    """Play these after so many bytes of the body, then go on with the rest."""

    def spoil(answer: Sequence[Step]) -> Sequence[Step]:
        made: list[Step] = []
        left = offset
        placed = False
        for step in answer:
            if placed or not isinstance(step, Bytes) or left > len(step):
                left -= len(step) if isinstance(step, Bytes) else 0
                made.append(step)
                continue
            middle = step.start + left
            made += [replace(step, stop=middle), *steps, replace(step, start=middle)]
            placed = True
        return made if placed else [*made, *steps]

    return spoil


def preceded_by(*steps: Step) -> Fault:
    """Play these first: interim heads, garbage, a wait before the first byte."""
    return lambda answer: [*steps, *answer]


def followed_by(*steps: Step) -> Fault:
    """Play these after the answer: bytes too many, an unasked second answer, an unannounced Close()."""
    return lambda answer: [*answer, *steps]


def says(status: int | None = None, **fields: str | None) -> Fault:
    """Other status or fields than the truth; `_` stands for `-`, None leaves the field out."""
    names = {name.replace("_", "-"): value for name, value in fields.items()}

    def change(head: Head) -> Head:
        lines = [line for line in head.lines() if line[0] not in names]
        lines += [(name, value) for name, value in names.items() if value is not None]
        return replace(head, status=status or head.status, fields=lines)

    return lambda answer: _with_head(answer, change)


def adds(*lines: tuple[str, str]) -> Fault:
    """More field lines, beside those of the same name."""
    return lambda answer: _with_head(answer, lambda head: replace(head, fields=[*head.lines(), *lines]))


def huge_head(*, size: int = 1_000_000, lines: int = 1) -> Fault:
    """About `size` bytes of fields that mean nothing, spread over so many lines."""
    width = max(1, size // lines)
    return adds(*[(f"x-pad-{number}", "p" * width) for number in range(lines)])


def chunked(size: int = 4096, *, extension: str = "", trailers: FieldLines = (), last: bool = True) -> Fault:
    """The body in chunks of this size; without `last` the connection closes where the last chunk belongs."""

    def spoil(answer: Sequence[Step]) -> Sequence[Step]:
        made: list[Step] = []
        for step in says(content_length=None, transfer_encoding="chunked")(answer):
            if isinstance(step, Bytes):
                cuts = range(step.start, step.end, size)
                made += [Chunk(step.body[at : min(at + size, step.end)], extension=extension) for at in cuts]
            else:
                made.append(step)
        return [*made, LastChunk(trailers) if last else Close()]

    return spoil


def until_close() -> Fault:
    """The body without a length, ended by the end of the connection."""
    return lambda answer: [*says(content_length=None, connection="close")(answer), Close()]


def closes() -> Fault:
    """Announce the end of the connection and keep the word. `followed_by(Close())` doesn't announce it."""
    return lambda answer: [*says(connection="close")(answer), Close()]


def drips(gate: Gate | None = None, *, every: float = 0.0) -> Fault:
    """The body one byte at a time, each let through by the gate or every so many seconds."""

    def spoil(answer: Sequence[Step]) -> Sequence[Step]:
        return [
            Drip(step.body[step.start : step.end], gate, every) if isinstance(step, Bytes) else step
            for step in answer
        ]

    return spoil


def without_body() -> Fault:
    """The head alone, whatever it promised; with `says(304)` an unasked Not Modified."""
    return lambda answer: [step for step in answer if not isinstance(step, Bytes)]


def _final_head(answer: Sequence[Step]) -> tuple[int, Head]:
    for place, step in enumerate(answer):
        if isinstance(step, Head) and (step.status >= 200 or step.status == 101):
            return place, step
    raise ValueError("there is no head to spoil; a fault that tears the head must come last")


def _with_head(answer: Sequence[Step], change: Callable[[Head], Head]) -> Sequence[Step]:
    place, head = _final_head(answer)
    return [*answer[:place], change(head), *answer[place + 1 :]]
