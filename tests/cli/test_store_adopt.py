"""`shield store adopt`: the operator's word that a directory is the one that is meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shield.store.directory.home import FILE, Home, unpacked
from tests.cli.store_ground import Ground, lines


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def moved(ground: Ground, name: str) -> None:
    """Have a directory look as if it had been claimed elsewhere."""
    path = ground.path / name / FILE
    home = unpacked(path.read_bytes())
    assert home is not None
    path.write_bytes(Home(home.name, "ext4 0000000000000000").packed())


def test_a_directory_that_was_moved_is_refused_until_it_is_adopted(ground: Ground) -> None:
    ground.fill_all()
    if not unpacked((ground.path / "one" / FILE).read_bytes()).filesystem:  # type: ignore[union-attr]  # it is there
        pytest.skip("nothing names the file system of the temporary directory durably")
    moved(ground, "one")
    path = ground.path / "one"

    refused = ground.run("ls", "--directory", path)
    adopted = ground.run("adopt", path)
    listed = ground.run("ls", "--directory", path)

    assert refused.exit_code == 2
    assert f"shield store adopt {path}" in refused.output
    assert (adopted.exit_code, lines(adopted)) == (
        0,
        [f"{path} is adopted: the node opens it within ten seconds, or at its next start"],
    )
    assert (listed.exit_code, len(lines(listed))) == (0, 2)
    assert not (path / f"{FILE}.new").exists()
    assert (path / FILE).stat().st_uid == os.geteuid()


def test_only_directories_of_the_settings_that_are_there_are_adopted(ground: Ground) -> None:
    elsewhere = ground.run("adopt", ground.path)
    missing = ground.run("adopt", ground.path / "one")

    assert elsewhere.exit_code == missing.exit_code == 2
    assert "is no directory of these settings" in elsewhere.output
    assert "isn't there" in missing.output
    assert not (ground.path / "one").exists()
