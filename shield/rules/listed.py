"""Sizes of objects in listings, for replays of logs that don't tell them.

Lines of `shield store ls --json`, rows of a bucket's inventory or listing as CSV (S3 Inventory has no header), lines
of `aws s3 ls --recursive`, and output of `aws s3api list-objects-v2`. An object is named by its path, "/" and key.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

_AWS_LS = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +(\d{1,18}) (.+)").fullmatch
_JSON_KEY = re.compile(r'\s*"Key": (".*"),?').fullmatch
_JSON_SIZE = re.compile(r'\s*"Size": (\d{1,18}),?').fullmatch
_no_bytes = re.compile("[\ud800-\udc7f\udd00-\udfff]").search
_KEYS = ("key", "name", "object", "path")
_SIZES = ("size", "bytes", "length", "content_length", "contentlength")


class ListedSize(NamedTuple):
    """An object's path, as a cache key has it behind its space, and its size in bytes."""

    path: bytes
    size: int


class SizeReader:
    """Reads the lines of one listing, of any of these formats."""

    def __init__(self) -> None:
        self._key = self._size = -1  # columns of CSV
        self._is_quoted = False
        self._last = ""  # key in a JSON document of several lines

    def read(self, line: str) -> ListedSize | None:
        """The object of a line; None if it names none."""
        line = line.strip("\r\n")
        if line.startswith("{"):
            try:
                said = json.loads(line)
            except (ValueError, RecursionError):
                return None
            return of_fields(said) if isinstance(said, dict) else None
        found = _AWS_LS(line)
        if found is not None:
            return _listed(found[2], int(found[1]))
        if (found := _JSON_KEY(line)) is not None:
            self._last = _text(found[1])
            return None
        if (found := _JSON_SIZE(line)) is not None:
            return _listed(self._last, int(found[1])) if self._last else None
        try:
            fields = next(csv.reader([line]), [])
        except csv.Error:
            return None
        if self._key < 0 and not self._columns(fields):
            return None
        if len(fields) <= max(self._key, self._size) or not fields[self._size].isdecimal():
            return None
        key = _bytes(fields[self._key])
        path = unquote_to_bytes(key.replace(b"+", b" ")) if self._is_quoted else key
        return ListedSize(path_of(path), int(fields[self._size][:18]))

    def _columns(self, fields: Sequence[str]) -> bool:
        """Learn the columns from the first row; whether that is a row of data itself."""
        names = [name.strip().lower().replace(" ", "_") for name in fields]
        keys = [at for at, name in enumerate(names) if name in _KEYS]
        sizes = [at for at, name in enumerate(names) if name in _SIZES]
        if keys and sizes:
            self._key, self._size = keys[0], sizes[0]
            return False
        # S3 Inventory: bucket, key, and with versions three more, then the size. Its keys are URL-encoded.
        number = next((at for at, name in enumerate(names) if at > 1 and name.isdecimal()), -1)
        if number < 0:
            return False
        self._key, self._size, self._is_quoted = 1, number, True
        return True


def of_fields(said: Mapping[str, Any]) -> ListedSize | None:
    """The object of named fields, as of JSON or a table; None if there is none."""
    by_name = {name.lower(): value for name, value in said.items()}
    key = next((by_name[name] for name in _KEYS if name in by_name), None)
    size = next((by_name[name] for name in _SIZES if name in by_name), None)
    if not isinstance(key, str) or isinstance(size, bool) or not isinstance(size, int) or size < 0:
        return None
    if "ttl_seconds" in by_name:  # of this node's store: the text of a cache key, behind its space
        return ListedSize(_bytes(key.partition(":")[2]), size)
    return _listed(key, size)


def _listed(key: str, size: int) -> ListedSize:
    return ListedSize(path_of(_bytes(key)), size)


def _bytes(key: str) -> bytes:
    """A key's bytes: those that aren't UTF-8 came as surrogates; others of these, as in JSON, mean none."""
    return key.encode("utf-8", "surrogateescape" if _no_bytes(key) is None else "replace")


def _text(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return ""


def path_of(key: bytes) -> bytes:
    """The path of an object's key, as cache keys of routes to object storages have it."""
    return b"/" + quote(key.removeprefix(b"/"), safe="/").encode("ascii")
