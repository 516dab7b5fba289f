"""The secrets of a cluster while one takes the place of another."""

from __future__ import annotations

from shield.rules.peer_secrets import OVERLAP, SETTLE, PeerSecrets, fingerprint

OLD, NEW = b"old" * 12, b"new" * 12
NOW = 1_750_000_000.0


def test_no_request_is_refused_whichever_node_has_the_new_secret_first() -> None:
    first, second = PeerSecrets([OLD]), PeerSecrets([OLD])
    now = NOW

    def both_understand() -> bool:
        """Each signs by what the other has told, a while ago at worst."""
        return all(
            mine.signing(told, 0) in other.accepted
            for mine, other in ((first, second), (second, first))
            for told in (other.told(now), other.told(now - SETTLE))
        )

    assert both_understand()
    for node in (first, second):
        assert node.renew([NEW], now) and both_understand()
        now += SETTLE
        assert both_understand()
    assert first.signing(second.told(now), 0) == second.signing(first.told(now), 0) == NEW

    now += OVERLAP
    assert first.forget(now) and second.forget(now) and both_understand()
    assert first.accepted == second.accepted == (NEW,)


def test_a_secret_that_is_back_is_kept_and_the_same_ones_are_no_change() -> None:
    secrets = PeerSecrets([OLD])

    assert not secrets.renew([OLD], NOW) and secrets.until is None
    assert secrets.renew([NEW], NOW) and secrets.until == NOW + OVERLAP
    assert secrets.renew([NEW, OLD], NOW + 1.0) and secrets.until is None
    assert not secrets.forget(NOW + 2.0 * OVERLAP)
    assert secrets.accepted == (NEW, OLD) and secrets.newest == fingerprint(NEW)


def test_one_that_tells_nothing_is_tried_with_each() -> None:
    secrets = PeerSecrets([NEW, OLD])

    assert [secrets.signing((), refusals) for refusals in range(3)] == [OLD, NEW, OLD]
    assert secrets.signing((fingerprint(b"of others"), fingerprint(NEW)), 1) == NEW
    assert PeerSecrets([]).signing((), 0) == b""
