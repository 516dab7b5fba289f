"""`shield serve` as services start it: understood without the parser of all commands, and as that would."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shield import cli
from shield.start import ServeWish, plain_wish

FILE = "a b/shield.yaml"


@pytest.mark.parametrize(
    ("words", "watch"),
    [
        (["serve", "--config", FILE], False),
        (["serve", "-c", FILE], False),
        (["serve", "-c", FILE, "--watch"], True),
        (["serve", "--watch", "--config", FILE], True),
    ],
)
def test_a_plain_command_means_what_the_parser_would_take_it_for(
    words: list[str], watch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[ServeWish] = []
    monkeypatch.setattr(cli, "start", parsed.append)  # None is exit code 0, too

    assert CliRunner().invoke(cli._app, words).exit_code == 0

    assert parsed == [plain_wish(words)] == [ServeWish(Path(FILE), watch=watch)]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["serve"],
        ["serve", "--help"],
        ["serve", "--config"],
        ["serve", "--config", ""],
        ["serve", "--config", "--watch"],
        ["serve", "--confg", FILE],
        ["serve", "--config", FILE, "--config", FILE],
        ["serve", "--config", FILE, "--watch", "--watch"],
        [f"serve --config {FILE}"],
        ["check", "--config", FILE],
        ["--version"],
    ],
)
def test_whatever_else_there_is_in_it_is_for_the_parser(words: list[str]) -> None:
    assert plain_wish(words) is None


def test_a_node_starts_without_the_parser_and_tells_what_is_wrong(tmp_path: Path) -> None:
    missing = tmp_path / "shield.yaml"
    code = (
        f"import sys; sys.argv[1:] = ['serve', '-c', {str(missing)!r}]; import shield.__main__ as program\n"
        "try: program.main()\n"
        "finally: print('typer' in sys.modules)"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (ended.returncode, ended.stdout) == (2, "False\n")
    assert str(missing) in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_an_order_that_comes_while_a_node_starts_does_not_end_it(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        f"import signal, sys; sys.argv[1:] = ['serve', '-c', {str(tmp_path / 'shield.yaml')!r}]\n"
        "import shield.__main__ as program, shield.start as start\n"
        "before = start.kept_methods\n"
        f"start.kept_methods = lambda: signal.raise_signal({int(number)}) or before()\n"
        "program.main()"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert ended.returncode == 2  # there are no settings
