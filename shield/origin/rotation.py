"""The credentials of one origin: new ones are tried before all requests are signed with them (`rules.key_trial`)."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shield.complaints import Complaints
from shield.origin.signer import Credentials, Signer
from shield.rules.key_trial import SHARE, KeyTrial, TrialEvent, TrialStage, begun

log = logging.getLogger("shield.origin")

EXPIRES_SOON = 300.0
"""Seconds before its credentials expire when the operator is alerted: new ones should be there long before."""

_REFUSED_SECONDS = 60.0
"""For so long a refusal shows that the credentials in use are worth nothing."""


@dataclass(frozen=True, slots=True)
class CredentialStatistics:
    """`expires` is in epoch seconds, None if unknown; `stage` is that of a trial, or "in use", or "none".
    `is_doubted`: new ones aren't accepted so far, so that the operator was told.
    """

    stage: str
    expires: float | None
    adopted: int
    rolled_back: int
    probes_failed: int
    is_doubted: bool = False


class Rotation:
    """Event loop only. `probe` tells whether the origin accepts credentials: None, or the reason why it doesn't."""

    def __init__(
        self,
        name: str,
        signer: Signer,
        *,
        probe: Callable[[Credentials], Awaitable[str | None]],
        now: Callable[[], float],
    ) -> None:
        self._name = name
        self._signer = signer
        self._probe = probe
        self._now = now
        self._complaints = Complaints(log)
        self._trial: KeyTrial | None = None
        self._new: Credentials | None = None
        self._old: Credentials | None = None
        self._why = ""  # the new ones weren't accepted
        self._in_doubt = False
        self._refused_at: float | None = None
        self._probing: asyncio.Task[None] | None = None
        self._counts: Counter[str] = Counter()

    def offer(self, credentials: Credentials) -> bool:
        """Use these, as soon as they have proven to work. Returns whether they are new."""
        current, now = self._signer.credentials, self._now()
        if current is not None and _are_alike(credentials, current):
            if credentials != current:
                self._signer.use(credentials)  # as before, with another expiry
            self._end()
            return False
        if self._new is not None and self._trial is not None and _are_alike(credentials, self._new):
            return False
        self._end()
        is_refused = self._refused_at is not None and now - self._refused_at < _REFUSED_SECONDS
        self._old, self._new = current, credentials
        self._become(begun(now, nothing_to_lose=current is None or is_refused))
        self._start_probe()
        return True

    def refused(self, credentials: Credentials, *, is_denial: bool) -> None:
        """The origin refused a request signed with these.

        `is_denial`: it may have refused the object rather than the credentials.
        """
        trial = self._trial
        is_new = trial is not None and credentials is self._new
        if is_denial:
            if is_new and trial is not None and trial.stage is TrialStage.SHARED:
                self._in_doubt = True  # the request is repeated with the old ones, which tells
                self._signer.share(None, SHARE)
            return
        if is_new:
            self._why = "it refuses them"
            self._advance(TrialEvent.NEW_REFUSED)
        elif trial is not None and credentials is self._old:
            self._advance(TrialEvent.OLD_REFUSED)
        if credentials is self._signer.credentials:
            self._refused_at = self._now()

    def settle_doubt(self, *, old_work: bool) -> None:
        """The request that was denied to the new credentials was repeated with the old ones."""
        if not self._in_doubt or self._trial is None:
            return
        self._in_doubt = False
        if old_work:
            self._why = "it denies them an object that the old ones may read"
            self._advance(TrialEvent.NEW_REFUSED)
        elif self._trial.stage is TrialStage.SHARED:
            self._signer.share(self._new, SHARE)

    def tick(self, clock: float) -> None:
        """Call once a second; `clock` is in epoch seconds."""
        trial = self._trial
        if trial is not None:
            now = self._now()
            if self._in_doubt:
                self.settle_doubt(old_work=False)
            after = trial.at(now)
            if after is None:
                self._end()
            elif after is not trial:
                self._become(after)
            elif trial.stage is TrialStage.PROBING and now >= trial.due:
                self._start_probe()
        credentials = self._signer.credentials
        if credentials is not None and credentials.expires is not None:
            left = credentials.expires - clock
            if left < EXPIRES_SOON:
                said = f"expire in {left:.0f} s" if left > 0 else f"expired {-left:.0f} s ago"
                self._complaints.say("expiry", self._now(), "origin %s: its credentials %s", self._name, said)

    async def close(self) -> None:
        """End a probe under way."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait((self._probing,))

    def statistics(self) -> CredentialStatistics:
        current, trial = self._signer.credentials, self._trial
        stage = "none" if current is None else "in use" if trial is None else trial.stage.value
        counts = self._counts
        return CredentialStatistics(
            stage,
            None if current is None else current.expires,
            counts["adopted"],
            counts["rolled back"],
            counts["probes failed"],
            trial is not None and trial.stage is TrialStage.PROBING and trial.alarms,
        )

    def _start_probe(self) -> None:
        if self._probing is None and self._trial is not None and self._trial.stage is TrialStage.PROBING:
            self._probing = asyncio.get_running_loop().create_task(self._prove())

    async def _prove(self) -> None:
        new = self._new
        assert new is not None
        try:
            why = await self._probe(new)
        finally:
            self._probing = None
        if self._new is not new or self._trial is None or self._trial.stage is not TrialStage.PROBING:
            self._start_probe()  # others were offered meanwhile
            return
        if why is None:
            self._advance(TrialEvent.PASSED)
            return
        self._counts["probes failed"] += 1
        self._why = why
        self._advance(TrialEvent.FAILED)

    def _advance(self, event: TrialEvent) -> None:
        assert self._trial is not None
        after = self._trial.after(event, self._now())
        if after is not self._trial:
            self._become(after)

    def _become(self, after: KeyTrial) -> None:
        before, self._trial, new, old = self._trial, after, self._new, self._old
        assert new is not None
        was = None if before is None else before.stage
        if after.stage is TrialStage.SHARED and was is not after.stage:
            log.info("origin %s: new credentials: a probe passed; they sign one request in %d", self._name, SHARE)
            self._signer.share(new, SHARE)
        elif after.stage is TrialStage.IN_USE and was is not after.stage:
            self._refused_at = None
            if old is not None:
                self._counts["adopted"] += 1
                log.warning("origin %s: new credentials sign all requests", self._name)
            self._signer.use(new)
        elif after.stage is TrialStage.PROBING and was not in (None, after.stage):
            assert old is not None
            self._counts["rolled back"] += 1
            log.error(
                "origin %s: new credentials: %s; the old ones are in use again, and the new ones are tried later",
                self._name,
                self._why,
            )
            self._in_doubt = False
            self._signer.use(old)
        elif after.alarms:
            said = "origin %s: new credentials aren't accepted: %s; the old ones stay in use"
            self._complaints.say("probe", self._now(), said, self._name, self._why)

    def _end(self) -> None:
        """There is no trial, and nothing to go back to."""
        if self._trial is not None and self._trial.stage is not TrialStage.IN_USE:
            self._signer.share(None, SHARE)
        self._trial = self._new = self._old = None
        self._in_doubt = False


def _are_alike(one: Credentials, other: Credentials) -> bool:
    """Whether they sign alike."""
    return (one.access_key_id, one.secret_key, one.session_token) == (
        other.access_key_id,
        other.secret_key,
        other.session_token,
    )
