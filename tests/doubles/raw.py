"""Answers of an origin written out as bytes, for `FaultyOrigin.answers`."""

from __future__ import annotations


def answer(*lines: str, status: str = "200 OK", body: str = "12345", stated: int | None = None) -> bytes:
    """An origin's answer as bytes; without a Date, so that it is of when it came. `stated` is another length."""
    length = len(body) if stated is None else stated
    head = [f"HTTP/1.1 {status}", *lines, f"Content-Length: {length}", "", body]
    return "\r\n".join(head).encode()


def not_modified(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 304 Not Modified", *lines, "", ""]).encode()
