"""URLs, paths, keys and prefixes as people and scripts write them, for all ways of removing and asking: pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from shield.errors import RequestError, ShieldError
from shield.rules.key import CacheKey, key_of_text, spellings
from shield.rules.routes import Routes

_is_plain = re.compile(r"/[!\"$-~]*").fullmatch  # graphic ASCII without "#"


_LONGEST_SHOWN = 100


class WrittenError(ShieldError):
    """Invalid input; the text states the expectation."""


def target_of(url: str) -> bytes:
    """The target that a client sends for a URL or path, in origin-form; non-ASCII characters are sent as UTF-8.

    Raises RequestError for an invalid URL.
    """
    if "://" in url and not url.startswith("/"):
        try:
            parts = urlsplit(url)
        except ValueError:
            raise RequestError(400, "not-a-url") from None
        url = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    elif _is_plain(url):
        return url.encode()
    else:
        url = url.partition("#")[0]
    try:
        sent = url.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise RequestError(400, "not-unicode") from None
    return b"".join(bytes((c,)) if 0x20 < c < 0x7F else b"%%%02X" % c for c in sent)


def name_of(text: str) -> bytes:
    """The argument for `keys_of`: the target for a URL or path, or a key as it is shown. Raises RequestError."""
    space, path = split_key(text)
    if space is None or path is None:
        return target_of(text)
    if not text.isascii():
        raise RequestError(400, "not-ascii")  # no key is shown so
    return text.encode()


def keys_of(name: bytes, routes: Routes) -> list[CacheKey]:
    """The keys of a target, one for each policy, or the key itself. Raises RequestError for what names nothing."""
    return routes.keys(name) if name.startswith(b"/") or b":/" not in name else [key_of_text(name)]


def prefixes_of(text: str) -> tuple[bytes, ...]:
    """A prefix of key texts in each spelling that keys may have: of paths in any space if it begins with a slash.

    Escapes as in keys; of a URL the path counts. Raises WrittenError.
    """
    shown = text[:_LONGEST_SHOWN]
    space, path = space_and_path(text)
    if not path or not (space or "").isascii():
        raise WrittenError(f"expected a prefix of paths, as /images/, or of keys, as s1:/images/; got {shown!r}")
    if "*" in path:
        raise WrittenError(
            f"expected a prefix without *, which stands for all that begins so; got {shown!r} (* in a name is %2A)"
        )
    try:
        plain, mark, query = target_of(path).partition(b"?")
    except RequestError:
        raise WrittenError("expected a prefix in Unicode") from None
    begin = b"" if space is None else space.encode() + b":"
    return tuple([begin + each + mark + query for each in spellings(plain)])


def space_and_path(text: str) -> tuple[str | None, str]:
    """The space of a key, None: there is none, and the path, which of a URL is its own; empty: it has none."""
    space, path = split_key(text)
    if path is None and "://" in text:
        try:
            path = urlsplit(text).path
        except ValueError:
            path = None
    return space, path or ""


def split_key(text: str) -> tuple[str | None, str | None]:
    """Space and path of a key or a path: no space for a path or a URL, no path for what is neither key nor path."""
    if text.startswith("/"):
        return None, text
    space, colon, path = text.partition(":")
    if colon and path.startswith("/") and not path.startswith("//"):
        return space, path
    return None, None
