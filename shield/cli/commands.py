"""The commands as data, for the manual: read from the parser that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer
from typer.main import get_command

_EXIT_CODES = "Exit codes: "
_EXAMPLES = "Examples:"
_HELP = "--help"
_COMMAND = {False: "COMMAND", True: "[COMMAND]"}


@dataclass(frozen=True, slots=True)
class CommandParameter:
    """An argument or an option, as `--config, -c FILE`; `more` is its default or that it is required."""

    spelling: str
    text: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class CommandPage:
    """A command that isn't hidden: its name from `shield` on, a sentence, paragraphs, and the rest of its help.
    `more` is how its usage ends: `COMMAND` if it is a group.
    """

    words: str
    summary: str
    text: tuple[str, ...]
    exit_codes: str
    examples: tuple[str, ...]
    arguments: tuple[CommandParameter, ...]
    options: tuple[CommandParameter, ...]
    more: str = ""

    @property
    def usage(self) -> str:
        """One line, with the options that are required."""
        needed = [
            option.spelling.replace(", -c", "") for option in self.options if option.more.startswith("required")
        ]
        words = [self.words, *needed, *(["[OPTIONS]"] if len(self.options) > len(needed) else [])]
        words += [it.spelling if it.more == "required" else f"[{it.spelling}]" for it in self.arguments]
        return " ".join([*words, *filter(None, [self.more])])


def command_pages(app: typer.Typer) -> Iterator[CommandPage]:
    """All commands, each group before its own."""
    yield from _pages("shield", get_command(app))


def _pages(words: str, command: Any) -> Iterator[CommandPage]:
    yield _page(words, command)
    for name, each in getattr(command, "commands", {}).items():
        if not each.hidden:
            yield from _pages(f"{words} {name}", each)


def _page(words: str, command: Any) -> CommandPage:
    summary, *rest = (command.help or "").strip().split("\n\n")
    codes = next((it for it in rest if it.startswith(_EXIT_CODES)), "")
    at = next((number for number, it in enumerate(rest) if it.strip() == _EXAMPLES), len(rest))
    examples = [line.strip() for it in rest[at + 1 :] for line in it.splitlines()]
    text = [_line(it) for it in rest[:at] if it != codes]
    shown = [it for it in command.params if not getattr(it, "hidden", False) and _HELP not in it.opts]
    arguments = [_parameter(it) for it in shown if it.param_type_name == "argument"]
    options = [_parameter(it) for it in shown if it.param_type_name == "option"]
    return CommandPage(
        words,
        _line(summary),
        tuple(text),
        _line(codes.removeprefix(_EXIT_CODES)),
        tuple(examples),
        tuple(arguments),
        tuple(options),
        _COMMAND[getattr(command, "invoke_without_command", False)] if hasattr(command, "commands") else "",
    )


def _parameter(parameter: Any) -> CommandParameter:
    value = parameter.metavar or parameter.name.upper()
    if parameter.param_type_name == "argument":
        spelling = value
    else:
        spelling = ", ".join(parameter.opts) + ("" if parameter.is_flag else f" {value}")
    default = parameter.default
    if parameter.required:
        more = f"required, or ${parameter.envvar}" if parameter.envvar else "required"
    elif default in (None, "", (), []) or isinstance(default, bool) or not getattr(parameter, "show_default", True):
        more = ""
    else:
        more = f"default {default}"
    return CommandParameter(spelling, parameter.help or "", more)


def _line(text: str) -> str:
    return " ".join(text.split())
