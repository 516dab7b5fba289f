"""The options of `shield warm`, checked together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from shield.cli.warm.run import WarmWish
from shield.config.units import ExpectedError, parse_byte_rate, parse_rate, parse_size
from shield.rules.warming import WarmSpeed


def wish_of(
    source: Path | None,
    *,
    by: str | None,
    top: int | None,
    bucket: str | None,
    prefix: str,
    rate: str | None,
    max_bytes: str | None,
    at_once: int,
    only_missing: bool,
    headers: Sequence[str],
    state: Path | None,
    as_json: bool,
) -> WarmWish:
    """Raises typer.BadParameter."""
    if (source is None) is (bucket is None):
        raise typer.BadParameter("expected FILE, - for standard input, or --bucket ORIGIN: one of them")
    if by not in (None, "popularity"):
        raise typer.BadParameter(f'--by: got "{by}"; expected popularity')
    if bucket is not None and by is not None:
        raise typer.BadParameter("--by goes with an access log, not with --bucket")
    if top is not None and by is None:
        raise typer.BadParameter("--top goes with --by popularity")
    if prefix and bucket is None:
        raise typer.BadParameter("--prefix goes with --bucket")
    try:
        most = None if max_bytes is None else parse_size(max_bytes)
    except ExpectedError as error:
        raise typer.BadParameter(f"--max-bytes: {error}") from None
    return WarmWish(
        source=None if source is None or str(source) == "-" else source,
        bucket=bucket,
        prefix=prefix,
        by_popularity=by is not None,
        top=top,
        speed=_speed(rate),
        max_bytes=most,
        at_once=at_once,
        only_missing=only_missing,
        fields=tuple(map(_field, headers)),
        state=state,
        as_json=as_json,
    )


def _speed(text: str | None) -> WarmSpeed:
    """`50/s` are objects, `20MB/s` bytes."""
    if text is None:
        return WarmSpeed()
    try:
        rate = parse_rate(text)
        return WarmSpeed(objects=rate.count / rate.seconds)
    except ExpectedError:
        pass
    try:
        return WarmSpeed(bytes=float(parse_byte_rate(text)))
    except ExpectedError:
        pass
    raise typer.BadParameter("--rate: expected objects or bytes in a time, as 50/s, 3000/min or 20MB/s")


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f'--header: got "{text}"; expected a name and a value, as accept: image/webp')
    return name.strip(), value.strip()
