"""shield warm: has the running node fetch objects before clients request them, a batch at a time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shield.cli.admin import AdminDoor, admin_of, ask, no_answer, problems_of
from shield.cli.check import read
from shield.cli.rounded import shown_size
from shield.cli.warm.place import WarmPlaceFile, WarmTotals
from shield.cli.warm.sources import BucketUrls, PopularUrls, SourcePlace, UrlList, UrlSource
from shield.errors import ConfigError, OriginError, ShieldError
from shield.rules.warming import MOST_URLS, WarmResult, WarmSpeed

_BATCHES = 16  # URLs ordered at once, for each fetch at once: the slowest of a batch is waited for
_ORDER_SECONDS = 6 * 3600.0
_PATIENCE_SECONDS = 900.0  # while an origin is in trouble
_FAILURES = 20  # that are shown
_WORDS = {
    WarmResult.WARMED: "warmed",
    WarmResult.PRESENT: "already there",
    WarmResult.ABSENT: "absent",
    WarmResult.UNKEPT: "can't be stored",
    WarmResult.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class WarmWish:
    """The options. `source` None: standard input; `bucket`: that origin's, instead of a file."""

    source: Path | None = None
    bucket: str | None = None
    prefix: str = ""
    by_popularity: bool = False
    top: int | None = None
    speed: WarmSpeed = field(default_factory=WarmSpeed)
    max_bytes: int | None = None
    at_once: int = 8
    only_missing: bool = False
    fields: tuple[tuple[str, str], ...] = ()
    state: Path | None = None
    as_json: bool = False


class _StoppedError(ShieldError):
    """It doesn't go on; the text says why."""


def warm(path: Path, wish: WarmWish) -> int:
    """0 when all is there that origins have, 1 if some failed, 2 if it couldn't be done or was stopped."""
    door = admin_of(path)
    if door is None:
        return 2
    try:
        source = _source(path, wish)
        if source is None:
            return 2
        return _WarmRun(source, door, wish, now=time.monotonic, sleep=time.sleep).run()
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
    except OriginError as error:
        print(f"{error}\nits credentials need the right to list the bucket (s3:ListBucket)", file=sys.stderr)
    except ShieldError as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        keeps = "the same command goes on from here" if wish.state else "--state FILE would have kept its place"
        print(f"\nstopped; {keeps}", file=sys.stderr)
    return 2


def _source(path: Path, wish: WarmWish) -> UrlSource | None:
    if wish.bucket is not None:
        loaded = read(path)
        return None if loaded is None else BucketUrls(loaded.settings, wish.bucket, wish.prefix)
    return PopularUrls(wish.source, wish.top) if wish.by_popularity else UrlList(wish.source)


class _WarmRun:
    """One run, and its totals."""

    def __init__(
        self,
        source: UrlSource,
        door: AdminDoor,
        wish: WarmWish,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._source = source
        self._door = door
        self._wish = wish
        self._now = now
        self._sleep = sleep
        self._totals = WarmTotals()
        self._failures = 0
        self._is_spent = False  # the budget of bytes

    def run(self) -> int:
        wish, source = self._wish, self._source
        identity = {**source.identity, "fields": list(map(list, wish.fields)), "only_missing": wish.only_missing}
        file = None if wish.state is None else WarmPlaceFile(wish.state, identity)
        held = None if file is None else file.read()
        after: SourcePlace | None = None
        if held is not None:
            after, self._totals = held
            print(f"going on after {self._totals.urls:,} URLs", file=sys.stderr)
        size = wish.speed.batch(min(MOST_URLS, _BATCHES * wish.at_once))
        with _shown(source.total(), self._totals.urls) as tell:
            urls = source.urls(after)
            while (batch := list(islice(urls, size))) and not self._is_spent:
                began, before = self._now(), self._totals.bytes
                self._order([url for url, _ in batch], tell)
                if self._is_spent:
                    break
                if file is not None:
                    file.write(batch[-1][1], self._totals)
                self._sleep(wish.speed.pause(len(batch), self._totals.bytes - before, self._now() - began))
        if file is not None and not self._is_spent:
            file.remove()
        self._conclude()
        return 1 if self._totals.results.get(WarmResult.FAILED.value) else 0

    def _order(self, urls: Sequence[str], tell: Callable[[str | None, WarmTotals], None]) -> None:
        """Have the node warm these, again and again while an origin is in trouble. Raises _StoppedError."""
        until = self._now() + _PATIENCE_SECONDS
        while urls:
            said = self._asked(urls)
            deferred: list[str] = []
            for each in said["results"]:
                if each["result"] != WarmResult.DEFERRED.value:
                    self._totals.count(each["result"], each["bytes"], each["origin"])
                    until = self._now() + _PATIENCE_SECONDS
                    if each["result"] == WarmResult.FAILED.value:
                        self._complain(f"{each['url']}: {each['status'] or ''} {each['detail'] or ''}".rstrip(), tell)
                else:
                    deferred.append(each["url"])
                    why = str(each["detail"])
            tell(None, self._totals)
            if not deferred:
                return
            if self._left() is not None and "budget" in why:
                self._is_spent = True
                return
            if self._now() > until:
                raise _StoppedError(f"given up: {why}, for {_PATIENCE_SECONDS / 60:.0f} minutes")
            tell(f"waiting: {why}", self._totals)
            urls = deferred
            self._sleep(float(said.get("retry_after") or 1.0))

    def _asked(self, urls: Sequence[str]) -> Mapping[str, Any]:
        """The node's answer. Raises _StoppedError."""
        wish = self._wish
        order = {
            "urls": list(urls),
            "only_missing": wish.only_missing,
            "concurrency": wish.at_once,
            "max_bytes": self._left(),
            "fields": dict(wish.fields),
        }
        try:
            status, said = ask(self._door, "POST", "/warm", wish=order, seconds=_ORDER_SECONDS)
        except (OSError, HTTPException, ValueError) as error:
            raise _StoppedError(no_answer(self._door, error)) from None
        if status != 200 or not isinstance(said, dict) or "results" not in said:
            raise _StoppedError("\n".join(problems_of(status, said)))
        return said

    def _left(self) -> int | None:
        return None if self._wish.max_bytes is None else max(0, self._wish.max_bytes - self._totals.bytes)

    def _complain(self, text: str, tell: Callable[[str | None, WarmTotals], None]) -> None:
        self._failures += 1
        if self._failures <= _FAILURES:
            tell(text, self._totals)
        elif self._failures == _FAILURES + 1:
            tell("further failures are only counted", self._totals)

    def _conclude(self) -> None:
        totals, source = self._totals, self._source
        if self._wish.as_json:
            said = {"results": totals.results, "origin_bytes": totals.origin_bytes, "is_budget_spent": self._is_spent}
            print(json.dumps(said))
            return
        counts = [f"{totals.results.get(each.value, 0):,} {word}" for each, word in _WORDS.items()]
        print(", ".join([counts[0], counts[1], *[count for count in counts[2:] if not count.startswith("0 ")]]))
        for name, size in sorted(totals.origin_bytes.items()):
            print(f"{shown_size(size)} from {name}")
        if self._is_spent:
            again = "; the same command with a larger one goes on from here" if self._wish.state else ""
            print(f"stopped: the budget of {shown_size(self._wish.max_bytes or 0)} is used up{again}")
        if isinstance(source, BucketUrls) and source.unreachable:
            print(f"{source.unreachable:,} objects have no route: clients can't request them")
        if isinstance(source, PopularUrls) and source.without:
            print(f"{source.without:,} lines of the log name no object")


@contextmanager
def _shown(total: int | None, done: int) -> Iterator[Callable[[str | None, WarmTotals], None]]:
    """Yields a function for the totals so far, and a line of text if there is one. A bar on a terminal only."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield lambda text, totals: None if text is None else print(text, file=sys.stderr)
        return
    columns = (
        TextColumn("warming"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[size]} from origins"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("", total=total, completed=done, size="0B")

        def tell(text: str | None, totals: WarmTotals) -> None:
            if text is not None:
                shown.console.print(text, markup=False)
            shown.update(task, completed=totals.urls, size=shown_size(totals.bytes))

        yield tell
