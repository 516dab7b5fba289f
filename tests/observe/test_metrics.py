from __future__ import annotations

from shield.observe.metrics import Family, Metrics, Sample


def test_families_are_read_at_the_scrape_and_rendered_for_prometheus() -> None:
    counts = {"hit": 1}
    metrics = Metrics(
        lambda: [
            Family("requests", "Requests", [Sample(count, {"cache": word}) for word, count in counts.items()]),
            Family("connections", "Open", [Sample(3)], gauge=True),
            Family("faults", "None so far", []),
        ]
    )

    counts["hit"] = 7
    text = metrics.render().decode()

    assert "# TYPE shield_requests_total counter" in text
    assert 'shield_requests_total{cache="hit"} 7.0' in text
    assert "# TYPE shield_connections gauge" in text
    assert "shield_connections 3.0" in text
