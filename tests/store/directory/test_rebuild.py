"""What a lost index knew is taken back, and a restart finds what there was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.store.ground import abandon, body, content, draft, key, opened, rebuilt


def test_what_is_removed_before_the_rebuild_reaches_it_stays_removed(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 100), draft("b", 100)])
    abandon(directory)
    again = opened(tmp_path, boot="b2")
    assert content(again, "a") is None

    again.remove([key("a")])
    again.commit([draft("b", 50, b"newer")])

    rebuilt(again)
    assert content(again, "a") is None
    assert content(again, "b") == b"newer"
    again.close()


def test_a_restart_finds_everything_at_once(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft(f"r{number}", 1000) for number in range(300)])
    directory.close()

    for boot in ("b2", "b2", "b3"):
        again = opened(tmp_path, boot=boot)
        assert again.reason == ""
        assert all(content(again, f"r{number}") == body(f"r{number}", 1000) for number in range(300))
        again.close()


@pytest.mark.parametrize("loss", ["deleted", "noise", "state", "state garbage"])
def test_a_lost_index_is_made_again_while_serving(tmp_path: Path, loss: str) -> None:
    directory = opened(tmp_path)
    for at in range(0, 300, 10):
        directory.commit([draft(f"r{number}", 1000) for number in range(at, at + 10)])
    directory.close()
    if loss == "deleted":
        (tmp_path / "index" / "data.mdb").unlink()
    elif loss == "noise":
        (tmp_path / "index" / "data.mdb").write_bytes(body("noise", 100_000))
    elif loss == "state":
        (tmp_path / "state").unlink()
    else:
        (tmp_path / "state").write_bytes(b"\xff{")

    again = opened(tmp_path)

    assert again.statistics().unscanned > 0
    again.commit([draft("new", 10), draft("r5", 77, b"newer")])
    assert content(again, "new") == body("new", 10)
    rebuilt(again)
    assert content(again, "r5") == b"newer"
    assert all(content(again, f"r{n}") == body(f"r{n}", 1000) for n in range(300) if n != 5)
    assert again.statistics().entries == 301
    again.close()


def test_a_rebuild_goes_on_where_it_stopped(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft(f"r{number}", 1000) for number in range(300)])
    abandon(directory)
    again = opened(tmp_path, boot="b2")
    assert again.rebuild_step(4096)
    known = again.statistics().entries
    assert 0 < known < 300
    abandon(again)

    third = opened(tmp_path, boot="b2")

    assert third.statistics().entries == known
    assert rebuilt(third).statistics().entries == 300
    third.close()


def test_records_older_than_what_was_given_up_are_not_taken_back(tmp_path: Path) -> None:
    """A later version that was evicted must not leave an earlier one to a lost index."""
    directory = opened(tmp_path)
    directory.commit([draft("a", 100, b"old")])
    number = directory.index.rows()[0][0]
    directory._log.seal()
    directory.commit([draft("a", 100, b"new")])
    directory._log.seal()
    # As when the segment of the older version was the younger one, of another worker.
    directory.segments.close()
    rows = dict(directory.index.rows())
    with directory.index.write() as change:
        change.set_row(number + 50, rows[number])
        change.set_row(number, None)

    assert directory.reclaim_step()

    assert content(directory, "a") is None
    assert directory._claim.floor() > 0
    directory.close()


def test_a_directory_of_another_format_is_emptied(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 10)])
    directory.close()
    state = json.loads((tmp_path / "state").read_text())
    (tmp_path / "state").write_text(json.dumps(state | {"format": 99}))

    again = opened(tmp_path)

    assert "format 99" in again.reason
    assert content(again, "a") is None
    assert again.segments.numbers() == []
    assert not again.rebuild_step()
    again.commit([draft("a", 10)])
    assert content(again, "a") == body("a", 10)
    again.close()
