"""Preconditions of requests (RFC 9110 §13), evaluated against a representation's validators."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from shield.messages import Field, ResponseHead
from shield.rules import dates

_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'  # RFC 9110 §8.8.3
is_tag: Final = re.compile(_TAG).fullmatch
"""Matches a well-formed ETag (RFC 9110 §8.8.3), which can be sent in a condition. Origins that send theirs unquoted
don't recognise it when it is quoted."""

MAX_TAGS = 100
"""A list with more commas than this matches nothing: at worst, a whole response is sent."""

_find_tags = re.compile(_TAG).findall
# One or more tags between commas; empty elements are accepted (RFC 9110 §5.6.1.2).
_is_unquoted = re.compile(rb"(?:W/)?[\x21\x23-\x2b\x2d-\x7e\x80-\xff]+").fullmatch
_find_members = re.compile(rb'(?:W/)?"[^"]*"|[^\t ,"]+').findall
_is_list = re.compile(rb"[\t ,]*" + _TAG + rb"(?:[\t ]*,[\t ,]*" + _TAG + rb")*[\t ,]*").fullmatch


def evaluate(
    notable: dict[bytes, bytes],
    etag: bytes | None,
    last_modified: float | None,
    method: bytes,
    *,
    date: float | None = None,
) -> int | None:
    """304 or 412 if the request's preconditions call for it, None to proceed; in the order of RFC 9110 §13.2.2.

    For a representation that would be sent with 200. An invalid date is ignored (§13.1.3, §13.1.4); an invalid list
    of entity tags matches nothing. `last_modified` and `date` are epoch seconds: without Last-Modified, a stored
    response counts as unchanged since its Date (RFC 9111 §4.3.2).
    """
    readonly = method in (b"GET", b"HEAD")

    wanted = notable.get(b"if-match")
    if wanted is not None:
        if not matches(wanted, etag, weakly=False):
            return 412  # §13.1.1
    elif last_modified is not None and b"if-unmodified-since" in notable:
        limit = dates.parse(notable[b"if-unmodified-since"])
        if limit is not None and last_modified > limit:
            return 412  # §13.1.4

    known = notable.get(b"if-none-match")
    if known is not None:
        if is_known(known, etag):
            return 304 if readonly else 412  # §13.1.2
    elif readonly and b"if-modified-since" in notable:
        since = dates.parse(notable[b"if-modified-since"])
        changed = date if last_modified is None else last_modified
        if since is not None and changed is not None and changed <= since:
            return 304  # §13.1.3
    return None


def is_strong(etag: bytes | None) -> bool:
    """Whether an ETag identifies exact bytes, so that parts of them may be combined (RFC 9110 §8.8.1)."""
    return etag is not None and not etag.startswith(b"W/")


def matches(listed: bytes, etag: bytes | None, *, weakly: bool) -> bool:
    """Whether a value of If-Match or If-None-Match matches `etag`; "*" matches any (RFC 9110 §13.1.1, §13.1.2).

    Weak comparison ignores a W/ on either side, strong comparison fails on it (§8.8.3.2). A malformed or overlong
    list matches nothing.
    """
    if listed.strip(b"\t ") == b"*":
        return True
    if etag is None or not is_tag(etag):
        return False
    if not weakly and etag.startswith(b"W/"):
        return False
    if listed == etag:
        return True
    opaque = etag.removeprefix(b"W/")
    # Most lists don't contain its text at all, which is checked quickly.
    if opaque not in listed or listed.count(b",") > MAX_TAGS or not _is_list(listed):
        return False
    tags = _find_tags(listed)
    if weakly:
        return any(tag.removeprefix(b"W/") == opaque for tag in tags)
    return etag in tags


def is_known(listed: bytes, etag: bytes | None) -> bool:
    """Whether a value of If-None-Match matches `etag`, by weak comparison.

    An ETag that the origin sends unquoted is forwarded as is, and caches send it back unchanged or quoted; the text
    without quotes is compared. Such a tag has no other use, least of all for ranges.
    """
    if matches(listed, etag, weakly=True):
        return True
    if etag is None or not _is_unquoted(etag):
        return False
    text = etag.removeprefix(b"W/")
    return any(_text(member) == text for member in _find_members(listed))


def _text(member: bytes) -> bytes:
    member = member.removeprefix(b"W/")
    return member[1:-1] if member[:1] == b'"' else member


def if_range_matches(
    condition: bytes, etag: bytes | None, last_modified: float | None, *, date: float | None = None
) -> bool:
    """Whether If-Range permits a range (RFC 9110 §13.1.5); else the whole body is sent.

    An entity tag must match strongly. A date must equal Last-Modified, which must be a strong validator: at least a
    second before `date`, the response's Date (§8.8.2.2). Without `date` no date matches.
    """
    condition = condition.strip(b"\t ")
    if is_tag(condition):
        return not condition.startswith(b"W/") and condition == etag
    if last_modified is None or date is None or last_modified > date - 1:
        return False
    return dates.parse(condition) == last_modified


def validators(etag: bytes | None, last_modified: float | None) -> tuple[Field, ...]:
    """The fields that make a request conditional on a stored response: all its validators (RFC 9111 §4.3.1)."""
    fields: list[Field] = []
    if etag is not None and is_tag(etag):
        fields.append((b"if-none-match", etag))
    if last_modified is not None:
        fields.append((b"if-modified-since", dates.imf_fixdate(last_modified)))
    return tuple(fields)


def freshens(etag: bytes | None, last_modified: float | None, update: ResponseHead) -> bool:
    """Whether a 304 refers to the stored response with these validators (RFC 9111 §4.3.4).

    If both have an entity tag, weak comparison decides, as in the request. A strong one where the stored response has
    none identifies another response. Otherwise Last-Modified decides. A 304 without validators refers to the response
    that the request named.
    """
    stated = update.get(b"etag")
    if stated is not None and etag is not None:
        return stated == etag or matches(stated, etag, weakly=True)
    if is_strong(stated):
        return False
    modified = _modified(update)
    return modified is None or last_modified is None or modified == last_modified


class HeadEffect(Enum):
    """The effect of a response to HEAD on a stored response to GET (RFC 9111 §4.3.5)."""

    FRESHENS = "freshens"  # the same body under a newer head: update the stored head
    OUTDATES = "outdates"  # the object has changed: the stored response is stale
    NOTHING = "nothing"  # the validators don't tell


def head_effect(etag: bytes | None, last_modified: float | None, length: int, answer: ResponseHead) -> HeadEffect:
    """The effect of a successful response to HEAD on a stored one with these validators and this length."""
    stated, modified = answer.get(b"etag"), _modified(answer)
    if stated is not None and etag is not None and stated != etag:
        return HeadEffect.OUTDATES
    if modified is not None and last_modified is not None and modified != last_modified:
        return HeadEffect.OUTDATES
    if answer.length is not None and answer.length != length:
        return HeadEffect.OUTDATES
    if (stated is None and etag is not None) or (modified is None and last_modified is not None and etag is None):
        return HeadEffect.NOTHING
    if etag is None and is_strong(stated):
        return HeadEffect.NOTHING  # possibly another version
    return HeadEffect.FRESHENS


def _modified(head: ResponseHead) -> int | None:
    value = head.get(b"last-modified")
    return None if value is None else dates.parse(value)
