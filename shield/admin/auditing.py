"""The audit log: a line for each call that was to change something, in a bounded file; and `GET /audit`, which shows
the last ones.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, QueryParameter
from shield.admin.problems import ProblemError
from shield.admin.schemas import COUNT, NUMBER, TEXT, TEXTS, array, record
from shield.complaints import Complaints
from shield.rules.summaries import discreet, summary_of
from shield.rules.tokens import Role

log = logging.getLogger("shield.audit")

MOST_BYTES = 4 << 20
"""From this size on the file becomes the older one, of which there is one: some ten thousand calls each."""

MOST_SHOWN = 1000
_USUAL = 100
_PATIENCE = 5.0  # seconds for which an answer waits for the disk
_MOST_PROBLEMS = 3


class AuditFile:
    """Lines of JSON in a file, and in an older one beside it. All methods block and raise OSError.

    Several processes may write at once, as while one takes over from another.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.older = path.with_name(f"{path.name}.1")

    def append(self, entry: Mapping[str, Any]) -> None:
        """Keep an entry, even if the machine fails right after this."""
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if not self._is_current(descriptor):
                    continue  # another process has just put it aside
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line  # a former process was killed while it wrote
                os.write(descriptor, line)
                os.fsync(descriptor)
                if size + len(line) > MOST_BYTES:
                    self.path.replace(self.older)
                return
            finally:
                os.close(descriptor)

    def last(self, count: int) -> list[dict[str, Any]]:
        """The last entries that are whole, oldest first."""
        found: list[dict[str, Any]] = []
        for path in (self.path, self.older):
            try:
                lines = path.read_bytes().splitlines()
            except FileNotFoundError:
                continue
            entries = [entry for line in lines[-count:] if (entry := _entry(line)) is not None]
            found = [*entries[max(0, len(entries) - (count - len(found))) :], *found]
            if len(found) >= count:
                break
        return found

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False


class AuditLog:
    """The witness of changing calls. `file` None: they are only logged as events."""

    def __init__(self, file: AuditFile | None, *, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        self._order = asyncio.Lock()
        self._complaints = Complaints(log)

    async def record(self, request: Request, operation: Operation, status: int, problems: Sequence[str]) -> None:
        """Write it down. An answer waits for this, but not for a disk that hangs."""
        noted = getattr(request.state, "noted", None)
        entry = {
            "at": round(self._clock(), 3),
            "who": request.state.who,
            "role": "" if request.state.role is None else request.state.role.word,
            "from": "unix" if request.client is None else request.client.host,
            "method": request.method,
            "path": discreet(request.url.path),
            "body": summary_of(getattr(request.state, "body", b"")) if noted is None else noted,
            "status": status,
            "problems": [discreet(problem) for problem in problems[:_MOST_PROBLEMS]],
        }
        said = "" if entry["body"] is None else f" {json.dumps(entry['body'])}"
        where = (entry["method"], entry["path"], said, entry["who"], entry["from"], status)
        log.info("audit: %s %s%s by %s from %s: %d", *where)
        if self._file is None:
            return
        writing = asyncio.ensure_future(self._write(self._file, entry))
        done, _ = await asyncio.wait([writing], timeout=_PATIENCE)
        if not done:
            self._complain(f"not within {_PATIENCE:g} s")

    async def _write(self, file: AuditFile, entry: Mapping[str, Any]) -> None:
        try:
            async with self._order:
                await asyncio.get_running_loop().run_in_executor(None, file.append, entry)
        except OSError as error:
            self._complain(str(error.strerror))

    def _complain(self, why: str) -> None:
        assert self._file is not None
        now = asyncio.get_running_loop().time()
        self._complaints.say("write", now, "the audit log %s can't be written: %s", self._file.path, why)

    async def last(self, count: int) -> list[dict[str, Any]] | None:
        """The last entries, oldest first; None if none are kept. Raises OSError."""
        if self._file is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(None, self._file.last, count)


_ENTRY = record(
    **{"at": NUMBER, "who": TEXT, "role": TEXT, "from": TEXT, "method": TEXT, "path": TEXT, "body": {}},
    status=COUNT,
    problems=TEXTS,
)


def auditing(audit: AuditLog) -> Operation:
    """`?last=100` is answered with `{"calls": [...]}`, oldest first."""

    async def show(request: Request) -> Response:
        given = request.query_params.get("last", str(_USUAL))
        count = int(given) if given.isascii() and given.isdigit() and len(given) < 6 else 0
        if not 1 <= count <= MOST_SHOWN:
            raise ProblemError(400, f"last: expected a number from 1 to {MOST_SHOWN}")
        try:
            calls = await audit.last(count)
        except OSError as error:
            raise ProblemError(500, f"the audit log can't be read: {error.strerror}") from None
        if calls is None:
            raise ProblemError(404, "no audit log is kept: state_directory names no place for it")
        return JSONResponse({"calls": calls})

    return Operation(
        method="GET",
        path="/audit",
        role=Role.OPERATE,
        summary="The last calls that were to change something: who, when and what",
        handler=show,
        query=[
            QueryParameter("last", "How many", {"type": "integer", "minimum": 1, "maximum": MOST_SHOWN}),
        ],
        answer=record(calls=array(_ENTRY)),
        refusals={400: "No such number", 404: "None are kept", 500: "They can't be read"},
    )


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and entry.keys() >= set(_ENTRY["required"]) else None
