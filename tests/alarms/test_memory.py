"""The memory of alarms: one book for all workers, whatever becomes of them."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

from shield.alarms.memory import SIZE, AlarmMemory, file_of, load
from shield.rules.alarms import AlarmEvent, AlarmKind, AlarmNews, NodeAlarm
from shield.rules.webhooks import AlarmBook, Webhook
from shield.shared import Shared

HOOK = Webhook("pager", "https://pager.example/")


def event(number: int, *, text: str = "out") -> AlarmEvent:
    alarm = NodeAlarm(f"fra-1/disk/{number}", AlarmKind.DISK, f"/disk-{number}", text, 1.0, 1.0)
    return AlarmEvent(f"{alarm.id}/began", 1.0, AlarmNews.BEGAN, alarm)


def test_all_workers_have_one_book() -> None:
    memory = memoryview(bytearray(SIZE))
    one, other = AlarmMemory(memory), AlarmMemory(memory)

    made = one.change(lambda book: book.posted([event(1)], [HOOK], 5.0))

    assert other.read() == made != AlarmBook()
    assert other.change(lambda book: book) == made


def test_deaths_are_counted_apart() -> None:
    memory = AlarmMemory(memoryview(bytearray(SIZE)))

    memory.note_death()
    memory.change(lambda book: replace(book, deaths_seen=1))

    assert (memory.deaths, memory.read().deaths_seen) == (1, 1)


def test_a_torn_book_is_an_empty_one_and_can_be_written_again() -> None:
    memory = memoryview(bytearray(SIZE))
    AlarmMemory(memory).change(lambda book: book.posted([event(1)], [HOOK], 5.0))
    at = bytes(memory).index(b'"deaths_seen":0') + 14
    memory[at] = ord("7")

    other = AlarmMemory(memory)
    assert other.read() == AlarmBook()
    made = other.change(lambda book: book.posted([event(2)], [HOOK], 5.0))
    assert AlarmMemory(memory).read() == made


def test_a_book_that_is_too_large_is_shortened() -> None:
    memory = memoryview(bytearray(SIZE))
    events = [event(number, text="\N{SNOWMAN}" * 400) for number in range(400)]
    webhooks = [Webhook(f"hook-{number}", "https://pager.example/") for number in range(40)]

    made = AlarmMemory(memory).change(lambda book: book.posted(events, webhooks, 5.0))

    assert made.outbox
    assert AlarmMemory(memory).read() == made


def _work(shared: Shared, number: int) -> None:
    for _ in range(20):
        shared.alarms.change(lambda book: replace(book, deaths_seen=book.deaths_seen + 1))


def test_no_change_is_lost_between_processes() -> None:
    shared = Shared(workers=3, several=True, slots=1024)
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_work, args=(shared, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert shared.alarms.read().deaths_seen == 60
    shared.close()


def test_a_file_that_is_no_book_is_reported(tmp_path: Path) -> None:
    path = tmp_path / file_of("fra-1")
    assert load(tmp_path, "fra-1") == (None, None)

    for text in ("[]", "{", '{"active": 1}'):
        path.write_text(text)
        book, problem = load(tmp_path, "fra-1")
        assert book is None and problem is not None and str(path) in problem

    path.write_text(json.dumps(AlarmBook(deaths_seen=3).plain()))
    assert load(tmp_path, "fra-1") == (AlarmBook(deaths_seen=3), None)
