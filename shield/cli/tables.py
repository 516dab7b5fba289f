"""Rows of tables that people name, also in buckets: CSV, packed by gzip or not, or Parquet, which Polars reads."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from shield.cli.buckets import BucketError, is_remote, names_of
from shield.cli.lines import lines_in_bucket, lines_of
from shield.errors import ShieldError

_BATCH = 65_536

ColumnChoice = Callable[[Sequence[str]], Sequence[str] | None]


class TableError(ShieldError):
    """A table that can't be read: the file, and the line if one is to blame."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row, and the line of the file in which it ends (of Parquet: its number)."""

    line: int
    fields: Mapping[str, Any]


def is_columnar(name: str) -> bool:
    """Whether this is the name of Parquet files, or of a folder of them in a bucket, which Polars reads."""
    return name.endswith(".parquet") or (is_remote(name) and name.endswith("/"))


def files_of(names: Sequence[str]) -> Iterator[str]:
    """Each file of text, and each name of Parquet files as it is; wildcards are for names in buckets. Raises
    TableError.
    """
    for name in names:
        if is_columnar(name) or not is_remote(name):
            yield name
            continue
        try:
            yield from names_of(name)
        except BucketError as error:
            raise TableError(str(error)) from None


@contextmanager
def text_of(name: str) -> Iterator[IO[str]]:
    """The text of a file, of standard input ("-"), or of one in a bucket. Raises TableError."""
    with lines_in_bucket(name, TableError) if is_remote(name) else lines_of(_path(name), TableError) as lines:
        yield lines


def _path(name: str) -> Path | None:
    return None if name == "-" else Path(name)


def csv_rows(name: str, lines: Iterator[str], columns: Sequence[str]) -> Iterator[TableRow]:
    """Rows of text under this header; fields that a row lacks are "". Raises TableError."""
    reader = csv.DictReader(lines, fieldnames=list(columns), restval="")
    try:
        for row in reader:
            row.pop(None, None)  # fields beyond the header's
            yield TableRow(reader.line_num + 1, row)
    except csv.Error as error:
        raise TableError(f"{name}:{reader.line_num + 1}: no CSV: {error}") from None


def parquet_rows(name: str, choose: ColumnChoice) -> Iterator[TableRow]:
    """Rows of Parquet files, in batches; `name` may have wildcards, and be in a bucket. `choose` returns the columns
    to read, of those that there are; None: the table is of no use, and no row comes. Raises TableError.
    """
    polars = _polars(name)
    try:
        table = polars.scan_parquet(name, missing_columns="insert", extra_columns="ignore")
        columns = choose(table.collect_schema().names())
        if columns is None:
            return
        number = 0
        for batch in table.select(columns).collect_batches(chunk_size=_BATCH, maintain_order=True):
            for row in batch.iter_rows(named=True):
                number += 1
                yield TableRow(number, row)
    except (OSError, polars.exceptions.PolarsError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        if "expanded paths were empty" in first:
            raise TableError(f"{name}: there is no such file") from None
        raise TableError(f"{name}: can't be read: {first}") from None


def _polars(name: str) -> Any:
    try:
        import polars
    except ImportError:
        raise TableError(f"{name}: Parquet needs Polars: pip install 'shield[tables]'") from None
    return polars


def as_text(value: object) -> str:
    """A field of Parquet as CSV would have it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)
