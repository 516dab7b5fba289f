"""Files of the state directory that several processes read and write by transactions, on SQLite (WAL)."""

from __future__ import annotations

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
            raise StoreError(f"{self}: {error}") from error

    def __str__(self) -> str:
        return f"{self.title} {self.path}"

    def _make(self, file: sqlite3.Connection) -> None:
        file.execute("BEGIN IMMEDIATE")
        if not _version(file):  # nobody else has made it meanwhile
            for statement in self.schema.split(";"):
                file.execute(statement)
            file.execute(f"PRAGMA user_version = {self.version}")
        file.execute("COMMIT")


def _version(file: sqlite3.Connection) -> int:
    (version,) = file.execute("PRAGMA user_version").fetchone()
    return int(version)
