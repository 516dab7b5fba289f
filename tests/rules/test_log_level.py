"""A level of the log for a while, as one number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.log_level import LEVELS, LONGEST_SECONDS, LevelForNow, packed, unpacked

NOW = 1_750_000_000.0


@given(st.sampled_from(LEVELS), st.integers(1, int(LONGEST_SECONDS)))
def test_a_level_is_read_as_it_was_written_until_its_end(level: str, seconds: int) -> None:
    word = packed(LevelForNow(level, NOW + seconds))

    assert word < 1 << 63
    assert unpacked(word, NOW) == LevelForNow(level, NOW + seconds)
    assert unpacked(word, NOW + seconds) is None


@pytest.mark.parametrize("word", [0, 5, 255, (1 << 64) - 1, packed(LevelForNow("debug", NOW + 2 * LONGEST_SECONDS))])
def test_a_number_that_means_nothing_is_no_level(word: int) -> None:
    assert unpacked(word, NOW) is None
    assert packed(None) == 0
