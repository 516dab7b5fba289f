"""What is listed is there, all of it, and nothing that was removed or replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.rules.freshness import Freshness
from shield.rules.heads import of_fields
from shield.rules.routes import cache_key
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.log import Draft
from shield.store.directory.premises import DirectoryLimits
from shield.store.upkeep.listing import Listed, entries, holds, is_under, keys_under
from tests.store.ground import abandon, draft, in_slices, key, opened, rebuilt, record


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[CacheDirectory]:
    directory = opened(tmp_path / "d")
    yield directory
    directory.close()


def listed(directory: CacheDirectory, prefix: str = "/") -> list[Listed]:
    return list(entries(directory, [directory], (prefix.encode(),)))


def names(found: Sequence[Listed]) -> list[str]:
    return sorted(item.key.text.decode().removeprefix(":/") for item in found)


def under(directory: CacheDirectory, prefix: str) -> set[str]:
    return {found.text.decode().removeprefix(":/") for found in keys_under(directory, (prefix.encode(),))}


def test_an_entry_is_listed_with_what_is_known_of_it(directory: CacheDirectory) -> None:
    directory.commit([draft("images/a.webp", 20_000)])

    (found,) = listed(directory)

    assert found.key == key("images/a.webp")
    assert (found.body_bytes, found.found.status, found.slices, found.all_slices) == (20_000, 200, 0, 0)
    assert found.found.freshness == record("", 0).freshness


def test_a_prefix_is_one_of_paths(directory: CacheDirectory) -> None:
    directory.commit([draft(name, 100) for name in ("images/a", "images/b", "imagesx", "video/a")])

    assert names(listed(directory, "/images/")) == ["images/a", "images/b"]
    assert names(listed(directory, "/images")) == ["images/a", "images/b", "imagesx"]
    assert names(listed(directory, "/none")) == []
    assert under(directory, "/images/") == {"images/a", "images/b"}


@pytest.mark.parametrize(
    ("text", "prefix", "is_one"),
    [
        (b":/a/b", b"/a/", True),
        (b"fra:/a/b", b"/a/", True),
        (b"fra:/a/b", b"fra:/a", True),
        (b"fra:/a/b", b":/a", False),
        (b":/a/b", b":/a", True),
        (b":/b/a", b"/a", False),
        (b":/x:/a", b"/a", False),
    ],
)
def test_a_prefix_may_name_the_space(text: bytes, prefix: bytes, is_one: bool) -> None:
    assert is_under(text, (prefix,)) is is_one


def test_what_is_removed_or_replaced_isnt_listed(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 100), draft("b", 200), draft("c", 300)])
    directory.remove([key("a")])
    directory.commit([draft("b", 250)])

    assert [(item.key.text, item.body_bytes) for item in listed(directory)] == [(b":/c", 300), (b":/b", 250)]


def test_a_later_head_is_what_is_listed(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 100)])
    found = directory.lookup(key("a").digest)
    assert found is not None
    directory.freshen(key("a"), found, of_fields(200, ()).block, Freshness(5000.0, 7.0, 0.0, 0.0))

    assert listed(directory)[0].found.freshness == Freshness(5000.0, 7.0, 0.0, 0.0)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["put", "remove", "reclaim"])), max_size=40))
def test_the_list_is_what_lookups_find(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    directory = opened(tmp_path_factory.mktemp("d"), DirectoryLimits(capacity=1 << 20, segment_bytes=64 << 10))
    there: dict[str, int] = {}
    for size, (name, step) in enumerate(steps):
        if step == "put":
            directory.commit([draft(name, 9000 + size)])
            there[name] = 9000 + size
        elif step == "remove":
            directory.remove([key(name)])
            there.pop(name, None)
        else:
            directory._log.seal()
            directory.reclaim_step()
            there = {name: size for name, size in there.items() if directory.lookup(key(name).digest)}

    assert {item.key.text.decode()[2:]: item.body_bytes for item in listed(directory)} == there
    assert len(listed(directory)) == len(there)
    assert under(directory, "/") == set(there)
    directory.close()


def test_a_large_entry_is_listed_once_with_the_slices_that_are_there(directory: CacheDirectory) -> None:
    directory.commit(in_slices("big", 5, without=[1, 3]))

    (found,) = listed(directory)

    assert (found.body_bytes, found.slices, found.all_slices) == (5000, 3, 5)


def test_slices_of_another_version_arent_counted(directory: CacheDirectory) -> None:
    directory.commit(in_slices("big", 5))
    newer = in_slices("big", 4, without=[2, 3])

    directory.commit(newer)

    (found,) = listed(directory)
    assert (found.slices, found.all_slices) == (2, 4)


def test_slices_of_another_version_in_another_tier_arent_counted(tmp_path: Path) -> None:
    fast, slow = opened(tmp_path / "fast"), opened(tmp_path / "slow")
    fast.commit(in_slices("big", 5, without=[1, 2, 3, 4]))
    slow.commit(in_slices("big", 6))

    (found,) = entries(fast, [fast, slow], (b"/",))

    assert (found.slices, found.all_slices) == (1, 5)
    fast.close()
    slow.close()


def test_slices_without_an_entry_are_keys_but_no_entries(directory: CacheDirectory) -> None:
    directory.commit(in_slices("big", 3)[1:])

    assert listed(directory) == []
    assert under(directory, "/b") == {"big"}
    assert holds(directory, key("big"))
    assert not holds(directory, key("none"))


def test_of_two_tiers_the_first_ones_entry_is_listed_and_slices_of_both_are_counted(tmp_path: Path) -> None:
    fast, slow = opened(tmp_path / "fast"), opened(tmp_path / "slow")
    fast.commit([draft("a", 10), *in_slices("big", 4, without=[0, 1])])
    slow.commit([draft("a", 20), draft("b", 30), *in_slices("big", 4, without=[2])])
    both = [fast, slow]

    assert [(i.key.text, i.body_bytes, i.slices) for i in entries(fast, both, (b"/",))] == [
        (b":/a", 10, 0),
        (b":/big", 4000, 4),
    ]
    assert [(i.key.text, i.body_bytes) for i in entries(slow, both, (b"/",))] == [(b":/b", 30)]
    fast.close()
    slow.close()


def test_a_list_goes_on_while_entries_are_removed_and_segments_reclaimed(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    for number in range(60):
        directory.commit([draft(f"r{number}", 9000)])
    found = entries(directory, [directory], (b"/",))
    first = next(found)
    directory._log.seal()

    while directory.reclaim_step():
        pass
    directory.commit([draft("new", 10)])

    assert list(found) == []
    assert first.key.text.startswith(b":/r")
    assert names(listed(directory)) == ["new"]
    directory.close()


def test_keys_are_found_that_move_to_the_head_of_the_log_meanwhile(directory: CacheDirectory) -> None:
    directory.commit([draft(f"r{number}", 9000) for number in range(30)])
    keys = keys_under(directory, (b"/",))
    seen = {next(keys).text}

    directory._log.seal()
    directory.commit([draft(f"r{number}", 100) for number in range(30)])

    seen.update(found.text for found in keys)
    assert seen == {key(f"r{number}").text for number in range(30)}


def test_keys_are_found_that_a_lost_index_doesnt_know_yet(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 100), draft("b", 100)])
    abandon(directory)
    again = opened(tmp_path, boot="b2")
    assert listed(again) == []

    keys = list(keys_under(again, (b"/a",)))
    again.remove(keys)

    assert [found.text for found in keys] == [b":/a"]
    assert names(listed(rebuilt(again))) == ["b"]
    again.close()


def test_a_damaged_record_hides_no_other(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 100), draft("b", 100), draft("c", 100)])
    found = directory.lookup(key("b").digest)
    assert found is not None
    with directory.segments.path(found.segment).open("r+b") as file:
        file.seek(found.offset)
        file.write(b"\0" * 64)

    assert names(listed(directory)) == ["a", "c"]


def test_keys_of_spaces_and_queries_are_listed(directory: CacheDirectory) -> None:
    made = [cache_key(b"s2", b"/a", b"w=1"), cache_key(b"", b"/a", b"")]
    for one in made:
        directory.commit([Draft(replace(record("a", 1), key=one), [b"x"])])

    assert {item.key.text for item in listed(directory, "/a")} == {b"s2:/a?w=1", b":/a"}
    assert {item.key.text for item in listed(directory, "s2:")} == {b"s2:/a?w=1"}
