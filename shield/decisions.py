"""The record of the basis of decisions, on disk: what a node knew of its origins at any time of the last day.

The conductor notes it whenever it changes, and each minute; a thread writes it once a second. Each hour has a file of
its own, so that the oldest can be removed. A line is a checksum and JSON: whatever is torn by a kill, or damaged, is
left out by the reader.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import xxhash

from shield.complaints import Complaints
from shield.drill.memory import DrillMemory
from shield.origin.origins import Origins
from shield.regime import Regime
from shield.rules.decisions import EVERY_SECONDS, KEPT_SECONDS, DecisionBasis, DrillBasis, OriginBasis, digest_of
from shield.rules.health import Evidence, HealthRecord

log = logging.getLogger("shield.decisions")

_FIRST = b"shield decisions 1\n"
_MOST_BYTES = 2 << 20  # of an hour's file; what exceeds it isn't kept
_HOUR = 3600.0
_MOST_NOTES = 1000  # that wait to be written


class DecisionFiles:
    """The files in a directory. All methods block."""

    def __init__(self, directory: Path, node: str) -> None:
        self._directory = directory
        self._prefix = f"decisions-{node}-"

    def append(self, notes: list[DecisionBasis]) -> None:
        """Write notes of one hour, and remove files that are too old. Raises OSError."""
        path = self._path(notes[0].at)
        with path.open("ab") as file:
            begins = not file.tell()
            if file.tell() > _MOST_BYTES:
                return
            # In one write each, since another worker may write, too. A line break first: the last line may be torn.
            file.write((_FIRST if begins else b"\n") + b"".join([_line(note) for note in notes]))
        if begins:
            self._remove_before(notes[0].at - KEPT_SECONDS - _HOUR)

    def find(self, at: float) -> DecisionBasis | None:
        """The last note before a time, in this hour or the one before; None without any. Raises OSError."""
        for hour in (at, at - _HOUR):
            notes = [note for note in self._read(hour) if note.at <= at]
            if notes:
                return max(notes, key=lambda note: note.at)
        return None

    def between(self, start: float, stop: float) -> list[DecisionBasis]:
        """All notes of a time, and the last one before it, in the order of time. Raises OSError."""
        first = self.find(start)
        notes = [] if first is None else [first]
        for hour in range(int(start // _HOUR), int(min(stop, start + KEPT_SECONDS) // _HOUR) + 1):
            notes += [note for note in self._read(hour * _HOUR) if start < note.at <= stop]
        return sorted(notes, key=lambda note: note.at)

    def _read(self, at: float) -> list[DecisionBasis]:
        try:
            with self._path(at).open("rb") as file:
                data = file.read(2 * _MOST_BYTES)
        except FileNotFoundError:
            return []
        first, _, rest = data.partition(b"\n")
        if first + b"\n" != _FIRST:
            return []
        return [note for line in rest.split(b"\n") if (note := _note(line)) is not None]

    def _path(self, at: float) -> Path:
        return self._directory / f"{self._prefix}{int(at // _HOUR)}.log"

    def _remove_before(self, at: float) -> None:
        for path in self._directory.glob(f"{self._prefix}*.log"):
            hour = path.name[len(self._prefix) : -len(".log")]
            if hour.isdigit() and int(hour) < at // _HOUR:
                path.unlink(missing_ok=True)


def _line(note: DecisionBasis) -> bytes:
    text = json.dumps(note.plain(), separators=(",", ":")).encode()
    return b"%08x %b\n" % (xxhash.xxh32_intdigest(text), text)


def _note(line: bytes) -> DecisionBasis | None:
    """The note in a line; None if it is torn, or of another version."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % xxhash.xxh32_intdigest(text):
        return None
    try:
        return DecisionBasis.read(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None


class DecisionRecorder:
    """Notes what the conductor of this worker decides on. `open`, `tick` once a second, `close`."""

    def __init__(
        self,
        files: DecisionFiles | None,
        *,
        origins: Origins,
        drill: DrillMemory,
        regime: Regime,
        clock: Callable[[], float],
    ) -> None:
        """`files` None: nothing is kept."""
        self._files = files
        self._origins = origins
        self._drill = drill
        self._clock = clock
        self._now = asyncio.get_running_loop().time
        self._known: object = None  # as last noted, by the clock of the records
        self._noted_at = 0.0
        self._unwritten: list[DecisionBasis] = []
        self._writing: asyncio.Task[None] | None = None
        self._drill_version = -1
        self._running: DrillBasis | None = None
        self._drill_until = 0.0
        self._complaints = Complaints(log)
        self.follow(regime)

    def open(self) -> None:
        if self._files is not None:
            self._origins.conductor.judged = self.note

    def follow(self, regime: Regime) -> None:
        """These settings are in force."""
        self._settings = digest_of(regime.routes)
        self._choices = {route.name: route.choice for route in regime.routes if route.choice is not None}

    def note(self, records: Mapping[str, HealthRecord], evidence: Mapping[str, Evidence], frozen_at: float) -> None:
        """Called with the result of each step of the conductor."""
        clock, now = self._clock(), self._now()
        digest, is_frozen, drill = self._settings, bool(frozen_at), self._drilled(now)
        ranked = {name: choice.order for name, choice in self._choices.items()}
        known = (dict(records), digest, is_frozen, drill, ranked)
        if known == self._known and 0.0 <= clock - self._noted_at < EVERY_SECONDS:
            return
        self._known, self._noted_at = known, clock
        origins = {name: OriginBasis.of(record, evidence[name], clock - now) for name, record in records.items()}
        if len(self._unwritten) < _MOST_NOTES:
            self._unwritten.append(DecisionBasis(round(clock, 2), digest, origins, is_frozen, drill, ranked))

    def _drilled(self, now: float) -> DrillBasis | None:
        if self._drill.version != self._drill_version:
            self._drill_version = self._drill.version
            run = self._drill.read()
            self._running, self._drill_until = None, 0.0
            if run is not None and run.is_on(now):
                order = run.order
                self._running = DrillBasis(run.number, order.origin, order.mode.value, order.scope, run.seed)
                self._drill_until = run.until
        return self._running if now < self._drill_until else None

    def tick(self) -> None:
        """Have a thread write what was noted."""
        if self._unwritten and self._files is not None and (self._writing is None or self._writing.done()):
            notes, self._unwritten = self._unwritten, []
            self._writing = asyncio.get_running_loop().create_task(self._write(self._files, notes))

    async def _write(self, files: DecisionFiles, notes: list[DecisionBasis]) -> None:
        hours: dict[int, list[DecisionBasis]] = {}
        for note in notes:
            hours.setdefault(int(note.at // _HOUR), []).append(note)
        try:
            for each in hours.values():
                await asyncio.get_running_loop().run_in_executor(None, files.append, each)
        except OSError as error:
            text = "the basis of decisions can't be kept: %s"
            self._complaints.say("unkept", self._now(), text, error)

    async def find(self, at: float) -> DecisionBasis | None:
        """The last note before a time; None without any. Raises OSError."""
        if self._files is None:
            return None
        earlier = [note for note in self._unwritten if note.at <= at]
        if earlier:
            return earlier[-1]
        return await asyncio.get_running_loop().run_in_executor(None, self._files.find, at)

    async def between(self, start: float, stop: float) -> bytes:
        """All notes of a time that are written, and the last one before it, in JSON. Raises OSError."""
        files = self._files

        def read() -> bytes:
            notes = [] if files is None else files.between(start, stop)
            return json.dumps({"notes": [note.plain() for note in notes]}).encode()

        return await asyncio.get_running_loop().run_in_executor(None, read)

    @property
    def keeps(self) -> bool:
        """Whether there is a place for it."""
        return self._files is not None

    async def close(self) -> None:
        self._origins.conductor.judged = None
        if self._writing is not None:
            await asyncio.wait((self._writing,))
        self.tick()
        if self._writing is not None:
            await asyncio.wait((self._writing,))
