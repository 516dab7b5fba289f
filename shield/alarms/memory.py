"""The memory of alarms that all workers of a node share: the book, and the number of workers that died.

It outlives workers, so that an alarm is sent once, whichever of them conducts. The book changes seldom and is
exchanged under a lock.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import xxhash

from shield import kept
from shield.rules.webhooks import AlarmBook

# Where things are. A change here raises `shared.LAYOUT`.
_HEAD = struct.Struct("<QII")  # a number that rises with each change; length and checksum of the text
_DEATHS = 8  # bytes, after the text
_TEXT = 384 * 1024  # bytes, the head included

SIZE = _TEXT + _DEATHS
"""Bytes of zeroed memory that `AlarmMemory` needs."""


class AlarmMemory:
    """`memory` is shared by all workers; `alone` excludes other processes."""

    def __init__(
        self, memory: memoryview, *, alone: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._text = memory[:_TEXT]
        self._version = memory[:8].cast("Q")
        self._deaths = memory[_TEXT:].cast("Q")
        self._alone = alone
        self._known = AlarmBook()  # that of `_known_version`
        self._known_version = 0

    @property
    def deaths(self) -> int:
        """Workers that have died since the node's start."""
        return self._deaths[0]

    def note_death(self) -> None:
        """A worker has died unasked. Called by the supervisor alone."""
        self._deaths[0] += 1

    def read(self) -> AlarmBook:
        """The book of now."""
        if self._version[0] == self._known_version:
            return self._known
        with self._alone():
            return self._read()

    def change(self, change: Callable[[AlarmBook], AlarmBook]) -> AlarmBook:
        """Replace the book by the result of `change`, which no other process can come between. The same object:
        nothing has changed.
        """
        with self._alone():
            before = self._read()
            after = change(before)
            return before if after is before else self._write(after)

    def _read(self) -> AlarmBook:
        version, length, checksum = _HEAD.unpack_from(self._text)
        if version != self._known_version:
            data = bytes(self._text[_HEAD.size : _HEAD.size + min(length, _TEXT)])
            self._known, self._known_version = AlarmBook(), version
            if length and xxhash.xxh32_intdigest(data) == checksum:  # else torn by a killed process
                with suppress(ValueError):
                    self._known = AlarmBook.read(json.loads(data))
        return self._known

    def _write(self, book: AlarmBook) -> AlarmBook:
        data = _encoded(book)
        while _HEAD.size + len(data) > _TEXT:
            book = _shortened(book)
            data = _encoded(book)
        version = self._version[0] + 1
        self._text[_HEAD.size : _HEAD.size + len(data)] = data
        _HEAD.pack_into(self._text, 0, version, len(data), xxhash.xxh32_intdigest(data))
        self._known, self._known_version = book, version
        return book


def file_of(node: str) -> str:
    """The name of the file with a node's book, in its `state_directory`."""
    return f"alarms-{node}.json"


def load(directory: Path, node: str) -> tuple[AlarmBook | None, str | None]:
    """The book in the file, if there is one, and the reason if it can't be read. Blocks."""
    path = directory / file_of(node)
    try:
        content = kept.load(path)
        return None if content is None else AlarmBook.read(content), None
    except OSError as error:
        return None, f"{path}: {error.strerror}"
    except ValueError:
        return None, f"{path}: isn't a book of alarms"


def _encoded(book: AlarmBook) -> bytes:
    return json.dumps(book.plain(), separators=(",", ":")).encode()


def _shortened(book: AlarmBook) -> AlarmBook:
    """Without the older half of what is past, else of what is on its way."""
    states = book.states
    if states.recent:
        return replace(book, states=replace(states, recent=states.recent[len(states.recent) // 2 + 1 :]))
    if book.outbox:
        return replace(book, outbox=book.outbox[len(book.outbox) // 2 + 1 :])
    return replace(book, states=replace(states, active={}, waiting={}))
