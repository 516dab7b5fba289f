"""What the system says of memory and descriptors."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from shield.store.directory.files import Files


def test_descriptors_are_as_many_as_the_soft_limit_says() -> None:
    assert Files().max_open() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.parametrize(("most", "left"), [("1000", 400), ("max", None), (None, None), ("noise", None)])
def test_memory_is_bounded_by_the_control_group(tmp_path: Path, most: str | None, left: int | None) -> None:
    """Its file pages that nobody used lately can be had."""
    without = Files().available_memory()
    if most is not None:
        (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 600\nfile 300\ninactive_file 300\n")

    available = Files(groups=tmp_path).available_memory()

    if left is not None:
        assert available == left
    else:
        assert available == pytest.approx(without, rel=0.5)
