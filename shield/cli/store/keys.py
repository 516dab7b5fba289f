"""Keys and prefixes as people write them."""

from __future__ import annotations

from urllib.parse import quote_from_bytes, unquote_to_bytes

from shield.cli.explain import target_of
from shield.cli.store.places import UsageError
from shield.config.settings import Settings
from shield.errors import RequestError
from shield.rules.key import CacheKey, cache_key


def prefix_of(text: str) -> bytes:
    """A prefix of key texts: of paths in any space if it begins with a slash. Escapes as in keys."""
    space, path = _split(text)
    if path is None:
        raise UsageError(f"{text}: a prefix begins with a slash, as /images/, or with a space, as s1:/images/")
    if text.endswith("*"):
        raise UsageError(f"{text}: a prefix stands for all that begins so: leave the * at its end out")
    plain, mark, query = path.partition("?")
    encoded = quote_from_bytes(unquote_to_bytes(target_of(plain)), safe="/") + mark + query
    return encoded.encode() if space is None else f"{space}:{encoded}".encode()


def keys_of(text: str, settings: Settings) -> list[CacheKey]:
    """The keys of a client's URL or path, one for each policy, or of a key as `ls` shows it. Raises UsageError."""
    space, path = _split(text)
    if space is not None and path is not None:
        plain, _, query = path.partition("?")
        return [cache_key(space.encode(), plain.encode(), query.encode())]
    try:
        return settings.route_table().keys(target_of(text))
    except RequestError as error:
        raise UsageError(f"{text}: would be rejected in a request: {error.status} {error.reason}") from None


def is_key(text: str) -> bool:
    """Whether it is written as a key, not as a URL or path."""
    return _split(text)[0] is not None


def _split(text: str) -> tuple[str | None, str | None]:
    """Space and path; no space for a path or a URL, no path for text that is neither key nor path."""
    if text.startswith("/"):
        return None, text
    space, colon, path = text.partition(":")
    if colon and path.startswith("/") and not path.startswith("//"):
        return space, path
    return None, None
