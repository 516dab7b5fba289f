"""shield demo: a node's handling of requests, shown live, every response compared with the true bytes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shield.cli.demo_stage import LAGGING, PANORAMA, PHOTOS, DemoStage, photo, stage

_TOGETHER = 100


@dataclass
class SceneResult:
    """The result of a scene."""

    ok: bool
    text: str


Scene = Callable[[DemoStage], Awaitable[SceneResult]]


def demo(*, once: bool, port: int) -> int:
    """Run it; 0 if every scene succeeded, 1 if not. Without `once` it stays up until Ctrl-C."""
    console = Console()
    try:
        return asyncio.run(_run(console, once=once, port=0 if once else port))
    except RuntimeError as error:
        console.print(f"[red]{error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 0


async def _run(console: Console, *, once: bool, port: int) -> int:
    console.print("Starting two S3 servers that check signatures, and a node ...")
    async with stage(port) as made:
        _show_urls(console, made)
        board = _Board(console, made)
        failed = 0
        with board.live:
            for title, scene in _SCENES:
                board.begin(title)
                result = await scene(made)
                failed += not result.ok
                await board.end(result)
            if not once:
                await _stay_up(board, made)
        if failed:
            console.print(f"[red]{failed} scenes failed; the node's log:[/]\n{made.node_log.read_text()}")
        elif once:
            console.print("[green]All scenes succeeded.")
        return 1 if failed else 0


# scenes

_COLD = [photo(number) for number in range(12)]
_BOTH = [photo(number) for number in range(12, PHOTOS - LAGGING)]
_FRA_ONLY = [photo(number) for number in range(PHOTOS - LAGGING, PHOTOS)]


async def _miss(made: DemoStage) -> SceneResult:
    answers = await _get(made, _COLD)
    words = _words(answers)
    ok = _right(made, answers) and words == {"miss, stored": len(_COLD)}
    return SceneResult(ok, f"{len(_COLD)} photos, each fetched once: {_say(words)}")


async def _hit(made: DemoStage) -> SceneResult:
    before = await _fetches(made)
    answers = await _get(made, _COLD * 10)
    words, asked = _words(answers), await _fetches(made) - before
    ok = _right(made, answers) and words == {"hit": len(answers)} and asked == 0
    return SceneResult(ok, f"{len(answers)} requests: {_say(words)}; {asked} origin GETs")


async def _collapse(made: DemoStage) -> SceneResult:
    before = await _fetches(made)
    answers = await _get(made, [PANORAMA] * _TOGETHER)
    words, asked = _words(answers), await _fetches(made) - before
    size = len(made.images[PANORAMA]) / 1e6
    ok = _right(made, answers) and asked == 1
    return SceneResult(
        ok, f"{_TOGETHER} clients, one cold object of {size:.1f} MB: {asked} origin GET; {_say(words)}"
    )


async def _parts(made: DemoStage) -> SceneResult:
    url = f"{made.url}/{PANORAMA}"
    part = await made.client.get(url, headers={"range": "bytes=1000000-1000999"})
    same = await made.client.get(url, headers={"if-none-match": part.headers.get("etag", "")})
    ok = part.status_code == 206 and part.content == made.images[PANORAMA][1_000_000:1_001_000]
    text = f"1,000 bytes of it: {part.status_code}; for a client that has it: {same.status_code}"
    return SceneResult(ok and same.status_code == 304, text)


async def _failover(made: DemoStage) -> SceneResult:
    await made.fra.tell("stop")
    answers = await _get(made, _BOTH)
    words = _words(answers)
    ok = _right(made, answers) and words == {"miss, stored": len(_BOTH)}
    return SceneResult(ok, f"fra is stopped; {len(answers)} photos come from iad: {_say(words)}")


async def _lag(made: DemoStage) -> SceneResult:
    """iad doesn't have these yet. Shield must not conclude that they don't exist."""
    while_down = await _get(made, _FRA_ONLY)
    await made.fra.tell("start")
    after = await _get(made, _FRA_ONLY)
    statuses = {answer.status_code for _, answer in while_down}
    ok = statuses == {503} and _right(made, after)
    return SceneResult(
        ok, f"{len(after)} photos that iad lacks: {_numbers(statuses)}, no 404; fra is back: {_say(_words(after))}"
    )


async def _absent(made: DemoStage) -> SceneResult:
    answer = await made.client.get(f"{made.url}/photos/none.png")
    lifetime = answer.headers.get("cache-control", "")
    return SceneResult(
        answer.status_code == 404, f"both say there is no such object: {answer.status_code}, {lifetime}"
    )


_SCENES: list[tuple[str, Scene]] = [
    ("miss", _miss),
    ("hit", _hit),
    ("collapse", _collapse),
    ("parts", _parts),
    ("failover", _failover),
    ("lagging replica", _lag),
    ("absent", _absent),
]


async def _get(made: DemoStage, keys: Iterable[str]) -> list[tuple[str, httpx.Response]]:
    async def one(key: str) -> tuple[str, httpx.Response]:
        return key, await made.client.get(f"{made.url}/{key}")

    return list(await asyncio.gather(*[one(key) for key in keys]))


def _right(made: DemoStage, answers: Iterable[tuple[str, httpx.Response]]) -> bool:
    """Whether every response has exactly the bytes that were uploaded."""
    return all(answer.status_code == 200 and answer.content == made.images[key] for key, answer in answers)


def _words(answers: Iterable[tuple[str, httpx.Response]]) -> Counter[str]:
    return Counter(_word(answer) for _, answer in answers)


def _word(answer: httpx.Response) -> str:
    """Cache-Status in one word."""
    parts = [part.strip() for part in answer.headers.get("cache-status", "").split(";")]
    if answer.status_code != 200:
        return str(answer.status_code)
    if "hit" in parts:
        return "hit"
    return "collapsed" if "collapsed" in parts else "miss, stored" if "stored" in parts else "miss"


def _say(words: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in words.most_common())


def _numbers(numbers: Iterable[int]) -> str:
    return " and ".join(str(number) for number in sorted(numbers))


async def _fetches(made: DemoStage) -> int:
    origins: dict[str, dict[str, int]] = (await made.state())["origins"]
    return sum(origin["fetches"] for origin in origins.values())


# display


def _show_urls(console: Console, made: DemoStage) -> None:
    console.print(f"An image     {made.url}/{photo(0)}")
    console.print(f"Its metrics  {made.admin_url}/metrics")
    console.print(f"Its state    {made.admin_url}/state")
    console.print(f"Its page     {made.admin_url}/")
    console.print(f"Settings     {made.config}")
    console.print("Commands     such as this one, in another terminal:", soft_wrap=True)
    explain = f"{sys.executable} -m shield explain --config {made.config} --live /{photo(0)}"
    console.print(f"             {explain}\n", soft_wrap=True, highlight=False)


class _Board:
    """The scenes so far and the node's counters: live on a terminal, line by line elsewhere."""

    def __init__(self, console: Console, made: DemoStage) -> None:
        self._console = console
        self._made = made
        self._rows: list[tuple[str, str, str]] = []
        self._state: dict[str, Any] = {}
        self._hint = ""
        self.live = (
            Live(console=console, get_renderable=self._render, refresh_per_second=4)
            if console.is_terminal
            else contextlib.nullcontext()
        )

    def begin(self, title: str) -> None:
        self._rows.append(("[yellow]..", title, ""))

    async def end(self, result: SceneResult) -> None:
        mark, title = "[green]ok" if result.ok else "[red]no", self._rows.pop()[1]
        self._rows.append((mark, title, result.text))
        if not self._console.is_terminal:
            self._console.print(f"{mark}[/] {title:16} {result.text}", soft_wrap=True)
        await self.refresh()

    def say(self, text: str) -> None:
        """What a live display shows below its tables anyway."""
        if not self._console.is_terminal:
            self._console.print(text)

    async def refresh(self, hint: str = "") -> None:
        self._hint = hint
        self._state = await self._made.state()

    def _render(self) -> RenderableType:
        scenes = Table(box=None, pad_edge=False)
        for column in ("", "Scene", "What happened"):
            scenes.add_column(column, overflow="fold")
        for row in self._rows:
            scenes.add_row(*row)
        return Group(scenes, Text(), self._counters(), Text(self._hint))

    def _counters(self) -> RenderableType:
        table = Table(title="The node's counters", title_justify="left", box=None, pad_edge=False)
        requests = self._state.get("requests", {})
        for name in requests:
            table.add_column(name.replace("_", " "), justify="right")
        table.add_column("RAM MB", justify="right")
        origins = self._state.get("origins", {})
        for name in origins:
            table.add_column(f"{name} GETs", justify="right")
            table.add_column(f"{name} faults", justify="right")
        memory = self._state.get("memory", {})
        cells = [f"{count:,}" for count in requests.values()]
        cells.append(f"{memory.get('used_bytes', 0) / 1e6:.1f}")
        for origin in origins.values():
            cells += [f"{origin['fetches']:,}", f"{sum(origin['faults'].values()):,}"]
        table.add_row(*cells)
        return table


async def _stay_up(board: _Board, made: DemoStage) -> None:
    """A request now and then, until Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    hint = "The node stays up: try the URLs above. Ctrl-C ends it."
    board.say(hint)
    turn = 0
    while not stop.is_set():
        await made.client.get(f"{made.url}/{photo(turn % PHOTOS)}")
        turn += 1
        await board.refresh(hint)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
