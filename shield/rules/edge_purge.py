"""Purges at CDNs: the calls of their APIs that an order becomes, and the meanings of their answers. Pure.

Sources, as of November 2026:

- Cloudflare: developers.cloudflare.com/cache/how-to/purge-cache (100 operations in a request) and purge_by_prefix
  (30 of them; each is a host and whole segments of a path)
- Fastly: fastly.com/documentation/reference/api/purging (256 surrogate keys in a request, Fastly-Soft-Purge; all
  can't be purged softly; there are no prefixes)
- CloudFront: CreateInvalidation in the API reference of 2020-05-31; Developer Guide, "What you need to know when
  invalidating files" (* only at the end), "... when invalidating tags" (#tag), "Concurrent invalidation request
  maximum" (3,000 paths, 15 wildcards)
- bunny: docs.bunny.net/api-reference/core/purge/purge-url, docs.bunny.net/cdn/purge-cache (one URL or tag in a
  request), docs.bunny.net/docs/cdn-api-purge-rate-limits

What a CDN can't express becomes the nearest wider thing that it can, short of everything, or isn't passed on; the
notes of a plan say which.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import quote, urlsplit

from shield.errors import RequestError
from shield.rules import sigv4
from shield.rules.purge_orders import PurgeOrder
from shield.rules.written import space_and_path, target_of

_CLOUDFLARE_BATCH, _CLOUDFLARE_PREFIXES = 100, 30
_FASTLY_KEYS = 256
_CLOUDFRONT_PATHS, _CLOUDFRONT_WILDCARDS = 300, 15
_BATCHES = {
    "files": _CLOUDFLARE_BATCH,
    "tags": _CLOUDFLARE_BATCH,
    "prefixes": _CLOUDFLARE_PREFIXES,
    "surrogate_keys": _FASTLY_KEYS,
}
_CLOUDFRONT_SPACE = "http://cloudfront.amazonaws.com/doc/2020-05-31/"
_CLOUDFRONT_REGION, _CLOUDFRONT_SERVICE = b"us-east-1", b"cloudfront"

LONGEST_WAIT = 3600.0
"""Seconds between two attempts, if the CDN asks for that long."""

_FIRST_SECONDS, _LONGEST_SECONDS = 2.0, 300.0
_JITTER = 0.25
_HOPELESS = (400, 405, 410, 413, 414, 422)
_HOPELESS_ATTEMPTS = 4
_BUSY = ("TooManyInvalidationsInProgress", "Throttling", "Rate exceeded")
_MOST_SAID = 200

_json = json.JSONEncoder(separators=(",", ":")).encode
_visible = re.compile("[!-~]+").fullmatch


class EdgeProvider(Enum):
    """A CDN whose API is known."""

    CLOUDFLARE = "cloudflare"
    FASTLY = "fastly"
    CLOUDFRONT = "cloudfront"
    BUNNY = "bunny"


APIS = {
    EdgeProvider.CLOUDFLARE: "https://api.cloudflare.com/client/v4",
    EdgeProvider.FASTLY: "https://api.fastly.com",
    EdgeProvider.CLOUDFRONT: "https://cloudfront.amazonaws.com",
    EdgeProvider.BUNNY: "https://api.bunny.net",
}

_CALLED = {
    EdgeProvider.CLOUDFLARE: "Cloudflare",
    EdgeProvider.FASTLY: "Fastly",
    EdgeProvider.CLOUDFRONT: "CloudFront",
    EdgeProvider.BUNNY: "bunny",
}

_PACE = {
    EdgeProvider.CLOUDFLARE: 0.25,
    EdgeProvider.FASTLY: 0.04,
    EdgeProvider.CLOUDFRONT: 0.5,
    EdgeProvider.BUNNY: 0.2,
}
"""Seconds between two calls, by the CDNs' limits: of Cloudflare's plan Pro, of 100,000 an hour at Fastly. Lower
limits than these answer 429, and say how long to wait."""

_SLOW_PACE = 2.0  # of bunny's prefixes


@dataclass(frozen=True, slots=True)
class PurgeEdge:
    """A CDN's configuration to purge at. `place` is the id of its zone, service, distribution or pull zone;
    `base_urls` are what clients' URLs begin with, without a slash at the end. `has_tags`: it gets responses' tags.
    """

    name: str
    provider: EdgeProvider
    place: str
    base_urls: tuple[str, ...]
    has_tags: bool = True


@dataclass(frozen=True, slots=True)
class CorruptTerms:
    """What a CDN gets of objects whose bytes may be wrong: so many `urls` at most, and beyond that `everything` or
    nothing more.
    """

    urls: int = 0
    everything: bool = False


@dataclass(frozen=True, slots=True)
class EdgeCall:
    """A POST to a CDN's API: path and query below its base URL, body, and the seconds until the next call."""

    target: str
    body: str = ""
    media_type: str = ""
    is_soft: bool = False
    pace: float = 0.0

    def plain(self) -> str:
        """As text, for `read`."""
        return _json([self.target, self.body, self.media_type, self.is_soft, self.pace])

    @classmethod
    def read(cls, text: str) -> EdgeCall:
        target, body, media_type, is_soft, pace = json.loads(text)
        return cls(target, body, media_type, is_soft, pace)


@dataclass(frozen=True, slots=True)
class EdgePlan:
    """The calls of an order, and `notes` on what they purge more or less than the order says."""

    calls: tuple[EdgeCall, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EdgeSecrets:
    """Credentials of calls: a token, or for CloudFront a pair of keys, perhaps with a session's token."""

    token: str = ""
    access_key_id: str = ""
    secret_key: str = ""
    session_token: str = ""


def plan(order: PurgeOrder, edge: PurgeEdge, reference: str) -> EdgePlan:
    """The calls that purge the order's targets at the CDN. `reference` is unique to this order and attempt:
    CloudFront does one thing for each.
    """
    wishes = _Wishes(order, edge)
    if not wishes.has_any:
        return EdgePlan((), tuple(wishes.notes))
    make = {
        EdgeProvider.CLOUDFLARE: _cloudflare,
        EdgeProvider.FASTLY: _fastly,
        EdgeProvider.CLOUDFRONT: _cloudfront,
        EdgeProvider.BUNNY: _bunny,
    }[edge.provider]
    return EdgePlan(tuple(make(wishes, edge, reference)), tuple(wishes.notes))


class _Wishes:
    """An order as far as a CDN can have it: targets (path and query), tags, and beginnings of paths."""

    def __init__(self, order: PurgeOrder, edge: PurgeEdge) -> None:
        self.notes: list[str] = []
        self.everything = order.everything
        provider, called = edge.provider, _CALLED[edge.provider]
        self.targets = self._targets(order.paths)
        self.tags = self._tags(order.tags, edge)
        self.prefixes = self._prefixes(order, provider)
        is_soft_there = provider is EdgeProvider.FASTLY and not order.everything
        self.is_soft = order.soft and is_soft_there
        if order.soft and not is_soft_there and self.has_any:
            what = "everything is" if provider is EdgeProvider.FASTLY else "objects are"
            self.notes.append(
                f"{called} can't purge {'everything ' if order.everything else ''}softly: {what} removed"
            )

    @property
    def has_any(self) -> bool:
        return bool(self.everything or self.targets or self.tags or self.prefixes)

    def _targets(self, names: Sequence[bytes]) -> list[str]:
        paths = [name.decode("ascii") for name in names if name.startswith(b"/")]
        self._left_out(len(names) - len(paths), "key", "a CDN knows URLs alone")
        return list(dict.fromkeys(paths))

    def _tags(self, tags: Sequence[bytes], edge: PurgeEdge) -> list[str]:
        if not edge.has_tags:
            self._left_out(len(tags), "tag", "tags is false in its settings")
            return []
        # A blank, or a comma, is between two of them in the fields that CDNs read.
        known = [
            text for text in (tag.decode("utf-8", "replace") for tag in tags) if _visible(text) and "," not in text
        ]
        self._left_out(len(tags) - len(known), "tag", "CDNs know tags of visible ASCII without commas")
        return known

    def _prefixes(self, order: PurgeOrder, provider: EdgeProvider) -> list[str]:
        """Beginnings of paths, those of globs too, as far as the provider has any."""
        if provider is EdgeProvider.FASTLY:
            self._left_out(len(order.prefixes), "prefix", "Fastly has none: purge by tag, or all")
            self._left_out(len(order.globs), "glob", "Fastly has none: purge by tag, or all")
            return []
        found, wider, keys, too_wide = list[str](), list[str](), 0, 0
        for kind, texts in (("prefix", order.prefixes), ("glob", order.globs)):
            for text in texts:
                space, path = space_and_path(text)
                if space is not None or not path.startswith("/"):
                    keys += 1
                    continue
                exact = begin = _target(path.partition("*")[0])
                if provider is EdgeProvider.CLOUDFLARE and not begin.endswith("/"):
                    begin = begin.partition("?")[0].rpartition("/")[0] + "/"
                is_wider = begin != exact or (kind == "glob" and path.find("*") < len(path) - 1)
                if is_wider and begin == "/":
                    too_wide += 1
                    continue
                wider += [text] if is_wider else []
                found.append(begin)
        self._left_out(too_wide, "prefix or glob", "there it would be everything: purge all if that is meant")
        self._left_out(keys, "prefix or glob", "it is of keys, and a CDN knows URLs alone")
        if wider:
            first, more = json.dumps(wider[0][:80]), len(wider) - 1
            named = f"{first}{f' and {more:,} more' if more else ''}"
            what = "all below the directory" if provider is EdgeProvider.CLOUDFLARE else "all that begins so"
            self.notes.append(f"{named}: {what} is purged, since {_CALLED[provider]} has nothing narrower")
        return list(dict.fromkeys(found))

    def _left_out(self, count: int, what: str, why: str) -> None:
        if count:
            ending = "" if count == 1 or " " in what else "es" if what.endswith("x") else "s"
            self.notes.append(f"{count:,} {what}{ending} not passed on: {why}")


def _target(path: str) -> str:
    try:
        return target_of(path).decode("ascii")
    except RequestError:  # an order's parts were read before
        return quote(path, safe="/%?=&", errors="replace")


def _batches(things: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    for at in range(0, len(things), most):
        yield things[at : at + most]


def _cloudflare(wishes: _Wishes, edge: PurgeEdge, reference: str) -> Iterator[EdgeCall]:
    target, pace = f"/zones/{edge.place}/purge_cache", _PACE[edge.provider]
    bodies: list[dict[str, object]] = [{"purge_everything": True}] if wishes.everything else []
    files = [base + path for base in edge.base_urls for path in wishes.targets]
    hosts = [base.partition("://")[2] for base in edge.base_urls]
    prefixes = [(host + begin).rstrip("/") for host in hosts for begin in wishes.prefixes]
    bodies += [{"files": batch} for batch in _batches(files, _CLOUDFLARE_BATCH)]
    bodies += [{"prefixes": batch} for batch in _batches(prefixes, _CLOUDFLARE_PREFIXES)]
    bodies += [{"tags": batch} for batch in _batches(wishes.tags, _CLOUDFLARE_BATCH)]
    for body in bodies:
        yield EdgeCall(target, _json(body), "application/json", pace=pace)


def _fastly(wishes: _Wishes, edge: PurgeEdge, reference: str) -> Iterator[EdgeCall]:
    service, soft, pace = f"/service/{edge.place}", wishes.is_soft, _PACE[edge.provider]
    if wishes.everything:
        yield EdgeCall(f"{service}/purge_all", pace=pace)
    for batch in _batches(wishes.tags, _FASTLY_KEYS):
        yield EdgeCall(f"{service}/purge", _json({"surrogate_keys": batch}), "application/json", soft, pace)
    for base in edge.base_urls:
        for path in wishes.targets:
            yield EdgeCall(f"/purge/{base.partition('://')[2]}{path}", is_soft=soft, pace=pace)


def _cloudfront(wishes: _Wishes, edge: PurgeEdge, reference: str) -> Iterator[EdgeCall]:
    """Of all distributions' host names: an invalidation is of paths."""
    below = dict.fromkeys([urlsplit(base).path for base in edge.base_urls] or [""])
    wide = ["/*"] if wishes.everything else [f"{base}{begin}*" for base in below for begin in wishes.prefixes]
    exact = [base + path for base in below for path in wishes.targets] + [f"#{tag}" for tag in wishes.tags]
    batches = [*_batches(wide, _CLOUDFRONT_WILDCARDS), *_batches(exact, _CLOUDFRONT_PATHS)]
    for number, batch in enumerate(batches):
        items = "".join([f"<Path>{_escaped(each)}</Path>" for each in batch])
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?><InvalidationBatch xmlns="{_CLOUDFRONT_SPACE}">'
            f"<CallerReference>{_escaped(reference)}-{number}</CallerReference>"
            f"<Paths><Items>{items}</Items><Quantity>{len(batch)}</Quantity></Paths></InvalidationBatch>"
        )
        target = f"/2020-05-31/distribution/{edge.place}/invalidation"
        yield EdgeCall(target, body, "application/xml", pace=_PACE[edge.provider])


def is_purge(edge: PurgeEdge, call: EdgeCall) -> bool:
    """Whether a call from elsewhere is one that purges at this CDN's configuration: others would misuse what admits
    it.
    """
    place, target = edge.place, call.target
    exact, beginnings = {
        EdgeProvider.CLOUDFLARE: ((f"/zones/{place}/purge_cache",), ()),
        EdgeProvider.FASTLY: ((f"/service/{place}/purge", f"/service/{place}/purge_all"), ("/purge/",)),
        EdgeProvider.CLOUDFRONT: ((f"/2020-05-31/distribution/{place}/invalidation",), ()),
        EdgeProvider.BUNNY: ((f"/pullzone/{place}/purgeCache",), ("/purge?url=",)),
    }[edge.provider]
    return bool(_visible(target)) and (target in exact or target.startswith(tuple(beginnings)))


def _escaped(text: str) -> str:
    """In XML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _bunny(wishes: _Wishes, edge: PurgeEdge, reference: str) -> Iterator[EdgeCall]:
    zone, pace = f"/pullzone/{edge.place}/purgeCache", _PACE[edge.provider]
    if wishes.everything:
        yield EdgeCall(zone, pace=_SLOW_PACE)
    for tag in wishes.tags:
        yield EdgeCall(zone, _json({"CacheTag": tag}), "application/json", pace=_SLOW_PACE)
    for base in edge.base_urls:
        for path in wishes.targets:
            exact = "&exactPath=true" if path.endswith("/") else ""
            yield EdgeCall(f"/purge?url={quote(base + path, safe='')}&async=true{exact}", pace=pace)
        for begin in wishes.prefixes:
            yield EdgeCall(f"/purge?url={quote(base + begin + '*', safe='')}&async=true", pace=_SLOW_PACE)


def merged(calls: Sequence[EdgeCall]) -> list[tuple[EdgeCall, list[int]]]:
    """Fewer calls that do the same, each with the places of those that it stands for: many orders name one URL or tag
    alone, and the limits of Cloudflare and Fastly are on calls.
    """
    made: list[tuple[EdgeCall, list[int]]] = []
    open_ones: dict[tuple[str, bool, str], tuple[int, list[str]]] = {}
    for place, call in enumerate(calls):
        said = json.loads(call.body) if call.media_type == "application/json" else {}
        word, things = next(iter(said.items()), ("", None))
        most = _BATCHES.get(word, 0)
        if not isinstance(things, list) or not most:
            made.append((call, [place]))
            continue
        kind = call.target, call.is_soft, word
        at, known = open_ones.get(kind, (-1, []))
        together = list(dict.fromkeys([*known, *things]))
        if at >= 0 and len(together) <= most:
            made[at] = replace(call, body=_json({word: together})), [*made[at][1], place]
            open_ones[kind] = at, together
        else:
            open_ones[kind] = len(made), things
            made.append((call, [place]))
    return made


def fields_of(edge: PurgeEdge, api: str, secrets: EdgeSecrets, call: EdgeCall, now: float) -> list[tuple[str, str]]:
    """The fields of a call at that time: they admit it, so they are secret."""
    fields = [("content-type", call.media_type)] if call.media_type else []
    fields += [("fastly-soft-purge", "1")] if call.is_soft else []
    if edge.provider is EdgeProvider.CLOUDFLARE:
        return [*fields, ("authorization", f"Bearer {secrets.token}")]
    if edge.provider is EdgeProvider.FASTLY:
        return [*fields, ("fastly-key", secrets.token), ("accept", "application/json")]
    if edge.provider is EdgeProvider.BUNNY:
        return [*fields, ("accesskey", secrets.token)]
    at, host = sigv4.timestamp(now), urlsplit(api).netloc
    date, scope = at[:8], sigv4.scope(at[:8], _CLOUDFRONT_REGION, _CLOUDFRONT_SERVICE)
    signed_fields = [(b"host", host.encode()), (b"x-amz-date", at)]
    if secrets.session_token:
        signed_fields.append((b"x-amz-security-token", secrets.session_token.encode()))
    request = sigv4.canonical_request(
        b"POST",
        (urlsplit(api).path + call.target).encode(),
        b"",
        fields=tuple(signed_fields),
        payload_hash=hashlib.sha256(call.body.encode()).hexdigest().encode(),
    )
    key = sigv4.signing_key(secrets.secret_key.encode(), date, _CLOUDFRONT_REGION, _CLOUDFRONT_SERVICE)
    signed = sigv4.signature(key, sigv4.string_to_sign(at, scope, request))
    names = b";".join([name for name, _ in signed_fields])
    value = sigv4.authorization(secrets.access_key_id.encode(), scope, names, signed)
    sent = [(name.decode(), each.decode()) for name, each in signed_fields]
    return [*fields, *sent, ("authorization", value.decode())]


@dataclass(frozen=True, slots=True)
class EdgeAnswer:
    """The outcome of a call. `problem` is None if the CDN accepted it; `is_hopeless`: it would hardly take it later.
    `retry_after` is in seconds.
    """

    problem: str | None = None
    is_hopeless: bool = False
    retry_after: float | None = None


def judge_answer(status: int, body: str, retry_after: str) -> EdgeAnswer:
    """The meaning of a response. Cloudflare's may say `"success": false` with 200."""
    if 200 <= status < 300 and not re.search(r'"success"\s*:\s*false', body):
        return EdgeAnswer()
    said = "".join([c if c.isprintable() else " " for c in body]).strip()[:_MOST_SAID]
    wait = float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 7 else None
    hopeless = status in _HOPELESS and not any(word in body for word in _BUSY)
    return EdgeAnswer(f"it answers {status}{f': {said}' if said else ''}", hopeless, wait)


def next_wait(attempts: int, answer: EdgeAnswer, chance: float) -> float | None:
    """Seconds until the next attempt after this many that failed; None: give up. `chance`, from 0 to 1, adds jitter.

    A refused token or an unknown zone is tried on with: people mend it, and the purge must not be lost.
    """
    if answer.is_hopeless and attempts >= _HOPELESS_ATTEMPTS:
        return None
    wait = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(attempts - 1, 20))
    wait *= 1.0 - _JITTER + 2.0 * _JITTER * chance
    return wait if answer.retry_after is None else min(max(wait, answer.retry_after), LONGEST_WAIT)
