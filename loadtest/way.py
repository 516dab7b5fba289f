"""How far a request's way leads through the source: functions, lines and files of Shield up to its first byte.

    python -m loadtest.way [--list miss]

No measure of time: it is what someone has to read to know what happens to a request. One real request is sent to a
node in this process, whose origin is the tests' scripted one, and every function that runs on the node's event loop
until the head is written to the client counts.

- functions: each once, however often it runs; what is defined inside a function belongs to it. An `__init__` that
  only assigns attributes isn't counted, written or not
- lines: those of these functions that hold code, from `def` to the last; no docstrings, comments and blank lines
- files, and how often the next function is in another file than the last
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import gc
import itertools
import os
import sys
import token
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import shield
from shield.config.settings import Settings
from tests.client import Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of

ROOT = Path(shield.__file__).parent
_SILENT = {token.COMMENT, token.NL, token.NEWLINE, token.INDENT, token.DEDENT, token.ENDMARKER}
TIMES = 4  # a way is taken
WAYS = {
    "hit": "an entry in RAM, on a connection that had requests before",
    "miss": "a cold entry, from an origin with an idle connection",
    "first miss": "as a miss, from an origin that has no connection yet",
}


@dataclass(frozen=True, slots=True)
class Function:
    """A function of Shield by its place, and how many lines of code it has."""

    file: str
    line: int
    name: str
    lines: int


@dataclass(frozen=True, slots=True)
class Way:
    """The functions that a request ran through to its first byte, in the order of their first calls."""

    functions: Sequence[Function]
    turns: int

    @property
    def lines(self) -> int:
        return sum(function.lines for function in self.functions)

    @property
    def files(self) -> Sequence[str]:
        return list(dict.fromkeys(function.file for function in self.functions))


class Tracer:
    """Notes Shield's functions from `start` until a transport on Shield's port writes; both on its loop's thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._called: list[CodeType] = []  # looked up afterwards, so that a request takes hardly longer than else
        self._written = False

    def start(self) -> None:
        sys.setprofile(self._note)

    def way(self) -> Way:
        if not self._written:
            raise RuntimeError("no answer was written to the client")
        functions = [function for code in self._called if (function := function_of(code)) is not None]
        files = [function.file for function in functions]
        turns = sum(file != last for last, file in itertools.pairwise(files))
        return Way(list(dict.fromkeys(functions)), turns)

    def _note(self, frame: FrameType, event: str, arg: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code.co_filename.startswith(f"{ROOT}{os.sep}"):
            self._called.append(code)
        elif code.co_name in ("write", "writelines") and self._to_client(frame.f_locals.get("self")):
            self._written = True
            sys.setprofile(None)

    def _to_client(self, writer: object) -> bool:
        if not isinstance(writer, asyncio.Transport):
            return False
        name = writer.get_extra_info("sockname")
        return isinstance(name, tuple) and name[1] == self._port


@cache
def function_of(code: CodeType) -> Function | None:
    """What of Shield's source a code object is, or belongs to; None for what others or no file have."""
    path = Path(code.co_filename)
    if not path.is_relative_to(ROOT):
        return None
    found = None
    for node in _definitions(path):
        if node.lineno <= _line(code, node) <= (node.end_lineno or 0):
            found = node  # they come from the outside in: a method after what is around it
            break
    if found is None or _only_assigns(found):
        return None  # a module's or a class's own body, or hardly more than its list of fields
    return Function(str(path.relative_to(ROOT)), found.lineno, found.name, len(_code_lines(path, found)))


def _only_assigns(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is an `__init__` as `dataclass` would make."""
    made = [each for each in node.body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]
    return node.name == "__init__" and all(isinstance(each, ast.Assign | ast.AnnAssign) for each in made)


def _code_lines(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    """Numbers of its lines with something on them that runs."""
    told = {
        line
        for inner in ast.walk(node)
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(inner)
        for line in range(inner.body[0].lineno, (inner.body[0].end_lineno or 0) + 1)
    }
    return {
        line
        for token in _tokens(path)
        if token.type not in _SILENT and node.lineno <= token.start[0] <= (node.end_lineno or 0)
        for line in range(token.start[0], token.end[0] + 1)
    } - told


def _line(code: CodeType, node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Where it begins; a decorated function's code does at its first decorator."""
    decorated = min((decorator.lineno for decorator in node.decorator_list), default=node.lineno)
    return node.lineno if decorated <= code.co_firstlineno < node.lineno else code.co_firstlineno


@cache
def _tokens(path: Path) -> Sequence[tokenize.TokenInfo]:
    with tokenize.open(path) as file:
        return list(tokenize.generate_tokens(file.readline))


@cache
def _definitions(path: Path) -> Sequence[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions and methods, without those inside others."""

    def inside(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield child
            else:
                yield from inside(child)

    return list(inside(ast.parse(path.read_text())))


def settings(origin: FaultyOrigin) -> Settings:
    """As a plain node has them, but for what would run beside a request."""
    return settings_of({"fra": origin}, access_log={"format": "off"})


def measure() -> dict[str, Way]:
    """The ways of all kinds of requests, by their names in `WAYS`."""
    compiled = [name for name, module in sys.modules.items() if _is_compiled(name, getattr(module, "__file__", None))]
    if compiled:
        raise RuntimeError(f"{compiled[0]} is compiled, so that its functions can't be seen: run it from the source")
    ways: dict[str, Way] = {}
    with FaultyOrigin(clock=(clock := FakeClock())) as origin:
        others = [f"/other-{number}" for number in range(TIMES)]
        for path in ("/first", *others):
            origin.serves(path, b"0123456789", lifetime=60)
        # asyncio's own loop: its transports are Python's, so that a write can be seen
        with (
            Shield(settings(origin), clock=clock, loop_factory=asyncio.new_event_loop) as node,
            node.client() as client,
        ):
            node.run(node.node.origins.conductor.close())  # they belong to no request
            node.run(node.node.drills.close())
            client.ask("/first", method="PUT")  # refused: the connection has had a request, the origin none
            ways["first miss"] = _way(node, client, "/first", hit=False)
            ways["miss"] = _shortest([_way(node, client, path, hit=False) for path in others])
            ways["hit"] = _shortest([_way(node, client, path, hit=True) for path in others])
    return {name: ways[name] for name in WAYS}


def _shortest(ways: Sequence[Way]) -> Way:
    """The one without what a timer did meanwhile."""
    return min(ways, key=lambda way: way.lines)


def _way(node: Shield, client: Client, target: str, *, hit: bool) -> Way:
    tracer = Tracer(node.port)
    gc.disable()  # else its pause may be noted in the middle of the way
    try:
        node.call(lambda: asyncio.get_running_loop().call_soon(tracer.start))
        answer = client.ask(target)
    finally:
        gc.enable()
    if answer.status != 200 or answer.hit != hit:
        raise RuntimeError(f"{target}: {answer.status} {answer.get('cache-status')}")
    return tracer.way()


def _is_compiled(name: str, file: str | None) -> bool:
    return name.partition(".")[0] == "shield" and file is not None and not file.endswith(".py")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--list", choices=WAYS, metavar="WAY", help=f"name its functions: {', '.join(WAYS)}")
    arguments = parser.parse_args(words)
    try:
        ways = measure()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'':10} functions  lines  files  turns")
    for name, way in ways.items():
        print(f"{name:10}{len(way.functions):10}{way.lines:7}{len(way.files):7}{way.turns:7}   {WAYS[name]}")
    if arguments.list is not None:
        print()
        for function in ways[arguments.list].functions:
            print(f"{function.lines:5}  {function.file}:{function.line} {function.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
