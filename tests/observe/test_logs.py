from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from shield.observe.logs import configure, mark_worker


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("shield")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


def test_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", style="json")

    logging.getLogger("shield.origin").warning("origin %s: gone", "fra")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("shield").exception("two\nlines")

    first, second = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (first["level"], first["logger"], first["message"]) == ("warning", "shield.origin", "origin fra: gone")
    assert "ValueError: why" in second["exception"]


def test_ours_from_the_level_up_and_warnings_of_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", style="text")

    logging.getLogger("shield.x").debug("hidden")
    logging.getLogger("shield.x").info("shown")
    logging.getLogger("library").info("hidden")
    logging.getLogger("library").warning("noticed")

    said = capsys.readouterr().err
    assert "hidden" not in said
    assert "INFO    shield.x: shown" in said
    assert "noticed" in said


def test_records_of_one_of_several_workers_say_whose_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    for style in ("text", "json"):
        configure("info", style="json" if style == "json" else "text")
        mark_worker(3)
        logging.getLogger("shield.x").info("100% shown")

    text, line = capsys.readouterr().err.splitlines()
    assert text.endswith("shield.x: [3] 100% shown")
    assert (json.loads(line)["worker"], json.loads(line)["message"]) == (3, "100% shown")
