"""Families of metrics of origins, their order, and drills, made of their statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from shield.drill.drills import DrillStatistics
from shield.egress.meter import MeterReading
from shield.gate_figures import gate_families
from shield.histograms import Histogram
from shield.observe.metrics import Family, Sample, labelled, timed
from shield.origin.ranker import RankedStatistics
from shield.origin.statistics import HEALTH_FLAGS, HEALTH_STATES, OriginStatistics
from shield.rules.alarms import AlarmKind
from shield.rules.drill import PROOF_SECONDS
from shield.rules.prices import Price
from shield.rules.sites import OriginSite
from shield.rules.webhooks import AlarmBook
from shield.tracing.tracer import TracingStatistics


def origin_families(origins: Sequence[tuple[str, OriginStatistics]]) -> list[Family]:
    """Of origins, by name."""
    fetches, absent = {name: o.fetches for name, o in origins}, {name: o.absent for name, o in origins}
    return [
        labelled("origin_fetches", "Requests sent to an origin", "origin", fetches),
        Family(
            "origin_responses",
            "Responses of an origin by status; unusual ones by their class",
            _responses([(name, o.responses) for name, o in origins]),
        ),
        Family(
            "origin_extra_fetches",
            "Attempts at an origin that weren't the first of their fetch, by reason",
            _by_label("reason", [(name, o.extra) for name, o in origins]),
        ),
        Family(
            "origin_hedges",
            "Hedges at an origin: won, or lost to the origin that was late",
            [
                Sample(count, {"origin": name, "result": result})
                for name, o in origins
                for result, count in (("won", o.hedges_won), ("lost", o.hedges_lost))
            ],
        ),
        labelled(
            "origin_hedge_wasted_bytes",
            "Bytes of responses that were abandoned after a hedge, estimated by the mean size of objects",
            "origin",
            {name: o.hedges_wasted_bytes for name, o in origins},
        ),
        Family(
            "origin_retries_left",
            "Retries that an origin's budget allows now",
            [Sample(o.repeats_saved, {"origin": name}) for name, o in origins],
            gauge=True,
            alike=True,
        ),
        labelled(
            "origin_overtaken",
            "Attempts so late that another origin's response was used",
            "origin",
            {name: o.overtaken for name, o in origins},
        ),
        Family(
            "origin_capped_seconds",
            "Time for which fetches and connections waited for the cap on an origin's bytes",
            [Sample(o.capped_seconds, {"origin": name}) for name, o in origins],
        ),
        *gate_families([(name, o.gate) for name, o in origins]),
        Family(
            "origin_state",
            "1 for the state of an origin: up, suspect, open, trial, recovering",
            [
                Sample(float(o.health.state == state), {"origin": name, "state": state})
                for name, o in origins
                for state in HEALTH_STATES
            ],
            gauge=True,
            alike=True,
        ),
        Family(
            "origin_flag",
            "1 for each flag of an origin: auth, throttled, corrupt, drained, lagging",
            [
                Sample(float(flag in o.health.flags), {"origin": name, "flag": flag})
                for name, o in origins
                for flag in HEALTH_FLAGS
            ],
            gauge=True,
            alike=True,
        ),
        Family(
            "origin_out_seconds",
            "For how long an origin has not been up; 0 while it is",
            [Sample(o.health.out_seconds, {"origin": name}) for name, o in origins],
            gauge=True,
            alike=True,
        ),
        Family(
            "origin_credentials_expiry_timestamp_seconds",
            "When the credentials of an origin expire, as epoch seconds; missing while no expiry is known",
            [
                Sample(o.credentials.expires, {"origin": name})
                for name, o in origins
                if o.credentials is not None and o.credentials.expires is not None
            ],
            gauge=True,
            alike=True,
        ),
        Family(
            "origin_credentials_changes",
            "New credentials of an origin, by result: adopted, rolled-back, or probe-failed for each probe",
            [
                Sample(count, {"origin": name, "result": result})
                for name, o in origins
                if o.credentials is not None
                for result, count in (
                    ("adopted", o.credentials.adopted),
                    ("rolled-back", o.credentials.rolled_back),
                    ("probe-failed", o.credentials.probes_failed),
                )
            ],
        ),
        Family(
            "origin_probes",
            "Probes of an origin, which are among its fetches, by result",
            [
                Sample(count, {"origin": name, "result": result})
                for name, o in origins
                for result, count in o.probes.items()
            ],
        ),
        labelled(
            "origin_probe_bytes",
            "Body bytes fetched by probes of an origin",
            "origin",
            {name: o.probe_bytes for name, o in origins},
        ),
        labelled("origin_absent", "Objects an origin didn't have", "origin", absent),
        labelled(
            "origin_fields_dropped",
            "Malformed field lines of an origin's responses, which were omitted",
            "origin",
            {name: o.pool.fields_dropped_total for name, o in origins},
        ),
        Family(
            "origin_faults",
            "Failed attempts at an origin, and bodies that broke off",
            _by_label("fault", [(name, o.faults) for name, o in origins]),
        ),
        Family(
            "origin_connections",
            "Connections to an origin",
            [
                Sample(count, {"origin": name, "state": state})
                for name, o in origins
                for state, count in (("idle", o.pool.idle), ("busy", o.pool.busy))
            ],
            gauge=True,
        ),
    ]


def origin_time_families(origins: Sequence[tuple[str, Histogram, Histogram]]) -> list[Family]:
    """Of origins, by name, with the times to their heads and those to the ends of their responses."""
    return [
        timed(
            "origin_first_byte_seconds",
            "Time from a request to an origin to the head of its response, or until it was abandoned",
            [({"origin": name}, first_bytes) for name, first_bytes, _ in origins],
        ),
        timed(
            "origin_duration_seconds",
            "Time from a request to an origin to the end of its response, without waits for readers",
            [({"origin": name}, exchanges) for name, _, exchanges in origins],
        ),
    ]


def egress_families(readings: Iterable[MeterReading]) -> list[Family]:
    """Of requests and bytes by origin, route and reason."""
    known = [({"origin": of.origin, "route": of.route, "reason": of.reason}, n, size) for of, n, size, _ in readings]
    return [
        Family(
            "origin_requests",
            "Requests sent to an origin, by route and reason",
            [Sample(requests, labels) for labels, requests, _ in known],
        ),
        Family(
            "origin_received_bytes",
            "Bytes received from an origin, by route and reason: heads and bodies, whole or not",
            [Sample(received, labels) for labels, _, received in known],
        ),
    ]


def site_family(sites: Sequence[tuple[str, OriginSite]]) -> Family:
    """Where origins are, to join their other metrics with."""
    samples = [
        Sample(1.0, {"origin": name, "provider": site.provider, "region": site.region, "bucket": site.bucket})
        for name, site in sites
    ]
    return Family(
        "origin_info", "1, with the provider, region and bucket of an origin", samples, gauge=True, alike=True
    )


def price_families(prices: Sequence[tuple[str, Price | None]]) -> list[Family]:
    """Of origins that have a price in the settings, by name."""
    known = [(name, price) for name, price in prices if price is not None]

    def family(name: str, text: str, value: Callable[[Price], float]) -> Family:
        samples = [Sample(value(price), {"origin": origin, "currency": price.currency}) for origin, price in known]
        return Family(name, text, samples, gauge=True, alike=True)

    return [
        family("origin_price_per_byte", "Price of a byte out of an origin, by the settings", lambda p: p.of(1, 0)),
        family("origin_price_per_request", "Price of a request to an origin, by the settings", lambda p: p.of(0, 1)),
    ]


_TOLD_STATUSES = frozenset(
    map(str, (200, 206, *range(300, 309), *range(400, 417), 421, 429, 451, 500, 501, 502, 503, 504))
)


def _responses(origins: Sequence[tuple[str, Mapping[str, int]]]) -> list[Sample]:
    """Few different statuses, whatever an origin thinks of."""
    found: dict[tuple[str, str], int] = {}
    for name, responses in origins:
        for status, count in responses.items():
            place = name, status if status in _TOLD_STATUSES else f"{status[0]}xx"
            found[place] = found.get(place, 0) + count
    return [Sample(count, {"origin": name, "status": status}) for (name, status), count in found.items()]


def ranked_family(ranked: Mapping[str, RankedStatistics]) -> Family:
    """Of routes that order their origins by cost, by name."""
    return Family(
        "origin_position",
        "Position of an origin in a route with choose: nearest, from 1",
        [
            Sample(place.position, {"route": route, "origin": origin})
            for route, found in ranked.items()
            for origin, place in found.origins.items()
        ],
        gauge=True,
        alike=True,
    )


def drill_families(drills: DrillStatistics) -> list[Family]:
    """Of the drill that runs, and of former ones."""
    running = [] if drills.origin is None else [Sample(1.0, {"origin": drills.origin, "mode": drills.mode or ""})]
    return [
        Family("drill_running", "1 while a drill injects faults at an origin", running, gauge=True, alike=True),
        Family(
            "drill_faults",
            "Faults of drills, which are among the origin's other faults",
            [Sample(count, {"origin": name, "mode": mode}) for (name, mode), count in drills.faults.items()],
        ),
        Family(
            "drill_proof_age_seconds",
            "Time since an origin's failover was last proven by a drill, or should first have been",
            [Sample(age, {"origin": name}) for name, age in drills.proven_seconds.items()],
            gauge=True,
            alike=True,
        ),
        Family(
            "drill_unproven",
            "1 if an origin's failover hasn't been proven for 90 days",
            [Sample(float(age > PROOF_SECONDS), {"origin": name}) for name, age in drills.proven_seconds.items()],
            gauge=True,
            alike=True,
        ),
    ]


def tracing_family(traced: TracingStatistics) -> Family:
    """Of spans."""
    counts = (("sent", traced.sent), ("failed", traced.failed), ("dropped", traced.dropped))
    return Family(
        "spans",
        "Spans of traces: sent, failed since the collector didn't take them, or dropped since too many waited",
        [Sample(count, {"result": result}) for result, count in counts],
    )


def alarm_families(book: AlarmBook) -> list[Family]:
    """Of alarms, and webhooks that carry them."""
    kinds = Counter([alarm.kind.value for alarm in book.states.active.values()])
    return [
        Family(
            "alarms",
            "Alarms that last, by kind",
            [Sample(kinds[kind.value], {"kind": kind.value}) for kind in AlarmKind if kind is not AlarmKind.TEST],
            gauge=True,
            alike=True,
        ),
        Family(
            "alarm_messages",
            "Messages on alarms, by webhook: sent, failed after all attempts, or dropped since too many waited",
            [
                Sample(count, {"webhook": name, "result": result})
                for name, each in book.counts.items()
                for result, count in (("sent", each.sent), ("failed", each.failed), ("dropped", each.dropped))
            ],
            alike=True,
        ),
    ]


def _by_label(label: str, figures: Iterable[tuple[str, Mapping[str, int]]]) -> list[Sample]:
    """Of origins, by name and another label."""
    return [Sample(value, {"origin": name, label: key}) for name, of in figures for key, value in of.items()]
