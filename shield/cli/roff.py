"""Pages for `man`, in the macros of man(7)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CODE = re.compile(r"`([^`]+)`")


def man_heading(title: str, section: int, version: str) -> str:
    """The first line of a page. It has no date, so that the same version always makes the same page."""
    return f'.TH "{title}" {section} "" "shield {version}" "Shield"'


def man_section(title: str) -> str:
    return f".SH {_escaped(title.upper())}"


def man_subsection(title: str) -> str:
    return f".SS {_escaped(title)}"


def man_paragraph(text: str) -> str:
    """Text in which backticks become bold."""
    return f".PP\n{_styled(text)}"


def man_tagged(tag: str, text: str) -> str:
    """A term, and its text below it, indented."""
    return f".TP\n.B {_escaped(tag)}\n{_styled(text)}"


def man_literal(lines: Iterable[str]) -> str:
    """Lines as they are."""
    return "\n".join([".PP", ".RS", ".nf", *(_line(_escaped(each)) for each in lines), ".fi", ".RE"])


def _styled(text: str) -> str:
    pieces = _CODE.split(text)
    return _line("".join(rf"\fB{_escaped(it)}\fR" if odd % 2 else _escaped(it) for odd, it in enumerate(pieces)))


def _escaped(text: str) -> str:
    """A hyphen would be set as a dash, which can't be pasted into a shell."""
    return text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq").replace("'", r"\(aq")


def _line(text: str) -> str:
    """A line that begins with a dot would be a macro."""
    return rf"\&{text}" if text.startswith(".") else text
