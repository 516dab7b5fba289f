"""The drill of a running node: begun, watched, stopped and reported."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from shield.cli.admin import AdminDoor, admin_of, ask, no_answer, problems_of
from shield.cli.rounded import shown_size
from shield.config.units import parse_duration, parse_share

_SECONDS = 10.0  # for an answer of the node
_POLL_SECONDS = 1.0


def wish_of(
    origin: str, mode: str, *, lasts: str, scope: str, budget: str, p99: str, is_forced: bool
) -> dict[str, Any]:
    """A drill as the admin API takes it. Raises ExpectedError."""
    return {
        "origin": origin,
        "mode": mode,
        "seconds": parse_duration(lasts),
        "scope": parse_share(scope),
        "budget": parse_share(budget),
        "p99_seconds": parse_duration(p99),
        "is_forced": is_forced,
    }


class _NoAnswerError(Exception):
    """There is no answer of a node; said already."""


def begin(config: Path, wish: Mapping[str, Any], *, waits: bool = True, as_json: bool = False) -> int:
    """Begin a drill, and show what comes of it; Ctrl-C ends it. 0 if failover is proven, 1 if not, 2 if refused."""
    try:
        address = _address(config)
        status, said = _asked(address, "POST", "/drill", wish)
        if status != 200:
            return _refused(status, said)
        number = said["number"]
        if not as_json:
            print(f"drill {number} runs at origin {said['origin']}: {said['mode']} for {said['seconds']:g} s")
        if not waits:
            return 0
        said = _watched(address, number, is_quiet=as_json)
    except _NoAnswerError:
        return 2
    print(json.dumps(said) if as_json else "\n".join(_report(said)))
    return 0 if said.get("proved") else 1


def _watched(address: AdminDoor, number: int, *, is_quiet: bool) -> dict[str, Any]:
    """The report, once there is one."""
    noticed: set[str] = set()
    while True:
        try:
            time.sleep(_POLL_SECONDS)
            _, said = _asked(address, "GET", "/drill")
            if said.get("number") != number or said.get("state") == "over":
                return said
            for line in _news(said, noticed):
                if not is_quiet:
                    print(line, flush=True)
        except KeyboardInterrupt:
            if "stopped" in noticed:
                raise
            noticed.add("stopped")
            print("stopping it; Ctrl-C again: don't wait for the report", file=sys.stderr)
            _asked(address, "POST", "/drill/stop")


def _news(said: Mapping[str, Any], noticed: set[str]) -> Iterator[str]:
    for key, text in (
        ("detected_seconds", "the origin is suspect after {:g} s"),
        ("opened_seconds", "the origin is out of service after {:g} s"),
        ("ending", "over: {}; waiting until the origin is up again"),
    ):
        value = said.get(key)
        if value is not None and key not in noticed:
            noticed.add(key)
            yield text.format(value)


def stop(config: Path) -> int:
    """End the drill that runs; 0, or 1 if none does."""
    try:
        status, said = _asked(_address(config), "POST", "/drill/stop")
    except _NoAnswerError:
        return 2
    if status != 200:
        _refused(status, said)
        return 1
    print(f"drill {said['number']} at origin {said['origin']} is over")
    return 0


def status(config: Path, *, as_json: bool) -> int:
    """Show the last drill; 0."""
    try:
        _, said = _asked(_address(config), "GET", "/drill")
    except _NoAnswerError:
        return 2
    if as_json:
        print(json.dumps(said))
    elif said.get("state") == "none":
        print("there was no drill since the node's start")
    else:
        print(f"state        {said['state']}")
        print("\n".join(_report(said)))
    return 0


def show_history(config: Path, *, as_json: bool) -> int:
    """Show all reports that are kept; 0."""
    try:
        status, said = _asked(_address(config), "GET", "/drill/history")
    except _NoAnswerError:
        return 2
    if status != 200:
        return _refused(status, said)
    for each in said["drills"]:
        print(json.dumps(each) if as_json else _line(each))
    if not said["drills"] and not as_json:
        print("no drill has been reported so far")
    return 0


def _address(config: Path) -> AdminDoor:
    address = admin_of(config)
    if address is None:
        raise _NoAnswerError
    return address


def _asked(address: AdminDoor, method: str, target: str, wish: object = None) -> tuple[int, dict[str, Any]]:
    try:
        status, said = ask(address, method, target, wish=wish, seconds=_SECONDS)
    except (OSError, HTTPException, ValueError) as error:
        print(no_answer(address, error), file=sys.stderr)
        raise _NoAnswerError from None
    if not isinstance(said, dict):
        print(f"the server on {address} (admin.listen) is no Shield node, or one without drills", file=sys.stderr)
        raise _NoAnswerError
    if status in (401, 403):
        _refused(status, said)
        raise _NoAnswerError
    return status, said


def _refused(status: int, said: Mapping[str, Any]) -> int:
    for problem in problems_of(status, said):
        print(problem, file=sys.stderr)
    return 2


def _line(each: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(each["began_at"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if "refused" in each:
        return f"{when}  {each['origin']:<12} refused: {'; '.join(each['refused'])}"
    proof = "proven" if each["proved"] else "not proven"
    hurt = f"{each['failed']} failed, {each['late']} late of {each['requests']}"
    detected = "never suspect" if (seconds := each["detected_seconds"]) is None else f"suspect after {seconds:g} s"
    return f"{when}  {each['origin']:<12} {each['mode']:<11} {proof:<10}  {each['faults']} faults; {hurt}; {detected}"


def _report(said: Mapping[str, Any]) -> Iterator[str]:
    share = f"{100.0 * said['scope']:g} % of keys"
    yield f"drill        {said['number']} at origin {said['origin']}: {said['mode']}, {share}"
    if said["ending"] is not None:
        yield f"ended        after {said['lasted_seconds']:g} s: {said['ending']}"
    yield f"detected     {_after(said['detected_seconds'], 'the origin was never suspect')}"
    yield f"out          {_after(said['opened_seconds'], 'never')}"
    yield f"recovered    {_after(said['recovered_seconds'], 'not so far')}"
    spared = f", {said['spared']} spared as nothing would notice" if said["spared"] else ""
    yield f"faults       {said['faults']} requests to the origin{spared}"
    yield f"clients      {said['failed']} failed, {said['late']} later than 1 s, of {said['requests']}"
    yield f"elsewhere    {said['extra_fetches']} fetches, {shown_size(said['extra_bytes'])}{_money(said['money'])}"
    if said["proved"] is not None:
        yield f"failover     {'proven' if said['proved'] else 'not proven'}{_reason(said)}"


def _reason(said: Mapping[str, Any]) -> str:
    return "" if said["faults"] or said["proved"] else ": no request was for a key in its scope"


def _after(seconds: float | None, never: str) -> str:
    return never if seconds is None else f"after {seconds:g} s"


def _money(money: Mapping[str, float]) -> str:
    return "".join([f", {amount:.6f} {currency}" for currency, amount in money.items()])
