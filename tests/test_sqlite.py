"""Files that several processes share by transactions."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from shield.errors import StoreError
from shield.sqlite import SqliteFile

SCHEMA = "CREATE TABLE notes (text TEXT);CREATE INDEX by_text ON notes (text);"


def notes(file: SqliteFile) -> list[str]:
    with file.transaction(writing=False) as opened:
        return [text for (text,) in opened.execute("SELECT text FROM notes")]


@pytest.fixture
def file(tmp_path: Path) -> SqliteFile:
    return SqliteFile(tmp_path / "notes.sqlite", "notes", SCHEMA, version=3, patience=0.05)


def test_it_is_made_when_it_is_first_used_and_stays(file: SqliteFile) -> None:
    assert notes(file) == []
    with file.transaction() as opened:
        opened.execute("INSERT INTO notes VALUES ('a')")

    assert notes(file) == ["a"]


def test_nothing_of_a_transaction_that_fails_happens(file: SqliteFile) -> None:
    with pytest.raises(KeyError), file.transaction() as opened:
        opened.execute("INSERT INTO notes VALUES ('a')")
        raise KeyError

    assert notes(file) == []


def test_one_of_another_version_is_refused_and_stays(file: SqliteFile) -> None:
    with file.transaction() as opened:
        opened.execute("INSERT INTO notes VALUES ('a')")

    with pytest.raises(StoreError, match=r"^notes .*: it is of another version \(3\): move it away"):
        notes(replace(file, version=4))

    assert notes(file) == ["a"]


def test_a_file_that_is_none_names_itself(file: SqliteFile) -> None:
    file.path.write_bytes(b"no database" * 100)

    with pytest.raises(StoreError, match=r"^notes .*notes\.sqlite: file is not a database"):
        notes(file)


def test_one_that_waits_too_long_for_another_gives_up(file: SqliteFile) -> None:
    assert notes(file) == []
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked"), file.transaction():
            pytest.fail("it has to wait")

    assert notes(file) == []


def test_errors_come_with_what_to_do(file: SqliteFile, tmp_path: Path) -> None:
    def said(target: SqliteFile) -> str:
        with pytest.raises(StoreError) as caught:
            notes(target)
        return str(caught.value)

    assert "this user has to be able to write" in said(replace(file, path=tmp_path / "away" / "notes.sqlite"))
    file.path.write_bytes(b"no database" * 100)
    assert said(file).endswith("file is not a database: move it away, and a new one is made")


@pytest.mark.parametrize(
    ("code", "free", "remedy"),
    [
        (sqlite3.SQLITE_FULL, 1 << 30, "its disk is full: make room in"),
        (sqlite3.SQLITE_IOERR | (3 << 8), 0, "its disk is full: make room in"),
        (sqlite3.SQLITE_IOERR, 1 << 30, "its disk fails, or has a quota: see the kernel's log"),
    ],
)
def test_a_full_disk_is_told_from_one_that_fails(
    file: SqliteFile, monkeypatch: pytest.MonkeyPatch, code: int, free: int, remedy: str
) -> None:
    room = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: room)

    with pytest.raises(StoreError, match=f"disk I/O error: {remedy}"), file.transaction():
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        raise error
