"""Where the URLs to warm come from: a list, an access log by popularity, or the listing of a bucket.

A source gives its URLs in the same order each time, each with the place after it, from which another run can go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes

from shield.audit.bucket import ListedBucket
from shield.build.audit import buckets_of
from shield.cli.lines import lines_of
from shield.config.settings import Settings
from shield.errors import ConfigError, ShieldError
from shield.rules.announcements import targets_of
from shield.rules.warming import logged_target, popular

SourcePlace = int | str


class WarmSourceError(ShieldError):
    """A source that can't be read."""


class UrlSource(Protocol):
    """URLs to warm."""

    @property
    def identity(self) -> Mapping[str, object]:
        """What makes it the same source in another run."""

    def urls(self, after: SourcePlace | None) -> Iterator[tuple[str, SourcePlace]]:
        """Those after a place, each with the place after it. Raises WarmSourceError."""

    def total(self) -> int | None:
        """How many there are in all; None: it isn't known."""


class UrlList:
    """URLs or paths, one a line; blank lines and lines that begin with # are none. `path` None: standard input."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def identity(self) -> Mapping[str, object]:
        return {"list": _name(self._path)}

    def urls(self, after: SourcePlace | None) -> Iterator[tuple[str, SourcePlace]]:
        with lines_of(self._path, WarmSourceError) as lines:
            for number, line in enumerate(lines, start=1):
                url = line.strip()
                if number <= int(after or 0) or not url or url.startswith("#"):
                    continue
                if logged_target(url) is not None:
                    raise WarmSourceError(
                        f"{_name(self._path)}:{number}: a line of an access log; expected a URL, or --by popularity"
                    )
                yield url, number

    def total(self) -> int | None:
        if self._path is None or not self._path.is_file():
            return None
        return sum(1 for _ in self.urls(None))


class PopularUrls:
    """The targets of an access log, the most requested first, at most `top` of them."""

    def __init__(self, path: Path | None, top: int | None) -> None:
        self._path = path
        self._top = top
        self._found: list[str] | None = None
        self.without = 0
        """Lines that name no object."""

    @property
    def identity(self) -> Mapping[str, object]:
        # Its order is another one once lines are added.
        size = self._path.stat().st_size if self._path is not None and self._path.exists() else None
        return {"log": _name(self._path), "size": size, "top": self._top}

    def urls(self, after: SourcePlace | None) -> Iterator[tuple[str, SourcePlace]]:
        found = self._read()
        for number in range(int(after or 0), len(found)):
            yield found[number], number + 1

    def total(self) -> int | None:
        return len(self._read())

    def _read(self) -> list[str]:
        if self._found is None:
            with lines_of(self._path, WarmSourceError) as lines:
                self._found, self.without = popular(lines, self._top)
            if not self._found and self.without:
                raise WarmSourceError(
                    f"{_name(self._path)}: none of its {self.without} lines is a GET of an object, in JSON or in the "
                    "combined format"
                )
        return self._found


class BucketUrls:
    """The objects of an origin's bucket under a prefix of keys, as clients request them. Needs the origin's
    credentials, with the right to list the bucket.
    """

    def __init__(self, settings: Settings, origin: str, prefix: str) -> None:
        """Raises ConfigError for an origin that lists nothing."""
        found = settings.origins.get(origin)
        if found is None:
            known = ", ".join(settings.origins)
            raise ConfigError([f"--bucket: there is no origin {origin}; expected one of {known}"])
        if not found.profile.signed:
            said = f"--bucket: {origin} is of provider http, which lists no objects; expected a list of URLs"
            raise ConfigError([said])
        self._settings = settings
        self._origin = origin
        self._prefix = prefix
        self.unreachable = 0
        """Objects that no route leads to."""

    @property
    def identity(self) -> Mapping[str, object]:
        where = self._settings.origins[self._origin].location().object_url(b"/")
        return {"bucket": where, "prefix": self._prefix}

    def urls(self, after: SourcePlace | None) -> Iterator[tuple[str, SourcePlace]]:
        settings, routes = self._settings, self._settings.route_table()
        prefix = self._prefix.encode("utf-8", "surrogateescape")
        last, before = unquote_to_bytes(str(after or "")) or None, after or ""
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            (bucket,) = runner.run(_made(settings, self._origin, stack))
            try:
                is_last, token = False, None
                while not is_last:
                    page = runner.run(bucket.page(prefix, after=last, token=token))
                    is_last, token = page.is_last, page.token
                    for listed in page.objects:
                        last = listed.key
                        key = listed.key.decode("utf-8", "surrogateescape")
                        targets = list(targets_of(key, (self._origin,), routes))
                        self.unreachable += not targets
                        done = quote_from_bytes(last, safe="/")
                        for target in targets:
                            yield target.decode("ascii"), done if target is targets[-1] else before
                        before = done
            finally:
                runner.run(stack.aclose())

    def total(self) -> int | None:
        return None


async def _made(settings: Settings, name: str, stack: AsyncExitStack) -> list[ListedBucket]:
    return buckets_of(settings, [name], time.time, stack)


def _name(path: Path | None) -> str:
    return "-" if path is None else str(path)
