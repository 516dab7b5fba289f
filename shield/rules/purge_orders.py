"""Purge orders: the entries to remove or make stale, as people, scripts and CDNs' tools name them. Pure.

An order comes as JSON, by the options of `shield purge`, which sends JSON, or as a request with the method PURGE. All
three have the same meaning and the same limits; errors name the part of the order, and what was expected there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import xxhash

from shield.errors import RequestError, ShieldError
from shield.messages import Request
from shield.rules.key import spelled
from shield.rules.tags import LONGEST as LONGEST_TAG
from shield.rules.tags import listed
from shield.rules.written import WrittenError, name_of, prefixes_of, space_and_path, split_key, target_of

MOST_BYTES = 4 << 20
"""Of an order's JSON: it is parsed in one go."""

MOST_PATHS = 10_000
MOST_TAGS = 1_000
MOST_PREFIXES = 1_000
MOST_GLOBS = 64
"""Each of them is a scan of all keys."""

MOST_STARS = 8
"""In one glob: more of them make comparisons slow."""

LONGEST_ID = 128

_LONGEST_SHOWN = 80
_LONGEST_PATTERN = 4096  # bytes of a prefix or a glob: longer than the longest key
_WORDS = {"paths": MOST_PATHS, "tags": MOST_TAGS, "prefixes": MOST_PREFIXES, "globs": MOST_GLOBS}
_ONE = {"paths": "path", "tags": "tag", "prefixes": "prefix", "globs": "glob", "origins": "origin"}
KINDS = (*_WORDS, "all")
"""The targets that an order may name, as in JSON."""

SHOWN_KINDS = (*KINDS, "origins")
"""The targets that a purge in the log may name: origins by the node's own."""

_FLAGS = ("all", "soft", "takedown", "dry_run")
_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]*").fullmatch
_control = re.compile("[\x00-\x1f\x7f\ud800-\udfff]").search

_TAG_FIELDS = {
    b"surrogate-key": b"surrogate-key",
    b"cache-tag": b"cache-tag",
    b"xkey": b"xkey",
    b"xkey-purge": b"xkey",
    b"xkey-softpurge": b"xkey",
}
"""Fields of a PURGE request that list tags, and the field of responses that is written alike."""

_SOFT_FIELD, _SOFT_TAGS, _ID_FIELD = b"fastly-soft-purge", b"xkey-softpurge", b"idempotency-key"


class OrderError(ShieldError):
    """It isn't an order; the text names the part and the expectation."""


@dataclass(frozen=True, slots=True)
class PurgeOrder:
    """What is to be purged. `paths` are what `keys_of` takes, `prefixes` and `globs` as they were written.

    `soft`: entries become stale at once, and keep their grace. `takedown`: only the primary may bring the objects
    back. `is_trial`: nothing is purged; it is only counted.
    """

    id: str
    paths: tuple[bytes, ...] = ()
    tags: tuple[bytes, ...] = ()
    prefixes: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()
    everything: bool = False
    soft: bool = False
    takedown: bool = False
    is_trial: bool = False

    @property
    def prefix_texts(self) -> tuple[bytes, ...]:
        """The beginnings of keys that the prefixes stand for, in all spellings."""
        return tuple(dict.fromkeys([text for prefix in self.prefixes for text in prefixes_of(prefix)]))

    @property
    def glob_texts(self) -> tuple[bytes, ...]:
        """The patterns of keys that the globs stand for, in all spellings."""
        return tuple(dict.fromkeys([text for glob in self.globs for text in globs_of(glob)]))

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of things named, by their kind; those that aren't there are left out."""
        found = {word: len(getattr(self, word)) for word in _WORDS}
        return {word: count for word, count in found.items() if count} | ({"all": 1} if self.everything else {})

    @property
    def examples(self) -> tuple[str, ...]:
        """The first few things that it names, for people."""
        paths = [name.decode("ascii", "replace") for name in self.paths[:3]]
        tags = [f"tag {shown(tag.decode('utf-8', 'replace'))}" for tag in self.tags[:3]]
        prefixes = [f"prefix {shown(text)}" for text in self.prefixes[:3]]
        globs = [f"glob {shown(text)}" for text in self.globs[:3]]
        found = [*map(shown, paths), *tags, *prefixes, *globs]
        return tuple(found[:3]) if not self.everything else ("all",)

    @property
    def digest(self) -> str:
        """Equal for orders that purge the same in the same way, whatever their ids and the order of their parts."""
        parts: list[bytes] = [bytes((self.everything, self.soft, self.takedown))]
        for word in _WORDS:
            texts = [text if isinstance(text, bytes) else text.encode() for text in getattr(self, word)]
            parts += [b"%b %d" % (word.encode(), len(set(texts))), *sorted(set(texts))]
        return xxhash.xxh3_128_hexdigest(b"\n".join(parts))

    def __str__(self) -> str:
        """Its effect, in a few words."""
        return f"{'takedown' if self.takedown else 'soft purge' if self.soft else 'purge'} of {in_words(self.counts)}"


def in_words(counts: Mapping[str, int]) -> str:
    """Numbers of things by their kind, for people."""
    if counts.get("all"):
        return "everything"
    return ", ".join([f"{count:,} {_ONE[kind] if count == 1 else kind}" for kind, count in counts.items()])


def read_order(text: bytes, new_id: Callable[[], str]) -> PurgeOrder:
    """The order in JSON: `{"paths": [...], "tags": [...], "prefixes": [...], "globs": [...], "all": true,
    "soft": true, "takedown": true, "dry_run": true, "id": "..."}`. Each part may be left out; a text may stand for a
    list of it.

    `new_id` makes an id for an order without one. Raises OrderError, also for one that names nothing.
    """
    if len(text) > MOST_BYTES:
        raise OrderError(f"expected {MOST_BYTES:,} bytes at most; send several orders")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise OrderError("expected JSON") from None
    if not isinstance(said, dict):
        raise OrderError('expected an object, as {"paths": ["/a.webp"]}')
    unknown = sorted(said.keys() - {*_WORDS, *_FLAGS, "id"})
    if unknown:
        known = ", ".join([*_WORDS, *_FLAGS, "id"])
        raise OrderError(f"{shown(unknown[0])}: there is no such part; expected some of {known}")
    lists = {word: _texts(said, word, most) for word, most in _WORDS.items()}
    flags = {word: _flag(said, word) for word in _FLAGS}
    given = said.get("id")
    if given is not None and not isinstance(given, str):
        raise OrderError("id: expected a text")
    return _checked(
        PurgeOrder(
            new_id() if given is None else checked_id(given),
            paths=tuple([_path(text, f"paths[{at}]") for at, text in enumerate(lists["paths"])]),
            tags=tuple([_tag(text, f"tags[{at}]") for at, text in enumerate(lists["tags"])]),
            prefixes=tuple(
                [_pattern(text, f"prefixes[{at}]", prefixes_of) for at, text in _numbered(lists["prefixes"])]
            ),
            globs=tuple([_pattern(text, f"globs[{at}]", globs_of) for at, text in _numbered(lists["globs"])]),
            everything=flags["all"],
            soft=flags["soft"],
            takedown=flags["takedown"],
            is_trial=flags["dry_run"],
        )
    )


def order_of(request: Request, new_id: Callable[[], str]) -> PurgeOrder:
    """The order in a request with the method PURGE: of its target; or, if it has a field with tags, of these alone.

    Tags are read from Surrogate-Key and xkey-purge (blanks between them) and Cache-Tag (commas). Soft with
    `Fastly-Soft-Purge: 1` or by xkey-softpurge. Idempotency-Key is the id. Raises OrderError.
    """
    names = {name for name, _ in request.fields}
    said = request.get(_ID_FIELD).decode("latin-1")
    if len(said) > 1 and said.startswith('"') and said.endswith('"'):
        said = said[1:-1]
    soft = _SOFT_TAGS in names
    if _SOFT_FIELD in names:
        word = request.get(_SOFT_FIELD)
        if word not in (b"1", b"0"):
            raise OrderError("Fastly-Soft-Purge: expected 1, or 0 for a hard purge")
        soft = soft or word == b"1"
    there = [name for name in _TAG_FIELDS if name in names]
    tags: dict[bytes, None] = {}
    for name in there:
        lines = [value for each, value in request.fields if each == name]
        tags.update(dict.fromkeys([tag for tag in listed(_TAG_FIELDS[name], lines) if tag]))
    if there and not tags:
        raise OrderError(f"{there[0].decode()}: there is no tag in it; expected some")
    if len(tags) > MOST_TAGS:
        raise OrderError(f"expected {MOST_TAGS:,} tags at most; send several requests")
    if any(len(tag) > LONGEST_TAG for tag in tags):
        raise OrderError(f"expected tags of {LONGEST_TAG:,} bytes at most: no entry has a longer one")
    order_id = checked_id(said) if _ID_FIELD in names else new_id()
    if there:
        return PurgeOrder(order_id, tags=tuple(tags), soft=soft)
    path = request.target.partition(b"?")[0]
    if path.endswith(b"*"):
        raise OrderError(_STAR)
    return PurgeOrder(order_id, paths=(request.target,), soft=soft)


def to_text(order: PurgeOrder) -> str:
    """An order as it is kept, to be carried out later; not as people write it."""
    said = {
        "paths": [name.decode("latin-1") for name in order.paths],
        "tags": [tag.decode("latin-1") for tag in order.tags],
        "prefixes": order.prefixes,
        "globs": order.globs,
        "all": order.everything,
        "soft": order.soft,
        "takedown": order.takedown,
    }
    return json.dumps(said, separators=(",", ":"))


def from_text(order_id: str, text: str) -> PurgeOrder | None:
    """The order with this id of which `to_text` made this; None if it isn't one."""
    try:
        said = json.loads(text)
        lists = {word: [str(each) for each in said[word]] for word in _WORDS}
        order = PurgeOrder(
            order_id,
            paths=tuple([name.encode("latin-1") for name in lists["paths"]]),
            tags=tuple([tag.encode("latin-1") for tag in lists["tags"]]),
            prefixes=tuple([_pattern(prefix, "prefixes", prefixes_of) for prefix in lists["prefixes"]]),
            globs=tuple([_pattern(glob, "globs", globs_of) for glob in lists["globs"]]),
            everything=said["all"] is True,
            soft=said["soft"] is True,
            takedown=said["takedown"] is True,
        )
    except (ValueError, RecursionError, KeyError, TypeError, OrderError):
        return None
    return order if order.counts else None


def checked_id(text: str) -> str:
    """The text, if it can be an order's id. Raises OrderError."""
    if len(text) > LONGEST_ID or not _id(text):
        said = f"id: expected 1 to {LONGEST_ID} letters, digits, and any of . _ : @ / + - after the first"
        raise OrderError(f"{said}; got {shown(text)}")
    return text


def globs_of(text: str) -> tuple[bytes, ...]:
    """The patterns of key texts that a glob stands for, in each spelling that keys may have. A `*` stands for any
    characters, slashes too; all others stand for themselves. Raises WrittenError.

    Without a space, as `s1:/a*`, it is about paths in any space, and begins with a slash. Of a URL the path counts.
    """
    text = ("/" + text if text.startswith("*") else text).partition("#")[0]
    space, path = space_and_path(text)
    if not path or "*" in (space or "") or not (space or "").isascii():
        raise WrittenError(
            f"expected a pattern of paths, as /images/*.webp, or of keys, as s1:/images/*; got {shown(text)}"
        )
    if "*" not in path:
        raise WrittenError(f"expected a * for any characters; without one it is a path; got {shown(text)}")
    path = re.sub(r"\*{2,}", "*", path)
    if path.count("*") > MOST_STARS:
        raise WrittenError(f"expected {MOST_STARS} times * at most; got {shown(text)}")
    try:
        plain, mark, query = path.partition("?")
        parts = [spelled(target_of(f"/{part}")[1:]) for part in plain.split("*")]
        rest = target_of("/" + query)[1:] if mark else b""
    except RequestError:
        raise WrittenError("expected a pattern in Unicode") from None
    begin = b"" if space is None else space.encode() + b":"
    end = mark.encode() + rest
    return tuple(dict.fromkeys([begin + b"*".join(each) + end for each in zip(*parts, strict=True)]))


def shown(text: str) -> str:
    """A text from outside, in quotes, on one line and not too long."""
    cut = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."
    return json.dumps(cut)


_STAR = "a * stands for itself in a path; expected it in globs, or a prefix, or %2A for the character"


def _checked(order: PurgeOrder) -> PurgeOrder:
    """The order, if its parts go together. Raises OrderError."""
    if not order.counts:
        raise OrderError("it names nothing; expected some of paths, tags, prefixes, globs, or all: true")
    others = [word for word in order.counts if word != "all"]
    if order.everything and others:
        raise OrderError(f"all: it includes the {others[0]}; expected one of the two")
    if order.takedown and order.soft:
        raise OrderError("takedown: an object that was taken down is never served stale; expected it without soft")
    if order.takedown and order.counts.keys() - {"paths"}:
        word = next(word for word in order.counts if word != "paths")
        raise OrderError(
            f"takedown: expected paths alone, without {word}: only named objects can be kept from coming back"
        )
    return order


def _texts(said: Mapping[str, Any], word: str, most: int) -> Sequence[str]:
    value = said.get(word, [])
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise OrderError(f"{word}: expected a list of texts")
    if len(value) > most:
        raise OrderError(f"{word}: expected {most:,} at most, got {len(value):,}; send several orders")
    for at, each in enumerate(value):
        if not isinstance(each, str):
            raise OrderError(f"{word}[{at}]: expected a text")
    return list(dict.fromkeys(value))


def _flag(said: Mapping[str, Any], word: str) -> bool:
    value = said.get(word, False)
    if not isinstance(value, bool):
        raise OrderError(f"{word}: expected true or false")
    return value


def _numbered(texts: Collection[str]) -> list[tuple[int, str]]:
    return list(enumerate(texts))


def _path(text: str, where: str) -> bytes:
    """What `keys_of` takes for a URL, a path or a key. Raises OrderError."""
    if not text or _control(text):
        raise OrderError(f"{where}: expected a path, a URL or a key; got {shown(text)}")
    if text.startswith("//"):
        raise OrderError(f"{where}: got {shown(text)}; expected https: before it, or a single slash")
    if "://" in text and not text.startswith("/"):
        _check_url(text, where)
    elif split_key(text)[1] is None:
        raise OrderError(
            f"{where}: got {shown(text)}; expected / or https:// at its beginning, or a key as s1:/a.webp"
        )
    elif text.startswith("/") and "*" in text.partition("?")[0]:
        raise OrderError(f"{where}: got {shown(text)}; {_STAR}")
    try:
        return name_of(text)
    except RequestError as error:
        raise OrderError(f"{where}: got {shown(text)}; it would be rejected in a request: {error.reason}") from None


def _check_url(text: str, where: str) -> None:
    """The host is no part of any key, and only has to be there."""
    try:
        parts = urlsplit(text)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise OrderError(f"{where}: got {shown(text)}; expected a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise OrderError(f"{where}: got {shown(text)}; expected a URL as https://cdn.example/a.webp")
    if "*" in parts.path:
        raise OrderError(f"{where}: got {shown(text)}; {_STAR}")


def _tag(text: str, where: str) -> bytes:
    if not text or _control(text):
        raise OrderError(f"{where}: expected a tag; got {shown(text)}")
    tag = text.encode()
    if len(tag) > LONGEST_TAG:
        raise OrderError(f"{where}: expected {LONGEST_TAG:,} bytes at most: no entry has a longer tag")
    return tag


def _pattern(text: str, where: str, read: Callable[[str], object]) -> str:
    """The text of a prefix or a glob, if it can be read. Raises OrderError."""
    if _control(text) or len(text) > _LONGEST_PATTERN:
        raise OrderError(f"{where}: expected at most {_LONGEST_PATTERN:,} printable characters; got {shown(text)}")
    try:
        read(text)
    except WrittenError as error:
        raise OrderError(f"{where}: {error}") from None
    return text
