"""The fetch of a fill: by callbacks if it is as nearly all are, else by a task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from shield.fill.doubt import fetch_with_care, note_change
from shield.fill.means import Means
from shield.fill.readers import Readers
from shield.fill.settlement import Question
from shield.origin.plain import Fetching, FetchTaker
from shield.origin.want import Absent, Failed, Fetched, Want

_Fetch = Callable[[Sequence[str], Want], Awaitable[Fetched | Absent | Failed]]


def begin_fetch(question: Question, means: Means, taker: FetchTaker, readers: Readers) -> Fetching:
    """Fetch what a question wants for these readers; `taker` is told the result later, never within this call."""
    fetch: _Fetch | None = None
    if question.resource.route.early_hints:
        question.want.inform = readers.inform
    try:
        if means.changes.live[0] and note_change(question, means) is not None:
            fetch = partial(fetch_with_care, question, means)
        else:
            plain = means.source.begin(question.resource.tried, question.want, taker)
            if plain is not None:
                return plain
    except Exception as error:
        return means.loop.call_soon(taker.failed_by_bug, error)
    return means.loop.create_task(_fetch_by(fetch or means.source.fetch, question, taker, readers))


async def _fetch_by(fetch: _Fetch, question: Question, taker: FetchTaker, readers: Readers) -> None:
    try:
        readers.latecomers.clear()  # about now; the source reports when the request really is sent
        result = await fetch(question.resource.tried, question.want)
    except Exception as error:
        taker.failed_by_bug(error)
        return
    taker.fetched(result)
