"""Credentials for a CDN's API from a command or AWS's chain: real programs, a real receiver, a fake clock."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shield.cdn.keys import EdgeKeys
from shield.cdn.posting import EdgePoster, EdgeTarget
from shield.errors import CredentialsError
from shield.origin.key_sources import AwsChainKeys, CommandKeys, KeySource
from shield.origin.signer import Credentials
from shield.rules.edge_purge import EdgeCall, EdgeProvider, EdgeSecrets, PurgeEdge
from tests.cdn.test_passing import in_a_loop
from tests.doubles.receiver import Receiver
from tests.node import START, FakeClock

CALL = EdgeCall("/2020-05-31/distribution/E1/invalidation", "<x/>", "application/xml")
EDGE = PurgeEdge("cdn", EdgeProvider.CLOUDFRONT, "E1", ())


class Source:
    """It gives these, one after the other; an error is raised. The last one stays."""

    def __init__(self, *results: Credentials | CredentialsError) -> None:
        self.results = list(results)
        self.asked = 0

    def obtain(self) -> Credentials:
        self.asked += 1
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, CredentialsError):
            raise result
        return result


def keys(source: KeySource, clock: FakeClock, refresh: float = 300.0) -> EdgeKeys:
    return EdgeKeys("cdn", source, refresh=refresh, clock=clock, chance=lambda: 0.0)


def numbered(number: int, expires: float | None = None) -> Credentials:
    return Credentials(f"AK{number}", "hidden", "token", expires)


@in_a_loop
async def test_they_are_obtained_when_they_are_needed_and_again_before_they_expire(clock: FakeClock) -> None:
    source = Source(numbered(1, START + 3600.0), numbered(2, START + 7200.0))
    made = keys(source, clock)
    assert source.asked == 0

    for seconds, expected in ((0.0, "AK1"), (2699.0, "AK1"), (2.0, "AK2"), (899.0, "AK2")):
        clock.advance(seconds)
        assert (await made.current()).access_key_id == expected
    assert source.asked == 2


@in_a_loop
async def test_those_in_use_stay_while_the_source_fails_until_they_expire(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(numbered(1, START + 3600.0), CredentialsError("it fails"))
    made = keys(source, clock)
    await made.current()

    clock.advance(2800.0)
    assert (await made.current()).access_key_id == "AK1" and (await made.current()).access_key_id == "AK1"
    assert source.asked == 2  # not for each call
    assert "purge.edges.cdn.credentials: it fails; the old ones stay in use" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
    clock.advance(801.0)
    with pytest.raises(CredentialsError, match=r"purge\.edges\.cdn\.credentials: it fails"):
        await made.current()


@in_a_loop
async def test_refused_ones_are_obtained_anew_but_not_in_a_loop(clock: FakeClock) -> None:
    source = Source(numbered(1), numbered(2))
    made = keys(source, clock)
    await made.current()
    made.refused()
    assert (await made.current()).access_key_id == "AK1"  # it was obtained just now

    clock.advance(6.0)
    made.refused()
    assert (await made.current()).access_key_id == "AK2"


@in_a_loop
async def test_a_call_is_signed_with_what_a_command_prints_and_a_refusal_asks_it_again(
    clock: FakeClock, tmp_path: Path
) -> None:
    runs, expiry = tmp_path / "runs", datetime.fromtimestamp(START + 3600.0, UTC).isoformat()
    said = {"Version": 1, "SecretAccessKey": "hidden", "SessionToken": "session", "Expiration": expiry}
    program = (
        f"import json, pathlib; p = pathlib.Path({str(runs)!r}); n = p.read_text() if p.exists() else ''; "
        f"p.write_text(n + 'x'); print(json.dumps({said!r} | {{'AccessKeyId': 'AK%d' % len(n)}}))"
    )
    source = CommandKeys([sys.executable, "-c", program], timeout=20.0)
    poster = EdgePoster(clock=clock)
    with Receiver() as receiver:
        target = EdgeTarget(EDGE, receiver.place, EdgeSecrets(), keys=keys(source, clock))
        receiver.answers.append((403, {}))
        clock.advance(10.0)
        assert (await poster.post(target, CALL)).problem == "it answers 403"
        clock.advance(10.0)
        receiver.answers.append((403, {}))
        assert (await poster.post(target, CALL)).problem == "it answers 403"
        assert (await poster.post(target, CALL)).problem is None
    await poster.close()

    used = [each.fields["authorization"].partition("Credential=")[2].partition("/")[0] for each in receiver.got]
    assert used == ["AK0", "AK0", "AK1"]
    assert {each.fields["x-amz-security-token"] for each in receiver.got} == {"session"}
    assert all("x-amz-security-token" in each.fields["authorization"] for each in receiver.got)


@in_a_loop
async def test_without_credentials_nothing_is_sent_and_it_is_tried_again(clock: FakeClock) -> None:
    with Receiver() as receiver:
        source = CommandKeys([sys.executable, "-c", "import sys; sys.exit('no luck')"], timeout=20.0)
        poster = EdgePoster(clock=clock)
        answer = await poster.post(EdgeTarget(EDGE, receiver.place, EdgeSecrets(), keys=keys(source, clock)), CALL)
        await poster.close()

    assert receiver.got == [] and not answer.is_hopeless
    assert answer.problem is not None and answer.problem.endswith("exited with 1: no luck")


@in_a_loop
async def test_awss_chain_will_do(clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    file.write_text("[cdn]\naws_access_key_id = AKFILE\naws_secret_access_key = hidden\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")

    assert (await keys(AwsChainKeys("cdn"), clock).current()).access_key_id == "AKFILE"
