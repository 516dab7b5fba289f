"""Files of the state directory that several processes read and write by transactions, on SQLite (WAL)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from shield.errors import StoreError


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A file that is made when it is first used, with the tables of `schema` (statements that end with ";").

    `title` is its name in messages. With another `version` in it, it is refused, and stays as it is. A transaction
    that `is_durable` outlasts a power cut. `patience` are the seconds for which it waits for those of others.
    """

    path: Path
    title: str
    schema: str
    version: int
    is_durable: bool = True
    patience: float = 5.0

    @contextmanager
    def transaction(self, *, writing: bool = True) -> Iterator[sqlite3.Connection]:
        """Everything in it happens or nothing. Blocks; raises StoreError, which names the file."""
        try:
            with closing(sqlite3.connect(self.path, timeout=self.patience, isolation_level=None)) as file:
                file.execute("PRAGMA journal_mode = WAL")
                file.execute(f"PRAGMA synchronous = {'FULL' if self.is_durable else 'NORMAL'}")
                if not _version(file):
                    self._make(file)
                file.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
                try:
                    if (version := _version(file)) != self.version:
                        raise StoreError(f"{self}: it is of another version ({version}): move it away")
                    yield file
                except BaseException:
                    file.execute("ROLLBACK")
                    raise
                file.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self}: {error}{_remedy(error, self.path)}") from error

    def __str__(self) -> str:
        return f"{self.title} {self.path}"

    def _make(self, file: sqlite3.Connection) -> None:
        file.execute("BEGIN IMMEDIATE")
        if not _version(file):  # nobody else has made it meanwhile
            for statement in self.schema.split(";"):
                file.execute(statement)
            file.execute(f"PRAGMA user_version = {self.version}")
        file.execute("COMMIT")


_LEAST_BYTES = 1 << 20  # with less room on the disk than this, an I/O error is taken for a full disk


def _remedy(error: Exception, path: Path) -> str:
    """What to do about an error, "" if that is unknown: SQLite's own words say neither the cause nor the remedy."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the details of extended codes
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return ": move it away, and a new one is made"
    if code == sqlite3.SQLITE_BUSY:
        return ": another process holds it, as a copy or a backup may"
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return f": this user has to be able to write to it and to its directory, {path.parent}, as the node's own is"
    if code not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return ""
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return ""
    if code == sqlite3.SQLITE_FULL or room.f_bavail * room.f_frsize < _LEAST_BYTES:
        return f": its disk is full: make room in {path.parent}, or move it to another one"
    return ": its disk fails, or has a quota: see the kernel's log"


def _version(file: sqlite3.Connection) -> int:
    (version,) = file.execute("PRAGMA user_version").fetchone()
    return int(version)
