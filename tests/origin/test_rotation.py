"""New credentials of an origin: the requests they sign, and the way back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from shield.origin.rotation import Rotation
from shield.origin.signer import Credentials, Signer
from shield.rules.key_trial import SHARE, SHARE_SECONDS, WATCH_SECONDS
from shield.rules.providers import PROVIDERS, locate

OLD, NEW, NEWER = Credentials("AKOLD", "old"), Credentials("AKNEW", "new"), Credentials("AKNEWER", "newer")
LOCATION = locate(PROVIDERS["aws"], endpoint=None, region="eu-central-1", bucket="images", addressing="auto")


class Stage:
    """A rotation, its time, and the verdicts of its probes in order; the last one stays."""

    def __init__(self, current: Credentials | None, *verdicts: str | None) -> None:
        self.now = 1000.0
        self.signer = Signer(PROVIDERS["aws"], LOCATION, current)
        self.verdicts = list(verdicts) or [None]
        self.probed: list[Credentials] = []
        self.rotation = Rotation("fra", self.signer, probe=self._probe, now=lambda: self.now)

    async def _probe(self, credentials: Credentials) -> str | None:
        self.probed.append(credentials)
        return self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.rotation.tick(self.now)
        await settled()

    def signs(self, seconds: int = 2 * SHARE) -> list[Credentials]:
        """The credentials of one request in each of the next seconds."""
        found = []
        for second in range(seconds):
            self.signer.head(b"GET", b"/a", 1_750_000_000.0 + second)
            assert self.signer.signed_with is not None
            found.append(self.signer.signed_with)
        return found

    @property
    def share(self) -> float:
        """Of requests that the new ones sign."""
        return sum([each is not OLD for each in self.signs()]) / (2 * SHARE)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(work: Callable[[], object]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def test_new_ones_sign_a_share_after_a_probe_and_all_after_a_while() -> None:
    async def work() -> None:
        stage = Stage(OLD)
        assert stage.rotation.offer(NEW)
        assert stage.share == 0.0
        await settled()
        assert (stage.probed, stage.share) == ([NEW], 1 / SHARE)
        await stage.pass_time(SHARE_SECONDS)
        assert (stage.share, stage.signer.credentials) == (1.0, NEW)
        await stage.pass_time(WATCH_SECONDS)
        assert stage.rotation.statistics().stage == "in use"
        assert stage.rotation.statistics().adopted == 1

    run(work)


def test_the_first_ones_are_used_at_once() -> None:
    async def work() -> None:
        stage = Stage(None)
        assert stage.rotation.statistics().stage == "none"
        stage.rotation.offer(NEW)
        await settled()
        assert (stage.signs(2), stage.probed) == ([NEW, NEW], [])
        stage.rotation.refused(NEW, is_denial=False)
        assert stage.signs(2) == [NEW, NEW]

    run(work)


def test_ones_that_a_probe_refuses_sign_nothing_and_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        stage = Stage(OLD, "403 InvalidAccessKeyId")
        stage.rotation.offer(NEW)
        await settled()
        for _ in range(60):
            await stage.pass_time(1.0)
        assert stage.share == 0.0
        assert 4 <= len(stage.probed) <= 7  # at growing intervals
        stage.verdicts = [None]
        for _ in range(60):
            await stage.pass_time(1.0)
        assert stage.signer.credentials is NEW

    with caplog.at_level(logging.WARNING, "shield.origin"):
        run(work)
    assert "new credentials aren't accepted: 403 InvalidAccessKeyId; the old ones stay in use" in caplog.text


def test_ones_that_traffic_shows_to_be_refused_are_rolled_back_with_an_alarm(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        stage = Stage(OLD, None, "no more")
        stage.rotation.offer(NEW)
        await settled()
        stage.rotation.refused(NEW, is_denial=False)
        assert (stage.share, stage.rotation.statistics().rolled_back) == (0.0, 1)

    with caplog.at_level(logging.ERROR, "shield.origin"):
        run(work)
    (said,) = caplog.messages
    assert "new credentials: it refuses them; the old ones are in use again" in said


def test_ones_in_use_are_rolled_back_as_long_as_the_old_ones_are_kept() -> None:
    async def work() -> None:
        stage = Stage(OLD, None)
        stage.rotation.offer(NEW)
        await settled()
        await stage.pass_time(SHARE_SECONDS)
        stage.rotation.refused(NEW, is_denial=False)
        assert stage.signer.credentials is OLD
        stage.rotation.refused(OLD, is_denial=False)  # both: stay
        stage.rotation.refused(NEW, is_denial=False)
        assert stage.signer.credentials is NEW

    run(work)


def test_refused_old_ones_give_way_at_once() -> None:
    async def work() -> None:
        stage = Stage(OLD, "not known yet")
        stage.rotation.offer(NEW)
        stage.rotation.refused(OLD, is_denial=False)
        assert stage.share == 1.0
        await settled()

    run(work)


def test_after_a_refusal_the_next_ones_are_used_at_once() -> None:
    async def work() -> None:
        stage = Stage(OLD, "not known yet")
        stage.rotation.refused(OLD, is_denial=False)
        stage.rotation.offer(NEW)
        assert stage.share == 1.0

    run(work)


def test_a_denial_of_an_object_by_itself_changes_nothing() -> None:
    async def work() -> None:
        stage = Stage(OLD)
        stage.rotation.refused(OLD, is_denial=True)
        stage.rotation.offer(NEW)
        await settled()
        assert stage.share == 1 / SHARE

    run(work)


@pytest.mark.parametrize("old_work", [True, False])
def test_a_denial_to_the_new_ones_is_settled_by_the_old_ones(old_work: bool) -> None:
    async def work() -> None:
        stage = Stage(OLD, None, "no more")
        stage.rotation.offer(NEW)
        await settled()
        stage.rotation.refused(NEW, is_denial=True)
        assert stage.share == 0.0  # the repeated request is signed with the old ones
        stage.rotation.settle_doubt(old_work=old_work)
        assert stage.share == (0.0 if old_work else 1 / SHARE)
        assert stage.rotation.statistics().rolled_back == int(old_work)

    run(work)


def test_the_old_ones_offered_again_end_a_trial() -> None:
    async def work() -> None:
        stage = Stage(OLD)
        stage.rotation.offer(NEW)
        await settled()
        assert not stage.rotation.offer(OLD)
        assert (stage.share, stage.rotation.statistics().stage) == (0.0, "in use")

    run(work)


def test_newer_ones_take_the_place_of_those_on_trial() -> None:
    async def work() -> None:
        stage = Stage(OLD)
        stage.rotation.offer(NEW)
        stage.rotation.offer(NEWER)  # while the probe is under way
        await settled()
        await stage.pass_time(SHARE_SECONDS)
        assert (stage.probed[-1], stage.signer.credentials) == (NEWER, NEWER)

    run(work)


def test_the_same_ones_with_another_expiry_need_no_trial() -> None:
    async def work() -> None:
        stage = Stage(OLD)
        assert not stage.rotation.offer(Credentials("AKOLD", "old", None, 5000.0))
        assert (stage.probed, stage.rotation.statistics().expires) == ([], 5000.0)

    run(work)


def test_credentials_that_expire_soon_are_complained_of(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        stage = Stage(Credentials("AKOLD", "old", None, 1400.0))
        await stage.pass_time(50.0)
        assert not caplog.messages
        await stage.pass_time(150.0)
        await stage.pass_time(300.0)

    with caplog.at_level(logging.WARNING, "shield.origin"):
        run(work)
    assert caplog.messages == [
        "origin fra: its credentials expire in 200 s",
        "origin fra: its credentials expired 100 s ago",
    ]


def test_a_probe_under_way_ends_with_the_node() -> None:
    async def work() -> None:
        stage = Stage(OLD)
        stage.rotation.offer(NEW)
        await stage.rotation.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(work)
